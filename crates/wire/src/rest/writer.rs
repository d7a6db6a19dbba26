//! A [`Writer`] of a whole HTTP answer: headers and status from their members, the rest by the body's codec.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::header::Header;
use crate::json::not_finite;
use crate::schema::{Kind, Location, Member, Schema};
use crate::timestamp::{Timestamp, TimestampFormat};
use crate::writer::Writer;

/// Writes an output's top-level structure.
pub struct RestWriter<'a, W> {
    inner: W,
    /// Headers so far.
    pub headers: Vec<Header>,
    /// The status that a member gave.
    pub status: Option<u16>,
    /// A payload that is bytes or text.
    pub raw: Option<Vec<u8>>,
    /// Whether the body's codec wrote anything.
    pub has_document: bool,
    root: &'a dyn Fn(&'static Member) -> W,
    /// Whether the top-level structure itself is the document.
    rooted: bool,
    depth: usize,
    target: Target,
    list: Option<Vec<String>>,
    prefix_key: String,
}

/// Where the next top-level value goes.
#[derive(Clone, Copy)]
enum Target {
    Document,
    Header(&'static Member),
    Prefix(&'static Member),
    Status,
    Raw,
}

impl<'a, W: Writer> RestWriter<'a, W> {
    /// `inner` writes the document; `root` makes the codec of a structure that is the payload.
    pub fn new(inner: W, root: &'a dyn Fn(&'static Member) -> W) -> Self {
        RestWriter {
            inner,
            // The headers that the gateway adds find room too.
            headers: Vec::with_capacity(16),
            status: None,
            raw: None,
            has_document: false,
            root,
            rooted: false,
            depth: 0,
            target: Target::Document,
            list: None,
            prefix_key: String::new(),
        }
    }
    /// The body's codec, with what it wrote.
    pub fn into_inner(self) -> W {
        self.inner
    }
    fn header(&mut self, value: String) {
        match self.target {
            Target::Header(m) => match &mut self.list {
                Some(items) => items.push(value),
                None => self.headers.push((m.wire.into(), value)),
            },
            Target::Prefix(m) => self
                .headers
                .push((format!("{}{}", m.wire, self.prefix_key).into(), value)),
            Target::Status => self.status = value.parse().ok(),
            Target::Raw => self.raw = Some(value.into_bytes()),
            Target::Document => {}
        }
    }
    fn to_document(&self) -> bool {
        matches!(self.target, Target::Document)
    }
}

impl<W: Writer> Writer for RestWriter<'_, W> {
    fn structure(&mut self, schema: &'static Schema) {
        self.depth += 1;
        if self.depth > 1 {
            self.inner.structure(schema);
        } else {
            self.rooted = schema.payload().is_none()
                && schema.members.iter().any(|m| m.location == Location::Body);
            self.has_document = self.rooted;
            if self.rooted {
                self.inner.structure(schema);
            }
        }
    }
    fn member(&mut self, member: &'static Member) {
        if self.depth > 1 {
            self.inner.member(member);
            return;
        }
        self.target = match member.location {
            Location::Header => Target::Header(member),
            Location::Headers => Target::Prefix(member),
            Location::StatusCode => Target::Status,
            Location::Payload
                if matches!(member.target.kind, Kind::Blob | Kind::String | Kind::Stream) =>
            {
                Target::Raw
            }
            Location::Payload => {
                self.has_document = true;
                self.inner = (self.root)(member);
                Target::Document
            }
            _ => {
                self.inner.member(member);
                Target::Document
            }
        };
    }
    fn end_structure(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 || self.rooted {
            self.inner.end_structure();
        }
    }
    fn list(&mut self, schema: &'static Schema, len: usize) {
        if self.to_document() {
            self.depth += 1;
            self.inner.list(schema, len);
        } else {
            self.list = Some(Vec::new());
        }
    }
    fn element(&mut self) {
        if self.to_document() {
            self.inner.element();
        }
    }
    fn end_list(&mut self) {
        if self.to_document() {
            self.depth = self.depth.saturating_sub(1);
            self.inner.end_list();
        } else if let Some(items) = self.list.take()
            && !items.is_empty()
        {
            let quote = |item: &String| {
                if item.contains([',', '"']) && !is_date_list(self.target) {
                    format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""))
                } else {
                    item.clone()
                }
            };
            let joined = items.iter().map(quote).collect::<Vec<_>>().join(", ");
            self.header(joined);
        }
    }
    fn map(&mut self, schema: &'static Schema, len: usize) {
        if self.to_document() {
            self.depth += 1;
            self.inner.map(schema, len);
        }
    }
    fn key(&mut self, key: &str) {
        if self.to_document() {
            self.inner.key(key);
        } else {
            self.prefix_key = key.to_owned();
        }
    }
    fn end_map(&mut self) {
        if self.to_document() {
            self.depth = self.depth.saturating_sub(1);
            self.inner.end_map();
        }
    }
    fn string(&mut self, value: &str) {
        match self.target {
            Target::Document => self.inner.string(value),
            Target::Header(m) if m.json_value => self.header(STANDARD.encode(value)),
            _ => self.header(value.to_owned()),
        }
    }
    fn boolean(&mut self, value: bool) {
        if self.to_document() {
            self.inner.boolean(value)
        } else {
            self.header(value.to_string())
        }
    }
    fn long(&mut self, value: i64) {
        if self.to_document() {
            self.inner.long(value)
        } else {
            self.header(value.to_string())
        }
    }
    fn double(&mut self, value: f64) {
        if self.to_document() {
            self.inner.double(value);
        } else if value.is_finite() {
            self.header(value.to_string());
        } else {
            self.header(not_finite(value).to_owned());
        }
    }
    fn float(&mut self, value: f32) {
        if self.to_document() {
            self.inner.float(value);
        } else if value.is_finite() {
            self.header(value.to_string());
        } else {
            self.header(not_finite(f64::from(value)).to_owned());
        }
    }
    fn blob(&mut self, value: &[u8]) {
        match self.target {
            Target::Document => self.inner.blob(value),
            Target::Raw => self.raw = Some(value.to_vec()),
            _ => self.header(STANDARD.encode(value)),
        }
    }
    fn timestamp(&mut self, value: Timestamp) {
        if let Target::Header(m) = self.target {
            let element = m.target.members.first().and_then(|e| e.format);
            self.header(value.format(m.format.or(element).unwrap_or(TimestampFormat::Rfc822)));
        } else {
            self.inner.timestamp(value);
        }
    }
    fn document(&mut self, value: &serde_json::Value) {
        match self.target {
            Target::Document => self.inner.document(value),
            Target::Header(m) if m.json_value => self.header(STANDARD.encode(value.to_string())),
            _ => self.header(value.to_string()),
        }
    }
    fn null(&mut self) {
        if self.to_document() {
            self.inner.null();
        }
    }
}

fn is_date_list(target: Target) -> bool {
    matches!(target, Target::Header(m) if m.target.members.first().is_some_and(|e| e.target.kind == Kind::Timestamp))
}
