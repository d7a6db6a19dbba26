//! Sending messages.

use std::collections::BTreeMap;

use cloud::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Range, Read, Record};
use wire::Fault;

use crate::api::*;
use crate::batch;
use crate::content::{self, Content};
use crate::errors;
use crate::fault::{invalid_parameter, invalid_value, missing};
use crate::queue::Queue;
use crate::service::Sqs;
use crate::shelf::{Place, Shelf};
use crate::url::Name;

/// A message that was sent a short while ago, so that a second one like it is not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dedup {
    /// The first one's id.
    pub id: String,
    /// The first one's number.
    pub seq: u64,
    /// Until when.
    pub ends: i64,
}
impl Record for Dedup {}

/// The key of a deduplication, under the time at which it ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DedupEnd(pub String);
impl Record for DedupEnd {}

/// Milliseconds for which a second message like the first is not sent.
const DEDUPLICATED_FOR: i64 = 300_000;
/// Ended deduplications that a message takes away: more than it adds.
const ENDED_AT_ONCE: usize = 3;
/// Bytes of a batch.
const LARGEST_BATCH: usize = 1_048_576;

/// The first sequence number; each is 256 more than the last.
const FIRST_SEQUENCE: u128 = 18_849_496_460_467_696_128;

/// A sequence number, as FIFO queues show it.
pub fn sequence(seq: u64) -> String {
    (FIRST_SEQUENCE + u128::from(seq) * 256).to_string()
}

/// A message as it is asked for.
#[derive(Default)]
pub struct Draft {
    pub body: String,
    pub delay: Option<i32>,
    pub attributes: BTreeMap<String, content::Attribute>,
    pub trace: Option<String>,
    pub dedup: Option<String>,
    pub group: Option<String>,
    pub sender: String,
}

/// What became of a message.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: String,
    pub seq: u64,
    pub md5: String,
    pub md5_attributes: Option<String>,
}

fn check_token(value: Option<&str>, parameter: &str) -> Result<(), Fault> {
    let Some(text) = value else { return Ok(()) };
    if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let reason = format!(
        "{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length."
    );
    Err(invalid_value(text, parameter, &reason))
}

impl Draft {
    /// Checks a message and makes its content.
    pub fn content(mut self, queue: &Queue, now: i64) -> Result<Content, Fault> {
        if self.body.is_empty() {
            return Err(missing("MessageBody"));
        }
        let size = content::size_of(&self.body, &self.attributes);
        if i64::try_from(size).unwrap_or(i64::MAX) > queue.maximum_size {
            return Err(invalid_parameter(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
                queue.maximum_size
            )));
        }
        content::check_body(&self.body)?;
        check_token(self.group.as_deref(), "MessageGroupId")?;
        let mut delay = queue.delay;
        if let Some(given) = self.delay {
            if !(0..=900).contains(&given) {
                return Err(invalid_value(
                    given,
                    "DelaySeconds",
                    "DelaySeconds must be >= 0 and <= 900.",
                ));
            }
            if queue.is_fifo && given != 0 {
                return Err(invalid_value(
                    given,
                    "DelaySeconds",
                    "The request include parameter that is not valid for this queue type.",
                ));
            }
            if !queue.is_fifo {
                delay = i64::from(given);
            }
        }
        if queue.is_fifo {
            if self.group.is_none() {
                return Err(missing("MessageGroupId"));
            }
            check_token(self.dedup.as_deref(), "MessageDeduplicationId")?;
            if self.dedup.is_none() && queue.deduplicates_content {
                self.dedup = Some(hex::encode(Sha256::digest(self.body.as_bytes())));
            }
            if self.dedup.is_none() {
                return Err(invalid_parameter(
                    "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
                ));
            }
        } else if let Some(dedup) = &self.dedup {
            return Err(invalid_value(
                dedup,
                "MessageDeduplicationId",
                "The request includes a parameter that is not valid for this queue type.",
            ));
        }
        Ok(Content {
            id: cloud::ids::uuid(),
            md5: content::md5_of(&self.body),
            body: self.body,
            attributes: self.attributes,
            sender: self.sender,
            sent: now,
            due: now + delay * 1000,
            group: self.group,
            dedup: self.dedup,
            trace: self.trace,
            source: None,
        })
    }
}

