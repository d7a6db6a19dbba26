//! Partners' event sources: what a partner makes for a customer's account, and the bus of the same name that the customer makes to
//! receive from it.
//!
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-saas.html>

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::event::Event;
use crate::page;
use crate::place::Place;
use crate::put::{Given, Reason};
use crate::service::Events;

/// A source as its customer has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Source {
    /// The partner's account.
    partner: String,
    created: i64,
    state: State,
}
impl Record for Source {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// Nothing receives from it, since when.
    Pending(i64),
    /// The customer's bus receives.
    Active,
    /// The partner has deleted it, while the customer has a bus for it.
    Deleted,
}

/// A source as its partner has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// The customer's account.
    account: String,
}
impl Record for Offer {}

/// Milliseconds after which a pending source is gone: two weeks.
const PATIENCE: i64 = 14 * 24 * 3600 * 1000;

impl Source {
    fn expires(&self) -> Option<i64> {
        match self.state {
            State::Pending(since) => Some(since + PATIENCE),
            State::Active | State::Deleted => None,
        }
    }
    fn is_there(&self, now: i64) -> bool {
        self.expires().is_none_or(|end| end > now)
    }
    fn state(&self) -> String {
        let state = match self.state {
            State::Pending(_) => event_source_state::PENDING,
            State::Active => event_source_state::ACTIVE,
            State::Deleted => event_source_state::DELETED,
        };
        state.into()
    }
    fn shown(&self, region: &str, name: &str) -> EventSource {
        EventSource {
            arn: Some(arn(region, name)),
            // The part behind `aws.partner/`.
            created_by: name.split('/').nth(1).map(str::to_owned),
            creation_time: Some(Timestamp(self.created)),
            expiration_time: self.expires().map(Timestamp),
            name: Some(name.to_owned()),
            state: Some(self.state()),
        }
    }
}

/// Sources belong to no account.
fn arn(region: &str, name: &str) -> String {
    Arn::new("events", region, "", format!("event-source/{name}")).to_string()
}

fn missing(name: &str) -> Fault {
    resource_not_found_exception(format!("Event source {name} does not exist."))
}

/// Whether a bus is one that receives from a partner.
pub(crate) fn is_partners(bus: &str) -> bool {
    bus.starts_with("aws.partner/")
}

/// Two of one name are not to be made at once; sources are few.
pub(crate) fn scope(region: &str) -> [&str; 2] {
    ["events.partners", region]
}

/// Also locks `partners`, a [`scope`], where the bus that comes or goes is a partner's.
pub(crate) fn with_partners<'a>(scope: Scope<'a>, bus: &str, partners: &'a [&'a str]) -> Scope<'a> {
    match is_partners(bus) {
        true => scope.and(partners),
        false => scope,
    }
}

impl Events {
    /// A customer's source.
    fn source(
        &self,
        reader: &impl Read,
        (account, region, name): (&str, &str, &str),
        now: i64,
    ) -> Result<Source, Fault> {
        let found = Read::get(reader, &self.sources, &(account, region, name))?;
        found
            .filter(|source| source.is_there(now))
            .ok_or_else(|| missing(name))
    }

    /// Whom a partner's source is for.
    fn customer(
        &self,
        reader: &impl Read,
        ctx: &Context,
        name: &str,
    ) -> Result<(String, Source), Fault> {
        let offer = Read::get(reader, &self.offers, &(&ctx.account, &ctx.region, name))?;
        let account = offer.ok_or_else(|| missing(name))?.account;
        let source = self.source(reader, (&account, &ctx.region, name), ctx.time.0)?;
        Ok((account, source))
    }

    /// A bus begins to receive from the source of its name.
    pub(crate) fn begin_source(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        now: i64,
    ) -> Result<(), Fault> {
        let mut source = self.source(tx, place.key(), now)?;
        if source.state == State::Deleted {
            return Err(missing(&place.bus));
        }
        source.state = State::Active;
        tx.put(&self.sources, &place.key(), &source)?;
        Ok(())
    }

    /// The bus of a source has gone.
    pub(crate) fn end_source(&self, tx: &mut Tx<'_>, place: &Place, now: i64) -> Result<(), Fault> {
        let Some(mut source) = Read::get(tx, &self.sources, &place.key())? else {
            return Ok(());
        };
        if source.state == State::Deleted {
            tx.delete(&self.sources, &place.key());
        } else {
            source.state = State::Pending(now);
            tx.put(&self.sources, &place.key(), &source)?;
        }
        Ok(())
    }

