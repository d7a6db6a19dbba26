//! Global tables of version 2017.11.29: tables of one name that were made by themselves and then joined.
//!
//! They replicate as those of 2019.11.21 do; what differs is how they come together and part, and that their settings are
//! their own. A table leaves its group when it is deleted, so who belongs to one is asked of the tables.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/globaltables.V1.html>

use std::collections::BTreeSet;

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::catalog::{Place, check_name};
use crate::definition;
use crate::errors::*;
use crate::fault::{invalid_parameter, validation};
use crate::key::{BASE, Row};
use crate::replica::{ACTIVE, Replica as Member, VIEW};
use crate::scaling::Scaled;
use crate::service::Dynamo;
use crate::table::{Capacity, TableRecord};

/// A global table as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GlobalTableRecord {
    created: i64,
    /// Where its tables are, those that were deleted since among them.
    regions: Vec<String>,
}
impl Record for GlobalTableRecord {}

fn missing(name: &str) -> Fault {
    global_table_not_found_exception(format!(
        "Global table not found: Global table with name: '{name}' does not exist."
    ))
}

fn no_replica(region: &str) -> Fault {
    replica_not_found_exception(format!(
        "Replica not found: Replica with region '{region}' is not part of the global table."
    ))
}

/// Whether two tables can be of one group.
fn refuse_difference(one: &TableRecord, other: &TableRecord) -> Result<(), Fault> {
    let shape = |table: &TableRecord| {
        let indexes: BTreeSet<_> = table
            .indexes
            .iter()
            .map(|i| (i.name.clone(), i.is_local, format!("{:?}", i.keys)))
            .collect();
        (format!("{:?}", table.keys), indexes)
    };
    if shape(one) == shape(other) {
        return Ok(());
    }
    Err(invalid_parameter(&format!(
        "Table {} in {} and in {} must have the same key schema and the same secondary indexes",
        one.name, one.region, other.region
    )))
}

impl TableRecord {
    /// Makes it one of a group.
    fn join(&mut self, regions: &[String]) {
        let others = regions.iter().filter(|region| **region != self.region);
        self.replicas = others
            .map(|region| Member {
                region: region.clone(),
                status: ACTIVE.into(),
            })
            .collect();
        self.is_joined = true;
    }

    /// Makes it a table by itself.
    fn part(&mut self) {
        self.replicas.clear();
        self.is_joined = false;
    }

    fn set_write(&mut self, units: i64) -> Result<(), Fault> {
        let capacity = self.provisioned.as_mut().ok_or_else(on_demand)?;
        capacity.write = units;
        Ok(())
    }
}

fn on_demand() -> Fault {
    invalid_parameter(
        "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
    )
}

impl Dynamo {
    /// The tables of that name in those regions, all of which must be there.
    fn tables_of(
        &self,
        reader: &impl Read,
        account: &str,
        name: &str,
        regions: &[String],
    ) -> Result<Vec<TableRecord>, Fault> {
        let find = |region: &String| {
            let key = (account, region.as_str(), name);
            Read::get(reader, &self.catalog.records, &key)?.ok_or_else(|| {
                table_not_found_exception(format!(
                    "Table not found: Table with name: '{name}' does not exist in region: '{region}'."
                ))
            })
        };
        regions.iter().map(find).collect()
    }

