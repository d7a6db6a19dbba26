//! A region in process, asked as a client asks it, with queues and functions that note what they get.
#![allow(dead_code, reason = "not every test file asks in every way")]

use std::sync::Arc;

use cloud::{Arn, Cloud, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use gateway::{Gateway, Metrics};
use tokio::sync::mpsc;
use wire::{Body, Fault};

pub struct Region {
    pub cloud: Cloud,
    gateway: Gateway,
    pub delivered: mpsc::UnboundedReceiver<Delivery>,
}

/// Refuses what says so, once where it says `later`.
struct Sink(
    mpsc::UnboundedSender<Delivery>,
    std::sync::Mutex<Vec<String>>,
);

impl Target for Sink {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        Box::pin(async move {
            if delivery.target.ends_with("never") {
                return Err(Refusal::Never(Fault::sender(400, "No", "never")));
            }
            let mut seen = self.1.lock().expect("a lock");
            if delivery.payload.contains("later") && !seen.contains(&delivery.payload) {
                seen.push(delivery.payload.clone());
                return Err(Refusal::Later(Fault::sender(500, "No", "later")));
            }
            drop(seen);
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
        let sink = Arc::new(Sink(sender, std::sync::Mutex::default()));
        cloud.targets.register("sqs", sink.clone());
        cloud.targets.register("lambda", sink);
        let services = vec![sns::service(&cloud)];
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

    /// Calls an operation; the status and the answer's XML.
    pub async fn call(&self, operation: &str, input: &[(&str, &str)]) -> (u16, String) {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", operation)
            .append_pair("Version", "2010-03-31");
        for (name, value) in input {
            form.append_pair(name, value);
        }
        let request = http::Request::post("/")
            .header("host", "localhost:4566")
            .header("content-type", "application/x-www-form-urlencoded")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sns/aws4_request, SignedHeaders=host, Signature=00",
            )
            .body(Body::from(form.finish()))
            .expect("a request");
        let response = self
            .gateway
            .answer(request, [127, 0, 0, 1].into(), false)
            .await;
        let body = response.body.collect(1 << 30).await.expect("a body");
        (
            response.status,
            String::from_utf8(body.to_vec()).expect("text"),
        )
    }

    /// Calls an operation that must succeed.
    pub async fn ok(&self, operation: &str, input: &[(&str, &str)]) -> String {
        let (status, text) = self.call(operation, input).await;
        assert_eq!(status, 200, "{operation}: {text}");
        text
    }

    /// Calls an operation that must fail; its code and message.
    pub async fn fails(&self, operation: &str, input: &[(&str, &str)]) -> (String, String) {
        let (status, text) = self.call(operation, input).await;
        assert!(status >= 400, "{operation}: {text}");
        (element(&text, "Code"), element(&text, "Message"))
    }

    /// The next delivery.
    pub async fn next(&mut self) -> Delivery {
        self.delivered.recv().await.expect("a delivery")
    }
}

/// The text of the first element of that name.
pub fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_default();
    rest.split_once("</")
        .unwrap_or_default()
        .0
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}
