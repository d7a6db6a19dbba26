//! Environments that wait for their next invocation, and how many invocations run.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use wire::Fault;

use crate::api::TooManyRequestsException;
use crate::ending::Report;
use crate::environment::{Blueprint, Environment};
use crate::name::Name;
use crate::state::State;

/// Invocations that an account may run at once in a region.
pub const ACCOUNT_LIMIT: usize = 1000;
/// How long an environment waits warm before its processes are stopped: thawing costs more than a quick next invocation.
const FREEZE_AFTER: Duration = Duration::from_millis(200);

/// Which environments can stand in for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    pub name: (String, String, String),
    pub version: String,
    /// Changes with code and configuration.
    pub revision: String,
    /// Changes with a watched directory.
    pub fingerprint: u64,
    pub is_provisioned: bool,
}

type Call = oneshot::Sender<Environment>;

/// All pools of the region.
#[derive(Default)]
pub struct Pools {
    idle: Mutex<HashMap<PoolKey, Vec<oneshot::Sender<Call>>>>,
    running: Mutex<Running>,
    boto3: Mutex<HashSet<String>>,
    /// Environments that are parked.
    alive: AtomicUsize,
}

#[derive(Default)]
struct Running {
    accounts: HashMap<(String, String), usize>,
    functions: HashMap<(String, String, String), usize>,
}

/// One running invocation; ends when dropped.
pub struct Permit {
    state: Arc<State>,
    name: Name,
    is_reserved: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut running = self.state.pools.running.lock();
        let name = &self.name;
        let function = (
            name.account.clone(),
            name.region.clone(),
            name.function.clone(),
        );
        if let Some(n) = running.functions.get_mut(&function) {
            *n -= 1;
            if *n == 0 {
                running.functions.remove(&function);
            }
        }
        if !self.is_reserved
            && let Some(n) = running
                .accounts
                .get_mut(&(name.account.clone(), name.region.clone()))
        {
            *n = n.saturating_sub(1);
        }
    }
}

fn throttled(reason: &'static str) -> Fault {
    let detail = TooManyRequestsException {
        r#type: Some("User".into()),
        message: Some("Rate Exceeded.".into()),
        reason: Some(reason.into()),
        ..Default::default()
    };
    crate::errors::too_many_requests_exception("Rate Exceeded.").detail(detail)
}

/// Counts an invocation in, unless the function's or the account's concurrency is used up. `unreserved` is what the account's
/// reservations leave.
pub fn enter(
    state: &Arc<State>,
    name: &Name,
    reserved: Option<usize>,
    unreserved: usize,
) -> Result<Permit, Fault> {
    let mut running = state.pools.running.lock();
    let function = (
        name.account.clone(),
        name.region.clone(),
        name.function.clone(),
    );
    let now = running.functions.get(&function).copied().unwrap_or(0);
    match reserved {
        Some(limit) if now >= limit => {
            return Err(throttled(
                "ReservedFunctionConcurrentInvocationLimitExceeded",
            ));
        }
        Some(_) => {}
        None => {
            let all = running
                .accounts
                .entry((name.account.clone(), name.region.clone()))
                .or_default();
            if *all >= unreserved {
                return Err(throttled("ConcurrentInvocationLimitExceeded"));
            }
            *all += 1;
        }
    }
    *running.functions.entry(function).or_default() += 1;
    Ok(Permit {
        state: state.clone(),
        name: name.clone(),
        is_reserved: reserved.is_some(),
    })
}

