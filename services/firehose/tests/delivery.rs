//! What delivery streams take, keep and write, in process; the buckets are lists.
#![allow(clippy::disallowed_methods, reason = "a test waits")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::ports::{Content, FunctionAnswer, Functions, Objects};
use cloud::{Cloud, Config, Source};
use futures_util::future::BoxFuture;
use gateway::{Gateway, Metrics};
use parking_lot::Mutex;
use serde_json::{Value, json};
use wire::{Body, Bytes, Fault};

#[derive(Default)]
struct Buckets {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    is_broken: AtomicBool,
}

impl Objects for Buckets {
    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: Option<&'a str>,
        _: u64,
    ) -> BoxFuture<'a, Result<Bytes, Fault>> {
        Box::pin(async { Err(Fault::internal("nothing is read here")) })
    }
    fn list<'a>(
        &'a self,
        _: &'a str,
        bucket: &'a str,
        prefix: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<String>, Fault>> {
        let within = format!("{bucket}/{prefix}");
        let objects = self.objects.lock();
        let keys = objects.keys().filter(|key| key.starts_with(&within));
        let keys = keys.filter_map(|key| key.split_once('/').map(|(_, key)| key.to_owned()));
        let keys = keys.collect();
        Box::pin(async { Ok(keys) })
    }
    fn put<'a>(
        &'a self,
        _: &'a str,
        bucket: &'a str,
        key: &'a str,
        content: Content<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if self.is_broken.load(Ordering::Relaxed) {
                return Err(Fault::sender(404, "NoSuchBucket", "no bucket"));
            }
            let name = format!("{bucket}/{key}");
            self.objects.lock().insert(name, content.bytes.to_vec());
            Ok(())
        })
    }
}

/// A function that fails so many times, then answers capitals.
struct Capitals(Mutex<u32>);

impl Functions for Capitals {
    fn invoke<'a>(
        &'a self,
        _: &'a str,
        payload: Bytes,
        source: &'a Source,
    ) -> BoxFuture<'a, Result<FunctionAnswer, Fault>> {
        assert_eq!(source.service, "firehose.amazonaws.com");
        Box::pin(async move {
            let event: Value = serde_json::from_slice(&payload)?;
            let mut failures = self.0.lock();
            let has_failed = *failures > 0;
            *failures = failures.saturating_sub(1);
            let records = event["records"].as_array().cloned().unwrap_or_default();
            let records = records.iter().map(|record| {
                let data = STANDARD
                    .decode(record["data"].as_str().unwrap_or_default())
                    .unwrap_or_default();
                json!({ "recordId": record["recordId"], "result": "Ok", "data": STANDARD.encode(data.to_ascii_uppercase()) })
            });
            Ok(FunctionAnswer {
                payload: json!({ "records": records.collect::<Vec<_>>() })
                    .to_string()
                    .into(),
                has_failed,
                version: "$LATEST".into(),
            })
        })
    }
}

struct Region {
    cloud: Cloud,
    buckets: Arc<Buckets>,
    gateway: Gateway,
}

impl Region {
    fn new() -> Region {
        Region::over(store::Options::default())
    }
    fn over(options: store::Options) -> Region {
        let cloud = Cloud::open(options, Config::default()).expect("a region");
        let buckets = Arc::new(Buckets::default());
        cloud.ports.set_objects(buckets.clone());
        let services = vec![firehose::service(&cloud)];
        cloud.start();
        let gateway = Gateway::new(
            cloud.clone(),
            services,
            Arc::new(()),
            Arc::new(Metrics::default()),
        );
        Region {
            cloud,
            buckets,
            gateway,
        }
    }

