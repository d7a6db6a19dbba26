//! Lambda: functions from zip files that run in sandboxes on the host's own interpreters.
//!
//! A role that was never made is accepted: local set-ups name made-up roles, and the function then has the credentials of its account. A role
//! that exists but does not trust Lambda is refused as AWS refuses it.

pub mod api;
pub mod errors;

mod channel;
mod code;
mod configuration;
mod environment;
mod function;
mod interpreter;
mod invocation;
mod log;
mod name;
mod policy;
mod pool;
mod queue;
mod service;
mod state;
mod target;

pub use service::service;
