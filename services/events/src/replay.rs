//! Replays: what an archive keeps, put on its bus again.

use std::sync::Arc;

use cloud::{Arn, Context, Job};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Range, Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::archive;
use crate::errors::*;
use crate::event::Event;
use crate::page;
use crate::place::{Place, invalid, invalid_parameter, too_many};
use crate::service::Events;

/// A replay as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Replay {
    description: Option<String>,
    archive: String,
    /// The archive's own id, so that one made anew is not replayed instead.
    archive_id: u64,
    bus: String,
    /// The rules it is for; all, where it names none.
    rules: Vec<String>,
    from: i64,
    until: i64,
    state: String,
    started: i64,
    ended: Option<i64>,
    /// The time of the last event that was sent.
    last: Option<i64>,
    /// The number of the next event to look at.
    next: u64,
}
impl Record for Replay {}

/// The job that goes on with a replay.
const REPLAY: &str = "events.replay";
/// Events looked at in one transaction.
const BATCH: usize = 100;
/// How long a replay takes to begin, in milliseconds.
const PREPARATION: i64 = 500;
/// The most replays of an account and region at a time.
const MOST: usize = 10;

fn arn(account: &str, region: &str, name: &str) -> String {
    Arn::new("events", region, account, format!("replay/{name}")).to_string()
}

fn missing(name: &str) -> Fault {
    resource_not_found_exception(format!("Replay {name} does not exist."))
}

impl Replay {
    fn is_under_way(&self) -> bool {
        matches!(
            self.state.as_str(),
            replay_state::STARTING | replay_state::RUNNING
        )
    }
    fn place(&self, account: &str, region: &str) -> Place {
        Place {
            account: account.to_owned(),
            region: region.to_owned(),
            bus: self.bus.clone(),
        }
    }
}

impl Events {
    pub(crate) fn register_replays(self: &Arc<Self>) {
        let events = self.clone();
        self.cloud.scheduler.register(REPLAY, move |job| {
            let events = events.clone();
            Box::pin(async move { events.go_on(job).await })
        });
    }

    fn replay(&self, reader: &impl Read, ctx: &Context, name: &str) -> Result<Replay, Fault> {
        let found = Read::get(reader, &self.replays, &(&ctx.account, &ctx.region, name))?;
        found.ok_or_else(|| missing(name))
    }

    pub(crate) async fn start_replay(
        &self,
        ctx: &Context,
        input: StartReplayInput,
    ) -> Result<StartReplayOutput, Fault> {
        let destination = input.destination.arn.parse::<Arn>().ok();
        let place = destination
            .as_ref()
            .and_then(Place::of_arn)
            .ok_or_else(|| {
                invalid_parameter("Destination.Arn", "Must contain an event bus ARN.")
            })?;
        let view = self.cloud.store.read();
        self.bus(&view, &place)?;
        let source = input.event_source_arn.parse::<Arn>().ok();
        let source = source
            .as_ref()
            .and_then(|a| a.resource.strip_prefix("archive/"));
        let archive_name = source
            .ok_or_else(|| invalid_parameter("EventSourceArn", "Must contain an archive ARN."))?;
        let archive = self
            .archive(&view, &ctx.account, &ctx.region, archive_name)
            .map_err(|fault| invalid_parameter("EventSourceArn", &fault.message))?;
        if input.event_start_time >= input.event_end_time {
            return Err(invalid_parameter(
                "EventEndTime",
                "EventStartTime must be before EventEndTime.",
            ));
        }
        if archive.place(&ctx.account, &ctx.region) != place {
            return Err(invalid_parameter(
                "Destination.Arn",
                "Cross event bus replay is not permitted.",
            ));
        }
        let replay = Replay {
            description: input.description.filter(|d| !d.is_empty()),
            archive: archive_name.to_owned(),
            archive_id: archive.id,
            bus: place.bus,
            rules: input.destination.filter_arns.unwrap_or_default(),
            from: input.event_start_time.0,
            until: input.event_end_time.0,
            state: replay_state::STARTING.into(),
            started: ctx.time.0,
            ended: None,
            last: None,
            next: 0,
        };
        let name = input.replay_name;
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let scope = ["events.replays", key.0, key.1];
        let store = &self.cloud.store;
        let start = store.transact(Scope::new(&scope), |tx| {
            if tx.contains(&self.replays, &key)? {
                return Err(resource_already_exists_exception(format!(
                    "Replay {name} already exists."
                )));
            }
            let mut under_way = 0;
            for row in tx.range(&self.replays, Range::prefix(&(key.0, key.1))) {
                under_way += usize::from(row?.1.is_under_way());
            }
            if under_way >= MOST {
                return Err(too_many());
            }
            tx.put(&self.replays, &key, &replay)?;
            let scheduler = &self.cloud.scheduler;
            let due = self.cloud.clock.now().plus_millis(PREPARATION);
            let payload = json!([key.0, key.1, key.2]);
            scheduler.at(tx, due, REPLAY, &arn(key.0, key.1, key.2), payload)
        });
        start.await?;
        Ok(StartReplayOutput {
            replay_arn: Some(arn(key.0, key.1, key.2)),
            state: Some(replay_state::STARTING.into()),
            state_reason: None,
            replay_start_time: Some(ctx.time),
        })
    }

