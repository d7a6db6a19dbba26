//! What is consumed: a data stream, or a table's stream, seen alike.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::Notify;
use wire::{Fault, Timestamp};

use crate::ports::{DataRecord, DataStart, DataStreams, TableStreamStart, TableStreams};
use crate::{Arn, Ports};

use super::Start;

/// A record on its way to a sink.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its sequence number.
    pub sequence: String,
    /// When it arrived.
    pub arrived: Timestamp,
    /// About as many bytes as it has in an event.
    pub size: usize,
    /// The record: of a data stream what events show as `kinesis`, of a table's stream the record itself.
    pub record: Value,
    /// What orders it: records of the same key are taken one after the other.
    pub(super) key: String,
    /// The record as filters see it, where that differs.
    view: Option<Value>,
}

impl Item {
    /// The record as filters see it.
    pub fn view(&self) -> &Value {
        self.view.as_ref().unwrap_or(&self.record)
    }

    fn of_data(record: DataRecord, wants_view: bool) -> Item {
        let key = record.partition_key.unwrap_or_default();
        let body = json!({
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key,
            "sequenceNumber": record.sequence_number,
            "data": STANDARD.encode(&record.data),
            "approximateArrivalTimestamp": record.arrived.0 as f64 / 1000.0,
        });
        let view = wants_view.then(|| {
            let mut view = body.clone();
            // Data of JSON is looked into; any other is a text.
            view["data"] = serde_json::from_slice(&record.data)
                .unwrap_or_else(|_| String::from_utf8_lossy(&record.data).into());
            view
        });
        Item {
            sequence: record.sequence_number,
            arrived: record.arrived,
            size: record.data.len().div_ceil(3) * 4 + key.len() + 600,
            record: body,
            key,
            view,
        }
    }

    fn of_table(record: Value) -> Item {
        let change = &record["dynamodb"];
        let seconds = change["ApproximateCreationDateTime"]
            .as_f64()
            .unwrap_or(0.0);
        Item {
            sequence: change["SequenceNumber"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            arrived: Timestamp((seconds * 1000.0) as i64),
            size: record.to_string().len() + 150,
            key: change["Keys"].to_string(),
            record,
            view: None,
        }
    }
}

/// Records of a shard.
pub(super) struct Read {
    pub(super) items: Vec<Item>,
    /// The position behind them.
    pub(super) next: u64,
    /// Whether nothing comes after them, ever.
    pub(super) is_end: bool,
}

/// A shard and those that come before it.
pub(super) struct Known {
    pub(super) id: String,
    pub(super) parents: Vec<String>,
}

/// A stream that can be consumed.
#[derive(Clone)]
pub struct Stream(Kind);

#[derive(Clone)]
enum Kind {
    Data(Arc<dyn DataStreams>, Arn),
    Table(Arc<dyn TableStreams>, String),
}

impl Stream {
    /// The stream of an ARN: a data stream's, its consumer's, or a table's stream's. `None` where that is no stream.
    pub fn of(ports: &Ports, arn: &str) -> Option<Stream> {
        let parsed: Arn = arn.parse().ok()?;
        match parsed.service.as_str() {
            "kinesis" => Some(Stream(Kind::Data(ports.data_streams()?.clone(), parsed))),
            "dynamodb" if parsed.resource.contains("/stream/") => Some(Stream(Kind::Table(
                ports.table_streams()?.clone(),
                arn.to_owned(),
            ))),
            _ => None,
        }
    }

    /// Whether the stream is there.
    pub fn check(&self) -> Result<(), Fault> {
        self.shards().map(drop)
    }

    pub(super) fn shards(&self) -> Result<Vec<Known>, Fault> {
        match &self.0 {
            Kind::Data(streams, arn) => {
                let shards = streams.shards(arn)?.into_iter().map(|shard| Known {
                    id: shard.id,
                    parents: shard.parents,
                });
                Ok(shards.collect())
            }
            Kind::Table(streams, arn) => {
                let found = streams.find(arn)?.ok_or_else(|| {
                    Fault::sender(
                        400,
                        "ResourceNotFoundException",
                        format!("Requested resource not found: Stream: {arn} not found"),
                    )
                })?;
                let shards = found.shards.into_iter().map(|shard| Known {
                    id: shard.id,
                    parents: Vec::new(),
                });
                Ok(shards.collect())
            }
        }
    }

    pub(super) fn begin(&self, shard: &str, start: Start) -> Result<u64, Fault> {
        match &self.0 {
            Kind::Data(streams, arn) => {
                let start = match start {
                    Start::Oldest => DataStart::Oldest,
                    Start::Newest => DataStart::Newest,
                    Start::Since(time) => DataStart::Since(time),
                };
                streams.position(arn, shard, start)
            }
            Kind::Table(streams, arn) => {
                let start = match start {
                    Start::Newest => TableStreamStart::Newest,
                    Start::Oldest | Start::Since(_) => TableStreamStart::Oldest,
                };
                streams.position(arn, shard, start)
            }
        }
    }

    /// The position behind a record; that of the oldest one where it is gone.
    pub(super) fn after(&self, shard: &str, sequence: &str) -> Result<u64, Fault> {
        let found = match &self.0 {
            Kind::Data(streams, arn) => streams.position(arn, shard, DataStart::After(sequence)),
            Kind::Table(streams, arn) => {
                streams.position(arn, shard, TableStreamStart::After(sequence))
            }
        };
        found.or_else(|_| self.begin(shard, Start::Oldest))
    }

    pub(super) fn read(
        &self,
        shard: &str,
        from: u64,
        limit: usize,
        wants_view: bool,
    ) -> Result<Read, Fault> {
        match &self.0 {
            Kind::Data(streams, arn) => {
                let read = streams.read(arn, shard, from, limit)?;
                let items = read
                    .records
                    .into_iter()
                    .map(|r| Item::of_data(r, wants_view));
                Ok(Read {
                    items: items.collect(),
                    next: read.next,
                    is_end: read.is_end,
                })
            }
            Kind::Table(streams, arn) => {
                let read = match streams.read(arn, shard, from, limit) {
                    // What was not read in time is gone; the rest is not.
                    Err(fault) if fault.is("TrimmedDataAccessException") => {
                        let oldest = self.begin(shard, Start::Oldest)?;
                        streams.read(arn, shard, oldest, limit)?
                    }
                    read => read?,
                };
                Ok(Read {
                    items: read.records.into_iter().map(Item::of_table).collect(),
                    next: read.next,
                    is_end: read.is_end,
                })
            }
        }
    }

    /// Notified of news of a shard; to be asked for before reading.
    pub(super) fn changed(&self, shard: &str) -> Result<Arc<Notify>, Fault> {
        match &self.0 {
            Kind::Data(streams, arn) => streams.changed(arn, shard),
            Kind::Table(streams, arn) => streams.changed(arn).ok_or_else(|| {
                Fault::sender(
                    400,
                    "ResourceNotFoundException",
                    format!("Requested resource not found: Stream: {arn} not found"),
                )
            }),
        }
    }
}
