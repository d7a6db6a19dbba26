//! What channels write: objects of the records that came since the last ones.
//!
//! Each channel has a task that waits for records, then for the first of them to be as old as the channel allows, and
//! writes out all there are. A position moves once its records are written: after a crash some may be written again,
//! none are left out.

use std::io::Write;

use bytes::Bytes;
use cloud::Job;
use cloud::ports::{Content, Objects};
use flate2::write::GzEncoder;
use futures_util::future::select_all;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use store::{Range, Read, Scope};
use wire::{Fault, Timestamp};

use crate::api::{record_format_type, s3_compression_type};
use crate::channel::{Channel, ERRORS};
use crate::channel_key::{Template, Values};
use crate::reader::{Cursor, Kind, ReaderPlace, scope};
use crate::record::Entry;
use crate::sequence::Sequence;
use crate::service::Kinesis;
use crate::shard::id;
use crate::stream::KIB;

/// The job that starts all channels once the region runs.
const RESUME: &str = "kinesis.channels";
/// The most bytes of records in one object.
const OBJECT: usize = 64 * KIB * KIB;
/// Records of one shard that are read at once, and their bytes.
const READ: (usize, usize) = (10_000, 8 * KIB * KIB);
/// How long a channel waits that could not write, milliseconds.
const PAUSE: i64 = 60_000;

/// Records on their way into objects.
#[derive(Default)]
struct Gathered {
    /// When the first arrived.
    oldest: Option<i64>,
    body: Vec<u8>,
    /// What is told of records that are not of the format, a line each.
    errors: String,
    /// How far this goes in each shard.
    next: Vec<(u64, u64)>,
}

/// What a look at a channel comes to.
enum Turn {
    /// It was deleted, or its stream.
    Gone,
    /// Nothing waits.
    Idle,
    /// What waits is due then.
    Until(i64),
}

