//! The archive of FIFO topics: messages kept for days, and replayed to a subscription in their order.
//!
//! A replay appends archived messages to the subscription's line, some at a time, each step in a transaction of its
//! own that a crash resumes. Messages that come meanwhile wait in the archive: the replay ends with them.

use std::collections::BTreeMap;

use cloud::Fact;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Range, Read, Record, Tx};
use wire::{Fault, Timestamp};

use crate::api::MessageAttributeValue;
use crate::errors::*;
use crate::message::Message;
use crate::publish::Listener;
use crate::service::Sns;
use crate::subscription::Subscription;
use crate::topic::{Place, Topic};

/// A message as it is archived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Archived {
    id: String,
    texts: BTreeMap<String, String>,
    default: String,
    subject: Option<String>,
    attributes: BTreeMap<String, Typed>,
    group: Option<String>,
    dedup: Option<String>,
    sequence: Option<String>,
    time: i64,
}
impl Record for Archived {}

/// How far a subscription's replay has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Replay {
    /// Tells it from later ones of the subscription.
    run: String,
    /// The time and number after which it goes on.
    after: (i64, u64),
    until: Option<i64>,
    started: i64,
    pub(crate) status: String,
}

impl Replay {
    pub(crate) fn is_running(&self) -> bool {
        self.status != COMPLETED
    }
}

/// An attribute's type, with its text or bytes.
type Typed = (String, Option<String>, Option<Vec<u8>>);

const PENDING: &str = "Pending";
const RUNNING: &str = "In progress";
const COMPLETED: &str = "Completed";

/// A replay has something to do.
#[derive(Serialize, Deserialize)]
struct Replaying {
    account: String,
    region: String,
    name: String,
    topic: u64,
    subscription: String,
    run: String,
}
impl Fact for Replaying {
    const NAME: &'static str = "sns.Replaying";
}

const DAY: i64 = 86_400_000;
/// How many messages a step replays, and how many outdated ones each message removes at most.
const STEP: usize = 100;
const SWEEP: usize = 3;

/// The days that a topic's policy keeps messages; none without one.
fn days(text: Option<&String>) -> Option<i64> {
    let policy: Value = serde_json::from_str(text?).ok()?;
    let days = &policy["MessageRetentionPeriod"];
    days.as_i64().or_else(|| days.as_str()?.parse().ok())
}

/// Whether a topic keeps its messages.
pub(crate) fn is_kept(topic: &Topic) -> bool {
    days(topic.attributes.get("ArchivePolicy")).is_some()
}

/// Checks an archive policy; an empty one ends the archive.
pub(crate) fn check(text: &str) -> Result<(), Fault> {
    let invalid = |why: &str| {
        Err(invalid_parameter_exception(format!(
            "Invalid parameter: ArchivePolicy: {why}"
        )))
    };
    match serde_json::from_str::<Value>(text) {
        _ if text.is_empty() => Ok(()),
        Ok(Value::Object(members)) if members.is_empty() => Ok(()),
        Ok(Value::Object(members)) => {
            if let Some(other) = members.keys().find(|k| *k != "MessageRetentionPeriod") {
                return invalid(&format!("Unexpected JSON member: {other}"));
            }
            match days(Some(&text.to_owned())) {
                Some(1..=365) => Ok(()),
                _ => invalid("MessageRetentionPeriod must be a number between 1 and 365"),
            }
        }
        _ => invalid("failed to parse JSON."),
    }
}

