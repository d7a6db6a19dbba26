"""DynamoDB and its streams with boto3, the aws CLI and Terraform, and through kill -9."""
import decimal
import gzip
import json
import threading

import boto3
import botocore
import pytest
from boto3.dynamodb.conditions import Attr, Key

from conftest import Region, wait_for

KEYS = dict(KeySchema=[{"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "c", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": "p", "AttributeType": "S"}, {"AttributeName": "c", "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST")


def resource(region, account="test"):
    return boto3.resource("dynamodb", endpoint_url=region.endpoint, region_name="us-east-1", aws_access_key_id=account,
                          aws_secret_access_key="test")


@pytest.fixture
def table(region, request):
    table = resource(region).create_table(TableName=request.node.name[:200], **KEYS)
    table.wait_until_exists()
    yield table
    table.delete()


def test_items_go_round_with_the_resource_api(table):
    item = {"p": "a", "c": 1, "n": decimal.Decimal("1.5"), "s": {"x", "y"}, "b": boto3.dynamodb.types.Binary(b"\0\1"), "l": [None, True, {"k": "v"}]}
    table.put_item(Item=item)
    assert table.get_item(Key={"p": "a", "c": 1})["Item"] == item
    with table.batch_writer() as batch:
        for c in range(2, 60):
            batch.put_item(Item={"p": "a", "c": c, "even": c % 2 == 0})
    assert table.query(KeyConditionExpression=Key("p").eq("a") & Key("c").gte(50), FilterExpression=Attr("even").eq(True))["Count"] == 5
    new = table.update_item(Key={"p": "a", "c": 1}, UpdateExpression="SET n = n + :n ADD s :s", ReturnValues="ALL_NEW",
                            ExpressionAttributeValues={":n": 2, ":s": {"z"}})["Attributes"]
    assert new["n"] == decimal.Decimal("3.5") and new["s"] == {"x", "y", "z"}
    with pytest.raises(table.meta.client.exceptions.ConditionalCheckFailedException) as refused:
        table.delete_item(Key={"p": "a", "c": 1}, ConditionExpression=Attr("n").lt(1), ReturnValuesOnConditionCheckFailure="ALL_OLD")
    assert refused.value.response["Item"]["p"] == {"S": "a"}


def test_a_large_item_comes_compressed(table):
    text = "x" * 300_000
    table.put_item(Item={"p": "large", "c": 0, "text": text})
    assert table.get_item(Key={"p": "large", "c": 0})["Item"]["text"] == text


def test_tables_of_accounts_and_regions_are_apart(region):
    name = "apart"
    resource(region).create_table(TableName=name, **KEYS)
    other = resource(region, "222222222222")
    assert name not in [t.name for t in other.tables.all()]
    other.create_table(TableName=name, **KEYS)
    other.Table(name).put_item(Item={"p": "a", "c": 1})
    assert resource(region).Table(name).scan()["Count"] == 0
    far = boto3.client("dynamodb", endpoint_url=region.endpoint, region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test")
    with pytest.raises(far.exceptions.ResourceNotFoundException):
        far.describe_table(TableName=name)


def test_the_cli_reads_what_it_wrote(region):
    region.aws("dynamodb", "create-table", "--table-name", "by-cli", "--key-schema", "AttributeName=p,KeyType=HASH",
               "--attribute-definitions", "AttributeName=p,AttributeType=S", "--billing-mode", "PAY_PER_REQUEST")
    region.aws("dynamodb", "wait", "table-exists", "--table-name", "by-cli", text=True)
    region.aws("dynamodb", "put-item", "--table-name", "by-cli", "--item", '{"p": {"S": "a"}, "n": {"N": "7"}}')
    assert region.aws("dynamodb", "scan", "--table-name", "by-cli")["Items"] == [{"p": {"S": "a"}, "n": {"N": "7"}}]
    found = region.aws("dynamodb", "execute-statement", "--statement", "SELECT n FROM \"by-cli\" WHERE p = 'a'")
    assert found["Items"] == [{"n": {"N": "7"}}]
    error = region.aws("dynamodb", "get-item", "--table-name", "nothing", "--key", '{"p": {"S": "a"}}', ok=False)
    assert "ResourceNotFoundException" in error and "Requested resource not found" in error


def test_a_stream_is_read_shard_by_shard(region):
    db = resource(region)
    table = db.create_table(TableName="streamed", StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}, **KEYS)
    streams = region.client("dynamodbstreams")
    arn = streams.list_streams(TableName="streamed")["Streams"][0]["StreamArn"]
    assert arn == table.latest_stream_arn
    stream = streams.describe_stream(StreamArn=arn)["StreamDescription"]
    assert stream["StreamStatus"] == "ENABLED" and stream["KeySchema"] == KEYS["KeySchema"]
    shard = stream["Shards"][0]["ShardId"]
    latest = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="LATEST")["ShardIterator"]
    for c in range(5):
        table.put_item(Item={"p": "a", "c": c})
    table.update_item(Key={"p": "a", "c": 0}, UpdateExpression="SET v = :v", ExpressionAttributeValues={":v": "x"})
    table.delete_item(Key={"p": "a", "c": 0})
    records, iterator = [], latest
    while len(records) < 7:
        answer = streams.get_records(ShardIterator=iterator, Limit=2)
        records, iterator = records + answer["Records"], answer["NextShardIterator"]
    assert [r["eventName"] for r in records] == ["INSERT"] * 5 + ["MODIFY", "REMOVE"]
    assert records[5]["dynamodb"]["NewImage"]["v"] == {"S": "x"} and "OldImage" in records[6]["dynamodb"]
    third = records[2]["dynamodb"]["SequenceNumber"]
    after = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=third)
    assert streams.get_records(ShardIterator=after["ShardIterator"])["Records"] == records[3:]
    table.delete()
    # The records outlive their table for a day.
    assert len(streams.get_records(ShardIterator=latest)["Records"]) == 7
    region.cumulo("clock", "advance", "49h")
    with pytest.raises(streams.exceptions.ResourceNotFoundException):
        streams.describe_stream(StreamArn=arn)


