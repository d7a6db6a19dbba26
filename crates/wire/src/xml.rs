//! XML bodies: read through a bounded roxmltree document, written by hand.

mod reader;
mod writer;

pub use reader::{XmlReader, parse};
pub use writer::{XmlWriter, escape};
