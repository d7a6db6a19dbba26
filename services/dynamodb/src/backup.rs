//! Backups on demand, and tables restored from them.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::catalog::Place;
use crate::change::SHARDS;
use crate::create::{Remains, SWEEP, encryption, unique};
use crate::definition;
use crate::errors::*;
use crate::fill::Task;
use crate::item::Stored;
use crate::key::{BASE, Row};
use crate::service::Dynamo;
use crate::table::{self, Projected, TableRecord, Tallies};
use crate::ttl;
use crate::vector;

/// A backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backup {
    name: String,
    /// The table as it was.
    table: TableRecord,
    /// What its items are kept under.
    uid: u64,
    created: i64,
    items: i64,
    bytes: i64,
    is_ready: bool,
}

impl Record for Backup {}

/// Where a backup is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct BackupPlace {
    account: String,
    region: String,
    table: String,
    id: String,
}

/// The job that finishes a backup that a crash interrupted.
pub const BACKUP: &str = "dynamodb.backup";
/// Rows copied in one transaction.
const BATCH: usize = 500;

impl BackupPlace {
    fn of(arn: &str) -> Option<BackupPlace> {
        let arn: cloud::Arn = arn.parse().ok()?;
        let (table, id) = arn
            .resource
            .strip_prefix("table/")?
            .split_once("/backup/")?;
        (arn.service == "dynamodb").then(|| BackupPlace {
            account: arn.account.clone(),
            region: arn.region.clone(),
            table: table.to_owned(),
            id: id.to_owned(),
        })
    }

    fn arn(&self) -> String {
        let table = table::arn(&self.account, &self.region, &self.table);
        format!("{table}/backup/{}", self.id)
    }

    fn key(&self) -> (&str, &str, &str, &str) {
        (&self.account, &self.region, &self.table, &self.id)
    }
}

fn no_backup(arn: &str) -> Fault {
    backup_not_found_exception(format!("Backup not found: {arn}"))
}

