//! Simple Notification Service: topics, who subscribes to them, and messages on their way.

pub mod api;
mod archive;
mod attribute;
mod captured;
mod confirmation;
mod delivery;
mod delivery_policy;
pub mod errors;
mod feedback;
mod filter;
mod front;
mod line;
mod message;
mod permission;
mod phone;
mod platform;
mod post;
mod publish;
mod service;
mod signature;
mod subscription;
mod subscription_attribute;
mod tag;
mod target;
mod topic;

pub use service::service;
