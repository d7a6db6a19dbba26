//! Streams: what is recorded of each change.

use std::sync::Arc;

use cloud::ports::{
    TableStream, TableStreamRecords, TableStreamShard, TableStreamStart, TableStreams,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::change::{Action, Change};
use crate::errors::resource_not_found_exception;
use crate::item::{self, Stored};
use crate::service::Dynamo;
use crate::table::TableRecord;
use crate::value::Attributes;

/// On whose behalf an item was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A request.
    Request,
    /// Its time to live was over.
    Expiry,
    /// It was changed in another region.
    Replication,
}

/// A change as a stream keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// `INSERT`, `MODIFY` or `REMOVE`.
    pub event: String,
    /// `eventID`
    pub id: String,
    /// The item's key.
    pub keys: Stored,
    /// The item before.
    pub old: Option<Stored>,
    /// The item after.
    pub new: Option<Stored>,
    /// When, in milliseconds.
    pub when: i64,
    /// Bytes of key and images.
    pub size: usize,
    /// On whose behalf.
    pub cause: Cause,
}

impl Record for Entry {}

/// Who waits for a stream's next record.
pub type Wakers = Mutex<std::collections::HashMap<u64, Arc<tokio::sync::Notify>>>;

/// What a change is called; writing the same again is none.
pub fn event(
    change: &Change,
    old: Option<&Attributes>,
    new: Option<&Attributes>,
) -> Option<&'static str> {
    match (old, new) {
        (None, Some(_)) => Some("INSERT"),
        (Some(old), Some(new)) => {
            (old != new || matches!(change.action, Action::Delete)).then_some("MODIFY")
        }
        (Some(_), None) => Some("REMOVE"),
        (None, None) => None,
    }
}

impl Dynamo {
    /// Records a change of an item.
    #[allow(clippy::too_many_arguments, reason = "a change and its circumstances")]
    pub fn record(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        change: &Change,
        old: Option<&Attributes>,
        new: Option<&Attributes>,
        now: Timestamp,
        cause: Cause,
    ) -> Result<(), Fault> {
        let Some(event) = event(change, old, new) else {
            return Ok(());
        };
        let view = table.stream_view.as_deref().unwrap_or_default();
        let keeps = |image: &str| view == image || view == "NEW_AND_OLD_IMAGES";
        let old = old.filter(|_| keeps("OLD_IMAGE")).map(Stored::new);
        let new = new.filter(|_| keeps("NEW_IMAGE")).map(Stored::new);
        let image = |image: &Option<Stored>| image.as_ref().map_or(0, Stored::size);
        let entry = Entry {
            event: event.to_owned(),
            id: cloud::ids::hex(32),
            size: item::size(&change.key) + image(&old) + image(&new),
            keys: Stored::new(&change.key),
            old,
            new,
            when: now.millis(),
            cause,
        };
        self.entries
            .append(tx, &(table.account.as_str(), table.stream_uid), &entry)?;
        let waker = self.wakers.lock().get(&table.stream_uid).cloned();
        if let Some(waker) = waker {
            tx.after_commit(Box::new(move || waker.notify_waiters()));
        }
        Ok(())
    }
}

/// A stream's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// What its records are kept under.
    pub uid: u64,
    /// What it shows.
    pub view: String,
    /// When it was enabled.
    pub created: i64,
    /// When it was disabled or its table deleted.
    pub closed: Option<i64>,
    /// The table's key: names and roles.
    pub keys: Vec<(String, String)>,
}

impl Record for Stream {}

/// The job that removes what is too old of a stream.
pub const TRIM: &str = "dynamodb.trim";
/// How long records can be read, in milliseconds.
const LIFE: i64 = 86_400_000;
/// Records removed in one transaction.
const BATCH: usize = 500;
/// Bytes of records in one answer.
const MAX_BYTES: usize = 1024 * 1024;
/// Sequence numbers have at least 21 digits.
const FIRST: u128 = 100_000_000_000_000_000_000;