    /// Sends the next events of a replay, and plans those after them.
    async fn go_on(&self, job: Job) -> Result<(), Fault> {
        let [account, region, name]: [String; 3] = serde_json::from_value(job.payload.clone())?;
        let key = (account.as_str(), region.as_str(), name.as_str());
        let found: Option<Replay> = self.cloud.store.read().get(&self.replays, &key)?;
        let Some(replay) = found else {
            return Ok(());
        };
        let place = replay.place(&account, &region);
        let scope = ["events.replays", key.0, key.1];
        let bus_scope = place.scope();
        let store = &self.cloud.store;
        let go_on = store.transact(Scope::new(&scope).and(&bus_scope), |tx| {
            let found: Option<Replay> = Read::get(tx, &self.replays, &key)?;
            let Some(mut replay) = found.filter(Replay::is_under_way) else {
                return Ok::<_, Fault>(());
            };
            let at = (key.0, key.1, replay.archive_id);
            let rows = self
                .kept
                .range(tx, &at, replay.next, BATCH)
                .collect::<Result<Vec<_>, _>>()?;
            let only = (!replay.rules.is_empty()).then(|| replay.rules.clone());
            replay.state = replay_state::RUNNING.into();
            let is_end = rows.len() < BATCH;
            for ((_, number), kept) in rows {
                replay.next = number + 1;
                let event = Event::read_for(&kept.text, Some(&name))?;
                let time = Timestamp::parse(event.field("time")).map_or(kept.arrived, |t| t.0);
                if (replay.from..replay.until).contains(&time) {
                    self.route(tx, &place, &event, only.as_deref())?;
                    replay.last = Some(time);
                }
            }
            if is_end {
                replay.state = replay_state::COMPLETED.into();
                replay.ended = Some(self.cloud.clock.now().0);
            } else {
                // A job is told from the one that runs by its time.
                let due = self.cloud.clock.now().max(Timestamp(job.when + 1));
                let payload = json!([key.0, key.1, key.2]);
                self.cloud
                    .scheduler
                    .at(tx, due, REPLAY, &job.key, payload)?;
            }
            tx.put(&self.replays, &key, &replay)?;
            Ok(())
        });
        go_on.await
    }

