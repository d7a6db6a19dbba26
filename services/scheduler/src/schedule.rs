//! Schedules.

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::expression::{self, Expression};
use crate::service::Schedules;
use crate::{group, page, target};

/// A schedule as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Schedule {
    pub(crate) expression: String,
    pub(crate) zone: String,
    /// From when on and until when it acts.
    pub(crate) from: Option<i64>,
    pub(crate) until: Option<i64>,
    description: Option<String>,
    pub(crate) state: String,
    key: Option<String>,
    /// The target, as the API writes it.
    pub(crate) target: String,
    target_arn: String,
    /// The minutes within which it may act, where it is flexible.
    pub(crate) window: Option<i32>,
    window_mode: String,
    pub(crate) after: String,
    token: Option<String>,
    created: i64,
    pub(crate) modified: i64,
}
impl Record for Schedule {}

/// Which schedule is meant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) group: String,
    pub(crate) name: String,
}

/// How long ago a schedule may begin, milliseconds.
const LATE: i64 = 5 * 60_000;
/// The precision of schedules, milliseconds.
const JUST_NOW: i64 = 60_000;

impl Place {
    pub(crate) fn key(&self) -> (&str, &str, &str, &str) {
        (&self.account, &self.region, &self.group, &self.name)
    }
    pub(crate) fn scope(&self) -> [&str; 4] {
        ["scheduler", &self.account, &self.region, &self.group]
    }
    pub(crate) fn arn(&self) -> String {
        let resource = format!("schedule/{}/{}", self.group, self.name);
        Arn::new("scheduler", &self.region, &self.account, resource).to_string()
    }
    fn missing(&self) -> Fault {
        resource_not_found_exception(format!("Schedule {} does not exist.", self.name))
    }
}

impl Schedule {
    /// What its expression says, in its zone.
    pub(crate) fn expression(&self) -> Option<Expression> {
        Expression::parse(&self.expression, expression::zone(&self.zone)?)
    }

    /// Checks what was asked for, and makes a schedule of it.
    fn of(input: CreateScheduleInput, now: Timestamp) -> Result<Schedule, Fault> {
        let zone = input
            .schedule_expression_timezone
            .unwrap_or_else(|| "UTC".into());
        let Some(known) = expression::zone(&zone) else {
            return Err(validation_exception(format!(
                "Invalid Schedule Expression Timezone {zone}."
            )));
        };
        if Expression::parse(&input.schedule_expression, known).is_none() {
            return Err(validation_exception(format!(
                "Invalid Schedule Expression {}.",
                input.schedule_expression
            )));
        }
        if input.start_date.is_some_and(|start| start.0 < now.0 - LATE) {
            return Err(validation_exception(
                "The StartDate you specify cannot be earlier than 5 minutes ago.",
            ));
        }
        if input.end_date.is_some_and(|end| end < now) {
            return Err(validation_exception(
                "The EndDate you specify cannot be earlier than the current time.",
            ));
        }
        if let (Some(start), Some(end)) = (input.start_date, input.end_date)
            && start >= end
        {
            return Err(validation_exception(
                "The StartDate you specify must come before the EndDate.",
            ));
        }
        let window = &input.flexible_time_window;
        let is_flexible = window.mode == flexible_time_window_mode::FLEXIBLE;
        if is_flexible && window.maximum_window_in_minutes.is_none() {
            return Err(validation_exception(
                "MaximumWindowInMinutes must be provided when the FlexibleTimeWindow mode is FLEXIBLE.",
            ));
        }
        target::check(&input.target)?;
        Ok(Schedule {
            expression: input.schedule_expression,
            zone,
            from: input.start_date.map(|t| t.0),
            until: input.end_date.map(|t| t.0),
            description: input.description,
            state: input
                .state
                .unwrap_or_else(|| schedule_state::ENABLED.into()),
            key: input.kms_key_arn,
            target_arn: input.target.arn.clone(),
            target: target::write(input.target),
            window: window.maximum_window_in_minutes,
            window_mode: input.flexible_time_window.mode,
            after: input
                .action_after_completion
                .unwrap_or_else(|| action_after_completion::NONE.into()),
            token: input.client_token,
            created: now.0,
            modified: now.0,
        })
    }