/// Milliseconds that an unused environment is kept.
fn keep_alive() -> i64 {
    std::env::var("LAMBDA_KEEPALIVE_MS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(600_000)
}

impl Pools {
    /// A warm environment, the one used last first. `keeps` says that environments of this key are kept from now on.
    pub async fn take(&self, key: &PoolKey, keeps: bool) -> Option<Environment> {
        loop {
            let parked = {
                let mut idle = self.idle.lock();
                if keeps {
                    idle.entry(key.clone()).or_default().pop()?
                } else {
                    idle.get_mut(key)?.pop()?
                }
            };
            let (call, answer) = oneshot::channel();
            if parked.send(call).is_err() {
                continue;
            }
            match answer.await {
                Ok(environment) if environment.is_alive() => return Some(environment),
                _ => {}
            }
        }
    }

    /// Parks an environment after an invocation: finishes its log, then keeps it until it is called for, stopped after a moment and ended
    /// when nobody comes.
    pub fn park(
        state: &Arc<State>,
        key: &PoolKey,
        environment: Environment,
        report: Option<Report>,
    ) {
        let (parked, calls) = oneshot::channel::<Call>();
        let kept = environment.is_sound && {
            let mut idle = state.pools.idle.lock();
            idle.get_mut(key)
                .map(|waiting| waiting.push(parked))
                .is_some()
        };
        if let Some(member) = &environment.member {
            member.waits();
        }
        state.pools.alive.fetch_add(1, Ordering::AcqRel);
        let state = state.clone();
        tokio::spawn(async move {
            keep(&state, environment, report, kept.then_some(calls)).await;
            state.pools.alive.fetch_sub(1, Ordering::AcqRel);
        });
    }

    /// Keeps environments of this key from now on.
    pub fn open(&self, key: &PoolKey) {
        self.idle.lock().entry(key.clone()).or_default();
    }

    /// Ends the waiting environments of a key and keeps no others.
    pub fn close(&self, key: &PoolKey) {
        self.idle.lock().remove(key);
    }

    /// Ends waiting environments of a key that are more than so many.
    pub fn shrink(&self, key: &PoolKey, to: usize) {
        if let Some(waiting) = self.idle.lock().get_mut(key) {
            waiting.retain(|parked| !parked.is_closed());
            waiting.truncate(to);
        }
    }

    /// How many environments of a key wait.
    pub fn waiting(&self, key: &PoolKey) -> usize {
        let idle = self.idle.lock();
        let open = |waiting: &Vec<oneshot::Sender<Call>>| {
            waiting.iter().filter(|parked| !parked.is_closed()).count()
        };
        idle.get(key).map_or(0, open)
    }

    /// Ends the waiting environments of a function, or of one version of it; running ones end with their invocation.
    pub fn retire(&self, name: &Name, version: Option<&str>) {
        self.idle.lock().retain(|key, _| {
            let (account, region, function) = &key.name;
            !(name.key() == (account, region, function) && version.is_none_or(|v| v == key.version))
        });
    }

    /// Ends all waiting environments.
    pub fn clear(&self) {
        self.idle.lock().clear();
    }

    /// Waits until no environment is left.
    #[allow(clippy::disallowed_methods, reason = "waits for processes of the host")]
    pub async fn gone(&self) {
        while self.alive.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Remembers that code uses boto3.
    pub fn uses_boto3(&self, task: &Path) {
        self.boto3.lock().insert(task.display().to_string());
    }

    /// Whether the code in a directory was seen to use boto3, or mentions it.
    #[allow(clippy::disallowed_methods, reason = "looks into unpacked code")]
    pub fn wants_boto3(&self, task: &Path) -> bool {
        let key = task.display().to_string();
        if self.boto3.lock().contains(&key) {
            return true;
        }
        let none = format!("!{key}");
        if self.boto3.lock().contains(&none) {
            return false;
        }
        let mentions = std::fs::read_dir(task)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| {
                let path = entry.path();
                path.extension().is_some_and(|e| e == "py")
                    && std::fs::read(&path)
                        .is_ok_and(|text| text.windows(5).any(|word| word == b"boto3"))
            });
        self.boto3.lock().insert(if mentions { key } else { none });
        mentions
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a moment of the host, too short for anybody to notice"
)]
async fn keep(
    state: &State,
    mut environment: Environment,
    report: Option<Report>,
    calls: Option<oneshot::Receiver<Call>>,
) {
    if let Some(report) = report {
        environment.finish(report).await;
    }
    let Some(mut calls) = calls else {
        environment.end().await;
        return;
    };
    let mut called = tokio::select! {
        biased;
        call = &mut calls => Some(call),
        () = tokio::time::sleep(FREEZE_AFTER) => None,
    };
    if called.is_none() {
        environment.freeze().await;
        called = tokio::select! {
            biased;
            call = &mut calls => Some(call),
            () = state.cloud.clock.pass(keep_alive()), if environment.member.is_none() => None,
        };
    }
    if called.is_none() {
        calls.close();
        // Somebody may have called in this very moment.
        called = calls.try_recv().ok().map(Ok);
    }
    match called {
        Some(Ok(call)) => {
            if let Err(environment) = call.send(environment) {
                environment.end().await;
            }
        }
        Some(Err(_)) | None => environment.end().await,
    }
}

/// The key of a blueprint's pool.
pub fn key(blueprint: &Blueprint) -> PoolKey {
    let name = &blueprint.name;
    PoolKey {
        name: (
            name.account.clone(),
            name.region.clone(),
            name.function.clone(),
        ),
        version: blueprint.version.clone(),
        revision: blueprint.configuration.revision.clone(),
        fingerprint: crate::code::fingerprint(&blueprint.configuration.code),
        is_provisioned: blueprint.is_provisioned,
    }
}
