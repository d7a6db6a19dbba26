//! JSON bodies, read through serde_json and written by hand.

mod reader;
mod writer;

pub(crate) use reader::decode_base64;
pub use reader::{JsonReader, read};
pub use writer::JsonWriter;
pub(crate) use writer::not_finite;

use crate::{Audit, Decode, Encode, Fault};

/// A structure as its service's JSON, for keeping: an upgrade of the model is then no migration of data.
pub fn kept(value: &impl Encode) -> String {
    let mut writer = JsonWriter::new();
    value.encode(&mut writer);
    String::from_utf8(writer.finish()).unwrap_or_default()
}

/// Reads what [`kept`] wrote; an `InternalFailure` where it cannot be read.
pub fn restored<T: Decode>(text: &str) -> Result<T, Fault> {
    let read = read(text.as_bytes(), |r| T::decode(r, &mut Audit::default()));
    read.map_err(|e| Fault::internal(format!("what was kept cannot be read: {e}")))
}
