//! What stands behind an enabled event source mapping: it receives batches, invokes the function and deletes what succeeded.
//!
//! A poller waits in its queue and costs nothing until a message comes. What it had received when the server was killed is visible again
//! after the queue's visibility timeout, as on AWS.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cloud::ports::{QueueMessage, Queues};
use cloud::{Arn, EventPattern};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wire::Fault;

use crate::environment::Event;
use crate::event_source::{Key, Mapping};
use crate::invocation::{self, SYNC_LIMIT};
use crate::state::State;

/// The pollers that run, by mapping.
#[derive(Default)]
pub struct Pollers(Mutex<HashMap<Key, watch::Sender<()>>>);

impl Pollers {
    /// Ends the poller of a mapping. What it has received is processed.
    pub fn stop(&self, key: &Key) {
        self.0.lock().remove(key);
    }
    /// Ends all.
    pub fn stop_all(&self) {
        self.0.lock().clear();
    }
}

/// Milliseconds before a queue or function that is not there is looked for again.
const MISSING: i64 = 10_000;
/// Milliseconds before a throttled batch is tried again.
const THROTTLED: i64 = 250;
/// Most messages of one receive.
const AT_ONCE: usize = 10;

/// Starts the poller of a mapping, in place of one that runs.
pub fn start(state: &Arc<State>, key: Key, mapping: Mapping) {
    let (Ok(arn), Some(queues)) = (mapping.source.parse::<Arn>(), state.cloud.ports.queues())
    else {
        return;
    };
    let patterns = mapping.filters.iter().flatten();
    let patterns: Vec<EventPattern> = patterns
        .filter_map(|p| EventPattern::parse(p).ok())
        .collect();
    let default = std::thread::available_parallelism().map_or(2, usize::from) * 4;
    let most = mapping
        .concurrency
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(default);
    let poller = Arc::new(Poller {
        state: state.clone(),
        queues: queues.clone(),
        key: key.clone(),
        arn,
        patterns,
        mapping,
    });
    // A poller runs until its end of this is dropped.
    let (running, stopped) = watch::channel(());
    tokio::spawn(poller.run(Arc::new(Semaphore::new(most)), stopped));
    state.pollers.0.lock().insert(key, running);
}

struct Poller {
    state: Arc<State>,
    queues: Arc<dyn Queues>,
    key: Key,
    arn: Arn,
    mapping: Mapping,
    patterns: Vec<EventPattern>,
}

impl Poller {
    async fn run(self: Arc<Self>, turns: Arc<Semaphore>, mut stopped: watch::Receiver<()>) {
        loop {
            // A batch is received only when there is room to run it.
            let turn = tokio::select! {
                turn = turns.clone().acquire_owned() => turn,
                _ = stopped.changed() => return,
            };
            let Ok(turn) = turn else { return };
            let first = tokio::select! {
                first = self.queues.receive(&self.arn, self.most().min(AT_ONCE), None) => first,
                _ = stopped.changed() => return,
            };
            match first {
                Ok(first) if first.is_empty() => {}
                Ok(first) => {
                    let batch = self.fill(first, &mut stopped).await;
                    let this = self.clone();
                    tokio::spawn(async move { this.process(batch, turn).await });
                }
                Err(fault) => {
                    tracing::debug!(source_arn = %self.arn, %fault, "a queue cannot be polled now");
                    tokio::select! {
                        () = self.state.cloud.clock.pass(MISSING) => {}
                        _ = stopped.changed() => return,
                    }
                }
            }
        }
    }

    /// Most messages of a batch.
    fn most(&self) -> usize {
        usize::try_from(self.mapping.batch_size).unwrap_or(1).max(1)
    }

    /// Gathers until a batch is full, or as large as it became within the window.
    async fn fill(
        &self,
        mut batch: Vec<QueueMessage>,
        stopped: &mut watch::Receiver<()>,
    ) -> Vec<QueueMessage> {
        let window = i64::from(self.mapping.window) * 1000;
        let clock = &self.state.cloud.clock;
        let end = clock.now().plus_millis(window);
        let mut size: usize = batch.iter().map(|m| m.size).sum();
        while batch.len() < self.most() && window > 0 && size < SYNC_LIMIT / 2 {
            let left = end.0 - clock.now().0;
            if left <= 0 {
                break;
            }
            let room = (self.most() - batch.len()).min(AT_ONCE);
            let more = tokio::select! {
                more = self.queues.receive(&self.arn, room, Some(left)) => more,
                _ = stopped.changed() => break,
            };
            match more {
                Ok(more) if !more.is_empty() => {
                    size += more.iter().map(|m| m.size).sum::<usize>();
                    batch.extend(more);
                }
                _ => break,
            }
        }
        batch
    }

