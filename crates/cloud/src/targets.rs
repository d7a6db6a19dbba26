//! The only road from one service to another: a payload delivered to an ARN.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use store::Tx;
use wire::{Fault, Timestamp};

use crate::complaints::Complaints;
use crate::{Arn, Clock, Fact, Facts};

/// On whose behalf something is delivered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Source {
    /// The calling service's principal: `s3.amazonaws.com`.
    pub service: String,
    /// The resource that causes it: a bucket, a topic, a rule.
    pub arn: String,
    /// The account that owns that resource.
    pub account: String,
    /// The role to act as, where the service has one.
    #[serde(default)]
    pub role: Option<String>,
}

/// How often and for how long a delivery is tried.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub attempts: u32,
    /// Seconds after which it is given up.
    pub max_age: i64,
}

impl Default for RetryPolicy {
    /// A day, as EventBridge does.
    fn default() -> Self {
        RetryPolicy {
            attempts: 185,
            max_age: 86_400,
        }
    }
}

/// Something on its way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Delivery {
    /// Where to.
    pub target: String,
    /// What: the event's text, JSON for most targets.
    pub payload: String,
    /// From whom.
    pub source: Source,
    /// The trace that it is part of, as `X-Amzn-Trace-Id` has it; queues and functions hand it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What only some targets use: a message group, a partition key, message attributes.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// How hard to try.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Where it goes when that was not enough: a queue's or topic's ARN.
    #[serde(default)]
    pub dead_letter: Option<String>,
    /// What the message there says besides the error, instead of `parameters`: `RULE_ARN` and the like.
    #[serde(default)]
    pub dead_parameters: BTreeMap<String, String>,
    /// Its body, where that is not the payload: the event before it was made anew for the target.
    #[serde(default)]
    pub dead_payload: Option<String>,
    /// Whether it names the error by its class (`NO_PERMISSIONS`), as rules do, and not by the target's own code.
    #[serde(default)]
    pub names_error_class: bool,
    /// What the source wants to be reminded of when it hears how the delivery ended; without it, it does not hear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a target says of what it took.
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// Its id there: a queue's message's, an invocation's, a record's.
    pub id: Option<String>,
}

/// How a delivery ended.
pub struct Ending<'a> {
    /// What the target said.
    pub outcome: Result<&'a Receipt, &'a Fault>,
    /// How often it was tried.
    pub attempts: u32,
    /// When the last of these began.
    pub at: Timestamp,
}

/// Hears how deliveries ended that carry a note; after a crash perhaps twice.
pub trait Witness: Send + Sync + 'static {
    /// Told once the delivery was taken or given up.
    fn ended<'a>(&'a self, delivery: &'a Delivery, ending: Ending<'a>) -> BoxFuture<'a, ()>;
}

impl Fact for Delivery {
    const NAME: &'static str = "cloud.Delivery";
}

/// Why a target did not take a delivery.
#[derive(Debug)]
pub enum Refusal {
    /// Not now: throttled, or failing. It is tried again.
    Later(Fault),
    /// Never: no such resource, no permission, too large.
    Never(Fault),
}

impl Refusal {
    /// What the service failed at is tried again, what the sender did wrong is not.
    pub fn of(fault: Fault) -> Refusal {
        match fault.status {
            500.. => Refusal::Later(fault),
            _ => Refusal::Never(fault),
        }
    }
}

/// How others deliver to a service.
pub trait Target: Send + Sync + 'static {
    /// Takes a delivery; `Ok` means that it is durable here.
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>>;
    /// Whether the resource exists and lets the source in; asked when a configuration names it.
    fn check(&self, target: &Arn, source: &Source) -> Result<(), Fault>;
}

/// The services that take deliveries, by the service part of the ARN. Clones are the same.
#[derive(Clone)]
pub struct Targets(Arc<Inner>);

struct Inner {
    facts: Facts,
    clock: Clock,
    complaints: Complaints,
    targets: RwLock<HashMap<&'static str, Arc<dyn Target>>>,
    witnesses: RwLock<HashMap<&'static str, Arc<dyn Witness>>>,
}

impl Targets {
    pub(crate) fn new(facts: &Facts, clock: &Clock) -> Targets {
        let targets = Targets(Arc::new(Inner {
            facts: facts.clone(),
            clock: clock.clone(),
            complaints: Complaints::default(),
            targets: RwLock::default(),
            witnesses: RwLock::default(),
        }));
        let this = targets.clone();
        facts.subscribe::<Delivery>(move |delivery| {
            let this = this.clone();
            Box::pin(async move {
                this.carry(delivery).await;
                Ok(())
            })
        });
        targets
    }

    /// Takes deliveries for ARNs of that service.
    pub fn register(&self, service: &'static str, target: Arc<dyn Target>) {
        self.0.targets.write().insert(service, target);
    }

    /// Tells how deliveries of that source (`sns.amazonaws.com`) end.
    pub fn tell(&self, source: &'static str, witness: Arc<dyn Witness>) {
        self.0.witnesses.write().insert(source, witness);
    }

    /// Whether anything takes deliveries for that ARN.
    pub fn exists(&self, target: &Arn) -> bool {
        self.0.targets.read().contains_key(target.service.as_str())
    }

    /// Whether the resource exists and lets the source in. A service that does not exist here is an error too.
    pub fn check(&self, target: &Arn, source: &Source) -> Result<(), Fault> {
        match self.find(&target.service) {
            Some(t) => t.check(target, source),
            None => Err(no_such_target(&target.to_string())),
        }
    }

    /// Sends within a transaction: once it commits, the delivery is tried until it succeeds or its policy ends it.
    pub fn send(&self, tx: &mut Tx<'_>, delivery: &Delivery) -> Result<(), Fault> {
        self.0.facts.emit(tx, delivery)
    }

