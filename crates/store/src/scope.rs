use std::hash::{BuildHasher, Hasher, RandomState};

use parking_lot::{Mutex, MutexGuard};

/// The name of the lock a transaction runs under, from the widest part to the narrowest, such as
/// `["s3", account, bucket]`. Two transactions of the same scope never run at the same time;
/// rows must only be written by transactions that agree on the scope.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    names: [Option<&'a [&'a str]>; MOST],
}

/// A transaction rarely concerns more than a source and a destination.
const MOST: usize = 4;

impl<'a> Scope<'a> {
    /// The scope of this name.
    pub fn new(parts: &'a [&'a str]) -> Scope<'a> {
        Scope {
            names: [Some(parts), None, None, None],
        }
    }

    /// Also locks `parts`; for what moves something between two scopes. At most four in all.
    ///
    /// # Panics
    /// On a fifth name, which is a mistake in the calling code, never in its input.
    #[must_use]
    pub fn and(mut self, parts: &'a [&'a str]) -> Scope<'a> {
        let free = self.names.iter_mut().find(|name| name.is_none());
        *free.unwrap_or_else(|| panic!("a scope has at most {MOST} names")) = Some(parts);
        self
    }
}

/// Mutexes shared by all scopes: two scopes may fall on one, which costs time and never safety.
pub(crate) struct Locks {
    hasher: RandomState,
    shards: Box<[Mutex<()>]>,
}

const SHARDS: u64 = 1024;

impl Locks {
    pub(crate) fn new() -> Locks {
        Locks {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Locks in the order of the shards, so that two scopes never wait for each other.
    pub(crate) fn lock(&self, scope: &Scope<'_>) -> [Option<MutexGuard<'_, ()>>; MOST] {
        let mut shards = [u64::MAX; MOST];
        for (shard, name) in shards.iter_mut().zip(&scope.names) {
            if let Some(parts) = name {
                *shard = self.shard(parts);
            }
        }
        shards.sort_unstable();
        let mut last = u64::MAX;
        shards.map(|shard| {
            if shard == last {
                return None;
            }
            last = shard;
            self.shards.get(shard as usize).map(Mutex::lock)
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
}
