//! Durable state that reads as if a service had maps.
//!
//! A [`Store`] holds [`Table`]s of typed records under ordered keys, append-only [`Log`]s and
//! [`Blobs`] (large contents by id). Changes are made in serializable transactions, which are
//! plain synchronous closures. What keeps the bytes is hidden behind a small trait: an ordered map
//! in memory, or a journal in front of an embedded database.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use store::{Error, Options, Read, Record, Scope, Store};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Queue {
//!     delay: u32,
//! }
//! impl Record for Queue {}
//!
//! # fn main() -> Result<(), Error> {
//! let store = Store::open(Options::default())?;
//! let queues = store.table::<(String, String), Queue>("sqs.queues");
//! store.transact_now(Scope::new(&["sqs", "1234"]), |tx| {
//!     tx.put(&queues, &("1234", "jobs"), &Queue { delay: 5 })
//! })?;
//! let queue = store.read().get(&queues, &("1234", "jobs"))?;
//! assert_eq!(queue.map(|queue| queue.delay), Some(5));
//! # Ok(())
//! # }
//! ```

mod blob;
mod decoded;
mod engine;
mod error;
mod heads;
mod key;
mod log;
mod range;
mod read;
mod record;
mod scope;
mod scratch;
mod snapshot;
mod store;
mod table;
mod transaction;
mod writes;

pub use blob::{Blob, BlobId, BlobPin, BlobStream, BlobWriter, Blobs, NewBlob};
pub use decoded::Decoded;
pub use error::Error;
pub use key::{Key, KeyFor, PrefixOf};
pub use log::Log;
pub use range::{Range, Rows};
pub use read::{Read, View};
pub use record::Record;
pub use scope::Scope;
pub use snapshot::Filter;
pub use store::{Durability, MapFile, MapForWriting, Options, Store, Writable};
pub use table::Table;
pub use transaction::Tx;
