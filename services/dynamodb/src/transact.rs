//! Transactions: many items changed together or not at all, or read at one moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use cloud::Context;
use store::{Read, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::capacity::{Usage, read_units, write_units};
use crate::change::{Action, Change, Outcome, Refusal, SHARDS, shard_name};
use crate::errors::*;
use crate::fault::validation;
use crate::item::{self, Item, Stored};
use crate::service::Dynamo;
use crate::single::{collection_metrics, read_projection, shown};
use crate::step::{Step, step};
use crate::stream::Cause;
use crate::table::TableRecord;
use crate::token::digest;

/// Actions of one transaction.
const MAX_ACTIONS: usize = 100;
/// Bytes that one transaction may bring along or read.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The scopes of many items; each part is kept where the next can borrow it.
struct Names(Vec<(String, &'static str, bool)>);

/// The names of one item's scopes.
type Parts<'n> = ([&'n str; 3], [&'n str; 2], bool);

impl Names {
    fn of<'c>(items: impl Iterator<Item = (&'c TableRecord, usize)>) -> Names {
        let names = items.map(|(table, shard)| {
            let uid = table.uid.to_string();
            (uid, shard_name(shard), table.stream_view.is_some())
        });
        Names(names.collect())
    }

    fn parts(&self) -> Vec<Parts<'_>> {
        self.0
            .iter()
            .map(|(uid, shard, has_stream)| {
                (
                    ["dynamodb.items", uid.as_str(), *shard],
                    ["dynamodb.stream", uid.as_str()],
                    *has_stream,
                )
            })
            .collect()
    }
}

