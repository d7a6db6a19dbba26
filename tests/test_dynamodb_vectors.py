"""Vector indexes of DynamoDB with boto3: made, filled, kept in line with items, searched, restored. The texts of errors and the
scores are those that were reported from AWS."""
import contextlib
import math
import random

import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

HASH = {"AttributeName": "Category", "SearchSchemaElementType": "HASH"}
FILTER = {"AttributeName": "Brand", "SearchSchemaElementType": "INLINE_FILTER"}


def vector(*numbers):
    return {"L": [{"N": repr(n) if isinstance(n, float) else str(n)} for n in numbers]}


def index(name="near", dimensions=4, distance="COSINE", projection=None, schema=None, attribute="Embedding"):
    return {
        "IndexName": name,
        "VectorAttribute": {"AttributeName": attribute},
        "Dimensions": dimensions,
        "DistanceFunction": distance,
        "Projection": projection or {"ProjectionType": "ALL"},
        **({"SearchSchema": schema} if schema else {}),
    }


def table(dynamodb, name, *indexes, more=(), **parameters):
    made = dynamodb.create_table(**{
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("Id", *more)],
        "KeySchema": [{"AttributeName": "Id", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
        **({"VectorIndexes": list(indexes)} if indexes else {}),
        **parameters,
    })
    return made["TableDescription"]


def put(dynamodb, name, item_id, numbers=None, **attributes):
    item = {"Id": {"S": item_id}, **{k: {"S": v} for k, v in attributes.items()}}
    if numbers is not None:
        item["Embedding"] = vector(*numbers)
    return dynamodb.put_item(TableName=name, Item=item, ReturnConsumedCapacity="INDEXES")


def search(dynamodb, name, numbers, top=10, at="near", condition=None, values=None, **more):
    if condition:
        more["SearchConditionExpression"] = condition
        more["ExpressionAttributeValues"] = {k: {"S": v} for k, v in (values or {}).items()}
    found = dynamodb.search_vectors(
        TableName=name, IndexName=at, SearchVector=vector(*numbers)["L"], TopK=top, **more)
    return found["SearchResults"]


def ids(results):
    return [r["Item"]["Id"]["S"] for r in results]


def message(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    assert error["Code"] in ("ValidationException", "LimitExceededException"), error
    return error["Message"]


def ready(dynamodb, name, at="near"):
    def look():
        indexes = dynamodb.describe_table(TableName=name)["Table"].get("VectorIndexes", [])
        return any(i["IndexName"] == at and i["IndexStatus"] == "ACTIVE" and not i.get("Backfilling") for i in indexes)

    wait_for(look, 30, "the index")


def test_a_vector_index_is_described_and_searched(region):
    dynamodb = region.client("dynamodb")
    made = table(
        dynamodb, "Products", index(schema=[HASH, FILTER], projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": ["Title"]}),
        more=("Category", "Brand"))
    [described] = made["VectorIndexes"]
    assert described["IndexStatus"] == "CREATING" and "Backfilling" not in described
    arn = described.pop("IndexArn")
    assert arn.endswith(":table/Products/index/near")
    ready(dynamodb, "Products")
    written = put(dynamodb, "Products", "a", (1, 0, 0, 0), Category="c", Brand="x", Title="A", Secret="s")
    assert written["ConsumedCapacity"]["VectorIndexes"] == {"near": {"VectorWriteRequestBytes": 1024.0}}
    put(dynamodb, "Products", "b", (0, 1, 0, 0), Category="c", Brand="y", Title="B")
    put(dynamodb, "Products", "other", (1, 0, 0, 0), Category="d", Title="O")
    # Without the attribute of the hash an item is in no index, without a filter's it is.
    put(dynamodb, "Products", "unsearchable", (1, 0, 0, 0), Brand="x")
    put(dynamodb, "Products", "plain", (-1, 0, 0, 0), Category="c")
    put(dynamodb, "Products", "no-vector", Category="c")

    found = dynamodb.search_vectors(
        TableName="Products", IndexName="near", SearchVector=vector(1, 0, 0, 0)["L"], TopK=10, ReturnConsumedCapacity="TOTAL",
        SearchConditionExpression="Category = :c", ExpressionAttributeValues={":c": {"S": "c"}})
    assert [(i, r["Score"]) for i, r in zip(ids(found["SearchResults"]), found["SearchResults"])] == [
        ("a", 0.0), ("b", 1.0), ("plain", 2.0)]
    assert found["ConsumedCapacity"] == {"VectorSearchRequestBytes": 1024.0}
    # What is projected, without the vector.
    assert found["SearchResults"][0]["Item"] == {
        "Id": {"S": "a"}, "Category": {"S": "c"}, "Brand": {"S": "x"}, "Title": {"S": "A"}}
    only = search(dynamodb, "Products", (1, 0, 0, 0), condition="Category = :c AND Brand = :b", values={":c": "c", ":b": "y"})
    assert ids(only) == ["b"]
    shown = search(dynamodb, "Products", (1, 0, 0, 0), top=1, condition="Category = :c", values={":c": "c"},
                   ProjectionExpression="Id, Embedding, Secret")
    assert [r["Item"] for r in shown] == [{"Id": {"S": "a"}, "Embedding": vector(1, 0, 0, 0)}]

    [described] = dynamodb.describe_table(TableName="Products")["Table"]["VectorIndexes"]
    assert (described["ItemCount"], described["Dimensions"], described["DistanceFunction"]) == (4, 4, "COSINE")
    assert described["SearchSchema"] == [HASH, FILTER]
    assert described["IndexSizeBytes"] > 4 * 16


def test_the_three_distances_rank_as_on_aws(region):
    dynamodb = region.client("dynamodb")
    table(dynamodb, "Distances", *(index(d, distance=d) for d in ("COSINE", "EUCLIDEAN", "DOT_PRODUCT")))
    for item_id, numbers in {"same": (1, 0, 0, 0), "long": (10, 0, 0, 0), "against": (-1, 0, 0, 0), "aside": (0, 2, 0, 0)}.items():
        put(dynamodb, "Distances", item_id, numbers)

    def ranking(at):
        return [(r["Item"]["Id"]["S"], r["Score"]) for r in search(dynamodb, "Distances", (1, 0, 0, 0), at=at)]

    assert sorted(ranking("COSINE")[:2]) == [("long", 0.0), ("same", 0.0)]
    assert ranking("COSINE")[2:] == [("aside", 1.0), ("against", 2.0)]
    assert ranking("EUCLIDEAN") == [("same", 0.0), ("against", 2.0), ("aside", math.sqrt(5)), ("long", 9.0)]
    assert ranking("DOT_PRODUCT") == [("long", 10.0), ("same", 1.0), ("aside", 0.0), ("against", -1.0)]


def test_an_index_follows_its_items(region):
    dynamodb = region.client("dynamodb")
    table(dynamodb, "Follows", index(dimensions=2, schema=[HASH]), more=("Category",))
    put(dynamodb, "Follows", "a", (1, 0), Category="c")
    put(dynamodb, "Follows", "b", (0, 1), Category="c")

    def found(category="c"):
        return ids(search(dynamodb, "Follows", (1, 0), condition="Category = :c", values={":c": category}))

    assert found() == ["a", "b"]
    key = {"Id": {"S": "a"}}
    dynamodb.update_item(TableName="Follows", Key=key, UpdateExpression="SET Embedding = :v",
                         ExpressionAttributeValues={":v": vector(-1, 0)})
    assert found() == ["b", "a"]
    dynamodb.update_item(TableName="Follows", Key=key, UpdateExpression="SET Category = :d",
                         ExpressionAttributeValues={":d": {"S": "d"}})
    assert (found(), found("d")) == (["b"], ["a"])
    dynamodb.update_item(TableName="Follows", Key=key, UpdateExpression="REMOVE Category")
    assert found("d") == [] and "Embedding" in dynamodb.get_item(TableName="Follows", Key=key)["Item"]
    dynamodb.delete_item(TableName="Follows", Key={"Id": {"S": "b"}})
    assert found() == []
    dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": "Follows", "Item": {
        "Id": {"S": "t"}, "Category": {"S": "c"}, "Embedding": vector(1, 1)}}}])
    dynamodb.batch_write_item(RequestItems={"Follows": [{"PutRequest": {"Item": {
        "Id": {"S": "u"}, "Category": {"S": "c"}, "Embedding": vector(1, 2)}}}]})
    assert found() == ["t", "u"]
    assert dynamodb.describe_table(TableName="Follows")["Table"]["VectorIndexes"][0]["ItemCount"] == 2


