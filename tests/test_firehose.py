"""Delivery streams with real clients: to buckets and endpoints, from data streams, topics and logs, through functions; what was acknowledged survives kill -9."""
import base64
import datetime
import gzip
import json
import re
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from botocore.exceptions import ClientError
from conftest import KILLS, wait_for, zipped

ROLE = "arn:aws:iam::000000000000:role/made-up"
TRANSFORM = '''
import base64

def handler(event, context):
    done = []
    for record in event["records"]:
        text = base64.b64decode(record["data"]).decode()
        if text == "explode":
            raise ValueError("boom")
        result = {"drop": "Dropped", "fail": "ProcessingFailed"}.get(text, "Ok")
        if text == "forget":
            continue
        meta = "" if "kinesisRecordMetadata" not in record else record["kinesisRecordMetadata"]["partitionKey"]
        done.append({"recordId": record["recordId"], "result": result,
                     "data": base64.b64encode((text.upper() + meta + "\\n").encode()).decode()})
    return {"records": done}
'''


def bucket(region, name):
    region.client("s3").create_bucket(Bucket=name)
    return {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::" + name}


def objects(region, name, prefix=""):
    s3 = region.client("s3")
    found = s3.list_objects_v2(Bucket=name, Prefix=prefix).get("Contents", [])
    return {o["Key"]: s3.get_object(Bucket=name, Key=o["Key"])["Body"].read() for o in found}


def written(region, name, prefix="", count=1):
    return wait_for(lambda: (lambda o: o if len(o) >= count else None)(objects(region, name, prefix)), 60, "the objects")


def function(region, name, code=TRANSFORM):
    functions = region.client("lambda")
    arn = functions.create_function(FunctionName=name, Runtime="python3.11", Timeout=20, Handler="handler.handler",
                                    Role=ROLE, Code={"ZipFile": zipped(code)})["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName=name)
    return arn


def processors(*steps):
    return {"Enabled": True, "Processors": [
        {"Type": kind, "Parameters": [{"ParameterName": k, "ParameterValue": v} for k, v in parameters.items()]}
        for kind, parameters in steps]}


def test_records_are_gathered_and_written(region):
    firehose = region.client("firehose")
    arn = firehose.create_delivery_stream(DeliveryStreamName="plain", ExtendedS3DestinationConfiguration=dict(
        bucket(region, "fh-plain"), BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 1}, Prefix="raw/"))["DeliveryStreamARN"]
    assert arn == "arn:aws:firehose:us-east-1:000000000000:deliverystream/plain"
    put = firehose.put_record(DeliveryStreamName="plain", Record={"Data": b"one\n"})
    assert put["Encrypted"] is False and len(put["RecordId"]) > 100
    batch = firehose.put_record_batch(DeliveryStreamName="plain", Records=[{"Data": b"two\n"}, {"Data": b"three\n"}])
    assert batch["FailedPutCount"] == 0 and [set(r) for r in batch["RequestResponses"]] == [{"RecordId"}] * 2
    (key, data), = written(region, "fh-plain").items()
    assert data == b"one\ntwo\nthree\n"
    assert re.fullmatch(r"raw/\d{4}/\d\d/\d\d/\d\d/plain-1-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9a-f-]{36}", key), key


def test_objects_are_named_by_the_time_of_the_zone(region):
    firehose = region.client("firehose")
    there = dict(bucket(region, "fh-zone"), BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 1}, ErrorOutputPrefix="bad/",
                 Prefix="!{timestamp:VV}/!{timestamp:yyyy-MM-dd'T'HH}/")
    with pytest.raises(ClientError, match="InvalidArgumentException.*CustomTimeZone"):
        firehose.create_delivery_stream(DeliveryStreamName="zone", ExtendedS3DestinationConfiguration=dict(there, CustomTimeZone="Mars/Olympus"))
    firehose.create_delivery_stream(DeliveryStreamName="zone", ExtendedS3DestinationConfiguration=dict(there, CustomTimeZone="Asia/Tokyo"))
    before = datetime.datetime.now(datetime.UTC)
    firehose.put_record(DeliveryStreamName="zone", Record={"Data": b"here"})
    (key, _), = written(region, "fh-zone").items()
    zone, hour, name = key.rsplit("/", 2)
    shown = {(before + datetime.timedelta(hours=9, seconds=s)).strftime("%Y-%m-%dT%H") for s in (0, 60)}
    assert zone == "Asia/Tokyo" and hour in shown and name.startswith("zone-1-" + hour.replace("T", "-"))


