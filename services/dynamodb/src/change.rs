//! A change of one item: its condition, and everything that follows from it in the same transaction.

use std::sync::Arc;

use cloud::Context;
use store::{Read, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api;
use crate::capacity::{Usage, write_units};
use crate::expression::{Condition, Update};
use crate::fault::validation;
use crate::item::{self, Item, Stored};
use crate::key::Row;
use crate::service::Dynamo;
use crate::stream::Cause;
use crate::table::{Index, TableRecord};
use crate::value::{Attributes, Value};

/// An item's largest size.
pub const MAX_ITEM: usize = 400 * 1024;
/// How many parts of a table can be written at the same time.
pub const SHARDS: usize = 64;

/// What is to be done with an item.
#[derive(Clone, Debug)]
pub enum Action {
    /// Put in place of what is there.
    Put(Arc<Attributes>),
    /// Changed, or created.
    Update(Box<Update>),
    /// Deleted.
    Delete,
    /// Only the condition matters.
    Check,
}

/// A change of one item.
#[derive(Clone, Debug)]
pub struct Change {
    /// The item's key.
    pub key: Attributes,
    /// Its row.
    pub row: Row,
    /// What is to be done.
    pub action: Action,
    /// What must hold.
    pub condition: Option<Condition>,
    /// Whether a refusal shows the item.
    pub shows_item: bool,
    /// Whether the caller wants to see what was there.
    pub wants_old: bool,
}

/// How it went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was there, where anything needed to know.
    pub old: Option<Attributes>,
    /// What is there now.
    pub new: Option<Arc<Attributes>>,
    /// What it took.
    pub usage: Usage,
}

/// Why it was not done.
#[derive(Debug)]
pub enum Refusal {
    /// The condition does not hold; the item, if it was to be shown.
    Condition(Option<Item>),
    /// The table is not what it was when the request was checked against it.
    Stale,
    /// Anything else.
    Fault(Fault),
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Refusal {
        Refusal::Fault(error.into())
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::Fault(fault)
    }
}

/// The error of a condition that does not hold.
pub fn condition_failed(item: Option<Item>) -> Fault {
    const MESSAGE: &str = "The conditional request failed";
    let fault = crate::errors::conditional_check_failed_exception(MESSAGE);
    match item {
        None => fault,
        Some(item) => fault.detail(api::ConditionalCheckFailedException {
            message: Some(MESSAGE.into()),
            item: Some(item),
        }),
    }
}

/// Names of shards, for scopes.
pub fn shard_name(shard: usize) -> &'static str {
    const NAMES: [&str; SHARDS] = {
        const DIGITS: &str = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960616263";
        let mut names = [""; SHARDS];
        let mut at = 0;
        while at < SHARDS {
            let (_, rest) = DIGITS.split_at(at * 2);
            let (name, _) = rest.split_at(2);
            names[at] = name;
            at += 1;
        }
        names
    };
    NAMES[shard % SHARDS]
}

impl Dynamo {
    /// Does one change and answers once it is durable.
    pub async fn change(
        &self,
        ctx: &Context,
        table: &TableRecord,
        change: &Change,
        cause: Cause,
    ) -> Result<Outcome, Refusal> {
        let uid = table.uid.to_string();
        let shard = ["dynamodb.items", &uid, shard_name(change.row.shard(SHARDS))];
        let whole = ["dynamodb.items", &uid];
        let stream = ["dynamodb.stream", &uid];
        let mut scope = Scope::new(&shard).within(&whole);
        if table.stream_view.is_some() {
            scope = scope.and(&stream);
        }
        let outcome = self
            .cloud
            .store
            .transact(scope, |tx| {
                if !self.catalog.is_current(tx, table)? {
                    return Err(Refusal::Stale);
                }
                self.apply(tx, table, change, ctx.time, cause)
            })
            .await?;
        if cause == Cause::Request {
            self.spend(table, &outcome.usage, true);
        }
        self.plan_expiry(table, outcome.new.as_deref()).await?;
        Ok(outcome)
    }

