"""Queues with real clients: boto3, the aws CLI, Terraform; functions fed from queues; what was acknowledged survives kill -9."""
import json
import pathlib
import random
import threading
import time
import urllib.parse
import urllib.request

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from conftest import wait_for, zipped

ECHO = '''
import json, os, boto3

sqs = boto3.client("sqs")

def handler(event, context):
    failures = []
    for record in event["Records"]:
        body = record["body"]
        if body.startswith("fail"):
            failures.append({"itemIdentifier": record["messageId"]})
        else:
            ordered = {"MessageGroupId": record["attributes"].get("MessageGroupId"), "MessageDeduplicationId": record["messageId"]}
            sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps(record),
                             **(ordered if os.environ["OUT"].endswith(".fifo") else {}))
    return {"batchItemFailures": failures}
'''


def function(region, name, code, **environment):
    client = region.client("lambda")
    arn = client.create_function(FunctionName=name, Runtime="python3.11", Timeout=20, Handler="handler.handler",
                                 Role="arn:aws:iam::000000000000:role/made-up", Code={"ZipFile": zipped(code)},
                                 Environment={"Variables": environment})["FunctionArn"]
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    return arn


def arn_of(sqs, url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def drain(sqs, url, count, seconds=60):
    """Receives and deletes that many messages."""
    found, deadline = [], time.monotonic() + seconds
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} messages came"
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            found.append(m["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
    return found


def test_every_operation_answers_boto3(region):
    sqs = region.client("sqs")
    url = sqs.create_queue(QueueName="round", Attributes={"VisibilityTimeout": "10"}, tags={"a": "b"})["QueueUrl"]
    assert sqs.get_queue_url(QueueName="round")["QueueUrl"] == url
    assert url in sqs.list_queues(QueueNamePrefix="rou")["QueueUrls"]
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "b"}
    sqs.tag_queue(QueueUrl=url, Tags={"c": "d"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"c": "d"}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0", "MaximumMessageSize": "2048"})
    # boto3 checks the digests of bodies and attributes itself.
    sqs.send_message(QueueUrl=url, MessageBody="é", MessageAttributes={
        "s": {"DataType": "String", "StringValue": "x"}, "n": {"DataType": "Number.int", "StringValue": "1"},
        "b": {"DataType": "Binary", "BinaryValue": b"\0\1"}},
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}})
    message, = sqs.receive_message(QueueUrl=url, AttributeNames=["All"], MessageAttributeNames=["All"])["Messages"]
    assert message["MessageAttributes"]["b"]["BinaryValue"] == b"\0\1"
    assert message["Attributes"]["AWSTraceHeader"].startswith("Root=")
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    batch = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": str(n)} for n in range(5)])
    assert len(batch["Successful"]) == 5
    messages = []
    while len(messages) < 6:
        messages += sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2)["Messages"]
    entries = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)]
    changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[dict(e, VisibilityTimeout=60) for e in entries])
    assert len(changed["Successful"]) == 6
    assert len(sqs.delete_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 6
    sqs.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    sqs.remove_permission(QueueUrl=url, Label="l")
    sqs.purge_queue(QueueUrl=url)
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(ClientError) as error:
        sqs.send_message(QueueUrl=url, MessageBody="x")
    assert error.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


def test_the_command_line_sends_and_receives(region):
    # Version 1 of the CLI knows another host for queues than AWS_ENDPOINT_URL unless it is told so.
    def sqs(*args):
        return region.aws("sqs", *args, "--endpoint-url", region.endpoint)
    url = sqs("create-queue", "--queue-name", "cli.fifo", "--attributes",
              "FifoQueue=true,ContentBasedDeduplication=true")["QueueUrl"]
    for body in ("one", "two", "one"):
        sqs("send-message", "--queue-url", url, "--message-body", body, "--message-group-id", "g")
    found = sqs("receive-message", "--queue-url", url, "--max-number-of-messages", "10", "--attribute-names", "All")
    assert [m["Body"] for m in found["Messages"]] == ["one", "two"]
    numbers = [int(m["Attributes"]["SequenceNumber"]) for m in found["Messages"]]
    assert numbers == sorted(numbers) and len(str(numbers[0])) == 20
    seen = urllib.request.urlopen(region.endpoint + "/_aws/sqs/messages?ShowInvisible=true&QueueUrl=" + urllib.parse.quote(url))
    assert b"<Body>one</Body>" in seen.read()


def test_a_bucket_tells_a_queue(region):
    sqs, s3 = region.client("sqs"), region.client("s3")
    url = sqs.create_queue(QueueName="events")["QueueUrl"]
    arn = arn_of(sqs, url)
    s3.create_bucket(Bucket="told")
    rule = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    with pytest.raises(ClientError) as error:
        s3.put_bucket_notification_configuration(Bucket="told", NotificationConfiguration=rule)
    assert "Unable to validate" in str(error.value)
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn,
        "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::told"}}}]})})
    s3.put_bucket_notification_configuration(Bucket="told", NotificationConfiguration=rule)
    s3.put_object(Bucket="told", Key="a/b", Body=b"x")
    bodies = [json.loads(b) for b in drain(sqs, url, 2)]
    assert {b.get("Event") for b in bodies} == {"s3:TestEvent", None}
    assert [b["Records"][0]["s3"]["object"]["key"] for b in bodies if "Records" in b] == ["a/b"]


