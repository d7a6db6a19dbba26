use std::hash::{BuildHasher, Hasher, RandomState};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustc_hash::FxSeededState;

/// The name of the lock a transaction runs under, from the widest part to the narrowest, such as
/// `["s3", bucket]`. Two transactions of the same scope never run at the same time;
/// rows must only be written by transactions that agree on the scope.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    names: [Option<Name<'a>>; MOST],
}

#[derive(Clone, Copy, Debug)]
struct Name<'a> {
    parts: &'a [&'a str],
    is_shared: bool,
}

/// A transaction rarely concerns more than a source and a destination.
const MOST: usize = 4;

impl<'a> Scope<'a> {
    /// The scope of this name.
    pub fn new(parts: &'a [&'a str]) -> Scope<'a> {
        let name = Name {
            parts,
            is_shared: false,
        };
        Scope {
            names: [Some(name), None, None, None],
        }
    }

    /// Also locks `parts`; for what moves something between two scopes. At most four in all.
    ///
    /// # Panics
    /// On a fifth name, which is a mistake in the calling code, never in its input.
    #[must_use]
    pub fn and(self, parts: &'a [&'a str]) -> Scope<'a> {
        self.with(Name {
            parts,
            is_shared: false,
        })
    }

    /// Shares `parts` with the transactions that are within it too, and runs at no time with one
    /// that has it as its own: for what concerns one part of many, such as a key of a bucket.
    ///
    /// # Panics
    /// As [`Scope::and`].
    #[must_use]
    pub fn within(self, parts: &'a [&'a str]) -> Scope<'a> {
        self.with(Name {
            parts,
            is_shared: true,
        })
    }

    fn with(mut self, name: Name<'a>) -> Scope<'a> {
        let free = self.names.iter_mut().find(|name| name.is_none());
        *free.unwrap_or_else(|| panic!("a scope has at most {MOST} names")) = Some(name);
        self
    }
}

/// Locks shared by all scopes: two scopes may fall on one, which costs time and never safety.
pub(crate) struct Locks {
    /// Seeded, so that nobody can choose names that all fall on one shard.
    hasher: FxSeededState,
    shards: Box<[RwLock<()>]>,
}

/// What a transaction holds of one shard.
pub(crate) enum Held<'l> {
    Shared(#[allow(dead_code, reason = "held until it is dropped")] RwLockReadGuard<'l, ()>),
    Own(#[allow(dead_code, reason = "held until it is dropped")] RwLockWriteGuard<'l, ()>),
}

const SHARDS: u64 = 1024;

impl Locks {
    pub(crate) fn new() -> Locks {
        Locks {
            hasher: FxSeededState::with_seed(RandomState::new().hash_one(SHARDS) as usize),
            shards: (0..SHARDS).map(|_| RwLock::new(())).collect(),
        }
    }

    /// Locks in the order of the shards, so that two scopes never wait for each other.
    pub(crate) fn lock(&self, scope: &Scope<'_>) -> [Option<Held<'_>>; MOST] {
        let mut shards = [(u64::MAX, false); MOST];
        for (shard, name) in shards.iter_mut().zip(&scope.names) {
            if let Some(name) = name {
                *shard = (self.shard(name.parts), name.is_shared);
            }
        }
        // Of two names on one shard, the one that is not shared comes first and counts.
        shards.sort_unstable();
        let mut last = u64::MAX;
        shards.map(|(shard, is_shared)| {
            if shard == last {
                return None;
            }
            last = shard;
            let lock = self.shards.get(shard as usize)?;
            Some(match is_shared {
                true => Held::Shared(lock.read()),
                false => Held::Own(lock.write()),
            })
        })
    }

    fn shard(&self, parts: &[&str]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for part in parts {
            hasher.write(part.as_bytes());
            hasher.write_u8(0xFF);
        }
        hasher.finish() % SHARDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_a_scope_twice_locks_it_once() {
        let locks = Locks::new();
        let scope = Scope::new(&["s3", "a"]).and(&["s3", "a"]).and(&["s3", "b"]);
        let held = locks.lock(&scope);
        assert!((1..=2).contains(&held.iter().flatten().count()));
        assert!(locks.shards[locks.shard(&["s3", "a"]) as usize].is_locked());
        drop(held);
        assert!(locks.shards.iter().all(|shard| !shard.is_locked()));
    }

    #[test]
    fn what_is_within_a_scope_shares_it_and_keeps_its_owner_out() {
        let locks = Locks::new();
        let bucket = &locks.shards[locks.shard(&["s3", "b"]) as usize];
        let key = |n: usize| format!("key-{n}");
        // A key that does not fall on the bucket's own shard.
        let free = |n: &usize| locks.shard(&["s3", "b", &key(*n)]) != locks.shard(&["s3", "b"]);
        let name = (0..).find(free).map(key).unwrap();
        let held = locks.lock(&Scope::new(&["s3", "b", &name]).within(&["s3", "b"]));
        assert_eq!(held.iter().flatten().count(), 2);
        assert!(bucket.try_read().is_some());
        assert!(bucket.try_write().is_none());
        drop(held);
        assert!(bucket.try_write().is_some());
        // One's own counts where both fall on one shard.
        let held = locks.lock(&Scope::new(&["s3", "b"]).within(&["s3", "b"]));
        assert!(bucket.try_read().is_none());
        drop(held);
    }
}