    pub(crate) async fn create_partner_event_source(
        &self,
        ctx: &Context,
        input: CreatePartnerEventSourceInput,
    ) -> Result<CreatePartnerEventSourceOutput, Fault> {
        let (name, account) = (&input.name, &input.account);
        let scope = scope(&ctx.region);
        let store = &self.cloud.store;
        let create = store.transact(Scope::new(&scope), |tx| {
            let key = (account, &ctx.region, name);
            let is_theirs = tx.get(&self.sources, &key)?;
            let is_ours = self.customer(tx, ctx, name).is_ok();
            if is_ours || is_theirs.is_some_and(|source| source.is_there(ctx.time.0)) {
                return Err(resource_already_exists_exception(format!(
                    "Event source {name} already exists."
                )));
            }
            let offer = Offer {
                account: account.clone(),
            };
            let source = Source {
                partner: ctx.account.clone(),
                created: ctx.time.0,
                state: State::Pending(ctx.time.0),
            };
            tx.put(&self.offers, &(&ctx.account, &ctx.region, name), &offer)?;
            tx.put(&self.sources, &key, &source)?;
            Ok(())
        });
        create.await?;
        Ok(CreatePartnerEventSourceOutput {
            event_source_arn: Some(arn(&ctx.region, name)),
        })
    }

    pub(crate) async fn delete_partner_event_source(
        &self,
        ctx: &Context,
        input: DeletePartnerEventSourceInput,
    ) -> Result<DeletePartnerEventSourceOutput, Fault> {
        let place = Place {
            account: input.account,
            region: ctx.region.clone(),
            bus: input.name,
        };
        let scope = scope(&ctx.region);
        let store = &self.cloud.store;
        let delete = store.transact(Scope::new(&scope), |tx| {
            // Deleting what is not there succeeds.
            let own = (&ctx.account, &ctx.region, &place.bus);
            let Some(source) = tx.get(&self.sources, &place.key())? else {
                return Ok::<_, Fault>(());
            };
            if source.partner != ctx.account {
                return Ok(());
            }
            tx.delete(&self.offers, &own);
            if tx.contains(&self.buses, &place.key())? {
                let source = Source {
                    state: State::Deleted,
                    ..source
                };
                tx.put(&self.sources, &place.key(), &source)?;
            } else {
                tx.delete(&self.sources, &place.key());
            }
            Ok(())
        });
        delete.await?;
        Ok(DeletePartnerEventSourceOutput {})
    }

    pub(crate) async fn describe_partner_event_source(
        &self,
        ctx: &Context,
        input: DescribePartnerEventSourceInput,
    ) -> Result<DescribePartnerEventSourceOutput, Fault> {
        self.customer(&self.cloud.store, ctx, &input.name)?;
        Ok(DescribePartnerEventSourceOutput {
            arn: Some(arn(&ctx.region, &input.name)),
            name: Some(input.name),
        })
    }

