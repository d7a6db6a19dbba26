//! When access keys were last used, and for what. Every signed request tells of it, so the newest use is in memory and is
//! written down at most once a minute for a key: what a crash takes is that minute.

use std::collections::HashMap;
use std::sync::Weak;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{Read, Record};
use wire::{Fault, Timestamp};

use crate::service::Iam;

/// A use of a key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyUse {
    /// Milliseconds.
    pub(crate) time: i64,
    pub(crate) service: String,
    pub(crate) region: String,
}
impl Record for KeyUse {}

/// Milliseconds between two writings.
const PAUSE: i64 = 60_000;

/// The newest uses, by account and id, with when each was last written down.
#[derive(Default)]
pub(crate) struct Recent(Mutex<HashMap<(String, String), (KeyUse, i64)>>);

impl Recent {
    /// Notes a use; whether it should be written down.
    fn note(&self, account: &str, id: &str, used: &KeyUse) -> bool {
        let mut recent = self.0.lock();
        let key = (account.to_owned(), id.to_owned());
        let (newest, kept) = recent
            .entry(key)
            .or_insert_with(|| (used.clone(), i64::MIN));
        newest.clone_from(used);
        let is_due = used.time.saturating_sub(*kept) >= PAUSE;
        if is_due {
            *kept = used.time;
        }
        is_due
    }

    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

impl Iam {
    /// A key's last use.
    pub(crate) fn last_use(&self, account: &str, id: &str) -> Result<Option<KeyUse>, Fault> {
        let key = (account.to_owned(), id.to_owned());
        if let Some((newest, _)) = self.recent_uses.0.lock().get(&key) {
            return Ok(Some(newest.clone()));
        }
        Ok(Read::get(
            &self.cloud.store.read(),
            &self.key_uses,
            &(account, id),
        )?)
    }

    /// Notes that a request was signed with a key.
    pub(crate) fn note_use(&self, account: &str, id: &str, service: &str, region: &str) {
        let used = KeyUse {
            time: whole_minute(self.cloud.clock.now()),
            service: service.to_owned(),
            region: region.to_owned(),
        };
        if !self.recent_uses.note(account, id, &used) {
            return;
        }
        let (me, account, id) = (Weak::clone(&self.me), account.to_owned(), id.to_owned());
        tokio::spawn(async move {
            let Some(iam) = me.upgrade() else { return };
            let written = iam.transact(&account, |tx| {
                let key = (&account, &id);
                if tx.contains(&iam.access_keys, &key)? {
                    tx.put(&iam.key_uses, &key, &used)?;
                }
                Ok(())
            });
            if let Err(fault) = written.await {
                tracing::warn!(%fault, cause = fault.cause, "a key's use was not written down");
            }
        });
    }
}

/// AWS tells uses by the minute.
fn whole_minute(time: Timestamp) -> i64 {
    time.0 - time.0.rem_euclid(60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_written_once_a_minute() {
        let recent = Recent::default();
        let at = |time| KeyUse {
            time,
            service: "s3".into(),
            region: "us-east-1".into(),
        };
        assert!(recent.note("1", "AKIA", &at(0)));
        assert!(!recent.note("1", "AKIA", &at(59_999)));
        assert!(recent.note("1", "other", &at(59_999)));
        assert!(recent.note("1", "AKIA", &at(60_000)));
        assert!(!recent.note("1", "AKIA", &at(60_001)));
    }
}
