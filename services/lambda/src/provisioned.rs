//! Provisioned concurrency: environments of a version that are initialized before anybody calls.
//!
//! What is asked for is stored; what is there is live, and made again from it at the start. [`sync`] brings the one in line with the other
//! whenever a configuration, an alias or a version changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cloud::Context;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Range, Read, Record};
use tokio::sync::{Notify, Semaphore};
use wire::Fault;

use crate::api;
use crate::concurrency::UNRESERVED;
use crate::configuration::last_modified;
use crate::environment::Blueprint;
use crate::launch;
use crate::name::{LATEST, Name};
use crate::pool::{self, ACCOUNT_LIMIT, PoolKey, Pools};
use crate::state::{Resolved, State};
use crate::{blame, errors};

/// The job that makes environments at the start of the server.
const RESTORE: &str = "lambda.provisioned";
/// Why no environment could be made, where the function is to blame.
const INIT_FAILURE: &str = "FUNCTION_ERROR_INIT_FAILURE";

/// Environments that are asked to be ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Provisioned {
    pub requested: i32,
    pub modified: i64,
}

impl Record for Provisioned {}

/// The environments of one version.
pub struct Fleet {
    key: PoolKey,
    blueprint: Arc<Blueprint>,
    requested: AtomicUsize,
    /// Initialized environments, at work or not.
    ready: AtomicUsize,
    failure: Mutex<Option<String>>,
    is_gone: AtomicBool,
    change: Notify,
}

/// One environment of a fleet, for as long as it is there.
pub struct Member(Arc<Fleet>);

impl Member {
    /// Says that its environment waits for an invocation.
    pub fn waits(&self) {
        self.0.change.notify_one();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.ready.fetch_sub(1, Ordering::AcqRel);
        self.0.change.notify_one();
    }
}

type VersionKey = (String, String, String, String);

/// All fleets, by account, region, function and version.
#[derive(Default)]
pub struct Fleets(Mutex<HashMap<VersionKey, Arc<Fleet>>>);

fn version_key(name: &Name, version: &str) -> VersionKey {
    (
        name.account.clone(),
        name.region.clone(),
        name.function.clone(),
        version.to_owned(),
    )
}

impl Fleets {
    /// The pool of a version's provisioned environments.
    pub fn pool(&self, name: &Name, version: &str) -> Option<PoolKey> {
        let fleets = self.0.lock();
        // Most regions have none, and an invocation should not pay for that.
        if fleets.is_empty() || version == LATEST {
            return None;
        }
        Some(fleets.get(&version_key(name, version))?.key.clone())
    }

    /// Ends all fleets.
    pub fn clear(&self) {
        for (_, fleet) in self.0.lock().drain() {
            fleet.end();
        }
    }
}

impl Fleet {
    fn end(&self) {
        self.is_gone.store(true, Ordering::Release);
        self.change.notify_one();
    }

    /// Keeps as many environments as are asked for, until the fleet is gone.
    async fn tend(self: Arc<Self>, state: Arc<State>) {
        let most = std::thread::available_parallelism().map_or(2, usize::from);
        let slots = Arc::new(Semaphore::new(most));
        state.pools.open(&self.key);
        while !self.is_gone.load(Ordering::Acquire) {
            let (ready, requested) = (
                self.ready.load(Ordering::Acquire),
                self.requested.load(Ordering::Acquire),
            );
            // Those at work are counted when they come back.
            state.pools.shrink(&self.key, requested);
            if ready < requested && self.failure.lock().is_none() {
                let starts = (ready..requested).map(|_| {
                    let (fleet, state, slots) = (self.clone(), state.clone(), slots.clone());
                    tokio::spawn(async move {
                        let _slot = slots.acquire().await;
                        fleet.add(&state).await;
                    })
                });
                futures_util::future::join_all(starts.collect::<Vec<_>>()).await;
                continue;
            }
            self.change.notified().await;
        }
        state.pools.close(&self.key);
    }

    /// Starts one environment and parks it.
    async fn add(self: &Arc<Self>, state: &Arc<State>) {
        if self.is_gone.load(Ordering::Acquire) || self.failure.lock().is_some() {
            return;
        }
        let failure = match launch::start(state, self.blueprint.clone()).await {
            Ok(mut environment) => match environment.initialize(state, &cloud::ids::uuid()).await {
                Ok(()) => {
                    self.ready.fetch_add(1, Ordering::AcqRel);
                    environment.member = Some(Member(self.clone()));
                    environment.rest().await;
                    Pools::park(state, &self.key, environment, None);
                    return;
                }
                Err(_) => {
                    environment.end().await;
                    INIT_FAILURE.to_owned()
                }
            },
            Err(fault) if fault.is(launch::INVALID_ENTRYPOINT) => INIT_FAILURE.to_owned(),
            Err(fault) => fault.message.to_string(),
        };
        *self.failure.lock() = Some(failure);
    }
}

