//! The numbers of the last entries of logs that were appended to a short while ago.

use bytes::Bytes;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use rustc_hash::FxSeededState;

use crate::scope::seeded;

/// How many logs are known, about.
const LOGS: usize = 16 << 10;

/// By the row in which a log's last number is kept where it has no entries.
///
/// Only transactions write here, under the lock of the log's scope and once they are committed, so that what is here is what the
/// store has. What is missing is looked up there.
pub(crate) struct Heads(Cache<Bytes, u64, UnitWeighter, FxSeededState>);

impl Heads {
    pub(crate) fn new() -> Heads {
        Heads(Cache::with(
            LOGS,
            LOGS as u64,
            UnitWeighter,
            seeded(),
            DefaultLifecycle::default(),
        ))
    }
    pub(crate) fn get(&self, log: &[u8]) -> Option<u64> {
        self.0.get(log)
    }
    /// `None` for a log that was forgotten.
    pub(crate) fn apply(&self, changes: Vec<(Bytes, Option<u64>)>) {
        for (log, number) in changes {
            match number {
                Some(number) => self.0.insert(log, number),
                None => drop(self.0.remove(&log)),
            }
        }
    }
    /// Before the state is replaced, while no transaction runs.
    pub(crate) fn clear(&self) {
        self.0.clear();
    }
}
