//! Schedules that are due.

use std::sync::Arc;

use cloud::Job;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Read, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::action_after_completion;
use crate::schedule::{Place, Schedule};
use crate::service::Schedules;
use crate::target::Occasion;

/// The job that is due when a schedule is.
const FIRE: &str = "scheduler.fire";

#[derive(Serialize, Deserialize)]
struct Due {
    place: Place,
    /// When its clock says, which a flexible one may be later than.
    at: i64,
    /// The change of the schedule that this belongs to.
    modified: i64,
}

/// A moment within a window of so many minutes, in milliseconds.
fn within(minutes: i32) -> i64 {
    let mut random = [0; 8];
    cloud::ids::random(&mut random);
    let length = u64::try_from(minutes).unwrap_or_default() * 60_000;
    match length {
        0 => 0,
        _ => i64::try_from(u64::from_be_bytes(random) % length).unwrap_or_default(),
    }
}

impl Schedules {
    pub(crate) fn register_firing(self: &Arc<Self>) {
        let schedules = self.clone();
        self.cloud.scheduler.register(FIRE, move |job| {
            let schedules = schedules.clone();
            Box::pin(async move { schedules.fire(job).await })
        });
    }

    /// When a schedule is due next after a moment.
    fn next(schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
        if !schedule.is_enabled() {
            return None;
        }
        let from = Timestamp(schedule.from.unwrap_or(schedule.modified));
        let expression = schedule.expression()?;
        let after = match schedule.from {
            // One-time schedules know no beginning.
            Some(begin) if !expression.is_once() => after.max(Timestamp(begin - 1)),
            _ => after,
        };
        let due = expression.next(from, after)?;
        let is_over = schedule.until.is_some_and(|until| due.0 > until);
        (!is_over || expression.is_once()).then_some(due)
    }

    /// Plans when a schedule acts next after a moment; whether it does at all.
    fn plan_next(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        schedule: &Schedule,
        after: Timestamp,
        job: Option<i64>,
    ) -> Result<bool, Fault> {
        let Some(due) = Self::next(schedule, after) else {
            self.unplan(tx, place)?;
            return Ok(false);
        };
        let later = match schedule.window {
            Some(minutes) if schedule.is_flexible() => within(minutes),
            _ => 0,
        };
        let payload = json!(Due {
            place: place.clone(),
            at: due.0,
            modified: schedule.modified,
        });
        // A job is told from the one that runs by its time.
        let when = due.plus_millis(later);
        let when = job.map_or(when, |job| when.max(Timestamp(job + 1)));
        self.cloud
            .scheduler
            .at(tx, when, FIRE, &place.arn(), payload)?;
        Ok(true)
    }

    pub(crate) fn plan(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        schedule: &Schedule,
        after: Timestamp,
    ) -> Result<(), Fault> {
        self.plan_next(tx, place, schedule, after, None).map(drop)
    }

    pub(crate) fn unplan(&self, tx: &mut Tx<'_>, place: &Place) -> Result<(), Fault> {
        self.cloud.scheduler.cancel(tx, FIRE, &place.arn())
    }

    async fn fire(&self, job: Job) -> Result<(), Fault> {
        let due: Due = serde_json::from_value(job.payload)?;
        let place = due.place;
        let scope = place.scope();
        let store = &self.cloud.store;
        let fire = store.transact(Scope::new(&scope), |tx| {
            let found: Option<Schedule> = Read::get(tx, &self.schedules, &place.key())?;
            let is_meant = |s: &Schedule| s.modified == due.modified && s.is_enabled();
            let Some(schedule) = found.filter(is_meant) else {
                return Ok::<_, Fault>(());
            };
            let now = self.cloud.clock.now();
            let target: crate::api::Target = wire::json::restored(&schedule.target)?;
            let occasion = Occasion {
                place: &place,
                due: Timestamp(due.at),
                now,
            };
            match occasion.delivery(&target) {
                Ok(delivery) => self.cloud.targets.send(tx, &delivery)?,
                Err(fault) => {
                    tracing::warn!(schedule = place.arn(), %fault, "a schedule's input makes no call");
                }
            }
            // What was missed while nothing ran is not made up for; a window may reach into the next time.
            let after = match now.0 - job.when > 1_000 {
                true => now,
                false => Timestamp(due.at),
            };
            let goes_on = self.plan_next(tx, &place, &schedule, after, Some(job.when))?;
            if !goes_on && schedule.after == action_after_completion::DELETE {
                self.remove(tx, &place)?;
            }
            Ok(())
        });
        fire.await
    }
}
