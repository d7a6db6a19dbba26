//! Durable jobs that run at a time of the region's clock.
//!
//! Jobs of one kind run one after the other, in the order of their times. Those of another kind do not wait for them, however long
//! they take: an import of a large table keeps no schedule from firing. Only where the clock is moved do all run in one order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Store, Table, Tx};
use tokio::sync::Notify;
use wire::{Fault, Timestamp};

use crate::Clock;

/// A job that is due.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What is to be done: the name under which its handler registered.
    pub kind: String,
    /// Which one; a later `at` of the same kind and key replaces it.
    pub key: String,
    /// When it was due.
    pub when: i64,
    /// What its handler needs.
    pub payload: serde_json::Value,
}
impl Record for Job {}

type JobHandler = Arc<dyn Fn(Job) -> BoxFuture<'static, Result<(), Fault>> + Send + Sync>;

/// The region's scheduler. Clones are the same.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    /// By time, kind and key.
    jobs: Table<(i64, String, String), Job>,
    /// By kind and key: the time.
    times: Table<(String, String), When>,
    offset: Table<String, When>,
    handlers: RwLock<HashMap<&'static str, JobHandler>>,
    changed: Notify,
    /// The kinds of which jobs run now.
    busy: Mutex<HashSet<String>>,
    /// Shared by the jobs that run because they are due; who moves the clock has it alone, so that none runs twice.
    running: Arc<tokio::sync::RwLock<()>>,
}

#[derive(Serialize, Deserialize)]
struct When(i64);
impl Record for When {}

/// A failed job is tried again after that many milliseconds.
const RETRY: i64 = 5_000;
/// How many planned jobs run together.
const LOOK: usize = 1000;
/// How many planned jobs are looked through for those of other kinds than the ones that are behind.
const FAR: usize = 10 * LOOK;

impl Scheduler {
    pub(crate) fn new(store: &Store, clock: &Clock) -> Result<Scheduler, store::Error> {
        let inner = Inner {
            store: store.clone(),
            clock: clock.clone(),
            jobs: store.table("cloud.jobs"),
            times: store.table("cloud.job_times"),
            offset: store.table("cloud.clock"),
            handlers: RwLock::default(),
            changed: Notify::new(),
            busy: Mutex::default(),
            running: Arc::default(),
        };
        if let Some(When(offset)) = store.read().get(&inner.offset, &"offset")? {
            clock.set_offset(offset);
        }
        Ok(Scheduler(Arc::new(inner)))
    }

    /// Handles jobs of that kind. A handler may see a job twice after a crash. Register before the region starts.
    pub fn register(
        &self,
        kind: &'static str,
        f: impl Fn(Job) -> BoxFuture<'static, Result<(), Fault>> + Send + Sync + 'static,
    ) {
        self.0.handlers.write().insert(kind, Arc::new(f));
    }

    /// Plans a job within a transaction; it replaces one of the same kind and key.
    pub fn at(
        &self,
        tx: &mut Tx<'_>,
        when: Timestamp,
        kind: &'static str,
        key: &str,
        payload: serde_json::Value,
    ) -> Result<(), Fault> {
        self.cancel(tx, kind, key)?;
        let job = Job {
            kind: kind.to_owned(),
            key: key.to_owned(),
            when: when.0,
            payload,
        };
        tx.put(&self.0.jobs, &(when.0, kind, key), &job)?;
        tx.put(&self.0.times, &(kind, key), &When(when.0))?;
        let inner = self.0.clone();
        tx.after_commit(Box::new(move || inner.changed.notify_one()));
        Ok(())
    }

    /// Forgets a job within a transaction.
    pub fn cancel(&self, tx: &mut Tx<'_>, kind: &str, key: &str) -> Result<(), Fault> {
        if let Some(When(old)) = tx.get(&self.0.times, &(kind, key))? {
            tx.delete(&self.0.jobs, &(old, kind, key));
            tx.delete(&self.0.times, &(kind, key));
        }
        Ok(())
    }

