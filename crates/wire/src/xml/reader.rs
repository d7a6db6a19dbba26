//! A [`Reader`] over a parsed XML document.

use bytes::Bytes;
use roxmltree::{Document, Node, ParsingOptions};

use crate::json::decode_base64;
use crate::reader::{DecodeError, MAX_DEPTH, Reader, VisitElement, VisitEntry, VisitMember};
use crate::rest::text;
use crate::schema::{Location, Member, Schema};
use crate::timestamp::Timestamp;

/// More nodes than any real request has; bounds memory.
const MAX_NODES: u32 = 1_000_000;

/// Parses a document. DTDs, and with them entity bombs, are refused.
pub fn parse(body: &[u8]) -> Result<Document<'_>, DecodeError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|e| DecodeError::Malformed(e.to_string()))?;
    if nesting(body) > MAX_DEPTH {
        return Err(DecodeError::TooComplex);
    }
    let options = ParsingOptions {
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text.trim_ascii_start(), options)
        .map_err(|e| DecodeError::Malformed(e.to_string()))
}

/// An upper bound of the element nesting, found without recursion: the parser itself recurses.
fn nesting(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut i = 0;
    while let Some(&b) = body.get(i) {
        if b == b'<' {
            match body.get(i + 1) {
                Some(b'/') => depth = depth.saturating_sub(1),
                Some(b'!' | b'?') => {}
                _ => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
            }
        } else if b == b'>' && i > 0 && body[i - 1] == b'/' {
            depth = depth.saturating_sub(1);
        }
        i += 1;
    }
    deepest
}

/// An element, or the repeated elements of a flattened list or map.
pub struct XmlReader<'a, 'd> {
    nodes: Vec<Node<'a, 'd>>,
    flattened: bool,
    depth: usize,
}

impl<'a, 'd> XmlReader<'a, 'd> {
    /// The value that this element is.
    pub fn new(node: Node<'a, 'd>) -> Self {
        XmlReader {
            nodes: vec![node],
            flattened: false,
            depth: 0,
        }
    }
    fn one(&self) -> Result<Node<'a, 'd>, DecodeError> {
        self.nodes
            .first()
            .copied()
            .ok_or_else(|| DecodeError::type_mismatch("an element"))
    }
    fn child(&self, node: Node<'a, 'd>) -> Self {
        XmlReader {
            nodes: vec![node],
            flattened: false,
            depth: self.depth + 1,
        }
    }
    fn text(&self) -> Result<String, DecodeError> {
        let node = self.one()?;
        if node.children().any(|c| c.is_element()) {
            return Err(DecodeError::type_mismatch("text"));
        }
        Ok(node.children().filter_map(|c| c.text()).collect())
    }
}

/// The part of a prefixed name after the colon.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

impl Reader for XmlReader<'_, '_> {
    fn structure(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitMember<'_>,
    ) -> Result<(), DecodeError> {
        if self.depth > MAX_DEPTH {
            return Err(DecodeError::TooComplex);
        }
        let node = self.one()?;
        for (i, m) in schema.members.iter().enumerate() {
            if m.location != Location::Body {
                continue;
            }
            if m.attribute {
                if let Some(a) = node.attributes().find(|a| a.name() == local(m.wire)) {
                    visit(&mut text::TextReader::new(a.value(), Location::Body), i)?;
                }
                continue;
            }
            let element = if m.flattened { flat_name(m) } else { m.wire };
            let named = |c: &Node<'_, '_>| c.is_element() && c.tag_name().name() == local(element);
            if m.flattened {
                let nodes: Vec<_> = node.children().filter(named).collect();
                if !nodes.is_empty() {
                    visit(
                        &mut XmlReader {
                            nodes,
                            flattened: true,
                            depth: self.depth + 1,
                        },
                        i,
                    )?;
                }
            } else if let Some(child) = node.children().find(named) {
                visit(&mut self.child(child), i)?;
            }
        }
        Ok(())
    }
    fn list(
        &mut self,
        schema: &'static Schema,
        visit: &mut VisitElement<'_>,
    ) -> Result<(), DecodeError> {
        if self.flattened {
            for &node in &self.nodes {
                visit(&mut self.child(node))?;
            }
            return Ok(());
        }
        let element = schema.members.first().map_or("member", |m| m.wire);
        for node in self
            .one()?
            .children()
            .filter(|c| c.is_element() && c.tag_name().name() == element)
        {
            visit(&mut self.child(node))?;
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
        let entries: Vec<_> = if self.flattened {
            self.nodes.clone()
        } else {
            self.one()?
                .children()
                .filter(|c| c.is_element() && c.tag_name().name() == "entry")
                .collect()
        };
        for entry in entries {
            let find = |name: &str| {
                entry
                    .children()
                    .find(|c| c.is_element() && c.tag_name().name() == name)
            };
            if let (Some(k), Some(v)) = (find(key.wire), find(value.wire)) {
                visit(self.child(k).text()?, &mut self.child(v))?;
            }
        }
        Ok(())
    }
    fn string(&mut self) -> Result<String, DecodeError> {
        self.text()
    }
    fn boolean(&mut self) -> Result<bool, DecodeError> {
        text::boolean(self.text()?.trim())
    }
    fn long(&mut self) -> Result<i64, DecodeError> {
        text::long(self.text()?.trim())
    }
    fn double(&mut self) -> Result<f64, DecodeError> {
        text::double(self.text()?.trim())
    }
    fn blob(&mut self) -> Result<Bytes, DecodeError> {
        decode_base64(&self.text()?)
    }
    fn timestamp(&mut self, _: &'static Member) -> Result<Timestamp, DecodeError> {
        Timestamp::parse(&self.text()?).ok_or_else(|| DecodeError::type_mismatch("a timestamp"))
    }
    fn document(&mut self) -> Result<serde_json::Value, DecodeError> {
        Ok(serde_json::Value::String(self.text()?))
    }
}

/// The element of a flattened list or map.
pub(crate) fn flat_name(m: &Member) -> &'static str {
    m.flat.unwrap_or(m.wire)
}
