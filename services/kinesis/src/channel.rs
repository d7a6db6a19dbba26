//! Channels: a stream's records written to a bucket as they are, gathered for some minutes.
//!
//! Records stay in the stream until they are written: a channel keeps only how far it has come in each shard. See
//! `channel_delivery.rs` for that.
//!
//! <https://docs.aws.amazon.com/streams/latest/dev/data-delivery-s3-about.html>

use std::collections::BTreeMap;

use cloud::Context;
use cloud::ports::RoleProblem;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::channel_key::Template;
use crate::errors::*;
use crate::reader::{self, Kind, ReaderPlace};
use crate::service::Kinesis;
use crate::stream::{Place, page};
use crate::tag;

/// A channel as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) created: i64,
    role: String,
    /// The stream, its id, and when it was made.
    stream_name: String,
    pub(crate) stream: u64,
    stream_created: i64,
    /// `JSON`, `STRING` or `BYTE_ARRAY`
    pub(crate) format: String,
    /// How long records are gathered at most, seconds.
    pub(crate) freshness: i32,
    pub(crate) bucket: Bucket,
    pub(crate) template: Option<String>,
    pub(crate) storage_class: Option<String>,
    /// `NONE`, `GZIP` or `ZSTD`
    pub(crate) compression: String,
    /// Where records go that are not of the format.
    pub(crate) errors: Option<(Bucket, Option<String>)>,
    key: Option<String>,
    is_logged: bool,
    log_group: Option<String>,
    log_stream: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) policy: Option<String>,
}
impl Record for Channel {}

/// A bucket and who is to own it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) arn: String,
    owner: String,
}

impl Bucket {
    pub(crate) fn name(&self) -> &str {
        self.arn.rsplit(':').next().unwrap_or_default()
    }
}

/// Seconds for which records are gathered that nobody said it of, the least and the most.
const FRESHNESS: i32 = 300;
const MOST_FRESHNESS: i32 = 900;
/// Where records go that are not of the format and nobody said it of: the bucket itself, under this.
pub(crate) const ERRORS: &str = "kinesis-channel-errors/";

impl Channel {
    /// The stream that it reads, which is of the same account and region.
    pub(crate) fn source(&self, place: &ReaderPlace) -> Place {
        place.stream(&self.stream_name)
    }

    /// The log group and stream that its errors go to, if they go to any.
    pub(crate) fn log(&self, place: &ReaderPlace) -> Option<(String, String)> {
        self.is_logged.then(|| {
            let group = self.log_group.clone();
            let stream = self.log_stream.clone();
            (
                group.unwrap_or_else(|| format!("/aws/kinesis/{}/{}", self.name, place.text())),
                stream.unwrap_or_else(|| "DestinationDelivery".into()),
            )
        })
    }

    fn set_logging(&mut self, enabled: bool, group: Option<String>, stream: Option<String>) {
        self.is_logged = enabled;
        self.log_group = group.or(self.log_group.take());
        self.log_stream = stream.or(self.log_stream.take());
    }

