"""EventBridge with real clients: rules before functions, queues and topics, schedules, archives, HTTP, Terraform, kills."""
import base64
import http.server
import json
import threading
import time
import uuid

import pytest
from botocore.exceptions import ClientError
from conftest import KILLS, kill_under_load, wait_for, zipped

ECHO = '''
import json, boto3

def handler(event, context):
    boto3.client("s3").put_object(Bucket="heard", Key=event["detail"]["name"], Body=json.dumps(event).encode())
'''
PATTERN = json.dumps({"source": ["shop"], "detail-type": [{"prefix": "order"}]})
ROLE = "arn:aws:iam::000000000000:role/events"


def make_queue(region, name, service="events.amazonaws.com", **attributes):
    sqs = region.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service},
                                                "Action": "sqs:SendMessage", "Resource": arn}]})})
    return url, arn


def take(region, url, count=1, seconds=30):
    """That many messages of a queue."""
    sqs, found = region.client("sqs"), []

    def receive():
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"],
                                     MessageSystemAttributeNames=["All"]).get("Messages", []):
            found.append(m)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        return len(found) >= count
    wait_for(receive, seconds, f"{count} messages")
    return found


def put(region, *details, source="shop", kind="order.placed", **more):
    entries = [{"Source": source, "DetailType": kind, "Detail": json.dumps(d), **more} for d in details]
    answer = region.client("events").put_events(Entries=entries)
    assert answer["FailedEntryCount"] == 0, answer
    return [e["EventId"] for e in answer["Entries"]]


def test_a_rule_reaches_a_function_a_queue_and_a_topic(region):
    events, functions, s3, sns = (region.client(s) for s in ("events", "lambda", "s3", "sns"))
    s3.create_bucket(Bucket="heard")
    arn = functions.create_function(FunctionName="listener", Runtime="python3.11", Handler="handler.handler", Timeout=30,
                                    Role=ROLE, Code={"ZipFile": zipped(ECHO)})["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName="listener")
    rule = events.put_rule(Name="orders", EventPattern=PATTERN)["RuleArn"]
    functions.add_permission(FunctionName="listener", StatementId="events", Action="lambda:InvokeFunction",
                             Principal="events.amazonaws.com", SourceArn=rule)
    url, queue = make_queue(region, "orders")
    fifo_url, fifo = make_queue(region, "orders.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    topic_url, heard = make_queue(region, "topic", "sns.amazonaws.com")
    topic = sns.create_topic(Name="orders")["TopicArn"]
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},
                                                "Action": "sns:Publish", "Resource": topic}]}))
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=heard, Attributes={"RawMessageDelivery": "true"})
    events.put_targets(Rule="orders", Targets=[
        {"Id": "function", "Arn": arn},
        {"Id": "queue", "Arn": queue, "InputPath": "$.detail"},
        {"Id": "fifo", "Arn": fifo, "SqsParameters": {"MessageGroupId": "g"}, "InputTransformer": {
            "InputPathsMap": {"name": "$.detail.name"}, "InputTemplate": '"order <name> by <aws.events.rule-name>"'}},
        {"Id": "topic", "Arn": topic, "Input": '{"fixed": true}'}])
    event_id, = put(region, {"name": "first", "z": 1.50, "a": [1, 2]}, Resources=["arn:x"])
    put(region, {"name": "other"}, source="elsewhere")
    assert take(region, url)[0]["Body"] == '{"name":"first","z":1.5,"a":[1,2]}'
    ordered, = take(region, fifo_url)
    assert ordered["Body"] == '"order first by orders"'
    assert ordered["Attributes"]["MessageGroupId"] == "g"
    assert take(region, topic_url)[0]["Body"] == '{"fixed": true}'
    keys = wait_for(lambda: [o["Key"] for o in s3.list_objects_v2(Bucket="heard").get("Contents", [])], 60, "the function")
    assert keys == ["first"]
    event = json.loads(s3.get_object(Bucket="heard", Key="first")["Body"].read())
    assert list(event) == ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"]
    assert (event["id"], event["account"], event["resources"]) == (event_id, "000000000000", ["arn:x"])
    assert (event["source"], event["detail-type"]) == ("shop", "order.placed")