impl Dynamo {
    /// `CreateBackup`
    pub async fn create_backup(
        &self,
        ctx: &Context,
        input: CreateBackupInput,
    ) -> Result<CreateBackupOutput, Fault> {
        let table = self.backed_up(ctx, &input.table_name)?;
        let now = ctx.time;
        let place = BackupPlace {
            account: table.account.clone(),
            region: table.region.clone(),
            table: table.name.clone(),
            id: format!("{:014}-{}", now.millis(), cloud::ids::hex(8)),
        };
        let tally = self.tallies(&table)?.at(BASE).to_owned();
        let backup = Backup {
            name: input.backup_name,
            table: (*table).clone(),
            uid: unique(),
            created: now.millis(),
            items: tally.items,
            bytes: tally.bytes,
            is_ready: false,
        };
        let details = backup.details(&place);
        let payload = serde_json::to_value(&place)?;
        let scope = ["dynamodb.backups", place.id.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                tx.put(&self.backups, &place.key(), &backup)?;
                let when = now.plus_millis(60_000);
                self.cloud
                    .scheduler
                    .at(tx, when, BACKUP, &place.id, payload)
            })
            .await?;
        self.fill_backup(&place).await?;
        Ok(CreateBackupOutput {
            backup_details: Some(details),
        })
    }

    /// Runs the job.
    pub async fn finish_backup(&self, payload: serde_json::Value) -> Result<(), Fault> {
        self.fill_backup(&serde_json::from_value(payload)?).await
    }

    /// Copies a table's items into a backup that is not ready yet.
    async fn fill_backup(&self, place: &BackupPlace) -> Result<(), Fault> {
        let found = self.cloud.store.read().get(&self.backups, &place.key())?;
        let Some(backup) = found.filter(|backup| !backup.is_ready) else {
            return Ok(());
        };
        let table = &backup.table;
        let tally = self
            .copy(&table.account, table.uid, backup.uid)
            .await?
            .at(BASE)
            .to_owned();
        let scope = ["dynamodb.backups", place.id.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let Some(mut backup) = tx.get(&self.backups, &place.key())? else {
                    return Ok(());
                };
                backup.items = tally.items;
                backup.bytes = tally.bytes;
                backup.is_ready = true;
                tx.put(&self.backups, &place.key(), &backup)?;
                self.cloud.scheduler.cancel(tx, BACKUP, &place.id)
            })
            .await
    }

    /// Copies the items under one number to another, in batches; as in AWS, a backup is no moment.
    pub async fn copy(&self, account: &str, from: u64, to: u64) -> Result<Tallies, Fault> {
        let source = Row::index(account, from, BASE);
        let target = Row::index(account, to, BASE);
        let name = to.to_string();
        let scope = ["dynamodb.items", name.as_str()];
        let mut after: Option<Row> = None;
        let mut sum = Tallies::default();
        loop {
            let mut range = Range::prefix(&source).limit(BATCH);
            if let Some(after) = &after {
                range = range.after(after);
            }
            let view = self.cloud.store.read();
            let rows: Vec<(Row, Stored)> =
                view.range(&self.items, range).collect::<Result<_, _>>()?;
            let count = rows.len();
            let mut tallies = vec![Tallies::default(); SHARDS];
            self.cloud
                .store
                .transact(Scope::new(&scope), |tx| {
                    for (row, stored) in &rows {
                        let mut copy = target.clone();
                        copy.0.extend_from_slice(&row.0[source.0.len()..]);
                        let tally = tallies[copy.shard(SHARDS)].at(BASE);
                        tally.items += 1;
                        tally.bytes += stored.size() as i64;
                        tx.put(&self.items, &copy, stored)?;
                    }
                    for (shard, more) in tallies.iter().enumerate() {
                        if more.0.is_empty() {
                            continue;
                        }
                        let key = (account, to, shard as u8);
                        let mut kept = tx.get(&self.tallies, &key)?.unwrap_or_default();
                        kept.merge(more);
                        tx.put(&self.tallies, &key, &kept)?;
                    }
                    Ok::<_, Fault>(())
                })
                .await?;
            tallies.iter().for_each(|more| sum.merge(more));
            after = rows.into_iter().last().map(|(row, _)| row);
            if count < BATCH {
                return Ok(sum);
            }
            // A long copy leaves its thread to others now and then.
            tokio::task::yield_now().await;
        }
    }

    fn backup(&self, ctx: &Context, arn: &str) -> Result<(BackupPlace, Backup), Fault> {
        let place = BackupPlace::of(arn).filter(|place| place.account == ctx.account);
        let place = place.ok_or_else(|| no_backup(arn))?;
        let found = self.cloud.store.read().get(&self.backups, &place.key())?;
        Ok((place, found.ok_or_else(|| no_backup(arn))?))
    }

    /// `DescribeBackup`
    pub async fn describe_backup(
        &self,
        ctx: &Context,
        input: DescribeBackupInput,
    ) -> Result<DescribeBackupOutput, Fault> {
        let (place, backup) = self.backup(ctx, &input.backup_arn)?;
        Ok(DescribeBackupOutput {
            backup_description: Some(backup.describe(&place)),
        })
    }

    /// `DeleteBackup`
    pub async fn delete_backup(
        &self,
        ctx: &Context,
        input: DeleteBackupInput,
    ) -> Result<DeleteBackupOutput, Fault> {
        let (place, backup) = self.backup(ctx, &input.backup_arn)?;
        if !backup.is_ready {
            return Err(backup_in_use_exception("Backup is being created"));
        }
        let scope = ["dynamodb.backups", place.id.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                if !tx.contains(&self.backups, &place.key())? {
                    return Err(no_backup(&input.backup_arn));
                }
                tx.delete(&self.backups, &place.key());
                let remains = Remains::Table {
                    account: place.account.clone(),
                    uid: backup.uid,
                    ttl: 0,
                };
                self.leave(tx, &remains, ctx.time)
            })
            .await?;
        let mut description = backup.describe(&place);
        if let Some(details) = &mut description.backup_details {
            details.backup_status = "DELETED".into();
        }
        Ok(DeleteBackupOutput {
            backup_description: Some(description),
        })
    }

    /// `ListBackups`
    pub async fn list_backups(
        &self,
        ctx: &Context,
        input: ListBackupsInput,
    ) -> Result<ListBackupsOutput, Fault> {
        let limit = input.limit.unwrap_or(100) as usize;
        let (account, region) = (ctx.account.as_str(), ctx.region.as_str());
        let only = match &input.table_name {
            Some(name) => Some(Place::of(ctx, name)?.name),
            None => None,
        };
        let mut range = match &only {
            Some(table) => Range::prefix(&(account, region, table.as_str())),
            None => Range::prefix(&(account, region)),
        };
        if let Some(arn) = &input.exclusive_start_backup_arn {
            let place = BackupPlace::of(arn).ok_or_else(|| no_backup(arn))?;
            range = range.after(&place.key());
        }
        // Those that AWS makes itself do not exist here.
        let is_wanted = matches!(input.backup_type.as_deref(), None | Some("USER" | "ALL"));
        let mut found = Vec::new();
        let view = self.cloud.store.read();
        for row in view.range(&self.backups, range) {
            let ((account, region, table, id), backup) = row?;
            let is_in = input
                .time_range_lower_bound
                .is_none_or(|bound| backup.created >= bound.millis())
                && input
                    .time_range_upper_bound
                    .is_none_or(|bound| backup.created < bound.millis());
            if !is_wanted || !is_in {
                continue;
            }
            let place = BackupPlace {
                account,
                region,
                table,
                id,
            };
            found.push(backup.summary(&place));
            if found.len() > limit {
                break;
            }
        }
        let is_more = found.len() > limit;
        found.truncate(limit);
        Ok(ListBackupsOutput {
            last_evaluated_backup_arn: found
                .last()
                .filter(|_| is_more)
                .and_then(|backup| backup.backup_arn.clone()),
            backup_summaries: Some(found),
        })
    }

    /// `RestoreTableFromBackup`
    pub async fn restore_table_from_backup(
        &self,
        ctx: &Context,
        input: RestoreTableFromBackupInput,
    ) -> Result<RestoreTableFromBackupOutput, Fault> {
        let (place, backup) = self.backup(ctx, &input.backup_arn)?;
        if !backup.is_ready {
            return Err(backup_in_use_exception("Backup is being created"));
        }
        let target = Place::of(ctx, &input.target_table_name)?;
        let restore = Restore {
            billing_mode: input.billing_mode_override,
            global: input.global_secondary_index_override,
            local: input.local_secondary_index_override,
            vectors: input.vector_index_override,
            provisioned: input.provisioned_throughput_override,
            on_demand: input.on_demand_throughput_override,
            sse: input.sse_specification_override,
            backup: Some(place.arn()),
            when: backup.created,
        };
        let description = self
            .restore(ctx, &backup.table, backup.uid, &target, restore, None)
            .await?;
        Ok(RestoreTableFromBackupOutput {
            table_description: Some(description),
        })
    }

    /// Makes a table of the items under a number, with changes after a time taken back where a history is given.
    pub async fn restore(
        &self,
        ctx: &Context,
        source: &TableRecord,
        from: u64,
        target: &Place,
        restore: Restore,
        undo: Option<(u64, i64)>,
    ) -> Result<TableDescription, Fault> {
        let exists =
            || table_already_exists_exception(format!("Table already exists: {}", target.name));
        let view = self.cloud.store.read();
        let found = self
            .catalog
            .find(&view, &target.account, &target.region, &target.name)?;
        if found.is_some() {
            return Err(exists());
        }
        let table = restored(ctx, &restore, source, target)?;
        let remains = Remains::Table {
            account: table.account.clone(),
            uid: table.uid,
            ttl: 0,
        };
        // What a crash leaves half copied goes away by itself.
        let abandoned = ctx.time.plus_secs(86_400);
        let own = table.uid.to_string();
        let scope = ["dynamodb.restores", own.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| self.leave(tx, &remains, abandoned))
            .await?;
        self.copy(&table.account, from, table.uid).await?;
        if let Some(undo) = undo {
            self.undo(&table.account, from, table.uid, undo).await?;
        }
        let tasks: Vec<Task> = table
            .indexes
            .iter()
            .map(|index| index.number)
            .chain(table.vectors.iter().map(|index| index.number))
            .map(Task::Index)
            .collect();
        let made = self
            .insert_table(&table, |tx: &mut Tx<'_>| {
                self.cloud.scheduler.cancel(tx, SWEEP, &own)?;
                for task in &tasks {
                    self.plan_fill(tx, &table, *task, ctx.time)?;
                }
                Ok(())
            })
            .await;
        if let Err(fault) = made {
            return Err(match fault.is("ResourceInUseException") {
                true => exists(),
                false => fault,
            });
        }
        let description = table.describe("CREATING", &Tallies::default());
        for task in tasks {
            // Each one changes the record.
            let table = self.catalog.described(ctx, &table.name)?;
            self.fill_now(&table, task).await;
        }
        Ok(description)
    }
}

