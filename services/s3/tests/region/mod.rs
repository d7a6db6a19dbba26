//! A region in process, asked over the wire.
#![allow(dead_code, reason = "each file of tests uses a part of it")]

pub mod key;

use std::sync::Arc;

use cloud::{Cloud, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use gateway::{Gateway, Metrics};
use tokio::sync::mpsc;
use wire::protocol::Response;
use wire::{Body, Bytes, Fault};

struct Queue(mpsc::UnboundedSender<Delivery>);
impl Target for Queue {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        let _ = self.0.send(delivery.clone());
        Box::pin(async { Ok(Receipt::default()) })
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
    /// An error's code; empty for an answer that is none.
    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
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
        Region::over(Cloud::ephemeral())
    }

    /// A region with the bucket `bucket`.
    pub async fn with_bucket() -> Region {
        let region = Region::start();
        region.bucket("bucket").await;
        region
    }

    /// A region whose state is in that directory.
    pub fn at(dir: &std::path::Path) -> Region {
        let options = store::Options {
            dir: Some(dir.to_owned()),
            ..store::Options::default()
        };
        Region::over(Cloud::open(options, cloud::Config::default()).expect("a store"))
    }

    pub fn over(cloud: Cloud) -> Region {
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
        let response = self.begin_as(key, method, path, headers, body).await;
        let body = response.body.collect(1 << 30).await.expect("a body");
        Answer {
            status: response.status,
            headers: response.headers,
            body,
        }
    }

    /// The same, the answer's body still to be read.
    pub async fn begin_as(
        &self,
        key: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Response {
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
        self.gateway
            .answer(request, [127, 0, 0, 1].into(), false)
            .await
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

    /// Uploads an object of these parts with those headers to begin with.
    pub async fn upload(&self, path: &str, headers: &[(&str, &str)], parts: &[Vec<u8>]) -> Answer {
        let begun = self
            .with("POST", &format!("{path}?uploads"), headers, Body::Empty)
            .await;
        let id = begun
            .element("UploadId")
            .unwrap_or_else(|| panic!("{}", begun.text()));
        let mut list = String::new();
        for (number, bytes) in (1..).zip(parts) {
            let part = format!("{path}?partNumber={number}&uploadId={id}");
            let part = self.ask("PUT", &part, bytes.clone()).await;
            let etag = part
                .header("etag")
                .unwrap_or_else(|| panic!("{}", part.text()));
            list.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            ));
        }
        let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let done = self
            .ask("POST", &format!("{path}?uploadId={id}"), document)
            .await;
        assert_eq!(done.status, 200, "{}", done.text());
        done
    }

    /// Puts a document that configures a bucket.
    pub async fn configure(&self, path: &str, document: &str) {
        let put = self.ask("PUT", path, document.to_owned()).await;
        assert!(matches!(put.status, 200 | 204), "{}", put.text());
    }

    /// Turns a bucket's versioning on.
    pub async fn keep_versions(&self, bucket: &str) {
        let document =
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.configure(&format!("/{bucket}?versioning"), document)
            .await;
    }

    /// Makes the bucket `b`.
    pub async fn bucket(&self, name: &str) {
        let made = self.ask("PUT", &format!("/{name}"), Body::Empty).await;
        assert_eq!(made.status, 200, "{}", made.text());
    }
}