/// Lets the environments be made anew once the region runs.
pub fn start(state: &Arc<State>) {
    let handler = state.clone();
    state.cloud.scheduler.register(RESTORE, move |_| {
        let state = handler.clone();
        Box::pin(async move { restore(&state) })
    });
    let is_empty = state
        .cloud
        .store
        .read()
        .range(&state.provisioned, Range::all().limit(1))
        .next()
        .is_none();
    if is_empty {
        return;
    }
    let state = state.clone();
    // Not before the region runs: other services may not have been built yet.
    tokio::spawn(async move {
        let (scheduler, now) = (state.cloud.scheduler.clone(), state.cloud.clock.now());
        let scope = store::Scope::new(&["lambda.provisioned"]);
        let job = state
            .cloud
            .store
            .transact(scope, |tx| scheduler.at(tx, now, RESTORE, "", Value::Null));
        if let Err(e) = job.await {
            tracing::error!(fault = %e, cause = e.cause, "provisioned environments are not made anew");
        }
    });
}

/// Makes the environments of all configurations.
pub fn restore(state: &Arc<State>) -> Result<(), Fault> {
    let mut functions = std::collections::BTreeSet::new();
    for row in state
        .cloud
        .store
        .read()
        .range(&state.provisioned, Range::all())
    {
        let ((account, region, function, _), _) = row?;
        functions.insert((account, region, function));
    }
    for (account, region, function) in functions {
        let name = Name {
            account,
            region,
            function,
            qualifier: None,
        };
        sync(state, &name)?;
    }
    Ok(())
}

/// Brings the fleets of a function in line with what is stored.
pub fn sync(state: &Arc<State>, name: &Name) -> Result<(), Fault> {
    // Before it is read what is stored: of two that come here the later must see the later state.
    let mut fleets = state.fleets.0.lock();
    let mut wanted = HashMap::new();
    let read = state.cloud.store.read();
    for row in read.range(&state.provisioned, Range::prefix(&name.key())) {
        let ((.., qualifier), record) = row?;
        let version = version_of(state, &read, name, &qualifier)?;
        let qualified = Name {
            qualifier: Some(version.clone()),
            ..name.clone()
        };
        if let Ok(resolved) = state.resolve(&read, &qualified) {
            wanted.insert(version, (record.requested, resolved.configuration));
        }
    }
    fleets.retain(|key, fleet| {
        let stays = (key.0.as_str(), key.1.as_str(), key.2.as_str()) != name.key()
            || wanted.contains_key(&key.3);
        if !stays {
            fleet.end();
        }
        stays
    });
    for (version, (requested, configuration)) in wanted {
        let requested = usize::try_from(requested).unwrap_or(0);
        if let Some(fleet) = fleets.get(&version_key(name, &version)) {
            fleet.requested.store(requested, Ordering::Release);
            fleet.change.notify_one();
            continue;
        }
        let blueprint = Arc::new(Blueprint {
            name: Name {
                qualifier: None,
                ..name.clone()
            },
            version: version.clone(),
            configuration,
            is_provisioned: true,
        });
        let fleet = Arc::new(Fleet {
            key: pool::key(&blueprint),
            blueprint,
            requested: requested.into(),
            ready: 0.into(),
            failure: Mutex::new(None),
            is_gone: false.into(),
            change: Notify::new(),
        });
        fleets.insert(version_key(name, &version), fleet.clone());
        tokio::spawn(fleet.tend(state.clone()));
    }
    Ok(())
}

/// The version that a qualifier provisions: an alias's own, whatever part of the calls goes to another.
fn version_of(
    state: &State,
    read: &impl Read,
    name: &Name,
    qualifier: &str,
) -> Result<String, Fault> {
    let key = (&name.account, &name.region, &name.function, qualifier);
    let alias = Read::get(read, &state.aliases, &key)?;
    Ok(alias.map_or_else(|| qualifier.to_owned(), |alias| alias.version))
}

