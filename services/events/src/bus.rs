//! Event buses.

use std::collections::BTreeMap;

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::place::{Place, invalid};
use crate::service::Events;
use crate::{page, partner, tag};

/// A bus as it is stored. The default one has a row once something of it was set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bus {
    pub(crate) created: Option<i64>,
    pub(crate) modified: Option<i64>,
    pub(crate) description: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) dead_letter: Option<String>,
    /// Detail and level of logging.
    pub(crate) log: Option<(Option<String>, Option<String>)>,
    pub(crate) policy: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}
impl Record for Bus {}

/// The most buses of an account in a region.
const MOST: usize = 100;

impl Bus {
    fn dead_letter_config(&self) -> Option<DeadLetterConfig> {
        self.dead_letter
            .clone()
            .map(|arn| DeadLetterConfig { arn: Some(arn) })
    }
    fn log_config(&self) -> Option<LogConfig> {
        let (include_detail, level) = self.log.clone()?;
        Some(LogConfig {
            include_detail,
            level,
        })
    }
    fn shown(&self, place: &Place) -> EventBus {
        EventBus {
            name: Some(place.bus.clone()),
            arn: Some(place.arn()),
            description: self.description.clone(),
            policy: self.policy.clone(),
            creation_time: self.created.map(Timestamp),
            last_modified_time: self.modified.map(Timestamp),
            managed_by: None,
        }
    }
}

fn log(config: Option<LogConfig>) -> Option<(Option<String>, Option<String>)> {
    config.map(|c| (c.include_detail, c.level))
}

impl Events {
    /// The bus, which must exist; the default one always does.
    pub(crate) fn bus(&self, reader: &impl Read, place: &Place) -> Result<Bus, Fault> {
        match Read::get(reader, &self.buses, &place.key())? {
            Some(bus) => Ok(bus),
            None if place.is_default() => Ok(Bus::default()),
            None => Err(place.missing()),
        }
    }

    /// Writes down when the default bus was first looked at, as if it had been made then.
    async fn begin_default(&self, place: &Place, now: i64) -> Result<(), Fault> {
        let view = self.cloud.store.read();
        if !place.is_default() || self.bus(&view, place)?.created.is_some() {
            return Ok(());
        }
        self.change_bus(place, |_, bus| {
            bus.created = Some(now);
            bus.modified.get_or_insert(now);
            Ok(())
        })
        .await
    }

