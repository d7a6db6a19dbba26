//! DynamoDB: tables of items under keys, with indexes, expressions, transactions and streams.

pub mod api;
mod backup;
mod batch;
mod bounds;
mod capacity;
mod catalog;
mod change;
mod create;
mod definition;
pub mod errors;
mod export;
mod expression;
mod fault;
mod fill;
pub mod item;
mod key;
mod legacy;
mod limit;
mod number;
mod partiql;
mod policy;
mod query;
mod recovery;
mod select;
mod service;
mod single;
mod step;
mod stream;
mod table;
mod tag;
mod token;
mod transact;
mod ttl;
mod update;
pub mod value;

pub use service::service;