def test_an_index_added_to_a_table_is_filled_and_one_deleted_is_gone(region):
    dynamodb = region.client("dynamodb")
    table(dynamodb, "Added")
    for n in range(30):
        put(dynamodb, "Added", f"i{n:02}", (n, 1))
    put(dynamodb, "Added", "wrong-size", (1, 2, 3))
    put(dynamodb, "Added", "none")
    changed = dynamodb.update_table(TableName="Added", VectorIndexUpdates=[{"Create": index(dimensions=2, distance="EUCLIDEAN")}])
    assert changed["TableDescription"]["VectorIndexes"][0]["IndexStatus"] == "CREATING"
    ready(dynamodb, "Added")
    assert ids(search(dynamodb, "Added", (0, 1), top=3)) == ["i00", "i01", "i02"]
    assert dynamodb.describe_table(TableName="Added")["Table"]["VectorIndexes"][0]["ItemCount"] == 30
    # An item that was wrong before can be changed elsewhere, and is found once it is right.
    wrong = dict(TableName="Added", Key={"Id": {"S": "wrong-size"}})
    dynamodb.update_item(**wrong, UpdateExpression="SET a = :a", ExpressionAttributeValues={":a": {"S": "x"}})
    dynamodb.update_item(**wrong, UpdateExpression="SET Embedding = :v", ExpressionAttributeValues={":v": vector(0, 1)})
    assert "wrong-size" in ids(search(dynamodb, "Added", (0, 1), top=2))
    two = [{"Create": index("one", 2)}, {"Create": index("two", 2)}]
    assert message(dynamodb.update_table, TableName="Added", VectorIndexUpdates=two) == (
        "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table")
    dynamodb.update_table(TableName="Added", VectorIndexUpdates=[{"Delete": {"IndexName": "near"}}])
    assert "VectorIndexes" not in dynamodb.describe_table(TableName="Added")["Table"]
    assert message(dynamodb.search_vectors, TableName="Added", IndexName="near", SearchVector=vector(0, 1)["L"], TopK=1) == (
        "The table does not have the specified index: near")
    # The items are as they were.
    assert dynamodb.describe_table(TableName="Added")["Table"]["ItemCount"] == 32


