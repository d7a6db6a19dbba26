//! A pipe's queue: received, taken through the pipe, and deleted.

use std::sync::Arc;

use cloud::poller::{self, Polling, QueueSink};
use cloud::ports::QueueMessage;
use futures_util::future::BoxFuture;
use wire::Fault;

use crate::flow::Flow;
use crate::service::Pipes;

/// Bytes of a batch.
const LARGEST: usize = 3 << 20;
/// Batches under way at a time.
const ABREAST: usize = 5;

struct Through(Arc<Flow>);

impl Pipes {
    pub(crate) fn poll(&self, flow: Arc<Flow>) {
        let (Ok(queue), Some(queues)) = (flow.pipe.source.parse(), self.cloud.ports.queues())
        else {
            return;
        };
        let of = flow
            .of_source
            .sqs_queue_parameters
            .clone()
            .unwrap_or_default();
        let polling = Polling {
            queue,
            batch_size: of
                .batch_size
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(10),
            window: i64::from(of.maximum_batching_window_in_seconds.unwrap_or(0)) * 1_000,
            largest: LARGEST,
            parallel: ABREAST,
            filters: flow.filters.clone(),
        };
        let id = flow.pipe.id.clone();
        let running = poller::poll(&self.cloud, queues, polling, Through(flow));
        self.pollers.lock().insert(id, running);
    }
}

impl QueueSink for Through {
    fn take(&self, messages: Vec<QueueMessage>) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move {
            let events = messages.iter().map(|m| m.record.clone()).collect();
            let failed = self.0.pass(events).await?;
            let good = messages.into_iter().enumerate();
            let good = good.filter(|(place, _)| !failed.contains(place));
            Ok(good.map(|(_, message)| message.handle).collect())
        })
    }
}
