//! Amazon EventBridge: buses, rules and where they send events; archives, schedules, API destinations.

pub mod api;
mod archive;
mod bus;
mod connection;
mod destination;
mod endpoint;
pub mod errors;
mod event;
mod input;
mod invocation;
mod page;
mod partner;
mod pattern;
mod permission;
mod place;
mod put;
mod replay;
mod retention;
mod routing;
mod rule;
mod service;
mod tag;
mod target;
mod targets;
mod timer;

pub use service::service;
