"""raw/NAME.csv becomes processed/NAME.parquet: tidy names, types, no empty rows and no duplicates."""
import io
import urllib.parse

import boto3
import pandas as pd

s3 = boto3.client("s3")


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.rename(columns=lambda c: c.strip().lower().replace(" ", "_"))
    frame = frame.dropna(how="all").drop_duplicates()
    for column in ("year", "quarter"):
        if column in frame:
            frame[column] = frame[column].astype("int16")
    return frame.convert_dtypes(convert_string=False)


def handler(event, context):
    written = []
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        raw = pd.read_csv(s3.get_object(Bucket=bucket, Key=key)["Body"])
        frame = tidy(raw)
        out = io.BytesIO()
        frame.to_parquet(out, index=False)
        target = "processed/" + key.removeprefix("raw/").removesuffix(".csv") + ".parquet"
        s3.put_object(Bucket=bucket, Key=target, Body=out.getvalue())
        print(f"clean: {len(raw)} rows of s3://{bucket}/{key} -> {len(frame)} rows of {target}")
        written.append({"key": target, "rows": len(frame)})
    return {"written": written}
