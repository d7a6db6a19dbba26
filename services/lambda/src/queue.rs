//! Asynchronous invocations: kept until the function has answered, tried again when it fails, and told of when they end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloud::Delivery;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::environment;
use crate::invocation::{self, Answer};
use crate::name::Name;
use crate::state::{Resolved, State};

/// The name of the jobs that try an invocation again.
pub const RETRY: &str = "lambda.retry";
/// Milliseconds before the second and the third attempt.
const WAITS: [i64; 2] = [60_000, 120_000];
/// Milliseconds before a throttled attempt is made again, doubling from the first to the last.
const THROTTLED: (i64, i64) = (1_000, 300_000);
/// Seconds and attempts where a function has no event invoke configuration.
const MAXIMUM_AGE: i64 = 21_600;
const MAXIMUM_RETRIES: u32 = 2;
/// How long a due retry holds up the region's other jobs, so that a moved clock sees it done in its turn.
const ATTENTION: Duration = Duration::from_secs(5);

/// An invocation that waits or runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    pub account: String,
    pub region: String,
    pub function: String,
    pub qualifier: Option<String>,
    pub request_id: String,
    #[serde(with = "serde_bytes_vec")]
    pub payload: Vec<u8>,
    /// `X-Amzn-Trace-Id` of who called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// When it was accepted, in milliseconds.
    pub accepted: i64,
    /// Attempts that reached the function.
    pub attempts: u32,
    /// Attempts that did not.
    #[serde(default)]
    pub throttles: u32,
    /// When the next attempt is due; 0 for the first.
    #[serde(default)]
    pub next: i64,
}

impl Record for Event {}

mod serde_bytes_vec {
    use serde::{Deserializer, Serializer, de::Visitor};

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, v: &[u8]) -> Result<Vec<u8>, E> {
                Ok(v.to_vec())
            }
        }
        d.deserialize_byte_buf(Bytes)
    }
}

impl Event {
    fn name(&self) -> Name {
        Name {
            account: self.account.clone(),
            region: self.region.clone(),
            function: self.function.clone(),
            qualifier: self.qualifier.clone(),
        }
    }
}

/// Accepts an invocation; when this returns it is durable.
pub async fn enqueue(
    state: &Arc<State>,
    name: &Name,
    request_id: &str,
    payload: Bytes,
    trace: Option<String>,
) -> Result<(), Fault> {
    let event = Event {
        account: name.account.clone(),
        region: name.region.clone(),
        function: name.function.clone(),
        qualifier: name.qualifier.clone(),
        request_id: request_id.to_owned(),
        payload: payload.to_vec(),
        trace,
        accepted: state.cloud.clock.now().0,
        attempts: 0,
        throttles: 0,
        next: 0,
    };
    let id = cloud::ids::uuid();
    change(state, &id, |tx| Ok(tx.put(&state.events, &id, &event)?)).await?;
    tokio::spawn(attempt(state.clone(), id));
    Ok(())
}

async fn change<R>(
    state: &State,
    id: &str,
    f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
) -> Result<R, Fault> {
    state
        .cloud
        .store
        .transact(Scope::new(&["lambda.events", id]), f)
        .await
}

/// Begins anew what a stopped server left, and handles due retries.
pub fn start(state: &Arc<State>) {
    let handler = state.clone();
    #[allow(
        clippy::disallowed_methods,
        reason = "an attempt is left to itself after a moment of the host"
    )]
    state.cloud.scheduler.register(RETRY, move |job| {
        let state = handler.clone();
        Box::pin(async move {
            if job.key.is_empty() {
                resume(&state)?;
                return Ok(());
            }
            let running = tokio::spawn(attempt(state, job.key));
            let _ = tokio::time::timeout(ATTENTION, running).await;
            Ok(())
        })
    });
    let is_empty = state
        .cloud
        .store
        .read()
        .range(&state.events, Range::all().limit(1))
        .next()
        .is_none();
    if !is_empty {
        let state = state.clone();
        // Not before the region runs: other services may not have been built yet.
        tokio::spawn(async move {
            let (scheduler, now) = (state.cloud.scheduler.clone(), state.cloud.clock.now());
            if let Err(e) = change(&state, "", |tx| {
                scheduler.at(tx, now, RETRY, "", Value::Null)
            })
            .await
            {
                tracing::error!(fault = %e, cause = e.cause, "asynchronous invocations wait for the next start");
            }
        });
    }
}

