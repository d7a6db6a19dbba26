//! Invoke: from a request to a function's answer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cloud::Context;
use store::{Range, Read};
use tokio::sync::mpsc;
use wire::Fault;

use crate::api::{InvokeAsyncInput, InvokeAsyncOutput, InvokeInput, InvokeOutput};
use crate::ending::Ended;
use crate::environment::{Blueprint, Event};
use crate::launch;
use crate::name::Name;
use crate::pool::{self, ACCOUNT_LIMIT, Permit, Pools};
use crate::state::{Resolved, State};
use crate::stream::Piece;
use crate::{errors, provisioned, queue};

/// Bytes of a request or answer of a synchronous invocation.
pub const SYNC_LIMIT: usize = 6_291_556;
/// Bytes of an event.
pub const ASYNC_LIMIT: usize = 262_144;

/// What a function made of an event.
pub struct Answer {
    pub payload: Bytes,
    /// Whether that is an error of the function.
    pub has_failed: bool,
    /// The end of the log, where it was asked for.
    pub tail: Option<String>,
    /// The version that ran.
    pub version: String,
}

pub async fn invoke(
    state: &Arc<State>,
    ctx: &Context,
    input: InvokeInput,
) -> Result<InvokeOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let payload = input.payload.unwrap_or_default();
    let kind = input
        .invocation_type
        .as_deref()
        .unwrap_or("RequestResponse");
    let limit = if kind == "Event" {
        ASYNC_LIMIT
    } else {
        SYNC_LIMIT
    };
    if payload.len() > limit {
        let text = format!(
            "{} byte payload is too large for the {kind} invocation type (limit {limit} bytes)",
            payload.len()
        );
        return Err(errors::request_too_large_exception(text));
    }
    check_json(&payload)?;
    // A function that is called with nothing is given an empty object.
    let payload = if payload.is_empty() {
        Bytes::from_static(b"{}")
    } else {
        payload
    };
    let resolved = state.resolve(&state.cloud.store.read(), &name)?;
    match kind {
        "DryRun" => Ok(InvokeOutput {
            status_code: Some(204),
            ..Default::default()
        }),
        "Event" => {
            queue::enqueue(state, &name, &ctx.request_id, payload, ctx.trace.clone()).await?;
            Ok(InvokeOutput {
                status_code: Some(202),
                ..Default::default()
            })
        }
        _ => {
            let event = Event {
                id: ctx.request_id.clone(),
                arn: name.full_arn(),
                payload,
                client_context: client_context(input.client_context.as_deref())?,
                trace: ctx.trace.clone(),
            };
            let wants_tail = input.log_type.as_deref() == Some("Tail");
            let permit = admit(state, &name, &resolved)?;
            let answer = detached(
                state.clone(),
                name,
                resolved,
                event,
                wants_tail,
                permit,
                None,
            )
            .await?;
            Ok(InvokeOutput {
                status_code: Some(200),
                function_error: answer.has_failed.then(|| "Unhandled".into()),
                log_result: answer.tail.map(|text| STANDARD.encode(text)),
                payload: Some(answer.payload),
                executed_version: Some(answer.version),
                ..Default::default()
            })
        }
    }
}

/// The older way to send an event.
pub async fn invoke_async(
    state: &Arc<State>,
    ctx: &Context,
    input: InvokeAsyncInput,
) -> Result<InvokeAsyncOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, None)?;
    let payload = input
        .invoke_args
        .collect(ASYNC_LIMIT as u64)
        .await
        .map_err(|e| match e {
            wire::BodyError::TooLarge(_) => {
                errors::request_too_large_exception("the event is larger than 256 KiB")
            }
            other => Fault::from_body(&other),
        })?;
    check_json(&payload)?;
    state.resolve(&state.cloud.store.read(), &name)?;
    queue::enqueue(state, &name, &ctx.request_id, payload, ctx.trace.clone()).await?;
    Ok(InvokeAsyncOutput { status: Some(202) })
}

/// Whether a payload is JSON, or nothing.
pub fn check_json(payload: &[u8]) -> Result<(), Fault> {
    if payload.is_empty() {
        return Ok(());
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(payload)
        .map(drop)
        .map_err(|e| {
            errors::invalid_request_content_exception(format!(
                "Could not parse request body into json: {e}"
            ))
        })
}

/// The client context: base64 of a JSON object.
pub fn client_context(text: Option<&str>) -> Result<Option<serde_json::Value>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let read = STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let bad = || {
        errors::invalid_request_content_exception(
            "Client context must be a valid Base64-encoded JSON object.",
        )
    };
    read.map(Some).ok_or_else(bad)
}

