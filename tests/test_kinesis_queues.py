"""Queues of Kinesis with boto3 (version 1 of the aws CLI does not know them): received, acknowledged, dead, restored, and nothing lost in kills."""
import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from conftest import KILLS


def stream(kinesis, name, demand=True):
    if demand:
        kinesis.create_stream(StreamName=name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    else:
        kinesis.create_stream(StreamName=name, ShardCount=1)
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]


def queue(kinesis, name, arn, start="TRIM_HORIZON", **attributes):
    made = kinesis.create_queue(
        QueueName=name,
        StreamConfigurationList=[{"StreamARN": arn, "StartingPosition": {"Type": start}}],
        QueueAttributes=attributes,
    )
    return made["QueueDescription"]["QueueARN"]


def put(kinesis, arn, *data):
    records = [{"Data": d.encode(), "PartitionKey": d} for d in data]
    assert kinesis.put_records(StreamARN=arn, Records=records)["FailedRecordCount"] == 0


def receive(kinesis, arn, most=10, wait=1, dead=False, **more):
    call = kinesis.receive_dead_letter_queue_records if dead else kinesis.receive_queue_records
    return call(QueueARN=arn, Limit=most, WaitTimeSeconds=wait, **more)["QueueRecords"]


def entries(records, **more):
    return [{"ReceiptHandle": r["ReceiptHandle"], **more} for r in records]


def code(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def test_a_queue_is_made_described_changed_listed_and_deleted(region):
    kinesis = region.client("kinesis")
    arn = stream(kinesis, "q-life")
    made = kinesis.create_queue(QueueName="life", StreamConfigurationList=[{"StreamARN": arn}], Tags={"team": "data"})
    description = made["QueueDescription"]
    assert description["QueueStatus"] == "CREATING"
    # Where LATEST is, is not said before the queue is made.
    assert description["StreamConfigurationList"] == [{"StreamARN": arn, "StartingPosition": {"Type": "LATEST"}}]
    assert description["QueueAttributes"] == {
        "VisibilityTimeoutSeconds": 30,
        "DeadLetterConfiguration": {"TargetType": "BUILT_IN", "MaxReceiveCount": 6},
    }
    queue_arn = description["QueueARN"]
    assert queue_arn.startswith("arn:aws:kinesis:us-east-1:000000000000:queue/") and "life" not in queue_arn
    described = kinesis.describe_queue(QueueARN=queue_arn)["QueueDescription"]
    assert described["QueueStatus"] == "ACTIVE"
    assert described["StreamConfigurationList"][0]["StartingPosition"]["Timestamp"] == described["QueueCreationTimestamp"]
    assert kinesis.describe_stream_summary(StreamName="q-life")["StreamDescriptionSummary"]["QueueCount"] == 1

    changed = kinesis.update_queue(QueueARN=queue_arn, QueueAttributes={"DeadLetterConfiguration": {"TargetType": "NONE"}})
    assert changed["QueueDescription"]["QueueStatus"] == "UPDATING"
    assert changed["QueueDescription"]["QueueAttributes"] == {
        "VisibilityTimeoutSeconds": 30,
        "DeadLetterConfiguration": {"TargetType": "NONE"},
    }
    kinesis.tag_resource(ResourceARN=queue_arn, Tags={"stage": "test"})
    kinesis.untag_resource(ResourceARN=queue_arn, TagKeys=["team"])
    assert kinesis.list_tags_for_resource(ResourceARN=queue_arn)["Tags"] == [{"Key": "stage", "Value": "test"}]

    other = stream(kinesis, "q-life-2")
    second = queue(kinesis, "life-2", other)
    listed = kinesis.list_queues(StreamFilter=[{"StreamARN": arn}])["QueueSummaries"]
    assert [(q["QueueName"], q["QueueARN"], q["Streams"][0]["StreamARN"]) for q in listed] == [("life", queue_arn, arn)]
    first = kinesis.list_queues(MaxResults=1)
    rest = kinesis.list_queues(NextToken=first["NextToken"])
    assert {q["QueueName"] for q in first["QueueSummaries"] + rest["QueueSummaries"]} >= {"life", "life-2"}

    # A stream keeps its mode and stays while queues read it.
    assert code(kinesis.delete_stream, StreamName="q-life", EnforceConsumerDeletion=True) == "ResourceInUseException"
    provisioned = {"StreamARN": arn, "StreamModeDetails": {"StreamMode": "PROVISIONED"}}
    assert code(kinesis.update_stream_mode, **provisioned) == "ResourceInUseException"
    for q in (queue_arn, second):
        kinesis.delete_queue(QueueARN=q)
    assert code(kinesis.describe_queue, QueueARN=queue_arn) == "ResourceNotFoundException"
    kinesis.delete_stream(StreamName="q-life")


def test_what_a_queue_cannot_be_is_refused(region):
    kinesis = region.client("kinesis")
    arn = stream(kinesis, "q-refused")
    provisioned = stream(kinesis, "q-provisioned", demand=False)

    def create(name="refused", streams=((arn, None),), **attributes):
        configurations = [{"StreamARN": a, **({"StartingPosition": p} if p else {})} for a, p in streams]
        return code(
            kinesis.create_queue, QueueName=name, StreamConfigurationList=configurations, QueueAttributes=attributes
        )

    assert create(streams=[(provisioned, None)]) == "ValidationException"
    assert create(streams=[(arn, None), (arn, None)]) == "ValidationException"
    assert create(streams=[(arn + "x", None)]) == "ResourceNotFoundException"
    assert create(streams=[(arn, {"Type": "AT_TIMESTAMP"})]) == "ValidationException"
    assert create(streams=[(arn, {"Type": "LATEST", "Timestamp": 1})]) == "ValidationException"
    assert create(DeadLetterConfiguration={"TargetType": "BUILT_IN"}) == "ValidationException"
    assert create(VisibilityTimeoutSeconds=43201) == "ValidationException"
    queue(kinesis, "refused", arn)
    assert create() == "ResourceInUseException"
    # Queues and registered consumers share the limit of twenty.
    for n in range(10):
        queue(kinesis, f"shared-{n}", arn)
        if n < 9:
            kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=f"consumer-{n}")
    assert create(name="one-more") == "LimitExceededException"
    assert code(kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="more") == "LimitExceededException"
    missing = "arn:aws:kinesis:us-east-1:000000000000:queue/0123456789abcdef"
    assert code(kinesis.receive_queue_records, QueueARN=missing) == "ResourceNotFoundException"


