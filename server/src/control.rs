//! What the server itself answers: LocalStack's health and state routes, and its own.

use std::path::Path;
use std::sync::Arc;

use cloud::Cloud;
use futures_util::future::BoxFuture;
use gateway::Metrics;
use http::request::Parts;
use serde_json::{Value, json};
use wire::protocol::Response;
use wire::{Body, Fault, Timestamp};

/// The server's own routes.
pub struct Routes {
    /// The region.
    pub cloud: Cloud,
    /// Names of the services that run.
    pub services: Vec<&'static str>,
    /// When the region started, by its clock.
    pub started: Timestamp,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The authority's certificate, PEM.
    pub certificate: Option<String>,
}

/// Bodies of these routes are small.
const MAX_BODY: u64 = 64 * 1024;

impl gateway::Control for Routes {
    fn answer<'a>(
        &'a self,
        parts: &'a Parts,
        body: &'a mut Body,
    ) -> BoxFuture<'a, Option<Response>> {
        Box::pin(async move {
            let method = parts.method.as_str();
            let path = parts.uri.path();
            let answer = match (method, path) {
                ("GET" | "HEAD", "/_localstack/health" | "/health") => Ok(self.health()),
                ("GET", "/_localstack/info") => Ok(self.info()),
                ("GET", "/_localstack/init") => Ok(json!({
                    "completed": { "BOOT": true, "START": true, "READY": true, "SHUTDOWN": false }, "scripts": []
                })),
                ("GET", "/_localstack/plugins") => Ok(json!({})),
                ("GET", "/_cumulo/metrics") => {
                    return Some(Response::new(
                        200,
                        "text/plain; version=0.0.4",
                        self.metrics.text(),
                    ));
                }
                ("GET", "/_cumulo/certs") => {
                    let certificate = self.certificate.clone().unwrap_or_default();
                    return Some(Response::new(200, "application/x-pem-file", certificate));
                }
                ("POST", _)
                    if path.starts_with("/_cumulo/") || path.starts_with("/_localstack/state") =>
                {
                    let bytes = match std::mem::take(body).collect(MAX_BODY).await {
                        Ok(bytes) => bytes,
                        Err(e) => return Some(problem(&Fault::from_body(&e))),
                    };
                    let input: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                    self.command(path, &input).await?
                }
                _ => return None,
            };
            Some(match answer {
                Ok(value) => Response::new(200, "application/json", value.to_string()),
                Err(fault) => problem(&fault),
            })
        })
    }
}

fn problem(fault: &Fault) -> Response {
    let message = fault.cause.as_deref().unwrap_or(&fault.message);
    Response::new(
        fault.status,
        "application/json",
        json!({ "error": message }).to_string(),
    )
}

impl Routes {
    fn health(&self) -> Value {
        let services: serde_json::Map<String, Value> = self
            .services
            .iter()
            .map(|s| ((*s).to_owned(), "running".into()))
            .collect();
        json!({ "services": services, "edition": "cumulo", "version": env!("CARGO_PKG_VERSION") })
    }

    fn info(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "edition": "cumulo",
            "is_license_activated": true,
            "session_id": "cumulo",
            "machine_id": "cumulo",
            "system": std::env::consts::OS,
            "is_docker": false,
            "server_time_utc": self.cloud.clock.now().iso8601_secs(),
            "uptime": (self.cloud.clock.now().0 - self.started.0) / 1000,
        })
    }

    /// `None` for a path that is not one of these.
    async fn command(&self, path: &str, input: &Value) -> Option<Result<Value, Fault>> {
        let text = |key: &str| input[key].as_str().map(str::to_owned);
        Some(match path {
            "/_localstack/state/reset" => self.reset(None, None).await,
            "/_cumulo/reset" => self.reset(text("service"), text("account")).await,
            "/_cumulo/clock" => self.clock(input).await,
            "/_cumulo/snapshot/save" | "/_cumulo/snapshot/load" => match text("file") {
                Some(file) => self.snapshot(path.ends_with("save"), file).await,
                None => Err(Fault::sender(400, "InvalidInput", "file is missing")),
            },
            _ => return None,
        })
    }

    async fn clock(&self, input: &Value) -> Result<Value, Fault> {
        if let Some(ms) = input["advance_ms"].as_i64() {
            self.cloud
                .scheduler
                .advance_to(self.cloud.clock.now().plus_millis(ms))
                .await?;
        }
        match input["set"].as_str() {
            Some("system") => self.cloud.scheduler.reset_clock().await?,
            Some(text) => {
                let when = Timestamp::parse(text).ok_or_else(|| {
                    Fault::sender(400, "InvalidInput", format!("{text:?} is not a time"))
                })?;
                if when < self.cloud.clock.now() {
                    return Err(Fault::sender(
                        400,
                        "InvalidInput",
                        "the clock moves forward only",
                    ));
                }
                self.cloud.scheduler.advance_to(when).await?;
            }
            None => {}
        }
        Ok(json!({ "now": self.cloud.clock.now().iso8601_millis() }))
    }
}

impl Routes {
    async fn reset(
        &self,
        service: Option<String>,
        account: Option<String>,
    ) -> Result<Value, Fault> {
        self.cloud.reset(service, account).await?;
        Ok(json!({ "status": "OK" }))
    }

    async fn snapshot(&self, save: bool, file: String) -> Result<Value, Fault> {
        if save {
            self.cloud.snapshot_save(Path::new(&file)).await?
        } else {
            self.cloud.snapshot_load(Path::new(&file)).await?
        }
        Ok(json!({ "status": "OK" }))
    }
}