    async fn call(&self, operation: &str, input: Value) -> (u16, Value) {
        let request = http::Request::post("/")
            .header("host", "localhost:4566")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("Firehose_20150804.{operation}"))
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/firehose/aws4_request, SignedHeaders=host, Signature=00",
            )
            .body(Body::from(input.to_string()))
            .expect("a request");
        let response = self
            .gateway
            .answer(request, [127, 0, 0, 1].into(), false)
            .await;
        let body = response.body.collect(1 << 24).await.expect("a body");
        let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        (response.status, value)
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        let (status, value) = self.call(operation, input).await;
        assert_eq!(status, 200, "{operation}: {value}");
        value
    }

    async fn fails(&self, operation: &str, input: Value) -> (String, String) {
        let (status, value) = self.call(operation, input).await;
        assert!(status >= 400, "{operation}: {value}");
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        (text("__type"), text("message"))
    }

    async fn create(&self, name: &str, more: Value) {
        let mut settings =
            json!({ "RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::b" });
        for (key, value) in more.as_object().into_iter().flatten() {
            settings[key] = value.clone();
        }
        let input =
            json!({ "DeliveryStreamName": name, "ExtendedS3DestinationConfiguration": settings });
        self.ok("CreateDeliveryStream", input).await;
    }

    async fn put(&self, name: &str, text: &str) {
        let record = json!({ "Data": STANDARD.encode(text) });
        self.ok(
            "PutRecord",
            json!({ "DeliveryStreamName": name, "Record": record }),
        )
        .await;
    }

    async fn pass(&self, seconds: i64) {
        let when = self.cloud.clock.now().plus_secs(seconds);
        self.cloud
            .scheduler
            .advance_to(when)
            .await
            .expect("the clock moves");
    }

    fn texts(&self) -> Vec<String> {
        let objects = self.buckets.objects.lock();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        objects.values().map(text).collect()
    }

    /// Waits until that many objects are written.
    async fn written(&self, count: usize) -> Vec<String> {
        for _ in 0..2_000 {
            let texts = self.texts();
            if texts.len() >= count {
                return texts;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not {count} objects: {:?}", self.texts());
    }
}

#[tokio::test]
async fn records_are_written_when_their_time_comes_and_not_before() {
    let region = Region::new();
    region
        .create(
            "s",
            json!({ "BufferingHints": { "SizeInMBs": 1, "IntervalInSeconds": 60 } }),
        )
        .await;
    region.put("s", "a").await;
    region.pass(50).await;
    assert!(region.texts().is_empty());
    region.put("s", "b").await;
    region.pass(20).await;
    assert_eq!(region.written(1).await, ["ab"]);
    region.put("s", "c").await;
    region.pass(50).await;
    assert_eq!(region.texts().len(), 1);
    region.pass(20).await;
    region.written(2).await;
}

#[tokio::test]
async fn what_was_acknowledged_is_written_after_a_crash() {
    let kept = |folder: &tempfile::TempDir| store::Options {
        dir: Some(folder.path().to_owned()),
        ..store::Options::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let region = Region::over(kept(&folder));
    region.create("s", json!({})).await;
    for n in 0..100 {
        region.put("s", &format!("{n},")).await;
    }
    // What a server that is killed now would leave.
    let left = tempfile::tempdir().expect("a folder");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(folder.path().join("."))
        .arg(left.path())
        .status();
    assert!(copied.expect("cp runs").success());
    let region = Region::over(kept(&left));
    region.pass(400).await;
    let wanted: String = (0..100).map(|n| format!("{n},")).collect();
    assert_eq!(region.written(1).await, [wanted]);
}

#[tokio::test]
async fn a_bucket_that_refuses_is_tried_again_for_a_day() {
    let region = Region::new();
    region.create("s", json!({})).await;
    region.buckets.is_broken.store(true, Ordering::Relaxed);
    region.put("s", "kept").await;
    region.pass(3_600).await;
    assert!(region.texts().is_empty());
    region.buckets.is_broken.store(false, Ordering::Relaxed);
    region.pass(600).await;
    assert_eq!(region.written(1).await, ["kept"]);
    region.buckets.is_broken.store(true, Ordering::Relaxed);
    region.put("s", "dropped").await;
    region.pass(2 * 86_400).await;
    region.buckets.is_broken.store(false, Ordering::Relaxed);
    region.put("s", "after").await;
    region.pass(600).await;
    assert_eq!(region.written(2).await.len(), 2);
    assert!(!region.texts().contains(&"dropped".to_owned()));
}

#[tokio::test]
async fn a_function_is_called_again_when_it_fails() {
    let region = Region::new();
    region
        .cloud
        .ports
        .set_functions(Arc::new(Capitals(Mutex::new(2))));
    let lambda = json!({ "Type": "Lambda", "Parameters": [
        { "ParameterName": "LambdaArn", "ParameterValue": "arn:aws:lambda:us-east-1:000000000000:function:f" },
    ] });
    region
        .create(
            "s",
            json!({
                "BufferingHints": { "SizeInMBs": 1, "IntervalInSeconds": 0 },
                "ProcessingConfiguration": { "Enabled": true, "Processors": [lambda] },
            }),
        )
        .await;
    region.put("s", "text").await;
    assert_eq!(region.written(1).await, ["TEXT"]);
}

#[tokio::test]
async fn a_stream_made_anew_has_nothing_of_the_old_one() {
    let region = Region::new();
    region.create("s", json!({})).await;
    region.put("s", "old").await;
    region
        .ok("DeleteDeliveryStream", json!({ "DeliveryStreamName": "s" }))
        .await;
    region.create("s", json!({})).await;
    region.put("s", "new").await;
    region.pass(400).await;
    assert_eq!(region.written(1).await, ["new"]);
}

#[tokio::test]
async fn what_is_too_large_or_not_there_is_refused() {
    let region = Region::new();
    region.create("s", json!({})).await;
    let record = json!({ "Data": STANDARD.encode(vec![0; 1_000_000]) });
    let records = vec![record; 5];
    let refused = region
        .fails(
            "PutRecordBatch",
            json!({ "DeliveryStreamName": "s", "Records": records }),
        )
        .await;
    assert_eq!(
        refused,
        (
            "InvalidArgumentException".into(),
            "Records size exceeds 4 MB limit".into()
        )
    );
    let large = json!({ "Data": STANDARD.encode(vec![0; 1_024_001]) });
    let (code, _) = region
        .fails(
            "PutRecord",
            json!({ "DeliveryStreamName": "s", "Record": large }),
        )
        .await;
    assert_eq!(code, "ValidationException");
    let missing = region
        .fails(
            "PutRecord",
            json!({ "DeliveryStreamName": "none", "Record": { "Data": "" } }),
        )
        .await;
    assert_eq!(
        missing,
        (
            "ResourceNotFoundException".into(),
            "Firehose none under account 000000000000 not found.".into()
        )
    );
}

#[tokio::test]
async fn what_is_not_there_here_says_so() {
    let region = Region::new();
    let settings = |more: Value| {
        let mut settings =
            json!({ "RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::b" });
        for (key, value) in more.as_object().into_iter().flatten() {
            settings[key] = value.clone();
        }
        json!({ "DeliveryStreamName": "s", "ExtendedS3DestinationConfiguration": settings })
    };
    let orc = json!({ "Enabled": true,
        "InputFormatConfiguration": { "Deserializer": { "HiveJsonSerDe": {} } },
        "OutputFormatConfiguration": { "Serializer": { "OrcSerDe": {} } },
        "SchemaConfiguration": { "RoleARN": "arn:aws:iam::000000000000:role/r", "DatabaseName": "d", "TableName": "t" },
    });
    for (more, status) in [
        (
            json!({ "DataFormatConversionConfiguration": { "Enabled": true } }),
            400,
        ),
        (json!({ "DataFormatConversionConfiguration": orc }), 501),
        (json!({ "CustomTimeZone": "Mars/Olympus" }), 400),
        (json!({ "Prefix": "!{timestamp:yyyy}/" }), 400),
        (json!({ "S3BackupMode": "Enabled" }), 400),
        (json!({ "BucketARN": "b" }), 400),
    ] {
        let (found, answer) = region.call("CreateDeliveryStream", settings(more)).await;
        assert_eq!(found, status, "{answer}");
    }
    let iceberg = json!({ "DeliveryStreamName": "s", "IcebergDestinationConfiguration": {
        "RoleARN": "arn:aws:iam::000000000000:role/r", "CatalogConfiguration": {},
        "S3Configuration": { "RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::b" },
    } });
    assert_eq!(region.call("CreateDeliveryStream", iceberg).await.0, 501);
}
