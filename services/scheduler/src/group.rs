//! Schedule groups.

use std::collections::BTreeMap;

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::page;
use crate::service::Schedules;
use crate::tag;

/// The group that every account has in every region.
pub(crate) const DEFAULT: &str = "default";

/// A group as it is stored. The default one has a row once it was looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) created: i64,
    pub(crate) modified: i64,
    pub(crate) tags: BTreeMap<String, String>,
    token: Option<String>,
}
impl Record for Group {}

pub(crate) fn arn(account: &str, region: &str, name: &str) -> String {
    Arn::new(
        "scheduler",
        region,
        account,
        format!("schedule-group/{name}"),
    )
    .to_string()
}

pub(crate) fn missing(name: &str) -> Fault {
    resource_not_found_exception(format!("Schedule group {name} does not exist."))
}

impl Schedules {
    /// The group, which must exist; the default one always does.
    pub(crate) fn group(
        &self,
        reader: &impl Read,
        account: &str,
        region: &str,
        name: &str,
    ) -> Result<Group, Fault> {
        match Read::get(reader, &self.groups, &(account, region, name))? {
            Some(group) => Ok(group),
            None if name == DEFAULT => Ok(Group::default()),
            None => Err(missing(name)),
        }
    }

    /// Writes down when the default group was first looked at, as if it had been made then.
    async fn begin_default(&self, ctx: &Context) -> Result<(), Fault> {
        let key = (ctx.account.as_str(), ctx.region.as_str(), DEFAULT);
        if self.cloud.store.read().contains(&self.groups, &key)? {
            return Ok(());
        }
        self.change_group(key, |_, group| {
            if group.created == 0 {
                (group.created, group.modified) = (ctx.time.0, ctx.time.0);
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn change_group<R>(
        &self,
        key: (&str, &str, &str),
        f: impl FnOnce(&mut Tx<'_>, &mut Group) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["scheduler", key.0, key.1, key.2];
        let store = &self.cloud.store;
        let change = store.transact(Scope::new(&scope), |tx| {
            let mut group = self.group(tx, key.0, key.1, key.2)?;
            let result = f(tx, &mut group)?;
            tx.put(&self.groups, &key, &group)?;
            Ok(result)
        });
        change.await
    }

    pub(crate) async fn create_schedule_group(
        &self,
        ctx: &Context,
        input: CreateScheduleGroupInput,
    ) -> Result<CreateScheduleGroupOutput, Fault> {
        let group = Group {
            created: ctx.time.0,
            modified: ctx.time.0,
            tags: tag::read(input.tags.unwrap_or_default())?,
            token: input.client_token,
        };
        let name = input.name;
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let scope = ["scheduler", key.0, key.1, key.2];
        let store = &self.cloud.store;
        let create = store.transact(Scope::new(&scope), |tx| {
            let old: Option<Group> = tx.get(&self.groups, &key)?;
            let is_again = |old: &Group| old.token.is_some() && old.token == group.token;
            match &old {
                Some(old) if is_again(old) => return Ok(()),
                None if name != DEFAULT => {}
                _ => {
                    return Err(conflict_exception(format!(
                        "Schedule group {name} already exists."
                    )));
                }
            }
            tx.put(&self.groups, &key, &group)?;
            Ok(())
        });
        create.await?;
        Ok(CreateScheduleGroupOutput {
            schedule_group_arn: arn(key.0, key.1, key.2),
        })
    }

    pub(crate) async fn get_schedule_group(
        &self,
        ctx: &Context,
        input: GetScheduleGroupInput,
    ) -> Result<GetScheduleGroupOutput, Fault> {
        if input.name == DEFAULT {
            self.begin_default(ctx).await?;
        }
        let view = self.cloud.store.read();
        let group = self.group(&view, &ctx.account, &ctx.region, &input.name)?;
        Ok(GetScheduleGroupOutput {
            arn: Some(arn(&ctx.account, &ctx.region, &input.name)),
            name: Some(input.name),
            state: Some(schedule_group_state::ACTIVE.into()),
            creation_date: Some(Timestamp(group.created)),
            last_modification_date: Some(Timestamp(group.modified)),
        })
    }

    pub(crate) async fn list_schedule_groups(
        &self,
        ctx: &Context,
        input: ListScheduleGroupsInput,
    ) -> Result<ListScheduleGroupsOutput, Fault> {
        self.begin_default(ctx).await?;
        let prefix = input.name_prefix.unwrap_or_default();
        let mut range = Range::text(&(&ctx.account, &ctx.region), &prefix);
        let after = page::start("ListScheduleGroups", input.next_token.as_deref())?;
        if let Some(name) = after.as_ref().and_then(|parts| parts.first()) {
            range = range.after(&(&ctx.account, &ctx.region, name));
        }
        let size = page::size(input.max_results);
        let view = self.cloud.store.read();
        let rows = view
            .range(&self.groups, range.limit(size + 1))
            .collect::<Result<Vec<_>, _>>()?;
        let (rows, next_token) =
            cloud::paging::cut("ListScheduleGroups", rows, size, |((.., name), _)| {
                name.clone()
            });
        let shown = rows
            .into_iter()
            .map(|((_, _, name), group)| ScheduleGroupSummary {
                arn: Some(arn(&ctx.account, &ctx.region, &name)),
                name: Some(name),
                state: Some(schedule_group_state::ACTIVE.into()),
                creation_date: Some(Timestamp(group.created)),
                last_modification_date: Some(Timestamp(group.modified)),
            });
        Ok(ListScheduleGroupsOutput {
            schedule_groups: shown.collect(),
            next_token,
        })
    }

    pub(crate) async fn delete_schedule_group(
        &self,
        ctx: &Context,
        input: DeleteScheduleGroupInput,
    ) -> Result<DeleteScheduleGroupOutput, Fault> {
        let name = input.name;
        if name == DEFAULT {
            return Err(validation_exception(
                "Cannot delete default schedule group.",
            ));
        }
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let scope = ["scheduler", key.0, key.1, key.2];
        let store = &self.cloud.store;
        let delete = store.transact(Scope::new(&scope), |tx| {
            self.group(tx, key.0, key.1, key.2)?;
            let mut names = Vec::new();
            {
                let mut rows = tx.range(&self.schedules, Range::prefix(&key));
                while let Some((_, _, _, schedule)) = rows.next_key()? {
                    names.push(schedule);
                }
            }
            for schedule in names {
                self.remove(tx, &self.place(ctx, Some(&name), &schedule))?;
            }
            tx.delete(&self.groups, &key);
            Ok::<_, Fault>(())
        });
        delete.await?;
        Ok(DeleteScheduleGroupOutput {})
    }
}
