//! Pollers of queues: messages received in batches, handed to a sink, and deleted where it has done with them.
//!
//! What an event source mapping and a pipe have in common. A poller waits in its queue and costs nothing until a message comes. What it
//! had received when the server was killed is visible again after the queue's visibility timeout, as on AWS.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use wire::Fault;

use crate::ports::{QueueMessage, Queues};
use crate::{Arn, Cloud, EventPattern};

/// Milliseconds before a queue that is not there is looked for again.
const MISSING: i64 = 10_000;
/// Most messages of one receive.
const AT_ONCE: usize = 10;

/// How a queue is polled.
#[derive(Clone, Debug)]
pub struct Polling {
    /// The queue.
    pub queue: Arn,
    /// The most messages of a batch.
    pub batch_size: usize,
    /// How long a batch is gathered, milliseconds; 0 takes what one receive gives.
    pub window: i64,
    /// Bytes after which a batch is not gathered any longer.
    pub largest: usize,
    /// Batches that run at once.
    pub parallel: usize,
    /// Which messages are wanted: any of these, all where there are none. Others are deleted.
    pub filters: Vec<EventPattern>,
}

/// What takes batches of messages.
pub trait QueueSink: Send + Sync + 'static {
    /// Takes a batch, which is not empty; the handles of the messages that are done with. The others are received again.
    fn take(&self, messages: Vec<QueueMessage>) -> BoxFuture<'_, Result<Vec<String>, Fault>>;
}

/// Polls a queue until the answer is dropped; what has been received then is still handed over.
pub fn poll(
    cloud: &Cloud,
    queues: &Arc<dyn Queues>,
    polling: Polling,
    sink: impl QueueSink,
) -> watch::Sender<()> {
    let (running, stopped) = watch::channel(());
    let poller = Poller {
        cloud: cloud.clone(),
        queues: queues.clone(),
        polling,
        sink,
    };
    tokio::spawn(Arc::new(poller).run(stopped));
    running
}

struct Poller<S> {
    cloud: Cloud,
    queues: Arc<dyn Queues>,
    polling: Polling,
    sink: S,
}

impl<S: QueueSink> Poller<S> {
    async fn run(self: Arc<Self>, mut stopped: watch::Receiver<()>) {
        let turns = Arc::new(Semaphore::new(self.polling.parallel));
        let at_once = self.polling.batch_size.clamp(1, AT_ONCE);
        loop {
            // A batch is received only when there is room to run it.
            let turn = tokio::select! {
                turn = turns.clone().acquire_owned() => turn,
                _ = stopped.changed() => return,
            };
            let Ok(turn) = turn else { return };
            let first = tokio::select! {
                first = self.queues.receive(&self.polling.queue, at_once, None) => first,
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
                    tracing::debug!(source_arn = %self.polling.queue, %fault, "a queue cannot be polled now");
                    tokio::select! {
                        () = self.cloud.clock.pass(MISSING) => {}
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
        let Polling {
            queue,
            batch_size,
            window,
            largest,
            ..
        } = &self.polling;
        let clock = &self.cloud.clock;
        let end = clock.now().plus_millis(*window);
        let mut size: usize = batch.iter().map(|m| m.size).sum();
        while batch.len() < *batch_size && *window > 0 && size < *largest {
            let left = end.0 - clock.now().0;
            if left <= 0 {
                break;
            }
            let room = (batch_size - batch.len()).min(AT_ONCE);
            let more = tokio::select! {
                more = self.queues.receive(queue, room, Some(left)) => more,
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
        let queue = &self.polling.queue;
        let (wanted, unwanted): (Vec<_>, Vec<_>) = batch.into_iter().partition(|m| self.lets(m));
        let mut done: Vec<String> = unwanted.into_iter().map(|m| m.handle).collect();
        if !wanted.is_empty() {
            match self.sink.take(wanted).await {
                Ok(taken) => done.extend(taken),
                Err(fault) => {
                    tracing::warn!(source_arn = %queue, %fault, cause = fault.cause, "a batch failed");
                }
            }
        }
        for handles in done.chunks(AT_ONCE) {
            if let Err(fault) = self.queues.delete(queue, handles).await {
                tracing::warn!(source_arn = %queue, %fault, "messages that were processed will come again");
            }
        }
    }

    /// Whether the filters let a message through.
    fn lets(&self, message: &QueueMessage) -> bool {
        let filters = &self.polling.filters;
        if filters.is_empty() {
            return true;
        }
        let mut view = message.record.clone();
        // A body of JSON is looked into; any other is a text.
        let body = view["body"].as_str().map(serde_json::from_str::<Value>);
        if let Some(Ok(body @ (Value::Object(_) | Value::Array(_)))) = body {
            view["body"] = body;
        }
        filters.iter().any(|filter| filter.matches(&view))
    }
}
