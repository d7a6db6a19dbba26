//! How other services send to queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::{Arn, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use wire::Fault;

use crate::content::Attribute;
use crate::fault::no_queue;
use crate::queue::Queue;
use crate::send::Draft;
use crate::service::Sqs;
use crate::url::Name;

/// Takes deliveries as messages. A delivery's parameters `MessageGroupId` and `MessageDeduplicationId` are what they are called,
/// `MessageAttributes` is an object of attributes as SQS's API writes them, and all others become attributes of text.
pub struct Queues(pub Arc<Sqs>);

const GROUP: &str = "MessageGroupId";
const DEDUP: &str = "MessageDeduplicationId";
const ATTRIBUTES: &str = "MessageAttributes";

/// Attributes as SQS's API writes them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Typed {
    data_type: String,
    string_value: Option<String>,
    binary_value: Option<String>,
}

fn typed(text: &str) -> Result<BTreeMap<String, Attribute>, Fault> {
    let given: BTreeMap<String, Typed> = serde_json::from_str(text)?;
    let mut all = BTreeMap::new();
    for (name, value) in given {
        let bytes = match &value.binary_value {
            Some(text) => Some(STANDARD.decode(text)?),
            None => None,
        };
        let attribute = Attribute {
            kind: value.data_type,
            text: value.string_value,
            bytes,
        };
        all.insert(name, attribute);
    }
    Ok(all)
}

impl Queues {
    fn admit(&self, arn: &Arn, source: &Source) -> Result<(Name, Arc<Queue>), Fault> {
        let name = Name::of_arn(arn).ok_or_else(no_queue)?;
        let queue = self.0.find(&name)?;
        if !self.0.admits(&name, &queue, source) {
            let text = format!(
                "{} is not authorized to perform: sqs:SendMessage on resource: {arn}",
                source.service
            );
            return Err(Fault::sender(403, "AccessDenied", text));
        }
        if queue.is_fifo && source.service == "s3.amazonaws.com" {
            return Err(Fault::sender(
                400,
                "InvalidArgument",
                "Amazon SQS FIFO queues are not supported as event notification destinations",
            ));
        }
        Ok((name, queue))
    }

    async fn take(&self, delivery: &Delivery) -> Result<Receipt, Fault> {
        let arn: Arn = delivery.target.parse().map_err(|_| no_queue())?;
        let (name, queue) = self.admit(&arn, &delivery.source)?;
        let mut draft = Draft {
            body: delivery.payload.clone(),
            sender: delivery.source.account.clone(),
            trace: delivery.trace.clone(),
            ..Draft::default()
        };
        for (key, value) in &delivery.parameters {
            match key.as_str() {
                GROUP => draft.group = Some(value.clone()),
                DEDUP if queue.is_fifo => draft.dedup = Some(value.clone()),
                DEDUP => {}
                ATTRIBUTES => draft.attributes.extend(typed(value)?),
                _ if value.is_empty() => {}
                _ => {
                    let mut attribute = Attribute::text(value.clone());
                    // Lambda's code of an error is a number.
                    if key == "ErrorCode" && value.bytes().all(|b| b.is_ascii_digit()) {
                        attribute.kind = "Number".into();
                    }
                    draft.attributes.insert(key.clone(), attribute);
                }
            }
        }
        let content = draft.content(&queue, self.0.cloud.clock.now().0)?;
        let sent = self.0.send(&name, &queue, content).await?;
        Ok(Receipt { id: Some(sent.id) })
    }
}

impl Target for Queues {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        Box::pin(async move { self.take(delivery).await.map_err(Refusal::of) })
    }

    fn check(&self, target: &Arn, source: &Source) -> Result<(), Fault> {
        self.admit(target, source).map(drop)
    }
}
