//! Typed outputs: how a generated struct is written.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_core::Stream;

use crate::body::Body;
use crate::fault::Fault;
use crate::schema::{Member, Schema};
use crate::timestamp::Timestamp;
use crate::writer::Writer;

/// A struct that can be written in any protocol. Implemented by generated code.
pub trait Encode: Send {
    /// The struct's shape.
    fn schema(&self) -> &'static Schema;
    /// Writes it.
    fn encode(&self, w: &mut dyn Writer);
    /// Takes its streamed payload, where it has one.
    fn take_body(&mut self) -> Option<Body> {
        None
    }
    /// Takes its event stream, where it has one.
    fn take_events(&mut self) -> Option<EventStream> {
        None
    }
}

/// One event of an event stream.
pub struct Event {
    /// The union's member that names it.
    pub member: &'static Member,
    /// Its content.
    pub value: Box<dyn Encode>,
}

/// Events to be sent as they come; a fault ends the stream as an exception message.
pub struct EventStream(pub Pin<Box<dyn Stream<Item = Result<Event, Fault>> + Send>>);

/// Writes a list with `each` for its elements.
pub fn list<T>(
    w: &mut dyn Writer,
    schema: &'static Schema,
    items: &[T],
    mut each: impl FnMut(&mut dyn Writer, &T),
) {
    w.list(schema, items.len());
    for item in items {
        w.element();
        each(w, item);
    }
    w.end_list();
}

/// Writes a map with `each` for its values.
pub fn map<T>(
    w: &mut dyn Writer,
    schema: &'static Schema,
    entries: &BTreeMap<String, T>,
    mut each: impl FnMut(&mut dyn Writer, &T),
) {
    w.map(schema, entries.len());
    for (key, value) in entries {
        w.key(key);
        each(w, value);
    }
    w.end_map();
}

/// The scalar types, written alike from members, lists and maps.
pub trait Scalar {
    /// Writes it.
    fn write(&self, w: &mut dyn Writer);
}
impl Scalar for String {
    fn write(&self, w: &mut dyn Writer) {
        w.string(self);
    }
}
impl Scalar for bool {
    fn write(&self, w: &mut dyn Writer) {
        w.boolean(*self);
    }
}
impl Scalar for i32 {
    fn write(&self, w: &mut dyn Writer) {
        w.long(i64::from(*self));
    }
}
impl Scalar for i64 {
    fn write(&self, w: &mut dyn Writer) {
        w.long(*self);
    }
}
impl Scalar for f32 {
    fn write(&self, w: &mut dyn Writer) {
        w.float(*self);
    }
}
impl Scalar for f64 {
    fn write(&self, w: &mut dyn Writer) {
        w.double(*self);
    }
}
impl Scalar for bytes::Bytes {
    fn write(&self, w: &mut dyn Writer) {
        w.blob(self);
    }
}
impl Scalar for Timestamp {
    fn write(&self, w: &mut dyn Writer) {
        w.timestamp(*self);
    }
}
impl Scalar for serde_json::Value {
    fn write(&self, w: &mut dyn Writer) {
        w.document(self);
    }
}
