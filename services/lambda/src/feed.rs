//! What stands behind an event source mapping of a stream: batches become events, and answers say how far they got.

use std::collections::HashMap;
use std::sync::Arc;

use cloud::consumer::{Batch, Item, Lost, Outcome, Owner, Plan, Sink, Start, Stream};
use cloud::{Delivery, EventPattern};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use wire::{Fault, Timestamp};

use crate::environment::Event;
use crate::invocation;
use crate::mapping::{Key, Mapping, service_of};
use crate::name::Name;
use crate::poller::reported;
use crate::state::State;

/// What became of the last batch of each mapping.
#[derive(Default)]
pub struct Feeds(Mutex<HashMap<Key, &'static str>>);

impl Feeds {
    /// The last result of a mapping.
    pub fn result(&self, key: &Key) -> Option<String> {
        self.0.lock().get(key).map(|text| (*text).to_owned())
    }
    /// The mapping is gone.
    pub fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
    fn tell(&self, key: &Key, result: &'static str) {
        let mut all = self.0.lock();
        if all.get(key) != Some(&result) {
            all.insert(key.clone(), result);
        }
    }
}

const FINE: &str = "OK";
const FAILED: &str = "PROBLEM: Function call failed";
const UNREADABLE: &str = "PROBLEM: Lambda failed to read records from your stream";

/// Under what name a mapping's positions are kept.
pub fn owner(key: &Key) -> Owner {
    Owner {
        account: key.0.clone(),
        name: format!("{}/{}", key.1, key.2),
    }
}

fn start_of(mapping: &Mapping) -> Start {
    let of = mapping.of_stream.clone().unwrap_or_default();
    match (of.start.as_str(), of.start_time) {
        ("LATEST", _) => Start::Newest,
        ("AT_TIMESTAMP", Some(time)) => Start::Since(Timestamp(time)),
        _ => Start::Oldest,
    }
}

/// Fixes where a mapping begins to read.
pub async fn begin(state: &Arc<State>, key: &Key, mapping: &Mapping) {
    let Some(stream) = Stream::of(&state.cloud.ports, &mapping.source) else {
        return;
    };
    let owner = owner(key);
    let start = start_of(mapping);
    if let Err(fault) = state.consumers.begin(&owner, &stream, start).await {
        tracing::debug!(source_arn = mapping.source, %fault, "a stream cannot be read yet");
    }
}

fn unlimited(n: i32) -> Option<u32> {
    u32::try_from(n).ok()
}

/// Begins to read a stream, in place of what read it for this mapping before.
pub fn start(state: &Arc<State>, key: &Key, mapping: Mapping, stream: Stream) {
    let of = mapping.of_stream.clone().unwrap_or_default();
    let patterns = mapping.filters.iter().flatten();
    let plan = Plan {
        batch_size: usize::try_from(mapping.batch_size).unwrap_or(1).max(1),
        window: i64::from(mapping.window) * 1000,
        parallel: usize::try_from(of.parallel).unwrap_or(1).max(1),
        filters: patterns
            .filter_map(|p| EventPattern::parse(p).ok())
            .collect(),
        bisects: of.bisects,
        retries: unlimited(of.retries),
        max_age: unlimited(of.max_age).map(|secs| i64::from(secs) * 1000),
        tumbling: unlimited(of.tumbling)
            .filter(|secs| *secs > 0)
            .map(|secs| i64::from(secs) * 1000),
    };
    let begin = start_of(&mapping);
    let feed = Feed {
        state: state.clone(),
        key: key.clone(),
        mapping,
    };
    state
        .consumers
        .start(&owner(key), stream, plan, begin, Arc::new(feed));
}

struct Feed {
    state: Arc<State>,
    key: Key,
    mapping: Mapping,
}

impl Feed {
    fn is_table(&self) -> bool {
        service_of(&self.mapping.source) == "dynamodb"
    }

    /// The event of a batch.
    fn event(&self, shard: &str, items: &[Item], role: &str) -> Value {
        let source = &self.mapping.source;
        let record = |item: &Item| {
            let mut record = item.record.clone();
            if self.is_table() {
                record["eventSourceARN"] = json!(source);
                return record;
            }
            json!({
                "kinesis": record,
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": format!("{shard}:{}", item.sequence),
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": role,
                "awsRegion": self.key.1,
                "eventSourceARN": source,
            })
        };
        json!({ "Records": items.iter().map(record).collect::<Vec<_>>() })
    }

    fn whole(detail: Value) -> Outcome {
        Outcome::Failed {
            first: 0,
            is_reported: false,
            detail,
        }
    }

    async fn hand_over(&self, batch: &Batch<'_>) -> Result<Outcome, Fault> {
        let state = &self.state;
        let name = self.mapping.name(&self.key);
        let resolved = state.resolve(&state.cloud.store.read(), &name)?;
        let Ok(permit) = invocation::admit(state, &name, &resolved) else {
            return Ok(Outcome::Later);
        };
        let mut event = self.event(batch.shard, batch.items, &resolved.configuration.role);
        if let Some(window) = batch.window {
            event["window"] = json!({
                "start": window.start.iso8601_secs(),
                "end": window.end.iso8601_secs(),
            });
            event["state"] = window.state.clone();
            event["shardId"] = json!(batch.shard);
            event["eventSourceARN"] = json!(self.mapping.source);
            event["isFinalInvokeForWindow"] = json!(window.is_final);
            event["isWindowTerminatedEarly"] = json!(window.is_early);
        }
        let id = cloud::ids::uuid();
        let invocation = Event {
            id: id.clone(),
            arn: name.full_arn(),
            payload: event.to_string().into(),
            client_context: None,
            trace: None,
        };
        let state = state.clone();
        let answer =
            invocation::detached(state, name, resolved, invocation, false, permit, None).await?;
        let detail = json!({
            "requestId": id,
            "executedVersion": answer.version,
            "functionError": answer.has_failed.then_some("Unhandled"),
        });
        if answer.has_failed {
            return Ok(Self::whole(detail));
        }
        let is_final = batch.window.is_some_and(|w| w.is_final);
        let mut kept = None;
        if batch.window.is_some() {
            let said: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            kept = said.get("state").filter(|s| !s.is_null()).cloned();
            if kept.is_none() && !is_final {
                return Ok(Self::whole(detail));
            }
        }
        if self.mapping.reports_failures && !batch.items.is_empty() {
            let Some(ids) = reported(&answer.payload) else {
                return Ok(Self::whole(detail));
            };
            let place = |id: &String| batch.items.iter().position(|i| i.sequence == *id);
            let places: Option<Vec<usize>> = ids.iter().map(place).collect();
            match places {
                None => return Ok(Self::whole(detail)),
                Some(places) => {
                    if let Some(first) = places.into_iter().min() {
                        return Ok(Outcome::Failed {
                            first,
                            is_reported: true,
                            detail,
                        });
                    }
                }
            }
        }
        Ok(Outcome::Done(kept))
    }

    /// The record that a destination receives.
    fn record(&self, lost: &Lost<'_>, name: &Name, now: Timestamp) -> Value {
        let time = |item: Option<&Item>| {
            let time = item.map_or(Timestamp(0), |i| i.arrived);
            match self.is_table() {
                true => time.iso8601_secs(),
                false => time.iso8601_millis(),
            }
        };
        let (first, last) = (lost.items.first(), lost.items.last());
        let sequence = |item: Option<&Item>| item.map(|i| i.sequence.clone());
        let detail = lost.detail.cloned().unwrap_or_default();
        let mut record = json!({
            "requestContext": {
                "requestId": detail.get("requestId").cloned().unwrap_or_else(|| json!(cloud::ids::uuid())),
                "functionArn": name.full_arn(),
                "condition": if lost.is_old { "RecordAgeExceeded" } else { "RetryAttemptsExhausted" },
                // AWS counts one for records that were too old to be tried.
                "approximateInvokeCount": lost.attempts.max(1),
            },
            "version": "1.0",
            "timestamp": now.iso8601_millis(),
        });
        let info = match self.is_table() {
            true => "DDBStreamBatchInfo",
            false => "KinesisBatchInfo",
        };
        record[info] = json!({
            "shardId": lost.shard,
            "startSequenceNumber": sequence(first),
            "endSequenceNumber": sequence(last),
            "approximateArrivalOfFirstRecord": time(first),
            "approximateArrivalOfLastRecord": time(last),
            "batchSize": lost.items.len(),
            "streamArn": self.mapping.source,
        });
        let version = detail.get("executedVersion").filter(|_| !lost.is_old);
        if let Some(version) = version {
            // Null where the function named the records itself.
            record["responseContext"] = json!({
                "statusCode": 200,
                "executedVersion": version,
                "functionError": detail.get("functionError"),
            });
        }
        record
    }

    async fn give_up(&self, lost: Lost<'_>) -> Result<Vec<Delivery>, Fault> {
        tracing::warn!(
            source_arn = self.mapping.source,
            function = self.mapping.function,
            shard = lost.shard,
            records = lost.items.len(),
            "records of a stream were given up"
        );
        let of = self.mapping.of_stream.as_ref();
        let Some(target) = of.and_then(|of| of.on_failure.clone()) else {
            return Ok(Vec::new());
        };
        let state = &self.state;
        let name = self.mapping.name(&self.key);
        let resolved = state.resolve(&state.cloud.store.read(), &name).ok();
        let role = resolved.map(|r| r.configuration.role);
        let now = state.cloud.clock.now();
        let mut record = self.record(&lost, &name, now);
        if let Some((_, bucket)) = target.split_once(":s3:::") {
            let event = self.event(lost.shard, lost.items, role.as_deref().unwrap_or_default());
            record["payload"] = event;
            let stamp = now.iso8601_secs();
            let (day, time) = stamp.split_once('T').unwrap_or_default();
            let key = format!(
                "aws/lambda/{}/{}/{}/{day}T{}-{}",
                self.key.2,
                lost.shard,
                day.replace('-', "/"),
                time.trim_end_matches('Z').replace(':', "."),
                cloud::ids::uuid()
            );
            if let Some(objects) = state.cloud.ports.objects() {
                let put = objects.put(&self.key.0, bucket, &key, record.to_string().into());
                if let Err(fault) = put.await {
                    tracing::warn!(bucket, %fault, "a bucket refused what was given up");
                }
            }
            return Ok(Vec::new());
        }
        Ok(vec![Delivery {
            target,
            payload: record.to_string(),
            source: cloud::Source {
                service: "lambda.amazonaws.com".into(),
                arn: name.arn(),
                account: self.key.0.clone(),
                role,
            },
            ..Delivery::default()
        }])
    }
}

impl Sink for Feed {
    fn take<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let outcome = self.hand_over(&batch).await;
            match &outcome {
                Ok(Outcome::Done(_)) => self.state.feeds.tell(&self.key, FINE),
                Ok(Outcome::Later) => {}
                Ok(Outcome::Failed { .. }) | Err(_) => self.state.feeds.tell(&self.key, FAILED),
            }
            outcome.unwrap_or_else(|fault| {
                tracing::warn!(source_arn = self.mapping.source, function = self.mapping.function, %fault, cause = fault.cause, "a batch could not be handed over");
                Self::whole(Value::Null)
            })
        })
    }

    fn lose<'a>(&'a self, lost: Lost<'a>) -> BoxFuture<'a, Result<Vec<Delivery>, Fault>> {
        Box::pin(self.give_up(lost))
    }

    fn trouble(&self, _: &Fault) {
        self.state.feeds.tell(&self.key, UNREADABLE);
    }
}
