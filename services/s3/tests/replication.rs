//! Replication over the wire: what a rule names arrives elsewhere as it is, and what it does not stays.
#![allow(clippy::unwrap_used)]

mod region;

use bytes::Bytes;
use region::{Answer, Region};
use wire::Body;

/// A bucket that keeps versions, in a region.
async fn versioned(region: &Region, bucket: &str, place: &str) {
    let document = if place == "us-east-1" {
        Bytes::new()
    } else {
        Bytes::from(format!(
            "<CreateBucketConfiguration><LocationConstraint>{place}</LocationConstraint></CreateBucketConfiguration>"
        ))
    };
    let made = region.ask("PUT", &format!("/{bucket}"), document).await;
    assert_eq!(made.status, 200, "{}", made.text());
    region.keep_versions(bucket).await;
}

async fn replicate(region: &Region, rules: &str) {
    let document = format!(
        "<ReplicationConfiguration><Role>arn:aws:iam::000000000000:role/r</Role>{rules}</ReplicationConfiguration>"
    );
    region.configure("/from?replication", &document).await;
}

/// The answer to a HEAD of the source once its replication is through.
async fn settled(region: &Region, path: &str) -> Answer {
    loop {
        let head = region.ask("HEAD", path, Body::Empty).await;
        if head.header("x-amz-replication-status") != Some("PENDING") {
            return head;
        }
        tokio::task::yield_now().await;
    }
}

