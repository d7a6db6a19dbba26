//! Tables are updated.

use cloud::Context;
use store::Tx;
use wire::Fault;

use crate::api::*;
use crate::catalog::Place;
use crate::create::{Remains, encryption};
use crate::definition::{self, Definitions};
use crate::errors::*;
use crate::fault::{invalid_parameter, validation};
use crate::fill::Task;
use crate::service::Dynamo;
use crate::table::{Capacity, TableRecord};
use crate::vector;

impl Dynamo {
    /// `UpdateTable`
    pub async fn update_table(
        &self,
        ctx: &Context,
        input: UpdateTableInput,
    ) -> Result<UpdateTableOutput, Fault> {
        let place = Place::of(ctx, &input.table_name)?;
        refuse_absent(&input)?;
        let indexes = input
            .global_secondary_index_updates
            .as_deref()
            .unwrap_or_default();
        let vectors = input.vector_index_updates.as_deref().unwrap_or_default();
        let is_empty = indexes.is_empty()
            && input.provisioned_throughput.is_none()
            && input.billing_mode.is_none()
            && input.stream_specification.is_none()
            && input.sse_specification.is_none()
            && input.table_class.is_none()
            && input.deletion_protection_enabled.is_none()
            && input.on_demand_throughput.is_none()
            && input.warm_throughput.is_none()
            && vectors.is_empty()
            && input
                .replica_updates
                .as_deref()
                .unwrap_or_default()
                .is_empty();
        if is_empty {
            // The table is looked for first.
            self.catalog.described(ctx, &input.table_name)?;
            return Err(validation(
                "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required for UpdateTable",
            ));
        }
        check_index_updates(indexes, vectors)?;
        let (task, table) = self
            .change_table(&place, |tx, table| self.update(tx, ctx, table, &input))
            .await?;
        let tallies = self.tallies(&table)?;
        let mut description = table.describe("UPDATING", &tallies);
        for index in description.global_secondary_indexes.iter_mut().flatten() {
            let is_changed = indexes.iter().any(|update| {
                update
                    .update
                    .as_ref()
                    .is_some_and(|u| Some(&u.index_name) == index.index_name.as_ref())
            });
            if is_changed {
                index.index_status = Some("UPDATING".into());
            }
        }
        if let Some(task) = task {
            self.fill_now(&table, task).await;
        }
        Ok(UpdateTableOutput {
            table_description: Some(description),
        })
    }

    fn update(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        table: &mut TableRecord,
        input: &UpdateTableInput,
    ) -> Result<Option<Task>, Fault> {
        let now = ctx.time.millis();
        set_billing(table, input, now)?;
        if let Some(class) = &input.table_class {
            table.class = Some((class.clone(), Some(now)));
        }
        if let Some(is_protected) = input.deletion_protection_enabled {
            table.is_protected = is_protected;
        }
        if let Some(given) = &input.sse_specification {
            table.sse = encryption(ctx, Some(given))?;
        }
        if input.on_demand_throughput.is_some() {
            if table.provisioned.is_some() {
                return Err(invalid_parameter(
                    "OnDemandThroughput can only be specified when BillingMode is PAY_PER_REQUEST",
                ));
            }
            table.on_demand = definition::on_demand(input.on_demand_throughput.as_ref());
        }
        if input.warm_throughput.is_some() {
            table.warm = definition::warm(
                input.warm_throughput.as_ref(),
                table.provisioned.as_ref(),
                "table",
            )?;
        }
        if let Some(given) = &input.stream_specification {
            self.set_stream(tx, ctx, table, given)?;
        }
        let given = input.attribute_definitions.as_deref().unwrap_or_default();
        let definitions = definition::definitions(given)?;
        let mut task = None;
        for update in input.global_secondary_index_updates.iter().flatten() {
            if let Some(create) = &update.create {
                task = Some(create_index(table, create, &definitions)?);
            }
            if let Some(delete) = &update.delete {
                self.delete_index(tx, ctx, table, &delete.index_name)?;
            }
            if let Some(update) = &update.update {
                update_index(table, update, now)?;
            }
        }
        for update in input.vector_index_updates.iter().flatten() {
            if let Some(create) = &update.create {
                let mut known = table.attributes.clone();
                known.extend(definitions.iter().cloned());
                task = Some(Task::Index(table.add_vector(create, &known)?));
            }
            if let Some(delete) = &update.delete {
                self.delete_vector(tx, ctx, table, &delete.index_name)?;
            }
        }
        if let Some(updates) = &input.replica_updates {
            self.update_replicas(tx, ctx, table, updates)?;
        }
        if let Some(task) = task {
            self.plan_fill(tx, table, task, ctx.time)?;
        }
        self.settings_changed(tx, table)?;
        Ok(task)
    }

