//! What S3 refuses, in the words and the order in which AWS was seen to.
#![allow(clippy::unwrap_used)]

mod region;

use bytes::Bytes;
use region::{Answer, Region};
use wire::Body;

/// Name and value of the argument that is wrong.
fn argument(answer: &Answer) -> (String, String) {
    let element = |name| answer.element(name).unwrap_or_default();
    (element("ArgumentName"), element("ArgumentValue"))
}

fn acl(owner: &str, grantee: &str, permission: &str) -> Bytes {
    Bytes::from(format!(
        "<AccessControlPolicy>{owner}<AccessControlList><Grant>{grantee}<Permission>{permission}</Permission></Grant>\
         </AccessControlList></AccessControlPolicy>"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_wrong_is_told_before_that_there_are_none() {
    let region = Region::with_bucket().await;
    let buckets = region.ask("GET", "/", Body::Empty).await;
    let own = buckets.element("ID").unwrap();
    let owner = format!("<Owner><ID>{own}</ID></Owner>");
    let grantee = |kind: &str, inner: &str| {
        format!(
            "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"{kind}\">{inner}</Grantee>"
        )
    };
    let logs = "<URI>http://acs.amazonaws.com/groups/s3/LogDelivery</URI>";
    let group = grantee("Group", logs);
    for (document, expected) in [
        (acl("", &group, "WRITE"), "MalformedACLError"),
        (acl(&owner, &group, "WRONG"), "MalformedACLError"),
        (
            acl(&owner, &grantee("Nobody", logs), "READ"),
            "MalformedACLError",
        ),
        (Bytes::from("<AccessControlPolicy/>"), "MalformedACLError"),
        (acl(&owner, &group, "READ"), "AccessControlListNotSupported"),
    ] {
        let refused = region.ask("PUT", "/bucket?acl", document.clone()).await;
        assert_eq!(refused.code(), expected, "{document:?}");
    }
    let nobody = "<Owner><ID>wrong-id</ID></Owner>";
    let refused = region
        .ask("PUT", "/bucket?acl", acl(nobody, &group, "READ"))
        .await;
    assert_eq!(
        argument(&refused),
        ("CanonicalUser/ID".into(), "wrong-id".into())
    );
    for (header, value, name, shown) in [
        ("x-amz-acl", "fake-acl", "x-amz-acl", "fake-acl"),
        ("x-amz-grant-write", "uri=\"http://x\"", "uri", "http://x"),
        ("x-amz-grant-write", "id=\"wrong-id\"", "id", "wrong-id"),
        (
            "x-amz-grant-write",
            "fakekey=\"1\"",
            "x-amz-grant-write",
            "fakekey=\"1\"",
        ),
    ] {
        let headers = [(header, value)];
        let refused = region
            .with("PUT", "/bucket?acl", &headers, Body::Empty)
            .await;
        assert_eq!(refused.code(), "InvalidArgument");
        let shown = shown.replace('"', "&quot;");
        assert_eq!(argument(&refused), (name.into(), shown), "{value}");
    }
    let headers = [("x-amz-acl", "fake-acl")];
    let refused = region
        .with("PUT", "/bucket/k", &headers, Bytes::from("x"))
        .await;
    assert_eq!(refused.code(), "InvalidArgument");
    // There is nothing to say of it.
    assert!(
        refused.text().contains("<Message></Message>"),
        "{}",
        refused.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_goes_before_what_is_wrong_with_a_document() {
    let region = Region::with_bucket().await;
    for path in ["/nowhere?encryption", "/nowhere?lifecycle", "/nowhere?acl"] {
        let refused = region.ask("PUT", path, Bytes::from("<What/>")).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (404, "NoSuchBucket")
        );
        assert_eq!(
            refused.header("x-amz-request-id"),
            refused.element("RequestId").as_deref()
        );
    }
    let refused = region
        .ask("PUT", "/bucket?encryption", Bytes::from("<What/>"))
        .await;
    assert_eq!(refused.code(), "MalformedXML");
    let refused = region.ask("PUT", "/new-bucket", Bytes::from("<What")).await;
    assert_eq!(refused.code(), "MalformedXML");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_is_wrong_is_shown_beside_the_right_one() {
    let region = Region::with_bucket().await;
    let put = async |path: &str, digest: &str| {
        let headers = [("content-md5", digest)];
        region.with("PUT", path, &headers, Bytes::from("x")).await
    };
    let refused = put("/bucket/k", "000").await;
    assert_eq!(refused.code(), "InvalidDigest");
    assert_eq!(refused.element("Content-MD5").as_deref(), Some("000"));
    // Of `y`.
    let other = "QVKQdpWURg4uSFkikE80XQ==";
    let refused = put("/bucket/k", other).await;
    assert_eq!(refused.code(), "BadDigest");
    let begun = region.ask("POST", "/bucket/k?uploads", Body::Empty).await;
    let id = begun.element("UploadId").unwrap();
    let of_part = put(&format!("/bucket/k?partNumber=1&uploadId={id}"), other).await;
    let digests = |answer: &Answer| {
        ["ExpectedDigest", "CalculatedDigest"].map(|name| answer.element(name).unwrap_or_default())
    };
    // The body of an object shows it in another notation than that of a part.
    assert_eq!(
        digests(&refused),
        [
            "415290769594460e2e485922904f345d",
            "ndTkYSaMgDT1yFZOFVxnpg=="
        ]
    );
    assert_eq!(digests(&of_part)[0], other);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_completed_as_it_began() {
    let region = Region::with_bucket().await;
    let begin = async |headers: &[(&str, &str)]| {
        let begun = region
            .with("POST", "/bucket/k?uploads", headers, Body::Empty)
            .await;
        let id = begun.element("UploadId").unwrap();
        let path = format!("/bucket/k?partNumber=1&uploadId={id}");
        let part = region.ask("PUT", &path, Bytes::from("test")).await;
        let etag = part.header("etag").unwrap().to_owned();
        (format!("/bucket/k?uploadId={id}"), etag)
    };
    let document = |etag: &str, sum: &str| {
        format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>{sum}</Part></CompleteMultipartUpload>"
        )
    };
    let sha256 = "<ChecksumSHA256>n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=</ChecksumSHA256>";
    let (path, etag) = begin(&[]).await;
    let refused = region.ask("POST", &path, Body::Empty).await;
    assert_eq!(refused.code(), "InvalidRequest");
    let refused = region.ask("POST", &path, document(&etag, sha256)).await;
    assert_eq!(refused.code(), "InvalidPart");
    let headers = [("x-amz-checksum-type", "FULL_OBJECT")];
    let refused = region
        .with("POST", &path, &headers, document(&etag, ""))
        .await;
    let message = refused.element("Message").unwrap();
    assert!(
        message.contains("created using the null checksum mode"),
        "{message}"
    );

    let crc32 = ("x-amz-checksum-algorithm", "CRC32");
    let (path, etag) = begin(&[crc32]).await;
    let refused = region.ask("POST", &path, document(&etag, sha256)).await;
    let message = refused.element("Message").unwrap();
    assert_eq!(refused.code(), "BadDigest");
    assert!(
        message.starts_with("The sha256 you specified for part 1"),
        "{message}"
    );

    // CRC-32 of `test`; without its type it counts as a composite one.
    let right = ("x-amz-checksum-crc32", "2H9+DA==");
    let full = ("x-amz-checksum-type", "FULL_OBJECT");
    let (path, etag) = begin(&[crc32, full]).await;
    let refused = region
        .with("POST", &path, &[right], document(&etag, ""))
        .await;
    assert_eq!(refused.code(), "BadDigest");
    let done = region
        .with("POST", &path, &[right, full], document(&etag, ""))
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
    let headers = [("x-amz-object-attributes", "ObjectParts")];
    let shown = region
        .with("GET", "/bucket/k?attributes", &headers, Body::Empty)
        .await;
    assert_eq!(shown.element("PartsCount").as_deref(), Some("1"));
    assert_eq!(shown.element("Part"), None, "{}", shown.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_s_key_excludes_others_and_must_be_the_right_one_to_read() {
    let region = Region::with_bucket().await;
    let headers = [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-algorithm", "KMS"),
    ];
    let refused = region
        .with("PUT", "/bucket/k", &headers, Bytes::from("x"))
        .await;
    assert_eq!(refused.code(), "InvalidArgument");
    assert_eq!(argument(&refused).1, "AES256");
    region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let short = [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "c2hvcnQ="),
        (
            "x-amz-server-side-encryption-customer-key-md5",
            "T59Y4RDqb1MP6p6QX0QoBg==",
        ),
    ];
    let read = region.with("GET", "/bucket/k", &short, Body::Empty).await;
    assert_eq!((read.status, read.code().as_str()), (403, "AccessDenied"));
    let write = region
        .with("PUT", "/bucket/k", &short, Bytes::from("x"))
        .await;
    assert_eq!(write.code(), "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_that_is_over_is_shown_in_seattle_s_time() {
    let region = Region::start();
    let headers = [("x-amz-bucket-object-lock-enabled", "true")];
    region.with("PUT", "/locked", &headers, Body::Empty).await;
    region.ask("PUT", "/locked/k", Bytes::from("x")).await;
    let document = "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2020-01-01T00:00:00Z</RetainUntilDate></Retention>";
    let refused = region
        .ask("PUT", "/locked/k?retention", Bytes::from(document))
        .await;
    assert_eq!(
        argument(&refused),
        (
            "RetainUntilDate".into(),
            "Tue Dec 31 16:00:00 PST 2019".into()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_a_bucket_and_is_no_form_fails_a_condition() {
    let region = Region::with_bucket().await;
    let headers = [("content-type", "text/html")];
    let refused = region
        .with("POST", "/bucket", &headers, Bytes::from("x"))
        .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (412, "PreconditionFailed")
    );
    assert_eq!(
        refused.element("Condition").as_deref(),
        Some("Bucket POST must be of the enclosure-type multipart/form-data")
    );
}
