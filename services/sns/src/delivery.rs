//! A message on its way to one subscription.

use std::collections::BTreeMap;

use cloud::{Delivery, RetryPolicy, Source};
use serde_json::json;

use crate::message::Message;
use crate::publish::Listener;
use crate::topic::Place;

/// How hard AWS tries to reach its own services: 23 days.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: 100_015,
    max_age: 23 * 86_400,
};

/// What a subscription gets.
pub(crate) fn delivery(
    place: &Place,
    listener: &Listener,
    message: &Message,
    endpoint: &str,
) -> Delivery {
    let subscription = &listener.subscription;
    let protocol = subscription.protocol.as_str();
    let arn = format!("{}:{}", place.arn(), listener.id);
    let mut parameters = BTreeMap::new();
    let payload = match protocol {
        "lambda" => message.event(place, &arn, endpoint),
        _ if subscription.is_raw() => {
            parameters = raw_attributes(message);
            message.text(protocol).to_owned()
        }
        _ => message.notification(protocol, place, &arn, endpoint),
    };
    if protocol == "sqs" {
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
    Delivery {
        target: subscription.endpoint.clone(),
        payload,
        source: Source {
            service: "sns.amazonaws.com".into(),
            arn: place.arn(),
            account: place.account.clone(),
            role: subscription.attributes.get("SubscriptionRoleArn").cloned(),
        },
        parameters,
        retry: RETRY,
        dead_letter: subscription.dead_letter(),
        ..Delivery::default()
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