    fn set_stream(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        table: &mut TableRecord,
        given: &StreamSpecification,
    ) -> Result<(), Fault> {
        match (given.stream_enabled, &given.stream_view_type) {
            (true, None) => Err(invalid_parameter(
                "StreamViewType is required when StreamEnabled is true",
            )),
            (true, Some(_)) if table.stream_view.is_some() => Err(validation(format!(
                "Table already has an enabled stream: TableName: {}",
                table.name
            ))),
            (true, Some(view)) => {
                table.open_stream(view.clone(), ctx.time);
                self.open_stream(tx, table)
            }
            (false, Some(_)) => Err(invalid_parameter(
                "StreamViewType cannot be specified when StreamEnabled is false",
            )),
            (false, None) if table.stream_view.is_none() => Err(validation(format!(
                "Table has no stream to disable: TableName: {}",
                table.name
            ))),
            (false, None) if !table.replicas.is_empty() => Err(invalid_parameter(
                "Disabling Stream is not allowed for a Global Table replica.",
            )),
            (false, None) => {
                self.close_stream(tx, table, ctx.time)?;
                table.stream_view = None;
                Ok(())
            }
        }
    }

    /// Takes an index from a table; its rows are left to be removed.
    pub fn delete_index(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        table: &mut TableRecord,
        name: &str,
    ) -> Result<(), Fault> {
        let at = table
            .indexes
            .iter()
            .position(|index| index.name == name && !index.is_local)
            .ok_or_else(no_index)?;
        let index = table.indexes.remove(at);
        self.leave_index(tx, ctx, table, index.number)
    }

    /// Takes a vector index from a table; its rows are left to be removed.
    pub fn delete_vector(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        table: &mut TableRecord,
        name: &str,
    ) -> Result<(), Fault> {
        let at = table
            .vectors
            .iter()
            .position(|index| index.name == name)
            .ok_or_else(no_index)?;
        let index = table.vectors.remove(at);
        self.leave_index(tx, ctx, table, index.number)
    }

    /// Leaves the rows of an index that was taken from a table, and forgets the attributes that nothing needs defined.
    fn leave_index(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        table: &mut TableRecord,
        number: u8,
    ) -> Result<(), Fault> {
        let attributes = std::mem::take(&mut table.attributes);
        let is_used = |(name, _): &(String, _)| table.is_defined_for_use(name);
        table.attributes = attributes.into_iter().filter(is_used).collect();
        let remains = Remains::Index {
            account: table.account.clone(),
            uid: table.uid,
            number,
        };
        self.leave(tx, &remains, ctx.time)
    }
}

fn no_index() -> Fault {
    resource_not_found_exception("Requested resource not found")
}

/// What of the model is not there is said to be so, and not done in part.
fn refuse_absent(input: &UpdateTableInput) -> Result<(), Fault> {
    if input.multi_region_consistency.is_some()
        || input.global_table_witness_updates.is_some()
        || input.global_table_settings_replication_mode.is_some()
        || input.disassociation_protection_enabled.is_some()
    {
        return Err(Fault::receiver(
            501,
            "NotImplemented",
            "Strongly consistent global tables are not implemented.",
        ));
    }
    Ok(())
}

