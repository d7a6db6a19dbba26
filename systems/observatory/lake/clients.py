"""Driving the lake and looking at what comes out."""
import io
import time

import boto3
import pandas as pd

from lake import build

RAW = "raw/us/macrodata.csv"
PROCESSED = "processed/us/macrodata.parquet"
CURATED = "curated/us/macrodata_by_decade.parquet"


def drive(names):
    boto3.client("s3").upload_file(str(build.data()), names["lake"], RAW)


def wait_for(what, get, seconds=120):
    """Asks until there is an answer; says what it waits for."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            found = get()
            if found:
                return found
        except boto3.client("s3").exceptions.ClientError as e:
            last = e
        time.sleep(0.2)
    raise SystemExit(f"{what}: nothing after {seconds} s ({last})")


def table(names):
    """The curated table, once it is there."""
    s3 = boto3.client("s3")
    body = wait_for(CURATED, lambda: s3.get_object(Bucket=names["lake"], Key=CURATED)["Body"].read())
    return pd.read_parquet(io.BytesIO(body))


def log_lines(names, function, pattern=""):
    logs = boto3.client("logs")
    events = logs.get_paginator("filter_log_events").paginate(logGroupName=names["log_groups"][function], filterPattern=pattern)
    return [e["message"].rstrip() for page in events for e in page["events"]]


def check(names):
    """The outcome, asserted against the input itself."""
    started = time.monotonic()
    found = table(names)
    raw = pd.read_csv(build.data())
    expected = raw.assign(decade=(raw.year // 10 * 10).astype(int)).groupby("decade").agg(
        quarters=("quarter", "size"), unemployment=("unemp", "mean")).round(2)
    found_by_decade = found.set_index("decade")
    assert list(found_by_decade.quarters) == list(expected.quarters), found
    assert (found_by_decade.unemployment - expected.unemployment).abs().max() < 0.011, found
    print(found.to_string(index=False))
    for function in names["functions"]:
        lines = wait_for(f"log of {function}", lambda: [x for x in log_lines(names, function) if "REPORT" in x])
        print(f"\n{names['log_groups'][function]}")
        for line in log_lines(names, function):
            if line.startswith((function, "REPORT")):
                print("  " + line.replace("\t", "  "))
        assert lines
    print(f"\nchecked in {time.monotonic() - started:.1f} s")
    return found
