"""SQL over objects (S3 Select) with boto3 and the aws CLI: a real table as CSV, JSON and Parquet, packed and plain."""
import bz2
import gzip
import io
import json

import pandas
import pytest
from botocore.exceptions import ClientError, EventStreamError
from lake import build

USE = {"CSV": {"FileHeaderInfo": "USE"}}


@pytest.fixture(scope="module")
def table():
    build.BUILD.mkdir(exist_ok=True)
    return pandas.read_csv(build.data())


@pytest.fixture(scope="module")
def bucket(region, table):
    s3 = region.client("s3")
    s3.create_bucket(Bucket="selected")
    text = table.to_csv(index=False).encode()
    lines = table.to_json(orient="records", lines=True).encode()
    parquet = io.BytesIO()
    table.to_parquet(parquet, compression="gzip")
    snappy = io.BytesIO()
    table.to_parquet(snappy, compression="snappy", row_group_size=50)
    for key, body in {"csv": text, "csv.gz": gzip.compress(text), "csv.bz2": bz2.compress(text), "json": lines,
                      "json.gz": gzip.compress(lines), "parquet": parquet.getvalue(), "snappy": snappy.getvalue()}.items():
        s3.put_object(Bucket="selected", Key=key, Body=body)
    return s3


def select(s3, key, expression, given, **more):
    answer = s3.select_object_content(
        Bucket="selected", Key=key, Expression=expression, ExpressionType="SQL", InputSerialization=given,
        OutputSerialization=more.pop("output", {"JSON": {}}), **more)
    events = list(answer["Payload"])
    assert list(events[-1]) == ["End"]
    stats = next(event["Stats"]["Details"] for event in events if "Stats" in event)
    text = b"".join(event["Records"]["Payload"] for event in events if "Records" in event)
    assert stats["BytesReturned"] == len(text)
    return text.decode(), stats


@pytest.mark.parametrize("key, given", [
    ("csv", USE), ("csv.gz", USE | {"CompressionType": "GZIP"}), ("csv.bz2", USE | {"CompressionType": "BZIP2"}),
    ("json", {"JSON": {"Type": "LINES"}}), ("json.gz", {"JSON": {"Type": "DOCUMENT"}, "CompressionType": "GZIP"}),
    ("parquet", {"Parquet": {}}), ("snappy", {"Parquet": {}})])
def test_one_question_has_one_answer_in_every_format(bucket, table, key, given):
    years = "CAST(s.\"year\" AS FLOAT)"
    text, stats = select(
        bucket, key, f"SELECT count(*) n, avg(CAST(unemp AS FLOAT)) mean, max(CAST(s.realgdp AS FLOAT)) top "
        f"FROM S3Object s WHERE {years} >= 1990 AND {years} < 2000", given)
    nineties = table[(table.year >= 1990) & (table.year < 2000)]
    answer = json.loads(text)
    assert answer["n"] == len(nineties) == 40
    assert answer["mean"] == pytest.approx(nineties.unemp.mean())
    assert answer["top"] == nineties.realgdp.max()
    if "CompressionType" in given:
        assert stats["BytesProcessed"] > stats["BytesScanned"]


def test_rows_come_back_as_they_are(bucket, table):
    text, _ = select(bucket, "csv", "SELECT * FROM S3Object", USE, output={"CSV": {}})
    found = pandas.read_csv(io.StringIO(text), names=list(table.columns))
    assert found.equals(pandas.read_csv(io.StringIO(table.to_csv(index=False))))


def test_parts_that_are_scanned_make_up_the_whole(bucket, table):
    size = bucket.head_object(Bucket="selected", Key="json")["ContentLength"]
    found = ""
    for start in range(0, size, 1000):
        end = min(start + 999, size - 1)
        found += select(bucket, "json", "SELECT s.realgdp FROM S3Object s", {"JSON": {"Type": "LINES"}},
                        ScanRange={"Start": start, "End": end})[0]
    assert [json.loads(line)["realgdp"] for line in found.splitlines()] == list(table.realgdp)
    groups = select(bucket, "snappy", "SELECT count(*) FROM S3Object", {"Parquet": {}}, ScanRange={"Start": 0, "End": 10})
    assert json.loads(groups[0]) == {"_1": 50}


def test_errors_before_and_amid_the_rows(bucket):
    with pytest.raises(ClientError) as caught:
        select(bucket, "csv", "SELECT s.nothing FROM S3Object s", USE)
    assert caught.value.response["Error"] == {
        "Code": "MissingHeaders",
        "Message": "Some headers in the query are missing from the file. Please check the file and try again."}
    with pytest.raises(ClientError) as caught:
        select(bucket, "csv", "SELECT year FROM S3Object GROUP BY year", USE)
    assert caught.value.response["Error"]["Code"] == "ParseUnexpectedToken"
    bucket.put_object(Bucket="selected", Key="late", Body=b"1\n" * 100_000 + b"x\n")
    with pytest.raises(EventStreamError, match="CastFailed"):
        select(bucket, "late", "SELECT CAST(_1 AS INT) FROM S3Object", {"CSV": {}})


def test_a_customers_key_is_asked_for(bucket):
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}
    bucket.put_object(Bucket="selected", Key="secret", Body=b"a,b\n", **key)
    with pytest.raises(ClientError) as caught:
        select(bucket, "secret", "SELECT _2 FROM S3Object", {"CSV": {}})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert select(bucket, "secret", "SELECT _2 FROM S3Object", {"CSV": {}}, output={"CSV": {}}, **key)[0] == "b\n"