def test_a_topic_reaches_a_queue(region):
    sqs, sns = region.client("sqs"), region.client("sns")
    url = sqs.create_queue(QueueName="fan")["QueueUrl"]
    arn = arn_of(sqs, url)
    topic = sns.create_topic(Name="fan")["TopicArn"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}]})})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    attributes = {"n": {"DataType": "Number", "StringValue": "7"}, "s": {"DataType": "String", "StringValue": "x"},
                  "b": {"DataType": "Binary", "BinaryValue": b"\0"}}
    sns.publish(TopicArn=topic, Message="hello", MessageAttributes=attributes)
    message, = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10, MessageAttributeNames=["All"])["Messages"]
    assert (message["Body"], message["MessageAttributes"]) == ("hello", attributes)


def test_a_function_is_fed_from_a_queue(region):
    sqs, functions = region.client("sqs"), region.client("lambda")
    out = sqs.create_queue(QueueName="out")["QueueUrl"]
    dead = sqs.create_queue(QueueName="out-dead")["QueueUrl"]
    url = sqs.create_queue(QueueName="in", Attributes={"VisibilityTimeout": "20", "RedrivePolicy": json.dumps(
        {"deadLetterTargetArn": arn_of(sqs, dead), "maxReceiveCount": 1})})["QueueUrl"]
    arn = function(region, "echo", ECHO, OUT=out)
    made = functions.create_event_source_mapping(
        EventSourceArn=arn_of(sqs, url), FunctionName="echo", BatchSize=10, FunctionResponseTypes=["ReportBatchItemFailures"],
        FilterCriteria={"Filters": [{"Pattern": json.dumps({"body": {"keep": [True]}})},
                                    {"Pattern": json.dumps({"body": [{"prefix": "fail"}]})}]},
        ScalingConfig={"MaximumConcurrency": 2})
    assert (made["State"], made["FunctionArn"], made["BatchSize"]) == ("Creating", arn, 10)
    uuid = made["UUID"]

    def state():
        return functions.get_event_source_mapping(UUID=uuid)["State"]
    wait_for(lambda: state() == "Enabled", 10, "the mapping")
    with pytest.raises(ClientError) as error:
        functions.create_event_source_mapping(EventSourceArn=arn_of(sqs, url), FunctionName="echo")
    assert uuid in str(error.value) and error.value.response["Error"]["Code"] == "ResourceConflictException"
    for body in ('{"keep": true, "n": 1}', '{"keep": false}', "plain", "fail me", '{"keep": true, "n": 2}'):
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}})
    records = [json.loads(b) for b in drain(sqs, out, 2)]
    assert sorted(json.loads(r["body"])["n"] for r in records) == [1, 2]
    record = records[0]
    assert (record["eventSource"], record["eventSourceARN"], record["awsRegion"]) == ("aws:sqs", arn_of(sqs, url), "us-east-1")
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageAttributes"] == {"k": {"stringValue": "v", "stringListValues": [], "binaryListValues": [], "dataType": "String"}}

    def left():
        at = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(at["ApproximateNumberOfMessages"]), int(at["ApproximateNumberOfMessagesNotVisible"])
    wait_for(lambda: left() == (0, 1), 20, "the deletion of what succeeded")
    # What the function reported as failed is dead once it has been visible again.
    region.cumulo("clock", "advance", "21s")
    assert drain(sqs, dead, 1) == ["fail me"]
    assert left() == (0, 0)

    functions.update_event_source_mapping(UUID=uuid, Enabled=False)
    wait_for(lambda: state() == "Disabled", 10, "the mapping's end")
    sqs.send_message(QueueUrl=url, MessageBody='{"keep": true, "n": 3}')
    assert "Messages" not in sqs.receive_message(QueueUrl=out, WaitTimeSeconds=1)
    functions.update_event_source_mapping(UUID=uuid, Enabled=True)
    assert json.loads(json.loads(drain(sqs, out, 1)[0])["body"])["n"] == 3
    assert [m["UUID"] for m in functions.list_event_source_mappings(FunctionName="echo")["EventSourceMappings"]] == [uuid]
    assert functions.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"
    wait_for(lambda: not functions.list_event_source_mappings()["EventSourceMappings"], 10, "the deletion")


