//! The Telemetry API: what happens in an environment and what is printed there, sent to extensions that subscribe
//! (<https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html>).
//!
//! Events go in batches, in order, to an HTTP server of the extension's; a batch is sent until it is taken. What happened before the
//! extension subscribed comes first.
#![allow(
    clippy::disallowed_methods,
    reason = "extensions are processes of the host and have its time, whatever the clock of the region does"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloud::{Cloud, HttpCall};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::extension::Refusal;
use crate::watched::Watched;

/// What events are of, as subscriptions name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// The platform's own records.
    Platform,
    /// Lines of the function.
    Function,
    /// Lines of extensions.
    Extension,
}

/// A subscription as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    schema_version: String,
    types: Vec<Category>,
    destination: Destination,
    #[serde(default)]
    buffering: Buffering,
}

#[derive(Debug, Deserialize)]
struct Destination {
    protocol: String,
    #[serde(rename = "URI", default)]
    uri: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Buffering {
    max_items: usize,
    max_bytes: usize,
    timeout_ms: u64,
}

impl Default for Buffering {
    fn default() -> Self {
        Buffering {
            max_items: 10_000,
            max_bytes: 256 << 10,
            timeout_ms: 1_000,
        }
    }
}

const SCHEMAS: [&str; 3] = ["2022-07-01", "2022-12-13", "2025-01-29"];
/// The names by which the environment's own servers are known.
pub const HOSTS: [&str; 2] = ["sandbox.localdomain", "sandbox"];
/// How much may wait for an extension; what comes beyond is dropped, and the extension told how much that was.
const MOST_WAITING: usize = 8 << 20;
/// Events kept for those that subscribe later.
const MOST_PAST: usize = 1_000;
/// How long a batch that was not taken is put off.
const PAUSE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a subscription is refused.
pub enum Denial {
    /// It asks for something else than what can be had.
    Invalid(String),
    Closed(Refusal),
}

impl Asked {
    fn read(body: &[u8]) -> Result<Asked, String> {
        let asked: Asked = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        if !SCHEMAS.contains(&asked.schema_version.as_str()) {
            return Err(format!(
                "schemaVersion {} is not supported",
                asked.schema_version
            ));
        }
        if asked.types.is_empty() {
            return Err("types must name at least one".into());
        }
        if asked.destination.protocol != "HTTP" {
            return Err(format!(
                "a destination of the protocol {} is not supported here, only HTTP",
                asked.destination.protocol
            ));
        }
        let buffering = &asked.buffering;
        let is_fine = (1_000..=10_000).contains(&buffering.max_items)
            && (262_144..=1_048_576).contains(&buffering.max_bytes)
            && (25..=30_000).contains(&buffering.timeout_ms);
        if !is_fine {
            return Err("buffering must have 1000 to 10000 items, 262144 to 1048576 bytes and 25 to 30000 milliseconds".into());
        }
        Ok(asked)
    }

    /// Where the server is for who asks from outside the environment, which shares the host's network.
    fn url(&self) -> Result<String, String> {
        let uri: http::Uri = self.destination.uri.parse().map_err(|_| "bad URI")?;
        let host = uri.host().unwrap_or_default();
        let is_own = HOSTS.contains(&host) || matches!(host, "localhost" | "127.0.0.1");
        if uri.scheme_str() != Some("http") || !is_own {
            return Err(format!(
                "the URI must be of http://sandbox.localdomain, not {}",
                self.destination.uri
            ));
        }
        let port = uri.port_u16().unwrap_or(80);
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        Ok(format!("http://127.0.0.1:{port}{path}"))
    }
}

/// What waits for a subscriber.
#[derive(Default)]
struct Waiting {
    /// JSON, each.
    events: Vec<String>,
    bytes: usize,
    dropped: (u64, usize),
    /// Whether it is to be sent without waiting for more.
    is_urgent: bool,
    is_under_way: bool,
    /// Whether the environment is stopped and takes nothing.
    is_stopped: bool,
}

struct Subscriber {
    categories: Vec<Category>,
    url: String,
    buffering: Buffering,
    waiting: Watched<Waiting>,
}

impl Subscriber {
    fn push(&self, event: &str) {
        self.waiting.change(|waiting| {
            if waiting.bytes + event.len() > MOST_WAITING {
                waiting.dropped.0 += 1;
                waiting.dropped.1 += event.len();
                return;
            }
            waiting.bytes += event.len();
            waiting.events.push(event.to_owned());
        });
    }

    async fn until(&self, holds: impl Fn(&Waiting) -> bool) {
        self.waiting.wait(|w| holds(w).then_some(())).await;
    }

    /// The next batch, once it is due.
    async fn batch(&self, cloud: &Cloud) -> String {
        self.until(|w| !w.events.is_empty()).await;
        let Buffering {
            max_items,
            max_bytes,
            timeout_ms,
        } = self.buffering;
        let is_full =
            |w: &Waiting| w.is_urgent || w.events.len() >= max_items || w.bytes >= max_bytes;
        // Whether it is full or old, it is due.
        let _ = tokio::time::timeout(Duration::from_millis(timeout_ms), self.until(is_full)).await;
        let mut waiting = self.waiting.quietly();
        let count = waiting.events.len().min(max_items);
        let mut events: Vec<String> = waiting.events.drain(..count).collect();
        waiting.bytes -= events.iter().map(String::len).sum::<usize>();
        waiting.is_under_way = true;
        let (records, bytes) = std::mem::take(&mut waiting.dropped);
        if records > 0 {
            let record = json!({ "reason": "Some logs were dropped because they were not taken in time", "droppedRecords": records, "droppedBytes": bytes });
            events.push(event(cloud, "platform.logsDropped", record));
        }
        format!("[{}]", events.join(","))
    }

