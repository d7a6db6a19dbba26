//! Queues: their stored record, and how they are made, found and deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::attribute;
use crate::errors;
use crate::fault::{invalid_parameter, invalid_value, missing, no_queue, required};
use crate::service::Sqs;
use crate::url::{self, Name};

/// A queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Tells it from others that had its name.
    pub birth: u64,
    /// Under which its messages lie; a purge gives it another.
    pub line: u64,
    /// Whether it is first-in-first-out.
    pub is_fifo: bool,
    /// Seconds.
    pub delay: i64,
    /// Bytes.
    pub maximum_size: i64,
    /// Seconds.
    pub retention: i64,
    /// Seconds.
    pub wait: i64,
    /// Seconds.
    pub visibility: i64,
    /// `Policy`
    #[serde(default)]
    pub policy: Option<String>,
    /// `RedrivePolicy`, as given.
    #[serde(default)]
    pub redrive: Option<Redrive>,
    /// `RedriveAllowPolicy`, as given.
    #[serde(default)]
    pub redrive_allow: Option<String>,
    /// `KmsMasterKeyId`
    #[serde(default)]
    pub kms_key: Option<String>,
    /// `KmsDataKeyReusePeriodSeconds`
    #[serde(default)]
    pub kms_reuse: Option<i64>,
    /// `SqsManagedSseEnabled`
    pub has_sse: bool,
    /// `ContentBasedDeduplication`
    #[serde(default)]
    pub deduplicates_content: bool,
    /// `DeduplicationScope` is `messageGroup`.
    #[serde(default)]
    pub deduplicates_per_group: bool,
    /// `FifoThroughputLimit` is `perMessageGroupId`.
    #[serde(default)]
    pub limits_per_group: bool,
    /// Keys and values.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When it was made, milliseconds.
    pub created: i64,
    /// When it was changed, milliseconds.
    pub modified: i64,
}
impl Record for Queue {}

/// Where messages go that were received too often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// The policy as it was given.
    pub text: String,
    /// The queue's ARN.
    pub target: String,
    /// Receives.
    pub lives: u32,
}

impl Queue {
    /// With AWS's defaults.
    pub fn new(is_fifo: bool, now: Timestamp) -> Queue {
        Queue {
            birth: random(),
            line: random(),
            is_fifo,
            delay: 0,
            maximum_size: 1_048_576,
            retention: 345_600,
            wait: 0,
            visibility: 30,
            policy: None,
            redrive: None,
            redrive_allow: None,
            kms_key: None,
            kms_reuse: None,
            has_sse: true,
            deduplicates_content: false,
            deduplicates_per_group: false,
            limits_per_group: false,
            tags: BTreeMap::new(),
            created: now.0,
            modified: now.0,
        }
    }
}

