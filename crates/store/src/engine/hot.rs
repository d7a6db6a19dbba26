//! Rows of the base that were read a short while ago: a row that every request asks for, such as a bucket's or a
//! table's, is not searched for in the tree again and again.

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use rustc_hash::FxSeededState;

use crate::scope::seeded;

/// What the rows kept may take together,
const CAPACITY: u64 = 16 << 20;
/// how many those are, about,
const ROWS: usize = 16 << 10;
/// and the longest that is kept: larger ones are worth their search.
const LONGEST: usize = 64 << 10;
/// What an entry costs besides its bytes.
const ENTRY_COST: u64 = 128;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Bytes, Bytes> for ByBytes {
    fn weight(&self, key: &Bytes, value: &Bytes) -> u64 {
        ENTRY_COST + (key.len() + value.len()) as u64
    }
}

/// The rows. Who owns this keeps it true: a row that changes is forgotten here.
pub(super) struct Hot(Cache<Bytes, Bytes, ByBytes, FxSeededState>);

impl Hot {
    pub(super) fn new() -> Hot {
        Hot(Cache::with(
            ROWS,
            CAPACITY,
            ByBytes,
            seeded(),
            DefaultLifecycle::default(),
        ))
    }
    pub(super) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.0.get(key)
    }
    /// Copies what is kept: a row read from the tree holds its whole block.
    pub(super) fn keep(&self, key: &[u8], value: &[u8]) {
        if key.len() + value.len() <= LONGEST {
            let value = Bytes::copy_from_slice(value);
            self.0.insert(Bytes::copy_from_slice(key), value);
        }
    }
    pub(super) fn forget<'a>(&self, keys: impl Iterator<Item = &'a Bytes>) {
        for key in keys {
            self.0.remove(key);
        }
    }
}
