//! How invocations end, in AWS's words.

use std::time::{Duration, Instant};

use bytes::Bytes;
use runtime::Exit;
use serde_json::json;
use tokio::time::Instant as Deadline;

use crate::extension::Failure;

/// How an invocation ended.
#[derive(Debug)]
pub enum Ended {
    /// With an answer.
    Done(Bytes),
    /// With an error of the function or the platform.
    Failed(Bytes),
}

/// What the log is to say at the end of an invocation.
pub struct Report {
    pub id: String,
    pub started: Instant,
    pub deadline: Deadline,
    pub took: Duration,
    pub status: &'static str,
    pub kind: Option<String>,
    /// The extension that failed meanwhile.
    pub failure: Option<Failure>,
}

/// Milliseconds as records have them.
pub fn round(millis: f64) -> f64 {
    (millis * 1000.0).round() / 1000.0
}

/// The type that an error's JSON names.
pub fn error_type(payload: &[u8]) -> Option<String> {
    let error: serde_json::Value = serde_json::from_slice(payload).ok()?;
    Some(error.get("errorType")?.as_str()?.to_owned())
}

/// The type of the error that an invocation ended with.
pub fn error_of(ended: &Ended) -> Option<String> {
    match ended {
        Ended::Done(_) => None,
        Ended::Failed(payload) => error_type(payload),
    }
}

/// What is said of a process that ended.
pub fn exit_text(exit: Exit) -> String {
    match (exit.code, exit.signal) {
        _ if exit.oom_killed => "Runtime exited with error: signal: killed".into(),
        (Some(0), _) | (None, None) => "Runtime exited without providing a reason".into(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(signal)) => {
            format!("Runtime exited with error: signal: {}", signal_name(signal))
        }
    }
}

fn signal_name(signal: i32) -> String {
    match signal {
        4 => "illegal instruction".into(),
        6 => "aborted".into(),
        7 => "bus error".into(),
        8 => "floating point exception".into(),
        9 => "killed".into(),
        11 => "segmentation fault".into(),
        13 => "broken pipe".into(),
        15 => "terminated".into(),
        other => format!("signal {other}"),
    }
}

/// The type and the error of an invocation whose process ended.
pub fn exited(id: &str, exit: Exit) -> (String, Ended) {
    let kind = if exit.oom_killed {
        "Runtime.OutOfMemory"
    } else {
        "Runtime.ExitError"
    };
    let message = format!("RequestId: {id} Error: {}", exit_text(exit));
    let body = json!({ "errorType": "Runtime.ExitError", "errorMessage": message }).to_string();
    (kind.to_owned(), Ended::Failed(body.into()))
}

/// The type and the error of an invocation whose environment has an extension that failed.
pub fn extension_failed(id: &str, failure: &Failure) -> (String, Ended) {
    let message = format!("RequestId: {id} Error: {}", failure.text);
    let body = json!({ "errorType": failure.kind, "errorMessage": message }).to_string();
    (failure.kind.to_owned(), Ended::Failed(body.into()))
}
