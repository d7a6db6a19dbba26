//! Channels over a bucket that can be held up.
#![allow(clippy::disallowed_methods, reason = "a test waits")]

mod region;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloud::ports::{Content, Objects};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use region::Region;
use serde_json::json;
use tokio::sync::Semaphore;
use wire::Fault;

/// A bucket that takes an object for each permit.
struct Bucket {
    keys: Mutex<Vec<String>>,
    asked: Semaphore,
    permits: Semaphore,
}

impl Objects for Bucket {
    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: Option<&'a str>,
        _: u64,
    ) -> BoxFuture<'a, Result<Bytes, Fault>> {
        Box::pin(async { Err(Fault::internal("nobody reads here")) })
    }
    fn list<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<String>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn put<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        key: &'a str,
        _: Content<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.asked.add_permits(1);
            self.permits.acquire().await.expect("open").forget();
            self.keys.lock().push(key.to_owned());
            Ok(())
        })
    }
}

/// Waits until so many objects have been asked to be put.
async fn asked(bucket: &Bucket, count: u32) {
    let asked = bucket.asked.acquire_many(count);
    let asked = tokio::time::timeout(Duration::from_secs(20), asked).await;
    asked.expect("in time").expect("open").forget();
}

#[tokio::test]
async fn a_channel_that_is_deleted_while_it_writes_writes_nothing_more() {
    let region = Region::new();
    let bucket = Arc::new(Bucket {
        keys: Mutex::default(),
        asked: Semaphore::new(0),
        permits: Semaphore::new(0),
    });
    region.cloud.ports.set_objects(bucket.clone());
    let stream = json!({ "StreamName": "s", "StreamModeDetails": { "StreamMode": "ON_DEMAND" } });
    region.ok("CreateStream", stream).await;
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let channel = |name: &str| {
        json!({
            "ChannelName": name,
            "ServiceExecutionRoleARN": "arn:aws:iam::000000000000:role/channel",
            "StreamConfigurationList": [{
                "StreamARN": arn, "RecordConfiguration": { "RecordFormatType": "JSON" },
            }],
            "S3DestinationConfiguration": { "StorageConfiguration": {
                "BucketARN": "arn:aws:s3:::lake", "ExpectedBucketOwner": "000000000000", "CompressionType": "NONE",
            } },
        })
    };
    let made = region.ok("CreateChannel", channel("deleted")).await;
    let deleted = made["ChannelDescription"]["ChannelARN"].clone();
    // More than one object takes of a shard.
    let large = format!("\"{}\"", "x".repeat(900 << 10));
    for _ in 0..11 {
        region.put("s", "k", &large).await;
    }
    region.pass(301_000).await;
    asked(&bucket, 1).await;
    region
        .ok("DeleteChannel", json!({ "ChannelARN": deleted }))
        .await;
    // What is being written is finished; another channel shows when the next would have been.
    region.ok("CreateChannel", channel("kept")).await;
    bucket.permits.add_permits(1);
    region.put("s", "k", "{}").await;
    region.pass(301_000).await;
    asked(&bucket, 1).await;
    bucket.permits.add_permits(100);
    region.pass(3_600_000).await;
    let kept = async {
        while bucket.keys.lock().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), kept)
        .await
        .expect("in time");
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let keys = bucket.keys.lock().clone();
    assert_eq!(keys.len(), 2, "{keys:?}");
}
