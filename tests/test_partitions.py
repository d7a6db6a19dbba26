"""Regions of AWS's other partitions: every ARN is in its region's own, and services find each other by them."""
import json
import uuid

import pytest

ACCOUNT = "000000000000"


@pytest.fixture(params=[("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-isob-east-1", "aws-iso-b")], ids=lambda p: p[0])
def place(request):
    return request.param


def test_arns_are_in_the_region_s_partition(region, place):
    name, partition = place
    client = lambda service: region.client(service, region_name=name)
    word = f"p{uuid.uuid4().hex[:8]}"
    prefix = f"arn:{partition}:"
    assert client("sts").get_caller_identity()["Arn"] == f"{prefix}iam::{ACCOUNT}:root"
    queue = client("sqs").create_queue(QueueName=word)["QueueUrl"]
    queue_arn = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    made = {
        queue_arn: f"sqs:{name}:{ACCOUNT}:{word}",
        client("sns").create_topic(Name=word)["TopicArn"]: f"sns:{name}:{ACCOUNT}:{word}",
        client("events").create_event_bus(Name=word)["EventBusArn"]: f"events:{name}:{ACCOUNT}:event-bus/{word}",
        client("iam").create_user(UserName=word)["User"]["Arn"]: f"iam::{ACCOUNT}:user/{word}",
        client("s3").create_bucket(Bucket=word, CreateBucketConfiguration={"LocationConstraint": name})["BucketArn"]:
            f"s3:::{word}",
    }
    client("kinesis").create_stream(StreamName=word, ShardCount=1)
    stream = client("kinesis").describe_stream_summary(StreamName=word)["StreamDescriptionSummary"]["StreamARN"]
    made[stream] = f"kinesis:{name}:{ACCOUNT}:stream/{word}"
    client("logs").create_log_group(logGroupName=word)
    group = client("logs").describe_log_groups(logGroupNamePrefix=word)["logGroups"][0]["logGroupArn"]
    made[group] = f"logs:{name}:{ACCOUNT}:log-group:{word}"
    for arn, rest in made.items():
        assert arn == prefix + rest


def test_a_role_of_another_partition_is_assumed_and_its_policies_are_aws_s(region, place):
    name, partition = place
    iam, sts = (region.client(service, region_name=name) for service in ("iam", "sts"))
    word = f"r{uuid.uuid4().hex[:8]}"
    trust = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:{partition}:iam::{ACCOUNT}:root"},
            "Action": "sts:AssumeRole",
        }],
    }
    role = iam.create_role(RoleName=word, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    assert role["Arn"] == f"arn:{partition}:iam::{ACCOUNT}:role/{word}"
    managed = f"arn:{partition}:iam::aws:policy/ReadOnlyAccess"
    iam.attach_role_policy(RoleName=word, PolicyArn=managed)
    listed = iam.list_policies(Scope="AWS", OnlyAttached=True)["Policies"]
    assert [policy["Arn"] for policy in listed if policy["PolicyName"] == "ReadOnlyAccess"] == [managed]
    assert iam.get_policy(PolicyArn=managed)["Policy"]["Arn"] == managed
    assumed = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="me")
    session = f"arn:{partition}:sts::{ACCOUNT}:assumed-role/{word}/me"
    assert assumed["AssumedRoleUser"]["Arn"] == session


def test_a_bucket_s_event_reaches_a_queue_of_its_partition(region, place):
    name, partition = place
    s3, sqs = (region.client(service, region_name=name) for service in ("s3", "sqs"))
    word = f"e{uuid.uuid4().hex[:8]}"
    url = sqs.create_queue(QueueName=word)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue,
            "Condition": {"ArnLike": {"aws:SourceArn": f"arn:{partition}:s3:::{word}"}},
        }],
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    s3.create_bucket(Bucket=word, CreateBucketConfiguration={"LocationConstraint": name})
    s3.put_bucket_notification_configuration(Bucket=word, NotificationConfiguration={
        "QueueConfigurations": [{"QueueArn": queue, "Events": ["s3:ObjectCreated:*"]}],
    })
    s3.put_object(Bucket=word, Key="k", Body=b"x")
    bodies = []
    while not any("Records" in body for body in bodies):
        received = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, MaxNumberOfMessages=10).get("Messages", [])
        assert received, bodies
        bodies += [json.loads(message["Body"]) for message in received]
    record = next(body for body in bodies if "Records" in body)["Records"][0]
    assert record["s3"]["bucket"]["arn"] == f"arn:{partition}:s3:::{word}"
    assert record["awsRegion"] == name
