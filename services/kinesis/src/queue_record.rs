//! The records of a queue: received, acknowledged, dead, restored.
//!
//! A record that was received has a row until it is acknowledged, and a place in the order of when it is visible again:
//! a receive takes what is due there first, then what no one has seen. A record that was received for the last time
//! stands in the dead half of that order from then on, and is dead when its time there comes.

use cloud::Context;
use futures_util::future::select_all;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::queue::Queue;
use crate::reader::{CHUNK, Cursor, Kind, ReaderPlace, scope};
use crate::record::Entry;
use crate::service::Kinesis;
use crate::shard::horizon;
use crate::stream::{KIB, Place, Stream};

/// A record that was handed out and not acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// From when on it can be received, in its half.
    visible: i64,
    /// How often it was received, since it was restored.
    count: i32,
    /// How often it was received in all, which its handle tells.
    receives: u64,
    first: i64,
    /// From when on it is dead, once that is certain.
    dead: Option<i64>,
}
impl Record for Handed {}

/// A place in the order of visibility.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Due;
impl Record for Due {}

/// A shard and the number of a record in it.
type At = (u64, u64);

/// At how many records that are due a receive looks: more than it answers, for some may have expired.
const LOOK: usize = 100;
const MOST: i32 = 10;
/// Seconds for which a receive waits that does not say.
const WAIT: i32 = 9;
/// The most bytes of one answer.
const BYTES: usize = 10 * KIB * KIB;

/// What a receipt handle says.
struct Receipt {
    queue: u64,
    at: At,
    receives: u64,
}

impl Receipt {
    fn handle(&self) -> String {
        let parts = [self.queue, self.at.0, self.at.1, self.receives].map(|n| n.to_string());
        cloud::paging::token("QueueRecord", &parts.each_ref().map(String::as_str))
    }
    fn read(handle: &str) -> Option<Receipt> {
        let parts = cloud::paging::place("QueueRecord", handle)?;
        let numbers: Option<Vec<u64>> = parts.iter().map(|p| p.parse().ok()).collect();
        let [queue, shard, number, receives] = <[u64; 4]>::try_from(numbers?).ok()?;
        Some(Receipt {
            queue,
            at: (shard, number),
            receives,
        })
    }
}

/// What a receive asks for.
struct Demand {
    is_dead: bool,
    most: usize,
    visibility: Option<i32>,
    wait: i64,
}

impl Demand {
    fn new(
        is_dead: bool,
        limit: Option<i32>,
        wait: Option<i32>,
        visibility: Option<i32>,
    ) -> Demand {
        Demand {
            is_dead,
            most: usize::try_from(limit.unwrap_or(MOST)).unwrap_or(0),
            visibility,
            wait: i64::from(wait.unwrap_or(WAIT)) * 1000,
        }
    }
}

/// What is done to a record that was received.
#[derive(Clone, Copy)]
enum Act {
    Acknowledge,
    /// Changes when it is visible again, in seconds from now.
    Show(i32),
    Restore,
}

impl Kinesis {
    fn put_handed(
        &self,
        tx: &mut Tx<'_>,
        place: &ReaderPlace,
        at: At,
        handed: &Handed,
    ) -> Result<(), Fault> {
        let (account, id) = (&place.account, place.id);
        tx.put(&self.handed, &(account, id, at.0, at.1), handed)?;
        let key = (
            account,
            id,
            handed.dead.is_some(),
            handed.visible,
            at.0,
            at.1,
        );
        tx.put(&self.due, &key, &Due)?;
        Ok(())
    }

    /// Deletes the row of a record and its place in the order.
    pub(crate) fn drop_handed(
        &self,
        tx: &mut Tx<'_>,
        account: &str,
        id: u64,
        at: At,
        handed: &Handed,
    ) {
        tx.delete(&self.handed, &(account, id, at.0, at.1));
        let key = (
            account,
            id,
            handed.dead.is_some(),
            handed.visible,
            at.0,
            at.1,
        );
        tx.delete(&self.due, &key);
    }

    /// The record, unless it is past its stream's retention.
    fn entry(
        &self,
        reader: &impl Read,
        source: &Place,
        stream: &Stream,
        at: At,
        now: i64,
    ) -> Result<Option<Entry>, Fault> {
        let key = (source.account.as_str(), stream.id, at.0);
        let found = self
            .records
            .range(reader, &key, at.1, 1)
            .next()
            .transpose()?;
        Ok(found
            .filter(|((_, number), entry)| *number == at.1 && entry.time > horizon(stream, now))
            .map(|(_, entry)| entry))
    }

