//! Auto scaling of tables of groups: kept and told, and nothing is scaled.

use cloud::Context;
use serde::{Deserialize, Serialize};
use wire::Fault;

use crate::api::*;
use crate::catalog::Place;
use crate::errors::resource_not_found_exception;
use crate::fault::invalid_parameter;
use crate::replica::ACTIVE;
use crate::service::Dynamo;
use crate::table::TableRecord;

/// Which capacity is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scaled {
    /// That of reads.
    Read,
    /// That of writes.
    Write,
}

/// Settings as they are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scaling {
    minimum: Option<i64>,
    maximum: Option<i64>,
    is_disabled: bool,
    role: Option<String>,
    policy: Option<Policy>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Policy {
    name: Option<String>,
    only_out: Option<bool>,
    /// Seconds after scaling in, and after scaling out.
    cooldowns: (Option<i32>, Option<i32>),
    target: f64,
}

impl Scaling {
    fn update(&mut self, given: &AutoScalingSettingsUpdate) {
        self.minimum = given.minimum_units.or(self.minimum);
        self.maximum = given.maximum_units.or(self.maximum);
        self.is_disabled = given.auto_scaling_disabled == Some(true);
        self.role = given.auto_scaling_role_arn.clone().or(self.role.take());
        if let Some(policy) = &given.scaling_policy_update {
            let tracking = &policy.target_tracking_scaling_policy_configuration;
            self.policy = Some(Policy {
                name: policy.policy_name.clone(),
                only_out: tracking.disable_scale_in,
                cooldowns: (tracking.scale_in_cooldown, tracking.scale_out_cooldown),
                target: tracking.target_value,
            });
        }
    }

    fn describe(&self) -> AutoScalingSettingsDescription {
        if self.is_disabled {
            return disabled();
        }
        let policy = self.policy.as_ref().map(|policy| {
            let tracking = AutoScalingTargetTrackingScalingPolicyConfigurationDescription {
                disable_scale_in: policy.only_out,
                scale_in_cooldown: policy.cooldowns.0,
                scale_out_cooldown: policy.cooldowns.1,
                target_value: policy.target,
            };
            vec![AutoScalingPolicyDescription {
                policy_name: policy.name.clone(),
                target_tracking_scaling_policy_configuration: Some(tracking),
            }]
        });
        AutoScalingSettingsDescription {
            minimum_units: self.minimum,
            maximum_units: self.maximum,
            auto_scaling_disabled: None,
            auto_scaling_role_arn: self.role.clone(),
            scaling_policies: policy,
        }
    }
}

fn disabled() -> AutoScalingSettingsDescription {
    AutoScalingSettingsDescription {
        auto_scaling_disabled: Some(true),
        ..AutoScalingSettingsDescription::default()
    }
}

impl TableRecord {
    /// How one capacity is scaled: the table's own where the index is empty.
    pub fn scaling(&self, what: Scaled, index: &str) -> AutoScalingSettingsDescription {
        let is_it = |(of, on, _): &&(Scaled, String, Scaling)| *of == what && on == index;
        let found = self.scalings.iter().find(is_it);
        found.map_or_else(disabled, |(_, _, scaling)| scaling.describe())
    }

    /// Takes over what a request says of that.
    pub fn set_scaling(
        &mut self,
        what: Scaled,
        index: &str,
        given: Option<&AutoScalingSettingsUpdate>,
    ) {
        let Some(given) = given else {
            return;
        };
        let is_it = |(of, on, _): &&mut (Scaled, String, Scaling)| *of == what && on == index;
        match self.scalings.iter_mut().find(is_it) {
            Some((_, _, scaling)) => scaling.update(given),
            None => {
                let mut scaling = Scaling::default();
                scaling.update(given);
                self.scalings.push((what, index.to_owned(), scaling));
            }
        }
    }

    fn describe_scaling(&self, status: &str) -> ReplicaAutoScalingDescription {
        let global = self.indexes.iter().filter(|index| !index.is_local);
        let indexes = global.map(|index| ReplicaGlobalSecondaryIndexAutoScalingDescription {
            index_name: Some(index.name.clone()),
            index_status: Some(ACTIVE.into()),
            provisioned_read_capacity_auto_scaling_settings: Some(
                self.scaling(Scaled::Read, &index.name),
            ),
            provisioned_write_capacity_auto_scaling_settings: Some(
                self.scaling(Scaled::Write, &index.name),
            ),
        });
        ReplicaAutoScalingDescription {
            region_name: Some(self.region.clone()),
            global_secondary_indexes: Some(indexes.collect()),
            replica_provisioned_read_capacity_auto_scaling_settings: Some(
                self.scaling(Scaled::Read, ""),
            ),
            replica_provisioned_write_capacity_auto_scaling_settings: Some(
                self.scaling(Scaled::Write, ""),
            ),
            replica_status: Some(status.into()),
        }
    }
}

