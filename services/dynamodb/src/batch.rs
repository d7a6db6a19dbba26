//! Batches: items got or written by one request, each for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::capacity::{Usage, write_units};
use crate::change::{Action, Change, Refusal};
use crate::fault::validation;
use crate::item::{self, Stored};
use crate::service::Dynamo;
use crate::single::{
    check_item, check_keys, check_size, collection_metrics, read_projection, shown,
};
use crate::stream::Cause;
use crate::table::TableRecord;
use crate::throttle::is_exceeded;

/// Most keys of one `BatchGetItem`, and most writes of one `BatchWriteItem`.
const MAX_KEYS: usize = 100;
/// See [`MAX_KEYS`].
const MAX_WRITES: usize = 25;
/// Bytes of items that one answer holds.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

const DUPLICATES: &str = "Provided list of item keys contains duplicates";

impl Dynamo {
    /// `BatchGetItem`
    pub async fn batch_get_item(
        &self,
        ctx: &Context,
        input: BatchGetItemInput,
    ) -> Result<BatchGetItemOutput, Fault> {
        let total: usize = input.request_items.values().map(|r| r.keys.len()).sum();
        if total > MAX_KEYS {
            return Err(validation(
                "Too many items requested for the BatchGetItem call",
            ));
        }
        let mut responses = BTreeMap::new();
        let mut unprocessed = BTreeMap::new();
        let mut consumed = Vec::new();
        let mut plans = Vec::new();
        for (name, request) in input.request_items {
            let projection = read_projection(
                request.attributes_to_get.as_deref(),
                request.projection_expression.as_deref(),
                request.expression_attribute_names.clone(),
            )?;
            plans.push((name, request, projection));
        }
        let mut found_tables = Vec::new();
        for (name, request, _) in &plans {
            let table = self.catalog.table(ctx, name)?;
            let mut rows = BTreeSet::new();
            for key in &request.keys {
                table.keys.check_key(key)?;
                if !rows.insert(table.row(key)) {
                    return Err(validation(DUPLICATES));
                }
            }
            found_tables.push(table);
        }
        let (mut bytes, mut reads) = (0, 0);
        for ((name, request, projection), table) in plans.into_iter().zip(found_tables) {
            let (mut items, mut left, mut units) = (Vec::new(), Vec::new(), 0.0);
            for key in request.keys {
                if bytes >= MAX_ANSWER {
                    left.push(key);
                    continue;
                }
                let is_consistent = request.consistent_read == Some(true);
                let (found, usage) = match self.read_item(&table, &key, is_consistent) {
                    Ok(read) => read,
                    Err(fault) if is_exceeded(&fault) && reads > 0 => {
                        left.push(key);
                        continue;
                    }
                    Err(fault) => return Err(fault),
                };
                reads += 1;
                let size = found.as_ref().map_or(0, Stored::size);
                if bytes + size > MAX_ANSWER {
                    bytes = MAX_ANSWER;
                    left.push(key);
                    continue;
                }
                bytes += size;
                units += usage.table;
                if let Some(stored) = found {
                    items.push(shown(stored, projection.as_ref())?);
                }
            }
            if !left.is_empty() {
                let rest = KeysAndAttributes {
                    keys: left,
                    attributes_to_get: request.attributes_to_get,
                    consistent_read: request.consistent_read,
                    projection_expression: request.projection_expression,
                    expression_attribute_names: request.expression_attribute_names,
                };
                unprocessed.insert(name.clone(), rest);
            }
            let usage = Usage::of_table(units);
            consumed.extend(usage.report(&table.name, input.return_consumed_capacity.as_deref()));
            responses.insert(name, items);
        }
        Ok(BatchGetItemOutput {
            responses: Some(responses),
            unprocessed_keys: Some(unprocessed),
            consumed_capacity: (!consumed.is_empty()).then_some(consumed),
        })
    }

