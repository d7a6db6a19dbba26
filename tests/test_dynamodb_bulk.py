"""Bulk operations of DynamoDB with boto3: from files in S3, under conditions, with reports, cancelled, and across a kill."""
import gzip
import json

import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

# A frame of Zstandard with one line of JSON in a raw block.
ZSTD = bytes.fromhex(
    "28b52ffd202a5101007b224974656d223a7b226b223a7b2253223a227a737464227d2c2276223a7b2253223a2276227d7d7d0a")


def make(region, name):
    region.client("dynamodb").create_table(
        TableName=name, KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}])


def line(key, value="v", **more):
    return json.dumps({"Item": {"k": {"S": key}, "v": {"S": value}}, **more}) + "\n"


def put(region, bucket, key, body):
    region.client("s3").put_object(Bucket=bucket, Key=key, Body=body)


def start(region, table, bucket, prefix, types=("ERROR", "CONDITION_CHECK_FAILURE"), compression=None, **more):
    source = {"S3Bucket": bucket, "S3KeyPrefix": prefix, "InputFormat": "DYNAMODB_JSON"}
    if compression:
        source["InputCompressionType"] = compression
    return region.client("dynamodb").start_bulk_put_items(**{
        "TableName": table, "InputS3Configuration": source,
        "OutputS3Configuration": {"S3Bucket": bucket, "S3KeyPrefix": "reports", "OutputType": list(types)}, **more,
    })["BulkOperationDescription"]


def ended(region, arn, seconds=60):
    dynamodb = region.client("dynamodb")

    def look():
        described = dynamodb.describe_bulk_operation(BulkOperationArn=arn)["BulkOperationDescription"]
        return described if described["BulkOperationStatus"] not in ("IN_PROGRESS", "CANCELLING") else None

    return wait_for(look, seconds, "the operation's end")


def items(region, table):
    pages = region.client("dynamodb").get_paginator("scan").paginate(TableName=table)
    return {i["k"]["S"]: i["v"]["S"] for page in pages for i in page["Items"]}


def reports(region, bucket, kind):
    s3 = region.client("s3")
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix="reports/").get("Contents", []) if f"/{kind}/" in o["Key"]]
    return [json.loads(text) for key in keys for text in s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines()]


def test_items_are_put_from_files_and_what_is_wrong_is_reported(region):
    region.client("s3").create_bucket(Bucket="bulk-in")
    make(region, "bulk")
    region.client("dynamodb").put_item(TableName="bulk", Item={"k": {"S": "there"}, "v": {"S": "old"}})
    condition = dict(ConditionExpression="attribute_not_exists(#k)", ExpressionAttributeNames={"#k": "k"})
    equal = dict(ConditionExpression="v = :v", ExpressionAttributeValues={":v": {"S": "first"}})
    put(region, "bulk-in", "load/1.json", "".join([
        line("plain"), line("there", "new", **condition), line("fresh", **condition),
        line("chain", "first"), line("chain", "second", **equal), line("chain", "third", **equal),
        '{"Item": {"other": {"S": "no key"}}}\n', "nothing at all\n", line("wrong", ConditionExpression="v ="),
    ]))
    put(region, "bulk-in", "load/2.json.gz", gzip.compress(b"not this one: the operation takes no compression"))
    put(region, "bulk-in", "load/3.json", "".join(line(f"i{n:03}") for n in range(230)))
    begun = start(region, "bulk", "bulk-in", "load/")
    assert begun["BulkOperationStatus"] == "IN_PROGRESS" and "EndTime" not in begun
    assert begun["PerformanceTier"] == "STANDARD"
    done = ended(region, begun["BulkOperationArn"])
    assert done["BulkOperationStatus"] == "COMPLETED_WITH_ERRORS"
    assert (done["ProcessedItemCount"], done["FailedItemCount"]) == (9 + 1 + 230, 4)
    assert done["ProcessedInputBytes"] == done["TotalInputBytes"] > 1000
    assert done["BulkOperationUsage"][0]["BulkPutBytes"] > 230 * 6
    assert items(region, "bulk") == {
        "plain": "v", "there": "old", "fresh": "v", "chain": "second", **{f"i{n:03}": "v" for n in range(230)}}
    refused = reports(region, "bulk-in", "CONDITION_CHECK_FAILURE")
    assert [(r["attemptedItem"]["v"]["S"], r["existingItem"]["v"]["S"]) for r in refused] == [("new", "old"), ("third", "second")]
    errors = reports(region, "bulk-in", "ERROR")
    assert len(errors) == 4 and any("Missing the key k" in e["errorMessage"] for e in errors)


