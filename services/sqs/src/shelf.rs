//! The rows of a queue's messages, and how they change together.
//!
//! A message is its content, which never changes, and its turn in an order by time: what can be received stands before now, what is delayed
//! or in flight behind. In a FIFO queue the order holds one turn for each message group, that of its first message; the group's others
//! follow in its own order. A group's turn is when its first message is visible, whatever became of those behind it.
//!
//! No operation reads or writes more rows than the messages it concerns, however many there are.

use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Tx};
use wire::Fault;

use crate::content::Content;
use crate::line::{State, Waiting};
use crate::service::Tables;

/// Where a message that was received, or is delayed in a FIFO queue, stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// When it can be received again.
    pub when: i64,
    /// How often it was received.
    pub count: u32,
    /// When it was received first; 0 if never.
    pub first: i64,
}
impl Record for Place {}

/// A turn in the order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// As in [`Place`].
    #[serde(default)]
    pub count: u32,
    /// As in [`Place`].
    #[serde(default)]
    pub first: i64,
    /// The message group whose turn it is, in FIFO queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}
impl Record for Turn {}

/// That a message is of a group.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Member {}
impl Record for Member {}

/// The turn of a message group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// When its turn is.
    pub when: i64,
    /// Its first message.
    pub head: u64,
}
impl Record for Group {}

/// A message that was taken, and how often it has been by now.
#[derive(Clone, Debug)]
pub struct Taken {
    pub seq: u64,
    pub content: Content,
    pub place: Place,
}

/// What became of the messages that a receive came by.
#[derive(Default)]
pub struct Harvest {
    /// To be returned.
    pub taken: Vec<Taken>,
    /// Received too often.
    pub dead: Vec<Taken>,
}

/// What a receive asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Most messages.
    pub most: usize,
    /// When they shall be visible again.
    pub until: i64,
    /// Receives after which a message is dead.
    pub lives: Option<u32>,
    /// Milliseconds for which messages are kept.
    pub retention: i64,
}

/// Dead or expired messages that one receive moves at most.
const MOST_BY_THE_WAY: usize = 100;
/// Turns read at once.
const LOOKED_AHEAD: usize = 128;
/// Turns held in memory at most, of each queue.
const MOST_AHEAD: usize = 1024;
/// Expired messages that are removed at once.
const MOST_EXPIRED: usize = 200;

/// A turn with its time and number.
type Due = ((i64, u64), Turn);

/// The messages of one queue within a transaction over it.
pub struct Shelf<'a, 's> {
    pub tables: &'a Tables,
    pub tx: &'a mut Tx<'s>,
    pub state: &'a mut State,
    pub account: &'a str,
    pub line: u64,
    pub now: i64,
    /// Turns that can be taken and could not before.
    pub news: usize,
}

impl Shelf<'_, '_> {
    /// Adds a message. `place` is where it stood in the queue that it comes from.
    pub fn put(&mut self, content: &Content, is_fifo: bool, place: Place) -> Result<u64, Fault> {
        let seq = self.state.tally.next;
        let key = (self.account, self.line, seq);
        self.state.tally.next += 1;
        self.state.tally.total += 1;
        let when = content.due;
        self.tx.put(&self.tables.contents, &key, content)?;
        let place = Place { when, ..place };
        if place.count > 0 || (is_fifo && when > self.now) {
            self.tx.put(&self.tables.places, &key, &place)?;
        }
        if is_fifo {
            let group = content.group.as_deref().unwrap_or_default();
            self.tx.put(
                &self.tables.members,
                &(self.account, self.line, group, seq),
                &Member {},
            )?;
            let at = (self.account, self.line, group);
            if !self.tx.contains(&self.tables.groups, &at)? {
                self.seat(group, None, Some(Group { when, head: seq }))?;
            }
        } else {
            let turn = Turn {
                count: place.count,
                first: place.first,
                group: None,
            };
            self.put_turn(when, seq, &turn)?;
        }
        if when > self.now {
            self.state.wait(when, seq, Waiting::Delayed);
        }
        self.state.oldest = self.state.oldest.min(content.sent);
        self.tx.put(
            &self.tables.tallies,
            &(self.account, self.line),
            &self.state.tally,
        )?;
        Ok(seq)
    }

