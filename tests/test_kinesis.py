"""Kinesis with real clients: boto3 in both formats, the aws CLI, Terraform, a subscription's event stream, kills."""
import base64
import hashlib
import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError

KILLS = 6
PROVIDER = '''
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
  skip_requesting_account_id  = false
}
'''
STREAMS = PROVIDER + '''
resource "aws_kinesis_stream" "plain" {
  name                = "tf-plain"
  shard_count         = 2
  retention_period    = 48
  shard_level_metrics = ["IncomingBytes", "OutgoingBytes"]
  encryption_type     = "KMS"
  kms_key_id          = "alias/aws/kinesis"
  tags                = { team = "data" }
}

resource "aws_kinesis_stream" "demand" {
  name = "tf-demand"
  stream_mode_details {
    stream_mode = "ON_DEMAND"
  }
}

resource "aws_kinesis_stream_consumer" "reader" {
  name       = "reader"
  stream_arn = aws_kinesis_stream.plain.arn
}

resource "aws_kinesis_resource_policy" "policy" {
  resource_arn = aws_kinesis_stream.plain.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "write"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::000000000000:root" }
      Action    = ["kinesis:DescribeStreamSummary", "kinesis:PutRecord"]
      Resource  = aws_kinesis_stream.plain.arn
    }]
  })
}
'''


def shard_ids(kinesis, stream):
    return [s["ShardId"] for s in kinesis.list_shards(StreamName=stream)["Shards"]]


def read(kinesis, stream, shard):
    """All records of a shard and the last answer."""
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    records = []
    while True:
        page = kinesis.get_records(ShardIterator=iterator)
        records += page["Records"]
        iterator = page.get("NextShardIterator")
        if not iterator or not page["MillisBehindLatest"]:
            return records, page


def test_records_go_by_the_hash_of_their_keys(region):
    kinesis = region.client("kinesis")
    kinesis.create_stream(StreamName="hashed", ShardCount=3)
    kinesis.get_waiter("stream_exists").wait(StreamName="hashed")
    shards = kinesis.describe_stream(StreamName="hashed")["StreamDescription"]["Shards"]
    keys = [f"key-{n}" for n in range(200)]
    put = kinesis.put_records(StreamName="hashed", Records=[{"PartitionKey": k, "Data": k.encode()} for k in keys])
    assert put["FailedRecordCount"] == 0
    for key, result in zip(keys, put["Records"]):
        number = int.from_bytes(hashlib.md5(key.encode()).digest(), "big")
        wanted = [s["ShardId"] for s in shards
                  if int(s["HashKeyRange"]["StartingHashKey"]) <= number <= int(s["HashKeyRange"]["EndingHashKey"])]
        assert wanted == [result["ShardId"]]
    for shard in shards:
        records, _ = read(kinesis, "hashed", shard["ShardId"])
        assert [r["Data"].decode() for r in records] == [r["PartitionKey"] for r in records]
        numbers = [int(r["SequenceNumber"]) for r in records]
        assert numbers == sorted(numbers) and len({len(str(n)) for n in numbers}) == 1


