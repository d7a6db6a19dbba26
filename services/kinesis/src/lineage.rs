//! The shards of a stream as a family: ranges of hash keys that are split and merged.

use serde::{Deserialize, Serialize};
use store::Record;

/// A shard as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shard {
    /// The first hash key of its range.
    pub(crate) start: u128,
    /// The last.
    pub(crate) end: u128,
    /// The shard that it was split from, or the first of two that were merged to it.
    pub(crate) parent: Option<u64>,
    /// The second of two that were merged to it.
    pub(crate) adjacent: Option<u64>,
    /// When it was made.
    pub(crate) created: i64,
    /// The second in its sequence numbers: later than its parents', so that numbers order families too.
    pub(crate) epoch: u64,
    /// When it was split or merged.
    #[serde(default)]
    pub(crate) closed: Option<i64>,
    /// What it was split or merged to.
    #[serde(default)]
    pub(crate) children: Vec<u64>,
}
impl Record for Shard {}

impl Shard {
    /// Whether it took records at that time.
    pub(crate) fn is_open_at(&self, time: i64) -> bool {
        self.created <= time && self.closed.is_none_or(|closed| closed > time)
    }
}

/// The open shards of a stream while it is changed: gathers what is closed and what is new.
pub(crate) struct Lineage {
    /// Open shards in the order of their ranges.
    pub(crate) open: Vec<(u64, Shard)>,
    /// Shards that this change closed.
    pub(crate) closed: Vec<(u64, Shard)>,
    /// The number of the next shard.
    pub(crate) next: u64,
    now: i64,
}

impl Lineage {
    /// `open` in any order.
    pub(crate) fn new(mut open: Vec<(u64, Shard)>, next: u64, now: i64) -> Lineage {
        open.sort_by_key(|(_, shard)| shard.start);
        Lineage {
            open,
            closed: Vec::new(),
            next,
            now,
        }
    }

    /// The shards of a new stream: equal ranges.
    pub(crate) fn first(count: u32, now: i64) -> Lineage {
        let mut lineage = Lineage::new(Vec::new(), 0, now);
        let size =
            u128::MAX / u128::from(count.max(1)) + u128::from(count.is_power_of_two() && count > 1);
        for i in 0..u128::from(count) {
            let end = if i + 1 == u128::from(count) {
                u128::MAX
            } else {
                size * (i + 1) - 1
            };
            lineage.add(size * i, end, &[]);
        }
        lineage
    }

    fn add(&mut self, start: u128, end: u128, parents: &[(u64, u64)]) -> u64 {
        let number = self.next;
        self.next += 1;
        let second = u64::try_from(self.now / 1000).unwrap_or(0);
        let epoch = parents.iter().map(|(_, epoch)| epoch + 1).max();
        let shard = Shard {
            start,
            end,
            parent: parents.first().map(|(n, _)| *n),
            adjacent: parents.get(1).map(|(n, _)| *n),
            created: self.now,
            epoch: second.max(epoch.unwrap_or(0)),
            closed: None,
            children: Vec::new(),
        };
        let at = self.open.partition_point(|(_, other)| other.start < start);
        self.open.insert(at, (number, shard));
        number
    }

    fn close(&mut self, at: usize, children: Vec<u64>) {
        let (number, mut shard) = self.open.remove(at);
        shard.closed = Some(self.now);
        shard.children = children;
        self.closed.push((number, shard));
    }

    /// Splits the open shard at that place of the order, the second half beginning at `key`, which lies within it.
    pub(crate) fn split(&mut self, at: usize, key: u128) {
        let Some((number, shard)) = self.open.get(at) else {
            return;
        };
        let (start, end, parent) = (shard.start, shard.end, [(*number, shard.epoch)]);
        self.close(at, vec![self.next, self.next + 1]);
        self.add(start, key - 1, &parent);
        self.add(key, end, &parent);
    }

    /// Merges the open shard at that place with the next one. `flipped` names the second as the first parent.
    pub(crate) fn merge(&mut self, at: usize, flipped: bool) {
        let (Some((a, low)), Some((b, high))) = (self.open.get(at), self.open.get(at + 1)) else {
            return;
        };
        let (start, end) = (low.start, high.end);
        let mut parents = [(*a, low.epoch), (*b, high.epoch)];
        if flipped {
            parents.reverse();
        }
        let child = vec![self.next];
        self.close(at + 1, child.clone());
        self.close(at, child);
        self.add(start, end, &parents);
    }

