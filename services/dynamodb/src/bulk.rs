//! Bulk operations: items from files in S3 put into a table that is there, each under a condition of its own if it has one.
//!
//! A task does them in the order of the files' keys and notes after each step how far it is, so that a crash costs one step:
//! its items are put again.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/BulkPutItems.Requesting.html>

use cloud::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Range, Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::catalog::Place;
use crate::errors::*;
use crate::fault::{invalid_parameter, validation};
use crate::page_token;
use crate::service::Dynamo;
use crate::table;

/// A bulk operation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bulk {
    pub(crate) table: String,
    table_id: String,
    pub(crate) uid: u64,
    token: Option<String>,
    /// What was asked for, to tell a repetition from something else.
    digest: String,
    pub(crate) started: i64,
    pub(crate) ended: Option<i64>,
    pub(crate) is_cancelled: bool,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) most_units: Option<i64>,
    tier: Option<String>,
    /// The file that is being read, and how many of its documents were done.
    pub(crate) at: Option<(String, usize)>,
    /// Bytes of files that were read, and of all of them.
    pub(crate) read: i64,
    pub(crate) total: Option<i64>,
    pub(crate) processed: i64,
    pub(crate) failed: i64,
    /// Bytes that were put.
    pub(crate) put: i64,
    /// Write units that were taken.
    pub(crate) units: f64,
    pub(crate) failure: Option<(String, String)>,
}
impl Record for Bulk {}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Input {
    owner: Option<String>,
    pub(crate) bucket: String,
    pub(crate) prefix: Option<String>,
    format: String,
    pub(crate) compression: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Output {
    owner: Option<String>,
    pub(crate) bucket: Option<String>,
    pub(crate) prefix: Option<String>,
    algorithm: Option<String>,
    key: Option<String>,
    pub(crate) kinds: Vec<String>,
}

/// Where a bulk operation is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BulkPlace {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) id: String,
}

/// The job that begins them.
pub const BULK: &str = "dynamodb.bulk";
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
    pub(crate) fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.id)
    }
    fn scope(&self) -> [&str; 2] {
        ["dynamodb.bulk", &self.id]
    }
    pub(crate) fn table(&self, bulk: &Bulk) -> Place {
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
    pub(crate) async fn change_bulk(
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
