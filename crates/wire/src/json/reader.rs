//! A [`Reader`] over any serde deserializer, used with serde_json's: one pass, no tree.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::reader::{DecodeError, MAX_DEPTH, Reader, VisitElement, VisitEntry, VisitMember};
use crate::schema::{Kind, Member, Schema};
use crate::timestamp::{Timestamp, TimestampFormat};

/// Reads one JSON document with `f`; an empty body reads as `{}`.
pub fn read<R>(
    body: &[u8],
    f: impl FnOnce(&mut dyn Reader) -> Result<R, DecodeError>,
) -> Result<R, DecodeError> {
    let body = if body.iter().all(u8::is_ascii_whitespace) {
        b"{}"
    } else {
        body
    };
    let mut de = serde_json::Deserializer::from_slice(body);
    let r = f(&mut JsonReader::new(&mut de))?;
    de.end()
        .map_err(|e| DecodeError::Malformed(e.to_string()))?;
    Ok(r)
}

/// A value not yet read. Each method reads it whole; a second call finds nothing.
pub struct JsonReader<D> {
    de: Option<D>,
    depth: usize,
}

impl<D> JsonReader<D> {
    /// The value that `de` is about to read.
    pub fn new(de: D) -> Self {
        JsonReader {
            de: Some(de),
            depth: 0,
        }
    }
    fn take(&mut self) -> Result<D, DecodeError> {
        self.de
            .take()
            .ok_or_else(|| DecodeError::type_mismatch("one value"))
    }
}

/// Carries our own errors through serde's.
struct Carried<'a>(&'a mut Option<DecodeError>);

impl Carried<'_> {
    fn set<E: de::Error>(&mut self, e: DecodeError) -> E {
        *self.0 = Some(e);
        E::custom("carried")
    }
}

fn finish<T, E: fmt::Display>(
    r: Result<T, E>,
    carried: Option<DecodeError>,
) -> Result<T, DecodeError> {
    match (r, carried) {
        (_, Some(e)) => Err(e),
        (Ok(v), None) => Ok(v),
        (Err(e), None) => {
            let text = e.to_string();
            if text.starts_with("invalid type") || text.starts_with("invalid value") {
                Err(DecodeError::Type(text))
            } else {
                Err(DecodeError::Malformed(text))
            }
        }
    }
}

/// Calls `f` with a reader over the value that serde hands to the seed.
struct Seed<'f, F> {
    f: F,
    depth: usize,
    carried: Carried<'f>,
}

impl<'de, F: FnOnce(&mut dyn Reader) -> Result<(), DecodeError>> DeserializeSeed<'de>
    for Seed<'_, F>
{
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(mut self, de: D) -> Result<(), D::Error> {
        // `Option` is how serde shows a null; the inner visitor calls `f` for anything else.
        struct Present<'f, F>(F, usize, Carried<'f>);
        impl<'de, F: FnOnce(&mut dyn Reader) -> Result<(), DecodeError>> Visitor<'de> for Present<'_, F> {
            type Value = ();
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_none<E: de::Error>(mut self) -> Result<(), E> {
                (self.0)(&mut Null).map_err(|e| self.2.set(e))
            }
            fn visit_some<D: Deserializer<'de>>(mut self, de: D) -> Result<(), D::Error> {
                let mut reader = JsonReader {
                    de: Some(de),
                    depth: self.1,
                };
                (self.0)(&mut reader).map_err(|e| self.2.set(e))?;
                match reader.de {
                    Some(unread) => de::IgnoredAny::deserialize_any_from(unread),
                    None => Ok(()),
                }
            }
        }
        if self.depth > MAX_DEPTH {
            return Err(self.carried.set(DecodeError::TooComplex));
        }
        de.deserialize_option(Present(self.f, self.depth, self.carried))
    }
}

/// Skips a value.
trait Ignore {
    fn deserialize_any_from<'de, D: Deserializer<'de>>(de: D) -> Result<(), D::Error>;
}
impl Ignore for de::IgnoredAny {
    fn deserialize_any_from<'de, D: Deserializer<'de>>(de: D) -> Result<(), D::Error> {
        <de::IgnoredAny as serde::Deserialize>::deserialize(de).map(|_| ())
    }
}