    /// Brings the open shards to that count: every one is split once where there are to be more, then neighbours
    /// are merged so that the ranges come as near to equal as the boundaries allow.
    pub(crate) fn scale(&mut self, target: usize) {
        let ideal = |k: usize| u128::MAX / (target as u128) * k as u128 + k as u128;
        if target > self.open.len() {
            let mut boundaries = (1..target).map(ideal).peekable();
            let mut at = 0;
            while let Some((_, shard)) = self.open.get(at) {
                if shard.start == shard.end {
                    at += 1;
                    continue;
                }
                let middle = shard.start + (shard.end - shard.start) / 2 + 1;
                let (start, end) = (shard.start, shard.end);
                while boundaries.next_if(|b| *b <= start).is_some() {}
                let mut key = None;
                while let Some(b) = boundaries.next_if(|b| *b <= end) {
                    key = Some(match key {
                        Some(k) if middle.abs_diff(k) <= middle.abs_diff(b) => k,
                        _ => b,
                    });
                }
                self.split(at, key.unwrap_or(middle));
                at += 2;
            }
        }
        // Which of the boundaries between open shards stay: for each wished one the nearest, in order.
        let starts: Vec<u128> = self.open.iter().skip(1).map(|(_, s)| s.start).collect();
        let Some(spare) = (starts.len() + 1).checked_sub(target) else {
            return;
        };
        let mut keep = std::collections::BTreeSet::new();
        let mut from = 0;
        for k in 1..target {
            let last = k - 1 + spare;
            let nearest = (from..=last)
                .filter_map(|i| starts.get(i).map(|s| (s.abs_diff(ideal(k)), i)))
                .min();
            let Some((_, i)) = nearest else { break };
            if let Some(start) = starts.get(i) {
                keep.insert(*start);
            }
            from = i + 1;
        }
        let mut at = 0;
        while let Some((_, next)) = self.open.get(at + 1) {
            if keep.contains(&next.start) {
                at += 1;
            } else {
                self.merge(at, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Split(usize, u128),
        Merge(usize, bool),
        Scale(usize),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = prop_oneof![
            3 => any::<(usize, u128)>().prop_map(|(at, key)| Change::Split(at, key)),
            3 => any::<(usize, bool)>().prop_map(|(at, flipped)| Change::Merge(at, flipped)),
            1 => (1..40usize).prop_map(Change::Scale),
        ];
        prop::collection::vec(change, 0..40)
    }

    /// The ranges of the open shards follow each other from the first key to the last.
    fn covers_all_keys(open: &[(u64, Shard)]) {
        assert_eq!(open.first().map(|(_, s)| s.start), Some(0));
        assert_eq!(open.last().map(|(_, s)| s.end), Some(u128::MAX));
        for pair in open.windows(2) {
            assert_eq!(pair[0].1.end + 1, pair[1].1.start);
        }
        assert!(open.iter().all(|(_, s)| s.start <= s.end));
    }

    proptest! {
        #[test]
        fn every_key_is_of_one_open_shard_and_parents_come_before_children(
            count in 1..20u32, changes in changes(),
        ) {
            let mut lineage = Lineage::first(count, 5_000);
            covers_all_keys(&lineage.open);
            for change in changes {
                // What the operations refuse does not come here.
                match change {
                    Change::Split(at, key) => {
                        let at = at % lineage.open.len();
                        let (start, end) = (lineage.open[at].1.start, lineage.open[at].1.end);
                        if end - start > 2 {
                            lineage.split(at, start + 1 + key % (end - start));
                        }
                    }
                    Change::Merge(at, flipped) if lineage.open.len() > 1 => {
                        let at = at % (lineage.open.len() - 1);
                        lineage.merge(at, flipped);
                    }
                    Change::Merge(..) => {}
                    Change::Scale(target) => {
                        let open = lineage.open.len();
                        let target = target.clamp(open.div_ceil(2), open * 2);
                        lineage.scale(target);
                        if lineage.open.iter().all(|(_, s)| s.end - s.start > 1 << 64) {
                            prop_assert_eq!(lineage.open.len(), target);
                        }
                    }
                }
                covers_all_keys(&lineage.open);
            }
            let all: BTreeMap<u64, &Shard> =
                lineage.open.iter().chain(&lineage.closed).map(|(n, s)| (*n, s)).collect();
            prop_assert_eq!(all.len() as u64, lineage.next);
            for (number, shard) in &all {
                for parent in shard.parent.iter().chain(&shard.adjacent) {
                    let parent_shard = all[parent];
                    prop_assert!(parent < number && parent_shard.epoch < shard.epoch);
                    prop_assert!(parent_shard.children.contains(number));
                }
                prop_assert_eq!(shard.closed.is_some(), !shard.children.is_empty());
            }
        }
    }

    /// Counts that were observed on AWS: what was, what is wished, and all shards afterwards.
    #[test]
    fn scaling_takes_as_many_steps_as_on_aws() {
        for (from, to, total) in [
            (2, 4, 6),
            (4, 5, 15),
            (10, 13, 37),
            (4, 2, 6),
            (5, 3, 7),
            (10, 3, 17),
        ] {
            let mut lineage = Lineage::first(from, 0);
            lineage.scale(to);
            assert_eq!(
                (lineage.open.len(), lineage.next),
                (to, total),
                "{from} to {to}"
            );
        }
    }

    #[test]
    fn scaling_by_two_makes_equal_ranges() {
        let mut lineage = Lineage::first(2, 0);
        lineage.scale(4);
        let first = Lineage::first(4, 0);
        let ranges = |l: &Lineage| {
            l.open
                .iter()
                .map(|(_, s)| (s.start, s.end))
                .collect::<Vec<_>>()
        };
        assert_eq!(ranges(&lineage), ranges(&first));
    }
}
