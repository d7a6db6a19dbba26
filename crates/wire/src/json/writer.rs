//! JSON, written straight into bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::schema::{Member, Schema};
use crate::timestamp::{Timestamp, TimestampFormat};
use crate::writer::Writer;

/// Writes one JSON document.
#[derive(Default)]
pub struct JsonWriter {
    out: Vec<u8>,
    first: bool,
    format: Option<TimestampFormat>,
}

impl JsonWriter {
    /// An empty document.
    pub fn new() -> Self {
        JsonWriter {
            out: Vec::new(),
            first: true,
            format: None,
        }
    }
    /// The document's bytes.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
    /// Writes one more text member into the structure under way.
    pub fn text_member(&mut self, key: &str, value: &str) {
        self.key(key);
        self.string(value);
    }
    fn open(&mut self, bracket: u8) {
        // Not before: many REST answers have no document.
        if self.out.is_empty() {
            self.out.reserve(256);
        }
        self.out.push(bracket);
        self.first = true;
    }
    fn close(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.first = false;
    }
    fn separate(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }
}

impl Writer for JsonWriter {
    fn structure(&mut self, _: &'static Schema) {
        self.open(b'{');
    }
    fn member(&mut self, member: &'static Member) {
        self.key(member.wire);
        self.format = member.format;
    }
    fn end_structure(&mut self) {
        self.close(b'}');
    }
    fn list(&mut self, _: &'static Schema, _: usize) {
        self.open(b'[');
    }
    fn element(&mut self) {
        self.separate();
    }
    fn end_list(&mut self) {
        self.close(b']');
    }
    fn map(&mut self, _: &'static Schema, _: usize) {
        self.open(b'{');
    }
    fn key(&mut self, key: &str) {
        self.separate();
        self.string(key);
        self.out.push(b':');
    }
    fn end_map(&mut self) {
        self.close(b'}');
    }
    fn string(&mut self, value: &str) {
        // Writing a str into a Vec cannot fail.
        let _ = serde_json::to_writer(&mut self.out, value);
    }
    fn boolean(&mut self, value: bool) {
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
    }
    fn long(&mut self, value: i64) {
        let _ = serde_json::to_writer(&mut self.out, &value);
    }
    fn double(&mut self, value: f64) {
        if value.is_finite() {
            if value.fract() == 0.0 && value.abs() < 1e15 {
                self.long(value as i64);
                self.out.extend_from_slice(b".0");
            } else {
                let _ = serde_json::to_writer(&mut self.out, &value);
            }
        } else {
            self.string(not_finite(value));
        }
    }
    fn float(&mut self, value: f32) {
        if value.is_finite() && value.fract() != 0.0 {
            let _ = serde_json::to_writer(&mut self.out, &value);
        } else {
            self.double(f64::from(value));
        }
    }
    fn blob(&mut self, value: &[u8]) {
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + value.len().div_ceil(3) * 4, 0);
        let n = STANDARD
            .encode_slice(value, &mut self.out[start..])
            .unwrap_or(0);
        self.out.truncate(start + n);
        self.out.push(b'"');
    }
    fn timestamp(&mut self, value: Timestamp) {
        match self.format {
            None | Some(TimestampFormat::UnixTimestamp) => {
                let secs = value.millis() as f64 / 1000.0;
                if value.millis() % 1000 == 0 {
                    self.long(value.secs())
                } else {
                    self.double(secs)
                }
            }
            Some(format) => self.string(&value.format(format)),
        }
    }
    fn document(&mut self, value: &serde_json::Value) {
        let _ = serde_json::to_writer(&mut self.out, value);
    }
    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }
}

/// How the text protocols write floats that are not numbers.
pub(crate) fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}
