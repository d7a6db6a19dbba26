//! Records that could not be processed or delivered, as they are written to the bucket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wire::Timestamp;

/// A record that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// `processing-failed`, `http-endpoint-failed`
    pub(crate) kind: &'static str,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) attempts: u32,
    /// When the record arrived.
    pub(crate) arrived: i64,
    pub(crate) data: Vec<u8>,
    /// What else is said of it: the function's ARN, the endpoint.
    pub(crate) more: Option<(&'static str, String)>,
}

impl Failure {
    /// The line that tells of it.
    pub(crate) fn line(&self, now: Timestamp) -> String {
        let mut line = json!({
            "attemptsMade": self.attempts,
            "arrivalTimestamp": self.arrived,
            "errorCode": self.code,
            "errorMessage": self.message,
            "attemptEndingTimestamp": now.0,
            "rawData": STANDARD.encode(&self.data),
        });
        if let Some((name, value)) = &self.more {
            line[*name] = Value::String(value.clone());
        }
        let mut text = line.to_string();
        text.push('\n');
        text
    }
}
