//! Global tables: the same table in several regions, each taking writes, the last writer winning.
//!
//! Each write of a table that has replicas leaves a stamp beside its item and a fact that carries it to the other
//! regions, both in the write's own transaction. A replica takes what has a later stamp than what it has, so the order in
//! which changes arrive does not matter. Making a replica and ending one are jobs that a crash resumes.

use std::sync::Arc;

use cloud::{Context, Fact};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::catalog::Place;
use crate::change::{Action, Change, Refusal, SHARDS, shard_name};
use crate::create::unique;
use crate::fault::{invalid_parameter, validation};
use crate::item::Stored;
use crate::key::{BASE, Row};
use crate::service::Dynamo;
use crate::stream::Cause;
use crate::table::{self, TableRecord};

/// A replica of a table, as the table knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Where it is.
    pub region: String,
    /// `CREATING`, `ACTIVE` or `DELETING`
    pub status: String,
}

/// When an item was last written, anywhere: a number that only grows, and the region.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    number: i64,
    region: String,
}
impl Record for Stamp {}

/// A change on its way to other regions.
#[derive(Serialize, Deserialize)]
struct Replicated {
    account: String,
    name: String,
    regions: Vec<String>,
    key: Stored,
    item: Option<Stored>,
    stamp: Stamp,
}
impl Fact for Replicated {
    const NAME: &'static str = "dynamodb.Replicated";
}

/// What is to be done about a replica.
#[derive(Serialize, Deserialize)]
struct Task {
    account: String,
    /// The table that was asked.
    region: String,
    name: String,
    /// Where the replica is or will be.
    replica: String,
}

/// The job that makes or ends a replica.
pub const REPLICATE: &str = "dynamodb.replicate";
/// Items copied at a time.
const BATCH: usize = 100;

const CREATING: &str = "CREATING";
/// The status of what is ready.
pub const ACTIVE: &str = "ACTIVE";
const DELETING: &str = "DELETING";

/// The image that replication needs a stream to have.
pub const VIEW: &str = "NEW_AND_OLD_IMAGES";

impl TableRecord {
    /// How its replicas are described.
    pub fn replica_descriptions(&self) -> Option<Vec<ReplicaDescription>> {
        let described = self.replicas.iter().map(|replica| ReplicaDescription {
            region_name: Some(replica.region.clone()),
            replica_status: Some(replica.status.clone()),
            replica_arn: Some(table::arn(&self.account, &replica.region, &self.name)),
            ..Default::default()
        });
        // What was joined is told by DescribeGlobalTable alone.
        (!self.replicas.is_empty() && !self.is_joined).then(|| described.collect())
    }

    fn place_in(&self, region: &str) -> Place {
        Place {
            account: self.account.clone(),
            region: region.to_owned(),
            name: self.name.clone(),
        }
    }
}

impl Dynamo {
    /// Begins to carry changes to other regions.
    pub fn register_replication(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.cloud.facts.subscribe::<Replicated>(move |change| {
            let this = this.clone();
            Box::pin(async move {
                match this.upgrade() {
                    Some(this) => this.replicate(change).await,
                    None => Ok(()),
                }
            })
        });
    }

    /// Stamps an item that a request wrote, and sends it to the other regions, within its transaction.
    pub fn send_to_replicas(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        change: &Change,
        item: Option<Stored>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let known: Option<Stamp> = tx.get(&self.stamps, &change.row)?;
        let after = known.map_or(0, |known| known.number + 1);
        let stamp = Stamp {
            // Several writes of a millisecond have numbers of their own.
            number: now.millis().saturating_mul(1 << 16).max(after),
            region: table.region.clone(),
        };
        tx.put(&self.stamps, &change.row, &stamp)?;
        let replicated = Replicated {
            account: table.account.clone(),
            name: table.name.clone(),
            regions: table.replicas.iter().map(|r| r.region.clone()).collect(),
            key: Stored::new(&change.key),
            item,
            stamp,
        };
        self.cloud.facts.emit(tx, &replicated)
    }

