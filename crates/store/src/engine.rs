//! The byte-level contract between the typed store and what keeps its bytes.

mod base;
mod durable;
mod hot;
mod journal;
mod memory;
mod merge;
mod segment;

use bytes::Bytes;

use crate::Error;
pub(crate) use durable::Durable;
pub(crate) use memory::Memory;
pub(crate) use merge::merge;

/// A key with its value.
pub(crate) type Row = (Bytes, Bytes);

/// Changes that become visible, and durable, together. `None` deletes. Keys are distinct.
pub(crate) type Batch = Vec<(Bytes, Option<Bytes>)>;

/// What to do once a commit is as durable as was asked, or has turned out not to be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The keys from `lower` (inclusive) to `upper` (exclusive).
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub lower: Vec<u8>,
    pub upper: Vec<u8>,
}

impl Span {
    pub(crate) fn is_empty(&self) -> bool {
        self.lower >= self.upper
    }
}

/// Where a scan stands after a page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scanned {
    /// The span holds nothing more.
    All,
    /// Everything up to and including this key, in the direction of the scan, has been seen.
    Through(Bytes),
}

/// Ordered rows of bytes with atomic batches.
///
/// Reads see a batch as soon as `commit` returns and never half of one. A page of `scan` is the
/// state of one moment; two pages may be of two moments.
pub(crate) trait Engine: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Appends about `limit` rows of `span` to `out`, in descending order if `reverse`. May append
    /// fewer, even none, without being through.
    fn scan(
        &self,
        span: &Span,
        reverse: bool,
        limit: usize,
        out: &mut Vec<Row>,
    ) -> Result<Scanned, Error>;

    /// Appends the rows of `span` that are in memory, ascending, at most `limit`; whether the engine keeps any apart.
    /// Others may lie between them.
    fn scan_recent(&self, span: &Span, limit: usize, out: &mut Vec<Row>) -> bool {
        let _ = (span, limit, out);
        false
    }

    /// Whether what is committed becomes as durable as was asked only later.
    fn defers(&self) -> bool {
        false
    }

    /// Applies `batch` or, on an error, nothing of it. An engine that defers calls `done` later, exactly once, on a
    /// thread of its own; nobody else looks at it.
    fn commit(&self, batch: Batch, done: Option<Done>) -> Result<(), Error>;

    /// Moves everything committed to where it rests.
    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    /// True while commits come in faster than they can be moved to their place; who can wait
    /// should do so by [`Engine::relief`].
    fn is_overloaded(&self) -> bool {
        false
    }

    /// Notified whenever an overload ends.
    fn relief(&self) -> Option<&tokio::sync::Notify> {
        None
    }
}
