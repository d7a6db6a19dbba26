//! How far consumers have come, as it is stored.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Range, Read, Record, Scope, Table, Tx};
use wire::Fault;

use crate::{Cloud, Delivery};

use super::source::Stream;
use super::{Owner, Start};

/// A window that is open, with its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) start: i64,
    pub(super) state: Value,
}

/// Records that failed and are to be tried again: a restart goes on counting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Failing {
    /// How many they are, from the lane's next one.
    pub(super) count: usize,
    /// How often they were handed over, and how often that counted as a failure.
    pub(super) attempts: u32,
    pub(super) failures: u32,
}

/// How far one lane of a shard has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Lane {
    /// The position of the next record.
    pub(super) next: u64,
    #[serde(default)]
    pub(super) window: Option<Open>,
    #[serde(default)]
    pub(super) failing: Option<Failing>,
}

impl Lane {
    fn at(next: u64) -> Lane {
        Lane {
            next,
            ..Lane::default()
        }
    }
}

/// How far a consumer has come in a shard. The row without a shard says that the consumer has begun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// One for each batch that runs at once.
    pub(super) lanes: Vec<Lane>,
    /// The lanes there were before their number was changed: what they have had is not handed over again.
    pub(super) earlier: Vec<u64>,
    /// Whether all of the shard was taken.
    pub(super) is_done: bool,
}
impl Record for Row {}

/// Positions in the store.
#[derive(Clone)]
pub(super) struct Progress {
    cloud: Cloud,
    rows: Table<(String, String, String), Row>,
}

impl Progress {
    pub(super) fn new(cloud: &Cloud, table: &'static str) -> Progress {
        Progress {
            cloud: cloud.clone(),
            rows: cloud.store.table(table),
        }
    }

    async fn change<R>(
        &self,
        owner: &Owner,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["cloud.consumer", &owner.account, &owner.name];
        self.cloud.store.transact(Scope::new(&scope), f).await
    }

    /// Fixes the beginning of every shard there is, once; shards that come later are read from their oldest record.
    pub(super) async fn begin(
        &self,
        owner: &Owner,
        stream: &Stream,
        start: Start,
    ) -> Result<(), Fault> {
        let mark = (&owner.account, &owner.name, "");
        if self.cloud.store.read().contains(&self.rows, &mark)? {
            return Ok(());
        }
        let mut first = Vec::new();
        for shard in stream.shards()? {
            let next = stream.begin(&shard.id, start)?;
            first.push((shard.id, next));
        }
        self.change(owner, |tx| {
            if tx.contains(&self.rows, &mark)? {
                return Ok(());
            }
            tx.put(&self.rows, &mark, &Row::default())?;
            for (shard, next) in first {
                let row = Row {
                    lanes: vec![Lane::at(next)],
                    ..Row::default()
                };
                tx.put(&self.rows, &(&owner.account, &owner.name, &shard), &row)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) fn row(&self, owner: &Owner, shard: &str) -> Result<Option<Row>, Fault> {
        let key = (&owner.account, &owner.name, shard);
        Ok(self.cloud.store.read().get(&self.rows, &key)?)
    }

    /// The row of a shard with that many lanes.
    pub(super) async fn open(
        &self,
        owner: &Owner,
        stream: &Stream,
        shard: &str,
        lanes: usize,
    ) -> Result<Row, Fault> {
        let known = self.row(owner, shard)?;
        let row = match known {
            Some(row) if row.lanes.len() == lanes => return Ok(row),
            Some(row) => {
                let least = row.lanes.iter().map(|lane| lane.next).min().unwrap_or(0);
                Row {
                    earlier: row.lanes.iter().map(|lane| lane.next).collect(),
                    // A window, or a failure, of one key's lane is not another's.
                    lanes: vec![Lane::at(least); lanes],
                    is_done: row.is_done,
                }
            }
            None => {
                let next = stream.begin(shard, Start::Oldest)?;
                Row {
                    lanes: vec![Lane::at(next); lanes],
                    ..Row::default()
                }
            }
        };
        self.write(owner, shard, &[], |old| *old = row.clone())
            .await?;
        Ok(row)
    }

    /// Changes the row of a shard and sends deliveries in the same step; nothing, once the consumer was forgotten.
    pub(super) async fn write(
        &self,
        owner: &Owner,
        shard: &str,
        sends: &[Delivery],
        f: impl FnOnce(&mut Row),
    ) -> Result<(), Fault> {
        let key = (&owner.account, &owner.name, shard);
        self.change(owner, |tx| {
            if !tx.contains(&self.rows, &(&owner.account, &owner.name, ""))? {
                return Ok(());
            }
            let old: Option<Row> = tx.get(&self.rows, &key)?;
            let mut row = old.clone().unwrap_or_default();
            f(&mut row);
            if old.as_ref() != Some(&row) {
                tx.put(&self.rows, &key, &row)?;
            }
            sends
                .iter()
                .try_for_each(|delivery| self.cloud.targets.send(tx, delivery))
        })
        .await
    }

    pub(super) async fn forget(&self, owner: &Owner) -> Result<(), Fault> {
        self.delete(owner, |_| true).await
    }

    /// Forgets the shards, so that those of a stream made anew are read from their oldest record.
    pub(super) async fn restart(&self, owner: &Owner) -> Result<(), Fault> {
        self.delete(owner, |shard| !shard.is_empty()).await
    }

    async fn delete(&self, owner: &Owner, is_meant: impl Fn(&str) -> bool) -> Result<(), Fault> {
        self.change(owner, |tx| {
            let rows = tx.range(&self.rows, Range::prefix(&(&owner.account, &owner.name)));
            let shards = rows
                .map(|row| row.map(|((.., shard), _)| shard))
                .collect::<Result<Vec<_>, _>>()?;
            for shard in shards.iter().filter(|shard| is_meant(shard)) {
                tx.delete(&self.rows, &(&owner.account, &owner.name, shard));
            }
            Ok(())
        })
        .await
    }
}
