//! What is newly kept of a table is filled with the items that are there already: in batches, each a job.

use serde::{Deserialize, Serialize};
use store::{Range, Read, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::catalog::Place;
use crate::change::SHARDS;
use crate::item::{self, Stored};
use crate::key::{BASE, Row};
use crate::service::Dynamo;
use crate::table::{TableRecord, Tallies};

/// The job.
pub const FILL: &str = "dynamodb.fill";
/// Items looked at in one transaction.
const BATCH: usize = 500;

/// What is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// An index of any kind, by its number.
    Index(u8),
    /// The order of ends, by its number.
    Ends(u64),
}

/// How far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Progress {
    account: String,
    region: String,
    name: String,
    uid: u64,
    task: Task,
    /// The last row looked at.
    #[serde(default)]
    after: Vec<u8>,
}

impl Progress {
    fn key(&self) -> String {
        match self.task {
            Task::Index(number) => format!("{}-{number}", self.uid),
            Task::Ends(uid) => format!("{}-ends-{uid}", self.uid),
        }
    }
}

impl Dynamo {
    /// Plans to fill something, within the transaction that makes it.
    pub fn plan_fill(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        task: Task,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let progress = Progress {
            account: table.account.clone(),
            region: table.region.clone(),
            name: table.name.clone(),
            uid: table.uid,
            task,
            after: Vec::new(),
        };
        let (key, payload) = (progress.key(), serde_json::to_value(&progress)?);
        // A little later, so that a small table is filled before the job begins.
        let when = now.plus_millis(2_000);
        self.cloud.scheduler.at(tx, when, FILL, &key, payload)
    }

    /// Fills at once, where one batch is enough; the planned job sees to larger tables.
    pub async fn fill_now(&self, table: &TableRecord, task: Task) {
        let progress = Progress {
            account: table.account.clone(),
            region: table.region.clone(),
            name: table.name.clone(),
            uid: table.uid,
            task,
            after: Vec::new(),
        };
        if let Err(fault) = self.fill_some(progress, false).await {
            tracing::warn!(%fault, cause = fault.cause, "filling is left to its job");
        }
    }

    /// Runs the job.
    pub async fn fill(&self, payload: serde_json::Value) -> Result<(), Fault> {
        self.fill_some(serde_json::from_value(payload)?, true).await
    }

    async fn fill_some(&self, progress: Progress, is_job: bool) -> Result<(), Fault> {
        let place = Place {
            account: progress.account.clone(),
            region: progress.region.clone(),
            name: progress.name.clone(),
        };
        let view = self.cloud.store.read();
        let found = self
            .catalog
            .find(&view, &place.account, &place.region, &place.name)?;
        let Some(table) = found.filter(|table| table.uid == progress.uid) else {
            return Ok(());
        };
        let is_wanted = match progress.task {
            Task::Index(number) => {
                let is_it = |own: u8, is_backfilling: bool| own == number && is_backfilling;
                let mut indexes = table.indexes.iter();
                let mut vectors = table.vectors.iter();
                indexes.any(|index| is_it(index.number, index.is_backfilling))
                    || vectors.any(|index| is_it(index.number, index.is_backfilling))
            }
            Task::Ends(uid) => table.ttl.is_some() && table.ttl_uid == uid,
        };
        if !is_wanted {
            return Ok(());
        }
        let uid = table.uid.to_string();
        let scope = ["dynamodb.items", uid.as_str()];
        let after = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                if !self.catalog.is_current(tx, &table)? {
                    return Err(Fault::internal("the table was changed meanwhile"));
                }
                self.fill_batch(tx, &table, &progress)
            })
            .await?;
        match after {
            None => self.filled(&place, &table, progress.task).await,
            Some(after) if is_job => {
                let next = Progress { after, ..progress };
                let (key, payload) = (next.key(), serde_json::to_value(&next)?);
                let scope = ["cloud.jobs", FILL, key.as_str()];
                let now = self.cloud.clock.now();
                self.cloud
                    .store
                    .transact(Scope::new(&scope), |tx| {
                        self.cloud.scheduler.at(tx, now, FILL, &key, payload)
                    })
                    .await
            }
            Some(_) => Ok(()),
        }
    }

    /// Looks at the next items; answers the last one's row if there may be more.
    fn fill_batch(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        progress: &Progress,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let mut range = Range::prefix(&Row::index(&table.account, table.uid, BASE));
        if !progress.after.is_empty() {
            range = range.after(&Row(progress.after.clone()));
        }
        let rows: Vec<(Row, Stored)> = tx
            .range(&self.items, range.limit(BATCH))
            .collect::<Result<_, _>>()?;
        let index = match progress.task {
            Task::Index(number) => table.indexes.iter().find(|index| index.number == number),
            Task::Ends(_) => None,
        };
        let vector = match progress.task {
            Task::Index(number) => table.vectors.iter().find(|index| index.number == number),
            Task::Ends(_) => None,
        };
        let mut sums = vec![Tallies::default(); SHARDS];
        for (row, stored) in &rows {
            let item = stored.attributes()?;
            if let Some(index) = vector {
                if let Some(bytes) = self.fill_vector(tx, table, index, &item)? {
                    let tally = sums[row.shard(SHARDS)].at(index.number);
                    tally.items += 1;
                    tally.bytes += bytes as i64;
                }
                continue;
            }
            let Some(index) = index else {
                self.fill_expiry(tx, table, row, &item)?;
                continue;
            };
            if !index.keys.cover(&item) {
                continue;
            }
            let entry = Row::entry(
                &table.account,
                table.uid,
                index.number,
                &index.keys,
                &table.keys,
                &item,
            );
            if tx.contains(&self.items, &entry)? {
                continue;
            }
            let projected = index.project(&table.keys, &item);
            let tally = sums[row.shard(SHARDS)].at(index.number);
            tally.items += 1;
            tally.bytes += item::size(&projected) as i64;
            tx.put(&self.items, &entry, &Stored::new(&projected))?;
        }
        for (shard, sum) in sums.iter().enumerate().filter(|(_, sum)| !sum.0.is_empty()) {
            let key = (table.account.as_str(), table.uid, shard as u8);
            let mut tallies = tx.get(&self.tallies, &key)?.unwrap_or_default();
            tallies.merge(sum);
            tx.put(&self.tallies, &key, &tallies)?;
        }
        let is_more = rows.len() >= BATCH;
        Ok(rows
            .into_iter()
            .last()
            .filter(|_| is_more)
            .map(|(row, _)| row.0))
    }

    /// Everything is filled.
    async fn filled(&self, place: &Place, table: &TableRecord, task: Task) -> Result<(), Fault> {
        match task {
            Task::Ends(_) => self.plan_first_end(table).await,
            Task::Index(number) => {
                let uid = table.uid;
                let done = self
                    .change_table(place, |_, table| {
                        if table.uid == uid {
                            for index in &mut table.indexes {
                                index.is_backfilling &= index.number != number;
                            }
                            for index in &mut table.vectors {
                                index.is_backfilling &= index.number != number;
                            }
                        }
                        Ok(())
                    })
                    .await;
                match done {
                    Ok(_) => Ok(()),
                    Err(fault) if fault.is("ResourceNotFoundException") => Ok(()),
                    Err(fault) => Err(fault),
                }
            }
        }
    }
}
