//! Lambda: functions from zip files that run in sandboxes on the host's own interpreters.
//!
//! A role that was never made is accepted: local set-ups name made-up roles, and the function then has the credentials of its account. A role
//! that exists but does not trust Lambda is refused as AWS refuses it.

pub mod api;
pub mod errors;

mod alias;
mod blame;
mod channel;
mod code;
mod code_signing;
mod concurrency;
mod configuration;
mod destination;
mod discovery;
mod ending;
mod environment;
mod event_source;
mod extension;
mod feed;
mod front;
mod function;
mod interpreter;
mod invocation;
mod launch;
mod layer;
mod log;
mod mapping;
mod name;
mod page;
mod payload;
mod policy;
mod poller;
mod pool;
mod provisioned;
mod queue;
mod revision;
mod runtime_api;
mod service;
mod state;
mod stream;
mod tag;
mod target;
mod telemetry;
mod url;
mod variables;
mod version;
mod watched;

pub use service::service;
