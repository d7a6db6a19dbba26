//! S3 (being written)

pub mod api;
pub mod errors;
