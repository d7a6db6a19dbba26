"""The data catalog with real clients, and records that delivery streams convert to Parquet by its tables."""
import base64
import datetime
import decimal
import io
import json

import pyarrow.parquet
import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

ROLE = "arn:aws:iam::000000000000:role/made-up"


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def table(name, columns, **more):
    return {"Name": name, "StorageDescriptor": {"Columns": [{"Name": n, "Type": t} for n, t in columns]}, **more}


def test_databases(region):
    glue = region.client("glue")
    glue.create_database(DatabaseInput={"Name": "Sales", "Description": "d"}, Tags={"a": "b"})
    found = glue.get_database(Name="SALES")["Database"]
    assert isinstance(found.pop("CreateTime"), datetime.datetime)
    assert found == {"Name": "sales", "Description": "d", "CatalogId": "000000000000", "CreateTableDefaultPermissions": [
        {"Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"}, "Permissions": ["ALL"]}]}
    assert refused(glue.create_database, DatabaseInput={"Name": "sales"}) == ("AlreadyExistsException", "Database already exists.")
    assert refused(glue.get_database, Name="none") == ("EntityNotFoundException", "Database none not found.")
    glue.update_database(Name="sales", DatabaseInput={"Name": "sales", "Description": "e"})
    arn = "arn:aws:glue:us-east-1:000000000000:database/sales"
    glue.tag_resource(ResourceArn=arn, TagsToAdd={"c": "d"})
    glue.untag_resource(ResourceArn=arn, TagsToRemove=["a"])
    assert glue.get_tags(ResourceArn=arn)["Tags"] == {"c": "d"}
    for n in range(3):
        glue.create_database(DatabaseInput={"Name": f"page{n}"})
    pages = glue.get_paginator("get_databases").paginate(PaginationConfig={"PageSize": 2})
    names = [d["Name"] for page in pages for d in page["DatabaseList"]]
    assert {"sales", "page0", "page1", "page2"} <= set(names) and len(names) == len(set(names))
    glue.delete_database(Name="sales")
    assert refused(glue.delete_database, Name="sales")[0] == "EntityNotFoundException"


def test_tables_and_their_versions(region):
    glue = region.client("glue")
    columns = [("id", "bigint"), ("name", "string")]
    assert refused(glue.create_table, DatabaseName="lake", TableInput=table("t", columns)) == (
        "EntityNotFoundException", "Database lake not found.")
    glue.create_database(DatabaseInput={"Name": "lake"})
    glue.create_table(DatabaseName="lake", TableInput=table("Orders", columns, PartitionKeys=[{"Name": "day", "Type": "date"}]),
                      PartitionIndexes=[{"Keys": ["day"], "IndexName": "by-day"}])
    found = glue.get_table(DatabaseName="lake", Name="ORDERS")["Table"]
    assert (found["Name"], found["DatabaseName"], found["VersionId"], found["CatalogId"]) == ("orders", "lake", "0", "000000000000")
    assert (found["Retention"], found["IsRegisteredWithLakeFormation"]) == (0, False)
    assert found["StorageDescriptor"] == {
        "Columns": [{"Name": "id", "Type": "bigint"}, {"Name": "name", "Type": "string"}],
        "Compressed": False, "NumberOfBuckets": 0, "SortColumns": [], "StoredAsSubDirectories": False}
    index, = glue.get_partition_indexes(DatabaseName="lake", TableName="orders")["PartitionIndexDescriptorList"]
    assert index == {"IndexName": "by-day", "Keys": [{"Name": "day", "Type": "date"}], "IndexStatus": "ACTIVE"}
    assert refused(glue.create_table, DatabaseName="lake", TableInput=table("orders", columns)) == (
        "AlreadyExistsException", "Table already exists.")
    assert refused(glue.get_table, DatabaseName="lake", Name="none") == ("EntityNotFoundException", "Entity Not Found")
    glue.update_table(DatabaseName="lake", TableInput=table("orders", columns + [("more", "int")]))
    glue.update_table(DatabaseName="lake", TableInput=table("orders", columns), SkipArchive=True)
    assert refused(glue.update_table, DatabaseName="lake", TableInput=table("orders", columns), VersionId="1")[0] == (
        "ConcurrentModificationException")
    versions = glue.get_table_versions(DatabaseName="lake", TableName="orders")["TableVersions"]
    assert [v["VersionId"] for v in versions] == ["2", "0"]
    old = glue.get_table_version(DatabaseName="lake", TableName="orders", VersionId="0")["TableVersion"]["Table"]
    assert len(old["StorageDescriptor"]["Columns"]) == 2 and old["PartitionKeys"] == [{"Name": "day", "Type": "date"}]
    assert refused(glue.get_table_version, DatabaseName="lake", TableName="orders", VersionId="1")[0] == "EntityNotFoundException"
    failed = glue.batch_delete_table_version(DatabaseName="lake", TableName="orders", VersionIds=["0", "7"])["Errors"]
    assert [f["VersionId"] for f in failed] == ["7"]
    for name in "ab":
        glue.create_table(DatabaseName="lake", TableInput=table(name, columns))
    pages = glue.get_paginator("get_tables").paginate(DatabaseName="lake", PaginationConfig={"PageSize": 2})
    assert [t["Name"] for page in pages for t in page["TableList"]] == ["a", "b", "orders"]
    assert [t["Name"] for t in glue.get_tables(DatabaseName="lake", Expression="ord*")["TableList"]] == ["orders"]
    errors = glue.batch_delete_table(DatabaseName="lake", TablesToDelete=["a", "none"])["Errors"]
    assert errors == [{"TableName": "none", "ErrorDetail": {"ErrorCode": "EntityNotFoundException", "ErrorMessage": "Table none not found."}}]
    glue.delete_database(Name="lake")
    glue.create_database(DatabaseInput={"Name": "lake"})
    assert glue.get_tables(DatabaseName="lake")["TableList"] == []


