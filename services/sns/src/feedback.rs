//! Delivery status: what became of messages, in CloudWatch Logs
//! (<https://docs.aws.amazon.com/sns/latest/dg/sns-topic-attributes.html>).
//!
//! A topic says by protocol which role writes successes, how many of a hundred, and which writes failures. Queues,
//! functions, delivery streams and HTTP(S) endpoints are told of; nothing is sent to phones, so nothing is told of them.

use std::sync::Arc;

use cloud::{Delivery, Ending, Receipt, Witness};
use futures_util::future::BoxFuture;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::json;
use wire::{Fault, Timestamp};

use crate::message::Message;
use crate::service::Sns;
use crate::topic::{Place, Topic};

/// Whose deliveries are told of, as the topic's attributes name them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Sqs,
    Lambda,
    Firehose,
    Http,
}

/// A topic's attributes that say what is told.
struct Names {
    success_role: &'static str,
    success_rate: &'static str,
    failure_role: &'static str,
}

macro_rules! names {
    ($kind:literal) => {
        Names {
            success_role: concat!($kind, "SuccessFeedbackRoleArn"),
            success_rate: concat!($kind, "SuccessFeedbackSampleRate"),
            failure_role: concat!($kind, "FailureFeedbackRoleArn"),
        }
    };
}

impl Kind {
    fn of(protocol: &str) -> Option<Kind> {
        Some(match protocol {
            "sqs" => Kind::Sqs,
            "lambda" => Kind::Lambda,
            "firehose" => Kind::Firehose,
            "http" | "https" => Kind::Http,
            _ => return None,
        })
    }

    fn names(self) -> Names {
        match self {
            Kind::Sqs => names!("SQS"),
            Kind::Lambda => names!("Lambda"),
            Kind::Firehose => names!("Firehose"),
            Kind::Http => names!("HTTP"),
        }
    }
}

/// What is told of a message whose delivery is told of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    kind: Kind,
    message: String,
    md5: String,
    /// When it was published, milliseconds.
    at: i64,
}

/// How a delivery went.
pub(crate) struct Status<'a> {
    pub(crate) destination: &'a str,
    pub(crate) has_succeeded: bool,
    /// What the other side answered.
    pub(crate) response: String,
    /// The HTTP status, where there was one.
    pub(crate) code: Option<u16>,
    /// How often it was tried; of services it is not told.
    pub(crate) attempts: Option<u32>,
    /// When the last attempt began.
    pub(crate) at: Timestamp,
}

impl Note {
    /// Of a message to a subscription of that protocol, where its topic has anything told.
    pub(crate) fn of(topic: &Topic, protocol: &str, message: &Message) -> Option<Note> {
        let kind = Kind::of(protocol)?;
        let names = kind.names();
        let is_told = [names.success_role, names.failure_role]
            .into_iter()
            .any(|name| role(topic, name).is_some());
        is_told.then(|| Note {
            kind,
            message: message.id.clone(),
            md5: hex::encode(Md5::digest(message.text(protocol))),
            at: message.time.0,
        })
    }

    /// As a delivery carries it.
    pub(crate) fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

fn role<'t>(topic: &'t Topic, name: &str) -> Option<&'t String> {
    let role = topic.attributes.get(name);
    role.filter(|role| !role.is_empty())
}

/// Whether this success is among those of a hundred that are told.
fn is_sampled(topic: &Topic, name: &str) -> bool {
    let rate = topic.attributes.get(name);
    let rate: u32 = rate.and_then(|rate| rate.parse().ok()).unwrap_or(100);
    let mut random = [0; 4];
    cloud::ids::random(&mut random);
    u32::from_le_bytes(random) % 100 < rate
}

/// `2016-03-03 12:34:56.789`.
fn shown(at: Timestamp) -> String {
    at.iso8601_millis().replace('T', " ").replace('Z', "")
}

impl Sns {
    /// Writes how a delivery went, where the topic wants that told.
    pub(crate) async fn tell(&self, place: &Place, note: &Note, status: Status<'_>) {
        if let Err(fault) = self.try_to_tell(place, note, status).await {
            tracing::warn!(topic = place.arn(), %fault, "a delivery's status cannot be written");
        }
    }

