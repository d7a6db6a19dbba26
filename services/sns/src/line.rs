//! FIFO topics: messages without their doubles, delivered to each subscription in their order.
//!
//! A message is appended to a line per subscription in the transaction that takes it; a fact wakes the line's
//! delivery, also after a crash. One delivery at a time works on a line and goes on only when the head is done with.

use std::sync::Arc;

use cloud::{Delivery, Ending, Fact, Refusal};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::Fault;

use crate::message::Message;
use crate::service::Sns;
use crate::topic::Place;

/// A message that a FIFO topic took lately.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recent {
    time: i64,
    id: String,
    sequence: String,
}
impl Record for Recent {}

/// A delivery that waits for its turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    delivery: Delivery,
    since: i64,
}
impl Record for Waiting {}

/// A line has something to deliver.
#[derive(Serialize, Deserialize)]
struct Lined {
    account: String,
    topic: u64,
    subscription: String,
}
impl Fact for Lined {
    const NAME: &'static str = "sns.Lined";
}

/// How long a deduplication id holds, milliseconds.
const WINDOW: i64 = 300_000;
/// How many outdated ids each message removes at most: more than it adds.
const SWEEP: usize = 3;
const PAUSE_FIRST: i64 = 1_000;
const PAUSE_LAST: i64 = 60_000;

impl Sns {
    /// Begins to hear of lines.
    pub(crate) fn register_line(&self) {
        let me = self.me.clone();
        self.cloud.facts.subscribe::<Lined>(move |lined| {
            let me = me.clone();
            Box::pin(async move {
                match me.upgrade() {
                    Some(sns) => sns.drain(lined).await,
                    None => Ok(()),
                }
            })
        });
    }

    /// Removes deduplication ids whose time is over.
    fn sweep(&self, tx: &mut Tx<'_>, place: &Place, topic: u64, now: i64) -> Result<(), Fault> {
        let of = (place.account.as_str(), topic);
        let old = {
            let range = Range::prefix(&of)
                .until(&(&place.account, topic, now - WINDOW))
                .limit(SWEEP);
            let rows = tx.range(&self.dedup_times, range);
            rows.map(|row| row.map(|((_, _, time, id), _)| (time, id)))
                .collect::<Result<Vec<_>, _>>()?
        };
        for (time, id) in old {
            tx.delete(&self.dedup_times, &(&place.account, topic, time, &id));
            let at = (&place.account, topic, &id);
            let recent: Option<Recent> = tx.get(&self.deduplications, &at)?;
            if recent.is_some_and(|r| r.time == time) {
                tx.delete(&self.deduplications, &at);
            }
        }
        Ok(())
    }

    /// Takes a FIFO topic's message: its id and sequence number, those of the first one where it is a double.
    pub(crate) async fn send_in_line(
        &self,
        place: &Place,
        mut message: Message,
    ) -> Result<(String, Option<String>), Fault> {
        let now = self.cloud.clock.now().0;
        self.change(place, |tx, topic| {
            let scope = topic
                .attributes
                .get("FifoThroughputScope")
                .map(String::as_str);
            let dedup = message.dedup.clone().unwrap_or_default();
            let dedup = match scope {
                Some("MessageGroup") => {
                    format!("{}/{dedup}", message.group.as_deref().unwrap_or_default())
                }
                _ => dedup,
            };
            let at = (&place.account, topic.id, &dedup);
            let old: Option<Recent> = tx.get(&self.deduplications, &at)?;
            if let Some(old) = old.filter(|r| r.time > now - WINDOW) {
                return Ok((old.id, Some(old.sequence)));
            }
            self.sweep(tx, place, topic.id, now)?;
            topic.sequence += 1;
            let sequence = format!("1{:016}000", topic.sequence);
            let recent = Recent {
                time: now,
                id: message.id.clone(),
                sequence: sequence.clone(),
            };
            tx.put(&self.deduplications, &at, &recent)?;
            tx.put(
                &self.dedup_times,
                &(&place.account, topic.id, now, &dedup),
                &recent,
            )?;
            message.sequence = Some(sequence.clone());
            self.archive(tx, place, topic, &message)?;
            for (subscription, delivery) in self.deliveries(place, topic, &message)? {
                self.line_up(tx, place, topic.id, &subscription, delivery)?;
            }
            Ok((message.id, Some(sequence)))
        })
        .await
    }

