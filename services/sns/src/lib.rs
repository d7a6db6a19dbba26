//! Simple Notification Service: topics, who subscribes to them, and messages on their way.

pub mod api;
mod attribute;
mod delivery;
pub mod errors;
mod filter;
mod line;
mod message;
mod permission;
mod platform;
mod publish;
mod service;
mod subscription;
mod tag;
mod target;
mod topic;

pub use service::service;
