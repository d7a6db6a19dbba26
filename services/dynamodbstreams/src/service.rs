//! The operations.

use std::sync::Arc;

use cloud::ports::{TableStream, TableStreamStart, TableStreams};
use cloud::{Cloud, Context, Manners, Service};
use wire::Fault;

use crate::api::{self, *};
use crate::errors::*;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let streams = Arc::new(Streams {
        cloud: cloud.clone(),
    });
    Service::new(api::Api(streams)).with_manners(Manners {
        error_namespace: Some("com.amazonaws.dynamodb.v20120810"),
        compresses_from: Some(4096),
        server: Some("Server"),
        ..Manners::default()
    })
}

/// The service has no state of its own.
struct Streams {
    cloud: Cloud,
}

/// How long an iterator can be used, in milliseconds.
const ITERATOR_LIFE: i64 = 900_000;
/// What tokens of iterators are of.
const ITERATOR: &str = "ShardIterator";
/// Most records of an answer.
const MAX_RECORDS: i32 = 1000;

fn validation(message: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::sender(400, "ValidationException", message)
}

fn no_stream(arn: &str) -> Fault {
    resource_not_found_exception(format!(
        "Requested resource not found: Stream: {arn} not found"
    ))
}

/// Refuses a limit that the model does not refuse.
fn check_limit(limit: Option<i32>, most: i32) -> Result<usize, Fault> {
    match limit {
        Some(limit) if limit > most => Err(validation(format!(
            "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have value less than or equal to {most}"
        ))),
        limit => Ok(limit.unwrap_or(most) as usize),
    }
}

/// Refuses what is no stream's ARN.
fn check_arn(arn: &str) -> Result<(), Fault> {
    let parsed = arn.parse::<cloud::Arn>().ok();
    match parsed.filter(|arn| arn.service == "dynamodb" && arn.resource.contains("/stream/")) {
        Some(_) => Ok(()),
        None => Err(validation(format!("Invalid StreamArn: {arn}"))),
    }
}

/// How iterators name a place, beside the stream's ARN.
fn iterator(arn: &str, shard: &str, position: u64, now: i64) -> String {
    let token = cloud::paging::token(ITERATOR, &[shard, &position.to_string(), &now.to_string()]);
    format!("{arn}|1|{token}")
}

impl Streams {
    fn port(&self) -> Result<&Arc<dyn TableStreams>, Fault> {
        self.cloud
            .ports
            .table_streams()
            .ok_or_else(|| Fault::internal("no service keeps tables in this region"))
    }

    fn find(&self, ctx: &Context, arn: &str) -> Result<TableStream, Fault> {
        check_arn(arn)?;
        let is_own = arn
            .parse::<cloud::Arn>()
            .is_ok_and(|arn| arn.account == ctx.account && arn.region == ctx.region);
        let found = if is_own {
            self.port()?.find(arn)?
        } else {
            None
        };
        found.ok_or_else(|| no_stream(arn))
    }
}