def test_errors_are_logged(region):
    firehose, logs = region.client("firehose"), region.client("logs")
    firehose.create_delivery_stream(DeliveryStreamName="lost", ExtendedS3DestinationConfiguration={
        "RoleARN": ROLE, "BucketARN": "arn:aws:s3:::fh-never-made", "BufferingHints": {"IntervalInSeconds": 1, "SizeInMBs": 1},
        "CloudWatchLoggingOptions": {"Enabled": True, "LogGroupName": "fh-errors", "LogStreamName": "S3Delivery"}})
    firehose.put_record(DeliveryStreamName="lost", Record={"Data": b"x"})

    def noted():
        try:
            return logs.get_log_events(logGroupName="fh-errors", logStreamName="S3Delivery")["events"]
        except ClientError:
            return None
    event = json.loads(wait_for(noted, 60, "an error")[0]["message"])
    assert event == {"deliveryStreamARN": "arn:aws:firehose:us-east-1:000000000000:deliverystream/lost",
                     "destination": "arn:aws:s3:::fh-never-made", "deliveryStreamVersionId": 1, "errorCode": "S3.NoSuchBucket",
                     "message": "The specified bucket does not exist. Create the bucket or use a different bucket that does exist."}
    bucket(region, "fh-never-made")
    assert list(written(region, "fh-never-made").values()) == [b"x"]


def test_a_full_buffer_is_written_at_once(region):
    firehose = region.client("firehose")
    firehose.create_delivery_stream(DeliveryStreamName="full", S3DestinationConfiguration=dict(
        bucket(region, "fh-full"), BufferingHints={"IntervalInSeconds": 900, "SizeInMBs": 1}, CompressionFormat="GZIP"))
    for n in range(3):
        firehose.put_record(DeliveryStreamName="full", Record={"Data": bytes([65 + n]) * 600_000})
    destination, = firehose.describe_delivery_stream(DeliveryStreamName="full")["DeliveryStreamDescription"]["Destinations"]
    assert destination["ExtendedS3DestinationDescription"]["S3BackupMode"] == "Disabled"
    (key, data), = written(region, "fh-full").items()
    assert key.endswith(".gz") and gzip.decompress(data) == b"A" * 600_000 + b"B" * 600_000
    head = region.client("s3").head_object(Bucket="fh-full", Key=key)
    assert (head["ContentType"], head["ContentEncoding"]) == ("application/octet-stream", "gzip")


