"""EventBridge Scheduler with real clients: times, zones, targets, dead letters, Terraform, kills."""
import datetime
import json
import uuid

import pytest
from botocore.exceptions import ClientError
from conftest import KILLS, kill_under_load, wait_for, zipped

ROLE = "arn:aws:iam::000000000000:role/scheduler"
OFF = {"Mode": "OFF"}
ECHO = '''
import json, boto3

def handler(event, context):
    boto3.client("s3").put_object(Bucket="heard", Key="event", Body=json.dumps(event).encode())
'''


def make_queue(region, name, **attributes):
    sqs = region.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def take(region, url, count=1):
    sqs, found = region.client("sqs"), []

    def receive():
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"],
                                     MessageSystemAttributeNames=["All"]).get("Messages", []):
            found.append(m)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        return len(found) >= count
    wait_for(receive, 30, f"{count} messages")
    return found


def test_a_schedule_is_made_changed_listed_and_deleted(region):
    scheduler = region.client("scheduler")
    _, queue = make_queue(region, "plain")
    target = {"Arn": queue, "RoleArn": ROLE, "Input": "hi"}
    group = scheduler.create_schedule_group(Name="team", Tags=[{"Key": "k", "Value": "v"}])["ScheduleGroupArn"]
    assert scheduler.list_tags_for_resource(ResourceArn=group)["Tags"] == [{"Key": "k", "Value": "v"}]
    arn = scheduler.create_schedule(Name="one", GroupName="team", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF,
                                    Target=target, State="DISABLED", ClientToken="t")["ScheduleArn"]
    assert arn == "arn:aws:scheduler:us-east-1:000000000000:schedule/team/one"
    scheduler.create_schedule(Name="one", GroupName="team", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF,
                              Target=target, ClientToken="t")
    with pytest.raises(ClientError, match="Schedule one already exists."):
        scheduler.create_schedule(Name="one", GroupName="team", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target=target)
    found = scheduler.get_schedule(Name="one", GroupName="team")
    assert found["Target"] == {**target, "RetryPolicy": {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}}
    assert (found["ScheduleExpressionTimezone"], found["ActionAfterCompletion"], found["State"]) == ("UTC", "NONE", "DISABLED")
    scheduler.update_schedule(Name="one", GroupName="team", ScheduleExpression="cron(0 9 ? * MON-FRI *)", State="DISABLED",
                              ScheduleExpressionTimezone="Europe/Berlin", FlexibleTimeWindow=OFF, Target=target)
    assert scheduler.get_schedule(Name="one", GroupName="team")["ScheduleExpressionTimezone"] == "Europe/Berlin"
    for name in ("two", "three"):
        scheduler.create_schedule(Name=name, ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target=target, State="DISABLED")
    page = scheduler.list_schedules(MaxResults=2)
    more = scheduler.list_schedules(MaxResults=2, NextToken=page["NextToken"])
    assert [s["Name"] for s in page["Schedules"] + more["Schedules"]] == ["three", "two", "one"]
    assert [s["Name"] for s in scheduler.list_schedules(NamePrefix="t")["Schedules"]] == ["three", "two"]
    assert [g["Name"] for g in scheduler.list_schedule_groups()["ScheduleGroups"]] == ["default", "team"]
    scheduler.delete_schedule_group(Name="team")
    with pytest.raises(ClientError, match="Schedule group team does not exist.") as error:
        scheduler.get_schedule(Name="one", GroupName="team")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@pytest.mark.parametrize("expression", ["cron(0 1 * * * *)", "rate(10 seconds)", "at(2021-12-31)", " rate(10 minutes)"])
