//! Encryption at rest over the wire: what was asked for is done, and nobody who reads notices.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "looks at what lies on the disk")]

mod region;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt;
use region::Region;
use wire::Body;

const KMS: [(&str, &str); 2] = [
    ("x-amz-server-side-encryption", "aws:kms"),
    (
        "x-amz-server-side-encryption-aws-kms-key-id",
        "arn:aws:kms:us-east-1:000000000000:key/1234",
    ),
];
const S3: [(&str, &str); 1] = [("x-amz-server-side-encryption", "AES256")];
const DSSE: [(&str, &str); 1] = [("x-amz-server-side-encryption", "aws:kms:dsse")];
const PART: usize = 5 << 20;

/// Whether a file under `dir` holds that text, which ends with the only full stop in it. The store changes its files
/// meanwhile: where one is gone before it is read, all are looked through again.
fn is_in_the_open(dir: &Path, text: &str) -> bool {
    loop {
        match look_through(dir, text) {
            Err(gone) if gone.kind() == ErrorKind::NotFound => {}
            found => return found.unwrap(),
        }
    }
}

fn look_through(dir: &Path, text: &str) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if look_through(&path, text)? {
                return Ok(true);
            }
            continue;
        }
        let mut file = BufReader::with_capacity(1 << 20, File::open(&path)?);
        let mut sentence = Vec::new();
        while file.read_until(b'.', &mut sentence)? > 0 {
            if sentence.ends_with(text.as_bytes()) {
                return Ok(true);
            }
            sentence.clear();
        }
    }
    Ok(false)
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy_all(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// `len` bytes that say `text` again and again.
fn saying(text: &str, len: usize) -> Vec<u8> {
    text.bytes().cycle().take(len).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_to_be_encrypted_is_nowhere_in_the_open() {
    let dir = tempfile::tempdir().unwrap();
    let region = Region::at(dir.path());
    region.bucket("bucket").await;
    let asked: [(&str, &[(&str, &str)]); 4] =
        [("plain", &[]), ("kms", &KMS), ("s3", &S3), ("dsse", &DSSE)];
    for (name, headers) in asked {
        for (size, len) in [("small", 1000), ("large", 300_000)] {
            let text = format!("{name}-{size}-words.");
            let path = format!("/bucket/{name}-{size}");
            let put = region.with("PUT", &path, headers, saying(&text, len)).await;
            assert_eq!(put.status, 200, "{}", put.text());
            if name == "kms" {
                let key = put.header("x-amz-server-side-encryption-aws-kms-key-id");
                assert_eq!(key, Some(KMS[1].1));
            }
        }
    }
    let check = async |region: &Region| {
        for (name, _) in asked {
            for (size, len) in [("small", 1000), ("large", 300_000)] {
                let text = format!("{name}-{size}-words.");
                let path = format!("/bucket/{name}-{size}");
                let got = region.ask("GET", &path, Body::Empty).await;
                assert_eq!(got.body, saying(&text, len), "{path}");
                let range = [("range", "bytes=501-777")];
                let got = region.with("GET", &path, &range, Body::Empty).await;
                assert_eq!(got.body, saying(&text, len)[501..=777], "{path}");
            }
        }
    };
    check(&region).await;
    region.cloud.store.flush().unwrap();
    drop(region);
    for (name, _) in asked {
        for size in ["small", "large"] {
            let text = format!("{name}-{size}-words.");
            let is_plain = name == "plain";
            assert_eq!(is_in_the_open(dir.path(), &text), is_plain, "{text}");
        }
    }
    // The directory is still the first region's.
    let copy = tempfile::tempdir().unwrap();
    copy_all(dir.path(), copy.path());
    check(&Region::at(copy.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_s_configuration_encrypts_what_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let region = Region::at(dir.path());
    for (bucket, algorithm) in [("one", "AES256"), ("two", "aws:kms")] {
        region.bucket(bucket).await;
        let document = format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>{algorithm}\
            </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        );
        region
            .configure(&format!("/{bucket}?encryption"), &document)
            .await;
        let text = format!("written into {bucket}.");
        let path = format!("/{bucket}/k");
        let put = region.ask("PUT", &path, saying(&text, 400)).await;
        assert_eq!(put.header("x-amz-server-side-encryption"), Some(algorithm));
        let got = region.ask("GET", &path, Body::Empty).await;
        assert_eq!(got.body, saying(&text, 400));
        region.cloud.store.flush().unwrap();
        assert!(!is_in_the_open(dir.path(), &text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_object_is_copied_between_keys_and_without() {
    let region = Region::start();
    region.bucket("bucket").await;
    region.bucket("other").await;
    let asked: [(&str, &[(&str, &str)]); 4] =
        [("plain", &[]), ("kms", &KMS), ("s3", &S3), ("dsse", &DSSE)];
    for len in [1000, 300_000] {
        let content = saying("what is copied.", len);
        for (from, headers) in asked {
            let source = format!("/bucket/{from}-{len}");
            region.with("PUT", &source, headers, content.clone()).await;
            for (to, headers) in asked {
                let path = format!("/other/{from}-{to}-{len}");
                let headers = [headers, &[("x-amz-copy-source", source.as_str())]].concat();
                let copied = region.with("PUT", &path, &headers, Body::Empty).await;
                assert_eq!(copied.status, 200, "{}", copied.text());
                let got = region.ask("GET", &path, Body::Empty).await;
                assert_eq!(got.body, content, "{path}");
                let algorithm = got.header("x-amz-server-side-encryption").unwrap();
                let wanted = match to {
                    "kms" => "aws:kms",
                    "dsse" => "aws:kms:dsse",
                    _ => "AES256",
                };
                assert_eq!(algorithm, wanted);
            }
            region.ask("DELETE", &source, Body::Empty).await;
        }
        for (from, _) in asked {
            for (to, _) in asked {
                let path = format!("/other/{from}-{to}-{len}");
                let got = region.ask("GET", &path, Body::Empty).await;
                assert_eq!(got.body, content, "{path} without its source");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_encrypted_with_their_upload_s_key() {
    let dir = tempfile::tempdir().unwrap();
    let region = Region::at(dir.path());
    region.bucket("bucket").await;
    let parts = [saying("the first part.", PART), saying("the second.", 1000)];
    let path = "/bucket/k";
    region.upload(path, &KMS, &parts).await;
    let got = region.ask("GET", path, Body::Empty).await;
    assert_eq!(got.body, parts.concat());
    let range = [("range", "bytes=5242870-5242889")];
    let got = region.with("GET", path, &range, Body::Empty).await;
    assert_eq!(got.body, parts.concat()[5242870..=5242889]);
    let part = region
        .ask("GET", &format!("{path}?partNumber=2"), Body::Empty)
        .await;
    assert_eq!(part.body, parts[1]);
    // A part that is copied comes out of one key and goes under another.
    let begun = region
        .with("POST", "/bucket/again?uploads", &S3, Body::Empty)
        .await;
    let id = begun.element("UploadId").unwrap();
    let source = [
        ("x-amz-copy-source", path),
        ("x-amz-copy-source-range", "bytes=5242870-5242889"),
    ];
    let part = format!("/bucket/again?partNumber=1&uploadId={id}");
    let copied = region.with("PUT", &part, &source, Body::Empty).await;
    let etag = copied.element("ETag").unwrap();
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let done = format!("/bucket/again?uploadId={id}");
    let done = region.ask("POST", &done, document).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let got = region.ask("GET", "/bucket/again", Body::Empty).await;
    assert_eq!(got.body, parts.concat()[5242870..=5242889]);
    region.cloud.store.flush().unwrap();
    assert!(!is_in_the_open(dir.path(), "the first part."));
    assert!(!is_in_the_open(dir.path(), "the second."));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_goes_while_it_is_read_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    for region in [Region::start(), Region::at(dir.path())] {
        region.bucket("bucket").await;
        let parts = [vec![b'a'; PART], vec![b'b'; PART], vec![b'c'; 7]];
        for replaces in [false, true] {
            region.upload("/bucket/k", &[], &parts).await;
            let answer = region
                .begin_as(Some("test"), "GET", "/bucket/k", &[], Body::Empty)
                .await;
            let mut stream = answer.body.into_stream();
            let mut all = stream.next().await.unwrap().unwrap().to_vec();
            if replaces {
                region.ask("PUT", "/bucket/k", Bytes::from("short")).await;
            } else {
                region.ask("DELETE", "/bucket/k", Body::Empty).await;
            }
            while let Some(chunk) = stream.next().await {
                all.extend_from_slice(&chunk.unwrap());
            }
            assert!(all == parts.concat(), "{} bytes", all.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_s_key_is_needed_for_each_reading() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use md5::{Digest, Md5};
    let region = Region::start();
    region.bucket("bucket").await;
    let texts = |byte: u8| {
        let key = [byte; 32];
        (STANDARD.encode(key), STANDARD.encode(Md5::digest(key)))
    };
    let names = [
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-customer-key-MD5",
    ];
    let ((key, md5), (other, other_md5)) = (texts(1), texts(2));
    let right = [(names[0], "AES256"), (names[1], &*key), (names[2], &*md5)];
    let wrong = [
        (names[0], "AES256"),
        (names[1], &*other),
        (names[2], &*other_md5),
    ];
    region
        .with("PUT", "/bucket/k", &right, Bytes::from("secret"))
        .await;
    let got = region.with("GET", "/bucket/k", &right, Body::Empty).await;
    assert_eq!(got.text(), "secret");
    let refused = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(
        (refused.status, refused.element("Code").as_deref()),
        (400, Some("InvalidRequest"))
    );
    let refused = region.with("GET", "/bucket/k", &wrong, Body::Empty).await;
    assert_eq!(
        (refused.status, refused.element("Code").as_deref()),
        (403, Some("AccessDenied"))
    );
    let refused = region
        .with("PUT", "/bucket/k", &[right[0]], Bytes::from("x"))
        .await;
    assert_eq!(refused.element("Code").as_deref(), Some("InvalidArgument"));
    let unsummed = region
        .with("GET", "/bucket/k", &right[..2], Body::Empty)
        .await;
    assert_eq!(unsummed.element("Code").as_deref(), Some("AccessDenied"));
    let unsummed = region
        .with("PUT", "/bucket/k", &right[..2], Bytes::from("x"))
        .await;
    assert_eq!(unsummed.element("Code").as_deref(), Some("InvalidArgument"));
    let begun = region
        .with("POST", "/bucket/m?uploads", &right, Body::Empty)
        .await;
    let id = begun.element("UploadId").unwrap();
    let part = format!("/bucket/m?partNumber=1&uploadId={id}");
    for (headers, words) in [(&wrong[..], "did not match"), (&[], "must include")] {
        let refused = region.with("PUT", &part, headers, Bytes::from("x")).await;
        assert_eq!(refused.element("Code").as_deref(), Some("InvalidRequest"));
        assert!(refused.text().contains(words), "{}", refused.text());
    }
}
