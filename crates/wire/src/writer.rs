//! The one interface through which a typed output is written to any format.

use crate::schema::{Member, Schema};
use crate::timestamp::Timestamp;

/// A sink for one value. Calls nest: `structure(..)`, then for each set member `member(..)` and its value, then
/// `end_structure()`; `list(..)`, for each element `element()` and its value, `end_list()`; maps alike with `key(..)`.
/// Writing into memory cannot fail.
pub trait Writer {
    /// Begins a structure or union.
    fn structure(&mut self, schema: &'static Schema);
    /// Announces the member whose value follows.
    fn member(&mut self, member: &'static Member);
    /// Ends a structure.
    fn end_structure(&mut self);
    /// Begins a list of that many elements.
    fn list(&mut self, schema: &'static Schema, len: usize);
    /// Announces an element.
    fn element(&mut self);
    /// Ends a list.
    fn end_list(&mut self);
    /// Begins a map of that many entries.
    fn map(&mut self, schema: &'static Schema, len: usize);
    /// Announces an entry.
    fn key(&mut self, key: &str);
    /// Ends a map.
    fn end_map(&mut self);
    /// Writes text.
    fn string(&mut self, value: &str);
    /// Writes a boolean.
    fn boolean(&mut self, value: bool);
    /// Writes an integer.
    fn long(&mut self, value: i64);
    /// Writes a 64-bit float.
    fn double(&mut self, value: f64);
    /// Writes a 32-bit float.
    fn float(&mut self, value: f32) {
        self.double(f64::from(value));
    }
    /// Writes bytes.
    fn blob(&mut self, value: &[u8]);
    /// Writes a timestamp in the announced member's format, or the protocol's.
    fn timestamp(&mut self, value: Timestamp);
    /// Writes any JSON value.
    fn document(&mut self, value: &serde_json::Value);
    /// Writes a null, in sparse lists and maps.
    fn null(&mut self);
}
