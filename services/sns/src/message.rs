//! Messages: what may be published, and how each protocol sees it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use wire::{Fault, Timestamp};

use crate::api::MessageAttributeValue;
use crate::errors::*;
use crate::topic::Place;

/// Bytes of a message with its attributes.
pub(crate) const LIMIT: usize = 262_144;

/// A message that was taken.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// The text for each protocol, where they differ.
    texts: BTreeMap<String, String>,
    default: String,
    pub(crate) subject: Option<String>,
    pub(crate) attributes: BTreeMap<String, MessageAttributeValue>,
    pub(crate) group: Option<String>,
    pub(crate) dedup: Option<String>,
    pub(crate) sequence: Option<String>,
    pub(crate) time: Timestamp,
}

/// A message as it is asked to be published.
pub(crate) struct Draft {
    pub(crate) message: String,
    pub(crate) subject: Option<String>,
    pub(crate) structure: Option<String>,
    pub(crate) attributes: BTreeMap<String, MessageAttributeValue>,
    pub(crate) group: Option<String>,
    pub(crate) dedup: Option<String>,
}

fn invalid(what: &str) -> Fault {
    invalid_parameter_exception(format!("Invalid parameter: {what}"))
}

impl Draft {
    /// The bytes that count against the limit.
    pub(crate) fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| {
            name.len()
                + value.data_type.len()
                + value.string_value.as_ref().map_or(0, String::len)
                + value.binary_value.as_ref().map_or(0, |b| b.len())
        });
        self.message.len() + attributes.sum::<usize>()
    }

    /// Checks it and gives it an id.
    pub(crate) fn check(self, time: Timestamp) -> Result<Message, Fault> {
        if self.message.is_empty() {
            return Err(invalid("Empty message"));
        }
        if self.size() > LIMIT {
            return Err(invalid("Message too long"));
        }
        let subject = self.subject;
        if let Some(subject) = &subject {
            let is_fine = subject.chars().count() <= 100
                && !subject.is_empty()
                && !subject.chars().any(char::is_control)
                && !subject.starts_with(' ');
            if !is_fine {
                return Err(invalid("Subject"));
            }
        }
        for (name, value) in &self.attributes {
            check_attribute(name, value)?;
        }
        let mut texts = BTreeMap::new();
        let default = match self.structure.as_deref() {
            None | Some("") => self.message,
            Some("json") => {
                let Ok(Value::Object(all)) = serde_json::from_str(&self.message) else {
                    return Err(invalid(
                        "Message Structure - JSON message body failed to parse",
                    ));
                };
                for (protocol, text) in all {
                    if let Value::String(text) = text {
                        texts.insert(protocol, text);
                    }
                }
                texts.remove("default").ok_or_else(|| {
                    invalid("Message Structure - No default entry in JSON message body")
                })?
            }
            Some(_) => {
                return Err(invalid("MessageStructure Reason: Must be one of: json"));
            }
        };
        Ok(Message {
            id: cloud::ids::uuid(),
            texts,
            default,
            subject,
            attributes: self.attributes,
            group: self.group,
            dedup: self.dedup,
            sequence: None,
            time,
        })
    }
}

fn check_attribute(name: &str, value: &MessageAttributeValue) -> Result<(), Fault> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let is_name = (1..=256).contains(&name.len())
        && name.bytes().all(fine)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..");
    let value_invalid = |text: String| Err(invalid_parameter_value_exception(text));
    if !is_name {
        return value_invalid(format!("Invalid attribute name: {name}"));
    }
    let kind = value.data_type.split('.').next().unwrap_or_default();
    if value.data_type.is_empty() {
        return value_invalid(format!(
            "The message attribute '{name}' must contain non-empty message attribute type."
        ));
    }
    match kind {
        "Binary" => {
            if value.string_value.is_some() || value.binary_value.is_none() {
                return value_invalid(format!(
                    "The message attribute '{name}' with type '{}' must use field 'Binary'.",
                    value.data_type
                ));
            }
        }
        "String" | "Number" => {
            let Some(text) = value.string_value.as_deref() else {
                return value_invalid(format!(
                    "The message attribute '{name}' with type '{}' must use field 'String'.",
                    value.data_type
                ));
            };
            if text.is_empty() {
                return value_invalid(format!(
                    "The message attribute '{name}' must contain non-empty message attribute value for message attribute type '{}'.",
                    value.data_type
                ));
            }
            if kind == "Number" && text.trim().parse::<f64>().is_err() {
                return value_invalid(format!(
                    "Could not cast message attribute '{name}' value to number."
                ));
            }
        }
        _ => {
            return value_invalid(format!(
                "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
            ));
        }
    }
    Ok(())
}

impl Message {
    /// The text for a protocol.
    pub(crate) fn text(&self, protocol: &str) -> &str {
        self.texts.get(protocol).unwrap_or(&self.default)
    }

