//! Records read: iterators and what they come upon.

use cloud::Context;
use store::Read;
use wire::{Fault, Timestamp};

use crate::api::{
    ChildShard, GetRecordsInput, GetRecordsOutput, GetShardIteratorInput, GetShardIteratorOutput,
    Record, encryption_type, shard_iterator_type,
};
use crate::errors::*;
use crate::lineage::Shard;
use crate::record::{Entry, dry_run};
use crate::sequence::Sequence;
use crate::service::Kinesis;
use crate::shard::{first_sequence, horizon, id};
use crate::stream::{KIB, Place, Stream};
use crate::throughput::exceeded;

/// How long an iterator lasts, milliseconds.
const ITERATOR_LIFE: i64 = 300_000;
/// The most bytes of one answer.
const ANSWER_LIMIT: usize = 10 * KIB * KIB;
const ANSWER_RECORDS: usize = 10_000;

/// Where a reader stands.
pub(crate) struct Position {
    pub(crate) place: Place,
    /// The stream's id.
    stream: u64,
    pub(crate) shard: u64,
    /// The number of the next record.
    pub(crate) next: u64,
}

impl Position {
    fn iterator(&self, now: Timestamp) -> String {
        let Place {
            account,
            region,
            name,
        } = &self.place;
        let numbers = [self.stream, self.shard, self.next].map(|n| n.to_string());
        let [stream, shard, next] = &numbers;
        let parts = [
            account,
            region,
            name,
            stream,
            shard,
            next,
            &now.0.to_string(),
        ];
        cloud::paging::token("GetRecords", &parts.map(String::as_str))
    }

    /// Reads an iterator and when it was made.
    fn read(iterator: &str) -> Option<(Position, Timestamp)> {
        let parts = cloud::paging::place("GetRecords", iterator)?;
        let [account, region, name, stream, shard, next, made] =
            <[String; 7]>::try_from(parts).ok()?;
        let place = Place {
            account,
            region,
            name,
        };
        let position = Position {
            place,
            stream: stream.parse().ok()?,
            shard: shard.parse().ok()?,
            next: next.parse().ok()?,
        };
        Some((position, Timestamp(made.parse().ok()?)))
    }
}

/// Where a reader asks to begin.
pub(crate) struct Start<'a> {
    pub(crate) kind: &'a str,
    pub(crate) sequence: Option<&'a str>,
    pub(crate) time: Option<Timestamp>,
    /// The operation, for messages.
    pub(crate) operation: &'static str,
}

/// What a reader came upon.
pub(crate) struct Batch {
    /// The shard's, for sequence numbers.
    pub(crate) epoch: u64,
    pub(crate) records: Vec<(u64, Entry)>,
    /// The number of the next record.
    pub(crate) next: u64,
    /// How far behind the tip that is, milliseconds.
    pub(crate) behind: i64,
    /// Where the reader goes on once a closed shard is read to its end.
    pub(crate) children: Option<Vec<ChildShard>>,
}