    /// Hands out a record once more, or for the first time.
    #[allow(clippy::too_many_arguments, reason = "the parts of one question")]
    fn hand_out(
        &self,
        tx: &mut Tx<'_>,
        place: &ReaderPlace,
        queue: &Queue,
        demand: &Demand,
        at: At,
        entry: Entry,
        before: Option<Handed>,
        now: i64,
    ) -> Result<QueueRecord, Fault> {
        let seconds = demand.visibility.unwrap_or(queue.visibility);
        let mut handed = before.unwrap_or(Handed {
            visible: 0,
            count: 0,
            receives: 0,
            first: now,
            dead: None,
        });
        handed.visible = now + i64::from(seconds) * 1000;
        handed.count = handed.count.saturating_add(1);
        handed.receives += 1;
        if !demand.is_dead && queue.max_receives.is_some_and(|most| handed.count >= most) {
            handed.dead = Some(handed.visible);
        }
        self.put_handed(tx, place, at, &handed)?;
        let receipt = Receipt {
            queue: place.id,
            at,
            receives: handed.receives,
        };
        Ok(QueueRecord {
            receipt_handle: receipt.handle(),
            record_id: format!("{:016x}{:08x}{:016x}", queue.stream, at.0, at.1),
            partition_key: entry.key,
            data: entry.data,
            approximate_arrival_timestamp: Timestamp(entry.time),
            first_receive_timestamp: Timestamp(handed.first),
            receive_count: handed.count,
        })
    }

