"""What a put, a get, a send and a receive cost does not grow with what is there; nor do a restart and memory.

Takes minutes: CUMULO_GROWTH says how many items and messages, 1000000 for the full run.
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import statistics
import time

import pytest

ITEMS = int(os.environ.get("CUMULO_GROWTH", "0"))
pytestmark = [pytest.mark.skipif(not ITEMS, reason="set CUMULO_GROWTH"), pytest.mark.timeout(7200)]
ROUNDS = 1500


class Api:
    """One connection, without a client library's own time."""

    def __init__(self, region, service, target, version):
        self.connection = http.client.HTTPConnection("127.0.0.1", region.port, timeout=60)
        self.target = target
        self.headers = {"Content-Type": f"application/x-amz-json-{version}", "Authorization": (
            f"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0")}

    def __call__(self, operation, body):
        self.connection.request("POST", "/", json.dumps(body), dict(self.headers, **{"X-Amz-Target": f"{self.target}.{operation}"}))
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text or b"{}")


def tables(region):
    return Api(region, "dynamodb", "DynamoDB_20120810", "1.0")


def queues(region):
    return Api(region, "sqs", "AmazonSQS", "1.0")


def median(call):
    times = []
    for n in range(ROUNDS):
        start = time.perf_counter()
        call(n)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def resident(region):
    status = pathlib.Path(f"/proc/{region.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def fill(connect, call, first, count, size):
    def part(begin):
        api = connect()
        for at in range(begin, min(begin + (count + 1) // 2, count), size):
            call(api, range(first + at, first + min(at + size, count)))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(part, (0, (count + 1) // 2)))


def restarted(region):
    """Seconds until a killed region answers again."""
    region.kill()
    start = time.monotonic()
    region.start()
    return time.monotonic() - start


def report(what, few, many, region):
    seconds = restarted(region)
    print(f"\n{what} at 1,000 and {ITEMS:,}: " + ", ".join(
        f"{name} {few[name]:.0f} and {many[name]:.0f} us" for name in few) + f"; restart {seconds:.2f} s; {many_memory(region)}")
    return seconds


def many_memory(region):
    return f"{resident(region):.0f} MiB after it"


def test_a_table_of_a_million_items(make_region):
    region = make_region()
    tables(region)("CreateTable", {"TableName": "many", "BillingMode": "PAY_PER_REQUEST", "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
                                   "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}]})

    def item(n):
        return {"k": {"S": f"key-{n}"}, "v": {"S": "some text of an item " * 4}, "n": {"N": str(n)}}

    def batch(api, numbers):
        api("BatchWriteItem", {"RequestItems": {"many": [{"PutRequest": {"Item": item(n)}} for n in numbers]}})

    def measure(there):
        api = tables(region)
        return {"put": median(lambda n: api("PutItem", {"TableName": "many", "Item": item(10_000_000 + n)})),
                "get": median(lambda n: api("GetItem", {"TableName": "many", "Key": {"k": {"S": f"key-{n * 7919 % there}"}}}))}
    fill(lambda: tables(region), batch, 0, 1000, 25)
    few = measure(1000)
    fill(lambda: tables(region), batch, 1000, ITEMS, 25)
    many = measure(ITEMS)
    used = resident(region)
    seconds = report("table", few, many, region)
    print(f"{used:.0f} MiB under load")
    assert many["put"] < few["put"] * 1.5 and many["get"] < few["get"] * 1.5
    assert seconds < 1 and used < 300


def test_a_queue_of_a_million_messages(make_region):
    region = make_region()
    url = queues(region)("CreateQueue", {"QueueName": "many"})["QueueUrl"]

    def batch(api, numbers):
        api("SendMessageBatch", {"QueueUrl": url, "Entries": [
            {"Id": str(n), "MessageBody": f"message {n} with some text in it"} for n in numbers]})

    def measure():
        api = queues(region)
        return {"send": median(lambda n: api("SendMessage", {"QueueUrl": url, "MessageBody": f"one more {n}"})),
                "receive": median(lambda n: api("ReceiveMessage", {"QueueUrl": url, "VisibilityTimeout": 0}))}
    fill(lambda: queues(region), batch, 0, 1000, 10)
    few = measure()
    fill(lambda: queues(region), batch, 1000, ITEMS, 10)
    many = measure()
    used = resident(region)
    seconds = report("queue", few, many, region)
    print(f"{used:.0f} MiB under load")
    assert many["send"] < few["send"] * 1.5 and many["receive"] < few["receive"] * 1.5
    assert seconds < 1 and used < 300


def test_a_stream_of_a_million_records(make_region):
    region = make_region()

    def streams():
        return Api(region, "kinesis", "Kinesis_20131202", "1.1")
    streams()("CreateStream", {"StreamName": "many", "ShardCount": 2})

    def record(n):
        return {"Data": "c29tZSB0ZXh0IG9mIGEgcmVjb3JkIHRoYXQgaXMgb25lIG9mIG1hbnk=", "PartitionKey": f"key-{n}"}

    def batch(api, numbers):
        answer = api("PutRecords", {"StreamName": "many", "Records": [record(n) for n in numbers]})
        assert answer["FailedRecordCount"] == 0

    def measure():
        api = streams()
        return {"put": median(lambda n: api("PutRecord", dict(record(n), StreamName="many")))}
    fill(streams, batch, 0, 1000, 500)
    few = measure()
    fill(streams, batch, 1000, ITEMS, 500)
    many = measure()
    used = resident(region)
    seconds = report("stream", few, many, region)
    print(f"{used:.0f} MiB under load")
    assert many["put"] < few["put"] * 1.5
    assert seconds < 1 and used < 300
