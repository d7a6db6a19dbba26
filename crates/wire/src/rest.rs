//! HTTP bindings of the REST protocols: path labels, query strings, headers and payloads around a body codec.

mod reader;
pub mod text;
mod writer;

pub use reader::{Parts, RestReader};
pub use writer::RestWriter;
