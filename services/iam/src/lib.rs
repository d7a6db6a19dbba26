//! Identity and Access Management: users, groups, roles and what they may do.

pub mod api;
mod attachment;
mod entity;
pub mod errors;
mod group;
mod inline;
mod instance_profile;
mod managed;
mod page;
mod policy;
mod role;
mod service;
mod tag;
mod user;

pub use service::service;
