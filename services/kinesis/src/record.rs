//! Records put into shards.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloud::Context;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use store::{Record, Scope};
use wire::Fault;

use crate::api::{
    PutRecordInput, PutRecordOutput, PutRecordsInput, PutRecordsOutput, PutRecordsResultEntry,
    encryption_type,
};
use crate::errors::*;
use crate::sequence::Sequence;
use crate::service::Kinesis;
use crate::shard::id;
use crate::stream::{KIB, Place, Stream};
use crate::throughput::exceeded;
use crate::wiring::{Route, Routes, hash};

/// A record as it is stored. The rest of it is in its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it arrived.
    pub(crate) time: i64,
    pub(crate) key: Option<String>,
    #[serde(with = "content")]
    pub(crate) data: Bytes,
}
impl Record for Entry {}

/// Bytes without a copy on the way in.
mod content {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(data: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(data)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        Ok(serde_bytes::ByteBuf::deserialize(from)?.into_vec().into())
    }
}

/// The largest request of many records, bytes.
const BATCH_LIMIT: usize = 10 * KIB * KIB;

/// Where a record goes.
enum Aim {
    /// To the shard of that hash key.
    Key(u128),
    /// Anywhere.
    Any(u64),
}

impl Aim {
    fn route<'r>(&self, routes: &'r Routes) -> Result<&'r Route, Fault> {
        let route = match self {
            Aim::Key(key) => routes.find(*key),
            Aim::Any(n) => routes.around(*n),
        };
        route.ok_or_else(|| Fault::internal("a stream has no shard for a key"))
    }
}

/// A record on its way.
pub(crate) struct New {
    aim: Aim,
    entry: Entry,
}

/// The records of one shard, each with its place in the request.
type Group<'r> = (&'r Route, Vec<(usize, New)>);

/// Checks a record; `at` is the path of its members in messages.
fn admit(
    stream: &Stream,
    at: &str,
    data: Bytes,
    key: Option<String>,
    explicit: Option<&str>,
) -> Result<New, Fault> {
    let limit = usize::try_from(stream.record_limit).unwrap_or(0) * KIB;
    if data.len() + key.as_ref().map_or(0, String::len) > limit {
        return Err(validation_exception(format!(
            "1 validation error detected: Value at '{at}data' failed to satisfy constraint: Member must have length less than or equal to {limit}"
        )));
    }
    let aim = match (stream.spreads, &key, explicit) {
        (true, ..) => {
            let mut any = [0; 8];
            cloud::ids::random(&mut any);
            Aim::Any(u64::from_be_bytes(any))
        }
        (false, None, _) => {
            return Err(validation_exception(format!(
                "1 validation error detected: Value null at '{at}partitionKey' failed to satisfy constraint: Member must not be null"
            )));
        }
        (false, Some(_), Some(explicit)) => Aim::Key(explicit.parse().map_err(|_| {
            invalid_argument_exception(format!(
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {explicit}"
            ))
        })?),
        (false, Some(key), None) => Aim::Key(hash(key)),
    };
    let entry = Entry { time: 0, key, data };
    Ok(New { aim, entry })
}

fn encrypted(stream: &Stream) -> Option<String> {
    stream.key.as_ref().map(|_| encryption_type::KMS.into())
}

pub(crate) fn dry_run() -> Fault {
    dry_run_operation_exception("Request would have succeeded, but the DryRun flag is set.")
}

impl Kinesis {
    /// The routes of a stream.
    pub(crate) fn routes(
        &self,
        place: &Place,
        stream: &Stream,
    ) -> Result<std::sync::Arc<Routes>, Fault> {
        if let Some(routes) = self.wiring.routes(stream.id, stream.layout) {
            return Ok(routes);
        }
        let open = self.open(&self.cloud.store, &place.account, stream)?;
        Ok(self.wiring.build(stream.id, stream.layout, &open))
    }

    /// Appends records to a shard and answers their sequence numbers; `None` where the stream's shards have changed.
    async fn append(
        &self,
        place: &Place,
        stream: &Stream,
        route: &Route,
        mut entries: Vec<&mut Entry>,
    ) -> Result<Option<Vec<Sequence>>, Fault> {
        let [stream_id, shard] = &route.names;
        let own = ["kinesis.shard", stream_id, shard];
        let whole = place.scope();
        let key = (&place.account, stream.id, route.shard);
        self.cloud
            .store
            .transact(Scope::new(&own).within(&whole), |tx| {
                let current = self.recent.get(tx, &self.streams, &place.key())?;
                let current = current.ok_or_else(|| place.missing())?;
                if (current.id, current.layout) != (stream.id, stream.layout) {
                    return Ok(None);
                }
                // Taken here, so that times within a shard do not go back.
                let time = self.cloud.clock.now();
                let mut sequences = Vec::with_capacity(entries.len());
                for entry in &mut entries {
                    entry.time = time.0;
                    sequences.push(Sequence {
                        epoch: route.epoch,
                        number: self.records.append(tx, &key, entry)?,
                        time: u64::try_from(time.secs()).unwrap_or(0),
                        shard: route.shard,
                    });
                }
                let wake = route.wake.clone();
                tx.after_commit(Box::new(move || wake.notify_waiters()));
                Ok(Some(sequences))
            })
            .await
    }

    /// Puts one record.
    pub(crate) async fn put(
        &self,
        place: &Place,
        mut stream: std::sync::Arc<Stream>,
        mut new: New,
    ) -> Result<Sequence, Fault> {
        loop {
            let routes = self.routes(place, &stream)?;
            let route = new.aim.route(&routes)?;
            let appended = self
                .append(place, &stream, route, vec![&mut new.entry])
                .await?;
            if let Some(sequence) = appended.and_then(|all| all.into_iter().next()) {
                return Ok(sequence);
            }
            stream = self.stream(&self.cloud.store, place)?;
        }
    }

