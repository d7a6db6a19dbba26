"""S3's answers to real clients where a test that also ran against AWS knows them."""
import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_a_region_makes_its_own_buckets_only(region):
    west = boto3.client("s3", endpoint_url=region.endpoint, aws_access_key_id="test", aws_secret_access_key="test",
                        region_name="us-west-2", config=Config(retries={"max_attempts": 0}))
    for constraint in ("us-east-1", "eu-central-1", "us-gov-east-2"):
        assert refused(west.create_bucket, Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": constraint}) == (
            "IllegalLocationConstraintException",
            f"The {constraint} location constraint is incompatible for the region specific endpoint this request was sent to.")
    assert refused(west.create_bucket, Bucket="elsewhere")[1].startswith("The unspecified location constraint is incompatible")
    west.create_bucket(Bucket="in-west", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    region.client("s3").create_bucket(Bucket="in-europe", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    assert region.client("s3").get_bucket_location(Bucket="in-europe")["LocationConstraint"] == "eu-central-1"


def test_a_named_version_can_be_copied_over_its_key(region):
    s3 = region.client("s3")
    s3.create_bucket(Bucket="versions")
    s3.put_object(Bucket="versions", Key="k", Body=b"")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket="versions", Key="k", Body=b"")["VersionId"]
    for named in (version, "null"):
        s3.copy_object(Bucket="versions", Key="k", CopySource={"Bucket": "versions", "Key": "k", "VersionId": named})
    assert len(s3.list_object_versions(Bucket="versions")["Versions"]) == 4
    assert refused(s3.copy_object, Bucket="versions", Key="k", CopySource={"Bucket": "versions", "Key": "k"})[0] == "InvalidRequest"
    assert refused(s3.put_object_lock_configuration, Bucket="versions") == ("MissingRequestBodyError", "Request Body is empty")


def test_headers_tags_and_checksums(region):
    s3 = region.client("s3")
    s3.create_bucket(Bucket="answers")
    head = s3.head_bucket(Bucket="answers")["ResponseMetadata"]["HTTPHeaders"]
    assert head["content-type"] == "application/xml"
    assert refused(s3.put_object, Bucket="answers", Key="k", Body=b"x", Tagging="aws:foo=bar") == (
        "InvalidTag", "Your TagKey cannot be prefixed with aws:")
    s3.put_object(Bucket="answers", Key="k", Body=b"some value")
    s3.copy({"Bucket": "answers", "Key": "k"}, "answers", "parts", ExtraArgs={"ChecksumAlgorithm": "SHA256"},
            Config=TransferConfig(multipart_threshold=1))
    shown = s3.get_object_attributes(Bucket="answers", Key="parts", ObjectAttributes=["Checksum"])["Checksum"]
    assert shown["ChecksumSHA256"] == "DnKotDi4EtYGwNMDKmnR6SqH3bWVOlo2BC+tsz9rHqw="
    assert s3.head_object(Bucket="answers", Key="parts", ChecksumMode="ENABLED")["ChecksumSHA256"] == shown["ChecksumSHA256"] + "-1"