/// Stores a message, unless one like it was sent a short while ago.
pub fn store(shelf: &mut Shelf<'_, '_>, queue: &Queue, content: &Content) -> Result<Sent, Fault> {
    let mut sent = Sent {
        id: content.id.clone(),
        seq: 0,
        md5: content.md5.clone(),
        md5_attributes: content::md5_of_attributes(content.attributes.iter()),
    };
    let Some(dedup) = content.dedup.as_deref().filter(|_| queue.is_fifo) else {
        sent.seq = shelf.put(content, queue.is_fifo, Place::default())?;
        return Ok(sent);
    };
    forget_ended(shelf)?;
    let token = match (&content.group, queue.deduplicates_per_group) {
        (Some(group), true) => format!("{group} {dedup}"),
        _ => dedup.to_owned(),
    };
    let (account, line, tables) = (shelf.account, shelf.line, shelf.tables);
    let key = (account, line, token.as_str());
    let known: Option<Dedup> = shelf.tx.get(&tables.dedups, &key)?;
    if let Some(known) = known {
        if known.ends > shelf.now {
            (sent.id, sent.seq) = (known.id, known.seq);
            return Ok(sent);
        }
        shelf
            .tx
            .delete(&tables.dedup_ends, &(account, line, known.ends, known.seq));
    }
    sent.seq = shelf.put(content, true, Place::default())?;
    let ends = shelf.now + DEDUPLICATED_FOR;
    let dedup = Dedup {
        id: content.id.clone(),
        seq: sent.seq,
        ends,
    };
    shelf.tx.put(&tables.dedups, &key, &dedup)?;
    shelf.tx.put(
        &tables.dedup_ends,
        &(account, line, ends, sent.seq),
        &DedupEnd(token.clone()),
    )?;
    shelf.state.dedup_cursor = shelf.state.dedup_cursor.min(ends);
    Ok(sent)
}

/// Takes away deduplications that have ended: each message a few, so that none stays long.
fn forget_ended(shelf: &mut Shelf<'_, '_>) -> Result<(), Fault> {
    let (account, line, tables) = (shelf.account, shelf.line, shelf.tables);
    if shelf.state.dedup_cursor > shelf.now {
        return Ok(());
    }
    let range = Range::prefix(&(account, line))
        .from(&(account, line, shelf.state.dedup_cursor))
        .limit(ENDED_AT_ONCE);
    let rows: Vec<((String, u64, i64, u64), DedupEnd)> = shelf
        .tx
        .range(&tables.dedup_ends, range)
        .collect::<Result<_, _>>()?;
    let is_last = rows.len() < ENDED_AT_ONCE;
    let mut cursor = if is_last { i64::MAX } else { shelf.now };
    for ((_, _, ends, seq), token) in rows {
        if ends > shelf.now {
            cursor = ends;
            break;
        }
        cursor = cursor.max(ends);
        shelf
            .tx
            .delete(&tables.dedup_ends, &(account, line, ends, seq));
        shelf
            .tx
            .delete(&tables.dedups, &(account, line, token.0.as_str()));
    }
    shelf.state.dedup_cursor = cursor.min(shelf.now + DEDUPLICATED_FOR);
    Ok(())
}

impl Sqs {
    pub(crate) async fn send_message(
        &self,
        ctx: &Context,
        input: SendMessageInput,
    ) -> Result<SendMessageOutput, Fault> {
        let (name, queue) = self.open(ctx, input.queue_url, "sqs:SendMessage")?;
        let (trace, md5_system) = content::system_attributes(ctx, input.message_system_attributes)?;
        let draft = Draft {
            body: input.message_body.unwrap_or_default(),
            delay: input.delay_seconds,
            attributes: content::attributes(input.message_attributes)?,
            trace,
            dedup: input.message_deduplication_id,
            group: input.message_group_id,
            sender: ctx.principal.id.clone(),
        };
        let content = draft.content(&queue, ctx.time.0)?;
        let sent = self.send(&name, &queue, content).await?;
        Ok(SendMessageOutput {
            md5_of_message_body: Some(sent.md5),
            md5_of_message_attributes: sent.md5_attributes,
            md5_of_message_system_attributes: md5_system,
            message_id: Some(sent.id),
            sequence_number: queue.is_fifo.then(|| sequence(sent.seq)),
        })
    }

