//! Archives: events kept, to be replayed.

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::event::Event;
use crate::place::{Place, invalid, invalid_parameter};
use crate::rule::Rule;
use crate::service::Events;
use crate::{page, pattern};

/// An archive as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Archive {
    /// Tells it from others of its name, earlier or later.
    pub(crate) id: u64,
    pub(crate) bus: String,
    pub(crate) pattern: Option<String>,
    pub(crate) description: Option<String>,
    /// In days; 0 is for ever.
    pub(crate) retention: i32,
    pub(crate) key: Option<String>,
    pub(crate) created: i64,
}
impl Record for Archive {}

/// An event that an archive keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) arrived: i64,
    pub(crate) text: String,
}
impl Record for Kept {}

/// How much an archive keeps.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Amount {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
}
impl Record for Amount {}

/// Who manages the rules that feed archives.
const MANAGER: &str = "prod.vhs.events.aws.internal";

pub(crate) fn arn(account: &str, region: &str, name: &str) -> String {
    Arn::new("events", region, account, format!("archive/{name}")).to_string()
}

pub(crate) fn missing(name: &str) -> Fault {
    resource_not_found_exception(format!("Archive {name} does not exist."))
}

fn rule_name(archive: &str) -> String {
    format!("Events-Archive-{archive}")
}

