//! What a bulk operation does: reads files, puts their items, reports what could not be put.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloud::Context;
use cloud::ports::Objects;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use store::{Range, Read, Scope};
use wire::{Fault, Timestamp};

use crate::bulk::{BULK, Bulk, BulkPlace};
use crate::change::{Action, Change, Refusal};
use crate::errors::resource_not_found_exception;
use crate::expression::{Condition, Placeholders};
use crate::fault::validation;
use crate::input_file::{self, documents, json_item};
use crate::item::{self, Item};
use crate::service::Dynamo;
use crate::single::{check_item, check_keys, check_size};
use crate::stream::Cause;
use crate::table::TableRecord;
use crate::value::Attributes;

/// Items put in one step.
const BATCH: usize = 50;

/// A document of a file.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a> {
    #[serde(borrow)]
    item: &'a RawValue,
    condition_expression: Option<String>,
    expression_attribute_names: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    expression_attribute_values: Option<&'a RawValue>,
}

/// An item on its way, with the condition it has.
struct New {
    item: Arc<Attributes>,
    condition: Option<Condition>,
}

/// The attributes of a value that stands where an item does.
fn attributes(raw: &RawValue) -> Result<Attributes, Fault> {
    json_item(&format!("{{\"Item\":{}}}", raw.get()))
        .ok_or_else(|| validation("The document is not DynamoDB JSON"))
}

impl New {
    /// Reads a document, and whether the table can hold it.
    fn read(document: &str, table: &TableRecord) -> Result<New, Fault> {
        let line: Line<'_> = serde_json::from_str(document)
            .map_err(|e| validation(format!("The document cannot be read: {e}")))?;
        let item = attributes(line.item)?;
        check_item(&item)?;
        check_size(&item)?;
        check_keys(table, &item)?;
        let values = line
            .expression_attribute_values
            .map(attributes)
            .transpose()?;
        let mut placeholders = Placeholders::new(
            line.expression_attribute_names,
            values,
            line.condition_expression.is_some(),
            line.condition_expression
                .is_none()
                .then_some(": ConditionExpression is null"),
        )?;
        let condition = match &line.condition_expression {
            Some(text) => Some(Condition::parse(
                "ConditionExpression",
                text,
                &mut placeholders,
            )?),
            None => None,
        };
        placeholders.finish()?;
        Ok(New {
            item: Arc::new(item),
            condition,
        })
    }

    fn change(&self, table: &TableRecord) -> Change {
        let key = table.keys.of(&self.item);
        Change {
            row: table.row(&key),
            key,
            action: Action::Put(self.item.clone()),
            condition: self.condition.clone(),
            shows_item: true,
            wants_old: false,
        }
    }
}

/// What could not be put, as its report tells of it: lines of JSON.
#[derive(Default)]
struct Report {
    errors: String,
    conditions: String,
}

fn json(item: &impl wire::Encode) -> Value {
    serde_json::from_str(&wire::json::kept(item)).unwrap_or_default()
}

impl Report {
    fn error(&mut self, document: &str, fault: &Fault) {
        let input: Value =
            serde_json::from_str(document).unwrap_or_else(|_| Value::String(document.to_owned()));
        let line = serde_json::json!({
            "input": input,
            "errorCode": fault.code,
            "errorMessage": fault.message,
        });
        self.errors.push_str(&line.to_string());
        self.errors.push('\n');
    }

    fn condition(&mut self, attempted: &Attributes, existing: Option<Item>) {
        let mut line = serde_json::json!({ "attemptedItem": json(&Item::from(attempted.clone())) });
        if let Some(existing) = existing {
            line["existingItem"] = json(&existing);
        }
        self.conditions.push_str(&line.to_string());
        self.conditions.push('\n');
    }
}

impl Dynamo {
    /// Plans to go on with what a stopped server left, once the region runs.
    pub fn register_bulks(self: &Arc<Self>) {
        if !matches!(self.unfinished(), Ok(left) if !left.is_empty()) {
            return;
        }
        let cloud = self.cloud.clone();
        // Not before the region runs: the buckets may not have been built yet.
        tokio::spawn(async move {
            let now = cloud.clock.now();
            let planned = cloud
                .store
                .transact(Scope::new(&["dynamodb.resume"]), |tx| {
                    cloud.scheduler.at(tx, now, BULK, "", Value::Null)
                });
            if let Err(fault) = planned.await {
                tracing::error!(%fault, cause = fault.cause, "bulk operations wait for the next start");
            }
        });
    }

    fn unfinished(&self) -> Result<Vec<BulkPlace>, Fault> {
        let mut left = Vec::new();
        for row in self.cloud.store.read().range(&self.bulks, Range::all()) {
            let ((account, region, id), bulk) = row?;
            if bulk.ended.is_none() {
                left.push(BulkPlace {
                    account,
                    region,
                    id,
                });
            }
        }
        Ok(left)
    }

