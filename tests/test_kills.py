"""Queues, topics, tables and streams under load and kill -9: what was acknowledged is there, once where it must be, in order where it must be.

CUMULO_KILLS says how often each region is killed; the full run is 20.
"""
import collections
import json
import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from conftest import KILLS, wait_for

ERRORS = (BotoCoreError, ClientError)
pytestmark = pytest.mark.timeout(120 + 30 * KILLS)


class Load:
    """Threads that go on until they are told to stop; notes are taken under one lock."""

    def __init__(self, region):
        self.region, self.lock, self.stopping, self.threads = region, threading.Lock(), threading.Event(), []

    def client(self, service):
        return self.region.client(service, connect_timeout=2, read_timeout=10)

    def run(self, *steps):
        """Runs each step again and again in a thread of its own; an error is the region's end, or a reason to try again."""
        def loop(step):
            while not self.stopping.is_set():
                try:
                    step()
                except ERRORS:
                    time.sleep(0.02)
        self.threads = [threading.Thread(target=loop, args=(step,), daemon=True) for step in steps]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"
        self.stopping.clear()


def kill_again_and_again(region, steps):
    """Loads the region by the steps that `steps(load)` gives and kills it in the middle, KILLS times."""
    load = Load(region)
    for _ in range(KILLS):
        load.run(*steps(load))
        time.sleep(random.uniform(0.3, 1.3))
        region.kill()
        load.stop()
        region.start()
    return load


def make_queue(region, name, **attributes):
    sqs = region.client("sqs")
    if name.endswith(".fifo"):
        attributes["FifoQueue"] = "true"
    url = sqs.create_queue(QueueName=name, Attributes=dict(attributes, VisibilityTimeout="2"))["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
                                                "Action": "sqs:SendMessage", "Resource": arn}]})})
    return url, arn


class Taken:
    """What was received and deleted of a queue, and what must not come again."""

    def __init__(self, load, url):
        self.load, self.url = load, url
        self.seen, self.done, self.again, self.order = set(), set(), [], []

    def step(self):
        sqs = self.load.client("sqs")

        def take():
            with self.load.lock:
                gone = set(self.done)
            for message in sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
                body = message["Body"]
                with self.load.lock:
                    if body in gone:
                        self.again.append(body)
                    if body not in self.seen:
                        self.seen.add(body)
                        self.order.append(body)
                sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                with self.load.lock:
                    self.done.add(body)
        return take

    def drain(self, wanted, seconds=30):
        """Takes until everything wanted was received: a delete that a kill cut off may have been done, so it tells nothing."""
        take = self.step()
        count, deadline = 0, 0
        while lost := wanted - self.seen:
            if len(self.seen) > count:  # As long as some come, others may.
                count, deadline = len(self.seen), time.monotonic() + seconds
            assert time.monotonic() < deadline, f"{len(lost)} of {len(wanted)} are lost: {sorted(lost)[:5]}"
            take()
        take()


def test_a_queue_keeps_what_it_took_and_gives_back_nothing_deleted(make_region):
    region = make_region()
    url, _ = make_queue(region, "plain")
    sent, taken = set(), []

    def steps(load):
        if not taken:
            taken.append(Taken(load, url))
        taken[0].load = load
        sqs = [load.client("sqs") for _ in range(2)]

        def send(sqs):
            body = f"m{time.monotonic_ns()}-{threading.get_ident()}"
            sqs.send_message(QueueUrl=url, MessageBody=body)
            with load.lock:
                sent.add(body)

        def send_batch(sqs):
            bodies = [f"b{time.monotonic_ns()}-{n}" for n in range(5)]
            answer = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": b} for n, b in enumerate(bodies)])
            with load.lock:
                sent.update(bodies[int(s["Id"])] for s in answer["Successful"])
        return (lambda: send(sqs[0])), (lambda: send_batch(sqs[1])), taken[0].step()
    kill_again_and_again(region, steps)
    assert len(sent) > 20 * KILLS, "too little was sent to tell anything"
    taken[0].drain(sent)
    assert not taken[0].again, "what was deleted came again"


class Numbered:
    """Numbers of a group, each sent until it is acknowledged: as clients repeat what may have been lost."""

    def __init__(self, group):
        self.group, self.next, self.acknowledged = group, 0, []

    def body(self):
        return f"{self.group}:{self.next}"

    def acknowledge(self):
        self.acknowledged.append(self.body())
        self.next += 1


