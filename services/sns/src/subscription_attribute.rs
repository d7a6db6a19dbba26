//! What subscriptions may be: their attributes and endpoints.

use cloud::Arn;
use wire::Fault;

use crate::errors::*;
use crate::filter::Filter;
use crate::subscription::{Subscription, invalid};
use crate::{archive, delivery_policy, phone};

/// A value as it is kept: truth is written in any case.
pub(crate) fn normal(name: &str, value: &str) -> String {
    match name {
        "RawMessageDelivery" => value.to_ascii_lowercase(),
        _ => value.to_owned(),
    }
}

/// Checks an attribute; `prefix` leads messages about filters, `subscription` is what it will be.
pub(crate) fn check(
    name: &str,
    value: &str,
    prefix: &str,
    subscription: &Subscription,
) -> Result<(), Fault> {
    match name {
        "RawMessageDelivery" => {
            match (normal(name, value).as_str(), subscription.protocol.as_str()) {
                ("true", "lambda" | "email" | "email-json" | "sms" | "application") => {
                    Err(invalid(
                        "Attributes Reason: RawMessageDelivery can only be set as true for SQS, HTTP/S, and Firehose endpoints.",
                    ))
                }
                ("true" | "false", _) => Ok(()),
                _ => Err(invalid(&format!(
                    "{prefix}RawMessageDelivery: Invalid value [{value}]. Must be true or false."
                ))),
            }
        }
        "FilterPolicyScope" => match value {
            "MessageAttributes" | "MessageBody" => Ok(()),
            _ => Err(invalid(&format!(
                "{prefix}FilterPolicyScope: Invalid value [{value}]. Please use either MessageBody or MessageAttributes"
            ))),
        },
        "FilterPolicy" if value.is_empty() || value == "{}" => Ok(()),
        "FilterPolicy" => Filter::parse(value, subscription.filters_body())
            .map(drop)
            .map_err(|why| match why.starts_with("Filter policy scope") {
                true => invalid(&why),
                false => invalid(&format!("{prefix}FilterPolicy: {why}")),
            }),
        "RedrivePolicy" if value.is_empty() => Ok(()),
        "RedrivePolicy" => {
            let policy: serde_json::Value = serde_json::from_str(value)
                .map_err(|_| invalid("RedrivePolicy: failed to parse JSON."))?;
            let target = policy["deadLetterTargetArn"].as_str();
            match target.and_then(|t| t.parse::<Arn>().ok()) {
                Some(arn)
                    if arn.service == "sqs"
                        && subscription.endpoint.ends_with(".fifo")
                        && !arn.resource.ends_with(".fifo") =>
                {
                    Err(invalid(
                        "RedrivePolicy: must use a FIFO queue as DLQ for a FIFO Subscription to a FIFO Topic.",
                    ))
                }
                Some(arn) if arn.service == "sqs" => Ok(()),
                _ => Err(invalid(
                    "RedrivePolicy: deadLetterTargetArn is an invalid arn",
                )),
            }
        }
        "DeliveryPolicy" if value.is_empty() => Ok(()),
        "DeliveryPolicy" => delivery_policy::check_of_subscription(value)
            .map_err(|why| invalid(&format!("DeliveryPolicy: {why}"))),
        "ReplayPolicy" => archive::replay(value).map(drop),
        "SubscriptionRoleArn" => Ok(()),
        _ => Err(invalid("AttributeName")),
    }
}

/// Checks what an endpoint of that protocol must look like.
pub(crate) fn check_endpoint(protocol: &str, endpoint: &str, is_fifo: bool) -> Result<(), Fault> {
    let service = endpoint.parse::<Arn>().ok().map(|arn| arn.service);
    match (protocol, service.as_deref()) {
        ("sqs", Some("sqs")) if !is_fifo && endpoint.ends_with(".fifo") => Err(invalid(
            "Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics",
        )),
        ("sqs", Some("sqs")) => Ok(()),
        ("sqs", _) => Err(invalid("SQS endpoint ARN")),
        (_, _) if is_fifo => Err(invalid(&format!(
            "Protocol Reason: {protocol} is not supported for FIFO topics"
        ))),
        ("lambda", Some("lambda")) => Ok(()),
        ("lambda", _) => Err(invalid("Lambda endpoint ARN")),
        ("firehose", Some("firehose")) => Ok(()),
        ("firehose", _) => Err(invalid("Firehose endpoint ARN")),
        ("email" | "email-json", _) if endpoint.contains('@') => Ok(()),
        ("email" | "email-json", _) => Err(invalid("Email address")),
        ("http" | "https", _) => check_url(protocol, endpoint),
        ("sms", _) if phone::is_subscribable(endpoint) => Ok(()),
        ("sms", _) => Err(invalid_parameter_exception(format!(
            "Invalid SMS endpoint: {endpoint}"
        ))),
        ("application", Some("sns")) => Ok(()),
        ("application", _) => Err(invalid("Endpoint Reason: Invalid application endpoint ARN")),
        _ => Err(invalid(&format!(
            "Amazon SNS does not support this protocol string: {protocol}"
        ))),
    }
}

fn check_url(protocol: &str, endpoint: &str) -> Result<(), Fault> {
    let prefix = format!("{protocol}://");
    if !endpoint.starts_with(&prefix) {
        return Err(invalid("Endpoint must match the specified protocol"));
    }
    let url = endpoint.parse::<http::Uri>().ok();
    match url.and_then(|url| url.host().map(str::is_empty)) {
        Some(false) => Ok(()),
        _ => Err(invalid("Unreachable Endpoint")),
    }
}
