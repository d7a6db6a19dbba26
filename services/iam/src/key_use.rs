//! When access keys and roles were last used, and for what. Every signed request tells of it, so the newest use is in memory and is
//! written down at most once a minute for a key: what a crash takes is that minute.

use std::collections::HashMap;
use std::sync::Weak;

use cloud::{Principal, PrincipalKind};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use store::{Read, Record};
use wire::{Fault, Timestamp};

use crate::api::RoleLastUsed;
use crate::entity::key;
use crate::role::Role;
use crate::service::Iam;

/// What is used: a user's key, or a role by one of its sessions.
#[derive(Clone, Copy)]
pub(crate) enum Used<'a> {
    /// `AKIA…`
    Key(&'a str),
    /// `AROA…` and the role's name.
    Role(&'a str, &'a str),
}

impl<'a> Used<'a> {
    /// What a request of that principal uses; `None` for root's and for users' sessions.
    pub(crate) fn of(principal: &'a Principal) -> Option<Used<'a>> {
        match principal.kind {
            PrincipalKind::User => principal
                .access_key
                .as_deref()
                .filter(|id| id.starts_with("AKIA"))
                .map(Used::Key),
            PrincipalKind::AssumedRole => {
                let (id, _) = principal.id.split_once(':')?;
                Some(Used::Role(id, principal.arn.rsplit('/').nth(1)?))
            }
            _ => None,
        }
    }

    fn id(self) -> &'a str {
        match self {
            Used::Key(id) | Used::Role(id, _) => id,
        }
    }
}

/// A use of a key or a role as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyUse {
    /// Milliseconds.
    pub(crate) time: i64,
    pub(crate) service: String,
    pub(crate) region: String,
}
impl Record for KeyUse {}

/// Milliseconds between two writings of one.
const PAUSE: i64 = 60_000;

/// The newest uses, by the key's or role's id, with when each was last written down.
#[derive(Default)]
pub(crate) struct Recent(RwLock<HashMap<String, (KeyUse, i64)>>);

impl Recent {
    /// Notes a use; the use if it should be written down. One like the newest costs a look and no copy.
    fn note(&self, id: &str, time: i64, service: &str, region: &str) -> Option<KeyUse> {
        if let Some((newest, _)) = self.0.read().get(id)
            && (newest.time, &*newest.service, &*newest.region) == (time, service, region)
        {
            return None;
        }
        let used = KeyUse {
            time,
            service: service.to_owned(),
            region: region.to_owned(),
        };
        let mut recent = self.0.write();
        let (newest, kept) = recent
            .entry(id.to_owned())
            .or_insert_with(|| (used.clone(), i64::MIN));
        newest.clone_from(&used);
        let is_due = time.saturating_sub(*kept) >= PAUSE;
        if is_due {
            *kept = time;
        }
        is_due.then_some(used)
    }

    pub(crate) fn clear(&self) {
        self.0.write().clear();
    }
}

impl Iam {
    /// The last use of a key or a role, by its id.
    pub(crate) fn last_use(&self, account: &str, id: &str) -> Result<Option<KeyUse>, Fault> {
        if let Some((newest, _)) = self.recent_uses.0.read().get(id) {
            return Ok(Some(newest.clone()));
        }
        Ok(Read::get(
            &self.cloud.store,
            &self.key_uses,
            &(account, id),
        )?)
    }

    /// A role's last use, as it is shown.
    pub(crate) fn role_last_used(&self, account: &str, id: &str) -> Result<RoleLastUsed, Fault> {
        Ok(match self.last_use(account, id)? {
            Some(used) => RoleLastUsed {
                last_used_date: Some(Timestamp(used.time)),
                region: Some(used.region),
            },
            None => RoleLastUsed::default(),
        })
    }

    /// Notes that a request was signed with a key, or with one of a role's session.
    pub(crate) fn note_use(&self, account: &str, what: Used<'_>, service: &str, region: &str) {
        let time = whole_minute(self.cloud.clock.now());
        let id = what.id();
        let Some(used) = self.recent_uses.note(id, time, service, region) else {
            return;
        };
        let role = match what {
            Used::Key(_) => None,
            Used::Role(_, name) => Some(key(name)),
        };
        let (me, account, id) = (Weak::clone(&self.me), account.to_owned(), id.to_owned());
        tokio::spawn(async move {
            let Some(iam) = me.upgrade() else { return };
            let written = iam.transact(&account, |tx| {
                let at = (&account, &id);
                // Sessions outlive their role.
                let is_there = match &role {
                    None => tx.contains(&iam.access_keys, &at)?,
                    Some(name) => tx
                        .get(&iam.roles, &(&account, name))?
                        .is_some_and(|role: Role| role.id == id),
                };
                if is_there {
                    tx.put(&iam.key_uses, &at, &used)?;
                }
                Ok(())
            });
            if let Err(fault) = written.await {
                tracing::warn!(%fault, cause = fault.cause, "the use of a key or role was not written down");
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
        let is_due = |id, time| recent.note(id, time, "s3", "us-east-1").is_some();
        assert!(is_due("AKIA", 0));
        assert!(!is_due("AKIA", 59_999));
        assert!(is_due("other", 59_999));
        assert!(is_due("AKIA", 60_000));
        assert!(!is_due("AKIA", 60_001));
        assert!(recent.note("AKIA", 60_001, "sqs", "us-east-1").is_none());
        assert_eq!(recent.0.read()["AKIA"].0.service, "sqs");
    }
}