fn resume(state: &Arc<State>) -> Result<(), Fault> {
    let now = state.cloud.clock.now().0;
    for row in state.cloud.store.read().range(&state.events, Range::all()) {
        let (id, event) = row?;
        // The others have a job of their own.
        if event.next <= now {
            tokio::spawn(attempt(state.clone(), id));
        }
    }
    Ok(())
}

async fn attempt(state: Arc<State>, id: String) {
    if !state.attempts.lock().insert(id.clone()) {
        return;
    }
    if let Err(fault) = try_once(&state, &id).await {
        tracing::error!(id, %fault, cause = fault.cause, "an asynchronous invocation waits for the next start");
    }
    state.attempts.lock().remove(&id);
}

async fn try_once(state: &Arc<State>, id: &str) -> Result<(), Fault> {
    let Some(event) = state.cloud.store.read().get(&state.events, &id)? else {
        return Ok(());
    };
    let name = event.name();
    let read = state.cloud.store.read();
    let resolved = match state.resolve(&read, &name) {
        Ok(resolved) => resolved,
        Err(fault) if fault.is("ResourceNotFoundException") => {
            return end(state, id, &event, None, "", None).await;
        }
        Err(fault) => return Err(fault),
    };
    let settings = state.event_invoke(&read, &name)?;
    let maximum_age = settings.maximum_age.map_or(MAXIMUM_AGE, i64::from) * 1000;
    let retries = settings
        .retries
        .map_or(MAXIMUM_RETRIES, |n| u32::try_from(n).unwrap_or(0));
    let now = state.cloud.clock.now().0;
    if now - event.accepted > maximum_age {
        return end(state, id, &event, Some(&resolved), "EventAgeExceeded", None).await;
    }
    let _turn = state.turns.turn(&name).await;
    let permit = match invocation::admit(state, &name, &resolved) {
        Ok(permit) => permit,
        Err(_) if resolved.function.reserved == Some(0) => {
            return end(
                state,
                id,
                &event,
                Some(&resolved),
                "ZeroReservedConcurrency",
                None,
            )
            .await;
        }
        Err(_) => {
            let wait = (THROTTLED.0 << event.throttles.min(16)).min(THROTTLED.1);
            let throttles = event.throttles + 1;
            return again(
                state,
                id,
                Event {
                    throttles,
                    next: now + wait,
                    ..event
                },
            )
            .await;
        }
    };
    let invocation = environment::Event {
        id: event.request_id.clone(),
        arn: name.full_arn(),
        payload: event.payload.clone().into(),
        client_context: None,
        trace: event.trace.clone(),
    };
    let copy = resolved.clone();
    let outcome =
        invocation::detached(state.clone(), name, copy, invocation, false, permit, None).await;
    let event = Event {
        attempts: event.attempts + 1,
        ..event
    };
    match outcome {
        Ok(answer) if !answer.has_failed => {
            end(state, id, &event, Some(&resolved), "Success", Some(answer)).await
        }
        Ok(answer) if event.attempts > retries => {
            end(
                state,
                id,
                &event,
                Some(&resolved),
                "RetriesExhausted",
                Some(answer),
            )
            .await
        }
        Err(fault) if event.attempts > retries => {
            tracing::warn!(function = event.function, %fault, cause = fault.cause, "an asynchronous invocation was given up");
            end(state, id, &event, Some(&resolved), "RetriesExhausted", None).await
        }
        _ => {
            let wait = WAITS[usize::try_from(event.attempts - 1)
                .unwrap_or(0)
                .min(WAITS.len() - 1)];
            let next = state.cloud.clock.now().0 + wait;
            if next - event.accepted > maximum_age {
                return end(state, id, &event, Some(&resolved), "EventAgeExceeded", None).await;
            }
            again(state, id, Event { next, ..event }).await
        }
    }
}

