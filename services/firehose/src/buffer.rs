//! What a delivery stream has gathered: durable before it is acknowledged, written out when it is large or old enough.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::delivery_stream::{DeliveryStream, Place};
use crate::flush::FLUSH;
use crate::service::Firehose;

/// A record as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it arrived.
    pub(crate) time: i64,
    #[serde(with = "serde_bytes")]
    pub(crate) data: Vec<u8>,
    /// Where it comes from, if that is a data stream.
    #[serde(default)]
    pub(crate) origin: Option<Origin>,
}
impl Record for Entry {}

/// The record of a data stream behind a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) shard: String,
    pub(crate) sequence: String,
    pub(crate) key: String,
}

impl Entry {
    pub(crate) fn new(time: Timestamp, data: Bytes) -> Entry {
        Entry {
            time: time.0,
            data: data.to_vec(),
            origin: None,
        }
    }
}

/// How much a stream has gathered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Buffer {
    /// The number of the first record that is not written yet.
    pub(crate) from: u64,
    pub(crate) bytes: u64,
    /// How often writing has failed since it last succeeded, and since when.
    pub(crate) failures: u32,
    pub(crate) failing_since: i64,
}
impl Record for Buffer {}

/// The name of a stream's job.
pub(crate) fn job(place: &Place) -> String {
    format!("{}/{}/{}", place.account, place.region, place.name)
}

impl Firehose {
    pub(crate) fn buffer(
        &self,
        reader: &impl Read,
        place: &Place,
        stream: &DeliveryStream,
    ) -> Result<Buffer, Fault> {
        let found = Read::get(reader, &self.buffers, &(&place.account, &stream.id))?;
        Ok(found.unwrap_or(Buffer {
            from: 1,
            ..Buffer::default()
        }))
    }

    /// Takes records. They are durable when this returns.
    pub(crate) async fn append(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        entries: Vec<Entry>,
    ) -> Result<(), Fault> {
        let (limit, interval) = stream.destination.hints();
        let key = (&place.account, &stream.id);
        let scope = place.scope();
        let bytes = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                if !tx.contains(&self.streams, &place.key())? {
                    return Err(place.missing());
                }
                let mut buffer = self.buffer(tx, place, stream)?;
                let is_empty = self.entries.last(tx, &key)? < buffer.from;
                for entry in &entries {
                    self.entries.append(tx, &key, entry)?;
                    buffer.bytes += entry.data.len() as u64;
                }
                if is_empty {
                    let when = self.cloud.clock.now().plus_millis(interval);
                    let job = job(place);
                    self.cloud
                        .scheduler
                        .at(tx, when, FLUSH, &job, Value::Null)?;
                }
                tx.put(&self.buffers, &key, &buffer)?;
                Ok(buffer.bytes)
            })
            .await?;
        if bytes >= limit {
            self.flush_soon(place.clone(), false);
        }
        Ok(())
    }

    /// Forgets what a stream has gathered.
    pub(crate) fn drop_buffer(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        stream: &DeliveryStream,
    ) -> Result<(), Fault> {
        let key = (&place.account, &stream.id);
        self.cloud.scheduler.cancel(tx, FLUSH, &job(place))?;
        self.entries.truncate(tx, &key, u64::MAX, usize::MAX)?;
        self.entries.forget(tx, &key);
        tx.delete(&self.buffers, &key);
        Ok(())
    }
}
