//! CBOR bodies of Smithy RPC v2 and of Kinesis' older CBOR protocol.

use bytes::Bytes;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};

use crate::reader::{DecodeError, MAX_DEPTH, Reader, VisitElement, VisitEntry, VisitMember};
use crate::schema::{Location, Member, Schema};
use crate::timestamp::Timestamp;
use crate::writer::Writer;

/// A [`Reader`] over the next CBOR item.
pub struct CborReader<'a, 'b> {
    d: &'a mut Decoder<'b>,
    depth: usize,
    millis: bool,
}

impl From<minicbor::decode::Error> for DecodeError {
    fn from(e: minicbor::decode::Error) -> Self {
        if e.is_type_mismatch() {
            DecodeError::Type(e.to_string())
        } else {
            DecodeError::Malformed(e.to_string())
        }
    }
}

/// Reads one CBOR document with `f`; an empty body reads as `{}`. Timestamps are in seconds, or in milliseconds as AWS's
/// older CBOR protocol has them.
pub fn read<R>(
    body: &[u8],
    millis: bool,
    f: impl FnOnce(&mut dyn Reader) -> Result<R, DecodeError>,
) -> Result<R, DecodeError> {
    let body = if body.is_empty() { &[0xa0][..] } else { body };
    let mut d = Decoder::new(body);
    f(&mut CborReader {
        d: &mut d,
        depth: 0,
        millis,
    })
}

impl CborReader<'_, '_> {
    fn text(&mut self) -> Result<String, DecodeError> {
        match self.d.datatype()? {
            Type::StringIndef => {
                let mut text = String::new();
                for part in self.d.str_iter()? {
                    text.push_str(part?);
                }
                Ok(text)
            }
            _ => Ok(self.d.str()?.to_owned()),
        }
    }
    /// Whether another item follows in a container; the break of an indefinite one is consumed.
    fn more(&mut self, left: &mut Option<u64>) -> Result<bool, DecodeError> {
        match left {
            Some(0) => Ok(false),
            Some(n) => {
                *n -= 1;
                Ok(true)
            }
            None if self.d.datatype()? == Type::Break => {
                self.d.skip()?;
                Ok(false)
            }
            None => Ok(true),
        }
    }
    fn absent(&mut self) -> Result<bool, DecodeError> {
        if matches!(self.d.datatype()?, Type::Null | Type::Undefined) {
            self.d.skip()?;
            return Ok(true);
        }
        Ok(false)
    }
    /// Visits the value that follows, and skips it if the visitor did not read it.
    fn visit(
        &mut self,
        f: impl FnOnce(&mut dyn Reader) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        if self.depth >= MAX_DEPTH {
            return Err(DecodeError::TooComplex);
        }
        let before = self.d.position();
        f(&mut CborReader {
            d: self.d,
            depth: self.depth + 1,
            millis: self.millis,
        })?;
        if self.d.position() == before {
            self.d.skip()?;
        }
        Ok(())
    }
    fn number(&mut self) -> Result<f64, DecodeError> {
        Ok(match self.d.datatype()? {
            Type::F16 => f64::from(self.d.f16()?),
            Type::F32 => f64::from(self.d.f32()?),
            Type::F64 => self.d.f64()?,
            _ => i128::from(self.d.int()?) as f64,
        })
    }
}