    /// Changes tables of one name in several regions at once, while nobody writes to any of them. `known` is the global
    /// table as the caller saw it; the closure's answer takes its place.
    async fn change_tables(
        &self,
        ctx: &Context,
        name: &str,
        regions: &[String],
        change: impl Fn(
            &mut Tx<'_>,
            Option<GlobalTableRecord>,
            &mut [TableRecord],
        ) -> Result<GlobalTableRecord, Fault>,
    ) -> Result<GlobalTableRecord, Fault> {
        let account = ctx.account.as_str();
        loop {
            let found = self.tables_of(&self.cloud.store, account, name, regions)?;
            let uids: Vec<String> = found.iter().map(|table| table.uid.to_string()).collect();
            let tables: Vec<[&str; 4]> = regions
                .iter()
                .map(|region| ["dynamodb.tables", account, region, name])
                .collect();
            let items: Vec<[&str; 2]> = uids
                .iter()
                .map(|uid| ["dynamodb.items", uid.as_str()])
                .collect();
            let all: Vec<Scope<'_>> = tables
                .iter()
                .map(|names| Scope::new(names))
                .chain(items.iter().map(|names| Scope::new(names)))
                .collect();
            let _changing: Vec<_> = regions
                .iter()
                .map(|region| self.catalog.changing(account, region, name))
                .collect();
            let own = ["dynamodb.global_tables", account, name];
            let done = self
                .cloud
                .store
                .transact(Scope::new(&own).and_all(&all), |tx| {
                    let mut tables = self.tables_of(tx, account, name, regions)?;
                    // Deleted and created anew meanwhile: their items are under other scopes.
                    if tables
                        .iter()
                        .zip(&found)
                        .any(|(now, then)| now.uid != then.uid)
                    {
                        return Ok::<_, Fault>(None);
                    }
                    let known = tx.get(&self.global_tables, &(account, name))?;
                    let new = change(tx, known, &mut tables)?;
                    for table in &mut tables {
                        table.revision += 1;
                        let key = (account, table.region.as_str(), name);
                        tx.put(&self.catalog.records, &key, table)?;
                    }
                    tx.put(&self.global_tables, &(account, name), &new)?;
                    Ok(Some(new))
                })
                .await?;
            if let Some(done) = done {
                return Ok(done);
            }
        }
    }

    /// Whether a table can join a group, which only one without items can.
    fn admit_member(&self, tx: &Tx<'_>, table: &TableRecord) -> Result<(), Fault> {
        if !table.replicas.is_empty() || table.is_joined {
            return Err(validation(format!(
                "Table {} in region {} is part of a global table already",
                table.name, table.region
            )));
        }
        if table.stream_view.as_deref() != Some(VIEW) {
            return Err(invalid_parameter(&format!(
                "Table {} in region {} must have a stream with the view type {VIEW}",
                table.name, table.region
            )));
        }
        let items = Range::prefix(&Row::index(&table.account, table.uid, BASE)).limit(1);
        if tx.range(&self.items, items).next_key()?.is_some() {
            return Err(invalid_parameter(&format!(
                "Table {} in region {} must be empty",
                table.name, table.region
            )));
        }
        Ok(())
    }

    /// The global table and where its tables are.
    fn global_table(
        &self,
        ctx: &Context,
        name: &str,
    ) -> Result<(GlobalTableRecord, Vec<TableRecord>), Fault> {
        check_name("GlobalTableName", name)?;
        let view = self.cloud.store.read();
        let record = view
            .get(&self.global_tables, &(ctx.account.as_str(), name))?
            .ok_or_else(|| missing(name))?;
        let members = self.members(&view, &ctx.account, name, &record)?;
        match members.is_empty() {
            true => Err(missing(name)),
            false => Ok((record, members)),
        }
    }

    fn members(
        &self,
        reader: &impl Read,
        account: &str,
        name: &str,
        record: &GlobalTableRecord,
    ) -> Result<Vec<TableRecord>, Fault> {
        let mut members = Vec::new();
        for region in &record.regions {
            let key = (account, region.as_str(), name);
            let found: Option<TableRecord> = Read::get(reader, &self.catalog.records, &key)?;
            members.extend(found.filter(|table| table.is_joined));
        }
        Ok(members)
    }

    /// `CreateGlobalTable`
    pub async fn create_global_table(
        &self,
        ctx: &Context,
        input: CreateGlobalTableInput,
    ) -> Result<CreateGlobalTableOutput, Fault> {
        let name = &input.global_table_name;
        check_name("GlobalTableName", name)?;
        let regions = named(input.replication_group.into_iter().map(|r| r.region_name))?;
        if regions.is_empty() {
            return Err(invalid_parameter("ReplicationGroup must not be empty"));
        }
        let record = self
            .change_tables(ctx, name, &regions, |tx, known, tables| {
                if let Some(known) = known
                    && !self.members(tx, &ctx.account, name, &known)?.is_empty()
                {
                    return Err(global_table_already_exists_exception(format!(
                        "Global table with name: '{name}' already exists."
                    )));
                }
                for table in tables.iter() {
                    self.admit_member(tx, table)?;
                }
                if let Some((first, others)) = tables.split_first() {
                    others
                        .iter()
                        .try_for_each(|table| refuse_difference(first, table))?;
                }
                for table in tables.iter_mut() {
                    table.join(&regions);
                }
                Ok(GlobalTableRecord {
                    created: ctx.time.millis(),
                    regions: regions.clone(),
                })
            })
            .await?;
        Ok(CreateGlobalTableOutput {
            global_table_description: Some(described(ctx, name, &record, &regions, "CREATING")),
        })
    }

