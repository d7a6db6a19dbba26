use std::hash::{BuildHasher, Hasher, RandomState};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustc_hash::FxSeededState;

/// The name of the lock a transaction runs under, from the widest part to the narrowest, such as
/// `["s3", bucket]`. Two transactions of the same scope never run at the same time;
/// rows must only be written by transactions that agree on the scope.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    names: [Option<Name<'a>>; MOST],
    more: &'a [Scope<'a>],
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
            more: &[],
        }
    }

    /// Shares `parts` only: for what must be read while nobody changes it.
    pub fn shared(parts: &'a [&'a str]) -> Scope<'a> {
        let name = Name {
            parts,
            is_shared: true,
        };
        Scope {
            names: [Some(name), None, None, None],
            more: &[],
        }
    }

    /// Also locks all of `others` (but not what those were given in turn): for the rare transaction that changes
    /// many things at once.
    #[must_use]
    pub fn and_all(mut self, others: &'a [Scope<'a>]) -> Scope<'a> {
        self.more = others;
        self
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

/// All that a transaction holds.
pub(crate) enum Locked<'l> {
    Few(#[allow(dead_code, reason = "held until it is dropped")] [Option<Held<'l>>; MOST]),
    Many(#[allow(dead_code, reason = "held until it is dropped")] Vec<Held<'l>>),
}

const SHARDS: u64 = 1024;

/// A fast hash that nobody can choose keys for.
pub(crate) fn seeded() -> FxSeededState {
    FxSeededState::with_seed(RandomState::new().hash_one(SHARDS) as usize)
}

impl Locks {
    pub(crate) fn new() -> Locks {
        Locks {
            hasher: seeded(),
            shards: (0..SHARDS).map(|_| RwLock::new(())).collect(),
        }
    }

    /// Locks a scope unless somebody has a part of it, or it is one that locks many things.
    pub(crate) fn try_hold(&self, scope: &Scope<'_>) -> Option<Locked<'_>> {
        if !scope.more.is_empty() {
            return None;
        }
        let mut held = [const { None }; MOST];
        for (slot, (shard, is_shared)) in held.iter_mut().zip(self.shards_of(scope)) {
            let Some(lock) = self.shards.get(shard as usize) else {
                continue;
            };
            *slot = Some(match is_shared {
                true => Held::Shared(lock.try_read()?),
                false => Held::Own(lock.try_write()?),
            });
        }
        Some(Locked::Few(held))
    }

    /// Locks a scope with all that it names.
    pub(crate) fn hold(&self, scope: &Scope<'_>) -> Locked<'_> {
        if scope.more.is_empty() {
            return Locked::Few(self.lock(scope));
        }
        let scopes = std::iter::once(scope).chain(scope.more);
        let mut shards: Vec<(u64, bool)> = scopes
            .flat_map(|scope| scope.names.iter().flatten())
            .map(|name| (self.shard(name.parts), name.is_shared))
            .collect();
        // As in `lock`: by shard, and of two names on one shard the one that is not shared.
        shards.sort_unstable();
        shards.dedup_by_key(|(shard, _)| *shard);
        let held = |(shard, is_shared): (u64, bool)| {
            let lock = self.shards.get(shard as usize)?;
            Some(match is_shared {
                true => Held::Shared(lock.read()),
                false => Held::Own(lock.write()),
            })
        };
        Locked::Many(shards.into_iter().filter_map(held).collect())
    }

    /// Locks in the order of the shards, so that two scopes never wait for each other.
    fn lock(&self, scope: &Scope<'_>) -> [Option<Held<'_>>; MOST] {
        self.shards_of(scope).map(|(shard, is_shared)| {
            let lock = self.shards.get(shard as usize)?;
            Some(match is_shared {
                true => Held::Shared(lock.read()),
                false => Held::Own(lock.write()),
            })
        })
    }

    /// The shards of a scope's names in order, each once, and whether it is shared. Free places have none.
    fn shards_of(&self, scope: &Scope<'_>) -> [(u64, bool); MOST] {
        let mut shards = [(u64::MAX, false); MOST];
        for (shard, name) in shards.iter_mut().zip(&scope.names) {
            if let Some(name) = name {
                *shard = (self.shard(name.parts), name.is_shared);
            }
        }
        // Of two names on one shard, the one that is not shared comes first and counts.
        shards.sort_unstable();
        let mut last = u64::MAX;
        shards.map(|(shard, is_shared)| match shard == last {
            true => (u64::MAX, false),
            false => {
                last = shard;
                (shard, is_shared)
            }
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
    fn many_scopes_are_locked_in_one_order_and_each_shard_once() {
        let locks = Locks::new();
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let parts: Vec<[&str; 2]> = names.iter().map(|name| ["t", name.as_str()]).collect();
        let table = ["t"];
        let scopes: Vec<Scope<'_>> = parts
            .iter()
            .map(|parts| Scope::new(parts).within(&table))
            .collect();
        let held = locks.hold(&Scope::new(&["token"]).and_all(&scopes));
        let locked = locks
            .shards
            .iter()
            .filter(|shard| shard.is_locked())
            .count();
        assert!((2..=102).contains(&locked));
        assert!(locks.shards[locks.shard(&parts[7]) as usize].is_locked_exclusive());
        drop(held);
        assert!(locks.shards.iter().all(|shard| !shard.is_locked()));
    }

    #[test]
    fn a_scope_of_which_somebody_has_a_part_is_not_to_be_had_at_once() {
        let locks = Locks::new();
        let both = Scope::new(&["s3", "a"]).and(&["s3", "b"]);
        let held = locks.try_hold(&both);
        assert!(held.is_some());
        assert!(locks.try_hold(&Scope::new(&["s3", "b"])).is_none());
        assert!(locks.try_hold(&Scope::shared(&["s3", "a"])).is_none());
        drop(held);
        let part = locks.hold(&Scope::shared(&["s3", "b"]));
        assert!(locks.try_hold(&both).is_none());
        // Nothing of it stays locked.
        assert!(
            locks.shards[locks.shard(&["s3", "b"]) as usize]
                .try_read()
                .is_some()
        );
        drop(part);
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