    async fn replicate(&self, change: Replicated) -> Result<(), Fault> {
        for region in &change.regions {
            let place = Place {
                account: change.account.clone(),
                region: region.clone(),
                name: change.name.clone(),
            };
            self.take(&place, &change.key, change.item.as_ref(), &change.stamp)
                .await?;
        }
        Ok(())
    }

    /// Takes a change from another region, unless what is here is later. Where there is no such table, there is
    /// nothing to do: a replica that is made later begins with all items.
    async fn take(
        &self,
        place: &Place,
        key: &Stored,
        item: Option<&Stored>,
        stamp: &Stamp,
    ) -> Result<(), Fault> {
        let key = key.attributes()?;
        loop {
            let found = self.catalog.find(
                &self.cloud.store,
                &place.account,
                &place.region,
                &place.name,
            )?;
            let Some(table) = found.filter(|table| !table.replicas.is_empty()) else {
                return Ok(());
            };
            let action = match item {
                Some(item) => Action::Put(Arc::new(item.attributes()?)),
                None => Action::Delete,
            };
            let change = Change {
                row: table.row(&key),
                key: key.clone(),
                action,
                condition: None,
                shows_item: false,
                wants_old: false,
            };
            let uid = table.uid.to_string();
            let shard = ["dynamodb.items", &uid, shard_name(change.row.shard(SHARDS))];
            let whole = ["dynamodb.items", &uid];
            let stream = ["dynamodb.stream", &uid];
            let mut scope = Scope::new(&shard).within(&whole);
            if table.stream_view.is_some() {
                scope = scope.and(&stream);
            }
            let now = self.cloud.clock.now();
            let done = self
                .cloud
                .store
                .transact(scope, |tx| {
                    if !self.catalog.is_current(tx, &table)? {
                        return Err(Refusal::Stale);
                    }
                    let own: Option<Stamp> = tx.get(&self.stamps, &change.row)?;
                    if own.is_some_and(|own| own >= *stamp) {
                        return Ok(None);
                    }
                    tx.put(&self.stamps, &change.row, stamp)?;
                    self.apply(tx, &table, &change, now, Cause::Replication)
                        .map(Some)
                })
                .await;
            match done {
                Ok(Some(outcome)) => {
                    return self.plan_expiry(&table, outcome.new.as_deref()).await;
                }
                Ok(None) => return Ok(()),
                Err(Refusal::Stale) => {}
                Err(Refusal::Condition(_)) => return Ok(()),
                Err(Refusal::Fault(fault)) => return Err(fault),
            }
        }
    }

