//! Receiving messages.

use std::collections::BTreeMap;

use cloud::Context;
use store::Read;
use wire::Fault;

use crate::api::*;
use crate::batch;
use crate::content::{self, Content};
use crate::errors;
use crate::fault::{invalid_parameter, invalid_value};
use crate::line::Attempt;
use crate::queue::Queue;
use crate::receipt::Receipt;
use crate::send::sequence;
use crate::service::Sqs;
use crate::shelf::{Harvest, Place, Shelf, Taken, Wish};
use crate::url::Name;

/// Most messages of a queue that may be in flight.
const MOST_IN_FLIGHT: usize = 120_000;
/// Milliseconds for which an attempt may be made again.
const ATTEMPTS_LAST: i64 = 300_000;
/// Attempts that are remembered for a queue.
const MOST_ATTEMPTS: usize = 1000;

/// What is to be received.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// Most messages.
    pub most: usize,
    /// Seconds until they are visible again; the queue's own where `None`.
    pub visibility: Option<i64>,
    /// Milliseconds to wait for the first; `None` as long as it takes.
    pub wait: Option<i64>,
    /// `ReceiveRequestAttemptId`
    pub attempt: Option<String>,
}

/// A received message.
#[derive(Clone, Debug)]
pub struct Received {
    pub handle: String,
    pub seq: u64,
    pub place: Place,
    pub content: Content,
}

impl Sqs {
    pub(crate) async fn receive_message(
        &self,
        ctx: &Context,
        input: ReceiveMessageInput,
    ) -> Result<ReceiveMessageOutput, Fault> {
        let (name, queue) = self.open(ctx, input.queue_url, "sqs:ReceiveMessage")?;
        let most = input.max_number_of_messages.unwrap_or(1);
        if !(1..=10).contains(&most) {
            return Err(invalid_value(
                most,
                "MaxNumberOfMessages",
                "Must be between 1 and 10, if provided.",
            ));
        }
        let wait = input.wait_time_seconds.map_or(queue.wait, i64::from);
        if !(0..=20).contains(&wait) {
            return Err(invalid_value(
                wait,
                "WaitTimeSeconds",
                "Must be >= 0 and <= 20, if provided.",
            ));
        }
        let visibility = input.visibility_timeout.map(i64::from);
        if let Some(seconds) = visibility.filter(|s| !(0..=43_200).contains(s)) {
            return Err(invalid_value(
                seconds,
                "VisibilityTimeout",
                "Must be between 0 and 43200, if provided.",
            ));
        }
        let demand = Demand {
            most: usize::try_from(most).unwrap_or(1),
            visibility,
            wait: Some(wait * 1000),
            attempt: input.receive_request_attempt_id.filter(|_| queue.is_fifo),
        };
        let shows = Shows {
            system: names(input.attribute_names, input.message_system_attribute_names),
            user: input.message_attribute_names.unwrap_or_default(),
        };
        shows.check()?;
        let received = self.receive(&name, &demand).await?;
        let is_fifo = queue.is_fifo;
        let messages = received.into_iter().map(|m| shows.message(m, is_fifo));
        Ok(ReceiveMessageOutput {
            messages: batch::shown(messages.collect()),
        })
    }

    /// Receives messages, waiting for the first where asked to.
    pub(crate) async fn receive(
        &self,
        name: &Name,
        demand: &Demand,
    ) -> Result<Vec<Received>, Fault> {
        let clock = &self.cloud.clock;
        let deadline = demand.wait.map(|ms| clock.now().plus_millis(ms));
        loop {
            let queue = self.find(name)?;
            let line = self.lines.of(queue.line);
            let wake = line.wake.notified();
            tokio::pin!(wake);
            // From here on a message that arrives is not missed.
            wake.as_mut().enable();
            let received = self.receive_now(name, &queue, demand).await?;
            if !received.is_empty() || deadline.is_some_and(|d| d <= clock.now()) {
                return Ok(received);
            }
            let next = line.state.lock().as_ref().and_then(|s| s.next());
            let until = match (next.map(wire::Timestamp), deadline) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            match until {
                Some(until) => tokio::select! {
                    () = wake => {}
                    () = clock.until(until) => {}
                },
                None => wake.await,
            }
        }
    }