/// What a restore changes of the table that it makes again.
pub struct Restore {
    /// Another billing mode.
    pub billing_mode: Option<String>,
    /// The vector indexes that are kept.
    pub vectors: Option<Vec<crate::api::VectorIndex>>,
    /// The global indexes that are kept.
    pub global: Option<Vec<GlobalSecondaryIndex>>,
    /// The local indexes that are kept.
    pub local: Option<Vec<LocalSecondaryIndex>>,
    /// Another throughput.
    pub provisioned: Option<ProvisionedThroughput>,
    /// Another throughput on demand.
    pub on_demand: Option<OnDemandThroughput>,
    /// Another encryption.
    pub sse: Option<SSESpecification>,
    /// The backup's ARN.
    pub backup: Option<String>,
    /// The time that is restored, in milliseconds.
    pub when: i64,
}

/// The table that a restore makes.
fn restored(
    ctx: &Context,
    input: &Restore,
    source: &TableRecord,
    target: &Place,
) -> Result<TableRecord, Fault> {
    let now = ctx.time.millis();
    let provisioned = match (input.billing_mode.as_deref(), &input.provisioned) {
        (None, None) => source.provisioned,
        (Some("PROVISIONED"), None) if source.provisioned.is_some() => source.provisioned,
        (mode, given) => definition::billing(mode, given.as_ref())?,
    };
    let mut indexes = match (&input.local, &input.global) {
        (None, None) => source.indexes.clone(),
        (local, global) => {
            let is_kept = |index: &table::Index| match (index.is_local, local, global) {
                (true, None, _) | (false, _, None) => true,
                (true, Some(list), _) => list.iter().any(|i| i.index_name == index.name),
                (false, _, Some(list)) => list.iter().any(|i| i.index_name == index.name),
            };
            let kept = source.indexes.iter().filter(|index| is_kept(index));
            kept.cloned().collect()
        }
    };
    for index in &mut indexes {
        index.is_backfilling = true;
        index.provisioned = match provisioned {
            None => None,
            Some(capacity) if !index.is_local => index.provisioned.or(Some(capacity)),
            Some(_) => None,
        };
    }
    let mut vectors = match &input.vectors {
        None => source.vectors.clone(),
        Some(list) => {
            let is_kept =
                |index: &&vector::VectorIndex| list.iter().any(|i| i.index_name == index.name);
            source.vectors.iter().filter(is_kept).cloned().collect()
        }
    };
    if provisioned.is_some() && !vectors.is_empty() {
        return Err(vector::needs_demand());
    }
    for index in &mut vectors {
        index.is_backfilling = true;
    }
    let sse = match &input.sse {
        Some(given) => encryption(ctx, Some(given))?,
        None => source.sse.clone(),
    };
    Ok(TableRecord {
        account: target.account.clone(),
        region: target.region.clone(),
        name: target.name.clone(),
        id: cloud::ids::uuid(),
        uid: unique(),
        created: now,
        keys: source.keys.clone(),
        attributes: source
            .attributes
            .iter()
            .filter(|(name, _)| {
                source.keys.has(name)
                    || indexes.iter().any(|index| index.keys.has(name))
                    || vectors.iter().any(|index| index.has(name))
            })
            .cloned()
            .collect(),
        next_index: source.next_index,
        on_demand_since: provisioned.is_none().then_some(now),
        indexes,
        vectors,
        provisioned,
        on_demand: match &input.on_demand {
            Some(given) => definition::on_demand(Some(given)),
            None => source.on_demand,
        },
        class: source.class.clone(),
        sse,
        restored: Some((input.backup.clone(), source.arn(), input.when)),
        ..TableRecord::default()
    })
}

