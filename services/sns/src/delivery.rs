//! A message on its way to one subscription.

use std::collections::BTreeMap;

use cloud::{Delivery, RetryPolicy, Source};
use serde_json::json;
use wire::Fault;

use crate::captured::{self, Captured, Medium};
use crate::feedback::Note;
use crate::message::{Desk, Message};
use crate::post::Post;
use crate::publish::Listener;
use crate::subscription::Subscription;
use crate::topic::{Place, Topic};

/// How hard AWS tries to reach its own services: 23 days.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: 100_015,
    max_age: 23 * 86_400,
};

/// What a subscription gets, by its road.
pub(crate) enum Parcel {
    /// To a service of the region.
    Send(Box<Delivery>),
    /// To an endpoint outside.
    Post(Box<Post>),
    /// To people: kept for who asks.
    Keep(Medium, Box<Captured>),
}

/// What a subscription gets.
pub(crate) fn parcel(
    desk: &Desk<'_>,
    topic: &Topic,
    listener: &Listener,
    message: &Message,
) -> Result<Parcel, Fault> {
    let subscription = &listener.subscription;
    let arn = format!("{}:{}", desk.place.arn(), listener.id);
    let medium = match subscription.protocol.as_str() {
        "http" | "https" => {
            let post = post(desk, topic, subscription, &arn, message)?;
            return Ok(Parcel::Post(Box::new(post)));
        }
        "sms" => Medium::Sms,
        "application" => Medium::Push,
        "email" | "email-json" => Medium::Mail,
        _ => {
            let mut sent = delivery(desk, subscription, &arn, message)?;
            let note = Note::of(topic, &subscription.protocol, message);
            sent.note = note.and_then(|note| note.text());
            return Ok(Parcel::Send(Box::new(sent)));
        }
    };
    keep(medium, desk, subscription, &arn, message)
}

fn post(
    desk: &Desk<'_>,
    topic: &Topic,
    subscription: &Subscription,
    arn: &str,
    message: &Message,
) -> Result<Post, Fault> {
    let mut post = Post::new(&subscription.endpoint, subscription.effective(topic));
    post.is_raw = subscription.is_raw();
    post.body = match post.is_raw {
        true => message.text(&subscription.protocol).to_owned(),
        false => message.notification(&subscription.protocol, desk, arn)?,
    };
    if post.is_raw {
        post.parameters = raw_attributes(message);
    }
    post.message.clone_from(&message.id);
    post.topic = desk.place.arn();
    post.owner.clone_from(&desk.place.account);
    post.subscription = Some(arn.to_owned());
    post.dead_letter = subscription.dead_letter();
    post.note = Note::of(topic, &subscription.protocol, message);
    Ok(post)
}

fn keep(
    medium: Medium,
    desk: &Desk<'_>,
    subscription: &Subscription,
    arn: &str,
    message: &Message,
) -> Result<Parcel, Fault> {
    let mut captured = Captured::of(message, &subscription.endpoint, medium);
    captured.topic = Some(desk.place.arn());
    captured.subscription = Some(arn.to_owned());
    captured.dead_letter = subscription.dead_letter();
    match subscription.protocol.as_str() {
        "email-json" => captured.text = message.notification("email-json", desk, arn)?,
        "email" => {
            captured.text = captured::mail(
                message.text("email"),
                &desk.unsubscribe_url(arn),
                &subscription.endpoint,
            );
        }
        _ => {}
    }
    Ok(Parcel::Keep(medium, Box::new(captured)))
}

fn delivery(
    desk: &Desk<'_>,
    subscription: &Subscription,
    arn: &str,
    message: &Message,
) -> Result<Delivery, Fault> {
    let protocol = subscription.protocol.as_str();
    let mut parameters = BTreeMap::new();
    // What a function would not take is kept as a queue would have got it.
    let dead_payload = match protocol {
        "lambda" if subscription.dead_letter().is_some() => {
            Some(message.notification("lambda", desk, arn)?)
        }
        _ => None,
    };
    let payload = match protocol {
        "lambda" => message.event(desk, arn)?,
        _ if subscription.is_raw() => {
            parameters = raw_attributes(message);
            message.text(protocol).to_owned()
        }
        _ => message.notification(protocol, desk, arn)?,
    };
    // A FIFO topic's group is none of a standard queue's.
    let is_apart = message.sequence.is_some() && !subscription.endpoint.ends_with(".fifo");
    if protocol == "sqs" && !is_apart {
        let own = [
            ("MessageGroupId", &message.group),
            ("MessageDeduplicationId", &message.dedup),
        ];
        for (name, value) in own {
            if let Some(value) = value {
                parameters.insert(name.into(), value.clone());
            }
        }
    }
    Ok(Delivery {
        target: subscription.endpoint.clone(),
        payload,
        source: source(
            desk.place,
            subscription.attributes.get("SubscriptionRoleArn"),
        ),
        trace: message.trace.clone(),
        parameters,
        dead_payload,
        retry: RETRY,
        dead_letter: subscription.dead_letter(),
        ..Delivery::default()
    })
}

/// A topic as others see it.
pub(crate) fn source(place: &Place, role: Option<&String>) -> Source {
    Source {
        service: "sns.amazonaws.com".into(),
        arn: place.arn(),
        account: place.account.clone(),
        role: role.cloned(),
    }
}

/// A raw message's attributes are the queue's message's own. Text is a parameter of its name; what has another type
/// goes in one of the name `MessageAttributes`, as SQS's API writes them.
fn raw_attributes(message: &Message) -> BTreeMap<String, String> {
    use base64::Engine;
    let mut parameters = BTreeMap::new();
    let mut typed = serde_json::Map::new();
    for (name, value) in &message.attributes {
        match (
            value.data_type.as_str(),
            &value.string_value,
            &value.binary_value,
        ) {
            ("String", Some(text), _) => {
                parameters.insert(name.clone(), text.clone());
            }
            (kind, Some(text), _) => {
                typed.insert(
                    name.clone(),
                    json!({ "DataType": kind, "StringValue": text }),
                );
            }
            (kind, None, Some(bytes)) => {
                let bytes = base64::engine::general_purpose::STANDARD.encode(bytes);
                typed.insert(
                    name.clone(),
                    json!({ "DataType": kind, "BinaryValue": bytes }),
                );
            }
            (_, None, None) => {}
        }
    }
    if !typed.is_empty() {
        parameters.insert(
            "MessageAttributes".into(),
            serde_json::Value::Object(typed).to_string(),
        );
    }
    parameters
}