    /// Takes what there is now.
    async fn take(&self, place: &ReaderPlace, demand: &Demand) -> Result<Vec<QueueRecord>, Fault> {
        let id = place.text();
        let scope = scope(&id);
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let queue = self.queue(tx, place)?;
                let source = queue.source(place);
                let stream = self.stream(tx, &source)?;
                let now = self.cloud.clock.now().0;
                let mut taken = Vec::new();
                let mut size = 0;
                let due = Range::prefix(&(&place.account, place.id, demand.is_dead))
                    .until(&(&place.account, place.id, demand.is_dead, now + 1))
                    .limit(LOOK);
                let due = tx.range(&self.due, due).map(|row| row.map(|(key, _)| key));
                let due: Vec<_> = due.collect::<Result<_, _>>()?;
                for (_, _, _, _, shard, number) in due {
                    if taken.len() == demand.most || size >= BYTES {
                        return Ok(taken);
                    }
                    let at = (shard, number);
                    let key = (&place.account, place.id, shard, number);
                    let Some(handed) = tx.get(&self.handed, &key)? else {
                        continue;
                    };
                    self.drop_handed(tx, &place.account, place.id, at, &handed);
                    let Some(entry) = self.entry(tx, &source, &stream, at, now)? else {
                        continue;
                    };
                    size += entry.data.len();
                    taken.push(self.hand_out(
                        tx,
                        place,
                        &queue,
                        demand,
                        at,
                        entry,
                        Some(handed),
                        now,
                    )?);
                }
                if demand.is_dead {
                    return Ok(taken);
                }
                let (mut shards, _) =
                    self.page_of_shards(tx, &source, &stream, None, usize::MAX, now, |_| true)?;
                // None is always the first, so that none waits for the others.
                let turn = usize::try_from(now).unwrap_or(0) % shards.len().max(1);
                shards.rotate_left(turn);
                for (shard, _) in shards {
                    let rest = demand.most - taken.len();
                    if rest == 0 || size >= BYTES {
                        break;
                    }
                    let key = (&place.account, place.id, shard);
                    let from = tx.get(&self.cursors, &key)?.map_or(0, Cursor::next);
                    let limits = (rest, BYTES - size);
                    let batch = self.read_shard(tx, &source, &stream, shard, from, limits, now)?;
                    if batch.next == from.max(1) && batch.records.is_empty() {
                        continue;
                    }
                    tx.put(&self.cursors, &key, &Cursor::at(batch.next))?;
                    for (number, entry) in batch.records {
                        size += entry.data.len();
                        let at = (shard, number);
                        taken.push(self.hand_out(tx, place, &queue, demand, at, entry, None, now)?);
                    }
                }
                Ok(taken)
            })
            .await
    }

    /// When the next record of that half is visible that was received before.
    fn next_visible(&self, place: &ReaderPlace, is_dead: bool) -> Result<Option<i64>, Fault> {
        let view = self.cloud.store.read();
        let range = Range::prefix(&(&place.account, place.id, is_dead)).limit(1);
        let first = view.range(&self.due, range).next_key()?;
        Ok(first.map(|(_, _, _, visible, ..)| visible))
    }

    /// Takes what there is, or waits for it.
    async fn receive(
        &self,
        place: &ReaderPlace,
        demand: &Demand,
    ) -> Result<Vec<QueueRecord>, Fault> {
        let clock = &self.cloud.clock;
        let until = clock.now().0 + demand.wait;
        loop {
            let queue = self.queue(&self.cloud.store, place)?;
            // Only of one that is there: nobody forgets another's.
            let own = self.wiring.reader(place.id);
            let stream = self.stream(&self.cloud.store, &queue.source(place))?;
            let routes = self.routes(&queue.source(place), &stream)?;
            // Before the look, so that nothing that comes after it is missed.
            let mut woken = vec![Box::pin(own.notified())];
            if !demand.is_dead {
                woken.extend(routes.wakes().map(|wake| Box::pin(wake.notified())));
            }
            let taken = self.take(place, demand).await?;
            if !taken.is_empty() || clock.now().0 >= until {
                return Ok(taken);
            }
            let next = self.next_visible(place, demand.is_dead)?;
            let next = next.map_or(until, |visible| visible.min(until));
            tokio::select! {
                _ = select_all(woken) => {}
                () = clock.until(Timestamp(next)) => {}
            }
        }
    }

    pub(crate) async fn receive_queue_records(
        &self,
        _: &Context,
        input: ReceiveQueueRecordsInput,
    ) -> Result<ReceiveQueueRecordsOutput, Fault> {
        let place = ReaderPlace::parse(Kind::Queue, &input.queue_arn)?;
        let (wait, visibility) = (input.wait_time_seconds, input.visibility_timeout_seconds);
        let demand = Demand::new(false, input.limit, wait, visibility);
        Ok(ReceiveQueueRecordsOutput {
            queue_records: self.receive(&place, &demand).await?,
        })
    }

    pub(crate) async fn receive_dead_letter_queue_records(
        &self,
        _: &Context,
        input: ReceiveDeadLetterQueueRecordsInput,
    ) -> Result<ReceiveDeadLetterQueueRecordsOutput, Fault> {
        let place = ReaderPlace::parse(Kind::Queue, &input.queue_arn)?;
        let (wait, visibility) = (input.wait_time_seconds, input.visibility_timeout_seconds);
        let demand = Demand::new(true, input.limit, wait, visibility);
        Ok(ReceiveDeadLetterQueueRecordsOutput {
            queue_records: self.receive(&place, &demand).await?,
        })
    }

    /// Does something to the record of a handle, which must be of that half.
    fn act(
        &self,
        tx: &mut Tx<'_>,
        place: &ReaderPlace,
        (handle, act): (&str, Act),
        is_dead: bool,
        now: i64,
    ) -> Result<(), Fault> {
        let invalid = || invalid_argument_exception(format!("Receipt handle {handle} is invalid."));
        let receipt = Receipt::read(handle).ok_or_else(invalid)?;
        if receipt.queue != place.id {
            return Err(invalid());
        }
        let at = receipt.at;
        let found = tx.get(&self.handed, &(&place.account, place.id, at.0, at.1))?;
        let of_half = |h: &Handed| h.dead.is_some_and(|dead| dead <= now) == is_dead;
        let Some(mut handed) = found.filter(of_half) else {
            return Err(resource_not_found_exception(
                "The record of the receipt handle is not in the queue.",
            ));
        };
        if handed.receives != receipt.receives {
            return Err(invalid_argument_exception(format!(
                "Receipt handle {handle} has expired: the record was received again."
            )));
        }
        self.drop_handed(tx, &place.account, place.id, at, &handed);
        match act {
            Act::Acknowledge => return Ok(()),
            Act::Show(seconds) => {
                handed.visible = now + i64::from(seconds) * 1000;
                if !is_dead && handed.dead.is_some() {
                    handed.dead = Some(handed.visible);
                }
            }
            Act::Restore => {
                handed.visible = now;
                handed.count = 0;
                handed.dead = None;
            }
        }
        self.put_handed(tx, place, at, &handed)
    }

    /// Does something to each of up to ten records; answers per record.
    async fn act_on_all(
        &self,
        arn: &str,
        entries: &[(&str, Act)],
        is_dead: bool,
    ) -> Result<Vec<Result<(), Fault>>, Fault> {
        let place = ReaderPlace::parse(Kind::Queue, arn)?;
        let id = place.text();
        let scope = scope(&id);
        let outcomes = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                self.queue(tx, &place)?;
                let now = self.cloud.clock.now().0;
                let each = entries
                    .iter()
                    .map(|entry| self.act(tx, &place, *entry, is_dead, now));
                Ok::<_, Fault>(each.collect::<Vec<_>>())
            })
            .await?;
        if entries
            .iter()
            .any(|(_, act)| !matches!(act, Act::Acknowledge))
        {
            self.wiring.reader(place.id).notify_waiters();
        }
        Ok(outcomes)
    }

    /// Deletes what is known of records before that number, which their stream no longer keeps.
    pub(crate) async fn expire_handed(
        &self,
        place: &ReaderPlace,
        shard: u64,
        before: u64,
    ) -> Result<(), Fault> {
        let id = place.text();
        let scope = scope(&id);
        loop {
            let step = self.cloud.store.transact(Scope::new(&scope), |tx| {
                let range = Range::prefix(&(&place.account, place.id, shard))
                    .until(&(&place.account, place.id, shard, before))
                    .limit(CHUNK);
                let rows = tx
                    .range(&self.handed, range)
                    .collect::<Result<Vec<_>, _>>()?;
                for ((.., number), handed) in &rows {
                    self.drop_handed(tx, &place.account, place.id, (shard, *number), handed);
                }
                Ok::<_, Fault>(rows.len())
            });
            if step.await? < CHUNK {
                return Ok(());
            }
            // Others' turn.
            tokio::task::yield_now().await;
        }
    }
}

