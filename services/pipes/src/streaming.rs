//! A pipe's stream, of Kinesis or of a table.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::Delivery;
use cloud::consumer::{Batch, Item, Lost, Outcome, Owner, Plan, Sink, Start, Stream};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use wire::Fault;

use crate::api::{PipeSourceDynamoDBStreamParameters, PipeSourceParameters};
use crate::flow::Flow;
use crate::pipe::{Pipe, Place, service_of};
use crate::service::Pipes;

/// What both kinds of stream are told.
fn told(of: &PipeSourceParameters) -> PipeSourceDynamoDBStreamParameters {
    if let Some(table) = &of.dynamo_db_stream_parameters {
        return table.clone();
    }
    let data = of.kinesis_stream_parameters.clone().unwrap_or_default();
    PipeSourceDynamoDBStreamParameters {
        batch_size: data.batch_size,
        dead_letter_config: data.dead_letter_config,
        on_partial_batch_item_failure: data.on_partial_batch_item_failure,
        maximum_batching_window_in_seconds: data.maximum_batching_window_in_seconds,
        maximum_record_age_in_seconds: data.maximum_record_age_in_seconds,
        maximum_retry_attempts: data.maximum_retry_attempts,
        parallelization_factor: data.parallelization_factor,
        starting_position: data.starting_position,
    }
}

fn start(of: &PipeSourceParameters) -> Start {
    let since = of.kinesis_stream_parameters.as_ref();
    let since = since.and_then(|k| k.starting_position_timestamp);
    match (told(of).starting_position.as_str(), since) {
        ("AT_TIMESTAMP", Some(time)) => Start::Since(time),
        ("LATEST", _) => Start::Newest,
        _ => Start::Oldest,
    }
}

impl Pipes {
    pub(crate) fn owner(place: &Place, pipe: &Pipe) -> Owner {
        Owner {
            account: place.account.clone(),
            name: pipe.id.clone(),
        }
    }

    /// Fixes where a new pipe begins to read.
    pub(crate) async fn begin(&self, place: &Place, pipe: &Pipe) -> Result<(), Fault> {
        if service_of(&pipe.source) == "sqs" {
            return Ok(());
        }
        let flow = Flow::new(&self.cloud, place, pipe)?;
        let Some(stream) = Stream::of(&self.cloud.ports, &pipe.source) else {
            return Ok(());
        };
        let owner = Self::owner(place, pipe);
        // One that is not there yet is read from its beginning.
        match self
            .consumers
            .begin(&owner, &stream, start(&flow.of_source))
            .await
        {
            Err(fault) if fault.status < 500 => Ok(()),
            other => other,
        }
    }

    pub(crate) fn consume(&self, flow: Arc<Flow>) {
        let Some(stream) = Stream::of(&self.cloud.ports, &flow.pipe.source) else {
            return;
        };
        let of = told(&flow.of_source);
        let count =
            |n: Option<i32>, other| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(other);
        // -1 is without end.
        let bound = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
        let plan = Plan {
            batch_size: count(of.batch_size, 100).max(1),
            window: i64::from(of.maximum_batching_window_in_seconds.unwrap_or(0)) * 1_000,
            parallel: count(of.parallelization_factor, 1).max(1),
            filters: flow.filters.clone(),
            bisects: of.on_partial_batch_item_failure.is_some(),
            retries: bound(of.maximum_retry_attempts),
            max_age: bound(of.maximum_record_age_in_seconds).map(|secs| i64::from(secs) * 1_000),
            tumbling: None,
        };
        let owner = Self::owner(&flow.place, &flow.pipe);
        let begin = start(&flow.of_source);
        let sink = Arc::new(Passage(flow));
        self.consumers.start(&owner, stream, plan, begin, sink);
    }
}

struct Passage(Arc<Flow>);

impl Passage {
    fn event(&self, shard: &str, item: &Item) -> Value {
        let flow = &self.0;
        let mut event = item.record.clone();
        event["eventSourceARN"] = json!(flow.pipe.source);
        if service_of(&flow.pipe.source) == "kinesis" {
            event["eventSource"] = json!("aws:kinesis");
            event["eventVersion"] = json!("1.0");
            event["eventID"] = json!(format!("{shard}:{}", item.sequence));
            event["eventName"] = json!("aws:kinesis:record");
            event["invokeIdentityArn"] = json!(flow.pipe.role);
            event["awsRegion"] = json!(flow.place.region);
        }
        event
    }

    /// As a template sees it: the data of a record in clear, where it is text.
    fn plain(&self, shard: &str, item: &Item) -> Value {
        let mut event = self.event(shard, item);
        let data = event.get("data").and_then(Value::as_str);
        let data = data.and_then(|d| STANDARD.decode(d).ok());
        if let Some(text) = data.and_then(|d| String::from_utf8(d).ok())
            && self.0.has_template()
        {
            event["data"] = json!(text);
        }
        event
    }
}

impl Sink for Passage {
    fn take<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let items = batch.items.iter();
            let events = items.map(|item| self.plain(batch.shard, item)).collect();
            let failed = |first, is_reported| Outcome::Failed {
                first,
                is_reported,
                detail: Value::Null,
            };
            match self.0.pass(events).await {
                Ok(places) => match places.into_iter().min() {
                    None => Outcome::Done(None),
                    Some(first) => failed(first, true),
                },
                Err(fault) if fault.status == 429 => Outcome::Later,
                Err(fault) => {
                    tracing::warn!(pipe = self.0.place.arn(), %fault, cause = fault.cause, "a batch failed");
                    failed(0, false)
                }
            }
        })
    }

    fn lose<'a>(&'a self, lost: Lost<'a>) -> BoxFuture<'a, Result<Vec<Delivery>, Fault>> {
        Box::pin(async move {
            let flow = &self.0;
            let dead = told(&flow.of_source).dead_letter_config;
            let Some(target) = dead.and_then(|d| d.arn) else {
                return Ok(Vec::new());
            };
            let info = match service_of(&flow.pipe.source).as_str() {
                "kinesis" => "KinesisBatchInfo",
                _ => "DDBStreamBatchInfo",
            };
            let (first, last) = (lost.items.first(), lost.items.last());
            let time = |item: Option<&Item>| item.map(|i| i.arrived.iso8601_millis());
            let message = json!({
                "context": {
                    "partnerResourceArn": flow.place.arn(),
                    "condition": if lost.is_old { "RecordAgeExceeded" } else { "RetryAttemptsExhausted" },
                    "approximateInvokeCount": lost.attempts,
                },
                "version": "1.0",
                "timestamp": flow.cloud.clock.now().iso8601_millis(),
                info: {
                    "shardId": lost.shard,
                    "startSequenceNumber": first.map(|i| i.sequence.clone()),
                    "endSequenceNumber": last.map(|i| i.sequence.clone()),
                    "approximateArrivalOfFirstRecord": time(first),
                    "approximateArrivalOfLastRecord": time(last),
                    "batchSize": lost.items.len(),
                    "streamArn": flow.pipe.source,
                },
            });
            Ok(vec![Delivery {
                target,
                payload: message.to_string(),
                source: flow.source(),
                ..Delivery::default()
            }])
        })
    }
}
