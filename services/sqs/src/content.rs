//! What a message says: its stored record, its rules, its digests.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::Context;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use store::Record;
use wire::{Bytes, Fault};

use crate::api::{MessageAttributeValue, MessageSystemAttributeValue};
use crate::errors;
use crate::fault::invalid_parameter;

/// A message without its place in the queue; never changed once it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// `MessageId`
    pub id: String,
    /// The body.
    pub body: String,
    /// The body's MD5, hexadecimal.
    pub md5: String,
    /// The user's attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// `SenderId`
    pub sender: String,
    /// `SentTimestamp`
    pub sent: i64,
    /// When it could first be received.
    pub due: i64,
    /// `MessageGroupId`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `MessageDeduplicationId`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<String>,
    /// `AWSTraceHeader`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// `DeadLetterQueueSourceArn`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}
impl Record for Content {}

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// `String`, `Number`, `Binary`, each perhaps with a label of the user's.
    pub kind: String,
    /// The value of a string or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The value of a binary.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub bytes: Option<Vec<u8>>,
}

impl Attribute {
    /// As the API shows it.
    pub fn show(&self) -> MessageAttributeValue {
        MessageAttributeValue {
            string_value: self.text.clone(),
            binary_value: self.bytes.clone().map(Bytes::from),
            data_type: Some(self.kind.clone()),
            ..Default::default()
        }
    }
    /// A string.
    pub fn text(text: impl Into<String>) -> Attribute {
        Attribute {
            kind: "String".into(),
            text: Some(text.into()),
            bytes: None,
        }
    }
    fn size(&self) -> usize {
        self.kind.len()
            + self.text.as_ref().map_or(0, String::len)
            + self.bytes.as_ref().map_or(0, Vec::len)
    }
    /// The value as Lambda's events and others show it.
    pub fn binary_base64(&self) -> Option<String> {
        self.bytes.as_ref().map(|b| STANDARD.encode(b))
    }
}

/// A body's MD5, hexadecimal.
pub fn md5_of(body: &str) -> String {
    hex::encode(Md5::digest(body.as_bytes()))
}

/// The MD5 of attributes, in the form AWS documents; `None` where there are none.
pub fn md5_of_attributes<'a>(
    attributes: impl Iterator<Item = (&'a String, &'a Attribute)>,
) -> Option<String> {
    let mut md5 = Md5::new();
    let mut is_empty = true;
    let part = |md5: &mut Md5, bytes: &[u8]| {
        md5.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        md5.update(bytes);
    };
    for (name, attribute) in attributes {
        is_empty = false;
        part(&mut md5, name.as_bytes());
        part(&mut md5, attribute.kind.as_bytes());
        match (&attribute.text, &attribute.bytes) {
            (Some(text), _) => {
                md5.update([1]);
                part(&mut md5, text.as_bytes());
            }
            (None, bytes) => {
                md5.update([2]);
                part(&mut md5, bytes.as_deref().unwrap_or_default());
            }
        }
    }
    (!is_empty).then(|| hex::encode(md5.finalize()))
}

/// What counts against the size of a message.
pub fn size_of(body: &str, attributes: &BTreeMap<String, Attribute>) -> usize {
    let attributes: usize = attributes.iter().map(|(k, v)| k.len() + v.size()).sum();
    body.len() + attributes
}

/// The characters that XML 1.0 allows.
pub fn is_allowed(c: char) -> bool {
    matches!(c, '\u{9}' | '\u{A}' | '\u{D}' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

const ALLOWED: &str = "#x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]";

/// Checks a body's characters.
pub fn check_body(body: &str) -> Result<(), Fault> {
    // Most bodies have nothing but ASCII's visible characters, which is told without decoding.
    if body.bytes().all(|b| matches!(b, b' '..=b'\x7f')) {
        return Ok(());
    }
    match body.chars().find(|c| !is_allowed(*c)) {
        Some(c) => Err(errors::invalid_message_contents(format!(
            "Invalid binary character '#x{:X}' was found in the message body, the set of allowed characters is {ALLOWED}",
            u32::from(c)
        ))),
        None => Ok(()),
    }
}

/// Most attributes of a message.
const MOST_ATTRIBUTES: usize = 10;

/// Reads and checks a message's attributes.
pub fn attributes(
    given: Option<BTreeMap<String, MessageAttributeValue>>,
) -> Result<BTreeMap<String, Attribute>, Fault> {
    let given = given.unwrap_or_default();
    if given.len() > MOST_ATTRIBUTES {
        return Err(invalid_parameter(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MOST_ATTRIBUTES}].",
            given.len()
        )));
    }
    let mut all = BTreeMap::new();
    for (name, value) in given {
        check_name(&name)?;
        let attribute = attribute(&name, value)?;
        all.insert(name, attribute);
    }
    Ok(all)
}

