//! A [`Reader`] over a whole HTTP request.

use std::collections::HashSet;

use bytes::Bytes;
use http::HeaderMap;

use super::text::TextReader;
use crate::body::Body;
use crate::header::is_named;
use crate::json;
use crate::reader::{DecodeError, Reader, VisitElement, VisitEntry, VisitMember};
use crate::schema::{Kind, Location, Member, Schema};
use crate::timestamp::Timestamp;
use crate::xml;

/// A composite cannot be read as a scalar.
macro_rules! scalars {
    () => {
        fn string(&mut self) -> Result<String, DecodeError> {
            Err(DecodeError::type_mismatch("a composite value"))
        }
        fn boolean(&mut self) -> Result<bool, DecodeError> {
            Err(DecodeError::type_mismatch("a composite value"))
        }
        fn long(&mut self) -> Result<i64, DecodeError> {
            Err(DecodeError::type_mismatch("a composite value"))
        }
        fn double(&mut self) -> Result<f64, DecodeError> {
            Err(DecodeError::type_mismatch("a composite value"))
        }
        fn blob(&mut self) -> Result<Bytes, DecodeError> {
            Err(DecodeError::type_mismatch("a composite value"))
        }
        fn timestamp(&mut self, _: &'static Member) -> Result<Timestamp, DecodeError> {
            Err(DecodeError::type_mismatch("a composite value"))
        }
        fn document(&mut self) -> Result<serde_json::Value, DecodeError> {
            Err(DecodeError::type_mismatch("a composite value"))
        }
    };
}

/// What a REST operation is read from.
pub struct Parts<'a> {
    /// Path labels by name, percent-decoded.
    pub labels: &'a [(&'static str, String)],
    /// Query parameters in order, decoded.
    pub query: &'a [(String, String)],
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The body, held; empty where `stream` is set.
    pub body: &'a [u8],
    /// The streamed body, where the operation takes one.
    pub stream: Option<Body>,
    /// Whether bodies are XML, else JSON.
    pub xml: bool,
}

/// Reads the top-level structure of an input; nested values go to the body's codec.
pub struct RestReader<'a> {
    parts: Parts<'a>,
    /// A bit for each length (modulo 64) that a header's name has.
    name_lengths: u64,
}

impl<'a> RestReader<'a> {
    /// A request's reader.
    pub fn new(parts: Parts<'a>) -> Self {
        let name_lengths = parts
            .headers
            .keys()
            .fold(0, |bits, name| bits | length_bit(name.as_str()));
        RestReader {
            parts,
            name_lengths,
        }
    }
    fn query_member(
        &self,
        m: &'static Member,
        i: usize,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        let query = self.parts.query;
        match m.target.kind {
            // The map holds every parameter, also those that members of their own are bound to.
            Kind::Map if query.is_empty() => Ok(()),
            Kind::Map => visit(
                &mut Pairs {
                    pairs: &query.iter().collect::<Vec<_>>(),
                },
                i,
            ),
            Kind::List => {
                let values: Vec<_> = query.iter().filter(|(k, _)| k == m.wire).collect();
                if values.is_empty() {
                    Ok(())
                } else {
                    visit(&mut Pairs { pairs: &values }, i)
                }
            }
            _ => match query.iter().find(|(k, _)| k == m.wire) {
                // A parameter that is a number and has no value is not given.
                Some((_, v))
                    if v.is_empty() && matches!(m.target.kind, Kind::Integer | Kind::Long) =>
                {
                    Ok(())
                }
                Some((_, v)) => visit(&mut TextReader::new(v, Location::Query), i),
                None => Ok(()),
            },
        }
    }
    fn header_member(
        &self,
        m: &'static Member,
        i: usize,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        // Most of the many headers that there may be are told absent by their length alone, and a comparison with the
        // few that there are beats a hash.
        if self.name_lengths & length_bit(m.wire) == 0 {
            return Ok(());
        }
        let named = |(name, value)| is_named(name, m.wire).then_some(value);
        let mut values = self.parts.headers.iter().filter_map(named);
        let Some(first) = values.next() else {
            return Ok(());
        };
        let mut text = String::from_utf8_lossy(first.as_bytes());
        for more in values {
            text.to_mut().push(',');
            text.to_mut()
                .push_str(&String::from_utf8_lossy(more.as_bytes()));
        }
        // An empty header is an absent value for everything but text.
        if text.is_empty() && m.target.kind != Kind::String {
            return Ok(());
        }
        let mut reader = if m.json_value {
            TextReader::json(&text)
        } else {
            TextReader::new(&text, Location::Header)
        };
        visit(&mut reader, i)
    }
    fn prefixed(
        &self,
        m: &'static Member,
        i: usize,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in self.parts.headers {
            let Some(rest) = strip_prefix_ignore_case(name.as_str(), m.wire) else {
                continue;
            };
            let value = String::from_utf8_lossy(value.as_bytes());
            match pairs.iter_mut().find(|(k, _)| k == rest) {
                Some((_, all)) => {
                    all.push(',');
                    all.push_str(&value);
                }
                None => pairs.push((rest.to_owned(), value.into_owned())),
            }
        }
        let refs: Vec<_> = pairs.iter().collect();
        if refs.is_empty() {
            Ok(())
        } else {
            visit(&mut Pairs { pairs: &refs }, i)
        }
    }
    fn payload(
        &mut self,
        m: &'static Member,
        i: usize,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        match m.target.kind {
            Kind::Stream | Kind::Events => {
                let body = self
                    .parts
                    .stream
                    .take()
                    .unwrap_or_else(|| Bytes::copy_from_slice(self.parts.body).into());
                visit(
                    &mut Raw {
                        bytes: b"",
                        stream: Some(body),
                    },
                    i,
                )
            }
            _ if self.parts.body.is_empty() => Ok(()),
            Kind::Blob | Kind::String => visit(
                &mut Raw {
                    bytes: self.parts.body,
                    stream: None,
                },
                i,
            ),
            _ if self.parts.xml => {
                let document = xml::parse(self.parts.body)?;
                visit(&mut xml::XmlReader::new(document.root_element()), i)
            }
            _ => json::read(self.parts.body, |r| visit(r, i)),
        }
    }
}