    /// What filters see of the attributes.
    pub(crate) fn filterable(&self) -> BTreeMap<String, Vec<Value>> {
        let mut values = BTreeMap::new();
        for (name, attribute) in &self.attributes {
            let text = attribute.string_value.as_deref();
            let seen = match (attribute.data_type.as_str(), text) {
                ("String.Array", Some(text)) => match serde_json::from_str(text) {
                    Ok(Value::Array(all)) => all,
                    _ => vec![text.into()],
                },
                (kind, Some(text)) if kind.starts_with("Number") => {
                    let number = text.trim().parse::<f64>().ok();
                    number.map(Value::from).into_iter().collect()
                }
                (_, Some(text)) => vec![text.into()],
                // Binary attributes count as absent.
                (_, None) => continue,
            };
            values.insert(name.clone(), seen);
        }
        values
    }

    /// The body as filters see it.
    pub(crate) fn json(&self, protocol: &str) -> Option<Value> {
        serde_json::from_str(self.text(protocol)).ok()
    }

    fn shown_attributes(&self) -> Map<String, Value> {
        let shown = self.attributes.iter().map(|(name, value)| {
            let text = match (&value.string_value, &value.binary_value) {
                (Some(text), _) => text.clone(),
                (None, Some(bytes)) => STANDARD.encode(bytes),
                (None, None) => String::new(),
            };
            (
                name.clone(),
                json!({ "Type": value.data_type, "Value": text }),
            )
        });
        shown.collect()
    }

    /// The envelope, its members in AWS's order.
    fn envelope(
        &self,
        protocol: &str,
        place: &Place,
        subscription: &str,
        endpoint: &str,
    ) -> Vec<(&'static str, Value)> {
        let mut members: Vec<(&'static str, Value)> = vec![
            ("Type", "Notification".into()),
            ("MessageId", self.id.as_str().into()),
        ];
        if let Some(sequence) = &self.sequence {
            members.push(("SequenceNumber", sequence.as_str().into()));
        }
        members.push(("TopicArn", place.arn().into()));
        if let Some(subject) = &self.subject {
            members.push(("Subject", subject.as_str().into()));
        }
        members.push(("Message", self.text(protocol).into()));
        members.push(("Timestamp", self.time.iso8601_millis().into()));
        if self.sequence.is_none() {
            // Nobody signs here: the members are there for readers that insist on them.
            members.push(("SignatureVersion", "1".into()));
            members.push(("Signature", "EXAMPLE".into()));
            members.push(("SigningCertURL", "EXAMPLE".into()));
        }
        let unsubscribe = format!("{endpoint}/?Action=Unsubscribe&SubscriptionArn={subscription}");
        members.push(("UnsubscribeURL", unsubscribe.into()));
        let attributes = self.shown_attributes();
        if !attributes.is_empty() {
            members.push(("MessageAttributes", attributes.into()));
        }
        members
    }

    /// A queue's or stream's text.
    pub(crate) fn notification(
        &self,
        protocol: &str,
        place: &Place,
        subscription: &str,
        endpoint: &str,
    ) -> String {
        let members = self.envelope(protocol, place, subscription, endpoint);
        let shown = members.into_iter().map(|(k, v)| format!("  \"{k}\" : {v}"));
        format!("{{\n{}\n}}", shown.collect::<Vec<_>>().join(",\n"))
    }

    /// A function's event.
    pub(crate) fn event(&self, place: &Place, subscription: &str, endpoint: &str) -> String {
        let mut sns: Map<String, Value> = Map::new();
        for (key, value) in self.envelope("lambda", place, subscription, endpoint) {
            // Functions see another spelling than queues do.
            let key = match key {
                "UnsubscribeURL" => "UnsubscribeUrl",
                "SigningCertURL" => "SigningCertUrl",
                key => key,
            };
            sns.insert(key.into(), value);
        }
        sns.entry("Subject").or_insert(Value::Null);
        sns.entry("MessageAttributes").or_insert_with(|| json!({}));
        let record = json!({
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": subscription,
            "Sns": sns,
        });
        json!({ "Records": [record] }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: &str, text: &str) -> MessageAttributeValue {
        MessageAttributeValue {
            data_type: kind.into(),
            string_value: Some(text.into()),
            binary_value: None,
        }
    }

    #[test]
    fn filters_see_attributes_by_their_type() {
        let draft = Draft {
            message: "m".into(),
            subject: None,
            structure: None,
            attributes: BTreeMap::from([
                ("s".into(), attribute("String", "x")),
                ("n".into(), attribute("Number", "1.5")),
                ("a".into(), attribute("String.Array", "[1,\"b\",null]")),
            ]),
            group: None,
            dedup: None,
        };
        let seen = draft.check(Timestamp(0)).expect("a message").filterable();
        assert_eq!(seen["s"], [json!("x")]);
        assert_eq!(seen["n"], [json!(1.5)]);
        assert_eq!(seen["a"], [json!(1), json!("b"), Value::Null]);
    }
}