fn invalid(text: impl Into<String>) -> Fault {
    errors::invalid_parameter_value_exception(text.into())
}

/// The sum of a function's configurations, but for one qualifier's.
pub fn requested(
    read: &impl Read,
    state: &State,
    name: &Name,
    except: Option<&str>,
) -> Result<i32, Fault> {
    let mut sum = 0;
    for row in read.range(&state.provisioned, Range::prefix(&name.key())) {
        let ((.., qualifier), record) = row?;
        if except != Some(qualifier.as_str()) {
            sum += record.requested;
        }
    }
    Ok(sum)
}

/// Whether a function's reservation is all provisioned for other versions than the one that is called.
pub fn takes_all(
    read: &impl Read,
    state: &State,
    name: &Name,
    resolved: &Resolved,
) -> Result<bool, Fault> {
    let mut left = resolved.function.reserved.unwrap_or(i32::MAX);
    for row in read.range(&state.provisioned, Range::prefix(&name.key())) {
        let ((.., qualifier), record) = row?;
        if version_of(state, read, name, &qualifier)? != resolved.version {
            left = left.saturating_sub(record.requested);
        }
    }
    Ok(left <= 0)
}

/// What the other functions of an account have provisioned in a region beside their reservations.
fn provisioned_in(state: &State, name: &Name) -> Result<usize, Fault> {
    let read = state.cloud.store.read();
    let mut sum = 0;
    for row in read.range(
        &state.provisioned,
        Range::prefix(&(&name.account, &name.region)),
    ) {
        let ((account, region, function, _), record) = row?;
        let is_reserved = || -> Result<bool, Fault> {
            let found = read.get(&state.functions, &(account, region, function.clone()))?;
            Ok(found.is_some_and(|f| f.reserved.is_some()))
        };
        if function != name.function && !is_reserved()? {
            sum += usize::try_from(record.requested).unwrap_or(0);
        }
    }
    Ok(sum)
}

pub async fn put(
    state: &Arc<State>,
    ctx: &Context,
    input: api::PutProvisionedConcurrencyConfigInput,
) -> Result<api::PutProvisionedConcurrencyConfigOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, Some(&input.qualifier))?;
    let unpublished = || {
        invalid(
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
        )
    };
    if name.qualifier() == LATEST {
        return Err(unpublished());
    }
    let record = Provisioned {
        requested: input.provisioned_concurrent_executions,
        modified: ctx.time.0,
    };
    let taken = state.reservations.of(state, &name)? + provisioned_in(state, &name)?;
    state
        .change(&name, |tx| {
            let resolved = state.resolve(tx, &name).map_err(|_| name.absent())?;
            let version = version_of(state, tx, &name, name.qualifier())?;
            if version == LATEST {
                return Err(unpublished());
            }
            let all = requested(tx, state, &name, Some(name.qualifier()))?.saturating_add(record.requested);
            match resolved.function.reserved {
                Some(reserved) if all > reserved => {
                    let text = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function";
                    return Err(invalid(text));
                }
                Some(_) => {}
                None => {
                    let (all, left) = (usize::try_from(all).unwrap_or(0), ACCOUNT_LIMIT.saturating_sub(taken));
                    if all > left {
                        return Err(blame::untyped(invalid(format!(
                            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{left}]."
                        ))));
                    }
                    if left - all < UNRESERVED {
                        return Err(blame::untyped(invalid(format!(
                            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum \
                             value of [{UNRESERVED}]."
                        ))));
                    }
                }
            }
            // A version is provisioned once, by its number or by one alias.
            for row in tx.range(&state.provisioned, Range::prefix(&name.key())).collect::<Result<Vec<_>, _>>()? {
                let other = row.0.3;
                if other != name.qualifier() && version_of(state, tx, &name, &other)? == version {
                    return Err(errors::resource_conflict_exception(if other == version {
                        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
                    } else {
                        "Version is pointed by a Provisioned Concurrency alias"
                    }));
                }
            }
            Ok(tx.put(&state.provisioned, &name.qualified(), &record)?)
        })
        .await?;
    renew(state, &name)?;
    Ok(api::PutProvisionedConcurrencyConfigOutput {
        requested_provisioned_concurrent_executions: Some(record.requested),
        available_provisioned_concurrent_executions: Some(0),
        allocated_provisioned_concurrent_executions: Some(0),
        status: Some("IN_PROGRESS".into()),
        status_reason: None,
        last_modified: Some(last_modified(record.modified)),
    })
}