    fn described(&self, place: &ReaderPlace, status: &str) -> ChannelDescription {
        let (errors, prefix) = match &self.errors {
            Some((bucket, prefix)) => (bucket, prefix.clone()),
            None => (&self.bucket, Some(ERRORS.to_owned())),
        };
        let log = self.log(place);
        ChannelDescription {
            channel_name: self.name.clone(),
            channel_arn: place.arn(),
            channel_id: place.text(),
            channel_status: status.into(),
            channel_status_reason: None,
            channel_creation_timestamp: Timestamp(self.created),
            service_execution_role_arn: self.role.clone(),
            stream_configuration_list: vec![ChannelStreamDescription {
                stream_arn: self.source(place).arn(),
                stream_creation_timestamp: Timestamp(self.stream_created),
                record_configuration: RecordConfiguration {
                    record_format_type: self.format.clone(),
                    gsr_schema_arn: None,
                },
            }],
            s3_destination_configuration: Some(S3DestinationDescription {
                data_freshness_in_seconds: self.freshness,
                dead_letter_queue_s3_configuration: DeadLetterQueueS3Configuration {
                    bucket_arn: errors.arn.clone(),
                    expected_bucket_owner: errors.owner.clone(),
                    error_output_prefix: prefix,
                },
                storage_configuration: S3StorageConfiguration {
                    bucket_arn: self.bucket.arn.clone(),
                    expected_bucket_owner: self.bucket.owner.clone(),
                    output_key_template: self.template.clone(),
                    storage_class: self.storage_class.clone(),
                    compression_type: self.compression.clone(),
                },
            }),
            s3_tables_destination_configuration: None,
            encryption_configuration: self.key.as_ref().map(|key| ChannelEncryptionConfiguration {
                encryption_type: channel_encryption_type::KMS.into(),
                key_id: key.clone(),
            }),
            logging_configuration: ChannelLoggingConfiguration {
                cloud_watch_logs: CloudWatchLogs {
                    enabled: self.is_logged,
                    log_group_name: log.as_ref().map(|(group, _)| group.clone()),
                    log_stream_name: log.map(|(_, stream)| stream),
                },
            },
        }
    }
}

fn freshness(asked: Option<i32>) -> Result<i32, Fault> {
    let seconds = asked.unwrap_or(FRESHNESS);
    if (FRESHNESS..=MOST_FRESHNESS).contains(&seconds) {
        return Ok(seconds);
    }
    Err(validation_exception(format!(
        "DataFreshnessInSeconds must be between {FRESHNESS} and {MOST_FRESHNESS}."
    )))
}

fn tables_are_absent() -> Fault {
    Fault::receiver(
        501,
        "NotImplemented",
        "Channels to Amazon S3 Tables are not implemented.",
    )
}

impl Kinesis {
    /// The channel, which must exist.
    pub(crate) fn channel(
        &self,
        reader: &impl Read,
        place: &ReaderPlace,
    ) -> Result<Channel, Fault> {
        Read::get(reader, &self.channels, &place.key())?.ok_or_else(|| place.missing())
    }

    /// How many channels read a stream; of all streams where none is named.
    pub(crate) fn channel_count(
        &self,
        reader: &impl Read,
        account: &str,
        region: &str,
        stream: Option<u64>,
    ) -> Result<i32, Fault> {
        let mut count = 0;
        for row in reader.range(&self.channels, Range::prefix(&(account, region))) {
            let (_, channel) = row?;
            count += i32::from(stream.is_none_or(|stream| stream == channel.stream));
        }
        Ok(count)
    }