/// A null where the caller asked for a value.
struct Null;
impl Reader for Null {
    fn structure(
        &mut self,
        _: &'static Schema,
        _: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("a structure, got null"))
    }
    fn list(&mut self, _: &'static Schema, _: &mut VisitElement<'_>) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("a list, got null"))
    }
    fn map(&mut self, _: &'static Schema, _: &mut VisitEntry<'_>) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("a map, got null"))
    }
    fn string(&mut self) -> Result<String, DecodeError> {
        Err(DecodeError::type_mismatch("a string, got null"))
    }
    fn boolean(&mut self) -> Result<bool, DecodeError> {
        Err(DecodeError::type_mismatch("a boolean, got null"))
    }
    fn long(&mut self) -> Result<i64, DecodeError> {
        Err(DecodeError::type_mismatch("a number, got null"))
    }
    fn double(&mut self) -> Result<f64, DecodeError> {
        Err(DecodeError::type_mismatch("a number, got null"))
    }
    fn blob(&mut self) -> Result<Bytes, DecodeError> {
        Err(DecodeError::type_mismatch("a blob, got null"))
    }
    fn timestamp(&mut self, _: &'static Member) -> Result<Timestamp, DecodeError> {
        Err(DecodeError::type_mismatch("a timestamp, got null"))
    }
    fn document(&mut self) -> Result<serde_json::Value, DecodeError> {
        Ok(serde_json::Value::Null)
    }
    fn is_null(&mut self) -> bool {
        true
    }
}

struct StructureVisitor<'a, 'v> {
    schema: &'static Schema,
    visit: &'a mut VisitMember<'v>,
    depth: usize,
    carried: Carried<'a>,
}
impl<'de> Visitor<'de> for StructureVisitor<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a structure")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut set = false;
        while let Some(found) = map.next_key_seed(MemberName(self.schema))? {
            let Some(index) = found else {
                map.next_value::<de::IgnoredAny>()?;
                continue;
            };
            let visit = &mut *self.visit;
            let union = self.schema.kind == Kind::Union;
            let set = &mut set;
            map.next_value_seed(Seed {
                f: |r: &mut dyn Reader| {
                    if r.is_null() {
                        return Ok(());
                    }
                    if union && std::mem::replace(set, true) {
                        return Err(DecodeError::type_mismatch("one member of a union"));
                    }
                    visit(r, index)
                },
                depth: self.depth + 1,
                carried: Carried(self.carried.0),
            })?;
        }
        Ok(())
    }
}

/// Finds a member by key without allocating.
struct MemberName(&'static Schema);
impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<Self::Value, D::Error> {
        de.deserialize_identifier(self)
    }
}
impl Visitor<'_> for MemberName {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.members.iter().position(|m| m.wire == key))
    }
}

struct ListVisitor<'a, 'v> {
    visit: &'a mut VisitElement<'v>,
    depth: usize,
    carried: Carried<'a>,
}
impl<'de> Visitor<'de> for ListVisitor<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let visit = &mut *self.visit;
            let seed = Seed {
                f: |r: &mut dyn Reader| visit(r),
                depth: self.depth + 1,
                carried: Carried(self.carried.0),
            };
            if seq.next_element_seed(seed)?.is_none() {
                return Ok(());
            }
        }
    }
}

struct MapVisitor<'a, 'v> {
    visit: &'a mut VisitEntry<'v>,
    depth: usize,
    carried: Carried<'a>,
}
impl<'de> Visitor<'de> for MapVisitor<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let visit = &mut *self.visit;
            map.next_value_seed(Seed {
                f: |r: &mut dyn Reader| visit(key, r),
                depth: self.depth + 1,
                carried: Carried(self.carried.0),
            })?;
        }
        Ok(())
    }
}