/// Counts an invocation in, by the function's reservation or what all others leave.
pub fn admit(state: &Arc<State>, name: &Name, resolved: &Resolved) -> Result<Permit, Fault> {
    let reserved = match resolved.function.reserved {
        None => None,
        Some(_) if provisioned::takes_all(&state.cloud.store.read(), state, name, resolved)? => {
            Some(0)
        }
        Some(n) => Some(usize::try_from(n).unwrap_or(0)),
    };
    let unreserved = match reserved {
        Some(_) => 0,
        None => ACCOUNT_LIMIT.saturating_sub(state.reservations.of(state, name)?),
    };
    pool::enter(state, name, reserved, unreserved)
}

/// The sum of an account's reservations in a region.
pub fn reserved_in(
    read: &impl Read,
    state: &State,
    name: &Name,
    except: Option<&str>,
) -> Result<usize, Fault> {
    let mut sum = 0;
    for row in read.range(
        &state.functions,
        Range::prefix(&(&name.account, &name.region)),
    ) {
        let ((_, _, function), record) = row?;
        if except != Some(function.as_str()) {
            sum += record
                .reserved
                .map_or(0, |n| usize::try_from(n).unwrap_or(0));
        }
    }
    Ok(sum)
}

/// Runs to the end even when the caller goes away, as a function does.
pub async fn detached(
    state: Arc<State>,
    name: Name,
    resolved: Resolved,
    event: Event,
    wants_tail: bool,
    permit: Permit,
    sink: Option<mpsc::Sender<Piece>>,
) -> Result<Answer, Fault> {
    tokio::spawn(async move {
        let answer = run(&state, &name, resolved, event, wants_tail, sink.as_ref()).await;
        drop(permit);
        answer
    })
    .await?
}

async fn run(
    state: &Arc<State>,
    name: &Name,
    resolved: Resolved,
    event: Event,
    wants_tail: bool,
    sink: Option<&mpsc::Sender<Piece>>,
) -> Result<Answer, Fault> {
    let Resolved {
        version,
        configuration,
        ..
    } = resolved;
    let blueprint = Arc::new(Blueprint {
        name: Name {
            qualifier: None,
            ..name.clone()
        },
        version: version.clone(),
        configuration,
        is_provisioned: false,
    });
    let mut key = pool::key(&blueprint);
    let mut taken = None;
    if let Some(provisioned) = state.fleets.pool(name, &version) {
        taken = state.pools.take(&provisioned, false).await;
        if taken.is_some() {
            key = provisioned;
        }
    }
    if taken.is_none() {
        taken = state.pools.take(&key, true).await;
    }
    let (mut environment, ready) = match taken {
        Some(mut environment) => {
            if wants_tail {
                environment.log.keep_tail();
            }
            (environment, Ok(()))
        }
        None => {
            let mut environment = match launch::start(state, blueprint).await {
                Ok(environment) => environment,
                Err(fault) if fault.is(launch::INVALID_ENTRYPOINT) => {
                    let text = format!("RequestId: {} Error: {}", event.id, fault.message);
                    let error =
                        serde_json::json!({ "errorType": fault.code, "errorMessage": text });
                    let payload = error.to_string().into();
                    return Ok(Answer {
                        payload,
                        has_failed: true,
                        tail: wants_tail.then(String::new),
                        version,
                    });
                }
                Err(fault) => return Err(fault),
            };
            if wants_tail {
                environment.log.keep_tail();
            }
            let ready = environment.initialize(state, &event.id).await;
            (environment, ready)
        }
    };
    let (mut ended, report) = environment.invoke(&event, ready, sink).await;
    if let Ended::Done(payload) = &ended
        && payload.len() > SYNC_LIMIT
    {
        let text = format!(
            "{{\"errorMessage\":\"Response payload size exceeded maximum allowed payload size ({SYNC_LIMIT} bytes).\",\
             \"errorType\":\"Function.ResponseSizeTooLarge\"}}"
        );
        ended = Ended::Failed(text.into());
    }
    let mut tail = None;
    let report = if wants_tail {
        environment.finish(report).await;
        tail = environment.log.take_tail();
        None
    } else {
        Some(report)
    };
    Pools::park(state, &key, environment, report);
    let (payload, has_failed) = match ended {
        Ended::Done(payload) => (payload, false),
        Ended::Failed(payload) => (payload, true),
    };
    Ok(Answer {
        payload,
        has_failed,
        tail,
        version,
    })
}
