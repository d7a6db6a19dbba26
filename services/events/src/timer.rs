//! Rules that act by the clock.

use std::sync::Arc;

use cloud::Job;
use cloud::schedule::Recurrence;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Read, Scope, Tx};
use time::PrimitiveDateTime;
use wire::{Fault, Timestamp};

use crate::event::{Event, Parts};
use crate::place::Place;
use crate::rule::Rule;
use crate::service::Events;

/// The job that is due when a rule's schedule says so.
const TICK: &str = "events.tick";

#[derive(Serialize, Deserialize)]
struct Tick {
    account: String,
    region: String,
    rule: String,
    /// The expression and when it began to count: another tick is not this rule's any more.
    schedule: String,
    since: i64,
}

fn key(place: &Place, name: &str) -> String {
    [&place.account, &place.region, name]
        .map(str::to_owned)
        .join("/")
}

/// When a schedule that began to count then is due next after a moment.
fn next(recurrence: &Recurrence, since: i64, after: Timestamp) -> Option<Timestamp> {
    match recurrence {
        Recurrence::Rate(length) => {
            let past = after.0.saturating_sub(since).max(0) / length;
            Some(Timestamp(
                since.saturating_add((past + 1).saturating_mul(*length)),
            ))
        }
        Recurrence::Cron(cron) => {
            let now = after.date_time();
            let due = cron.next(PrimitiveDateTime::new(now.date(), now.time()))?;
            Some(Timestamp::from_secs(due.assume_utc().unix_timestamp()))
        }
    }
}

impl Events {
    pub(crate) fn register_ticks(self: &Arc<Self>) {
        let events = self.clone();
        self.cloud.scheduler.register(TICK, move |job| {
            let events = events.clone();
            Box::pin(async move { events.tick(job).await })
        });
    }

    /// Plans when the rule acts next, if it does by the clock.
    pub(crate) fn plan(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        name: &str,
        rule: &Rule,
        after: Timestamp,
    ) -> Result<(), Fault> {
        let recurrence = match &rule.schedule {
            Some(text) if rule.is_enabled() => Recurrence::parse(text, true),
            _ => None,
        };
        let due = recurrence.and_then(|r| next(&r, rule.since, after));
        let Some(due) = due else {
            return self.unplan(tx, place, name);
        };
        let tick = Tick {
            account: place.account.clone(),
            region: place.region.clone(),
            rule: name.to_owned(),
            schedule: rule.schedule.clone().unwrap_or_default(),
            since: rule.since,
        };
        let scheduler = &self.cloud.scheduler;
        scheduler.at(tx, due, TICK, &key(place, name), json!(tick))
    }

    pub(crate) fn unplan(&self, tx: &mut Tx<'_>, place: &Place, name: &str) -> Result<(), Fault> {
        self.cloud.scheduler.cancel(tx, TICK, &key(place, name))
    }

    async fn tick(&self, job: Job) -> Result<(), Fault> {
        let tick: Tick = serde_json::from_value(job.payload)?;
        let place = Place {
            account: tick.account,
            region: tick.region,
            bus: crate::place::DEFAULT.to_owned(),
        };
        let name = tick.rule;
        let arn = place.rule_arn(&name);
        let event = Event::new(&Parts {
            id: &cloud::ids::uuid(),
            detail_type: "Scheduled Event",
            source: "aws.events",
            account: &place.account,
            time: &Timestamp(job.when).iso8601_secs(),
            region: &place.region,
            replay: None,
            resources: std::slice::from_ref(&arn),
            detail: "{}",
        })?;
        let scope = place.scope();
        let store = &self.cloud.store;
        let act = store.transact(Scope::new(&scope), |tx| {
            let (account, region, bus) = place.key();
            let rule: Option<Rule> = Read::get(tx, &self.rules, &(account, region, bus, &name))?;
            let is_meant = |r: &Rule| {
                r.schedule.as_ref() == Some(&tick.schedule)
                    && r.since == tick.since
                    && r.is_enabled()
            };
            let Some(rule) = rule.filter(is_meant) else {
                return Ok::<_, Fault>(());
            };
            for (_, target) in self.targets_of(tx, &place, &name)? {
                self.send(tx, &place, &name, &target, &event)?;
            }
            // What was missed while nothing ran is not made up for.
            let now = self.cloud.clock.now().max(Timestamp(job.when));
            self.plan(tx, &place, &name, &rule, now)
        });
        act.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_from_its_beginning_and_skips_what_was_missed() {
        let rate = Recurrence::Rate(60_000);
        assert_eq!(
            next(&rate, 1_000, Timestamp(1_000)),
            Some(Timestamp(61_000))
        );
        assert_eq!(
            next(&rate, 1_000, Timestamp(61_000)),
            Some(Timestamp(121_000))
        );
        assert_eq!(
            next(&rate, 1_000, Timestamp(300_000)),
            Some(Timestamp(301_000))
        );
    }
}
