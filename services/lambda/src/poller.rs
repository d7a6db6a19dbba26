//! What stands behind an enabled event source mapping of a queue: the function invoked with batches, and what of them succeeded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cloud::poller::{self, Polling, QueueSink};
use cloud::ports::{QueueMessage, Queues};
use cloud::{Arn, EventPattern};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
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

/// Milliseconds before a throttled batch is tried again.
const THROTTLED: i64 = 250;

/// Starts the poller of a mapping, in place of one that runs.
pub fn start(state: &Arc<State>, key: Key, mapping: Mapping) {
    let (Ok(queue), Some(queues)) = (mapping.source.parse::<Arn>(), state.cloud.ports.queues())
    else {
        return;
    };
    let patterns = mapping.filters.iter().flatten();
    let default = std::thread::available_parallelism().map_or(2, usize::from) * 4;
    let polling = Polling {
        queue: queue.clone(),
        batch_size: usize::try_from(mapping.batch_size).unwrap_or(1).max(1),
        window: i64::from(mapping.window) * 1000,
        largest: SYNC_LIMIT / 2,
        parallel: mapping
            .concurrency
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(default),
        filters: patterns
            .filter_map(|p| EventPattern::parse(p).ok())
            .collect(),
    };
    let invoked = Invoked {
        state: state.clone(),
        queues: queues.clone(),
        key: key.clone(),
        queue,
        mapping,
    };
    let running = poller::poll(&state.cloud, queues, polling, invoked);
    state.pollers.0.lock().insert(key, running);
}

/// The function of a mapping.
struct Invoked {
    state: Arc<State>,
    queues: Arc<dyn Queues>,
    key: Key,
    queue: Arn,
    mapping: Mapping,
}

impl QueueSink for Invoked {
    fn take(&self, messages: Vec<QueueMessage>) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move { self.invoke(&messages).await })
    }
}

impl Invoked {
    /// Invokes the function; the handles of the messages that succeeded.
    async fn invoke(&self, messages: &[QueueMessage]) -> Result<Vec<String>, Fault> {
        let state = &self.state;
        let name = self.mapping.name(&self.key);
        let records: Vec<&Value> = messages.iter().map(|m| &m.record).collect();
        let payload = json!({ "Records": records }).to_string();
        let visibility = self.queues.queue(&self.queue)?.visibility * 1000;
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