    async fn process(&self, batch: Vec<QueueMessage>, _turn: OwnedSemaphorePermit) {
        let (wanted, unwanted): (Vec<_>, Vec<_>) = batch.into_iter().partition(|m| self.lets(m));
        let mut done: Vec<String> = unwanted.into_iter().map(|m| m.handle).collect();
        if !wanted.is_empty() {
            match self.invoke(&wanted).await {
                Ok(succeeded) => done.extend(succeeded),
                Err(fault) => {
                    tracing::warn!(source_arn = %self.arn, function = self.mapping.function, %fault, cause = fault.cause, "a batch failed");
                }
            }
        }
        for handles in done.chunks(AT_ONCE) {
            if let Err(fault) = self.queues.delete(&self.arn, handles).await {
                tracing::warn!(source_arn = %self.arn, %fault, "messages that were processed will come again");
            }
        }
    }

    /// Whether the filters let a message through; without any, all are.
    fn lets(&self, message: &QueueMessage) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        let mut view = message.record.clone();
        // A body of JSON is looked into; any other is a text.
        let body = view["body"].as_str().map(serde_json::from_str::<Value>);
        if let Some(Ok(body @ (Value::Object(_) | Value::Array(_)))) = body {
            view["body"] = body;
        }
        self.patterns.iter().any(|p| p.matches(&view))
    }

    /// Invokes the function; the handles of the messages that succeeded.
    async fn invoke(&self, messages: &[QueueMessage]) -> Result<Vec<String>, Fault> {
        let state = &self.state;
        let name = self.mapping.name(&self.key);
        let records: Vec<&Value> = messages.iter().map(|m| &m.record).collect();
        let payload = json!({ "Records": records }).to_string();
        let visibility = self.queues.queue(&self.arn)?.visibility * 1000;
        let give_up = state.cloud.clock.now().plus_millis(visibility);
        let (resolved, permit) = loop {
            let resolved = state.resolve(&state.cloud.store.read(), &name)?;
            match invocation::admit(state, &name, &resolved) {
                Ok(permit) => break (resolved, permit),
                // Once others may receive the messages, this batch is theirs.
                Err(fault) if state.cloud.clock.now() >= give_up => return Err(fault),
                Err(_) => state.cloud.clock.pass(THROTTLED).await,
            }
        };
        let event = Event {
            id: cloud::ids::uuid(),
            arn: name.full_arn(),
            payload: payload.into(),
            client_context: None,
            trace: None,
        };
        let answer =
            invocation::detached(state.clone(), name, resolved, event, false, permit, None).await?;
        if answer.has_failed {
            return Ok(Vec::new());
        }
        let failed = match self.mapping.reports_failures {
            true => failures(&answer.payload, messages),
            false => Some(HashSet::new()),
        };
        Ok(match failed {
            Some(failed) => messages
                .iter()
                .filter(|m| !failed.contains(m.id.as_str()))
                .map(|m| m.handle.clone())
                .collect(),
            None => Vec::new(),
        })
    }
}

/// The messages that an answer reports as failed; `None` if all are, as they are where it cannot be understood.
fn failures<'m>(answer: &[u8], messages: &'m [QueueMessage]) -> Option<HashSet<&'m str>> {
    let find = |id: String| messages.iter().find(|m| m.id == id).map(|m| m.id.as_str());
    reported(answer)?.into_iter().map(find).collect()
}

/// The identifiers in a report of failures; `None` where it cannot be understood.
pub fn reported(answer: &[u8]) -> Option<Vec<String>> {
    let answer: Value = match answer {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).ok()?,
    };
    let list = match &answer {
        Value::Null => return Some(Vec::new()),
        Value::Object(map) => match map.get("batchItemFailures") {
            None | Some(Value::Null) => return Some(Vec::new()),
            Some(list) => list.as_array()?,
        },
        Value::String(text) if text.is_empty() => return Some(Vec::new()),
        Value::Array(list) if list.is_empty() => return Some(Vec::new()),
        _ => return None,
    };
    let id = |item: &Value| Some(item.get("itemIdentifier")?.as_str()?.to_owned());
    list.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_report_saves_part_of_a_batch() {
        let message = |id: &str| QueueMessage {
            id: id.to_owned(),
            handle: String::new(),
            group: None,
            size: 0,
            record: Value::Null,
        };
        let messages = [message("a"), message("b")];
        let of = |text: &str| failures(text.as_bytes(), &messages).map(|f| f.len());
        for text in [
            "",
            "null",
            "{}",
            "\"\"",
            "[]",
            "{\"batchItemFailures\": []}",
            "{\"batchItemFailures\": null}",
        ] {
            assert_eq!(of(text), Some(0), "{text}");
        }
        assert_eq!(
            of("{\"batchItemFailures\": [{\"itemIdentifier\": \"b\"}]}"),
            Some(1)
        );
        for text in [
            "{\"batchItemFailures\": [{\"itemIdentifier\": \"c\"}]}",
            "{\"batchItemFailures\": [{\"itemIdentifier\": null}]}",
            "{\"batchItemFailures\": [{\"foo\": \"a\"}]}",
            "{\"batchItemFailures\": \"x\"}",
            "[1]",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
