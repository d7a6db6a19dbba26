"""The binary's own commands and the routes that LocalStack's tools expect."""
import json
import subprocess
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from conftest import BINARY


def get(region, path):
    return urllib.request.urlopen(region.endpoint + path, timeout=5).read()


def test_health_and_info_answer_as_localstack_does(region):
    health = json.loads(get(region, "/_localstack/health"))
    assert {"s3", "lambda", "iam", "sts", "logs"} <= set(health["services"])
    assert json.loads(get(region, "/_localstack/info"))["version"]


def test_ready_is_a_line_of_its_own(region):
    assert "Ready." in (region.folder / "cumulo.log").read_text().splitlines()


def test_metrics_count_requests(region):
    region.client("sts").get_caller_identity()
    text = get(region, "/_cumulo/metrics").decode()
    assert 'cumulo_requests_count{service="sts",operation="GetCallerIdentity",status="2xx"}' in text


def test_status_and_env_and_version(region):
    assert "s3: running" in region.cumulo("status")
    assert f"AWS_ENDPOINT_URL={region.endpoint}" in region.cumulo("env")
    assert region.cumulo("version").startswith("cumulo ")
    assert "_cumulo" in region.cumulo("completions", "bash")


def test_coverage_lists_every_operation(region):
    assert "PutObject" in region.cumulo("coverage", "s3")
    services = {s["service"]: s["operations"] for s in json.loads(region.cumulo("coverage", "--json"))}
    assert services["s3"]["PutObject"] == "real"
    assert services["sts"]["GetCallerIdentity"] == "real"


def test_an_absent_operation_names_itself(region):
    services = {s["service"]: s["operations"] for s in json.loads(region.cumulo("coverage", "--json"))}
    absent = next(op for op, state in services["iam"].items() if state == "absent")
    body = f"Action={absent}&Version=2010-05-08".encode()
    request = urllib.request.Request(region.endpoint, body, {"Content-Type": "application/x-www-form-urlencoded"})
    try:
        urllib.request.urlopen(request, timeout=5)
        raise AssertionError("answered")
    except urllib.error.HTTPError as e:
        assert e.code == 501
        assert f"iam:{absent}" in e.read().decode()


@pytest.mark.parametrize("service, call", [
    ("acm", lambda acm: acm.list_certificates()),                                                           # JSON
    ("iot", lambda iot: iot.list_things()),                                                                 # REST with JSON
    ("route53", lambda route53: route53.list_hosted_zones()),                                               # REST with XML
    ("ses", lambda ses: ses.list_identities()),                                                             # forms
    ("cloudwatch", lambda cloudwatch: cloudwatch.list_metrics()),                                           # RPC v2 with CBOR
])
def test_an_absent_service_names_itself(region, service, call):
    with pytest.raises(ClientError) as refused:
        call(region.client(service))
    name = {"cloudwatch": "monitoring"}.get(service, service)
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert refused.value.response["Error"]["Message"] == f"The service {name} is not implemented."
    assert refused.value.response["ResponseMetadata"]["RequestId"]


def test_the_certificate_authority_is_printed(region):
    printed = region.cumulo("certs", "--data-dir", str(region.folder / "data"))
    assert printed.startswith("-----BEGIN CERTIFICATE-----")
    assert get(region, "/_cumulo/certs").decode() == printed


def test_a_query_is_answered_in_json_to_who_accepts_that(region):
    def ask(action):
        body = f"Action={action}&Version=2011-06-15".encode()
        scope = "test/20260101/us-east-1/sts/aws4_request"
        headers = {
            "Accept": "application/json",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return urllib.request.urlopen(urllib.request.Request(region.endpoint, body, headers), timeout=5)

    answer = ask("GetSessionToken")
    assert answer.headers["Content-Type"] == "application/json"
    document = json.load(answer)["GetSessionTokenResponse"]
    assert document["ResponseMetadata"]["RequestId"] == answer.headers["x-amzn-RequestId"]
    # A time is a number, where XML has a date.
    assert document["GetSessionTokenResult"]["Credentials"]["Expiration"] > 1_700_000_000
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask("AssumeRole")
    error = json.load(refused.value)["Error"]
    assert refused.value.code == 400
    assert (error["Code"], error["Type"]) == ("ValidationError", "Sender")


def test_tls_and_http2_on_the_same_port(region, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text(region.cumulo("certs", "--data-dir", str(region.folder / "data")))
    url = f"https://localhost:{region.port}/_localstack/health"
    for flags in (["--http1.1"], ["--http2"]):
        done = subprocess.run(["curl", "-sf", "--cacert", str(ca), *flags, url], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and "services" in done.stdout, done.stderr


def test_the_clock_moves_forward_only(make_region):
    region = make_region()
    before = region.cumulo("clock", "show")
    after = region.cumulo("clock", "advance", "30d")
    assert after > before
    region.kill()
    region.start()
    assert region.cumulo("clock", "show") >= after
    refused = subprocess.run([str(BINARY), "clock", "set", "2020-01-01T00:00:00Z"], env=region.env(), capture_output=True, text=True)
    assert refused.returncode == 1 and "forward only" in refused.stderr


def test_snapshots_and_reset(make_region, tmp_path):
    region = make_region()
    s3 = region.client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="large", Body=b"x" * 3_000_000)
    region.cumulo("snapshot", "save", str(tmp_path / "state"))
    region.cumulo("reset")
    assert s3.list_buckets()["Buckets"] == []
    region.cumulo("snapshot", "load", str(tmp_path / "state"))
    assert s3.get_object(Bucket="kept", Key="large")["Body"].read() == b"x" * 3_000_000
    urllib.request.urlopen(urllib.request.Request(region.endpoint + "/_localstack/state/reset", b"", method="POST"), timeout=5)
    assert s3.list_buckets()["Buckets"] == []


def test_the_account_of_keys_that_name_none_can_be_chosen(make_region):
    region = make_region("--account", "123456789012")
    assert region.client("sts").get_caller_identity()["Account"] == "123456789012"
    queue = region.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    assert "/123456789012/" in queue
    assert region.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"] == {
        "QueueArn": "arn:aws:sqs:us-east-1:123456789012:q"}
