//! How other services receive: event source mappings and pipes.

use std::sync::Arc;

use cloud::Arn;
use cloud::ports::{QueueFacts, QueueMessage, Queues};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use wire::Fault;

use crate::content::{self, Attribute};
use crate::fault::no_queue;
use crate::receive::{Demand, Received, Shows};
use crate::service::Sqs;
use crate::url::Name;

/// The region's queues, for who polls them.
pub struct Poll(pub Arc<Sqs>);

fn name_of(arn: &Arn) -> Result<Name, Fault> {
    Name::of_arn(arn).ok_or_else(no_queue)
}

/// A message attribute, as events show it.
fn shown(attribute: &Attribute) -> Value {
    let mut all = Map::new();
    if let Some(text) = &attribute.text {
        all.insert("stringValue".into(), json!(text));
    }
    if let Some(bytes) = attribute.binary_base64() {
        all.insert("binaryValue".into(), json!(bytes));
    }
    all.insert("stringListValues".into(), json!([]));
    all.insert("binaryListValues".into(), json!([]));
    all.insert("dataType".into(), json!(attribute.kind));
    all.into()
}

/// A message as the record of an event.
fn record(received: &Received, arn: &Arn, is_fifo: bool) -> Value {
    let content = &received.content;
    let attributes: Map<String, Value> = content
        .attributes
        .iter()
        .map(|(name, a)| (name.clone(), shown(a)))
        .collect();
    let mut record = json!({
        "messageId": content.id,
        "receiptHandle": received.handle,
        "body": content.body,
        "attributes": Shows::system_attributes(received, is_fifo),
        "messageAttributes": attributes,
        "md5OfBody": content.md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": arn.to_string(),
        "awsRegion": arn.region,
    });
    if let Some(md5) = content::md5_of_attributes(content.attributes.iter()) {
        record["md5OfMessageAttributes"] = json!(md5);
    }
    record
}

impl Queues for Poll {
    fn queue(&self, queue: &Arn) -> Result<QueueFacts, Fault> {
        let found = self.0.find(&name_of(queue)?)?;
        Ok(QueueFacts {
            is_fifo: found.is_fifo,
            visibility: found.visibility,
        })
    }

    fn receive<'a>(
        &'a self,
        queue: &'a Arn,
        most: usize,
        wait: Option<i64>,
    ) -> BoxFuture<'a, Result<Vec<QueueMessage>, Fault>> {
        Box::pin(async move {
            let name = name_of(queue)?;
            let demand = Demand {
                most,
                wait,
                ..Demand::default()
            };
            let received = self.0.receive(&name, &demand).await?;
            let is_fifo = name.queue.ends_with(".fifo");
            let messages = received.into_iter().map(|r| QueueMessage {
                record: record(&r, queue, is_fifo),
                size: content::size_of(&r.content.body, &r.content.attributes),
                id: r.content.id,
                handle: r.handle,
                group: r.content.group,
            });
            Ok(messages.collect())
        })
    }

    fn delete<'a>(
        &'a self,
        queue: &'a Arn,
        handles: &'a [String],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { self.0.delete_all(&name_of(queue)?, handles).await })
    }

    fn delay<'a>(
        &'a self,
        queue: &'a Arn,
        handles: &'a [String],
        seconds: i64,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { self.0.delay_all(&name_of(queue)?, handles, seconds).await })
    }
}
