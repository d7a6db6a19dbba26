//! Security Token Service: who am I, and temporary credentials.

pub mod api;
pub mod errors;
mod service;

pub use service::service;
