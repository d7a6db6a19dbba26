//! How other services write to groups.

use std::sync::Arc;

use cloud::ports::LogSink;
use cloud::{Arn, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use serde_json::Value;
use wire::{Fault, Timestamp};

use crate::errors::*;
use crate::service::Logs;

/// Takes deliveries as events, each in the stream that the parameter `LogStreamName` names, else in one of its own, as rules do. A payload of `timestamp` and `message`
/// alone says both.
pub(crate) struct Groups(pub(crate) Arc<Logs>);

/// The group of an ARN, with or without `:*` behind its name.
fn group(arn: &Arn) -> Result<&str, Fault> {
    let name = arn.resource.strip_prefix("log-group:");
    let name = name.map(|n| n.strip_suffix(":*").unwrap_or(n));
    name.ok_or_else(|| invalid_parameter_exception(format!("{arn} is not the ARN of a log group.")))
}

/// When something happened, and what.
fn event(payload: &str, now: Timestamp) -> (Timestamp, String) {
    let whole = || (now, payload.to_owned());
    let Ok(Value::Object(fields)) = serde_json::from_str(payload) else {
        return whole();
    };
    match (fields.get("timestamp"), fields.get("message"), fields.len()) {
        (Some(time), Some(message), 2) => {
            let time = match time {
                Value::Number(millis) => millis.as_i64().map(Timestamp),
                Value::String(text) => match text.parse::<i64>() {
                    Ok(millis) => Some(Timestamp(millis)),
                    Err(_) => Timestamp::parse(text),
                },
                _ => None,
            };
            let message = match message {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            (time.unwrap_or(now), message)
        }
        _ => whole(),
    }
}

impl Groups {
    async fn take(&self, delivery: &Delivery) -> Result<(), Fault> {
        let arn: Arn = delivery.target.parse().map_err(|_| {
            invalid_parameter_exception(format!("{} is not an ARN.", delivery.target))
        })?;
        let name = group(&arn)?;
        self.0.group(&arn.account, &arn.region, name)?;
        let named = delivery.parameters.get("LogStreamName").cloned();
        let stream = named.unwrap_or_else(cloud::ids::uuid);
        let events = vec![event(&delivery.payload, self.0.cloud.clock.now())];
        self.0
            .append(&arn.account, &arn.region, name, &stream, events)
            .await
    }
}

impl Target for Groups {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        Box::pin(async move {
            self.take(delivery)
                .await
                .map(|()| Receipt::default())
                .map_err(Refusal::of)
        })
    }

    fn check(&self, target: &Arn, _: &Source) -> Result<(), Fault> {
        let name = group(target)?;
        self.0
            .group(&target.account, &target.region, name)
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_may_say_when_it_happened() {
        let now = Timestamp(5);
        assert_eq!(event("{\"a\":1}", now), (now, "{\"a\":1}".to_owned()));
        let told = "{\"timestamp\":\"1970-01-01T00:00:01Z\",\"message\":\"m\"}";
        assert_eq!(event(told, now), (Timestamp(1_000), "m".to_owned()));
        assert_eq!(
            event("{\"timestamp\":7,\"message\":{}}", now),
            (Timestamp(7), "{}".to_owned())
        );
    }
}
