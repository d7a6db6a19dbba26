//! Delivery streams that read a data stream.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::Delivery;
use cloud::consumer::{Batch, Item, Lost, Outcome, Owner, Plan, Sink, Start, Stream};
use futures_util::future::BoxFuture;
use wire::Fault;

use crate::buffer::{Entry, Origin};
use crate::delivery_stream::{DeliveryStream, Place};
use crate::errors::invalid_argument_exception;
use crate::service::Firehose;

/// Records read at once.
const BATCH: usize = 500;

fn owner(place: &Place, stream: &DeliveryStream) -> Owner {
    Owner {
        account: place.account.clone(),
        name: stream.id.clone(),
    }
}

struct Source {
    firehose: Arc<Firehose>,
    place: Place,
    stream: DeliveryStream,
}

fn entry(shard: &str, item: &Item) -> Entry {
    let text = |name: &str| item.record.get(name).and_then(|v| v.as_str());
    Entry {
        time: item.arrived.0,
        data: STANDARD
            .decode(text("data").unwrap_or_default())
            .unwrap_or_default(),
        origin: Some(Origin {
            shard: shard.to_owned(),
            sequence: item.sequence.clone(),
            key: text("partitionKey").unwrap_or_default().to_owned(),
        }),
    }
}

impl Sink for Source {
    fn take<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let entries = batch.items.iter().map(|item| entry(batch.shard, item));
            let taken = self
                .firehose
                .append(&self.place, &self.stream, entries.collect());
            match taken.await {
                Ok(()) => Outcome::Done(None),
                Err(fault) => {
                    tracing::warn!(stream = self.place.name, %fault, cause = fault.cause, "records of a data stream wait");
                    Outcome::Later
                }
            }
        })
    }

    fn lose<'a>(&'a self, _: Lost<'a>) -> BoxFuture<'a, Result<Vec<Delivery>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Firehose {
    /// Nothing has to be registered for sources but their beginning with the region, which `resume` makes.
    pub(crate) fn register_sources(&self) {
        let consumers = self.consumers.clone();
        self.cloud.before_stop(move || {
            Box::pin(async move {
                consumers.stop_all();
            })
        });
    }

    pub(crate) fn check_source(&self, arn: &str) -> Result<(), Fault> {
        let stream = Stream::of(&self.cloud.ports, arn);
        let found = stream.map(|stream| stream.check());
        match found {
            Some(Ok(())) => Ok(()),
            _ => Err(invalid_argument_exception(format!(
                "Kinesis stream {arn} does not exist or cannot be read."
            ))),
        }
    }

    /// Fixes where a new stream begins to read.
    pub(crate) async fn begin_source(
        &self,
        place: &Place,
        stream: &DeliveryStream,
    ) -> Result<(), Fault> {
        let Some((arn, _)) = &stream.source else {
            return Ok(());
        };
        match Stream::of(&self.cloud.ports, arn) {
            Some(source) => {
                let owner = owner(place, stream);
                self.consumers.begin(&owner, &source, Start::Newest).await
            }
            None => Ok(()),
        }
    }

    /// Begins to read.
    pub(crate) fn start_source(&self, place: &Place, stream: &DeliveryStream) {
        let Some((arn, _)) = &stream.source else {
            return;
        };
        let (Some(source), Some(firehose)) =
            (Stream::of(&self.cloud.ports, arn), self.me.upgrade())
        else {
            return;
        };
        let plan = Plan {
            batch_size: BATCH,
            ..Plan::default()
        };
        let sink = Source {
            firehose,
            place: place.clone(),
            stream: stream.clone(),
        };
        let owner = owner(place, stream);
        self.consumers
            .start(&owner, source, plan, Start::Newest, Arc::new(sink));
    }

    /// Ends reading for good.
    pub(crate) async fn end_source(
        &self,
        place: &Place,
        stream: &DeliveryStream,
    ) -> Result<(), Fault> {
        match stream.source {
            Some(_) => self.consumers.forget(&owner(place, stream)).await,
            None => Ok(()),
        }
    }
}
