//! Amazon Data Firehose: delivery streams that gather records and write them to buckets and endpoints.

pub mod api;
mod buffer;
mod compression;
mod delivery_stream;
mod destination;
mod encryption;
pub mod errors;
mod failure;
mod flush;
mod http_endpoint;
mod partition;
mod prefix;
mod processing;
mod record;
mod service;
mod source;
mod tag;
mod target;

pub use service::service;