def test_a_fifo_queue_feeds_each_group_in_order(region):
    sqs, functions = region.client("sqs"), region.client("lambda")
    settings = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    out, url = (sqs.create_queue(QueueName=name, Attributes=settings)["QueueUrl"] for name in ("out.fifo", "in.fifo"))
    function(region, "ordered", ECHO, OUT=out)
    functions.create_event_source_mapping(EventSourceArn=arn_of(sqs, url), FunctionName="ordered", BatchSize=3)
    sent = {f"g{g}": [f"{g}-{n}" for n in range(8)] for g in range(3)}
    for n in range(8):
        for group, bodies in sent.items():
            sqs.send_message(QueueUrl=url, MessageBody=bodies[n], MessageGroupId=group)
    came = {}
    for body in drain(sqs, out, 24):
        record = json.loads(body)
        came.setdefault(record["attributes"]["MessageGroupId"], []).append(record["body"])
    assert came == sent


def test_a_mapping_that_cannot_be_is_refused(region):
    sqs, functions = region.client("sqs"), region.client("lambda")
    function(region, "refused", ECHO, OUT="x")
    url = sqs.create_queue(QueueName="short", Attributes={"VisibilityTimeout": "5"})["QueueUrl"]
    for arn, more, text in [
        ("arn:aws:sqs:us-east-1:000000000000:nope", {}, "The specified queue does not exist."),
        (arn_of(sqs, url), {}, "Queue visibility timeout: 5 seconds is less than Function timeout: 20 seconds"),
        (arn_of(sqs, url), {"FilterCriteria": {"Filters": [{"Pattern": "{\"body\": \"x\"}"}]}}, "Invalid filter pattern definition."),
    ]:
        with pytest.raises(ClientError) as error:
            functions.create_event_source_mapping(EventSourceArn=arn, FunctionName="refused", **more)
        assert text in str(error.value) and error.value.response["Error"]["Code"] == "InvalidParameterValueException"


CONFIGURATION = '''
provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  endpoints {
    sqs    = "ENDPOINT"
    lambda = "ENDPOINT"
    iam    = "ENDPOINT"
    sts    = "ENDPOINT"
  }
}
resource "aws_sqs_queue" "dead" { name = "tf-dead" }
resource "aws_sqs_queue" "main" {
  name = "tf-main"
  visibility_timeout_seconds = 60
  receive_wait_time_seconds = 5
  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead.arn, maxReceiveCount = 4 })
  tags = { team = "x" }
}
resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url = aws_sqs_queue.dead.id
  redrive_allow_policy = jsonencode({ redrivePermission = "byQueue", sourceQueueArns = [aws_sqs_queue.main.arn] })
}
resource "aws_sqs_queue_policy" "main" {
  queue_url = aws_sqs_queue.main.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Principal = { Service = "s3.amazonaws.com" },
    Action = "sqs:SendMessage", Resource = aws_sqs_queue.main.arn }] })
}
resource "aws_sqs_queue" "fifo" {
  name = "tf.fifo"
  fifo_queue = true
  content_based_deduplication = true
  deduplication_scope = "messageGroup"
  fifo_throughput_limit = "perMessageGroupId"
}
resource "aws_lambda_function" "f" {
  function_name = "tf-fed"
  role = "arn:aws:iam::000000000000:role/made-up"
  handler = "handler.handler"
  runtime = "python3.11"
  timeout = 10
  filename = "f.zip"
}
resource "aws_lambda_event_source_mapping" "m" {
  event_source_arn = aws_sqs_queue.main.arn
  function_name = aws_lambda_function.f.arn
  batch_size = 5
  function_response_types = ["ReportBatchItemFailures"]
  filter_criteria {
    filter { pattern = jsonencode({ body = { kind = ["x"] } }) }
  }
  scaling_config { maximum_concurrency = 2 }
}
'''


