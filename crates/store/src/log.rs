use std::fmt;

use serde::{Deserialize, Serialize};

use crate::range::{row_key, with_row_key};
use crate::{Error, Key, KeyFor, Range, Read, Record, Rows, Table, Tx};

/// Append-only sequences, one per key `K`, each numbered from 1 without gaps.
///
/// Numbers are never given twice, even when everything before has been truncated.
/// Made by [`Store::log`](crate::Store::log); costs nothing to copy.
pub struct Log<K, T> {
    pub(crate) entries: Table<(K, u64), T>,
    pub(crate) heads: Table<K, Head>,
}

/// The number of the last entry ever appended: kept where entries are deleted, so that it outlives the last of them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Head(u64);

impl Record for Head {}

impl<K: Key, T: Record> Log<K, T> {
    /// Appends an entry and returns its number.
    pub fn append(&self, tx: &mut Tx<'_>, key: &impl KeyFor<K>, entry: &T) -> Result<u64, Error> {
        let number = self.last(tx, key)? + 1;
        tx.put(&self.entries, &(key, number), entry)?;
        tx.set_head(row_key(self.heads.id(), key), Some(number));
        Ok(number)
    }

    /// The number of the last entry ever appended, 0 before the first.
    pub fn last(&self, reader: &impl Read, key: &impl KeyFor<K>) -> Result<u64, Error> {
        if let Some(number) = with_row_key(self.heads.id(), key, |log| reader.head(log)) {
            return Ok(number);
        }
        let kept = Read::get(reader, &self.heads, key)?.map_or(0, |Head(number)| number);
        let mut entries = reader.range(&self.entries, self.range_of(key).reverse().limit(1));
        let last = entries.next_key()?.map_or(0, |(_, number)| number);
        Ok(last.max(kept))
    }

    /// The entries from number `from` on, each with its key and number. Chain `limit` or `reverse`
    /// on [`Log::range_of`] for more.
    pub fn range<'a>(
        &self,
        reader: &'a impl Read,
        key: &impl KeyFor<K>,
        from: u64,
        limit: usize,
    ) -> Rows<'a, (K, u64), T> {
        let mut rows = reader.range(
            &self.entries,
            self.range_of(key).from(&(key, from)).limit(limit),
        );
        // Numbers have no gaps, so that recent entries are all there are between the first and the last of them: at the
        // end of a log, where most readers are, what rests need not be looked through.
        let mut next = from.max(1);
        let is_known = rows.begin_in_memory(|(_, number)| {
            let is_next = *number == next;
            next += u64::from(is_next);
            is_next
        });
        let taken = usize::try_from(next - from.max(1)).unwrap_or(usize::MAX);
        if is_known && taken < limit && self.last(reader, key).is_ok_and(|last| last < next) {
            rows.end_here();
        }
        rows
    }

    /// The range of all entries of `key`, to be narrowed and given to [`Log::scan`].
    pub fn range_of(&self, key: &impl KeyFor<K>) -> Range<(K, u64)> {
        Range::prefix(&(key,))
    }

    /// The entries of `range`.
    pub fn scan<'a>(&self, reader: &'a impl Read, range: Range<(K, u64)>) -> Rows<'a, (K, u64), T> {
        reader.range(&self.entries, range)
    }

    /// Deletes at most `limit` of the entries with numbers below `before` and returns how many.
    /// Costs what it deletes: a long log is truncated in several transactions.
    pub fn truncate(
        &self,
        tx: &mut Tx<'_>,
        key: &impl KeyFor<K>,
        before: u64,
        limit: usize,
    ) -> Result<usize, Error> {
        let range = self.range_of(key).until(&(key, before)).limit(limit);
        let mut numbers = Vec::new();
        let mut rows = tx.range(&self.entries, range);
        while let Some((_, number)) = rows.next_key()? {
            numbers.push(number);
        }
        if let Some(&newest) = numbers.last()
            && newest == self.last(tx, key)?
        {
            tx.put(&self.heads, key, &Head(newest))?;
        }
        for &number in &numbers {
            tx.delete(&self.entries, &(key, number));
        }
        Ok(numbers.len())
    }

    /// Forgets the numbering of `key`; entries must have been truncated before.
    pub fn forget(&self, tx: &mut Tx<'_>, key: &impl KeyFor<K>) {
        tx.delete(&self.heads, key);
        tx.set_head(row_key(self.heads.id(), key), None);
    }
}

impl<K, T> Clone for Log<K, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, T> Copy for Log<K, T> {}

impl<K, T> fmt::Debug for Log<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({:?})", self.entries)
    }
}
