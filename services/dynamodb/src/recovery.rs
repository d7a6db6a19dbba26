//! Point-in-time recovery: while it is on, each change leaves what was there before, by time.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{KeyFor, Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::backup::Restore;
use crate::catalog::Place;
use crate::create::{Remains, unique};
use crate::errors::*;
use crate::fault::validation;
use crate::item::Stored;
use crate::key::{BASE, Row};
use crate::service::Dynamo;
use crate::table::{TableRecord, Tallies};

/// What was in a row before a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Former {
    item: Option<Stored>,
}

impl Record for Former {}

/// The job that removes what is too old to be restored.
pub const HISTORY: &str = "dynamodb.history";
/// Entries removed or undone in one transaction.
const BATCH: usize = 500;
const DAY: i64 = 86_400_000;

/// The table of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Of {
    account: String,
    region: String,
    name: String,
    history: u64,
}

/// What all entries of a history begin with.
fn history(account: &str, uid: u64) -> Row {
    Row::table(account, uid)
}

fn at(account: &str, uid: u64, when: i64) -> Row {
    let mut row = history(account, uid);
    KeyFor::<i64>::encode(&when, &mut row.0);
    row
}

/// When an entry was made, and the row it is of.
fn split(prefix: &Row, entry: &Row) -> Option<(i64, Row)> {
    let rest = entry.0.get(prefix.0.len()..)?;
    let (when, row) = rest.split_first_chunk::<8>()?;
    let when = <i64 as store::Key>::decode(&mut &when[..]).ok()?;
    Some((when, Row(row.to_vec())))
}

impl Dynamo {
    /// Keeps what is in a row that is about to change.
    pub fn keep_former(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        row: &Row,
        item: Option<&Stored>,
    ) -> Result<(), Fault> {
        if table.recovery.is_none() {
            return Ok(());
        }
        // By the time of the change, not of the request: under the row's lock the one follows the other.
        let when = self.cloud.clock.now().millis();
        let mut entry = at(&table.account, table.recovery_uid, when);
        entry.0.extend_from_slice(&row.0);
        // Of several changes within a millisecond the first counts.
        if !tx.contains(&self.formers, &entry)? {
            let former = Former {
                item: item.cloned(),
            };
            tx.put(&self.formers, &entry, &former)?;
        }
        Ok(())
    }

    /// `DescribeContinuousBackups`
    pub async fn describe_continuous_backups(
        &self,
        ctx: &Context,
        input: DescribeContinuousBackupsInput,
    ) -> Result<DescribeContinuousBackupsOutput, Fault> {
        let table = self.backed_up(ctx, &input.table_name)?;
        Ok(DescribeContinuousBackupsOutput {
            continuous_backups_description: Some(described(&table, ctx.time)),
        })
    }

    /// `UpdateContinuousBackups`
    pub async fn update_continuous_backups(
        &self,
        ctx: &Context,
        input: UpdateContinuousBackupsInput,
    ) -> Result<UpdateContinuousBackupsOutput, Fault> {
        self.backed_up(ctx, &input.table_name)?;
        let place = Place::of(ctx, &input.table_name)?;
        let wanted = input.point_in_time_recovery_specification;
        let days = wanted.recovery_period_in_days.unwrap_or(35);
        let now = ctx.time;
        let ((), table) = self
            .change_table(&place, |tx, table| {
                match (wanted.point_in_time_recovery_enabled, table.recovery) {
                    (true, Some((since, _))) => table.recovery = Some((since, days)),
                    (true, None) => {
                        // Changes before this one are not known.
                        table.recovery = Some((self.cloud.clock.now().millis(), days));
                        table.recovery_uid = unique();
                        let of = Of {
                            account: table.account.clone(),
                            region: table.region.clone(),
                            name: table.name.clone(),
                            history: table.recovery_uid,
                        };
                        let key = table.recovery_uid.to_string();
                        let when = now.plus_millis(i64::from(days) * DAY);
                        let payload = serde_json::to_value(&of)?;
                        self.cloud.scheduler.at(tx, when, HISTORY, &key, payload)?;
                    }
                    (false, Some(_)) => {
                        table.recovery = None;
                        self.leave_history(tx, table, now)?;
                    }
                    (false, None) => {}
                }
                Ok(())
            })
            .await?;
        Ok(UpdateContinuousBackupsOutput {
            continuous_backups_description: Some(described(&table, ctx.time)),
        })
    }

