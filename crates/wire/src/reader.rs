//! The one interface through which a typed input is read from any format.

use bytes::Bytes;

use crate::body::Body;
use crate::schema::{Member, Schema};
use crate::timestamp::Timestamp;

/// Called for each member found, with its index in the schema.
pub type VisitMember<'a> = dyn FnMut(&mut dyn Reader, usize) -> Result<(), DecodeError> + 'a;
/// Called for each element.
pub type VisitElement<'a> = dyn FnMut(&mut dyn Reader) -> Result<(), DecodeError> + 'a;
/// Called for each entry with its key.
pub type VisitEntry<'a> = dyn FnMut(String, &mut dyn Reader) -> Result<(), DecodeError> + 'a;

/// A value in some wire format, positioned to be read once.
///
/// Codecs skip unknown members and absent (`null`) ones, so a visitor sees only what is there.
pub trait Reader {
    /// Reads a structure or union.
    fn structure(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError>;
    /// Reads a list. A flattened list may be visited in several runs.
    fn list(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitElement<'_>,
    ) -> Result<(), DecodeError>;
    /// Reads a map.
    fn map(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitEntry<'_>,
    ) -> Result<(), DecodeError>;
    /// Reads text.
    fn string(&mut self) -> Result<String, DecodeError>;
    /// Reads a boolean.
    fn boolean(&mut self) -> Result<bool, DecodeError>;
    /// Reads an integer.
    fn long(&mut self) -> Result<i64, DecodeError>;
    /// Reads a float.
    fn double(&mut self) -> Result<f64, DecodeError>;
    /// Reads bytes.
    fn blob(&mut self) -> Result<Bytes, DecodeError>;
    /// Reads a timestamp in the member's format, or the protocol's.
    fn timestamp(&mut self, member: &'static Member) -> Result<Timestamp, DecodeError>;
    /// Reads any JSON value.
    fn document(&mut self) -> Result<serde_json::Value, DecodeError>;
    /// Takes the request's streamed body.
    fn stream(&mut self) -> Result<Body, DecodeError> {
        Err(DecodeError::type_mismatch("a streamed payload"))
    }
    /// Whether the value is null, which only elements of sparse lists and maps may be.
    fn is_null(&mut self) -> bool {
        false
    }
}

/// Why an input cannot be read.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DecodeError {
    /// The bytes are not of the format at all.
    #[error("{0}")]
    Malformed(String),
    /// A value is not of its shape's type.
    #[error("{0}")]
    Type(String),
    /// The value is readable and breaks the model's constraints; the [`crate::Audit`] has the list.
    #[error("validation failed")]
    Rejected,
    /// Deeper or larger than any real request.
    #[error("the request is nested too deeply or has too many members")]
    TooComplex,
}

impl DecodeError {
    /// The value found is not what the shape says.
    pub fn type_mismatch(expected: &str) -> Self {
        DecodeError::Type(format!("Expected {expected}"))
    }
}

/// Nesting that no real request reaches; bounds the stack.
pub const MAX_DEPTH: usize = 96;
