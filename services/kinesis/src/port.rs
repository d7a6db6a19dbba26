//! Streams as other services consume them.

use std::sync::Arc;

use cloud::Arn;
use cloud::ports::{DataRecord, DataRecords, DataShard, DataStart, DataStreams};
use tokio::sync::Notify;
use wire::{Fault, Timestamp};

use crate::api::shard_iterator_type;
use crate::consumer::Resource;
use crate::errors::invalid_argument_exception;
use crate::reading::Start;
use crate::sequence::Sequence;
use crate::service::Kinesis;
use crate::shard::id;
use crate::stream::{KIB, Place};

/// The most bytes of one look.
const LIMIT: usize = 6 * KIB * KIB;

/// The stream of an ARN, which may be a consumer's.
fn place(arn: &Arn) -> Result<Place, Fault> {
    match Resource::parse(&arn.to_string())? {
        Resource::Stream(place) | Resource::Consumer(place, ..) => Ok(place),
        Resource::Queue(_) | Resource::Channel(_) => Err(invalid_argument_exception(format!(
            "{arn} is not the ARN of a stream or of a consumer."
        ))),
    }
}

impl DataStreams for Kinesis {
    fn shards(&self, stream: &Arn) -> Result<Vec<DataShard>, Fault> {
        let place = place(stream)?;
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        let now = self.cloud.clock.now().0;
        let (shards, _) =
            self.page_of_shards(&view, &place, &stream, None, usize::MAX, now, |_| true)?;
        let known: Vec<u64> = shards.iter().map(|(number, _)| *number).collect();
        let shown = shards.into_iter().map(|(number, shard)| DataShard {
            id: id(number),
            parents: shard
                .parent
                .iter()
                .chain(&shard.adjacent)
                .filter(|parent| known.contains(parent))
                .map(|parent| id(*parent))
                .collect(),
            is_closed: shard.closed.is_some(),
        });
        Ok(shown.collect())
    }

    fn position(&self, stream: &Arn, shard: &str, start: DataStart<'_>) -> Result<u64, Fault> {
        let place = place(stream)?;
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        let now = self.cloud.clock.now();
        let number = self.shard_number(&place, shard)?;
        let shard = self.shard(&view, &place, &stream, number, now.0)?;
        let (kind, sequence, time) = match start {
            DataStart::Oldest => (shard_iterator_type::TRIM_HORIZON, None, None),
            DataStart::Newest => (shard_iterator_type::LATEST, None, None),
            // A time to come has no records yet.
            DataStart::Since(time) if time > now => (shard_iterator_type::LATEST, None, None),
            DataStart::Since(time) => (shard_iterator_type::AT_TIMESTAMP, None, Some(time)),
            DataStart::After(text) => {
                (shard_iterator_type::AFTER_SEQUENCE_NUMBER, Some(text), None)
            }
        };
        let start = Start {
            kind,
            sequence,
            time,
            operation: "GetShardIterator",
        };
        let position = self.begin(&view, &place, &stream, (number, &shard), &start, now.0)?;
        Ok(position.next)
    }

    fn read(
        &self,
        stream: &Arn,
        shard: &str,
        from: u64,
        limit: usize,
    ) -> Result<DataRecords, Fault> {
        let place = place(stream)?;
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        let now = self.cloud.clock.now().0;
        let number = self.shard_number(&place, shard)?;
        let limits = (limit, LIMIT);
        let batch = self.read_shard(&view, &place, &stream, number, from, limits, now)?;
        let records = batch.records.into_iter().map(|(place, entry)| {
            let sequence = Sequence {
                epoch: batch.epoch,
                number: place,
                time: u64::try_from(entry.time / 1000).unwrap_or(0),
                shard: number,
            };
            DataRecord {
                sequence_number: sequence.to_string(),
                partition_key: entry.key,
                data: entry.data,
                arrived: Timestamp(entry.time),
            }
        });
        Ok(DataRecords {
            records: records.collect(),
            next: batch.next,
            is_end: batch.children.is_some(),
        })
    }

    fn changed(&self, stream: &Arn, shard: &str) -> Result<Arc<Notify>, Fault> {
        let place = place(stream)?;
        let stream = self.stream(&self.cloud.store, &place)?;
        let number = self.shard_number(&place, shard)?;
        Ok(self.wiring.wake(stream.id, number))
    }
}