def test_what_is_no_expression_is_refused(region, expression):
    with pytest.raises(ClientError) as error:
        region.client("scheduler").create_schedule(Name="x", ScheduleExpression=expression, FlexibleTimeWindow=OFF,
                                                   Target={"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "RoleArn": ROLE})
    assert error.value.response["Error"]["Message"] == f"Invalid Schedule Expression {expression}."


def test_targets_that_are_none_are_refused(region):
    def create(**target):
        region.client("scheduler").create_schedule(Name="x", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF,
                                                   Target={"RoleArn": ROLE, **target})
    with pytest.raises(ClientError, match="s3 is not a supported service for a target."):
        create(Arn="arn:aws:s3:::bucket")
    with pytest.raises(ClientError, match="EventBridgeParameters"):
        create(Arn="arn:aws:events:us-east-1:000000000000:event-bus/default")
    with pytest.raises(ClientError, match="is not a supported service for a target."):
        create(Arn="arn:aws:scheduler:::aws-sdk:ec2:runInstances", Input="{}")


def test_a_function_is_called_at_once_and_once(region):
    scheduler, functions, s3 = (region.client(s) for s in ("scheduler", "lambda", "s3"))
    s3.create_bucket(Bucket="heard")
    arn = functions.create_function(FunctionName="f", Runtime="python3.11", Handler="handler.handler", Timeout=30, Role=ROLE,
                                    Code={"ZipFile": zipped(ECHO)})["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName="f")
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    schedule = scheduler.create_schedule(Name="once", ScheduleExpression=f"at({when:%Y-%m-%dT%H:%M:%S})", FlexibleTimeWindow=OFF,
                                         ActionAfterCompletion="DELETE", Target={"Arn": arn, "RoleArn": ROLE})["ScheduleArn"]
    wait_for(lambda: s3.list_objects_v2(Bucket="heard").get("Contents"), 60, "the call")
    event = json.loads(s3.get_object(Bucket="heard", Key="event")["Body"].read())
    assert (event["source"], event["detail-type"], event["detail"]) == ("aws.scheduler", "Scheduled Event", "{}")
    assert event["resources"] == [schedule] and event["time"] == f"{when:%Y-%m-%dT%H:%M:%SZ}"
    with pytest.raises(ClientError, match="Schedule once does not exist."):
        scheduler.get_schedule(Name="once")


def test_schedules_follow_the_clock_in_their_zone_and_survive_a_kill(make_region):
    region = make_region()
    scheduler = region.client("scheduler")
    url, queue = make_queue(region, "ticks")
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    scheduler.create_schedule(
        Name="daily", ScheduleExpression="cron(30 9 * * ? *)", ScheduleExpressionTimezone="Asia/Tokyo", FlexibleTimeWindow=OFF,
        Target={"Arn": queue, "RoleArn": ROLE, "Input": '{"at": "<aws.scheduler.scheduled-time>", "by": "<aws.scheduler.schedule-arn>"}'})
    scheduler.create_schedule(
        Name="rate", ScheduleExpression="rate(6 hours)", StartDate=now + datetime.timedelta(hours=1),
        EndDate=now + datetime.timedelta(hours=20), ActionAfterCompletion="DELETE", FlexibleTimeWindow=OFF,
        Target={"Arn": queue, "RoleArn": ROLE, "Input": '{"at": "<aws.scheduler.scheduled-time>", "by": "rate"}'})
    scheduler.create_schedule(
        Name="loose", ScheduleExpression="rate(1 day)", StartDate=now + datetime.timedelta(hours=2),
        FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 60},
        Target={"Arn": queue, "RoleArn": ROLE, "Input": '{"at": "<aws.scheduler.scheduled-time>", "by": "loose"}'})
    region.kill()
    region.start()
    region.cumulo("clock", "advance", "48h")
    seen = {}
    for message in take(region, url, 8):
        tick = json.loads(message["Body"])
        seen.setdefault(tick["by"].rsplit("/")[-1], []).append(tick["at"])
    assert [len(seen[k]) for k in ("daily", "rate", "loose")] == [2, 4, 2]
    assert all(t.endswith("T00:30:00Z") for t in seen["daily"])
    assert sorted(seen["rate"]) == [f"{now + datetime.timedelta(hours=1 + 6 * n):%Y-%m-%dT%H:%M:%SZ}" for n in range(4)]
    assert [s["Name"] for s in scheduler.list_schedules()["Schedules"]] == ["daily", "loose"]


@pytest.mark.timeout(300 + 30 * KILLS)
def test_no_acknowledged_schedule_is_lost_in_kills(make_region):
    region = make_region()
    url, queue = make_queue(region, "kept")
    scheduler = region.client("scheduler", connect_timeout=2, read_timeout=10)

    def write():
        name = f"s{uuid.uuid4().hex}"
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
        scheduler.create_schedule(Name=name, ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})", FlexibleTimeWindow=OFF,
                                  ActionAfterCompletion="DELETE", Target={"Arn": queue, "RoleArn": ROLE, "Input": json.dumps(name)})
        return [name]
    kill_under_load(region, write, url, json.loads)
    wait_for(lambda: region.client("scheduler").list_schedules()["Schedules"] == [], 60, "their end")