/// Tries again what failed before, and brings the rest in line.
fn renew(state: &Arc<State>, name: &Name) -> Result<(), Fault> {
    let version = version_of(state, &state.cloud.store.read(), name, name.qualifier())?;
    if let Some(fleet) = state.fleets.0.lock().get(&version_key(name, &version)) {
        *fleet.failure.lock() = None;
    }
    sync(state, name)
}

/// A configuration beside what is there of it.
fn shown(
    state: &State,
    read: &impl Read,
    name: &Name,
    qualifier: &str,
    record: &Provisioned,
) -> Result<api::GetProvisionedConcurrencyConfigOutput, Fault> {
    let version = version_of(state, read, name, qualifier)?;
    let fleet = state
        .fleets
        .0
        .lock()
        .get(&version_key(name, &version))
        .cloned();
    let requested = usize::try_from(record.requested).unwrap_or(0);
    let (mut allocated, mut available, mut failure) = (0, 0, None);
    if let Some(fleet) = fleet {
        allocated = fleet.ready.load(Ordering::Acquire).min(requested);
        available = state.pools.waiting(&fleet.key).min(allocated);
        failure = fleet.failure.lock().clone();
    }
    let status = match &failure {
        _ if allocated >= requested => "READY",
        Some(_) => "FAILED",
        None => "IN_PROGRESS",
    };
    let count = |n: usize| i32::try_from(n).ok();
    Ok(api::GetProvisionedConcurrencyConfigOutput {
        requested_provisioned_concurrent_executions: Some(record.requested),
        available_provisioned_concurrent_executions: count(available),
        allocated_provisioned_concurrent_executions: count(allocated),
        status: Some(status.into()),
        status_reason: failure.filter(|_| status == "FAILED"),
        last_modified: Some(last_modified(record.modified)),
    })
}

/// Whether a qualifier means what can be provisioned.
fn provisionable(state: &State, read: &impl Read, name: &Name) -> Result<(), Fault> {
    if name.qualifier() == LATEST {
        return Err(invalid(
            "The function resource provided must be an alias or a published version.",
        ));
    }
    let revision = crate::revision::of(read, state, name)?;
    revision.map(drop).ok_or_else(|| name.absent())
}

pub fn get(
    state: &State,
    ctx: &Context,
    input: &api::GetProvisionedConcurrencyConfigInput,
) -> Result<api::GetProvisionedConcurrencyConfigOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, Some(&input.qualifier))?;
    let read = state.cloud.store.read();
    provisionable(state, &read, &name)?;
    let none = || {
        let text = "No Provisioned Concurrency Config found for this function";
        Fault::sender(404, "ProvisionedConcurrencyConfigNotFoundException", text)
    };
    let record = read
        .get(&state.provisioned, &name.qualified())?
        .ok_or_else(none)?;
    shown(state, &read, &name, name.qualifier(), &record)
}

pub async fn delete(
    state: &Arc<State>,
    ctx: &Context,
    input: &api::DeleteProvisionedConcurrencyConfigInput,
) -> Result<(), Fault> {
    let name = Name::read(ctx, &input.function_name, Some(&input.qualifier))?;
    state
        .change(&name, |tx| {
            provisionable(state, tx, &name)?;
            tx.delete(&state.provisioned, &name.qualified());
            Ok(())
        })
        .await?;
    sync(state, &name)
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListProvisionedConcurrencyConfigsInput,
) -> Result<api::ListProvisionedConcurrencyConfigsOutput, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let read = state.cloud.store.read();
    state.function(&read, &name)?;
    let mut all = Vec::new();
    for row in read.range(&state.provisioned, Range::prefix(&name.key())) {
        let ((.., qualifier), record) = row?;
        let config = shown(state, &read, &name, &qualifier, &record)?;
        all.push(api::ProvisionedConcurrencyConfigListItem {
            function_arn: Some(name.arn_of(&qualifier)),
            requested_provisioned_concurrent_executions: config
                .requested_provisioned_concurrent_executions,
            available_provisioned_concurrent_executions: config
                .available_provisioned_concurrent_executions,
            allocated_provisioned_concurrent_executions: config
                .allocated_provisioned_concurrent_executions,
            status: config.status,
            status_reason: config.status_reason,
            last_modified: config.last_modified,
        });
    }
    Ok(api::ListProvisionedConcurrencyConfigsOutput {
        provisioned_concurrency_configs: Some(all),
        next_marker: None,
    })
}
