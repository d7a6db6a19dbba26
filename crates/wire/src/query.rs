//! Form-encoded requests of the query and EC2 protocols.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::json::decode_base64;
use crate::reader::{DecodeError, MAX_DEPTH, Reader, VisitElement, VisitEntry, VisitMember};
use crate::rest::text;
use crate::schema::{Member, Schema};
use crate::timestamp::Timestamp;
use crate::xml::flat_name;

/// More parameters than any real request has.
const MAX_PARAMETERS: usize = 100_000;

/// Parameters as a tree: `Tags.member.1.Key` is a path.
#[derive(Debug, Default, PartialEq)]
pub struct Parameters {
    value: Option<String>,
    children: BTreeMap<String, Parameters>,
}

impl Parameters {
    /// Parses `a=b&c.1=d`. Of a repeated parameter the last counts.
    pub fn parse(form: &[u8]) -> Result<Parameters, DecodeError> {
        let mut root = Parameters::default();
        let pairs = form.split(|byte| *byte == b'&');
        for (n, pair) in pairs.filter(|pair| !pair.is_empty()).enumerate() {
            if n >= MAX_PARAMETERS {
                return Err(DecodeError::TooComplex);
            }
            let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let value = pair.get(end + 1..).unwrap_or_default();
            root.insert(&decode(&pair[..end]), decode(value))?;
        }
        Ok(root)
    }
    /// Adds one parameter.
    pub fn insert(&mut self, path: &str, value: String) -> Result<(), DecodeError> {
        let mut node = self;
        for (depth, step) in path.split('.').enumerate() {
            if depth > MAX_DEPTH {
                return Err(DecodeError::TooComplex);
            }
            node = node.children.entry(step.to_owned()).or_default();
        }
        node.value = Some(value);
        Ok(())
    }
    /// The value of a top-level parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.children.get(name)?.value.as_deref()
    }
    /// The numbered children in order.
    fn numbered(&self) -> Vec<&Parameters> {
        let mut items: Vec<(u32, &Parameters)> = self
            .children
            .iter()
            .filter_map(|(k, v)| Some((k.parse().ok()?, v)))
            .collect();
        items.sort_by_key(|(n, _)| *n);
        items.into_iter().map(|(_, v)| v).collect()
    }
}

/// A name or value of a form as text; what is no UTF-8 is replaced. Such requests are as frequent as messages are sent: this takes
/// whole stretches where `form_urlencoded` takes bytes, into memory that need not grow.
fn decode(encoded: &[u8]) -> String {
    let mut out = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some(at) = memchr::memchr2(b'%', b'+', rest) {
        out.extend_from_slice(&rest[..at]);
        let digit = |n: usize| char::from(*rest.get(at + n)?).to_digit(16);
        let taken = match (rest[at], digit(1), digit(2)) {
            (b'+', ..) => {
                out.push(b' ');
                1
            }
            (_, Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                3
            }
            _ => {
                out.push(b'%');
                1
            }
        };
        rest = &rest[at + taken..];
    }
    out.extend_from_slice(rest);
    String::from_utf8(out)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A node of the tree, read as some shape.
pub struct QueryReader<'a> {
    node: &'a Parameters,
    flattened: bool,
    ec2: bool,
}

impl<'a> QueryReader<'a> {
    /// The whole request; `ec2` for EC2's names and lists.
    pub fn new(node: &'a Parameters, ec2: bool) -> Self {
        QueryReader {
            node,
            flattened: false,
            ec2,
        }
    }
    fn at(&self, node: &'a Parameters, flattened: bool) -> Self {
        QueryReader {
            node,
            flattened,
            ec2: self.ec2,
        }
    }
    fn text(&self) -> Result<&'a str, DecodeError> {
        self.node
            .value
            .as_deref()
            .ok_or_else(|| DecodeError::type_mismatch("a value"))
    }
}

impl Reader for QueryReader<'_> {
    fn structure(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        for (i, m) in schema.members.iter().enumerate() {
            let name = match m.flattened {
                _ if self.ec2 => m.query,
                true => flat_name(m),
                false => m.wire,
            };
            if let Some(child) = self.node.children.get(name) {
                visit(&mut self.at(child, m.flattened || self.ec2), i)?;
            }
        }
        Ok(())
    }
    fn list(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitElement<'_>,
    ) -> Result<(), DecodeError> {
        let element = schema.members.first().map_or("member", |m| m.wire);
        let holder = if self.flattened {
            Some(self.node)
        } else {
            // Older clients say `member` whatever the element is called.
            self.node
                .children
                .get(element)
                .or_else(|| self.node.children.get("member"))
        };
        for node in holder.map(Parameters::numbered).unwrap_or_default() {
            visit(&mut self.at(node, self.ec2))?;
        }
        Ok(())
    }
    fn map(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitEntry<'_>,
    ) -> Result<(), DecodeError> {
        let [key, value] = schema.members else {
            return Ok(());
        };
        let holder = if self.flattened {
            Some(self.node)
        } else {
            self.node.children.get("entry")
        };
        for entry in holder.map(Parameters::numbered).unwrap_or_default() {
            let Some(k) = entry.get(key.wire) else {
                continue;
            };
            if let Some(v) = entry.children.get(value.wire) {
                visit(k.to_owned(), &mut self.at(v, false))?;
            }
        }
        Ok(())
    }
    fn string(&mut self) -> Result<String, DecodeError> {
        Ok(self.text()?.to_owned())
    }
    fn boolean(&mut self) -> Result<bool, DecodeError> {
        text::boolean(self.text()?)
    }
    fn long(&mut self) -> Result<i64, DecodeError> {
        text::long(self.text()?)
    }
    fn double(&mut self) -> Result<f64, DecodeError> {
        text::double(self.text()?)
    }
    fn blob(&mut self) -> Result<Bytes, DecodeError> {
        decode_base64(self.text()?)
    }
    fn timestamp(&mut self, _: &'static Member) -> Result<Timestamp, DecodeError> {
        Timestamp::parse(self.text()?).ok_or_else(|| DecodeError::type_mismatch("a timestamp"))
    }
    fn document(&mut self) -> Result<serde_json::Value, DecodeError> {
        Ok(serde_json::Value::String(self.text()?.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn forms_are_read_as_urls_say(form in r"[a-c%+=&.0-9A-Fé\x00]{0,40}|(a=%[0-9a-fA-F]{2}[%é+]?&?){0,6}") {
            let mut expected = Parameters::default();
            for (key, value) in form_urlencoded::parse(form.as_bytes()) {
                prop_assert!(expected.insert(&key, value.into_owned()).is_ok());
            }
            let read = Parameters::parse(form.as_bytes());
            prop_assert_eq!(read.ok(), Some(expected));
        }
    }
}