    /// `DescribeGlobalTable`
    pub async fn describe_global_table(
        &self,
        ctx: &Context,
        input: DescribeGlobalTableInput,
    ) -> Result<DescribeGlobalTableOutput, Fault> {
        let name = &input.global_table_name;
        let (record, members) = self.global_table(ctx, name)?;
        let regions: Vec<String> = members.into_iter().map(|table| table.region).collect();
        Ok(DescribeGlobalTableOutput {
            global_table_description: Some(described(ctx, name, &record, &regions, "ACTIVE")),
        })
    }

    /// `ListGlobalTables`
    pub async fn list_global_tables(
        &self,
        ctx: &Context,
        input: ListGlobalTablesInput,
    ) -> Result<ListGlobalTablesOutput, Fault> {
        let limit = input
            .limit
            .and_then(|l| usize::try_from(l).ok())
            .unwrap_or(100);
        let mut range = Range::prefix(&(ctx.account.as_str(),));
        if let Some(after) = &input.exclusive_start_global_table_name {
            range = range.after(&(ctx.account.as_str(), after.as_str()));
        }
        let view = self.cloud.store.read();
        let mut found = Vec::new();
        let mut is_more = false;
        for row in view.range(&self.global_tables, range) {
            let ((account, name), record) = row?;
            let members = self.members(&view, &account, &name, &record)?;
            let is_asked_for = match &input.region_name {
                Some(region) => members.iter().any(|table| table.region == *region),
                None => !members.is_empty(),
            };
            if !is_asked_for {
                continue;
            }
            if found.len() == limit {
                is_more = true;
                break;
            }
            let replicas = members.into_iter().map(|table| Replica {
                region_name: Some(table.region),
            });
            found.push(GlobalTable {
                global_table_name: Some(name),
                replication_group: Some(replicas.collect()),
            });
        }
        let last = found.last().filter(|_| is_more);
        Ok(ListGlobalTablesOutput {
            last_evaluated_global_table_name: last.and_then(|t| t.global_table_name.clone()),
            global_tables: Some(found),
        })
    }

    /// `UpdateGlobalTable`
    pub async fn update_global_table(
        &self,
        ctx: &Context,
        input: UpdateGlobalTableInput,
    ) -> Result<UpdateGlobalTableOutput, Fault> {
        let name = &input.global_table_name;
        let (_, members) = self.global_table(ctx, name)?;
        let before: Vec<String> = members.into_iter().map(|table| table.region).collect();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for update in input.replica_updates {
            match (update.create, update.delete) {
                (Some(create), None) => added.push(Some(create.region_name)),
                (None, Some(delete)) => removed.push(Some(delete.region_name)),
                _ => {
                    return Err(invalid_parameter(
                        "Exactly one of ReplicaUpdate.Create and ReplicaUpdate.Delete must be specified",
                    ));
                }
            }
        }
        let (added, removed) = (named(added)?, named(removed)?);
        if let Some(region) = added.iter().find(|region| before.contains(region)) {
            return Err(replica_already_exists_exception(format!(
                "Replica already exists: Replica with region '{region}' is already part of the global table."
            )));
        }
        if let Some(region) = removed.iter().find(|region| !before.contains(region)) {
            return Err(no_replica(region));
        }
        let mut regions = before.clone();
        regions.extend(added.iter().cloned());
        let after: Vec<String> = regions
            .iter()
            .filter(|region| !removed.contains(region))
            .cloned()
            .collect();
        let record = self
            .change_tables(ctx, name, &regions, |tx, known, tables| {
                let known = known.ok_or_else(|| missing(name))?;
                // Another change came first.
                let is_member = |table: &&TableRecord| table.is_joined;
                if tables.iter().filter(is_member).count() != before.len() {
                    return Err(resource_in_use_exception(format!(
                        "Global table with name: '{name}' is being updated."
                    )));
                }
                let first = tables.first().cloned();
                for table in tables.iter_mut() {
                    if added.contains(&table.region) {
                        self.admit_member(tx, table)?;
                        if let Some(first) = &first {
                            refuse_difference(first, table)?;
                        }
                    }
                    match after.contains(&table.region) {
                        true => table.join(&after),
                        false => table.part(),
                    }
                }
                Ok(GlobalTableRecord {
                    regions: after.clone(),
                    ..known
                })
            })
            .await?;
        // What the group holds already is new to who joined it.
        if let Some(from) = before.iter().find(|region| after.contains(region)) {
            let place = Place {
                account: ctx.account.clone(),
                region: from.clone(),
                name: name.clone(),
            };
            let found =
                self.catalog
                    .find(&self.cloud.store, &place.account, &place.region, name)?;
            for region in &added {
                if let Some(table) = &found {
                    self.copy_to(table, region).await?;
                }
            }
        }
        Ok(UpdateGlobalTableOutput {
            global_table_description: Some(described(ctx, name, &record, &after, "UPDATING")),
        })
    }