def test_the_whole_life_of_a_shard(region):
    kinesis = region.client("kinesis")
    kinesis.create_stream(StreamName="family", ShardCount=1)
    kinesis.put_record(StreamName="family", PartitionKey="a", Data=b"old")
    kinesis.split_shard(StreamName="family", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2 ** 127))
    kinesis.get_waiter("stream_exists").wait(StreamName="family")
    kinesis.put_record(StreamName="family", PartitionKey="a", Data=b"new")
    records, page = read(kinesis, "family", "shardId-000000000000")
    assert [r["Data"] for r in records] == [b"old"] and "NextShardIterator" not in page
    children = [c["ShardId"] for c in page["ChildShards"]]
    found = [r["Data"] for c in children for r in read(kinesis, "family", c)[0]]
    assert found == [b"new"]
    kinesis.update_shard_count(StreamName="family", TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    latest = kinesis.list_shards(StreamName="family", ShardFilter={"Type": "AT_LATEST"})["Shards"]
    assert len(latest) == 4


def test_a_consumer_is_pushed_to(region):
    kinesis = region.client("kinesis")
    kinesis.create_stream(StreamName="pushed", ShardCount=1)
    arn = kinesis.describe_stream_summary(StreamName="pushed")["StreamDescriptionSummary"]["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    events = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId="shardId-000000000000",
                                        StartingPosition={"Type": "LATEST"})["EventStream"]
    events = (e["SubscribeToShardEvent"] for e in events)
    assert next(events)["Records"] == []
    sent = time.monotonic()
    kinesis.put_record(StreamName="pushed", PartitionKey="k", Data=b"now")
    event = next(events)
    assert [r["Data"] for r in event["Records"]] == [b"now"]
    assert time.monotonic() - sent < 1, "records are pushed when they come"
    kinesis.split_shard(StreamName="pushed", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2 ** 127))
    last = next(events)
    assert len(last["ChildShards"]) == 2 and "ContinuationSequenceNumber" not in last
    assert list(events) == []


def test_the_cli_puts_and_gets(region):
    region.aws("kinesis", "create-stream", "--stream-name", "cli", "--shard-count", "1")
    region.aws("kinesis", "wait", "stream-exists", "--stream-name", "cli")
    put = region.aws("kinesis", "put-record", "--stream-name", "cli", "--partition-key", "k",
                     "--data", "hello")
    assert put["ShardId"] == "shardId-000000000000"
    iterator = region.aws("kinesis", "get-shard-iterator", "--stream-name", "cli", "--shard-id", put["ShardId"],
                          "--shard-iterator-type", "AT_SEQUENCE_NUMBER", "--starting-sequence-number", put["SequenceNumber"])
    got = region.aws("kinesis", "get-records", "--shard-iterator", iterator["ShardIterator"])
    assert base64.b64decode(got["Records"][0]["Data"]) == b"hello"
    assert "not found" in region.aws("kinesis", "describe-stream", "--stream-name", "none", ok=False)


def test_accounts_and_regions_are_apart(region):
    one, two = region.client("kinesis"), region.client("kinesis", account="111111111111")
    one.create_stream(StreamName="mine", ShardCount=1)
    assert "mine" not in two.list_streams()["StreamNames"]
    with pytest.raises(ClientError, match="under account 111111111111 not found"):
        two.describe_stream(StreamName="mine")
    two.create_stream(StreamName="mine", ShardCount=2)
    assert shard_ids(one, "mine") == ["shardId-000000000000"]


def test_log_events_are_sent_on(region):
    import gzip
    import json
    kinesis, logs = region.client("kinesis"), region.client("logs")
    kinesis.create_stream(StreamName="of-logs", ShardCount=1)
    arn = kinesis.describe_stream_summary(StreamName="of-logs")["StreamDescriptionSummary"]["StreamARN"]
    logs.create_log_group(logGroupName="sent-on")
    logs.create_log_stream(logGroupName="sent-on", logStreamName="s")
    logs.put_subscription_filter(logGroupName="sent-on", filterName="all", filterPattern="", destinationArn=arn,
                                 roleArn="arn:aws:iam::000000000000:role/logs")
    logs.put_log_events(logGroupName="sent-on", logStreamName="s",
                        logEvents=[{"timestamp": int(time.time() * 1000), "message": "hello"}])
    deadline = time.monotonic() + 10
    while True:
        found = [json.loads(gzip.decompress(r["Data"])) for r in read(kinesis, "of-logs", "shardId-000000000000")[0]]
        messages = [e["message"] for f in found if f["messageType"] == "DATA_MESSAGE" for e in f["logEvents"]]
        if messages == ["hello"]:
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert any(f["messageType"] == "CONTROL_MESSAGE" for f in found)


