//! DynamoDB Streams: the changes of tables, read shard by shard. The tables' service keeps them.

pub mod api;
pub mod errors;
mod service;

pub use service::service;