COLUMNS = [
    ("ticker", "string"), ("price", "double"), ("qty", "int"), ("big", "bigint"), ("active", "boolean"), ("amount", "decimal(12,2)"),
    ("ts", "timestamp"), ("day", "date"), ("tags", "array<string>"), ("person", "struct<name:string,age:int>"),
    ("attrs", "map<string,array<int>>"), ("items", "array<struct<sku:string,qty:smallint>>")]


def converts(bucket, name, deserializer=None, **more):
    return dict({
        "RoleARN": ROLE, "BucketARN": "arn:aws:s3:::" + bucket, "Prefix": name + "/", "ErrorOutputPrefix": name + "-bad/!{firehose:error-output-type}/",
        "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 1},
        "DataFormatConversionConfiguration": {
            "SchemaConfiguration": {"RoleARN": ROLE, "DatabaseName": "trades", "TableName": "events"},
            "InputFormatConfiguration": {"Deserializer": deserializer or {"OpenXJsonSerDe": {}}},
            "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {}}}}}, **more)


@pytest.fixture(scope="module")
def trades(region):
    glue = region.client("glue")
    glue.create_database(DatabaseInput={"Name": "trades"})
    glue.create_table(DatabaseName="trades", TableInput=table("events", COLUMNS))
    region.client("s3").create_bucket(Bucket="parquet")
    return region.client("firehose")


def objects(region, prefix, count=1):
    s3 = region.client("s3")

    def there():
        found = s3.list_objects_v2(Bucket="parquet", Prefix=prefix).get("Contents", [])
        return found if len(found) >= count else None
    return {o["Key"]: s3.get_object(Bucket="parquet", Key=o["Key"])["Body"].read() for o in wait_for(there, 60, "the objects")}


def put(firehose, name, *records):
    texts = [r if isinstance(r, str) else json.dumps(r) for r in records]
    firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": t.encode()} for t in texts])


def test_records_become_parquet(region, trades):
    trades.create_delivery_stream(DeliveryStreamName="open", ExtendedS3DestinationConfiguration=converts("parquet", "open"))
    full = ('{"TICKER": "AAA", "price": 1.5, "qty": "20", "big": 9007199254740993, "active": true, "amount": 1234567890.125, "ts": 1518033528.123,'
            ' "day": "2026-9-7", "tags": ["a", null, "c"], "person": {"Name": "Ann", "age": 30, "more": 1}, "attrs": {"K": [1, 2], "l": []},'
            ' "items": [{"sku": "s", "qty": 3}, {"sku": "t"}]}')
    put(trades, "open", full, {"ticker": "BBB", "tags": [], "person": {}, "attrs": {}},
        {"ticker": "BAD", "price": "oops"}, "not json", {"ticker": "CCC", "ts": "2026-09-07 12:00:02.5", "tags": "one"}, "7", " ")
    (key, content), = objects(region, "open/").items()
    assert key.endswith(".parquet")
    head = region.client("s3").head_object(Bucket="parquet", Key=key)
    assert (head["ContentType"], head["ContentEncoding"]) == ("application/octet-stream", "hadoop-snappy")
    read = pyarrow.parquet.read_table(io.BytesIO(content))
    first, second, third = read.to_pylist()
    assert first == {
        "ticker": "AAA", "price": 1.5, "qty": 20, "big": 9007199254740993, "active": True, "amount": decimal.Decimal("1234567890.13"),
        "ts": datetime.datetime(2018, 2, 7, 19, 58, 48, 123000), "day": datetime.date(2026, 9, 7), "tags": ["a", None, "c"],
        "person": {"name": "Ann", "age": 30}, "attrs": [("k", [1, 2]), ("l", [])], "items": [{"sku": "s", "qty": 3}, {"sku": "t", "qty": None}]}
    assert (second["ticker"], second["tags"], second["person"], second["attrs"], second["items"], second["ts"]) == (
        "BBB", [], {"name": None, "age": None}, [], None, None)
    assert (third["ts"], third["tags"]) == (datetime.datetime(2026, 9, 7, 12, 0, 2, 500000), ["one"])
    meta = pyarrow.parquet.ParquetFile(io.BytesIO(content)).metadata
    assert {meta.row_group(0).column(c).compression for c in range(meta.num_columns)} == {"SNAPPY"}
    (key, content), = objects(region, "open-bad/").items()
    assert key.startswith("open-bad/format-conversion-failed/")
    lines = [json.loads(line) for line in content.splitlines()]
    assert [(line["lastErrorCode"].split(".")[1], base64.b64decode(line["rawData"]).decode()) for line in lines] == [
        ("MalformedData", '{"ticker": "BAD", "price": "oops"}'), ("ParseError", "not json"), ("MalformedData", "7"), ("MalformedData", " ")]
    assert lines[0]["lastErrorMessage"] == 'Data does not match the schema. For input string: "oops"'
    assert lines[0]["dataCatalogTable"] == {
        "catalogId": "000000000000", "databaseName": "trades", "tableName": "events", "region": "us-east-1", "versionId": "LATEST",
        "catalogArn": "arn:aws:glue:us-east-1:000000000000:catalog"}


def test_hive_is_stricter_and_options_are_followed(region, trades):
    settings = converts("parquet", "hive", {"HiveJsonSerDe": {}}, FileExtension=".pq")
    settings["DataFormatConversionConfiguration"]["OutputFormatConfiguration"] = {
        "Serializer": {"ParquetSerDe": {"Compression": "GZIP", "WriterVersion": "V2", "EnableDictionaryCompression": True, "PageSizeBytes": 65536}}}
    trades.create_delivery_stream(DeliveryStreamName="hive", ExtendedS3DestinationConfiguration=settings)
    put(trades, "hive", *[{"ticker": f"T{n % 3}", "qty": n, "attrs": {"Key": [n]}} for n in range(400)], {"qty": "7"}, {"tags": "one"})
    (key, content), = objects(region, "hive/").items()
    assert key.endswith(".pq")
    read = pyarrow.parquet.read_table(io.BytesIO(content))
    assert read["qty"].to_pylist() == list(range(400)) and read["attrs"][5].as_py() == [("Key", [5])]
    assert pyarrow.parquet.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0).compression == "GZIP"
    (_, content), = objects(region, "hive-bad/").items()
    assert [json.loads(line)["lastErrorMessage"].removeprefix("Data does not match the schema. ") for line in content.splitlines()] == [
        "Current token (VALUE_STRING) not numeric, can not use numeric value accessors", "java.io.IOException: Start of Array expected"]


def test_a_conversion_is_checked_and_merged(trades):
    def create(**more):
        return refused(trades.create_delivery_stream, DeliveryStreamName="checked",
                       ExtendedS3DestinationConfiguration=converts("parquet", "checked", **more))

    def without(*path):
        conversion = converts("parquet", "x")["DataFormatConversionConfiguration"]
        inner = conversion
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]
        return create(DataFormatConversionConfiguration=conversion)
    code, message = create(CompressionFormat="GZIP")
    assert code == "InvalidArgumentException" and message.startswith("The S3 destination's compression format must be set to UNCOMPRESSED")
    assert create(BufferingHints={"SizeInMBs": 5, "IntervalInSeconds": 60})[1] == (
        "BufferingHints.SizeInMBs must be at least 64 when data format conversion is enabled.")
    assert without("InputFormatConfiguration")[1] == "InputFormatConfiguration must not be null"
    assert without("OutputFormatConfiguration")[1] == "OutputFormatConfiguration must not be null"
    assert without("SchemaConfiguration")[1] == "SchemaConfiguration must not be null"
    assert without("InputFormatConfiguration", "Deserializer")[1] == "Deserializer must not be null"
    assert without("SchemaConfiguration", "TableName")[1] == "SchemaConfiguration.TableName must not be null or empty"
    wrong = converts("parquet", "x")["DataFormatConversionConfiguration"]
    wrong["SchemaConfiguration"]["DatabaseName"] = "nowhere"
    code, message = create(DataFormatConversionConfiguration=wrong)
    assert code == "InvalidArgumentException" and message.startswith(
        "Database nowhere not found. (Service: AWSGlue; Status Code: 400; Error Code: EntityNotFoundException; Request ID: ")
    settings = converts("parquet", "checked")
    del settings["BufferingHints"]
    trades.create_delivery_stream(DeliveryStreamName="checked", ExtendedS3DestinationConfiguration=settings)

    def described():
        stream = trades.describe_delivery_stream(DeliveryStreamName="checked")["DeliveryStreamDescription"]
        return stream["Destinations"][0]["ExtendedS3DestinationDescription"]
    assert described()["BufferingHints"]["SizeInMBs"] == 128
    assert described()["DataFormatConversionConfiguration"] == {**settings["DataFormatConversionConfiguration"], "Enabled": True}
    trades.update_destination(DeliveryStreamName="checked", CurrentDeliveryStreamVersionId="1", DestinationId="destinationId-000000000001",
                              ExtendedS3DestinationUpdate={"DataFormatConversionConfiguration": {"Enabled": False}})
    assert described()["DataFormatConversionConfiguration"] == {**settings["DataFormatConversionConfiguration"], "Enabled": False}


RESOURCES = '''
provider "aws" {
  region = "us-east-1"
}

resource "aws_glue_catalog_database" "lake" {
  name        = "tf_lake"
  description = "events"
  tags        = { team = "data" }
}

resource "aws_glue_catalog_table" "events" {
  name          = "tf_events"
  database_name = aws_glue_catalog_database.lake.name
  table_type    = "EXTERNAL_TABLE"
  parameters    = { classification = "parquet" }

  partition_keys {
    name = "day"
    type = "date"
  }

  storage_descriptor {
    location      = "s3://tf-parquet/events/"
    input_format  = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
    output_format = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"

    ser_de_info {
      serialization_library = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    }
    columns {
      name = "id"
      type = "bigint"
    }
    columns {
      name = "name"
      type = "string"
    }
  }
}

resource "aws_s3_bucket" "b" {
  bucket        = "tf-parquet"
  force_destroy = true
}

resource "aws_iam_role" "r" {
  name = "tf-firehose"
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [
    { Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "firehose.amazonaws.com" } }] })
}

resource "aws_kinesis_firehose_delivery_stream" "s" {
  name        = "tf-parquet"
  destination = "extended_s3"

  extended_s3_configuration {
    role_arn            = aws_iam_role.r.arn
    bucket_arn          = aws_s3_bucket.b.arn
    prefix              = "events/"
    error_output_prefix = "bad/"
    buffering_size      = 64
    buffering_interval  = 1

    data_format_conversion_configuration {
      input_format_configuration {
        deserializer {
          open_x_json_ser_de {}
        }
      }
      output_format_configuration {
        serializer {
          parquet_ser_de {}
        }
      }
      schema_configuration {
        database_name = aws_glue_catalog_table.events.database_name
        table_name    = aws_glue_catalog_table.events.name
        role_arn      = aws_iam_role.r.arn
      }
    }
  }
}
'''


def test_terraform_applies_plans_no_change_and_destroys(stack, terraform):
    region, folder = stack
    (folder / "main.tf").write_text(RESOURCES)
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    region.client("firehose").put_record(DeliveryStreamName="tf-parquet", Record={"Data": b'{"id": 1, "name": "a"}'})
    s3 = region.client("s3")
    wait_for(lambda: s3.list_objects_v2(Bucket="tf-parquet", Prefix="events/").get("Contents"), 60, "the object")
    (folder / "main.tf").write_text(RESOURCES.replace('name = "name"', 'name = "title"').replace('"data"', '"lake"'))
    terraform.deploy(folder, quiet=True)
    assert terraform.changes(folder) == ""
    found = region.client("glue").get_table(DatabaseName="tf_lake", Name="tf_events")["Table"]
    assert [c["Name"] for c in found["StorageDescriptor"]["Columns"]] == ["id", "title"] and found["VersionId"] == "1"
    terraform.destroy(folder, quiet=True)
    assert region.client("glue").get_databases()["DatabaseList"] == []
    assert region.client("firehose").list_delivery_streams()["DeliveryStreamNames"] == []