    /// Notes what `ReplicaUpdates` ask for and plans it, within the transaction that updates the table.
    pub fn update_replicas(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        table: &mut TableRecord,
        updates: &[ReplicationGroupUpdate],
    ) -> Result<(), Fault> {
        if table.is_joined && !updates.is_empty() {
            return Err(validation(format!(
                "Table {} is a replica of a global table of version 2017.11.29, which UpdateGlobalTable changes",
                table.name
            )));
        }
        for update in updates {
            let region = match (&update.create, &update.delete, &update.update) {
                (Some(create), None, None) => {
                    check_overrides(create)?;
                    if create.region_name == table.region {
                        return Err(local_region());
                    }
                    if table
                        .replicas
                        .iter()
                        .any(|r| r.region == create.region_name)
                    {
                        return Err(validation(format!(
                            "Failed to create a the new replica of table with name: '{}' because one or more replicas already existed as tables.",
                            table.name
                        )));
                    }
                    match table.stream_view.as_deref() {
                        None => {
                            table.open_stream(VIEW.into(), ctx.time);
                            self.open_stream(tx, table)?;
                        }
                        Some(VIEW) => {}
                        Some(_) => {
                            return Err(validation(format!(
                                "One or more parameter values were invalid: Table {} needs a stream with the view type {VIEW} for replicas",
                                table.name
                            )));
                        }
                    }
                    let there = (
                        table.account.as_str(),
                        create.region_name.as_str(),
                        table.name.as_str(),
                    );
                    if tx.contains(&self.catalog.records, &there)? {
                        return Err(validation(format!(
                            "Failed to create a the new replica of table with name: '{}' because one or more replicas already existed as tables.",
                            table.name
                        )));
                    }
                    table.replicas.push(Replica {
                        region: create.region_name.clone(),
                        status: CREATING.into(),
                    });
                    &create.region_name
                }
                (None, Some(delete), None) if delete.region_name == table.region => {
                    return Err(local_region());
                }
                (None, Some(delete), None) => {
                    let known = table
                        .replicas
                        .iter_mut()
                        .find(|r| r.region == delete.region_name);
                    let Some(replica) = known else {
                        return Err(validation(format!(
                            "Update global table operation failed because one or more replicas were not part of the global table: {}",
                            delete.region_name
                        )));
                    };
                    replica.status = DELETING.into();
                    &delete.region_name
                }
                _ => {
                    return Err(invalid_parameter(
                        "One of ReplicaUpdate.Create, ReplicaUpdate.Delete must be given; ReplicaUpdate.Update has nothing that can be changed here",
                    ));
                }
            };
            let task = Task {
                account: table.account.clone(),
                region: table.region.clone(),
                name: table.name.clone(),
                replica: region.clone(),
            };
            let key = format!("{}/{}/{region}", table.account, table.name);
            let payload = serde_json::to_value(task)?;
            self.cloud
                .scheduler
                .at(tx, ctx.time, REPLICATE, &key, payload)?;
        }
        Ok(())
    }