fn check_name(name: &str) -> Result<(), Fault> {
    let problem = |text: &str| Err(invalid_parameter(text));
    if name.is_empty() {
        return problem("The request must contain non-empty message attribute names.");
    }
    if name.len() > 256 {
        return problem("Message (user) attribute name must be shorter than 256 bytes.");
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    {
        return problem(
            "Message (user) attribute name can contain upper and lower case letters, digits, periods, hyphens and underscores.",
        );
    }
    let lower = name.to_ascii_lowercase();
    let is_reserved = lower.starts_with("aws.") || lower.starts_with("amazon.");
    if is_reserved || name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return problem(
            "You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. These strings are reserved for internal use. Additionally, they cannot start or end with '.'.",
        );
    }
    Ok(())
}

fn attribute(name: &str, value: MessageAttributeValue) -> Result<Attribute, Fault> {
    let kind = value.data_type.unwrap_or_default();
    if kind.is_empty() {
        return Err(invalid_parameter(format!(
            "The message attribute '{name}' must contain non-empty message attribute type."
        )));
    }
    if kind.len() > 256 {
        return Err(invalid_parameter(format!(
            "The message attribute '{name}' has an invalid message attribute type, attribute type must be shorter than 256 bytes."
        )));
    }
    let base = kind.split('.').next().unwrap_or_default();
    let empty = || {
        Err(invalid_parameter(format!(
            "Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'."
        )))
    };
    if value.string_list_values.is_some_and(|l| !l.is_empty())
        || value.binary_list_values.is_some_and(|l| !l.is_empty())
    {
        return Err(errors::unsupported_operation(
            "Message attribute list values in SendMessage operation are not supported.",
        ));
    }
    match base {
        "String" | "Number" => {
            let Some(text) = value.string_value.filter(|t| !t.is_empty()) else {
                return empty();
            };
            if let Some(c) = text.chars().find(|c| !is_allowed(*c)) {
                return Err(invalid_parameter(format!(
                    "Invalid binary character '#x{:X}' was found in the message attribute '{name}' value, the set of allowed characters is {ALLOWED}",
                    u32::from(c)
                )));
            }
            if base == "Number" && !is_number(&text) {
                return Err(invalid_parameter(format!(
                    "Can't cast the value of message (user) attribute '{name}' to a number."
                )));
            }
            Ok(Attribute {
                kind,
                text: Some(text),
                bytes: None,
            })
        }
        "Binary" => {
            let Some(bytes) = value.binary_value.filter(|b| !b.is_empty()) else {
                return empty();
            };
            Ok(Attribute {
                kind,
                text: None,
                bytes: Some(bytes.to_vec()),
            })
        }
        _ => Err(invalid_parameter(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
        ))),
    }
}

/// Digits, perhaps with a sign, a point and an exponent.
fn is_number(text: &str) -> bool {
    text.len() <= 256
        && text.bytes().any(|b| b.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.parse::<f64>().is_ok()
}

/// Reads the system attributes of a message to send: the trace header, and the MD5 of all.
pub fn system_attributes(
    ctx: &Context,
    given: Option<BTreeMap<String, MessageSystemAttributeValue>>,
) -> Result<(Option<String>, Option<String>), Fault> {
    let mut all = BTreeMap::new();
    for (name, value) in given.unwrap_or_default() {
        if name != "AWSTraceHeader" {
            return Err(invalid_parameter(format!(
                "Message system attribute name '{name}' is invalid."
            )));
        }
        if value.data_type.as_deref() != Some("String") {
            return Err(invalid_parameter(format!(
                "The type of message (system) attribute '{name}' is invalid. The only supported type is String."
            )));
        }
        let Some(text) = value.string_value.filter(|t| !t.is_empty()) else {
            return Err(invalid_parameter(format!(
                "Message (system) attribute '{name}' must contain a non-empty value of type 'String'."
            )));
        };
        all.insert(name, Attribute::text(text));
    }
    let md5 = md5_of_attributes(all.iter());
    let given = all.remove("AWSTraceHeader").and_then(|a| a.text);
    let trace = given.or_else(|| ctx.trace.clone());
    Ok((trace, md5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_aws() {
        assert_eq!(md5_of("message-1"), "3d6b824fd8c1520e9a047d21fee6fb1f");
        let one = BTreeMap::from([("MyAttribute".to_owned(), Attribute::text("foobar"))]);
        assert_eq!(
            md5_of_attributes(one.iter()).as_deref(),
            Some("adb59cd4678ea5a855436b949cd07ab6")
        );
        assert_eq!(md5_of_attributes(BTreeMap::new().iter()), None);
    }

    #[test]
    fn names_of_attributes_are_of_ascii_characters() {
        assert!(check_name("a-Z_0.9").is_ok());
        for name in ["ö", "a b", "", ".a", "a..b", "AWS.a"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn numbers_are_told_from_text() {
        for text in ["1", "-1.5", "+2e10", ".5"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["", "a", "1a", "e", "inf", "nan", "--1"] {
            assert!(!is_number(text), "{text}");
        }
    }
}
