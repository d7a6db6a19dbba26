"""Functions fed from data streams and tables' streams; what they fail at, and what asynchronous invocations end in, with real clients."""
import base64
import json
import time

import pytest
from botocore.exceptions import ClientError
from conftest import KILLS, wait_for, zipped

# Notes each event in a queue, and fails as its records and its environment ask for.
NOTE = '''
import base64, json, os, boto3

sqs = boto3.client("sqs")

def text(record):
    if "kinesis" in record:
        return base64.b64decode(record["kinesis"]["data"]).decode(errors="replace")
    return json.dumps(record["dynamodb"]["Keys"])

def number(record):
    return record.get("kinesis", {}).get("sequenceNumber") or record["dynamodb"]["SequenceNumber"]

def handler(event, context):
    texts = [text(r) for r in event.get("Records", [])]
    how = os.environ.get("HOW", "")
    bad = [r for r, t in zip(event.get("Records", []), texts) if "bad" in t]
    sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps({"texts": texts, "event": event}))
    if how == "report":
        return {"batchItemFailures": [{"itemIdentifier": number(r)} for r in bad]}
    if how == "sum":
        state = event["state"]
        state["n"] = state.get("n", 0) + len(texts)
        return {"state": state}
    if bad:
        raise ValueError("a bad record")
'''


