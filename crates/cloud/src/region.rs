//! The foundation that services stand on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use store::{Filter, Options, Store};
use wire::Fault;

use crate::{Clock, Facts, HttpClient, Ports, Scheduler, Targets};

/// What the server was told at its start, as far as services care.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account of made-up credentials.
    pub account: String,
    /// The region where a request names none.
    pub region: String,
    /// The port that clients and sandboxes reach.
    pub port: u16,
    /// Where files live that are not rows: sandboxes' roots, unpacked code.
    pub scratch: PathBuf,
    /// `auto`, `linux` or `process`.
    pub sandbox: String,
    /// The object ownership of new buckets that ask for none, as S3 names it; empty for none, as before April 2023.
    pub object_ownership: String,
    /// How the URLs of queues look, by LocalStack's names: `dynamic`, `path`, `standard`, `domain`.
    pub sqs_endpoint: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            port: 4566,
            scratch: std::env::temp_dir().join("cumulo"),
            sandbox: "auto".into(),
            object_ownership: "BucketOwnerEnforced".into(),
            sqs_endpoint: "dynamic".into(),
        }
    }
}

/// Everything a service is given. Clones are the same region.
#[derive(Clone)]
pub struct Cloud {
    /// State.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Jobs.
    pub scheduler: Scheduler,
    /// What happened.
    pub facts: Facts,
    /// The road to other services.
    pub targets: Targets,
    /// Questions to other services.
    pub ports: Ports,
    /// Calls out of the region.
    pub http: HttpClient,
    /// Settings.
    pub config: Arc<Config>,
    hooks: Arc<Hooks>,
}

type OnReset = Box<dyn Fn() + Send + Sync>;
type OnStop = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// What services want to be told of.
#[derive(Default)]
struct Hooks {
    reset: Mutex<Vec<OnReset>>,
    stop: Mutex<Vec<OnStop>>,
}

impl Cloud {
    /// Opens a region over its state. Nothing runs until [`Cloud::start`].
    pub fn open(options: Options, config: Config) -> Result<Cloud, store::Error> {
        let store = Store::open(options)?;
        let clock = Clock::default();
        let facts = Facts::new(&store, &clock)?;
        let scheduler = Scheduler::new(&store, &clock)?;
        let targets = Targets::new(&facts, &clock);
        Ok(Cloud {
            store,
            clock,
            scheduler,
            facts,
            targets,
            ports: Ports::default(),
            http: HttpClient::default(),
            config: Arc::new(config),
            hooks: Arc::default(),
        })
    }
    /// A region in memory, for tests.
    pub fn ephemeral() -> Cloud {
        match Cloud::open(Options::default(), Config::default()) {
            Ok(cloud) => cloud,
            Err(e) => unreachable!("an empty store in memory opens: {e}"),
        }
    }
    /// Begins to run jobs and tell facts; call once all services are built, within a runtime.
    pub fn start(&self) {
        self.facts.start();
        self.scheduler.start();
    }

    /// Calls `f` whenever stored state was replaced from outside: caches and other live state are to be dropped.
    pub fn after_reset(&self, f: impl Fn() + Send + Sync + 'static) {
        self.hooks.reset.lock().push(Box::new(f));
    }
    /// Runs `f` when the server stops: sandboxes are to be ended.
    pub fn before_stop(&self, f: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static) {
        self.hooks.stop.lock().push(Box::new(f));
    }
    /// Ends what services run.
    pub async fn stop(&self) {
        let hooks = std::mem::take(&mut *self.hooks.stop.lock());
        for hook in hooks {
            hook().await;
        }
    }
    /// Deletes state: all, or one service's or account's.
    pub async fn reset(
        &self,
        service: Option<String>,
        account: Option<String>,
    ) -> Result<(), Fault> {
        self.replace(move |store| store.reset(&Filter { service, account }))
            .await
    }
    /// Writes all state to a file.
    pub async fn snapshot_save(&self, file: &Path) -> Result<(), Fault> {
        let (store, file) = (self.store.clone(), file.to_owned());
        Ok(
            tokio::task::spawn_blocking(move || store.snapshot_save(&file, &Filter::default()))
                .await??,
        )
    }
    /// Replaces all state by that of a file.
    pub async fn snapshot_load(&self, file: &Path) -> Result<(), Fault> {
        let file = file.to_owned();
        self.replace(move |store| store.snapshot_load(&file, &Filter::default()))
            .await
    }
    async fn replace(
        &self,
        f: impl FnOnce(&Store) -> Result<(), store::Error> + Send + 'static,
    ) -> Result<(), Fault> {
        let store = self.store.clone();
        let outcome = tokio::task::spawn_blocking(move || f(&store)).await?;
        self.hooks.reset.lock().iter().for_each(|hook| hook());
        Ok(outcome?)
    }
}
