//! XML, written straight into a string.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::reader::flat_name;
use crate::json::not_finite;
use crate::schema::{Member, Schema};
use crate::timestamp::{Timestamp, TimestampFormat};
use crate::writer::Writer;

/// Writes one XML document or fragment.
pub struct XmlWriter {
    out: String,
    /// Begins with the XML declaration.
    is_document: bool,
    frames: Vec<Frame>,
    next: Option<Next>,
    start_tag_open: bool,
    /// Timestamps always with milliseconds, as S3 writes them.
    millis: bool,
}

/// What encloses the value under way.
enum Frame {
    Structure(&'static str),
    List {
        close: Option<&'static str>,
        element: Next,
    },
    Map {
        close: Option<&'static str>,
        entry: &'static str,
        key: &'static str,
        value: Next,
        entered: bool,
    },
}

/// The element that the next value becomes.
#[derive(Clone, Copy)]
struct Next {
    name: &'static str,
    namespace: Option<(&'static str, &'static str)>,
    format: Option<TimestampFormat>,
    flattened: Option<&'static str>,
    attribute: bool,
}

impl Next {
    fn of(m: &'static Member) -> Next {
        Next {
            name: m.wire,
            namespace: m.namespace,
            format: m.format,
            flattened: m.flattened.then(|| flat_name(m)),
            attribute: m.attribute,
        }
    }
}

impl XmlWriter {
    /// A document whose root element has that name and default namespace.
    pub fn document(root: &'static str, namespace: Option<&'static str>) -> Self {
        let mut w = XmlWriter::fragment(root, namespace);
        w.is_document = true;
        w
    }
    /// The same without the XML declaration.
    pub fn fragment(root: &'static str, namespace: Option<&'static str>) -> Self {
        let namespace = namespace.map(|uri| ("", uri));
        XmlWriter {
            out: String::new(),
            is_document: false,
            frames: Vec::new(),
            next: Some(Next {
                name: root,
                namespace,
                format: None,
                flattened: None,
                attribute: false,
            }),
            start_tag_open: false,
            millis: false,
        }
    }
    /// With milliseconds in every timestamp.
    pub fn with_millis(mut self) -> Self {
        self.millis = true;
        self
    }
    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.out.into_bytes()
    }
    /// Writes `<name>text</name>` into the structure under way.
    pub fn text_element(&mut self, name: &str, value: &str) {
        self.close_start_tag();
        self.push_element(name, value);
    }
    /// Opens an element that is not from a schema.
    pub fn open(&mut self, name: &str) {
        self.close_start_tag();
        self.out.extend(["<", name]);
        self.start_tag_open = true;
    }
    /// Closes one. An element with nothing in it is one tag, as AWS writes it.
    pub fn close(&mut self, name: &str) {
        if std::mem::take(&mut self.start_tag_open) {
            self.out.push_str("/>");
        } else {
            self.out.extend(["</", name, ">"]);
        }
    }
    fn push_element(&mut self, name: &str, value: &str) {
        self.out.extend(["<", name, ">"]);
        escape(&mut self.out, value);
        self.out.extend(["</", local_close(name), ">"]);
    }
    fn close_start_tag(&mut self) {
        if std::mem::take(&mut self.start_tag_open) {
            self.out.push('>');
        }
    }
    fn start(&mut self, next: Next, own: Option<(&'static str, &'static str)>) {
        // Not before: many REST answers have no document.
        if self.out.is_empty() {
            self.out.reserve(512);
            if self.is_document {
                self.out
                    .push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
            }
        }
        self.close_start_tag();
        self.out.extend(["<", next.name]);
        for (prefix, uri) in [next.namespace, own.filter(|_| next.namespace.is_none())]
            .into_iter()
            .flatten()
        {
            self.out.push_str(" xmlns");
            if !prefix.is_empty() {
                self.out.extend([":", prefix]);
            }
            self.out.extend(["=\"", uri, "\""]);
        }
        self.start_tag_open = true;
    }
    fn take(&mut self) -> Next {
        self.next.take().unwrap_or(Next {
            name: "member",
            namespace: None,
            format: None,
            flattened: None,
            attribute: false,
        })
    }
    fn scalar(&mut self, value: &str) {
        let next = self.take();
        if next.attribute {
            self.out.extend([" ", next.name, "=\""]);
            escape(&mut self.out, value);
            self.out.push('"');
            return;
        }
        self.start(next, None);
        self.close_start_tag();
        escape(&mut self.out, value);
        self.out.extend(["</", next.name, ">"]);
    }
}

fn local_close(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}

