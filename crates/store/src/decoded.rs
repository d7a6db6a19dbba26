use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::range::with_row_key;
use crate::{Error, Key, KeyFor, Read, Record, Table, record};

/// Longer rows are decoded each time: the few that are kept must not take much memory.
const LONGEST: usize = 4 << 10;
const SLOTS: usize = 1 << 9;

/// Records of one table that were decoded a short while ago, for rows that many requests read.
///
/// What is kept stands beside the row's own bytes and counts only while the store has these very bytes, so that a row
/// that changes needs no word to anybody.
pub struct Decoded<V> {
    slots: Box<[Slot<V>]>,
}

type Slot<V> = Mutex<Option<(Bytes, Arc<V>)>>;

impl<V: Record> Decoded<V> {
    /// The record of `key`, shared with whoever else reads it.
    pub fn get<K: Key>(
        &self,
        read: &impl Read,
        table: &Table<K, V>,
        key: &impl KeyFor<K>,
    ) -> Result<Option<Arc<V>>, Error> {
        let found = with_row_key(table.id(), key, |key| crate::read::Raw::get(read, key))?;
        let Some(bytes) = found else {
            return Ok(None);
        };
        if bytes.len() > LONGEST {
            return record::decode(&bytes).map(Arc::new).map(Some);
        }
        let address = bytes.as_ptr() as usize;
        // Allocations are aligned: the lowest bits tell little.
        let slot = &self.slots[(address >> 4 ^ address >> 13) % SLOTS];
        if let Some((kept, record)) = &*slot.lock()
            && kept.as_ptr() == bytes.as_ptr()
            && kept.len() == bytes.len()
        {
            // Bytes that are held cannot be written to: the same place means the same content.
            return Ok(Some(record.clone()));
        }
        let record: Arc<V> = record::decode(&bytes).map(Arc::new)?;
        *slot.lock() = Some((bytes, record.clone()));
        Ok(Some(record))
    }
}

impl<V> Default for Decoded<V> {
    fn default() -> Self {
        Decoded {
            slots: (0..SLOTS).map(|_| Mutex::new(None)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{Options, Scope, Store};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note(String);
    impl Record for Note {}

    #[tokio::test]
    async fn a_row_that_changes_is_decoded_anew() {
        let store = Store::open(Options::default()).unwrap();
        let notes: Table<String, Note> = store.table("notes");
        let decoded = Decoded::default();
        for text in ["one", "two", "six"] {
            store
                .transact(Scope::new(&["notes"]), |tx| {
                    tx.put(&notes, &"key", &Note(text.into()))
                })
                .await
                .unwrap();
            let view = store.read();
            let first = decoded.get(&view, &notes, &"key").unwrap().unwrap();
            assert_eq!(first.0, text);
            let second = decoded.get(&view, &notes, &"key").unwrap().unwrap();
            assert!(Arc::ptr_eq(&first, &second));
        }
        assert!(
            decoded
                .get(&store.read(), &notes, &"none")
                .unwrap()
                .is_none()
        );
    }
}