def test_what_cannot_be_delivered_goes_to_the_dead_letter_queue(region):
    events = region.client("events")
    url, dead = make_queue(region, "dead")
    rule = events.put_rule(Name="doomed", EventPattern=json.dumps({"source": ["doomed"]}))["RuleArn"]
    targets = {"lost": "arn:aws:sqs:us-east-1:000000000000:nowhere", "closed": make_queue(region, "closed", "other.amazonaws.com")[1]}
    events.put_targets(Rule="doomed", Targets=[
        {"Id": name, "Arn": arn, "DeadLetterConfig": {"Arn": dead}, "RetryPolicy": {"MaximumRetryAttempts": 0}}
        for name, arn in targets.items()])
    put(region, {"n": 1}, source="doomed")
    seen = {}
    for message in take(region, url, 2):
        attributes = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
        assert attributes["RULE_ARN"] == rule and attributes["ERROR_MESSAGE"]
        assert json.loads(message["Body"])["detail"] == {"n": 1}
        seen[attributes["TARGET_ARN"]] = attributes["ERROR_CODE"]
    assert seen == {targets["lost"]: "NO_RESOURCE", targets["closed"]: "NO_PERMISSIONS"}


def test_events_pass_from_bus_to_bus_and_from_account_to_account(region):
    mine, other = region.client("events"), region.client("events", account="111111111111")
    bus = other.create_event_bus(Name="theirs")["EventBusArn"]
    refused = mine.put_events(Entries=[{"Source": "s", "DetailType": "d", "Detail": "{}", "EventBusName": bus}])
    assert refused["FailedEntryCount"] == 1 and refused["Entries"][0]["ErrorCode"] == "AccessDeniedException"
    other.put_permission(EventBusName="theirs", Action="events:PutEvents", Principal="000000000000", StatementId="friend")
    sqs = region.client("sqs", account="111111111111")
    url = sqs.create_queue(QueueName="theirs")["QueueUrl"]
    other.put_rule(Name="all", EventBusName="theirs", EventPattern=json.dumps({"account": ["000000000000"]}))
    other.put_targets(Rule="all", EventBusName="theirs", Targets=[
        {"Id": "q", "Arn": "arn:aws:sqs:us-east-1:111111111111:theirs", "RoleArn": "arn:aws:iam::111111111111:role/r"}])
    mine.put_rule(Name="across", EventPattern=json.dumps({"source": ["across"]}))
    mine.put_targets(Rule="across", Targets=[{"Id": "bus", "Arn": bus, "RoleArn": ROLE}])
    put(region, {"n": 1}, source="across")

    def received():
        return sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages")
    event = json.loads(wait_for(received, 20, "the event")[0]["Body"])
    assert (event["account"], event["source"], event["detail"]) == ("000000000000", "across", {"n": 1})
    other.remove_permission(EventBusName="theirs", StatementId="friend")
    assert "Policy" not in other.describe_event_bus(Name="theirs")