def test_what_is_described_changed_and_deleted(region):
    firehose = region.client("firehose")
    to = bucket(region, "fh-life")
    firehose.create_delivery_stream(DeliveryStreamName="life", ExtendedS3DestinationConfiguration=to,
                                    Tags=[{"Key": "a", "Value": "b"}])
    with pytest.raises(ClientError, match="Firehose life under accountId 000000000000 already exists"):
        firehose.create_delivery_stream(DeliveryStreamName="life", ExtendedS3DestinationConfiguration=to)
    with pytest.raises(ClientError, match="Exactly one destination configuration is supported for a Firehose"):
        firehose.create_delivery_stream(DeliveryStreamName="none")
    described = firehose.describe_delivery_stream(DeliveryStreamName="life")["DeliveryStreamDescription"]
    assert (described["DeliveryStreamStatus"], described["VersionId"], described["DeliveryStreamType"]) == ("ACTIVE", "1", "DirectPut")
    destination, = described["Destinations"]
    extended = destination["ExtendedS3DestinationDescription"]
    assert extended["BufferingHints"] == {"SizeInMBs": 5, "IntervalInSeconds": 300}
    assert (extended["CompressionFormat"], extended["S3BackupMode"]) == ("UNCOMPRESSED", "Disabled")
    assert extended["EncryptionConfiguration"] == {"NoEncryptionConfig": "NoEncryption"}
    change = dict(DeliveryStreamName="life", DestinationId=destination["DestinationId"],
                  ExtendedS3DestinationUpdate={"BufferingHints": {"SizeInMBs": 3, "IntervalInSeconds": 60}})
    with pytest.raises(ClientError, match="since the current version id: 1 and specified version id: 7 do not match"):
        firehose.update_destination(CurrentDeliveryStreamVersionId="7", **change)
    firehose.update_destination(CurrentDeliveryStreamVersionId="1", **change)
    described = firehose.describe_delivery_stream(DeliveryStreamName="life")["DeliveryStreamDescription"]
    assert described["VersionId"] == "2" and "LastUpdateTimestamp" in described
    assert described["Destinations"][0]["S3DestinationDescription"]["BufferingHints"]["SizeInMBs"] == 3
    firehose.start_delivery_stream_encryption(DeliveryStreamName="life")
    assert firehose.put_record(DeliveryStreamName="life", Record={"Data": b"x"})["Encrypted"] is True
    firehose.stop_delivery_stream_encryption(DeliveryStreamName="life")
    firehose.tag_delivery_stream(DeliveryStreamName="life", Tags=[{"Key": "c", "Value": "d"}])
    firehose.untag_delivery_stream(DeliveryStreamName="life", TagKeys=["a"])
    assert firehose.list_tags_for_delivery_stream(DeliveryStreamName="life")["Tags"] == [{"Key": "c", "Value": "d"}]
    assert "life" in firehose.list_delivery_streams(Limit=100)["DeliveryStreamNames"]
    firehose.delete_delivery_stream(DeliveryStreamName="life")
    with pytest.raises(ClientError, match="Firehose life under account 000000000000 not found."):
        firehose.describe_delivery_stream(DeliveryStreamName="life")


def test_a_function_transforms_records(region):
    firehose = region.client("firehose")
    arn = function(region, "transform")
    backup = dict(bucket(region, "fh-backup"), Prefix="source/")
    firehose.create_delivery_stream(DeliveryStreamName="changed", ExtendedS3DestinationConfiguration=dict(
        bucket(region, "fh-changed"), BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 5}, Prefix="good/",
        ErrorOutputPrefix="bad/!{firehose:error-output-type}/", S3BackupMode="Enabled", S3BackupConfiguration=backup,
        ProcessingConfiguration=processors(("Lambda", {"LambdaArn": arn, "NumberOfRetries": "1"}))))
    firehose.put_record_batch(DeliveryStreamName="changed",
                              Records=[{"Data": d} for d in (b"a", b"drop", b"fail", b"forget", b"b")])
    found = written(region, "fh-changed", count=2)
    good, = (v for k, v in found.items() if k.startswith("good/"))
    bad, = (v for k, v in found.items() if k.startswith("bad/processing-failed/changed-1-"))
    assert good == b"A\nB\n"
    lines = [json.loads(line) for line in bad.splitlines()]
    assert [(base64.b64decode(line["rawData"]), line["errorCode"], line["attemptsMade"], line["lambdaArn"]) for line in lines] == [
        (b"fail", "Lambda.ProcessingFailedStatus", 1, arn), (b"forget", "Lambda.MissingRecordId", 1, arn)]
    (key, raw), = written(region, "fh-backup").items()
    assert key.startswith("source/2") and raw == b"adropfailforgetb"
    firehose.put_record_batch(DeliveryStreamName="changed", Records=[{"Data": b"explode"}])
    failed = written(region, "fh-changed", "bad/", 2)
    assert any(json.loads(v.splitlines()[0])["errorCode"] == "Lambda.FunctionError" for v in failed.values())


