//! Global endpoints: kept and described. Nothing fails over here, and no event comes by one.

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::page;
use crate::place::invalid;
use crate::service::Events;

/// An endpoint as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    id: String,
    description: Option<String>,
    health_check: String,
    secondary: String,
    replication: Option<String>,
    buses: Vec<String>,
    role: Option<String>,
    created: i64,
    modified: i64,
}
impl Record for Stored {}

fn missing(name: &str) -> Fault {
    resource_not_found_exception(format!("Endpoint '{name}' does not exist."))
}

fn arn(ctx: &Context, name: &str) -> String {
    let resource = format!("endpoint/{name}");
    Arn::new("events", &ctx.region, &ctx.account, resource).to_string()
}

impl Stored {
    fn route(&mut self, routing: RoutingConfig) {
        let failover = routing.failover_config;
        self.health_check = failover.primary.health_check;
        self.secondary = failover.secondary.route;
    }
    fn set_buses(&mut self, buses: Vec<EndpointEventBus>) -> Result<(), Fault> {
        let names: Vec<_> = buses
            .iter()
            .map(|b| b.event_bus_arn.rsplit('/').next())
            .collect();
        if names.first() != names.last() {
            return Err(invalid(
                "The event buses of an endpoint must have the same name.",
            ));
        }
        self.buses = buses.into_iter().map(|b| b.event_bus_arn).collect();
        Ok(())
    }
    fn routing(&self) -> RoutingConfig {
        RoutingConfig {
            failover_config: FailoverConfig {
                primary: Primary {
                    health_check: self.health_check.clone(),
                },
                secondary: Secondary {
                    route: self.secondary.clone(),
                },
            },
        }
    }
    fn shown(&self, ctx: &Context, name: &str) -> Endpoint {
        let buses = self.buses.iter().map(|arn| EndpointEventBus {
            event_bus_arn: arn.clone(),
        });
        Endpoint {
            name: Some(name.to_owned()),
            description: self.description.clone(),
            arn: Some(arn(ctx, name)),
            routing_config: Some(self.routing()),
            replication_config: self
                .replication
                .clone()
                .map(|state| ReplicationConfig { state: Some(state) }),
            event_buses: Some(buses.collect()),
            role_arn: self.role.clone(),
            endpoint_url: Some(format!("https://{}.endpoint.events.amazonaws.com", self.id)),
            endpoint_id: Some(self.id.clone()),
            state: Some(endpoint_state::ACTIVE.into()),
            state_reason: None,
            creation_time: Some(Timestamp(self.created)),
            last_modified_time: Some(Timestamp(self.modified)),
        }
    }
}

impl Events {
    fn endpoint(&self, reader: &impl Read, ctx: &Context, name: &str) -> Result<Stored, Fault> {
        let found = Read::get(reader, &self.endpoints, &(&ctx.account, &ctx.region, name))?;
        found.ok_or_else(|| missing(name))
    }

    pub(crate) async fn create_endpoint(
        &self,
        ctx: &Context,
        input: CreateEndpointInput,
    ) -> Result<CreateEndpointOutput, Fault> {
        let mut stored = Stored {
            id: format!("{}.{}", cloud::ids::lower(10), cloud::ids::hex(3)),
            description: input.description.filter(|d| !d.is_empty()),
            health_check: String::new(),
            secondary: String::new(),
            replication: input.replication_config.and_then(|r| r.state),
            buses: Vec::new(),
            role: input.role_arn,
            created: ctx.time.0,
            modified: ctx.time.0,
        };
        stored.route(input.routing_config);
        stored.set_buses(input.event_buses)?;
        let key = (&ctx.account, &ctx.region, &input.name);
        let scope = ["events.endpoints", &ctx.account, &ctx.region];
        let store = &self.cloud.store;
        let create = store.transact(Scope::new(&scope), |tx| {
            if tx.contains(&self.endpoints, &key)? {
                return Err(resource_already_exists_exception(format!(
                    "Endpoint '{}' already exists.",
                    input.name
                )));
            }
            tx.put(&self.endpoints, &key, &stored)?;
            Ok(())
        });
        create.await?;
        let shown = stored.shown(ctx, &input.name);
        Ok(CreateEndpointOutput {
            name: shown.name,
            arn: shown.arn,
            routing_config: shown.routing_config,
            replication_config: shown.replication_config,
            event_buses: shown.event_buses,
            role_arn: shown.role_arn,
            state: Some(endpoint_state::CREATING.into()),
        })
    }

