//! Settings that the tables of a group of replicas share: capacity, indexes, time to live.
//!
//! A change leaves a fact in its own transaction. Whoever gets it makes each replica like the table that was changed, as that
//! is then: told twice, or late, it comes to the same.

use std::sync::Arc;

use cloud::{Context, Fact};
use serde::{Deserialize, Serialize};
use store::Tx;
use wire::Fault;

use crate::catalog::Place;
use crate::create::unique;
use crate::errors::limit_exceeded_exception;
use crate::fill::Task;
use crate::service::Dynamo;
use crate::table::{Index, TableRecord};
use crate::vector::VectorIndex;

/// That a table of a group was changed.
#[derive(Serialize, Deserialize)]
struct Changed {
    account: String,
    region: String,
    name: String,
}
impl Fact for Changed {
    const NAME: &'static str = "dynamodb.SettingsChanged";
}

/// Whether an index is that one, however much it may take.
fn is_same(one: &Index, other: &Index) -> bool {
    one.name == other.name && one.keys == other.keys && one.projected == other.projected
}

impl Dynamo {
    /// Begins to carry settings to replicas.
    pub fn register_settings(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.cloud.facts.subscribe::<Changed>(move |changed| {
            let this = this.clone();
            Box::pin(async move {
                match this.upgrade() {
                    Some(this) => this.share_settings(changed).await,
                    None => Ok(()),
                }
            })
        });
    }

    /// Tells of a change of a table that has replicas, within its transaction.
    pub fn settings_changed(&self, tx: &mut Tx<'_>, table: &TableRecord) -> Result<(), Fault> {
        // Tables that were joined have settings of their own.
        if table.replicas.is_empty() || table.is_joined {
            return Ok(());
        }
        let changed = Changed {
            account: table.account.clone(),
            region: table.region.clone(),
            name: table.name.clone(),
        };
        self.cloud.facts.emit(tx, &changed)
    }

    async fn share_settings(&self, changed: Changed) -> Result<(), Fault> {
        let found = self.catalog.find(
            &self.cloud.store,
            &changed.account,
            &changed.region,
            &changed.name,
        )?;
        let Some(source) = found else { return Ok(()) };
        for replica in &source.replicas {
            let place = Place {
                account: changed.account.clone(),
                region: replica.region.clone(),
                name: changed.name.clone(),
            };
            let ctx = Context::internal(
                &changed.account,
                &replica.region,
                "dynamodb.amazonaws.com",
                self.cloud.clock.now(),
            );
            let taken = self
                .change_table(&place, |tx, table| {
                    self.take_settings(tx, &ctx, table, &source)
                })
                .await;
            match taken {
                Ok((tasks, table)) => {
                    for task in tasks {
                        self.fill_now(&table, task).await;
                    }
                }
                // It is not made yet, and will be like the table then; or it has gone.
                Err(fault) if fault.is("ResourceNotFoundException") => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    fn take_settings(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        table: &mut TableRecord,
        source: &TableRecord,
    ) -> Result<Vec<Task>, Fault> {
        table.provisioned = source.provisioned;
        table.on_demand_since = source.on_demand_since;
        table.on_demand = source.on_demand;
        table.warm = source.warm;
        table.class.clone_from(&source.class);
        let mut tasks = Vec::new();
        let gone: Vec<String> = table
            .indexes
            .iter()
            .filter(|own| !source.indexes.iter().any(|index| is_same(index, own)))
            .map(|own| own.name.clone())
            .collect();
        for name in gone {
            self.delete_index(tx, ctx, table, &name)?;
        }
        for index in &source.indexes {
            if let Some(own) = table.indexes.iter_mut().find(|own| is_same(own, index)) {
                own.provisioned = index.provisioned;
                own.on_demand = index.on_demand;
                own.warm = index.warm;
                continue;
            }
            let number = table.next_index;
            table.next_index = number.checked_add(1).ok_or_else(|| {
                limit_exceeded_exception("Too many indexes have been created for this table")
            })?;
            for (name, kind) in &source.attributes {
                if index.keys.has(name) && !table.attributes.iter().any(|(n, _)| n == name) {
                    table.attributes.push((name.clone(), *kind));
                }
            }
            table.indexes.push(Index {
                number,
                is_backfilling: true,
                ..index.clone()
            });
            tasks.push(Task::Index(number));
        }
        let is_like = |own: &VectorIndex, other: &VectorIndex| {
            VectorIndex {
                number: other.number,
                is_backfilling: other.is_backfilling,
                ..own.clone()
            } == *other
        };
        let gone: Vec<String> = table
            .vectors
            .iter()
            .filter(|own| !source.vectors.iter().any(|index| is_like(own, index)))
            .map(|own| own.name.clone())
            .collect();
        for name in gone {
            self.delete_vector(tx, ctx, table, &name)?;
        }
        for index in &source.vectors {
            if !table.vectors.iter().any(|own| is_like(own, index)) {
                tasks.push(Task::Index(table.take_over_vector(index)?));
            }
        }
        if table.ttl != source.ttl {
            if table.ttl.is_some() {
                self.leave_ends(tx, table, ctx.time)?;
            }
            table.ttl.clone_from(&source.ttl);
            if table.ttl.is_some() {
                table.ttl_uid = unique();
                tasks.push(Task::Ends(table.ttl_uid));
            }
        }
        for task in &tasks {
            self.plan_fill(tx, table, *task, ctx.time)?;
        }
        Ok(tasks)
    }
}
