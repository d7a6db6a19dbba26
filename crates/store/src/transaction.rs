use std::collections::BTreeMap;

use bytes::Bytes;

use crate::engine::{Row, Scanned, Span, merge};
use crate::range::row_key;
use crate::read::{Raw, Read};
use crate::record;
use crate::store::Inner;
use crate::writes::Writes;
use crate::{BlobId, Error, Key, KeyFor, Record, Table};

/// What a transaction may do: read, see its own writes, and gather changes that are applied
/// together when it ends well. Made by [`Store::transact`](crate::Store::transact).
pub struct Tx<'s> {
    pub(crate) store: &'s Inner,
    pub(crate) writes: Writes,
    pub(crate) links: BTreeMap<BlobId, i64>,
    pub(crate) hooks: Vec<Box<dyn FnOnce() + Send>>,
    /// The new last numbers of logs, by their rows of heads; few. `None` for one that was forgotten.
    pub(crate) heads: Vec<(Bytes, Option<u64>)>,
}

impl<'s> Tx<'s> {
    pub(crate) fn new(store: &'s Inner) -> Tx<'s> {
        Tx {
            store,
            writes: Writes::default(),
            links: BTreeMap::new(),
            hooks: Vec::new(),
            heads: Vec::new(),
        }
    }

    /// Sets the record of `key`.
    pub fn put<K: Key, V: Record>(
        &mut self,
        table: &Table<K, V>,
        key: &impl KeyFor<K>,
        value: &V,
    ) -> Result<(), Error> {
        let value = record::encode(value)?;
        self.writes.insert(row_key(table.id(), key), Some(value));
        Ok(())
    }

    /// Removes the record of `key`, if there is one.
    pub fn delete<K: Key, V: Record>(&mut self, table: &Table<K, V>, key: &impl KeyFor<K>) {
        self.writes.insert(row_key(table.id(), key), None);
    }

    /// Sets the last number of a log.
    pub(crate) fn set_head(&mut self, log: Bytes, number: Option<u64>) {
        match self.heads.iter_mut().find(|(known, _)| *known == log) {
            Some((_, old)) => *old = number,
            None => self.heads.push((log, number)),
        }
    }

    /// Counts one more record that uses the blob; the first link makes it permanent.
    pub fn link(&mut self, blob: BlobId) {
        *self.links.entry(blob).or_default() += 1;
    }

    /// Takes one link back. The content is deleted after the commit that releases the last.
    pub fn release(&mut self, blob: BlobId) {
        *self.links.entry(blob).or_default() -= 1;
    }

    /// Runs `hook` once this transaction is committed and as durable as was asked. It runs on the
    /// committing thread or the store's own: it may wake someone and must not block.
    pub fn after_commit(&mut self, hook: Box<dyn FnOnce() + Send>) {
        self.hooks.push(hook);
    }
}

#[allow(private_interfaces, reason = "only this crate can call it")]
impl Raw for Tx<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.store.engine.get(key),
        }
    }

    fn head(&self, log: &[u8]) -> Option<u64> {
        match self.heads.iter().find(|(known, _)| *known == log) {
            Some((_, number)) => *number,
            None => self.store.heads.get(log),
        }
    }

    fn scan(
        &self,
        span: &Span,
        reverse: bool,
        limit: usize,
        out: &mut Vec<Row>,
    ) -> Result<Scanned, Error> {
        if self.writes.is_empty() || span.is_empty() {
            return self.store.engine.scan(span, reverse, limit, out);
        }
        let mut base = Vec::new();
        let end = self.store.engine.scan(span, reverse, limit, &mut base)?;
        let own = self.writes.range(&span.lower, &span.upper);
        Ok(if reverse {
            merge(base, end, own.rev(), true, limit, out)
        } else {
            merge(base, end, own, false, limit, out)
        })
    }
}

impl Read for Tx<'_> {}