    /// Puts a delivery at the end of a subscription's line within a transaction.
    pub(crate) fn line_up(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        topic: u64,
        subscription: &str,
        delivery: Delivery,
    ) -> Result<(), Fault> {
        let waiting = Waiting {
            delivery,
            since: self.cloud.clock.now().0,
        };
        let key = (&place.account, topic, subscription);
        self.line.append(tx, &key, &waiting)?;
        let lined = Lined {
            account: place.account.clone(),
            topic,
            subscription: subscription.to_owned(),
        };
        self.cloud.facts.emit(tx, &lined)
    }

    /// Delivers a line from its head until it is empty.
    async fn drain(&self, of: Lined) -> Result<(), Fault> {
        let name = (of.topic, of.subscription.clone());
        let turn: Arc<tokio::sync::Mutex<()>> = self
            .draining
            .lock()
            .entry(name.clone())
            .or_default()
            .clone();
        let outcome = {
            let _turn = turn.lock().await;
            self.drain_alone(&of).await
        };
        let mut draining = self.draining.lock();
        // Nobody else holds it or waits for it: the map's and this one are all.
        if Arc::strong_count(&turn) == 2 {
            draining.remove(&name);
        }
        outcome
    }

    async fn drain_alone(&self, of: &Lined) -> Result<(), Fault> {
        let key = (&of.account, of.topic, &of.subscription);
        let clock = &self.cloud.clock;
        let (mut pause, mut attempts) = (PAUSE_FIRST, 1);
        loop {
            let head = {
                let view = self.cloud.store.read();
                self.line.range(&view, &key, 0, 1).next().transpose()?
            };
            let Some(((_, number), waiting)) = head else {
                return Ok(());
            };
            let delivery = waiting.delivery;
            let at = clock.now();
            let told = |outcome| Ending {
                outcome,
                attempts,
                at,
            };
            match self.cloud.targets.deliver(&delivery).await {
                Ok(receipt) => self.tell_of(&delivery, told(Ok(&receipt))).await,
                Err(Refusal::Later(fault))
                    if clock.now().0 < waiting.since + delivery.retry.max_age * 1000 =>
                {
                    tracing::debug!(target_arn = delivery.target, %fault, "the head of a line is tried again");
                    clock.pass(pause).await;
                    pause = (pause * 2).min(PAUSE_LAST);
                    attempts += 1;
                    continue;
                }
                Err(Refusal::Later(fault) | Refusal::Never(fault)) => {
                    tracing::warn!(target_arn = delivery.target, %fault, "a delivery was given up");
                    self.tell_of(&delivery, told(Err(&fault))).await;
                    self.give_up(delivery).await;
                }
            }
            (pause, attempts) = (PAUSE_FIRST, 1);
            let topic = of.topic.to_string();
            let scope = ["sns.line", topic.as_str(), of.subscription.as_str()];
            // Appending puts higher numbers than this one and keeps the head row of its own.
            self.cloud
                .store
                .transact(Scope::new(&scope), |tx| {
                    self.line.truncate(tx, &key, number + 1, 1)
                })
                .await?;
        }
    }

    /// Hands what cannot be delivered to the dead-letter queue.
    async fn give_up(&self, delivery: Delivery) {
        let Some(queue) = delivery.dead_letter.clone() else {
            return;
        };
        let dead = Delivery {
            target: queue,
            dead_letter: None,
            note: None,
            ..delivery
        };
        if let Err(Refusal::Later(fault) | Refusal::Never(fault)) =
            self.cloud.targets.deliver(&dead).await
        {
            tracing::warn!(target_arn = dead.target, %fault, "the dead-letter queue refused too");
        }
    }
}