    /// `BatchWriteItem`
    pub async fn batch_write_item(
        &self,
        ctx: &Context,
        input: BatchWriteItemInput,
    ) -> Result<BatchWriteItemOutput, Fault> {
        let total: usize = input.request_items.values().map(Vec::len).sum();
        if total > MAX_WRITES {
            return Err(validation(
                "Too many items requested for the BatchWriteItem call",
            ));
        }
        for request in input.request_items.values().flatten() {
            match (&request.put_request, &request.delete_request) {
                (Some(put), None) => {
                    check_item(&put.item)?;
                    check_size(&put.item)?;
                }
                (None, Some(_)) => {}
                (None, None) => {
                    return Err(validation(
                        "Supplied WriteRequest is empty, must contain exactly one of the supported operations",
                    ));
                }
                (Some(_), Some(_)) => {
                    return Err(validation(
                        "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes",
                    ));
                }
            }
        }
        loop {
            let changes = self.batch_changes(ctx, &input)?;
            let (changes, unprocessed) = self.admit_batch(changes)?;
            match self.change_all(ctx, &changes, Cause::Request).await {
                Ok(outcomes) => {
                    let mut usage: BTreeMap<&str, Usage> = BTreeMap::new();
                    let mut metrics: BTreeMap<String, Vec<ItemCollectionMetrics>> = BTreeMap::new();
                    for ((table, change), outcome) in changes.iter().zip(&outcomes) {
                        usage.entry(&table.name).or_default().add(&outcome.usage);
                        if let Some(found) = collection_metrics(
                            table,
                            &change.key,
                            input.return_item_collection_metrics.as_deref(),
                        ) {
                            metrics.entry(table.name.clone()).or_default().push(found);
                        }
                    }
                    let mode = input.return_consumed_capacity.as_deref();
                    let consumed: Vec<ConsumedCapacity> = usage
                        .iter()
                        .filter_map(|(name, usage)| usage.report(name, mode))
                        .collect();
                    return Ok(BatchWriteItemOutput {
                        unprocessed_items: Some(unprocessed),
                        item_collection_metrics: (!metrics.is_empty()).then_some(metrics),
                        consumed_capacity: (!consumed.is_empty()).then_some(consumed),
                    });
                }
                Err(Refusal::Stale) => {}
                Err(Refusal::Condition(_)) => {
                    return Err(Fault::internal("a batch has no conditions"));
                }
                Err(Refusal::Fault(fault)) => return Err(fault),
            }
        }
    }

    /// Parts what the tables' throughput lets in from what is left unprocessed; an error where it lets in nothing.
    #[allow(clippy::type_complexity, reason = "changes, and requests by table")]
    fn admit_batch(
        &self,
        changes: Vec<(Arc<TableRecord>, Change)>,
    ) -> Result<
        (
            Vec<(Arc<TableRecord>, Change)>,
            BTreeMap<String, Vec<WriteRequest>>,
        ),
        Fault,
    > {
        let mut unprocessed: BTreeMap<String, Vec<WriteRequest>> = BTreeMap::new();
        if self.throttle.is_none() {
            return Ok((changes, unprocessed));
        }
        let mut admitted = Vec::new();
        let mut refusal = None;
        for (table, change) in changes {
            match self.admit_write(&table) {
                Ok(()) => {
                    // Held back until it is known what it took.
                    let held = match &change.action {
                        Action::Put(item) => write_units(item::size(item)),
                        _ => 1.0,
                    };
                    self.spend(&table, &Usage::of_table(held), true);
                    admitted.push((table, change, held));
                }
                Err(fault) => {
                    refusal = Some(fault);
                    let request = match change.action {
                        Action::Put(item) => WriteRequest {
                            put_request: Some(PutRequest {
                                item: Arc::unwrap_or_clone(item),
                            }),
                            delete_request: None,
                        },
                        _ => WriteRequest {
                            put_request: None,
                            delete_request: Some(DeleteRequest { key: change.key }),
                        },
                    };
                    let name = table.name.clone();
                    unprocessed.entry(name).or_default().push(request);
                }
            }
        }
        let admitted: Vec<_> = admitted
            .into_iter()
            .map(|(table, change, held)| {
                self.spend(&table, &Usage::of_table(-held), true);
                (table, change)
            })
            .collect();
        match refusal {
            Some(fault) if admitted.is_empty() => Err(fault),
            _ => Ok((admitted, unprocessed)),
        }
    }

    fn batch_changes(
        &self,
        ctx: &Context,
        input: &BatchWriteItemInput,
    ) -> Result<Vec<(Arc<TableRecord>, Change)>, Fault> {
        let mut changes: Vec<(Arc<TableRecord>, Change)> = Vec::new();
        for (name, requests) in &input.request_items {
            let table = self.catalog.table(ctx, name)?;
            let mut rows = BTreeSet::new();
            for request in requests {
                let (key, action) = match (&request.put_request, &request.delete_request) {
                    (Some(put), _) => {
                        // Batches say this otherwise than PutItem does.
                        if !table.keys.are_in(&put.item) {
                            return Err(validation(
                                "The provided key element does not match the schema",
                            ));
                        }
                        check_keys(&table, &put.item)?;
                        (
                            table.keys.of(&put.item),
                            Action::Put(Arc::new(put.item.clone())),
                        )
                    }
                    (None, Some(delete)) => {
                        table.keys.check_key(&delete.key)?;
                        (delete.key.clone(), Action::Delete)
                    }
                    (None, None) => continue,
                };
                let row = table.row(&key);
                if !rows.insert(row.clone()) {
                    return Err(validation(DUPLICATES));
                }
                let change = Change {
                    key,
                    row,
                    action,
                    condition: None,
                    shows_item: false,
                    wants_old: false,
                };
                changes.push((table.clone(), change));
            }
        }
        Ok(changes)
    }
}
