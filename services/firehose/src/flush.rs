//! Writing out what was gathered, by size and by time.
//!
//! What a crash interrupts is written again: objects may come twice, never not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloud::ports::Content;
use serde_json::Value;
use store::{Range, Read, Scope};
use wire::{Fault, Timestamp};

use crate::buffer::{Buffer, Entry, job};
use crate::compression;
use crate::delivery_stream::{DeliveryStream, Place};
use crate::destination::Bucket;
use crate::failure::Failure;
use crate::prefix::{self, Local, Values};
use crate::processing::Piece;
use crate::service::Firehose;

/// The name of the jobs that write a stream out.
pub(crate) const FLUSH: &str = "firehose.flush";
/// How long a due job holds up the region's other jobs, so that a moved clock sees it done in its turn.
const ATTENTION: Duration = Duration::from_secs(5);
/// Milliseconds before what failed is tried again, doubling from the first to the last, and for how long in all.
const RETRY: (i64, i64) = (5_000, 300_000);
const GIVE_UP: i64 = 86_400_000;
/// Records removed in one transaction.
const SWEEP: usize = 1_000;

/// What goes into one object.
#[derive(Default)]
struct Object {
    bytes: Vec<u8>,
    oldest: Option<i64>,
    /// Whether it is a Parquet file.
    is_converted: bool,
}

impl Object {
    fn add(&mut self, time: i64, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.oldest = Some(self.oldest.map_or(time, |o| o.min(time)));
    }
}

