//! What a shape of an API model is: its kind, members, wire names and constraints.

use crate::timestamp::TimestampFormat;

/// The type of a shape, as the model's `type` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A record with named members.
    Structure,
    /// A structure of which exactly one member is set.
    Union,
    /// An ordered list; its one member describes the elements.
    List,
    /// A map from strings; its two members describe key and value.
    Map,
    /// Text.
    String,
    /// Bytes; base64 where the format is text.
    Blob,
    /// `true` or `false`.
    Boolean,
    /// A 32-bit integer.
    Integer,
    /// A 64-bit integer.
    Long,
    /// A 32-bit float.
    Float,
    /// A 64-bit float.
    Double,
    /// A point in time.
    Timestamp,
    /// Any JSON value.
    Document,
    /// A payload that is streamed, not held.
    Stream,
    /// A stream of events.
    Events,
}

/// Where an HTTP-bound member travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the body's document.
    Body,
    /// In one header.
    Header,
    /// In all headers with a prefix.
    Headers,
    /// In the path.
    Uri,
    /// In the query string.
    Query,
    /// As the answer's status code.
    StatusCode,
    /// The member is the body.
    Payload,
}

/// A shape. Generated code holds one static `Schema` per shape; equal simple shapes share one.
#[derive(Debug)]
pub struct Schema {
    /// The shape's name in the model.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Members of a structure or union; `[element]` of a list; `[key, value]` of a map.
    pub members: &'static [Member],
    /// Smallest length or value.
    pub min: Option<i64>,
    /// Largest length or value.
    pub max: Option<i64>,
    /// The regular expression that a string must match as a whole.
    pub pattern: Option<&'static str>,
    /// The values that a string may take; empty for any.
    pub values: &'static [&'static str],
    /// The element name, where the model gives one to the shape itself.
    pub element: Option<&'static str>,
    /// XML namespace (prefix, URI) declared on the shape.
    pub namespace: Option<(&'static str, &'static str)>,
    /// A list that may hold nulls.
    pub sparse: bool,
    /// Not to be logged.
    pub sensitive: bool,
}

impl Schema {
    /// A shape of that kind without constraints.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Schema {
            name,
            kind,
            members: &[],
            min: None,
            max: None,
            pattern: None,
            values: &[],
            element: None,
            namespace: None,
            sparse: false,
            sensitive: false,
        }
    }
    /// Whether a list or map of that length has too few or too many.
    pub fn breaks_length(&self, len: usize) -> bool {
        let len = len as i64;
        self.min.is_some_and(|min| len < min) || self.max.is_some_and(|max| len > max)
    }
    /// Whether it is a text or a number.
    pub fn is_scalar(&self) -> bool {
        matches!(
            self.kind,
            Kind::String | Kind::Integer | Kind::Long | Kind::Float | Kind::Double
        )
    }
    /// With members.
    pub const fn members(mut self, members: &'static [Member]) -> Self {
        self.members = members;
        self
    }
    /// With a smallest length or value.
    pub const fn min(mut self, min: i64) -> Self {
        self.min = Some(min);
        self
    }
    /// With a largest length or value.
    pub const fn max(mut self, max: i64) -> Self {
        self.max = Some(max);
        self
    }
    /// With a pattern.
    pub const fn pattern(mut self, pattern: &'static str) -> Self {
        self.pattern = Some(pattern);
        self
    }
    /// With an enumeration.
    pub const fn values(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }
    /// With an element name of its own.
    pub const fn element(mut self, element: &'static str) -> Self {
        self.element = Some(element);
        self
    }
    /// With an XML namespace.
    pub const fn namespace(mut self, prefix: &'static str, uri: &'static str) -> Self {
        self.namespace = Some((prefix, uri));
        self
    }
    /// A list that may hold nulls.
    pub const fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }
    /// Not to be logged.
    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }
    /// The member that is the whole body, if there is one.
    pub fn payload(&self) -> Option<&'static Member> {
        self.members
            .iter()
            .find(|m| m.location == Location::Payload)
    }
    /// Whether any constraint is set.
    pub const fn is_constrained(&self) -> bool {
        self.min.is_some()
            || self.max.is_some()
            || self.pattern.is_some()
            || !self.values.is_empty()
    }
}