    /// `DescribeGlobalTableSettings`
    pub async fn describe_global_table_settings(
        &self,
        ctx: &Context,
        input: DescribeGlobalTableSettingsInput,
    ) -> Result<DescribeGlobalTableSettingsOutput, Fault> {
        let (_, members) = self.global_table(ctx, &input.global_table_name)?;
        Ok(DescribeGlobalTableSettingsOutput {
            replica_settings: Some(members.iter().map(|t| settings(t, ACTIVE)).collect()),
            global_table_name: Some(input.global_table_name),
        })
    }

    /// `UpdateGlobalTableSettings`
    pub async fn update_global_table_settings(
        &self,
        ctx: &Context,
        input: UpdateGlobalTableSettingsInput,
    ) -> Result<UpdateGlobalTableSettingsOutput, Fault> {
        let name = &input.global_table_name;
        let (_, members) = self.global_table(ctx, name)?;
        let regions: Vec<String> = members.into_iter().map(|table| table.region).collect();
        for replica in input.replica_settings_update.iter().flatten() {
            if !regions.contains(&replica.region_name) {
                return Err(no_replica(&replica.region_name));
            }
        }
        self.change_tables(ctx, name, &regions, |_, known, tables| {
            let known = known.ok_or_else(|| missing(name))?;
            for table in tables.iter_mut() {
                set(table, &input, ctx.time.millis())?;
            }
            Ok(known)
        })
        .await?;
        let (_, members) = self.global_table(ctx, name)?;
        Ok(UpdateGlobalTableSettingsOutput {
            replica_settings: Some(members.iter().map(|t| settings(t, "UPDATING")).collect()),
            global_table_name: Some(input.global_table_name),
        })
    }
}

/// Regions of a request: each is named, and once.
fn named(given: impl IntoIterator<Item = Option<String>>) -> Result<Vec<String>, Fault> {
    let mut regions: Vec<String> = Vec::new();
    for region in given {
        let region = region
            .ok_or_else(|| invalid_parameter("RegionName must be specified for a replica"))?;
        if regions.contains(&region) {
            return Err(invalid_parameter(&format!("Duplicate region: {region}")));
        }
        regions.push(region);
    }
    Ok(regions)
}

fn described(
    ctx: &Context,
    name: &str,
    record: &GlobalTableRecord,
    regions: &[String],
    status: &str,
) -> GlobalTableDescription {
    let replicas = regions.iter().map(|region| ReplicaDescription {
        region_name: Some(region.clone()),
        ..ReplicaDescription::default()
    });
    let resource = format_args!("global-table/{name}");
    GlobalTableDescription {
        replication_group: Some(replicas.collect()),
        global_table_arn: Some(cloud::arn::text("dynamodb", "", &ctx.account, resource)),
        creation_date_time: Some(Timestamp(record.created)),
        global_table_status: Some(status.into()),
        global_table_name: Some(name.to_owned()),
    }
}

