//! Queues: a stream's records handed out one by one, each until it is acknowledged.
//!
//! A queue keeps for each shard how far it has handed out, and a row for each record that is out and not acknowledged;
//! records themselves stay where they are. See `queue_record.rs` for those.
//!
//! <https://docs.aws.amazon.com/streams/latest/dev/consuming-with-queues.html>

use std::collections::BTreeMap;

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::consumer;
use crate::errors::*;
use crate::reader::{self, Kind, ReaderPlace};
use crate::service::Kinesis;
use crate::shard::horizon;
use crate::stream::{Place, Stream, page};
use crate::tag;

/// A queue as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) created: i64,
    /// The stream that it hands out, and its id.
    stream_name: String,
    pub(crate) stream: u64,
    stream_created: i64,
    /// Where it began: the kind as it was asked for, and the time that came of it.
    position: String,
    since: i64,
    /// Seconds for which a record is not visible once it was received.
    pub(crate) visibility: i32,
    /// After how many receives a record is dead; `None` where it never is.
    pub(crate) max_receives: Option<i32>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) policy: Option<String>,
}
impl Record for Queue {}

impl Queue {
    /// From which time on it hands out, milliseconds; `None` for what comes after it was made.
    pub(crate) fn start(&self) -> Option<i64> {
        (self.position != queue_starting_position_type::LATEST).then_some(self.since)
    }
    /// The stream that it hands out, which is of the same account and region.
    pub(crate) fn source(&self, place: &ReaderPlace) -> Place {
        place.stream(&self.stream_name)
    }
}

const VISIBILITY: i32 = 30;
const MAX_RECEIVES: i32 = 6;

/// After how many receives a record is dead, as a request says it.
fn max_receives(asked: &DeadLetterConfiguration) -> Result<Option<i32>, Fault> {
    match (asked.target_type.as_str(), asked.max_receive_count) {
        (target_type::NONE, None) => Ok(None),
        (target_type::NONE, Some(_)) => Err(validation_exception(
            "MaxReceiveCount must not be specified when TargetType is NONE.",
        )),
        (_, Some(count)) => Ok(Some(count)),
        (_, None) => Err(validation_exception(
            "MaxReceiveCount must be specified when TargetType is BUILT_IN.",
        )),
    }
}

fn attributes(queue: &Queue) -> QueueAttributes {
    QueueAttributes {
        visibility_timeout_seconds: Some(queue.visibility),
        dead_letter_configuration: Some(DeadLetterConfiguration {
            target_type: match queue.max_receives {
                Some(_) => target_type::BUILT_IN.into(),
                None => target_type::NONE.into(),
            },
            max_receive_count: queue.max_receives,
        }),
    }
}

/// A queue as it is described. What is being made, changed or deleted is so for the length of a request, and said once.
fn described(place: &ReaderPlace, queue: &Queue, status: &str) -> QueueDescription {
    let is_known = status != queue_status::CREATING
        || queue.position == queue_starting_position_type::AT_TIMESTAMP;
    QueueDescription {
        queue_name: queue.name.clone(),
        queue_arn: place.arn(),
        queue_status: status.into(),
        queue_creation_timestamp: Timestamp(queue.created),
        stream_configuration_list: vec![QueueStreamConfiguration {
            stream_arn: queue.source(place).arn(),
            starting_position: Some(QueueStartingPosition {
                r#type: queue.position.clone(),
                timestamp: is_known.then_some(Timestamp(queue.since)),
            }),
        }],
        queue_attributes: Some(attributes(queue)),
    }
}

