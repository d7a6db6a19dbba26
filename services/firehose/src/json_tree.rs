//! JSON as it was written: numbers keep their digits, objects their order.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// How deep a document may be nested.
const DEEPEST: usize = 128;

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Boolean(bool),
    /// As it stands in the document.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

struct Items<'a>(Vec<&'a RawValue>);
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Vec<&'de RawValue>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(items)
            }
        }
        d.deserialize_seq(Seen).map(Items)
    }
}

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
    pub(crate) fn read(bytes: &[u8]) -> Result<Json, serde_json::Error> {
        let raw: &RawValue = serde_json::from_slice(bytes)?;
        of(raw, 0)
    }

    /// The value as JSON, without spaces; with the names of members in lower case, if so wanted.
    pub(crate) fn text(&self, is_lower: bool) -> String {
        let mut out = String::new();
        self.write(&mut out, is_lower);
        out
    }

    fn write(&self, out: &mut String, is_lower: bool) {
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
                    item.write(out, is_lower);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (n, (name, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    match is_lower {
                        true => out.push_str(&quoted(&name.to_lowercase())),
                        false => out.push_str(&quoted(name)),
                    }
                    out.push(':');
                    value.write(out, is_lower);
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
            let Items(items) = serde_json::from_str(text)?;
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
            tree.text(false),
            r#"{"B":[1.50,12345678901234567890123,null],"a":{"C":"ü\n"},"t":true}"#
        );
        assert_eq!(
            Json::read(br#"{"A":{"B":1}}"#).unwrap().text(true),
            r#"{"a":{"b":1}}"#
        );
        for bad in ["", "{", "{} x", "nul", "[1,]", &"[".repeat(200_000)] {
            assert!(Json::read(bad.as_bytes()).is_err());
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(Json::read(deep.as_bytes()).is_err());
    }
}
