//! CloudWatch Logs: groups, streams and their events.

pub mod api;
pub mod errors;
mod event;
mod group;
mod pattern;
mod reading;
mod retention;
mod service;
mod stream;
mod tag;

pub use service::service;