    pub(crate) async fn list_partner_event_sources(
        &self,
        ctx: &Context,
        input: ListPartnerEventSourcesInput,
    ) -> Result<ListPartnerEventSourcesOutput, Fault> {
        const OF: &str = "ListPartnerEventSources";
        let own = (&ctx.account, &ctx.region);
        let mut range = Range::text(&own, &input.name_prefix);
        if let Some(after) = page::start(OF, input.next_token.as_deref())? {
            range = range.after(&(&ctx.account, &ctx.region, &after));
        }
        let size = page::size(input.limit);
        let view = self.cloud.store.read();
        let mut rows = Vec::new();
        for row in view.range(&self.offers, range) {
            let ((_, _, name), _) = row?;
            if self.customer(&view, ctx, &name).is_ok() {
                rows.push(name);
            }
            if rows.len() > size {
                break;
            }
        }
        let (rows, next_token) = page::cut(OF, rows, size, Clone::clone);
        let shown = rows.into_iter().map(|name| PartnerEventSource {
            arn: Some(arn(&ctx.region, &name)),
            name: Some(name),
        });
        Ok(ListPartnerEventSourcesOutput {
            partner_event_sources: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn list_partner_event_source_accounts(
        &self,
        ctx: &Context,
        input: ListPartnerEventSourceAccountsInput,
    ) -> Result<ListPartnerEventSourceAccountsOutput, Fault> {
        let (account, source) = self.customer(&self.cloud.store, ctx, &input.event_source_name)?;
        let of = PartnerEventSourceAccount {
            account: Some(account),
            creation_time: Some(Timestamp(source.created)),
            expiration_time: source.expires().map(Timestamp),
            state: Some(source.state()),
        };
        Ok(ListPartnerEventSourceAccountsOutput {
            partner_event_source_accounts: Some(vec![of]),
            next_token: None,
        })
    }

    pub(crate) async fn describe_event_source(
        &self,
        ctx: &Context,
        input: DescribeEventSourceInput,
    ) -> Result<DescribeEventSourceOutput, Fault> {
        let at = (ctx.account.as_str(), ctx.region.as_str(), &*input.name);
        let source = self.source(&self.cloud.store, at, ctx.time.0)?;
        let shown = source.shown(&ctx.region, &input.name);
        Ok(DescribeEventSourceOutput {
            arn: shown.arn,
            created_by: shown.created_by,
            creation_time: shown.creation_time,
            expiration_time: shown.expiration_time,
            name: shown.name,
            state: shown.state,
        })
    }

    pub(crate) async fn list_event_sources(
        &self,
        ctx: &Context,
        input: ListEventSourcesInput,
    ) -> Result<ListEventSourcesOutput, Fault> {
        const OF: &str = "ListEventSources";
        let own = (&ctx.account, &ctx.region);
        let mut range = Range::text(&own, input.name_prefix.as_deref().unwrap_or_default());
        if let Some(after) = page::start(OF, input.next_token.as_deref())? {
            range = range.after(&(&ctx.account, &ctx.region, &after));
        }
        let size = page::size(input.limit);
        let mut rows = Vec::new();
        for row in self.cloud.store.read().range(&self.sources, range) {
            let ((_, _, name), source) = row?;
            if source.is_there(ctx.time.0) {
                rows.push((name, source));
            }
            if rows.len() > size {
                break;
            }
        }
        let (rows, next_token) = page::cut(OF, rows, size, |(name, _)| name.clone());
        let shown = rows
            .iter()
            .map(|(name, source)| source.shown(&ctx.region, name));
        Ok(ListEventSourcesOutput {
            event_sources: Some(shown.collect()),
            next_token,
        })
    }

    /// Lets the caller's bus receive from a source, or not.
    async fn switch_source(&self, ctx: &Context, name: &str, is_active: bool) -> Result<(), Fault> {
        let place = Place::new(ctx, name);
        let scope = scope(&ctx.region);
        let store = &self.cloud.store;
        let switch = store.transact(Scope::new(&scope), |tx| {
            let mut source = self.source(tx, place.key(), ctx.time.0)?;
            let has_bus = tx.contains(&self.buses, &place.key())?;
            source.state = match source.state {
                State::Pending(_) if is_active && has_bus => State::Active,
                State::Active if !is_active => State::Pending(ctx.time.0),
                _ => {
                    let wanted = match is_active {
                        true => event_source_state::PENDING,
                        false => event_source_state::ACTIVE,
                    };
                    return Err(invalid_state_exception(format!(
                        "Event source {name} is not in {wanted} state."
                    )));
                }
            };
            tx.put(&self.sources, &place.key(), &source)?;
            Ok(())
        });
        switch.await
    }

    pub(crate) async fn activate_event_source(
        &self,
        ctx: &Context,
        input: ActivateEventSourceInput,
    ) -> Result<ActivateEventSourceOutput, Fault> {
        self.switch_source(ctx, &input.name, true).await?;
        Ok(ActivateEventSourceOutput {})
    }

    pub(crate) async fn deactivate_event_source(
        &self,
        ctx: &Context,
        input: DeactivateEventSourceInput,
    ) -> Result<DeactivateEventSourceOutput, Fault> {
        self.switch_source(ctx, &input.name, false).await?;
        Ok(DeactivateEventSourceOutput {})
    }

    /// The event of a partner's entry, and the customer's bus.
    fn admit_partners(
        &self,
        ctx: &Context,
        entry: &PutPartnerEventsRequestEntry,
    ) -> Result<(Place, Event), Reason> {
        let given = Given::read((&entry.source, &entry.detail_type, &entry.detail), |_| {
            Ok(())
        })?;
        let name = given.source;
        let customer = self.customer(&self.cloud.store, ctx, name);
        let (account, source) = customer.map_err(|fault| {
            let text = fault.message.to_string();
            ("ResourceNotFoundException", text)
        })?;
        let event = given.event(ctx, &account, entry.time, entry.resources.as_deref())?;
        let place = Place {
            account,
            region: ctx.region.clone(),
            // A source that is pending has no bus for what is sent to it.
            bus: match source.state {
                State::Active => name.to_owned(),
                State::Pending(_) | State::Deleted => String::new(),
            },
        };
        Ok((place, event))
    }

    pub(crate) async fn put_partner_events(
        &self,
        ctx: &Context,
        input: PutPartnerEventsInput,
    ) -> Result<PutPartnerEventsOutput, Fault> {
        let admitted: Vec<_> = input
            .entries
            .iter()
            .map(|entry| self.admit_partners(ctx, entry))
            .collect();
        // That the source is active is the customer's permission.
        let put = self.put_all(ctx, &admitted, |_, _| Ok(())).await?;
        let failed = put.iter().filter(|outcome| outcome.is_err()).count();
        let entries = put.into_iter().map(|outcome| match outcome {
            Ok(id) => PutPartnerEventsResultEntry {
                event_id: Some(id),
                ..PutPartnerEventsResultEntry::default()
            },
            Err((code, message)) => PutPartnerEventsResultEntry {
                event_id: None,
                error_code: Some(code),
                error_message: Some(message),
            },
        });
        Ok(PutPartnerEventsOutput {
            entries: Some(entries.collect()),
            failed_entry_count: i32::try_from(failed).ok(),
        })
    }
}