def test_acknowledged_writes_and_their_records_survive_kill_9(make_region):
    region = make_region()
    db = resource(region)
    gsi = [{"IndexName": "by-x", "KeySchema": [{"AttributeName": "x", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}]
    definitions = KEYS["AttributeDefinitions"] + [{"AttributeName": "x", "AttributeType": "S"}]
    db.create_table(TableName="kept", StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
                    GlobalSecondaryIndexes=gsi, **dict(KEYS, AttributeDefinitions=definitions))
    acknowledged = {n: set() for n in range(4)}

    def write(n):
        client = region.client("dynamodb")
        for c in range(100_000):
            try:
                client.put_item(TableName="kept", Item={"p": {"S": f"w{n}"}, "c": {"N": str(c)}, "x": {"S": "same"}})
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                return
            acknowledged[n].add(c)

    writers = [threading.Thread(target=write, args=(n,)) for n in acknowledged]
    for w in writers:
        w.start()
    wait_for(lambda: all(len(done) > 100 for done in acknowledged.values()), what="some writes")
    region.kill()
    for w in writers:
        w.join()
    again = Region(region.folder, region.port)
    try:
        client = again.client("dynamodb")
        pages = client.get_paginator("scan").paginate(TableName="kept")
        found = {(item["p"]["S"], int(item["c"]["N"])) for page in pages for item in page["Items"]}
        wanted = {(f"w{n}", c) for n, done in acknowledged.items() for c in done}
        assert wanted <= found and len(found) <= len(wanted) + 4
        pages = client.get_paginator("query").paginate(TableName="kept", IndexName="by-x", Select="COUNT", KeyConditionExpression="x = :x",
                                                       ExpressionAttributeValues={":x": {"S": "same"}})
        assert sum(page["Count"] for page in pages) == len(found)
        assert client.describe_table(TableName="kept")["Table"]["ItemCount"] == len(found)
        streams = again.client("dynamodbstreams")
        arn = client.describe_table(TableName="kept")["Table"]["LatestStreamArn"]
        shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        recorded = []
        while True:
            answer = streams.get_records(ShardIterator=iterator)
            if not answer["Records"]:
                break
            recorded += [(r["dynamodb"]["Keys"]["p"]["S"], int(r["dynamodb"]["Keys"]["c"]["N"])) for r in answer["Records"]]
            iterator = answer["NextShardIterator"]
        assert len(recorded) == len(set(recorded)) and set(recorded) == found
        for n in acknowledged:
            own = [c for p, c in recorded if p == f"w{n}"]
            assert own == sorted(own)
    finally:
        again.stop()


def test_an_export_holds_the_table_as_it_was(region, table):
    client, s3 = region.client("dynamodb"), region.client("s3")
    arn = client.describe_table(TableName=table.name)["Table"]["TableArn"]
    s3.create_bucket(Bucket="exports")
    with pytest.raises(client.exceptions.PointInTimeRecoveryUnavailableException):
        client.export_table_to_point_in_time(TableArn=arn, S3Bucket="exports")
    client.update_continuous_backups(TableName=table.name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True})
    for c in range(50):
        table.put_item(Item={"p": "a", "c": c})

    def export(bucket):
        made = client.export_table_to_point_in_time(TableArn=arn, S3Bucket=bucket, S3Prefix="daily")["ExportDescription"]
        assert made["ExportStatus"] == "IN_PROGRESS"
        table.put_item(Item={"p": "later", "c": 0})
        ended = lambda: client.describe_export(ExportArn=made["ExportArn"])["ExportDescription"]  # noqa: E731
        return wait_for(lambda: ended()["ExportStatus"] != "IN_PROGRESS" and ended(), what="the export")

    done = export("exports")
    assert done["ExportStatus"] == "COMPLETED" and done["ItemCount"] == 50
    lines = []
    for found in s3.list_objects_v2(Bucket="exports", Prefix="daily/")["Contents"]:
        if "/data/" in found["Key"]:
            lines += gzip.decompress(s3.get_object(Bucket="exports", Key=found["Key"])["Body"].read()).splitlines()
    assert sorted(int(json.loads(line)["Item"]["c"]["N"]) for line in lines) == list(range(50))
    manifest = json.loads(s3.get_object(Bucket="exports", Key=done["ExportManifest"])["Body"].read())
    assert manifest["itemCount"] == 50 and manifest["outputFormat"] == "DYNAMODB_JSON"
    failed = export("no-such-bucket-here")
    assert (failed["ExportStatus"], failed["FailureCode"]) == ("FAILED", "S3NoSuchBucket")
    assert len(client.list_exports(TableArn=arn)["ExportSummaries"]) == 2


TERRAFORM = """
terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.0" }
  }
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
}

resource "aws_dynamodb_table" "orders" {
  name                        = "orders"
  billing_mode                = "PROVISIONED"
  read_capacity               = 5
  write_capacity              = 5
  hash_key                    = "customer"
  range_key                   = "number"
  stream_enabled              = true
  stream_view_type            = "NEW_AND_OLD_IMAGES"
  table_class                 = "STANDARD"
  deletion_protection_enabled = false

  attribute {
    name = "customer"
    type = "S"
  }
  attribute {
    name = "number"
    type = "N"
  }
  attribute {
    name = "status"
    type = "S"
  }
  attribute {
    name = "total"
    type = "N"
  }
  global_secondary_index {
    name               = "by-status"
    hash_key           = "status"
    range_key          = "number"
    projection_type    = "INCLUDE"
    non_key_attributes = ["total"]
    read_capacity      = 2
    write_capacity     = 2
  }
  local_secondary_index {
    name            = "by-total"
    range_key       = "total"
    projection_type = "KEYS_ONLY"
  }
  ttl {
    attribute_name = "ends"
    enabled        = true
  }
  point_in_time_recovery {
    enabled = true
  }
  server_side_encryption {
    enabled = true
  }
  tags = {
    team = "shop"
  }
}

resource "aws_dynamodb_table" "sessions" {
  name         = "sessions"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"
  attribute {
    name = "id"
    type = "S"
  }
}

resource "aws_dynamodb_table_item" "first" {
  table_name = aws_dynamodb_table.sessions.name
  hash_key   = aws_dynamodb_table.sessions.hash_key
  item       = jsonencode({ id = { S = "first" }, n = { N = "1" } })
}

resource "aws_dynamodb_resource_policy" "sessions" {
  resource_arn = aws_dynamodb_table.sessions.arn
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Sid = "read", Effect = "Allow", Principal = { AWS = "arn:aws:iam::000000000000:root" }, Action = "dynamodb:GetItem", Resource = aws_dynamodb_table.sessions.arn }]
  })
}

resource "aws_dynamodb_contributor_insights" "orders" {
  table_name = aws_dynamodb_table.orders.name
}

output "stream" {
  value = aws_dynamodb_table.orders.stream_arn
}
"""


def test_terraform_applies_plans_no_change_and_destroys(region, terraform, tmp_path, monkeypatch):
    for key, value in region.env().items():
        monkeypatch.setenv(key, value)
    folder = tmp_path / "terraform"
    folder.mkdir()
    (folder / "main.tf").write_text(TERRAFORM)
    outputs = terraform.deploy(folder, quiet=True)
    assert "/stream/" in outputs["stream"]
    assert terraform.changes(folder) == ""
    client = region.client("dynamodb")
    assert client.get_item(TableName="sessions", Key={"id": {"S": "first"}})["Item"]["n"] == {"N": "1"}
    # An index more, another throughput and a tag: done in place.
    changed = TERRAFORM.replace("read_capacity               = 5", "read_capacity               = 6").replace('team = "shop"', 'team = "store"')
    (folder / "main.tf").write_text(changed)
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    assert client.describe_table(TableName="orders")["Table"]["ProvisionedThroughput"]["ReadCapacityUnits"] == 6
    terraform.destroy(folder, quiet=True)
    assert not {"orders", "sessions"} & set(client.list_tables()["TableNames"])