@pytest.mark.parametrize("compression, body", [("GZIP", gzip.compress(line("gzip").encode())), ("ZSTD", ZSTD), ("ZSTD", ZSTD * 2)])
def test_files_may_be_compressed(make_region, compression, body):
    region = make_region()
    region.client("s3").create_bucket(Bucket="compressed")
    make(region, "compressed")
    put(region, "compressed", "in/file", body)
    put(region, "compressed", "in/zz-broken", body[:-5])
    done = ended(region, start(region, "compressed", "compressed", "in/", compression=compression)["BulkOperationArn"])
    assert (done["BulkOperationStatus"], done["FailedItemCount"]) == ("COMPLETED_WITH_ERRORS", 1)
    assert list(items(region, "compressed")) == [compression.lower()]


def test_a_token_starts_one_operation_and_operations_are_listed(make_region):
    region = make_region()
    dynamodb = region.client("dynamodb")
    region.client("s3").create_bucket(Bucket="tokens")
    make(region, "tokens")
    put(region, "tokens", "in/1", line("a"))
    first = start(region, "tokens", "tokens", "in/", ClientToken="t")
    assert start(region, "tokens", "tokens", "in/", ClientToken="t")["BulkOperationArn"] == first["BulkOperationArn"]
    with pytest.raises(ClientError) as caught:
        start(region, "tokens", "tokens", "other/", ClientToken="t")
    assert caught.value.response["Error"]["Code"] == "IdempotentParameterMismatchException"
    arns = [first["BulkOperationArn"]]
    for n in range(3):
        arns.append(start(region, "tokens", "tokens", "in/", ClientToken=f"t{n}")["BulkOperationArn"])
    for arn in arns:
        assert ended(region, arn)["BulkOperationStatus"] == "COMPLETED"
    page = dynamodb.list_bulk_operations(MaxResults=3)
    rest = dynamodb.list_bulk_operations(NextToken=page["NextToken"])
    listed = page["BulkOperationsSummaryList"] + rest["BulkOperationsSummaryList"]
    assert sorted(s["BulkOperationArn"] for s in listed) == sorted(arns) and "NextToken" not in rest
    assert [s["StartTime"] for s in listed] == sorted((s["StartTime"] for s in listed), reverse=True)
    # What cannot be read is the operation's outcome.
    lost = ended(region, start(region, "tokens", "tokens", "missing/")["BulkOperationArn"])
    assert (lost["BulkOperationStatus"], lost["FailureCode"]) == ("FAILED", "S3NoSuchKey")
    lost = ended(region, start(region, "tokens", "no-such-bucket", "in/")["BulkOperationArn"])
    assert (lost["BulkOperationStatus"], lost["FailureCode"]) == ("FAILED", "S3NoSuchBucket")
    with pytest.raises(ClientError) as caught:
        dynamodb.describe_bulk_operation(BulkOperationArn=arns[0] + "x")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_an_operation_is_cancelled_and_goes_on_after_a_kill(make_region):
    region = make_region()
    region.client("s3").create_bucket(Bucket="slow")
    make(region, "slow")
    # At the lowest rate these take about five seconds.
    wrong = "".join('{"Item": {"other": {"S": "' + str(n) + '"}}}\n' for n in range(40))
    put(region, "slow", "in/1", wrong + "".join(line(f"i{n:05}") for n in range(5000)))
    arn = start(region, "slow", "slow", "in/", MaxWriteRequestUnits=1024)["BulkOperationArn"]
    wait_for(lambda: len(items(region, "slow")) > 100, 30, "the first items")
    region.kill()
    region.start()
    done = ended(region, arn)
    assert (done["BulkOperationStatus"], done["ProcessedItemCount"]) == ("COMPLETED_WITH_ERRORS", 5040)
    assert len(items(region, "slow")) == 5000
    # What was wrong before the kill is reported all the same.
    assert {r["input"]["Item"]["other"]["S"] for r in reports(region, "slow", "ERROR")} == {str(n) for n in range(40)}

    make(region, "cancelled")
    arn = start(region, "cancelled", "slow", "in/", MaxWriteRequestUnits=1024)["BulkOperationArn"]
    # Others do not wait for it.
    make(region, "quick")
    put(region, "slow", "quick/1", line("a"))
    quick = start(region, "quick", "slow", "quick/")["BulkOperationArn"]
    assert ended(region, quick)["BulkOperationStatus"] == "COMPLETED"
    described = region.client("dynamodb").describe_bulk_operation(BulkOperationArn=arn)["BulkOperationDescription"]
    assert described["BulkOperationStatus"] == "IN_PROGRESS"
    cancelled = region.client("dynamodb").cancel_bulk_operation(BulkOperationArn=arn)
    assert cancelled["BulkOperationStatus"] == "CANCELLING"
    done = ended(region, arn)
    assert done["BulkOperationStatus"] == "CANCELLED" and done["FailureCode"]
    assert len(items(region, "cancelled")) == done["ProcessedItemCount"] - 40 < 5000
