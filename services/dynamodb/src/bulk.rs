//! Bulk operations: items from files in S3 put into a table that is there, each under a condition of its own if it has one.
//!
//! A job does them in the order of the files' keys and notes after each step how far it is, so that a crash costs one step:
//! its items are put again.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/BulkPutItems.Requesting.html>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloud::Context;
use cloud::ports::Objects;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use store::{Range, Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::catalog::Place;
use crate::change::{Action, Change, Refusal};
use crate::errors::*;
use crate::expression::{Condition, Placeholders};
use crate::fault::{invalid_parameter, validation};
use crate::input_file::{self, documents, json_item};
use crate::item::{self, Item};
use crate::page_token;
use crate::service::Dynamo;
use crate::single::{check_item, check_keys, check_size};
use crate::stream::Cause;
use crate::table::{self, TableRecord};
use crate::value::Attributes;

/// A bulk operation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bulk {
    table: String,
    table_id: String,
    uid: u64,
    token: Option<String>,
    /// What was asked for, to tell a repetition from something else.
    digest: String,
    started: i64,
    ended: Option<i64>,
    is_cancelled: bool,
    input: Input,
    output: Output,
    most_units: Option<i64>,
    tier: Option<String>,
    /// The file that is being read, and how many of its documents were done.
    at: Option<(String, usize)>,
    /// Bytes of files that were read, and of all of them.
    read: i64,
    total: Option<i64>,
    processed: i64,
    failed: i64,
    /// Bytes that were put.
    put: i64,
    /// Write units that were taken.
    units: f64,
    failure: Option<(String, String)>,
}
impl Record for Bulk {}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Input {
    owner: Option<String>,
    bucket: String,
    prefix: Option<String>,
    format: String,
    compression: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Output {
    owner: Option<String>,
    bucket: Option<String>,
    prefix: Option<String>,
    algorithm: Option<String>,
    key: Option<String>,
    kinds: Vec<String>,
}

/// Where a bulk operation is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct BulkPlace {
    account: String,
    region: String,
    id: String,
}

/// The job that does them.
pub const BULK: &str = "dynamodb.bulk";
/// Items put in one step.
const BATCH: usize = 50;
/// How long a token names one operation, in milliseconds.
const TOKEN_LIFE: i64 = 8 * 3_600_000;
/// How long an operation is listed.
const LISTED: i64 = 90 * 86_400_000;

impl BulkPlace {
    fn of(arn: &str) -> Option<BulkPlace> {
        let arn: cloud::Arn = arn.parse().ok()?;
        let (_, id) = arn
            .resource
            .strip_prefix("table/")?
            .split_once("/bulk-operation/")?;
        (arn.service == "dynamodb").then(|| BulkPlace {
            account: arn.account.clone(),
            region: arn.region.clone(),
            id: id.to_owned(),
        })
    }
    fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.id)
    }
    fn scope(&self) -> [&str; 2] {
        ["dynamodb.bulk", &self.id]
    }
    fn table(&self, bulk: &Bulk) -> Place {
        Place {
            account: self.account.clone(),
            region: self.region.clone(),
            name: bulk.table.clone(),
        }
    }
    fn arn(&self, bulk: &Bulk) -> String {
        let table = table::arn(&self.account, &self.region, &bulk.table);
        format!("{table}/bulk-operation/{}", self.id)
    }
}

fn missing(arn: &str) -> Fault {
    resource_not_found_exception(format!(
        "Requested resource not found: Bulk operation: {arn} not found"
    ))
}

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

fn json(item: &impl wire::Encode) -> serde_json::Value {
    serde_json::from_str(&wire::json::kept(item)).unwrap_or_default()
}

