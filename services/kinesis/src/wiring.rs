//! Live state: where a hash key goes, and who waits for records. Rebuilt from tables whenever it is missing.

use std::collections::HashMap;
use std::sync::Arc;

use md5::{Digest, Md5};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::lineage::Shard;

/// Where a key goes.
#[derive(Clone)]
pub(crate) struct Route {
    /// The last key of the range.
    end: u128,
    pub(crate) shard: u64,
    pub(crate) epoch: u64,
    /// The stream and the shard, as the lock of the shard is named.
    pub(crate) names: [String; 2],
    pub(crate) wake: Arc<Notify>,
}

/// The open shards of a stream.
pub(crate) struct Routes {
    /// The stream's count of changes when this was built.
    pub(crate) layout: u64,
    routes: Vec<Route>,
}

impl Routes {
    /// The shard that takes that key.
    pub(crate) fn find(&self, key: u128) -> Option<&Route> {
        let at = self.routes.partition_point(|route| route.end < key);
        self.routes.get(at)
    }
    /// The route to an open shard.
    pub(crate) fn to(&self, shard: u64) -> Option<&Route> {
        self.routes.iter().find(|route| route.shard == shard)
    }
    /// What tells of new records in any of them.
    pub(crate) fn wakes(&self) -> impl Iterator<Item = &Arc<Notify>> {
        self.routes.iter().map(|route| &route.wake)
    }
    /// The shard at that place of the order, counted around.
    pub(crate) fn around(&self, n: u64) -> Option<&Route> {
        let count = self.routes.len() as u64;
        self.routes.get(n.checked_rem(count)? as usize)
    }
}

/// What is known of all streams.
#[derive(Default)]
pub(crate) struct Wiring {
    routes: RwLock<HashMap<u64, Arc<Routes>>>,
    wakes: RwLock<HashMap<(u64, u64), Arc<Notify>>>,
    readers: RwLock<HashMap<u64, Arc<Notify>>>,
}

impl Wiring {
    /// The routes of a stream, if they are those of that count of changes.
    pub(crate) fn routes(&self, stream: u64, layout: u64) -> Option<Arc<Routes>> {
        let routes = self.routes.read().get(&stream).cloned()?;
        (routes.layout == layout).then_some(routes)
    }
    /// Builds the routes of a stream from its open shards.
    pub(crate) fn build(&self, stream: u64, layout: u64, open: &[(u64, Shard)]) -> Arc<Routes> {
        let mut routes: Vec<Route> = open
            .iter()
            .map(|(number, shard)| Route {
                end: shard.end,
                shard: *number,
                epoch: shard.epoch,
                names: names(stream, *number),
                wake: self.wake(stream, *number),
            })
            .collect();
        routes.sort_by_key(|route| route.end);
        let routes = Arc::new(Routes { layout, routes });
        self.routes.write().insert(stream, routes.clone());
        routes
    }
    /// What is notified whenever a shard got records or was closed.
    pub(crate) fn wake(&self, stream: u64, shard: u64) -> Arc<Notify> {
        if let Some(wake) = self.wakes.read().get(&(stream, shard)) {
            return wake.clone();
        }
        self.wakes
            .write()
            .entry((stream, shard))
            .or_default()
            .clone()
    }
    /// What is notified whenever a queue or a channel has to look again by other means than time or new records.
    pub(crate) fn reader(&self, reader: u64) -> Arc<Notify> {
        if let Some(wake) = self.readers.read().get(&reader) {
            return wake.clone();
        }
        self.readers.write().entry(reader).or_default().clone()
    }
    /// Forgets a queue or a channel and wakes who still waits for it.
    pub(crate) fn forget_reader(&self, reader: u64) {
        if let Some(wake) = self.readers.write().remove(&reader) {
            wake.notify_waiters();
        }
    }
    /// Forgets a stream and wakes who still waits for it.
    pub(crate) fn forget(&self, stream: u64) {
        self.routes.write().remove(&stream);
        self.wakes.write().retain(|(s, _), wake| {
            if *s == stream {
                wake.notify_waiters();
            }
            *s != stream
        });
    }
    /// Forgets one shard.
    pub(crate) fn forget_shard(&self, stream: u64, shard: u64) {
        if let Some(wake) = self.wakes.write().remove(&(stream, shard)) {
            wake.notify_waiters();
        }
    }
    /// Forgets everything: state was replaced.
    pub(crate) fn clear(&self) {
        self.routes.write().clear();
        for (_, wake) in self.wakes.write().drain() {
            wake.notify_waiters();
        }
        for (_, wake) in self.readers.write().drain() {
            wake.notify_waiters();
        }
    }
}

/// A stream and a shard, as the lock of the shard is named.
pub(crate) fn names(stream: u64, shard: u64) -> [String; 2] {
    [format!("{stream:x}"), shard.to_string()]
}

/// The hash key of a partition key.
pub(crate) fn hash(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::Lineage;

    #[test]
    fn the_hash_is_the_md5_as_a_number() {
        // MD5("a") is 0cc175b9c0f1b6a831c399e269772661.
        assert_eq!(hash("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn keys_at_the_edges_go_to_the_shard_of_their_range() {
        let wiring = Wiring::default();
        let lineage = Lineage::first(3, 0);
        let routes = wiring.build(1, 0, &lineage.open);
        for (number, shard) in &lineage.open {
            for key in [shard.start, shard.start + 1, shard.end - 1, shard.end] {
                assert_eq!(routes.find(key).map(|r| r.shard), Some(*number));
            }
        }
        assert!(wiring.routes(1, 0).is_some() && wiring.routes(1, 1).is_none());
    }
}
