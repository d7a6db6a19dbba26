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
    for method in ["GET", "DELETE"] {
        let tags = region.ask(method, "/bucket/k?tagging", Body::Empty).await;
        assert_eq!(tags.status, 405, "{}", tags.text());
        assert_eq!(tags.element("Method").as_deref(), Some(method));
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_read_s_conditions_are_tried_in_their_order() {
    let region = Region::start();
    region.bucket("bucket").await;
    let put = region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let etag = put.header("etag").unwrap();
    let (past, future) = (
        "Sat, 01 Jan 2000 00:00:00 GMT",
        "Fri, 01 Jan 2100 00:00:00 GMT",
    );
    let cases: [(&[(&str, &str)], u16); 10] = [
        (&[("if-match", etag)], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-match", "*")], 200),
        (&[("if-none-match", etag)], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-modified-since", past)], 200),
        (&[("if-unmodified-since", past)], 412),
        (&[("if-unmodified-since", future)], 200),
        (&[("if-match", etag), ("if-unmodified-since", past)], 200),
        (
            &[
                ("if-none-match", "\"other\""),
                ("if-modified-since", future),
            ],
            200,
        ),
    ];
    for (headers, status) in cases {
        for method in ["GET", "HEAD"] {
            let got = region.with(method, "/bucket/k", headers, Body::Empty).await;
            assert_eq!(got.status, status, "{method} {headers:?}");
            if status == 304 {
                assert_eq!(got.header("etag"), Some(etag));
                assert!(got.body.is_empty());
            }
            if status == 412 && method == "GET" {
                let wanted = ("PreconditionFailed", headers[0].0);
                assert_eq!(got.element("Code").as_deref(), Some(wanted.0));
                let condition = got.element("Condition").unwrap();
                assert!(condition.eq_ignore_ascii_case(wanted.1), "{condition}");
            }
        }
    }
    let matching = [("if-match", etag)];
    let replaced = region
        .with("PUT", "/bucket/k", &matching, Bytes::from("y"))
        .await;
    assert_eq!(replaced.status, 200);
    let late = region
        .with("PUT", "/bucket/k", &matching, Bytes::from("z"))
        .await;
    assert_eq!(late.status, 412);
    let nothing = region
        .with("PUT", "/bucket/none", &matching, Bytes::from("z"))
        .await;
    assert_eq!(nothing.element("Code").as_deref(), Some("NoSuchKey"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_deletes_what_it_may_and_says_what_it_may_not() {
    let region = Region::start();
    region.bucket("bucket").await;
    for key in ["a", "held/b", "c"] {
        let put = region
            .ask("PUT", &format!("/bucket/{key}"), Bytes::from("x"))
            .await;
        assert_eq!(put.status, 200);
    }
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000002"},
        "Action":"s3:DeleteObject","Resource":"arn:aws:s3:::bucket/*"},{"Effect":"Deny","Principal":"*",
        "Action":"s3:DeleteObject","Resource":"arn:aws:s3:::bucket/held/*"}]}"#;
    region.configure("/bucket?policy", policy).await;
    let document = "<Delete><Object><Key>a</Key></Object><Object><Key>held/b</Key></Object>\
        <Object><Key>never-was</Key></Object></Delete>";
    let batch = async |document: &str| {
        use base64::Engine;
        use md5::Digest;
        let sum = base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(document));
        let headers = [("content-md5", sum.as_str())];
        let other = Some("000000000002");
        region
            .ask_as(
                other,
                "POST",
                "/bucket?delete",
                &headers,
                Bytes::from(document.to_owned()),
            )
            .await
    };
    let answer = batch(document).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (deleted, errors) = (answer.elements("Deleted"), answer.elements("Error"));
    assert_eq!(
        deleted,
        ["<Key>a</Key>", "<Key>never-was</Key>"],
        "{}",
        answer.text()
    );
    assert_eq!(errors.len(), 1);
    for part in ["<Key>held/b</Key>", "<Code>AccessDenied</Code>"] {
        assert!(errors[0].contains(part), "{}", errors[0]);
    }
    let quiet = "<Delete><Quiet>true</Quiet><Object><Key>c</Key></Object><Object><Key>held/b</Key></Object></Delete>";
    let answer = batch(quiet).await;
    assert!(answer.elements("Deleted").is_empty());
    assert_eq!(answer.elements("Error").len(), 1);
    let listed = region.ask("GET", "/bucket", Body::Empty).await;
    assert_eq!(listed.elements("Key"), ["held/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_page_by_page_in_their_order() {
    let region = Region::start();
    region.bucket("bucket").await;
    region.ask("PUT", "/bucket/b", Bytes::from("null")).await;
    region.keep_versions("bucket").await;
    // Newest first within a key; the null version and markers have their places like others.
    let mut wanted: Vec<(String, String)> = Vec::new();
    for key in ["a", "b", "dir/c", "dir/d", "e"] {
        let mut of_key = Vec::new();
        for round in 0..3 {
            let path = format!("/bucket/{key}");
            let made = if round == 1 {
                region.ask("DELETE", &path, Body::Empty).await
            } else {
                region.ask("PUT", &path, Bytes::from("x")).await
            };
            let id = made.header("x-amz-version-id").unwrap().to_owned();
            of_key.insert(0, (key.to_owned(), id));
        }
        if key == "b" {
            of_key.push((key.to_owned(), "null".to_owned()));
        }
        wanted.extend(of_key);
    }
    for size in [1, 2, 3, 5, 1000] {
        let (mut seen, mut markers) = (Vec::new(), String::new());
        loop {
            let path = format!("/bucket?versions&max-keys={size}{markers}");
            let page = region.ask("GET", &path, Body::Empty).await;
            assert_eq!(page.status, 200, "{}", page.text());
            let mut rows: Vec<(String, String)> = page
                .elements("Key")
                .into_iter()
                .zip(page.elements("VersionId"))
                .collect();
            assert!(rows.len() <= size);
            // Versions and markers are listed apart.
            rows.sort_by_key(|row| wanted.iter().position(|w| w == row));
            seen.extend(rows);
            if page.element("IsTruncated").as_deref() != Some("true") {
                break;
            }
            let key = page.element("NextKeyMarker").unwrap();
            let id = page.element("NextVersionIdMarker").unwrap();
            markers = format!("&key-marker={key}&version-id-marker={id}");
        }
        assert_eq!(seen, wanted, "by {size}");
    }
    let mut shown = Vec::new();
    let mut markers = String::new();
    loop {
        let path = format!("/bucket?versions&delimiter=/&max-keys=2&prefix={markers}");
        let page = region.ask("GET", &path, Body::Empty).await;
        shown.extend(page.elements("Key"));
        shown.extend(page.elements("CommonPrefixes"));
        if page.element("IsTruncated").as_deref() != Some("true") {
            break;
        }
        let key = page.element("NextKeyMarker").unwrap();
        markers = format!("&key-marker={key}");
        if let Some(id) = page.element("NextVersionIdMarker") {
            markers.push_str(&format!("&version-id-marker={id}"));
        }
    }
    let folder = "<Prefix>dir/</Prefix>";
    assert_eq!(
        shown,
        ["a", "a", "a", "b", "b", "b", "b", folder, "e", "e", "e"]
    );
    let alone = region
        .ask("GET", "/bucket?versions&version-id-marker=x", Body::Empty)
        .await;
    assert_eq!(alone.element("Code").as_deref(), Some("InvalidArgument"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_copied_and_read_while_it_is_replaced() {
    let region = std::sync::Arc::new(Region::start());
    region.bucket("bucket").await;
    let content = |i: u8| vec![i; 100_000];
    region.ask("PUT", "/bucket/k", content(0)).await;
    let writer = region.clone();
    let writing = tokio::spawn(async move {
        for i in 0..200 {
            let put = writer.ask("PUT", "/bucket/k", content(i)).await;
            assert_eq!(put.status, 200);
        }
    });
    let mut rounds = 0;
    while !writing.is_finished() || rounds < 10 {
        let source = [("x-amz-copy-source", "/bucket/k")];
        let copied = region
            .with("PUT", "/bucket/copy", &source, Body::Empty)
            .await;
        assert_eq!(copied.status, 200, "{}", copied.text());
        for path in ["/bucket/copy", "/bucket/k"] {
            let got = region.ask("GET", path, Body::Empty).await;
            assert_eq!((got.status, got.body.len()), (200, 100_000));
            assert!(got.body.iter().all(|b| *b == got.body[0]));
        }
        rounds += 1;
    }
    writing.await.unwrap();
}
