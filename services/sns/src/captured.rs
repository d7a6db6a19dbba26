//! Messages to people: mails, texts to telephones, pushes to devices. Nobody carries them out of the region; they are
//! kept for who asks, as LocalStack shows them.

use std::collections::BTreeMap;

use cloud::Delivery;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{Range, Read, Record, Scope, Tx};
use wire::Fault;

use crate::api::MessageAttributeValue;
use crate::delivery::source;
use crate::message::Message;
use crate::service::Sns;
use crate::topic::Place;

/// How a message reaches people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Medium {
    Mail,
    Sms,
    Push,
}

impl Medium {
    /// Its part of the key.
    fn key(self) -> &'static str {
        match self {
            Medium::Mail => "mail",
            Medium::Sms => "sms",
            Medium::Push => "push",
        }
    }
}

/// A message that was kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Captured {
    pub(crate) id: String,
    /// An address, a number, an endpoint's ARN.
    pub(crate) to: String,
    pub(crate) text: String,
    pub(crate) subject: Option<String>,
    pub(crate) structure: Option<String>,
    /// By name: the data type, and the value.
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) topic: Option<String>,
    pub(crate) subscription: Option<String>,
    /// Where it goes when it cannot be delivered.
    pub(crate) dead_letter: Option<String>,
    pub(crate) time: i64,
}
impl Record for Captured {}

fn shown_attribute(value: &MessageAttributeValue) -> Value {
    let mut shown = Map::new();
    shown.insert("DataType".into(), value.data_type.as_str().into());
    if let Some(text) = &value.string_value {
        shown.insert("StringValue".into(), text.as_str().into());
    }
    if let Some(bytes) = &value.binary_value {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        shown.insert("BinaryValue".into(), text.into());
    }
    shown.into()
}

impl Captured {
    /// A message as it is for that recipient.
    pub(crate) fn of(message: &Message, to: &str, medium: Medium) -> Captured {
        // Devices have texts of their own by their platform.
        let protocol = match medium {
            Medium::Mail => "email",
            Medium::Sms => "sms",
            Medium::Push => to.split('/').nth(1).unwrap_or_default(),
        };
        let attributes = message.attributes.iter();
        Captured {
            id: message.id.clone(),
            to: to.to_owned(),
            text: message.text(protocol).to_owned(),
            subject: message.subject.clone(),
            structure: message.structure.clone(),
            attributes: attributes
                .map(|(name, value)| (name.clone(), shown_attribute(value)))
                .collect(),
            topic: None,
            subscription: None,
            dead_letter: None,
            time: message.time.0,
        }
    }

    /// As LocalStack shows it.
    fn shown(&self, medium: Medium, region: &str) -> Value {
        let to = match medium {
            Medium::Sms => "PhoneNumber",
            Medium::Push => "TargetArn",
            Medium::Mail => {
                return json!({
                    "Id": self.id,
                    "Region": region,
                    "Source": SENDER,
                    "Destination": { "ToAddresses": [self.to] },
                    "Subject": self.subject.as_deref().unwrap_or(SUBJECT),
                    "Body": { "text_part": self.text, "html_part": null },
                    "Timestamp": wire::Timestamp(self.time).iso8601_millis(),
                });
            }
        };
        json!({
            to: self.to,
            "TopicArn": self.topic,
            "SubscriptionArn": self.subscription,
            "MessageId": self.id,
            "Message": self.text,
            "MessageAttributes": self.attributes,
            "MessageStructure": self.structure,
            "Subject": self.subject,
        })
    }
}

const SENDER: &str = "AWS Notifications <no-reply@sns.amazonaws.com>";
const SUBJECT: &str = "AWS Notification Message";
/// The subject of a mail that asks for a confirmation.
pub(crate) const CONFIRMATION: &str = "AWS Notification - Subscription Confirmation";

/// A mail's text: the message with the way out below it.
pub(crate) fn mail(text: &str, unsubscribe: &str, address: &str) -> String {
    format!(
        "{text}\n\n--\nIf you wish to stop receiving notifications from this topic, please click or visit the link below to unsubscribe:\n{unsubscribe}&Endpoint={address}\n\nPlease do not reply directly to this email."
    )
}

