use std::collections::VecDeque;
use std::marker::PhantomData;

use bytes::Bytes;

use crate::engine::{Row, Scanned, Span};
use crate::key::escape;
use crate::read::Raw;
use crate::record;
use crate::scratch::scratch;
use crate::{Error, Key, KeyFor, PrefixOf, Record, Table};

/// Which rows of a table, in which order.
///
/// ```
/// # use store::Range;
/// // A page of keys that begin with "raw/", behind the one the last page ended with.
/// let page: Range<(String, String, String)> = Range::text(&("1234", "bucket"), "raw/")
///     .after(&("1234", "bucket", "raw/2024.csv"))
///     .limit(1000);
/// ```
#[derive(Clone, Debug)]
pub struct Range<K> {
    prefix: Vec<u8>,
    lower: Option<Vec<u8>>,
    upper: Option<Vec<u8>>,
    reverse: bool,
    limit: usize,
    key: PhantomData<fn() -> K>,
}

impl<K> Range<K> {
    /// All rows.
    pub fn all() -> Range<K> {
        Range::of(Vec::new())
    }

    /// The rows whose keys begin with these parts.
    pub fn prefix(prefix: &impl PrefixOf<K>) -> Range<K> {
        Range::of(prefix_bytes(prefix))
    }

    /// The rows whose keys begin with these parts and go on with a text that begins with `text`.
    pub fn text(prefix: &impl PrefixOf<K>, text: &str) -> Range<K> {
        Range::of(text_bytes(prefix, text))
    }

    fn of(prefix: Vec<u8>) -> Range<K> {
        Range {
            prefix,
            lower: None,
            upper: None,
            reverse: false,
            limit: usize::MAX,
            key: PhantomData,
        }
    }

    /// Not before `key` in key order; parts that only lead a key will do.
    #[must_use]
    pub fn from(self, key: &impl PrefixOf<K>) -> Range<K> {
        self.raise(prefix_bytes(key))
    }

    /// Only behind `key` and whatever begins with it, in key order.
    #[must_use]
    pub fn after(self, key: &impl PrefixOf<K>) -> Range<K> {
        match end_of(prefix_bytes(key)) {
            Some(end) => self.raise(end),
            None => self.limit(0),
        }
    }

    /// Only behind every key that begins with these parts and `text`, in key order.
    #[must_use]
    pub fn after_text(self, prefix: &impl PrefixOf<K>, text: &str) -> Range<K> {
        match end_of(text_bytes(prefix, text)) {
            Some(end) => self.raise(end),
            None => self.limit(0),
        }
    }

    /// Only before `key`, in key order.
    #[must_use]
    pub fn until(mut self, key: &impl PrefixOf<K>) -> Range<K> {
        let bound = prefix_bytes(key);
        self.upper = Some(match self.upper {
            Some(upper) => upper.min(bound),
            None => bound,
        });
        self
    }

    /// From the last key to the first.
    #[must_use]
    pub fn reverse(mut self) -> Range<K> {
        self.reverse = true;
        self
    }

    /// At most this many rows.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Range<K> {
        self.limit = self.limit.min(limit);
        self
    }

    fn raise(mut self, bound: Vec<u8>) -> Range<K> {
        self.lower = Some(match self.lower {
            Some(lower) => lower.max(bound),
            None => bound,
        });
        self
    }

    /// The span of encoded keys, behind the id of a table.
    fn span(&self, table: [u8; 4]) -> Span {
        let in_table = |part: &[u8]| [&table[..], part].concat();
        let first = in_table(&self.prefix);
        let end = end_of(first.clone()).unwrap_or_else(|| vec![0xFF; 5]);
        let lower = self.lower.as_deref().map(in_table);
        let upper = self.upper.as_deref().map(in_table);
        Span {
            lower: lower.map_or(first.clone(), |lower| lower.max(first)),
            upper: upper.map_or(end.clone(), |upper| upper.min(end)),
        }
    }
}

fn prefix_bytes<K>(prefix: &impl PrefixOf<K>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    prefix.encode_prefix(&mut bytes);
    bytes
}

fn text_bytes<K>(prefix: &impl PrefixOf<K>, text: &str) -> Vec<u8> {
    let mut bytes = prefix_bytes(prefix);
    escape(text.as_bytes(), &mut bytes);
    bytes
}