impl Reader for CborReader<'_, '_> {
    fn structure(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        let mut left = self.d.map()?;
        while self.more(&mut left)? {
            let key = self.text()?;
            let found = schema
                .members
                .iter()
                .position(|m| m.wire == key && m.location == Location::Body);
            match found {
                Some(i) => {
                    if !self.absent()? {
                        self.visit(|r| visit(r, i))?;
                    }
                }
                None => self.d.skip()?,
            }
        }
        Ok(())
    }
    fn list(
        &mut self,
        _: &'static Schema,
        visit: &mut VisitElement<'_>,
    ) -> Result<(), DecodeError> {
        let mut left = self.d.array()?;
        while self.more(&mut left)? {
            self.visit(&mut *visit)?;
        }
        Ok(())
    }
    fn map(&mut self, _: &'static Schema, visit: &mut VisitEntry<'_>) -> Result<(), DecodeError> {
        let mut left = self.d.map()?;
        while self.more(&mut left)? {
            let key = self.text()?;
            self.visit(|r| visit(key, r))?;
        }
        Ok(())
    }
    fn string(&mut self) -> Result<String, DecodeError> {
        self.text()
    }
    fn boolean(&mut self) -> Result<bool, DecodeError> {
        Ok(self.d.bool()?)
    }
    fn long(&mut self) -> Result<i64, DecodeError> {
        let before = self.d.position();
        if matches!(self.d.datatype()?, Type::F16 | Type::F32 | Type::F64) {
            let v = self.number()?;
            if v.fract() == 0.0 && v.abs() < 9.0e18 {
                return Ok(v as i64);
            }
            self.d.set_position(before);
            return Err(DecodeError::type_mismatch("an integer"));
        }
        Ok(self.d.i64()?)
    }
    fn double(&mut self) -> Result<f64, DecodeError> {
        self.number()
    }
    fn blob(&mut self) -> Result<Bytes, DecodeError> {
        match self.d.datatype()? {
            Type::BytesIndef => {
                let mut all = Vec::new();
                for part in self.d.bytes_iter()? {
                    all.extend_from_slice(part?);
                }
                Ok(all.into())
            }
            _ => Ok(Bytes::copy_from_slice(self.d.bytes()?)),
        }
    }
    fn timestamp(&mut self, _: &'static Member) -> Result<Timestamp, DecodeError> {
        if self.d.datatype()? == Type::Tag {
            self.d.tag()?;
        }
        let unit = if self.millis { 1e-3 } else { 1.0 };
        Timestamp::from_secs_f64(self.number()? * unit)
            .ok_or_else(|| DecodeError::type_mismatch("a timestamp"))
    }
    fn document(&mut self) -> Result<serde_json::Value, DecodeError> {
        Err(DecodeError::type_mismatch("no document: CBOR has none"))
    }
    fn is_null(&mut self) -> bool {
        matches!(self.d.datatype(), Ok(Type::Null | Type::Undefined))
    }
}

/// Writes one CBOR document.
pub struct CborWriter {
    e: Encoder<Vec<u8>>,
    /// Kinesis' CBOR writes timestamps in milliseconds without a fraction.
    millis: bool,
}

impl CborWriter {
    /// An empty document.
    pub fn new() -> Self {
        CborWriter {
            e: Encoder::new(Vec::with_capacity(256)),
            millis: false,
        }
    }
    /// As AWS's older CBOR protocol writes timestamps: tag 1 with integral milliseconds.
    pub fn with_millis(mut self) -> Self {
        self.millis = true;
        self
    }
    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.e.into_writer()
    }
    /// Writes a text member into the structure under way.
    pub fn text_member(&mut self, key: &str, value: &str) {
        self.key(key);
        self.string(value);
    }
}

impl Default for CborWriter {
    fn default() -> Self {
        Self::new()
    }
}

// Encoding into a Vec cannot fail, so the results are dropped throughout.
impl Writer for CborWriter {
    fn structure(&mut self, _: &'static Schema) {
        let _ = self.e.begin_map();
    }
    fn member(&mut self, member: &'static Member) {
        let _ = self.e.str(member.wire);
    }
    fn end_structure(&mut self) {
        let _ = self.e.end();
    }
    fn list(&mut self, _: &'static Schema, len: usize) {
        let _ = self.e.array(len as u64);
    }
    fn element(&mut self) {}
    fn end_list(&mut self) {}
    fn map(&mut self, _: &'static Schema, len: usize) {
        let _ = self.e.map(len as u64);
    }
    fn key(&mut self, key: &str) {
        let _ = self.e.str(key);
    }
    fn end_map(&mut self) {}
    fn string(&mut self, value: &str) {
        let _ = self.e.str(value);
    }
    fn boolean(&mut self, value: bool) {
        let _ = self.e.bool(value);
    }
    fn long(&mut self, value: i64) {
        let _ = self.e.i64(value);
    }
    fn double(&mut self, value: f64) {
        let _ = self.e.f64(value);
    }
    fn float(&mut self, value: f32) {
        let _ = self.e.f32(value);
    }
    fn blob(&mut self, value: &[u8]) {
        let _ = self.e.bytes(value);
    }
    fn timestamp(&mut self, value: Timestamp) {
        let _ = self.e.tag(Tag::new(1));
        let _ = match value.millis() {
            ms if self.millis => self.e.i64(ms),
            ms if ms % 1000 == 0 => self.e.i64(value.secs()),
            ms => self.e.f64(ms as f64 / 1000.0),
        };
    }
    fn document(&mut self, value: &serde_json::Value) {
        let _ = self.e.str(&value.to_string());
    }
    fn null(&mut self) {
        let _ = self.e.null();
    }
}
