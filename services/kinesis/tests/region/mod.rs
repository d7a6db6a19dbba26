//! A region in process, asked as a client asks it.
#![allow(dead_code, reason = "not every test file asks in every way")]

use std::sync::Arc;

use cloud::Cloud;
use gateway::{Gateway, Metrics};
use serde_json::Value;
use wire::Body;

pub struct Region {
    pub cloud: Cloud,
    gateway: Gateway,
}

impl Region {
    pub fn new() -> Region {
        Region::over(Cloud::ephemeral())
    }

    /// A region whose state is in that folder.
    pub fn at(folder: &std::path::Path) -> Region {
        let options = store::Options {
            dir: Some(folder.to_owned()),
            ..store::Options::default()
        };
        Region::over(Cloud::open(options, cloud::Config::default()).expect("a region"))
    }

    fn over(cloud: Cloud) -> Region {
        let services = vec![kinesis::service(&cloud)];
        cloud.start();
        let gateway = Gateway::new(
            cloud.clone(),
            services,
            Arc::new(()),
            Arc::new(Metrics::default()),
        );
        Region { cloud, gateway }
    }

    /// Calls an operation; the status, and the body as it comes.
    pub async fn stream(&self, operation: &str, input: Value) -> (u16, Body) {
        self.send(
            "application/x-amz-json-1.1",
            operation,
            Body::from(input.to_string()),
        )
        .await
    }

    /// Sends an operation's body in some format.
    pub async fn send(&self, format: &str, operation: &str, body: Body) -> (u16, Body) {
        let request = http::Request::post("/")
            .header("host", "localhost:4566")
            .header("content-type", format)
            .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00",
            )
            .body(body)
            .expect("a request");
        let response = self
            .gateway
            .answer(request, [127, 0, 0, 1].into(), false)
            .await;
        (response.status, response.body)
    }

    /// Calls an operation; the status and the answer.
    pub async fn call(&self, operation: &str, input: Value) -> (u16, Value) {
        let (status, body) = self.stream(operation, input).await;
        let body = body.collect(1 << 30).await.expect("a body");
        let value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).expect("JSON")
        };
        (status, value)
    }

    /// Calls an operation that must succeed.
    pub async fn ok(&self, operation: &str, input: Value) -> Value {
        let (status, value) = self.call(operation, input).await;
        assert_eq!(status, 200, "{operation}: {value}");
        value
    }

    /// Calls an operation that must fail; its code and message.
    pub async fn fails(&self, operation: &str, input: Value) -> (String, String) {
        let (status, value) = self.call(operation, input).await;
        assert!(status >= 400, "{operation}: {value}");
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        (text("__type"), text("message"))
    }

    pub fn now(&self) -> i64 {
        self.cloud.clock.now().0
    }
}

/// The data of a record, as JSON carries it.
pub fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The data of records, as text.
pub fn texts(answer: &Value) -> Vec<String> {
    use base64::Engine;
    let records = answer["Records"].as_array().expect("records");
    let data = records.iter().map(|r| r["Data"].as_str().expect("data"));
    data.map(|d| {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(d)
            .expect("base64");
        String::from_utf8(bytes).expect("text")
    })
    .collect()
}

impl Region {
    /// Puts a record and answers its shard and sequence number.
    pub async fn put(&self, stream: &str, key: &str, text: &str) -> (String, String) {
        let input =
            serde_json::json!({ "StreamName": stream, "PartitionKey": key, "Data": base64(text) });
        let put = self.ok("PutRecord", input).await;
        let text = |k: &str| put[k].as_str().expect("text").to_owned();
        (text("ShardId"), text("SequenceNumber"))
    }

    /// An iterator of that kind.
    pub async fn iterator(&self, stream: &str, shard: u64, kind: &str, more: Value) -> Value {
        let mut input = serde_json::json!({
            "StreamName": stream, "ShardId": format!("shardId-{shard:012}"), "ShardIteratorType": kind,
        });
        if let (Some(input), Some(more)) = (input.as_object_mut(), more.as_object()) {
            input.extend(more.clone());
        }
        self.ok("GetShardIterator", input).await["ShardIterator"].clone()
    }

    /// All texts of a shard from its beginning, and the last answer.
    pub async fn read(&self, stream: &str, shard: u64) -> (Vec<String>, Value) {
        let iterator = self
            .iterator(stream, shard, "TRIM_HORIZON", Value::Null)
            .await;
        let answer = self
            .ok(
                "GetRecords",
                serde_json::json!({ "ShardIterator": iterator }),
            )
            .await;
        (texts(&answer), answer)
    }

    /// Moves the clock.
    pub async fn pass(&self, millis: i64) {
        let when = self.cloud.clock.now().plus_millis(millis);
        self.cloud
            .scheduler
            .advance_to(when)
            .await
            .expect("the clock moves");
    }
}