    async fn receive_now(
        &self,
        name: &Name,
        queue: &Queue,
        demand: &Demand,
    ) -> Result<Vec<Received>, Fault> {
        let visibility = demand.visibility.unwrap_or(queue.visibility) * 1000;
        let take = |shelf: &mut Shelf<'_, '_>, lives: Option<u32>| {
            let until = shelf.now + visibility;
            let retention = queue.retention * 1000;
            shelf.expire(retention, queue.is_fifo)?;
            if let Some(harvest) = again(shelf, demand.attempt.as_deref())? {
                return Ok((shelf.line, harvest, false));
            }
            if shelf.state.in_flight >= MOST_IN_FLIGHT {
                return Ok((shelf.line, Harvest::default(), true));
            }
            let most = demand.most.min(MOST_IN_FLIGHT - shelf.state.in_flight);
            let harvest = shelf.take(Wish {
                most,
                until,
                lives,
                retention,
            })?;
            remember(shelf, demand.attempt.as_deref(), &harvest);
            Ok::<_, Fault>((shelf.line, harvest, false))
        };
        let dead_letters = queue
            .redrive
            .as_ref()
            .and_then(|r| Some((Name::of_text(&r.target)?, r.lives)))
            .filter(|(target, _)| target != name);
        let dead_letters = match dead_letters {
            // A dead-letter queue that is gone leaves the messages where they are.
            Some((target, lives)) => self.find(&target).ok().map(|q| (target, q, lives)),
            None => None,
        };
        let (line, harvest, is_full) = match &dead_letters {
            None => self.over(name, queue, |shelf| take(shelf, None)).await?,
            Some((target, letters, lives)) => {
                self.over_two((name, queue), (target, letters), |shelf| {
                    let taken = take(shelf, Some(*lives))?;
                    let dead = taken.1.dead.iter();
                    let dead = dead.map(|d| (buried(letters, name, d, shelf.now), d.place));
                    let dead = dead.collect();
                    Ok((taken, dead))
                })
                .await?
            }
        };
        if is_full && !queue.is_fifo && demand.wait == Some(0) {
            return Err(errors::over_limit(
                "Too many messages in flight. Delete or make visible messages before receiving more.",
            ));
        }
        let received = harvest.taken.into_iter().map(|taken| Received {
            handle: Receipt {
                birth: queue.birth,
                line,
                seq: taken.seq,
                count: taken.place.count,
            }
            .handle(),
            seq: taken.seq,
            place: taken.place,
            content: taken.content,
        });
        Ok(received.collect())
    }
}

/// A dead message, as the dead-letter queue has it.
fn buried(letters: &Queue, from: &Name, dead: &Taken, now: i64) -> Content {
    Content {
        source: Some(from.arn()),
        due: now,
        // The age of a message counts from its first queue, except in FIFO queues.
        sent: if letters.is_fifo {
            now
        } else {
            dead.content.sent
        },
        ..dead.content.clone()
    }
}