    /// Begins one operation, or with `null` all that are not finished. They run beside the jobs: the next of them, and who moves
    /// the clock, would wait for them.
    pub fn begin_bulks(self: &Arc<Self>, payload: Value) -> Result<(), Fault> {
        let places = match payload {
            Value::Null => self.unfinished()?,
            payload => vec![serde_json::from_value(payload)?],
        };
        for place in places {
            if !self.running_bulks.lock().insert(place.id.clone()) {
                continue;
            }
            let this = self.clone();
            tokio::spawn(async move {
                if let Err(fault) = this.run_bulk(&place).await {
                    tracing::error!(%fault, cause = fault.cause, "a bulk operation waits for the next start");
                }
                this.running_bulks.lock().remove(&place.id);
            });
        }
        Ok(())
    }

    /// Does an operation. What goes wrong with the buckets is its outcome.
    async fn run_bulk(&self, place: &BulkPlace) -> Result<(), Fault> {
        let found = self.cloud.store.read().get(&self.bulks, &place.key())?;
        let Some(mut bulk) = found.filter(|bulk: &Bulk| bulk.ended.is_none()) else {
            return Ok(());
        };
        if let Err(fault) = self.put_files(place, &mut bulk).await {
            let code = match &*fault.code {
                "NoSuchBucket" => "S3NoSuchBucket",
                "AccessDenied" => "S3AccessDenied",
                "NoSuchKey" => "S3NoSuchKey",
                "ResourceNotFoundException" => "TableNotFound",
                _ => "UNKNOWN",
            };
            bulk.failure = Some((code.into(), fault.message.to_string()));
        }
        let now = self.cloud.clock.now().millis();
        self.change_bulk(place, |known| {
            // A request to cancel it that came after the last look changes nothing any more.
            *known = bulk;
            known.ended = Some(now);
        })
        .await
        .map(drop)
    }

    async fn put_files(&self, place: &BulkPlace, bulk: &mut Bulk) -> Result<(), Fault> {
        let Some(objects) = self.cloud.ports.objects() else {
            return Err(Fault::internal("no service keeps objects in this region"));
        };
        let (account, bucket) = (place.account.as_str(), bulk.input.bucket.clone());
        let prefix = bulk.input.prefix.clone().unwrap_or_default();
        let mut after: Option<String> = None;
        let mut keys: Vec<String> = Vec::new();
        loop {
            let page = objects
                .list(account, &bucket, &prefix, after.as_deref())
                .await?;
            after = page.last().cloned();
            if after.is_none() {
                break;
            }
            keys.extend(page.into_iter().filter(|key| !key.ends_with('/')));
        }
        if keys.is_empty() {
            return Err(Fault::sender(
                400,
                "NoSuchKey",
                "No files were found under the prefix in the S3 bucket",
            ));
        }
        for key in &keys {
            let done = match &bulk.at {
                Some((at, _)) if key < at => continue,
                Some((at, done)) if key == at => *done,
                _ => 0,
            };
            let bytes = objects
                .get(account, &bucket, key, None, input_file::LARGEST)
                .await?;
            match input_file::text(&bytes, bulk.input.compression.as_deref()) {
                Some(text) => {
                    let to = objects.as_ref();
                    if !self
                        .put_documents(place, bulk, (key, done), &text, to)
                        .await?
                    {
                        return Ok(());
                    }
                }
                None => {
                    bulk.failed += 1;
                    bulk.processed += 1;
                    let fault =
                        validation("The file is not compressed as InputCompressionType says");
                    let mut report = Report::default();
                    report.error(key, &fault);
                    self.write_report(objects.as_ref(), place, bulk, &report)
                        .await?;
                }
            }
            bulk.read += bytes.len() as i64;
        }
        bulk.total = Some(bulk.read);
        Ok(())
    }