fn no_index(name: &str) -> Fault {
    resource_not_found_exception(format!(
        "Requested resource not found: Index: {name} not found"
    ))
}

impl Dynamo {
    /// A table and its replicas, as auto scaling tells of them: none where it has none.
    fn scaled_replicas(
        &self,
        table: &TableRecord,
        status: &str,
    ) -> Result<TableAutoScalingDescription, Fault> {
        let mut replicas = Vec::new();
        if !table.replicas.is_empty() {
            replicas.push(table.describe_scaling(status));
        }
        for replica in &table.replicas {
            let found = self.catalog.find(
                &self.cloud.store,
                &table.account,
                &replica.region,
                &table.name,
            )?;
            replicas.extend(found.map(|other| other.describe_scaling(status)));
        }
        Ok(TableAutoScalingDescription {
            table_name: Some(table.name.clone()),
            table_status: Some(status.into()),
            replicas: Some(replicas),
        })
    }

    /// `DescribeTableReplicaAutoScaling`
    pub async fn describe_table_replica_auto_scaling(
        &self,
        ctx: &Context,
        input: DescribeTableReplicaAutoScalingInput,
    ) -> Result<DescribeTableReplicaAutoScalingOutput, Fault> {
        let table = self.catalog.described(ctx, &input.table_name)?;
        Ok(DescribeTableReplicaAutoScalingOutput {
            table_auto_scaling_description: Some(self.scaled_replicas(&table, ACTIVE)?),
        })
    }

    /// `UpdateTableReplicaAutoScaling`
    pub async fn update_table_replica_auto_scaling(
        &self,
        ctx: &Context,
        input: UpdateTableReplicaAutoScalingInput,
    ) -> Result<UpdateTableReplicaAutoScalingOutput, Fault> {
        let table = self.catalog.described(ctx, &input.table_name)?;
        if table.replicas.is_empty() {
            return Err(invalid_parameter(&format!(
                "Table {} is not a global table",
                table.name
            )));
        }
        let mut regions: Vec<String> = table.replicas.iter().map(|r| r.region.clone()).collect();
        regions.push(table.region.clone());
        for update in input.replica_updates.iter().flatten() {
            if !regions.contains(&update.region_name) {
                return Err(resource_not_found_exception(format!(
                    "Requested resource not found: Replica: {} not found",
                    update.region_name
                )));
            }
        }
        // All of them are known before the first is changed: the tables of a group have the same indexes.
        let replicas = input.replica_updates.iter().flatten();
        let reads =
            replicas.flat_map(|r| r.replica_global_secondary_index_updates.iter().flatten());
        let writes = input.global_secondary_index_updates.iter().flatten();
        let names = writes
            .map(|update| update.index_name.as_deref())
            .chain(reads.map(|update| update.index_name.as_deref()));
        for name in names.map(Option::unwrap_or_default) {
            if !table.indexes.iter().any(|i| i.name == name && !i.is_local) {
                return Err(no_index(name));
            }
        }
        for region in &regions {
            let place = Place {
                account: table.account.clone(),
                region: region.clone(),
                name: table.name.clone(),
            };
            self.change_table(&place, |_, table| {
                take_over(table, &input);
                Ok(())
            })
            .await?;
        }
        let table = self.catalog.described(ctx, &input.table_name)?;
        Ok(UpdateTableReplicaAutoScalingOutput {
            table_auto_scaling_description: Some(self.scaled_replicas(&table, "UPDATING")?),
        })
    }
}

/// Gives one table what a request says of all of them, and of its region.
fn take_over(table: &mut TableRecord, input: &UpdateTableReplicaAutoScalingInput) {
    let write = input
        .provisioned_write_capacity_auto_scaling_update
        .as_ref();
    table.set_scaling(Scaled::Write, "", write);
    for update in input.global_secondary_index_updates.iter().flatten() {
        let name = update.index_name.as_deref().unwrap_or_default();
        let given = update
            .provisioned_write_capacity_auto_scaling_update
            .as_ref();
        table.set_scaling(Scaled::Write, name, given);
    }
    let own = table.region.clone();
    let replicas = input.replica_updates.iter().flatten();
    for update in replicas.filter(|update| update.region_name == own) {
        let given = update
            .replica_provisioned_read_capacity_auto_scaling_update
            .as_ref();
        table.set_scaling(Scaled::Read, "", given);
        for update in update
            .replica_global_secondary_index_updates
            .iter()
            .flatten()
        {
            let name = update.index_name.as_deref().unwrap_or_default();
            let given = update
                .provisioned_read_capacity_auto_scaling_update
                .as_ref();
            table.set_scaling(Scaled::Read, name, given);
        }
    }
}
