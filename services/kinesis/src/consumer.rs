//! Consumers: readers with a name, for SubscribeToShard.

use std::collections::BTreeMap;

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Tx};
use wire::{Fault, Timestamp};

use crate::api::{
    ConsumerDescription, DeregisterStreamConsumerInput, DeregisterStreamConsumerOutput,
    DescribeStreamConsumerInput, DescribeStreamConsumerOutput, ListStreamConsumersInput,
    ListStreamConsumersOutput, RegisterStreamConsumerInput, RegisterStreamConsumerOutput,
    consumer_status,
};
use crate::errors::*;
use crate::reader::{Kind, ReaderPlace};
use crate::service::Kinesis;
use crate::stream::{Place, Stream, page};
use crate::tag;

/// A consumer as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Consumer {
    pub(crate) created: i64,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) policy: Option<String>,
}
impl Record for Consumer {}

/// The most consumers of a stream, queues counted among them.
pub(crate) const MOST: i32 = 20;
/// Likewise, of a stream on demand in an account that commits itself to a throughput.
pub(crate) const MOST_WITH_ADVANTAGE: i32 = 50;
const TOKEN_LIFE: i64 = 300_000;

/// What an ARN of this service names.
pub(crate) enum Resource {
    Stream(Place),
    /// A stream's consumer, made in that second.
    Consumer(Place, String, i64),
    Queue(ReaderPlace),
    Channel(ReaderPlace),
}

impl Resource {
    /// Reads an ARN, whose form the model has checked.
    pub(crate) fn parse(arn: &str) -> Result<Resource, Fault> {
        let invalid = || invalid_argument_exception(format!("{arn} is not a valid resource ARN."));
        let parsed: Arn = arn.parse().map_err(|_| invalid())?;
        if let Some(place) = ReaderPlace::of_arn(&parsed) {
            return Ok(match place.kind {
                Kind::Queue => Resource::Queue(place),
                Kind::Channel => Resource::Channel(place),
            });
        }
        let mut place = Place::of_arn(&parsed).ok_or_else(invalid)?;
        let Some((stream, consumer)) = place.name.split_once("/consumer/") else {
            if place.name.contains('/') {
                return Err(invalid());
            }
            return Ok(Resource::Stream(place));
        };
        let (name, created) = consumer.rsplit_once(':').ok_or_else(invalid)?;
        let (name, created) = (name.to_owned(), created.parse().map_err(|_| invalid())?);
        place.name = stream.to_owned();
        Ok(Resource::Consumer(place, name, created))
    }
}

fn arn(place: &Place, name: &str, consumer: &Consumer) -> String {
    format!(
        "{}/consumer/{name}:{}",
        place.arn(),
        consumer.created.div_euclid(1000)
    )
}

fn shown(place: &Place, name: &str, consumer: &Consumer) -> crate::api::Consumer {
    crate::api::Consumer {
        consumer_name: name.to_owned(),
        consumer_arn: arn(place, name, consumer),
        consumer_status: consumer_status::ACTIVE.into(),
        consumer_creation_timestamp: Timestamp(consumer.created),
    }
}

fn missing(what: &str, account: &str) -> Fault {
    resource_not_found_exception(format!("Consumer {what}, account {account} not found."))
}

impl Kinesis {
    /// The consumer of that name, made in that second where one is given.
    pub(crate) fn consumer(
        &self,
        reader: &impl Read,
        place: &Place,
        stream: &Stream,
        name: &str,
        created: Option<i64>,
    ) -> Result<Consumer, Fault> {
        let found: Option<Consumer> =
            Read::get(reader, &self.consumers, &(&place.account, stream.id, name))?;
        let is_meant = |c: &Consumer| created.is_none_or(|t| c.created.div_euclid(1000) == t);
        found.filter(is_meant).ok_or_else(|| {
            let what = match created {
                Some(created) => format!("{}/consumer/{name}:{created}", place.arn()),
                None => name.to_owned(),
            };
            missing(&what, &place.account)
        })
    }

    /// Changes a consumer's row under its stream's lock.
    pub(crate) async fn change_consumer(
        &self,
        place: &Place,
        name: &str,
        created: i64,
        f: impl FnOnce(&mut Consumer) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let scope = place.scope();
        self.cloud
            .store
            .transact(store::Scope::new(&scope), |tx| {
                let stream = self.stream(tx, place)?;
                let mut consumer = self.consumer(tx, place, &stream, name, Some(created))?;
                f(&mut consumer)?;
                tx.put(
                    &self.consumers,
                    &(&place.account, stream.id, name),
                    &consumer,
                )?;
                Ok(())
            })
            .await
    }

    /// Which consumer is meant: by its ARN, or by its stream and name.
    fn meant(
        consumer: Option<&str>,
        stream: Option<&str>,
        name: Option<&str>,
    ) -> Result<(Place, String, Option<i64>), Fault> {
        match (consumer, stream, name) {
            (Some(arn), _, None) => match Resource::parse(arn)? {
                Resource::Consumer(place, name, created) => Ok((place, name, Some(created))),
                Resource::Stream(_) | Resource::Queue(_) | Resource::Channel(_) => Err(
                    invalid_argument_exception(format!("{arn} is not the ARN of a consumer.")),
                ),
            },
            (None, Some(stream), Some(name)) => Ok((Place::parse(stream)?, name.to_owned(), None)),
            _ => Err(invalid_argument_exception(
                "You must specify either the ConsumerARN, or both the StreamARN and the ConsumerName.",
            )),
        }
    }

