//! A region in process, asked as a client asks it, with targets that note what they get.
#![allow(dead_code, reason = "not every test file asks in every way")]

use std::sync::{Arc, Mutex};

use cloud::{Arn, Cloud, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use gateway::{Gateway, Metrics};
use serde_json::Value;
use tokio::sync::mpsc;
use wire::{Body, Fault};

pub struct Region {
    pub cloud: Cloud,
    gateway: Gateway,
    pub delivered: mpsc::UnboundedReceiver<Delivery>,
}

/// Refuses for ever what ends in `never`, and once what ends in `later`.
struct Sink(mpsc::UnboundedSender<Delivery>, Mutex<bool>);

impl Target for Sink {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        Box::pin(async move {
            if delivery.target.ends_with("never") {
                return Err(Refusal::Never(Fault::sender(403, "Denied", "never")));
            }
            if delivery.target.ends_with("later")
                && !std::mem::replace(&mut *self.1.lock().expect("a lock"), true)
            {
                return Err(Refusal::Later(Fault::sender(500, "Busy", "later")));
            }
            self.0.send(delivery.clone()).expect("a listener");
            Ok(Receipt::default())
        })
    }
    fn check(&self, _: &Arn, _: &Source) -> Result<(), Fault> {
        Ok(())
    }
}

impl Region {
    pub fn new() -> Region {
        let cloud = Cloud::ephemeral();
        let (sender, delivered) = mpsc::unbounded_channel();
        let sink = Arc::new(Sink(sender, Mutex::default()));
        for service in ["sqs", "lambda", "kinesis"] {
            cloud.targets.register(service, sink.clone());
        }
        let services = vec![events::service(&cloud)];
        cloud.start();
        let gateway = Gateway::new(
            cloud.clone(),
            services,
            Arc::new(()),
            Arc::new(Metrics::default()),
        );
        Region {
            cloud,
            gateway,
            delivered,
        }
    }

    /// Calls an operation; the status and the answer.
    pub async fn call(&self, operation: &str, input: Value) -> (u16, Value) {
        let request = http::Request::post("/")
            .header("host", "localhost:4566")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("AWSEvents.{operation}"))
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/events/aws4_request, SignedHeaders=host, Signature=00",
            )
            .body(Body::from(input.to_string()))
            .expect("a request");
        let response = self
            .gateway
            .answer(request, [127, 0, 0, 1].into(), false)
            .await;
        let body = response.body.collect(1 << 30).await.expect("a body");
        let value = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&body).expect("JSON"),
        };
        (response.status, value)
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
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        (text("__type"), text("message"))
    }

    /// The next delivery.
    pub async fn next(&mut self) -> Delivery {
        self.delivered.recv().await.expect("a delivery")
    }

    /// Moves the clock.
    pub async fn pass(&self, millis: i64) {
        let when = self.cloud.clock.now().plus_millis(millis);
        let moved = self.cloud.scheduler.advance_to(when).await;
        moved.expect("the clock moves");
    }
}