/// Reads a replay policy: from when and until when; none ends a replay.
pub(crate) fn replay(text: &str) -> Result<Option<(i64, Option<i64>)>, Fault> {
    let invalid =
        |why: &str| invalid_parameter_exception(format!("Invalid parameter: ReplayPolicy: {why}"));
    let policy: Value = match text.is_empty() {
        true => return Ok(None),
        false => serde_json::from_str(text).map_err(|_| invalid("failed to parse JSON."))?,
    };
    let members = policy
        .as_object()
        .ok_or_else(|| invalid("failed to parse JSON."))?;
    if members.is_empty() {
        return Ok(None);
    }
    let names = ["PointType", "StartingPoint", "EndingPoint"];
    if let Some(other) = members.keys().find(|k| !names.contains(&k.as_str())) {
        return Err(invalid(&format!("Unexpected JSON member: {other}")));
    }
    if policy["PointType"] != "Timestamp" {
        return Err(invalid("PointType must be Timestamp"));
    }
    let time = |name: &str| match policy[name].as_str() {
        Some(text) if !text.is_empty() => match Timestamp::parse(text) {
            Some(time) => Ok(Some(time.0)),
            None => Err(invalid(&format!("{name} must be a timestamp in UTC"))),
        },
        _ => Ok(None),
    };
    let from = time("StartingPoint")?.ok_or_else(|| invalid("StartingPoint is required"))?;
    let until = time("EndingPoint")?;
    match until {
        Some(until) if until <= from => {
            Err(invalid("EndingPoint must be later than StartingPoint"))
        }
        until => Ok(Some((from, until))),
    }
}

impl Archived {
    fn of(message: &Message) -> Archived {
        let attributes = message.attributes.iter().map(|(name, value)| {
            let bytes = value.binary_value.as_ref().map(|bytes| bytes.to_vec());
            let value = (value.data_type.clone(), value.string_value.clone(), bytes);
            (name.clone(), value)
        });
        let (texts, default) = message.all_texts();
        Archived {
            id: message.id.clone(),
            texts: texts.clone(),
            default: default.to_owned(),
            subject: message.subject.clone(),
            attributes: attributes.collect(),
            group: message.group.clone(),
            dedup: message.dedup.clone(),
            sequence: message.sequence.clone(),
            time: message.time.0,
        }
    }

    fn message(self) -> Message {
        let attributes = self.attributes.into_iter().map(|(name, value)| {
            let (data_type, string_value, bytes) = value;
            let value = MessageAttributeValue {
                data_type,
                string_value,
                binary_value: bytes.map(Into::into),
            };
            (name, value)
        });
        let mut message =
            Message::of_texts(self.id, self.texts, self.default, Timestamp(self.time));
        message.subject = self.subject;
        message.attributes = attributes.collect();
        message.group = self.group;
        message.dedup = self.dedup;
        message.sequence = self.sequence;
        message.is_replayed = true;
        message
    }
}

impl Sns {
    /// Begins to replay what is asked for.
    pub(crate) fn register_replays(&self) {
        let me = self.me.clone();
        self.cloud.facts.subscribe::<Replaying>(move |of| {
            let me = me.clone();
            Box::pin(async move {
                match me.upgrade() {
                    Some(sns) => sns.replay(of).await,
                    None => Ok(()),
                }
            })
        });
    }

    /// Archives a message within the transaction that takes it, where its topic has an archive.
    pub(crate) fn archive(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        topic: &Topic,
        message: &Message,
    ) -> Result<(), Fault> {
        let Some(days) = days(topic.attributes.get("ArchivePolicy")) else {
            return Ok(());
        };
        let now = message.time.0;
        let old = {
            let range = Range::prefix(&(&place.account, topic.id))
                .until(&(&place.account, topic.id, now - days * DAY))
                .limit(SWEEP);
            let rows = tx.range(&self.archived, range);
            rows.map(|row| row.map(|((_, _, time, number), _)| (time, number)))
                .collect::<Result<Vec<_>, _>>()?
        };
        for (time, number) in old {
            tx.delete(&self.archived, &(&place.account, topic.id, time, number));
        }
        let at = (&place.account, topic.id, now, topic.sequence);
        tx.put(&self.archived, &at, &Archived::of(message))?;
        Ok(())
    }

