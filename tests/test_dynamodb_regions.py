"""DynamoDB beyond one table: replicas in other regions, imports, throughput, and answers as its own clients and others read them."""
import gzip
import json
import urllib.error
import urllib.request

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import wait_for

KEYS = {"KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}], "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}]}


def in_region(region, name):
    return boto3.client("dynamodb", endpoint_url=region.endpoint, aws_access_key_id="test", aws_secret_access_key="test",
                        region_name=name, config=Config(retries={"max_attempts": 0}))


def replicas(client):
    return {r["RegionName"]: r["ReplicaStatus"] for r in client.describe_table(TableName="global")["Table"].get("Replicas", [])}


def items(client):
    return {i["k"]["S"]: i.get("v", {}).get("S") for i in client.scan(TableName="global", ConsistentRead=True)["Items"]}


def put(client, key, value):
    client.put_item(TableName="global", Item={"k": {"S": key}, "v": {"S": value}})


def test_a_table_is_the_same_in_all_its_regions_also_across_a_crash(make_region):
    region = make_region()
    east, west, north = (in_region(region, r) for r in ("us-east-1", "us-west-2", "eu-north-1"))
    east.create_table(TableName="global", BillingMode="PAY_PER_REQUEST", **KEYS, StreamSpecification={
        "StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"})
    for n in range(250):
        put(east, f"before-{n}", "x")
    east.update_table(TableName="global", ReplicaUpdates=[{"Create": {"RegionName": "us-west-2"}}])
    put(east, "while", "x")
    wait_for(lambda: replicas(east) == {"us-west-2": "ACTIVE"}, 30, "the replica")
    assert replicas(west) == {"us-east-1": "ACTIVE"}
    wait_for(lambda: items(west) == items(east) and len(items(east)) == 251, 30, "the first items")
    put(west, "from-west", "w")
    west.delete_item(TableName="global", Key={"k": {"S": "while"}})
    east.update_item(TableName="global", Key={"k": {"S": "before-0"}}, UpdateExpression="SET v = :v",
                     ExpressionAttributeValues={":v": {"S": "changed"}})
    wait_for(lambda: items(east) == items(west) and items(east).get("from-west") == "w" and "while" not in items(east)
             and items(west)["before-0"] == "changed", 30, "changes both ways")
    # Both write the same item: both regions end with the same, later value.
    for n in range(20):
        put(east, "both", f"e{n}")
        put(west, "both", f"w{n}")
    region.kill()
    region.start()
    wait_for(lambda: items(east) == items(west), 30, "one winner")
    assert items(east)["both"] == "w19"
    # A third one learns of both, and both of it.
    west.update_table(TableName="global", ReplicaUpdates=[{"Create": {"RegionName": "eu-north-1"}}])
    everywhere = {"us-east-1": "ACTIVE", "us-west-2": "ACTIVE", "eu-north-1": "ACTIVE"}
    for client, own in ((east, "us-east-1"), (west, "us-west-2"), (north, "eu-north-1")):
        wait_for(lambda: replicas(client) == {r: s for r, s in everywhere.items() if r != own}, 30, "the third replica")
    put(north, "from-north", "n")
    wait_for(lambda: items(east) == items(west) == items(north) and "from-north" in items(east), 30, "all three")
    east.update_table(TableName="global", ReplicaUpdates=[{"Delete": {"RegionName": "us-west-2"}}])
    wait_for(lambda: replicas(east) == {"eu-north-1": "ACTIVE"} == {r: s for r, s in everywhere.items() if r == "eu-north-1"}, 30)

    def is_gone():
        try:
            west.describe_table(TableName="global")
        except ClientError as e:
            return e.response["Error"]["Code"] == "ResourceNotFoundException"
    wait_for(is_gone, 30, "the end of the replica")
    put(east, "after", "x")
    wait_for(lambda: "after" in items(north), 30)
    with pytest.raises(ClientError, match="not part of the global table"):
        east.update_table(TableName="global", ReplicaUpdates=[{"Delete": {"RegionName": "us-west-2"}}])


