"""Channels of Kinesis with boto3: what comes into a stream is written to a bucket, in AWS's layout, also across a kill."""
import gzip
import json
import re

import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

ROLE = "arn:aws:iam::000000000000:role/channel"
ACCOUNT = "000000000000"


def stream(kinesis, name):
    kinesis.create_stream(StreamName=name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]


def put(kinesis, arn, *data):
    records = [{"Data": d if isinstance(d, bytes) else d.encode(), "PartitionKey": str(n)} for n, d in enumerate(data)]
    assert kinesis.put_records(StreamARN=arn, Records=records)["FailedRecordCount"] == 0


def arguments(name, arn, bucket, kind="JSON", compression="NONE", more=None, **storage):
    return {
        "ChannelName": name, "ServiceExecutionRoleARN": ROLE,
        "StreamConfigurationList": [{"StreamARN": arn, "RecordConfiguration": {"RecordFormatType": kind}}],
        "S3DestinationConfiguration": {
            "StorageConfiguration": {
                "BucketARN": f"arn:aws:s3:::{bucket}", "ExpectedBucketOwner": ACCOUNT, "CompressionType": compression, **storage},
            **(more or {}),
        },
    }


def create(kinesis, *args, **kwargs):
    return kinesis.create_channel(**arguments(*args, **kwargs))["ChannelDescription"]


def keys(s3, bucket):
    return [o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def written(region, bucket, count=1):
    s3 = region.client("s3")
    wait_for(lambda: len(keys(s3, bucket)) >= count, 30, "the object")
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys(s3, bucket)}


