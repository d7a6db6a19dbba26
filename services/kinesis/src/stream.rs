//! Streams: made, described, changed, deleted.
//!
//! What takes AWS half a minute (to make a stream, to change its shards) is done here when the call returns, so that
//! a stream is `ACTIVE` at the first look; `CREATING` and `UPDATING` would last for microseconds.

use std::collections::BTreeMap;

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::lineage::Lineage;
use crate::service::Kinesis;
use crate::shard::shown as shown_shard;
use crate::tag;

/// A stream as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stream {
    /// Tells it from other streams of its name, earlier or later.
    pub(crate) id: u64,
    pub(crate) created: i64,
    pub(crate) on_demand: bool,
    /// Hours.
    pub(crate) retention: i32,
    /// The number of the next shard.
    pub(crate) next_shard: u64,
    /// How many shards are open.
    pub(crate) open: i32,
    /// How often its shards have changed.
    pub(crate) layout: u64,
    pub(crate) key: Option<String>,
    pub(crate) metrics: Vec<String>,
    /// The largest record, KiB.
    pub(crate) record_limit: i32,
    pub(crate) warm: Option<i32>,
    /// Whether records are spread without regard to their keys.
    pub(crate) spreads: bool,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) policy: Option<String>,
    pub(crate) consumers: i32,
}
impl Record for Stream {}

/// Which stream is meant.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) name: String,
}

impl Place {
    /// The stream of that ARN.
    pub(crate) fn of_arn(arn: &Arn) -> Option<Place> {
        let name = arn
            .resource
            .strip_prefix("stream/")
            .filter(|_| arn.service == "kinesis")?;
        Some(Place {
            account: arn.account.clone(),
            region: arn.region.clone(),
            name: name.to_owned(),
        })
    }
    /// The stream of that name or ARN, one of which must be there.
    pub(crate) fn of(ctx: &Context, name: Option<&str>, arn: Option<&str>) -> Result<Place, Fault> {
        let of_arn = match arn {
            Some(text) => Some(Place::parse(text)?),
            None => None,
        };
        match (of_arn, name) {
            (Some(place), Some(name)) if place.name != name => Err(invalid_argument_exception(
                format!("StreamARN and StreamName {name} do not name the same stream."),
            )),
            (Some(place), _) => Ok(place),
            (None, Some(name)) => Ok(Place {
                account: ctx.account.clone(),
                region: ctx.region.clone(),
                name: name.to_owned(),
            }),
            (None, None) => Err(invalid_argument_exception(
                "Either StreamName or StreamARN must be provided.",
            )),
        }
    }
    /// Reads an ARN, whose form the model has checked.
    pub(crate) fn parse(arn: &str) -> Result<Place, Fault> {
        let parsed = arn.parse::<Arn>().ok();
        parsed
            .as_ref()
            .and_then(Place::of_arn)
            .ok_or_else(|| invalid_argument_exception(format!("{arn} is not the ARN of a stream.")))
    }
    pub(crate) fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.name)
    }
    pub(crate) fn arn(&self) -> String {
        let resource = format!("stream/{}", self.name);
        Arn::new("kinesis", &self.region, &self.account, resource).to_string()
    }
    pub(crate) fn scope(&self) -> [&str; 4] {
        ["kinesis", &self.account, &self.region, &self.name]
    }
    pub(crate) fn missing(&self) -> Fault {
        let Place { account, name, .. } = self;
        resource_not_found_exception(format!("Stream {name} under account {account} not found."))
    }
}

/// Bytes of a KiB.
pub(crate) const KIB: usize = 1024;
const RECORD_LIMIT: i32 = 1024;
const DAY: i32 = 24;
/// The shards of a new stream on demand.
const FIRST_ON_DEMAND: u32 = 4;
const ON_DEMAND_LIMIT: i32 = 50;

/// The open shards that an account may have.
pub(crate) fn shard_limit(region: &str) -> i32 {
    match region {
        "us-east-1" | "us-west-2" | "eu-west-1" => 20_000,
        _ => 6_000,
    }
}

/// Whether that many more open shards are within the account's limit.
pub(crate) fn admit_shards(place: &Place, current: i32, more: i32) -> Result<(), Fault> {
    let limit = shard_limit(&place.region);
    if current.saturating_add(more) <= limit {
        return Ok(());
    }
    Err(limit_exceeded_exception(format!(
        "This request would exceed the shard limit for the account {} in {}. Current shard count for the account: {current}. Limit: {limit}. Number of additional shards that would have resulted from this request: {more}. Refer to the AWS Service Limits page (https://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how to request higher limits.",
        place.account, place.region
    )))
}

fn mode(stream: &Stream) -> StreamModeDetails {
    let mode = if stream.on_demand {
        stream_mode::ON_DEMAND
    } else {
        stream_mode::PROVISIONED
    };
    StreamModeDetails {
        stream_mode: mode.into(),
    }
}

