//! What all nouns of the service share: the tables, and what lives only while the server runs.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloud::Cloud;
use cloud::consumer::Consumers;
use parking_lot::Mutex;
use store::{Read, Scope, Table, Tx};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use wire::Fault;

use crate::alias::Alias;
use crate::code_signing::CodeSigning;
use crate::destination::EventInvoke;
use crate::errors;
use crate::event_source::Mapping;
use crate::feed::Feeds;
use crate::function::{Function, Published};
use crate::interpreter::Interpreters;
use crate::layer::{LastVersion, LayerVersion};
use crate::name::{LATEST, Name};
use crate::policy::Policy;
use crate::poller::Pollers;
use crate::pool::Pools;
use crate::provisioned::{Fleets, Provisioned};
use crate::queue::Event;
use crate::url::{Owner, Url};

type FunctionKey = (String, String, String);
pub(crate) type QualifiedKey = (String, String, String, String);

/// The service's state. Keys begin with account, region and function.
pub struct State {
    pub cloud: Cloud,
    pub functions: Table<FunctionKey, Function>,
    pub versions: Table<(String, String, String, u64), Published>,
    /// By qualifier; `$LATEST` is the function itself.
    pub policies: Table<QualifiedKey, Policy>,
    pub aliases: Table<QualifiedKey, Alias>,
    pub event_invokes: Table<QualifiedKey, EventInvoke>,
    pub provisioned: Table<QualifiedKey, Provisioned>,
    pub urls: Table<QualifiedKey, Url>,
    /// By the URL's id.
    pub url_owners: Table<String, Owner>,
    pub layers: Table<(String, String, String, i64), LayerVersion>,
    pub layer_versions: Table<FunctionKey, LastVersion>,
    pub code_signing: Table<FunctionKey, CodeSigning>,
    /// Asynchronous invocations that have not ended, by id.
    pub events: Table<String, Event>,
    /// Event source mappings, by UUID.
    pub mappings: Table<FunctionKey, Mapping>,
    pub pollers: Pollers,
    /// The readers of streams.
    pub consumers: Consumers,
    pub feeds: Feeds,
    pub pools: Pools,
    /// Environments that are made before they are called for.
    pub fleets: Fleets,
    pub interpreters: Interpreters,
    /// Asynchronous invocations under way, by id.
    pub attempts: Mutex<HashSet<String>>,
    /// How many asynchronous invocations of a function run at once.
    pub turns: Turns,
    pub reservations: Reservations,
    /// Log streams of which something may still have to be written.
    pub log_writers: AtomicUsize,
    host: OnceCell<runtime::Host>,
}

/// The sums of reserved concurrency by account and region, so that an invocation needs not count.
#[derive(Default)]
pub struct Reservations(Mutex<HashMap<(String, String), usize>>);

impl Reservations {
    /// The sum in the account and region of a function.
    pub fn of(&self, state: &State, name: &Name) -> Result<usize, Fault> {
        let key = (name.account.clone(), name.region.clone());
        if let Some(sum) = self.0.lock().get(&key) {
            return Ok(*sum);
        }
        let sum = crate::invocation::reserved_in(&state.cloud.store.read(), state, name, None)?;
        self.0.lock().insert(key, sum);
        Ok(sum)
    }
    /// To be counted anew.
    pub fn forget(&self) {
        self.0.lock().clear();
    }
}

/// Asynchronous invocations of one function that run at once: a thousand events must not become a thousand processes of one machine.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<FunctionKey, Arc<Semaphore>>>);

impl Turns {
    /// Waits for the function's turn.
    pub async fn turn(&self, name: &Name) -> Option<OwnedSemaphorePermit> {
        let key = (
            name.account.clone(),
            name.region.clone(),
            name.function.clone(),
        );
        let most = std::thread::available_parallelism().map_or(2, usize::from) * 4;
        let turns = self
            .0
            .lock()
            .entry(key)
            .or_insert_with(|| Arc::new(Semaphore::new(most)))
            .clone();
        turns.acquire_owned().await.ok()
    }
}

impl State {
    pub fn new(cloud: &Cloud) -> Arc<State> {
        let store = &cloud.store;
        Arc::new(State {
            cloud: cloud.clone(),
            functions: store.table("lambda.functions"),
            versions: store.table("lambda.versions"),
            policies: store.table("lambda.policies"),
            aliases: store.table("lambda.aliases"),
            event_invokes: store.table("lambda.event_invokes"),
            provisioned: store.table("lambda.provisioned"),
            urls: store.table("lambda.urls"),
            url_owners: store.table("lambda.url_owners"),
            layers: store.table("lambda.layers"),
            layer_versions: store.table("lambda.layer_versions"),
            code_signing: store.table("lambda.code_signing"),
            events: store.table("lambda.events"),
            mappings: store.table("lambda.event_source_mappings"),
            pollers: Pollers::default(),
            consumers: Consumers::new(cloud, "lambda.positions"),
            feeds: Feeds::default(),
            pools: Pools::default(),
            fleets: Fleets::default(),
            interpreters: Interpreters::default(),
            attempts: Mutex::default(),
            turns: Turns::default(),
            reservations: Reservations::default(),
            log_writers: AtomicUsize::new(0),
            host: OnceCell::new(),
        })
    }

