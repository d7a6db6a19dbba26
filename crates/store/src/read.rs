use std::sync::Arc;

use bytes::Bytes;

use crate::engine::{Row, Scanned, Span};
use crate::range::with_row_key;
use crate::record;
use crate::store::Inner;
use crate::{Error, Key, KeyFor, Range, Record, Rows, Store, Table};

/// Reading bytes, of committed state or of a transaction.
pub trait Raw {
    #[doc(hidden)]
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// The number of the last entry of a log, by its row of heads, where that is known without looking it up.
    #[doc(hidden)]
    fn head(&self, log: &[u8]) -> Option<u64>;

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
        match with_row_key(table.id(), key, |key| Raw::get(self, key))? {
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
        Ok(with_row_key(table.id(), key, |key| Raw::get(self, key))?.is_some())
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
pub struct View(pub(crate) Arc<Inner>);

/// What reads committed state.
trait Committed {
    fn inner(&self) -> &Inner;
}

impl Committed for View {
    fn inner(&self) -> &Inner {
        &self.0
    }
}

impl Committed for Store {
    fn inner(&self) -> &Inner {
        &self.0
    }
}

#[allow(private_interfaces, reason = "only this crate can call it")]
impl<C: Committed> Raw for C {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.inner().engine.get(key)
    }

    fn head(&self, log: &[u8]) -> Option<u64> {
        self.inner().heads.get(log)
    }

    fn scan(
        &self,
        span: &Span,
        reverse: bool,
        limit: usize,
        out: &mut Vec<Row>,
    ) -> Result<Scanned, Error> {
        self.inner().engine.scan(span, reverse, limit, out)
    }

    fn scan_recent(&self, span: &Span, limit: usize, out: &mut Vec<Row>) -> bool {
        self.inner().engine.scan_recent(span, limit, out)
    }
}

impl Read for View {}

/// As a [`View`], without counting one more reader: for what every request reads on its way.
impl Read for Store {}
