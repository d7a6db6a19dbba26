//! Amazon Data Firehose: delivery streams that gather records and write them to buckets and endpoints.

pub mod api;
mod buffer;
mod cell;
mod compression;
mod conversion;
mod delivery_stream;
mod description;
mod destination;
mod encryption;
mod error_log;
pub mod errors;
mod failure;
mod flush;
mod hive;
mod http_endpoint;
mod parquet_file;
mod partition;
mod prefix;
mod processing;
mod record;
mod service;
mod source;
mod tag;
mod target;

pub use service::service;