@pytest.mark.timeout(600)
def test_terraform_makes_queues_and_mappings(region, terraform, tmp_path):
    folder = pathlib.Path(tmp_path)
    (folder / "main.tf").write_text(CONFIGURATION.replace("ENDPOINT", region.endpoint))
    (folder / "f.zip").write_bytes(zipped(ECHO))
    terraform.deploy(folder, quiet=True)
    assert not terraform.changes(folder)
    terraform.destroy(folder, quiet=True)
    assert not [u for u in region.client("sqs").list_queues().get("QueueUrls", []) if "/tf" in u]


class Sender(threading.Thread):
    """Sends, receives and deletes until it is told to stop; notes what was acknowledged."""

    def __init__(self, region, number, url, fifo, notes, lock):
        super().__init__(daemon=True)
        self.region, self.number, self.url, self.fifo, self.notes, self.lock = region, number, url, fifo, notes, lock
        self.stopping = threading.Event()

    def run(self):
        sqs = self.region.client("sqs", connect_timeout=2, read_timeout=10)
        count = 0
        while not self.stopping.is_set():
            count += 1
            body = f"{self.number}-{count}"
            try:
                sqs.send_message(QueueUrl=self.url, MessageBody=body)
                with self.lock:
                    self.notes["sent"].add(body)
                sqs.send_message(QueueUrl=self.fifo, MessageBody=body, MessageGroupId=self.number)
                with self.lock:
                    self.notes["ordered"].setdefault(self.number, []).append(body)
                if count % 3 == 0:
                    for m in sqs.receive_message(QueueUrl=self.url).get("Messages", []):
                        # A kill may come between the deletion and its answer: then either is right.
                        with self.lock:
                            self.notes["doubtful"].add(m["Body"])
                        sqs.delete_message(QueueUrl=self.url, ReceiptHandle=m["ReceiptHandle"])
                        with self.lock:
                            self.notes["doubtful"].discard(m["Body"])
                            self.notes["deleted"].add(m["Body"])
            except (BotoCoreError, ClientError):
                time.sleep(0.02)


@pytest.mark.timeout(600)
def test_no_acknowledged_message_is_lost_in_kills(make_region):
    region = make_region()
    sqs = region.client("sqs")
    url = sqs.create_queue(QueueName="crash", Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
    fifo = sqs.create_queue(QueueName="crash.fifo", Attributes={
        "FifoQueue": "true", "ContentBasedDeduplication": "true", "VisibilityTimeout": "30"})["QueueUrl"]
    notes, lock = {"sent": set(), "deleted": set(), "doubtful": set(), "ordered": {}}, threading.Lock()
    for kill in range(KILLS):
        senders = [Sender(region, f"{kill}-{n}", url, fifo, notes, lock) for n in range(3)]
        for s in senders:
            s.start()
        time.sleep(random.uniform(0.2, 1.0))
        region.kill()
        for s in senders:
            s.stopping.set()
        for s in senders:
            s.join(30)
        region.start()
    assert len(notes["sent"]) > 5 * KILLS, "too little was sent to tell anything"
    assert len(notes["doubtful"]) <= 3 * KILLS, "each sender has at most one deletion in doubt"
    found, deadline = set(), time.monotonic() + 120
    while lost := notes["sent"] - notes["deleted"] - notes["doubtful"] - found:
        assert time.monotonic() < deadline, f"{len(lost)} messages are lost"
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2).get("Messages", []):
            found.add(m["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
    assert not notes["deleted"] & found, "an acknowledged deletion came back"
    ordered = {}
    while messages := sqs.receive_message(QueueUrl=fifo, MaxNumberOfMessages=10, AttributeNames=["All"]).get("Messages"):
        for m in messages:
            ordered.setdefault(m["Attributes"]["MessageGroupId"], []).append(m["Body"])
            sqs.delete_message(QueueUrl=fifo, ReceiptHandle=m["ReceiptHandle"])
    for group, bodies in notes["ordered"].items():
        assert len(ordered[group]) == len(set(ordered[group])), "a message came twice"
        assert [b for b in ordered[group] if b in set(bodies)] == bodies, group


KILLS = 5
