//! A region with queues in it, spoken to over the wire in process.
#![allow(dead_code, reason = "not every test file asks in every way")]

use std::sync::Arc;

use cloud::Cloud;
use gateway::{Gateway, Metrics};
use serde_json::{Value, json};
use wire::Body;
use wire::protocol::Response;

pub struct Region {
    pub cloud: Cloud,
    gateway: Arc<Gateway>,
}

impl Region {
    pub fn new() -> Region {
        Region::over(Cloud::ephemeral())
    }

    pub fn over(cloud: Cloud) -> Region {
        let services = vec![sqs::service(&cloud)];
        cloud.start();
        let metrics = Arc::new(Metrics::default());
        let gateway = Gateway::new(cloud.clone(), services, Arc::new(()), metrics);
        Region {
            cloud,
            gateway: Arc::new(gateway),
        }
    }

    pub async fn send(&self, request: http::Request<Body>) -> Response {
        self.gateway
            .answer(request, [127, 0, 0, 1].into(), false)
            .await
    }

    /// Calls an operation as an account does.
    pub async fn call_as(&self, account: &str, operation: &str, input: Value) -> (u16, Value) {
        let request = http::Request::post("/")
            .header("host", "localhost:4566")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={account}/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=00"),
            )
            .body(Body::from(input.to_string()))
            .expect("a request");
        let response = self.send(request).await;
        let body = response.body.collect(1 << 30).await.expect("a body");
        let value = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&body).expect("JSON"),
        };
        (response.status, value)
    }

    /// Calls an operation that must succeed.
    pub async fn ok(&self, operation: &str, input: Value) -> Value {
        let (status, value) = self.call_as("test", operation, input).await;
        assert_eq!(status, 200, "{operation}: {value}");
        value
    }

    /// Calls an operation that must fail; its type and message.
    pub async fn fails(&self, operation: &str, input: Value) -> (String, String) {
        let (status, value) = self.call_as("test", operation, input).await;
        assert!(status >= 400, "{operation}: {value}");
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        (text("__type"), text("message"))
    }

    /// Makes a queue; its URL.
    pub async fn queue(&self, name: &str, attributes: Value) -> String {
        let made = self
            .ok(
                "CreateQueue",
                json!({ "QueueName": name, "Attributes": attributes }),
            )
            .await;
        made["QueueUrl"].as_str().expect("a URL").to_owned()
    }

    /// Receives up to ten messages.
    pub async fn receive(&self, url: &str) -> Vec<Value> {
        let input = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"] });
        let answer = self.ok("ReceiveMessage", input).await;
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    pub async fn bodies(&self, url: &str) -> Vec<String> {
        let all = self.receive(url).await;
        all.iter()
            .map(|m| m["Body"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    pub async fn delete(&self, url: &str, message: &Value) {
        let input = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
        self.ok("DeleteMessage", input).await;
    }

    /// Messages that can be received, are in flight, and are delayed.
    pub async fn counts(&self, url: &str) -> (u64, u64, u64) {
        let all = self
            .ok(
                "GetQueueAttributes",
                json!({ "QueueUrl": url, "AttributeNames": ["All"] }),
            )
            .await;
        let number = |name: &str| {
            let text = all["Attributes"][format!("ApproximateNumberOfMessages{name}")].as_str();
            text.and_then(|t| t.parse().ok()).expect("a number")
        };
        (number(""), number("NotVisible"), number("Delayed"))
    }

    pub async fn advance(&self, seconds: i64) {
        let when = self.cloud.clock.now().plus_secs(seconds);
        self.cloud
            .scheduler
            .advance_to(when)
            .await
            .expect("the clock moves");
    }
}