    pub(crate) async fn describe_replay(
        &self,
        ctx: &Context,
        input: DescribeReplayInput,
    ) -> Result<DescribeReplayOutput, Fault> {
        let name = input.replay_name;
        let replay = self.replay(&self.cloud.store, ctx, &name)?;
        let bus = replay.place(&ctx.account, &ctx.region).arn();
        Ok(DescribeReplayOutput {
            replay_arn: Some(arn(&ctx.account, &ctx.region, &name)),
            replay_name: Some(name),
            description: replay.description,
            state: Some(replay.state),
            state_reason: None,
            event_source_arn: Some(archive::arn(&ctx.account, &ctx.region, &replay.archive)),
            destination: Some(ReplayDestination {
                arn: bus,
                filter_arns: (!replay.rules.is_empty()).then_some(replay.rules),
            }),
            event_start_time: Some(Timestamp(replay.from)),
            event_end_time: Some(Timestamp(replay.until)),
            event_last_replayed_time: replay.last.map(Timestamp),
            replay_start_time: Some(Timestamp(replay.started)),
            replay_end_time: replay.ended.map(Timestamp),
        })
    }

    pub(crate) async fn list_replays(
        &self,
        ctx: &Context,
        input: ListReplaysInput,
    ) -> Result<ListReplaysOutput, Fault> {
        let filters = [
            input.name_prefix.is_some(),
            input.event_source_arn.is_some(),
            input.state.is_some(),
        ];
        if filters.into_iter().filter(|is_there| *is_there).count() > 1 {
            return Err(invalid(
                "At most one filter is allowed for ListReplays. Use either : State, EventSourceArn, or NamePrefix.",
            ));
        }
        let prefix = input.name_prefix.unwrap_or_default();
        let mut range = Range::text(&(&ctx.account, &ctx.region), &prefix);
        if let Some(after) = page::start("ListReplays", input.next_token.as_deref())? {
            range = range.after(&(&ctx.account, &ctx.region, &after));
        }
        let size = page::size(input.limit);
        let view = self.cloud.store.read();
        let mut found = Vec::new();
        for row in view.range(&self.replays, range) {
            let ((_, _, name), replay) = row?;
            let source = archive::arn(&ctx.account, &ctx.region, &replay.archive);
            let is_of = input.event_source_arn.as_ref().is_none_or(|a| *a == source);
            if is_of && input.state.as_ref().is_none_or(|s| *s == replay.state) {
                found.push(crate::api::Replay {
                    replay_name: Some(name),
                    event_source_arn: Some(source),
                    state: Some(replay.state),
                    state_reason: None,
                    event_start_time: Some(Timestamp(replay.from)),
                    event_end_time: Some(Timestamp(replay.until)),
                    event_last_replayed_time: replay.last.map(Timestamp),
                    replay_start_time: Some(Timestamp(replay.started)),
                    replay_end_time: replay.ended.map(Timestamp),
                });
            }
            if found.len() > size {
                break;
            }
        }
        let (replays, next_token) = page::cut("ListReplays", found, size, |replay| {
            replay.replay_name.clone().unwrap_or_default()
        });
        Ok(ListReplaysOutput {
            replays: Some(replays),
            next_token,
        })
    }

    pub(crate) async fn cancel_replay(
        &self,
        ctx: &Context,
        input: CancelReplayInput,
    ) -> Result<CancelReplayOutput, Fault> {
        let name = input.replay_name;
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let scope = ["events.replays", key.0, key.1];
        let store = &self.cloud.store;
        let cancel = store.transact(Scope::new(&scope), |tx| {
            let mut replay = self.replay(tx, ctx, &name)?;
            if !replay.is_under_way() {
                return Err(illegal_status_exception(format!(
                    "Replay {name} is not in a valid state for this operation."
                )));
            }
            replay.state = replay_state::CANCELLED.into();
            replay.ended = Some(self.cloud.clock.now().0);
            tx.put(&self.replays, &key, &replay)?;
            let scheduler = &self.cloud.scheduler;
            scheduler.cancel(tx, REPLAY, &arn(key.0, key.1, key.2))
        });
        cancel.await?;
        Ok(CancelReplayOutput {
            replay_arn: Some(arn(key.0, key.1, key.2)),
            state: Some(replay_state::CANCELLING.into()),
            state_reason: None,
        })
    }
}
