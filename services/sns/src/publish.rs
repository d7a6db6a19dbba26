//! Publishing: one message or a batch, to everybody who wants it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cloud::{Context, Delivery};
use sha2::{Digest, Sha256};
use store::{Range, Read, Scope};
use wire::{Fault, Timestamp};

use crate::api::{
    BatchResultErrorEntry, PublishBatchInput, PublishBatchOutput, PublishBatchResultEntry,
    PublishInput, PublishOutput,
};
use crate::archive::Replay;
use crate::delivery::{Parcel, parcel};
use crate::errors::*;
use crate::filter::{Filter, Subject};
use crate::message::{Desk, Draft, LIMIT, Message};
use crate::service::Sns;
use crate::subscription::Subscription;
use crate::topic::{Place, Topic};

/// A subscription that gets messages.
pub(crate) struct Listener {
    pub(crate) id: String,
    pub(crate) subscription: Subscription,
    filter: Option<Filter>,
}

/// Who listens to a topic.
pub(crate) struct Audience {
    /// The topic's count of changes when this was built.
    changes: u64,
    listeners: Vec<Listener>,
}

impl Listener {
    pub(crate) fn new(id: String, subscription: Subscription) -> Listener {
        let policy = subscription.attributes.get("FilterPolicy");
        let policy = policy.filter(|p| !p.is_empty() && *p != "{}");
        let filter = policy.and_then(|p| Filter::parse(p, subscription.filters_body()).ok());
        Listener {
            id,
            subscription,
            filter,
        }
    }

    pub(crate) fn wants(
        &self,
        message: &Message,
        attributes: &BTreeMap<String, Vec<serde_json::Value>>,
    ) -> bool {
        let Some(filter) = &self.filter else {
            return true;
        };
        if self.subscription.filters_body() {
            let body = message.json(&self.subscription.protocol);
            return filter.passes(&Subject::Body(body.as_ref()));
        }
        filter.passes(&Subject::Attributes(attributes))
    }
}

fn no_group() -> Fault {
    invalid_parameter_exception(
        "Invalid parameter: The MessageGroupId parameter is required for FIFO topics",
    )
}

fn no_deduplication() -> Fault {
    invalid_parameter_exception(
        "Invalid parameter: The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
    )
}

fn dedups_by_content(topic: &Topic) -> bool {
    let attribute = topic.attributes.get("ContentBasedDeduplication");
    attribute.is_some_and(|value| value == "true")
}

/// The most messages of a batch.
const MOST: usize = 10;

impl Sns {
    /// Who listens to a topic now.
    fn audience(&self, place: &Place, topic: &Topic) -> Result<Arc<Audience>, Fault> {
        let known = self.audiences.read().get(&topic.id).cloned();
        if let Some(audience) = known.filter(|a| a.changes == topic.changes) {
            return Ok(audience);
        }
        let view = self.cloud.store.read();
        let rows = view.range(
            &self.subscriptions,
            Range::prefix(&(&place.account, topic.id)),
        );
        let mut listeners = Vec::new();
        for row in rows {
            let ((_, _, id), subscription) = row?;
            if subscription.token.is_some() {
                continue;
            }
            listeners.push(Listener::new(id, subscription));
        }
        let audience = Arc::new(Audience {
            changes: topic.changes,
            listeners,
        });
        self.audiences.write().insert(topic.id, audience.clone());
        Ok(audience)
    }