/// Where a stream is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    account: String,
    region: String,
    table: String,
    label: String,
    uid: u64,
}

/// The parts of a stream's ARN.
fn parts(arn: &str) -> Option<(String, String, String, String)> {
    let arn: cloud::Arn = arn.parse().ok()?;
    let (table, label) = arn
        .resource
        .strip_prefix("table/")?
        .split_once("/stream/")?;
    (arn.service == "dynamodb").then(|| {
        (
            arn.account.clone(),
            arn.region.clone(),
            table.to_owned(),
            label.to_owned(),
        )
    })
}

fn sequence(number: u64) -> String {
    (FIRST + u128::from(number)).to_string()
}

fn shard_id(stream: &Stream) -> String {
    format!("shardId-{:020}-{:08x}", stream.created, stream.uid as u32)
}

fn trimmed() -> Fault {
    Fault::sender(
        400,
        "TrimmedDataAccessException",
        "The operation attempted to read past the oldest stream record in a shard. ",
    )
}

fn no_stream(arn: &str) -> Fault {
    resource_not_found_exception(format!(
        "Requested resource not found: Stream: {arn} not found"
    ))
}

impl Dynamo {
    /// Makes a table's new stream known.
    pub fn open_stream(&self, tx: &mut Tx<'_>, table: &TableRecord) -> Result<(), Fault> {
        let (Some(label), Some(view)) = (&table.stream_label, &table.stream_view) else {
            return Ok(());
        };
        let now = self.cloud.clock.now();
        let stream = Stream {
            uid: table.stream_uid,
            view: view.clone(),
            created: now.millis(),
            closed: None,
            keys: crate::table::key_schema(&table.keys)
                .into_iter()
                .map(|element| (element.attribute_name, element.key_type))
                .collect(),
        };
        let key = (
            table.account.as_str(),
            table.region.as_str(),
            table.name.as_str(),
            label.as_str(),
        );
        tx.put(&self.streams, &key, &stream)?;
        let place = Place {
            account: table.account.clone(),
            region: table.region.clone(),
            table: table.name.clone(),
            label: label.clone(),
            uid: table.stream_uid,
        };
        let payload = serde_json::to_value(&place)?;
        let when = now.plus_millis(LIFE);
        self.cloud
            .scheduler
            .at(tx, when, TRIM, &table.stream_uid.to_string(), payload)
    }

    /// Ends a table's stream: its records stay readable for a day.
    pub fn close_stream(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let (Some(label), Some(_)) = (&table.stream_label, &table.stream_view) else {
            return Ok(());
        };
        let key = (
            table.account.as_str(),
            table.region.as_str(),
            table.name.as_str(),
            label.as_str(),
        );
        if let Some(mut stream) = tx.get(&self.streams, &key)? {
            stream.closed = Some(now.millis());
            tx.put(&self.streams, &key, &stream)?;
        }
        Ok(())
    }

