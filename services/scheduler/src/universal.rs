//! Targets that name an operation: `arn:aws:scheduler:::aws-sdk:sqs:sendMessage`. Those whose effect is a delivery are here.

use std::collections::BTreeMap;

use cloud::Arn;
use serde_json::{Value, json};
use wire::Fault;

use crate::api::Target;
use crate::errors::validation_exception;
use crate::schedule::Place;

/// The operations there are, by service.
const OPERATIONS: [(&str, &str); 5] = [
    ("events", "putEvents"),
    ("kinesis", "putRecord"),
    ("lambda", "invoke"),
    ("sns", "publish"),
    ("sqs", "sendMessage"),
];

fn operation(arn: &Arn) -> Option<(&str, &str)> {
    arn.resource.strip_prefix("aws-sdk:")?.split_once(':')
}

pub(crate) fn check(arn: &Arn, target: &Target) -> Result<(), Fault> {
    if !operation(arn).is_some_and(|o| OPERATIONS.contains(&o)) {
        return Err(validation_exception(format!(
            "{arn} is not a supported service for a target."
        )));
    }
    let input = target.input.as_deref().unwrap_or_default();
    let is_object = serde_json::from_str::<Value>(input).is_ok_and(|v| v.is_object());
    match is_object || input.contains("<aws.scheduler.") {
        true => Ok(()),
        false => Err(validation_exception(
            "Invalid RequestJson provided. Reason: the input must be a JSON object.",
        )),
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// A name or an ARN, as an ARN.
fn arn(place: &Place, service: &str, prefix: &str, name: &str) -> String {
    match name.starts_with("arn:") {
        true => name.to_owned(),
        false => {
            let resource = format!("{prefix}{name}");
            Arn::new(service, &place.region, &place.account, resource).to_string()
        }
    }
}

/// Where a call goes, and with what.
pub(crate) fn delivery(
    place: &Place,
    target: &Arn,
    input: &str,
    parameters: &mut BTreeMap<String, String>,
) -> Result<(String, String), Fault> {
    let input: Value = serde_json::from_str(input)?;
    let get = |name: &str| input.get(name);
    let mut keep = |name: &str, as_name: &str| {
        if let Some(value) = input.get(name) {
            parameters.insert(as_name.to_owned(), text(Some(value)));
        }
    };
    Ok(match operation(target) {
        Some(("sqs", _)) => {
            keep("MessageGroupId", "MessageGroupId");
            keep("MessageDeduplicationId", "MessageDeduplicationId");
            keep("MessageAttributes", "MessageAttributes");
            let url = text(get("QueueUrl"));
            // `…/ACCOUNT/NAME`
            let mut parts = url.rsplit('/');
            let name = parts.next().unwrap_or_default();
            let account = parts.next().unwrap_or(&place.account);
            let arn = Arn::new("sqs", &place.region, account, name);
            (arn.to_string(), text(get("MessageBody")))
        }
        Some(("sns", _)) => {
            keep("Subject", "Subject");
            keep("MessageGroupId", "MessageGroupId");
            keep("MessageDeduplicationId", "MessageDeduplicationId");
            let topic = get("TopicArn").or_else(|| get("TargetArn"));
            (text(topic), text(get("Message")))
        }
        Some(("kinesis", _)) => {
            keep("PartitionKey", "partition_key");
            let stream = get("StreamARN").or_else(|| get("StreamArn"));
            let stream = stream.or_else(|| get("StreamName"));
            let to = arn(place, "kinesis", "stream/", &text(stream));
            (to, text(get("Data")))
        }
        Some(("events", _)) => {
            let entry = get("Entries")
                .and_then(|e| e.get(0))
                .cloned()
                .unwrap_or_default();
            let bus = entry
                .get("EventBusName")
                .and_then(Value::as_str)
                .unwrap_or("default");
            let detail = text(entry.get("Detail"));
            let detail: Value = serde_json::from_str(&detail).unwrap_or_else(|_| json!({}));
            let event = json!({
                "version": "0",
                "id": cloud::ids::uuid(),
                "detail-type": text(entry.get("DetailType")),
                "source": text(entry.get("Source")),
                "account": place.account,
                "time": text(entry.get("Time")),
                "region": place.region,
                "resources": entry.get("Resources").cloned().unwrap_or_else(|| json!([])),
                "detail": detail,
            });
            (arn(place, "events", "event-bus/", bus), event.to_string())
        }
        _ => {
            let function = text(get("FunctionName"));
            let payload = match get("Payload") {
                Some(payload) => text(Some(payload)),
                None => "{}".into(),
            };
            (arn(place, "lambda", "function:", &function), payload)
        }
    })
}