/// Appends text with XML's special characters escaped; a character that XML 1.0 cannot hold becomes a reference.
pub fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(i) = rest.find(|c: char| {
        matches!(
            c,
            '&' | '<' | '>' | '"' | '\0'..='\x1f' | '\u{85}' | '\u{2028}'
        )
    }) {
        out.push_str(&rest[..i]);
        let c = rest[i..].chars().next().unwrap_or(' ');
        out.push_str(&match c {
            '&' => Cow::Borrowed("&amp;"),
            '<' => Cow::Borrowed("&lt;"),
            '>' => Cow::Borrowed("&gt;"),
            '"' => Cow::Borrowed("&quot;"),
            '\t' => Cow::Borrowed("\t"),
            '\n' => Cow::Borrowed("&#xA;"),
            '\r' => Cow::Borrowed("&#xD;"),
            other => Cow::Owned(format!("&#x{:X};", other as u32)),
        });
        rest = &rest[i + c.len_utf8()..];
    }
    out.push_str(rest);
}

impl Writer for XmlWriter {
    fn structure(&mut self, schema: &'static Schema) {
        let next = self.take();
        self.start(next, schema.namespace);
        self.frames.push(Frame::Structure(next.name));
    }
    fn member(&mut self, member: &'static Member) {
        if !member.attribute {
            self.close_start_tag();
        }
        self.next = Some(Next::of(member));
    }
    fn end_structure(&mut self) {
        if let Some(Frame::Structure(name)) = self.frames.pop() {
            self.close(name);
        }
    }
    fn list(&mut self, schema: &'static Schema, _: usize) {
        let next = self.take();
        let element = schema.members.first().map(Next::of);
        let mut element = element.unwrap_or(Next {
            attribute: false,
            flattened: None,
            ..next
        });
        let close = match next.flattened {
            Some(name) => {
                element.name = name;
                element.namespace = next.namespace.or(element.namespace);
                None
            }
            None => {
                self.start(next, None);
                Some(next.name)
            }
        };
        self.frames.push(Frame::List { close, element });
    }
    fn element(&mut self) {
        if let Some(Frame::List { element, .. }) = self.frames.last() {
            self.next = Some(*element);
        }
    }
    fn end_list(&mut self) {
        if let Some(Frame::List {
            close: Some(name), ..
        }) = self.frames.pop()
        {
            self.close(name);
        }
    }
    fn map(&mut self, schema: &'static Schema, _: usize) {
        let next = self.take();
        let (key, value) = match schema.members {
            [k, v] => (k.wire, Next::of(v)),
            _ => (
                "key",
                Next {
                    name: "value",
                    ..next
                },
            ),
        };
        let (close, entry) = match next.flattened {
            Some(name) => (None, name),
            None => {
                self.start(next, None);
                (Some(next.name), "entry")
            }
        };
        self.frames.push(Frame::Map {
            close,
            entry,
            key,
            value,
            entered: false,
        });
    }
    fn key(&mut self, k: &str) {
        let Some(Frame::Map {
            entry,
            key,
            value,
            entered,
            ..
        }) = self.frames.last_mut()
        else {
            return;
        };
        let (entry, key, value) = (*entry, *key, *value);
        let is_first = !std::mem::replace(entered, true);
        if is_first {
            self.close_start_tag();
        } else {
            self.out.extend(["</", entry, ">"]);
        }
        self.out.extend(["<", entry, ">"]);
        self.push_element(key, k);
        self.next = Some(value);
    }
    fn end_map(&mut self) {
        if let Some(Frame::Map {
            close,
            entry,
            entered,
            ..
        }) = self.frames.pop()
        {
            if entered {
                self.out.extend(["</", entry, ">"]);
            }
            if let Some(name) = close {
                self.close(name);
            }
        }
    }
    fn string(&mut self, value: &str) {
        self.scalar(value);
    }
    fn boolean(&mut self, value: bool) {
        self.scalar(if value { "true" } else { "false" });
    }
    fn long(&mut self, value: i64) {
        self.scalar(&value.to_string());
    }
    fn double(&mut self, value: f64) {
        if value.is_finite() {
            self.scalar(&value.to_string())
        } else {
            self.scalar(not_finite(value))
        }
    }
    fn float(&mut self, value: f32) {
        if value.is_finite() {
            self.scalar(&value.to_string())
        } else {
            self.double(f64::from(value))
        }
    }
    fn blob(&mut self, value: &[u8]) {
        self.scalar(&STANDARD.encode(value));
    }
    fn timestamp(&mut self, value: Timestamp) {
        let format = self
            .next
            .and_then(|n| n.format)
            .unwrap_or(TimestampFormat::Iso8601);
        if self.millis && format == TimestampFormat::Iso8601 {
            self.scalar(&value.iso8601_millis());
        } else {
            self.scalar(&value.format(format));
        }
    }
    fn document(&mut self, value: &serde_json::Value) {
        self.scalar(&value.to_string());
    }
    fn null(&mut self) {
        let next = self.take();
        self.start(next, None);
        self.start_tag_open = false;
        self.out.push_str("/>");
    }
}