    pub(crate) fn is_flexible(&self) -> bool {
        self.window_mode == flexible_time_window_mode::FLEXIBLE
    }
    pub(crate) fn is_enabled(&self) -> bool {
        self.state == schedule_state::ENABLED
    }
}

impl Schedules {
    pub(crate) fn place(&self, ctx: &Context, group: Option<&str>, name: &str) -> Place {
        Place {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            group: group.unwrap_or(group::DEFAULT).to_owned(),
            name: name.to_owned(),
        }
    }

    fn schedule(&self, reader: &impl Read, place: &Place) -> Result<Schedule, Fault> {
        let found = Read::get(reader, &self.schedules, &place.key())?;
        found.ok_or_else(|| place.missing())
    }

    pub(crate) async fn create_schedule(
        &self,
        ctx: &Context,
        input: CreateScheduleInput,
    ) -> Result<CreateScheduleOutput, Fault> {
        let place = self.place(ctx, input.group_name.as_deref(), &input.name);
        let schedule = Schedule::of(input, ctx.time)?;
        let scope = place.scope();
        let store = &self.cloud.store;
        let create = store.transact(Scope::new(&scope), |tx| {
            self.group(tx, &place.account, &place.region, &place.group)?;
            let old: Option<Schedule> = tx.get(&self.schedules, &place.key())?;
            match &old {
                // The same request again.
                Some(old) if old.token.is_some() && old.token == schedule.token => return Ok(()),
                Some(_) => {
                    return Err(conflict_exception(format!(
                        "Schedule {} already exists.",
                        place.name
                    )));
                }
                None => {}
            }
            tx.put(&self.schedules, &place.key(), &schedule)?;
            // A rate without a start is due at once, and a moment that has just gone by is not missed.
            let is_once = schedule.expression().is_some_and(|e| e.is_once());
            let back = if is_once { -JUST_NOW } else { -1 };
            self.plan(tx, &place, &schedule, ctx.time.plus_millis(back))
        });
        create.await?;
        Ok(CreateScheduleOutput {
            schedule_arn: place.arn(),
        })
    }

    pub(crate) async fn update_schedule(
        &self,
        ctx: &Context,
        input: UpdateScheduleInput,
    ) -> Result<UpdateScheduleOutput, Fault> {
        let place = self.place(ctx, input.group_name.as_deref(), &input.name);
        let mut schedule = Schedule::of(
            CreateScheduleInput {
                name: input.name,
                group_name: input.group_name,
                schedule_expression: input.schedule_expression,
                // One that began long ago may keep its beginning.
                start_date: None,
                end_date: input.end_date,
                description: input.description,
                schedule_expression_timezone: input.schedule_expression_timezone,
                state: input.state,
                kms_key_arn: input.kms_key_arn,
                target: input.target,
                flexible_time_window: input.flexible_time_window,
                client_token: input.client_token,
                action_after_completion: input.action_after_completion,
            },
            ctx.time,
        )?;
        let scope = place.scope();
        let store = &self.cloud.store;
        let update = store.transact(Scope::new(&scope), |tx| {
            self.group(tx, &place.account, &place.region, &place.group)?;
            let old = self.schedule(tx, &place)?;
            schedule.from = input.start_date.map(|t| t.0);
            let is_new = schedule.from != old.from;
            if is_new && schedule.from.is_some_and(|from| from < ctx.time.0 - LATE) {
                return Err(validation_exception(
                    "The StartDate you specify cannot be earlier than 5 minutes ago.",
                ));
            }
            schedule.created = old.created;
            schedule.token = old.token;
            schedule.modified = ctx.time.0.max(old.modified + 1);
            tx.put(&self.schedules, &place.key(), &schedule)?;
            self.plan(tx, &place, &schedule, ctx.time)
        });
        update.await?;
        Ok(UpdateScheduleOutput {
            schedule_arn: place.arn(),
        })
    }