def check_order(order, groups):
    """Each number of each group was seen for the first time behind the one before it, without a gap."""
    seen = collections.defaultdict(int)
    for body in order:
        group, number = body.split(":")
        assert int(number) <= seen[group], f"{body} came before {group}:{seen[group]}"
        seen[group] = max(seen[group], int(number) + 1)
    for group in groups:
        assert seen[group.group] >= len(group.acknowledged), group.group


def test_a_fifo_queue_keeps_order_and_takes_no_double(make_region):
    region = make_region()
    url, _ = make_queue(region, "ordered.fifo")
    groups, taken = [Numbered(f"g{n}") for n in range(3)], []

    def steps(load):
        if not taken:
            taken.append(Taken(load, url))
        taken[0].load = load

        def sender(group, sqs):
            def send():
                sqs.send_message(QueueUrl=url, MessageBody=group.body(), MessageGroupId=group.group, MessageDeduplicationId=group.body())
                group.acknowledge()
            return send
        return *(sender(g, load.client("sqs")) for g in groups), taken[0].step()
    kill_again_and_again(region, steps)
    wanted = {body for g in groups for body in g.acknowledged}
    assert len(wanted) > 10 * KILLS, "too little was sent to tell anything"
    taken[0].drain(wanted)
    assert not taken[0].again, "what was deleted came again, or was taken twice"
    check_order(taken[0].order, groups)


def test_a_topic_delivers_what_it_acknowledged(make_region):
    region = make_region()
    sns = region.client("sns")
    topic, ordered = sns.create_topic(Name="t")["TopicArn"], sns.create_topic(Name="t.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    (plain, plain_arn), (fifo, fifo_arn) = make_queue(region, "plain"), make_queue(region, "ordered.fifo")
    for arn, queue in ((topic, plain_arn), (ordered, fifo_arn)):
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue, Attributes={"RawMessageDelivery": "true"})
    published, groups, taken = set(), [Numbered(f"g{n}") for n in range(2)], []

    def steps(load):
        if not taken:
            taken.extend([Taken(load, plain), Taken(load, fifo)])
        for t in taken:
            t.load = load
        own = load.client("sns")

        def publish():
            body = f"p{time.monotonic_ns()}"
            own.publish(TopicArn=topic, Message=body)
            with load.lock:
                published.add(body)

        def publisher(group, sns):
            def send():
                sns.publish(TopicArn=ordered, Message=group.body(), MessageGroupId=group.group, MessageDeduplicationId=group.body())
                group.acknowledge()
            return send
        return publish, *(publisher(g, load.client("sns")) for g in groups), *(t.step() for t in taken)
    kill_again_and_again(region, steps)
    wanted = {body for g in groups for body in g.acknowledged}
    assert len(published) > 5 * KILLS and len(wanted) > 5 * KILLS, "too little was published to tell anything"
    # A standard topic delivers at least once.
    taken[0].drain(published)
    taken[1].drain(wanted)
    assert not taken[1].again, "a FIFO subscription got a double"
    check_order(taken[1].order, groups)