    /// Makes a replica or ends one.
    pub async fn settle_replica(&self, payload: serde_json::Value) -> Result<(), Fault> {
        let task: Task = serde_json::from_value(payload)?;
        let find = |region: &str| {
            let view = self.cloud.store.read();
            self.catalog.find(&view, &task.account, region, &task.name)
        };
        let Some(table) = find(&task.region)? else {
            return Ok(());
        };
        let wanted = table.replicas.iter().find(|r| r.region == task.replica);
        match wanted.map(|replica| replica.status.as_str()) {
            Some(CREATING) => self.make_replica(&table, &task.replica).await,
            Some(DELETING) => {
                self.leave_group(&table, &task.replica).await?;
                let ctx = Context::internal(
                    &task.account,
                    &task.replica,
                    "dynamodb.amazonaws.com",
                    self.cloud.clock.now(),
                );
                if find(&task.replica)?.is_some() {
                    let input = DeleteTableInput {
                        table_name: task.name.clone(),
                    };
                    self.delete_table(&ctx, input).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn make_replica(&self, table: &TableRecord, region: &str) -> Result<(), Fault> {
        let mut others: Vec<Replica> = table.replicas.clone();
        others.retain(|r| r.region != region && r.status != DELETING);
        others.push(Replica {
            region: table.region.clone(),
            status: ACTIVE.into(),
        });
        let now = self.cloud.clock.now();
        let mut replica = TableRecord {
            account: table.account.clone(),
            region: region.to_owned(),
            name: table.name.clone(),
            id: cloud::ids::uuid(),
            uid: unique(),
            created: now.millis(),
            keys: table.keys.clone(),
            attributes: table.attributes.clone(),
            indexes: table.indexes.clone(),
            vectors: table.vectors.clone(),
            next_index: table.next_index,
            provisioned: table.provisioned,
            on_demand_since: table.on_demand_since,
            on_demand: table.on_demand,
            warm: table.warm,
            class: table.class.clone(),
            ttl: table.ttl.clone(),
            ttl_uid: table.ttl.as_ref().map_or(0, |_| unique()),
            replicas: others.clone(),
            ..TableRecord::default()
        };
        for index in &mut replica.indexes {
            index.is_backfilling = false;
        }
        for index in &mut replica.vectors {
            index.is_backfilling = false;
        }
        replica.open_stream(VIEW.into(), now);
        match self.insert_table(&replica, |_| Ok(())).await {
            Ok(()) => {}
            // This is not the first try.
            Err(fault) if fault.is("ResourceInUseException") => {}
            Err(fault) => return Err(fault),
        }
        for other in &others {
            self.note(&table.place_in(&other.region), region, CREATING)
                .await?;
        }
        self.copy_to(table, region).await?;
        for other in &others {
            self.note(&table.place_in(&other.region), region, ACTIVE)
                .await?;
        }
        Ok(())
    }

    /// Notes a replica's status in a table of its group; one that is ending stays so.
    async fn note(&self, place: &Place, region: &str, status: &str) -> Result<(), Fault> {
        let noted = self
            .change_table(place, |_, table| {
                match table.replicas.iter_mut().find(|r| r.region == region) {
                    Some(replica) if replica.status != DELETING => replica.status = status.into(),
                    Some(_) => {}
                    None => table.replicas.push(Replica {
                        region: region.to_owned(),
                        status: status.into(),
                    }),
                }
                Ok(())
            })
            .await;
        match noted {
            // That member has gone meanwhile.
            Err(fault) if fault.is("ResourceNotFoundException") => Ok(()),
            noted => noted.map(drop),
        }
    }

    /// Gives a new replica what was there before it.
    pub async fn copy_to(&self, table: &TableRecord, region: &str) -> Result<(), Fault> {
        let place = table.place_in(region);
        let prefix = Row::index(&table.account, table.uid, BASE);
        let mut after: Option<Row> = None;
        loop {
            let mut range = Range::prefix(&prefix).limit(BATCH);
            if let Some(after) = &after {
                range = range.after(after);
            }
            let rows = {
                let view = self.cloud.store.read();
                let mut rows = Vec::new();
                for row in view.range(&self.items, range) {
                    let (row, stored) = row?;
                    let stamp: Option<Stamp> = Read::get(&view, &self.stamps, &row)?;
                    rows.push((row, stored, stamp.unwrap_or_default()));
                }
                rows
            };
            let count = rows.len();
            for (row, stored, stamp) in rows {
                let key = table.keys.of(&stored.attributes()?);
                self.take(&place, &Stored::new(&key), Some(&stored), &stamp)
                    .await?;
                after = Some(row);
            }
            if count < BATCH {
                return Ok(());
            }
        }
    }

    /// Takes a table out of its group: the others forget it, and it them.
    pub async fn leave_group(&self, table: &TableRecord, region: &str) -> Result<(), Fault> {
        let mut members: Vec<String> = table.replicas.iter().map(|r| r.region.clone()).collect();
        members.push(table.region.clone());
        for member in &members {
            let place = table.place_in(member);
            let left = self
                .change_table(&place, |_, table| {
                    match member == region {
                        true => table.replicas.clear(),
                        false => table.replicas.retain(|r| r.region != region),
                    }
                    Ok(())
                })
                .await;
            match left {
                Err(fault) if fault.is("ResourceNotFoundException") => {}
                left => drop(left?),
            }
        }
        Ok(())
    }
}

fn local_region() -> Fault {
    validation(
        "Cannot add, delete, or update the local region through ReplicaUpdates. Use CreateTable, DeleteTable, or UpdateTable as required.",
    )
}

/// A replica that is not to be like its table is refused: it would not be.
fn check_overrides(create: &CreateReplicationGroupMemberAction) -> Result<(), Fault> {
    let has_overrides = create.provisioned_throughput_override.is_some()
        || create.on_demand_throughput_override.is_some()
        || create.global_secondary_indexes.is_some()
        || create.table_class_override.is_some();
    match has_overrides {
        true => Err(Fault::receiver(
            501,
            "NotImplemented",
            "Replicas that differ from their table are not implemented.",
        )),
        false => Ok(()),
    }
}
