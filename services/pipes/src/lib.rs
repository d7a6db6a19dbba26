//! Amazon EventBridge Pipes: from a queue or a stream, through a filter and a function, to a target.

pub mod api;
mod configuration;
pub mod errors;
mod flow;
mod pipe;
mod poller;
mod running;
mod service;
mod streaming;
mod tag;
mod template;

pub use service::service;
