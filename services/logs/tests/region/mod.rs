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
        let cloud = Cloud::ephemeral();
        let services = vec![logs::service(&cloud)];
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
        let request = http::Request::post("/")
            .header("host", "localhost:4566")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("Logs_20140328.{operation}"))
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/logs/aws4_request, SignedHeaders=host, Signature=00",
            )
            .body(Body::from(input.to_string()))
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