impl Report {
    fn error(&mut self, document: &str, fault: &Fault) {
        let input: serde_json::Value = serde_json::from_str(document)
            .unwrap_or_else(|_| serde_json::Value::String(document.to_owned()));
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
    /// `StartBulkPutItems`
    pub async fn start_bulk_put_items(
        &self,
        ctx: &Context,
        input: StartBulkPutItemsInput,
    ) -> Result<StartBulkPutItemsOutput, Fault> {
        let source = input.input_s3_configuration;
        if source.input_format == "ION" {
            return Err(Fault::receiver(
                501,
                "NotImplemented",
                "Bulk operations in the format ION are not implemented.",
            ));
        }
        let output = input.output_s3_configuration;
        if output.output_type.is_empty() {
            return Err(invalid_parameter("OutputType must not be empty"));
        }
        if output.s3_sse_kms_key_id.is_some() && output.s3_sse_algorithm.as_deref() != Some("KMS") {
            return Err(invalid_parameter(
                "S3SseKmsKeyId can only be specified when S3SseAlgorithm is KMS",
            ));
        }
        let table = self.catalog.described(ctx, &input.table_name)?;
        let now = ctx.time.millis();
        let mut bulk = Bulk {
            table: table.name.clone(),
            table_id: table.id.clone(),
            uid: table.uid,
            started: now,
            input: Input {
                owner: source.s3_bucket_owner,
                bucket: source.s3_bucket,
                prefix: source.s3_key_prefix,
                format: source.input_format,
                compression: source.input_compression_type,
            },
            output: Output {
                owner: output.s3_bucket_owner,
                bucket: output.s3_bucket,
                prefix: output.s3_key_prefix,
                algorithm: output.s3_sse_algorithm,
                key: output.s3_sse_kms_key_id,
                kinds: output.output_type,
            },
            most_units: input.max_write_request_units,
            tier: input.performance_tier,
            token: input.client_token,
            ..Bulk::default()
        };
        let asked = (
            &bulk.table,
            &bulk.input,
            &bulk.output,
            bulk.most_units,
            &bulk.tier,
        );
        bulk.digest = cloud::ids::uuid_of(
            Sha256::digest(serde_json::to_vec(&asked)?)
                .first_chunk()
                .copied()
                .unwrap_or_default(),
        );
        let place = BulkPlace {
            account: table.account.clone(),
            region: table.region.clone(),
            id: format!("{now:014}-{}", cloud::ids::hex(8)),
        };
        let payload = serde_json::to_value(&place)?;
        let scope = ["dynamodb.bulk_start", &place.account, &place.region];
        let (place, bulk) = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let of = (place.account.as_str(), place.region.as_str());
                let known = tx.range(&self.bulks, Range::prefix(&of).reverse());
                for row in known.take_while(|_| bulk.token.is_some()) {
                    let ((account, region, id), known) = row?;
                    if known.started + TOKEN_LIFE <= now {
                        break;
                    }
                    if known.token != bulk.token {
                        continue;
                    }
                    if known.digest != bulk.digest {
                        return Err(idempotent_parameter_mismatch_exception(
                            "Idempotent parameter mismatch",
                        ));
                    }
                    return Ok((
                        BulkPlace {
                            account,
                            region,
                            id,
                        },
                        known,
                    ));
                }
                tx.put(&self.bulks, &place.key(), &bulk)?;
                let scheduler = &self.cloud.scheduler;
                scheduler.at(tx, ctx.time, BULK, &place.id, payload)?;
                Ok((place.clone(), bulk.clone()))
            })
            .await?;
        Ok(StartBulkPutItemsOutput {
            bulk_operation_description: bulk.describe(&place),
        })
    }

    /// The operation of that ARN.
    fn bulk(&self, ctx: &Context, arn: &str) -> Result<(BulkPlace, Bulk), Fault> {
        let place = BulkPlace::of(arn)
            .filter(|place| (&place.account, &place.region) == (&ctx.account, &ctx.region))
            .ok_or_else(|| missing(arn))?;
        let found = self.cloud.store.read().get(&self.bulks, &place.key())?;
        Ok((place, found.ok_or_else(|| missing(arn))?))
    }

    /// `DescribeBulkOperation`
    pub async fn describe_bulk_operation(
        &self,
        ctx: &Context,
        input: DescribeBulkOperationInput,
    ) -> Result<DescribeBulkOperationOutput, Fault> {
        let (place, bulk) = self.bulk(ctx, &input.bulk_operation_arn)?;
        Ok(DescribeBulkOperationOutput {
            bulk_operation_description: bulk.describe(&place),
        })
    }

    /// `CancelBulkOperation`
    pub async fn cancel_bulk_operation(
        &self,
        ctx: &Context,
        input: CancelBulkOperationInput,
    ) -> Result<CancelBulkOperationOutput, Fault> {
        let (place, _) = self.bulk(ctx, &input.bulk_operation_arn)?;
        let bulk = self
            .change_bulk(&place, |bulk| bulk.is_cancelled |= bulk.ended.is_none())
            .await?;
        Ok(CancelBulkOperationOutput {
            bulk_operation_status: bulk.status().into(),
            bulk_operation_arn: input.bulk_operation_arn,
        })
    }

    /// `ListBulkOperations`
    pub async fn list_bulk_operations(
        &self,
        ctx: &Context,
        input: ListBulkOperationsInput,
    ) -> Result<ListBulkOperationsOutput, Fault> {
        let most = usize::try_from(input.max_results.unwrap_or(10)).unwrap_or(10);
        let (account, region) = (ctx.account.as_str(), ctx.region.as_str());
        let mut range = Range::prefix(&(account, region)).reverse();
        if let Some(token) = &input.next_token {
            let Some(id) = page_token::read(token) else {
                return Err(validation("Invalid NextToken"));
            };
            range = range.until(&(account, region, id.as_str()));
        }
        let view = self.cloud.store.read();
        let (mut found, mut last, mut is_more) = (Vec::new(), None, false);
        for row in view.range(&self.bulks, range) {
            let ((account, region, id), bulk) = row?;
            if bulk.started + LISTED < ctx.time.millis() {
                break;
            }
            if found.len() >= most {
                is_more = true;
                break;
            }
            last = Some(page_token::of(&id));
            let place = BulkPlace {
                account,
                region,
                id,
            };
            found.push(BulkOperationSummary {
                bulk_operation_arn: place.arn(&bulk),
                bulk_operation_status: bulk.status().into(),
                start_time: Timestamp(bulk.started),
                end_time: bulk.ended.map(Timestamp),
            });
        }
        Ok(ListBulkOperationsOutput {
            bulk_operations_summary_list: Some(found),
            next_token: last.filter(|_| is_more),
        })
    }

    /// Changes an operation's own row.
    async fn change_bulk(
        &self,
        place: &BulkPlace,
        change: impl FnOnce(&mut Bulk),
    ) -> Result<Bulk, Fault> {
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let found = tx.get(&self.bulks, &place.key())?;
                let mut bulk = found.ok_or_else(|| Fault::internal("a bulk operation has gone"))?;
                change(&mut bulk);
                tx.put(&self.bulks, &place.key(), &bulk)?;
                Ok(bulk)
            })
            .await
    }

    /// Does an operation. What goes wrong with the buckets is its outcome.
    pub async fn run_bulk(&self, payload: serde_json::Value) -> Result<(), Fault> {
        let place: BulkPlace = serde_json::from_value(payload)?;
        let found = self.cloud.store.read().get(&self.bulks, &place.key())?;
        let Some(mut bulk) = found.filter(|bulk: &Bulk| bulk.ended.is_none()) else {
            return Ok(());
        };
        if let Err(fault) = self.put_files(&place, &mut bulk).await {
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
        self.change_bulk(&place, |known| {
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
            let mut report = Report::default();
            match input_file::text(&bytes, bulk.input.compression.as_deref()) {
                Some(text) => {
                    if !self
                        .put_documents(place, bulk, key, done, &text, &mut report)
                        .await?
                    {
                        self.write_report(objects.as_ref(), place, bulk, &report)
                            .await?;
                        return Ok(());
                    }
                }
                None => {
                    bulk.failed += 1;
                    bulk.processed += 1;
                    let fault =
                        validation("The file is not compressed as InputCompressionType says");
                    report.error(key, &fault);
                }
            }
            bulk.read += bytes.len() as i64;
            self.write_report(objects.as_ref(), place, bulk, &report)
                .await?;
        }
        bulk.total = Some(bulk.read);
        Ok(())
    }

    /// Puts the documents of one file behind the first `done`; `false` once the operation is cancelled.
    async fn put_documents(
        &self,
        place: &BulkPlace,
        bulk: &mut Bulk,
        key: &str,
        done: usize,
        text: &str,
        report: &mut Report,
    ) -> Result<bool, Fault> {
        let mut rest = documents(text).skip(done);
        let mut at = done;
        loop {
            let batch: Vec<&str> = rest.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(true);
            }
            self.put_batch(place, bulk, &batch, report).await?;
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

impl Bulk {
    fn status(&self) -> &'static str {
        match (self.ended, &self.failure) {
            (None, _) if self.is_cancelled => "CANCELLING",
            (None, _) => "IN_PROGRESS",
            (Some(_), Some(_)) if self.is_cancelled => "CANCELLED",
            (Some(_), Some(_)) => "FAILED",
            (Some(_), None) if self.failed > 0 => "COMPLETED_WITH_ERRORS",
            (Some(_), None) => "COMPLETED",
        }
    }

    fn describe(&self, place: &BulkPlace) -> BulkOperationDescription {
        BulkOperationDescription {
            bulk_operation_arn: Some(place.arn(self)),
            bulk_operation_status: Some(self.status().into()),
            table_details: Some(vec![BulkOperationTableDetail {
                table_name: Some(self.table.clone()),
                table_id: Some(self.table_id.clone()),
            }]),
            client_token: self.token.clone(),
            input_s3_configuration: Some(InputS3Configuration {
                s3_bucket_owner: self.input.owner.clone(),
                s3_bucket: self.input.bucket.clone(),
                s3_key_prefix: self.input.prefix.clone(),
                input_format: self.input.format.clone(),
                input_compression_type: Some(
                    self.input
                        .compression
                        .clone()
                        .unwrap_or_else(|| "NONE".into()),
                ),
            }),
            output_s3_configuration: Some(OutputS3Configuration {
                s3_bucket_owner: self.output.owner.clone(),
                s3_bucket: self.output.bucket.clone(),
                s3_key_prefix: self.output.prefix.clone(),
                s3_sse_algorithm: self.output.algorithm.clone(),
                s3_sse_kms_key_id: self.output.key.clone(),
                output_type: self.output.kinds.clone(),
            }),
            start_time: Some(Timestamp(self.started)),
            end_time: self.ended.map(Timestamp),
            processed_item_count: Some(self.processed),
            processed_input_bytes: Some(self.read),
            total_input_bytes: self.total,
            bulk_operation_usage: Some(vec![BulkOperationUsage {
                table_name: Some(self.table.clone()),
                bulk_put_bytes: Some(self.put),
                table: Some(BulkOperationBytes {
                    bulk_put_bytes: Some(self.put),
                }),
                ..BulkOperationUsage::default()
            }]),
            failed_item_count: Some(self.failed),
            failure_code: self.failure.as_ref().map(|(code, _)| code.clone()),
            failure_message: self.failure.as_ref().map(|(_, message)| message.clone()),
            max_write_request_units: self.most_units,
            performance_tier: Some(self.tier.clone().unwrap_or_else(|| "STANDARD".into())),
        }
    }
}