/// The first key behind all that begin with `prefix`; `None` if there can be none.
pub(crate) fn end_of(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < 0xFF {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

/// The encoded key right behind `key`.
fn next_to(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The rows of a [`Range`], fetched page by page as they are asked for.
pub struct Rows<'a, K, V> {
    raw: &'a dyn Raw,
    table: [u8; 4],
    /// What has not been fetched yet.
    rest: Span,
    reverse: bool,
    /// Rows still to be handed out.
    limit: usize,
    page: usize,
    buffer: VecDeque<Row>,
    row: PhantomData<fn() -> (K, V)>,
}

/// Small enough that a short answer reads little, growing for who reads on.
const FIRST_PAGE: usize = 16;
const LARGEST_PAGE: usize = 512;

impl<'a, K, V> Rows<'a, K, V> {
    pub(crate) fn new(raw: &'a dyn Raw, table: &Table<K, V>, range: &Range<K>) -> Rows<'a, K, V> {
        Rows {
            raw,
            table: table.id(),
            rest: range.span(table.id()),
            reverse: range.reverse,
            limit: range.limit,
            page: FIRST_PAGE,
            buffer: VecDeque::new(),
            row: PhantomData,
        }
    }

    /// Begins with rows in memory, as far as `is_next` says that none lies between one and the next: the tree need not
    /// be asked for them. Whether the engine has any apart; a range that has rows already is left as it is.
    pub(crate) fn begin_in_memory(&mut self, mut is_next: impl FnMut(&K) -> bool) -> bool
    where
        K: Key,
    {
        // Who sets no limit may want the first row only.
        let limit = match self.limit {
            usize::MAX => FIRST_PAGE,
            limit => limit.min(LARGEST_PAGE),
        };
        let mut rows = Vec::with_capacity(limit);
        if self.reverse || !self.buffer.is_empty() || limit == 0 {
            return false;
        }
        if !self.raw.scan_recent(&self.rest, limit, &mut rows) {
            return false;
        }
        let known = rows
            .iter()
            .take_while(|(key, _)| decode_key(key).is_ok_and(|key| is_next(&key)))
            .count();
        rows.truncate(known);
        if let Some((last, _)) = rows.last() {
            self.rest.lower = next_to(last);
        }
        self.buffer = rows.into();
        true
    }

    /// Ends the range behind the rows that were fetched.
    pub(crate) fn end_here(&mut self) {
        self.rest.lower = self.rest.upper.clone();
    }

    /// Goes on at `key` (or what begins with these parts), leaving out what lies before it in the
    /// direction of the range. Never goes back.
    pub fn seek(&mut self, key: &impl PrefixOf<K>) {
        let key = [&self.table[..], &prefix_bytes(key)].concat();
        match end_of(key.clone()) {
            Some(end) if self.reverse => self.skip_to(end),
            _ => self.skip_to(key),
        }
    }

    /// Goes on behind every key that begins with these parts and `text`, in the direction of the
    /// range: past a common prefix, once it has been reported.
    pub fn skip_text(&mut self, prefix: &impl PrefixOf<K>, text: &str) {
        let first = [&self.table[..], &text_bytes(prefix, text)].concat();
        match end_of(first.clone()) {
            Some(end) if !self.reverse => self.skip_to(end),
            _ => self.skip_to(first),
        }
    }

    /// `bound` is the new lower bound, or in reverse the new (exclusive) upper one.
    fn skip_to(&mut self, bound: Vec<u8>) {
        let reverse = self.reverse;
        let is_skipped = |key: &[u8]| {
            if reverse {
                key >= &bound[..]
            } else {
                key < &bound[..]
            }
        };
        while self.buffer.front().is_some_and(|(key, _)| is_skipped(key)) {
            self.buffer.pop_front();
        }
        if reverse {
            if bound < self.rest.upper {
                self.rest.upper = bound;
            }
        } else if bound > self.rest.lower {
            self.rest.lower = bound;
        }
    }

    fn fetch(&mut self) -> Result<(), Error> {
        while self.buffer.is_empty() && !self.rest.is_empty() {
            let limit = self.page.min(self.limit);
            self.page = (self.page * 2).min(LARGEST_PAGE);
            let mut rows = Vec::with_capacity(limit);
            match self.raw.scan(&self.rest, self.reverse, limit, &mut rows)? {
                Scanned::All => self.rest.lower = self.rest.upper.clone(),
                Scanned::Through(last) if self.reverse => self.rest.upper = last.to_vec(),
                Scanned::Through(last) => self.rest.lower = next_to(&last),
            }
            self.buffer = rows.into();
        }
        Ok(())
    }

    fn next_row(&mut self) -> Result<Option<Row>, Error> {
        if self.limit == 0 {
            return Ok(None);
        }
        self.fetch()?;
        let row = self.buffer.pop_front();
        if row.is_some() {
            self.limit -= 1;
        }
        Ok(row)
    }

    /// The next key, without decoding its value.
    pub fn next_key(&mut self) -> Result<Option<K>, Error>
    where
        K: Key,
    {
        match self.next_row()? {
            Some((key, _)) => decode_key(&key).map(Some),
            None => Ok(None),
        }
    }
}

fn decode_key<K: Key>(key: &[u8]) -> Result<K, Error> {
    K::decode(&mut key.get(4..).unwrap_or_default())
}

impl<K: Key, V: Record> Iterator for Rows<'_, K, V> {
    type Item = Result<(K, V), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_row() {
            Ok(Some((key, value))) => {
                let value = record::decode(&value);
                Some(decode_key(&key).and_then(|key| Ok((key, value?))))
            }
            Ok(None) => None,
            Err(error) => {
                // The same failure again and again would make an endless iterator.
                self.limit = 0;
                Some(Err(error))
            }
        }
    }
}

/// Calls `f` with the row of `key` in `table`, as the engine orders them.
pub(crate) fn with_row_key<K, R>(
    table: [u8; 4],
    key: &impl KeyFor<K>,
    f: impl FnOnce(&[u8]) -> R,
) -> R {
    scratch(|bytes| {
        bytes.extend_from_slice(&table);
        key.encode(bytes);
        f(bytes)
    })
}

/// The same, to be kept.
pub(crate) fn row_key<K>(table: [u8; 4], key: &impl KeyFor<K>) -> Bytes {
    with_row_key(table, key, Bytes::copy_from_slice)
}
