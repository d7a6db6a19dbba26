//! API destinations: HTTP endpoints as targets of rules.

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::page;
use crate::service::Events;

/// An API destination as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Destination {
    pub(crate) id: String,
    description: Option<String>,
    /// The connection's ARN.
    pub(crate) connection: String,
    pub(crate) endpoint: String,
    pub(crate) method: String,
    /// Calls in a second.
    pub(crate) rate: i32,
    created: i64,
    modified: i64,
}
impl Record for Destination {}

const RATE: i32 = 300;

fn arn(account: &str, region: &str, name: &str, id: &str) -> String {
    let resource = format!("api-destination/{name}/{id}");
    Arn::new("events", region, account, resource).to_string()
}

fn missing(name: &str) -> Fault {
    resource_not_found_exception(format!("An api-destination '{name}' does not exist."))
}

impl Events {
    /// The API destination of an ARN.
    pub(crate) fn destination(&self, arn: &Arn) -> Result<Destination, Fault> {
        let none = || resource_not_found_exception(format!("{arn} does not exist."));
        let path = arn.resource.strip_prefix("api-destination/");
        let (name, id) = path.and_then(|p| p.split_once('/')).ok_or_else(none)?;
        let view = self.cloud.store.read();
        let found: Option<Destination> =
            view.get(&self.destinations, &(&arn.account, &arn.region, name))?;
        found.filter(|d| d.id == id).ok_or_else(|| missing(name))
    }

    /// Whether its connection can be used.
    fn state(&self, reader: &impl Read, destination: &Destination) -> String {
        let connection = self.connection_of_arn(reader, &destination.connection);
        let is_usable = connection.is_ok_and(|(_, c)| c.state == connection_state::AUTHORIZED);
        match is_usable {
            true => api_destination_state::ACTIVE.into(),
            false => api_destination_state::INACTIVE.into(),
        }
    }

    pub(crate) async fn create_api_destination(
        &self,
        ctx: &Context,
        input: CreateApiDestinationInput,
    ) -> Result<CreateApiDestinationOutput, Fault> {
        let destination = Destination {
            id: cloud::ids::uuid(),
            description: input.description.filter(|d| !d.is_empty()),
            connection: input.connection_arn,
            endpoint: input.invocation_endpoint,
            method: input.http_method,
            rate: input.invocation_rate_limit_per_second.unwrap_or(RATE),
            created: ctx.time.0,
            modified: ctx.time.0,
        };
        let name = input.name;
        let scope = ["events.destinations", &ctx.account, &ctx.region];
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let store = &self.cloud.store;
        let create = store.transact(Scope::new(&scope), |tx| {
            self.connection_of_arn(tx, &destination.connection)?;
            if tx.contains(&self.destinations, &key)? {
                return Err(resource_already_exists_exception(format!(
                    "An api-destination '{name}' already exists."
                )));
            }
            tx.put(&self.destinations, &key, &destination)?;
            Ok(())
        });
        create.await?;
        Ok(CreateApiDestinationOutput {
            api_destination_arn: Some(arn(key.0, key.1, key.2, &destination.id)),
            api_destination_state: Some(self.state(&self.cloud.store, &destination)),
            creation_time: Some(ctx.time),
            last_modified_time: Some(ctx.time),
        })
    }

    pub(crate) async fn describe_api_destination(
        &self,
        ctx: &Context,
        input: DescribeApiDestinationInput,
    ) -> Result<DescribeApiDestinationOutput, Fault> {
        let name = input.name;
        let view = self.cloud.store.read();
        let found: Option<Destination> =
            view.get(&self.destinations, &(&ctx.account, &ctx.region, &name))?;
        let destination = found.ok_or_else(|| {
            resource_not_found_exception(format!(
                "Failed to describe the api-destination(s). {}",
                missing(&name).message
            ))
        })?;
        Ok(DescribeApiDestinationOutput {
            api_destination_arn: Some(arn(&ctx.account, &ctx.region, &name, &destination.id)),
            name: Some(name),
            api_destination_state: Some(self.state(&view, &destination)),
            description: destination.description,
            connection_arn: Some(destination.connection),
            invocation_endpoint: Some(destination.endpoint),
            http_method: Some(destination.method),
            invocation_rate_limit_per_second: Some(destination.rate),
            creation_time: Some(Timestamp(destination.created)),
            last_modified_time: Some(Timestamp(destination.modified)),
        })
    }

