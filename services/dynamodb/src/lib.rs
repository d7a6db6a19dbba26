//! DynamoDB: tables of items under keys, with indexes, expressions, transactions and streams.

pub mod api;
mod capacity;
mod catalog;
mod change;
mod create;
mod definition;
pub mod errors;
mod expression;
mod fault;
pub mod item;
mod key;
mod legacy;
mod number;
mod policy;
mod query;
mod service;
mod single;
mod stream;
mod table;
mod ttl;
pub mod value;

pub use service::service;
