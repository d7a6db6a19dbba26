//! InvokeWithResponseStream: a function's answer as it comes.

use std::sync::Arc;

use bytes::Bytes;
use cloud::Context;
use tokio::sync::mpsc;
use wire::{Event, EventStream, Fault};

use crate::api::{
    InvokeResponseStreamUpdate, InvokeWithResponseStreamCompleteEvent,
    InvokeWithResponseStreamInput, InvokeWithResponseStreamOutput,
    invoke_with_response_stream_response_event as event,
};
use crate::environment;
use crate::errors;
use crate::invocation::{self, Answer, SYNC_LIMIT};
use crate::name::Name;
use crate::state::State;

/// Pieces that wait for a slow reader.
const WAITING: usize = 16;

/// A piece of a streamed answer.
#[derive(Debug)]
pub enum Piece {
    /// It begins, with its content type.
    Start(Option<String>),
    /// Bytes.
    Chunk(Bytes),
}

/// An answer under way: its pieces, and how it ends.
pub struct Streamed {
    pub pieces: mpsc::Receiver<Piece>,
    pub end: tokio::task::JoinHandle<Result<Answer, Fault>>,
}

/// Begins an invocation whose answer is passed on as it comes.
pub fn begin(
    state: &Arc<State>,
    name: Name,
    event: environment::Event,
    wants_tail: bool,
) -> Result<(Streamed, String), Fault> {
    let resolved = state.resolve(&state.cloud.store.read(), &name)?;
    let version = resolved.version.clone();
    let permit = invocation::admit(state, &name, &resolved)?;
    let (sink, pieces) = mpsc::channel(WAITING);
    let end = tokio::spawn(invocation::detached(
        state.clone(),
        name,
        resolved,
        event,
        wants_tail,
        permit,
        Some(sink),
    ));
    Ok((Streamed { pieces, end }, version))
}

pub async fn invoke(
    state: &Arc<State>,
    ctx: &Context,
    input: InvokeWithResponseStreamInput,
) -> Result<InvokeWithResponseStreamOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let payload = input.payload.unwrap_or_default();
    if payload.len() > SYNC_LIMIT {
        let text = format!(
            "{} byte payload is too large for the RequestResponse invocation type (limit {SYNC_LIMIT} bytes)",
            payload.len()
        );
        return Err(errors::request_too_large_exception(text));
    }
    invocation::check_json(&payload)?;
    if input.invocation_type.as_deref() == Some("DryRun") {
        state.resolve(&state.cloud.store.read(), &name)?;
        return Ok(InvokeWithResponseStreamOutput {
            status_code: Some(204),
            executed_version: None,
            event_stream: None,
            response_stream_content_type: None,
        });
    }
    let invocation = environment::Event {
        id: ctx.request_id.clone(),
        arn: name.full_arn(),
        payload,
        client_context: invocation::client_context(input.client_context.as_deref())?,
        trace: ctx.trace.clone(),
    };
    let wants_tail = input.log_type.as_deref() == Some("Tail");
    let (streamed, version) = begin(state, name, invocation, wants_tail)?;
    let Streamed { pieces, end } = streamed;
    let stream = futures_util::stream::unfold(
        (pieces, Some(end), None),
        |(mut pieces, mut end, mut last)| async move {
            if let Some(complete) = last.take() {
                return Some((Ok(complete), (pieces, end, None)));
            }
            end.as_ref()?;
            while let Some(piece) = pieces.recv().await {
                if let Piece::Chunk(bytes) = piece {
                    return Some((Ok(chunk(bytes)), (pieces, end, None)));
                }
            }
            let outcome: Result<Answer, Fault> = match end.take()?.await {
                Ok(outcome) => outcome,
                Err(e) => Err(e.into()),
            };
            match outcome {
                Err(fault) => Some((Err(fault), (pieces, None, None))),
                Ok(answer) => {
                    use base64::Engine;
                    let encode = |text| base64::engine::general_purpose::STANDARD.encode(text);
                    let complete = event::invoke_complete(InvokeWithResponseStreamCompleteEvent {
                        error_code: answer.has_failed.then(|| "Unhandled".into()),
                        error_details: answer
                            .has_failed
                            .then(|| String::from_utf8_lossy(&answer.payload).into_owned()),
                        log_result: answer.tail.map(encode),
                    });
                    if answer.has_failed || answer.payload.is_empty() {
                        Some((Ok(complete), (pieces, None, None)))
                    } else {
                        // A function that does not stream answers in one piece.
                        Some((Ok(chunk(answer.payload)), (pieces, None, Some(complete))))
                    }
                }
            }
        },
    );
    Ok(InvokeWithResponseStreamOutput {
        status_code: Some(200),
        executed_version: Some(version),
        event_stream: Some(EventStream(Box::pin(stream))),
        response_stream_content_type: Some("application/vnd.amazon.eventstream".into()),
    })
}

fn chunk(bytes: Bytes) -> Event {
    event::payload_chunk(InvokeResponseStreamUpdate {
        payload: Some(bytes),
    })
}
