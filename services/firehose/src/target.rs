//! How other services put records.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::{Arn, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use wire::Fault;

use crate::buffer::Entry;
use crate::delivery_stream::{DeliveryStream, Place};
use crate::errors::*;
use crate::service::Firehose;

/// Takes deliveries as records. With the parameter `encoding` `base64` the payload is bytes.
pub(crate) struct DeliveryStreams(pub(crate) Arc<Firehose>);

/// What of a topic's message is looked at.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notification {
    r#type: String,
}

/// A topic's message in a line of its own, as objects of many messages are read; a raw one as it is.
fn line(text: &str) -> Vec<u8> {
    let notification: Option<Notification> = serde_json::from_str(text).ok();
    if notification.is_none_or(|n| n.r#type != "Notification") {
        return text.as_bytes().to_vec();
    }
    let mut line = Vec::with_capacity(text.len() + 1);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        if !is_quoted && byte.is_ascii_whitespace() {
            continue;
        }
        is_quoted ^= byte == b'"' && !is_escaped;
        is_escaped = is_quoted && byte == b'\\' && !is_escaped;
        line.push(byte);
    }
    line.push(b'\n');
    line
}

impl DeliveryStreams {
    fn admit(&self, arn: &Arn) -> Result<(Place, DeliveryStream), Fault> {
        let place = Place::of_arn(arn).ok_or_else(|| {
            invalid_argument_exception(format!("{arn} is not the ARN of a delivery stream."))
        })?;
        let stream = self.0.stream(&self.0.cloud.store.read(), &place)?;
        if stream.source.is_some() {
            return Err(invalid_argument_exception(
                "This operation is not permitted on KinesisStreamAsSource delivery stream type.",
            ));
        }
        Ok((place, stream))
    }

    async fn take(&self, delivery: &Delivery) -> Result<(), Fault> {
        let arn: Arn = delivery
            .target
            .parse()
            .map_err(|_| invalid_argument_exception("the target is not an ARN."))?;
        let (place, stream) = self.admit(&arn)?;
        let data = match delivery.parameters.get("encoding").map(String::as_str) {
            Some("base64") => STANDARD.decode(&delivery.payload).map_err(|e| {
                invalid_argument_exception(format!("the payload is not base64: {e}"))
            })?,
            _ if delivery.source.service == "sns.amazonaws.com" => line(&delivery.payload),
            _ => delivery.payload.clone().into_bytes(),
        };
        let entry = Entry::new(self.0.cloud.clock.now(), data.into());
        self.0.append(&place, &stream, vec![entry]).await
    }
}

impl Target for DeliveryStreams {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        Box::pin(async move {
            let taken = self.take(delivery).await;
            taken.map(|()| Receipt::default()).map_err(Refusal::of)
        })
    }

    fn check(&self, target: &Arn, _: &Source) -> Result<(), Fault> {
        self.admit(target).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_s_message_is_one_line() {
        let of = |text: &str| String::from_utf8(line(text)).unwrap();
        assert_eq!(
            of("{\n  \"Type\" : \"Notification\",\n  \"a b\" : \"c \\\" { d\"\n}"),
            "{\"Type\":\"Notification\",\"a b\":\"c \\\" { d\"}\n"
        );
        for raw in ["plain  text", "{\"a\": 1}"] {
            assert_eq!(of(raw), raw);
        }
    }
}