impl Backup {
    fn status(&self) -> &'static str {
        match self.is_ready {
            true => "AVAILABLE",
            false => "CREATING",
        }
    }

    fn details(&self, place: &BackupPlace) -> BackupDetails {
        BackupDetails {
            backup_arn: place.arn(),
            backup_name: self.name.clone(),
            backup_size_bytes: Some(self.bytes),
            backup_status: self.status().into(),
            backup_type: "USER".into(),
            backup_creation_date_time: Timestamp(self.created),
            backup_expiry_date_time: None,
        }
    }

    fn summary(&self, place: &BackupPlace) -> BackupSummary {
        BackupSummary {
            table_name: Some(place.table.clone()),
            table_id: Some(self.table.id.clone()),
            table_arn: Some(self.table.arn()),
            backup_arn: Some(place.arn()),
            backup_name: Some(self.name.clone()),
            backup_creation_date_time: Some(Timestamp(self.created)),
            backup_expiry_date_time: None,
            backup_status: Some(self.status().into()),
            backup_type: Some("USER".into()),
            backup_size_bytes: Some(self.bytes),
        }
    }

    fn describe(&self, place: &BackupPlace) -> BackupDescription {
        let source = &self.table;
        let capacity = source.provisioned.unwrap_or_default();
        let throughput = |capacity: table::Capacity| ProvisionedThroughput {
            read_capacity_units: capacity.read,
            write_capacity_units: capacity.write,
        };
        let local = source.indexes.iter().filter(|index| index.is_local);
        let global = source.indexes.iter().filter(|index| !index.is_local);
        let shown = |projected: &Projected| Some(table::projection(projected));
        BackupDescription {
            backup_details: Some(self.details(place)),
            source_table_details: Some(SourceTableDetails {
                table_name: source.name.clone(),
                table_id: source.id.clone(),
                table_arn: Some(source.arn()),
                table_size_bytes: Some(self.bytes),
                key_schema: table::key_schema(&source.keys),
                table_creation_date_time: Timestamp(source.created),
                provisioned_throughput: throughput(capacity),
                on_demand_throughput: table::on_demand(source.on_demand.as_ref()),
                item_count: Some(self.items),
                billing_mode: Some(source.billing_mode().into()),
            }),
            source_table_feature_details: Some(SourceTableFeatureDetails {
                local_secondary_indexes: Some(
                    local
                        .map(|index| LocalSecondaryIndexInfo {
                            index_name: Some(index.name.clone()),
                            key_schema: Some(table::key_schema(&index.keys)),
                            projection: shown(&index.projected),
                        })
                        .collect(),
                ),
                global_secondary_indexes: Some(
                    global
                        .map(|index| GlobalSecondaryIndexInfo {
                            index_name: Some(index.name.clone()),
                            key_schema: Some(table::key_schema(&index.keys)),
                            projection: shown(&index.projected),
                            provisioned_throughput: index.provisioned.map(throughput),
                            on_demand_throughput: table::on_demand(index.on_demand.as_ref()),
                        })
                        .collect(),
                ),
                stream_description: source.stream_view.as_ref().map(|view| StreamSpecification {
                    stream_enabled: true,
                    stream_view_type: Some(view.clone()),
                }),
                time_to_live_description: Some(ttl::described(source)),
                sse_description: None,
                vector_indexes: (!source.vectors.is_empty()).then(|| {
                    source
                        .vectors
                        .iter()
                        .map(vector::VectorIndex::info)
                        .collect()
                }),
            }),
        }
    }
}