/// The operations on up to ten received records, which differ in the names of their shapes alone.
macro_rules! acts {
    ($($operation:ident($is_dead:literal, $act:expr): $input:ident => $output:ident { $result:ident, $error:ident },)*) => {
        impl Kinesis {
            $(pub(crate) async fn $operation(&self, _: &Context, input: $input) -> Result<$output, Fault> {
                let entries = input.entries.iter().map($act).collect::<Vec<_>>();
                let outcomes = self.act_on_all(&input.queue_arn, &entries, $is_dead).await?;
                let (mut successful, mut failed) = (Vec::new(), Vec::new());
                for (entry, outcome) in input.entries.into_iter().zip(outcomes) {
                    let receipt_handle = entry.receipt_handle;
                    match outcome {
                        Ok(()) => successful.push($result { receipt_handle }),
                        Err(fault) => failed.push($error {
                            receipt_handle,
                            error_code: fault.code.to_string(),
                            error_message: Some(fault.message.to_string()),
                        }),
                    }
                }
                Ok($output { successful, failed })
            })*
        }
    };
}

acts! {
    acknowledge_queue_records(false, |e| (e.receipt_handle.as_str(), Act::Acknowledge)):
        AcknowledgeQueueRecordsInput => AcknowledgeQueueRecordsOutput {
            AcknowledgeQueueRecordsResultEntry, AcknowledgeQueueRecordsErrorEntry
        },
    acknowledge_dead_letter_queue_records(true, |e| (e.receipt_handle.as_str(), Act::Acknowledge)):
        AcknowledgeDeadLetterQueueRecordsInput => AcknowledgeDeadLetterQueueRecordsOutput {
            AcknowledgeDeadLetterQueueRecordsResultEntry, AcknowledgeDeadLetterQueueRecordsErrorEntry
        },
    update_queue_records_visibility(false, |e| (e.receipt_handle.as_str(), Act::Show(e.visibility_timeout_seconds))):
        UpdateQueueRecordsVisibilityInput => UpdateQueueRecordsVisibilityOutput {
            UpdateQueueRecordsVisibilityResultEntry, UpdateQueueRecordsVisibilityErrorEntry
        },
    update_dead_letter_queue_records_visibility(true, |e| (e.receipt_handle.as_str(), Act::Show(e.visibility_timeout_seconds))):
        UpdateDeadLetterQueueRecordsVisibilityInput => UpdateDeadLetterQueueRecordsVisibilityOutput {
            UpdateDeadLetterQueueRecordsVisibilityResultEntry, UpdateDeadLetterQueueRecordsVisibilityErrorEntry
        },
    restore_dead_letter_queue_records(true, |e| (e.receipt_handle.as_str(), Act::Restore)):
        RestoreDeadLetterQueueRecordsInput => RestoreDeadLetterQueueRecordsOutput {
            RestoreDeadLetterQueueRecordsResultEntry, RestoreDeadLetterQueueRecordsErrorEntry
        },
}