fn utc(time: Timestamp) -> String {
    let t = time.date_time();
    let short = |name: String| name.chars().take(3).collect::<String>();
    format!(
        "{} {} {:02} {:02}:{:02}:{:02} UTC {}",
        short(t.weekday().to_string()),
        short(t.month().to_string()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second(),
        t.year()
    )
}

impl Kinesis {
    /// The number of the first record from that one on whose time is at least `time`; one behind the last where
    /// there is none. Times within a shard ascend.
    pub(crate) fn first_since(
        &self,
        reader: &impl Read,
        key: &(&str, u64, u64),
        from: u64,
        time: i64,
    ) -> Result<u64, Fault> {
        let last = self.records.last(reader, key)?;
        let Some(first) = self
            .records
            .range(reader, key, from, 1)
            .next()
            .transpose()?
        else {
            return Ok(last + 1);
        };
        let ((_, mut low), entry) = first;
        if entry.time >= time {
            return Ok(low);
        }
        // `low` is too early, `high` is not.
        let mut high = last + 1;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let found = self
                .records
                .range(reader, key, middle, 1)
                .next()
                .transpose()?;
            match found {
                Some((_, entry)) if entry.time < time => low = middle,
                _ => high = middle,
            }
        }
        Ok(high)
    }

    /// Reads from a number on.
    #[allow(clippy::too_many_arguments, reason = "the parts of one question")]
    pub(crate) fn read_shard(
        &self,
        reader: &impl Read,
        place: &Place,
        stream: &Stream,
        number: u64,
        from: u64,
        limits: (usize, usize),
        now: i64,
    ) -> Result<Batch, Fault> {
        let key = (place.account.as_str(), stream.id, number);
        let horizon = horizon(stream, now);
        // An open shard is known without its row. Of a closed one its last record is read before the others: no more
        // will come.
        let routes = self.routes(place, stream)?;
        let (epoch, closed) = match routes.to(number) {
            Some(route) => (route.epoch, None),
            None => {
                let shard = self.shard(reader, place, stream, number, now)?;
                let last = self.records.last(reader, &key)?;
                (shard.epoch, Some((shard, last)))
            }
        };
        let (most, bytes) = limits;
        let mut from = from.max(1);
        let mut records = Vec::new();
        let (mut size, mut next, mut behind) = (0, from, 0);
        let mut rows = self.records.range(reader, &key, from, most + 1);
        loop {
            let Some(row) = rows.next() else {
                if let Some((_, last)) = &closed {
                    // What was before the end may have been deleted.
                    next = next.max(last + 1);
                }
                break;
            };
            let ((_, number), entry) = row?;
            if entry.time <= horizon {
                // The oldest rows wait for their deletion: the first that still counts is found by halving.
                from = self.first_since(reader, &key, number, horizon + 1)?;
                next = from;
                rows = self.records.range(reader, &key, from, most + 1);
                continue;
            }
            size += entry.data.len();
            if records.len() == most || (size > bytes && !records.is_empty()) {
                behind = now.saturating_sub(entry.time).max(1);
                break;
            }
            next = number + 1;
            records.push((number, entry));
        }
        let children = match &closed {
            Some((shard, last)) if next > *last => {
                Some(self.children(reader, place, stream, shard)?)
            }
            _ => None,
        };
        Ok(Batch {
            epoch,
            records,
            next,
            behind,
            children,
        })
    }

    /// Where a reader begins.
    pub(crate) fn begin(
        &self,
        reader: &impl Read,
        place: &Place,
        stream: &Stream,
        (number, shard): (u64, &Shard),
        start: &Start<'_>,
        now: i64,
    ) -> Result<Position, Fault> {
        let key = (place.account.as_str(), stream.id, number);
        let next = match (start.kind, start.sequence) {
            (shard_iterator_type::TRIM_HORIZON, None) => 0,
            (shard_iterator_type::LATEST, None) => self.records.last(reader, &key)? + 1,
            (shard_iterator_type::AT_TIMESTAMP, None) => {
                let Some(time) = start.time else {
                    return Err(invalid_argument_exception(
                        "Must specify timestamp parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter.",
                    ));
                };
                if time.0 > now {
                    return Err(invalid_argument_exception(format!(
                        "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: {}, currentTimestampInMillis: {now}",
                        time.0
                    )));
                }
                self.first_since(reader, &key, 0, time.0)?
            }
            (
                shard_iterator_type::AT_SEQUENCE_NUMBER
                | shard_iterator_type::AFTER_SEQUENCE_NUMBER,
                Some(text),
            ) => {
                let sequence = Sequence::parse(text).ok_or_else(|| {
                    invalid_argument_exception(format!(
                        "StartingSequenceNumber {text} used in {} on shard {} in stream {} under account {} is invalid.",
                        start.operation,
                        id(number),
                        place.name,
                        place.account
                    ))
                })?;
                if sequence.shard != number {
                    return Err(invalid_argument_exception(format!(
                        "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard with {}",
                        id(sequence.shard),
                        id(number)
                    )));
                }
                if sequence.epoch != shard.epoch {
                    return Err(invalid_argument_exception(format!(
                        "StartingSequenceNumber {text} used in {} on shard {} in stream {} under account {} is invalid because it did not come from this stream.",
                        start.operation,
                        id(number),
                        place.name,
                        place.account
                    )));
                }
                let after = start.kind == shard_iterator_type::AFTER_SEQUENCE_NUMBER;
                sequence.number.saturating_add(u64::from(after))
            }
            (kind, sequence) => {
                return Err(invalid_argument_exception(format!(
                    "Must either specify (1) AT_SEQUENCE_NUMBER type or AFTER_SEQUENCE_NUMBER type and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST type and no StartingSequenceNumber. Request specified {kind} and {} StartingSequenceNumber.",
                    if sequence.is_some() { "also a" } else { "no" }
                )));
            }
        };
        Ok(Position {
            place: place.clone(),
            stream: stream.id,
            shard: number,
            next,
        })
    }

    /// The stream that a reader began with: not a later one of its name.
    pub(crate) fn stream_of(
        &self,
        reader: &impl Read,
        position: &Position,
    ) -> Result<std::sync::Arc<Stream>, Fault> {
        let stream = self.stream(reader, &position.place)?;
        if stream.id != position.stream {
            return Err(position.place.missing());
        }
        Ok(stream)
    }

    /// A record as it is answered.
    pub(crate) fn shown_record(
        stream: &Stream,
        shard: (u64, u64),
        number: u64,
        entry: Entry,
    ) -> Record {
        let sequence = Sequence {
            epoch: shard.1,
            number,
            time: u64::try_from(entry.time / 1000).unwrap_or(0),
            shard: shard.0,
        };
        Record {
            sequence_number: sequence.to_string(),
            approximate_arrival_timestamp: Some(Timestamp(entry.time)),
            data: entry.data,
            partition_key: entry.key,
            encryption_type: stream.key.as_ref().map(|_| encryption_type::KMS.into()),
        }
    }

    /// The number that stands for a position, for who goes on behind it later.
    pub(crate) fn continuation(shard: (u64, &Shard), next: u64) -> String {
        let first = first_sequence(shard.0, shard.1);
        Sequence {
            number: next.saturating_sub(1),
            ..first
        }
        .to_string()
    }

    pub(crate) async fn get_shard_iterator(
        &self,
        ctx: &Context,
        input: GetShardIteratorInput,
    ) -> Result<GetShardIteratorOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        let number = self.shard_number(&place, &input.shard_id).map_err(|_| {
            resource_not_found_exception(format!(
                "Shard {} in stream {} under account {} does not exist",
                input.shard_id, place.name, place.account
            ))
        })?;
        let shard = self.shard(&view, &place, &stream, number, ctx.time.0)?;
        let start = Start {
            kind: &input.shard_iterator_type,
            sequence: input.starting_sequence_number.as_deref(),
            time: input.timestamp,
            operation: "GetShardIterator",
        };
        // Later than the request: what was put before it is answered as a time until now.
        let now = self.cloud.clock.now();
        let position = self.begin(&view, &place, &stream, (number, &shard), &start, now.0)?;
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        Ok(GetShardIteratorOutput {
            shard_iterator: Some(position.iterator(now)),
        })
    }

    pub(crate) async fn get_records(
        &self,
        _: &Context,
        input: GetRecordsInput,
    ) -> Result<GetRecordsOutput, Fault> {
        let Some((mut position, made)) = Position::read(input.shard_iterator.trim_matches('"'))
        else {
            return Err(invalid_argument_exception("Invalid ShardIterator."));
        };
        let now = self.cloud.clock.now();
        if now.0.saturating_sub(made.0) > ITERATOR_LIFE {
            return Err(expired_iterator_exception(format!(
                "Iterator expired. The iterator was created at time {} while right now it is {} which is further in the future than the tolerated delay of {ITERATOR_LIFE} milliseconds.",
                utc(made),
                utc(now)
            )));
        }
        if let Some(arn) = &input.stream_arn
            && *arn != position.place.arn()
        {
            return Err(invalid_argument_exception("Invalid ShardIterator."));
        }
        let view = self.cloud.store.read();
        let stream = self.stream_of(&view, &position)?;
        let place = &position.place;
        let most = input.limit.and_then(|l| usize::try_from(l).ok());
        let limits = (most.unwrap_or(ANSWER_RECORDS), ANSWER_LIMIT);
        let number = position.shard;
        let shard = (stream.id, number);
        if !self.throughput.admits_read(shard, now.0) {
            return Err(exceeded(place, number));
        }
        let batch = self.read_shard(&view, place, &stream, number, position.next, limits, now.0)?;
        let bytes = batch
            .records
            .iter()
            .map(|(_, entry)| entry.data.len())
            .sum();
        self.throughput.count_read(shard, bytes, now.0);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        position.next = batch.next;
        let shown = |(n, entry)| Kinesis::shown_record(&stream, (number, batch.epoch), n, entry);
        Ok(GetRecordsOutput {
            records: batch.records.into_iter().map(shown).collect(),
            next_shard_iterator: batch.children.is_none().then(|| position.iterator(now)),
            millis_behind_latest: Some(batch.behind),
            child_shards: batch.children,
        })
    }
}
