//! What notifications tell of events, as AWS's records were seen to.
#![allow(clippy::unwrap_used)]

mod region;

use bytes::Bytes;
use region::Region;
use serde_json::Value;
use wire::Body;

/// A region with a bucket whose events all go to a queue.
async fn region_that_tells(events: &str) -> Region {
    let region = Region::start();
    region.bucket("bucket").await;
    let document = format!(
        "<NotificationConfiguration><QueueConfiguration><Id>id</Id>\
         <Queue>arn:aws:sqs:us-east-1:000000000000:q</Queue><Event>{events}</Event>\
         </QueueConfiguration></NotificationConfiguration>"
    );
    region.configure("/bucket?notification", &document).await;
    let test = region.events.lock().await.recv().await.unwrap();
    assert!(test.payload.contains("s3:TestEvent"));
    region
}

async fn record(region: &Region) -> Value {
    let delivery = region.events.lock().await.recv().await.unwrap();
    let mut payload: Value = serde_json::from_str(&delivery.payload).unwrap();
    payload["Records"][0].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_tags_has_no_size_and_another_structure() {
    let region = region_that_tells("s3:ObjectTagging:*").await;
    region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    region.configure("/bucket/k?tagging", tags).await;
    let record = record(&region).await;
    assert_eq!(record["eventName"], "ObjectTagging:Put");
    assert_eq!(record["eventVersion"], "2.3");
    let object = record["s3"]["object"].as_object().unwrap();
    let names: Vec<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(names, ["key", "eTag"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_tells_of_what_was_not_there() {
    let region = region_that_tells("s3:ObjectRemoved:*").await;
    let document = "<Delete><Object><Key>missing</Key></Object></Delete>";
    let done = region
        .ask("POST", "/bucket?delete", Bytes::from(document))
        .await;
    assert_eq!(done.status, 200, "{}", done.text());
    let record = record(&region).await;
    assert_eq!(record["eventName"], "ObjectRemoved:Delete");
    assert_eq!(record["s3"]["object"]["key"], "missing");
    assert!(record["s3"]["object"]["sequencer"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_done_tells_until_when() {
    let region = region_that_tells("s3:ObjectRestore:Completed").await;
    let headers = [("x-amz-storage-class", "GLACIER")];
    region
        .with("PUT", "/bucket/k", &headers, Bytes::from("x"))
        .await;
    let document = "<RestoreRequest><Days>1</Days></RestoreRequest>";
    let asked = region
        .ask("POST", "/bucket/k?restore", Bytes::from(document))
        .await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let again = region
        .ask("POST", "/bucket/k?restore", Bytes::from(document))
        .await;
    assert_eq!(again.status, 200, "{}", again.text());
    let record = record(&region).await;
    let principal = record["userIdentity"]["principalId"].as_str().unwrap();
    assert!(principal.starts_with("AmazonCustomer:"), "{principal}");
    let restored = &record["glacierEventData"]["restoreEventData"];
    assert_eq!(restored["lifecycleRestoreStorageClass"], "GLACIER");
    assert!(restored["lifecycleRestorationExpiryTime"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_that_is_deleted_has_no_tag_of_its_bytes() {
    let region = region_that_tells("s3:ObjectRemoved:*").await;
    region.keep_versions("bucket").await;
    let gone = region.ask("DELETE", "/bucket/k", Body::Empty).await;
    let id = gone.header("x-amz-version-id").unwrap().to_owned();
    let marked = record(&region).await;
    assert_eq!(marked["eventName"], "ObjectRemoved:DeleteMarkerCreated");
    assert!(marked["s3"]["object"]["eTag"].is_string());
    let path = format!("/bucket/k?versionId={id}");
    region.ask("DELETE", &path, Body::Empty).await;
    let deleted = record(&region).await;
    assert_eq!(deleted["eventName"], "ObjectRemoved:Delete");
    assert_eq!(deleted["s3"]["object"].get("eTag"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_with_the_event() {
    let region = region_that_tells("s3:ObjectCreated:*").await;
    let trace = "Root=1-3152b799-8954dae64eda91bc9a23a7e8;Parent=7fa8c0f79203be72;Sampled=1";
    let headers = [("x-amzn-trace-id", trace)];
    region
        .with("PUT", "/bucket/k", &headers, Bytes::from("x"))
        .await;
    let delivery = region.events.lock().await.recv().await.unwrap();
    assert_eq!(delivery.trace.as_deref(), Some(trace));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_none_is_named_by_its_kind() {
    let region = Region::start();
    region.bucket("bucket").await;
    for (section, element, kind) in [
        ("QueueConfiguration", "Queue", "Queue"),
        ("TopicConfiguration", "Topic", "Topic"),
        (
            "CloudFunctionConfiguration",
            "CloudFunction",
            "CloudFunction",
        ),
    ] {
        let document = format!(
            "<NotificationConfiguration><{section}><{element}>nonsense</{element}>\
             <Event>s3:ObjectCreated:*</Event></{section}></NotificationConfiguration>"
        );
        let refused = region
            .ask("PUT", "/bucket?notification", Bytes::from(document))
            .await;
        assert_eq!(refused.element("ArgumentName").as_deref(), Some(kind));
        assert_eq!(
            refused.element("ArgumentValue").as_deref(),
            Some("nonsense")
        );
    }
    // Nobody here takes what goes to a topic.
    let document = "<NotificationConfiguration><TopicConfiguration>\
         <Topic>arn:aws:sns:us-east-1:000000000000:t</Topic><Event>s3:ObjectCreated:*</Event>\
         </TopicConfiguration></NotificationConfiguration>";
    let refused = region
        .ask("PUT", "/bucket?notification", Bytes::from(document))
        .await;
    assert_eq!(
        refused.element("ArgumentName1").as_deref(),
        Some("arn:aws:sns:us-east-1:000000000000:t")
    );
    let why = refused.element("ArgumentValue1").unwrap();
    assert!(why.starts_with("nothing here takes deliveries"), "{why}");
}
