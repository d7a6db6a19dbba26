//! Messages: what may be published, and how each protocol sees it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use wire::{Fault, Timestamp};

use crate::api::MessageAttributeValue;
use crate::errors::*;
use crate::signature::{Signer, canonical};
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
    /// The trace that it is part of.
    pub(crate) trace: Option<String>,
    pub(crate) sequence: Option<String>,
    pub(crate) time: Timestamp,
    /// `json` where each protocol has a text of its own.
    pub(crate) structure: Option<String>,
    /// Whether it comes from the archive.
    pub(crate) is_replayed: bool,
}

/// What a topic's messages are made up with.
pub(crate) struct Desk<'a> {
    pub(crate) place: &'a Place,
    /// Where URLs lead.
    pub(crate) endpoint: &'a str,
    /// Nobody signs for FIFO topics.
    pub(crate) signer: Option<&'a Signer>,
    /// Of the signature.
    pub(crate) version: &'a str,
    /// Signatures by the text that the message has for a protocol: they are dear.
    signed: RefCell<HashMap<String, String>>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(
        place: &'a Place,
        endpoint: &'a str,
        signer: Option<&'a Signer>,
        version: &'a str,
    ) -> Desk<'a> {
        Desk {
            place,
            endpoint,
            signer,
            version,
            signed: RefCell::default(),
        }
    }

    /// Where a subscription is ended.
    pub(crate) fn unsubscribe_url(&self, subscription: &str) -> String {
        format!(
            "{}/?Action=Unsubscribe&SubscriptionArn={subscription}",
            self.endpoint
        )
    }

    /// A subscription's confirmation or the notice of its end: a message of SNS's own, as text in JSON.
    pub(crate) fn word(
        &self,
        kind: &str,
        id: &str,
        token: &str,
        of: &str,
        now: Timestamp,
    ) -> Result<String, Fault> {
        let topic = self.place.arn();
        let text = match kind {
            "UnsubscribeConfirmation" => format!(
                "You have chosen to deactivate subscription {of}.\nTo cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
            ),
            _ => format!(
                "You have chosen to subscribe to the topic {topic}.\nTo confirm the subscription, visit the SubscribeURL included in this message."
            ),
        };
        let url = self.subscribe_url(token);
        let time = now.iso8601_millis();
        let mut members: Vec<(&'static str, Value)> = vec![
            ("Type", kind.into()),
            ("MessageId", id.into()),
            ("Token", token.into()),
            ("TopicArn", topic.as_str().into()),
            ("Message", text.as_str().into()),
            ("SubscribeURL", url.as_str().into()),
            ("Timestamp", time.as_str().into()),
        ];
        if let Some(signer) = self.signer {
            let signature = signer.sign(
                &canonical(&[
                    ("Message", Some(&text)),
                    ("MessageId", Some(id)),
                    ("SubscribeURL", Some(&url)),
                    ("Timestamp", Some(&time)),
                    ("Token", Some(token)),
                    ("TopicArn", Some(&topic)),
                    ("Type", Some(kind)),
                ]),
                self.version,
            )?;
            members.extend(self.signature_members(signer, signature));
        }
        Ok(shown(members))
    }

    /// Where a subscription is confirmed.
    pub(crate) fn subscribe_url(&self, token: &str) -> String {
        format!(
            "{}/?Action=ConfirmSubscription&TopicArn={}&Token={token}",
            self.endpoint,
            self.place.arn()
        )
    }

    fn signature_members(&self, signer: &Signer, signature: String) -> [(&'static str, Value); 3] {
        let url = format!("{}{}", self.endpoint, signer.path());
        [
            ("SignatureVersion", self.version.into()),
            ("Signature", signature.into()),
            ("SigningCertURL", url.into()),
        ]
    }

    fn signature(
        &self,
        signer: &Signer,
        message: &Message,
        protocol: &str,
    ) -> Result<String, Fault> {
        let text = message.text(protocol);
        if let Some(known) = self.signed.borrow().get(text) {
            return Ok(known.clone());
        }
        let signature = signer.sign(
            &canonical(&[
                ("Message", Some(text)),
                ("MessageId", Some(&message.id)),
                ("Subject", message.subject.as_deref()),
                ("Timestamp", Some(&message.time.iso8601_millis())),
                ("TopicArn", Some(&self.place.arn())),
                ("Type", Some("Notification")),
            ]),
            self.version,
        )?;
        let mut signed = self.signed.borrow_mut();
        signed.insert(text.to_owned(), signature.clone());
        Ok(signature)
    }
}