impl Archive {
    pub(crate) fn place(&self, account: &str, region: &str) -> Place {
        Place {
            account: account.to_owned(),
            region: region.to_owned(),
            bus: self.bus.clone(),
        }
    }
    /// The pattern of the rule that shows it: replayed events are not kept again.
    fn rule_pattern(&self) -> String {
        let own = self
            .pattern
            .as_deref()
            .and_then(|p| serde_json::from_str(p).ok());
        let mut pattern = match own {
            Some(Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        pattern.insert("replay-name".into(), json!([{ "exists": false }]));
        Value::Object(pattern).to_string()
    }
}

impl Events {
    pub(crate) fn archive(
        &self,
        reader: &impl Read,
        account: &str,
        region: &str,
        name: &str,
    ) -> Result<Archive, Fault> {
        Read::get(reader, &self.archives, &(account, region, name))?.ok_or_else(|| missing(name))
    }

    pub(crate) fn archives_of(
        &self,
        reader: &impl Read,
        place: &Place,
    ) -> Result<Vec<(String, Archive)>, Fault> {
        let rows = reader.range(
            &self.archives,
            Range::prefix(&(&place.account, &place.region)),
        );
        let mut all = Vec::new();
        for row in rows {
            let ((_, _, name), archive) = row?;
            if archive.bus == place.bus {
                all.push((name, archive));
            }
        }
        Ok(all)
    }

    /// Keeps an event in an archive of the bus whose lock is held.
    pub(crate) fn keep(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        name: &str,
        archive: &Archive,
        event: &Event,
    ) -> Result<(), Fault> {
        let at = (place.account.as_str(), place.region.as_str(), archive.id);
        let arrived = self.cloud.clock.now();
        let kept = Kept {
            arrived: arrived.0,
            text: event.text.clone(),
        };
        let mut amount: Amount = Read::get(tx, &self.amounts, &at)?.unwrap_or_default();
        if amount.events == 0 {
            self.plan_expiry(tx, place, name, archive, arrived)?;
        }
        amount.events += 1;
        amount.bytes += i64::try_from(kept.text.len()).unwrap_or_default();
        tx.put(&self.amounts, &at, &amount)?;
        self.kept.append(tx, &at, &kept)?;
        Ok(())
    }

    /// Makes or changes the rule that shows an archive.
    fn put_archive_rule(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        name: &str,
        archive: &Archive,
    ) -> Result<(), Fault> {
        let rule = Rule {
            pattern: Some(archive.rule_pattern()),
            state: rule_state::ENABLED.into(),
            managed_by: Some(MANAGER.into()),
            created_by: place.account.clone(),
            ..Rule::default()
        };
        let shown = rule_name(name);
        self.put_rule_row(tx, place, &shown, &rule)?;
        let archive_arn = arn(&place.account, &place.region, name);
        let template = format!(
            "{{\"archive-arn\": \"{archive_arn}:{:016x}\", \"event\": <aws.events.event.json>, \"ingestion-time\": <aws.events.event.ingestion-time>}}",
            archive.id
        );
        let target = Target {
            id: shown.clone(),
            arn: Arn::new("events", &place.region, "", ":").to_string(),
            input_transformer: Some(InputTransformer {
                input_paths_map: Some(Default::default()),
                input_template: template,
            }),
            ..Target::default()
        };
        self.put_target(tx, place, &shown, &target)
    }

    pub(crate) async fn create_archive(
        &self,
        ctx: &Context,
        input: CreateArchiveInput,
    ) -> Result<CreateArchiveOutput, Fault> {
        let source = input.event_source_arn.parse::<Arn>().ok();
        let place = source.as_ref().and_then(Place::of_arn);
        let place = place
            .ok_or_else(|| invalid_parameter("EventSourceArn", "Must contain an event bus ARN."))?;
        if let Some(text) = &input.event_pattern {
            pattern::parse(text)?;
        }
        let mut id = [0; 8];
        cloud::ids::random(&mut id);
        let archive = Archive {
            id: u64::from_be_bytes(id),
            bus: place.bus.clone(),
            pattern: input.event_pattern,
            description: input.description.filter(|d| !d.is_empty()),
            retention: input.retention_days.unwrap_or(0),
            key: input.kms_key_identifier.filter(|k| !k.is_empty()),
            created: ctx.time.0,
        };
        let name = input.archive_name;
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let scope = ["events.archive", key.0, key.1, key.2];
        let bus_scope = place.scope();
        let store = &self.cloud.store;
        let create = store.transact(Scope::new(&scope).and(&bus_scope), |tx| {
            self.bus(tx, &place)?;
            if tx.contains(&self.archives, &key)? {
                return Err(resource_already_exists_exception(format!(
                    "Archive {name} already exists."
                )));
            }
            tx.put(&self.archives, &key, &archive)?;
            self.put_archive_rule(tx, &place, &name, &archive)
        });
        create.await?;
        Ok(CreateArchiveOutput {
            archive_arn: Some(arn(key.0, key.1, key.2)),
            state: Some(archive_state::ENABLED.into()),
            creation_time: Some(ctx.time),
            ..CreateArchiveOutput::default()
        })
    }

    pub(crate) async fn describe_archive(
        &self,
        ctx: &Context,
        input: DescribeArchiveInput,
    ) -> Result<DescribeArchiveOutput, Fault> {
        let view = self.cloud.store.read();
        let name = input.archive_name;
        let archive = self.archive(&view, &ctx.account, &ctx.region, &name)?;
        let at = (&ctx.account, &ctx.region, archive.id);
        let amount: Amount = view.get(&self.amounts, &at)?.unwrap_or_default();
        Ok(DescribeArchiveOutput {
            archive_arn: Some(arn(&ctx.account, &ctx.region, &name)),
            archive_name: Some(name),
            event_source_arn: Some(archive.place(&ctx.account, &ctx.region).arn()),
            description: archive.description,
            event_pattern: archive.pattern,
            state: Some(archive_state::ENABLED.into()),
            state_reason: None,
            kms_key_identifier: archive.key,
            retention_days: Some(archive.retention),
            size_bytes: Some(amount.bytes),
            event_count: Some(amount.events),
            creation_time: Some(Timestamp(archive.created)),
        })
    }

    pub(crate) async fn list_archives(
        &self,
        ctx: &Context,
        input: ListArchivesInput,
    ) -> Result<ListArchivesOutput, Fault> {
        let filters = [
            input.name_prefix.is_some(),
            input.event_source_arn.is_some(),
            input.state.is_some(),
        ];
        if filters.into_iter().filter(|is_there| *is_there).count() > 1 {
            return Err(invalid(
                "At most one filter is allowed for ListArchives. Use either : State, EventSourceArn, or NamePrefix.",
            ));
        }
        let view = self.cloud.store.read();
        let source = match &input.event_source_arn {
            Some(text) => {
                let place = text.parse::<Arn>().ok().as_ref().and_then(Place::of_arn);
                let place = place.ok_or_else(|| {
                    invalid_parameter("EventSourceArn", "Must contain an event bus ARN.")
                })?;
                self.bus(&view, &place)?;
                Some(place.bus)
            }
            None => None,
        };
        let prefix = input.name_prefix.unwrap_or_default();
        let mut range = Range::text(&(&ctx.account, &ctx.region), &prefix);
        if let Some(after) = page::start("ListArchives", input.next_token.as_deref())? {
            range = range.after(&(&ctx.account, &ctx.region, &after));
        }
        let is_enabled = input
            .state
            .as_deref()
            .is_none_or(|s| s == archive_state::ENABLED);
        let size = page::size(input.limit);
        let mut found = Vec::new();
        for row in view.range(&self.archives, range) {
            let ((_, _, name), archive) = row?;
            if is_enabled && source.as_ref().is_none_or(|bus| *bus == archive.bus) {
                found.push((name, archive));
            }
            if found.len() > size {
                break;
            }
        }
        let (found, next_token) = page::cut("ListArchives", found, size, |(name, _)| name.clone());
        let mut archives = Vec::new();
        for (name, archive) in found {
            let at = (&ctx.account, &ctx.region, archive.id);
            let amount: Amount = view.get(&self.amounts, &at)?.unwrap_or_default();
            archives.push(crate::api::Archive {
                archive_name: Some(name),
                event_source_arn: Some(archive.place(&ctx.account, &ctx.region).arn()),
                state: Some(archive_state::ENABLED.into()),
                state_reason: None,
                retention_days: Some(archive.retention),
                size_bytes: Some(amount.bytes),
                event_count: Some(amount.events),
                creation_time: Some(Timestamp(archive.created)),
            });
        }
        Ok(ListArchivesOutput {
            archives: Some(archives),
            next_token,
        })
    }

    pub(crate) async fn update_archive(
        &self,
        ctx: &Context,
        input: UpdateArchiveInput,
    ) -> Result<UpdateArchiveOutput, Fault> {
        let changes = [
            input.event_pattern.is_some(),
            input.retention_days.is_some(),
            input.description.is_some(),
            input.kms_key_identifier.is_some(),
        ];
        if !changes.contains(&true) {
            return Err(invalid(
                "At least one of EventPattern, RetentionDays or Description must be provided.",
            ));
        }
        let name = input.archive_name;
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let old = self.archive(&self.cloud.store, key.0, key.1, key.2)?;
        if let Some(text) = &input.event_pattern {
            pattern::parse(text)?;
        }
        let place = old.place(key.0, key.1);
        let scope = ["events.archive", key.0, key.1, key.2];
        let bus_scope = place.scope();
        let store = &self.cloud.store;
        let update = store.transact(Scope::new(&scope).and(&bus_scope), |tx| {
            let mut archive = self.archive(tx, key.0, key.1, key.2)?;
            if let Some(pattern) = input.event_pattern {
                archive.pattern = Some(pattern).filter(|p| !p.is_empty());
            }
            if let Some(description) = input.description {
                archive.description = Some(description).filter(|d| !d.is_empty());
            }
            if let Some(key) = input.kms_key_identifier {
                archive.key = Some(key).filter(|k| !k.is_empty());
            }
            if let Some(days) = input.retention_days {
                archive.retention = days;
            }
            tx.put(&self.archives, &key, &archive)?;
            self.put_archive_rule(tx, &place, &name, &archive)?;
            self.replan_expiry(tx, &place, &name, &archive)?;
            Ok::<_, Fault>(archive.created)
        });
        let created = update.await?;
        Ok(UpdateArchiveOutput {
            archive_arn: Some(arn(key.0, key.1, key.2)),
            state: Some(archive_state::ENABLED.into()),
            state_reason: None,
            creation_time: Some(Timestamp(created)),
        })
    }

    pub(crate) async fn delete_archive(
        &self,
        ctx: &Context,
        input: DeleteArchiveInput,
    ) -> Result<DeleteArchiveOutput, Fault> {
        let name = input.archive_name;
        let key = (ctx.account.as_str(), ctx.region.as_str(), name.as_str());
        let old = self.archive(&self.cloud.store, key.0, key.1, key.2)?;
        let place = old.place(key.0, key.1);
        let scope = ["events.archive", key.0, key.1, key.2];
        let bus_scope = place.scope();
        let store = &self.cloud.store;
        let delete = store.transact(Scope::new(&scope).and(&bus_scope), |tx| {
            let archive = self.archive(tx, key.0, key.1, key.2)?;
            tx.delete(&self.archives, &key);
            self.remove_rule(tx, &place, &rule_name(&name))?;
            self.forget_kept(tx, &place, &name, &archive)
        });
        delete.await?;
        Ok(DeleteArchiveOutput {})
    }
}