    /// Removes records that are too old, and at last the stream itself.
    pub async fn trim(&self, payload: serde_json::Value) -> Result<(), Fault> {
        let place: Place = serde_json::from_value(payload)?;
        let uid = place.uid.to_string();
        let scope = ["dynamodb.stream", uid.as_str()];
        let of = (place.account.as_str(), place.uid);
        loop {
            let now = self.cloud.clock.now();
            let payload = serde_json::to_value(&place)?;
            let is_done = self
                .cloud
                .store
                .transact(Scope::new(&scope), |tx| {
                    let (mut old, mut oldest) = (None, None);
                    let rows = self.entries.range(tx, &of, 0, BATCH);
                    for row in rows {
                        let ((_, number), entry) = row?;
                        if entry.when + LIFE > now.millis() {
                            oldest = Some(entry.when);
                            break;
                        }
                        old = Some(number);
                    }
                    if let Some(last) = old {
                        self.entries.truncate(tx, &of, last + 1, BATCH)?;
                        if oldest.is_none() {
                            return Ok::<_, Fault>(false);
                        }
                    }
                    let key = (
                        place.account.as_str(),
                        place.region.as_str(),
                        place.table.as_str(),
                        place.label.as_str(),
                    );
                    let Some(stream) = tx.get(&self.streams, &key)? else {
                        return Ok(true);
                    };
                    if stream
                        .closed
                        .is_some_and(|closed| closed + LIFE <= now.millis())
                    {
                        tx.delete(&self.streams, &key);
                        self.entries.forget(tx, &of);
                        return Ok(true);
                    }
                    let from = oldest.or(stream.closed).unwrap_or(now.millis());
                    let next = Timestamp(from + LIFE).max(now.plus_millis(60_000));
                    self.cloud.scheduler.at(tx, next, TRIM, &uid, payload)?;
                    Ok(true)
                })
                .await?;
            if is_done {
                return Ok(());
            }
        }
    }

    fn stream(&self, arn: &str) -> Result<Option<(Stream, TableStream)>, Fault> {
        let Some((account, region, table, label)) = parts(arn) else {
            return Ok(None);
        };
        let key = (
            account.as_str(),
            region.as_str(),
            table.as_str(),
            label.as_str(),
        );
        let Some(stream) = self.cloud.store.read().get(&self.streams, &key)? else {
            return Ok(None);
        };
        let described = self.described(&account, arn.to_owned(), table, label, &stream)?;
        Ok(Some((stream, described)))
    }

    fn described(
        &self,
        account: &str,
        arn: String,
        table: String,
        label: String,
        stream: &Stream,
    ) -> Result<TableStream, Fault> {
        let view = self.cloud.store.read();
        let last = self.entries.last(&view, &(account, stream.uid))?;
        Ok(TableStream {
            arn,
            label,
            table,
            view: stream.view.clone(),
            created: Timestamp(stream.created),
            is_open: stream.closed.is_none(),
            keys: stream.keys.clone(),
            shards: vec![TableStreamShard {
                id: shard_id(stream),
                first: sequence(1),
                last: stream.closed.is_some().then(|| sequence(last.max(1))),
            }],
        })
    }

    fn shard(&self, arn: &str, shard: &str) -> Result<(String, Stream), Fault> {
        let found = self.stream(arn)?.ok_or_else(|| no_stream(arn))?.0;
        let Some((account, ..)) = parts(arn) else {
            return Err(no_stream(arn));
        };
        if shard_id(&found) != shard {
            return Err(resource_not_found_exception(format!(
                "Requested resource not found: Shard: {shard} in Stream: {arn} not found"
            )));
        }
        Ok((account, found))
    }

    /// The first record that can still be read, and the one behind the last.
    fn readable(&self, account: &str, stream: &Stream) -> Result<(u64, u64), Fault> {
        let view = self.cloud.store.read();
        let of = (account, stream.uid);
        let next = self.entries.last(&view, &of)? + 1;
        let oldest = self.cloud.clock.now().millis() - LIFE;
        for row in self.entries.range(&view, &of, 0, usize::MAX) {
            let ((_, number), entry) = row?;
            if entry.when > oldest {
                return Ok((number, next));
            }
        }
        Ok((next, next))
    }
}

impl TableStreams for Dynamo {
    fn list(
        &self,
        account: &str,
        region: &str,
        table: Option<&str>,
    ) -> Result<Vec<TableStream>, Fault> {
        let view = self.cloud.store.read();
        let range = match table {
            Some(table) => Range::prefix(&(account, region, table)),
            None => Range::prefix(&(account, region)),
        };
        let mut found = Vec::new();
        for row in view.range(&self.streams, range) {
            let ((_, _, table, label), stream) = row?;
            let arn = format!(
                "{}/stream/{label}",
                crate::table::arn(account, region, &table)
            );
            found.push(self.described(account, arn, table, label, &stream)?);
        }
        Ok(found)
    }