def test_objects_by_keys_of_their_records(region):
    firehose = region.client("firehose")
    settings = dict(
        bucket(region, "fh-keys"), BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 64},
        Prefix="city=!{partitionKeyFromQuery:city}/", ErrorOutputPrefix="bad/!{firehose:error-output-type}/",
        DynamicPartitioningConfiguration={"Enabled": True},
        ProcessingConfiguration=processors(
            ("MetadataExtraction", {"MetadataExtractionQuery": "{city:.address.city}", "JsonParsingEngine": "JQ-1.6"}),
            ("AppendDelimiterToRecord", {"Delimiter": "\\n"})))
    with pytest.raises(ClientError, match="SizeInMBs must be at least 64"):
        firehose.create_delivery_stream(DeliveryStreamName="keys", ExtendedS3DestinationConfiguration=dict(
            settings, BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 1}))
    firehose.create_delivery_stream(DeliveryStreamName="keys", ExtendedS3DestinationConfiguration=settings)
    rows = [json.dumps({"n": n, "address": {"city": city}}) for n, city in enumerate(["Rome", "Oslo", "Rome"])]
    firehose.put_record_batch(DeliveryStreamName="keys", Records=[{"Data": r.encode()} for r in rows] + [{"Data": b"{}"}])
    found = written(region, "fh-keys", count=3)
    by_folder = {k.split("/")[0]: v.decode() for k, v in found.items()}
    assert by_folder["city=Rome"] == rows[0] + "\n" + rows[2] + "\n"
    assert by_folder["city=Oslo"] == rows[1] + "\n"
    assert json.loads(by_folder["bad"])["rawData"] == base64.b64encode(b"{}").decode()


def test_a_data_stream_is_read(region):
    firehose, kinesis = region.client("firehose"), region.client("kinesis")
    kinesis.create_stream(StreamName="into", ShardCount=2)
    source = kinesis.describe_stream_summary(StreamName="into")["StreamDescriptionSummary"]["StreamARN"]
    arn = function(region, "transform-stream")
    kinesis.put_record(StreamName="into", PartitionKey="k", Data=b"before")
    firehose.create_delivery_stream(
        DeliveryStreamName="from-stream", DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={"KinesisStreamARN": source, "RoleARN": ROLE},
        ExtendedS3DestinationConfiguration=dict(bucket(region, "fh-from-stream"), BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 1},
                                                ProcessingConfiguration=processors(("Lambda", {"LambdaArn": arn}))))
    kinesis.put_records(StreamName="into", Records=[{"PartitionKey": f"k{n}", "Data": str(n).encode()} for n in range(20)])

    def lines():
        found = sorted(line for v in objects(region, "fh-from-stream").values() for line in v.decode().split())
        return found if len(found) >= 20 else None
    assert wait_for(lines, 60, "the records") == sorted(f"{n}K{n}".replace("K", "k") for n in range(20))
    with pytest.raises(ClientError, match="not permitted on KinesisStreamAsSource delivery stream type"):
        firehose.put_record(DeliveryStreamName="from-stream", Record={"Data": b"x"})
    described = firehose.describe_delivery_stream(DeliveryStreamName="from-stream")["DeliveryStreamDescription"]
    assert described["Source"]["KinesisStreamSourceDescription"]["KinesisStreamARN"] == source


def test_topics_and_logs_are_written(region):
    firehose, sns, logs = (region.client(s) for s in ("firehose", "sns", "logs"))
    arn = firehose.create_delivery_stream(DeliveryStreamName="heard", ExtendedS3DestinationConfiguration=dict(
        bucket(region, "fh-heard"), BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 1}))["DeliveryStreamARN"]
    topic = sns.create_topic(Name="to-firehose")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="firehose", Endpoint=arn, Attributes={"SubscriptionRoleArn": ROLE})
    sns.publish(TopicArn=topic, Message="hello", Subject="s")

    def notified():
        for data in objects(region, "fh-heard").values():
            with_text = [json.loads(line) for line in data.splitlines() if line.startswith(b"{")]
            if with_text:
                return with_text
    message, = wait_for(notified, 60, "the message")
    assert (message["Type"], message["Message"], message["Subject"], message["TopicArn"]) == ("Notification", "hello", "s", topic)

    arn = firehose.create_delivery_stream(DeliveryStreamName="logged", ExtendedS3DestinationConfiguration=dict(
        bucket(region, "fh-logged"), BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 1},
        ProcessingConfiguration=processors(("Decompression", {"CompressionFormat": "GZIP"}),
                                           ("CloudWatchLogProcessing", {"DataMessageExtraction": "true"}))))["DeliveryStreamARN"]
    logs.create_log_group(logGroupName="to-firehose")
    logs.create_log_stream(logGroupName="to-firehose", logStreamName="s")
    logs.put_subscription_filter(logGroupName="to-firehose", filterName="f", filterPattern="ERROR", destinationArn=arn, roleArn=ROLE)
    now = int(time.time() * 1000)
    logs.put_log_events(logGroupName="to-firehose", logStreamName="s", logEvents=[
        {"timestamp": now, "message": "fine"}, {"timestamp": now, "message": "ERROR one"}, {"timestamp": now, "message": "ERROR two"}])
    assert b"".join(written(region, "fh-logged").values()) == b"ERROR one\nERROR two\n"


class Endpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = json.loads(body)
        self.server.calls.append((dict(self.headers.items()), request))
        answer = json.dumps({"requestId": request["requestId"], "timestamp": request["timestamp"]}).encode()
        self.send_response(500 if len(self.server.calls) <= self.server.failures else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


@pytest.fixture
def endpoint(region, tmp_path):
    """An HTTPS server with a certificate of nobody."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime(2020, 1, 1)
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
            .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=36500))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False).sign(key, hashes.SHA256()))
    pem = tmp_path / "pem"
    pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
                    + cert.public_bytes(serialization.Encoding.PEM))
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.calls, server.failures = [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def http_stream(region, name, server, **settings):
    region.client("firehose").create_delivery_stream(DeliveryStreamName=name, HttpEndpointDestinationConfiguration=dict({
        "EndpointConfiguration": {"Url": f"https://localhost:{server.server_port}/in", "Name": "mine", "AccessKey": "secret"},
        "BufferingHints": {"IntervalInSeconds": 1, "SizeInMBs": 1},
        "RequestConfiguration": {"ContentEncoding": "GZIP", "CommonAttributes": [{"AttributeName": "a", "AttributeValue": "b"}]},
        "S3Configuration": bucket(region, "fh-" + name)}, **settings))


def test_an_endpoint_is_called_until_it_takes_the_records(region, endpoint):
    endpoint.failures = 1
    http_stream(region, "called", endpoint)
    region.client("firehose").put_record_batch(DeliveryStreamName="called", Records=[{"Data": b"one"}, {"Data": b"two"}])
    wait_for(lambda: len(endpoint.calls) == 2, 60, "two calls")
    (_, first), (headers, again) = endpoint.calls
    headers = {k.lower(): v for k, v in headers.items()}
    assert first["requestId"] == again["requestId"] == headers["x-amz-firehose-request-id"]
    assert [base64.b64decode(r["data"]) for r in again["records"]] == [b"one", b"two"]
    assert headers["x-amz-firehose-access-key"] == "secret"
    assert headers["x-amz-firehose-protocol-version"] == "1.0"
    assert headers["x-amz-firehose-source-arn"] == "arn:aws:firehose:us-east-1:000000000000:deliverystream/called"
    assert json.loads(headers["x-amz-firehose-common-attributes"]) == {"commonAttributes": {"a": "b"}}
    assert headers["content-type"] == "application/json"
    assert objects(region, "fh-called") == {}


def test_what_an_endpoint_does_not_take_is_backed_up(region, endpoint):
    endpoint.failures = 1000
    http_stream(region, "untaken", endpoint, RetryOptions={"DurationInSeconds": 1})
    region.client("firehose").put_record(DeliveryStreamName="untaken", Record={"Data": b"lost"})
    (key, data), = written(region, "fh-untaken").items()
    assert key.startswith("http-endpoint-failed/2")
    line = json.loads(data)
    assert base64.b64decode(line["rawData"]) == b"lost" and line["errorCode"] == "HttpEndpoint.InvalidStatusCode"


@pytest.mark.timeout(300 + 30 * KILLS)
def test_no_acknowledged_record_is_lost_in_kills(make_region):
    region = make_region()
    firehose = region.client("firehose")
    firehose.create_delivery_stream(DeliveryStreamName="killed", ExtendedS3DestinationConfiguration=dict(
        bucket(region, "fh-killed"), BufferingHints={"IntervalInSeconds": 1, "SizeInMBs": 1}))
    wanted = set()
    for kill in range(KILLS):
        deadline, n = time.monotonic() + 0.4 * (kill % 5) + 0.2, 0
        while time.monotonic() < deadline:
            texts = [f"{kill}-{n}-{i}" for i in range(5)]
            firehose.put_record_batch(DeliveryStreamName="killed", Records=[{"Data": (t + "\n").encode()} for t in texts])
            wanted |= set(texts)
            n += 1
        region.kill()
        region.start()

    def all_there():
        return wanted <= {line for v in objects(region, "fh-killed").values() for line in v.decode().split()}
    wait_for(all_there, 60, "all records")


def test_a_moved_clock_writes_what_is_due(make_region):
    region = make_region()
    firehose = region.client("firehose")
    firehose.create_delivery_stream(DeliveryStreamName="late", ExtendedS3DestinationConfiguration=bucket(region, "fh-late"))
    firehose.put_record(DeliveryStreamName="late", Record={"Data": b"x"})
    assert objects(region, "fh-late") == {}
    region.cumulo("clock", "advance", "6m")
    assert list(written(region, "fh-late").values()) == [b"x"]


STREAMS = '''
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
}

resource "aws_s3_bucket" "b" {
  bucket = "tf-firehose"
}

resource "aws_kinesis_stream" "s" {
  name        = "tf-firehose"
  shard_count = 1
}

resource "aws_kinesis_firehose_delivery_stream" "put" {
  name        = "tf-put"
  destination = "extended_s3"
  tags        = { team = "data" }

  extended_s3_configuration {
    role_arn            = "arn:aws:iam::000000000000:role/r"
    bucket_arn          = aws_s3_bucket.b.arn
    prefix              = "data/year=!{timestamp:yyyy}/"
    error_output_prefix = "errors/!{firehose:error-output-type}/"
    buffering_size      = 10
    buffering_interval  = 60
    compression_format  = "GZIP"

    processing_configuration {
      enabled = true
      processors {
        type = "Lambda"
        parameters {
          parameter_name  = "LambdaArn"
          parameter_value = "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST"
        }
      }
    }
  }
}

resource "aws_kinesis_firehose_delivery_stream" "stream" {
  name        = "tf-stream"
  destination = "extended_s3"

  kinesis_source_configuration {
    kinesis_stream_arn = aws_kinesis_stream.s.arn
    role_arn           = "arn:aws:iam::000000000000:role/r"
  }

  extended_s3_configuration {
    role_arn   = "arn:aws:iam::000000000000:role/r"
    bucket_arn = aws_s3_bucket.b.arn
  }
}

resource "aws_cloudwatch_log_group" "g" {
  name = "tf-firehose"
}

resource "aws_cloudwatch_log_subscription_filter" "f" {
  name            = "tf"
  log_group_name  = aws_cloudwatch_log_group.g.name
  filter_pattern  = "ERROR"
  destination_arn = aws_kinesis_firehose_delivery_stream.put.arn
  role_arn        = "arn:aws:iam::000000000000:role/r"
}

resource "aws_kinesis_firehose_delivery_stream" "http" {
  name        = "tf-http"
  destination = "http_endpoint"

  http_endpoint_configuration {
    url                = "https://localhost/in"
    name               = "mine"
    access_key         = "secret"
    buffering_size     = 2
    buffering_interval = 60
    role_arn           = "arn:aws:iam::000000000000:role/r"
    s3_backup_mode     = "FailedDataOnly"

    s3_configuration {
      role_arn   = "arn:aws:iam::000000000000:role/r"
      bucket_arn = aws_s3_bucket.b.arn
    }
    request_configuration {
      content_encoding = "GZIP"
    }
  }
}
'''


def test_terraform_applies_plans_no_change_and_destroys(stack, terraform):
    region, folder = stack
    (folder / "main.tf").write_text(STREAMS)
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    terraform.destroy(folder, quiet=True)
    assert region.client("firehose").list_delivery_streams()["DeliveryStreamNames"] == []
