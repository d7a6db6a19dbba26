//! Security Token Service: who am I, and temporary credentials.

pub mod api;
mod assertion;
mod assume;
pub mod errors;
mod mfa;
mod service;
mod session;

pub use service::service;