/// The answer to a GET once it is not 404 any more.
async fn arrived(region: &Region, path: &str) -> Answer {
    loop {
        let got = region.ask("GET", path, Body::Empty).await;
        if got.status != 404 || got.header("x-amz-delete-marker").is_some() {
            return got;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_arrives_in_each_destination_with_all_it_has() {
    let region = Region::start();
    versioned(&region, "from", "us-east-1").await;
    versioned(&region, "near", "us-east-1").await;
    versioned(&region, "far", "eu-west-1").await;
    let rule = |id: &str, to: &str, more: &str| {
        format!(
            "<Rule><ID>{id}</ID><Status>Enabled</Status><Priority>1</Priority><Filter><Prefix>a/</Prefix></Filter>\
            <DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication>\
            <Destination><Bucket>arn:aws:s3:::{to}</Bucket>{more}</Destination></Rule>"
        )
    };
    let rules =
        rule("1", "near", "") + &rule("2", "far", "<StorageClass>STANDARD_IA</StorageClass>");
    replicate(&region, &rules).await;
    let headers = [
        ("content-type", "text/csv"),
        ("x-amz-meta-who", "me"),
        ("x-amz-tagging", "k1=v1&k2=v2"),
    ];
    let put = region
        .with("PUT", "/from/a/x", &headers, Bytes::from("some text"))
        .await;
    let id = put.header("x-amz-version-id").unwrap();
    region.ask("PUT", "/from/b/x", Bytes::from("stays")).await;
    let parts = [vec![b'a'; 5 << 20], b"tail".to_vec()];
    region.upload("/from/a/large", &[], &parts).await;

    let head = settled(&region, "/from/a/x").await;
    assert_eq!(head.header("x-amz-replication-status"), Some("COMPLETED"));
    settled(&region, "/from/a/large").await;
    let stays = region.ask("HEAD", "/from/b/x", Body::Empty).await;
    assert_eq!(stays.header("x-amz-replication-status"), None);
    for (bucket, class) in [("near", None), ("far", Some("STANDARD_IA"))] {
        let got = region
            .ask("GET", &format!("/{bucket}/a/x"), Body::Empty)
            .await;
        assert_eq!((got.status, got.text().as_str()), (200, "some text"));
        assert_eq!(got.header("content-type"), Some("text/csv"));
        assert_eq!(got.header("x-amz-meta-who"), Some("me"));
        assert_eq!(got.header("x-amz-tagging-count"), Some("2"));
        assert_eq!(got.header("x-amz-replication-status"), Some("REPLICA"));
        assert_eq!(got.header("x-amz-storage-class"), class);
        assert_eq!(got.header("etag"), put.header("etag"));
        assert_eq!(
            got.header("x-amz-version-id"),
            Some(id),
            "a replica has its source's version id"
        );
        let got = region
            .ask("GET", &format!("/{bucket}/a/large"), Body::Empty)
            .await;
        assert_eq!(got.body.len(), (5 << 20) + 4);
        let none = region
            .ask("GET", &format!("/{bucket}/b/x"), Body::Empty)
            .await;
        assert_eq!(none.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_markers_go_along_where_the_rule_says_so() {
    let region = Region::start();
    for bucket in ["from", "with", "without"] {
        versioned(&region, bucket, "us-east-1").await;
    }
    let rule = |to: &str, markers: &str, priority: u8| {
        format!(
            "<Rule><Status>Enabled</Status><Priority>{priority}</Priority><Filter><Prefix></Prefix></Filter>\
            <DeleteMarkerReplication><Status>{markers}</Status></DeleteMarkerReplication>\
            <Destination><Bucket>arn:aws:s3:::{to}</Bucket></Destination></Rule>"
        )
    };
    let rules = rule("with", "Enabled", 1) + &rule("without", "Disabled", 2);
    replicate(&region, &rules).await;
    let put = region.ask("PUT", "/from/k", Bytes::from("x")).await;
    settled(&region, "/from/k").await;
    let gone = region.ask("DELETE", "/from/k", Body::Empty).await;
    let marker = gone.header("x-amz-version-id").unwrap();
    loop {
        let got = region.ask("GET", "/with/k", Body::Empty).await;
        if got.status == 404 {
            assert_eq!(got.header("x-amz-delete-marker"), Some("true"));
            assert_eq!(got.header("x-amz-version-id"), Some(marker));
            break;
        }
        tokio::task::yield_now().await;
    }
    let kept = region.ask("GET", "/without/k", Body::Empty).await;
    assert_eq!((kept.status, kept.text().as_str()), (200, "x"));
    // To delete a version for good is nobody else's business.
    let id = put.header("x-amz-version-id").unwrap();
    let path = format!("/from/k?versionId={id}");
    region.ask("DELETE", &path, Body::Empty).await;
    let kept = region.ask("GET", "/without/k", Body::Empty).await;
    assert_eq!(kept.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kms_encrypts_goes_only_where_a_rule_takes_it() {
    let region = Region::start();
    for bucket in ["from", "with", "without"] {
        versioned(&region, bucket, "us-east-1").await;
    }
    let rule = |to: &str, criteria: &str, more: &str, priority: u8| {
        format!(
            "<Rule><Status>Enabled</Status><Priority>{priority}</Priority><Filter><Prefix></Prefix></Filter>{criteria}\
            <DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication>\
            <Destination><Bucket>arn:aws:s3:::{to}</Bucket>{more}</Destination></Rule>"
        )
    };
    let takes = "<SourceSelectionCriteria><SseKmsEncryptedObjects><Status>Enabled</Status></SseKmsEncryptedObjects>\
        </SourceSelectionCriteria>";
    let key = "arn:aws:kms:us-east-1:000000000000:key/theirs";
    let encryption = format!(
        "<EncryptionConfiguration><ReplicaKmsKeyID>{key}</ReplicaKmsKeyID></EncryptionConfiguration>"
    );
    let rules = rule("with", takes, &encryption, 1) + &rule("without", "", "", 2);
    replicate(&region, &rules).await;
    let kms = [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "ours"),
    ];
    region
        .with("PUT", "/from/kms", &kms, Bytes::from("secret"))
        .await;
    region.ask("PUT", "/from/plain", Bytes::from("open")).await;
    settled(&region, "/from/kms").await;
    settled(&region, "/from/plain").await;
    let got = arrived(&region, "/with/kms").await;
    assert_eq!(got.text(), "secret");
    assert_eq!(
        got.header("x-amz-server-side-encryption-aws-kms-key-id"),
        Some(key)
    );
    for path in ["/with/plain", "/without/plain"] {
        let got = arrived(&region, path).await;
        assert_eq!(got.text(), "open");
        assert_eq!(got.header("x-amz-server-side-encryption"), Some("AES256"));
    }
    let none = region.ask("GET", "/without/kms", Body::Empty).await;
    assert_eq!(none.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_gone_fails_the_version_and_not_the_write() {
    let region = Region::start();
    for bucket in ["from", "gone"] {
        versioned(&region, bucket, "us-east-1").await;
    }
    replicate(
        &region,
        "<Rule><Status>Enabled</Status><Prefix></Prefix><Destination><Bucket>arn:aws:s3:::gone</Bucket></Destination></Rule>",
    )
    .await;
    region.ask("DELETE", "/gone", Body::Empty).await;
    let put = region.ask("PUT", "/from/k", Bytes::from("x")).await;
    assert_eq!(put.status, 200);
    let head = settled(&region, "/from/k").await;
    assert_eq!(head.header("x-amz-replication-status"), Some("FAILED"));
}