def test_objects_tell_the_default_bus(region):
    events, s3 = region.client("events"), region.client("s3")
    url, queue = make_queue(region, "objects")
    s3.create_bucket(Bucket="told")
    s3.put_bucket_notification_configuration(Bucket="told", NotificationConfiguration={"EventBridgeConfiguration": {}})
    assert s3.get_bucket_notification_configuration(Bucket="told")["EventBridgeConfiguration"] == {}
    events.put_rule(Name="objects", EventPattern=json.dumps({
        "source": ["aws.s3"], "detail": {"bucket": {"name": ["told"]}, "object": {"key": [{"prefix": "in/"}]}}}))
    events.put_targets(Rule="objects", Targets=[{"Id": "q", "Arn": queue}])
    s3.put_object(Bucket="told", Key="out/x", Body=b"x")
    s3.put_object(Bucket="told", Key="in/a b", Body=b"12345")
    s3.delete_object(Bucket="told", Key="in/a b")
    told = {e["detail-type"]: e for e in (json.loads(m["Body"]) for m in take(region, url, 2))}
    created, deleted = told["Object Created"], told["Object Deleted"]
    assert created["resources"] == ["arn:aws:s3:::told"]
    detail = created["detail"]
    assert (detail["version"], detail["reason"], detail["requester"]) == ("0", "PutObject", "000000000000")
    assert detail["object"]["key"] == "in/a b" and detail["object"]["size"] == 5 and detail["object"]["etag"]
    assert {"request-id", "source-ip-address"} <= set(detail) and detail["object"]["sequencer"]
    assert deleted["detail"]["deletion-type"] == "Permanently Deleted"
    assert set(deleted["detail"]["object"]) == {"key", "sequencer"}
    assert deleted["detail"]["object"]["sequencer"] > detail["object"]["sequencer"]


def test_a_log_group_gets_events(region):
    events, logs = region.client("events"), region.client("logs")
    logs.create_log_group(logGroupName="/aws/events/all")
    events.put_rule(Name="logged", EventPattern=json.dumps({"source": ["logged"]}))
    events.put_targets(Rule="logged", Targets=[
        {"Id": "l", "Arn": "arn:aws:logs:us-east-1:000000000000:log-group:/aws/events/all"}])
    event_id, = put(region, {"n": 1}, source="logged")
    found = wait_for(lambda: logs.filter_log_events(logGroupName="/aws/events/all")["events"], 20, "the log event")
    assert json.loads(found[0]["message"])["id"] == event_id