fn strategy(stream: &Stream) -> String {
    let strategy = if stream.spreads {
        record_distribution_strategy::AUTO
    } else {
        record_distribution_strategy::USER_PARTITION_KEY
    };
    strategy.into()
}

fn encryption(stream: &Stream) -> String {
    match stream.key {
        Some(_) => encryption_type::KMS.into(),
        None => encryption_type::NONE.into(),
    }
}

fn monitoring(stream: &Stream) -> Vec<EnhancedMetrics> {
    vec![EnhancedMetrics {
        shard_level_metrics: Some(stream.metrics.clone()),
    }]
}

/// How many of something one answer lists: as many as asked for, up to the operation's own bound.
pub(crate) fn page(asked: Option<i32>, most: usize) -> usize {
    let asked = asked.and_then(|n| usize::try_from(n).ok());
    asked.unwrap_or(most).min(most)
}

impl Kinesis {
    /// The stream, which must exist.
    pub(crate) fn stream(
        &self,
        reader: &impl Read,
        place: &Place,
    ) -> Result<std::sync::Arc<Stream>, Fault> {
        self.recent
            .get(reader, &self.streams, &place.key())?
            .ok_or_else(|| place.missing())
    }

    /// Changes a stream's own row, alone.
    pub(crate) async fn change<R>(
        &self,
        place: &Place,
        f: impl FnOnce(&mut Tx<'_>, &mut Stream) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let mut stream = (*self.stream(tx, place)?).clone();
                let result = f(tx, &mut stream)?;
                tx.put(&self.streams, &place.key(), &stream)?;
                Ok(result)
            })
            .await
    }

    /// All streams of an account in a region.
    fn all(&self, account: &str, region: &str) -> Result<Vec<Stream>, Fault> {
        let view = self.cloud.store.read();
        let rows = view.range(&self.streams, Range::prefix(&(account, region)));
        Ok(rows
            .map(|row| row.map(|(_, stream)| stream))
            .collect::<Result<_, _>>()?)
    }

    /// How many shards of an account in a region are open.
    pub(crate) fn open_shards(&self, place: &Place) -> Result<i32, Fault> {
        let all = self.all(&place.account, &place.region)?;
        Ok(all.iter().map(|s| s.open).fold(0, i32::saturating_add))
    }

    pub(crate) async fn create_stream(
        &self,
        ctx: &Context,
        input: CreateStreamInput,
    ) -> Result<CreateStreamOutput, Fault> {
        let place = Place::of(ctx, Some(&input.stream_name), None)?;
        let on_demand = input
            .stream_mode_details
            // Who says neither a mode nor a number gets a stream on demand.
            .map_or(input.shard_count.is_none(), |m| {
                m.stream_mode == stream_mode::ON_DEMAND
            });
        let count = match (on_demand, input.shard_count) {
            (true, None) => FIRST_ON_DEMAND,
            (true, Some(_)) => {
                return Err(validation_exception(
                    "Requests for on-demand streams must not specify a ShardCount.",
                ));
            }
            (false, Some(count)) => u32::try_from(count).unwrap_or(0),
            (false, None) => {
                return Err(validation_exception(
                    "ShardCount must be specified for streams in provisioned mode.",
                ));
            }
        };
        let tags = input.tags.unwrap_or_default();
        tag::check(&tags)?;
        let spreads = input.record_distribution_strategy.as_deref()
            == Some(record_distribution_strategy::AUTO);
        if spreads && !on_demand {
            return Err(validation_exception(
                "The record distribution strategy AUTO is only supported for streams in on-demand mode.",
            ));
        }
        let mut id = [0; 8];
        cloud::ids::random(&mut id);
        let current = self.all(&place.account, &place.region)?;
        let open = current.iter().map(|s| s.open).fold(0, i32::saturating_add);
        admit_shards(&place, open, i32::try_from(count).unwrap_or(i32::MAX))?;
        if on_demand && current.iter().filter(|s| s.on_demand).count() >= ON_DEMAND_LIMIT as usize {
            return Err(limit_exceeded_exception(format!(
                "This request would exceed the on-demand stream limit for the account {} in {}. Limit: {ON_DEMAND_LIMIT}.",
                place.account, place.region
            )));
        }
        let stream = Stream {
            id: u64::from_be_bytes(id),
            created: ctx.time.0,
            on_demand,
            retention: DAY,
            next_shard: u64::from(count),
            open: i32::try_from(count).unwrap_or(i32::MAX),
            layout: 0,
            key: None,
            metrics: Vec::new(),
            record_limit: input.max_record_size_in_ki_b.unwrap_or(RECORD_LIMIT),
            warm: input.warm_throughput_mi_bps,
            spreads,
            tags,
            policy: None,
            consumers: 0,
        };
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                if tx.contains(&self.streams, &place.key())? {
                    return Err(resource_in_use_exception(format!(
                        "Stream {} under account {} already exists.",
                        place.name, place.account
                    )));
                }
                for (number, shard) in Lineage::first(count, ctx.time.0).open {
                    tx.put(&self.shards, &(&place.account, stream.id, number), &shard)?;
                }
                tx.put(&self.streams, &place.key(), &stream)?;
                self.plan_expiry(tx, &place, &stream, stream.created)
            })
            .await?;
        Ok(CreateStreamOutput {})
    }

    pub(crate) async fn delete_stream(
        &self,
        ctx: &Context,
        input: DeleteStreamInput,
    ) -> Result<DeleteStreamOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let scope = place.scope();
        let id = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let stream = self.stream(tx, &place)?;
                if stream.consumers > 0 && input.enforce_consumer_deletion != Some(true) {
                    return Err(resource_in_use_exception(format!(
                        "Stream {} under account {} has {} registered consumers and EnforceConsumerDeletion is not set to true.",
                        place.name, place.account, stream.consumers
                    )));
                }
                self.refuse_with_readers(tx, &place, &stream)?;
                tx.delete(&self.streams, &place.key());
                self.plan_removal(tx, &place, &stream, ctx.time)?;
                Ok(stream.id)
            })
            .await?;
        self.wiring.forget(id);
        Ok(DeleteStreamOutput {})
    }

    pub(crate) async fn describe_stream(
        &self,
        ctx: &Context,
        input: DescribeStreamInput,
    ) -> Result<DescribeStreamOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        let limit = page(input.limit, 100);
        let after = match &input.exclusive_start_shard_id {
            Some(id) => Some(self.shard_number(&place, id)?),
            None => None,
        };
        let (shards, more) =
            self.page_of_shards(&view, &place, &stream, after, limit, ctx.time.0, |_| true)?;
        Ok(DescribeStreamOutput {
            stream_description: StreamDescription {
                stream_arn: place.arn(),
                stream_name: place.name,
                stream_status: stream_status::ACTIVE.into(),
                stream_mode_details: Some(mode(&stream)),
                shards: shards.iter().map(|(n, s)| shown_shard(*n, s)).collect(),
                has_more_shards: more,
                retention_period_hours: stream.retention,
                stream_creation_timestamp: Timestamp(stream.created),
                enhanced_monitoring: monitoring(&stream),
                encryption_type: Some(encryption(&stream)),
                key_id: stream.key.clone(),
            },
        })
    }

    pub(crate) async fn describe_stream_summary(
        &self,
        ctx: &Context,
        input: DescribeStreamSummaryInput,
    ) -> Result<DescribeStreamSummaryOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        let queues = self.queues_of(&view, stream.id, &place.account, &place.region)?;
        let (account, region) = (&place.account, &place.region);
        let channels = self.channel_count(&view, account, region, Some(stream.id))?;
        Ok(DescribeStreamSummaryOutput {
            stream_description_summary: StreamDescriptionSummary {
                stream_arn: place.arn(),
                stream_name: place.name,
                stream_id: None,
                stream_status: stream_status::ACTIVE.into(),
                stream_mode_details: Some(mode(&stream)),
                retention_period_hours: stream.retention,
                stream_creation_timestamp: Timestamp(stream.created),
                enhanced_monitoring: monitoring(&stream),
                encryption_type: Some(encryption(&stream)),
                key_id: stream.key.clone(),
                open_shard_count: stream.open,
                consumer_count: Some(stream.consumers),
                warm_throughput: stream.warm.map(|warm| WarmThroughputObject {
                    target_mi_bps: Some(warm),
                    current_mi_bps: Some(warm),
                }),
                max_record_size_in_ki_b: Some(stream.record_limit),
                channel_count: Some(channels),
                record_distribution_strategy: stream.on_demand.then(|| strategy(&stream)),
                queue_count: Some(i32::try_from(queues.len()).unwrap_or(i32::MAX)),
            },
        })
    }

    pub(crate) async fn list_streams(
        &self,
        ctx: &Context,
        input: ListStreamsInput,
    ) -> Result<ListStreamsOutput, Fault> {
        let after = match &input.next_token {
            Some(token) => {
                let place = cloud::paging::place("ListStreams", token);
                let name = place.and_then(|mut p| p.pop());
                Some(name.ok_or_else(|| invalid_argument_exception("NextToken is invalid."))?)
            }
            None => input.exclusive_start_stream_name,
        };
        let limit = page(input.limit, 100);
        let view = self.cloud.store.read();
        let mut range = Range::prefix(&(&ctx.account, &ctx.region)).limit(limit + 1);
        if let Some(after) = &after {
            range = range.after(&(&ctx.account, &ctx.region, after));
        }
        let rows: Vec<_> = view.range(&self.streams, range).collect::<Result<_, _>>()?;
        let has_more_streams = rows.len() > limit;
        let summaries: Vec<_> = rows
            .into_iter()
            .take(limit)
            .map(|((account, region, name), stream)| {
                let place = Place {
                    account,
                    region,
                    name,
                };
                StreamSummary {
                    stream_arn: place.arn(),
                    stream_name: place.name,
                    stream_status: stream_status::ACTIVE.into(),
                    stream_mode_details: Some(mode(&stream)),
                    stream_creation_timestamp: Some(Timestamp(stream.created)),
                }
            })
            .collect();
        let last = summaries.last().filter(|_| has_more_streams);
        Ok(ListStreamsOutput {
            next_token: last.map(|s| cloud::paging::token("ListStreams", &[&s.stream_name])),
            stream_names: summaries.iter().map(|s| s.stream_name.clone()).collect(),
            has_more_streams,
            stream_summaries: Some(summaries),
        })
    }

    pub(crate) async fn describe_limits(
        &self,
        ctx: &Context,
        _: DescribeLimitsInput,
    ) -> Result<DescribeLimitsOutput, Fault> {
        let all = self.all(&ctx.account, &ctx.region)?;
        let on_demand = all.iter().filter(|s| s.on_demand).count();
        Ok(DescribeLimitsOutput {
            shard_limit: shard_limit(&ctx.region),
            open_shard_count: all.iter().map(|s| s.open).fold(0, i32::saturating_add),
            on_demand_stream_count: i32::try_from(on_demand).unwrap_or(i32::MAX),
            on_demand_stream_count_limit: ON_DEMAND_LIMIT,
            channel_count: Some(self.channel_count(
                &self.cloud.store,
                &ctx.account,
                &ctx.region,
                None,
            )?),
            channel_count_limit: None,
        })
    }

    pub(crate) async fn update_stream_mode(
        &self,
        _: &Context,
        input: UpdateStreamModeInput,
    ) -> Result<UpdateStreamModeOutput, Fault> {
        let place = Place::parse(&input.stream_arn)?;
        let on_demand = input.stream_mode_details.stream_mode == stream_mode::ON_DEMAND;
        self.change(&place, |tx, stream| {
            if !on_demand {
                self.refuse_with_readers(tx, &place, stream)?;
            }
            stream.on_demand = on_demand;
            stream.spreads &= on_demand;
            stream.warm = input.warm_throughput_mi_bps.or(stream.warm);
            Ok(())
        })
        .await?;
        Ok(UpdateStreamModeOutput {})
    }

    pub(crate) async fn update_max_record_size(
        &self,
        ctx: &Context,
        input: UpdateMaxRecordSizeInput,
    ) -> Result<UpdateMaxRecordSizeOutput, Fault> {
        let place = Place::of(ctx, None, input.stream_arn.as_deref())?;
        self.change(&place, |_, stream| {
            stream.record_limit = input.max_record_size_in_ki_b;
            Ok(())
        })
        .await?;
        Ok(UpdateMaxRecordSizeOutput {})
    }

    pub(crate) async fn update_stream_record_distribution_strategy(
        &self,
        _: &Context,
        input: UpdateStreamRecordDistributionStrategyInput,
    ) -> Result<UpdateStreamRecordDistributionStrategyOutput, Fault> {
        let place = Place::parse(&input.stream_arn)?;
        let spreads = input.record_distribution_strategy == record_distribution_strategy::AUTO;
        self.change(&place, |_, stream| {
            if spreads && !stream.on_demand {
                return Err(validation_exception(
                    "The record distribution strategy AUTO is only supported for streams in on-demand mode.",
                ));
            }
            stream.spreads = spreads;
            Ok(())
        })
        .await?;
        Ok(UpdateStreamRecordDistributionStrategyOutput {})
    }

    pub(crate) async fn update_stream_warm_throughput(
        &self,
        ctx: &Context,
        input: UpdateStreamWarmThroughputInput,
    ) -> Result<UpdateStreamWarmThroughputOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let warm = input.warm_throughput_mi_bps;
        self.change(&place, |_, stream| {
            if !stream.on_demand {
                return Err(validation_exception(format!(
                    "Request is invalid. Stream {} under account {} is in Provisioned mode.",
                    place.name, place.account
                )));
            }
            stream.warm = Some(warm);
            Ok(())
        })
        .await?;
        Ok(UpdateStreamWarmThroughputOutput {
            stream_arn: Some(place.arn()),
            stream_name: Some(place.name),
            warm_throughput: Some(WarmThroughputObject {
                target_mi_bps: Some(warm),
                current_mi_bps: Some(warm),
            }),
        })
    }
}