    /// Changes a bus under its lock.
    pub(crate) async fn change_bus<R>(
        &self,
        place: &Place,
        f: impl FnOnce(&mut Tx<'_>, &mut Bus) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = place.scope();
        let store = &self.cloud.store;
        let change = store.transact(Scope::new(&scope), |tx| {
            let mut bus = self.bus(tx, place)?;
            let result = f(tx, &mut bus)?;
            tx.put(&self.buses, &place.key(), &bus)?;
            Ok(result)
        });
        change.await
    }

    pub(crate) async fn create_event_bus(
        &self,
        ctx: &Context,
        input: CreateEventBusInput,
    ) -> Result<CreateEventBusOutput, Fault> {
        let place = Place::new(ctx, &input.name);
        match &input.event_source_name {
            Some(source) if *source == input.name => {}
            Some(source) => {
                return Err(invalid(format!(
                    "Event bus name must match the event source name {source}."
                )));
            }
            None if input.name.contains('/') => {
                return Err(invalid("Event bus name must not contain '/'."));
            }
            None => {}
        }
        let bus = Bus {
            created: Some(ctx.time.0),
            modified: Some(ctx.time.0),
            description: input.description.filter(|d| !d.is_empty()),
            key: input.kms_key_identifier.filter(|k| !k.is_empty()),
            dead_letter: input.dead_letter_config.and_then(|c| c.arn),
            log: log(input.log_config),
            policy: None,
            tags: tag::read(input.tags)?,
        };
        let scope = ["events", &ctx.account, &ctx.region];
        let own = place.scope();
        let store = &self.cloud.store;
        let partners = partner::scope(&ctx.region);
        let whole = Scope::new(&scope).and(&own);
        let whole = partner::with_partners(whole, &place.bus, &partners);
        let create = store.transact(whole, |tx| {
            if place.is_default() || tx.contains(&self.buses, &place.key())? {
                return Err(resource_already_exists_exception(format!(
                    "Event bus {} already exists.",
                    place.bus
                )));
            }
            let all = Range::prefix(&(&ctx.account, &ctx.region)).limit(MOST);
            if tx.range(&self.buses, all).count() >= MOST {
                return Err(crate::place::too_many());
            }
            if partner::is_partners(&place.bus) {
                self.begin_source(tx, &place, ctx.time.0)?;
            }
            tx.put(&self.buses, &place.key(), &bus)?;
            Ok(())
        });
        create.await?;
        Ok(CreateEventBusOutput {
            event_bus_arn: Some(place.arn()),
            dead_letter_config: bus.dead_letter_config(),
            log_config: bus.log_config(),
            description: bus.description,
            kms_key_identifier: bus.key,
        })
    }

    pub(crate) async fn describe_event_bus(
        &self,
        ctx: &Context,
        input: DescribeEventBusInput,
    ) -> Result<DescribeEventBusOutput, Fault> {
        let place = Place::of(ctx, input.name.as_deref());
        self.begin_default(&place, ctx.time.0).await?;
        let bus = self.bus(&self.cloud.store, &place)?;
        Ok(DescribeEventBusOutput {
            name: Some(place.bus.clone()),
            arn: Some(place.arn()),
            dead_letter_config: bus.dead_letter_config(),
            log_config: bus.log_config(),
            description: bus.description,
            kms_key_identifier: bus.key,
            policy: bus.policy,
            creation_time: bus.created.map(Timestamp),
            last_modified_time: bus.modified.map(Timestamp),
            managed_by: None,
        })
    }

    pub(crate) async fn list_event_buses(
        &self,
        ctx: &Context,
        input: ListEventBusesInput,
    ) -> Result<ListEventBusesOutput, Fault> {
        let default = Place::new(ctx, crate::place::DEFAULT);
        self.begin_default(&default, ctx.time.0).await?;
        let view = self.cloud.store.read();
        let prefix = input.name_prefix.unwrap_or_default();
        let after = page::start("ListEventBuses", input.next_token.as_deref())?;
        let size = page::size(input.limit);
        let mut all = BTreeMap::from([(default.bus.clone(), self.bus(&view, &default)?)]);
        let rows = view.range(
            &self.buses,
            Range::text(&(&ctx.account, &ctx.region), &prefix),
        );
        for row in rows {
            let ((_, _, name), bus) = row?;
            all.insert(name, bus);
        }
        let is_wanted = |name: &String| {
            name.starts_with(&prefix) && after.as_ref().is_none_or(|after| name > after)
        };
        let rows: Vec<_> = all
            .into_iter()
            .filter(|(name, _)| is_wanted(name))
            .take(size + 1)
            .collect();
        let (rows, next_token) = page::cut("ListEventBuses", rows, size, |(name, _)| name.clone());
        let shown = rows
            .iter()
            .map(|(name, bus)| bus.shown(&Place::new(ctx, name)));
        Ok(ListEventBusesOutput {
            event_buses: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn update_event_bus(
        &self,
        ctx: &Context,
        input: UpdateEventBusInput,
    ) -> Result<UpdateEventBusOutput, Fault> {
        let place = Place::of(ctx, input.name.as_deref());
        let bus = self
            .change_bus(&place, |_, bus| {
                bus.modified = Some(ctx.time.0);
                bus.description = input.description.filter(|d| !d.is_empty());
                bus.key = input.kms_key_identifier.filter(|k| !k.is_empty());
                bus.dead_letter = input.dead_letter_config.and_then(|c| c.arn);
                bus.log = log(input.log_config);
                Ok(bus.clone())
            })
            .await?;
        Ok(UpdateEventBusOutput {
            arn: Some(place.arn()),
            name: Some(place.bus.clone()),
            dead_letter_config: bus.dead_letter_config(),
            log_config: bus.log_config(),
            kms_key_identifier: bus.key,
            description: bus.description,
        })
    }

    pub(crate) async fn delete_event_bus(
        &self,
        ctx: &Context,
        input: DeleteEventBusInput,
    ) -> Result<DeleteEventBusOutput, Fault> {
        let place = Place::of(ctx, Some(&input.name));
        if place.is_default() {
            return Err(invalid("Cannot delete event bus default."));
        }
        let scope = place.scope();
        let store = &self.cloud.store;
        let partners = partner::scope(&place.region);
        let whole = partner::with_partners(Scope::new(&scope), &place.bus, &partners);
        let delete = store.transact(whole, |tx| {
            // Deleting what is not there succeeds.
            if !tx.contains(&self.buses, &place.key())? {
                return Ok::<_, Fault>(());
            }
            for name in self.rule_names(tx, &place)? {
                self.remove_rule(tx, &place, &name)?;
            }
            if partner::is_partners(&place.bus) {
                self.end_source(tx, &place, ctx.time.0)?;
            }
            tx.delete(&self.routes, &place.key());
            tx.delete(&self.buses, &place.key());
            Ok(())
        });
        delete.await?;
        Ok(DeleteEventBusOutput {})
    }
}