    fn find(&self, arn: &str) -> Result<Option<TableStream>, Fault> {
        Ok(self.stream(arn)?.map(|(_, described)| described))
    }

    fn position(&self, arn: &str, shard: &str, start: TableStreamStart<'_>) -> Result<u64, Fault> {
        let (account, stream) = self.shard(arn, shard)?;
        let (oldest, next) = self.readable(&account, &stream)?;
        let number = |text: &str| -> Result<u64, Fault> {
            let number = text.parse::<u128>().ok().and_then(|n| n.checked_sub(FIRST));
            let number = number.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| {
                crate::fault::validation(format!(
                    "Invalid SequenceNumber: {text} is not a sequence number of shard {shard}"
                ))
            })?;
            match number {
                number if number + 1 < oldest => Err(trimmed()),
                number => Ok(number),
            }
        };
        match start {
            TableStreamStart::Oldest => Ok(oldest),
            TableStreamStart::Newest => Ok(next),
            TableStreamStart::At(text) => Ok(number(text)?.max(1)),
            TableStreamStart::After(text) => Ok(number(text)? + 1),
        }
    }

    fn read(
        &self,
        arn: &str,
        shard: &str,
        from: u64,
        limit: usize,
    ) -> Result<TableStreamRecords, Fault> {
        let (account, stream) = self.shard(arn, shard)?;
        let region = parts(arn).map(|(_, region, ..)| region).unwrap_or_default();
        let (oldest, end) = self.readable(&account, &stream)?;
        if from < oldest && from != 1 {
            return Err(trimmed());
        }
        let view = self.cloud.store.read();
        let from = from.max(oldest);
        let (mut records, mut next, mut bytes) = (Vec::new(), from, 0);
        for row in self
            .entries
            .range(&view, &(account.as_str(), stream.uid), from, limit)
        {
            let ((_, number), entry) = row?;
            bytes += entry.size;
            if bytes > MAX_BYTES && !records.is_empty() {
                break;
            }
            records.push(entry.shown(number, &region, &stream.view)?);
            next = number + 1;
        }
        Ok(TableStreamRecords {
            records,
            next,
            is_end: stream.closed.is_some() && next >= end,
        })
    }

    fn changed(&self, arn: &str) -> Option<Arc<tokio::sync::Notify>> {
        let (stream, _) = self.stream(arn).ok().flatten()?;
        Some(self.wakers.lock().entry(stream.uid).or_default().clone())
    }
}

impl Entry {
    /// As `GetRecords` answers it.
    fn shown(&self, number: u64, region: &str, view: &str) -> Result<serde_json::Value, Fault> {
        let image = |stored: &Stored| -> Result<serde_json::Value, Fault> {
            let mut writer = wire::json::JsonWriter::new();
            wire::Encode::encode(&item::Item::Stored(stored.clone()), &mut writer);
            Ok(serde_json::from_slice(&writer.finish())?)
        };
        let mut change = serde_json::json!({
            // A number with a fraction, as functions get it.
            "ApproximateCreationDateTime": self.when.div_euclid(1000) as f64,
            "Keys": image(&self.keys)?,
        });
        if let Some(new) = &self.new {
            change["NewImage"] = image(new)?;
        }
        if let Some(old) = &self.old {
            change["OldImage"] = image(old)?;
        }
        change["SequenceNumber"] = sequence(number).into();
        change["SizeBytes"] = self.size.into();
        change["StreamViewType"] = view.into();
        let mut record = serde_json::json!({
            "eventID": self.id,
            "eventName": self.event,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": region,
            "dynamodb": change,
        });
        if self.cause == Cause::Expiry {
            record["userIdentity"] = serde_json::json!({
                "Type": "Service",
                "PrincipalId": "dynamodb.amazonaws.com",
            });
        }
        Ok(record)
    }
}