class Made:
    """Makes functions with a queue each, and streams."""

    def __init__(self, region):
        self.client = region.client

    def function(self, name, code=NOTE, **environment):
        url = self.client("sqs").create_queue(QueueName=name + "-out")["QueueUrl"]
        functions = self.client("lambda")
        functions.create_function(FunctionName=name, Runtime="python3.11", Timeout=20, Handler="handler.handler",
                                  Role="arn:aws:iam::000000000000:role/made-up", Code={"ZipFile": zipped(code)},
                                  Environment={"Variables": dict(environment, OUT=url)})
        functions.get_waiter("function_active_v2").wait(FunctionName=name)
        return url

    def queue(self, name):
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def stream(self, name, shards=1):
        kinesis = self.client("kinesis")
        kinesis.create_stream(StreamName=name, ShardCount=shards)
        return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]

    def table(self, name):
        return self.client("dynamodb").create_table(
            TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )["TableDescription"]["LatestStreamArn"]

    def mapping(self, function, source, **settings):
        functions = self.client("lambda")
        made = functions.create_event_source_mapping(FunctionName=function, EventSourceArn=source, **settings)
        wait_for(lambda: self.mapping_of(made["UUID"])["State"] in ("Enabled", "Disabled"), 20, "the mapping")
        return made

    def mapping_of(self, uuid):
        return self.client("lambda").get_event_source_mapping(UUID=uuid)

    def put(self, stream, *texts, key="k"):
        return self.client("kinesis").put_records(
            StreamName=stream, Records=[{"PartitionKey": key, "Data": t.encode()} for t in texts])["Records"]

    def drain(self, url, is_enough, seconds=60):
        """Receives messages until they are enough; their bodies."""
        sqs, found = self.client("sqs"), []
        deadline = time.monotonic() + seconds
        while not is_enough(found):
            assert time.monotonic() < deadline, found
            for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1,
                                         MessageAttributeNames=["All"]).get("Messages", []):
                found.append(json.loads(m["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        return found

    def texts(self, url, count):
        batches = self.drain(url, lambda found: sum(len(f["texts"]) for f in found) >= count)
        return [t for b in batches for t in b["texts"]], batches


@pytest.fixture(scope="module")
def made(region):
    return Made(region)


def test_a_function_is_fed_from_a_data_stream(made):
    arn, url = made.stream("plain"), made.function("plain")
    mapping = made.mapping("plain", arn, StartingPosition="TRIM_HORIZON")
    uuid = mapping.pop("UUID")
    for name in ("ResponseMetadata", "LastModified"):
        mapping.pop(name)
    assert mapping == {
        "BatchSize": 100, "BisectBatchOnFunctionError": False, "DestinationConfig": {"OnFailure": {}}, "EventSourceArn": arn,
        "EventSourceMappingArn": f"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{uuid}",
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:plain", "FunctionResponseTypes": [],
        "LastProcessingResult": "No records processed", "MaximumBatchingWindowInSeconds": 0, "MaximumRecordAgeInSeconds": -1,
        "MaximumRetryAttempts": -1, "ParallelizationFactor": 1, "StartingPosition": "TRIM_HORIZON", "State": "Creating",
        "StateTransitionReason": "User action", "TumblingWindowInSeconds": 0}
    put = made.put("plain", *(str(n) for n in range(250)))
    texts, batches = made.texts(url, 250)
    assert texts == [str(n) for n in range(250)]
    assert max(len(b["texts"]) for b in batches) <= 100
    record = batches[0]["event"]["Records"][0]
    number = put[0]["SequenceNumber"]
    assert isinstance(record["kinesis"].pop("approximateArrivalTimestamp"), float)
    assert record == {
        "kinesis": {"kinesisSchemaVersion": "1.0", "partitionKey": "k", "sequenceNumber": number,
                    "data": base64.b64encode(b"0").decode()},
        "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": "shardId-000000000000:" + number,
        "eventName": "aws:kinesis:record", "invokeIdentityArn": "arn:aws:iam::000000000000:role/made-up",
        "awsRegion": "us-east-1", "eventSourceARN": arn}
    assert made.mapping_of(uuid)["LastProcessingResult"] == "OK"
    with pytest.raises(ClientError, match=f"provided mapping already exists. Please update or delete the existing mapping with UUID {uuid}"):
        made.mapping("plain", arn, StartingPosition="LATEST")


def test_a_mapping_can_be_paused_changed_and_deleted(made):
    functions = made.client("lambda")
    arn, url = made.stream("paused"), made.function("paused")
    made.put("paused", "before")
    uuid = made.mapping("paused", arn, StartingPosition="LATEST")["UUID"]
    made.put("paused", "one")
    assert made.texts(url, 1)[0] == ["one"]
    functions.update_event_source_mapping(UUID=uuid, Enabled=False)
    wait_for(lambda: made.mapping_of(uuid)["State"] == "Disabled", 20, "disabling")
    made.put("paused", "two", "three")
    changed = functions.update_event_source_mapping(UUID=uuid, Enabled=True, BatchSize=1, ParallelizationFactor=4,
                                                    MaximumRetryAttempts=3, MaximumRecordAgeInSeconds=90)
    assert (changed["State"], changed["BatchSize"], changed["ParallelizationFactor"]) == ("Enabling", 1, 4)
    texts, batches = made.texts(url, 2)
    assert texts == ["two", "three"] and len(batches) == 2
    assert functions.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"

    def gone():
        try:
            made.mapping_of(uuid)
        except ClientError as e:
            return e.response["Error"]["Code"] == "ResourceNotFoundException"
    wait_for(gone, 20, "the deletion")


@pytest.mark.parametrize("settings, text", [
    ({}, "Value null at 'startingPosition' failed to satisfy constraint: Member must not be null"),
    ({"StartingPosition": "LATEST", "StartingPositionTimestamp": 1}, "Timestamp only valid with StartingPosition AT_TIMESTAMP"),
    ({"StartingPosition": "LATEST", "EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/none"}, "Stream not found: "),
    ({"StartingPosition": "LATEST", "MaximumRecordAgeInSeconds": 30}, "maximumRecordAgeInSeconds"),
    ({"StartingPosition": "LATEST", "FilterCriteria": {"Filters": [{"Pattern": "single-string"}]}}, "Invalid filter pattern definition."),
    ({"StartingPosition": "LATEST", "DestinationConfig": {"OnSuccess": {"Destination": "arn:aws:sqs:us-east-1:000000000000:q"}}},
     "Unsupported DestinationConfig parameter"),
])
def test_what_a_mapping_is_refused_for(made, settings, text):
    functions = made.client("lambda")
    if "refused" not in made.client("kinesis").list_streams()["StreamNames"]:
        made.stream("refused")
        made.function("refused")
    settings.setdefault("EventSourceArn", "arn:aws:kinesis:us-east-1:000000000000:stream/refused")
    with pytest.raises(ClientError, match=text):
        functions.create_event_source_mapping(FunctionName="refused", **settings)


def test_a_function_is_fed_from_a_table(made):
    dynamo = made.client("dynamodb")
    arn, url = made.table("fed"), made.function("fed")
    with pytest.raises(ClientError, match="Unsupported starting position for arn type: " + arn):
        made.mapping("fed", arn, StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=1)
    made.mapping("fed", arn, StartingPosition="TRIM_HORIZON", FilterCriteria={"Filters": [
        {"Pattern": json.dumps({"eventName": ["INSERT"], "dynamodb": {"NewImage": {"n": {"N": [{"exists": True}]}}}})}]})
    dynamo.put_item(TableName="fed", Item={"id": {"S": "no"}})
    for n in range(5):
        dynamo.put_item(TableName="fed", Item={"id": {"S": str(n)}, "n": {"N": str(n)}})
        dynamo.delete_item(TableName="fed", Key={"id": {"S": str(n)}})
    texts, batches = made.texts(url, 5)
    assert texts == [json.dumps({"id": {"S": str(n)}}) for n in range(5)]
    record = batches[0]["event"]["Records"][0]
    assert (record["eventSource"], record["eventName"], record["eventSourceARN"]) == ("aws:dynamodb", "INSERT", arn)
    assert record["dynamodb"]["NewImage"] == {"id": {"S": "0"}, "n": {"N": "0"}}


def test_a_consumer_of_a_data_stream_is_a_source(made):
    kinesis = made.client("kinesis")
    arn, url = made.stream("consumed"), made.function("consumed")
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    made.put("consumed", "0")
    start = made.client("kinesis").describe_stream_summary(StreamName="consumed")["StreamDescriptionSummary"]["StreamCreationTimestamp"]
    mapping = made.mapping("consumed", consumer, StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=start)
    assert (mapping["EventSourceArn"], mapping["StartingPosition"], mapping["StartingPositionTimestamp"]) == (consumer, "AT_TIMESTAMP", start)
    made.put("consumed", "1")
    texts, batches = made.texts(url, 2)
    assert texts == ["0", "1"] and batches[0]["event"]["Records"][0]["eventSourceARN"] == consumer


def test_only_wanted_records_are_handed_over(made):
    arn, url = made.stream("wanted"), made.function("wanted")
    made.mapping("wanted", arn, StartingPosition="TRIM_HORIZON",
                 FilterCriteria={"Filters": [{"Pattern": json.dumps({"data": {"kind": ["a"]}})}]})
    made.put("wanted", "no json", json.dumps({"kind": "b"}), json.dumps({"kind": "a", "n": 1}), json.dumps({"kind": "a", "n": 2}))
    texts, _ = made.texts(url, 2)
    assert [json.loads(t)["n"] for t in texts] == [1, 2]


@pytest.mark.parametrize("kind", ["sqs", "sns", "s3"])
def test_what_is_given_up_goes_to_its_destination(made, kind):
    name = "given-up-" + kind
    arn, url = made.stream(name), made.function(name)
    lost, lost_arn = made.queue(name + "-lost")
    target = lost_arn
    if kind == "sns":
        sns = made.client("sns")
        target = sns.create_topic(Name=name)["TopicArn"]
        made.client("sqs").set_queue_attributes(QueueUrl=lost, Attributes={"Policy": json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}]})})
        sns.subscribe(TopicArn=target, Protocol="sqs", Endpoint=lost_arn, Attributes={"RawMessageDelivery": "true"})
    if kind == "s3":
        made.client("s3").create_bucket(Bucket=name)
        target = "arn:aws:s3:::" + name
    uuid = made.mapping(name, arn, StartingPosition="TRIM_HORIZON", MaximumRetryAttempts=1, BisectBatchOnFunctionError=True,
                        DestinationConfig={"OnFailure": {"Destination": target}})["UUID"]
    put = made.put(name, "1", "2", "bad", "4")
    if kind == "s3":
        s3 = made.client("s3")
        found = wait_for(lambda: s3.list_objects_v2(Bucket=name).get("Contents"), 60, "an object")
        assert found[0]["Key"].startswith(f"aws/lambda/{uuid}/shardId-000000000000/2")
        record = json.loads(s3.get_object(Bucket=name, Key=found[0]["Key"])["Body"].read())
        event = record.pop("payload")
        assert [r["kinesis"]["sequenceNumber"] for r in event["Records"]] == [put[2]["SequenceNumber"]]
    else:
        record, = made.drain(lost, lambda found: len(found) == 1)
    context = record["requestContext"]
    assert len(context.pop("requestId")) == 36
    assert context == {"functionArn": "arn:aws:lambda:us-east-1:000000000000:function:" + name,
                       "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 4}
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert record["version"] == "1.0" and record["timestamp"].endswith("Z")
    info = record["KinesisBatchInfo"]
    assert info.pop("approximateArrivalOfFirstRecord") == info.pop("approximateArrivalOfLastRecord")
    assert info == {"shardId": "shardId-000000000000", "startSequenceNumber": put[2]["SequenceNumber"],
                    "endSequenceNumber": put[2]["SequenceNumber"], "batchSize": 1, "streamArn": arn}
    batches = [b["texts"] for b in made.drain(url, lambda found: ["4"] in [f["texts"] for f in found])]
    assert batches == [["1", "2", "bad", "4"], ["1", "2"], ["bad", "4"], ["bad"], ["bad"], ["4"]]


def test_a_table_s_records_are_given_up_in_its_own_form(made):
    arn, url = made.table("lost-rows"), made.function("lost-rows")
    lost, lost_arn = made.queue("lost-rows-lost")
    made.mapping("lost-rows", arn, StartingPosition="TRIM_HORIZON", MaximumRetryAttempts=0,
                 DestinationConfig={"OnFailure": {"Destination": lost_arn}})
    made.client("dynamodb").put_item(TableName="lost-rows", Item={"id": {"S": "bad"}})
    record, = made.drain(lost, lambda found: len(found) == 1)
    assert record["requestContext"]["approximateInvokeCount"] == 1
    info = record["DDBStreamBatchInfo"]
    assert (info["batchSize"], info["streamArn"]) == (1, arn)
    assert len(info["approximateArrivalOfFirstRecord"]) == len("2022-07-13T13:48:01Z")


def test_failures_are_counted_across_a_kill(make_region):
    region = make_region()
    made = Made(region)
    arn, url = made.stream("count"), made.function("count")
    lost, lost_arn = made.queue("count-lost")
    made.put("count", "1", "bad")
    made.mapping("count", arn, StartingPosition="TRIM_HORIZON", MaximumRetryAttempts=4,
                 DestinationConfig={"OnFailure": {"Destination": lost_arn}})
    tried = made.drain(url, lambda found: len(found) == 3)
    made.put("count", "later")
    region.kill()
    region.start()
    record, = made.drain(lost, lambda found: len(found) == 1)
    assert record["requestContext"]["approximateInvokeCount"] == 5 and record["KinesisBatchInfo"]["batchSize"] == 2
    tried += made.drain(url, lambda found: ["later"] in [f["texts"] for f in found])
    # The attempt that the kill cut off is not counted.
    assert [t["texts"] for t in tried][:5] == [["1", "bad"]] * 5 and len(tried) in (6, 7)


def test_what_is_too_old_is_given_up_untried(make_region):
    region = make_region()
    made = Made(region)
    arn, url = made.stream("old"), made.function("old")
    lost, lost_arn = made.queue("old-lost")
    made.put("old", "old")
    region.cumulo("clock", "advance", "2m")
    made.put("old", "new")
    made.mapping("old", arn, StartingPosition="TRIM_HORIZON", MaximumRecordAgeInSeconds=60,
                 DestinationConfig={"OnFailure": {"Destination": lost_arn}})
    record, = made.drain(lost, lambda found: len(found) == 1)
    assert (record["requestContext"]["condition"], record["requestContext"]["approximateInvokeCount"]) == ("RecordAgeExceeded", 1)
    assert "responseContext" not in record and record["KinesisBatchInfo"]["batchSize"] == 1
    assert made.texts(url, 1)[0] == ["new"]


def test_a_report_says_where_to_go_on(made):
    arn, url = made.stream("report"), made.function("report", HOW="report")
    lost, lost_arn = made.queue("report-lost")
    made.mapping("report", arn, StartingPosition="TRIM_HORIZON", MaximumRetryAttempts=1,
                 FunctionResponseTypes=["ReportBatchItemFailures"], DestinationConfig={"OnFailure": {"Destination": lost_arn}})
    made.put("report", "1", "bad 2", "3", "bad 4", "5")
    batches = [b["texts"] for b in made.drain(url, lambda found: len(found) >= 2)]
    assert batches[:2] == [["1", "bad 2", "3", "bad 4", "5"], ["bad 2", "3", "bad 4", "5"]]
    record, = made.drain(lost, lambda found: len(found) == 1)
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": None}
    assert record["KinesisBatchInfo"]["batchSize"] == 4


def test_a_window_keeps_a_state(make_region):
    region = make_region()
    made = Made(region)
    arn, url = made.stream("summed"), made.function("summed", HOW="sum")
    made.mapping("summed", arn, StartingPosition="TRIM_HORIZON", TumblingWindowInSeconds=900)
    made.put("summed", "1", "2", "3")
    _, (first, *_) = made.texts(url, 3)
    made.put("summed", "4")
    made.texts(url, 1)
    region.cumulo("clock", "advance", "20m")
    final, = made.drain(url, lambda found: len(found) == 1)
    event = final["event"]
    assert (event["Records"], event["state"], event["shardId"], event["eventSourceARN"]) == ([], {"n": 4}, "shardId-000000000000", arn)
    assert (event["isFinalInvokeForWindow"], event["isWindowTerminatedEarly"]) == (True, False)
    assert first["event"]["state"] == {} and not first["event"]["isFinalInvokeForWindow"]
    assert first["event"]["window"] == event["window"] and len(event["window"]["start"]) == len("2020-07-30T17:00:00Z")
    made.put("summed", "5")
    _, (again, *_) = made.texts(url, 1)
    assert again["event"]["state"] == {} and again["event"]["window"]["start"] >= event["window"]["end"]


def test_children_are_read_behind_their_parents_and_keys_keep_their_order(made):
    kinesis = made.client("kinesis")
    arn, url = made.stream("family"), made.function("family")
    made.mapping("family", arn, StartingPosition="TRIM_HORIZON", ParallelizationFactor=5, BatchSize=10)
    wanted = {}
    for round_ in range(3):
        for n in range(40):
            key = f"key-{n % 8}"
            made.put("family", f"{key}:{round_}-{n}", key=key)
            wanted.setdefault(key, []).append(f"{round_}-{n}")
        kinesis.update_shard_count(StreamName="family", TargetShardCount=2 + round_ % 2, ScalingType="UNIFORM_SCALING")
    texts, _ = made.texts(url, 120)
    assert len(texts) == 120
    # The queue that tells of it has no order of its own.
    assert sorted(texts) == sorted(f"{k}:{v}" for k, all_ in wanted.items() for v in all_)


def test_a_table_s_changes_are_sent_on_to_a_data_stream(made):
    dynamo, kinesis = made.client("dynamodb"), made.client("kinesis")
    arn = made.stream("changes")
    made.table("sent-on")
    enabled = dynamo.enable_kinesis_streaming_destination(TableName="sent-on", StreamArn=arn, EnableKinesisStreamingConfiguration={
        "ApproximateCreationDateTimePrecision": "MICROSECOND"})
    assert enabled["DestinationStatus"] == "ENABLING"
    dynamo.put_item(TableName="sent-on", Item={"id": {"S": "a"}, "n": {"N": "1"}})

    def records(count):
        iterator = kinesis.get_shard_iterator(StreamName="changes", ShardId="shardId-000000000000",
                                              ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        found = kinesis.get_records(ShardIterator=iterator)["Records"]
        return found if len(found) >= count else None
    first, = wait_for(lambda: records(1), 20, "a record")
    record = json.loads(first["Data"])
    change = record["dynamodb"]
    assert len(str(change.pop("ApproximateCreationDateTime"))) == 16 and len(record.pop("eventID")) == 36
    assert change == {"ApproximateCreationDateTimePrecision": "MICROSECOND", "Keys": {"id": {"S": "a"}},
                      "NewImage": {"id": {"S": "a"}, "n": {"N": "1"}}, "SizeBytes": 9}
    assert {k: v for k, v in record.items() if k != "dynamodb"} == {
        "awsRegion": "us-east-1", "eventName": "INSERT", "userIdentity": None, "recordFormat": "application/json",
        "tableName": "sent-on", "eventSource": "aws:dynamodb"}
    dynamo.update_kinesis_streaming_destination(TableName="sent-on", StreamArn=arn, UpdateKinesisStreamingConfiguration={
        "ApproximateCreationDateTimePrecision": "MILLISECOND"})
    dynamo.delete_item(TableName="sent-on", Key={"id": {"S": "a"}})
    second = wait_for(lambda: records(2), 20, "another record")[1]
    assert second["PartitionKey"] == first["PartitionKey"]
    record = json.loads(second["Data"])
    assert (record["eventName"], record["dynamodb"]["OldImage"]) == ("REMOVE", {"id": {"S": "a"}, "n": {"N": "1"}})
    assert len(str(record["dynamodb"]["ApproximateCreationDateTime"])) == 13
    dynamo.disable_kinesis_streaming_destination(TableName="sent-on", StreamArn=arn)
    dynamo.put_item(TableName="sent-on", Item={"id": {"S": "b"}})
    described, = dynamo.describe_kinesis_streaming_destination(TableName="sent-on")["KinesisDataStreamDestinations"]
    assert (described["StreamArn"], described["DestinationStatus"]) == (arn, "DISABLED")
    assert len(records(2)) == 2


def test_log_events_reach_a_function(made):
    logs, functions = made.client("logs"), made.client("lambda")
    url = made.function("listens", code='''
import base64, gzip, json, os, boto3

def handler(event, context):
    text = gzip.decompress(base64.b64decode(event["awslogs"]["data"])).decode()
    boto3.client("sqs").send_message(QueueUrl=os.environ["OUT"], MessageBody=text)
''')
    arn = "arn:aws:lambda:us-east-1:000000000000:function:listens"
    logs.create_log_group(logGroupName="listened-to")
    logs.create_log_stream(logGroupName="listened-to", logStreamName="s")
    with pytest.raises(ClientError, match="Could not execute the lambda function. Make sure you have given CloudWatch Logs permission"):
        logs.put_subscription_filter(logGroupName="listened-to", filterName="f", filterPattern="ERROR", destinationArn=arn)
    functions.add_permission(FunctionName="listens", StatementId="logs", Action="lambda:InvokeFunction", Principal="logs.amazonaws.com")
    logs.put_subscription_filter(logGroupName="listened-to", filterName="f", filterPattern="ERROR", destinationArn=arn)
    now = int(time.time() * 1000)
    logs.put_log_events(logGroupName="listened-to", logStreamName="s", logEvents=[
        {"timestamp": now, "message": "fine"}, {"timestamp": now, "message": "ERROR one"}])
    message, = made.drain(url, lambda found: len(found) == 1)
    event, = message.pop("logEvents")
    assert message == {"messageType": "DATA_MESSAGE", "owner": "000000000000", "logGroup": "listened-to", "logStream": "s",
                       "subscriptionFilters": ["f"]}
    assert (event["message"], event["timestamp"]) == ("ERROR one", now) and event["id"].isdigit()


def test_an_invocation_ends_in_its_destinations_and_dead_letter_queue(made):
    functions, sqs, sns = made.client("lambda"), made.client("sqs"), made.client("sns")
    made.function("ends", code='def handler(event, context):\n    if event.get("bad"):\n        raise ValueError("so bad")\n    return "fine"\n')
    dead, dead_arn = made.queue("ends-dead")
    good, good_arn = made.queue("ends-good")
    failed, failed_arn = made.queue("ends-failed")
    topic = sns.create_topic(Name="ends-failed")["TopicArn"]
    sqs.set_queue_attributes(QueueUrl=failed, Attributes={"Policy": json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}]})})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=failed_arn, Attributes={"RawMessageDelivery": "true"})
    functions.update_function_configuration(FunctionName="ends", DeadLetterConfig={"TargetArn": dead_arn})
    functions.get_waiter("function_updated_v2").wait(FunctionName="ends")
    functions.put_function_event_invoke_config(FunctionName="ends", MaximumRetryAttempts=0, DestinationConfig={
        "OnSuccess": {"Destination": good_arn}, "OnFailure": {"Destination": topic}})
    functions.invoke(FunctionName="ends", InvocationType="Event", Payload=b'{"n": 1}')
    record, = made.drain(good, lambda found: len(found) == 1)
    assert (record["requestContext"]["condition"], record["responsePayload"], record["requestPayload"]) == ("Success", "fine", {"n": 1})
    functions.invoke(FunctionName="ends", InvocationType="Event", Payload=b'{"bad": true}')
    record, = made.drain(failed, lambda found: len(found) == 1)
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responsePayload"]["errorMessage"] == "so bad"
    message, = wait_for(lambda: sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=1, MessageAttributeNames=["All"]).get("Messages"),
                        60, "the dead letter")
    assert json.loads(message["Body"]) == {"bad": True}
    attributes = message["MessageAttributes"]
    assert (attributes["ErrorCode"]["StringValue"], attributes["ErrorMessage"]["StringValue"]) == ("200", "so bad")


