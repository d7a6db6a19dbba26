//! Consumers of streams: batches of a shard's records handed to a sink in their order, with positions that survive a crash.
//!
//! What an event source mapping and a pipe have in common: where to begin, how large a batch is and how long it is gathered, which
//! records are wanted, how often and how long a failed batch is tried, and what becomes of one that is given up. A consumer waits for
//! its stream's notification and costs nothing meanwhile. A record is handed over at least once: its position moves in the store only
//! behind what the sink has taken.

mod lane;
mod progress;
mod shard;
mod source;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use wire::{Fault, Timestamp};

use crate::{Cloud, Delivery, EventPattern};

use progress::Progress;
pub use source::{Item, Stream};

/// Where a consumer that was never there before begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record there is.
    Oldest,
    /// With the next record to come.
    Newest,
    /// With the first record since then.
    Since(Timestamp),
}

/// How a stream is consumed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The most records of a batch.
    pub batch_size: usize,
    /// How long a batch is gathered, milliseconds; 0 takes what is there.
    pub window: i64,
    /// Batches of one shard that run at once; records of one key stay in their order.
    pub parallel: usize,
    /// Which records are wanted: any of these, all where there are none.
    pub filters: Vec<EventPattern>,
    /// Whether a failed batch is halved.
    pub bisects: bool,
    /// Attempts after the first; `None` for as many as it takes.
    pub retries: Option<u32>,
    /// Milliseconds after which a record is given up.
    pub max_age: Option<i64>,
    /// Milliseconds of the windows over which a state is kept.
    pub tumbling: Option<i64>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            batch_size: 100,
            window: 0,
            parallel: 1,
            filters: Vec::new(),
            bisects: false,
            retries: None,
            max_age: None,
            tumbling: None,
        }
    }
}

/// A window of time, and what was made of its records so far.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
    /// What the sink said last.
    pub state: Value,
    /// Whether it ends with this batch.
    pub is_final: bool,
    /// Whether it ends because its state has become too large.
    pub is_early: bool,
}

/// Records handed over together.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Their shard.
    pub shard: &'a str,
    /// The records; none where only a window ends.
    pub items: &'a [Item],
    /// Their window, where the plan has windows.
    pub window: Option<&'a Window>,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// Taken. With windows, the state so far.
    Done(Option<Value>),
    /// Not taken from that record on; `0` for none of it.
    Failed {
        /// The first record that was not taken.
        first: usize,
        /// Whether the sink itself named it: such a batch is not halved.
        is_reported: bool,
        /// What the sink wants to know again when the batch is given up.
        detail: Value,
    },
    /// Not even tried: it comes again and this does not count.
    Later,
}

/// Records that are given up.
#[derive(Debug)]
pub struct Lost<'a> {
    /// Their shard.
    pub shard: &'a str,
    /// The records.
    pub items: &'a [Item],
    /// Whether they have become too old, rather than failed too often.
    pub is_old: bool,
    /// How often they were handed over.
    pub attempts: u32,
    /// What the sink said of the last attempt.
    pub detail: Option<&'a Value>,
}

/// Where a consumer's batches go.
pub trait Sink: Send + Sync + 'static {
    /// Takes a batch.
    fn take<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Outcome>;
    /// Told of records that are given up; what it answers is sent in the step that leaves them behind.
    fn lose<'a>(&'a self, lost: Lost<'a>) -> BoxFuture<'a, Result<Vec<Delivery>, Fault>>;
    /// Told that the stream cannot be read now.
    fn trouble(&self, fault: &Fault) {
        let _ = fault;
    }
}

/// Whose consumer it is: an account, and a name within the service that is never given twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The account.
    pub account: String,
    /// The name.
    pub name: String,
}

/// The consumers of a service. Clones are the same.
#[derive(Clone)]
pub struct Consumers(Arc<Inner>);

struct Inner {
    cloud: Cloud,
    progress: Progress,
    running: Mutex<HashMap<Owner, Running>>,
}

#[derive(Default)]
struct Running {
    /// A consumer runs until this is dropped.
    handle: Option<watch::Sender<()>>,
    /// Held by the one that runs: its successor waits until it is done.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Consumers {
    /// The consumers of a service, whose positions are in the table of that name.
    pub fn new(cloud: &Cloud, table: &'static str) -> Consumers {
        Consumers(Arc::new(Inner {
            cloud: cloud.clone(),
            progress: Progress::new(cloud, table),
            running: Mutex::default(),
        }))
    }

    /// Fixes where a consumer begins, unless it has begun before.
    pub async fn begin(&self, owner: &Owner, stream: &Stream, start: Start) -> Result<(), Fault> {
        self.0.progress.begin(owner, stream, start).await
    }

    /// Starts a consumer in place of one that runs; what that one has in hand is done first.
    pub fn start(
        &self,
        owner: &Owner,
        stream: Stream,
        plan: Plan,
        start: Start,
        sink: Arc<dyn Sink>,
    ) {
        let (running, stopped) = watch::channel(());
        let turn = {
            let mut all = self.0.running.lock();
            let entry = all.entry(owner.clone()).or_default();
            entry.handle = Some(running);
            entry.turn.clone()
        };
        let consumer = shard::Consumer {
            cloud: self.0.cloud.clone(),
            progress: self.0.progress.clone(),
            owner: owner.clone(),
            stream,
            plan,
            start,
            sink,
            stopped,
        };
        tokio::spawn(async move {
            let _turn = turn.lock().await;
            Arc::new(consumer).run().await;
        });
    }

    /// Ends a consumer; what it has in hand is done first.
    pub fn stop(&self, owner: &Owner) {
        if let Some(running) = self.0.running.lock().get_mut(owner) {
            running.handle = None;
        }
    }

    /// Ends all.
    pub fn stop_all(&self) {
        for running in self.0.running.lock().values_mut() {
            running.handle = None;
        }
    }

    /// Ends a consumer for good and forgets where it was.
    pub async fn forget(&self, owner: &Owner) -> Result<(), Fault> {
        self.0.running.lock().remove(owner);
        self.0.progress.forget(owner).await
    }
}