fn check_index_updates(
    updates: &[GlobalSecondaryIndexUpdate],
    vectors: &[VectorIndexUpdate],
) -> Result<(), Fault> {
    let mut online = vectors.len();
    for update in vectors {
        match (&update.create, &update.delete) {
            (None, None) => {
                return Err(invalid_parameter(
                    "One of VectorIndexUpdate.Create, VectorIndexUpdate.Delete must not be null",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(invalid_parameter(
                    "Only one of VectorIndexUpdate.Create, VectorIndexUpdate.Delete can be specified",
                ));
            }
            _ => {}
        }
    }
    for update in updates {
        let given = usize::from(update.create.is_some())
            + usize::from(update.delete.is_some())
            + usize::from(update.update.is_some());
        if given == 0 {
            return Err(invalid_parameter(
                "One of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete must not be null",
            ));
        }
        if given > 1 {
            return Err(invalid_parameter(
                "Only one of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete can be specified",
            ));
        }
        online += usize::from(update.update.is_none());
    }
    if online > 1 {
        return Err(limit_exceeded_exception(
            "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table",
        ));
    }
    Ok(())
}

fn create_index(
    table: &mut TableRecord,
    create: &CreateGlobalSecondaryIndexAction,
    given: &Definitions,
) -> Result<Task, Fault> {
    let name = &create.index_name;
    if table.index(name).is_some() || table.vector(name).is_some() {
        return Err(validation(format!(
            "Attempting to create an index which already exists: {name}"
        )));
    }
    let count = table.indexes.iter().filter(|index| !index.is_local).count();
    if count >= definition::MAX_GLOBAL {
        return Err(limit_exceeded_exception(
            "Subscriber limit exceeded: Number of GlobalSecondaryIndexes exceeds per-table limit of 20",
        ));
    }
    let mut definitions = table.attributes.clone();
    for (attribute, kind) in given {
        match definitions.iter().find(|(n, _)| n == attribute) {
            None => definitions.push((attribute.clone(), *kind)),
            Some((_, known)) if known == kind => {}
            Some((_, known)) => {
                return Err(invalid_parameter(&format!(
                    "Attributes cannot be redefined. Please check that your attribute has the same type as previously defined. Existing schema: Schema:[SchemaElement: key{{{attribute}:{}:HASH}}] New schema: Schema:[SchemaElement: key{{{attribute}:{}:HASH}}]",
                    known.name(),
                    kind.name()
                )));
            }
        }
    }
    // Where nothing is defined the keys are told, as below.
    if !given.is_empty() {
        definition::refuse_more_keys(&create.key_schema, given)?;
    }
    let undefined = create.key_schema.iter().any(|element| {
        !given
            .iter()
            .any(|(name, _)| *name == element.attribute_name)
    });
    if undefined {
        let listed = |names: Vec<&str>| format!("[{}]", names.join(", "));
        return Err(invalid_parameter(&format!(
            "Some index key attributes are not defined in AttributeDefinitions. Keys: {}, AttributeDefinitions: {}",
            listed(
                create
                    .key_schema
                    .iter()
                    .map(|e| e.attribute_name.as_str())
                    .collect()
            ),
            listed(given.iter().map(|(name, _)| name.as_str()).collect())
        )));
    }
    let index = GlobalSecondaryIndex {
        index_name: name.clone(),
        key_schema: create.key_schema.clone(),
        projection: create.projection.clone(),
        provisioned_throughput: create.provisioned_throughput.clone(),
        on_demand_throughput: create.on_demand_throughput.clone(),
        warm_throughput: create.warm_throughput.clone(),
    };
    let mut index = definition::global_index(&index, table.provisioned.is_some(), &definitions)?;
    let Some(next) = table.next_index.checked_add(1) else {
        return Err(limit_exceeded_exception(
            "Too many indexes have been created for this table",
        ));
    };
    index.number = table.next_index;
    index.is_backfilling = true;
    table.next_index = next;
    definitions.retain(|(name, _)| {
        table.attributes.iter().any(|(n, _)| n == name) || index.keys.has(name)
    });
    table.attributes = definitions;
    let task = Task::Index(index.number);
    table.indexes.push(index);
    Ok(task)
}

fn update_index(
    table: &mut TableRecord,
    update: &UpdateGlobalSecondaryIndexAction,
    now: i64,
) -> Result<(), Fault> {
    let is_provisioned = table.provisioned.is_some();
    let index = table
        .indexes
        .iter_mut()
        .find(|index| index.name == update.index_name && !index.is_local)
        .ok_or_else(no_index)?;
    if let Some(given) = &update.provisioned_throughput {
        if !is_provisioned {
            return Err(invalid_parameter(
                "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
            ));
        }
        index.provisioned = Some(changed(index.provisioned, given, now)?);
    }
    if update.on_demand_throughput.is_some() {
        index.on_demand = definition::on_demand(update.on_demand_throughput.as_ref());
    }
    if update.warm_throughput.is_some() {
        index.warm = definition::warm(
            update.warm_throughput.as_ref(),
            index.provisioned.as_ref(),
            &format!("index {}", index.name),
        )?;
    }
    Ok(())
}

/// Capacity after a change, with the time of it.
fn changed(
    old: Option<Capacity>,
    given: &ProvisionedThroughput,
    now: i64,
) -> Result<Capacity, Fault> {
    let mut new = definition::capacity(given)?;
    let old = old.unwrap_or_default();
    let is_more = new.read > old.read || new.write > old.write;
    let is_less = new.read < old.read || new.write < old.write;
    new.increased = if is_more { Some(now) } else { old.increased };
    new.decreased = if is_less { Some(now) } else { old.decreased };
    Ok(new)
}

fn set_billing(table: &mut TableRecord, input: &UpdateTableInput, now: i64) -> Result<(), Fault> {
    let given = input.provisioned_throughput.as_ref();
    match (input.billing_mode.as_deref(), given) {
        (None, None) => Ok(()),
        (Some("PAY_PER_REQUEST"), None) => {
            if table.provisioned.take().is_some() || table.on_demand_since.is_none() {
                table.on_demand_since = Some(now);
            }
            for index in &mut table.indexes {
                index.provisioned = None;
            }
            Ok(())
        }
        (Some("PAY_PER_REQUEST"), Some(_)) => Err(invalid_parameter(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        )),
        (None, Some(_)) if table.provisioned.is_none() => Err(invalid_parameter(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        )),
        (Some(_), None) => match table.provisioned {
            Some(_) => Ok(()),
            None => Err(invalid_parameter(
                "ProvisionedThroughput must be specified when BillingMode is PROVISIONED",
            )),
        },
        (_, Some(_)) if !table.vectors.is_empty() => Err(vector::needs_demand()),
        (mode, Some(given)) => {
            let new = changed(table.provisioned, given, now)?;
            let same = |old: Capacity| old.read == new.read && old.write == new.write;
            let changes_indexes = input
                .global_secondary_index_updates
                .as_ref()
                .is_some_and(|updates| !updates.is_empty());
            if mode.is_none() && !changes_indexes && table.provisioned.is_some_and(same) {
                return Err(validation(format!(
                    "The provisioned throughput for the table will not change. The requested value equals the current value. Current ReadCapacityUnits provisioned for the table: {}. Requested ReadCapacityUnits: {}. Current WriteCapacityUnits provisioned for the table: {}. Requested WriteCapacityUnits: {}. Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits.",
                    new.read, new.read, new.write, new.write
                )));
            }
            if table.provisioned.is_none() {
                table.on_demand = None;
                for index in table.indexes.iter_mut().filter(|index| !index.is_local) {
                    let update = input
                        .global_secondary_index_updates
                        .iter()
                        .flatten()
                        .filter_map(|update| update.update.as_ref())
                        .find(|update| update.index_name == index.name)
                        .and_then(|update| update.provisioned_throughput.as_ref());
                    let Some(given) = update else {
                        return Err(invalid_parameter(&format!(
                            "ProvisionedThroughput must be specified for index: {}",
                            index.name
                        )));
                    };
                    index.provisioned = Some(changed(None, given, now)?);
                }
            }
            table.provisioned = Some(new);
            Ok(())
        }
    }
}