    /// Sends what comes, for as long as the environment lives.
    async fn deliver(&self, cloud: &Cloud) {
        loop {
            let batch = self.batch(cloud).await;
            loop {
                self.until(|w| !w.is_stopped).await;
                let mut call = HttpCall::post(self.url.as_str(), batch.clone())
                    .header("content-type", "application/json");
                call.timeout = PATIENCE;
                match cloud.http.call(call).await {
                    Ok(answer) if answer.status.is_success() => break,
                    Ok(answer) => {
                        tracing::debug!(url = self.url, status = %answer.status, "an extension takes no telemetry");
                    }
                    Err(error) => {
                        tracing::debug!(url = self.url, %error, "an extension takes no telemetry");
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
            self.waiting.change(|w| w.is_under_way = false);
        }
    }
}

/// JSON of what happens now, as extensions see the time.
fn event(cloud: &Cloud, kind: &str, record: Value) -> String {
    let time = cloud.clock.system().iso8601_millis();
    json!({ "time": time, "type": kind, "record": record }).to_string()
}

#[derive(Default)]
struct Book {
    /// What happened before anybody could subscribe.
    past: Vec<(Category, String)>,
    subscribers: Vec<Arc<Subscriber>>,
    is_closed: bool,
    tasks: JoinSet<()>,
}

/// The telemetry of an environment.
pub struct Telemetry {
    cloud: Cloud,
    book: Mutex<Book>,
    /// Whether anybody hears, or may come to hear.
    is_heard: AtomicBool,
}

impl Telemetry {
    pub fn new(cloud: &Cloud) -> Telemetry {
        Telemetry {
            cloud: cloud.clone(),
            book: Mutex::default(),
            is_heard: AtomicBool::new(true),
        }
    }

    /// Tells of something.
    pub fn tell(&self, category: Category, kind: &str, record: impl FnOnce() -> Value) {
        if !self.is_heard.load(Ordering::Acquire) {
            return;
        }
        let text = event(&self.cloud, kind, record());
        let mut book = self.book.lock();
        for subscriber in &book.subscribers {
            if subscriber.categories.contains(&category) {
                subscriber.push(&text);
            }
        }
        if !book.is_closed && book.past.len() < MOST_PAST {
            book.past.push((category, text));
        }
    }

    /// Subscribes the extension of that name.
    pub fn subscribe(&self, name: &str, body: &[u8]) -> Result<(), Denial> {
        let asked = Asked::read(body).map_err(Denial::Invalid)?;
        let url = asked.url().map_err(Denial::Invalid)?;
        let types = asked.types;
        {
            let mut book = self.book.lock();
            if book.is_closed {
                return Err(Denial::Closed(Refusal {
                    kind: "Telemetry.SubscriptionClosed",
                    text: "Telemetry API subscription is closed".into(),
                }));
            }
            let subscriber = Arc::new(Subscriber {
                categories: types.clone(),
                url,
                buffering: asked.buffering,
                waiting: Watched::default(),
            });
            for (category, event) in &book.past {
                if types.contains(category) {
                    subscriber.push(event);
                }
            }
            book.subscribers.push(subscriber.clone());
            let cloud = self.cloud.clone();
            book.tasks
                .spawn(async move { subscriber.deliver(&cloud).await });
        }
        let record = || json!({ "name": name, "state": "Subscribed", "types": types });
        self.tell(Category::Platform, "platform.telemetrySubscription", record);
        Ok(())
    }

    /// Ends subscription: initialization is over.
    pub fn close(&self) {
        let mut book = self.book.lock();
        book.is_closed = true;
        book.past = Vec::new();
        self.is_heard
            .store(!book.subscribers.is_empty(), Ordering::Release);
    }

    /// Sends what waits, and returns when it is taken or has had its time.
    pub async fn flush(&self, within: Duration) {
        if !self.is_heard.load(Ordering::Acquire) {
            return;
        }
        let subscribers = self.book.lock().subscribers.clone();
        for subscriber in &subscribers {
            subscriber.waiting.change(|w| w.is_urgent = true);
        }
        let all = async {
            for subscriber in &subscribers {
                let is_through = |w: &Waiting| w.events.is_empty() && !w.is_under_way;
                subscriber.until(is_through).await;
            }
        };
        // What is not taken now is sent later.
        let _ = tokio::time::timeout(within, all).await;
        for subscriber in &subscribers {
            subscriber.waiting.change(|w| w.is_urgent = false);
        }
    }

    /// Says whether the environment is stopped.
    pub fn stop(&self, is_stopped: bool) {
        for subscriber in &self.book.lock().subscribers {
            subscriber.waiting.change(|w| w.is_stopped = is_stopped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(more: &Value) -> Result<String, String> {
        let mut body = json!({ "schemaVersion": "2022-12-13", "types": ["platform"],
                               "destination": { "protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/in" } });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        Asked::read(body.to_string().as_bytes())?.url()
    }

    #[test]
    fn subscriptions_are_of_the_environments_own_servers() {
        assert_eq!(asked(&json!({})).unwrap(), "http://127.0.0.1:4243/in");
        for wrong in [
            json!({ "schemaVersion": "2020-01-01" }),
            json!({ "types": [] }),
            json!({ "types": ["all"] }),
            json!({ "destination": { "protocol": "TCP", "port": 5 } }),
            json!({ "destination": { "protocol": "HTTP", "URI": "http://example.com:80" } }),
            json!({ "buffering": { "maxItems": 1 } }),
        ] {
            assert!(asked(&wrong).is_err(), "{wrong}");
        }
    }
}
