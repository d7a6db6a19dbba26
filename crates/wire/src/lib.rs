//! The AWS protocols: schemas, and one codec for each wire format.
//!
//! A service's API is generated as plain structs with one static [`Schema`] each. A struct is read through
//! [`Reader`] and written through [`Writer`]; the codecs ([`json`], [`xml`], [`query`], [`cbor`], [`rest`],
//! [`event_stream`]) know formats and no service, and the generated code knows no format.

pub mod audit;
pub mod body;
pub mod cbor;
pub mod decode;
pub mod encode;
pub mod event_stream;
pub mod fault;
pub mod header;
pub mod json;
pub mod model;
pub mod protocol;
pub mod query;
pub mod reader;
pub mod rest;
pub mod route;
pub mod schema;
pub mod timestamp;
pub mod writer;
pub mod xml;

pub use audit::{Audit, Violation};
pub use body::{Body, BodyError};
pub use bytes::Bytes;
pub use decode::Decode;
pub use encode::{Encode, Event, EventStream};
pub use fault::{Blame, Fault};
pub use model::{Fidelity, Operation, Protocol, ServiceModel, Validation};
pub use reader::{DecodeError, Reader};
pub use schema::{Kind, Location, Member, Schema};
pub use timestamp::{Timestamp, TimestampFormat};
pub use writer::Writer;
