"""EventBridge Pipes with real clients: from queues and streams, through filters and functions, to targets."""
import json
import uuid

import pytest
from botocore.exceptions import ClientError
from conftest import KILLS, kill_under_load, wait_for, zipped

ROLE = "arn:aws:iam::000000000000:role/pipes"
ENRICH = '''
def handler(events, context):
    return [{"name": e["name"].upper(), "from": e["id"]} for e in events if e["name"] != "drop"]
'''
FLAKY = '''
import boto3, json
s3 = boto3.client("s3")

def handler(events, context):
    failures = []
    for e in events:
        key = "%s/%s" % (e["body"], e["attributes"]["ApproximateReceiveCount"])
        s3.put_object(Bucket="piped", Key=key, Body=json.dumps(e).encode())
        if e["body"] == "bad" and e["attributes"]["ApproximateReceiveCount"] == "1":
            failures.append({"itemIdentifier": e["messageId"]})
    return {"batchItemFailures": failures}
'''


def make_queue(region, name, **attributes):
    sqs = region.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def take(region, url, count=1, seconds=40):
    sqs, found = region.client("sqs"), []

    def receive():
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1,
                                     MessageSystemAttributeNames=["All"]).get("Messages", []):
            found.append(m)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        return len(found) >= count
    wait_for(receive, seconds, f"{count} messages")
    return found


def make_function(region, name, code):
    functions = region.client("lambda")
    arn = functions.create_function(FunctionName=name, Runtime="python3.11", Handler="handler.handler", Timeout=20, Role=ROLE,
                                    Code={"ZipFile": zipped(code)})["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName=name)
    return arn


def is_empty(region, url):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = region.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return all(found[name] == "0" for name in names)


def test_a_pipe_is_made_described_stopped_and_deleted(region):
    pipes = region.client("pipes")
    _, source = make_queue(region, "made")
    made = pipes.create_pipe(Name="made", Source=source, Target=source, RoleArn=ROLE, DesiredState="STOPPED", Tags={"k": "v"})
    assert (made["CurrentState"], made["DesiredState"]) == ("CREATING", "STOPPED")
    with pytest.raises(ClientError, match="Pipe made already exists.") as error:
        pipes.create_pipe(Name="made", Source=source, Target=source, RoleArn=ROLE)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    found = pipes.describe_pipe(Name="made")
    assert found["CurrentState"] == "STOPPED" and found["Tags"] == {"k": "v"}
    assert found["SourceParameters"] == {"SqsQueueParameters": {"BatchSize": 10, "MaximumBatchingWindowInSeconds": 0}}
    pipes.update_pipe(Name="made", RoleArn=ROLE, SourceParameters={"SqsQueueParameters": {"BatchSize": 3}}, Description="d")
    assert pipes.describe_pipe(Name="made")["SourceParameters"]["SqsQueueParameters"]["BatchSize"] == 3
    assert pipes.start_pipe(Name="made")["CurrentState"] == "STARTING"
    assert pipes.describe_pipe(Name="made")["CurrentState"] == "RUNNING"
    assert pipes.stop_pipe(Name="made")["CurrentState"] == "STOPPING"
    assert [p["Name"] for p in pipes.list_pipes(NamePrefix="ma", DesiredState="STOPPED")["Pipes"]] == ["made"]
    assert pipes.delete_pipe(Name="made")["CurrentState"] == "DELETING"
    with pytest.raises(ClientError, match="Pipe made does not exist."):
        pipes.describe_pipe(Name="made")
    with pytest.raises(ClientError, match="is not a supported source"):
        pipes.create_pipe(Name="bad", Source="arn:aws:sns:us-east-1:000000000000:t", Target=source, RoleArn=ROLE)


def test_a_queue_is_filtered_enriched_and_sent_on(region):
    pipes, sqs = region.client("pipes"), region.client("sqs")
    (source_url, source), (target_url, target) = make_queue(region, "in"), make_queue(region, "out.fifo", FifoQueue="true",
                                                                                      ContentBasedDeduplication="true")
    pipes.create_pipe(
        Name="flow", Source=source, Target=target, RoleArn=ROLE, Enrichment=make_function(region, "enrich", ENRICH),
        SourceParameters={"FilterCriteria": {"Filters": [{"Pattern": json.dumps({"body": {"kind": ["wanted"]}})}]}},
        EnrichmentParameters={"InputTemplate": '{"name": <$.body.name>, "id": "<$.messageId>"}'},
        TargetParameters={"SqsQueueParameters": {"MessageGroupId": "$.name"},
                          "InputTemplate": '{"hello": "<$.name>", "pipe": <aws.pipes.pipe-name>}'})
    sent = {}
    for kind, name in (("wanted", "ann"), ("other", "bob"), ("wanted", "drop"), ("wanted", "eve")):
        sent[name] = sqs.send_message(QueueUrl=source_url, MessageBody=json.dumps({"kind": kind, "name": name}))["MessageId"]
    sqs.send_message(QueueUrl=source_url, MessageBody="no json")
    out = {m["Attributes"]["MessageGroupId"]: json.loads(m["Body"]) for m in take(region, target_url, 2)}
    assert out == {n: {"hello": n, "pipe": "flow"} for n in ("ANN", "EVE")}
    wait_for(lambda: is_empty(region, source_url), 20, "the source to be empty")


def test_what_a_function_reports_comes_again(region):
    s3, sqs, pipes = region.client("s3"), region.client("sqs"), region.client("pipes")
    s3.create_bucket(Bucket="piped")
    url, source = make_queue(region, "flaky", VisibilityTimeout="60")
    pipes.create_pipe(Name="flaky", Source=source, Target=make_function(region, "flaky", FLAKY), RoleArn=ROLE)
    for body in ("good", "bad"):
        sqs.send_message(QueueUrl=url, MessageBody=body)

    def seen():
        return {o["Key"] for o in s3.list_objects_v2(Bucket="piped").get("Contents", [])}

    def is_left():
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"])["Attributes"]
        return seen() == {"good/1", "bad/1"} and found["ApproximateNumberOfMessagesNotVisible"] == "1"
    wait_for(is_left, 40, "the first time")
    region.cumulo("clock", "advance", "61s")
    wait_for(lambda: seen() == {"good/1", "bad/1", "bad/2"}, 40, "the second time")
    wait_for(lambda: is_empty(region, url), 20, "the source to be empty")
    event = json.loads(s3.get_object(Bucket="piped", Key="good/1")["Body"].read())
    assert (event["eventSource"], event["eventSourceARN"]) == ("aws:sqs", source)


def test_streams_are_read_in_order_to_a_bus(region):
    pipes, kinesis, events = (region.client(s) for s in ("pipes", "kinesis", "events"))
    kinesis.create_stream(StreamName="piped", ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName="piped")
    stream = kinesis.describe_stream_summary(StreamName="piped")["StreamDescriptionSummary"]["StreamARN"]
    url, queue = make_queue(region, "told")
    events.put_rule(Name="told", EventPattern=json.dumps({"source": ["Pipe stream"]}))
    events.put_targets(Rule="told", Targets=[{"Id": "q", "Arn": queue, "RoleArn": ROLE}])
    pipes.create_pipe(
        Name="stream", Source=stream, RoleArn=ROLE, Target="arn:aws:events:us-east-1:000000000000:event-bus/default",
        SourceParameters={"KinesisStreamParameters": {"StartingPosition": "TRIM_HORIZON"},
                          "FilterCriteria": {"Filters": [{"Pattern": json.dumps({"data": {"n": [{"numeric": ["<", 5]}]}})}]}},
        TargetParameters={"InputTemplate": '{"n": <$.data.n>, "key": <$.partitionKey>}'})
    for n in range(8):
        kinesis.put_record(StreamName="piped", PartitionKey="k", Data=json.dumps({"n": n}).encode())
    told = [json.loads(m["Body"]) for m in take(region, url, 5)]
    assert sorted(e["detail"]["n"] for e in told) == [0, 1, 2, 3, 4]
    assert {(e["detail-type"], e["detail"]["key"]) for e in told} == {("Event from aws:kinesis", "k")}


def test_a_tables_changes_reach_a_queue(region):
    pipes, table = region.client("pipes"), region.client("dynamodb")
    stream = table.create_table(TableName="piped", BillingMode="PAY_PER_REQUEST",
                                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})["TableDescription"]
    url, queue = make_queue(region, "changes")
    pipes.create_pipe(Name="table", Source=stream["LatestStreamArn"], RoleArn=ROLE, Target=queue,
                      SourceParameters={"DynamoDBStreamParameters": {"StartingPosition": "TRIM_HORIZON"}})
    table.put_item(TableName="piped", Item={"id": {"S": "a"}})
    event = json.loads(take(region, url)[0]["Body"])
    assert (event["eventName"], event["eventSource"]) == ("INSERT", "aws:dynamodb")
    assert event["dynamodb"]["NewImage"] == {"id": {"S": "a"}} and event["eventSourceARN"] == stream["LatestStreamArn"]


