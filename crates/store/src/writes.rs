//! The changes of a transaction, by key.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::engine::Batch;

/// How many changes are kept in one piece: most transactions have one or two, and a tree's first node is large.
const FEW: usize = 32;

/// Changes in the order of their keys; `None` deletes.
pub(crate) enum Writes {
    /// Sorted.
    Few(Batch),
    Many(BTreeMap<Bytes, Option<Bytes>>),
}

impl Default for Writes {
    fn default() -> Self {
        Writes::Few(Vec::new())
    }
}

fn find(rows: &[(Bytes, Option<Bytes>)], key: &[u8]) -> Result<usize, usize> {
    rows.binary_search_by(|(known, _)| known[..].cmp(key))
}

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Writes::Few(rows) => rows.is_empty(),
            Writes::Many(rows) => rows.is_empty(),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        match self {
            Writes::Few(rows) => {
                let at = find(rows, key).ok()?;
                rows.get(at).map(|(_, value)| value)
            }
            Writes::Many(rows) => rows.get(key),
        }
    }

    pub(crate) fn insert(&mut self, key: Bytes, value: Option<Bytes>) {
        match self {
            Writes::Few(rows) => match find(rows, &key) {
                Ok(at) => {
                    if let Some((_, old)) = rows.get_mut(at) {
                        *old = value;
                    }
                }
                Err(at) if rows.len() < FEW => rows.insert(at, (key, value)),
                Err(_) => {
                    let mut many: BTreeMap<_, _> = std::mem::take(rows).into_iter().collect();
                    many.insert(key, value);
                    *self = Writes::Many(many);
                }
            },
            Writes::Many(rows) => drop(rows.insert(key, value)),
        }
    }

    /// Those from `lower` on and before `upper`.
    pub(crate) fn range<'w>(
        &'w self,
        lower: &[u8],
        upper: &[u8],
    ) -> Box<dyn DoubleEndedIterator<Item = (&'w Bytes, &'w Option<Bytes>)> + 'w> {
        match self {
            Writes::Few(rows) => {
                let place = |key: &[u8]| find(rows, key).unwrap_or_else(|at| at);
                let within = rows.get(place(lower)..place(upper)).unwrap_or_default();
                Box::new(within.iter().map(|(key, value)| (key, value)))
            }
            Writes::Many(rows) => {
                let bounds = (Bound::Included(lower), Bound::Excluded(upper));
                Box::new(rows.range::<[u8], _>(bounds))
            }
        }
    }

    pub(crate) fn into_batch(self) -> Batch {
        match self {
            Writes::Few(rows) => rows,
            Writes::Many(rows) => rows.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row() -> impl Strategy<Value = (Bytes, Option<Bytes>)> {
        let key = prop::collection::vec(0..6u8, 0..3).prop_map(Bytes::from);
        let value =
            prop::option::of(prop::collection::vec(any::<u8>(), 0..3).prop_map(Bytes::from));
        (key, value)
    }

    proptest! {
        #[test]
        fn few_and_many_are_a_map(
            rows in prop::collection::vec(row(), 0..80),
            span in prop::array::uniform2(prop::collection::vec(0..7u8, 0..3)),
        ) {
            let mut writes = Writes::default();
            let mut map = BTreeMap::new();
            for (key, value) in rows {
                writes.insert(key.clone(), value.clone());
                map.insert(key, value);
                prop_assert_eq!(writes.is_empty(), false);
            }
            for key in map.keys() {
                prop_assert_eq!(writes.get(key), map.get(key));
            }
            prop_assert_eq!(writes.get(b"absent"), None);
            let [lower, upper] = span;
            if lower < upper {
                let bounds = (Bound::Included(&lower[..]), Bound::Excluded(&upper[..]));
                let expected: Vec<_> = map.range::<[u8], _>(bounds).collect();
                prop_assert_eq!(writes.range(&lower, &upper).collect::<Vec<_>>(), expected.clone());
                let reversed: Vec<_> = expected.into_iter().rev().collect();
                prop_assert_eq!(writes.range(&lower, &upper).rev().collect::<Vec<_>>(), reversed);
            }
            prop_assert_eq!(writes.into_batch(), map.into_iter().collect::<Batch>());
        }
    }
}
