//! Time to live: items end by the region's clock.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{KeyFor, Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::catalog::Place;
use crate::change::{Action, Change, Refusal};
use crate::create::unique;
use crate::expression::Path;
use crate::expression::condition::{Comparator, Condition, Operand};
use crate::fault::validation;
use crate::fill::Task;
use crate::item::Stored;
use crate::key::Row;
use crate::number::Number;
use crate::service::Dynamo;
use crate::stream::Cause;
use crate::table::TableRecord;
use crate::value::{Attributes, Value};

/// The job that ends items of one table.
pub const EXPIRE: &str = "dynamodb.expire";
/// Items ended in one run of the job.
const BATCH: usize = 500;
/// Times longer ago than that do not count, in seconds.
const FORGOTTEN: i64 = 5 * 366 * 86_400;

/// A place in the order of ends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct End;

impl Record for End {}

/// The table of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Of {
    account: String,
    region: String,
    name: String,
    ttl: u64,
}

/// What all ends of a table begin with.
fn ends(account: &str, ttl: u64) -> Row {
    Row::table(account, ttl)
}

fn end(table: &TableRecord, seconds: i64, row: &Row) -> Row {
    let mut end = ends(&table.account, table.ttl_uid);
    KeyFor::<i64>::encode(&seconds, &mut end.0);
    end.0.extend_from_slice(&row.0);
    end
}

impl Dynamo {
    /// Keeps the order of ends in line with an item's change.
    pub fn index_expiry(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        row: &Row,
        old: Option<&Attributes>,
        new: Option<&Attributes>,
    ) -> Result<(), Fault> {
        let old = old.and_then(|item| table.expiry(item));
        let new = new.and_then(|item| table.expiry(item));
        if old == new {
            return Ok(());
        }
        if let Some(seconds) = old {
            tx.delete(&self.ends, &end(table, seconds, row));
        }
        if let Some(seconds) = new {
            tx.put(&self.ends, &end(table, seconds, row), &End)?;
        }
        Ok(())
    }

    /// Adds an item that was there before to the order of ends.
    pub fn fill_expiry(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        row: &Row,
        item: &Attributes,
    ) -> Result<(), Fault> {
        if let Some(seconds) = table.expiry(item) {
            tx.put(&self.ends, &end(table, seconds, row), &End)?;
        }
        Ok(())
    }

    /// Plans the end of an item that ends before all others.
    pub async fn plan_expiry(
        &self,
        table: &TableRecord,
        new: Option<&Attributes>,
    ) -> Result<(), Fault> {
        if table.ttl.is_none() {
            return Ok(());
        }
        match new.and_then(|item| table.expiry(item)) {
            Some(seconds) => self.plan_end(table, seconds).await,
            None => Ok(()),
        }
    }

