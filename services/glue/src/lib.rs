//! AWS Glue's Data Catalog: databases, and tables with their versions.

pub mod api;
mod catalog;
mod database;
pub mod errors;
mod page;
mod service;
mod table;
mod tag;
mod version;

pub use service::service;
