//! A region in process, asked as a client asks it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;

use cloud::Cloud;
use gateway::{Gateway, Metrics};
use serde_json::{Value, json};
use wire::Body;

pub struct Region {
    pub cloud: Cloud,
    gateway: Gateway,
}

impl Region {
    pub fn new() -> Region {
        Region::over(Cloud::ephemeral())
    }

    pub fn over(cloud: Cloud) -> Region {
        let services = vec![dynamodb::service(&cloud)];
        cloud.start();
        let gateway = Gateway::new(
            cloud.clone(),
            services,
            Arc::new(()),
            Arc::new(Metrics::default()),
        );
        Region { cloud, gateway }
    }

    /// Calls an operation; status and answer.
    pub async fn call(&self, operation: &str, input: Value) -> (u16, Value) {
        let scope = "Credential=test/20260101/us-east-1/dynamodb/aws4_request";
        let request = http::Request::post("/")
            .header("host", "localhost:4566")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=00"),
            )
            .body(Body::from(input.to_string()))
            .expect("a request");
        let response = self
            .gateway
            .answer(request, [127, 0, 0, 1].into(), false)
            .await;
        let body = response.body.collect(1 << 30).await.expect("a body");
        let answer = serde_json::from_slice(&body).unwrap_or(Value::Null);
        (response.status, answer)
    }

    /// Calls an operation that must succeed.
    pub async fn ok(&self, operation: &str, input: Value) -> Value {
        let (status, answer) = self.call(operation, input).await;
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    /// Calls an operation that must fail; code and message.
    pub async fn fails(&self, operation: &str, input: Value) -> (String, String) {
        let (status, answer) = self.call(operation, input).await;
        assert!(status >= 400, "{operation}: {answer}");
        let code = answer["__type"].as_str().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default().to_owned();
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        (
            code,
            text("message").or(text("Message")).unwrap_or_default(),
        )
    }

    /// Creates a table with the keys `p` (text) and `c` (a number), on demand, with what else is given.
    pub async fn table(&self, name: &str, more: Value) {
        let mut input = json!({
            "TableName": name,
            "KeySchema": [
                {"AttributeName": "p", "KeyType": "HASH"},
                {"AttributeName": "c", "KeyType": "RANGE"},
            ],
            "AttributeDefinitions": [
                {"AttributeName": "p", "AttributeType": "S"},
                {"AttributeName": "c", "AttributeType": "N"},
            ],
            "BillingMode": "PAY_PER_REQUEST",
        });
        for (key, value) in more.as_object().expect("a map") {
            input[key] = value.clone();
        }
        self.ok("CreateTable", input).await;
    }

    /// Puts an item of that table.
    pub async fn put(&self, table: &str, p: &str, c: i64, more: Value) {
        let mut item = json!({"p": {"S": p}, "c": {"N": c.to_string()}});
        for (key, value) in more.as_object().expect("a map") {
            item[key] = value.clone();
        }
        self.ok("PutItem", json!({"TableName": table, "Item": item}))
            .await;
    }
}