def test_a_table_keeps_its_items_and_its_stream_every_change(make_region):
    region = make_region()
    tables, streams = region.client("dynamodb"), region.client("dynamodbstreams")
    tables.create_table(TableName="kept", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
                        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
                        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"})
    arn = tables.describe_table(TableName="kept")["Table"]["LatestStreamArn"]
    versions, pairs, counts = collections.defaultdict(int), [], collections.Counter()

    def steps(load):
        def writer(name):
            own, at = load.client("dynamodb"), [0]

            def write():
                # A number for each try: what was not acknowledged may be there or not.
                with load.lock:
                    versions[name] = version = versions[name] + 1
                key = f"{name}-{at[0] % 7}"
                at[0] += 1
                own.put_item(TableName="kept", Item={"k": {"S": key}, "v": {"N": str(version)}})
                with load.lock:
                    acknowledged[key].append(version)
            return write
        transactions = load.client("dynamodb")

        def both():
            name = f"pair-{time.monotonic_ns()}"
            transactions.transact_write_items(TransactItems=[
                {"Put": {"TableName": "kept", "Item": {"k": {"S": f"{name}-{side}"}, "v": {"N": "0"}}}} for side in "ab"])
            with load.lock:
                pairs.append(name)
        counting = load.client("dynamodb")

        def count():
            counting.update_item(TableName="kept", Key={"k": {"S": "counter"}}, UpdateExpression="ADD n :one",
                                 ExpressionAttributeValues={":one": {"N": "1"}})
            counts["acknowledged"] += 1
        return writer("a"), writer("b"), both, count
    acknowledged = collections.defaultdict(list)
    kill_again_and_again(region, steps)
    assert sum(map(len, acknowledged.values())) > 10 * KILLS and pairs, "too little was written to tell anything"
    items = {i["k"]["S"]: i for page in tables.get_paginator("scan").paginate(TableName="kept", ConsistentRead=True) for i in page["Items"]}
    for key, written in acknowledged.items():
        assert int(items[key]["v"]["N"]) >= written[-1], f"{key} lost a write"
    halves = collections.Counter(k.rsplit("-", 1)[0] for k in items if k.startswith("pair-"))
    assert set(halves.values()) == {2}, "a transaction was done in part"
    assert set(pairs) <= set(halves)
    # An unanswered update counts once at most; the client repeats it once, and there is one in each life of the region.
    assert counts["acknowledged"] <= int(items["counter"]["n"]["N"]) <= counts["acknowledged"] + 2 * KILLS

    changes = collections.defaultdict(list)
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        last = ""
        while iterator:
            page = streams.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                number = record["dynamodb"]["SequenceNumber"]
                assert (len(last), last) < (len(number), number), "records are out of order"
                last = number
                changes[record["dynamodb"]["Keys"]["k"]["S"]].append(record["dynamodb"])
            iterator = page.get("NextShardIterator") if page["Records"] else None
    for key, written in acknowledged.items():
        seen = [int(c["NewImage"]["v"]["N"]) for c in changes[key]]
        assert seen == sorted(seen) and set(written) <= set(seen), f"the stream lost a change of {key}"
        for old, new in zip(changes[key], changes[key][1:]):
            assert new["OldImage"] == old["NewImage"], "a change is missing between two"
    assert {k for k in items if k != "counter"} == {k for k in changes if k != "counter"}
    assert changes["counter"][-1]["NewImage"]["n"] == items["counter"]["n"]


def test_a_stream_keeps_its_records_in_order(make_region):
    region = make_region()
    kinesis = region.client("kinesis")
    kinesis.create_stream(StreamName="s", ShardCount=3)
    kinesis.get_waiter("stream_exists").wait(StreamName="s")
    acknowledged = collections.defaultdict(list)

    def steps(load):
        def writer(name):
            own, at = load.client("kinesis"), [0]

            def write():
                key = f"{name}-{at[0] % 5}"
                at[0] += 1
                data = f"{key}:{time.monotonic_ns()}"
                answer = own.put_record(StreamName="s", PartitionKey=key, Data=data.encode())
                with load.lock:
                    acknowledged[answer["ShardId"]].append((answer["SequenceNumber"], data))
            return write
        batches = load.client("kinesis")

        def write_batch():
            data = [f"batch-{n}:{time.monotonic_ns()}" for n in range(5)]
            answer = batches.put_records(StreamName="s", Records=[{"PartitionKey": d.split(":")[0], "Data": d.encode()} for d in data])
            with load.lock:
                for d, r in zip(data, answer["Records"]):
                    if "SequenceNumber" in r:
                        acknowledged[r["ShardId"]].append((r["SequenceNumber"], d))
        return writer("a"), writer("b"), write_batch
    kill_again_and_again(region, steps)
    assert sum(map(len, acknowledged.values())) > 10 * KILLS, "too little was written to tell anything"
    for shard in kinesis.list_shards(StreamName="s")["Shards"]:
        iterator = kinesis.get_shard_iterator(StreamName="s", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        records = []

        def read():
            nonlocal iterator
            page = kinesis.get_records(ShardIterator=iterator, Limit=10000)
            records.extend((r["SequenceNumber"], r["Data"].decode()) for r in page["Records"])
            iterator = page["NextShardIterator"]
            return page["MillisBehindLatest"] == 0 and not page["Records"]
        wait_for(read, 60, "the end of the shard")
        numbers = [int(number) for number, _ in records]
        assert numbers == sorted(set(numbers)), "records are out of order"
        lost = set(acknowledged[shard["ShardId"]]) - set(records)
        assert not lost, f"{len(lost)} of {len(records)} records are lost"
        # Who waits for each answer sees his own in the order he wrote them.
        times = collections.defaultdict(list)
        for _, data in records:
            key, when = data.split(":")
            times[key].append(int(when))
        assert all(t == sorted(t) for t in times.values()), "a key's records are out of order"