def test_a_shard_is_throttled_where_that_is_asked_for(make_region, monkeypatch):
    monkeypatch.setenv("CUMULO_KINESIS_LIMITS", "1")
    kinesis = make_region().client("kinesis")
    kinesis.create_stream(StreamName="slow", ShardCount=1)
    text = "Rate exceeded for shard shardId-000000000000 in stream slow under account 000000000000."
    results = [r for _ in range(8) for r in kinesis.put_records(StreamName="slow", Records=[
        {"PartitionKey": str(n), "Data": b"x" * 2000} for n in range(400)])["Records"]]
    refused = [r for r in results if "ErrorCode" in r]
    assert refused and len(refused) < len(results)
    assert {(r["ErrorCode"], r["ErrorMessage"]) for r in refused} == {("ProvisionedThroughputExceededException", text)}
    iterator = kinesis.get_shard_iterator(StreamName="slow", ShardId="shardId-000000000000",
                                          ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    with pytest.raises(ClientError) as error:
        for _ in range(100):
            kinesis.get_records(ShardIterator=iterator, Limit=1)
    assert error.value.response["Error"] == {"Code": "ProvisionedThroughputExceededException", "Message": text}


def test_terraform_applies_plans_no_change_and_destroys(stack, terraform):
    region, folder = stack
    (folder / "main.tf").write_text(STREAMS)
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    (folder / "main.tf").write_text(STREAMS.replace("shard_count         = 2", "shard_count         = 4")
                                    .replace("= 48", "= 24").replace('"data"', '"lake"'))
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    summary = region.client("kinesis").describe_stream_summary(StreamName="tf-plain")["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (4, 24)
    terraform.destroy(folder, quiet=True)
    assert region.client("kinesis").list_streams()["StreamNames"] == []


class Writer(threading.Thread):
    """Puts records until it is told to stop; notes what was acknowledged, with its number."""

    def __init__(self, region, name, acknowledged, lock):
        super().__init__(daemon=True)
        self.region, self.name_of, self.acknowledged, self.lock = region, name, acknowledged, lock
        self.stopping = threading.Event()

    def run(self):
        kinesis = self.region.client("kinesis", connect_timeout=2, read_timeout=10)
        count = 0
        while not self.stopping.is_set():
            names = [f"{self.name_of}-{count + i}" for i in range(random.choice([1, 5]))]
            count += len(names)
            try:
                put = kinesis.put_records(StreamName="crash", Records=[{"PartitionKey": n, "Data": n.encode()} for n in names])
                with self.lock:
                    self.acknowledged.update((n, (r["ShardId"], r["SequenceNumber"])) for n, r in zip(names, put["Records"]))
            except (BotoCoreError, ClientError):
                time.sleep(0.02)


@pytest.mark.timeout(300)
def test_no_acknowledged_record_is_lost_in_kills(make_region):
    region = make_region()
    kinesis = region.client("kinesis")
    kinesis.create_stream(StreamName="crash", ShardCount=2)
    acknowledged, lock = {}, threading.Lock()
    for kill in range(KILLS):
        writers = [Writer(region, f"{kill}-{n}", acknowledged, lock) for n in range(3)]
        for w in writers:
            w.start()
        time.sleep(random.uniform(0.2, 0.8))
        if kill % 2:
            kinesis.update_shard_count(StreamName="crash", TargetShardCount=random.choice([2, 3]), ScalingType="UNIFORM_SCALING")
        region.kill()
        for w in writers:
            w.stopping.set()
        for w in writers:
            w.join(30)
        region.start()
    assert len(acknowledged) > 20 * KILLS, "too little was written to tell anything"
    found = {}
    for shard in shard_ids(kinesis, "crash"):
        records, _ = read(kinesis, "crash", shard)
        numbers = [int(r["SequenceNumber"]) for r in records]
        assert numbers == sorted(set(numbers))
        for r in records:
            assert r["Data"].decode() not in found, "a record is twice"
            found[r["Data"].decode()] = (shard, r["SequenceNumber"])
    missing = {n: at for n, at in acknowledged.items() if found.get(n) != at}
    assert not missing
