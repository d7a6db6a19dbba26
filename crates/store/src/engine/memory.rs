use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Batch, Done, Engine, Row, Scanned, Span};
use crate::Error;

/// Everything in one ordered map, gone with the process.
#[derive(Default)]
pub(crate) struct Memory {
    rows: RwLock<BTreeMap<Bytes, Bytes>>,
}

impl Engine for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.rows.read().get(key).cloned())
    }

    fn scan(
        &self,
        span: &Span,
        reverse: bool,
        limit: usize,
        out: &mut Vec<Row>,
    ) -> Result<Scanned, Error> {
        if span.is_empty() {
            return Ok(Scanned::All);
        }
        let rows = self.rows.read();
        let range = rows.range::<[u8], _>((
            Bound::Included(&span.lower[..]),
            Bound::Excluded(&span.upper[..]),
        ));
        let before = out.len();
        let copy = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
        if reverse {
            out.extend(range.rev().take(limit).map(copy));
        } else {
            out.extend(range.take(limit).map(copy));
        }
        Ok(match out.last() {
            Some((key, _)) if out.len() - before == limit => Scanned::Through(key.clone()),
            _ => Scanned::All,
        })
    }

    fn commit(&self, batch: Batch, _: Option<Done>) -> Result<(), Error> {
        let mut rows = self.rows.write();
        for (key, value) in batch {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}