    /// Stores a message that was checked.
    pub(crate) async fn send(
        &self,
        name: &Name,
        queue: &Queue,
        content: Content,
    ) -> Result<Sent, Fault> {
        self.over(name, queue, |shelf| store(shelf, queue, &content))
            .await
    }

    pub(crate) async fn send_message_batch(
        &self,
        ctx: &Context,
        input: SendMessageBatchInput,
    ) -> Result<SendMessageBatchOutput, Fault> {
        let (name, queue) = self.open(ctx, input.queue_url, "sqs:SendMessage")?;
        let entries = batch::entries(input.entries, "SendMessageBatchRequestEntry", |e| {
            e.id.as_deref()
        })?;
        let mut total = 0;
        let mut failed = Vec::new();
        let mut contents = Vec::new();
        for entry in entries {
            let id = entry.id;
            if queue.is_fifo {
                // These two fail the whole batch.
                if entry.message_group_id.is_none() {
                    return Err(invalid_parameter(
                        "The request must contain the parameter MessageGroupId.",
                    ));
                }
                if entry.message_deduplication_id.is_none() && !queue.deduplicates_content {
                    return Err(invalid_parameter(
                        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
                    ));
                }
            }
            let read = || {
                let (trace, md5_system) =
                    content::system_attributes(ctx, entry.message_system_attributes)?;
                let attributes = content::attributes(entry.message_attributes)?;
                Ok::<_, Fault>((trace, md5_system, attributes))
            };
            let body = entry.message_body.unwrap_or_default();
            let (trace, md5_system, attributes) = match read() {
                Ok(read) => read,
                Err(fault) => {
                    total += body.len();
                    failed.push(batch::failure(id, &fault));
                    continue;
                }
            };
            total += content::size_of(&body, &attributes);
            let draft = Draft {
                body,
                delay: entry.delay_seconds,
                attributes,
                trace,
                dedup: entry.message_deduplication_id,
                group: entry.message_group_id,
                sender: ctx.principal.id.clone(),
            };
            match draft.content(&queue, ctx.time.0) {
                Ok(content) => contents.push((id, md5_system, content)),
                Err(mut fault) => {
                    if fault.message.contains("Message must be shorter") {
                        fault.message = format!(
                            "One or more parameters cannot be validated. Reason: Message must be shorter than {} bytes.",
                            queue.maximum_size
                        )
                        .into();
                    }
                    failed.push(batch::failure(id, &fault));
                }
            }
        }
        if total > LARGEST_BATCH {
            return Err(errors::batch_request_too_long(format!(
                "Batch requests cannot be longer than {LARGEST_BATCH} bytes. You have sent {total} bytes."
            )));
        }
        let sent = match contents.is_empty() {
            true => Vec::new(),
            false => {
                self.over(&name, &queue, |shelf| {
                    let stored = contents.iter().map(|(_, _, c)| store(shelf, &queue, c));
                    stored.collect::<Result<Vec<_>, _>>()
                })
                .await?
            }
        };
        let successful = contents
            .into_iter()
            .zip(sent)
            .map(|((id, md5_system, _), sent)| SendMessageBatchResultEntry {
                id,
                message_id: Some(sent.id),
                md5_of_message_body: Some(sent.md5),
                md5_of_message_attributes: sent.md5_attributes,
                md5_of_message_system_attributes: md5_system,
                sequence_number: queue.is_fifo.then(|| sequence(sent.seq)),
            })
            .collect();
        Ok(SendMessageBatchOutput {
            successful: batch::shown(successful),
            failed: batch::shown(failed),
        })
    }
}