    /// Changes a channel's own row.
    pub(crate) async fn change_channel<R>(
        &self,
        place: &ReaderPlace,
        f: impl FnOnce(&mut Tx<'_>, &mut Channel) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let mut channel = self.channel(tx, place)?;
                let result = f(tx, &mut channel)?;
                tx.put(&self.channels, &place.key(), &channel)?;
                Ok(result)
            })
            .await
    }

    /// A role that exists must trust the service; one that was never made is taken as it is.
    fn check_role(&self, role: &str) -> Result<(), Fault> {
        let Some(roles) = self.cloud.ports.roles() else {
            return Ok(());
        };
        match roles.check(role, "kinesis.amazonaws.com") {
            Err(RoleProblem::Untrusted) => Err(validation_exception(format!(
                "Kinesis Data Streams is unable to assume role {role}."
            ))),
            Ok(()) | Err(RoleProblem::Missing) => Ok(()),
        }
    }

    pub(crate) async fn create_channel(
        &self,
        ctx: &Context,
        input: CreateChannelInput,
    ) -> Result<CreateChannelOutput, Fault> {
        let destination = match (
            input.s3_destination_configuration,
            input.s3_tables_destination_configuration,
        ) {
            (Some(destination), None) => destination,
            (None, Some(_)) => return Err(tables_are_absent()),
            _ => {
                return Err(validation_exception(
                    "Exactly one of S3DestinationConfiguration and S3TablesDestinationConfiguration must be specified.",
                ));
            }
        };
        let [configuration] = <[ChannelStreamConfiguration; 1]>::try_from(
            input.stream_configuration_list,
        )
        .map_err(|_| {
            validation_exception("StreamConfigurationList must contain exactly one stream.")
        })?;
        let source = Place::parse(&configuration.stream_arn)?;
        if (&source.account, &source.region) != (&ctx.account, &ctx.region) {
            return Err(validation_exception(
                "The stream of a channel must be in the account and Region of the request.",
            ));
        }
        let format = configuration.record_configuration.record_format_type;
        if format == record_format_type::GSR_JSON {
            return Err(validation_exception(
                "The record format GSR_JSON is only supported for streaming table destinations.",
            ));
        }
        self.check_role(&input.service_execution_role_arn)?;
        let tags = input.tags.unwrap_or_default();
        tag::check(&tags)?;
        let storage = destination.storage_configuration;
        if let Some(template) = &storage.output_key_template {
            Template::parse(template)?;
        }
        let freshness = freshness(destination.data_freshness_in_seconds)?;
        let place = ReaderPlace::new(Kind::Channel, &ctx.account, &ctx.region);
        let now = self.cloud.clock.now().0;
        let own = place.scope();
        let stream_scope = source.scope();
        let channel = self
            .cloud
            .store
            .transact(Scope::new(&own).within(&stream_scope), |tx| {
                let stream = self.stream(tx, &source)?;
                if !stream.on_demand {
                    return Err(validation_exception(format!(
                        "Channels are supported only on data streams in on-demand capacity mode. Stream {} under account {} is in Provisioned mode.",
                        source.name, source.account
                    )));
                }
                for row in tx.range(&self.channels, Range::prefix(&(&place.account, &place.region))) {
                    if row?.1.name == input.channel_name {
                        return Err(resource_in_use_exception(format!(
                            "Channel {} under account {} already exists.",
                            input.channel_name, place.account
                        )));
                    }
                }
                let mut channel = Channel {
                    name: input.channel_name,
                    created: now,
                    role: input.service_execution_role_arn,
                    stream_name: source.name.clone(),
                    stream: stream.id,
                    stream_created: stream.created,
                    format,
                    freshness,
                    bucket: Bucket {
                        arn: storage.bucket_arn,
                        owner: storage.expected_bucket_owner,
                    },
                    template: storage.output_key_template,
                    storage_class: storage.storage_class,
                    compression: storage.compression_type,
                    errors: destination.dead_letter_queue_s3_configuration.map(|errors| {
                        let bucket = Bucket {
                            arn: errors.bucket_arn,
                            owner: errors.expected_bucket_owner,
                        };
                        (bucket, errors.error_output_prefix)
                    }),
                    key: input.encryption_configuration.map(|e| e.key_id),
                    is_logged: false,
                    log_group: None,
                    log_stream: None,
                    tags,
                    policy: None,
                };
                if let Some(logging) = input.logging_configuration {
                    let logs = logging.cloud_watch_logs;
                    channel.set_logging(logs.enabled, logs.log_group_name, logs.log_stream_name);
                }
                let of = (place.account.as_str(), place.id);
                self.begin_cursors(tx, of, &source, &stream, None, now)?;
                tx.put(&self.channels, &place.key(), &channel)?;
                Ok(channel)
            })
            .await?;
        self.run_channel(&place);
        Ok(CreateChannelOutput {
            channel_description: channel.described(&place, channel_status::CREATING),
        })
    }

    pub(crate) async fn describe_channel(
        &self,
        _: &Context,
        input: DescribeChannelInput,
    ) -> Result<DescribeChannelOutput, Fault> {
        let place = ReaderPlace::parse(Kind::Channel, &input.channel_arn)?;
        let channel = self.channel(&self.cloud.store, &place)?;
        Ok(DescribeChannelOutput {
            channel_description: channel.described(&place, channel_status::ACTIVE),
        })
    }

    pub(crate) async fn update_channel(
        &self,
        _: &Context,
        input: UpdateChannelInput,
    ) -> Result<UpdateChannelOutput, Fault> {
        let place = ReaderPlace::parse(Kind::Channel, &input.channel_arn)?;
        if input.s3_tables_destination_configuration.is_some() {
            self.channel(&self.cloud.store, &place)?;
            return Err(validation_exception(
                "S3TablesDestinationConfiguration must not be specified for a channel that delivers to a general purpose bucket.",
            ));
        }
        let channel = self
            .change_channel(&place, |_, channel| {
                if let Some(s3) = input.s3_destination_configuration {
                    channel.freshness = freshness(Some(s3.data_freshness_in_seconds))?;
                }
                if let Some(logging) = input.logging_configuration {
                    let logs = logging.cloud_watch_logs;
                    channel.set_logging(logs.enabled, logs.log_group_name, logs.log_stream_name);
                }
                Ok(channel.clone())
            })
            .await?;
        self.wiring.reader(place.id).notify_waiters();
        Ok(UpdateChannelOutput {
            channel_description: channel.described(&place, channel_status::UPDATING),
        })
    }

    pub(crate) async fn delete_channel(
        &self,
        ctx: &Context,
        input: DeleteChannelInput,
    ) -> Result<DeleteChannelOutput, Fault> {
        let place = ReaderPlace::parse(Kind::Channel, &input.channel_arn)?;
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                self.channel(tx, &place)?;
                tx.delete(&self.channels, &place.key());
                self.plan_reader_removal(tx, (&place.account, place.id), ctx.time)
            })
            .await?;
        self.wiring.reader(place.id).notify_waiters();
        Ok(DeleteChannelOutput {})
    }

    pub(crate) async fn list_channels(
        &self,
        ctx: &Context,
        input: ListChannelsInput,
    ) -> Result<ListChannelsOutput, Fault> {
        let after = reader::page_start("ListChannels", input.next_token.as_deref())?;
        let mut range = Range::prefix(&(&ctx.account, &ctx.region));
        if let Some(after) = after {
            range = range.after(&(&ctx.account, &ctx.region, after));
        }
        let filters = input.stream_filter.unwrap_or_default();
        let limit = page(input.max_results, 100);
        let view = self.cloud.store.read();
        let mut summaries = Vec::new();
        let mut next_token = None;
        let mut last = 0;
        for row in view.range(&self.channels, range) {
            let ((account, region, id), channel) = row?;
            let place = ReaderPlace {
                kind: Kind::Channel,
                account,
                region,
                id,
            };
            let arn = channel.source(&place).arn();
            let wanted = filters.iter();
            let wanted = wanted.map(|f| (f.stream_arn.as_str(), f.stream_creation_timestamp));
            if !reader::is_asked_for(wanted, &arn, channel.stream_created) {
                continue;
            }
            if summaries.len() == limit {
                next_token = Some(cloud::paging::token("ListChannels", &[&last.to_string()]));
                break;
            }
            last = id;
            summaries.push(ChannelSummary {
                channel_arn: place.arn(),
                channel_id: place.text(),
                channel_status: channel_status::ACTIVE.into(),
                channel_status_reason: None,
                channel_creation_timestamp: Timestamp(channel.created),
                channel_destination_type: channel_destination_type::S3.into(),
                streams: vec![ChannelStreamIdentifier {
                    stream_arn: arn,
                    stream_creation_timestamp: Timestamp(channel.stream_created),
                }],
                channel_name: channel.name,
            });
        }
        Ok(ListChannelsOutput {
            channel_summaries: summaries,
            next_token,
        })
    }
}