/// The messages of an attempt that is made again, where none of them has changed since.
fn again(shelf: &mut Shelf<'_, '_>, attempt: Option<&str>) -> Result<Option<Harvest>, Fault> {
    let Some(known) = attempt.and_then(|id| shelf.state.attempts.get(id)) else {
        return Ok(None);
    };
    if known.at + ATTEMPTS_LAST <= shelf.now {
        return Ok(None);
    }
    let mut harvest = Harvest::default();
    for (seq, count, when) in &known.messages {
        let key = (shelf.account, shelf.line, *seq);
        let place: Option<Place> = shelf.tx.get(&shelf.tables.places, &key)?;
        let content: Option<Content> = shelf.tx.get(&shelf.tables.contents, &key)?;
        match (place, content) {
            (Some(place), Some(content))
                if place.count == *count && place.when == *when && *when > shelf.now =>
            {
                harvest.taken.push(Taken {
                    seq: *seq,
                    content,
                    place,
                });
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(harvest))
}

fn remember(shelf: &mut Shelf<'_, '_>, attempt: Option<&str>, harvest: &Harvest) {
    let Some(id) = attempt.filter(|_| !harvest.taken.is_empty()) else {
        return;
    };
    let now = shelf.now;
    let attempts = &mut shelf.state.attempts;
    if attempts.len() >= MOST_ATTEMPTS {
        attempts.retain(|_, a| a.at + ATTEMPTS_LAST > now);
    }
    if attempts.len() < MOST_ATTEMPTS {
        let messages = harvest.taken.iter();
        let messages = messages.map(|t| (t.seq, t.place.count, t.place.when));
        attempts.insert(
            id.to_owned(),
            Attempt {
                at: now,
                messages: messages.collect(),
            },
        );
    }
}

fn names(old: Option<Vec<String>>, new: Option<Vec<String>>) -> Vec<String> {
    let mut all = new.unwrap_or_default();
    all.extend(old.unwrap_or_default());
    all
}

/// Which attributes an answer shows.
pub struct Shows {
    /// System attributes by name, or `All`.
    pub system: Vec<String>,
    /// The user's attributes by name, by prefix (`foo.*`), or `All`.
    pub user: Vec<String>,
}

/// The system attributes that may be asked for.
const SYSTEM: [&str; 10] = [
    "All",
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
];

impl Shows {
    /// Everything.
    pub fn all() -> Shows {
        Shows {
            system: vec!["All".into()],
            user: vec!["All".into()],
        }
    }

    fn check(&self) -> Result<(), Fault> {
        // Names of the queue's attributes were taken here for as long as the parameter is deprecated.
        let bad = self
            .system
            .iter()
            .find(|n| !SYSTEM.contains(&n.as_str()) && !crate::attribute::is_known(n));
        match bad {
            Some(name) => Err(errors::invalid_attribute_name(format!(
                "Unknown Attribute {name}."
            ))),
            None => match self.user.iter().find(|n| n.is_empty() || n.len() > 256) {
                Some(_) => Err(invalid_parameter(
                    "The request must contain non-empty message attribute names.",
                )),
                None => Ok(()),
            },
        }
    }

    fn shows_user(&self, name: &str) -> bool {
        self.user.iter().any(|asked| {
            asked == name
                || asked == "All"
                || asked == "*"
                || asked
                    .strip_suffix(".*")
                    .is_some_and(|prefix| name.starts_with(prefix))
        })
    }

    /// All system attributes of a message.
    pub fn system_attributes(received: &Received, is_fifo: bool) -> BTreeMap<String, String> {
        let Received {
            content,
            place,
            seq,
            ..
        } = received;
        let mut all = BTreeMap::from([
            ("SenderId".to_owned(), content.sender.clone()),
            ("SentTimestamp".to_owned(), content.sent.to_string()),
            (
                "ApproximateReceiveCount".to_owned(),
                place.count.to_string(),
            ),
            (
                "ApproximateFirstReceiveTimestamp".to_owned(),
                place.first.to_string(),
            ),
        ]);
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                all.insert(name.to_owned(), value);
            }
        };
        add("MessageGroupId", content.group.clone());
        add("MessageDeduplicationId", content.dedup.clone());
        add("SequenceNumber", is_fifo.then(|| sequence(*seq)));
        add("AWSTraceHeader", content.trace.clone());
        add("DeadLetterQueueSourceArn", content.source.clone());
        all
    }

    /// A message as it is answered.
    pub fn message(&self, received: Received, is_fifo: bool) -> Message {
        let mut system = Shows::system_attributes(&received, is_fifo);
        if !self.system.iter().any(|n| n == "All") {
            system.retain(|name, _| self.system.contains(name));
        }
        let content = received.content;
        let mut user = content.attributes;
        user.retain(|name, _| self.shows_user(name));
        let md5 = content::md5_of_attributes(user.iter());
        let user: BTreeMap<_, _> = user.into_iter().map(|(k, v)| (k, v.show())).collect();
        Message {
            message_id: Some(content.id),
            receipt_handle: Some(received.handle),
            md5_of_body: Some(content.md5),
            body: Some(content.body),
            attributes: (!system.is_empty()).then_some(system),
            md5_of_message_attributes: md5,
            message_attributes: (!user.is_empty()).then_some(user),
        }
    }
}
