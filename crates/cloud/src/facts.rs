//! The outbox: facts are written in the transaction that makes them true, and told to subscribers after it,
//! at least once, also across a crash.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Store, Table, Tx};
use tokio::sync::mpsc;
use wire::Fault;

use crate::Clock;

/// Something that happened. Small; its name stays stable, for it is stored.
pub trait Fact: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The fact's name.
    const NAME: &'static str;
}

#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    name: String,
    body: serde_json::Value,
}
impl Record for Stored {}

type Subscriber =
    Arc<dyn Fn(serde_json::Value) -> BoxFuture<'static, Result<(), Fault>> + Send + Sync>;

/// The region's facts. Clones are the same.
#[derive(Clone)]
pub struct Facts(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    table: Table<u64, Stored>,
    next: AtomicU64,
    subscribers: RwLock<HashMap<&'static str, Vec<Subscriber>>>,
    sender: mpsc::UnboundedSender<(u64, Stored)>,
    receiver: parking_lot::Mutex<Option<mpsc::UnboundedReceiver<(u64, Stored)>>>,
}

/// How long a failing subscriber is left alone, in milliseconds, doubling from the first to the last.
const RETRY_FIRST: i64 = 100;
const RETRY_LAST: i64 = 60_000;

impl Facts {
    pub(crate) fn new(store: &Store, clock: &Clock) -> Result<Facts, store::Error> {
        let table = store.table("cloud.facts");
        let last = store
            .read()
            .range(&table, Range::all().reverse().limit(1))
            .next()
            .transpose()?;
        let (sender, receiver) = mpsc::unbounded_channel();
        Ok(Facts(Arc::new(Inner {
            store: store.clone(),
            clock: clock.clone(),
            table,
            next: AtomicU64::new(last.map_or(1, |(n, _)| n + 1)),
            subscribers: RwLock::default(),
            sender,
            receiver: parking_lot::Mutex::new(Some(receiver)),
        })))
    }

    /// Calls `f` with every fact of that kind. An error is tried again until it succeeds, so `f` answers `Ok`
    /// for what will never succeed. Subscribe before the region starts.
    pub fn subscribe<F: Fact>(
        &self,
        f: impl Fn(F) -> BoxFuture<'static, Result<(), Fault>> + Send + Sync + 'static,
    ) {
        let subscriber: Subscriber = Arc::new(move |body| match serde_json::from_value(body) {
            Ok(fact) => f(fact),
            Err(e) => {
                tracing::error!(fact = F::NAME, error = %e, "a stored fact cannot be read and is dropped");
                Box::pin(async { Ok(()) })
            }
        });
        self.0
            .subscribers
            .write()
            .entry(F::NAME)
            .or_default()
            .push(subscriber);
    }

    /// Records a fact within a transaction.
    pub fn emit<F: Fact>(&self, tx: &mut Tx<'_>, fact: &F) -> Result<(), Fault> {
        let stored = Stored {
            name: F::NAME.to_owned(),
            body: serde_json::to_value(fact)?,
        };
        let seq = self.0.next.fetch_add(1, Ordering::Relaxed);
        tx.put(&self.0.table, &seq, &stored)?;
        let sender = self.0.sender.clone();
        tx.after_commit(Box::new(move || {
            // The receiver lives as long as the process; what is not told is told after a restart.
            let _ = sender.send((seq, stored));
        }));
        Ok(())
    }

    /// Begins to tell facts: first what a crash left untold, then new ones as they come.
    pub(crate) fn start(&self) {
        let Some(mut receiver) = self.0.receiver.lock().take() else {
            return;
        };
        let left: Vec<_> = self
            .0
            .store
            .read()
            .range(&self.0.table, Range::all())
            .filter_map(Result::ok)
            .collect();
        let inner = self.0.clone();
        tokio::spawn(async move {
            let told: std::collections::HashSet<u64> = left.iter().map(|(n, _)| *n).collect();
            for (seq, stored) in left {
                tokio::spawn(inner.clone().tell(seq, stored));
            }
            while let Some((seq, stored)) = receiver.recv().await {
                if !told.contains(&seq) {
                    tokio::spawn(inner.clone().tell(seq, stored));
                }
            }
        });
    }
}

impl Inner {
    async fn tell(self: Arc<Self>, seq: u64, stored: Stored) {
        let mut waiting: Vec<Subscriber> = self
            .subscribers
            .read()
            .get(stored.name.as_str())
            .cloned()
            .unwrap_or_default();
        let mut pause = RETRY_FIRST;
        while !waiting.is_empty() {
            let mut failed = Vec::new();
            for subscriber in waiting {
                if let Err(fault) = subscriber(stored.body.clone()).await {
                    tracing::warn!(fact = %stored.name, %fault, cause = fault.cause, "a subscriber failed and is tried again");
                    failed.push(subscriber);
                }
            }
            waiting = failed;
            if !waiting.is_empty() {
                self.clock.pass(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
            }
        }
        let key = seq.to_string();
        let scope = ["cloud.facts", &key];
        let done = self.store.transact(Scope::new(&scope), |tx| {
            tx.delete(&self.table, &seq);
            Ok::<_, store::Error>(())
        });
        if let Err(e) = done.await {
            tracing::error!(error = %e, "a told fact could not be removed and will be told again after a restart");
        }
    }
}