def code(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def test_a_channel_is_made_described_changed_listed_and_deleted(region):
    kinesis, s3 = region.client("kinesis"), region.client("s3")
    s3.create_bucket(Bucket="channel-life")
    arn = stream(kinesis, "c-life")
    made = create(kinesis, "life", arn, "channel-life")
    assert made["ChannelStatus"] == "CREATING"
    channel = made["ChannelARN"]
    assert re.fullmatch(r"arn:aws:kinesis:us-east-1:000000000000:channel/\S+", channel)
    described = kinesis.describe_channel(ChannelARN=channel)["ChannelDescription"]
    assert described["ChannelStatus"] == "ACTIVE"
    destination = described["S3DestinationConfiguration"]
    assert destination["DataFreshnessInSeconds"] == 300
    assert destination["DeadLetterQueueS3Configuration"]["BucketARN"] == "arn:aws:s3:::channel-life"
    assert described["LoggingConfiguration"] == {"CloudWatchLogs": {"Enabled": False}}
    summary = kinesis.describe_stream_summary(StreamName="c-life")["StreamDescriptionSummary"]
    assert summary["ChannelCount"] == 1 and kinesis.describe_limits()["ChannelCount"] >= 1
    changed = kinesis.update_channel(
        ChannelARN=channel, S3DestinationConfiguration={"DataFreshnessInSeconds": 900},
        LoggingConfiguration={"CloudWatchLogs": {"Enabled": True}})["ChannelDescription"]
    assert (changed["ChannelStatus"], changed["S3DestinationConfiguration"]["DataFreshnessInSeconds"]) == ("UPDATING", 900)
    assert changed["LoggingConfiguration"]["CloudWatchLogs"] == {
        "Enabled": True, "LogGroupName": f"/aws/kinesis/life/{made['ChannelId']}", "LogStreamName": "DestinationDelivery"}
    kinesis.tag_resource(ResourceARN=channel, Tags={"a": "b"})
    assert kinesis.list_tags_for_resource(ResourceARN=channel)["Tags"] == [{"Key": "a", "Value": "b"}]
    listed = kinesis.list_channels(StreamFilter=[{"StreamARN": arn}])["ChannelSummaries"]
    assert [(c["ChannelARN"], c["ChannelDestinationType"]) for c in listed] == [(channel, "S3")]
    assert kinesis.list_channels(StreamFilter=[{"StreamARN": arn + "x"}])["ChannelSummaries"] == []

    assert code(kinesis.create_channel, **arguments("life", arn, "channel-life")) == "ResourceInUseException"
    assert code(kinesis.delete_stream, StreamARN=arn) == "ResourceInUseException"
    for wrong in (
        arguments("wrong", arn, "channel-life", kind="GSR_JSON"),
        arguments("wrong", arn, "channel-life", more={"DataFreshnessInSeconds": 60}),
        arguments("wrong", arn, "channel-life", OutputKeyTemplate="!{unknown}"),
        {k: v for k, v in arguments("wrong", arn, "channel-life").items() if k != "S3DestinationConfiguration"},
    ):
        assert code(kinesis.create_channel, **wrong) == "ValidationException"
    assert code(kinesis.create_channel, **arguments("wrong", arn + "x", "channel-life")) == "ResourceNotFoundException"
    kinesis.delete_channel(ChannelARN=channel)
    assert code(kinesis.describe_channel, ChannelARN=channel) == "ResourceNotFoundException"
    kinesis.delete_stream(StreamARN=arn)


def test_records_are_written_when_they_are_old_enough_and_wrong_ones_reported(make_region):
    region = make_region()
    kinesis, s3 = region.client("kinesis"), region.client("s3")
    for bucket in ("lake", "errors"):
        s3.create_bucket(Bucket=bucket)
    arn = stream(kinesis, "lake")
    put(kinesis, arn, '{"before": "the channel"}')
    errors = {"DeadLetterQueueS3Configuration": {
        "BucketARN": "arn:aws:s3:::errors", "ExpectedBucketOwner": ACCOUNT, "ErrorOutputPrefix": "wrong/"}}
    made = create(kinesis, "lake", arn, "lake", compression="GZIP", StorageClass="INTELLIGENT_TIERING", more=errors)
    put(kinesis, arn, *(json.dumps({"n": n}) for n in range(40)), "no json")
    region.cumulo("clock", "advance", "200s")
    put(kinesis, arn, json.dumps({"n": 40}))
    assert keys(s3, "lake") == []
    region.cumulo("clock", "advance", "101s")
    [(key, body)] = written(region, "lake").items()
    pattern = r"kinesis-channel/lake/{0}/\d{{4}}/\d\d/\d\d/\d\d/lake-{0}-\d{{4}}-\d\d-\d\d-\d\d-\d\d-[0-9a-f-]{{36}}\.json\.gz"
    assert re.fullmatch(pattern.format(made["ChannelId"]), key)
    lines = [json.loads(text) for text in gzip.decompress(body).decode().splitlines()]
    assert sorted(line["n"] for line in lines) == list(range(41))
    assert s3.head_object(Bucket="lake", Key=key)["StorageClass"] == "INTELLIGENT_TIERING"
    [(key, body)] = written(region, "errors").items()
    assert key.startswith("wrong/lake/")
    [error] = [json.loads(text) for text in body.decode().splitlines()]
    assert (error["errorCode"], error["channelName"], len(error["sequenceNumber"])) == ("InvalidRecordFormat", "lake", 56)

    # What waits when the server is killed is written afterwards, once, and what was written is not written again.
    put(kinesis, arn, '{"n": 41}')
    region.kill()
    region.start()
    region.cumulo("clock", "advance", "301s")
    bodies = written(region, "lake", 2).values()
    lines = [json.loads(text)["n"] for body in bodies for text in gzip.decompress(body).decode().splitlines()]
    assert sorted(lines) == list(range(42))


def test_what_comes_during_a_delivery_waits_for_the_next(make_region):
    region = make_region()
    kinesis, s3 = region.client("kinesis"), region.client("s3")
    s3.create_bucket(Bucket="steady")
    arn = stream(kinesis, "steady")
    create(kinesis, "steady", arn, "steady")
    put(kinesis, arn, '{"n": 0}')
    region.cumulo("clock", "advance", "301s")
    for n in range(1, 200):
        put(kinesis, arn, json.dumps({"n": n}))
    assert len(written(region, "steady")) == 1
    region.cumulo("clock", "advance", "301s")
    lines = [json.loads(text)["n"] for body in written(region, "steady", 2).values() for text in body.decode().splitlines()]
    assert sorted(lines) == list(range(200))
    assert len(keys(s3, "steady")) == 2


@pytest.mark.parametrize("kind, data, expected", [
    ("STRING", ["one", "two\n"], [b"one", b"two"]),
    ("BYTE_ARRAY", [b"\xff\x00", b"\xff\x00"], None),
])
def test_other_formats_and_a_template(make_region, kind, data, expected):
    region = make_region()
    kinesis, s3 = region.client("kinesis"), region.client("s3")
    s3.create_bucket(Bucket="plain")
    arn = stream(kinesis, "plain")
    create(kinesis, "plain", arn, "plain", kind=kind, OutputKeyTemplate="raw/!{channel-name}/!{yyyy}")
    put(kinesis, arn, *data)
    region.cumulo("clock", "advance", "301s")
    [(key, body)] = written(region, "plain").items()
    assert re.fullmatch(r"raw/plain/\d{4}-[0-9a-f-]{36}", key)
    if expected:
        assert sorted(body.splitlines()) == expected and body.endswith(b"\n")
    else:
        assert body == b"\xff\x00\xff\x00"


def test_records_wait_for_a_bucket_that_is_missing(make_region):
    region = make_region()
    kinesis, s3, logs = region.client("kinesis"), region.client("s3"), region.client("logs")
    arn = stream(kinesis, "waits")
    made = create(kinesis, "waits", arn, "late-bucket")
    kinesis.update_channel(ChannelARN=made["ChannelARN"], LoggingConfiguration={"CloudWatchLogs": {"Enabled": True}})
    put(kinesis, arn, '{"a": 1}')
    region.cumulo("clock", "advance", "301s")
    group = f"/aws/kinesis/waits/{made['ChannelId']}"

    def told():
        groups = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        return groups and logs.filter_log_events(logGroupName=group)["events"]

    assert json.loads(wait_for(told, 30, "the error")[0]["message"])["errorCode"] == "S3.NoSuchBucket"
    s3.create_bucket(Bucket="late-bucket")
    region.cumulo("clock", "advance", "61s")
    assert list(written(region, "late-bucket").values()) == [b'{"a": 1}\n']
    # A deleted channel writes nothing more.
    kinesis.delete_channel(ChannelARN=made["ChannelARN"])
    put(kinesis, arn, '{"a": 2}')
    region.cumulo("clock", "advance", "301s")
    assert len(keys(s3, "late-bucket")) == 1