    /// Plans the job for a time, unless it is planned for an earlier one.
    async fn plan_end(&self, table: &TableRecord, seconds: i64) -> Result<(), Fault> {
        let planned = self.planned_ends.lock().get(&table.ttl_uid).copied();
        if planned.is_some_and(|planned| planned <= seconds) {
            return Ok(());
        }
        let key = table.ttl_uid.to_string();
        let of = Of {
            account: table.account.clone(),
            region: table.region.clone(),
            name: table.name.clone(),
            ttl: table.ttl_uid,
        };
        let payload = serde_json::to_value(&of)?;
        let scope = ["cloud.jobs", EXPIRE, key.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let planned = self.planned_ends.lock().get(&table.ttl_uid).copied();
                if planned.is_some_and(|planned| planned <= seconds) {
                    return Ok(());
                }
                // After a restart it is not known what is planned; the first of all ends is never too late.
                let seconds = match planned {
                    None => self
                        .first_end(tx, table)?
                        .map_or(seconds, |first| first.min(seconds)),
                    Some(_) => seconds,
                };
                let when = Timestamp::from_secs(seconds.max(0));
                self.cloud.scheduler.at(tx, when, EXPIRE, &key, payload)?;
                self.planned_ends.lock().insert(table.ttl_uid, seconds);
                Ok::<_, Fault>(())
            })
            .await
    }

    /// Plans the job for the first of all ends.
    pub async fn plan_first_end(&self, table: &TableRecord) -> Result<(), Fault> {
        let first = self.first_end(&self.cloud.store, table)?;
        match first {
            Some(seconds) => self.plan_end(table, seconds).await,
            None => Ok(()),
        }
    }

    fn first_end(&self, reader: &impl Read, table: &TableRecord) -> Result<Option<i64>, Fault> {
        let prefix = ends(&table.account, table.ttl_uid);
        let range = Range::prefix(&prefix).limit(1);
        let first = reader.range(&self.ends, range).next_key()?;
        Ok(first
            .and_then(|end| split(&prefix, &end))
            .map(|(seconds, _)| seconds))
    }

    /// Ends the items of a table whose time has come, and plans the next.
    pub async fn expire(&self, payload: serde_json::Value) -> Result<(), Fault> {
        let of: Of = serde_json::from_value(payload)?;
        self.planned_ends.lock().remove(&of.ttl);
        let view = self.cloud.store.read();
        let find = || self.catalog.find(&view, &of.account, &of.region, &of.name);
        let Some(table) = find()?.filter(|table| table.ttl_uid == of.ttl) else {
            return Ok(());
        };
        let now = self.cloud.clock.now().millis().div_euclid(1000);
        let ctx = Context::internal(
            &of.account,
            &of.region,
            "dynamodb.amazonaws.com",
            self.cloud.clock.now(),
        );
        let prefix = ends(&of.account, of.ttl);
        let (due, next) = self.due(&prefix, now)?;
        for (end, seconds, row) in due {
            self.end_item(&ctx, &table, end, seconds, row, now).await?;
        }
        match next {
            Some(seconds) => self.plan_end(&table, seconds.max(now)).await,
            None => Ok(()),
        }
    }

    /// The first places in an order of ends whose time has come, and the time of the one behind them.
    #[allow(clippy::type_complexity, reason = "named only here")]
    fn due(&self, prefix: &Row, now: i64) -> Result<(Vec<(Row, i64, Row)>, Option<i64>), Fault> {
        let view = self.cloud.store.read();
        let mut due = Vec::new();
        let mut rows = view.range(&self.ends, Range::prefix(prefix));
        while let Some(end) = rows.next_key()? {
            let Some((seconds, row)) = split(prefix, &end) else {
                continue;
            };
            if seconds > now || due.len() >= BATCH {
                return Ok((due, Some(seconds)));
            }
            due.push((end, seconds, row));
        }
        Ok((due, None))
    }

    async fn end_item(
        &self,
        ctx: &Context,
        table: &TableRecord,
        end: Row,
        seconds: i64,
        row: Row,
        now: i64,
    ) -> Result<(), Fault> {
        let stored: Option<Stored> = self.cloud.store.read().get(&self.items, &row)?;
        let item = stored.map(|stored| stored.attributes()).transpose()?;
        let is_due = item.as_ref().and_then(|item| table.expiry(item)) == Some(seconds);
        if let (Some(item), Some(attribute), true) = (item, &table.ttl, is_due)
            && seconds > now - FORGOTTEN
        {
            let change = Change {
                key: table.keys.of(&item),
                row,
                action: Action::Delete,
                condition: Some(Condition::Compare(
                    Comparator::Le,
                    Operand::Path(Path::of(attribute)),
                    Operand::Value(Value::N(Number::from_u64(now.unsigned_abs() + 1))),
                )),
                shows_item: false,
                wants_old: false,
            };
            return match self.change(ctx, table, &change, Cause::Expiry).await {
                // Changed meanwhile: its new end is planned.
                Ok(_) | Err(Refusal::Condition(_)) => Ok(()),
                Err(Refusal::Stale) => Err(Fault::internal("the table was changed meanwhile")),
                Err(Refusal::Fault(fault)) => Err(fault),
            };
        }
        // A time that does not count, or an item that is gone: out of the order.
        let uid = table.uid.to_string();
        let scope = ["dynamodb.items", uid.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                tx.delete(&self.ends, &end);
                Ok::<_, Fault>(())
            })
            .await
    }

    /// Removes what is left of an order of ends; `true` if more is left.
    pub fn forget_ends(
        &self,
        tx: &mut Tx<'_>,
        account: &str,
        ttl: u64,
        limit: usize,
    ) -> Result<bool, Fault> {
        let mut found = Vec::new();
        let range = Range::prefix(&ends(account, ttl)).limit(limit);
        let mut rows = tx.range(&self.ends, range);
        while let Some(row) = rows.next_key()? {
            found.push(row);
        }
        for row in &found {
            tx.delete(&self.ends, row);
        }
        Ok(found.len() >= limit)
    }

    /// `UpdateTimeToLive`
    pub async fn update_time_to_live(
        &self,
        ctx: &Context,
        input: UpdateTimeToLiveInput,
    ) -> Result<UpdateTimeToLiveOutput, Fault> {
        let place = Place::of(ctx, &input.table_name)?;
        let wanted = input.time_to_live_specification;
        let now = ctx.time;
        let ((), table) = self
            .change_table(&place, |tx, table| {
                match (&table.ttl, wanted.enabled) {
                    (Some(attribute), true) if *attribute == wanted.attribute_name => {
                        return Err(validation("TimeToLive is already enabled"));
                    }
                    (Some(attribute), _) if *attribute != wanted.attribute_name => {
                        return Err(validation(format!(
                            "TimeToLive is active on a different AttributeName: current AttributeName is {attribute}"
                        )));
                    }
                    (None, false) => return Err(validation("TimeToLive is already disabled")),
                    (Some(_), _) => {
                        table.ttl = None;
                        self.leave_ends(tx, table, now)?;
                    }
                    (None, true) => {
                        table.ttl = Some(wanted.attribute_name.clone());
                        table.ttl_uid = unique();
                        self.plan_fill(tx, table, Task::Ends(table.ttl_uid), now)?;
                    }
                }
                self.settings_changed(tx, table)
            })
            .await?;
        if table.ttl.is_some() {
            self.fill_now(&table, Task::Ends(table.ttl_uid)).await;
        }
        Ok(UpdateTimeToLiveOutput {
            time_to_live_specification: Some(wanted),
        })
    }

    /// `DescribeTimeToLive`
    pub async fn describe_time_to_live(
        &self,
        ctx: &Context,
        input: DescribeTimeToLiveInput,
    ) -> Result<DescribeTimeToLiveOutput, Fault> {
        let table = self.catalog.described(ctx, &input.table_name)?;
        Ok(DescribeTimeToLiveOutput {
            time_to_live_description: Some(described(&table)),
        })
    }
}

/// How a table's time to live is described.
pub fn described(table: &TableRecord) -> TimeToLiveDescription {
    let status = match table.ttl {
        Some(_) => "ENABLED",
        None => "DISABLED",
    };
    TimeToLiveDescription {
        time_to_live_status: Some(status.into()),
        attribute_name: table.ttl.clone(),
    }
}

/// The time and the item's row of a place in the order of ends.
fn split(prefix: &Row, end: &Row) -> Option<(i64, Row)> {
    let rest = end.0.get(prefix.0.len()..)?;
    let (seconds, row) = rest.split_first_chunk::<8>()?;
    let seconds = <i64 as store::Key>::decode(&mut &seconds[..]).ok()?;
    Some((seconds, Row(row.to_vec())))
}
