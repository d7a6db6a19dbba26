"""pytest plugin: makes legal what moto's tests send and AWS refuses.

Many of moto's tests begin with input that no AWS takes (a trust policy that says "some
policy", the role "n/a"), and so tell nothing about what they are about. With `-p moto_legal`
such input is replaced on its way, for every client that a test makes; or the thing is made
that the input speaks of and that has to be there. What AWS takes is sent as it is.

A test that finds its illegal value in an answer keeps failing, and stands in moto.tsv. What
is expected to fail (inside `pytest.raises`) is not touched, but for the operations in
legal_hooks.ALWAYS, where moto's tests expect another failure than that of their input.
"""
import base64
import io
import json
import os
import re
import time
import zipfile

from legal_hooks import aside, attempt, nested, rule

ACCOUNT = os.environ.get("MOTO_ACCOUNT_ID", "123456789012")
delivered = set()


def document(**statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


TRUST = document(Action="sts:AssumeRole", Principal={"AWS": "*", "Service": [
    f"{s}.amazonaws.com" for s in ("lambda", "events", "firehose", "logs", "scheduler")]})


# IAM and STS.

@rule("iam", "CreateRole", "UpdateAssumeRolePolicy")
def trust(client, params):
    # A trust policy is JSON and has statements.
    name = "AssumeRolePolicyDocument" if "AssumeRolePolicyDocument" in params else "PolicyDocument"
    if "Statement" not in params[name]:
        params[name] = TRUST


@rule("iam", "CreateRole", "CreateUser", "ListUsers", "CreateGroup", "UpdateGroup", "CreateInstanceProfile")
def path(client, params):
    # A path begins and ends with a slash.
    for name in {"Path", "NewPath", "PathPrefix"} & params.keys():
        end = "" if name == "PathPrefix" else "/"
        params[name] = re.sub("/+", "/", f"/{params[name]}{end}")


@rule("iam", "CreateLoginProfile", "UpdateLoginProfile", "ChangePassword")
def password(client, params):
    # A password has eight characters, of three kinds.
    for holder, name in nested(params, "Password", "OldPassword", "NewPassword"):
        holder[name] += "-Legal-1" if len(holder[name]) < 8 else ""


@rule("iam", "CreateOpenIDConnectProvider")
def provider(client, params):
    # An identity provider speaks HTTPS, and its URL has no query.
    params["Url"] = re.sub("^http:", "https:", params["Url"]).split("?")[0]


ROLE = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role(/|/.*/)([^/]+)$")


def role(client, arn, statement=TRUST):
    """`arn` if it is a role's, which is made if it is not there; else the ARN of a role that is."""
    account, path, name = ROLE.match(arn).groups() if ROLE.match(arn) else (None, "/", "legal")
    iam = aside(client, "iam", account)
    if attempt(iam.create_role, RoleName=name, Path=path, AssumeRolePolicyDocument=statement):
        iam.put_role_policy(RoleName=name, PolicyName="legal", PolicyDocument=document(Action="*", Resource="*"))
    return arn if account else iam.get_role(RoleName=name)["Role"]["Arn"]


@rule("sts", "AssumeRole")
def assumed(client, params):
    # A role that is assumed exists.
    role(client, params["RoleArn"])


@rule("sts", "AssumeRoleWithSAML")
def assertion(client, params):
    # An assertion has not expired; it is of a provider that exists, for a role that trusts it.
    account, name = ROLE.match(params["RoleArn"])[1], params["PrincipalArn"].split("/")[-1]
    arn = params["PrincipalArn"] = f"arn:aws:iam::{account}:saml-provider/{name}"
    metadata = "<EntityDescriptor/>".ljust(1000)
    attempt(aside(client, "iam", account).create_saml_provider, Name=name, SAMLMetadataDocument=metadata)
    role(client, params["RoleArn"], document(Action="sts:AssumeRoleWithSAML", Principal={"Federated": arn}))
    text = base64.b64decode(params["SAMLAssertion"]).decode().strip()
    text = re.sub('NotOnOrAfter="[^"]*"', 'NotOnOrAfter="2099-01-01T00:00:00.000Z"', text)
    params["SAMLAssertion"] = base64.b64encode(text.encode()).decode()


# What others deliver to, and as whom.

@rule("events", "PutTargets", "PutRule", "CreateArchive")
@rule("firehose", "CreateDeliveryStream", "UpdateDestination")
@rule("lambda", "CreateFunction", "UpdateFunctionConfiguration")
@rule("logs", "PutSubscriptionFilter")
@rule("scheduler", "CreateSchedule", "UpdateSchedule")
def roles(client, params):
    # A role exists, and trusts the service that is to assume it.
    for holder, name in nested(params, "RoleArn", "RoleARN", "roleArn", "Role"):
        holder[name] = role(client, holder[name])


@rule("sns", "Subscribe")
@rule("events", "PutTargets")
@rule("logs", "PutSubscriptionFilter")
@rule("s3", "PutBucketNotificationConfiguration")
def receivers(client, params):
    # AWS's services call, send and write only where a policy lets them.
    by = client.meta.service_model.service_name + ".amazonaws.com"
    names = ("Endpoint", "Arn", "QueueArn", "TopicArn", "LambdaFunctionArn", "destinationArn")
    pattern = re.compile(r"arn:aws[a-z-]*:(sqs|sns|lambda|logs):([^:]+):(\d{12}):(?:function:)?([^:]+)")
    for arn in [h[n] for h, n in nested(params, *names) if pattern.match(h[n])]:
        service, region, account, name = pattern.match(arn).groups()
        there = aside(client, service, account, region)
        if service == "sqs":
            url = (attempt(there.get_queue_url, QueueName=name) or {}).get("QueueUrl")
            policy = document(Principal="*", Action="sqs:SendMessage", Resource=arn)
            if url and "Attributes" not in there.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"]):
                there.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
            delivered.add(name)
        elif service == "sns" and by.startswith("s3"):
            policy = document(Principal={"Service": by}, Action="sns:Publish", Resource=arn)
            attempt(there.set_topic_attributes, TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
        elif service == "lambda":
            attempt(there.add_permission, FunctionName=arn, StatementId=by.split(".")[0],
                    Action="lambda:InvokeFunction", Principal=by)
        elif service == "logs":
            policy = document(Principal={"Service": by}, Action="logs:*", Resource="*")
            attempt(there.put_resource_policy, policyName="legal", policyDocument=policy)


@rule("events", "PutTargets")
@rule("sns", "PublishBatch")
@rule("dynamodb", "CreateBackup")
def words(client, params):
    # Ids and names are words; a rule has five targets at most.
    for holder, name in nested(params, "Id", "BackupName"):
        holder[name] = re.sub(r"[^\w.-]", "-", holder[name])
    if "Targets" in params:
        params["Targets"] = params["Targets"][:5]


@rule("scheduler", "CreateSchedule", "UpdateSchedule")
def schedule(client, params):
    # A schedule has one of three kinds of expressions, and an ARN to call.
    if "(" not in params["ScheduleExpression"]:
        params["ScheduleExpression"] = "rate(1 hour)"
    if not params["Target"]["Arn"].startswith("arn:"):
        params["Target"]["Arn"] = f"arn:aws:sqs:{client.meta.region_name}:{ACCOUNT}:legal"


@rule("firehose", "CreateDeliveryStream", "UpdateDestination")
def delivery(client, params):
    # A bucket's ARN ends in three colons, a domain's has a region and an account, an endpoint is
    # HTTPS and holds back 64 MB at most, and a schema's database and table exist in Glue.
    names = ("BucketARN", "DomainARN", "Url", "DatabaseName", "KinesisStreamARN")
    for holder, name, value in [(h, n, h[n]) for h, n in nested(params, *names)]:
        if name == "BucketARN":
            holder[name] = re.sub("^arn:aws:s3::(?!:)", "arn:aws:s3:::", value)
        elif name == "DomainARN":
            holder[name] = value.replace("es:::", f"es:{client.meta.region_name}:{ACCOUNT}:")
        elif name == "Url":
            holder[name] = re.sub("^(https?://)?", "https://", value)
        elif name == "KinesisStreamARN":
            attempt(aside(client, "kinesis").create_stream, StreamName=value.split("/")[-1], ShardCount=1)
        else:
            glue, columns = aside(client, "glue"), [{"Name": "a", "Type": "string"}]
            attempt(glue.create_database, DatabaseInput={"Name": value})
            attempt(glue.create_table, DatabaseName=value, TableInput={
                "Name": holder["TableName"], "StorageDescriptor": {"Columns": columns}})
    hints = params.get("HttpEndpointDestinationConfiguration", {}).get("BufferingHints", {})
    hints.update({k: min(v, 64) for k, v in hints.items() if k == "SizeInMBs"})


@rule("logs", "PutMetricFilter")
def log_group(client, params):
    # A metric filter is put on a log group that exists.
    attempt(aside(client, "logs").create_log_group, logGroupName=params["logGroupName"])


# Functions, queues, topics, streams.

@rule("lambda", "CreateFunction", "AddPermission", "AddLayerVersionPermission", "ListEventSourceMappings")
def function(client, params):
    # Code is a ZIP archive; an account has twelve digits, an organization ten letters.
    code = params.get("Code", {})
    if isinstance(code.get("ZipFile"), bytes) and not zipfile.is_zipfile(io.BytesIO(code["ZipFile"])):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("lambda_function.py", "")
        code["ZipFile"] = made.getvalue()
    for name in {"SourceArn", "EventSourceArn", "PackageType", "OrganizationId"} & params.keys():
        value = params[name].replace("account-id", ACCOUNT).replace("ZIP", "Zip")
        value = value.ljust(12, "0") if name == "OrganizationId" else value
        params[name] = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{value}" if value.isdigit() else value


@rule("sqs", "CreateQueue")
def attributes(client, params):
    # Attributes' names have no blanks, and FifoQueue is not set to false.
    given = {k.strip(): v for k, v in params.get("Attributes", {}).items()}
    params["Attributes"] = {k: v for k, v in given.items() if (k, v) != ("FifoQueue", "false")}


@rule("sqs", "ReceiveMessage")
def patience(client, params):
    # What AWS's services deliver is there soon, not at once.
    if params["QueueUrl"].split("/")[-1] in delivered:
        time.sleep(0.2)


@rule("sns", "CreatePlatformApplication")
def application(client, params):
    # A push service's application has that service's credentials.
    params["Attributes"] = {"PlatformCredential": "k", "PlatformPrincipal": "c", **params["Attributes"]}


@rule("kinesis", "CreateStream", "ListShards")
def stream(client, params):
    # A stream on demand has no number of shards; a token stands for the stream's name.
    if params.get("StreamModeDetails", {}).get("StreamMode") == "ON_DEMAND":
        params.pop("ShardCount", None)
    if "NextToken" in params:
        params.pop("StreamName", None)


# DynamoDB.

@rule("dynamodb", "CreateTable", "UpdateTable")
def table(client, params):
    # A provisioned table's indexes are provisioned; a stream shows an IMAGE.
    for index in params.get("GlobalSecondaryIndexes", ()) if "ProvisionedThroughput" in params else ():
        index.setdefault("ProvisionedThroughput", params["ProvisionedThroughput"])
    for holder, name in nested(params, "StreamViewType"):
        holder[name] = re.sub("^(OLD|NEW)_IMAGES$", r"\1_IMAGE", holder[name])


@rule("dynamodb", "ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction")
def statement(client, params):
    # PartiQL takes a name with hyphens in quotes only.
    for holder, name in nested(params, "Statement"):
        holder[name] = re.sub(r"(?i)\b(from|into|update) (\w+-[\w-]+)", r'\1 "\2"', holder[name])


@rule("dynamodb", "RestoreTableToPointInTime")
def recovery(client, params):
    # A table is restored to a time only if its times are kept, and to one that is told.
    params.setdefault("UseLatestRestorableTime", True)
    attempt(aside(client, "dynamodb").update_continuous_backups, TableName=params["SourceTableName"],
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True})


# S3.

def lists(client, params):
    """The names of a request's access lists, which its bucket is told to have."""
    names = [k for k in params if k in ("ACL", "AccessControlPolicy") or k.startswith("Grant")]
    if names:
        s3, rules = aside(client, "s3"), {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
        attempt(s3.put_bucket_ownership_controls, Bucket=params["Bucket"], OwnershipControls=rules)
        attempt(s3.delete_public_access_block, Bucket=params["Bucket"])
    return names


@rule("s3", "PutBucketAcl", "PutObjectAcl", "PutObject", "CopyObject", "CreateMultipartUpload")
def access_lists(client, params):
    # Buckets made since April 2023 have no access lists until their owner asks for them.
    lists(client, params)


@rule("s3", "CreateBucket")
def bucket(client, params):
    # So a bucket gets them after it is made.
    given = {k: params.pop(k) for k in lists(client, params)} | {"Bucket": params["Bucket"]}
    return lambda: lists(client, given) and aside(client, "s3").put_bucket_acl(**given)


@rule("s3", "PutBucketLifecycleConfiguration")
def lifecycle(client, params):
    # A rule does something.
    for rule in params["LifecycleConfiguration"]["Rules"]:
        if not any(k.endswith(("Expiration", "Transitions", "Upload")) for k in rule):
            rule["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": 7}


@rule("s3", "UploadPartCopy", "PutBucketInventoryConfiguration")
def small(client, params):
    # A range has its unit; a configuration's id is told twice.
    if "CopySourceRange" in params:
        params["CopySourceRange"] = re.sub("^(?=[0-9])", "bytes=", params["CopySourceRange"])
    if "InventoryConfiguration" in params:
        params["Id"] = params["InventoryConfiguration"]["Id"]