/// A member of a structure, or the element, key or value of a list or map.
#[derive(Debug)]
pub struct Member {
    /// The member's name in the model.
    pub name: &'static str,
    /// Its name on the wire: JSON key, XML element, header, prefix, label or parameter.
    pub wire: &'static str,
    /// Its name in an EC2 query, where that differs.
    pub query: &'static str,
    /// Where it travels.
    pub location: Location,
    /// Its shape.
    pub target: &'static Schema,
    /// Whether the model requires it.
    pub required: bool,
    /// List or map without an element around it.
    pub flattened: bool,
    /// The name of the repeated elements or parameters of a flattened list, where it is the list's own.
    pub flat: Option<&'static str>,
    /// Written as an XML attribute.
    pub attribute: bool,
    /// A string that holds JSON, base64-encoded in a header.
    pub json_value: bool,
    /// The format of a timestamp, where not the protocol's own.
    pub format: Option<TimestampFormat>,
    /// XML namespace (prefix, URI).
    pub namespace: Option<(&'static str, &'static str)>,
}

impl Member {
    /// An optional member of the body's document, named alike in the model and on the wire.
    pub const fn new(name: &'static str, target: &'static Schema) -> Self {
        Member {
            name,
            wire: name,
            query: name,
            location: Location::Body,
            target,
            required: false,
            flattened: false,
            flat: None,
            attribute: false,
            json_value: false,
            format: None,
            namespace: None,
        }
    }
    /// With another name on the wire.
    pub const fn wire(mut self, wire: &'static str) -> Self {
        self.wire = wire;
        self
    }
    /// With an EC2 query name.
    pub const fn query(mut self, query: &'static str) -> Self {
        self.query = query;
        self
    }
    /// At that place, under that name.
    pub const fn at(mut self, location: Location, wire: &'static str) -> Self {
        self.location = location;
        self.wire = wire;
        self
    }
    /// Required.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
    /// Flattened.
    pub const fn flattened(mut self) -> Self {
        self.flattened = true;
        self
    }
    /// Flattened, under the name that the list gives its elements.
    pub const fn flattened_as(mut self, name: &'static str) -> Self {
        self.flattened = true;
        self.flat = Some(name);
        self
    }
    /// An XML attribute.
    pub const fn attribute(mut self) -> Self {
        self.attribute = true;
        self
    }
    /// JSON inside a string.
    pub const fn json_value(mut self) -> Self {
        self.json_value = true;
        self
    }
    /// With a timestamp format.
    pub const fn format(mut self, format: TimestampFormat) -> Self {
        self.format = Some(format);
        self
    }
    /// With an XML namespace.
    pub const fn namespace(mut self, prefix: &'static str, uri: &'static str) -> Self {
        self.namespace = Some((prefix, uri));
        self
    }
}

/// Any text.
pub static STRING: Schema = Schema::new("String", Kind::String);
/// Any bytes.
pub static BLOB: Schema = Schema::new("Blob", Kind::Blob);
/// A boolean.
pub static BOOLEAN: Schema = Schema::new("Boolean", Kind::Boolean);
/// Any 32-bit integer.
pub static INTEGER: Schema = Schema::new("Integer", Kind::Integer);
/// Any 64-bit integer.
pub static LONG: Schema = Schema::new("Long", Kind::Long);
/// A 32-bit float.
pub static FLOAT: Schema = Schema::new("Float", Kind::Float);
/// A 64-bit float.
pub static DOUBLE: Schema = Schema::new("Double", Kind::Double);
/// A timestamp.
pub static TIMESTAMP: Schema = Schema::new("Timestamp", Kind::Timestamp);
/// Any JSON value.
pub static DOCUMENT: Schema = Schema::new("Document", Kind::Document);
/// A streamed payload.
pub static STREAM: Schema = Schema::new("Stream", Kind::Stream);
/// A structure without members.
pub static EMPTY: Schema = Schema::new("Empty", Kind::Structure);
