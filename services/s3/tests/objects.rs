//! Objects over the wire: writing, reading, conditions, versions, uploads, listing.
#![allow(clippy::unwrap_used)]

mod region;

use bytes::Bytes;
use region::Region;
use wire::Body;

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_read_back_with_what_was_said_of_it() {
    let region = Region::start();
    region.bucket("bucket").await;
    let headers = [("content-type", "text/plain"), ("x-amz-meta-a", "1")];
    let put = region
        .with("PUT", "/bucket/a%20b/c", &headers, Bytes::from("hello"))
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(
        put.header("etag"),
        Some("\"5d41402abc4b2a76b9719d911017c592\"")
    );
    let got = region.ask("GET", "/bucket/a%20b/c", Body::Empty).await;
    assert_eq!((got.status, got.text().as_str()), (200, "hello"));
    assert_eq!(got.header("content-type"), Some("text/plain"));
    assert_eq!(got.header("x-amz-meta-a"), Some("1"));
    assert_eq!(got.header("x-amz-server-side-encryption"), Some("AES256"));
    let range = region
        .with(
            "GET",
            "/bucket/a%20b/c",
            &[("range", "bytes=1-3")],
            Body::Empty,
        )
        .await;
    assert_eq!((range.status, range.text().as_str()), (206, "ell"));
    assert_eq!(range.header("content-range"), Some("bytes 1-3/5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_in_aws_words() {
    let region = Region::start();
    let answer = region.ask("GET", "/nowhere/k", Body::Empty).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.element("Code").as_deref(), Some("NoSuchBucket"));
    assert_eq!(answer.element("BucketName").as_deref(), Some("nowhere"));
    region.bucket("bucket").await;
    let answer = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(answer.element("Code").as_deref(), Some("NoSuchKey"));
    let answer = region.ask("GET", "/bucket?website", Body::Empty).await;
    assert_eq!(
        answer.element("Code").as_deref(),
        Some("NoSuchWebsiteConfiguration")
    );
    let digest = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    let answer = region
        .with("PUT", "/bucket/k", &digest, Bytes::from("x"))
        .await;
    assert_eq!(answer.element("Code").as_deref(), Some("BadDigest"));
    let answer = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(answer.status, 404, "a refused body leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_write_does_not_replace() {
    let region = Region::start();
    region.bucket("bucket").await;
    let once = [("if-none-match", "*")];
    let first = region
        .with("PUT", "/bucket/k", &once, Bytes::from("1"))
        .await;
    assert_eq!(first.status, 200);
    let second = region
        .with("PUT", "/bucket/k", &once, Bytes::from("2"))
        .await;
    assert_eq!(second.status, 412);
    assert_eq!(
        second.element("Condition").as_deref(),
        Some("If-None-Match")
    );
    let got = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(got.text(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_stay_until_each_is_deleted() {
    let region = Region::start();
    region.bucket("bucket").await;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    region.ask("PUT", "/bucket/k", Bytes::from("null")).await;
    let enabled = region
        .ask("PUT", "/bucket?versioning", Bytes::from(enable))
        .await;
    assert_eq!(enabled.status, 200, "{}", enabled.text());
    let put = region.ask("PUT", "/bucket/k", Bytes::from("one")).await;
    let id = put.header("x-amz-version-id").unwrap().to_owned();
    let gone = region.ask("DELETE", "/bucket/k", Body::Empty).await;
    assert_eq!(
        (gone.status, gone.header("x-amz-delete-marker")),
        (204, Some("true"))
    );
    let marker = gone.header("x-amz-version-id").unwrap().to_owned();
    let answer = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(
        (answer.status, answer.header("x-amz-delete-marker")),
        (404, Some("true"))
    );
    let old = region
        .ask("GET", &format!("/bucket/k?versionId={id}"), Body::Empty)
        .await;
    assert_eq!(old.text(), "one");
    let null = region
        .ask("GET", "/bucket/k?versionId=null", Body::Empty)
        .await;
    assert_eq!(null.text(), "null");
    let listed = region.ask("GET", "/bucket?versions", Body::Empty).await;
    assert_eq!(
        listed.elements("VersionId"),
        [id.as_str(), "null", marker.as_str()],
        "{}",
        listed.text()
    );
    let refused = region.ask("DELETE", "/bucket", Body::Empty).await;
    assert_eq!(refused.element("Code").as_deref(), Some("BucketNotEmpty"));
    for id in [&marker, &id, "null"] {
        let path = format!("/bucket/k?versionId={id}");
        assert_eq!(region.ask("DELETE", &path, Body::Empty).await.status, 204);
    }
    assert_eq!(
        region.ask("DELETE", "/bucket", Body::Empty).await.status,
        204
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_becomes_one_object_of_its_parts() {
    let region = Region::start();
    region.bucket("bucket").await;
    let begun = region.ask("POST", "/bucket/k?uploads", Body::Empty).await;
    let id = begun.element("UploadId").unwrap();
    let first = vec![b'a'; 5 << 20];
    let mut list = String::new();
    for (number, bytes) in [(1, first.clone()), (2, b"tail".to_vec())] {
        let path = format!("/bucket/k?partNumber={number}&uploadId={id}");
        let part = region.ask("PUT", &path, bytes).await;
        let etag = part.header("etag").unwrap();
        list.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        ));
    }
    let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    let path = format!("/bucket/k?uploadId={id}");
    let done = region
        .ask("POST", &path, Bytes::from(document.clone()))
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(done.element("ETag").unwrap().contains("-2"));
    let again = region.ask("POST", &path, Bytes::from(document)).await;
    assert_eq!(again.status, 200, "who did not hear the answer asks again");
    let got = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(got.body.len(), first.len() + 4);
    assert!(got.body.ends_with(b"atail"));
    let range = [("range", "bytes=5242878-5242881")];
    let got = region.with("GET", "/bucket/k", &range, Body::Empty).await;
    assert_eq!(got.text(), "aata");
    let part = region
        .ask("GET", "/bucket/k?partNumber=2", Body::Empty)
        .await;
    assert_eq!((part.status, part.text().as_str()), (206, "tail"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_agrees_with_a_naive_one_page_by_page() {
    let region = Region::start();
    region.bucket("bucket").await;
    let keys = [
        "a", "a/b", "a/c/d", "a/c/e", "b", "b/", "b/x", "c", "d/e/f", "z\u{e9}",
    ];
    for key in keys {
        let path: String = key
            .bytes()
            .map(|b| {
                if b.is_ascii() {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect();
        let put = region
            .ask("PUT", &format!("/bucket/{path}"), Body::Empty)
            .await;
        assert_eq!(put.status, 200, "{key}");
    }
    for prefix in ["", "a", "a/", "b/", "q"] {
        for delimiter in ["", "/"] {
            let mut naive: Vec<String> = Vec::new();
            for key in keys.iter().filter(|k| k.starts_with(prefix)) {
                let at = key[prefix.len()..]
                    .find('/')
                    .filter(|_| !delimiter.is_empty());
                let shown = at
                    .map_or(*key, |at| &key[..prefix.len() + at + 1])
                    .to_owned();
                if naive.last() != Some(&shown) {
                    naive.push(shown);
                }
            }
            for size in [1, 2, 3, 1000] {
                let (mut seen, mut token) = (Vec::new(), String::new());
                loop {
                    let path = format!(
                        "/bucket?list-type=2&prefix={prefix}&delimiter={delimiter}&max-keys={size}{token}"
                    );
                    let page = region.ask("GET", &path, Body::Empty).await;
                    assert_eq!(page.status, 200, "{}", page.text());
                    let mut rows = page.elements("Key");
                    let folded = page.elements("CommonPrefixes");
                    rows.extend(folded.iter().map(|p| {
                        p.trim_start_matches("<Prefix>")
                            .trim_end_matches("</Prefix>")
                            .to_owned()
                    }));
                    rows.sort();
                    assert!(rows.len() <= size);
                    seen.extend(rows);
                    match page.element("NextContinuationToken") {
                        Some(next) => token = format!("&continuation-token={next}"),
                        None => break,
                    }
                }
                assert_eq!(
                    seen, naive,
                    "prefix {prefix:?} delimiter {delimiter:?} by {size}"
                );
            }
        }
    }
}