    pub(crate) fn start(&self) {
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                let changed = this.0.changed.notified();
                match this.run_due_kinds().await {
                    Ok(Some(next)) => tokio::select! {
                        () = this.0.clock.until(next) => {}
                        () = changed => {}
                    },
                    Ok(None) => changed.await,
                    Err(e) => {
                        tracing::error!(error = %e, "the planned jobs cannot be read");
                        changed.await;
                    }
                }
            }
        });
    }

    /// Starts what is due of each kind of which nothing runs; when the first job that is not due will be.
    async fn run_due_kinds(&self) -> Result<Option<Timestamp>, store::Error> {
        let inner = &self.0;
        let shared = inner.running.clone().read_owned().await;
        let now = inner.clock.now();
        let mut due: HashMap<String, Vec<Job>> = HashMap::new();
        let mut next = None;
        {
            let view = inner.store.read();
            let busy = inner.busy.lock();
            let mut rows = view.range(&inner.jobs, Range::all().limit(FAR));
            while let Some(key) = rows.next_key()? {
                let (when, kind, _) = &key;
                if *when > now.0 {
                    next = Some(Timestamp(*when));
                    break;
                }
                if busy.contains(kind) {
                    continue;
                }
                let of_kind = due.entry(kind.clone()).or_default();
                if of_kind.len() < LOOK
                    && let Some(job) = view.get(&inner.jobs, &key)?
                {
                    of_kind.push(job);
                }
            }
        }
        let shared = Arc::new(shared);
        for (kind, jobs) in due {
            inner.busy.lock().insert(kind.clone());
            let (this, shared) = (self.clone(), shared.clone());
            tokio::spawn(async move {
                this.run(jobs).await;
                drop(shared);
                this.0.busy.lock().remove(&kind);
                // More of the kind may have become due.
                this.0.changed.notify_one();
            });
        }
        Ok(next)
    }

    fn next_due(&self) -> Option<Timestamp> {
        let view = self.0.store.read();
        let first = view.range(&self.0.jobs, Range::all().limit(1)).next()?;
        match first {
            Ok(((when, _, _), _)) => Some(Timestamp(when)),
            Err(e) => {
                tracing::error!(error = %e, "the planned jobs cannot be read");
                None
            }
        }
    }

    fn due(&self, until: Timestamp) -> Vec<Job> {
        let view = self.0.store.read();
        let rows = view
            .range(&self.0.jobs, Range::all().limit(LOOK))
            .filter_map(Result::ok);
        rows.take_while(|((when, _, _), _)| *when <= until.0)
            .map(|(_, job)| job)
            .collect()
    }

    async fn run(&self, jobs: Vec<Job>) {
        for job in jobs {
            let handler = self.0.handlers.read().get(job.kind.as_str()).cloned();
            let outcome = match &handler {
                // In a task of its own: one that panics fails, and the others go on.
                Some(handler) => tokio::spawn(handler(job.clone()))
                    .await
                    .unwrap_or_else(|e| Err(Fault::internal(e.to_string()))),
                None => Err(Fault::internal(format!(
                    "nothing handles jobs of kind {}",
                    job.kind
                ))),
            };
            if let Err(fault) = &outcome {
                tracing::warn!(kind = job.kind, key = job.key, %fault, cause = fault.cause, "a job failed and is tried again");
            }
            let again = outcome
                .is_err()
                .then(|| self.0.clock.now().plus_millis(RETRY));
            if let Err(e) = self.settle(&job, again).await {
                tracing::error!(error = %e, cause = e.cause, "a job's outcome could not be recorded");
                self.0.clock.pass(RETRY).await;
            }
        }
    }

    /// Removes a job that ran, unless it was planned anew meanwhile, or moves one that failed.
    async fn settle(&self, job: &Job, again: Option<Timestamp>) -> Result<(), Fault> {
        let inner = &self.0;
        let (kind, key) = (job.kind.as_str(), job.key.as_str());
        let scope = ["cloud.jobs", kind, key];
        let settled = inner.store.transact(Scope::new(&scope), |tx| {
            tx.delete(&inner.jobs, &(job.when, kind, key));
            if let Some(When(planned)) = tx.get(&inner.times, &(kind, key))?
                && planned == job.when
            {
                match again {
                    Some(when) => {
                        tx.put(
                            &inner.jobs,
                            &(when.0, kind, key),
                            &Job {
                                when: when.0,
                                ..job.clone()
                            },
                        )?;
                        tx.put(&inner.times, &(kind, key), &When(when.0))?;
                    }
                    None => tx.delete(&inner.times, &(kind, key)),
                }
            }
            Ok::<_, Fault>(())
        });
        settled.await
    }

    /// Moves the region's clock to `when`, running what falls due on the way in its order, each at its own time.
    /// A clock that is already there stays. The offset survives a restart.
    pub async fn advance_to(&self, when: Timestamp) -> Result<(), Fault> {
        let _alone = self.0.running.write().await;
        while let Some(due) = self.next_due() {
            if due > when {
                break;
            }
            self.move_to(due);
            self.run(self.due(due)).await;
        }
        self.move_to(when);
        let offset = When(self.0.clock.offset());
        self.0
            .store
            .transact(Scope::new(&["cloud.clock"]), |tx| {
                tx.put(&self.0.offset, &"offset", &offset)
            })
            .await?;
        Ok(())
    }

    fn move_to(&self, when: Timestamp) {
        let ahead = when.0.saturating_sub(self.0.clock.now().0);
        if ahead > 0 {
            self.0
                .clock
                .set_offset(self.0.clock.offset().saturating_add(ahead));
        }
    }

    /// Lets the clock show the system's time again.
    pub async fn reset_clock(&self) -> Result<(), Fault> {
        self.0.clock.set_offset(0);
        self.0
            .store
            .transact(Scope::new(&["cloud.clock"]), |tx| {
                tx.put(&self.0.offset, &"offset", &When(0))
            })
            .await?;
        Ok(())
    }
}
