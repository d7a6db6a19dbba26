//! Values that travel as plain text: in paths, query strings, headers and XML attributes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::json::decode_base64;
use crate::reader::{DecodeError, Reader, VisitElement, VisitEntry, VisitMember};
use crate::schema::{Kind, Location, Member, Schema};
use crate::timestamp::Timestamp;

pub(crate) fn boolean(text: &str) -> Result<bool, DecodeError> {
    match text {
        "true" | "True" | "TRUE" | "1" => Ok(true),
        "false" | "False" | "FALSE" | "0" => Ok(false),
        _ => Err(DecodeError::type_mismatch("a boolean")),
    }
}
pub(crate) fn long(text: &str) -> Result<i64, DecodeError> {
    text.parse()
        .map_err(|_| DecodeError::type_mismatch("an integer"))
}
pub(crate) fn double(text: &str) -> Result<f64, DecodeError> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => text
            .parse()
            .map_err(|_| DecodeError::type_mismatch("a number")),
    }
}

/// A [`Reader`] over one text.
pub struct TextReader<'a> {
    text: &'a str,
    location: Location,
    /// A text that holds JSON, which travels as base64.
    json: bool,
}

impl<'a> TextReader<'a> {
    /// A value that travels there.
    pub fn new(text: &'a str, location: Location) -> Self {
        TextReader {
            text,
            location,
            json: false,
        }
    }
    /// JSON in a header.
    pub(crate) fn json(text: &'a str) -> Self {
        TextReader {
            text,
            location: Location::Header,
            json: true,
        }
    }
}

/// Splits a header's list at commas outside quotes; `Mon, 01 …` dates keep their first comma.
fn elements<'a>(text: &'a str, schema: &'static Schema) -> Vec<String> {
    let element = schema.members.first();
    let dates = element.is_some_and(|m| {
        m.target.kind == Kind::Timestamp
            && !matches!(m.format, Some(f) if f != crate::timestamp::TimestampFormat::Rfc822)
    });
    let mut items: Vec<&'a str> = Vec::new();
    let (mut start, mut quoted, mut escaped, mut commas) = (0, false, false, 0);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                commas += 1;
                if !dates || commas % 2 == 0 {
                    items.push(&text[start..i]);
                    start = i + 1;
                }
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    let unquote = |item: &str| {
        let item = item.trim();
        match item.strip_prefix('"').and_then(|i| i.strip_suffix('"')) {
            Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
            None => item.to_owned(),
        }
    };
    items.into_iter().map(unquote).collect()
}

impl Reader for TextReader<'_> {
    fn structure(
        &mut self,
        _: &'static Schema,
        _: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("text"))
    }
    fn list(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitElement<'_>,
    ) -> Result<(), DecodeError> {
        if self.location != Location::Header {
            return visit(&mut TextReader::new(self.text, self.location));
        }
        for item in elements(self.text, schema) {
            visit(&mut TextReader::new(&item, self.location))?;
        }
        Ok(())
    }
    fn map(&mut self, _: &'static Schema, _: &mut VisitEntry<'_>) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("text"))
    }
    fn string(&mut self) -> Result<String, DecodeError> {
        if !self.json {
            return Ok(self.text.to_owned());
        }
        let bytes = STANDARD
            .decode(self.text)
            .map_err(|_| DecodeError::type_mismatch("base64"))?;
        String::from_utf8(bytes).map_err(|_| DecodeError::type_mismatch("UTF-8"))
    }
    fn boolean(&mut self) -> Result<bool, DecodeError> {
        boolean(self.text)
    }
    fn long(&mut self) -> Result<i64, DecodeError> {
        long(self.text)
    }
    fn double(&mut self) -> Result<f64, DecodeError> {
        double(self.text)
    }
    fn blob(&mut self) -> Result<Bytes, DecodeError> {
        decode_base64(self.text)
    }
    fn timestamp(&mut self, _: &'static Member) -> Result<Timestamp, DecodeError> {
        Timestamp::parse(self.text).ok_or_else(|| DecodeError::type_mismatch("a timestamp"))
    }
    fn document(&mut self) -> Result<serde_json::Value, DecodeError> {
        let bytes = STANDARD
            .decode(self.text)
            .map_err(|_| DecodeError::type_mismatch("base64"))?;
        serde_json::from_slice(&bytes).map_err(|e| DecodeError::Malformed(e.to_string()))
    }
}
