"""Input that no client should send: AWS's error each time, and a server that goes on."""
import http.client
import json
import socket

import pytest


@pytest.fixture(scope="module")
def bucket(region):
    region.client("s3").create_bucket(Bucket="hostile")
    return "hostile"


AUTH = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/%s/aws4_request, SignedHeaders=host, Signature=0"}


def ask(region, method, path, body=b"", service="s3", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", region.port, timeout=20)
    auth = {"Authorization": AUTH["Authorization"] % service}
    connection.request(method, path, body, {**auth, **{k.replace("_", "-"): v for k, v in headers.items()}})
    response = connection.getresponse()
    return response.status, response.read().decode("utf-8", "replace"), response


def alive(region):
    assert region.process.poll() is None
    assert region.client("sts").get_caller_identity()["Account"] == "000000000000"


@pytest.mark.parametrize("body", [b"<", b"<Tagging>", b"\xff\xfe", b"<a>" * 50_000, b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
                                  b"<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>", b"{}"])
def test_malformed_xml(region, bucket, body):
    status, text, _ = ask(region, "PUT", f"/{bucket}?tagging", body)
    assert (status, "<Code>MalformedXML</Code>" in text) == (400, True), text
    alive(region)


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"{\"logGroupName\": {}}", b"{\"a\":" * 100_000, b"nul"])
def test_malformed_json(region, body):
    status, text, _ = ask(region, "POST", "/", body, "logs", X_Amz_Target="Logs_20140328.CreateLogGroup",
                          Content_Type="application/x-amz-json-1.1")
    assert status == 400
    assert json.loads(text)["__type"] == "SerializationException", text
    alive(region)


def test_unknown_operations(region):
    status, text, _ = ask(region, "POST", "/", b"{}", "logs", X_Amz_Target="Logs_20140328.Nonsense",
                          Content_Type="application/x-amz-json-1.1")
    assert (status, json.loads(text)["__type"]) == (400, "UnknownOperationException")
    status, text, _ = ask(region, "POST", "/", b"Action=Nonsense&Version=2010-05-08", "iam",
                          Content_Type="application/x-www-form-urlencoded")
    assert status == 400 and "<Code>InvalidAction</Code>" in text


@pytest.mark.parametrize("digest", ["AAAA", "not base64!", "AAAAAAAAAAAAAAAAAAAAAA=="])
def test_wrong_digests_write_nothing(region, bucket, digest):
    status, text, _ = ask(region, "PUT", f"/{bucket}/digest", b"body", Content_MD5=digest)
    assert status == 400 and ("BadDigest" in text or "InvalidDigest" in text), text
    assert ask(region, "HEAD", f"/{bucket}/digest")[0] == 404


def test_a_wrong_sha256_writes_nothing(region, bucket):
    status, text, _ = ask(region, "PUT", f"/{bucket}/sha", b"body", x_amz_content_sha256="0" * 64)
    assert status == 400 and "XAmzContentSHA256Mismatch" in text
    assert ask(region, "HEAD", f"/{bucket}/sha")[0] == 404


def test_a_cut_connection_writes_nothing(region, bucket):
    head = (f"PUT /{bucket}/cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            f"Authorization: {AUTH['Authorization'] % 's3'}\r\n\r\n")
    with socket.create_connection(("127.0.0.1", region.port)) as s:
        s.sendall(head.encode() + b"x" * 1000)
    with socket.create_connection(("127.0.0.1", region.port)) as s:
        s.sendall(head.encode()[:40])
    assert ask(region, "HEAD", f"/{bucket}/cut")[0] == 404
    alive(region)


def test_huge_headers_and_bodies_are_refused(region, bucket):
    status, _, _ = ask(region, "GET", f"/{bucket}", b"", X_Big="y" * 300_000)
    assert status in (400, 431)
    with socket.create_connection(("127.0.0.1", region.port)) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Logs_20140328.CreateLogGroup\r\n"
                  b"Content-Type: application/x-amz-json-1.1\r\nContent-Length: 99999999999\r\n\r\n")
        s.settimeout(20)
        assert b" 413 " in s.recv(4096).split(b"\r\n")[0]
    alive(region)


def test_bytes_that_are_not_http(region):
    for junk in (b"\x00" * 100, b"GET\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", region.port)) as s:
            s.sendall(junk)
            s.settimeout(3)
            try:
                s.recv(100)
            except OSError:
                pass
    alive(region)