    async fn try_to_tell(
        &self,
        place: &Place,
        note: &Note,
        status: Status<'_>,
    ) -> Result<(), Fault> {
        let topic = self.topic(&self.cloud.store, place)?;
        let names = note.kind.names();
        let (what, name) = match status.has_succeeded {
            true => ("SUCCESS", names.success_role),
            false => ("FAILURE", names.failure_role),
        };
        let Some(role) = role(&topic, name) else {
            return Ok(());
        };
        if status.has_succeeded && !is_sampled(&topic, names.success_rate) {
            return Ok(());
        }
        let (Some(roles), Some(logs)) = (self.cloud.ports.roles(), self.cloud.ports.logs()) else {
            return Ok(());
        };
        if let Err(problem) = roles.check(role, "sns.amazonaws.com") {
            tracing::debug!(role, ?problem, "a delivery's status is not written");
            return Ok(());
        }
        let mut delivery = json!({
            "deliveryId": cloud::ids::uuid(),
            "destination": status.destination,
            "providerResponse": status.response,
            "dwellTimeMs": (status.at.0 - note.at).max(0),
        });
        if let Some(delivery) = delivery.as_object_mut() {
            if let Some(attempts) = status.attempts {
                delivery.insert("attempts".into(), attempts.into());
            }
            if let Some(code) = status.code {
                delivery.insert("statusCode".into(), code.into());
            }
        }
        let line = json!({
            "notification": {
                "messageMD5Sum": note.md5,
                "messageId": note.message,
                "topicArn": place.arn(),
                "timestamp": shown(Timestamp(note.at)),
            },
            "delivery": delivery,
            "status": what,
        });
        let mut group = format!("sns/{}/{}/{}", place.region, place.account, place.name);
        if !status.has_succeeded {
            group.push_str("/Failure");
        }
        // A topic has one stream a day.
        let now = self.cloud.clock.now();
        let day = now.0.div_euclid(86_400_000);
        let stream = Md5::digest(format!("{group} {} {day}", topic.id));
        let stream = cloud::ids::uuid_of(stream.into());
        let events = vec![(now, line.to_string())];
        logs.append(&place.account, &place.region, &group, &stream, events)
            .await
    }
}

/// Hears how deliveries to other services ended.
pub(crate) struct Feedback(pub(crate) Arc<Sns>);

impl Witness for Feedback {
    fn ended<'a>(&'a self, delivery: &'a Delivery, ending: Ending<'a>) -> BoxFuture<'a, ()> {
        Box::pin(self.0.tell_of(delivery, ending))
    }
}

impl Sns {
    /// Writes how a delivery to another service ended, where it carries a note.
    pub(crate) async fn tell_of(&self, delivery: &Delivery, ending: Ending<'_>) {
        let note = delivery.note.as_deref();
        let note: Option<Note> = note.and_then(|note| serde_json::from_str(note).ok());
        let (Some(note), Ok(place)) = (note, Place::parse(&delivery.source.arn, "TopicArn")) else {
            return;
        };
        let response = match ending.outcome {
            Ok(receipt) => taken(note.kind, receipt),
            Err(fault) => json!({ "ErrorCode": fault.code, "ErrorMessage": fault.message }),
        };
        let code = match ending.outcome {
            Ok(_) if note.kind == Kind::Lambda => 202,
            Ok(_) => 200,
            Err(fault) => fault.status,
        };
        let status = Status {
            destination: &delivery.target,
            has_succeeded: ending.outcome.is_ok(),
            response: response.to_string(),
            code: Some(code),
            attempts: None,
            at: ending.at,
        };
        self.tell(&place, &note, status).await;
    }
}

/// What a service that took a message says of it.
fn taken(kind: Kind, receipt: &Receipt) -> serde_json::Value {
    let id = receipt.id.as_deref();
    match (kind, id) {
        (Kind::Sqs, Some(id)) => json!({ "sqsRequestId": cloud::ids::uuid(), "sqsMessageId": id }),
        (Kind::Lambda, Some(id)) => json!({ "lambdaRequestId": id }),
        _ => json!({}),
    }
}
