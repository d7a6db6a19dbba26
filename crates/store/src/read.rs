use std::sync::Arc;

use bytes::Bytes;

use crate::engine::{Engine, Row, Scanned, Span};
use crate::range::row_key;
use crate::record;
use crate::{Error, Key, KeyFor, Range, Record, Rows, Table};

/// Reading bytes, of committed state or of a transaction.
pub trait Raw {
    #[doc(hidden)]
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    #[doc(hidden)]
    #[allow(
        private_interfaces,
        reason = "only this crate can call or implement it"
    )]
    fn scan(
        &self,
        span: &Span,
        reverse: bool,
        limit: usize,
        out: &mut Vec<Row>,
    ) -> Result<Scanned, Error>;

    #[doc(hidden)]
    #[allow(
        private_interfaces,
        reason = "only this crate can call or implement it"
    )]
    fn scan_recent(&self, span: &Span, limit: usize, out: &mut Vec<Row>) -> bool {
        let _ = (span, limit, out);
        false
    }
}

/// Reading rows: the same in a [`Tx`](crate::Tx) and in a [`View`].
#[allow(private_bounds, reason = "seals the trait")]
pub trait Read: Raw + Sized {
    /// The record of `key`.
    fn get<K: Key, V: Record>(
        &self,
        table: &Table<K, V>,
        key: &impl KeyFor<K>,
    ) -> Result<Option<V>, Error> {
        match Raw::get(self, &row_key(table.id(), key))? {
            Some(bytes) => record::decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// True if `key` has a record; does not decode it.
    fn contains<K: Key, V: Record>(
        &self,
        table: &Table<K, V>,
        key: &impl KeyFor<K>,
    ) -> Result<bool, Error> {
        Ok(Raw::get(self, &row_key(table.id(), key))?.is_some())
    }

    /// The rows of `range`, read as they are asked for.
    fn range<K: Key, V: Record>(&self, table: &Table<K, V>, range: Range<K>) -> Rows<'_, K, V> {
        Rows::new(self, table, &range)
    }
}

/// Committed state, read without a lock.
///
/// Each read sees whole transactions, but two reads may see different moments: what must be
/// decided on one state belongs into a transaction.
#[derive(Clone)]
pub struct View(pub(crate) Arc<dyn Engine>);

#[allow(private_interfaces, reason = "only this crate can call it")]
impl Raw for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.0.get(key)
    }

    fn scan(
        &self,
        span: &Span,
        reverse: bool,
        limit: usize,
        out: &mut Vec<Row>,
    ) -> Result<Scanned, Error> {
        self.0.scan(span, reverse, limit, out)
    }

    fn scan_recent(&self, span: &Span, limit: usize, out: &mut Vec<Row>) -> bool {
        self.0.scan_recent(span, limit, out)
    }
}

impl Read for View {}