impl Firehose {
    /// Handles due streams, and plans those that a stopped server left.
    pub(crate) fn register_flush(&self) {
        let me = self.me.clone();
        #[allow(
            clippy::disallowed_methods,
            reason = "a delivery is left to itself after a moment of the host"
        )]
        self.cloud.scheduler.register(FLUSH, move |job| {
            let me = me.clone();
            Box::pin(async move {
                let Some(firehose) = me.upgrade() else {
                    return Ok(());
                };
                if job.key.is_empty() {
                    return firehose.resume();
                }
                let mut parts = job.key.splitn(3, '/').map(str::to_owned);
                let (Some(account), Some(region), Some(name)) =
                    (parts.next(), parts.next(), parts.next())
                else {
                    return Ok(());
                };
                let place = Place {
                    account,
                    region,
                    name,
                };
                let running = tokio::spawn(async move { firehose.flush(&place, true).await });
                let _ = tokio::time::timeout(ATTENTION, running).await;
                Ok(())
            })
        });
        let view = self.cloud.store.read();
        let mut streams = view.range(&self.streams, Range::all().limit(1));
        if streams.next().is_none() {
            return;
        }
        let me = self.me.clone();
        let cloud = self.cloud.clone();
        // Not before the region runs: other services may not have been built yet.
        tokio::spawn(async move {
            let (scheduler, now) = (cloud.scheduler.clone(), cloud.clock.now());
            let planned = cloud
                .store
                .transact(Scope::new(&["firehose.resume"]), |tx| {
                    scheduler.at(tx, now, FLUSH, "", Value::Null)
                });
            if let Err(fault) = planned.await {
                tracing::error!(%fault, cause = fault.cause, "delivery streams wait for the next start");
            }
            drop(me);
        });
    }

    /// Takes up what a stopped server left: records whose delivery was under way, and data streams.
    pub(crate) fn resume(&self) -> Result<(), Fault> {
        let view = self.cloud.store.read();
        for row in view.range(&self.streams, Range::all()) {
            let ((account, region, name), stream) = row?;
            let place = Place {
                account,
                region,
                name,
            };
            self.start_source(&place, &stream);
            let buffer = self.buffer(&view, &place, &stream)?;
            let key = (&place.account, &stream.id);
            let first = self.entries.range(&view, &key, buffer.from, 1).next();
            let Some(((_, _), entry)) = first.transpose()? else {
                continue;
            };
            let (limit, interval) = stream.destination.hints();
            let is_due = entry.time + interval <= self.cloud.clock.now().0;
            if is_due || buffer.bytes >= limit {
                self.flush_soon(place, is_due);
            }
        }
        Ok(())
    }

    /// Writes a stream out without waiting for it.
    pub(crate) fn flush_soon(&self, place: Place, everything: bool) {
        let me = self.me.clone();
        tokio::spawn(async move {
            if let Some(firehose) = me.upgrade() {
                firehose.flush(&place, everything).await;
            }
        });
    }

    /// Writes out what was gathered: everything there is now, or only what fills the buffer.
    async fn flush(&self, place: &Place, everything: bool) {
        let found = self.stream(&self.cloud.store, place);
        let Ok(stream) = found else { return };
        let turn: Arc<tokio::sync::Mutex<()>> = self
            .flushing
            .lock()
            .entry(stream.id.clone())
            .or_default()
            .clone();
        {
            let _turn = turn.lock().await;
            if let Err(fault) = self.flush_alone(place, everything).await {
                tracing::warn!(stream = place.name, %fault, cause = fault.cause, "records could not be delivered and wait");
                self.note_refusal(place, &stream, &fault).await;
                if let Err(fault) = self.put_off(place, &stream).await {
                    tracing::error!(%fault, cause = fault.cause, "a delivery waits for the next start");
                }
            }
        }
        let mut flushing = self.flushing.lock();
        // Nobody else holds it or waits for it: the map's and this one are all.
        if Arc::strong_count(&turn) == 2 {
            flushing.remove(&stream.id);
        }
    }

    async fn flush_alone(&self, place: &Place, everything: bool) -> Result<(), Fault> {
        let mut last = None;
        loop {
            // Read anew each time: the destination may change, and the stream may go.
            let view = self.cloud.store.read();
            let Some(stream) = view.get(&self.streams, &place.key())? else {
                return Ok(());
            };
            let key = (&place.account, &stream.id);
            let last = *last.get_or_insert(self.entries.last(&view, &key)?);
            let buffer = self.buffer(&view, place, &stream)?;
            let (limit, _) = stream.destination.hints();
            let is_due = (everything && buffer.from <= last) || buffer.bytes >= limit;
            if !is_due {
                return Ok(());
            }
            let (mut entries, mut bytes, mut next) = (Vec::new(), 0, buffer.from);
            for row in self.entries.range(&view, &key, buffer.from, usize::MAX) {
                let ((_, number), entry) = row?;
                bytes += entry.data.len() as u64;
                next = number + 1;
                entries.push(entry);
                if bytes >= limit {
                    break;
                }
            }
            drop(view);
            if entries.is_empty() {
                return Ok(());
            }
            self.deliver(place, &stream, entries).await?;
            self.leave_behind(place, &stream, next, bytes).await?;
        }
    }

    /// Forgets what was written, and plans when the rest is.
    async fn leave_behind(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        next: u64,
        bytes: u64,
    ) -> Result<(), Fault> {
        let key = (&place.account, &stream.id);
        let scope = place.scope();
        let (_, interval) = stream.destination.hints();
        loop {
            let removed = self
                .cloud
                .store
                .transact(Scope::new(&scope), |tx| {
                    if !tx.contains(&self.streams, &place.key())? {
                        return Ok(0);
                    }
                    let mut buffer = self.buffer(tx, place, stream)?;
                    if buffer.from < next {
                        buffer = Buffer {
                            from: next,
                            bytes: buffer.bytes.saturating_sub(bytes),
                            ..Buffer::default()
                        };
                        tx.put(&self.buffers, &key, &buffer)?;
                        let first = self.entries.range(tx, &key, next, 1).next();
                        let job = job(place);
                        match first.transpose()? {
                            Some((_, entry)) => {
                                let when = Timestamp(entry.time + interval);
                                self.cloud
                                    .scheduler
                                    .at(tx, when, FLUSH, &job, Value::Null)?;
                            }
                            None => self.cloud.scheduler.cancel(tx, FLUSH, &job)?,
                        }
                    }
                    Ok::<_, Fault>(self.entries.truncate(tx, &key, next, SWEEP)?)
                })
                .await?;
            if removed < SWEEP {
                return Ok(());
            }
        }
    }

    /// Plans another attempt, or gives up what has waited for a day.
    async fn put_off(&self, place: &Place, stream: &DeliveryStream) -> Result<(), Fault> {
        let key = (&place.account, &stream.id);
        let scope = place.scope();
        let now = self.cloud.clock.now();
        let given_up = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let mut buffer = self.buffer(tx, place, stream)?;
                if !tx.contains(&self.streams, &place.key())? {
                    return Ok::<_, Fault>(None);
                }
                if buffer.failures == 0 {
                    buffer.failing_since = now.0;
                }
                if now.0 - buffer.failing_since >= GIVE_UP {
                    return Ok(Some(buffer));
                }
                let pause = (RETRY.0 << buffer.failures.min(16)).min(RETRY.1);
                buffer.failures += 1;
                tx.put(&self.buffers, &key, &buffer)?;
                let when = now.plus_millis(pause);
                self.cloud
                    .scheduler
                    .at(tx, when, FLUSH, &job(place), Value::Null)?;
                Ok(None)
            })
            .await?;
        if let Some(buffer) = given_up {
            let last = self.entries.last(&self.cloud.store, &key)?;
            tracing::warn!(
                stream = place.name,
                bytes = buffer.bytes,
                "records that could not be delivered for a day are dropped"
            );
            self.leave_behind(place, stream, last + 1, buffer.bytes)
                .await?;
        }
        Ok(())
    }

    /// Brings records to the destination.
    async fn deliver(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        entries: Vec<Entry>,
    ) -> Result<(), Fault> {
        let destination = &stream.destination;
        let extended = destination.extended.as_ref();
        if let Some(backup) = extended
            .filter(|e| e.backs_up)
            .and_then(|e| e.backup.as_ref())
        {
            let mut object = Object::default();
            for entry in &entries {
                object.add(entry.time, &entry.data);
            }
            let keys = BTreeMap::new();
            self.write(place, stream, backup, object, &keys, None)
                .await?;
        }
        let (pieces, mut failures) = self.process(place, stream, entries).await;
        match &destination.endpoint {
            Some(endpoint) => {
                let failed = self.call(place, endpoint, &pieces).await;
                if endpoint.backs_up_all {
                    self.write_pieces(place, stream, pieces).await?;
                }
                failures.extend(failed);
            }
            None => failures.extend(self.write_pieces(place, stream, pieces).await?),
        }
        self.write_failures(place, stream, &failures).await
    }

    /// Writes records, converted if they are to be, and answers what could not be converted.
    async fn write_pieces(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        pieces: Vec<Piece>,
    ) -> Result<Vec<Failure>, Fault> {
        let mut objects: BTreeMap<BTreeMap<String, String>, Vec<Piece>> = BTreeMap::new();
        for mut piece in pieces {
            let keys = std::mem::take(&mut piece.keys);
            objects.entry(keys).or_default().push(piece);
        }
        let bucket = &stream.destination.bucket;
        let conversion = stream.destination.conversion()?;
        let mut failures = Vec::new();
        for (keys, pieces) in objects {
            let mut object = Object::default();
            match &conversion {
                Some(given) => {
                    let oldest = pieces.iter().map(|piece| piece.time).min();
                    let (bytes, failed) = self.convert(place, given, pieces).await?;
                    failures.extend(failed);
                    object.is_converted = true;
                    if let Some(bytes) = bytes {
                        object.bytes = bytes;
                        object.oldest = oldest;
                    }
                }
                None => {
                    for piece in pieces {
                        object.add(piece.time, &piece.data);
                    }
                }
            }
            self.write(place, stream, bucket, object, &keys, None)
                .await?;
        }
        Ok(failures)
    }

    async fn write_failures(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        failures: &[Failure],
    ) -> Result<(), Fault> {
        let now = self.cloud.clock.now();
        self.note_failures(place, stream, failures).await;
        let mut objects: BTreeMap<&str, Object> = BTreeMap::new();
        for failure in failures {
            let object = objects.entry(failure.kind).or_default();
            object.add(failure.arrived, failure.line(now).as_bytes());
        }
        let bucket = &stream.destination.bucket;
        let keys = BTreeMap::new();
        for (kind, object) in objects {
            self.write(place, stream, bucket, object, &keys, Some(kind))
                .await?;
        }
        Ok(())
    }

    /// Writes one object.
    async fn write(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        bucket: &Bucket,
        object: Object,
        keys: &BTreeMap<String, String>,
        error: Option<&str>,
    ) -> Result<(), Fault> {
        let Some(oldest) = object.oldest else {
            return Ok(());
        };
        let own = stream.destination.extended.as_ref();
        let zone = own.and_then(|e| e.zone.as_deref());
        let time = &Local::at(Timestamp(oldest), zone);
        let values = Values { time, error, keys };
        let suffix = prefix::suffix(&place.name, stream.version, time);
        let extension = own
            .and_then(|e| e.extension.as_deref())
            .filter(|e| !e.is_empty())
            .unwrap_or(match object.is_converted {
                true => ".parquet",
                false => compression::extension(&bucket.compression),
            });
        let key = format!("{}{suffix}{extension}", prefix::evaluate(bucket, &values));
        let bytes = compression::compress(&bucket.compression, &suffix, object.bytes)?;
        let Some(objects) = self.cloud.ports.objects() else {
            return Err(Fault::internal("there are no buckets here"));
        };
        let content = Content {
            bytes,
            media_type: Some("application/octet-stream"),
            // Even though a converted object is no stream of Hadoop's.
            encoding: match object.is_converted {
                true => Some("hadoop-snappy"),
                false => compression::encoding(&bucket.compression),
            },
            ..Content::default()
        };
        objects
            .put(&place.account, bucket.name(), &key, content)
            .await
    }
}
