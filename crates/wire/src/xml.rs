//! XML bodies: read through a bounded roxmltree document, written by hand.

mod reader;
mod writer;

pub(crate) use reader::flat_name;
pub use reader::{XmlReader, parse};
pub use writer::{XmlWriter, escape};
