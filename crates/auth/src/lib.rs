//! Who is asking, and may they: request signatures, access keys, and the IAM policy language with its evaluation.
//!
//! Nothing here knows a server, a store or a clock. Requests come in as borrowed parts, the time is always a
//! parameter, and so is randomness.
//!
//! - [`authorization`] reads what a request presents; [`sigv4`], [`sigv2`], [`chunk`] and [`post_policy`] verify it.
//! - [`account`] tells the account an access key belongs to, and mints ids.

pub mod account;
pub mod authorization;
pub mod canonical;
pub mod chunk;
pub mod credential;
pub mod date;
pub mod post_policy;
pub mod sigv2;
pub mod sigv4;

mod digest;
