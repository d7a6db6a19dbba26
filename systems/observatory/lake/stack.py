"""The same stack by API calls, where Terraform is not installed."""
import json
import os

import boto3

from lake import build

ENVIRONMENT = os.environ.get("OBSERVATORY_ENVIRONMENT", "dev")
NAME = f"observatory-{ENVIRONMENT}"
FUNCTIONS = {"clean": ("raw/*", "processed/*", "raw/", ".csv"), "aggregate": ("processed/*", "curated/*", "processed/", ".parquet")}


def outputs():
    account = boto3.client("sts").get_caller_identity()["Account"]
    return {
        "lake": f"{NAME}-lake-{account}",
        "functions": {f: f"{NAME}-{f}" for f in FUNCTIONS},
        "log_groups": {f: f"/aws/lambda/{NAME}-{f}" for f in FUNCTIONS},
    }


def deploy(quiet=False):
    names = outputs()
    lake = names["lake"]
    artifacts = lake.replace("-lake-", "-artifacts-")
    account = lake.rsplit("-", 1)[1]
    s3, iam, functions, logs = (boto3.client(s) for s in ("s3", "iam", "lambda", "logs"))
    for bucket in (lake, artifacts):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=lake, VersioningConfiguration={"Status": "Enabled"})
    s3.put_public_access_block(Bucket=lake, PublicAccessBlockConfiguration={
        "BlockPublicAcls": True, "BlockPublicPolicy": True, "IgnorePublicAcls": True, "RestrictPublicBuckets": True})
    s3.put_bucket_lifecycle_configuration(Bucket=lake, LifecycleConfiguration={"Rules": [
        {"ID": "archive-raw", "Status": "Enabled", "Filter": {"Prefix": "raw/"},
         "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]},
        {"ID": "forget-old-versions", "Status": "Enabled", "Filter": {"Prefix": ""},
         "NoncurrentVersionExpiration": {"NoncurrentDays": 90},
         "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}]})
    s3.upload_file(str(build.BUILD / "libraries.zip"), artifacts, "layers/libraries.zip")
    layer = functions.publish_layer_version(
        LayerName=f"{NAME}-libraries", Content={"S3Bucket": artifacts, "S3Key": "layers/libraries.zip"},
        CompatibleRuntimes=["python3.11"])["LayerVersionArn"]
    notifications = []
    for f, (read, write, prefix, suffix) in FUNCTIONS.items():
        logs.create_log_group(logGroupName=names["log_groups"][f])
        logs.put_retention_policy(logGroupName=names["log_groups"][f], retentionInDays=14)
        role = iam.create_role(RoleName=f"{NAME}-{f}", AssumeRolePolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                    "Principal": {"Service": "lambda.amazonaws.com"}}]}))["Role"]["Arn"]
        iam.put_role_policy(RoleName=f"{NAME}-{f}", PolicyName="lake-and-logs", PolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{lake}/{read}"},
                {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{lake}/{write}"},
                {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": "arn:aws:logs:*:*:*"}]}))
        arn = functions.create_function(
            FunctionName=names["functions"][f], Runtime="python3.11", Role=role, Handler="handler.handler", Timeout=60,
            MemorySize=1024, Layers=[layer], Environment={"Variables": {"LAKE": lake}},
            Code={"ZipFile": (build.BUILD / f"{f}.zip").read_bytes()})["FunctionArn"]
        functions.get_waiter("function_active_v2").wait(FunctionName=arn)
        functions.add_permission(FunctionName=arn, StatementId="lake-events", Action="lambda:InvokeFunction",
                                 Principal="s3.amazonaws.com", SourceArn=f"arn:aws:s3:::{lake}", SourceAccount=account)
        notifications.append({"Id": f, "LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {
            "FilterRules": [{"Name": "prefix", "Value": prefix}, {"Name": "suffix", "Value": suffix}]}}})
    s3.put_bucket_notification_configuration(Bucket=lake, NotificationConfiguration={"LambdaFunctionConfigurations": notifications})
    return names


def empty(s3, bucket):
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        keys = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        if keys:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})


def destroy(quiet=False):
    names = outputs()
    s3, iam, functions, logs = (boto3.client(s) for s in ("s3", "iam", "lambda", "logs"))
    for f in FUNCTIONS:
        functions.delete_function(FunctionName=names["functions"][f])
        logs.delete_log_group(logGroupName=names["log_groups"][f])
        iam.delete_role_policy(RoleName=f"{NAME}-{f}", PolicyName="lake-and-logs")
        iam.delete_role(RoleName=f"{NAME}-{f}")
    for version in functions.list_layer_versions(LayerName=f"{NAME}-libraries")["LayerVersions"]:
        functions.delete_layer_version(LayerName=f"{NAME}-libraries", VersionNumber=version["Version"])
    for bucket in (names["lake"], names["lake"].replace("-lake-", "-artifacts-")):
        empty(s3, bucket)
        s3.delete_bucket(Bucket=bucket)