    pub(crate) async fn register_stream_consumer(
        &self,
        ctx: &Context,
        input: RegisterStreamConsumerInput,
    ) -> Result<RegisterStreamConsumerOutput, Fault> {
        let place = Place::parse(&input.stream_arn)?;
        let tags = input.tags.unwrap_or_default();
        tag::check(&tags)?;
        let consumer = Consumer {
            created: ctx.time.0,
            tags,
            policy: None,
        };
        let name = &input.consumer_name;
        self.change(&place, |tx, stream| {
            let at = (&place.account, stream.id, name);
            if tx.contains(&self.consumers, &at)? {
                return Err(resource_in_use_exception(format!(
                    "Consumer {name} under stream {} already exists for account {}.",
                    place.arn(),
                    place.account
                )));
            }
            let queues = self.queues_of(tx, stream.id, &place.account, &place.region)?;
            let queues = i32::try_from(queues.len()).unwrap_or(i32::MAX);
            self.admit_consumer(tx, &place, stream, queues)?;
            stream.consumers += 1;
            tx.put(&self.consumers, &at, &consumer)?;
            Ok(())
        })
        .await?;
        Ok(RegisterStreamConsumerOutput {
            consumer: shown(&place, name, &consumer),
        })
    }

    pub(crate) async fn deregister_stream_consumer(
        &self,
        _: &Context,
        input: DeregisterStreamConsumerInput,
    ) -> Result<DeregisterStreamConsumerOutput, Fault> {
        let (place, name, created) = Kinesis::meant(
            input.consumer_arn.as_deref(),
            input.stream_arn.as_deref(),
            input.consumer_name.as_deref(),
        )?;
        let id = self
            .change(&place, |tx: &mut Tx<'_>, stream| {
                self.consumer(tx, &place, stream, &name, created)?;
                tx.delete(&self.consumers, &(&place.account, stream.id, &name));
                stream.consumers = stream.consumers.saturating_sub(1);
                Ok(stream.id)
            })
            .await?;
        self.end_subscriptions(id, &name);
        Ok(DeregisterStreamConsumerOutput {})
    }

    pub(crate) async fn describe_stream_consumer(
        &self,
        _: &Context,
        input: DescribeStreamConsumerInput,
    ) -> Result<DescribeStreamConsumerOutput, Fault> {
        let (place, name, created) = Kinesis::meant(
            input.consumer_arn.as_deref(),
            input.stream_arn.as_deref(),
            input.consumer_name.as_deref(),
        )?;
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        let consumer = self.consumer(&view, &place, &stream, &name, created)?;
        let shown = shown(&place, &name, &consumer);
        Ok(DescribeStreamConsumerOutput {
            consumer_description: ConsumerDescription {
                consumer_name: shown.consumer_name,
                consumer_arn: shown.consumer_arn,
                consumer_status: shown.consumer_status,
                consumer_creation_timestamp: shown.consumer_creation_timestamp,
                stream_arn: place.arn(),
            },
        })
    }

    pub(crate) async fn list_stream_consumers(
        &self,
        ctx: &Context,
        input: ListStreamConsumersInput,
    ) -> Result<ListStreamConsumersOutput, Fault> {
        let place = Place::parse(&input.stream_arn)?;
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        if let Some(created) = input.stream_creation_timestamp
            && created.secs() != stream.created.div_euclid(1000)
        {
            return Err(place.missing());
        }
        let mut range = Range::prefix(&(&place.account, stream.id));
        if let Some(token) = &input.next_token {
            let invalid = || invalid_argument_exception("NextToken is invalid.");
            let parts = cloud::paging::place("ListStreamConsumers", token).ok_or_else(invalid)?;
            let [name, made] = <[String; 2]>::try_from(parts).map_err(|_| invalid())?;
            let made: i64 = made.parse().map_err(|_| invalid())?;
            if ctx.time.0.saturating_sub(made) > TOKEN_LIFE {
                return Err(expired_next_token_exception(
                    "NextToken has expired. Tokens are valid for 300 seconds.",
                ));
            }
            range = range.after(&(&place.account, stream.id, &name));
        }
        let limit = page(input.max_results, 100);
        let rows: Vec<_> = view
            .range(&self.consumers, range.limit(limit + 1))
            .collect::<Result<_, _>>()?;
        let more = rows.len() > limit;
        let consumers: Vec<_> = rows
            .into_iter()
            .take(limit)
            .map(|((_, _, name), consumer)| shown(&place, &name, &consumer))
            .collect();
        let last = consumers.last().filter(|_| more);
        Ok(ListStreamConsumersOutput {
            next_token: last.map(|c| {
                let parts = [c.consumer_name.as_str(), &ctx.time.0.to_string()];
                cloud::paging::token("ListStreamConsumers", &parts)
            }),
            consumers: Some(consumers),
        })
    }
}
