"""processed/NAME.parquet becomes curated/NAME_by_decade.parquet: what the economy did, decade by decade."""
import io
import urllib.parse

import boto3
import pandas as pd

s3 = boto3.client("s3")


def by_decade(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.sort_values(["year", "quarter"])
    frame["growth"] = frame["realgdp"].astype("float64").pct_change() * 400
    frame["decade"] = (frame["year"] // 10 * 10).astype("int32")
    table = frame.groupby("decade").agg(
        quarters=("quarter", "size"),
        gdp_growth=("growth", "mean"),
        inflation=("infl", "mean"),
        unemployment=("unemp", "mean"),
        treasury_bill=("tbilrate", "mean"),
    )
    return table.round(2).reset_index()


def handler(event, context):
    written = []
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        frame = pd.read_parquet(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
        table = by_decade(frame)
        out = io.BytesIO()
        table.to_parquet(out, index=False)
        target = "curated/" + key.removeprefix("processed/").removesuffix(".parquet") + "_by_decade.parquet"
        s3.put_object(Bucket=bucket, Key=target, Body=out.getvalue())
        print(f"aggregate: {len(frame)} rows of {key} -> {len(table)} decades in s3://{bucket}/{target}")
        written.append({"key": target, "rows": len(table)})
    return {"written": written}
