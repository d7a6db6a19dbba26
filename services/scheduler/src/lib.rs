//! Amazon EventBridge Scheduler: schedules in groups, and what they call.

pub mod api;
pub mod errors;
mod expression;
mod firing;
mod group;
mod page;
mod schedule;
mod service;
mod tag;
mod target;
mod universal;

pub use service::service;
