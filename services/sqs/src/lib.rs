//! Simple Queue Service: standard and FIFO queues whose messages are rows.

mod access;
pub mod api;
mod attribute;
mod batch;
mod content;
pub mod errors;
mod fault;
mod front;
mod line;
mod message;
mod move_task;
mod peek;
mod permission;
mod poll;
mod queue;
mod receipt;
mod receive;
mod redrive;
mod send;
mod service;
mod shelf;
mod tag;
mod target;
mod url;

pub use service::service;