def test_records_are_received_hidden_acknowledged_and_seen_by_every_queue(region):
    kinesis = region.client("kinesis")
    arn = stream(kinesis, "q-records")
    one, two = (queue(kinesis, name, arn, VisibilityTimeoutSeconds=60) for name in ("records-1", "records-2"))
    latest = queue(kinesis, "records-latest", arn, "LATEST")
    data = [f"r{n}" for n in range(15)]
    put(kinesis, arn, *data)
    got = receive(kinesis, one) + receive(kinesis, one)
    assert sorted(r["Data"].decode() for r in got) == sorted(data)
    assert receive(kinesis, one) == []
    assert {r["ReceiveCount"] for r in got} == {1}
    assert all(r["PartitionKey"] == r["Data"].decode() and r["RecordId"].isalnum() for r in got)
    assert all(r["FirstReceiveTimestamp"] >= r["ApproximateArrivalTimestamp"] for r in got)
    # The same in another queue, and under the same ids.
    others = receive(kinesis, two) + receive(kinesis, two)
    assert {r["RecordId"]: r["Data"] for r in others} == {r["RecordId"]: r["Data"] for r in got}
    assert len(receive(kinesis, latest) + receive(kinesis, latest)) == 15

    # One is shown again at once, with a new handle; the old one is good for nothing then.
    kinesis.update_queue_records_visibility(QueueARN=one, Entries=entries(got[:1], VisibilityTimeoutSeconds=0))
    again = receive(kinesis, one)
    assert [(r["RecordId"], r["ReceiveCount"]) for r in again] == [(got[0]["RecordId"], 2)]
    assert again[0]["FirstReceiveTimestamp"] == got[0]["FirstReceiveTimestamp"]
    answer = kinesis.acknowledge_queue_records(QueueARN=one, Entries=entries(got[:2]))
    assert [f["ErrorCode"] for f in answer["Failed"]] == ["InvalidArgumentException"]
    assert [s["ReceiptHandle"] for s in answer["Successful"]] == [got[1]["ReceiptHandle"]]
    answer = kinesis.acknowledge_queue_records(QueueARN=one, Entries=[*entries(got[1:2]), {"ReceiptHandle": "garbage"}])
    assert [f["ErrorCode"] for f in answer["Failed"]] == ["ResourceNotFoundException", "InvalidArgumentException"]
    # The others come back when their time is over; what was acknowledged does not.
    region.cumulo("clock", "advance", "61s")
    rest = receive(kinesis, one) + receive(kinesis, one)
    assert {r["Data"] for r in rest} == {d.encode() for d in data} - {got[1]["Data"]}