    pub(crate) async fn list_api_destinations(
        &self,
        ctx: &Context,
        input: ListApiDestinationsInput,
    ) -> Result<ListApiDestinationsOutput, Fault> {
        let prefix = input.name_prefix.unwrap_or_default();
        let mut range = Range::text(&(&ctx.account, &ctx.region), &prefix);
        if let Some(after) = page::start("ListApiDestinations", input.next_token.as_deref())? {
            range = range.after(&(&ctx.account, &ctx.region, &after));
        }
        let size = page::size(input.limit);
        let view = self.cloud.store.read();
        let mut found = Vec::new();
        for row in view.range(&self.destinations, range) {
            let ((_, _, name), destination) = row?;
            let of = input.connection_arn.as_ref();
            if of.is_none_or(|arn| *arn == destination.connection) {
                found.push(ApiDestination {
                    api_destination_arn: Some(arn(
                        &ctx.account,
                        &ctx.region,
                        &name,
                        &destination.id,
                    )),
                    name: Some(name),
                    api_destination_state: Some(self.state(&view, &destination)),
                    connection_arn: Some(destination.connection),
                    invocation_endpoint: Some(destination.endpoint),
                    http_method: Some(destination.method),
                    invocation_rate_limit_per_second: Some(destination.rate),
                    creation_time: Some(Timestamp(destination.created)),
                    last_modified_time: Some(Timestamp(destination.modified)),
                });
            }
            if found.len() > size {
                break;
            }
        }
        let (found, next_token) = page::cut("ListApiDestinations", found, size, |d| {
            d.name.clone().unwrap_or_default()
        });
        Ok(ListApiDestinationsOutput {
            api_destinations: Some(found),
            next_token,
        })
    }

    pub(crate) async fn update_api_destination(
        &self,
        ctx: &Context,
        input: UpdateApiDestinationInput,
    ) -> Result<UpdateApiDestinationOutput, Fault> {
        let name = input.name;
        let scope = ["events.destinations", &ctx.account, &ctx.region];
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let store = &self.cloud.store;
        let update = store.transact(Scope::new(&scope), |tx| {
            let found: Option<Destination> = Read::get(tx, &self.destinations, &key)?;
            let mut destination = found.ok_or_else(|| missing(&name))?;
            if let Some(connection) = input.connection_arn {
                self.connection_of_arn(tx, &connection)?;
                destination.connection = connection;
            }
            if let Some(description) = input.description {
                destination.description = Some(description).filter(|d| !d.is_empty());
            }
            destination.endpoint = input.invocation_endpoint.unwrap_or(destination.endpoint);
            destination.method = input.http_method.unwrap_or(destination.method);
            let rate = input.invocation_rate_limit_per_second;
            destination.rate = rate.unwrap_or(destination.rate);
            destination.modified = ctx.time.0;
            tx.put(&self.destinations, &key, &destination)?;
            Ok::<_, Fault>(destination)
        });
        let destination = update.await?;
        Ok(UpdateApiDestinationOutput {
            api_destination_arn: Some(arn(key.0, key.1, key.2, &destination.id)),
            api_destination_state: Some(self.state(&self.cloud.store, &destination)),
            creation_time: Some(Timestamp(destination.created)),
            last_modified_time: Some(Timestamp(destination.modified)),
        })
    }

    pub(crate) async fn delete_api_destination(
        &self,
        ctx: &Context,
        input: DeleteApiDestinationInput,
    ) -> Result<DeleteApiDestinationOutput, Fault> {
        let scope = ["events.destinations", &ctx.account, &ctx.region];
        let key = (&ctx.account, &ctx.region, &input.name);
        let store = &self.cloud.store;
        let delete = store.transact(Scope::new(&scope), |tx| {
            let found: Option<Destination> = Read::get(tx, &self.destinations, &key)?;
            let destination = found.ok_or_else(|| missing(&input.name))?;
            tx.delete(&self.destinations, &key);
            Ok::<_, Fault>(destination)
        });
        let destination = delete.await?;
        self.slots.lock().remove(&destination.id);
        Ok(DeleteApiDestinationOutput {})
    }
}
