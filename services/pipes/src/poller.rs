//! A pipe's queue: received, taken through the pipe, and deleted.
//!
//! A poller waits in its queue and costs nothing until a message comes. What it had received when the server was killed is visible
//! again after the queue's visibility timeout, as on AWS.

use std::sync::Arc;

use cloud::Arn;
use cloud::ports::{QueueMessage, Queues};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::flow::Flow;
use crate::service::Pipes;

/// Milliseconds before a queue that is not there is looked for again.
const MISSING: i64 = 10_000;
/// Most messages of one receive.
const AT_ONCE: usize = 10;
/// Bytes of a batch.
const LARGEST: usize = 3 << 20;
/// Batches under way at a time.
const ABREAST: usize = 5;

struct Poller {
    flow: Arc<Flow>,
    queues: Arc<dyn Queues>,
    queue: Arn,
    most: usize,
    window: i64,
}

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
        let id = flow.pipe.id.clone();
        let poller = Poller {
            flow,
            queues: queues.clone(),
            queue,
            most: of
                .batch_size
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(10),
            window: i64::from(of.maximum_batching_window_in_seconds.unwrap_or(0)) * 1_000,
        };
        let (running, stopped) = watch::channel(());
        tokio::spawn(Arc::new(poller).run(stopped));
        self.pollers.lock().insert(id, running);
    }
}

impl Poller {
    async fn run(self: Arc<Self>, mut stopped: watch::Receiver<()>) {
        let turns = Arc::new(Semaphore::new(ABREAST));
        loop {
            let turn = tokio::select! {
                turn = turns.clone().acquire_owned() => turn,
                _ = stopped.changed() => return,
            };
            let Ok(turn) = turn else { return };
            let first = tokio::select! {
                first = self.queues.receive(&self.queue, self.most.clamp(1, AT_ONCE), None) => first,
                _ = stopped.changed() => return,
            };
            match first {
                Ok(first) if first.is_empty() => {}
                Ok(first) => {
                    let batch = self.fill(first, &mut stopped).await;
                    let this = self.clone();
                    tokio::spawn(async move { this.process(batch, turn).await });
                }
                Err(fault) => {
                    tracing::debug!(source_arn = %self.queue, %fault, "a queue cannot be polled now");
                    tokio::select! {
                        () = self.flow.cloud.clock.pass(MISSING) => {}
                        _ = stopped.changed() => return,
                    }
                }
            }
        }
    }

    /// Gathers until a batch is full, or as large as it became within the window.
    async fn fill(
        &self,
        mut batch: Vec<QueueMessage>,
        stopped: &mut watch::Receiver<()>,
    ) -> Vec<QueueMessage> {
        let clock = &self.flow.cloud.clock;
        let end = clock.now().plus_millis(self.window);
        let mut size: usize = batch.iter().map(|m| m.size).sum();
        while batch.len() < self.most && self.window > 0 && size < LARGEST {
            let left = end.0 - clock.now().0;
            if left <= 0 {
                break;
            }
            let room = (self.most - batch.len()).min(AT_ONCE);
            let more = tokio::select! {
                more = self.queues.receive(&self.queue, room, Some(left)) => more,
                _ = stopped.changed() => break,
            };
            match more {
                Ok(more) if !more.is_empty() => {
                    size += more.iter().map(|m| m.size).sum::<usize>();
                    batch.extend(more);
                }
                _ => break,
            }
        }
        batch
    }

    async fn process(&self, batch: Vec<QueueMessage>, _turn: OwnedSemaphorePermit) {
        let (wanted, unwanted): (Vec<_>, Vec<_>) = batch.into_iter().partition(|m| self.lets(m));
        let mut done: Vec<String> = unwanted.into_iter().map(|m| m.handle).collect();
        if !wanted.is_empty() {
            let events = wanted.iter().map(|m| m.record.clone()).collect();
            match self.flow.pass(events).await {
                Ok(failed) => {
                    let good = wanted.into_iter().enumerate();
                    let good = good.filter(|(place, _)| !failed.contains(place));
                    done.extend(good.map(|(_, message)| message.handle));
                }
                Err(fault) => {
                    tracing::warn!(pipe = self.flow.place.arn(), %fault, cause = fault.cause, "a batch failed");
                }
            }
        }
        for handles in done.chunks(AT_ONCE) {
            if let Err(fault) = self.queues.delete(&self.queue, handles).await {
                tracing::warn!(source_arn = %self.queue, %fault, "messages that were processed will come again");
            }
        }
    }

    fn lets(&self, message: &QueueMessage) -> bool {
        if self.flow.filters.is_empty() {
            return true;
        }
        let mut view = message.record.clone();
        // A body of JSON is looked into; any other is a text.
        let body = view["body"].as_str().map(serde_json::from_str::<Value>);
        if let Some(Ok(body @ (Value::Object(_) | Value::Array(_)))) = body {
            view["body"] = body;
        }
        self.flow.lets(&view)
    }
}