def test_a_receive_waits_for_records_and_for_records_that_come_back(region):
    kinesis = region.client("kinesis")
    arn = stream(kinesis, "q-wait")
    waiting = queue(kinesis, "wait", arn, "LATEST", VisibilityTimeoutSeconds=1)
    timer = threading.Timer(0.5, put, (kinesis, arn, "late"))
    timer.start()
    begun = time.monotonic()
    assert [r["Data"] for r in receive(kinesis, waiting, wait=20)] == [b"late"]
    # A second later it is back, and wakes who waits.
    assert [(r["Data"], r["ReceiveCount"]) for r in receive(kinesis, waiting, wait=20)] == [(b"late", 2)]
    assert time.monotonic() - begun < 10


def test_records_of_closed_shards_and_of_their_children_are_received(region):
    kinesis = region.client("kinesis")
    arn = stream(kinesis, "q-split", demand=False)
    put(kinesis, arn, *(f"before-{n}" for n in range(5)))
    kinesis.split_shard(StreamARN=arn, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    put(kinesis, arn, *(f"after-{n}" for n in range(20)))
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    split = queue(kinesis, "split", arn)
    got = [r for _ in range(4) for r in receive(kinesis, split)]
    assert sorted(r["Data"].decode() for r in got) == sorted([f"before-{n}" for n in range(5)] + [f"after-{n}" for n in range(20)])
    assert len({r["RecordId"] for r in got}) == 25
    # What comes after LATEST comes after it in every shard.
    latest = queue(kinesis, "split-latest", arn, "LATEST")
    put(kinesis, arn, "new")
    assert [r["Data"] for r in receive(kinesis, latest)] == [b"new"]


def test_a_record_received_too_often_is_dead_until_it_is_restored(region):
    kinesis = region.client("kinesis")
    arn = stream(kinesis, "q-dead")
    configuration = {"TargetType": "BUILT_IN", "MaxReceiveCount": 2}
    poisoned = queue(kinesis, "dead", arn, VisibilityTimeoutSeconds=20, DeadLetterConfiguration=configuration)
    put(kinesis, arn, "a", "b")
    for count in (1, 2):
        assert {(r["Data"], r["ReceiveCount"]) for r in receive(kinesis, poisoned)} == {(b"a", count), (b"b", count)}
        # In flight for the last time it is not dead yet.
        assert receive(kinesis, poisoned, dead=True) == []
        region.cumulo("clock", "advance", "21s")
    assert receive(kinesis, poisoned) == []
    dead = receive(kinesis, poisoned, dead=True)
    assert {(r["Data"], r["ReceiveCount"]) for r in dead} == {(b"a", 3), (b"b", 3)}
    assert receive(kinesis, poisoned, dead=True) == []
    # The operations of the living do not know it.
    failed = kinesis.acknowledge_queue_records(QueueARN=poisoned, Entries=entries(dead))["Failed"]
    assert [f["ErrorCode"] for f in failed] == ["ResourceNotFoundException"] * 2
    kinesis.update_dead_letter_queue_records_visibility(
        QueueARN=poisoned, Entries=entries(dead, VisibilityTimeoutSeconds=0)
    )
    dead = sorted(receive(kinesis, poisoned, dead=True), key=lambda r: r["Data"])
    answer = kinesis.restore_dead_letter_queue_records(QueueARN=poisoned, Entries=entries(dead[:1]))
    assert (len(answer["Successful"]), answer["Failed"]) == (1, [])
    answer = kinesis.acknowledge_dead_letter_queue_records(QueueARN=poisoned, Entries=entries(dead[1:]))
    assert (len(answer["Successful"]), answer["Failed"]) == (1, [])
    assert [(r["Data"], r["ReceiveCount"]) for r in receive(kinesis, poisoned)] == [(b"a", 1)]
    region.cumulo("clock", "advance", "43200s")
    assert receive(kinesis, poisoned, dead=True) == []


def test_a_queue_hands_out_nothing_beyond_retention(region):
    kinesis = region.client("kinesis")
    arn = stream(kinesis, "q-retention")
    old = queue(kinesis, "retention", arn, VisibilityTimeoutSeconds=1)
    put(kinesis, arn, "seen", "seen-too")
    assert len(receive(kinesis, old)) == 2
    region.cumulo("clock", "advance", "25h")
    put(kinesis, arn, "new")
    assert [r["Data"] for r in receive(kinesis, old)] == [b"new"]


@pytest.mark.timeout(300 + 30 * KILLS)
def test_no_record_is_lost_and_none_comes_after_its_acknowledgement_in_kills(make_region):
    region = make_region()
    kinesis = region.client("kinesis")
    arn = stream(kinesis, "q-crash")
    crash = queue(kinesis, "crash", arn, VisibilityTimeoutSeconds=1, DeadLetterConfiguration={"TargetType": "NONE"})
    put_ok, acknowledged, doubtful, late, lock = set(), set(), set(), [], threading.Lock()

    def write(stopping, name):
        own, n = region.client("kinesis"), 0
        while not stopping.is_set():
            n += 1
            try:
                own.put_record(StreamARN=arn, Data=f"{name}-{n}".encode(), PartitionKey=str(n))
            except (ClientError, BotoCoreError):
                return
            with lock:
                put_ok.add(f"{name}-{n}")

    def read(stopping):
        own = region.client("kinesis")
        while not stopping.is_set():
            try:
                got = own.receive_queue_records(QueueARN=crash, WaitTimeSeconds=1)["QueueRecords"]
                with lock:
                    late.extend(r["Data"].decode() for r in got if r["Data"].decode() in acknowledged)
                if got:
                    # The answer to an acknowledgement may be what the kill takes.
                    with lock:
                        doubtful.update(r["Data"].decode() for r in got)
                    done = own.acknowledge_queue_records(QueueARN=crash, Entries=entries(got))["Successful"]
                    done = {d["ReceiptHandle"] for d in done}
                    with lock:
                        acknowledged.update(r["Data"].decode() for r in got if r["ReceiptHandle"] in done)
                        doubtful.difference_update(r["Data"].decode() for r in got)
            except (ClientError, BotoCoreError):
                return

    for kill in range(KILLS):
        stopping = threading.Event()
        threads = [threading.Thread(target=write, args=(stopping, f"{kill}-{n}")) for n in range(2)]
        threads += [threading.Thread(target=read, args=(stopping,)) for _ in range(2)]
        for t in threads:
            t.start()
        time.sleep(random.uniform(0.3, 1.0))
        region.kill()
        stopping.set()
        for t in threads:
            t.join(30)
        region.start()
    assert len(put_ok) > 20 * KILLS, "too little was written to tell anything"
    kinesis = region.client("kinesis")
    seen = set(acknowledged)
    while True:
        got = receive(kinesis, crash, wait=3)
        if not got:
            break
        late.extend(r["Data"].decode() for r in got if r["Data"].decode() in acknowledged)
        seen.update(r["Data"].decode() for r in got)
        kinesis.acknowledge_queue_records(QueueARN=crash, Entries=entries(got))
    assert len(doubtful) <= 20 * KILLS, "two readers have ten records each when they are interrupted"
    assert not put_ok - seen - doubtful, "records were lost"
    assert not late, "records came after they had been acknowledged"