    /// Delivers now, once, and says how it went.
    pub async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, Refusal> {
        let arn: Arn = delivery.target.parse().map_err(|_| {
            Refusal::Never(Fault::sender(
                400,
                "InvalidArn",
                format!("{} is not an ARN", delivery.target),
            ))
        })?;
        match self.find(&arn.service) {
            Some(target) => target.deliver(delivery).await,
            None => Err(Refusal::Never(no_such_target(&delivery.target))),
        }
    }

    fn find(&self, service: &str) -> Option<Arc<dyn Target>> {
        self.0.targets.read().get(service).cloned()
    }

    /// Tells the source how a delivery ended, where it wants to hear of it.
    async fn told(&self, delivery: &Delivery, ending: Ending<'_>) {
        if delivery.note.is_none() {
            return;
        }
        let source = delivery.source.service.as_str();
        let witness = self.0.witnesses.read().get(source).cloned();
        if let Some(witness) = witness {
            witness.ended(delivery, ending).await;
        }
    }

    /// Delivers with the policy's retries and the dead-letter queue behind them.
    async fn carry(&self, delivery: Delivery) {
        let clock = &self.0.clock;
        let give_up = clock.now().plus_secs(delivery.retry.max_age);
        let mut pause: i64 = 1_000;
        let mut attempt = 0;
        let (fault, exhausted, at) = loop {
            let at = clock.now();
            match self.deliver(&delivery).await {
                Ok(receipt) => {
                    let ending = Ending {
                        outcome: Ok(&receipt),
                        attempts: attempt + 1,
                        at,
                    };
                    return self.told(&delivery, ending).await;
                }
                Err(Refusal::Never(fault)) => break (fault, None, at),
                Err(Refusal::Later(fault)) if attempt >= delivery.retry.attempts => {
                    break (fault, Some("MaximumRetryAttempts"), at);
                }
                Err(Refusal::Later(fault)) if clock.now() >= give_up => {
                    break (fault, Some("MaximumEventAgeInSeconds"), at);
                }
                Err(Refusal::Later(fault)) => {
                    tracing::debug!(target_arn = delivery.target, %fault, attempt, "a delivery is tried again");
                    clock.pass(pause).await;
                    pause = (pause * 2).min(60_000);
                    attempt += 1;
                }
            }
        };
        // A target that is gone may be sent to a thousand times in a second.
        if let Some(unsaid) = self.0.complaints.due(&delivery.target, clock.now()) {
            tracing::warn!(target_arn = delivery.target, source_arn = delivery.source.arn, %fault, unsaid, "a delivery was given up");
        }
        let ending = Ending {
            outcome: Err(&fault),
            attempts: attempt + 1,
            at,
        };
        self.told(&delivery, ending).await;
        if let Some(queue) = delivery.dead_letter.clone() {
            let mut parameters = match delivery.dead_parameters.is_empty() {
                true => delivery.parameters.clone(),
                false => {
                    let mut own = delivery.dead_parameters.clone();
                    own.insert("RETRY_ATTEMPTS".into(), attempt.to_string());
                    if let Some(condition) = exhausted {
                        own.insert("EXHAUSTED_RETRY_CONDITION".into(), condition.into());
                    }
                    own
                }
            };
            // Who says more than the message says why it is dead, too; a topic's dead letters are as they were.
            if !delivery.dead_parameters.is_empty() {
                let code = match delivery.names_error_class {
                    true => class_of(&fault).to_owned(),
                    false => fault.code.to_string(),
                };
                parameters.insert("ERROR_CODE".into(), code);
                parameters.insert("ERROR_MESSAGE".into(), fault.message.to_string());
            }
            let payload = delivery.dead_payload.clone();
            let dead = Delivery {
                target: queue,
                payload: payload.unwrap_or_else(|| delivery.payload.clone()),
                parameters,
                dead_letter: None,
                note: None,
                ..delivery
            };
            if let Err(Refusal::Later(fault) | Refusal::Never(fault)) = self.deliver(&dead).await {
                tracing::warn!(target_arn = dead.target, %fault, "the dead-letter queue refused too");
            }
        }
    }
}

/// The class of an error, as EventBridge's dead-letter messages name it.
fn class_of(fault: &Fault) -> &'static str {
    let code = fault.code.as_ref();
    let says = |word: &str| code.contains(word);
    match fault.status {
        _ if code == NO_TARGET => "NO_RESOURCE",
        _ if says("InvalidJson") => "INVALID_JSON",
        _ if says("Throttl") || says("TooManyRequests") => "THROTTLING",
        _ if says("Timeout") => "TIMEOUT",
        _ if says("Connection") => "CONNECTION_FAILURE",
        _ if says("AccountHop") => "THIRD_ACCOUNT_HOP_DETECTED",
        _ if says("RegionHop") => "THIRD_REGION_HOP_DETECTED",
        403 => "NO_PERMISSIONS",
        404 => "NO_RESOURCE",
        _ if says("AccessDenied") || says("Authorization") => "NO_PERMISSIONS",
        _ if ["NotFound", "NonExistent", "NoSuch", "NotExist"]
            .into_iter()
            .any(says) =>
        {
            "NO_RESOURCE"
        }
        500.. => "ERROR_FROM_TARGET",
        _ if says("Invalid") || says("Validation") => "INVALID_PARAMETER",
        _ => "SDK_CLIENT_ERROR",
    }
}

const NO_TARGET: &str = "InvalidArgument";

fn no_such_target(arn: &str) -> Fault {
    Fault::sender(
        400,
        NO_TARGET,
        format!("nothing here takes deliveries for {arn}"),
    )
}