def test_replicas_follow_their_settings(make_region):
    region = make_region()
    east, west = (in_region(region, r) for r in ("us-east-1", "us-west-2"))
    east.create_table(TableName="global", BillingMode="PAY_PER_REQUEST", **KEYS)
    east.update_table(TableName="global", ReplicaUpdates=[{"Create": {"RegionName": "us-west-2"}}])
    wait_for(lambda: replicas(east) == {"us-west-2": "ACTIVE"}, 30, "the replica")
    put(west, "a", "x")
    put(east, "b", "x")
    east.update_table(TableName="global", AttributeDefinitions=[{"AttributeName": "v", "AttributeType": "S"}], GlobalSecondaryIndexUpdates=[
        {"Create": {"IndexName": "by-v", "KeySchema": [{"AttributeName": "v", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}}])

    def described(client):
        return client.describe_table(TableName="global")["Table"]

    def by_v(client):
        indexes = described(client).get("GlobalSecondaryIndexes", [])
        if [i["IndexStatus"] for i in indexes] != ["ACTIVE"]:
            return None
        found = client.query(TableName="global", IndexName="by-v", KeyConditionExpression="v = :v", ExpressionAttributeValues={":v": {"S": "x"}})
        return sorted(i["k"]["S"] for i in found["Items"])
    for client in (east, west):
        wait_for(lambda: by_v(client) == ["a", "b"], 30, "the index in both regions")
    west.update_time_to_live(TableName="global", TimeToLiveSpecification={"Enabled": True, "AttributeName": "end"})
    wait_for(lambda: east.describe_time_to_live(TableName="global")["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED", 30)
    region.kill()
    region.start()
    capacity = {"ReadCapacityUnits": 7, "WriteCapacityUnits": 8}
    west.update_table(TableName="global", BillingMode="PROVISIONED", ProvisionedThroughput=capacity, GlobalSecondaryIndexUpdates=[
        {"Update": {"IndexName": "by-v", "ProvisionedThroughput": capacity}}])
    wait_for(lambda: described(east)["ProvisionedThroughput"]["WriteCapacityUnits"] == 8, 30, "the capacity")
    assert described(east)["GlobalSecondaryIndexes"][0]["ProvisionedThroughput"]["ReadCapacityUnits"] == 7
    west.update_table(TableName="global", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-v"}}])
    wait_for(lambda: "GlobalSecondaryIndexes" not in described(east), 30, "the end of the index")
    assert described(east)["AttributeDefinitions"] == KEYS["AttributeDefinitions"]


def test_a_table_is_imported_from_s3(region):
    s3, tables = region.client("s3"), region.client("dynamodb")
    s3.create_bucket(Bucket="imports")
    lines = "".join(json.dumps({"Item": {"k": {"S": f"k{n}"}, "n": {"N": str(n)}}}) + "\n" for n in range(120))
    s3.put_object(Bucket="imports", Key="json/1.json.gz", Body=gzip.compress(lines.encode()))
    s3.put_object(Bucket="imports", Key="json/2.json.gz", Body=gzip.compress(b'{"Item": {"k": {"S": "last"}}}\nnonsense\n'))
    s3.put_object(Bucket="imports", Key="csv/1.csv", Body='k,t\na,"x, ""y"""\nb,z\n'.encode())

    def imported(name, prefix, format, bucket="imports", **options):
        source = {"S3Bucket": bucket, **({"S3KeyPrefix": prefix} if prefix else {})}
        made = tables.import_table(S3BucketSource=source, InputFormat=format,
                                   TableCreationParameters={"TableName": name, "BillingMode": "PAY_PER_REQUEST", **KEYS}, **options)
        arn = made["ImportTableDescription"]["ImportArn"]

        def done():
            described = tables.describe_import(ImportArn=arn)["ImportTableDescription"]
            return described if described["ImportStatus"] != "IN_PROGRESS" else None
        return wait_for(done, 30, "the import")
    described = imported("from-json", "json/", "DYNAMODB_JSON", InputCompressionType="GZIP")
    assert (described["ImportStatus"], described["ImportedItemCount"], described["ErrorCount"]) == ("FAILED", 121, 1)
    assert tables.get_item(TableName="from-json", Key={"k": {"S": "k7"}})["Item"]["n"] == {"N": "7"}
    assert imported("from-csv", "csv/", "CSV")["ImportedItemCount"] == 2
    assert tables.get_item(TableName="from-csv", Key={"k": {"S": "a"}})["Item"]["t"] == {"S": 'x, "y"'}
    failed = imported("from-nothing", "none/", "CSV")
    assert (failed["ImportStatus"], failed["FailureCode"]) == ("FAILED", "S3NoSuchKey")
    assert len(tables.list_imports()["ImportSummaryList"]) == 3
    # Documents may stand on one line; a bucket that is not there takes the table with it.
    s3.put_object(Bucket="imports", Key="run/1.json", Body=b"".join(b'{"Item": {"k": {"S": "%d"}}}' % n for n in range(10)))
    assert imported("from-one-line", "run/", "DYNAMODB_JSON")["ImportedItemCount"] == 10
    s3.create_bucket(Bucket="nothing-there")
    assert imported("from-empty", None, "DYNAMODB_JSON", "nothing-there")["ImportStatus"] == "COMPLETED"
    failed = imported("from-nowhere", None, "DYNAMODB_JSON", "never-made")
    assert failed["FailureCode"] == "S3NoSuchBucket" and "from-nowhere" not in tables.list_tables()["TableNames"]
    with pytest.raises(ClientError, match="ION are not implemented"):
        imported("from-ion", "ion/", "ION")


def test_throughput_is_enforced_where_it_is_asked_for(make_region):
    tables = in_region(make_region("--dynamodb-throttling"), "us-east-1")
    tables.create_table(TableName="slow", **KEYS, ProvisionedThroughput={"ReadCapacityUnits": 2, "WriteCapacityUnits": 2})
    tables.create_table(TableName="free", **KEYS, BillingMode="PAY_PER_REQUEST")

    def throttled(call):
        for _ in range(50):
            try:
                call()
            except ClientError as e:
                return e.response["Error"]
        return None
    error = throttled(lambda: tables.put_item(TableName="slow", Item={"k": {"S": "k"}}))
    assert error["Code"] == "ProvisionedThroughputExceededException" and "exceeded" in error["Message"]
    assert throttled(lambda: tables.get_item(TableName="slow", Key={"k": {"S": "k"}}, ConsistentRead=True))
    assert not throttled(lambda: tables.put_item(TableName="free", Item={"k": {"S": "k"}}))
    tables.update_table(TableName="slow", ProvisionedThroughput={"ReadCapacityUnits": 2, "WriteCapacityUnits": 5})

    def some_are_left():
        try:
            left = tables.batch_write_item(RequestItems={"slow": [{"PutRequest": {"Item": {"k": {"S": str(n)}}}} for n in range(25)]})
        except ClientError:
            return False
        return 0 < len(left["UnprocessedItems"]["slow"]) < 25
    wait_for(some_are_left, 20, "a batch that is done in part")
    with pytest.raises(ClientError, match=r"TransactionCanceled.*ProvisionedThroughputExceeded"):
        for _ in range(50):
            tables.transact_write_items(TransactItems=[{"Put": {"TableName": "slow", "Item": {"k": {"S": "t"}}}}])


def raw(region, operation, body, **headers):
    request = urllib.request.Request(region.endpoint, data=body, headers={
        "X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
        **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as e:
        return e.code, dict(e.headers), e.read()


def test_answers_are_dynamodbs_in_what_surrounds_them(region):
    tables = region.client("dynamodb")
    tables.create_table(TableName="raw", **KEYS, BillingMode="PAY_PER_REQUEST")
    tables.put_item(TableName="raw", Item={"k": {"S": "k"}, "v": {"S": "x" * 10_000}})
    get = json.dumps({"TableName": "raw", "Key": {"k": {"S": "k"}}}).encode()
    status, headers, plain = raw(region, "GetItem", get)
    assert status == 200 and "content-encoding" not in {h.lower() for h in headers}
    _, headers, body = raw(region, "GetItem", get, **{"Accept-Encoding": "gzip"})
    assert len(body) < 500 and gzip.decompress(body) == plain
    for body, name in ((b'{"TableName": "absent"}', "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"),
                       (b'{"TableName": "?"}', "com.amazon.coral.validate#ValidationException"),
                       (b"{", "com.amazon.coral.service#SerializationException")):
        status, _, answer = raw(region, "DescribeTable", body)
        assert (status, json.loads(answer)["__type"]) == (400, name)
    assert json.loads(answer) == {"__type": name}  # Not a word of what is wrong with it.
    status, _, _ = raw(region, "GetItem", get, **{"X-Long": "x" * 17_000})
    assert status == 400
    try:
        status = raw(region, "GetItem", get + b" " * (17 << 20))[0]
    except OSError:
        status = 413  # The answer came before all was sent, and with it the connection's end.
    assert status == 413
    request = urllib.request.Request(region.endpoint, method="OPTIONS", headers={
        "Origin": "http://console", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-amz-target"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*" and answer.headers["Access-Control-Allow-Headers"] == "x-amz-target"
