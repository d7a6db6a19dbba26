//! SubscribeToShard: records pushed to a consumer as they come.

use std::sync::Arc;

use cloud::Context;
use futures_util::stream;
use tokio::sync::Notify;
use wire::{Event, EventStream, Fault};

use crate::api::{
    SubscribeToShardEvent, SubscribeToShardInput, SubscribeToShardOutput,
    subscribe_to_shard_event_stream,
};
use crate::consumer::Resource;
use crate::errors::*;
use crate::lineage::Shard;
use crate::reading::{Batch, Position, Start};
use crate::record::dry_run;
use crate::service::Kinesis;
use crate::stream::{KIB, Stream};

/// How long a subscription lasts, milliseconds.
const LONGEST: i64 = 300_000;
/// How soon after one a second one may take over.
const TAKEOVER: i64 = 5_000;
/// How long a consumer hears nothing at most: an event without records tells it that the connection lives.
const PULSE: i64 = 5_000;
/// The most bytes and records of one event.
const EVENT_LIMITS: (usize, usize) = (10_000, 2 * KIB * KIB);

/// A subscription that runs.
pub(crate) struct Active {
    since: i64,
    /// Tells its stream that it was replaced or its consumer is gone.
    ended: Arc<Notify>,
}

/// What the stream of events carries on.
struct Subscription {
    kinesis: Arc<Kinesis>,
    position: Position,
    shard: Shard,
    wake: Arc<Notify>,
    ended: Arc<Notify>,
    ends: i64,
    pulse: i64,
    is_over: bool,
}

impl Subscription {
    fn read(&self, now: i64) -> Result<(Arc<Stream>, Batch), Fault> {
        let view = self.kinesis.cloud.store.read();
        let stream = self.kinesis.stream_of(&view, &self.position)?;
        let Position {
            place, shard, next, ..
        } = &self.position;
        let batch =
            self.kinesis
                .read_shard(&view, place, &stream, *shard, *next, EVENT_LIMITS, now)?;
        Ok((stream, batch))
    }

    fn event(&mut self, stream: &Stream, batch: Batch) -> Event {
        let number = self.position.shard;
        self.position.next = batch.next;
        let is_end = batch.children.is_some();
        let epoch = self.shard.epoch;
        let records = batch.records.into_iter();
        let shown = |(n, entry)| Kinesis::shown_record(stream, (number, epoch), n, entry);
        let event = SubscribeToShardEvent {
            records: records.map(shown).collect(),
            continuation_sequence_number: (!is_end)
                .then(|| Kinesis::continuation((number, &self.shard), batch.next)),
            millis_behind_latest: batch.behind,
            child_shards: batch.children,
        };
        self.is_over = is_end;
        subscribe_to_shard_event_stream::subscribe_to_shard_event(event)
    }

    async fn next(&mut self) -> Option<Result<Event, Fault>> {
        let clock = self.kinesis.cloud.clock.clone();
        let wake = self.wake.clone();
        loop {
            let now = clock.now();
            if self.is_over || now.0 >= self.ends {
                return None;
            }
            // Before the look, so that nothing that comes after it is missed.
            let woken = wake.notified();
            match self.read(now.0) {
                Err(fault) => {
                    self.is_over = true;
                    return Some(Err(fault));
                }
                Ok((stream, batch)) => {
                    let is_news = !batch.records.is_empty() || batch.children.is_some();
                    if is_news || now.0 >= self.pulse {
                        self.pulse = now.0 + PULSE;
                        return Some(Ok(self.event(&stream, batch)));
                    }
                }
            }
            tokio::select! {
                () = woken => {}
                () = clock.until(wire::Timestamp(self.pulse.min(self.ends))) => {}
                () = self.ended.notified() => {
                    self.is_over = true;
                    return Some(Err(resource_in_use_exception(
                        "Another active subscription exists for this consumer and shard.",
                    )));
                }
            }
        }
    }
}

/// The key of a consumer's subscriptions.
fn consumer_key(stream: u64, name: &str) -> String {
    format!("{stream:x}/{name}")
}

impl Kinesis {
    /// Ends what a consumer's subscriptions send.
    pub(crate) fn end_subscriptions(&self, stream: u64, consumer: &str) {
        let key = consumer_key(stream, consumer);
        self.active.lock().retain(|(of, _), active| {
            if *of == key {
                active.ended.notify_one();
            }
            *of != key
        });
    }

    pub(crate) async fn subscribe_to_shard(
        &self,
        ctx: &Context,
        input: SubscribeToShardInput,
    ) -> Result<SubscribeToShardOutput, Fault> {
        let Resource::Consumer(place, name, created) = Resource::parse(&input.consumer_arn)? else {
            return Err(invalid_argument_exception(format!(
                "{} is not the ARN of a consumer.",
                input.consumer_arn
            )));
        };
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        self.consumer(&view, &place, &stream, &name, Some(created))?;
        let number = self.shard_number(&place, &input.shard_id)?;
        let now = self.cloud.clock.now().0;
        let shard = self.shard(&view, &place, &stream, number, now)?;
        let start = Start {
            kind: &input.starting_position.r#type,
            sequence: input.starting_position.sequence_number.as_deref(),
            time: input.starting_position.timestamp,
            operation: "SubscribeToShard",
        };
        let position = self.begin(&view, &place, &stream, (number, &shard), &start, now)?;
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let Some(kinesis) = self.me.upgrade() else {
            return Err(Fault::internal("the service has ended"));
        };
        let ended = Arc::new(Notify::new());
        {
            let mut active = self.active.lock();
            let key = (consumer_key(stream.id, &name), number);
            if let Some(old) = active.get(&key) {
                if now.saturating_sub(old.since) < TAKEOVER {
                    return Err(resource_in_use_exception(format!(
                        "Another active subscription exists for this consumer: {}:{}:{name}",
                        ctx.account, place.name
                    )));
                }
                old.ended.notify_one();
            }
            let new = Active {
                since: now,
                ended: ended.clone(),
            };
            active.insert(key, new);
        }
        let subscription = Subscription {
            wake: self.wiring.wake(stream.id, number),
            kinesis,
            position,
            shard,
            ended,
            ends: now + LONGEST,
            pulse: now,
            is_over: false,
        };
        let events = stream::unfold(subscription, |mut subscription| async move {
            let event = subscription.next().await?;
            Some((event, subscription))
        });
        Ok(SubscribeToShardOutput {
            event_stream: Some(EventStream(Box::pin(events))),
        })
    }
}
