//! What is known of a queue's messages while the server runs; read from the rows when it is first needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record};
use tokio::sync::Notify;
use wire::Fault;

use crate::service::Tables;
use crate::shelf::Turn;

/// Counts of a queue's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The next message's number.
    pub next: u64,
    /// How many there are.
    pub total: u64,
}
impl Record for Tally {}

/// A queue's live state.
#[derive(Default)]
pub struct Line {
    /// Told of each message that can be received.
    pub wake: Notify,
    /// Locked only within a transaction over the queue, or for a moment to read.
    pub state: Mutex<Option<State>>,
}

/// Where a message is between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Not yet to be received.
    Delayed,
    /// Received and not deleted.
    InFlight,
}

/// What the rows do not tell at once.
#[derive(Debug)]
pub struct State {
    /// The counts, as stored.
    pub tally: Tally,
    /// The next turns: all of those in the order before `ahead_end`, so that neither they nor the rows deleted before them are looked up again.
    pub ahead: BTreeMap<(i64, u64), Turn>,
    /// Where turns are that have not been looked at.
    pub ahead_end: (i64, u64),
    /// Messages that cannot be received before a time.
    pub waiting: BTreeMap<(i64, u64), Waiting>,
    /// How many of them are in flight.
    pub in_flight: usize,
    /// No message was sent before.
    pub oldest: i64,
    /// No message has a smaller number.
    pub first: u64,
    /// No deduplication ends before.
    pub dedup_cursor: i64,
    /// What receives with an attempt id returned: when, until when, and the messages with their counts.
    pub attempts: HashMap<String, Attempt>,
}

/// A receive that may be asked for again.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it was made.
    pub at: i64,
    /// The messages, each with its count of receives and the time at which it is visible again.
    pub messages: Vec<(u64, u32, i64)>,
}

impl State {
    /// Reads what the rows tell. Costs as much as messages are in flight or delayed.
    pub fn load(
        read: &impl Read,
        tables: &Tables,
        account: &str,
        line: u64,
        now: i64,
    ) -> Result<State, Fault> {
        let tally = Read::get(read, &tables.tallies, &(account, line))?.unwrap_or_default();
        let mut state = State {
            tally,
            ahead: BTreeMap::new(),
            ahead_end: (i64::MIN, 0),
            waiting: BTreeMap::new(),
            in_flight: 0,
            oldest: i64::MIN,
            first: 0,
            dedup_cursor: i64::MIN,
            attempts: HashMap::new(),
        };
        let later = Range::prefix(&(account, line)).from(&(account, line, now + 1));
        for row in read.range(&tables.order, later) {
            let ((_, _, when, seq), turn) = row?;
            let Some(group) = turn.group else {
                state.wait(
                    when,
                    seq,
                    if turn.count > 0 {
                        Waiting::InFlight
                    } else {
                        Waiting::Delayed
                    },
                );
                continue;
            };
            // A group waits for its first messages: those of them that wait stand before all others.
            let members = Range::prefix(&(account, line, group.as_str()));
            for member in read.range(&tables.members, members) {
                let ((.., seq), _) = member?;
                match Read::get(read, &tables.places, &(account, line, seq))? {
                    Some(place) if place.when > now => {
                        state.wait(
                            place.when,
                            seq,
                            if place.count > 0 {
                                Waiting::InFlight
                            } else {
                                Waiting::Delayed
                            },
                        );
                    }
                    Some(_) => {}
                    None => break,
                }
            }
        }
        Ok(state)
    }

    /// Notes that a message waits.
    pub fn wait(&mut self, when: i64, seq: u64, why: Waiting) {
        if self.waiting.insert((when, seq), why) != Some(Waiting::InFlight)
            && why == Waiting::InFlight
        {
            self.in_flight += 1;
        }
    }
    /// Notes that a message waits no more.
    pub fn release(&mut self, when: i64, seq: u64) {
        if self.waiting.remove(&(when, seq)) == Some(Waiting::InFlight) {
            self.in_flight -= 1;
        }
    }
    /// Lets go what waited until now.
    pub fn pass(&mut self, now: i64) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            if entry.remove() == Waiting::InFlight {
                self.in_flight -= 1;
            }
        }
    }
    /// When the next message stops waiting.
    pub fn next(&self) -> Option<i64> {
        self.waiting.first_key_value().map(|((when, _), _)| *when)
    }
    /// Messages that can be received, are in flight, and are delayed.
    pub fn counts(&mut self, now: i64) -> (u64, u64, u64) {
        self.pass(now);
        let waiting = self.waiting.len() as u64;
        let in_flight = self.in_flight as u64;
        (
            self.tally.total.saturating_sub(waiting),
            in_flight,
            waiting - in_flight,
        )
    }
}

/// The lines of all queues, by account and number.
#[derive(Default)]
pub struct Lines(Mutex<HashMap<u64, Arc<Line>>>);

impl Lines {
    /// The live state of the messages with that number.
    pub fn of(&self, line: u64) -> Arc<Line> {
        self.0.lock().entry(line).or_default().clone()
    }
    /// Drops one, and lets those who wait on it look again.
    pub fn forget(&self, line: u64) {
        if let Some(line) = self.0.lock().remove(&line) {
            line.wake.notify_waiters();
        }
    }
    /// Drops all.
    pub fn clear(&self) {
        for (_, line) in self.0.lock().drain() {
            *line.state.lock() = None;
            line.wake.notify_waiters();
        }
    }
}