/// A number that no other queue has.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    cloud::ids::random(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// Whether a queue may have that name.
fn check_name(name: &str, is_fifo: bool) -> Result<(), Fault> {
    let is_allowed = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if is_fifo {
        let stem = name.strip_suffix(".fifo");
        if name.len() > 80 || !stem.is_some_and(is_allowed) {
            return Err(invalid_parameter(
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.",
            ));
        }
    } else if name.len() > 80 || !is_allowed(name) {
        return Err(invalid_parameter(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    Ok(())
}

/// Rows removed in one transaction when messages are swept away.
const SWEPT_AT_ONCE: usize = 1000;
/// The name of the jobs that remove the messages of deleted and purged queues.
pub const SWEEP: &str = "sqs.sweep";

impl Sqs {
    /// The queue's record, shared with others who read it.
    pub(crate) fn find(&self, name: &Name) -> Result<Arc<Queue>, Fault> {
        self.decoded
            .get(&self.cloud.store, &self.tables.queues, &name.key())?
            .ok_or_else(no_queue)
    }

    /// The queue of a URL, if the caller may do that with it.
    pub(crate) fn open(
        &self,
        ctx: &Context,
        url: Option<String>,
        action: &str,
    ) -> Result<(Name, Arc<Queue>), Fault> {
        let name = url::queue_of(ctx, url)?;
        let queue = self.find(&name)?;
        self.permit(ctx, &name, &queue, action)?;
        Ok((name, queue))
    }

    /// Changes a queue's record.
    pub(crate) async fn change<R>(
        &self,
        name: &Name,
        f: impl FnOnce(&mut Queue, &mut Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["sqs", &name.account, &name.region, &name.queue];
        let store = &self.cloud.store;
        store
            .transact(Scope::new(&scope), |tx| {
                let mut queue: Queue = tx
                    .get(&self.tables.queues, &name.key())?
                    .ok_or_else(no_queue)?;
                let result = f(&mut queue, tx)?;
                tx.put(&self.tables.queues, &name.key(), &queue)?;
                Ok(result)
            })
            .await
    }

    pub(crate) async fn create_queue(
        &self,
        ctx: &Context,
        input: CreateQueueInput,
    ) -> Result<CreateQueueOutput, Fault> {
        let queue = input.queue_name.ok_or_else(|| missing("QueueName"))?;
        let attributes = input.attributes.unwrap_or_default();
        let is_fifo = match attributes.get("FifoQueue").map(String::as_str) {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") && queue.ends_with(".fifo") => {
                return Err(invalid_parameter(
                    "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
                ));
            }
            Some(text) if text.eq_ignore_ascii_case("false") => {
                return Err(errors::invalid_attribute_name(
                    "Unknown Attribute FifoQueue.",
                ));
            }
            Some(_) => {
                return Err(errors::invalid_attribute_value(
                    "Invalid value for the parameter FifoQueue.",
                ));
            }
        };
        check_name(&queue, is_fifo)?;
        let tags = input.tags.unwrap_or_default();
        crate::tag::check(&queue, &tags)?;
        let name = Name {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            queue,
        };
        let url = name.url(ctx, self.strategy);
        let mut wanted = Queue::new(is_fifo, ctx.time);
        let mut given = attributes;
        given.remove("FifoQueue");
        attribute::set(self, &name, &mut wanted, &given, true)?;
        wanted.tags = tags;
        let scope = ["sqs", &name.account, &name.region, &name.queue];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let known: Option<Queue> = tx.get(&self.tables.queues, &name.key())?;
                let Some(known) = known else {
                    return Ok(tx.put(&self.tables.queues, &name.key(), &wanted)?);
                };
                // A queue that is there already is answered where it has the attributes that are asked for.
                for attribute in given.keys() {
                    if attribute::value(&known, attribute) != attribute::value(&wanted, attribute) {
                        return Err(errors::queue_name_exists(format!(
                            "A queue already exists with the same name and a different value for attribute {attribute}"
                        )));
                    }
                }
                Ok(())
            })
            .await?;
        Ok(CreateQueueOutput {
            queue_url: Some(url),
        })
    }

    pub(crate) async fn get_queue_url(
        &self,
        ctx: &Context,
        input: GetQueueUrlInput,
    ) -> Result<GetQueueUrlOutput, Fault> {
        let queue = required(input.queue_name, "QueueName")?;
        let account = input
            .queue_owner_aws_account_id
            .unwrap_or_else(|| ctx.account.clone());
        let name = Name {
            account,
            region: ctx.region.clone(),
            queue,
        };
        let found = self.find(&name)?;
        self.permit(ctx, &name, &found, "sqs:GetQueueUrl")?;
        Ok(GetQueueUrlOutput {
            queue_url: Some(name.url(ctx, self.strategy)),
        })
    }

    pub(crate) async fn list_queues(
        &self,
        ctx: &Context,
        input: ListQueuesInput,
    ) -> Result<ListQueuesOutput, Fault> {
        let prefix = input.queue_name_prefix.unwrap_or_default();
        let asked = input.max_results;
        let most = page_size(asked)?;
        let mut range = Range::text(&(&ctx.account, &ctx.region), &prefix);
        if let Some(token) = input.next_token.filter(|t| !t.is_empty()) {
            let place = cloud::paging::place("ListQueues", &token)
                .filter(|p| p.len() == 1)
                .ok_or_else(bad_token)?;
            range = range.after(&(&ctx.account, &ctx.region, &place[0]));
        }
        let view = self.cloud.store.read();
        let mut rows = view.range(&self.tables.queues, range.limit(most + 1));
        let mut names = Vec::new();
        while let Some((_, _, queue)) = rows.next_key()? {
            names.push(queue);
        }
        let mut next_token = None;
        if names.len() > most {
            names.truncate(most);
            // Without MaxResults there is no paging: the answer ends at the limit.
            next_token = names
                .last()
                .filter(|_| asked.is_some())
                .map(|last| cloud::paging::token("ListQueues", &[last]));
        }
        let urls: Vec<String> = names
            .into_iter()
            .map(|queue| {
                let name = Name {
                    account: ctx.account.clone(),
                    region: ctx.region.clone(),
                    queue,
                };
                name.url(ctx, self.strategy)
            })
            .collect();
        Ok(ListQueuesOutput {
            queue_urls: (!urls.is_empty()).then_some(urls),
            next_token,
        })
    }

    pub(crate) async fn delete_queue(
        &self,
        ctx: &Context,
        input: DeleteQueueInput,
    ) -> Result<DeleteQueueOutput, Fault> {
        let (name, _) = self.open(ctx, input.queue_url, "sqs:DeleteQueue")?;
        let scope = ["sqs", &name.account, &name.region, &name.queue];
        let line = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let queue: Queue = tx
                    .get(&self.tables.queues, &name.key())?
                    .ok_or_else(no_queue)?;
                tx.delete(&self.tables.queues, &name.key());
                self.plan_sweep(tx, &name.account, queue.line)?;
                Ok::<_, Fault>(queue.line)
            })
            .await?;
        self.lines.forget(line);
        Ok(DeleteQueueOutput {})
    }

    pub(crate) async fn purge_queue(
        &self,
        ctx: &Context,
        input: PurgeQueueInput,
    ) -> Result<PurgeQueueOutput, Fault> {
        let (name, _) = self.open(ctx, input.queue_url, "sqs:PurgeQueue")?;
        // However many messages there are: the queue gets new, empty rows, and the old ones are swept away behind it.
        let line = self
            .change(&name, |queue, tx| {
                let old = queue.line;
                queue.line = random();
                self.plan_sweep(tx, &name.account, old)?;
                Ok(old)
            })
            .await?;
        self.lines.forget(line);
        Ok(PurgeQueueOutput {})
    }

    fn plan_sweep(&self, tx: &mut Tx<'_>, account: &str, line: u64) -> Result<(), Fault> {
        let key = format!("{account}/{line}");
        let now = self.cloud.clock.now();
        self.cloud
            .scheduler
            .at(tx, now, SWEEP, &key, serde_json::Value::Null)
    }

    /// Removes all rows of messages that belong to no queue any more.
    pub(crate) async fn sweep(&self, key: &str) -> Result<(), Fault> {
        let Some((account, line)) = key.split_once('/') else {
            return Ok(());
        };
        let Ok(line) = line.parse::<u64>() else {
            return Ok(());
        };
        let tables = &self.tables;
        macro_rules! sweep {
            ($table:expr) => {
                loop {
                    let text = line.to_string();
                    let scope = ["sqs.line", account, &text];
                    let swept = self
                        .cloud
                        .store
                        .transact(Scope::new(&scope), |tx| {
                            let range = Range::prefix(&(account, line)).limit(SWEPT_AT_ONCE);
                            let mut keys = Vec::new();
                            {
                                let mut rows = tx.range(&$table, range);
                                while let Some(key) = rows.next_key()? {
                                    keys.push(key);
                                }
                            }
                            keys.iter().for_each(|key| tx.delete(&$table, key));
                            Ok::<_, Fault>(keys.len())
                        })
                        .await?;
                    if swept < SWEPT_AT_ONCE {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            };
        }
        sweep!(tables.contents);
        sweep!(tables.places);
        sweep!(tables.order);
        sweep!(tables.members);
        sweep!(tables.groups);
        sweep!(tables.dedups);
        sweep!(tables.dedup_ends);
        sweep!(tables.tallies);
        self.lines.forget(line);
        Ok(())
    }
}

/// The size of a page, by `MaxResults`.
pub fn page_size(asked: Option<i32>) -> Result<usize, Fault> {
    match asked {
        None => Ok(1000),
        Some(n @ 1..=1000) => Ok(usize::try_from(n).unwrap_or(1000)),
        Some(n) => Err(invalid_value(
            n,
            "MaxResults",
            "MaxResults must be an integer between 1 and 1000.",
        )),
    }
}

/// A paging token that none of ours is.
pub fn bad_token() -> Fault {
    invalid_parameter("Invalid or expired next token.")
}