/// The settings of one table of a group.
fn settings(table: &TableRecord, status: &str) -> ReplicaSettingsDescription {
    let units = |capacity: Option<Capacity>| capacity.unwrap_or_default();
    let indexes = table.indexes.iter().filter(|index| !index.is_local);
    let indexes: Vec<_> = indexes
        .map(|index| ReplicaGlobalSecondaryIndexSettingsDescription {
            index_name: index.name.clone(),
            index_status: Some(ACTIVE.into()),
            provisioned_read_capacity_units: index.provisioned.map(|c| c.read),
            provisioned_read_capacity_auto_scaling_settings: Some(
                table.scaling(Scaled::Read, &index.name),
            ),
            provisioned_write_capacity_units: index.provisioned.map(|c| c.write),
            provisioned_write_capacity_auto_scaling_settings: Some(
                table.scaling(Scaled::Write, &index.name),
            ),
        })
        .collect();
    ReplicaSettingsDescription {
        region_name: table.region.clone(),
        replica_status: Some(status.into()),
        replica_billing_mode_summary: table.billing(),
        replica_provisioned_read_capacity_units: Some(units(table.provisioned).read),
        replica_provisioned_read_capacity_auto_scaling_settings: Some(
            table.scaling(Scaled::Read, ""),
        ),
        replica_provisioned_write_capacity_units: Some(units(table.provisioned).write),
        replica_provisioned_write_capacity_auto_scaling_settings: Some(
            table.scaling(Scaled::Write, ""),
        ),
        replica_global_secondary_index_settings: (!indexes.is_empty()).then_some(indexes),
        replica_table_class_summary: table.class.as_ref().map(|(class, when)| TableClassSummary {
            table_class: Some(class.clone()),
            last_update_date_time: when.map(Timestamp),
        }),
    }
}

/// Gives one table of a group what a request says of all of them, and of its region.
fn set(
    table: &mut TableRecord,
    input: &UpdateGlobalTableSettingsInput,
    now: i64,
) -> Result<(), Fault> {
    let write = input.global_table_provisioned_write_capacity_units;
    match input.global_table_billing_mode.as_deref() {
        Some("PAY_PER_REQUEST") => {
            if table.provisioned.take().is_some() || table.on_demand_since.is_none() {
                table.on_demand_since = Some(now);
            }
            for index in &mut table.indexes {
                index.provisioned = None;
            }
        }
        Some(_) if table.provisioned.is_none() => {
            let given = ProvisionedThroughput {
                read_capacity_units: 5,
                write_capacity_units: write.unwrap_or(5),
            };
            let capacity = definition::capacity(&given)?;
            table.provisioned = Some(capacity);
            for index in table.indexes.iter_mut().filter(|index| !index.is_local) {
                index.provisioned = Some(capacity);
            }
        }
        _ => {}
    }
    if let Some(units) = write {
        table.set_write(units)?;
    }
    let scaling = &input.global_table_provisioned_write_capacity_auto_scaling_settings_update;
    table.set_scaling(Scaled::Write, "", scaling.as_ref());
    let indexes = &input.global_table_global_secondary_index_settings_update;
    for update in indexes.iter().flatten() {
        if let Some(units) = update.provisioned_write_capacity_units {
            index_capacity(table, &update.index_name)?.write = units;
        }
        let scaling = &update.provisioned_write_capacity_auto_scaling_settings_update;
        table.set_scaling(Scaled::Write, &update.index_name, scaling.as_ref());
    }
    let own = table.region.clone();
    let replicas = input.replica_settings_update.iter().flatten();
    for update in replicas.filter(|update| update.region_name == own) {
        if let Some(units) = update.replica_provisioned_read_capacity_units {
            table.provisioned.as_mut().ok_or_else(on_demand)?.read = units;
        }
        let scaling = &update.replica_provisioned_read_capacity_auto_scaling_settings_update;
        table.set_scaling(Scaled::Read, "", scaling.as_ref());
        if let Some(class) = &update.replica_table_class {
            table.class = Some((class.clone(), Some(now)));
        }
        let indexes = &update.replica_global_secondary_index_settings_update;
        for update in indexes.iter().flatten() {
            if let Some(units) = update.provisioned_read_capacity_units {
                index_capacity(table, &update.index_name)?.read = units;
            }
            let scaling = &update.provisioned_read_capacity_auto_scaling_settings_update;
            table.set_scaling(Scaled::Read, &update.index_name, scaling.as_ref());
        }
    }
    Ok(())
}

fn index_capacity<'t>(table: &'t mut TableRecord, name: &str) -> Result<&'t mut Capacity, Fault> {
    let mut global = table.indexes.iter_mut().filter(|index| !index.is_local);
    let index = global.find(|index| index.name == name).ok_or_else(|| {
        index_not_found_exception(format!("Index not found: Index with name: '{name}'."))
    })?;
    index.provisioned.as_mut().ok_or_else(on_demand)
}
