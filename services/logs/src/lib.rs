//! CloudWatch Logs: groups, streams and their events.

pub mod api;
mod delivery;
pub mod errors;
mod event;
mod export;
mod group;
mod insights;
mod metric_filter;
mod pattern;
mod policy;
mod query;
mod reading;
mod retention;
mod service;
mod stream;
mod subscription;
mod tag;
mod tail;
mod target;

pub use service::service;
