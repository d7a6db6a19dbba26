//! (being written)

pub mod api;
pub mod errors;