/// Plans the next attempt.
async fn again(state: &State, id: &str, event: Event) -> Result<(), Fault> {
    let when = Timestamp(event.next);
    change(state, id, |tx| {
        tx.put(&state.events, &id, &event)?;
        state.cloud.scheduler.at(tx, when, RETRY, id, Value::Null)
    })
    .await
}

/// Ends an invocation and tells its destination and dead-letter queue, in one step.
async fn end(
    state: &State,
    id: &str,
    event: &Event,
    resolved: Option<&Resolved>,
    condition: &str,
    answer: Option<Answer>,
) -> Result<(), Fault> {
    let name = event.name();
    let is_success = condition == "Success";
    let settings = state.event_invoke(&state.cloud.store.read(), &name)?;
    let destination = if is_success {
        settings.on_success
    } else {
        settings.on_failure
    };
    let source = cloud::Source {
        service: "lambda.amazonaws.com".into(),
        arn: name.arn(),
        account: event.account.clone(),
        role: resolved.map(|r| r.configuration.role.clone()),
    };
    let mut sends = Vec::new();
    if let Some(target) = destination {
        let record = record(state, event, resolved, condition, answer.as_ref());
        let payload = match target.split(':').nth(2) {
            Some("events") => bus_event(state, event, &target, is_success, record),
            _ => record,
        };
        sends.push(Delivery {
            target,
            payload: payload.to_string(),
            source: source.clone(),
            ..Delivery::default()
        });
    }
    let dead_letter = resolved
        .and_then(|r| r.configuration.dead_letter.clone())
        .filter(|_| !is_success);
    if let Some(target) = dead_letter {
        let message = answer.as_ref().and_then(|a| {
            let error: Value = serde_json::from_slice(&a.payload).ok()?;
            Some(
                error
                    .get("errorMessage")?
                    .as_str()?
                    .chars()
                    .take(1024)
                    .collect::<String>(),
            )
        });
        let parameters = [
            ("RequestID".to_owned(), event.request_id.clone()),
            ("ErrorCode".to_owned(), "200".to_owned()),
            ("ErrorMessage".to_owned(), message.unwrap_or_default()),
        ];
        let payload = String::from_utf8_lossy(&event.payload).into_owned();
        sends.push(Delivery {
            target,
            payload,
            source,
            parameters: parameters.into(),
            ..Delivery::default()
        });
    }
    change(state, id, |tx| {
        tx.delete(&state.events, &id);
        state.cloud.scheduler.cancel(tx, RETRY, id)?;
        sends
            .iter()
            .try_for_each(|delivery| state.cloud.targets.send(tx, delivery))
    })
    .await
}

/// The record as an event of a bus.
fn bus_event(state: &State, event: &Event, bus: &str, is_success: bool, record: Value) -> Value {
    let result = if is_success { "Success" } else { "Failure" };
    json!({
        "version": "0",
        "id": cloud::ids::uuid(),
        "detail-type": format!("Lambda Function Invocation Result - {result}"),
        "source": "lambda",
        "account": event.account,
        "time": state.cloud.clock.now().iso8601_secs(),
        "region": event.region,
        "resources": [bus, record["requestContext"]["functionArn"]],
        "detail": record,
    })
}

/// The record that a destination receives.
fn record(
    state: &State,
    event: &Event,
    resolved: Option<&Resolved>,
    condition: &str,
    answer: Option<&Answer>,
) -> Value {
    let name = event.name();
    let version = answer
        .map(|a| a.version.as_str())
        .or(resolved.map(|r| r.version.as_str()))
        .unwrap_or(name.qualifier());
    let json_or_text = |bytes: &[u8]| -> Value {
        serde_json::from_slice(bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(bytes)))
    };
    let mut record = json!({
        "version": "1.0",
        "timestamp": state.cloud.clock.now().iso8601_millis(),
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": name.arn_of(name.qualifier()),
            "condition": condition,
            "approximateInvokeCount": event.attempts,
        },
        "requestPayload": json_or_text(&event.payload),
    });
    if let Some(answer) = answer {
        record["responseContext"] = json!({ "statusCode": 200, "executedVersion": version });
        if answer.has_failed {
            record["responseContext"]["functionError"] = json!("Unhandled");
        }
        record["responsePayload"] = json_or_text(&answer.payload);
    }
    record
}
