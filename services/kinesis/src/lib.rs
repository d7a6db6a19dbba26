//! Kinesis Data Streams: streams of shards, the records in them, and who reads them.

pub mod api;
mod channel;
mod channel_delivery;
mod channel_key;
mod consumer;
pub mod errors;
mod expiry;
mod lineage;
mod port;
mod queue;
mod queue_record;
mod reader;
mod reading;
mod record;
mod scaling;
mod sequence;
mod service;
mod setting;
mod shard;
mod stream;
mod subscription;
mod tag;
mod target;
mod throughput;
mod wiring;

pub use service::service;