    /// Applies a change within a transaction that holds its scopes.
    pub fn apply(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        change: &Change,
        now: Timestamp,
        cause: Cause,
    ) -> Result<Outcome, Refusal> {
        let stored: Option<Stored> = tx.get(&self.items, &change.row)?;
        let old_size = stored.as_ref().map_or(0, Stored::size);
        let reads_old = change.wants_old
            || change.condition.is_some()
            || table.stream_view.is_some()
            || !table.kinesis.is_empty()
            || table.ttl.is_some()
            || !table.indexes.is_empty()
            || !table.vectors.is_empty()
            || matches!(change.action, Action::Update(_));
        let old = match &stored {
            Some(stored) if reads_old => Some(stored.attributes()?),
            _ => None,
        };
        if let Some(condition) = &change.condition {
            let nothing = Attributes::new();
            if !condition.holds(old.as_ref().unwrap_or(&nothing)) {
                let item = stored.filter(|_| change.shows_item).map(Item::Stored);
                return Err(Refusal::Condition(item));
            }
        }
        let new = match &change.action {
            Action::Check => {
                return Ok(Outcome {
                    usage: Usage::of_table(write_units(old_size)),
                    ..Outcome::default()
                });
            }
            Action::Delete => None,
            Action::Put(item) => Some(item.clone()),
            Action::Update(update) => {
                if old.is_none() && !update.creates() {
                    return Ok(Outcome {
                        usage: Usage::of_table(1.0),
                        ..Outcome::default()
                    });
                }
                Some(Arc::new(updated(table, change, old.as_ref(), update)?))
            }
        };
        let encoded = new.as_deref().map(Stored::new);
        if encoded.is_some() || stored.is_some() {
            self.keep_former(tx, table, &change.row, stored.as_ref())?;
        }
        let new_size = encoded.as_ref().map_or(0, Stored::size);
        let mut usage = Usage::of_table(write_units(old_size.max(new_size)));
        match &encoded {
            Some(encoded) => tx.put(&self.items, &change.row, encoded)?,
            None if stored.is_some() => tx.delete(&self.items, &change.row),
            None => {
                return Ok(Outcome {
                    usage,
                    ..Outcome::default()
                });
            }
        }
        let shard = change.row.shard(SHARDS) as u8;
        let tally_key = (table.account.as_str(), table.uid, shard);
        let mut tallies = tx.get(&self.tallies, &tally_key)?.unwrap_or_default();
        let own = tallies.at(0);
        own.items += i64::from(encoded.is_some()) - i64::from(stored.is_some());
        own.bytes += new_size as i64 - old_size as i64;
        for index in &table.indexes {
            let (units, items, bytes) =
                self.index(tx, table, index, old.as_ref(), new.as_deref())?;
            if units > 0.0 {
                usage.add_index(&index.name, index.is_local, units);
            }
            let tally = tallies.at(index.number);
            tally.items += items;
            tally.bytes += bytes;
        }
        for index in &table.vectors {
            let (written, items, bytes) =
                self.index_vector(tx, table, index, old.as_ref(), new.as_deref())?;
            if written > 0 {
                usage.add_vector(&index.name, written);
            }
            let tally = tallies.at(index.number);
            tally.items += items;
            tally.bytes += bytes;
        }
        tx.put(&self.tallies, &tally_key, &tallies)?;
        if table.ttl.is_some() {
            self.index_expiry(tx, table, &change.row, old.as_ref(), new.as_deref())?;
        }
        if !table.replicas.is_empty() && cause != Cause::Replication {
            self.send_to_replicas(tx, table, change, encoded, now)?;
        }
        if table.stream_view.is_some() {
            self.record(tx, table, change, old.as_ref(), new.as_deref(), now, cause)?;
        }
        if !table.kinesis.is_empty() {
            self.send_on(tx, table, change, old.as_ref(), new.as_deref(), now, cause)?;
        }
        Ok(Outcome { old, new, usage })
    }

    /// Brings one index in line with an item's change: units, items and bytes.
    fn index(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        index: &Index,
        old: Option<&Attributes>,
        new: Option<&Attributes>,
    ) -> Result<(f64, i64, i64), Fault> {
        let entry = |item: Option<&Attributes>| {
            let item = item.filter(|item| index.keys.cover(item))?;
            let row = Row::entry(
                &table.account,
                table.uid,
                index.number,
                &index.keys,
                &table.keys,
                item,
            );
            Some((row, index.project(&table.keys, item)))
        };
        let (old, new) = (entry(old), entry(new));
        let size = |entry: &Option<(Row, Attributes)>| {
            entry.as_ref().map_or(0, |(_, item)| item::size(item))
        };
        let (old_size, new_size) = (size(&old), size(&new));
        let mut units = 0.0;
        match (&old, &new) {
            (Some((old_row, old_item)), Some((new_row, new_item))) if old_row == new_row => {
                if old_item == new_item && !index.is_backfilling {
                    return Ok((0.0, 0, 0));
                }
                units += write_units(old_size.max(new_size));
            }
            (old, new) => {
                if let Some((row, _)) = old {
                    tx.delete(&self.items, row);
                    units += write_units(old_size);
                }
                if new.is_some() {
                    units += write_units(new_size);
                }
            }
        }
        // What a backfill has not reached yet is not counted yet.
        let was_there = match &old {
            Some((row, _)) if index.is_backfilling => self.was_indexed(tx, row)?,
            old => old.is_some(),
        };
        if let Some((row, item)) = &new {
            tx.put(&self.items, row, &Stored::new(item))?;
        }
        let old_size = if was_there { old_size } else { 0 };
        Ok((
            units,
            i64::from(new.is_some()) - i64::from(was_there),
            new_size as i64 - old_size as i64,
        ))
    }

    /// Whether a row of an index is committed.
    fn was_indexed(&self, tx: &Tx<'_>, row: &Row) -> Result<bool, Fault> {
        let _ = tx;
        Ok(self.cloud.store.read().contains(&self.items, row)?)
    }
}

/// The item after an update, checked.
fn updated(
    table: &TableRecord,
    change: &Change,
    old: Option<&Attributes>,
    update: &Update,
) -> Result<Attributes, Fault> {
    let nothing = Attributes::new();
    let mut new = update.apply(old.unwrap_or(&nothing))?;
    for (name, value) in &change.key {
        new.insert(name.clone(), value.clone());
    }
    for index in &table.indexes {
        for part in index.keys.parts() {
            let Some(value) = new.get(&part.name) else {
                continue;
            };
            if !part.kind.fits(value) && old.and_then(|old| old.get(&part.name)) != Some(value) {
                return Err(part.mismatch(&index.name, value));
            }
        }
        index.keys.check_index(&index.name, &new).map_err(|fault| {
            let is_empty = fault.message.contains("cannot contain an empty");
            let what = match fault.message.contains("binary") {
                true => "binary",
                false => "string",
            };
            match is_empty {
                true => validation(format!(
                    "One or more parameter values are not valid. The update expression attempted to update a secondary index key to a value that is not supported. The AttributeValue for a key attribute cannot contain an empty {what} value."
                )),
                false => fault,
            }
        })?;
    }
    table.check_vectors(&new, old)?;
    if item::size(&new) > MAX_ITEM {
        return Err(validation(
            "Item size to update has exceeded the maximum allowed size",
        ));
    }
    if update.is_nested()
        && let Some(problem) = new.values().find_map(Value::problem)
    {
        return Err(validation(problem));
    }
    Ok(new)
}