/// From when on a queue of that stream hands out, milliseconds.
fn since(asked: Option<&QueueStartingPosition>, stream: &Stream, now: i64) -> Result<i64, Fault> {
    let kind = asked.map_or(queue_starting_position_type::LATEST, |p| &p.r#type);
    let oldest = stream.created.max(horizon(stream, now));
    match (kind, asked.and_then(|p| p.timestamp)) {
        (queue_starting_position_type::AT_TIMESTAMP, None) => Err(validation_exception(
            "Timestamp must be specified when the starting position type is AT_TIMESTAMP.",
        )),
        (queue_starting_position_type::AT_TIMESTAMP, Some(time)) if time.0 > now => Err(
            validation_exception("Timestamp of the starting position must not be in the future."),
        ),
        (queue_starting_position_type::AT_TIMESTAMP, Some(time)) => Ok(time.0.max(oldest)),
        (_, Some(_)) => Err(validation_exception(format!(
            "Timestamp must not be specified when the starting position type is {kind}."
        ))),
        (queue_starting_position_type::TRIM_HORIZON, None) => Ok(oldest),
        _ => Ok(now),
    }
}

impl Kinesis {
    /// The queue, which must exist.
    pub(crate) fn queue(&self, reader: &impl Read, place: &ReaderPlace) -> Result<Queue, Fault> {
        Read::get(reader, &self.queues, &place.key())?.ok_or_else(|| place.missing())
    }

    /// The queues that hand out a stream's records.
    pub(crate) fn queues_of(
        &self,
        reader: &impl Read,
        stream: u64,
        account: &str,
        region: &str,
    ) -> Result<Vec<(ReaderPlace, Queue)>, Fault> {
        let mut queues = Vec::new();
        for row in reader.range(&self.queues, Range::prefix(&(account, region))) {
            let ((account, region, id), queue) = row?;
            if queue.stream == stream {
                queues.push((
                    ReaderPlace {
                        kind: Kind::Queue,
                        account,
                        region,
                        id,
                    },
                    queue,
                ));
            }
        }
        Ok(queues)
    }

    /// Refuses what must not happen to a stream that queues or channels read.
    pub(crate) fn refuse_with_readers(
        &self,
        tx: &Tx<'_>,
        place: &Place,
        stream: &Stream,
    ) -> Result<(), Fault> {
        let (account, region) = (&place.account, &place.region);
        let queues = self.queues_of(tx, stream.id, account, region)?.len();
        let channels = self.channel_count(tx, account, region, Some(stream.id))?;
        if (queues, channels) == (0, 0) {
            return Ok(());
        }
        Err(resource_in_use_exception(format!(
            "Stream {} under account {account} has {queues} queues and {channels} channels. Delete all of them first.",
            place.name
        )))
    }

    /// Changes a queue's own row.
    pub(crate) async fn change_queue<R>(
        &self,
        place: &ReaderPlace,
        f: impl FnOnce(&mut Tx<'_>, &mut Queue) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let mut queue = self.queue(tx, place)?;
                let result = f(tx, &mut queue)?;
                tx.put(&self.queues, &place.key(), &queue)?;
                Ok(result)
            })
            .await
    }

    pub(crate) async fn create_queue(
        &self,
        ctx: &Context,
        input: CreateQueueInput,
    ) -> Result<CreateQueueOutput, Fault> {
        let [configuration] = <[QueueStreamConfiguration; 1]>::try_from(
            input.stream_configuration_list,
        )
        .map_err(|_| {
            validation_exception("StreamConfigurationList must contain exactly one stream.")
        })?;
        let source = Place::parse(&configuration.stream_arn)?;
        if (&source.account, &source.region) != (&ctx.account, &ctx.region) {
            return Err(validation_exception(
                "The stream of a queue must be in the account and Region of the request.",
            ));
        }
        let asked = input.queue_attributes.unwrap_or_default();
        let max_receives = match &asked.dead_letter_configuration {
            Some(configuration) => max_receives(configuration)?,
            None => Some(MAX_RECEIVES),
        };
        let tags = input.tags.unwrap_or_default();
        tag::check(&tags)?;
        let position = configuration.starting_position;
        let place = ReaderPlace::new(Kind::Queue, &ctx.account, &ctx.region);
        let now = self.cloud.clock.now().0;
        let own = place.scope();
        let stream_scope = source.scope();
        let queue = self
            .cloud
            .store
            .transact(Scope::new(&own).within(&stream_scope), |tx| {
                let stream = self.stream(tx, &source)?;
                if !stream.on_demand {
                    return Err(validation_exception(format!(
                        "Queues are supported only on data streams in on-demand capacity mode. Stream {} under account {} is in Provisioned mode.",
                        source.name, source.account
                    )));
                }
                let mut count = 0;
                for row in tx.range(&self.queues, Range::prefix(&(&place.account, &place.region))) {
                    let (_, other) = row?;
                    count += i32::from(other.stream == stream.id);
                    if other.name == input.queue_name {
                        return Err(resource_in_use_exception(format!(
                            "Queue {} under account {} already exists.",
                            input.queue_name, place.account
                        )));
                    }
                }
                self.admit_consumer(tx, &source, &stream, count)?;
                let since = since(position.as_ref(), &stream, now)?;
                let kind = position.map(|p| p.r#type);
                let queue = Queue {
                    name: input.queue_name,
                    created: now,
                    stream_name: source.name.clone(),
                    stream: stream.id,
                    stream_created: stream.created,
                    position: kind.unwrap_or_else(|| queue_starting_position_type::LATEST.into()),
                    since,
                    visibility: asked.visibility_timeout_seconds.unwrap_or(VISIBILITY),
                    max_receives,
                    tags,
                    policy: None,
                };
                let of = (place.account.as_str(), place.id);
                self.begin_cursors(tx, of, &source, &stream, queue.start(), now)?;
                tx.put(&self.queues, &place.key(), &queue)?;
                Ok(queue)
            })
            .await?;
        Ok(CreateQueueOutput {
            queue_description: described(&place, &queue, queue_status::CREATING),
        })
    }

    /// Whether one more consumer is within the limit of a stream that has that many queues: queues and consumers
    /// share it.
    pub(crate) fn admit_consumer(
        &self,
        reader: &impl Read,
        place: &Place,
        stream: &Stream,
        queues: i32,
    ) -> Result<(), Fault> {
        let has_advantage = stream.on_demand && self.is_committed(reader, place)?;
        let limit = if has_advantage {
            consumer::MOST_WITH_ADVANTAGE
        } else {
            consumer::MOST
        };
        if stream.consumers.saturating_add(queues) < limit {
            return Ok(());
        }
        Err(limit_exceeded_exception(format!(
            "This request would exceed the limit of {limit} consumers for the stream {} under account {}.",
            place.name, place.account
        )))
    }

    pub(crate) async fn describe_queue(
        &self,
        _: &Context,
        input: DescribeQueueInput,
    ) -> Result<DescribeQueueOutput, Fault> {
        let place = ReaderPlace::parse(Kind::Queue, &input.queue_arn)?;
        let queue = self.queue(&self.cloud.store, &place)?;
        Ok(DescribeQueueOutput {
            queue_description: described(&place, &queue, queue_status::ACTIVE),
        })
    }

    pub(crate) async fn update_queue(
        &self,
        _: &Context,
        input: UpdateQueueInput,
    ) -> Result<UpdateQueueOutput, Fault> {
        let place = ReaderPlace::parse(Kind::Queue, &input.queue_arn)?;
        let asked = input.queue_attributes;
        let queue = self
            .change_queue(&place, |_, queue| {
                if let Some(seconds) = asked.visibility_timeout_seconds {
                    queue.visibility = seconds;
                }
                if let Some(configuration) = &asked.dead_letter_configuration {
                    queue.max_receives = max_receives(configuration)?;
                }
                Ok(queue.clone())
            })
            .await?;
        Ok(UpdateQueueOutput {
            queue_description: described(&place, &queue, queue_status::UPDATING),
        })
    }

    pub(crate) async fn delete_queue(
        &self,
        ctx: &Context,
        input: DeleteQueueInput,
    ) -> Result<DeleteQueueOutput, Fault> {
        let place = ReaderPlace::parse(Kind::Queue, &input.queue_arn)?;
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                self.queue(tx, &place)?;
                tx.delete(&self.queues, &place.key());
                self.plan_reader_removal(tx, (&place.account, place.id), ctx.time)
            })
            .await?;
        self.wiring.reader(place.id).notify_waiters();
        Ok(DeleteQueueOutput {})
    }

    pub(crate) async fn list_queues(
        &self,
        ctx: &Context,
        input: ListQueuesInput,
    ) -> Result<ListQueuesOutput, Fault> {
        let after = reader::page_start("ListQueues", input.next_token.as_deref())?;
        let mut range = Range::prefix(&(&ctx.account, &ctx.region));
        if let Some(after) = after {
            range = range.after(&(&ctx.account, &ctx.region, after));
        }
        let filters = input.stream_filter.unwrap_or_default();
        let is_asked_for = |place: &ReaderPlace, queue: &Queue| {
            let wanted = filters.iter();
            let wanted = wanted.map(|f| (f.stream_arn.as_str(), f.stream_creation_timestamp));
            reader::is_asked_for(wanted, &queue.source(place).arn(), queue.stream_created)
        };
        let limit = page(input.max_results, 100);
        let view = self.cloud.store.read();
        let mut summaries = Vec::new();
        let mut next_token = None;
        let mut last = 0;
        for row in view.range(&self.queues, range) {
            let ((account, region, id), queue) = row?;
            let place = ReaderPlace {
                kind: Kind::Queue,
                account,
                region,
                id,
            };
            if !is_asked_for(&place, &queue) {
                continue;
            }
            if summaries.len() == limit {
                next_token = Some(cloud::paging::token("ListQueues", &[&last.to_string()]));
                break;
            }
            last = id;
            summaries.push(QueueSummary {
                queue_arn: place.arn(),
                queue_status: queue_status::ACTIVE.into(),
                queue_creation_timestamp: Timestamp(queue.created),
                streams: vec![QueueStreamIdentifier {
                    stream_arn: queue.source(&place).arn(),
                    stream_creation_timestamp: Timestamp(queue.stream_created),
                }],
                queue_name: queue.name,
            });
        }
        Ok(ListQueuesOutput {
            queue_summaries: summaries,
            next_token,
        })
    }
}
