//! The HTTP server: from a connection to a service's method and back.
//!
//! One request passes the rooms in this order: [`listen`] accepts, [`detect`] tells service and operation,
//! [`identify`] the caller, [`pipeline`] reads, calls and answers. No service is known here by name.

pub mod detect;
mod encoding;
pub mod host;
pub mod identify;
mod linger;
pub mod listen;
pub mod manners;
mod metrics;
pub mod pipeline;
mod workers;

pub use listen::{Limits, Listener};
pub use metrics::Metrics;
pub use pipeline::{Authorize, Authorizer, Control, Gateway};
