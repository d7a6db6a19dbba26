"""SNS with real clients: to functions, to queues where there are any, by the aws CLI and Terraform."""
import json
import uuid

import pytest
from botocore.exceptions import ClientError
from conftest import wait_for, zipped

ECHO = '''
import json, boto3

def handler(event, context):
    for record in event["Records"]:
        sns = record["Sns"]
        boto3.client("s3").put_object(Bucket="heard", Key=sns["MessageId"], Body=json.dumps(record).encode())
'''
TOPICS = '''
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
}

resource "aws_sns_topic" "plain" {
  name         = "tf-plain"
  display_name = "Plain"
  tags         = { team = "data" }
}

resource "aws_sns_topic" "ordered" {
  name                        = "tf-ordered.fifo"
  fifo_topic                  = true
  content_based_deduplication = true
}

resource "aws_sns_topic_policy" "policy" {
  arn = aws_sns_topic.plain.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "s3"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.plain.arn
    }]
  })
}

resource "aws_sns_topic_subscription" "function" {
  topic_arn     = aws_sns_topic.plain.arn
  protocol      = "lambda"
  endpoint      = "arn:aws:lambda:us-east-1:000000000000:function:listener"
  filter_policy = jsonencode({ color = ["red", { prefix = "bl" }] })
}
'''


def test_a_function_hears_what_it_wants(region):
    sns, functions, s3 = (region.client(s) for s in ("sns", "lambda", "s3"))
    s3.create_bucket(Bucket="heard")
    topic = sns.create_topic(Name="news")["TopicArn"]
    arn = functions.create_function(FunctionName="listener", Runtime="python3.11", Handler="handler.handler", Timeout=30,
                                    Role="arn:aws:iam::000000000000:role/r", Code={"ZipFile": zipped(ECHO)})["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName="listener")
    functions.add_permission(FunctionName="listener", StatementId="sns", Action="lambda:InvokeFunction",
                             Principal="sns.amazonaws.com", SourceArn=topic)
    subscription = sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn, Attributes={
        "FilterPolicy": json.dumps({"color": ["red", {"prefix": "bl"}]})})["SubscriptionArn"]

    def publish(color):
        return sns.publish(TopicArn=topic, Message=color, Subject="s", MessageAttributes={
            "color": {"DataType": "String", "StringValue": color}})["MessageId"]
    red, _, blue = publish("red"), publish("green"), publish("blue")

    def heard():
        keys = {o["Key"] for o in s3.list_objects_v2(Bucket="heard").get("Contents", [])}
        return keys if {red, blue} <= keys else None
    assert wait_for(heard, 60, "the function's answer") == {red, blue}
    record = json.loads(s3.get_object(Bucket="heard", Key=red)["Body"].read())
    assert record["EventSubscriptionArn"] == subscription
    assert (record["Sns"]["Message"], record["Sns"]["Subject"]) == ("red", "s")
    assert record["Sns"]["MessageAttributes"] == {"color": {"Type": "String", "Value": "red"}}


def test_queues_get_messages_in_order(region):
    if "sqs" not in region.is_up():
        pytest.skip("there are no queues yet")
    sns, sqs = region.client("sns"), region.client("sqs")
    topic = sns.create_topic(Name="o.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    url = sqs.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
                                                "Action": "sqs:SendMessage", "Resource": arn}]})})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    for n in range(20):
        sns.publish(TopicArn=topic, Message=str(n), MessageGroupId="g", MessageDeduplicationId=str(uuid.uuid4()))
    bodies = []

    def received():
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            bodies.append(m["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
        return len(bodies) == 20
    wait_for(received, 30, "all messages")
    assert bodies == [str(n) for n in range(20)]


def test_the_cli_publishes(region):
    topic = region.aws("sns", "create-topic", "--name", "cli")["TopicArn"]
    assert region.aws("sns", "publish", "--topic-arn", topic, "--message", "m")["MessageId"]
    assert topic in [t["TopicArn"] for t in region.aws("sns", "list-topics")["Topics"]]
    with pytest.raises(ClientError, match="Topic does not exist"):
        region.client("sns").publish(TopicArn=topic + "x", Message="m")


def test_terraform_applies_plans_no_change_and_destroys(stack, terraform):
    region, folder = stack
    (folder / "main.tf").write_text(TOPICS)
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    terraform.destroy(folder, quiet=True)
    assert region.client("sns").list_topics()["Topics"] == []
