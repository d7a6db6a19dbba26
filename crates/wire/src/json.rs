//! JSON bodies, read through serde_json and written by hand.

mod reader;
mod writer;

pub(crate) use reader::decode_base64;
pub use reader::{JsonReader, read};
pub use writer::JsonWriter;
pub(crate) use writer::not_finite;