/// Scopes to write items in.
fn writing<'n>(parts: &'n [Parts<'n>]) -> Vec<Scope<'n>> {
    parts
        .iter()
        .map(|(item, stream, has_stream)| {
            let scope = Scope::new(item).within(&item[..2]);
            if *has_stream {
                scope.and(stream)
            } else {
                scope
            }
        })
        .collect()
}

/// Scopes to read items in, while nobody writes them.
fn reading<'n>(parts: &'n [Parts<'n>]) -> Vec<Scope<'n>> {
    parts.iter().map(|(item, ..)| Scope::shared(item)).collect()
}

impl Dynamo {
    /// Does several changes of different items in one transaction.
    pub async fn change_all(
        &self,
        ctx: &Context,
        changes: &[(Arc<TableRecord>, Change)],
        cause: Cause,
    ) -> Result<Vec<Outcome>, Refusal> {
        let names = Names::of(changes.iter().map(|(t, c)| (&**t, c.row.shard(SHARDS))));
        let parts = names.parts();
        let scopes = writing(&parts);
        let Some((first, rest)) = scopes.split_first() else {
            return Ok(Vec::new());
        };
        let outcomes = self
            .cloud
            .store
            .transact(first.clone().and_all(rest), |tx| {
                let mut outcomes = Vec::with_capacity(changes.len());
                for (table, change) in changes {
                    if !self.catalog.is_current(tx, table)? {
                        return Err(Refusal::Stale);
                    }
                    outcomes.push(self.apply(tx, table, change, ctx.time, cause)?);
                }
                Ok(outcomes)
            })
            .await?;
        for ((table, _), outcome) in changes.iter().zip(&outcomes) {
            if cause == Cause::Request {
                self.spend(table, &outcome.usage, true);
            }
            self.plan_expiry(table, outcome.new.as_deref()).await?;
        }
        Ok(outcomes)
    }

    /// `TransactWriteItems`
    pub async fn transact_write_items(
        &self,
        ctx: &Context,
        input: TransactWriteItemsInput,
    ) -> Result<TransactWriteItemsOutput, Fault> {
        if input.transact_items.len() > MAX_ACTIONS {
            return Err(too_many(input.transact_items.len()));
        }
        let digest = input.client_request_token.as_ref().map(|token| {
            (
                token.as_str(),
                digest(&format!("{:?}", input.transact_items)),
            )
        });
        let mut steps = Vec::with_capacity(input.transact_items.len());
        for item in &input.transact_items {
            steps.push(step(item)?);
        }
        if steps
            .iter()
            .map(|step| item::size(&step.item))
            .sum::<usize>()
            > MAX_BYTES
        {
            return Err(validation(
                "Transaction payload size cannot exceed 4194304 bytes",
            ));
        }
        let done = self.transact(ctx, &steps, digest).await?;
        let mode = input.return_consumed_capacity.as_deref();
        let mut metrics = std::collections::BTreeMap::<String, Vec<ItemCollectionMetrics>>::new();
        for (table, change) in &done.changes {
            let mode = input.return_item_collection_metrics.as_deref();
            if let Some(found) = collection_metrics(table, &change.key, mode) {
                metrics.entry(table.name.clone()).or_default().push(found);
            }
        }
        Ok(TransactWriteItemsOutput {
            consumed_capacity: done.report(mode),
            item_collection_metrics: (!metrics.is_empty()).then_some(metrics),
        })
    }

    /// Does the steps of a transaction; with a token, at most once.
    pub async fn transact(
        &self,
        ctx: &Context,
        steps: &[Step],
        token: Option<(&str, String)>,
    ) -> Result<Done, Fault> {
        loop {
            let changes = self.changes(ctx, steps)?;
            self.admit_all(changes.iter().map(|(table, _)| &**table), true)?;
            let names = Names::of(changes.iter().map(|(t, c)| (&**t, c.row.shard(SHARDS))));
            let parts = names.parts();
            let mut scopes = writing(&parts);
            let token_scope = [
                "dynamodb.token",
                ctx.account.as_str(),
                token.as_ref().map_or("", |(token, _)| token),
            ];
            if token.is_some() {
                scopes.push(Scope::new(&token_scope));
            }
            let Some((first, rest)) = scopes.split_first() else {
                return Ok(Done::default());
            };
            let done = self
                .cloud
                .store
                .transact(first.clone().and_all(rest), |tx| {
                    if let Some((token, digest)) = &token
                        && self.was_done(tx, ctx, token, digest)?
                    {
                        return Ok(None);
                    }
                    self.apply_all(tx, steps, &changes, ctx.time).map(Some)
                })
                .await;
            let (outcomes, is_repeated) = match done {
                Ok(Some(outcomes)) => (outcomes, false),
                Ok(None) => (Vec::new(), true),
                Err(Refusal::Stale) => continue,
                Err(Refusal::Condition(_)) => return Err(Fault::internal("a lost condition")),
                Err(Refusal::Fault(fault)) => return Err(fault),
            };
            for ((table, _), outcome) in changes.iter().zip(&outcomes) {
                self.spend(table, &outcome.usage.clone().doubled(), true);
                self.plan_expiry(table, outcome.new.as_deref()).await?;
            }
            return Ok(Done {
                changes,
                outcomes,
                is_repeated,
            });
        }
    }

    /// The changes that steps come to; the first that does not fit its table cancels them all.
    fn changes(
        &self,
        ctx: &Context,
        steps: &[Step],
    ) -> Result<Vec<(Arc<TableRecord>, Change)>, Fault> {
        let mut changes = Vec::with_capacity(steps.len());
        let mut rows = BTreeSet::new();
        let mut tables = Vec::with_capacity(steps.len());
        for step in steps {
            tables.push(self.catalog.table(ctx, &step.table)?);
        }
        for (at, (step, table)) in steps.iter().zip(tables).enumerate() {
            let change = step.change(&table).map_err(|fault| {
                // An empty key is the request's own error, not a reason.
                if fault
                    .message
                    .starts_with("One or more parameter values are not valid.")
                {
                    return fault;
                }
                let mut reasons = vec![none(); steps.len()];
                reasons[at] = reason("ValidationError", fault.message.to_string(), None);
                cancelled(reasons)
            })?;
            if !rows.insert(change.row.clone()) {
                return Err(validation(
                    "Transaction request cannot include multiple operations on one item",
                ));
            }
            changes.push((table, change));
        }
        Ok(changes)
    }

    /// Cancels a transaction where a table's throughput is used up.
    fn admit_all<'t>(
        &self,
        tables: impl Iterator<Item = &'t TableRecord>,
        is_write: bool,
    ) -> Result<(), Fault> {
        if self.throttle.is_none() {
            return Ok(());
        }
        let admitted: Vec<_> = tables
            .map(|table| match is_write {
                true => self.admit_write(table),
                false => self.admit_read(table, None),
            })
            .collect();
        if admitted.iter().all(Result::is_ok) {
            return Ok(());
        }
        let reasons = admitted.into_iter().map(|admitted| match admitted {
            Ok(()) => none(),
            Err(fault) => reason(
                "ProvisionedThroughputExceeded",
                fault.message.to_string(),
                None,
            ),
        });
        Err(cancelled(reasons.collect()))
    }

    fn apply_all(
        &self,
        tx: &mut Tx<'_>,
        steps: &[Step],
        changes: &[(Arc<TableRecord>, Change)],
        now: Timestamp,
    ) -> Result<Vec<Outcome>, Refusal> {
        let mut outcomes = Vec::with_capacity(changes.len());
        let mut reasons = vec![none(); changes.len()];
        let mut failed = false;
        for (at, ((table, change), step)) in changes.iter().zip(steps).enumerate() {
            if !self.catalog.is_current(tx, table)? {
                return Err(Refusal::Stale);
            }
            match self.apply(tx, table, change, now, Cause::Request) {
                Ok(outcome) => outcomes.push(outcome),
                Err(Refusal::Condition(item)) => {
                    let (code, message) = match step.is_insert {
                        true => ("DuplicateItem", "Duplicate primary key exists in table"),
                        false => ("ConditionalCheckFailed", "The conditional request failed"),
                    };
                    reasons[at] = reason(code, message.into(), item);
                    failed = true;
                }
                Err(Refusal::Fault(fault)) if fault.is("ValidationException") => {
                    reasons[at] = reason("ValidationError", fault.message.to_string(), None);
                    failed = true;
                }
                Err(refusal) => return Err(refusal),
            }
        }
        match failed {
            true => Err(Refusal::Fault(cancelled(reasons))),
            false => Ok(outcomes),
        }
    }

    /// `TransactGetItems`
    pub async fn transact_get_items(
        &self,
        ctx: &Context,
        input: TransactGetItemsInput,
    ) -> Result<TransactGetItemsOutput, Fault> {
        if input.transact_items.len() > MAX_ACTIONS {
            return Err(too_many(input.transact_items.len()));
        }
        let mut wanted = Vec::new();
        for item in input.transact_items {
            let get = item.get;
            let projection = read_projection(
                None,
                get.projection_expression.as_deref(),
                get.expression_attribute_names,
            )?;
            wanted.push((get.table_name, get.key, projection));
        }
        let mut rows = Vec::new();
        let mut seen = BTreeSet::new();
        let count = wanted.len();
        for (at, (name, key, projection)) in wanted.into_iter().enumerate() {
            let table = self.catalog.table(ctx, &name)?;
            table.keys.check_key(&key).map_err(|fault| {
                let mut reasons = vec![none(); count];
                reasons[at] = reason("ValidationError", fault.message.to_string(), None);
                cancelled(reasons)
            })?;
            let row = table.row(&key);
            if !seen.insert(row.clone()) {
                return Err(validation(
                    "Transaction request cannot include multiple operations on one item",
                ));
            }
            rows.push((table, row, projection));
        }
        self.admit_all(rows.iter().map(|(table, ..)| &**table), false)?;
        let found = self
            .read_together(rows.iter().map(|(table, row, _)| (&**table, row)))
            .await?;
        let mode = input.return_consumed_capacity.as_deref();
        let mut usage = std::collections::BTreeMap::<String, Usage>::new();
        let mut responses = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for (stored, (table, _, projection)) in found.into_iter().zip(&rows) {
            let size = stored.as_ref().map_or(0, Stored::size);
            bytes += size;
            let units = Usage::of_table(read_units(size, true)).doubled();
            self.spend(table, &units, false);
            usage.entry(table.name.clone()).or_default().add(&units);
            let item = stored.map(|stored| shown(stored, projection.as_ref()));
            responses.push(ItemResponse {
                item: item.transpose()?,
            });
        }
        if bytes > MAX_BYTES {
            return Err(validation(
                "Transaction payload size cannot exceed 4194304 bytes",
            ));
        }
        let consumed: Vec<ConsumedCapacity> = usage
            .iter()
            .filter_map(|(name, usage)| usage.report_transaction(name, mode, true))
            .collect();
        Ok(TransactGetItemsOutput {
            consumed_capacity: (!consumed.is_empty()).then_some(consumed),
            responses: Some(responses),
        })
    }

    /// Reads several items as they are at one moment.
    pub async fn read_together<'r>(
        &self,
        rows: impl Iterator<Item = (&'r TableRecord, &'r crate::key::Row)> + Clone,
    ) -> Result<Vec<Option<Stored>>, Fault> {
        let names = Names::of(rows.clone().map(|(table, row)| (table, row.shard(SHARDS))));
        let parts = names.parts();
        let scopes = reading(&parts);
        let rows: Vec<&crate::key::Row> = rows.map(|(_, row)| row).collect();
        let Some((first, rest)) = scopes.split_first() else {
            return Ok(Vec::new());
        };
        self.cloud
            .store
            .transact(first.clone().and_all(rest), |tx| {
                rows.iter()
                    .map(|row| Ok(tx.get(&self.items, *row)?))
                    .collect()
            })
            .await
    }
}

