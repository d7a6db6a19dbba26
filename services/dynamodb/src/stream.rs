//! Streams: what is recorded of each change.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{Record, Tx};
use wire::{Fault, Timestamp};

use crate::change::{Action, Change};
use crate::item::{self, Stored};
use crate::service::Dynamo;
use crate::table::TableRecord;
use crate::value::Attributes;

/// On whose behalf an item was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A request.
    Request,
    /// Its time to live was over.
    Expiry,
}

/// A change as a stream keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// `INSERT`, `MODIFY` or `REMOVE`.
    pub event: String,
    /// `eventID`
    pub id: String,
    /// The item's key.
    pub keys: Stored,
    /// The item before.
    pub old: Option<Stored>,
    /// The item after.
    pub new: Option<Stored>,
    /// When, in milliseconds.
    pub when: i64,
    /// Bytes of key and images.
    pub size: usize,
    /// On whose behalf.
    pub cause: Cause,
}

impl Record for Entry {}

/// Who waits for a stream's next record.
pub type Wakers = Mutex<std::collections::HashMap<u64, Arc<tokio::sync::Notify>>>;

impl Dynamo {
    /// Records a change of an item.
    #[allow(clippy::too_many_arguments, reason = "a change and its circumstances")]
    pub fn record(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        change: &Change,
        old: Option<&Attributes>,
        new: Option<&Attributes>,
        now: Timestamp,
        cause: Cause,
    ) -> Result<(), Fault> {
        let event = match (old, new) {
            (None, Some(_)) => "INSERT",
            (Some(old), Some(new)) => {
                // Writing the same again is no change.
                if old == new && !matches!(change.action, Action::Delete) {
                    return Ok(());
                }
                "MODIFY"
            }
            (Some(_), None) => "REMOVE",
            (None, None) => return Ok(()),
        };
        let view = table.stream_view.as_deref().unwrap_or_default();
        let keeps = |image: &str| view == image || view == "NEW_AND_OLD_IMAGES";
        let old = old.filter(|_| keeps("OLD_IMAGE")).map(Stored::new);
        let new = new.filter(|_| keeps("NEW_IMAGE")).map(Stored::new);
        let image = |image: &Option<Stored>| image.as_ref().map_or(0, Stored::size);
        let entry = Entry {
            event: event.to_owned(),
            id: cloud::ids::hex(32),
            size: item::size(&change.key) + image(&old) + image(&new),
            keys: Stored::new(&change.key),
            old,
            new,
            when: now.millis(),
            cause,
        };
        self.entries
            .append(tx, &(table.account.as_str(), table.stream_uid), &entry)?;
        let waker = self.wakers.lock().get(&table.stream_uid).cloned();
        if let Some(waker) = waker {
            tx.after_commit(Box::new(move || waker.notify_waiters()));
        }
        Ok(())
    }
}

impl Dynamo {
    /// Makes a table's new stream known.
    pub fn open_stream(&self, _tx: &mut Tx<'_>, _table: &TableRecord) -> Result<(), Fault> {
        Ok(())
    }

    /// Ends a table's stream: its records stay readable for a day.
    pub fn close_stream(
        &self,
        _tx: &mut Tx<'_>,
        _table: &TableRecord,
        _now: Timestamp,
    ) -> Result<(), Fault> {
        Ok(())
    }
}