def test_what_cannot_be_is_refused_in_the_words_of_aws(region):
    dynamodb = region.client("dynamodb")
    table(dynamodb, "Refusals", index(schema=[HASH, FILTER]), index("free", 4), more=("Category", "Brand"))
    create = dict(
        TableName="RefusedTable", AttributeDefinitions=[{"AttributeName": "Id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "Id", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST")
    invalid = "One or more parameter values were invalid: "
    assert message(dynamodb.create_table, **create, VectorIndexes=[index(schema=[HASH])]) == (
        invalid + "One element in SearchSchema is not defined in attribute definitions")
    for wrong in ([index(dimensions=4097)], [index(), index()], [index(str(n) * 3) for n in range(6)],
                  [index(), index("other", 5)], [index(attribute="Id")]):
        assert message(dynamodb.create_table, **create, VectorIndexes=wrong).startswith(invalid)
    provisioned = {**create, "BillingMode": "PROVISIONED", "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}}
    assert "PAY_PER_REQUEST" in message(dynamodb.create_table, **provisioned, VectorIndexes=[index()])
    to_provisioned = {k: provisioned[k] for k in ("BillingMode", "ProvisionedThroughput")}
    assert "PAY_PER_REQUEST" in message(dynamodb.update_table, TableName="Refusals", **to_provisioned)

    def write(**attributes):
        return message(dynamodb.put_item, TableName="Refusals", Item={"Id": {"S": "x"}, **attributes})

    assert write(Embedding=vector(1, 2)) == invalid + "Invalid size for parameter Embedding, Expected: 4, Actual: 2. IndexName: near"
    assert write(Embedding={"NS": ["1", "1"]}).endswith("Input collection contains duplicates")
    assert "Invalid type for parameter Embedding" in write(Embedding={"S": "1,2,3,4"})
    assert "Embedding[2]" in write(Embedding={"L": [{"N": "1"}, {"N": "1"}, {"S": "1"}, {"N": "1"}]})
    assert "Embedding[0]" in write(Embedding=vector("1e60", 1, 1, 1))
    assert "Type mismatch" in write(Category={"N": "1"})
    assert "empty string" in write(Category={"S": ""})
    assert "Type mismatch" in write(Brand={"N": "1"})
    update = dict(TableName="Refusals", Key={"Id": {"S": "x"}}, UpdateExpression="SET Embedding = :v")
    assert "Invalid size" in message(dynamodb.update_item, **update, ExpressionAttributeValues={":v": vector(1)})
    assert "Item" not in dynamodb.get_item(TableName="Refusals", Key={"Id": {"S": "x"}})

    def refused(numbers=(1, 0, 0, 0), at="free", top=1, **more):
        return message(dynamodb.search_vectors, TableName="Refusals", IndexName=at, SearchVector=vector(*numbers)["L"], TopK=top, **more)

    assert refused(top=101) == "Provided TopK value '101' is out of valid range. The value must be between 1 and 100 inclusive"
    assert refused((1, 0, 0)) == "Input search vector dimension 3 does not match vector index dimension 4"
    assert refused(at="missing") == "The table does not have the specified index: missing"
    assert refused(at="near") == "SearchConditionExpression must be provided when SearchSchema has a HASH key"
    compare = {"SearchConditionExpression": "Category > :c", "ExpressionAttributeValues": {":c": {"S": "c"}}}
    assert refused(at="near", **compare) == (
        "Invalid SearchConditionExpression: Invalid comparator used in SearchConditionExpression")
    compare["SearchConditionExpression"] = "Category = :c AND Title = :c"
    assert "Title" in refused(at="near", **compare)
    key = {"KeyConditionExpression": "Id = :i", "ExpressionAttributeValues": {":i": {"S": "x"}}}
    assert message(dynamodb.query, TableName="Refusals", IndexName="near", **key) == (
        "Query operation not supported on this index type.")
    assert message(dynamodb.scan, TableName="Refusals", IndexName="near") == "Scan operation not supported on this index type."


def test_searches_find_what_a_naive_search_finds(region):
    dynamodb = region.client("dynamodb")
    table(dynamodb, "Naive", index(dimensions=8, distance="EUCLIDEAN", schema=[FILTER]), more=("Brand",))
    rng = random.Random(7)
    known = {}
    for n in range(300):
        item_id, brand = f"i{rng.randrange(200)}", rng.choice("xyz")
        if rng.random() < 0.2:
            dynamodb.delete_item(TableName="Naive", Key={"Id": {"S": item_id}})
            known.pop(item_id, None)
        else:
            numbers = [rng.randrange(-100, 100) / 4 for _ in range(8)]
            put(dynamodb, "Naive", item_id, numbers, Brand=brand)
            known[item_id] = (numbers, brand)
    for _ in range(20):
        wanted = [rng.randrange(-100, 100) / 4 for _ in range(8)]
        expected = sorted((math.dist(wanted, numbers), i) for i, (numbers, brand) in known.items() if brand == "x")[:7]
        found = search(dynamodb, "Naive", wanted, top=7, condition="Brand = :b", values={":b": "x"})
        assert [round(r["Score"], 9) for r in found] == [round(d, 9) for d, _ in expected]
        assert all(round(math.dist(wanted, known[i][0]), 9) == round(r["Score"], 9) for i, r in zip(ids(found), found))


def test_an_index_is_restored_copied_to_replicas_and_survives_a_kill(make_region):
    region = make_region()
    dynamodb = region.client("dynamodb")
    table(dynamodb, "Lasting", index(dimensions=2), StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"})
    for n in range(5):
        put(dynamodb, "Lasting", f"i{n}", (n, 1))
    backup = dynamodb.create_backup(TableName="Lasting", BackupName="backup")["BackupDetails"]["BackupArn"]
    details = dynamodb.describe_backup(BackupArn=backup)["BackupDescription"]["SourceTableFeatureDetails"]
    assert details["VectorIndexes"] == [index(dimensions=2)]
    region.kill()
    region.start()
    dynamodb = region.client("dynamodb")
    assert ids(search(dynamodb, "Lasting", (0, 1)))[0] == "i0"
    dynamodb.restore_table_from_backup(TargetTableName="Restored", BackupArn=backup)
    ready(dynamodb, "Restored")
    assert ids(search(dynamodb, "Restored", (4, 1), top=1)) == ["i4"]
    dynamodb.update_table(TableName="Lasting", ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}])
    other = region.client("dynamodb", region_name="eu-west-1")

    def copied():
        with contextlib.suppress(ClientError):
            return len(search(other, "Lasting", (0, 1))) == 5

    wait_for(copied, 60, "the replica's index")
    put(other, "Lasting", "i9", (0, -1))
    wait_for(lambda: "i9" in ids(search(dynamodb, "Lasting", (0, -1))), 60, "the write in the other region")
    dynamodb.delete_table(TableName="Restored")
