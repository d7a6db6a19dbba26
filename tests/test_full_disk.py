"""A full disk is an error for the caller; the server goes on reading, and writes again once there is room."""
import os
import subprocess

import pytest
from botocore.exceptions import ClientError
from conftest import Region


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("size", [8_000, 3_000_000], ids=["rows", "blobs"])
def test_writes_fail_reads_go_on(small_disk, size):
    region = Region(small_disk)
    try:
        s3 = region.client("s3")
        s3.create_bucket(Bucket="full")
        s3.put_object(Bucket="full", Key="first", Body=b"first")
        body, written, refused = b"z" * size, 0, None
        for n in range(200_000_000 // size):
            try:
                s3.put_object(Bucket="full", Key=f"k{n}", Body=body)
                written = n + 1
            except ClientError as e:
                refused = e
                break
        assert refused is not None, "the disk never became full"
        assert refused.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 503), refused
        assert written > 5
        assert s3.get_object(Bucket="full", Key="first")["Body"].read() == b"first"
        assert s3.get_object(Bucket="full", Key=f"k{written - 1}")["Body"].read() == body
        with pytest.raises(ClientError) as missing:
            s3.head_object(Bucket="full", Key=f"k{written}")
        assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        assert region.process.poll() is None
        # Room again: a restart with a larger disk finds everything that was acknowledged.
        subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
        s3.put_object(Bucket="full", Key="after", Body=body)
        region.kill()
        region.start()
        assert s3.get_object(Bucket="full", Key="after")["Body"].read() == body
        assert s3.get_object(Bucket="full", Key="k0")["Body"].read() == body
    finally:
        region.stop()
