//! Delivery streams: made, described, changed, deleted.
//!
//! A stream is `ACTIVE` when the call that makes it returns; on AWS that takes a minute.

use cloud::ports::RoleProblem;
use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::destination::{Destination, absent};
use crate::encryption::Encryption;
use crate::errors::*;
use crate::service::Firehose;
use crate::tag;

/// A delivery stream as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeliveryStream {
    /// Tells it from other streams of its name, earlier or later.
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) updated: Option<i64>,
    pub(crate) version: u64,
    /// The data stream that it reads, and the role it reads as.
    pub(crate) source: Option<(String, String)>,
    pub(crate) throughput: Option<i32>,
    pub(crate) destination: Destination,
    pub(crate) encryption: Option<Encryption>,
    /// In the order in which they were set.
    pub(crate) tags: Vec<(String, Option<String>)>,
}
impl Record for DeliveryStream {}

/// Which delivery stream is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) name: String,
}

impl Place {
    pub(crate) fn of(ctx: &Context, name: &str) -> Place {
        Place {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            name: name.to_owned(),
        }
    }
    /// The delivery stream of that ARN.
    pub(crate) fn of_arn(arn: &Arn) -> Option<Place> {
        let name = arn.resource.strip_prefix("deliverystream/")?;
        (arn.service == "firehose").then(|| Place {
            account: arn.account.clone(),
            region: arn.region.clone(),
            name: name.to_owned(),
        })
    }
    pub(crate) fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.name)
    }
    pub(crate) fn scope(&self) -> [&str; 4] {
        ["firehose", &self.account, &self.region, &self.name]
    }
    pub(crate) fn arn(&self) -> String {
        let resource = format!("deliverystream/{}", self.name);
        Arn::new("firehose", &self.region, &self.account, resource).to_string()
    }
    pub(crate) fn missing(&self) -> Fault {
        let Place { account, name, .. } = self;
        resource_not_found_exception(format!(
            "Firehose {name} under account {account} not found."
        ))
    }
}

/// The only destination of a stream.
const DESTINATION: &str = "destinationId-000000000001";
const FROM_STREAM: &str = "KinesisStreamAsSource";
const DIRECT: &str = "DirectPut";
/// The most delivery streams of an account in a region.
const MOST: usize = 5_000;

impl DeliveryStream {
    fn kind(&self) -> &'static str {
        match self.source {
            Some(_) => FROM_STREAM,
            None => DIRECT,
        }
    }

    fn source(&self) -> Option<SourceDescription> {
        let shown = match (&self.source, self.throughput) {
            (Some((stream, role)), _) => SourceDescription {
                kinesis_stream_source_description: Some(KinesisStreamSourceDescription {
                    kinesis_stream_arn: Some(stream.clone()),
                    role_arn: Some(role.clone()),
                    delivery_start_timestamp: Some(Timestamp(self.created)),
                }),
                ..SourceDescription::default()
            },
            (None, Some(hint)) => SourceDescription {
                direct_put_source_description: Some(DirectPutSourceDescription {
                    throughput_hint_in_m_bs: Some(hint),
                }),
                ..SourceDescription::default()
            },
            (None, None) => return None,
        };
        Some(shown)
    }
}

impl Firehose {
    /// The delivery stream, which must exist.
    pub(crate) fn stream(
        &self,
        reader: &impl Read,
        place: &Place,
    ) -> Result<DeliveryStream, Fault> {
        Read::get(reader, &self.streams, &place.key())?.ok_or_else(|| place.missing())
    }