@pytest.mark.timeout(300 + 30 * KILLS)
def test_no_message_is_lost_in_kills(make_region):
    region = make_region()
    (source_url, source), (target_url, target) = make_queue(region, "in", VisibilityTimeout="3"), make_queue(region, "out")
    region.client("pipes").create_pipe(Name="kept", Source=source, Target=target, RoleArn=ROLE,
                                       TargetParameters={"InputTemplate": '<$.body>'})
    sqs = region.client("sqs", connect_timeout=2, read_timeout=10)

    def write():
        name = str(uuid.uuid4())
        sqs.send_message(QueueUrl=source_url, MessageBody=name)
        return [name]
    kill_under_load(region, write, target_url, lambda body: body.strip('"'))


RESOURCES = '''
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
}

resource "aws_sqs_queue" "in" {
  name = "tf-in"
}

resource "aws_sqs_queue" "out" {
  name = "tf-out"
}

resource "aws_pipes_pipe" "flow" {
  name     = "tf-flow"
  role_arn = "arn:aws:iam::000000000000:role/pipes"
  source   = aws_sqs_queue.in.arn
  target   = aws_sqs_queue.out.arn
  tags     = { team = "data" }
  source_parameters {
    sqs_queue_parameters {
      batch_size                         = 5
      maximum_batching_window_in_seconds = 1
    }
    filter_criteria {
      filter {
        pattern = jsonencode({ body = { kind = ["wanted"] } })
      }
    }
  }
  target_parameters {
    input_template = "{\\"body\\": <$.body>}"
  }
}
'''


def test_terraform_applies_plans_no_change_and_destroys(stack, terraform):
    region, folder = stack
    (folder / "main.tf").write_text(RESOURCES)
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    (folder / "main.tf").write_text(RESOURCES.replace("batch_size                         = 5", "batch_size                         = 6")
                                    .replace('"data"', '"lake"'))
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    terraform.destroy(folder, quiet=True)
    assert region.client("pipes").list_pipes()["Pipes"] == []