impl Sns {
    /// Keeps a message within a transaction, or hands it to its dead-letter queue where it could not be delivered.
    pub(crate) fn keep(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        medium: Medium,
        captured: &Captured,
    ) -> Result<(), Fault> {
        let is_lost = match medium {
            Medium::Push => self.check_endpoint(&captured.to, "TargetArn").is_err(),
            Medium::Sms => self.is_opted_out(&place.account, &captured.to)?,
            Medium::Mail => false,
        };
        if is_lost {
            tracing::debug!(to = captured.to, "a message could not be delivered");
            let Some(queue) = captured.dead_letter.clone() else {
                return Ok(());
            };
            let dead = Delivery {
                target: queue,
                payload: captured.text.clone(),
                source: source(place, None),
                ..Delivery::default()
            };
            return self.cloud.targets.send(tx, &dead);
        }
        let key = (
            &place.account,
            &place.region,
            medium.key(),
            captured.time,
            &captured.id,
        );
        // The same message may go to several telephones.
        let key = (
            key.0,
            key.1,
            key.2,
            key.3,
            &format!("{}/{}", key.4, captured.to),
        );
        tx.put(&self.captured, &key, captured)?;
        Ok(())
    }

    /// What was kept, the oldest first; of one recipient where `to` names one.
    pub(crate) fn kept(
        &self,
        account: &str,
        region: &str,
        medium: Medium,
        to: Option<&str>,
    ) -> Result<Vec<Captured>, Fault> {
        let view = self.cloud.store.read();
        let rows = view.range(
            &self.captured,
            Range::prefix(&(account, region, medium.key())),
        );
        let mut found = Vec::new();
        for row in rows {
            let (_, captured) = row?;
            if to.is_none_or(|to| captured.to == to) {
                found.push(captured);
            }
        }
        Ok(found)
    }

    /// The same, as LocalStack shows it: by recipient.
    pub(crate) fn kept_by_recipient(
        &self,
        account: &str,
        region: &str,
        medium: Medium,
        to: Option<&str>,
    ) -> Result<Value, Fault> {
        let mut shown: Map<String, Value> = Map::new();
        if let Some(to) = to {
            shown.insert(to.to_owned(), json!([]));
        }
        for captured in self.kept(account, region, medium, to)? {
            let all = shown
                .entry(captured.to.clone())
                .or_insert_with(|| json!([]));
            if let Value::Array(all) = all {
                all.push(captured.shown(medium, region));
            }
        }
        Ok(shown.into())
    }

    /// The mails of a region, as LocalStack shows those of SES.
    pub(crate) fn mails(
        &self,
        account: &str,
        region: &str,
        id: Option<&str>,
    ) -> Result<Value, Fault> {
        let mails = self.kept(account, region, Medium::Mail, None)?;
        let mails = mails
            .iter()
            .filter(|mail| id.is_none_or(|id| mail.id == id));
        let shown: Vec<Value> = mails.map(|mail| mail.shown(Medium::Mail, region)).collect();
        Ok(json!({ "messages": shown }))
    }

    /// Forgets what was kept.
    pub(crate) async fn forget(
        &self,
        account: &str,
        region: &str,
        medium: Medium,
        is_meant: impl Fn(&Captured) -> bool,
    ) -> Result<(), Fault> {
        let scope = ["sns.captured", account, region];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let keys = {
                    let range = Range::prefix(&(account, region, medium.key()));
                    let mut keys = Vec::new();
                    for row in tx.range(&self.captured, range) {
                        let (key, captured) = row?;
                        if is_meant(&captured) {
                            keys.push(key);
                        }
                    }
                    keys
                };
                for (account, region, medium, time, id) in keys {
                    tx.delete(&self.captured, &(&account, &region, &medium, time, &id));
                }
                Ok::<_, Fault>(())
            })
            .await
    }
}