    /// The first message that can be received, left where it is.
    pub fn first(&mut self) -> Result<Option<(u64, Content)>, Fault> {
        let Some(((_, seq), _)) = self.due(1)?.pop() else {
            return Ok(None);
        };
        let key = (self.account, self.line, seq);
        Ok(self
            .tx
            .get(&self.tables.contents, &key)?
            .map(|content| (seq, content)))
    }

    /// The first turns that are due.
    fn due(&mut self, most: usize) -> Result<Vec<Due>, Fault> {
        loop {
            let until = (self.now, u64::MAX);
            let due = self.state.ahead.range(..=until).take(most);
            let due: Vec<_> = due.map(|(key, turn)| (*key, turn.clone())).collect();
            if due.len() == most || self.state.ahead_end > until {
                return Ok(due);
            }
            self.look_ahead()?;
        }
    }

    /// Reads the next turns.
    fn look_ahead(&mut self) -> Result<(), Fault> {
        let (when, seq) = self.state.ahead_end;
        let next = Range::prefix(&(self.account, self.line))
            .from(&(self.account, self.line, when, seq))
            .limit(LOOKED_AHEAD);
        let mut found = 0;
        let mut end = (i64::MAX, u64::MAX);
        for row in self.tx.range(&self.tables.order, next) {
            let ((_, _, when, seq), turn) = row?;
            self.state.ahead.insert((when, seq), turn);
            found += 1;
            if found == LOOKED_AHEAD {
                end = (when, seq.saturating_add(1));
            }
        }
        self.state.ahead_end = end;
        Ok(())
    }

    /// Takes messages that can be received.
    pub fn take(&mut self, wish: Wish) -> Result<Harvest, Fault> {
        let mut harvest = Harvest::default();
        let mut by_the_way = 0;
        while harvest.taken.len() < wish.most && by_the_way < MOST_BY_THE_WAY {
            let left = wish.most - harvest.taken.len();
            let turns = self.due(left)?;
            let before = (harvest.taken.len(), by_the_way);
            let is_last = turns.len() < left;
            for ((when, seq), turn) in turns {
                match &turn.group {
                    None => {
                        let is_taken = self.take_one(when, seq, &turn, wish, &mut harvest)?;
                        by_the_way += usize::from(!is_taken);
                    }
                    Some(_) if harvest.taken.len() >= wish.most => break,
                    Some(group) => by_the_way += self.take_group(group, wish, &mut harvest)?,
                }
            }
            let has_moved = before != (harvest.taken.len(), by_the_way);
            // What is visible again at once would be taken twice.
            if is_last || wish.until <= self.now || !has_moved {
                break;
            }
        }
        Ok(harvest)
    }

    /// Takes a message of a standard queue; false if it was dead or expired.
    fn take_one(
        &mut self,
        when: i64,
        seq: u64,
        turn: &Turn,
        wish: Wish,
        harvest: &mut Harvest,
    ) -> Result<bool, Fault> {
        let key = (self.account, self.line, seq);
        let Some(content) = self.tx.get(&self.tables.contents, &key)? else {
            self.delete_turn(when, seq);
            return Ok(false);
        };
        let old = Place {
            when,
            count: turn.count,
            first: turn.first,
        };
        if content.sent + wish.retention <= self.now {
            self.remove(seq, &content, old, false)?;
            return Ok(false);
        }
        if wish.lives.is_some_and(|lives| turn.count >= lives) {
            self.remove(seq, &content, old, false)?;
            harvest.dead.push(Taken {
                seq,
                content,
                place: old,
            });
            return Ok(false);
        }
        let place = self.received(old, wish);
        self.delete_turn(when, seq);
        let turn = Turn {
            count: place.count,
            first: place.first,
            group: None,
        };
        self.put_turn(place.when, seq, &turn)?;
        self.tx.put(&self.tables.places, &key, &place)?;
        if place.when > self.now {
            self.state.wait(place.when, seq, Waiting::InFlight);
        }
        harvest.taken.push(Taken {
            seq,
            content,
            place,
        });
        Ok(true)
    }