fn is_json(data: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

impl Gathered {
    fn add(&mut self, channel: &Channel, sequence: &Sequence, entry: &Entry) {
        let (is_valid, has_lines) = match channel.format.as_str() {
            record_format_type::JSON => (is_json(&entry.data), true),
            record_format_type::STRING => (std::str::from_utf8(&entry.data).is_ok(), true),
            _ => (true, false),
        };
        if !is_valid {
            let line = json!({
                "channelName": channel.name,
                "shardId": id(sequence.shard),
                "sequenceNumber": sequence.to_string(),
                "approximateArrivalTimestamp": entry.time,
                "errorCode": "InvalidRecordFormat",
                "errorMessage": format!("The record is not valid {}.", channel.format),
            });
            self.errors.push_str(&line.to_string());
            self.errors.push('\n');
            return;
        }
        self.oldest = Some(self.oldest.map_or(entry.time, |t| t.min(entry.time)));
        self.body.extend_from_slice(&entry.data);
        if has_lines && !entry.data.ends_with(b"\n") {
            self.body.push(b'\n');
        }
    }
}

fn compressed(format: &str, body: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match format {
        s3_compression_type::GZIP => {
            let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(&body)?;
            Ok(gzip.finish()?)
        }
        s3_compression_type::ZSTD => Ok(compress_to_vec(&body[..], CompressionLevel::Fastest)),
        _ => Ok(body),
    }
}

fn extension(channel: &Channel) -> String {
    let kind = match channel.format.as_str() {
        record_format_type::JSON => ".json",
        record_format_type::STRING => ".txt",
        _ => ".bin",
    };
    let packed = match channel.compression.as_str() {
        s3_compression_type::GZIP => ".gz",
        s3_compression_type::ZSTD => ".zst",
        _ => "",
    };
    format!("{kind}{packed}")
}

impl Kinesis {
    /// Starts the channels that a stopped server left, once the region runs.
    pub(crate) fn register_channels(&self) {
        let me = self.me.clone();
        self.cloud.scheduler.register(RESUME, move |_: Job| {
            let me = me.clone();
            Box::pin(async move {
                me.upgrade()
                    .map_or(Ok(()), |kinesis| kinesis.run_channels())
            })
        });
        let view = self.cloud.store.read();
        let mut channels = view.range(&self.channels, Range::all().limit(1));
        if channels.next().is_none() {
            return;
        }
        let cloud = self.cloud.clone();
        // Not before the region runs: the buckets may not have been built yet.
        tokio::spawn(async move {
            let now = cloud.clock.now();
            let planned = cloud.store.transact(Scope::new(&["kinesis.resume"]), |tx| {
                cloud.scheduler.at(tx, now, RESUME, "", Value::Null)
            });
            if let Err(fault) = planned.await {
                tracing::error!(%fault, cause = fault.cause, "channels wait for the next start");
            }
        });
    }

    /// Starts all channels; those that run are left as they are.
    pub(crate) fn run_channels(&self) -> Result<(), Fault> {
        for row in self.cloud.store.read().range(&self.channels, Range::all()) {
            let ((account, region, id), _) = row?;
            self.run_channel(&ReaderPlace {
                kind: Kind::Channel,
                account,
                region,
                id,
            });
        }
        Ok(())
    }

    /// Starts a channel, unless it runs.
    pub(crate) fn run_channel(&self, place: &ReaderPlace) {
        if !self.running.lock().insert(place.id) {
            return;
        }
        let (me, place) = (self.me.clone(), place.clone());
        let clock = self.cloud.clock.clone();
        tokio::spawn(async move {
            loop {
                let Some(kinesis) = me.upgrade() else { return };
                // Before the look, so that nothing that comes after it is missed.
                let own = kinesis.wiring.reader(place.id);
                let mut woken = vec![Box::pin(own.notified_owned())];
                for wake in kinesis.wakes_of(&place) {
                    woken.push(Box::pin(wake.notified_owned()));
                }
                let turn = match kinesis.deliver_due(&place).await {
                    Ok(turn) => turn,
                    Err(fault) => {
                        tracing::warn!(channel = place.arn(), %fault, cause = fault.cause, "records could not be delivered and wait");
                        kinesis.log_refusal(&place, &fault).await;
                        woken.truncate(1);
                        Turn::Until(clock.now().0 + PAUSE)
                    }
                };
                let until = match turn {
                    Turn::Gone => {
                        kinesis.running.lock().remove(&place.id);
                        kinesis.wiring.forget_reader(place.id);
                        // State that was put back meanwhile found it running.
                        if kinesis.channel(&kinesis.cloud.store, &place).is_ok() {
                            kinesis.run_channel(&place);
                        }
                        return;
                    }
                    Turn::Idle => None,
                    Turn::Until(when) => {
                        // What else comes until then does not matter.
                        woken.truncate(1);
                        Some(Timestamp(when))
                    }
                };
                // Not while it waits: the service may end meanwhile.
                drop(kinesis);
                match until {
                    Some(when) => tokio::select! {
                        _ = select_all(woken) => {}
                        () = clock.until(when) => {}
                    },
                    None => {
                        select_all(woken).await;
                    }
                }
            }
        });
    }

    /// What tells of new records for a channel.
    fn wakes_of(&self, place: &ReaderPlace) -> Vec<std::sync::Arc<tokio::sync::Notify>> {
        let routes = || {
            let channel = self.channel(&self.cloud.store, place)?;
            let source = channel.source(place);
            let stream = self.stream(&self.cloud.store, &source)?;
            self.routes(&source, &stream)
        };
        routes().map_or_else(|_: Fault| Vec::new(), |r| r.wakes().cloned().collect())
    }

    /// Writes out what is due.
    async fn deliver_due(&self, place: &ReaderPlace) -> Result<Turn, Fault> {
        loop {
            let Some(channel) = self.cloud.store.read().get(&self.channels, &place.key())? else {
                return Ok(Turn::Gone);
            };
            let Some(oldest) = self.oldest(place, &channel)? else {
                return Ok(Turn::Idle);
            };
            let due = oldest.saturating_add(i64::from(channel.freshness) * 1000);
            let now = self.cloud.clock.now().0;
            if due > now {
                return Ok(Turn::Until(due));
            }
            // Everything there is by now, not only what is due; what comes meanwhile is for the next time.
            while let Some(gathered) = self.gather(place, &channel, now)? {
                let next = self.write(place, &channel, gathered).await?;
                if !self.move_on(place, &next).await? {
                    return Ok(Turn::Gone);
                }
            }
        }
    }

    /// When the first record arrived that was not written.
    fn oldest(&self, place: &ReaderPlace, channel: &Channel) -> Result<Option<i64>, Fault> {
        let gathered = self.read_on(place, channel, (1, 1), usize::MAX)?;
        Ok(gathered.into_iter().map(|(_, entry)| entry.time).min())
    }

    /// Records behind the positions of a channel, of all shards.
    fn read_on(
        &self,
        place: &ReaderPlace,
        channel: &Channel,
        limits: (usize, usize),
        most: usize,
    ) -> Result<Vec<(Sequence, Entry)>, Fault> {
        let source = channel.source(place);
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &source)?;
        let now = self.cloud.clock.now().0;
        let (shards, _) =
            self.page_of_shards(&view, &source, &stream, None, usize::MAX, now, |_| true)?;
        let (mut found, mut size) = (Vec::new(), 0);
        for (shard, _) in shards {
            let key = (&place.account, place.id, shard);
            let from = Read::get(&view, &self.cursors, &key)?.map_or(0, Cursor::next);
            let batch = self.read_shard(&view, &source, &stream, shard, from, limits, now)?;
            for (number, entry) in batch.records {
                size += entry.data.len();
                let sequence = Sequence {
                    epoch: batch.epoch,
                    number,
                    time: u64::try_from(entry.time / 1000).unwrap_or(0),
                    shard,
                };
                found.push((sequence, entry));
            }
            if size >= most {
                break;
            }
        }
        Ok(found)
    }

    /// What goes into the next object of records that arrived by then; `None` where none waits.
    fn gather(
        &self,
        place: &ReaderPlace,
        channel: &Channel,
        until: i64,
    ) -> Result<Option<Gathered>, Fault> {
        let mut records = self.read_on(place, channel, READ, OBJECT)?;
        // Times within a shard ascend: what is left out is behind what is taken.
        records.retain(|(_, entry)| entry.time <= until);
        if records.is_empty() {
            return Ok(None);
        }
        let mut gathered = Gathered::default();
        for (sequence, entry) in &records {
            gathered.add(channel, sequence, entry);
            let next = sequence.number + 1;
            match gathered.next.last_mut() {
                Some((shard, last)) if *shard == sequence.shard => *last = next,
                _ => gathered.next.push((sequence.shard, next)),
            }
        }
        Ok(Some(gathered))
    }

    /// Writes an object, and what is told of records that are in none; answers how far that goes.
    async fn write(
        &self,
        place: &ReaderPlace,
        channel: &Channel,
        gathered: Gathered,
    ) -> Result<Vec<(u64, u64)>, Fault> {
        let Some(objects) = self.cloud.ports.objects() else {
            return Err(Fault::internal("no service keeps objects in this region"));
        };
        let channel_id = place.text();
        if let Some(oldest) = gathered.oldest {
            let extension = extension(channel);
            let values = Values {
                name: &channel.name,
                id: &channel_id,
                time: Timestamp(oldest),
                extension: &extension,
            };
            let text = channel.template.as_deref();
            let template = Template::parse(text.unwrap_or(Template::default_text()))?;
            let key = template.key(&values, &cloud::ids::uuid());
            let content = Content {
                bytes: Bytes::from(compressed(&channel.compression, gathered.body)?),
                storage_class: channel.storage_class.as_deref(),
                ..Content::default()
            };
            objects
                .put(&place.account, channel.bucket.name(), &key, content)
                .await?;
        }
        if !gathered.errors.is_empty() {
            self.write_errors(objects.as_ref(), place, channel, gathered.errors)
                .await?;
        }
        Ok(gathered.next)
    }

    async fn write_errors(
        &self,
        objects: &dyn Objects,
        place: &ReaderPlace,
        channel: &Channel,
        lines: String,
    ) -> Result<(), Fault> {
        let (bucket, prefix) = match &channel.errors {
            Some((bucket, prefix)) => (bucket, prefix.as_deref().unwrap_or_default()),
            None => (&channel.bucket, ERRORS),
        };
        let now = self.cloud.clock.now();
        let time = now.date_time();
        let key = format!(
            "{prefix}{}/{}/{:04}/{:02}/{:02}/{:02}/{}.json",
            channel.name,
            place.text(),
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            cloud::ids::uuid()
        );
        objects
            .put(
                &place.account,
                bucket.name(),
                &key,
                lines.into_bytes().into(),
            )
            .await
    }

    /// Notes how far a channel has come; `false` where it was deleted meanwhile, which leaves nothing behind.
    async fn move_on(&self, place: &ReaderPlace, next: &[(u64, u64)]) -> Result<bool, Fault> {
        let id = place.text();
        let scope = scope(&id);
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                if !tx.contains(&self.channels, &place.key())? {
                    return Ok(false);
                }
                for (shard, next) in next {
                    let key = (&place.account, place.id, *shard);
                    tx.put(&self.cursors, &key, &Cursor::at(*next))?;
                }
                Ok(true)
            })
            .await
    }

    async fn log_refusal(&self, place: &ReaderPlace, fault: &Fault) {
        let Ok(channel) = self.channel(&self.cloud.store, place) else {
            return;
        };
        let (Some((group, stream)), Some(logs)) = (channel.log(place), self.cloud.ports.logs())
        else {
            return;
        };
        let line = json!({
            "channelArn": place.arn(),
            "destination": channel.bucket.arn,
            "errorCode": format!("S3.{}", fault.code),
            "message": fault.message,
        });
        let event = (self.cloud.clock.now(), line.to_string());
        let noted = logs.append(&place.account, &place.region, &group, &stream, vec![event]);
        if let Err(fault) = noted.await {
            tracing::warn!(group, %fault, "an error of a channel could not be logged");
        }
    }
}
