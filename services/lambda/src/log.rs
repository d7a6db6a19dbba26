//! What an execution environment writes into its log stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use runtime::{Line, Stream};
use tokio::sync::mpsc;
use wire::Timestamp;

use crate::name::Name;
use crate::state::State;
use crate::telemetry::{Category, Telemetry};

/// Events sent at once, in bytes, below the API's own bound.
const BATCH_BYTES: usize = 900_000;
const BATCH_EVENTS: usize = 5_000;
/// Milliseconds after which events are not kept back for more.
const LATE: i64 = 1000;
/// Bytes that `LogType=Tail` gives back.
const TAIL: usize = 4096;

type Events = Vec<(Timestamp, String)>;

/// The writing end of a log stream. What is written is delivered in order, behind the invocation's back.
pub struct Log {
    state: Arc<State>,
    sender: Option<mpsc::UnboundedSender<Events>>,
    pending: Events,
    pending_bytes: usize,
    /// Whether platform lines are JSON.
    json: bool,
    /// The group's name.
    pub group: String,
    /// The stream's name.
    pub stream: String,
    tail: Option<String>,
    /// Hears the same.
    pub telemetry: Arc<Telemetry>,
}

impl Log {
    /// A new stream of that version in a function's group.
    pub fn new(state: &Arc<State>, name: &Name, group: &str, version: &str, json: bool) -> Log {
        let date = state.cloud.clock.now().iso8601_secs();
        let day = date.get(..10).unwrap_or("").replace('-', "/");
        let stream = format!("{day}/[{version}]{}", cloud::ids::hex(32));
        let sender = state.cloud.ports.logs().cloned().map(|sink| {
            let (sender, mut receiver) = mpsc::unbounded_channel::<Events>();
            let (account, region) = (name.account.clone(), name.region.clone());
            let (group, stream) = (group.to_owned(), stream.clone());
            state.log_writers.fetch_add(1, Ordering::AcqRel);
            let writers = state.clone();
            tokio::spawn(async move {
                while let Some(events) = receiver.recv().await {
                    if let Err(fault) = sink.append(&account, &region, &group, &stream, events).await {
                        tracing::warn!(group, stream, %fault, cause = fault.cause, "log events are lost");
                    }
                }
                writers.log_writers.fetch_sub(1, Ordering::AcqRel);
            });
            sender
        });
        Log {
            state: state.clone(),
            sender,
            pending: Vec::new(),
            pending_bytes: 0,
            json,
            group: group.to_owned(),
            stream,
            tail: None,
            telemetry: Arc::new(Telemetry::new(&state.cloud)),
        }
    }

    /// Adds one event.
    pub fn write(&mut self, text: String) {
        if let Some(tail) = &mut self.tail {
            tail.push_str(&text);
            if !text.ends_with('\n') {
                tail.push('\n');
            }
            if tail.len() > 4 * TAIL {
                cut_front(tail);
            }
        }
        let now = self.now();
        let is_old = self
            .pending
            .first()
            .is_some_and(|(first, _)| now.0 - first.0 > LATE);
        let size = text.len();
        self.pending.push((now, text));
        self.pending_bytes += size;
        if is_old || self.pending.len() >= BATCH_EVENTS || self.pending_bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Adds a line that a process printed; a record of several lines comes as one, marked by U+001E.
    pub fn line(&mut self, line: &Line) {
        let mut text = match line.bytes.strip_prefix(b"\x1e") {
            Some(record) => String::from_utf8_lossy(record).replace('\x1e', "\n"),
            None => String::from_utf8_lossy(&line.bytes).into_owned(),
        };
        text.push('\n');
        // Only extensions have the second stream to themselves: see `launch`.
        let (category, kind) = match line.stream {
            Stream::Stdout => (Category::Function, "function"),
            Stream::Stderr => (Category::Extension, "extension"),
        };
        self.telemetry.tell(category, kind, || text.as_str().into());
        self.write(text);
    }

    /// Adds a line of the platform: its text, or its type and record where logs are JSON.
    pub fn platform(&mut self, text: String, kind: &str, record: serde_json::Value) {
        self.telemetry
            .tell(Category::Platform, kind, || record.clone());
        if self.json {
            let time = self.state.cloud.clock.now().iso8601_millis();
            self.write(
                serde_json::json!({ "time": time, "type": kind, "record": record }).to_string(),
            );
        } else {
            self.write(text);
        }
    }

    /// Hands on what was written.
    pub fn flush(&mut self) {
        let events = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        if let Some(sender) = &self.sender
            && !events.is_empty()
        {
            // The receiving task lives as long as this end.
            let _ = sender.send(events);
        }
    }

    /// The time of the next event.
    pub fn now(&self) -> Timestamp {
        self.state.cloud.clock.now()
    }

    /// The time as processes of the host see it.
    pub fn system(&self) -> Timestamp {
        self.state.cloud.clock.system()
    }

    /// Begins to keep what `LogType=Tail` gives back.
    pub fn keep_tail(&mut self) {
        self.tail = Some(String::new());
    }

    /// The last 4 KiB since `keep_tail`.
    pub fn take_tail(&mut self) -> Option<String> {
        let mut tail = self.tail.take()?;
        cut_front(&mut tail);
        Some(tail)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

fn cut_front(text: &mut String) {
    let mut at = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    text.drain(..at);
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_tail_is_cut_between_characters() {
        let mut text = "ü".repeat(4000);
        super::cut_front(&mut text);
        assert_eq!(text.len(), 4096);
    }
}