    pub(crate) async fn describe_endpoint(
        &self,
        ctx: &Context,
        input: DescribeEndpointInput,
    ) -> Result<DescribeEndpointOutput, Fault> {
        let stored = self.endpoint(&self.cloud.store, ctx, &input.name)?;
        let shown = stored.shown(ctx, &input.name);
        Ok(DescribeEndpointOutput {
            name: shown.name,
            description: shown.description,
            arn: shown.arn,
            routing_config: shown.routing_config,
            replication_config: shown.replication_config,
            event_buses: shown.event_buses,
            role_arn: shown.role_arn,
            endpoint_id: shown.endpoint_id,
            endpoint_url: shown.endpoint_url,
            state: shown.state,
            state_reason: None,
            creation_time: shown.creation_time,
            last_modified_time: shown.last_modified_time,
        })
    }

    pub(crate) async fn list_endpoints(
        &self,
        ctx: &Context,
        input: ListEndpointsInput,
    ) -> Result<ListEndpointsOutput, Fault> {
        let prefix = input.name_prefix.unwrap_or_default();
        let mut range = Range::text(&(&ctx.account, &ctx.region), &prefix);
        if let Some(after) = page::start("ListEndpoints", input.next_token.as_deref())? {
            range = range.after(&(&ctx.account, &ctx.region, &after));
        }
        let size = page::size(input.max_results);
        let view = self.cloud.store.read();
        let rows = view
            .range(&self.endpoints, range.limit(size + 1))
            .collect::<Result<Vec<_>, _>>()?;
        let (rows, next_token) = page::cut("ListEndpoints", rows, size, |((_, _, name), _)| {
            name.clone()
        });
        let shown = rows.iter().map(|((_, _, name), e)| e.shown(ctx, name));
        Ok(ListEndpointsOutput {
            endpoints: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn update_endpoint(
        &self,
        ctx: &Context,
        input: UpdateEndpointInput,
    ) -> Result<UpdateEndpointOutput, Fault> {
        let name = input.name;
        let key = (&ctx.account, &ctx.region, &name);
        let scope = ["events.endpoints", &ctx.account, &ctx.region];
        let store = &self.cloud.store;
        let update = store.transact(Scope::new(&scope), |tx| {
            let mut stored = self.endpoint(tx, ctx, &name)?;
            if let Some(description) = input.description {
                stored.description = Some(description).filter(|d| !d.is_empty());
            }
            if let Some(routing) = input.routing_config {
                stored.route(routing);
            }
            if let Some(replication) = input.replication_config {
                stored.replication = replication.state;
            }
            if let Some(buses) = input.event_buses {
                stored.set_buses(buses)?;
            }
            stored.role = input.role_arn.or(stored.role);
            stored.modified = ctx.time.0;
            tx.put(&self.endpoints, &key, &stored)?;
            Ok::<_, Fault>(stored)
        });
        let shown = update.await?.shown(ctx, &name);
        Ok(UpdateEndpointOutput {
            name: shown.name,
            arn: shown.arn,
            routing_config: shown.routing_config,
            replication_config: shown.replication_config,
            event_buses: shown.event_buses,
            role_arn: shown.role_arn,
            endpoint_id: shown.endpoint_id,
            endpoint_url: shown.endpoint_url,
            state: Some(endpoint_state::UPDATING.into()),
        })
    }

    pub(crate) async fn delete_endpoint(
        &self,
        ctx: &Context,
        input: DeleteEndpointInput,
    ) -> Result<DeleteEndpointOutput, Fault> {
        let key = (&ctx.account, &ctx.region, &input.name);
        let scope = ["events.endpoints", &ctx.account, &ctx.region];
        let store = &self.cloud.store;
        let delete = store.transact(Scope::new(&scope), |tx| {
            self.endpoint(tx, ctx, &input.name)?;
            tx.delete(&self.endpoints, &key);
            Ok::<_, Fault>(())
        });
        delete.await?;
        Ok(DeleteEndpointOutput {})
    }
}
