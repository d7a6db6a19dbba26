//! Identity and Access Management: users, groups, roles and what they may do.

mod access_key;
mod account;
pub mod api;
mod attachment;
mod certificate;
mod entity;
pub mod errors;
mod group;
mod inline;
mod instance_profile;
mod key_use;
mod linked;
mod linked_name;
mod login_profile;
mod managed;
mod mfa;
mod page;
mod policy;
mod policy_version;
mod provider;
mod report;
mod role;
mod service;
mod service_credential;
mod simulate;
mod tag;
mod totp;
mod user;

pub use service::service;