    /// Where URLs in messages lead.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://localhost:{}", self.cloud.config.port)
    }

    /// What a message becomes for each subscription that wants it.
    fn parcels(
        audience: &Audience,
        desk: &Desk<'_>,
        topic: &Topic,
        message: &Message,
    ) -> Result<Vec<Parcel>, Fault> {
        let attributes = message.filterable();
        let wanting = audience
            .listeners
            .iter()
            .filter(|listener| listener.wants(message, &attributes));
        wanting.map(|l| parcel(desk, topic, l, message)).collect()
    }

    /// What a FIFO topic's message becomes for each queue that wants it.
    pub(crate) fn deliveries(
        &self,
        place: &Place,
        topic: &Topic,
        message: &Message,
    ) -> Result<Vec<(String, Delivery)>, Fault> {
        let audience = self.audience(place, topic)?;
        let listeners = audience.listeners.iter();
        // Who is at a replay gets this message from the archive, behind what came before it.
        let present = listeners.filter(|l| {
            let replay = l.subscription.replay.as_ref();
            !replay.is_some_and(Replay::is_running)
        });
        let mut made = Vec::new();
        for listener in present {
            if let Some(delivery) = self.delivery_in_line(place, topic, listener, message)? {
                made.push((listener.id.clone(), delivery));
            }
        }
        Ok(made)
    }

    /// What a FIFO topic's message becomes for a queue, where it is wanted.
    pub(crate) fn delivery_in_line(
        &self,
        place: &Place,
        topic: &Topic,
        listener: &Listener,
        message: &Message,
    ) -> Result<Option<Delivery>, Fault> {
        if !listener.wants(message, &message.filterable()) {
            return Ok(None);
        }
        let endpoint = self.endpoint();
        let desk = Desk::new(place, &endpoint, None, topic.signature_version());
        Ok(match parcel(&desk, topic, listener, message)? {
            Parcel::Send(delivery) => Some(*delivery),
            Parcel::Post(_) | Parcel::Keep(..) => None,
        })
    }

    /// Publishes a message that was checked.
    pub(crate) async fn send(
        &self,
        place: &Place,
        topic: &Topic,
        message: Message,
    ) -> Result<(String, Option<String>), Fault> {
        if topic.is_fifo {
            return self.send_in_line(place, message).await;
        }
        let audience = self.audience(place, topic)?;
        let is_signed = audience.listeners.iter().any(|l| !l.subscription.is_raw());
        let signer = match is_signed {
            true => Some(self.signer().await?),
            false => None,
        };
        let parcels = {
            let endpoint = self.endpoint();
            let version = topic.signature_version();
            let desk = Desk::new(place, &endpoint, signer.as_deref(), version);
            Sns::parcels(&audience, &desk, topic, &message)?
        };
        if !parcels.is_empty() {
            // Nothing is read: no two publications need each other's lock.
            let scope = ["sns.message", message.id.as_str()];
            self.cloud
                .store
                .transact(Scope::new(&scope), |tx| {
                    for parcel in &parcels {
                        match parcel {
                            Parcel::Send(delivery) => self.cloud.targets.send(tx, delivery)?,
                            Parcel::Post(post) => self.post(tx, post)?,
                            Parcel::Keep(medium, kept) => self.keep(tx, place, *medium, kept)?,
                        }
                    }
                    Ok::<_, Fault>(())
                })
                .await?;
        }
        Ok((message.id, None))
    }

    /// Checks a message against its topic.
    pub(crate) fn admit(topic: &Topic, draft: Draft, time: Timestamp) -> Result<Message, Fault> {
        let invalid = |what: &str| {
            Err(invalid_parameter_exception(format!(
                "Invalid parameter: {what}"
            )))
        };
        let mut message = draft.check(time)?;
        let is_id = |text: &String| {
            (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if message.group.as_ref().is_some_and(|g| !is_id(g)) {
            return invalid(
                "MessageGroupId Reason: MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length",
            );
        }
        if message.dedup.as_ref().is_some_and(|d| !is_id(d)) {
            return invalid(
                "MessageDeduplicationId Reason: MessageDeduplicationId can only include alphanumeric and punctuation characters. 1 to 128 in length",
            );
        }
        if !topic.is_fifo {
            return match message.dedup {
                Some(_) => invalid(
                    "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type",
                ),
                None => Ok(message),
            };
        }
        if message.group.is_none() {
            return Err(no_group());
        }
        if message.dedup.is_none() {
            if !dedups_by_content(topic) {
                return Err(no_deduplication());
            }
            message.dedup = Some(hex::encode(Sha256::digest(message.text("default"))));
        }
        Ok(message)
    }

    pub(crate) async fn publish(
        &self,
        ctx: &Context,
        input: PublishInput,
    ) -> Result<PublishOutput, Fault> {
        let draft = Draft {
            message: input.message,
            subject: input.subject,
            structure: input.message_structure,
            attributes: input.message_attributes.unwrap_or_default(),
            group: input.message_group_id,
            dedup: input.message_deduplication_id,
        };
        let (arn, what) = match (&input.topic_arn, &input.target_arn, &input.phone_number) {
            (None, None, Some(number)) => return self.text(ctx, number, draft).await,
            (Some(arn), None, None) => (arn, "TopicArn"),
            (None, Some(arn), None) => (arn, "TargetArn"),
            (None, None, None) => {
                return Err(invalid_parameter_exception(
                    "Invalid parameter: TopicArn or TargetArn Reason: no value for required parameter",
                ));
            }
            _ => {
                return Err(invalid_parameter_exception(
                    "Invalid parameter: TopicArn Reason: only one of TopicArn, TargetArn and PhoneNumber may be given",
                ));
            }
        };
        if arn.contains(":endpoint/") {
            return self.push(ctx, arn, what, draft).await;
        }
        let (place, topic) = self.permitted(ctx, arn, what, "SNS:Publish")?;
        let mut message = Sns::admit(&topic, draft, ctx.time)?;
        message.trace.clone_from(&ctx.trace);
        let (id, sequence) = self.send(&place, &topic, message).await?;
        Ok(PublishOutput {
            message_id: Some(id),
            sequence_number: sequence,
        })
    }

    pub(crate) async fn publish_batch(
        &self,
        ctx: &Context,
        input: PublishBatchInput,
    ) -> Result<PublishBatchOutput, Fault> {
        let (place, topic) = self.permitted(ctx, &input.topic_arn, "TopicArn", "SNS:Publish")?;
        let entries = input.publish_batch_request_entries;
        if entries.is_empty() {
            return Err(empty_batch_request_exception(
                "The batch request doesn't contain any entries.",
            ));
        }
        if entries.len() > MOST {
            return Err(too_many_entries_in_batch_request_exception(
                "The batch request contains more entries than permissible.",
            ));
        }
        let mut ids = HashSet::new();
        for entry in &entries {
            let is_fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            let why = match entry.id.as_str() {
                id if id.len() > 80 => "is too long",
                id if id.is_empty() || !id.bytes().all(is_fine) => {
                    "contains an impermissible character"
                }
                _ => "",
            };
            if !why.is_empty() {
                return Err(invalid_batch_entry_id_exception(format!(
                    "The Id of a batch entry in the batch request {why}: {}",
                    entry.id
                )));
            }
            if !ids.insert(entry.id.clone()) {
                return Err(batch_entry_ids_not_distinct_exception(
                    "Two or more batch entries in the request have the same Id.",
                ));
            }
        }
        let drafts: Vec<(String, Draft)> = entries
            .into_iter()
            .map(|entry| {
                let draft = Draft {
                    message: entry.message,
                    subject: entry.subject,
                    structure: entry.message_structure,
                    attributes: entry.message_attributes.unwrap_or_default(),
                    group: entry.message_group_id,
                    dedup: entry.message_deduplication_id,
                };
                (entry.id, draft)
            })
            .collect();
        for (_, draft) in &drafts {
            draft.check_attributes()?;
            draft.texts()?;
        }
        if topic.is_fifo && drafts.iter().any(|(_, d)| d.group.is_none()) {
            return Err(no_group());
        }
        let lacks_id = || drafts.iter().any(|(_, d)| d.dedup.is_none());
        if topic.is_fifo && !dedups_by_content(&topic) && lacks_id() {
            return Err(no_deduplication());
        }
        if drafts.iter().map(|(_, d)| d.size()).sum::<usize>() > LIMIT {
            return Err(batch_request_too_long_exception(
                "The length of all the messages put together is more than the limit.",
            ));
        }
        let mut successful = Vec::new();
        let mut failed = Vec::new();
        for (id, draft) in drafts {
            let sent = match Sns::admit(&topic, draft, ctx.time) {
                Ok(mut message) => {
                    message.trace.clone_from(&ctx.trace);
                    self.send(&place, &topic, message).await
                }
                Err(fault) => Err(fault),
            };
            match sent {
                Ok((message_id, sequence_number)) => successful.push(PublishBatchResultEntry {
                    id: Some(id),
                    message_id: Some(message_id),
                    sequence_number,
                }),
                Err(fault) => failed.push(BatchResultErrorEntry {
                    id,
                    code: fault.code.to_string(),
                    message: Some(fault.message.to_string()),
                    sender_fault: fault.status < 500,
                }),
            }
        }
        Ok(PublishBatchOutput {
            successful: Some(successful),
            failed: Some(failed),
        })
    }
}