def test_a_stream_gets_events_by_their_key(region):
    events, kinesis = region.client("events"), region.client("kinesis")
    kinesis.create_stream(StreamName="events", ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName="events")
    events.put_rule(Name="streamed", EventPattern=json.dumps({"source": ["streamed"]}))
    events.put_targets(Rule="streamed", Targets=[
        {"Id": "s", "Arn": "arn:aws:kinesis:us-east-1:000000000000:stream/events", "RoleArn": ROLE,
         "KinesisParameters": {"PartitionKeyPath": "$.detail.key"}}])
    put(region, {"key": "k1"}, source="streamed")
    shard = kinesis.list_shards(StreamName="events")["Shards"][0]["ShardId"]

    def records():
        at = kinesis.get_shard_iterator(StreamName="events", ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        return kinesis.get_records(ShardIterator=at)["Records"]
    record, = wait_for(records, 20, "the record")
    assert record["PartitionKey"] == "k1" and json.loads(record["Data"])["detail"] == {"key": "k1"}


def test_a_function_tells_a_bus_how_it_went(region):
    events, functions = region.client("events"), region.client("lambda")
    url, queue = make_queue(region, "results")
    events.put_rule(Name="results", EventPattern=json.dumps({"source": ["lambda"]}))
    events.put_targets(Rule="results", Targets=[{"Id": "q", "Arn": queue}])
    arn = functions.create_function(FunctionName="teller", Runtime="python3.11", Handler="handler.handler", Timeout=30, Role=ROLE,
                                    Code={"ZipFile": zipped("def handler(event, context):\n    return event\n")})["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName="teller")
    bus = "arn:aws:events:us-east-1:000000000000:event-bus/default"
    functions.put_function_event_invoke_config(FunctionName="teller", DestinationConfig={"OnSuccess": {"Destination": bus}})
    functions.invoke(FunctionName="teller", InvocationType="Event", Payload=b'{"n": 1}')
    event = json.loads(take(region, url, 1, 60)[0]["Body"])
    assert event["detail-type"] == "Lambda Function Invocation Result - Success"
    assert event["resources"] == [bus, arn + ":$LATEST"]
    assert event["detail"]["responsePayload"] == {"n": 1}


def test_a_delivery_stream_gets_events(region):
    events, firehose, s3 = (region.client(s) for s in ("events", "firehose", "s3"))
    s3.create_bucket(Bucket="gathered")
    arn = firehose.create_delivery_stream(DeliveryStreamName="gathered", ExtendedS3DestinationConfiguration={
        "RoleARN": ROLE, "BucketARN": "arn:aws:s3:::gathered", "BufferingHints": {"IntervalInSeconds": 0, "SizeInMBs": 1},
    })["DeliveryStreamARN"]
    events.put_rule(Name="gathered", EventPattern=json.dumps({"source": ["gathered"]}))
    events.put_targets(Rule="gathered", Targets=[{"Id": "f", "Arn": arn, "RoleArn": ROLE, "InputPath": "$.detail"}])
    put(region, {"n": 1}, source="gathered")
    found = wait_for(lambda: s3.list_objects_v2(Bucket="gathered").get("Contents"), 30, "the object")
    assert s3.get_object(Bucket="gathered", Key=found[0]["Key"])["Body"].read() == b'{"n":1}'


def test_schedules_follow_the_clock_and_survive_a_kill(make_region):
    region = make_region()
    events = region.client("events")
    url, queue = make_queue(region, "ticks")
    rule = events.put_rule(Name="hourly", ScheduleExpression="rate(1 hour)")["RuleArn"]
    events.put_rule(Name="nightly", ScheduleExpression="cron(0 0 * * ? *)")
    for name in ("hourly", "nightly"):
        events.put_targets(Rule=name, Targets=[{"Id": "q", "Arn": queue}])
    region.kill()
    region.start()
    region.cumulo("clock", "advance", "24h")
    ticks = [json.loads(m["Body"]) for m in take(region, url, 25)]
    hourly = [t for t in ticks if t["resources"] == [rule]]
    assert len(hourly) == 24 and len(ticks) == 25
    assert (hourly[0]["detail-type"], hourly[0]["source"], hourly[0]["detail"]) == ("Scheduled Event", "aws.events", {})
    assert len({t["time"] for t in hourly}) == 24
    nightly, = [t for t in ticks if t not in hourly]
    assert nightly["time"].endswith("T00:00:00Z")
    events.disable_rule(Name="hourly")
    region.cumulo("clock", "advance", "2h")
    assert region.client("sqs").receive_message(QueueUrl=url).get("Messages", []) == []


def test_an_archive_is_replayed_in_order_to_the_chosen_rules(make_region):
    region = make_region()
    events = region.client("events")
    bus = events.create_event_bus(Name="shop")["EventBusArn"]
    archive = events.create_archive(ArchiveName="all", EventSourceArn=bus, RetentionDays=7,
                                    EventPattern=json.dumps({"detail": {"keep": [True]}}))["ArchiveArn"]
    (first_url, first), (second_url, second) = make_queue(region, "first.fifo", FifoQueue="true"), make_queue(region, "second")
    rules = {}
    for name, arn, more in (("one", first, {"SqsParameters": {"MessageGroupId": "g"}}), ("two", second, {})):
        rules[name] = events.put_rule(Name=name, EventBusName="shop", EventPattern=json.dumps({"source": ["shop"]}))["RuleArn"]
        if name == "one":
            region.client("sqs").set_queue_attributes(QueueUrl=first_url, Attributes={"ContentBasedDeduplication": "true"})
        events.put_targets(Rule=name, EventBusName="shop", Targets=[{"Id": "q", "Arn": arn, **more}])
    start = int(time.time()) - 1
    for n in range(5):
        put(region, {"n": n, "keep": n != 2}, EventBusName="shop")
    take(region, second_url, 5)
    take(region, first_url, 5)
    described = events.describe_archive(ArchiveName="all")
    assert (described["EventCount"], described["State"]) == (4, "ENABLED") and described["SizeBytes"] > 0
    assert events.describe_rule(Name="Events-Archive-all", EventBusName="shop")["ManagedBy"] == "prod.vhs.events.aws.internal"
    target, = events.list_targets_by_rule(Rule="Events-Archive-all", EventBusName="shop")["Targets"]
    # It names no account and no resource.
    assert target["Arn"] == "arn:aws:events:us-east-1:::"
    events.start_replay(ReplayName="again", EventSourceArn=archive, EventStartTime=start, EventEndTime=start + 3600,
                        Destination={"Arn": bus, "FilterArns": [rules["one"]]})
    wait_for(lambda: events.describe_replay(ReplayName="again")["State"] == "COMPLETED", 20, "the replay")
    replayed = [json.loads(m["Body"]) for m in take(region, first_url, 4)]
    assert sorted(e["detail"]["n"] for e in replayed) == [0, 1, 3, 4]
    assert {e["replay-name"] for e in replayed} == {"again"}
    assert region.client("sqs").receive_message(QueueUrl=second_url).get("Messages", []) == []
    assert events.describe_archive(ArchiveName="all")["EventCount"] == 4, "a replayed event is not kept again"
    region.cumulo("clock", "advance", "8d")
    wait_for(lambda: events.describe_archive(ArchiveName="all")["EventCount"] == 0, 10, "the retention")


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Notes what it is asked; fails once where its path says so."""
    asked, failures = [], {"/flaky": 1}

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.split("?")[0]
        status = 200
        if self.failures.get(path):
            self.failures[path] -= 1
            status = 503
        answer = b'{"access_token": "t0ken", "expires_in": 60}' if path == "/token" else b"{}"
        self.asked.append((status, self.path, dict(self.headers), body.decode()))
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Endpoint.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_api_destinations_are_called_with_their_connection(region, endpoint):
    events = region.client("events")
    connections = {
        "basic": ("BASIC", {"BasicAuthParameters": {"Username": "u", "Password": "p"}, "InvocationHttpParameters": {
            "HeaderParameters": [{"Key": "x-own", "Value": "1"}], "QueryStringParameters": [{"Key": "q", "Value": "a b"}],
            "BodyParameters": [{"Key": "extra", "Value": "2", "IsValueSecret": True}]}}),
        "key": ("API_KEY", {"ApiKeyAuthParameters": {"ApiKeyName": "x-api-key", "ApiKeyValue": "k"}}),
        "oauth": ("OAUTH_CLIENT_CREDENTIALS", {"OAuthParameters": {
            "ClientParameters": {"ClientID": "id", "ClientSecret": "s"}, "AuthorizationEndpoint": endpoint + "/token",
            "HttpMethod": "POST"}})}
    events.put_rule(Name="http", EventPattern=json.dumps({"source": ["http"]}))
    for name, (kind, auth) in connections.items():
        arn = events.create_connection(Name=name, AuthorizationType=kind, AuthParameters=auth)["ConnectionArn"]
        wait_for(lambda: events.describe_connection(Name=name)["ConnectionState"] == "AUTHORIZED", 20, "the authorization")
        path = "/flaky" if name == "key" else "/in/*"
        destination = events.create_api_destination(Name=name, ConnectionArn=arn, InvocationEndpoint=endpoint + path,
                                                    HttpMethod="POST")["ApiDestinationArn"]
        events.put_targets(Rule="http", Targets=[{
            "Id": name, "Arn": destination, "RoleArn": ROLE, "InputPath": "$.detail",
            "HttpParameters": {"PathParameterValues": [name], "HeaderParameters": {"x-target": "$.detail.n"}}}])
    assert "Value" not in json.dumps(events.describe_connection(Name="basic")["AuthParameters"]["InvocationHttpParameters"]
                                     ["BodyParameters"][0]).replace("IsValueSecret", "")
    put(region, {"n": "v"}, source="http")

    def called():
        good = {path.split("?")[0]: (path, headers, body) for status, path, headers, body in Endpoint.asked if status == 200}
        return good if {"/in/basic", "/in/oauth", "/flaky", "/token"} <= set(good) else None
    good = wait_for(called, 30, "the calls")
    path, headers, body = good["/in/basic"]
    headers = {k.lower(): v for k, v in headers.items()}
    assert path == "/in/basic?q=a%20b" and json.loads(body) == {"n": "v", "extra": "2"}
    assert headers["authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
    assert (headers["x-own"], headers["x-target"]) == ("1", "v")
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert {k.lower(): v for k, v in good["/in/oauth"][1].items()}["authorization"] == "Bearer t0ken"
    assert "grant_type=client_credentials" in good["/token"][2]
    assert {k.lower(): v for k, v in good["/flaky"][1].items()}["x-api-key"] == "k"
    assert [s for s, path, *_ in Endpoint.asked if path == "/flaky"] == [503, 200]


def test_entries_fail_one_by_one_with_aws_words(region):
    events = region.client("events")
    answer = events.put_events(Entries=[
        {"Source": "s", "DetailType": "d", "Detail": "{}"},
        {"DetailType": "d", "Detail": "{}"},
        {"Source": "s", "DetailType": "d", "Detail": "[]"},
        {"Source": "aws.s3", "DetailType": "d", "Detail": "{}"},
        {"Source": "s", "DetailType": "d", "Detail": "{}", "EventBusName": "nowhere"}])
    assert answer["FailedEntryCount"] == 3
    assert [e.get("ErrorCode") for e in answer["Entries"]] == [
        None, "InvalidArgument", "MalformedDetail", "NotAuthorizedForSourceException", None]
    assert answer["Entries"][1]["ErrorMessage"] == "Parameter Source is not valid. Reason: Source is a required argument."
    with pytest.raises(ClientError, match="Total size of the entries in the request is over the limit."):
        events.put_events(Entries=[{"Source": "s", "DetailType": "d", "Detail": json.dumps({"x": "y" * (1 << 20)})}])
    with pytest.raises(ClientError, match="ScheduleExpression is supported only on the default event bus."):
        events.create_event_bus(Name="plain")
        events.put_rule(Name="r", EventBusName="plain", ScheduleExpression="rate(1 minute)")
    with pytest.raises(ClientError, match='Reason: "a" must be an object or an array\n at .Source'):
        events.put_rule(Name="r", EventPattern='{"a": 1}')


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

resource "aws_cloudwatch_event_bus" "shop" {
  name        = "tf-shop"
  description = "Orders"
  tags        = { team = "data" }
}

resource "aws_cloudwatch_event_permission" "friend" {
  principal      = "111111111111"
  statement_id   = "friend"
  event_bus_name = aws_cloudwatch_event_bus.shop.name
}

resource "aws_cloudwatch_event_rule" "orders" {
  name           = "tf-orders"
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  event_pattern  = jsonencode({ source = ["shop"], detail = { total = [{ numeric = [">", 100] }] } })
  tags           = { team = "data" }
}

resource "aws_cloudwatch_event_rule" "nightly" {
  name                = "tf-nightly"
  description         = "Each night"
  schedule_expression = "cron(0 2 * * ? *)"
  state               = "DISABLED"
}

resource "aws_sqs_queue" "orders" {
  name = "tf-orders"
}

resource "aws_cloudwatch_event_target" "queue" {
  rule           = aws_cloudwatch_event_rule.orders.name
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  target_id      = "queue"
  arn            = aws_sqs_queue.orders.arn
  input_transformer {
    input_paths    = { id = "$.detail.id" }
    input_template = "{\\"order\\": <id>}"
  }
  retry_policy {
    maximum_event_age_in_seconds = 600
    maximum_retry_attempts       = 3
  }
  dead_letter_config {
    arn = aws_sqs_queue.orders.arn
  }
}

resource "aws_cloudwatch_event_archive" "all" {
  name             = "tf-all"
  event_source_arn = aws_cloudwatch_event_bus.shop.arn
  retention_days   = 7
  event_pattern    = jsonencode({ source = ["shop"] })
}

resource "aws_cloudwatch_event_connection" "api" {
  name               = "tf-api"
  authorization_type = "API_KEY"
  auth_parameters {
    api_key {
      key   = "x-api-key"
      value = "secret"
    }
    invocation_http_parameters {
      header {
        key             = "x-more"
        value           = "1"
        is_value_secret = false
      }
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "api" {
  name                             = "tf-api"
  invocation_endpoint              = "https://example.com/orders"
  http_method                      = "POST"
  invocation_rate_limit_per_second = 20
  connection_arn                   = aws_cloudwatch_event_connection.api.arn
}

resource "aws_s3_bucket" "told" {
  bucket = "tf-told"
}

resource "aws_s3_bucket_notification" "told" {
  bucket      = aws_s3_bucket.told.id
  eventbridge = true
}
'''


def test_terraform_applies_plans_no_change_and_destroys(stack, terraform):
    region, folder = stack
    (folder / "main.tf").write_text(RESOURCES)
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    (folder / "main.tf").write_text(RESOURCES.replace('"DISABLED"', '"ENABLED"').replace('">", 100', '">", 200')
                                    .replace("retention_days   = 7", "retention_days   = 9").replace('"data"', '"lake"'))
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    events = region.client("events")
    assert events.describe_archive(ArchiveName="tf-all")["RetentionDays"] == 9
    assert events.describe_rule(Name="tf-nightly")["State"] == "ENABLED"
    terraform.destroy(folder, quiet=True)
    assert [b["Name"] for b in events.list_event_buses()["EventBuses"]] == ["default"]
    assert events.list_rules()["Rules"] == [] and events.list_connections()["Connections"] == []


@pytest.mark.timeout(300 + 30 * KILLS)
def test_no_acknowledged_event_is_lost_in_kills(make_region):
    region = make_region()
    url, queue = make_queue(region, "kept")
    region.client("events").put_rule(Name="kept", EventPattern=json.dumps({"source": ["crash"]}))
    region.client("events").put_targets(Rule="kept", Targets=[{"Id": "q", "Arn": queue, "InputPath": "$.detail.name"}])
    events = region.client("events", connect_timeout=2, read_timeout=10)

    def write():
        names = [str(uuid.uuid4()) for _ in range(5)]
        answer = events.put_events(Entries=[{"Source": "crash", "DetailType": "d", "Detail": json.dumps({"name": n})} for n in names])
        return [n for n, e in zip(names, answer["Entries"]) if "EventId" in e]
    kill_under_load(region, write, url, json.loads)


def test_the_cli_puts_and_lists(region):
    region.aws("events", "put-rule", "--name", "cli", "--event-pattern", '{"source": ["cli"]}')
    assert "cli" in [r["Name"] for r in region.aws("events", "list-rules")["Rules"]]
    answer = region.aws("events", "put-events", "--entries", '[{"Source": "cli", "DetailType": "d", "Detail": "{}"}]')
    assert answer["FailedEntryCount"] == 0
    assert region.aws("events", "test-event-pattern", "--event-pattern", '{"source": ["x"]}', "--event", json.dumps({
        "id": "1", "account": "1", "source": "x", "time": "2026-01-01T00:00:00Z", "region": "r", "resources": [],
        "detail-type": "d", "detail": {}}))["Result"]


def test_a_partner_sends_to_the_bus_that_a_customer_makes_for_it(region):
    """The partner is another account; what it sends arrives only while its source is active."""
    partner, events = region.client("events", account="111111111111"), region.client("events")
    name = "aws.partner/shop.example/orders/eu"
    pattern = {"account": ["000000000000"]}

    def error(call, **input):
        with pytest.raises(ClientError) as refused:
            call(**input)
        return refused.value.response["Error"]["Code"]

    def send(n, source=name):
        entry = {"Source": source, "DetailType": "order", "Detail": json.dumps({"n": n})}
        return partner.put_partner_events(Entries=[entry])

    def state():
        return events.describe_event_source(Name=name)["State"]

    assert error(events.create_event_bus, Name=name, EventSourceName=name) == "ResourceNotFoundException"
    arn = partner.create_partner_event_source(Name=name, Account="000000000000")["EventSourceArn"]
    assert arn == f"arn:aws:events:us-east-1::event-source/{name}"
    assert error(partner.create_partner_event_source, Name=name, Account="000000000000") == "ResourceAlreadyExistsException"
    pending = events.describe_event_source(Name=name)
    assert (pending["State"], pending["CreatedBy"], pending["Arn"]) == ("PENDING", "shop.example", arn)
    assert (pending["ExpirationTime"] - pending["CreationTime"]).days == 14
    assert [s["Name"] for s in partner.list_partner_event_sources(NamePrefix="aws.partner/shop.example/")["PartnerEventSources"]] == [name]
    # Nobody listens yet, and nobody else's source is one's own.
    assert send(0)["FailedEntryCount"] == 0
    refused = send(0, "aws.partner/shop.example/orders/us")["Entries"][0]
    assert refused["ErrorCode"] == "ResourceNotFoundException"
    assert error(events.describe_partner_event_source, Name=name) == "ResourceNotFoundException"

    assert error(events.create_event_bus, Name=name) == "ValidationException"
    bus = events.create_event_bus(Name=name, EventSourceName=name)["EventBusArn"]
    assert bus == f"arn:aws:events:us-east-1:000000000000:event-bus/{name}"
    url, queue = make_queue(region, "partners")
    events.put_rule(Name="all", EventBusName=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule="all", EventBusName=name, Targets=[{"Id": "q", "Arn": queue}])
    active = events.describe_event_source(Name=name)
    assert active["State"] == "ACTIVE" and "ExpirationTime" not in active
    accounts = partner.list_partner_event_source_accounts(EventSourceName=name)["PartnerEventSourceAccounts"]
    assert [(a["Account"], a["State"]) for a in accounts] == [("000000000000", "ACTIVE")]
    sent = send(1)["Entries"][0]["EventId"]
    [event] = [json.loads(m["Body"]) for m in take(region, url)]
    assert (event["id"], event["source"], event["account"], event["detail"]) == (sent, name, "000000000000", {"n": 1})

    events.deactivate_event_source(Name=name)
    assert state() == "PENDING" and error(events.deactivate_event_source, Name=name) == "InvalidStateException"
    send(2)
    events.activate_event_source(Name=name)
    send(3)
    assert [json.loads(m["Body"])["detail"] for m in take(region, url)] == [{"n": 3}]

    # The partner deletes it: the customer sees that until the bus goes, too.
    partner.delete_partner_event_source(Name=name, Account="000000000000")
    assert state() == "DELETED" and send(4)["FailedEntryCount"] == 1
    events.delete_event_bus(Name=name)
    assert error(events.describe_event_source, Name=name) == "ResourceNotFoundException"
    assert events.list_event_sources(NamePrefix="aws.partner/shop.example/")["EventSources"] == []


def test_a_partners_source_that_nobody_takes_is_gone_after_two_weeks(make_region):
    region = make_region()
    partner, events = region.client("events", account="111111111111"), region.client("events")
    name = "aws.partner/shop.example/orders/eu"
    partner.create_partner_event_source(Name=name, Account="000000000000")
    region.cumulo("clock", "advance", "13d")
    assert [s["State"] for s in events.list_event_sources()["EventSources"]] == ["PENDING"]
    region.cumulo("clock", "advance", "2d")
    assert events.list_event_sources()["EventSources"] == []
    assert partner.list_partner_event_sources(NamePrefix="aws.partner/shop.example/")["PartnerEventSources"] == []
    # The name is free again.
    partner.create_partner_event_source(Name=name, Account="222222222222")
    accounts = partner.list_partner_event_source_accounts(EventSourceName=name)["PartnerEventSourceAccounts"]
    assert [a["Account"] for a in accounts] == ["222222222222"]