    /// The shard that would take the record, if that is more than it takes in a second.
    fn refusing_shard(
        &self,
        place: &Place,
        stream: &Stream,
        new: &New,
        ctx: &Context,
    ) -> Result<Option<u64>, Fault> {
        if !self.throughput.is_on() {
            return Ok(None);
        }
        let routes = self.routes(place, stream)?;
        let shard = new.aim.route(&routes)?.shard;
        let bytes = new.entry.data.len() + new.entry.key.as_ref().map_or(0, String::len);
        let is_admitted = self
            .throughput
            .admits_record((stream.id, shard), bytes, ctx.time.0);
        Ok((!is_admitted).then_some(shard))
    }

    /// Puts what another service delivers.
    pub(crate) async fn put_delivery(
        &self,
        place: &Place,
        key: String,
        data: Bytes,
    ) -> Result<(), Fault> {
        let stream = self.stream(&self.cloud.store, place)?;
        let new = admit(&stream, "", data, Some(key), None)?;
        self.put(place, stream, new).await.map(drop)
    }

    pub(crate) async fn put_record(
        &self,
        ctx: &Context,
        input: PutRecordInput,
    ) -> Result<PutRecordOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let stream = self.stream(&self.cloud.store, &place)?;
        let explicit = input.explicit_hash_key.as_deref();
        let new = admit(&stream, "", input.data, input.partition_key, explicit)?;
        if let Some(before) = &input.sequence_number_for_ordering
            && Sequence::parse(before).is_none_or(|s| s.time > ctx.time.secs().unsigned_abs())
        {
            // A number that was given is below the next one already; one that was not cannot be kept to.
            return Err(invalid_argument_exception(format!(
                "ExclusiveMinimumSequenceNumber {before} used in PutRecord on stream {} under account {} is invalid.",
                place.name, place.account
            )));
        }
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let encryption_type = encrypted(&stream);
        if let Some(shard) = self.refusing_shard(&place, &stream, &new, ctx)? {
            return Err(exceeded(&place, shard));
        }
        let sequence = self.put(&place, stream, new).await?;
        Ok(PutRecordOutput {
            shard_id: id(sequence.shard),
            sequence_number: sequence.to_string(),
            encryption_type,
        })
    }

    pub(crate) async fn put_records(
        &self,
        ctx: &Context,
        input: PutRecordsInput,
    ) -> Result<PutRecordsOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let mut stream = self.stream(&self.cloud.store, &place)?;
        let encryption_type = encrypted(&stream);
        let mut all = Vec::with_capacity(input.records.len());
        let mut size = 0;
        for (i, record) in input.records.into_iter().enumerate() {
            let at = format!("records.{}.member.", i + 1);
            let explicit = record.explicit_hash_key.as_deref();
            let new = admit(&stream, &at, record.data, record.partition_key, explicit)?;
            size += new.entry.data.len() + new.entry.key.as_ref().map_or(0, String::len);
            all.push(new);
        }
        if size > BATCH_LIMIT {
            return Err(invalid_argument_exception(
                "Records size exceeds 10 MB limit",
            ));
        }
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let mut results = vec![PutRecordsResultEntry::default(); all.len()];
        let mut waiting: Vec<(usize, New)> = Vec::with_capacity(all.len());
        for ((i, new), result) in all.into_iter().enumerate().zip(&mut results) {
            match self.refusing_shard(&place, &stream, &new, ctx)? {
                Some(shard) => {
                    let fault = exceeded(&place, shard);
                    result.error_code = Some(fault.code.to_string());
                    result.error_message = Some(fault.message.to_string());
                }
                None => waiting.push((i, new)),
            }
        }
        while !waiting.is_empty() {
            let routes = self.routes(&place, &stream)?;
            let mut shards: BTreeMap<u64, Group<'_>> = BTreeMap::new();
            for (i, new) in waiting {
                let route = new.aim.route(&routes)?;
                shards
                    .entry(route.shard)
                    .or_insert((route, Vec::new()))
                    .1
                    .push((i, new));
            }
            let (place, stream_now) = (&place, &stream);
            let outcomes = join_all(shards.into_values().map(|(route, mut group)| async move {
                let entries = group.iter_mut().map(|(_, new)| &mut new.entry).collect();
                let outcome = self.append(place, stream_now, route, entries).await;
                (group, outcome)
            }))
            .await;
            waiting = Vec::new();
            for (group, outcome) in outcomes {
                match outcome {
                    Ok(Some(sequences)) => {
                        for ((i, _), sequence) in group.into_iter().zip(sequences) {
                            results[i] = PutRecordsResultEntry {
                                sequence_number: Some(sequence.to_string()),
                                shard_id: Some(id(sequence.shard)),
                                ..PutRecordsResultEntry::default()
                            };
                        }
                    }
                    Ok(None) => waiting.extend(group),
                    Err(fault) => {
                        tracing::warn!(%fault, cause = fault.cause, "records were not put");
                        for (i, _) in group {
                            results[i] = PutRecordsResultEntry {
                                error_code: Some("InternalFailure".into()),
                                error_message: Some("Internal service failure.".into()),
                                ..PutRecordsResultEntry::default()
                            };
                        }
                    }
                }
            }
            if !waiting.is_empty() {
                stream = self.stream(&self.cloud.store, place)?;
            }
        }
        let failed = results.iter().filter(|r| r.error_code.is_some()).count();
        Ok(PutRecordsOutput {
            failed_record_count: Some(i32::try_from(failed).unwrap_or(i32::MAX)),
            records: results,
            encryption_type,
        })
    }
}