    /// The place sandboxes run on, opened with the first function that runs.
    pub async fn host(&self) -> Result<&runtime::Host, Fault> {
        let open = || async {
            let backend = self.cloud.config.sandbox.parse()?;
            runtime::Host::open(runtime::Options {
                backend,
                init_program: None,
            })
            .await
        };
        Ok(self.host.get_or_try_init(open).await?)
    }

    /// The service's own directory, which can be lost without loss.
    pub fn scratch(&self) -> PathBuf {
        self.cloud.config.scratch.join("lambda")
    }

    /// Runs a transaction over one function.
    pub async fn change<R>(
        &self,
        name: &Name,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["lambda", &name.account, &name.region, &name.function];
        self.cloud.store.transact(Scope::new(&scope), f).await
    }

    /// The function, or that there is none.
    pub fn function(&self, read: &impl Read, name: &Name) -> Result<Function, Fault> {
        Read::get(read, &self.functions, &name.key())?.ok_or_else(|| name.not_found())
    }

    /// What is said of a function's events.
    pub fn event_invoke(&self, read: &impl Read, name: &Name) -> Result<EventInvoke, Fault> {
        Ok(Read::get(read, &self.event_invokes, &name.qualified())?.unwrap_or_default())
    }

    /// Drops what stood for stored state that was replaced.
    pub fn forget(self: &Arc<Self>) {
        self.fleets.clear();
        self.pools.clear();
        self.reservations.forget();
        if let Err(fault) = crate::event_source::start_all(self) {
            tracing::error!(%fault, cause = fault.cause, "event source mappings are not polled");
        }
        if let Err(fault) = crate::provisioned::restore(self) {
            tracing::error!(%fault, cause = fault.cause, "provisioned environments are not made anew");
        }
    }

    /// Ends all environments.
    #[allow(clippy::disallowed_methods, reason = "waits for processes of the host")]
    pub async fn stop(&self) {
        self.pollers.stop_all();
        self.consumers.stop_all();
        self.fleets.clear();
        self.pools.clear();
        // What cannot be ended must not keep the server from ending; the next start sweeps it away.
        let ended = async {
            self.pools.gone().await;
            while self.log_writers.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), ended).await;
        self.interpreters.clear();
    }

    /// The version that a call of a qualifier goes to, by its number or `$LATEST`, and its configuration.
    pub fn resolve(&self, read: &impl Read, name: &Name) -> Result<Resolved, Fault> {
        let found = self.resolve_by(read, name, Alias::choose);
        found.map_err(|fault| match name.qualifier {
            // Only the function itself can be missing then; calls name its version.
            None if fault.status == 404 => {
                let text = format!("Function not found: {}", name.arn_of(LATEST));
                errors::resource_not_found_exception(text)
            }
            _ => fault,
        })
    }

    /// The version that a qualifier stands for: an alias's own, whatever part of the calls goes to another.
    pub fn described(&self, read: &impl Read, name: &Name) -> Result<Resolved, Fault> {
        self.resolve_by(read, name, |alias| &alias.version)
    }

    fn resolve_by(
        &self,
        read: &impl Read,
        name: &Name,
        version: impl Fn(&Alias) -> &str,
    ) -> Result<Resolved, Fault> {
        let function = self.function(read, name)?;
        let qualifier = name.qualifier();
        if qualifier == LATEST {
            return Ok(Resolved {
                version: LATEST.into(),
                configuration: function.latest.clone(),
                function,
            });
        }
        let alias = Read::get(read, &self.aliases, &name.qualified())?;
        let version = alias.as_ref().map_or(qualifier, version);
        if version == LATEST {
            return Ok(Resolved {
                version: LATEST.into(),
                configuration: function.latest.clone(),
                function,
            });
        }
        let Ok(number) = version.parse::<u64>() else {
            return Err(name.not_found());
        };
        let key = (&name.account, &name.region, &name.function, number);
        let published = Read::get(read, &self.versions, &key)?.ok_or_else(|| name.not_found())?;
        Ok(Resolved {
            version: number.to_string(),
            configuration: published.configuration,
            function,
        })
    }
}

/// A version that was found by a qualifier.
#[derive(Clone)]
pub struct Resolved {
    pub function: Function,
    pub version: String,
    pub configuration: crate::configuration::Configuration,
}