    fn received(&self, old: Place, wish: Wish) -> Place {
        Place {
            when: wish.until,
            count: old.count.saturating_add(1),
            first: if old.first == 0 { self.now } else { old.first },
        }
    }

    /// Takes the first messages of a group; how many were dead or expired.
    fn take_group(
        &mut self,
        group: &str,
        wish: Wish,
        harvest: &mut Harvest,
    ) -> Result<usize, Fault> {
        let mut by_the_way = 0;
        let mut after = None;
        'group: while harvest.taken.len() < wish.most && by_the_way < MOST_BY_THE_WAY {
            let left = wish.most - harvest.taken.len();
            let mut members = Range::prefix(&(self.account, self.line, group)).limit(left);
            if let Some(last) = after {
                members = members.after(&(self.account, self.line, group, last));
            }
            let mut seqs = Vec::new();
            {
                let mut rows = self.tx.range(&self.tables.members, members);
                while let Some((.., seq)) = rows.next_key()? {
                    seqs.push(seq);
                }
            }
            after = seqs.last().copied();
            let is_last = seqs.len() < left;
            for seq in seqs {
                let key = (self.account, self.line, seq);
                let place: Option<Place> = self.tx.get(&self.tables.places, &key)?;
                let place = place.unwrap_or_default();
                if place.when > self.now {
                    break 'group;
                }
                let Some(content) = self.tx.get(&self.tables.contents, &key)? else {
                    self.tx
                        .delete(&self.tables.members, &(self.account, self.line, group, seq));
                    continue;
                };
                let is_expired = content.sent + wish.retention <= self.now;
                if is_expired || wish.lives.is_some_and(|lives| place.count >= lives) {
                    self.clear(seq, &content, place, true)?;
                    by_the_way += 1;
                    if !is_expired {
                        harvest.dead.push(Taken {
                            seq,
                            content,
                            place,
                        });
                    }
                    continue;
                }
                let place = self.received(place, wish);
                self.tx.put(&self.tables.places, &key, &place)?;
                if place.when > self.now {
                    self.state.wait(place.when, seq, Waiting::InFlight);
                }
                harvest.taken.push(Taken {
                    seq,
                    content,
                    place,
                });
            }
            if is_last {
                break;
            }
        }
        self.reseat(group)?;
        Ok(by_the_way)
    }

    /// Removes a message.
    pub fn remove(
        &mut self,
        seq: u64,
        content: &Content,
        place: Place,
        is_fifo: bool,
    ) -> Result<(), Fault> {
        self.clear(seq, content, place, is_fifo)?;
        if is_fifo {
            self.reseat(content.group.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    /// Removes a message and leaves its group's turn as it is.
    fn clear(
        &mut self,
        seq: u64,
        content: &Content,
        place: Place,
        is_fifo: bool,
    ) -> Result<(), Fault> {
        let key = (self.account, self.line, seq);
        self.tx.delete(&self.tables.contents, &key);
        self.tx.delete(&self.tables.places, &key);
        if is_fifo {
            let group = content.group.as_deref().unwrap_or_default();
            self.tx
                .delete(&self.tables.members, &(self.account, self.line, group, seq));
        } else {
            self.delete_turn(place.when, seq);
        }
        self.state.release(place.when, seq);
        self.state.tally.total = self.state.tally.total.saturating_sub(1);
        self.tx.put(
            &self.tables.tallies,
            &(self.account, self.line),
            &self.state.tally,
        )?;
        Ok(())
    }

    /// Sets when a received message is visible again.
    pub fn delay(
        &mut self,
        seq: u64,
        group: Option<&str>,
        place: Place,
        when: i64,
    ) -> Result<(), Fault> {
        let key = (self.account, self.line, seq);
        let new = Place { when, ..place };
        self.tx.put(&self.tables.places, &key, &new)?;
        self.state.release(place.when, seq);
        if when > self.now {
            self.state.wait(when, seq, Waiting::InFlight);
        }
        match group {
            Some(group) => self.reseat(group),
            None => {
                self.delete_turn(place.when, seq);
                let turn = Turn {
                    count: new.count,
                    first: new.first,
                    group: None,
                };
                self.put_turn(when, seq, &turn)
            }
        }
    }

    /// Removes messages that were kept long enough, some at a time.
    pub fn expire(&mut self, retention: i64, is_fifo: bool) -> Result<(), Fault> {
        if self.state.oldest.saturating_add(retention) > self.now {
            return Ok(());
        }
        let from = Range::prefix(&(self.account, self.line))
            .from(&(self.account, self.line, self.state.first))
            .limit(MOST_EXPIRED);
        let mut gone = Vec::new();
        let mut left = None;
        for row in self.tx.range(&self.tables.contents, from) {
            let ((.., seq), content) = row?;
            if content.sent + retention > self.now {
                left = Some((seq, content.sent));
                break;
            }
            gone.push((seq, content));
        }
        match left {
            // Messages from other queues may be older than those before them; a receive finds these.
            Some((seq, sent)) => (self.state.first, self.state.oldest) = (seq, sent),
            None if gone.len() < MOST_EXPIRED => {
                (self.state.first, self.state.oldest) = (self.state.tally.next, i64::MAX);
            }
            None => self.state.first = gone.last().map_or(self.state.first, |(seq, _)| *seq),
        }
        for (seq, content) in gone {
            let key = (self.account, self.line, seq);
            let place: Option<Place> = self.tx.get(&self.tables.places, &key)?;
            let place = place.unwrap_or(Place {
                when: content.due,
                ..Place::default()
            });
            self.remove(seq, &content, place, is_fifo)?;
        }
        Ok(())
    }

    /// Gives a group the turn that its first message makes.
    fn reseat(&mut self, group: &str) -> Result<(), Fault> {
        let at = (self.account, self.line, group);
        let old: Option<Group> = self.tx.get(&self.tables.groups, &at)?;
        let first = Range::prefix(&at).limit(1);
        let head = {
            let mut rows = self.tx.range(&self.tables.members, first);
            rows.next_key()?.map(|(.., seq)| seq)
        };
        let new = match head {
            None => None,
            Some(head) => {
                let key = (self.account, self.line, head);
                let place: Option<Place> = self.tx.get(&self.tables.places, &key)?;
                let when = match (place, old) {
                    (Some(place), _) => place.when,
                    (None, Some(old)) if old.head == head => old.when,
                    // Those before it are gone: the group goes behind the others.
                    (None, _) => self.now,
                };
                Some(Group { when, head })
            }
        };
        if old == new {
            return Ok(());
        }
        self.seat(group, old, new)
    }

    fn seat(&mut self, group: &str, old: Option<Group>, new: Option<Group>) -> Result<(), Fault> {
        let at = (self.account, self.line, group);
        if let Some(old) = old {
            self.delete_turn(old.when, old.head);
        }
        match new {
            Some(new) => {
                self.tx.put(&self.tables.groups, &at, &new)?;
                let turn = Turn {
                    group: Some(group.to_owned()),
                    ..Turn::default()
                };
                self.put_turn(new.when, new.head, &turn)
            }
            None => {
                self.tx.delete(&self.tables.groups, &at);
                Ok(())
            }
        }
    }

    fn put_turn(&mut self, when: i64, seq: u64, turn: &Turn) -> Result<(), Fault> {
        let key = (self.account, self.line, when, seq);
        self.tx.put(&self.tables.order, &key, turn)?;
        if (when, seq) < self.state.ahead_end {
            self.state.ahead.insert((when, seq), turn.clone());
            if self.state.ahead.len() > MOST_AHEAD
                && let Some((last, _)) = self.state.ahead.pop_last()
            {
                self.state.ahead_end = last;
            }
        }
        self.news += usize::from(when <= self.now);
        Ok(())
    }

    fn delete_turn(&mut self, when: i64, seq: u64) {
        self.state.ahead.remove(&(when, seq));
        self.tx
            .delete(&self.tables.order, &(self.account, self.line, when, seq));
    }
}
