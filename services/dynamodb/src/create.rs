//! Tables are created, described, listed and deleted.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Table, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::catalog::{self, Place, no_table};
use crate::change::SHARDS;
use crate::definition;
use crate::errors::*;
use crate::fault::{invalid_parameter, validation};
use crate::key::Row;
use crate::service::Dynamo;
use crate::table::{TableRecord, Tallies, Tally};
use crate::vector;

/// What is left of something that was deleted, to be removed in the background.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Remains {
    /// A table's items, indexes and order of ends.
    Table {
        /// The account.
        account: String,
        /// The table's number.
        uid: u64,
        /// The number of its order of ends.
        ttl: u64,
    },
    /// An index of a table.
    Index {
        /// The account.
        account: String,
        /// The table's number.
        uid: u64,
        /// The index's number.
        number: u8,
    },
    /// A history of changes.
    History {
        /// The account.
        account: String,
        /// Its number.
        uid: u64,
    },
    /// An order of ends.
    Ends {
        /// The account.
        account: String,
        /// The table's number.
        uid: u64,
        /// Its number.
        ttl: u64,
    },
}

/// The job that removes remains.
pub const SWEEP: &str = "dynamodb.sweep";
/// Rows removed in one transaction.
const BATCH: usize = 500;

/// A random number that nothing else has.
pub fn unique() -> u64 {
    let mut bytes = [0u8; 8];
    cloud::ids::random(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// A stream's label: when it was enabled.
pub fn stream_label(now: Timestamp) -> String {
    let text = now.format(wire::TimestampFormat::Iso8601);
    let seconds = text
        .trim_end_matches('Z')
        .split('.')
        .next()
        .unwrap_or_default();
    format!("{seconds}.{:03}", now.millis().rem_euclid(1000))
}

/// The ARN of the key that encrypts a table, where one was asked for.
pub fn encryption(
    ctx: &Context,
    given: Option<&SSESpecification>,
) -> Result<Option<String>, Fault> {
    let Some(given) = given else {
        return Ok(None);
    };
    if given.enabled != Some(true) {
        if given.kms_master_key_id.is_some() && given.enabled.is_none() {
            return Err(invalid_parameter(
                "SSEEnabled must be set to true when KMSMasterKeyId is specified",
            ));
        }
        return Ok(None);
    }
    let prefix = cloud::arn::text("kms", &ctx.region, &ctx.account, "");
    Ok(Some(match given.kms_master_key_id.as_deref() {
        Some(key) if key.starts_with("arn:") => key.to_owned(),
        Some(key) if key.starts_with("alias/") => format!("{prefix}{key}"),
        Some(key) => format!("{prefix}key/{key}"),
        // AWS's own key for the service; its id follows from the account.
        None => format!(
            "{prefix}key/{}-0000-4000-8000-{}",
            &ctx.account.get(..8).unwrap_or("00000000"),
            ctx.account
        ),
    }))
}

impl Dynamo {
    /// `CreateTable`
    pub async fn create_table(
        &self,
        ctx: &Context,
        input: CreateTableInput,
    ) -> Result<CreateTableOutput, Fault> {
        let place = Place::of(ctx, &input.table_name)?;
        if input.global_table_source_arn.is_some()
            || input.global_table_settings_replication_mode.is_some()
        {
            return Err(Fault::receiver(
                501,
                "NotImplemented",
                "Replicas of global tables made by CreateTable are not implemented.",
            ));
        }
        let Some(schema) = input
            .key_schema
            .as_deref()
            .filter(|schema| !schema.is_empty())
        else {
            return Err(missing("keySchema"));
        };
        let Some(given) = input.attribute_definitions.as_deref() else {
            return Err(missing("attributeDefinitions"));
        };
        let provisioned = definition::billing(
            input.billing_mode.as_deref(),
            input.provisioned_throughput.as_ref(),
        )?;
        let attributes = definition::definitions(given)?;
        let has_indexes = input.local_secondary_indexes.is_some()
            || input.global_secondary_indexes.is_some()
            || input.vector_indexes.is_some();
        let keys = definition::table_keys(schema, &attributes, has_indexes)?;
        let indexes = definition::indexes(
            input.local_secondary_indexes.as_deref(),
            input.global_secondary_indexes.as_deref(),
            provisioned.is_some(),
            &keys,
            &attributes,
        )?;
        let vectors = vector::indexes(
            input.vector_indexes.as_deref(),
            provisioned.is_some(),
            &keys,
            &indexes,
            &attributes,
        )?;
        definition::refuse_unused(&attributes, &keys, &indexes, &vectors)?;
        let tags = catalog::tags(input.tags.as_deref().unwrap_or_default())?;
        let stream_view = stream_view(input.stream_specification.as_ref())?;
        let now = ctx.time;
        let mut table = TableRecord {
            account: place.account,
            region: place.region,
            name: place.name,
            id: cloud::ids::uuid(),
            uid: unique(),
            created: now.millis(),
            keys,
            attributes,
            next_index: (indexes.len() + vectors.len()) as u8 + 1,
            on_demand_since: provisioned.is_none().then_some(now.millis()),
            indexes,
            vectors,
            warm: definition::warm(
                input.warm_throughput.as_ref(),
                provisioned.as_ref(),
                "table",
            )?,
            provisioned,
            on_demand: definition::on_demand(input.on_demand_throughput.as_ref()),
            class: input.table_class.map(|class| (class, None)),
            sse: encryption(ctx, input.sse_specification.as_ref())?,
            tags,
            is_protected: input.deletion_protection_enabled.unwrap_or(false),
            ..TableRecord::default()
        };
        if let Some(view) = stream_view {
            table.open_stream(view, now);
        }
        let policy = match input.resource_policy {
            Some(policy) => Some(self.checked_policy(&policy)?),
            None => None,
        };
        self.insert_table(&table, |tx| match &policy {
            Some(policy) => self
                .keep_policy(tx, &table.arn(), &table.account, policy)
                .map(|_| ()),
            None => Ok(()),
        })
        .await?;
        let mut description = table.describe("CREATING", &Tallies::default());
        // Only DescribeTable tells of warm throughput that was not asked for.
        if table.warm.is_none() {
            description.warm_throughput = None;
        }
        for shown in description.global_secondary_indexes.iter_mut().flatten() {
            let name = shown.index_name.as_deref();
            let index = table
                .indexes
                .iter()
                .find(|index| name == Some(&*index.name));
            if index.is_some_and(|index| index.warm.is_none()) {
                shown.warm_throughput = None;
            }
        }
        Ok(CreateTableOutput {
            table_description: Some(description),
        })
    }

    /// Makes a new table known, with what else belongs to it.
    pub async fn insert_table(
        &self,
        table: &TableRecord,
        also: impl FnOnce(&mut Tx<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (account, region, name) = (&table.account, &table.region, &table.name);
        let _changing = self.catalog.changing(account, region, name);
        let scope = ["dynamodb.tables", account, region, name];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let key = (account.as_str(), region.as_str(), name.as_str());
                if tx.contains(&self.catalog.records, &key)? {
                    return Err(resource_in_use_exception(format!(
                        "Table already exists: {name}"
                    )));
                }
                tx.put(&self.catalog.records, &key, table)?;
                if table.stream_view.is_some() {
                    self.open_stream(tx, table)?;
                }
                also(tx)
            })
            .await
    }

    /// Changes a table's record; the closure sees it as it is, while nobody writes to the table.
    pub async fn change_table<R>(
        &self,
        place: &Place,
        change: impl FnOnce(&mut Tx<'_>, &mut TableRecord) -> Result<R, Fault>,
    ) -> Result<(R, TableRecord), Fault> {
        let (account, region, name) = (&place.account, &place.region, &place.name);
        let mut change = Some(change);
        loop {
            let found = self
                .catalog
                .find(&self.cloud.store, account, region, name)?
                .ok_or_else(|| no_table(name))?;
            let uid = found.uid.to_string();
            let tables = ["dynamodb.tables", account, region, name];
            let items = ["dynamodb.items", &uid];
            let _changing = self.catalog.changing(account, region, name);
            let scope = Scope::new(&tables).and(&items);
            let done = self
                .cloud
                .store
                .transact(scope, |tx| {
                    let key = (account.as_str(), region.as_str(), name.as_str());
                    let mut table = tx
                        .get(&self.catalog.records, &key)?
                        .ok_or_else(|| no_table(name))?;
                    // Deleted and created anew meanwhile: its items are under another scope.
                    let Some(change) = (table.uid == found.uid).then(|| change.take()).flatten()
                    else {
                        return Ok::<_, Fault>(None);
                    };
                    let result = change(tx, &mut table)?;
                    table.revision += 1;
                    tx.put(&self.catalog.records, &key, &table)?;
                    Ok(Some((result, table)))
                })
                .await?;
            if let Some(done) = done {
                return Ok(done);
            }
        }
    }

    /// `DescribeTable`
    pub async fn describe_table(
        &self,
        ctx: &Context,
        input: DescribeTableInput,
    ) -> Result<DescribeTableOutput, Fault> {
        let table = self.catalog.described(ctx, &input.table_name)?;
        Ok(DescribeTableOutput {
            table: Some(table.describe("ACTIVE", &self.tallies(&table)?)),
        })
    }

    /// What a table's shards add up to.
    pub fn tallies(&self, table: &TableRecord) -> Result<Tallies, Fault> {
        let mut sum = Tallies::default();
        let range = Range::prefix(&(table.account.as_str(), table.uid));
        for row in self.cloud.store.read().range(&self.tallies, range) {
            sum.merge(&row?.1);
        }
        Ok(sum)
    }

    /// `ListTables`
    pub async fn list_tables(
        &self,
        ctx: &Context,
        input: ListTablesInput,
    ) -> Result<ListTablesOutput, Fault> {
        let limit = input.limit.unwrap_or(100) as usize;
        let prefix = (ctx.account.as_str(), ctx.region.as_str());
        let mut range = Range::prefix(&prefix).limit(limit + 1);
        if let Some(after) = &input.exclusive_start_table_name {
            catalog::check_name("ExclusiveStartTableName", after)?;
            range = range.after(&(prefix.0, prefix.1, after.as_str()));
        }
        let view = self.cloud.store.read();
        let mut rows = view.range(&self.catalog.records, range);
        let mut names = Vec::new();
        while let Some((_, _, name)) = rows.next_key()? {
            names.push(name);
        }
        let is_more = names.len() > limit;
        names.truncate(limit);
        Ok(ListTablesOutput {
            last_evaluated_table_name: names.last().filter(|_| is_more).cloned(),
            table_names: Some(names),
        })
    }

    /// `DeleteTable`
    pub async fn delete_table(
        &self,
        ctx: &Context,
        input: DeleteTableInput,
    ) -> Result<DeleteTableOutput, Fault> {
        let place = Place::of(ctx, &input.table_name)?;
        let found = self.catalog.described(ctx, &input.table_name)?;
        let tallies = self.tallies(&found)?;
        let (account, region, name) = (&place.account, &place.region, &place.name);
        let uid = found.uid.to_string();
        let tables = ["dynamodb.tables", account, region, name];
        let items = ["dynamodb.items", &uid];
        let _changing = self.catalog.changing(account, region, name);
        let table = self
            .cloud
            .store
            .transact(Scope::new(&tables).and(&items), |tx| {
                let key = (account.as_str(), region.as_str(), name.as_str());
                let table = tx
                    .get(&self.catalog.records, &key)?
                    .filter(|table| table.uid == found.uid)
                    .ok_or_else(|| no_table(name))?;
                if table.is_protected {
                    return Err(validation(
                        "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.",
                    ));
                }
                tx.delete(&self.catalog.records, &key);
                self.close_stream(tx, &table, ctx.time)?;
                if table.recovery.is_some() {
                    self.leave_history(tx, &table, ctx.time)?;
                }
                self.drop_policies(tx, &table)?;
                let remains = Remains::Table {
                    account: table.account.clone(),
                    uid: table.uid,
                    ttl: table.ttl_uid,
                };
                self.leave(tx, &remains, ctx.time)?;
                Ok::<_, Fault>(table)
            })
            .await?;
        if !table.replicas.is_empty() {
            self.leave_group(&table, &table.region).await?;
        }
        Ok(DeleteTableOutput {
            table_description: Some(table.describe("DELETING", &tallies)),
        })
    }

    /// Leaves something to be removed in the background.
    pub fn leave(&self, tx: &mut Tx<'_>, remains: &Remains, now: Timestamp) -> Result<(), Fault> {
        let key = match remains {
            Remains::Table { uid, .. } => format!("{uid}"),
            Remains::Index { uid, number, .. } => format!("{uid}-{number}"),
            Remains::History { uid, .. } => format!("{uid}-history"),
            Remains::Ends { uid, ttl, .. } => format!("{uid}-ends-{ttl}"),
        };
        let payload = serde_json::to_value(remains)?;
        self.cloud.scheduler.at(tx, now, SWEEP, &key, payload)
    }

    /// Leaves a table's order of ends.
    pub fn leave_ends(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let remains = Remains::Ends {
            account: table.account.clone(),
            uid: table.uid,
            ttl: table.ttl_uid,
        };
        self.leave(tx, &remains, now)
    }

    /// Removes what is left of something.
    pub async fn sweep(&self, payload: serde_json::Value) -> Result<(), Fault> {
        let remains: Remains = serde_json::from_value(payload)?;
        while !self.sweep_some(&remains).await? {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Removes some of it; `true` when nothing is left.
    async fn sweep_some(&self, remains: &Remains) -> Result<bool, Fault> {
        let (account, uid) = match remains {
            Remains::Table { account, uid, .. }
            | Remains::Index { account, uid, .. }
            | Remains::History { account, uid }
            | Remains::Ends { account, uid, .. } => (account.as_str(), *uid),
        };
        let name = uid.to_string();
        let scope = ["dynamodb.items", &name];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| match remains {
                Remains::Table { ttl, .. } => {
                    let is_done = sweep(tx, &self.items, &Row::table(account, uid))?
                        && sweep(tx, &self.vectors, &Row::table(account, uid))?
                        && sweep(tx, &self.stamps, &Row::table(account, uid))?;
                    for shard in 0..SHARDS as u8 {
                        tx.delete(&self.tallies, &(account, uid, shard));
                    }
                    let is_more = *ttl != 0 && self.forget_ends(tx, account, *ttl, BATCH)?;
                    Ok::<_, Fault>(is_done && !is_more)
                }
                Remains::Index { number, .. } => {
                    let index = Row::index(account, uid, *number);
                    let is_done =
                        sweep(tx, &self.items, &index)? && sweep(tx, &self.vectors, &index)?;
                    for shard in 0..SHARDS as u8 {
                        let key = (account, uid, shard);
                        if let Some(mut tallies) = tx.get(&self.tallies, &key)? {
                            *tallies.at(*number) = Tally::default();
                            tx.put(&self.tallies, &key, &tallies)?;
                        }
                    }
                    Ok(is_done)
                }
                Remains::History { .. } => Ok(!self.forget_history(tx, account, uid, None)?),
                Remains::Ends { ttl, .. } => Ok(!self.forget_ends(tx, account, *ttl, BATCH)?),
            })
            .await
    }
}

/// Removes some of the rows that begin so; `true` when none are left.
fn sweep<V: Record>(tx: &mut Tx<'_>, table: &Table<Row, V>, prefix: &Row) -> Result<bool, Fault> {
    let mut rows = Vec::new();
    let mut found = tx.range(table, Range::prefix(prefix).limit(BATCH));
    while let Some(row) = found.next_key()? {
        rows.push(row);
    }
    for row in &rows {
        tx.delete(table, row);
    }
    Ok(rows.len() < BATCH)
}

/// The error of a member that the request must have.
pub fn missing(member: &str) -> Fault {
    validation(format!(
        "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
    ))
}

/// What a new table's stream shows, if it has one.
pub fn stream_view(given: Option<&StreamSpecification>) -> Result<Option<String>, Fault> {
    let Some(given) = given else {
        return Ok(None);
    };
    match (given.stream_enabled, &given.stream_view_type) {
        (true, Some(view)) => Ok(Some(view.clone())),
        (true, None) => Err(invalid_parameter(
            "StreamViewType is required when StreamEnabled is true",
        )),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(invalid_parameter(
            "Table is being created with stream disabled,  StreamViewType cannot be specified",
        )),
    }
}
