//! Amazon S3: buckets and objects, with what surrounds them.

mod access;
mod account;
mod acl;
mod amend;
#[rustfmt::skip]
pub mod api;
mod attributes;
mod bucket;
mod checksum;
mod complete;
mod condition;
mod configuration;
mod content;
mod copy;
mod data_key;
mod delete;
mod encryption;
pub mod errors;
mod event;
mod fault;
mod get;
mod grants;
mod http;
mod lifecycle;
mod listing;
mod location;
mod lock;
mod metadata;
mod multipart;
mod named;
mod namespace;
mod notification;
mod object;
mod policy;
mod port;
mod properties;
mod put;
mod range;
mod replication;
mod restore;
mod select;
mod service;
mod settings;
mod tagging;
mod unfinished;

use std::sync::Arc;

use cloud::{Cloud, Service};

pub use service::S3;

/// The service over a region's state.
pub fn service(cloud: &Cloud) -> Service {
    let s3 = S3::open(cloud);
    Service::new(api::Api(s3.clone())).with_front(Arc::new(http::Front(s3)))
}