impl api::DynamoDbStreams for Streams {
    async fn describe_stream(
        &self,
        ctx: &Context,
        input: DescribeStreamInput,
    ) -> Result<DescribeStreamOutput, Fault> {
        let stream = self.find(ctx, &input.stream_arn)?;
        if let Some(filter) = &input.shard_filter
            && (filter.r#type.is_none() || filter.shard_id.is_none())
        {
            return Err(validation("ShardFilter must have both Type and ShardId"));
        }
        let limit = check_limit(input.limit, 100)?;
        // The shards of a stream have no parents here, so none is a child of another.
        let is_filtered = input.shard_filter.is_some();
        let after = input.exclusive_start_shard_id.as_deref();
        let mut shards: Vec<Shard> = stream
            .shards
            .iter()
            .filter(|shard| !is_filtered && after.is_none_or(|after| shard.id.as_str() > after))
            .map(|shard| Shard {
                shard_id: Some(shard.id.clone()),
                sequence_number_range: Some(SequenceNumberRange {
                    starting_sequence_number: Some(shard.first.clone()),
                    ending_sequence_number: shard.last.clone(),
                }),
                parent_shard_id: None,
            })
            .collect();
        let is_more = shards.len() > limit;
        shards.truncate(limit);
        let keys = stream.keys.iter().map(|(name, role)| KeySchemaElement {
            attribute_name: name.clone(),
            key_type: role.clone(),
        });
        Ok(DescribeStreamOutput {
            stream_description: Some(StreamDescription {
                stream_arn: Some(stream.arn.clone()),
                stream_label: Some(stream.label.clone()),
                stream_status: Some(
                    if stream.is_open {
                        "ENABLED"
                    } else {
                        "DISABLED"
                    }
                    .into(),
                ),
                stream_view_type: Some(stream.view.clone()),
                creation_request_date_time: Some(stream.created),
                table_name: Some(stream.table.clone()),
                key_schema: Some(keys.collect()),
                last_evaluated_shard_id: shards
                    .last()
                    .filter(|_| is_more)
                    .and_then(|shard| shard.shard_id.clone()),
                shards: Some(shards),
            }),
        })
    }

    async fn list_streams(
        &self,
        ctx: &Context,
        input: ListStreamsInput,
    ) -> Result<ListStreamsOutput, Fault> {
        let limit = check_limit(input.limit, 100)?;
        if let Some(arn) = &input.exclusive_start_stream_arn {
            check_arn(arn)?;
        }
        let table = input.table_name.as_deref().map(|name| {
            let arn = name.parse::<cloud::Arn>().ok();
            let table = arn
                .as_ref()
                .and_then(|arn| arn.resource.strip_prefix("table/"));
            table.unwrap_or(name).to_owned()
        });
        let mut found = self
            .port()?
            .list(&ctx.account, &ctx.region, table.as_deref())?;
        if let Some(after) = &input.exclusive_start_stream_arn {
            // By table and label, as they are listed; a table's name may sort otherwise within an ARN.
            let place = |arn: &str| -> Option<(String, String)> {
                let (_, rest) = arn.split_once(":table/")?;
                let (table, label) = rest.split_once("/stream/")?;
                Some((table.to_owned(), label.to_owned()))
            };
            let after = place(after);
            found.retain(|stream| place(&stream.arn) > after);
        }
        let is_more = found.len() > limit;
        found.truncate(limit);
        Ok(ListStreamsOutput {
            last_evaluated_stream_arn: found
                .last()
                .filter(|_| is_more)
                .map(|stream| stream.arn.clone()),
            streams: Some(
                found
                    .into_iter()
                    .map(|stream| Stream {
                        stream_arn: Some(stream.arn),
                        table_name: Some(stream.table),
                        stream_label: Some(stream.label),
                    })
                    .collect(),
            ),
        })
    }

    async fn get_shard_iterator(
        &self,
        ctx: &Context,
        input: GetShardIteratorInput,
    ) -> Result<GetShardIteratorOutput, Fault> {
        let kind = input.shard_iterator_type.as_str();
        let start = match (kind, input.sequence_number.as_deref()) {
            ("TRIM_HORIZON", None) => TableStreamStart::Oldest,
            ("LATEST", None) => TableStreamStart::Newest,
            ("AT_SEQUENCE_NUMBER", Some(number)) => TableStreamStart::At(number),
            ("AFTER_SEQUENCE_NUMBER", Some(number)) => TableStreamStart::After(number),
            ("TRIM_HORIZON" | "LATEST", Some(_)) => {
                return Err(validation(format!(
                    "SequenceNumber must not be specified when ShardIteratorType is {kind}"
                )));
            }
            ("AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER", None) => {
                return Err(validation(format!(
                    "SequenceNumber must be specified when ShardIteratorType is {kind}"
                )));
            }
            _ => {
                return Err(Fault::receiver(
                    501,
                    "NotImplemented",
                    format!("Shard iterators of type {kind} are not implemented."),
                ));
            }
        };
        let stream = self.find(ctx, &input.stream_arn)?;
        let position = self.port()?.position(&stream.arn, &input.shard_id, start)?;
        Ok(GetShardIteratorOutput {
            shard_iterator: Some(iterator(
                &stream.arn,
                &input.shard_id,
                position,
                ctx.time.millis(),
            )),
        })
    }

    async fn get_records(
        &self,
        ctx: &Context,
        input: GetRecordsInput,
    ) -> Result<GetRecordsOutput, Fault> {
        let invalid = || validation("Invalid ShardIterator");
        let (arn, token) = input.shard_iterator.split_once("|1|").ok_or_else(invalid)?;
        let place = cloud::paging::place(ITERATOR, token).ok_or_else(invalid)?;
        let [shard, position, made] = &place[..] else {
            return Err(invalid());
        };
        let position: u64 = position.parse().map_err(|_| invalid())?;
        let made: i64 = made.parse().map_err(|_| invalid())?;
        let now = ctx.time.millis();
        if made + ITERATOR_LIFE < now {
            return Err(expired_iterator_exception(
                "Iterator expired. The iterator was created more than 15 minutes ago.",
            ));
        }
        self.find(ctx, arn)?;
        let limit = check_limit(input.limit, MAX_RECORDS)?;
        let found = self.port()?.read(arn, shard, position, limit)?;
        Ok(GetRecordsOutput {
            records: Some(found.records),
            next_shard_iterator: (!found.is_end).then(|| iterator(arn, shard, found.next, now)),
        })
    }
}