    /// Forgets a topic's archive within a transaction.
    pub(crate) fn drop_archive(
        &self,
        tx: &mut Tx<'_>,
        account: &str,
        topic: u64,
    ) -> Result<(), Fault> {
        let rows = {
            let rows = tx.range(&self.archived, Range::prefix(&(account, topic)));
            rows.map(|row| row.map(|((_, _, time, number), _)| (time, number)))
                .collect::<Result<Vec<_>, _>>()?
        };
        for (time, number) in rows {
            tx.delete(&self.archived, &(account, topic, time, number));
        }
        Ok(())
    }

    /// Starts a subscription's replay, or ends it, within the transaction that sets its policy.
    pub(crate) fn set_replay(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        topic: &Topic,
        id: &str,
        subscription: &mut Subscription,
        policy: &str,
    ) -> Result<(), Fault> {
        let Some((from, until)) = replay(policy)? else {
            subscription.replay = None;
            return Ok(());
        };
        if !is_kept(topic) {
            return Err(invalid_parameter_exception(
                "Invalid parameter: ReplayPolicy: The topic has no active ArchivePolicy",
            ));
        }
        let run = cloud::ids::uuid();
        subscription.replay = Some(Replay {
            run: run.clone(),
            after: (from, 0),
            until,
            started: self.cloud.clock.now().0,
            status: PENDING.into(),
        });
        let replaying = Replaying {
            account: place.account.clone(),
            region: place.region.clone(),
            name: place.name.clone(),
            topic: topic.id,
            subscription: id.to_owned(),
            run,
        };
        self.cloud.facts.emit(tx, &replaying)
    }

    async fn replay(&self, of: Replaying) -> Result<(), Fault> {
        let place = Place {
            account: of.account.clone(),
            region: of.region.clone(),
            name: of.name.clone(),
        };
        loop {
            let step = self
                .change(&place, |tx, topic| match topic.id == of.topic {
                    true => self.replay_step(tx, &place, topic, &of),
                    false => Ok(false),
                })
                .await;
            match step {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // The topic has gone meanwhile.
                Err(fault) if fault.status == 404 => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Replays some messages; whether there may be more.
    fn replay_step(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        topic: &mut Topic,
        of: &Replaying,
    ) -> Result<bool, Fault> {
        let at = (&place.account, topic.id, &of.subscription);
        let found: Option<Subscription> = tx.get(&self.subscriptions, &at)?;
        let Some(mut subscription) = found else {
            return Ok(false);
        };
        let Some(mut replay) = subscription.replay.take().filter(|r| r.run == of.run) else {
            return Ok(false);
        };
        let oldest = days(topic.attributes.get("ArchivePolicy"))
            .map_or(i64::MAX, |days| self.cloud.clock.now().0 - days * DAY);
        let rows = {
            let (time, number) = replay.after;
            let after = (&place.account, topic.id, time.max(oldest), number);
            let range = Range::prefix(&(&place.account, topic.id)).after(&after);
            let rows = tx.range(&self.archived, range.limit(STEP));
            rows.map(|row| row.map(|((_, _, time, number), m)| (time, number, m)))
                .collect::<Result<Vec<_>, _>>()?
        };
        let is_full = rows.len() == STEP;
        let listener = Listener::new(of.subscription.clone(), subscription.clone());
        let mut is_over = !is_full;
        for (time, number, archived) in rows {
            if replay.until.is_some_and(|until| time > until) {
                is_over = true;
                break;
            }
            replay.after = (time, number);
            let message = archived.message();
            if let Some(delivery) = self.delivery_in_line(place, topic, &listener, &message)? {
                self.line_up(tx, place, topic.id, &of.subscription, delivery)?;
            }
        }
        replay.status = RUNNING.into();
        if is_over {
            match replay.until.take() {
                // What came since the replay began waits behind it.
                Some(until) if until < replay.started => {
                    replay.after = (replay.started, 0);
                    is_over = false;
                }
                Some(_) => is_over = false,
                None => replay.status = COMPLETED.into(),
            }
        }
        if is_over {
            topic.changes += 1;
        }
        subscription.replay = Some(replay);
        tx.put(&self.subscriptions, &at, &subscription)?;
        Ok(!is_over)
    }
}