    /// Puts the documents of one file behind the first `done`; `false` once the operation is cancelled.
    async fn put_documents(
        &self,
        place: &BulkPlace,
        bulk: &mut Bulk,
        (key, done): (&str, usize),
        text: &str,
        objects: &dyn Objects,
    ) -> Result<bool, Fault> {
        let mut rest = documents(text).skip(done);
        let mut at = done;
        loop {
            let batch: Vec<&str> = rest.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(true);
            }
            let mut report = Report::default();
            self.put_batch(place, bulk, &batch, &mut report).await?;
            // Before it is noted that they are done, so that a crash takes nothing of it.
            self.write_report(objects, place, bulk, &report).await?;
            at += batch.len();
            bulk.at = Some((key.to_owned(), at));
            let noted = self
                .change_bulk(place, |known| {
                    bulk.is_cancelled = known.is_cancelled;
                    known.clone_from(bulk);
                })
                .await?;
            if noted.is_cancelled {
                bulk.failure = Some((
                    "Cancelled".into(),
                    "The bulk operation was cancelled by a request.".into(),
                ));
                return Ok(false);
            }
            if let Some(most) = bulk.most_units {
                let least = (bulk.units * 1000.0 / most as f64) as i64;
                let when = Timestamp(bulk.started.saturating_add(least));
                self.cloud.clock.until(when).await;
            }
        }
    }

    /// Puts some documents: those without conditions together, the others each by itself, in their order.
    async fn put_batch(
        &self,
        place: &BulkPlace,
        bulk: &mut Bulk,
        batch: &[&str],
        report: &mut Report,
    ) -> Result<(), Fault> {
        let of = place.table(bulk);
        let ctx = Context::internal(
            &place.account,
            &place.region,
            "dynamodb.amazonaws.com",
            self.cloud.clock.now(),
        );
        let table = || {
            let table = self.catalog.table(&ctx, &of.name)?;
            match table.uid == bulk.uid {
                true => Ok(table),
                false => Err(resource_not_found_exception("The table was deleted")),
            }
        };
        let checked = table()?;
        let mut waiting: Vec<New> = Vec::new();
        let (mut failed, mut put, mut units) = (0, 0, 0.0);
        for document in batch {
            let new = match New::read(document, &checked) {
                Ok(new) => new,
                Err(fault) => {
                    failed += 1;
                    report.error(document, &fault);
                    continue;
                }
            };
            if new.condition.is_none() {
                waiting.push(new);
                continue;
            }
            // What stands before it may be what its condition is about.
            self.put_some(
                &ctx,
                &table,
                std::mem::take(&mut waiting),
                &mut put,
                &mut units,
            )
            .await?;
            loop {
                let table = table()?;
                match self
                    .change(&ctx, &table, &new.change(&table), Cause::Request)
                    .await
                {
                    Ok(outcome) => {
                        put += item::size(&new.item) as i64;
                        units += outcome.usage.total();
                    }
                    Err(Refusal::Stale) => continue,
                    Err(Refusal::Condition(existing)) => report.condition(&new.item, existing),
                    Err(Refusal::Fault(fault)) => return Err(fault),
                }
                break;
            }
        }
        self.put_some(&ctx, &table, waiting, &mut put, &mut units)
            .await?;
        bulk.processed += batch.len() as i64;
        bulk.failed += failed;
        bulk.put += put;
        bulk.units += units;
        Ok(())
    }

    /// Puts items without conditions in one transaction.
    async fn put_some(
        &self,
        ctx: &Context,
        table: &impl Fn() -> Result<Arc<TableRecord>, Fault>,
        items: Vec<New>,
        put: &mut i64,
        units: &mut f64,
    ) -> Result<(), Fault> {
        loop {
            let table = table()?;
            let (mut changes, mut seen) = (Vec::new(), BTreeSet::new());
            // Of two items of one key the later one stays.
            for new in items.iter().rev() {
                let change = new.change(&table);
                if seen.insert(change.row.clone()) {
                    changes.push((table.clone(), change));
                }
            }
            changes.reverse();
            match self.change_all(ctx, &changes, Cause::Request).await {
                Ok(outcomes) => {
                    *put += items
                        .iter()
                        .map(|new| item::size(&new.item) as i64)
                        .sum::<i64>();
                    *units += outcomes.iter().map(|o| o.usage.total()).sum::<f64>();
                    return Ok(());
                }
                Err(Refusal::Stale) => {}
                Err(Refusal::Condition(_)) => return Ok(()),
                Err(Refusal::Fault(fault)) => return Err(fault),
            }
        }
    }

    /// Writes what of a report was asked for.
    async fn write_report(
        &self,
        objects: &dyn Objects,
        place: &BulkPlace,
        bulk: &Bulk,
        report: &Report,
    ) -> Result<(), Fault> {
        let Some(bucket) = &bulk.output.bucket else {
            return Ok(());
        };
        let folder = match bulk.output.prefix.as_deref().filter(|p| !p.is_empty()) {
            Some(prefix) => format!("{}/AWSDynamoDB/{}", prefix.trim_end_matches('/'), place.id),
            None => format!("AWSDynamoDB/{}", place.id),
        };
        for (kind, text) in [
            ("ERROR", &report.errors),
            ("CONDITION_CHECK_FAILURE", &report.conditions),
        ] {
            if text.is_empty() || !bulk.output.kinds.iter().any(|k| k == kind) {
                continue;
            }
            let key = format!("{folder}/{kind}/{}.json", cloud::ids::lower(26));
            let content = text.clone().into_bytes().into();
            objects.put(&place.account, bucket, &key, content).await?;
        }
        Ok(())
    }
}
