//! Records that could not be processed or delivered, as they are written to the bucket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wire::Timestamp;

use crate::conversion::FAILED;

/// A record that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// `processing-failed`, `http-endpoint-failed`, `format-conversion-failed`
    pub(crate) kind: &'static str,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) attempts: u32,
    /// When the record arrived.
    pub(crate) arrived: i64,
    pub(crate) data: Vec<u8>,
    /// Its sequence number in the data stream that it comes from.
    pub(crate) sequence: Option<String>,
    /// What else is said of it: the function's ARN, the endpoint, the table.
    pub(crate) more: Option<(&'static str, Value)>,
}

impl Failure {
    /// The line that tells of it.
    pub(crate) fn line(&self, now: Timestamp) -> String {
        // A conversion's failures have names of their own.
        let (code, message) = match self.kind {
            FAILED => ("lastErrorCode", "lastErrorMessage"),
            _ => ("errorCode", "errorMessage"),
        };
        let mut line = json!({
            "attemptsMade": self.attempts,
            "arrivalTimestamp": self.arrived,
            code: self.code,
            message: self.message,
            "attemptEndingTimestamp": now.0,
            "rawData": STANDARD.encode(&self.data),
        });
        if self.kind == FAILED
            && let Some(sequence) = &self.sequence
        {
            line["sequenceNumber"] = json!(sequence);
            line["subSequenceNumber"] = json!(0);
        }
        if let Some((name, value)) = &self.more {
            line[*name] = value.clone();
        }
        let mut text = line.to_string();
        text.push('\n');
        text
    }
}