    /// Leaves a table's history to be removed in the background.
    pub fn leave_history(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let key = table.recovery_uid.to_string();
        self.cloud.scheduler.cancel(tx, HISTORY, &key)?;
        let remains = Remains::History {
            account: table.account.clone(),
            uid: table.recovery_uid,
        };
        self.leave(tx, &remains, now)
    }

    /// Removes some entries of a history that are older than that; `true` if more is left.
    pub fn forget_history(
        &self,
        tx: &mut Tx<'_>,
        account: &str,
        uid: u64,
        before: Option<i64>,
    ) -> Result<bool, Fault> {
        let mut range = Range::prefix(&history(account, uid));
        if let Some(before) = before {
            range = range.until(&at(account, uid, before));
        }
        let mut old = Vec::new();
        let mut rows = tx.range(&self.formers, range.limit(BATCH));
        while let Some(row) = rows.next_key()? {
            old.push(row);
        }
        for row in &old {
            tx.delete(&self.formers, row);
        }
        Ok(old.len() >= BATCH)
    }

    /// Removes what is too old to be restored, and plans the next time.
    pub async fn trim_history(&self, payload: serde_json::Value) -> Result<(), Fault> {
        let of: Of = serde_json::from_value(payload.clone())?;
        let view = self.cloud.store.read();
        let table = self
            .catalog
            .find(&view, &of.account, &of.region, &of.name)?;
        let Some(table) = table.filter(|table| table.recovery_uid == of.history) else {
            return Ok(());
        };
        let Some((_, days)) = table.recovery else {
            return Ok(());
        };
        let key = of.history.to_string();
        let scope = ["dynamodb.history", key.as_str()];
        loop {
            let now = self.cloud.clock.now();
            let before = now.millis() - i64::from(days) * DAY;
            let payload = payload.clone();
            let is_done = self
                .cloud
                .store
                .transact(Scope::new(&scope), |tx| {
                    if self.forget_history(tx, &of.account, of.history, Some(before))? {
                        return Ok::<_, Fault>(false);
                    }
                    let next = now.plus_millis(DAY);
                    self.cloud.scheduler.at(tx, next, HISTORY, &key, payload)?;
                    Ok(true)
                })
                .await?;
            if is_done {
                return Ok(());
            }
        }
    }

    /// `RestoreTableToPointInTime`
    pub async fn restore_table_to_point_in_time(
        &self,
        ctx: &Context,
        input: RestoreTableToPointInTimeInput,
    ) -> Result<RestoreTableToPointInTimeOutput, Fault> {
        let source = match (&input.source_table_name, &input.source_table_arn) {
            (Some(name), _) | (None, Some(name)) => name.clone(),
            (None, None) => {
                return Err(validation(
                    "One or more parameter values were invalid: Either SourceTableName or SourceTableArn must be specified",
                ));
            }
        };
        let target = Place::of(ctx, &input.target_table_name)?;
        let table = self.catalog.described(ctx, &source).map_err(|fault| {
            match fault.is("ResourceNotFoundException") {
                true => table_not_found_exception(format!("Table not found: {source}")),
                false => fault,
            }
        })?;
        let Some((since, days)) = table.recovery else {
            return Err(unavailable(&table));
        };
        let now = self.cloud.clock.now().millis();
        let when = match (input.use_latest_restorable_time, input.restore_date_time) {
            (Some(true), None) => now,
            (None | Some(false), Some(when)) => when.millis(),
            _ => {
                return Err(validation(
                    "One or more parameter values were invalid: Exactly one of UseLatestRestorableTime and RestoreDateTime must be specified",
                ));
            }
        };
        let earliest = since.max(now - i64::from(days) * DAY);
        // A client's seconds may cut off what the table's time has behind the point.
        if when > now || when < earliest - 999 {
            return Err(invalid_restore_time_exception(format!(
                "Invalid restore time: {when}. It must be between {earliest} and {now}."
            )));
        }
        let restore = Restore {
            billing_mode: input.billing_mode_override,
            global: input.global_secondary_index_override,
            local: input.local_secondary_index_override,
            vectors: input.vector_index_override,
            provisioned: input.provisioned_throughput_override,
            on_demand: input.on_demand_throughput_override,
            sse: input.sse_specification_override,
            backup: None,
            when,
        };
        let undo = (table.recovery_uid, when.max(earliest));
        let description = self
            .restore(ctx, &table, table.uid, &target, restore, Some(undo))
            .await?;
        Ok(RestoreTableToPointInTimeOutput {
            table_description: Some(description),
        })
    }