/// A number, or text where AWS's clients send `NaN` and the like.
enum Number {
    Int(i64),
    Float(f64),
    Text(String),
}
struct NumberVisitor;
impl Visitor<'_> for NumberVisitor {
    type Value = Number;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_i64<E>(self, v: i64) -> Result<Number, E> {
        Ok(Number::Int(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Number, E> {
        Ok(i64::try_from(v).map_or(Number::Float(v as f64), Number::Int))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Number, E> {
        Ok(Number::Float(v))
    }
    fn visit_str<E>(self, v: &str) -> Result<Number, E> {
        Ok(Number::Text(v.to_owned()))
    }
}

struct TextVisitor;
impl Visitor<'_> for TextVisitor {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E>(self, v: &str) -> Result<String, E> {
        Ok(v.to_owned())
    }
    fn visit_string<E>(self, v: String) -> Result<String, E> {
        Ok(v)
    }
}

/// Some SDKs send numbers as strings; AWS takes them.
fn float_of(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        other => other.parse().ok().filter(|v: &f64| v.is_finite()),
    }
}

impl<'de, D: Deserializer<'de>> Reader for JsonReader<D> {
    fn structure(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        let mut carried = None;
        let depth = self.depth;
        let visitor = StructureVisitor {
            schema,
            visit,
            depth,
            carried: Carried(&mut carried),
        };
        let r = self.take()?.deserialize_map(visitor);
        finish(r, carried)
    }
    fn list(
        &mut self,
        _: &'static Schema,
        visit: &mut VisitElement<'_>,
    ) -> Result<(), DecodeError> {
        let mut carried = None;
        let depth = self.depth;
        let r = self.take()?.deserialize_seq(ListVisitor {
            visit,
            depth,
            carried: Carried(&mut carried),
        });
        finish(r, carried)
    }
    fn map(&mut self, _: &'static Schema, visit: &mut VisitEntry<'_>) -> Result<(), DecodeError> {
        let mut carried = None;
        let depth = self.depth;
        let r = self.take()?.deserialize_map(MapVisitor {
            visit,
            depth,
            carried: Carried(&mut carried),
        });
        finish(r, carried)
    }
    fn string(&mut self) -> Result<String, DecodeError> {
        finish(self.take()?.deserialize_string(TextVisitor), None)
    }
    fn boolean(&mut self) -> Result<bool, DecodeError> {
        finish(
            <bool as serde::Deserialize>::deserialize(self.take()?),
            None,
        )
    }
    fn long(&mut self) -> Result<i64, DecodeError> {
        match finish(self.take()?.deserialize_any(NumberVisitor), None)? {
            Number::Int(v) => Ok(v),
            Number::Float(v) if v.fract() == 0.0 && v.abs() < 9.0e18 => Ok(v as i64),
            Number::Text(t) => t
                .parse()
                .map_err(|_| DecodeError::type_mismatch("an integer")),
            Number::Float(_) => Err(DecodeError::type_mismatch("an integer")),
        }
    }
    fn double(&mut self) -> Result<f64, DecodeError> {
        match finish(self.take()?.deserialize_any(NumberVisitor), None)? {
            Number::Int(v) => Ok(v as f64),
            Number::Float(v) => Ok(v),
            Number::Text(t) => float_of(&t).ok_or_else(|| DecodeError::type_mismatch("a number")),
        }
    }
    fn blob(&mut self) -> Result<Bytes, DecodeError> {
        let text = self.string()?;
        decode_base64(&text)
    }
    fn timestamp(&mut self, member: &'static Member) -> Result<Timestamp, DecodeError> {
        let bad = || DecodeError::type_mismatch("a timestamp");
        match finish(self.take()?.deserialize_any(NumberVisitor), None)? {
            Number::Int(v) => Ok(Timestamp::from_secs(v)),
            Number::Float(v) => Timestamp::from_secs_f64(v).ok_or_else(bad),
            Number::Text(t) if member.format == Some(TimestampFormat::UnixTimestamp) => t
                .parse()
                .ok()
                .and_then(Timestamp::from_secs_f64)
                .ok_or_else(bad),
            Number::Text(t) => Timestamp::parse(&t).ok_or_else(bad),
        }
    }
    fn document(&mut self) -> Result<serde_json::Value, DecodeError> {
        finish(
            <serde_json::Value as serde::Deserialize>::deserialize(self.take()?),
            None,
        )
    }
}

/// Base64 as AWS's clients write it.
pub(crate) fn decode_base64(text: &str) -> Result<Bytes, DecodeError> {
    STANDARD
        .decode(text.trim_ascii())
        .map(Bytes::from)
        .map_err(|_| DecodeError::type_mismatch("base64"))
}
