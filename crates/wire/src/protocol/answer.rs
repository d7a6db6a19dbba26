//! The answers of the query protocols, and what lets a structure's members stand within another one.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use crate::encode::Encode;
use crate::fault::Fault;
use crate::json::JsonWriter;
use crate::model::{Operation, ServiceModel};
use crate::schema::{Location, Schema};
use crate::writer::Writer;
use crate::xml::XmlWriter;

/// An output in XML, within the operation's own elements.
pub(super) fn query_output(
    model: &ServiceModel,
    op: &Operation,
    output: &dyn Encode,
    request_id: &str,
) -> Vec<u8> {
    let root = joined(op.name, "Response");
    let mut w = XmlWriter::fragment(root, model.namespace);
    w.structure(&crate::schema::EMPTY);
    if op.wrapper.is_some() || !op.output.members.is_empty() {
        let wrapper = op.wrapper.unwrap_or_else(|| joined(op.name, "Result"));
        w.open(wrapper);
        output.encode(&mut Members::new(&mut w));
        w.close(wrapper);
    }
    w.open("ResponseMetadata");
    w.text_element("RequestId", request_id);
    w.close("ResponseMetadata");
    w.end_structure();
    w.finish()
}

/// As `query_output`, in JSON: times are numbers of seconds.
pub(super) fn query_json(op: &Operation, output: &dyn Encode, request_id: &str) -> Vec<u8> {
    let mut text = format!("{{\"{}Response\":{{", op.name).into_bytes();
    if op.wrapper.is_some() || !op.output.members.is_empty() {
        let wrapper = op.wrapper.unwrap_or_else(|| joined(op.name, "Result"));
        let mut w = JsonWriter::new();
        output.encode(&mut w);
        text.extend_from_slice(format!("\"{wrapper}\":").as_bytes());
        text.extend_from_slice(&w.finish());
        text.push(b',');
    }
    let metadata = format!("\"ResponseMetadata\":{{\"RequestId\":\"{request_id}\"}}}}}}");
    text.extend_from_slice(metadata.as_bytes());
    text
}

/// An error in JSON.
pub(super) fn query_json_fault(fault: &Fault, request_id: &str) -> Vec<u8> {
    let mut w = JsonWriter::new();
    w.structure(&crate::schema::EMPTY);
    w.text_member("Code", &fault.code);
    w.text_member("Message", fault.query_message.unwrap_or(&fault.message));
    w.text_member("Type", fault.blame.name());
    w.end_structure();
    let mut text = b"{\"Error\":".to_vec();
    text.extend_from_slice(&w.finish());
    text.extend_from_slice(format!(",\"RequestId\":\"{request_id}\"}}").as_bytes());
    text
}

/// An output as EC2 has it.
pub(super) fn ec2_output(
    model: &ServiceModel,
    op: &Operation,
    output: &dyn Encode,
    request_id: &str,
) -> Vec<u8> {
    let root = joined(op.name, "Response");
    let mut w = XmlWriter::document(root, model.namespace);
    w.structure(&crate::schema::EMPTY);
    w.text_element("requestId", request_id);
    output.encode(&mut Members::new(&mut w));
    w.end_structure();
    w.finish()
}

/// Names built from operation names, each made once.
fn joined(name: &'static str, suffix: &'static str) -> &'static str {
    static NAMES: LazyLock<RwLock<HashMap<(&str, &str), &'static str>>> =
        LazyLock::new(Default::default);
    let key = (name, suffix);
    if let Some(found) = NAMES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
    {
        return found;
    }
    let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
    names
        .entry(key)
        .or_insert_with(|| Box::leak(format!("{name}{suffix}").into_boxed_str()))
}

/// Writes a structure's members into the structure already under way; a message member is left out.
pub(super) struct Members<'a, W> {
    inner: &'a mut W,
    depth: usize,
    skip: bool,
}

impl<'a, W: Writer> Members<'a, W> {
    pub(super) fn new(inner: &'a mut W) -> Self {
        Members {
            inner,
            depth: 0,
            skip: false,
        }
    }
    fn on(&mut self) -> bool {
        !(self.depth == 1 && std::mem::take(&mut self.skip))
    }
}

impl<W: Writer> Writer for Members<'_, W> {
    fn structure(&mut self, schema: &'static Schema) {
        if self.depth > 0 {
            self.inner.structure(schema);
        }
        self.depth += 1;
    }
    fn member(&mut self, member: &'static crate::schema::Member) {
        let aside = matches!(member.location, Location::Header | Location::StatusCode);
        self.skip = self.depth == 1 && (aside || member.name.eq_ignore_ascii_case("message"));
        if !self.skip {
            self.inner.member(member);
        }
    }
    fn end_structure(&mut self) {
        self.depth -= 1;
        if self.depth > 0 {
            self.inner.end_structure();
        }
    }
    fn list(&mut self, schema: &'static Schema, len: usize) {
        self.inner.list(schema, len);
        self.depth += 1;
    }
    fn element(&mut self) {
        self.inner.element();
    }
    fn end_list(&mut self) {
        self.depth -= 1;
        self.inner.end_list();
    }
    fn map(&mut self, schema: &'static Schema, len: usize) {
        self.inner.map(schema, len);
        self.depth += 1;
    }
    fn key(&mut self, key: &str) {
        self.inner.key(key);
    }
    fn end_map(&mut self) {
        self.depth -= 1;
        self.inner.end_map();
    }
    fn string(&mut self, value: &str) {
        if self.on() {
            self.inner.string(value);
        }
    }
    fn boolean(&mut self, value: bool) {
        if self.on() {
            self.inner.boolean(value);
        }
    }
    fn long(&mut self, value: i64) {
        if self.on() {
            self.inner.long(value);
        }
    }
    fn double(&mut self, value: f64) {
        if self.on() {
            self.inner.double(value);
        }
    }
    fn float(&mut self, value: f32) {
        if self.on() {
            self.inner.float(value);
        }
    }
    fn blob(&mut self, value: &[u8]) {
        if self.on() {
            self.inner.blob(value);
        }
    }
    fn timestamp(&mut self, value: crate::timestamp::Timestamp) {
        if self.on() {
            self.inner.timestamp(value);
        }
    }
    fn document(&mut self, value: &serde_json::Value) {
        if self.on() {
            self.inner.document(value);
        }
    }
    fn null(&mut self) {
        if self.on() {
            self.inner.null();
        }
    }
}
