//! A region with Lambda in it, spoken to over the wire in process.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part; a helper of a test may fail as loudly as the test"
)]

use std::io::{Cursor, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::ports::LogSink;
use cloud::{Cloud, Config};
use futures_util::future::BoxFuture;
use gateway::{Gateway, Metrics};
use parking_lot::Mutex;
use serde_json::{Value, json};
use wire::{Body, Bytes, Fault, Timestamp};

pub struct Region {
    pub cloud: Cloud,
    pub logs: Arc<Logs>,
    gateway: Gateway,
    _scratch: tempfile::TempDir,
}

/// Log events by group and stream.
#[derive(Default)]
pub struct Logs(pub Mutex<Vec<(String, String, String)>>);

impl LogSink for Logs {
    fn append<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        group: &'a str,
        stream: &'a str,
        events: Vec<(Timestamp, String)>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        let mut all = self.0.lock();
        all.extend(
            events
                .into_iter()
                .map(|(_, text)| (group.to_owned(), stream.to_owned(), text)),
        );
        Box::pin(async { Ok(()) })
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<wire::header::Header>,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
    /// The error's code and message.
    pub fn error(&self) -> (String, String) {
        let body = self.json();
        let message = body
            .get("message")
            .or(body.get("Message"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        (
            self.header("x-amzn-errortype")
                .unwrap_or_default()
                .to_owned(),
            message,
        )
    }
    pub fn tail(&self) -> String {
        String::from_utf8(
            STANDARD
                .decode(self.header("x-amz-log-result").unwrap())
                .unwrap(),
        )
        .unwrap()
    }
}

impl Region {
    pub async fn start() -> Region {
        let scratch = tempfile::tempdir().unwrap();
        Region::over(store::Options::default(), scratch).await
    }
    pub async fn over(options: store::Options, scratch: tempfile::TempDir) -> Region {
        let sandbox = if std::env::var("CI").as_deref() == Ok("true") {
            "linux"
        } else {
            "auto"
        };
        Region::with(options, scratch, sandbox).await
    }
    pub async fn with(
        options: store::Options,
        scratch: tempfile::TempDir,
        sandbox: &str,
    ) -> Region {
        let config = Config {
            scratch: scratch.path().to_owned(),
            sandbox: sandbox.into(),
            ..Config::default()
        };
        let cloud = Cloud::open(options, config).unwrap();
        let logs = Arc::new(Logs::default());
        cloud.ports.set_logs(logs.clone());
        let services = vec![lambda::service(&cloud)];
        let gateway = Gateway::new(
            cloud.clone(),
            services,
            Arc::new(()),
            Arc::new(Metrics::default()),
        );
        cloud.start();
        Region {
            cloud,
            logs,
            gateway,
            _scratch: scratch,
        }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        let scope = "AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00";
        if !headers.iter().any(|(k, _)| *k == "host") {
            request = request
                .header("host", "localhost:4566")
                .header("authorization", scope);
        }
        for (k, v) in headers {
            request = request.header(*k, *v);
        }
        let request = request.body(Body::from(body.into())).unwrap();
        let response = self
            .gateway
            .answer(request, IpAddr::from([127, 0, 0, 1]), false)
            .await;
        Answer {
            status: response.status,
            headers: response.headers,
            body: response.body.collect(u64::MAX).await.unwrap(),
        }
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(method, path, &[("content-type", "application/json")], text)
            .await
    }

    /// Creates a function from one Python file; `more` is laid over the request.
    pub async fn python(&self, name: &str, code: &str, more: Value) -> Answer {
        self.create(name, &[("app.py", code)], more).await
    }

    pub async fn create(&self, name: &str, files: &[(&str, &str)], more: Value) -> Answer {
        let mut request = json!({
            "FunctionName": name, "Runtime": "python3.11", "Handler": "app.handler",
            "Role": "arn:aws:iam::000000000000:role/lambda-role",
            "MemorySize": 512, "Timeout": 20,
            "Code": { "ZipFile": STANDARD.encode(zip(files)) },
        });
        for (k, v) in more.as_object().into_iter().flatten() {
            request[k] = v.clone();
        }
        self.call("POST", "/2015-03-31/functions", request).await
    }

    /// Publishes a layer and answers its version's ARN.
    pub async fn layer(&self, name: &str, files: &[(&str, &str)]) -> String {
        let content = json!({ "Content": { "ZipFile": STANDARD.encode(zip(files)) } });
        let path = format!("/2018-10-31/layers/{name}/versions");
        let made = self.call("POST", &path, content).await.json();
        made["LayerVersionArn"].as_str().unwrap().to_owned()
    }

    pub async fn invoke(&self, name: &str, payload: Value) -> Answer {
        self.call(
            "POST",
            &format!("/2015-03-31/functions/{name}/invocations"),
            payload,
        )
        .await
    }

    pub async fn invoke_with(
        &self,
        name: &str,
        headers: &[(&str, &str)],
        payload: Value,
    ) -> Answer {
        let path = format!("/2015-03-31/functions/{name}/invocations");
        self.send("POST", &path, headers, payload.to_string()).await
    }

    /// All text logged by a function so far.
    pub fn log_of(&self, name: &str) -> String {
        let group = format!("/aws/lambda/{name}");
        self.logs
            .0
            .lock()
            .iter()
            .filter(|(g, ..)| *g == group)
            .map(|(_, _, text)| text.as_str())
            .collect()
    }

    /// Waits until a function's log holds a text.
    pub async fn logged(&self, name: &str, text: &str) -> String {
        self.logged_times(name, text, 1).await
    }
    pub async fn logged_times(&self, name: &str, text: &str, times: usize) -> String {
        for _ in 0..1500 {
            let log = self.log_of(name);
            if log.matches(text).count() >= times {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "{text:?} was not logged {times} times: {}",
            self.log_of(name)
        );
    }
}

pub fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (*n, c.as_bytes())).collect();
    zip_bytes(&files)
}

pub fn zip_bytes(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let is_program = name.ends_with("bootstrap") || name.starts_with("extensions/");
        let mode = if is_program { 0o755 } else { 0o644 };
        writer
            .start_file(
                *name,
                zip::write::SimpleFileOptions::default().unix_permissions(mode),
            )
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// State in a directory.
pub fn kept(place: &std::path::Path) -> store::Options {
    store::Options {
        dir: Some(place.to_owned()),
        ..Default::default()
    }
}

/// What a server that is killed now would leave of its directory.
pub fn as_killed(place: &std::path::Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("cp")
        .arg("-r")
        .arg(place.join("."))
        .arg(copy.path())
        .status()
        .unwrap();
    assert!(status.success());
    copy
}