def test_a_window_of_a_queue_gathers_a_batch(made):
    url, arn = made.queue("gathered")
    out = made.function("gathered", code=NOTE.replace('return json.dumps(record["dynamodb"]["Keys"])', 'return record["body"]'))
    made.mapping("gathered", arn, BatchSize=50, MaximumBatchingWindowInSeconds=3)
    sqs = made.client("sqs")
    for n in range(3):
        sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(i), "MessageBody": f"{n}-{i}"} for i in range(10)])
    texts, batches = made.texts(out, 30)
    assert len(set(texts)) == 30 and len(batches) == 1


def cpu(region):
    fields = open(f"/proc/{region.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_idle_mappings_use_no_processor(make_region, made):
    region = make_region()
    functions, kinesis = region.client("lambda"), region.client("kinesis")
    functions.create_function(FunctionName="idle", Runtime="python3.11", Handler="handler.handler",
                              Role="arn:aws:iam::000000000000:role/made-up", Code={"ZipFile": zipped("def handler(e, c): pass")})
    uuids = []
    for n in range(100):
        kinesis.create_stream(StreamName=f"idle-{n}", ShardCount=1)
        uuids.append(functions.create_event_source_mapping(
            FunctionName="idle", StartingPosition="LATEST", MaximumBatchingWindowInSeconds=1,
            EventSourceArn=f"arn:aws:kinesis:us-east-1:000000000000:stream/idle-{n}")["UUID"])
    wait_for(lambda: all(m["State"] == "Enabled" for m in functions.list_event_source_mappings(MaxItems=100)["EventSourceMappings"]),
             30, "the mappings")

    def is_idle():
        before = cpu(region)
        time.sleep(2)
        return cpu(region) - before <= 4  # ticks of 10 ms
    wait_for(is_idle, 60, "a moment of rest")


@pytest.mark.timeout(300 + 30 * KILLS)
def test_no_record_is_lost_in_kills(make_region):
    region = make_region()
    kinesis, functions, sqs = (region.client(s) for s in ("kinesis", "lambda", "sqs"))
    kinesis.create_stream(StreamName="killed", ShardCount=2)
    url = sqs.create_queue(QueueName="killed-out")["QueueUrl"]
    functions.create_function(FunctionName="killed", Runtime="python3.11", Timeout=20, Handler="handler.handler",
                              Role="arn:aws:iam::000000000000:role/made-up", Code={"ZipFile": zipped(NOTE)},
                              Environment={"Variables": {"OUT": url}})
    functions.get_waiter("function_active_v2").wait(FunctionName="killed")
    functions.create_event_source_mapping(FunctionName="killed", StartingPosition="LATEST", BatchSize=7,
                                          EventSourceArn="arn:aws:kinesis:us-east-1:000000000000:stream/killed")
    wait_for(lambda: functions.list_event_source_mappings()["EventSourceMappings"][0]["State"] == "Enabled", 20, "the mapping")
    wanted = set()
    for kill in range(KILLS):
        texts = [f"{kill}-{n}" for n in range(100)]
        put = kinesis.put_records(StreamName="killed", Records=[{"PartitionKey": t, "Data": t.encode()} for t in texts])
        assert put["FailedRecordCount"] == 0
        wanted |= set(texts)
        time.sleep(0.3 * (kill % 4))
        region.kill()
        region.start()
    found, deadline = [], time.monotonic() + 120
    while not wanted <= set(found):
        assert time.monotonic() < deadline, sorted(wanted - set(found))[:10]
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            found += json.loads(m["Body"])["texts"]
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
    assert len(found) < 3 * len(wanted), "positions were not kept"


MAPPINGS = '''
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
}

resource "aws_kinesis_stream" "s" {
  name        = "tf-mapped"
  shard_count = 1
}

resource "aws_dynamodb_table" "t" {
  name             = "tf-mapped"
  billing_mode     = "PAY_PER_REQUEST"
  hash_key         = "id"
  stream_enabled   = true
  stream_view_type = "NEW_IMAGE"
  attribute {
    name = "id"
    type = "S"
  }
}

resource "aws_sqs_queue" "lost" {
  name = "tf-lost"
}

resource "aws_lambda_function" "f" {
  function_name = "tf-mapped"
  role          = "arn:aws:iam::000000000000:role/r"
  runtime       = "python3.11"
  handler       = "handler.handler"
  filename      = "f.zip"
}

resource "aws_lambda_event_source_mapping" "s" {
  event_source_arn                   = aws_kinesis_stream.s.arn
  function_name                      = aws_lambda_function.f.arn
  starting_position                  = "LATEST"
  batch_size                         = 50
  maximum_batching_window_in_seconds = 2
  parallelization_factor             = 2
  maximum_retry_attempts             = 3
  maximum_record_age_in_seconds      = 120
  bisect_batch_on_function_error     = true
  function_response_types            = ["ReportBatchItemFailures"]
  destination_config {
    on_failure {
      destination_arn = aws_sqs_queue.lost.arn
    }
  }
  filter_criteria {
    filter {
      pattern = jsonencode({ data = { kind = ["a"] } })
    }
  }
}

resource "aws_lambda_event_source_mapping" "t" {
  event_source_arn           = aws_dynamodb_table.t.stream_arn
  function_name              = aws_lambda_function.f.arn
  starting_position          = "TRIM_HORIZON"
  tumbling_window_in_seconds = 30
}

resource "aws_kinesis_stream_consumer" "c" {
  name       = "tf-consumer"
  stream_arn = aws_kinesis_stream.s.arn
}

resource "aws_dynamodb_kinesis_streaming_destination" "d" {
  stream_arn = aws_kinesis_stream.s.arn
  table_name = aws_dynamodb_table.t.name
}
'''


def test_terraform_applies_plans_no_change_and_destroys(stack, terraform):
    region, folder = stack
    (folder / "f.zip").write_bytes(zipped("def handler(e, c): pass"))
    (folder / "main.tf").write_text(MAPPINGS)
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    terraform.destroy(folder, quiet=True)
    wait_for(lambda: not region.client("lambda").list_event_source_mappings()["EventSourceMappings"], 20, "the end")
