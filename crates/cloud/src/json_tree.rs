//! JSON as it was written: numbers keep their digits, objects their order.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep a document may be nested.
const DEEPEST: usize = 128;

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// As it stands in the document.
    Number(String),
    /// A string, without its escapes.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object's members, in their order, however often a name stands there.
    Object(Vec<(String, Json)>),
}

/// The members of an object, in their order, however often a name stands there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        d.deserialize_map(Seen).map(Members)
    }
}

impl Json {
    /// Reads a document, which is all of the bytes.
    pub fn read(bytes: &[u8]) -> Result<Json, serde_json::Error> {
        let raw: &RawValue = serde_json::from_slice(bytes)?;
        of(raw, 0)
    }

    /// Writes the names of members in lower case, at every depth.
    pub fn lower(&mut self) {
        match self {
            Json::List(items) => items.iter_mut().for_each(Json::lower),
            Json::Object(members) => {
                for (name, value) in members {
                    *name = name.to_lowercase();
                    value.lower();
                }
            }
            _ => {}
        }
    }

    /// The value as JSON, without spaces.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
        match self {
            Json::Null => out.push_str("null"),
            Json::Boolean(is_true) => out.push_str(if *is_true { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(text) => out.push_str(&quoted(text)),
            Json::List(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (n, (name, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    out.push_str(&quoted(name));
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn of(raw: &RawValue, depth: usize) -> Result<Json, serde_json::Error> {
    if depth > DEEPEST {
        return Err(Error::custom("the document is nested too deep"));
    }
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'n') => Json::Null,
        Some(b't') => Json::Boolean(true),
        Some(b'f') => Json::Boolean(false),
        Some(b'"') => Json::Text(serde_json::from_str(text)?),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            let items = items.into_iter().map(|item| of(item, depth + 1));
            Json::List(items.collect::<Result<_, _>>()?)
        }
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text)?;
            let members = members.into_iter();
            let members = members.map(|(name, value)| Ok((name, of(value, depth + 1)?)));
            Json::Object(members.collect::<Result<_, serde_json::Error>>()?)
        }
        _ => Json::Number(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let text = r#"{"B": [1.50, 12345678901234567890123, null], "a": {"C": "ü\n"}, "t": true}"#;
        let tree = Json::read(text.as_bytes()).unwrap();
        assert_eq!(
            tree.text(),
            r#"{"B":[1.50,12345678901234567890123,null],"a":{"C":"ü\n"},"t":true}"#
        );
        let mut tree = Json::read(br#"{"A":[{"B":1}]}"#).unwrap();
        tree.lower();
        assert_eq!(tree.text(), r#"{"a":[{"b":1}]}"#);
        for bad in ["", "{", "{} x", "nul", "[1,]", &"[".repeat(200_000)] {
            assert!(Json::read(bad.as_bytes()).is_err());
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(Json::read(deep.as_bytes()).is_err());
    }
}