def test_buses_streams_and_operations_are_targets(region):
    scheduler, events = region.client("scheduler"), region.client("events")
    url, queue = make_queue(region, "bus")
    fifo_url, _ = make_queue(region, "direct.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    events.put_rule(Name="scheduled", EventPattern=json.dumps({"source": ["my.schedule"]}))
    events.put_targets(Rule="scheduled", Targets=[{"Id": "q", "Arn": queue, "RoleArn": ROLE}])
    scheduler.create_schedule(Name="bus", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target={
        "Arn": "arn:aws:events:us-east-1:000000000000:event-bus/default", "RoleArn": ROLE, "Input": '{"n": 1}',
        "EventBridgeParameters": {"DetailType": "d", "Source": "my.schedule"}})
    scheduler.create_schedule(Name="direct", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target={
        "Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "RoleArn": ROLE,
        "Input": json.dumps({"QueueUrl": fifo_url, "MessageBody": "m", "MessageGroupId": "g"})})
    event = json.loads(take(region, url)[0]["Body"])
    assert (event["detail-type"], event["detail"]) == ("d", {"n": 1})
    message, = take(region, fifo_url)
    assert (message["Body"], message["Attributes"]["MessageGroupId"]) == ("m", "g")


def test_what_cannot_be_delivered_goes_to_the_dead_letter_queue(region):
    url, dead = make_queue(region, "dead")
    arn = region.client("scheduler").create_schedule(Name="doomed", ScheduleExpression="rate(1 day)", FlexibleTimeWindow=OFF, Target={
        "Arn": "arn:aws:sqs:us-east-1:000000000000:nowhere", "RoleArn": ROLE, "Input": "hello",
        "DeadLetterConfig": {"Arn": dead}, "RetryPolicy": {"MaximumRetryAttempts": 0}})["ScheduleArn"]
    message, = take(region, url)
    attributes = {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}
    assert message["Body"] == "hello" and attributes["SCHEDULE_ARN"] == arn
    assert attributes["ERROR_CODE"] == "AWS.SimpleQueueService.NonExistentQueue" and attributes["ERROR_MESSAGE"]
    assert attributes["TARGET_ARN"].endswith(":nowhere") and attributes["RETRY_ATTEMPTS"] == "0"


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

resource "aws_scheduler_schedule_group" "team" {
  name = "tf-team"
  tags = { team = "data" }
}

resource "aws_sqs_queue" "queue" {
  name = "tf-scheduled"
}

resource "aws_scheduler_schedule" "nightly" {
  name                         = "tf-nightly"
  group_name                   = aws_scheduler_schedule_group.team.name
  schedule_expression          = "cron(0 2 * * ? *)"
  schedule_expression_timezone = "Europe/Berlin"
  start_date                   = "2030-01-01T00:00:00Z"
  flexible_time_window {
    mode                      = "FLEXIBLE"
    maximum_window_in_minutes = 15
  }
  target {
    arn      = aws_sqs_queue.queue.arn
    role_arn = "arn:aws:iam::000000000000:role/scheduler"
    input    = jsonencode({ night = true })
    retry_policy {
      maximum_retry_attempts = 3
    }
  }
}

resource "aws_scheduler_schedule" "direct" {
  name                = "tf-direct"
  schedule_expression = "rate(1 hour)"
  state               = "DISABLED"
  flexible_time_window {
    mode = "OFF"
  }
  target {
    arn      = "arn:aws:scheduler:::aws-sdk:sqs:sendMessage"
    role_arn = "arn:aws:iam::000000000000:role/scheduler"
    input    = jsonencode({ MessageBody = "hi", QueueUrl = aws_sqs_queue.queue.url })
  }
}
'''


def test_terraform_applies_plans_no_change_and_destroys(stack, terraform):
    region, folder = stack
    (folder / "main.tf").write_text(RESOURCES)
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    (folder / "main.tf").write_text(RESOURCES.replace("cron(0 2", "cron(0 3").replace('"data"', '"lake"'))
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    scheduler = region.client("scheduler")
    assert scheduler.get_schedule(Name="tf-nightly", GroupName="tf-team")["ScheduleExpression"] == "cron(0 3 * * ? *)"
    terraform.destroy(folder, quiet=True)
    assert scheduler.list_schedules()["Schedules"] == []
    assert [g["Name"] for g in scheduler.list_schedule_groups()["ScheduleGroups"]] == ["default"]
