"""What was acknowledged survives kill -9, and every event reaches its function at least once."""
import concurrent.futures
import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from conftest import zipped

KILLS = 20
FUNCTION = '''
import boto3

s3 = boto3.client("s3")

# What a function did is told by the region's own acknowledgement; its log lines are written behind it, as on AWS.
def handler(event, context):
    for record in event["Records"]:
        key = record["s3"]["object"]["key"].replace("in/", "out/")
        s3.put_object(Bucket=record["s3"]["bucket"]["name"], Key=key, Body=b"")
'''


class Writer(threading.Thread):
    """Writes objects, roles and log events until it is told to stop; notes only what was acknowledged."""

    def __init__(self, region, number, acknowledged, lock):
        super().__init__(daemon=True)
        self.region, self.number, self.acknowledged, self.lock = region, number, acknowledged, lock
        self.stopping = threading.Event()

    def note(self, kind, what):
        with self.lock:
            self.acknowledged.setdefault(kind, []).append(what)

    def run(self):
        s3, iam, logs = (self.region.client(s, connect_timeout=2, read_timeout=10) for s in ("s3", "iam", "logs"))
        count = 0
        while not self.stopping.is_set():
            count += 1
            name = f"{self.number}-{time.monotonic_ns()}"
            try:
                size = random.choice([10, 1000, 100_000])
                s3.put_object(Bucket="crash", Key=f"in/{name}", Body=name.encode() * (size // len(name) + 1))
                self.note("objects", name)
                if count % 5 == 0:
                    iam.create_role(RoleName=f"r-{name}", AssumeRolePolicyDocument=(
                        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},'
                        '"Action":"sts:AssumeRole"}]}'))
                    self.note("roles", f"r-{name}")
                if count % 3 == 0:
                    logs.put_log_events(logGroupName="crash", logStreamName="s", logEvents=[
                        {"timestamp": int(time.time() * 1000), "message": name}])
                    self.note("events", name)
            except (BotoCoreError, ClientError):
                time.sleep(0.02)


@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost_in_twenty_kills(make_region):
    region = make_region()
    s3, iam, logs, functions = (region.client(s) for s in ("s3", "iam", "logs", "lambda"))
    logs.create_log_group(logGroupName="crash")
    logs.create_log_stream(logGroupName="crash", logStreamName="s")
    s3.create_bucket(Bucket="crash")
    arn = functions.create_function(FunctionName="crash", Runtime="python3.11", Timeout=30, Handler="handler.handler",
                                    Role="arn:aws:iam::000000000000:role/crash", Code={"ZipFile": zipped(FUNCTION)})["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName="crash")
    functions.add_permission(FunctionName="crash", StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
    s3.put_bucket_notification_configuration(Bucket="crash", NotificationConfiguration={"LambdaFunctionConfigurations": [
        {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"],
         "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}}}]})
    acknowledged, lock = {}, threading.Lock()
    for kill in range(KILLS):
        writers = [Writer(region, f"{kill}-{n}", acknowledged, lock) for n in range(3)]
        for w in writers:
            w.start()
        time.sleep(random.uniform(0.2, 1.2))
        region.kill()
        for w in writers:
            w.stopping.set()
        for w in writers:
            w.join(30)
        region.start()
    assert len(acknowledged["objects"]) > 5 * KILLS, "too little was written to tell anything"

    def check(name):
        body = s3.get_object(Bucket="crash", Key=f"in/{name}")["Body"].read()
        assert body and body == name.encode() * (len(body) // len(name.encode())), name
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(check, acknowledged["objects"]))
    roles = {r["RoleName"] for page in iam.get_paginator("list_roles").paginate() for r in page["Roles"]}
    assert set(acknowledged["roles"]) <= roles
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName="crash")
    assert set(acknowledged["events"]) <= {e["message"] for page in pages for e in page["events"]}
    assert functions.get_function(FunctionName="crash")["Configuration"]["State"] == "Active"

    wanted = set(acknowledged["objects"])

    def missing():
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="crash", Prefix="out/")
        return wanted - {o["Key"].removeprefix("out/") for page in pages for o in page.get("Contents", [])}
    # An invocation that a kill cut off is tried again after AWS's one and two minutes.
    deadline = time.monotonic() + 300
    while left := missing():
        assert time.monotonic() < deadline, f"{len(left)} of {len(wanted)} events were not delivered: {sorted(left)[:5]}"
        time.sleep(1)