/// What a transaction did.
#[derive(Debug, Default)]
pub struct Done {
    /// The changes.
    pub changes: Vec<(Arc<TableRecord>, Change)>,
    /// How they went; none where it had been done before.
    pub outcomes: Vec<Outcome>,
    is_repeated: bool,
}

impl Done {
    /// What it consumed, by table. A repetition only reads.
    pub fn report(&self, mode: Option<&str>) -> Option<Vec<ConsumedCapacity>> {
        let mut usage = std::collections::BTreeMap::<&str, Usage>::new();
        if self.is_repeated {
            for (table, change) in &self.changes {
                let size = match &change.action {
                    Action::Put(item) => item::size(item),
                    _ => 0,
                };
                let units = Usage::of_table(read_units(size, true)).doubled();
                usage.entry(&table.name).or_default().add(&units);
            }
        }
        for ((table, change), outcome) in self.changes.iter().zip(&self.outcomes) {
            let units = match change.action {
                Action::Check => Usage::of_table(write_units(0).max(outcome.usage.table)),
                _ => outcome.usage.clone(),
            };
            usage.entry(&table.name).or_default().add(&units.doubled());
        }
        let all: Vec<ConsumedCapacity> = usage
            .iter()
            .filter_map(|(name, usage)| usage.report_transaction(name, mode, self.is_repeated))
            .collect();
        (!all.is_empty()).then_some(all)
    }
}

fn too_many(count: usize) -> Fault {
    validation(format!(
        "1 validation error detected: Value '[{count} elements]' at 'transactItems' failed to satisfy constraint: Member must have length less than or equal to 100"
    ))
}

fn none() -> CancellationReason {
    CancellationReason {
        code: Some("None".into()),
        ..Default::default()
    }
}

fn reason(code: &str, message: String, item: Option<Item>) -> CancellationReason {
    CancellationReason {
        code: Some(code.into()),
        message: Some(message),
        item,
    }
}

/// The error of a transaction that was not done, with a reason for each action.
fn cancelled(reasons: Vec<CancellationReason>) -> Fault {
    let codes: Vec<&str> = reasons
        .iter()
        .map(|reason| reason.code.as_deref().unwrap_or("None"))
        .collect();
    let message = format!(
        "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
        codes.join(", ")
    );
    transaction_canceled_exception(message.clone()).detail(TransactionCanceledException {
        message: Some(message),
        cancellation_reasons: Some(reasons),
    })
}