    /// Takes all changes after a time back in a copy of a table's items, the last first.
    pub async fn undo(
        &self,
        account: &str,
        from: u64,
        to: u64,
        (uid, when): (u64, i64),
    ) -> Result<(), Fault> {
        let prefix = history(account, uid);
        let source = Row::index(account, from, BASE);
        let target = Row::index(account, to, BASE);
        let name = to.to_string();
        let scope = ["dynamodb.items", name.as_str()];
        let mut before: Option<Row> = None;
        loop {
            let mut range = Range::prefix(&prefix)
                .from(&at(account, uid, when + 1))
                .reverse()
                .limit(BATCH);
            if let Some(before) = &before {
                range = range.until(before);
            }
            let view = self.cloud.store.read();
            let entries: Vec<(Row, Former)> =
                view.range(&self.formers, range).collect::<Result<_, _>>()?;
            let count = entries.len();
            before = entries.last().map(|(entry, _)| entry.clone());
            self.cloud
                .store
                .transact(Scope::new(&scope), |tx| {
                    for (entry, former) in entries {
                        let Some((_, row)) = split(&prefix, &entry) else {
                            continue;
                        };
                        let Some(rest) = row.0.strip_prefix(&source.0[..]) else {
                            continue;
                        };
                        let mut copy = target.clone();
                        copy.0.extend_from_slice(rest);
                        self.replace(tx, account, to, &copy, former.item)?;
                    }
                    Ok::<_, Fault>(())
                })
                .await?;
            if count < BATCH {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    /// Puts an item of a copy in place of another, and keeps the tallies right.
    fn replace(
        &self,
        tx: &mut Tx<'_>,
        account: &str,
        uid: u64,
        row: &Row,
        item: Option<Stored>,
    ) -> Result<(), Fault> {
        let old: Option<Stored> = tx.get(&self.items, row)?;
        let shard = row.shard(crate::change::SHARDS) as u8;
        let key = (account, uid, shard);
        let mut tallies: Tallies = tx.get(&self.tallies, &key)?.unwrap_or_default();
        let tally = tallies.at(BASE);
        tally.items += i64::from(item.is_some()) - i64::from(old.is_some());
        let size = |item: &Option<Stored>| item.as_ref().map_or(0, Stored::size) as i64;
        tally.bytes += size(&item) - size(&old);
        tx.put(&self.tallies, &key, &tallies)?;
        match item {
            Some(item) => tx.put(&self.items, row, &item)?,
            None => tx.delete(&self.items, row),
        }
        Ok(())
    }
}

/// The error of a table that keeps no history.
pub fn unavailable(table: &TableRecord) -> Fault {
    point_in_time_recovery_unavailable_exception(format!(
        "Point in time recovery is not enabled for table '{}'",
        table.name
    ))
}

/// How a table's continuous backups are described.
fn described(table: &TableRecord, now: Timestamp) -> ContinuousBackupsDescription {
    let description = match table.recovery {
        None => PointInTimeRecoveryDescription {
            point_in_time_recovery_status: Some("DISABLED".into()),
            ..Default::default()
        },
        Some((since, days)) => PointInTimeRecoveryDescription {
            point_in_time_recovery_status: Some("ENABLED".into()),
            recovery_period_in_days: Some(days),
            earliest_restorable_date_time: Some(Timestamp(
                since.max(now.millis() - i64::from(days) * DAY),
            )),
            latest_restorable_date_time: Some(Timestamp(now.millis().max(since))),
        },
    };
    ContinuousBackupsDescription {
        continuous_backups_status: "ENABLED".into(),
        point_in_time_recovery_description: Some(description),
    }
}
