//! Who is asking, and may they: request signatures, access keys, and the IAM policy language with its evaluation.
//!
//! Nothing here knows a server, a store or a clock. Requests come in as borrowed parts, the time is always a
//! parameter, and so is randomness.
//!
//! - [`authorization`] reads what a request presents; [`sigv4`], [`sigv2`], [`chunk`] and [`post_policy`] verify it.
//! - [`account`] tells the account an access key belongs to, and mints ids.
//! - [`policy`] reads policy documents, [`evaluate`] decides by them, [`trust`] decides who may assume a role.
//! - [`jwt`] reads the claims of a web identity token.

pub mod account;
pub mod authorization;
pub mod canonical;
pub mod chunk;
pub mod condition;
pub mod credential;
pub mod date;
pub mod evaluate;
pub mod grammar;
pub mod jwt;
pub mod pattern;
pub mod policy;
pub mod post_policy;
pub mod principal;
pub mod sigv2;
pub mod sigv4;
pub mod trust;

mod digest;
