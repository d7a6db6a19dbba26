//! What AWS was seen to answer, over the wire: conditions of uploads, version ids, tags, what new buckets block.
#![allow(clippy::unwrap_used)]

mod region;

use bytes::Bytes;
use region::Region;
use wire::Body;

/// Begins an upload of `/bucket/k` and sends its one part; the id, and the document that completes it.
async fn begin(region: &Region, headers: &[(&str, &str)]) -> (String, String) {
    let begun = region.ask("POST", "/bucket/k?uploads", Body::Empty).await;
    let id = begun.element("UploadId").unwrap();
    let path = format!("/bucket/k?partNumber=1&uploadId={id}");
    let part = region
        .with("PUT", &path, headers, Bytes::from("test"))
        .await;
    let etag = part.header("etag").unwrap().to_owned();
    let list = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
    (
        format!("/bucket/k?uploadId={id}"),
        format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_with_a_condition_is_refused_once_its_key_was_written_or_deleted() {
    let region = Region::with_bucket().await;
    let first = region.ask("PUT", "/bucket/k", Bytes::from("one")).await;
    let old = first.header("etag").unwrap().to_owned();
    let (path, document) = begin(&region, &[]).await;
    // The record of a write has milliseconds: the next one is later.
    let later = region.cloud.clock.now().plus_secs(1);
    region.cloud.scheduler.advance_to(later).await.unwrap();
    let second = region.ask("PUT", "/bucket/k", Bytes::from("two")).await;
    let new = second.header("etag").unwrap().to_owned();
    let complete = |header: &'static str, value: String| {
        let (region, path, document) = (&region, path.clone(), document.clone());
        async move {
            let headers = [(header, value.as_str())];
            region.with("POST", &path, &headers, document).await
        }
    };
    assert_eq!(complete("if-match", old).await.code(), "PreconditionFailed");
    let conflict = complete("if-match", new).await;
    assert_eq!(conflict.code(), "ConditionalRequestConflict");
    assert_eq!(conflict.status, 409);
    assert_eq!(conflict.element("Condition").as_deref(), Some("If-Match"));
    assert_eq!(
        region.ask("DELETE", "/bucket/k", Body::Empty).await.status,
        204
    );
    let gone = complete("if-none-match", "*".into()).await;
    assert_eq!(gone.code(), "ConditionalRequestConflict");
    let unconditional = region.ask("POST", &path, document.clone()).await;
    assert_eq!(unconditional.status, 200, "{}", unconditional.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_s_checksum_is_of_its_own_kind_whatever_its_parts_came_with() {
    let region = Region::with_bucket().await;
    // CRC-32 of `test`.
    let (path, document) = begin(&region, &[("x-amz-checksum-crc32", "2H9+DA==")]).await;
    let done = region.ask("POST", &path, document).await;
    assert_eq!(
        done.element("ChecksumCRC64NVME").as_deref(),
        Some("+bu+zv66sUM=")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_that_mean_nothing_are_not_implemented() {
    let region = Region::with_bucket().await;
    for (headers, named) in [
        (vec![("if-none-match", "\"abc\"")], "If-None-Match"),
        (vec![("if-match", "*")], "If-Match"),
        (
            vec![("if-match", "\"abc\""), ("if-none-match", "*")],
            "If-Match,If-None-Match",
        ),
    ] {
        let put = region
            .with("PUT", "/bucket/k", &headers, Bytes::from("x"))
            .await;
        assert_eq!((put.status, put.code().as_str()), (501, "NotImplemented"));
        assert_eq!(put.element("Header").as_deref(), Some(named));
        assert!(put.element("additionalMessage").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_id_that_was_never_given_out_is_invalid_and_a_deleted_one_is_not() {
    let region = Region::with_bucket().await;
    region.keep_versions("bucket").await;
    let put = region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let id = put.header("x-amz-version-id").unwrap().to_owned();
    let path = |id: &str| format!("/bucket/k?versionId={id}");
    for method in ["GET", "DELETE"] {
        let strange = path("HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD");
        let refused = region.ask(method, &strange, Body::Empty).await;
        assert_eq!(refused.code(), "InvalidArgument", "{method}");
    }
    for _ in 0..2 {
        let deleted = region.ask("DELETE", &path(&id), Body::Empty).await;
        assert_eq!(deleted.status, 204, "{}", deleted.text());
    }
    let gone = region.ask("GET", &path(&id), Body::Empty).await;
    assert_eq!(gone.code(), "NoSuchVersion");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_over_everything_shows_the_checksum() {
    let region = Region::with_bucket().await;
    region.ask("PUT", "/bucket/k", Bytes::from("test")).await;
    for (range, shows) in [
        ("bytes=0-100", true),
        ("bytes=-15", true),
        ("bytes=0-1", false),
    ] {
        let headers = [("range", range), ("x-amz-checksum-mode", "ENABLED")];
        let got = region.with("GET", "/bucket/k", &headers, Body::Empty).await;
        assert_eq!(got.status, 206);
        assert_eq!(
            got.header("x-amz-checksum-crc64nvme").is_some(),
            shows,
            "{range}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_spelled_in_letters_digits_and_few_signs() {
    let region = Region::with_bucket().await;
    region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let put = |path: &'static str, key: &str, value: &str| {
        let document = format!(
            "<Tagging><TagSet><Tag><Key>{key}</Key><Value>{value}</Value></Tag></TagSet></Tagging>"
        );
        let region = &region;
        async move { region.ask("PUT", path, document).await }
    };
    let fine = put("/bucket?tagging", "tâg 1", "a:b/c+d-e@f").await;
    assert_eq!(fine.status, 204, "{}", fine.text());
    for path in ["/bucket?tagging", "/bucket/k?tagging"] {
        let key = put(path, "a,b", "v").await;
        assert_eq!(
            key.element("Message").as_deref(),
            Some("The TagKey you have provided is invalid")
        );
        let value = put(path, "a", "v,w").await;
        assert_eq!(value.element("TagValue").as_deref(), Some("v,w"));
    }
    let own = put("/bucket/k?tagging", "aws:x", "v").await;
    assert_eq!(
        own.element("Message").as_deref(),
        Some("Your TagKey cannot be prefixed with aws:")
    );
    let none = region
        .ask("PUT", "/bucket?tagging", "<Tagging></Tagging>".to_owned())
        .await;
    assert_eq!(none.status, 204, "{}", none.text());
    let shown = region.ask("GET", "/bucket?tagging", Body::Empty).await;
    assert_eq!(shown.code(), "NoSuchTagSet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bucket_blocks_what_is_public() {
    let region = Region::with_bucket().await;
    let block = region
        .ask("GET", "/bucket?publicAccessBlock", Body::Empty)
        .await;
    assert_eq!(block.element("BlockPublicPolicy").as_deref(), Some("true"));
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
        "Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}]}"#;
    let refused = region.ask("PUT", "/bucket?policy", policy.to_owned()).await;
    assert_eq!(refused.code(), "AccessDenied");
    let removed = region
        .ask("DELETE", "/bucket?publicAccessBlock", Body::Empty)
        .await;
    assert_eq!(removed.status, 204);
    region.configure("/bucket?policy", policy).await;
    let none = region.ask("PUT", "/bucket?policy", "{}".to_owned()).await;
    assert_eq!(
        none.element("Message").as_deref(),
        Some("Missing required field Statement")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_without_a_checksum_of_its_own_shows_none() {
    let region = Region::with_bucket().await;
    let parts = [vec![b'a'; 5 << 20], b"test content".to_vec()];
    region.upload("/bucket/plain", &[], &parts).await;
    let mode = [("x-amz-checksum-mode", "ENABLED")];
    let whole = region
        .with("HEAD", "/bucket/plain", &mode, Body::Empty)
        .await;
    assert!(whole.header("x-amz-checksum-crc64nvme").is_some());
    let part = region
        .with("GET", "/bucket/plain?partNumber=2", &mode, Body::Empty)
        .await;
    assert_eq!(part.text(), "test content");
    assert_eq!(part.header("x-amz-checksum-crc64nvme"), None);
    assert_eq!(part.header("x-amz-checksum-type"), None);
    let wanted = [("x-amz-object-attributes", "ObjectParts")];
    let attributes = region
        .with("GET", "/bucket/plain?attributes", &wanted, Body::Empty)
        .await;
    assert_eq!(attributes.element("PartsCount").as_deref(), Some("2"));
    assert_eq!(attributes.element("MaxParts"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_as_it_was_recorded() {
    let region = Region::with_bucket().await;
    region.ask("PUT", "/bucket/a%20k", Bytes::from("x")).await;
    let owner = [("x-amz-expected-bucket-owner", "0000")];
    let refused = region.with("GET", "/bucket", &owner, Body::Empty).await;
    assert_eq!(refused.code(), "InvalidBucketOwnerAWSAccountID");
    let outposts = [("x-amz-storage-class", "OUTPOSTS")];
    let refused = region
        .with("PUT", "/bucket/k", &outposts, Body::Empty)
        .await;
    assert_eq!(refused.code(), "InvalidStorageClass");
    let encoded = [("x-amz-copy-source", "bucket%2Fa+k")];
    let copied = region.with("PUT", "/bucket/c", &encoded, Body::Empty).await;
    assert_eq!(copied.status, 200, "{}", copied.text());
    let wrong = [("x-amz-copy-source", "wrongformat")];
    let refused = region.with("PUT", "/bucket/c", &wrong, Body::Empty).await;
    let message = Some("Invalid copy source object key");
    assert_eq!(refused.element("Message").as_deref(), message);
    let later = [("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")];
    let read = region.with("GET", "/bucket/c", &later, Body::Empty).await;
    assert_eq!(read.text(), "x", "a date to come says nothing");
    let (path, _) = begin(&region, &[]).await;
    let refused = region
        .ask("POST", &path, Bytes::from("<CompleteMultipartUpload/>"))
        .await;
    assert_eq!(refused.code(), "MalformedXML");
    let refused = region.ask("POST", &path, Body::Empty).await;
    assert_eq!(refused.code(), "InvalidRequest");
    let message = Some("You must specify at least one part");
    assert_eq!(refused.element("Message").as_deref(), message);
    let tag = "<Tag><Key>a</Key><Value>1</Value></Tag>";
    let rule = format!(
        "<LifecycleConfiguration><Rule><ID>r_1</ID><Status>Enabled</Status><Filter><And>{tag}{tag}</And></Filter>\
         <Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>"
    );
    let refused = region.ask("PUT", "/bucket?lifecycle", rule).await;
    let message = Some("Duplicate Tag Keys are not allowed.");
    assert_eq!(refused.element("Message").as_deref(), message);
    let rule = "<LifecycleConfiguration><Rule><ID>r_1</ID><Status>Enabled</Status><Filter/>\
         <Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
    region.configure("/bucket?lifecycle", rule).await;
    let put = region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let expiration = put.header("x-amz-expiration").unwrap();
    assert!(expiration.ends_with("rule-id=\"r_1\""), "{expiration}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_as_they_have_been_since_2025() {
    let region = Region::with_bucket().await;
    region.ask("PUT", "/bucket/f/a/1", Bytes::from("x")).await;
    region.ask("PUT", "/bucket/f/a/2", Bytes::from("x")).await;
    region.ask("PUT", "/bucket/f/b", Bytes::from("x")).await;
    let buckets = region.ask("GET", "/", Body::Empty).await;
    let arn = Some("arn:aws:s3:::bucket");
    assert_eq!(buckets.element("BucketArn").as_deref(), arn);
    let listed = region
        .ask(
            "GET",
            "/bucket?prefix=f/&delimiter=/&marker=f/a/1",
            Body::Empty,
        )
        .await;
    assert_eq!(listed.elements("Key"), ["f/b"]);
    assert_eq!(listed.element("DisplayName"), None);
    assert!(listed.element("LastModified").unwrap().ends_with(".000Z"));
    let refused = region
        .ask("GET", "/?bucket-region=eu-east-1", Body::Empty)
        .await;
    let message = Some("Argument value eu-east-1 is not a valid AWS Region");
    assert_eq!(refused.element("Message").as_deref(), message);
    let refused = region
        .ask("GET", "/bucket?encoding-type=", Body::Empty)
        .await;
    let message = Some("Invalid Encoding Method specified in Request");
    assert_eq!(refused.element("Message").as_deref(), message);
    begin(&region, &[]).await;
    let uploads = region.ask("GET", "/bucket?uploads", Body::Empty).await;
    assert_eq!(uploads.element("NextKeyMarker").as_deref(), Some("k"));
    assert_eq!(uploads.element("Prefix"), None);
    let refused = region
        .ask(
            "GET",
            "/bucket?uploads&key-marker=k&upload-id-marker=x",
            Body::Empty,
        )
        .await;
    let message = Some("Invalid uploadId marker");
    assert_eq!(refused.element("Message").as_deref(), message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_stays_in_its_bucket_s_region() {
    let region = Region::with_bucket().await;
    let west = "<CreateBucketConfiguration><LocationConstraint>us-west-2</LocationConstraint></CreateBucketConfiguration>";
    region.configure("/western", west).await;
    let log = |target: &str| {
        Bytes::from(format!(
            "<BucketLoggingStatus><LoggingEnabled><TargetBucket>{target}</TargetBucket><TargetPrefix/></LoggingEnabled>\
             </BucketLoggingStatus>"
        ))
    };
    let refused = region.ask("PUT", "/bucket?logging", log("western")).await;
    assert_eq!(refused.code(), "CrossLocationLoggingProhibitted");
    assert_eq!(refused.element("SourceBucketLocation"), None);
    let target = refused.element("TargetBucketLocation");
    assert_eq!(target.as_deref(), Some("us-west-2"));
    let refused = region.ask("PUT", "/western?logging", log("bucket")).await;
    let source = refused.element("SourceBucketLocation");
    assert_eq!(source.as_deref(), Some("us-west-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_marker_has_no_list() {
    let region = Region::with_bucket().await;
    region.keep_versions("bucket").await;
    region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let gone = region.ask("DELETE", "/bucket/k", Body::Empty).await;
    let id = gone.header("x-amz-version-id").unwrap().to_owned();
    let acl = [("x-amz-acl", "bucket-owner-full-control")];
    for path in [
        "/bucket/k?acl".to_owned(),
        format!("/bucket/k?acl&versionId={id}"),
    ] {
        let refused = region.with("PUT", &path, &acl, Body::Empty).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (405, "MethodNotAllowed")
        );
        assert_eq!(refused.element("Method").as_deref(), Some("PUT"));
        assert_eq!(
            refused.element("ResourceType").as_deref(),
            Some("DeleteMarker")
        );
    }
    let read = region.ask("GET", "/bucket/k?acl", Body::Empty).await;
    assert_eq!(read.code(), "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_of_the_id_that_is_asked_for() {
    let region = Region::with_bucket().await;
    let inventory = |id: &str, target: &str| {
        Bytes::from(format!(
            "<InventoryConfiguration><Destination><S3BucketDestination><Bucket>{target}</Bucket><Format>CSV</Format>\
             </S3BucketDestination></Destination><IsEnabled>true</IsEnabled><Id>{id}</Id>\
             <IncludedObjectVersions>All</IncludedObjectVersions><Schedule><Frequency>Daily</Frequency></Schedule>\
             </InventoryConfiguration>"
        ))
    };
    let path = "/bucket?inventory&id=a";
    let arn = "arn:aws:s3:::bucket";
    let put = region.ask("PUT", path, inventory("a", arn)).await;
    assert_eq!(put.status, 204, "{}", put.text());
    let refused = region.ask("PUT", path, inventory("b", arn)).await;
    assert_eq!(refused.code(), "IdMismatch");
    let refused = region.ask("PUT", path, inventory("a", "bucket")).await;
    assert_eq!(refused.code(), "InvalidS3DestinationBucket");
    let analytics =
        "<AnalyticsConfiguration><Id>b</Id><StorageClassAnalysis/></AnalyticsConfiguration>";
    let path = "/bucket?analytics&id=a";
    let refused = region.ask("PUT", path, Bytes::from(analytics)).await;
    assert_eq!(refused.code(), "MalformedXML");
}

/// A client of Java takes a list's bucket and owner from what comes before its elements.
#[tokio::test(flavor = "multi_thread")]
async fn what_lists_are_of_comes_before_what_they_list() {
    let region = Region::with_bucket().await;
    region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    for (path, first, then) in [
        ("/", "<Owner>", "<Buckets>"),
        ("/bucket", "<Name>", "<Contents>"),
        ("/bucket", "<IsTruncated>", "<Contents>"),
        ("/bucket?list-type=2", "<Name>", "<Contents>"),
        ("/bucket?list-type=2", "<KeyCount>", "<Contents>"),
        ("/bucket?versions", "<Name>", "<Version>"),
    ] {
        let text = region.ask("GET", path, Body::Empty).await.text();
        let place = |element| {
            text.find(element)
                .unwrap_or_else(|| panic!("{element} in {text}"))
        };
        assert!(place(first) < place(then), "{path}: {text}");
    }
}