/// Members in their order, as AWS writes them.
fn shown(members: Vec<(&'static str, Value)>) -> String {
    let shown = members.into_iter().map(|(k, v)| format!("  \"{k}\" : {v}"));
    format!("{{\n{}\n}}", shown.collect::<Vec<_>>().join(",\n"))
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

    /// The text for each protocol that has one of its own, and the text for all others.
    pub(crate) fn texts(&self) -> Result<(BTreeMap<String, String>, String), Fault> {
        match self.structure.as_deref() {
            None | Some("") => Ok((BTreeMap::new(), self.message.clone())),
            Some("json") => {
                let Ok(Value::Object(all)) = serde_json::from_str(&self.message) else {
                    return Err(invalid(
                        "Message Structure - JSON message body failed to parse",
                    ));
                };
                let mut texts: BTreeMap<String, String> = BTreeMap::new();
                for (protocol, text) in all {
                    if let Value::String(text) = text {
                        texts.insert(protocol, text);
                    }
                }
                let default = texts.remove("default").ok_or_else(|| {
                    invalid("Message Structure - No default entry in JSON message body")
                })?;
                Ok((texts, default))
            }
            Some(_) => Err(invalid("MessageStructure Reason: Must be one of: json")),
        }
    }

    /// Checks the attributes.
    pub(crate) fn check_attributes(&self) -> Result<(), Fault> {
        let mut all = self.attributes.iter();
        all.try_for_each(|(name, value)| check_attribute(name, value))
    }

    /// Checks it and gives it an id.
    pub(crate) fn check(self, time: Timestamp) -> Result<Message, Fault> {
        if self.message.is_empty() {
            return Err(invalid("Empty message"));
        }
        if self.size() > LIMIT {
            return Err(invalid("Message too long"));
        }
        let subject = &self.subject;
        if let Some(subject) = subject {
            let is_fine = subject.chars().count() <= 100
                && !subject.is_empty()
                && !subject.chars().any(char::is_control)
                && !subject.starts_with(' ');
            if !is_fine {
                return Err(invalid("Subject"));
            }
        }
        self.check_attributes()?;
        let (texts, default) = self.texts()?;
        Ok(Message {
            id: cloud::ids::uuid(),
            texts,
            default,
            subject: self.subject,
            attributes: self.attributes,
            group: self.group,
            dedup: self.dedup,
            trace: None,
            sequence: None,
            time,
            structure: self.structure,
            is_replayed: false,
        })
    }
}

/// Says what is wrong with an attribute's name.
fn check_name(name: &str) -> Result<(), String> {
    let other = name
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')));
    if name.len() > 256 {
        return Err("Length of message attribute name must be less than 256 bytes.".into());
    }
    if let Some(other) = other {
        return Err(format!(
            "Invalid non-alphanumeric character '#x{:X}' was found in the message attribute name. Can only include alphanumeric characters, hyphens, underscores, or dots.",
            u32::from(other)
        ));
    }
    if name.starts_with('.') {
        return Err("Invalid message attribute name starting with character '.' was found.".into());
    }
    if name.ends_with('.') {
        return Err("Invalid message attribute name ending with character '.' was found.".into());
    }
    if name.contains("..") {
        return Err("Message attribute name can not have successive '.' character.".into());
    }
    Ok(())
}

fn check_attribute(name: &str, value: &MessageAttributeValue) -> Result<(), Fault> {
    let value_invalid = |text: String| Err(invalid_parameter_value_exception(text));
    check_name(name).or_else(value_invalid)?;
    if value.data_type.is_empty() {
        return Err(Fault::sender(
            400,
            "ValidationError",
            format!(
                "1 validation error detected: Value null at 'messageAttributes.{name}.member.dataType' failed to satisfy constraint: Member must not be null"
            ),
        ));
    }
    // `String.` alone names no kind of text.
    let (kind, label) = match value.data_type.split_once('.') {
        Some((kind, label)) => (kind, Some(label)),
        None => (value.data_type.as_str(), None),
    };
    let kind = if label == Some("") { "" } else { kind };
    let empty = || {
        value_invalid(format!(
            "The message attribute '{name}' must contain non-empty message attribute value for message attribute type '{}'.",
            value.data_type
        ))
    };
    match kind {
        "Binary" => {
            if value.string_value.is_none()
                && value.binary_value.as_ref().is_none_or(|b| b.is_empty())
            {
                return empty();
            }
            if value.string_value.is_some() {
                return value_invalid(format!(
                    "The message attribute '{name}' with type '{}' must use field 'Binary'.",
                    value.data_type
                ));
            }
        }
        "String" | "Number" => {
            let text = value.string_value.as_deref().unwrap_or_default();
            if text.is_empty() && value.binary_value.is_some() {
                return value_invalid(format!(
                    "The message attribute '{name}' with type '{}' must use field 'String'.",
                    value.data_type
                ));
            }
            if text.is_empty() {
                return empty();
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
    /// One with nothing but its texts.
    pub(crate) fn of_texts(
        id: String,
        texts: BTreeMap<String, String>,
        default: String,
        time: Timestamp,
    ) -> Message {
        Message {
            id,
            texts,
            default,
            subject: None,
            attributes: BTreeMap::new(),
            group: None,
            dedup: None,
            trace: None,
            sequence: None,
            time,
            structure: None,
            is_replayed: false,
        }
    }

    /// The texts by protocol, and the one for all others.
    pub(crate) fn all_texts(&self) -> (&BTreeMap<String, String>, &str) {
        (&self.texts, &self.default)
    }

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
                    Ok(one @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => vec![one],
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
        desk: &Desk<'_>,
        subscription: &str,
    ) -> Result<Vec<(&'static str, Value)>, Fault> {
        let mut members: Vec<(&'static str, Value)> = vec![
            ("Type", "Notification".into()),
            ("MessageId", self.id.as_str().into()),
        ];
        if let Some(sequence) = &self.sequence {
            members.push(("SequenceNumber", sequence.as_str().into()));
        }
        members.push(("TopicArn", desk.place.arn().into()));
        if let Some(subject) = &self.subject {
            members.push(("Subject", subject.as_str().into()));
        }
        members.push(("Message", self.text(protocol).into()));
        members.push(("Timestamp", self.time.iso8601_millis().into()));
        if let Some(signer) = desk.signer {
            let signature = desk.signature(signer, self, protocol)?;
            members.extend(desk.signature_members(signer, signature));
        }
        members.push(("UnsubscribeURL", desk.unsubscribe_url(subscription).into()));
        if self.is_replayed {
            members.push(("Replayed", "true".into()));
        }
        let attributes = self.shown_attributes();
        if !attributes.is_empty() {
            members.push(("MessageAttributes", attributes.into()));
        }
        Ok(members)
    }

    /// The text for a queue, stream, endpoint or programme that reads mail.
    pub(crate) fn notification(
        &self,
        protocol: &str,
        desk: &Desk<'_>,
        subscription: &str,
    ) -> Result<String, Fault> {
        Ok(shown(self.envelope(protocol, desk, subscription)?))
    }

    /// A function's event.
    pub(crate) fn event(&self, desk: &Desk<'_>, subscription: &str) -> Result<String, Fault> {
        let mut sns: Map<String, Value> = Map::new();
        for (key, value) in self.envelope("lambda", desk, subscription)? {
            // Functions see another spelling than queues do.
            let key = match key {
                "UnsubscribeURL" => "UnsubscribeUrl",
                "SigningCertURL" => "SigningCertUrl",
                key => key,
            };
            sns.insert(key.into(), value);
        }
        // Functions are told the first version whichever signed it.
        if let Some(version) = sns.get_mut("SignatureVersion") {
            *version = "1".into();
        }
        sns.entry("Subject").or_insert(Value::Null);
        sns.entry("MessageAttributes").or_insert_with(|| json!({}));
        let record = json!({
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": subscription,
            "Sns": sns,
        });
        Ok(json!({ "Records": [record] }).to_string())
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
