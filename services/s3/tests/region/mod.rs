//! A region in process, asked over the wire.
#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::sync::Arc;

use cloud::{Cloud, Delivery, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use gateway::{Gateway, Metrics};
use tokio::sync::mpsc;
use wire::{Body, Bytes, Fault};

struct Queue(mpsc::UnboundedSender<Delivery>);
impl Target for Queue {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), Refusal>> {
        let _ = self.0.send(delivery.clone());
        Box::pin(async { Ok(()) })
    }
    fn check(&self, _: &cloud::Arn, _: &Source) -> Result<(), Fault> {
        Ok(())
    }
}

/// An answer, its body read.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<wire::header::Header>,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The text of the first element of that name.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>"))
            .map(|(value, _)| value.to_owned())
    }
    /// All texts of elements of that name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let parts = text.split(&open).skip(1);
        parts
            .filter_map(|p| p.split_once(&close).map(|(v, _)| v.to_owned()))
            .collect()
    }
}

pub struct Region {
    pub cloud: Cloud,
    gateway: Gateway,
    pub events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Delivery>>,
}

impl Region {
    pub fn start() -> Region {
        let cloud = Cloud::ephemeral();
        let (sender, events) = mpsc::unbounded_channel();
        cloud
            .targets
            .register("sqs", Arc::new(Queue(sender.clone())));
        cloud.targets.register("lambda", Arc::new(Queue(sender)));
        let services = vec![s3::service(&cloud)];
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
            events: tokio::sync::Mutex::new(events),
        }
    }

    /// Asks as the account of that access key; as nobody without one.
    pub async fn ask_as(
        &self,
        key: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let body = body.into();
        let mut request = http::Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost:4566");
        }
        if let Some(key) = key {
            let credential = format!("{key}/20260101/us-east-1/s3/aws4_request");
            request = request.header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=00"
                ),
            );
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        let response = self
            .gateway
            .answer(request, [127, 0, 0, 1].into(), false)
            .await;
        let body = response.body.collect(1 << 30).await.expect("a body");
        Answer {
            status: response.status,
            headers: response.headers,
            body,
        }
    }

    pub async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.ask_as(Some("test"), method, path, &[], body).await
    }

    pub async fn with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        self.ask_as(Some("test"), method, path, headers, body).await
    }

    /// Makes the bucket `b`.
    pub async fn bucket(&self, name: &str) {
        let made = self.ask("PUT", &format!("/{name}"), Body::Empty).await;
        assert_eq!(made.status, 200, "{}", made.text());
    }
}