    pub(crate) async fn get_schedule(
        &self,
        ctx: &Context,
        input: GetScheduleInput,
    ) -> Result<GetScheduleOutput, Fault> {
        let place = self.place(ctx, input.group_name.as_deref(), &input.name);
        let view = self.cloud.store.read();
        self.group(&view, &place.account, &place.region, &place.group)?;
        let schedule = self.schedule(&view, &place)?;
        Ok(GetScheduleOutput {
            arn: Some(place.arn()),
            group_name: Some(place.group),
            name: Some(place.name),
            target: Some(wire::json::restored(&schedule.target)?),
            flexible_time_window: Some(FlexibleTimeWindow {
                mode: schedule.window_mode,
                maximum_window_in_minutes: schedule.window,
            }),
            schedule_expression: Some(schedule.expression),
            start_date: schedule.from.map(Timestamp),
            end_date: schedule.until.map(Timestamp),
            description: schedule.description,
            schedule_expression_timezone: Some(schedule.zone),
            state: Some(schedule.state),
            creation_date: Some(Timestamp(schedule.created)),
            last_modification_date: Some(Timestamp(schedule.modified)),
            kms_key_arn: schedule.key,
            action_after_completion: Some(schedule.after),
        })
    }

    /// Removes a schedule and what it has planned.
    pub(crate) fn remove(&self, tx: &mut Tx<'_>, place: &Place) -> Result<(), Fault> {
        tx.delete(&self.schedules, &place.key());
        self.unplan(tx, place)
    }

    pub(crate) async fn delete_schedule(
        &self,
        ctx: &Context,
        input: DeleteScheduleInput,
    ) -> Result<DeleteScheduleOutput, Fault> {
        let place = self.place(ctx, input.group_name.as_deref(), &input.name);
        let scope = place.scope();
        let store = &self.cloud.store;
        let delete = store.transact(Scope::new(&scope), |tx| {
            self.group(tx, &place.account, &place.region, &place.group)?;
            self.schedule(tx, &place)?;
            self.remove(tx, &place)
        });
        delete.await?;
        Ok(DeleteScheduleOutput {})
    }

    pub(crate) async fn list_schedules(
        &self,
        ctx: &Context,
        input: ListSchedulesInput,
    ) -> Result<ListSchedulesOutput, Fault> {
        let view = self.cloud.store.read();
        let prefix = input.name_prefix.unwrap_or_default();
        let mut range = match &input.group_name {
            Some(group) => {
                self.group(&view, &ctx.account, &ctx.region, group)?;
                Range::text(&(&ctx.account, &ctx.region, group), &prefix)
            }
            None => Range::prefix(&(&ctx.account, &ctx.region)),
        };
        let after = page::start("ListSchedules", input.next_token.as_deref())?;
        if let Some([group, name]) = after.as_deref() {
            range = range.after(&(&ctx.account, &ctx.region, group, name));
        }
        let size = page::size(input.max_results);
        let mut found = Vec::new();
        for row in view.range(&self.schedules, range) {
            let ((_, _, group, name), schedule) = row?;
            let is_meant = input.state.as_ref().is_none_or(|s| *s == schedule.state);
            if is_meant && name.starts_with(&prefix) {
                found.push((group, name, schedule));
            }
            if found.len() > size {
                break;
            }
        }
        let has_more = found.len() > size;
        found.truncate(size);
        let last = found.last().filter(|_| has_more);
        let next_token =
            last.map(|(group, name, _)| cloud::paging::token("ListSchedules", &[group, name]));
        let shown = found.into_iter().map(|(group, name, schedule)| {
            let place = self.place(ctx, Some(&group), &name);
            ScheduleSummary {
                arn: Some(place.arn()),
                name: Some(name),
                group_name: Some(group),
                state: Some(schedule.state),
                creation_date: Some(Timestamp(schedule.created)),
                last_modification_date: Some(Timestamp(schedule.modified)),
                target: Some(TargetSummary {
                    arn: schedule.target_arn,
                }),
            }
        });
        Ok(ListSchedulesOutput {
            schedules: shown.collect(),
            next_token,
        })
    }
}