fn length_bit(name: &str) -> u64 {
    1 << (name.len() % 64)
}

fn strip_prefix_ignore_case<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let head = name.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &name[prefix.len()..])
}

impl Reader for RestReader<'_> {
    fn structure(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        let mut has_document = false;
        for (i, m) in schema.members.iter().enumerate() {
            match m.location {
                Location::Uri => {
                    if let Some((_, value)) = self.parts.labels.iter().find(|(k, _)| *k == m.wire) {
                        visit(&mut TextReader::new(value, Location::Uri), i)?;
                    }
                }
                Location::Query => self.query_member(m, i, visit)?,
                Location::Header => self.header_member(m, i, visit)?,
                Location::Headers => self.prefixed(m, i, visit)?,
                Location::Payload => self.payload(m, i, visit)?,
                Location::Body => has_document = true,
                Location::StatusCode => {}
            }
        }
        if !has_document || self.parts.body.is_empty() {
            return Ok(());
        }
        if self.parts.xml {
            let document = xml::parse(self.parts.body)?;
            xml::XmlReader::new(document.root_element()).structure(schema, visit)
        } else {
            json::read(self.parts.body, |r| r.structure(schema, visit))
        }
    }
    fn list(&mut self, _: &'static Schema, _: &mut VisitElement<'_>) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("a structure"))
    }
    fn map(&mut self, _: &'static Schema, _: &mut VisitEntry<'_>) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("a structure"))
    }
    scalars!();
}

/// Query parameters or prefixed headers, read as a map or a list.
struct Pairs<'a> {
    pairs: &'a [&'a (String, String)],
}

impl Reader for Pairs<'_> {
    fn structure(
        &mut self,
        _: &'static Schema,
        _: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("text"))
    }
    fn list(
        &mut self,
        _: &'static Schema,
        visit: &mut VisitElement<'_>,
    ) -> Result<(), DecodeError> {
        for (_, value) in self.pairs {
            visit(&mut TextReader::new(value, Location::Query))?;
        }
        Ok(())
    }
    fn map(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitEntry<'_>,
    ) -> Result<(), DecodeError> {
        let lists = schema
            .members
            .get(1)
            .is_some_and(|m| m.target.kind == Kind::List);
        let mut seen: HashSet<&str> = HashSet::new();
        for (key, value) in self.pairs {
            if !lists {
                visit(key.clone(), &mut TextReader::new(value, Location::Query))?;
            } else if seen.insert(key) {
                let same: Vec<_> = self
                    .pairs
                    .iter()
                    .copied()
                    .filter(|(k, _)| k == key)
                    .collect();
                visit(key.clone(), &mut Pairs { pairs: &same })?;
            }
        }
        Ok(())
    }
    scalars!();
}

/// A payload that is not a document.
struct Raw<'a> {
    bytes: &'a [u8],
    stream: Option<Body>,
}

impl Reader for Raw<'_> {
    fn structure(
        &mut self,
        _: &'static Schema,
        _: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("bytes"))
    }
    fn list(&mut self, _: &'static Schema, _: &mut VisitElement<'_>) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("bytes"))
    }
    fn map(&mut self, _: &'static Schema, _: &mut VisitEntry<'_>) -> Result<(), DecodeError> {
        Err(DecodeError::type_mismatch("bytes"))
    }
    fn string(&mut self) -> Result<String, DecodeError> {
        String::from_utf8(self.bytes.to_vec()).map_err(|e| DecodeError::Malformed(e.to_string()))
    }
    fn boolean(&mut self) -> Result<bool, DecodeError> {
        Err(DecodeError::type_mismatch("bytes"))
    }
    fn long(&mut self) -> Result<i64, DecodeError> {
        Err(DecodeError::type_mismatch("bytes"))
    }
    fn double(&mut self) -> Result<f64, DecodeError> {
        Err(DecodeError::type_mismatch("bytes"))
    }
    fn blob(&mut self) -> Result<Bytes, DecodeError> {
        Ok(Bytes::copy_from_slice(self.bytes))
    }
    fn timestamp(&mut self, _: &'static Member) -> Result<Timestamp, DecodeError> {
        Err(DecodeError::type_mismatch("bytes"))
    }
    fn document(&mut self) -> Result<serde_json::Value, DecodeError> {
        serde_json::from_slice(self.bytes).map_err(|e| DecodeError::Malformed(e.to_string()))
    }
    fn stream(&mut self) -> Result<Body, DecodeError> {
        Ok(self.stream.take().unwrap_or_default())
    }
}
