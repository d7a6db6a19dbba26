//! Buckets over the wire: who may, what is told, what is configured.
#![allow(clippy::unwrap_used)]

mod region;

use bytes::Bytes;
use region::Region;
use wire::Body;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_the_target_that_its_filter_names() {
    let region = Region::start();
    region.bucket("bucket").await;
    let document = "<NotificationConfiguration><CloudFunctionConfiguration><Id>it</Id>\
        <CloudFunction>arn:aws:lambda:us-east-1:000000000000:function:f</CloudFunction>\
        <Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>raw/</Value></FilterRule>\
        </S3Key></Filter></CloudFunctionConfiguration></NotificationConfiguration>";
    let put = region
        .ask("PUT", "/bucket?notification", Bytes::from(document))
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    region.ask("PUT", "/bucket/other", Bytes::from("1")).await;
    region
        .ask("PUT", "/bucket/raw/a+b", Bytes::from("12"))
        .await;
    let event = region.events.lock().await.recv().await.unwrap();
    let payload: serde_json::Value = serde_json::from_str(&event.payload).unwrap();
    let record = &payload["Records"][0];
    assert_eq!(record["eventName"], "ObjectCreated:Put");
    assert_eq!(record["eventVersion"], "2.1");
    assert_eq!(record["s3"]["configurationId"], "it");
    assert_eq!(record["s3"]["object"]["key"], "raw/a%2Bb");
    assert_eq!(record["s3"]["object"]["size"], 2);
    assert_eq!(event.source.arn, "arn:aws:s3:::bucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_needs_a_policy() {
    let region = Region::start();
    region.bucket("bucket").await;
    region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let other = Some("000000000002");
    let refused = region
        .ask_as(other, "GET", "/bucket/k", &[], Body::Empty)
        .await;
    assert_eq!(refused.element("Code").as_deref(), Some("AccessDenied"));
    let anonymous = region
        .ask_as(None, "GET", "/bucket/k", &[], Body::Empty)
        .await;
    assert_eq!(anonymous.status, 403);
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000002"},
        "Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}]}"#;
    let put = region
        .ask("PUT", "/bucket?policy", Bytes::from(policy))
        .await;
    assert_eq!(put.status, 204, "{}", put.text());
    let allowed = region
        .ask_as(other, "GET", "/bucket/k", &[], Body::Empty)
        .await;
    assert_eq!(allowed.text(), "x");
    let anonymous = region
        .ask_as(None, "GET", "/bucket/k", &[], Body::Empty)
        .await;
    assert_eq!(anonymous.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_lists_of_a_new_object_need_their_permissions() {
    let region = Region::start();
    region.bucket("bucket").await;
    let ownership = "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>";
    region
        .configure("/bucket?ownershipControls", ownership)
        .await;
    let allow = async |actions: &str| {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"000000000002"}},
            "Action":[{actions}],"Resource":"arn:aws:s3:::bucket/*"}}]}}"#
        );
        region.configure("/bucket?policy", &policy).await;
    };
    let list = region.ask("GET", "/bucket?acl", Body::Empty).await;
    let owner = format!("id={}", list.element("ID").expect("the owner's id"));
    let put = async |name: &str, value: &str| {
        let headers = [(name, value)];
        let body = Bytes::from("x");
        let put = region
            .ask_as(Some("000000000002"), "PUT", "/bucket/k", &headers, body)
            .await;
        (put.status, put.element("Code"))
    };
    let denied = (403, Some("AccessDenied".to_owned()));
    allow(r#""s3:PutObject""#).await;
    assert_eq!(put("x-amz-acl", "bucket-owner-full-control").await.0, 200);
    assert_eq!(put("x-amz-tagging", "").await.0, 200);
    assert_eq!(put("x-amz-tagging", "a=b").await, denied);
    assert_eq!(put("x-amz-acl", "authenticated-read").await, denied);
    let everyone = "uri=http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
    assert_eq!(put("x-amz-grant-read", everyone).await, denied);
    assert_eq!(put("x-amz-grant-full-control", &owner).await.0, 200);
    allow(r#""s3:PutObject","s3:PutObjectTagging""#).await;
    assert_eq!(put("x-amz-tagging", "a=b").await.0, 200);
    assert_eq!(put("x-amz-acl", "authenticated-read").await, denied);
    allow(r#""s3:PutObject","s3:PutObjectAcl""#).await;
    assert_eq!(put("x-amz-tagging", "a=b").await, denied);
    assert_eq!(put("x-amz-acl", "aws-exec-read").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_buckets_know_no_lists() {
    let region = Region::start();
    region.bucket("bucket").await;
    let shown = region
        .ask("GET", "/bucket?ownershipControls", Body::Empty)
        .await;
    assert!(shown.text().contains("BucketOwnerEnforced"));
    let acl = [("x-amz-acl", "public-read")];
    let refused = region.with("PUT", "/bucket?acl", &acl, Body::Empty).await;
    assert_eq!(
        refused.element("Code").as_deref(),
        Some("AccessControlListNotSupported")
    );
    let acl = [("x-amz-acl", "private")];
    for path in ["/bucket?acl", "/bucket/k"] {
        let refused = region.with("PUT", path, &acl, Body::Empty).await;
        let code = refused.element("Code");
        assert_eq!(code.as_deref(), Some("AccessControlListNotSupported"));
    }
    let acl = [("x-amz-acl", "bucket-owner-full-control")];
    let put = region.with("PUT", "/bucket/k", &acl, Body::Empty).await;
    assert_eq!(put.status, 200, "{}", put.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifecycle_rule_expires_by_the_region_s_clock() {
    let region = Region::start();
    region.bucket("bucket").await;
    region.ask("PUT", "/bucket/tmp/a", Bytes::from("x")).await;
    region.ask("PUT", "/bucket/keep", Bytes::from("x")).await;
    let document = "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>tmp/</Prefix></Filter>\
        <Expiration><Days>2</Days></Expiration></Rule></LifecycleConfiguration>";
    let put = region
        .ask("PUT", "/bucket?lifecycle", Bytes::from(document))
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let head = region.ask("HEAD", "/bucket/tmp/a", Body::Empty).await;
    assert!(
        head.header("x-amz-expiration")
            .unwrap()
            .contains("rule-id=\"r\"")
    );
    let later = region.cloud.clock.now().plus_secs(4 * 86_400);
    region
        .cloud
        .scheduler
        .advance_to(later)
        .await
        .unwrap_or_else(|f| panic!("{f}"));
    let listed = region.ask("GET", "/bucket", Body::Empty).await;
    assert_eq!(listed.elements("Key"), ["keep"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_reached_by_its_host_name() {
    let region = Region::start();
    region.bucket("bucket").await;
    region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let host = [("host", "bucket.s3.localhost.localstack.cloud:4566")];
    let got = region.with("GET", "/k", &host, Body::Empty).await;
    assert_eq!(got.text(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_unwrapped_and_its_trailer_compared() {
    let region = Region::start();
    region.bucket("bucket").await;
    let headers = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", "9"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("content-encoding", "aws-chunked"),
    ];
    let framed = |sum: &str| {
        Bytes::from(format!(
            "5\r\n12345\r\n4\r\n6789\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n"
        ))
    };
    let wrong = region
        .with("PUT", "/bucket/k", &headers, framed("AAAAAA=="))
        .await;
    assert_eq!(wrong.element("Code").as_deref(), Some("BadDigest"));
    let right = region
        .with("PUT", "/bucket/k", &headers, framed("y/Q5Jg=="))
        .await;
    assert_eq!(right.status, 200, "{}", right.text());
    assert_eq!(right.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let got = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(got.text(), "123456789");
    assert_eq!(got.header("content-encoding"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_in_a_query_are_refused_by_their_names() {
    let region = Region::start();
    region.bucket("bucket").await;
    for (path, name, message) in [
        (
            "/bucket?max-keys=abc",
            "max-keys",
            "Provided max-keys not an integer or within integer range",
        ),
        (
            "/bucket?list-type=2&max-keys=99999999999",
            "max-keys",
            "Provided max-keys not an integer or within integer range",
        ),
        (
            "/bucket/k?uploadId=u&part-number-marker=-1",
            "part-number-marker",
            "Argument part-number-marker must be an integer between 0 and 2147483647",
        ),
        (
            "/bucket/k?partNumber=one",
            "partNumber",
            "Part number must be an integer between 1 and 10000, inclusive",
        ),
        (
            "/bucket?list-type=2&continuation-token=",
            "continuation-token",
            "The continuation token provided is incorrect",
        ),
    ] {
        let refused = region.ask("GET", path, Body::Empty).await;
        assert_eq!(refused.element("Code").as_deref(), Some("InvalidArgument"));
        assert_eq!(refused.element("Message").as_deref(), Some(message));
        assert_eq!(refused.element("ArgumentName").as_deref(), Some(name));
    }
}