    /// Changes a delivery stream's row.
    pub(crate) async fn change<R>(
        &self,
        place: &Place,
        f: impl FnOnce(&mut Tx<'_>, &mut DeliveryStream) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let mut stream = self.stream(tx, place)?;
                let result = f(tx, &mut stream)?;
                tx.put(&self.streams, &place.key(), &stream)?;
                Ok(result)
            })
            .await
    }

    /// A role that exists must trust Firehose; one that was never made is taken as it is.
    pub(crate) fn check_role(&self, role: &str) -> Result<(), Fault> {
        let Some(roles) = self.cloud.ports.roles() else {
            return Ok(());
        };
        match roles.check(role, "firehose.amazonaws.com") {
            Err(RoleProblem::Untrusted) => Err(invalid_argument_exception(format!(
                "Firehose is unable to assume role {role}. Please check the role provided."
            ))),
            Ok(()) | Err(RoleProblem::Missing) => Ok(()),
        }
    }

    pub(crate) async fn create_delivery_stream(
        &self,
        ctx: &Context,
        mut input: CreateDeliveryStreamInput,
    ) -> Result<CreateDeliveryStreamOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        let kind = input.delivery_stream_type.as_deref().unwrap_or(DIRECT);
        let source = input.kinesis_stream_source_configuration.take();
        match (kind, &source) {
            (DIRECT, Some(_)) => {
                return Err(invalid_argument_exception(
                    "KinesisSourceStreamConfig is only applicable for KinesisStreamAsSource stream type.",
                ));
            }
            (FROM_STREAM, None) => {
                return Err(invalid_argument_exception(
                    "KinesisSourceStreamConfig is required for KinesisStreamAsSource stream type.",
                ));
            }
            (DIRECT | FROM_STREAM, _) => {}
            (other, _) => return Err(absent(&format!("'s source {other}"))),
        }
        let destination = Destination::of(&mut input)?;
        self.check_schema(&place, &destination)?;
        self.check_role(&destination.bucket.role)?;
        let encryption = match input.delivery_stream_encryption_configuration_input {
            Some(_) if source.is_some() => {
                return Err(invalid_argument_exception(
                    "Server-side encryption is not supported for delivery streams with KinesisStreamAsSource.",
                ));
            }
            given => given.map(Encryption::of).transpose()?,
        };
        let tags = tag::first(input.tags.unwrap_or_default())?;
        if let Some(source) = &source {
            self.check_role(&source.role_arn)?;
            self.check_source(&source.kinesis_stream_arn)?;
        }
        let stream = DeliveryStream {
            id: cloud::ids::hex(16),
            created: ctx.time.0,
            updated: None,
            version: 1,
            source: source.map(|s| (s.kinesis_stream_arn, s.role_arn)),
            throughput: input
                .direct_put_source_configuration
                .map(|d| d.throughput_hint_in_m_bs),
            destination,
            encryption,
            tags,
        };
        // Before it is seen: what is put once it is there must not be before its beginning.
        self.begin_source(&place, &stream).await?;
        let scope = ["firehose", &place.account, &place.region];
        let own = place.scope();
        let made = self
            .cloud
            .store
            .transact(Scope::new(&scope).and(&own), |tx| {
                let all = Range::prefix(&(&place.account, &place.region)).limit(MOST);
                if tx.range(&self.streams, all).count() >= MOST {
                    return Err(limit_exceeded_exception(format!(
                        "You have already consumed your firehose quota of {MOST} hoses. Firehose names: []"
                    )));
                }
                if tx.contains(&self.streams, &place.key())? {
                    return Err(resource_in_use_exception(format!(
                        "Firehose {} under accountId {} already exists",
                        place.name, place.account
                    )));
                }
                Ok(tx.put(&self.streams, &place.key(), &stream)?)
            })
            .await;
        if let Err(fault) = made {
            self.end_source(&place, &stream).await?;
            return Err(fault);
        }
        self.start_source(&place, &stream);
        Ok(CreateDeliveryStreamOutput {
            delivery_stream_arn: Some(place.arn()),
        })
    }

    pub(crate) async fn delete_delivery_stream(
        &self,
        ctx: &Context,
        input: DeleteDeliveryStreamInput,
    ) -> Result<DeleteDeliveryStreamOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        let scope = place.scope();
        let stream = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let stream = self.stream(tx, &place)?;
                tx.delete(&self.streams, &place.key());
                // What was not written yet is lost, as on AWS.
                self.drop_buffer(tx, &place, &stream)?;
                Ok::<_, Fault>(stream)
            })
            .await?;
        self.end_source(&place, &stream).await?;
        Ok(DeleteDeliveryStreamOutput {})
    }

    pub(crate) async fn describe_delivery_stream(
        &self,
        ctx: &Context,
        input: DescribeDeliveryStreamInput,
    ) -> Result<DescribeDeliveryStreamOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        let stream = self.stream(&self.cloud.store, &place)?;
        let is_behind = input.exclusive_start_destination_id.is_some();
        Ok(DescribeDeliveryStreamOutput {
            delivery_stream_description: DeliveryStreamDescription {
                delivery_stream_name: place.name.clone(),
                delivery_stream_arn: place.arn(),
                delivery_stream_status: delivery_stream_status::ACTIVE.into(),
                failure_description: None,
                delivery_stream_encryption_configuration: stream
                    .encryption
                    .as_ref()
                    .map(Encryption::describe),
                delivery_stream_type: stream.kind().into(),
                version_id: stream.version.to_string(),
                create_timestamp: Some(Timestamp(stream.created)),
                last_update_timestamp: stream.updated.map(Timestamp),
                source: stream.source(),
                destinations: match is_behind {
                    true => Vec::new(),
                    false => vec![stream.destination.describe(DESTINATION)?],
                },
                has_more_destinations: false,
            },
        })
    }

    pub(crate) async fn list_delivery_streams(
        &self,
        ctx: &Context,
        input: ListDeliveryStreamsInput,
    ) -> Result<ListDeliveryStreamsOutput, Fault> {
        let limit = usize::try_from(input.limit.unwrap_or(10)).unwrap_or(10);
        let mut range = Range::prefix(&(&ctx.account, &ctx.region));
        if let Some(after) = &input.exclusive_start_delivery_stream_name {
            range = range.after(&(&ctx.account, &ctx.region, after));
        }
        let view = self.cloud.store.read();
        let mut names = Vec::new();
        let mut has_more = false;
        for row in view.range(&self.streams, range) {
            let ((_, _, name), stream) = row?;
            let kind = input.delivery_stream_type.as_deref();
            if kind.is_some_and(|kind| kind != stream.kind()) {
                continue;
            }
            if names.len() == limit {
                has_more = true;
                break;
            }
            names.push(name);
        }
        Ok(ListDeliveryStreamsOutput {
            delivery_stream_names: names,
            has_more_delivery_streams: has_more,
        })
    }

    pub(crate) async fn update_destination(
        &self,
        ctx: &Context,
        input: UpdateDestinationInput,
    ) -> Result<UpdateDestinationOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        let updated = self
            .change(&place, |_, stream| {
                if input.destination_id != DESTINATION {
                    return Err(invalid_argument_exception(format!(
                        "Destination Id {} not found",
                        input.destination_id
                    )));
                }
                let current = stream.version.to_string();
                if input.current_delivery_stream_version_id != current {
                    return Err(concurrent_modification_exception(format!(
                        "Cannot update firehose: {} since the current version id: {current} and specified version id: {} do not match",
                        place.name, input.current_delivery_stream_version_id
                    )));
                }
                stream.destination.update(input)?;
                self.check_schema(&place, &stream.destination)?;
                self.check_role(&stream.destination.bucket.role)?;
                stream.version += 1;
                stream.updated = Some(ctx.time.0);
                Ok(())
            })
            .await;
        match updated {
            Err(fault) if fault.is("ResourceNotFoundException") => {
                Err(resource_not_found_exception(format!(
                    "Firehose {} under accountId {} not found.",
                    place.name, place.account
                )))
            }
            other => other.map(|()| UpdateDestinationOutput {}),
        }
    }
}
