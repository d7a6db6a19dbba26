//! Archived events go when they are too old, or with their archive.

use std::sync::Arc;

use cloud::Job;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Read, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::archive::{Amount, Archive};
use crate::place::Place;
use crate::service::Events;

/// The job that is due when the oldest event of an archive is too old.
const EXPIRE: &str = "events.expire";
/// The job that removes what a deleted archive kept.
const FORGET: &str = "events.forget";
/// Events removed in one transaction.
const MOST: usize = 500;
const DAY: i64 = 86_400_000;

#[derive(Serialize, Deserialize)]
struct Of {
    account: String,
    region: String,
    bus: String,
    archive: String,
    id: u64,
}

impl Of {
    fn place(&self) -> Place {
        Place {
            account: self.account.clone(),
            region: self.region.clone(),
            bus: self.bus.clone(),
        }
    }
}

fn of(place: &Place, name: &str, archive: &Archive) -> (String, serde_json::Value) {
    let of = Of {
        account: place.account.clone(),
        region: place.region.clone(),
        bus: place.bus.clone(),
        archive: name.to_owned(),
        id: archive.id,
    };
    (format!("{}/{:016x}", place.account, archive.id), json!(of))
}

impl Events {
    pub(crate) fn register_retention(self: &Arc<Self>) {
        let events = self.clone();
        self.cloud.scheduler.register(EXPIRE, move |job| {
            let events = events.clone();
            Box::pin(async move { events.expire(job).await })
        });
        let events = self.clone();
        self.cloud.scheduler.register(FORGET, move |job| {
            let events = events.clone();
            Box::pin(async move { events.forget(job).await })
        });
    }

    /// Plans when the oldest event, which arrived then, goes.
    pub(crate) fn plan_expiry(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        name: &str,
        archive: &Archive,
        oldest: Timestamp,
    ) -> Result<(), Fault> {
        let (key, payload) = of(place, name, archive);
        let scheduler = &self.cloud.scheduler;
        if archive.retention <= 0 {
            return scheduler.cancel(tx, EXPIRE, &key);
        }
        let due = oldest.plus_millis(i64::from(archive.retention) * DAY);
        scheduler.at(tx, due, EXPIRE, &key, payload)
    }

    /// Plans it anew, for another retention.
    pub(crate) fn replan_expiry(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        name: &str,
        archive: &Archive,
    ) -> Result<(), Fault> {
        let at = (place.account.as_str(), place.region.as_str(), archive.id);
        let oldest = self.kept.range(tx, &at, 0, 1).next().transpose()?;
        match oldest {
            Some((_, kept)) => self.plan_expiry(tx, place, name, archive, Timestamp(kept.arrived)),
            None => Ok(()),
        }
    }

    async fn expire(&self, job: Job) -> Result<(), Fault> {
        let of: Of = serde_json::from_value(job.payload)?;
        let place = of.place();
        let scope = place.scope();
        let store = &self.cloud.store;
        let expire = store.transact(Scope::new(&scope), |tx| {
            let found = Read::get(tx, &self.archives, &(&of.account, &of.region, &of.archive))?;
            let Some(archive) = found.filter(|a: &Archive| a.id == of.id && a.retention > 0) else {
                return Ok::<_, Fault>(());
            };
            let now = self.cloud.clock.now().max(Timestamp(job.when));
            let before = now.0 - i64::from(archive.retention) * DAY;
            let at = (of.account.as_str(), of.region.as_str(), of.id);
            let rows = self.kept.range(tx, &at, 0, MOST);
            let old = rows
                .map(|row| row.map(|((_, number), kept)| (number, kept)))
                .take_while(|row| {
                    row.as_ref()
                        .map_or(true, |(_, kept)| kept.arrived <= before)
                })
                .collect::<Result<Vec<_>, _>>()?;
            if let Some((last, _)) = old.last() {
                self.kept.truncate(tx, &at, last + 1, MOST)?;
                let mut amount: Amount = Read::get(tx, &self.amounts, &at)?.unwrap_or_default();
                amount.events -= i64::try_from(old.len()).unwrap_or_default();
                let bytes: usize = old.iter().map(|(_, kept)| kept.text.len()).sum();
                amount.bytes -= i64::try_from(bytes).unwrap_or_default();
                tx.put(&self.amounts, &at, &amount)?;
            }
            let oldest = self.kept.range(tx, &at, 0, 1).next().transpose()?;
            if let Some((_, kept)) = oldest {
                // A job is told from the one that runs by its time.
                let due = kept.arrived + i64::from(archive.retention) * DAY;
                let oldest = kept.arrived + (job.when + 1 - due).max(0);
                self.plan_expiry(tx, &place, &of.archive, &archive, Timestamp(oldest))?;
            }
            Ok(())
        });
        expire.await
    }

    /// Lets go of what a deleted archive kept.
    pub(crate) fn forget_kept(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        name: &str,
        archive: &Archive,
    ) -> Result<(), Fault> {
        let (key, payload) = of(place, name, archive);
        let scheduler = &self.cloud.scheduler;
        scheduler.cancel(tx, EXPIRE, &key)?;
        let at = (place.account.as_str(), place.region.as_str(), archive.id);
        tx.delete(&self.amounts, &at);
        scheduler.at(tx, self.cloud.clock.now(), FORGET, &key, payload)
    }

    async fn forget(&self, job: Job) -> Result<(), Fault> {
        let of: Of = serde_json::from_value(job.payload)?;
        let place = of.place();
        let scope = place.scope();
        let at = (of.account.as_str(), of.region.as_str(), of.id);
        loop {
            let store = &self.cloud.store;
            let remove = store.transact(Scope::new(&scope), |tx| {
                let removed = self.kept.truncate(tx, &at, u64::MAX, MOST)?;
                if removed < MOST {
                    self.kept.forget(tx, &at);
                }
                Ok::<_, Fault>(removed)
            });
            if remove.await? < MOST {
                return Ok(());
            }
        }
    }
}
