//! One lane of a shard: batches one after the other.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::watch;
use wire::{Fault, Timestamp};

use super::progress::{Failing, Lane, Open};
use super::shard::Consumer;
use super::source::Item;
use super::{Batch, Lost, Outcome, Window};

/// Bytes of an event's records: what a function can be given at once.
const MOST_BYTES: usize = 6_000_000;
/// Records of one look, and looks at once.
const LOOK: usize = 10_000;
const LOOKS: usize = 8;
/// Milliseconds before a failed batch is tried again, doubling from the first to the last.
const RETRY: (i64, i64) = (250, 60_000);
/// The longest pause, milliseconds, where a sink has no room: it may have some again at any moment.
const REFUSED: i64 = 5_000;
/// Bytes of a window's state.
const STATE_LIMIT: usize = 1024 * 1024;

/// Why a lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All of the shard was taken.
    Done,
    /// It was told to.
    Stopped,
}

/// Records that are handed over together, and how that has gone so far.
struct Try {
    items: Vec<Item>,
    /// How often they were handed over.
    attempts: u32,
    /// How often that counted as a failure.
    failures: u32,
    /// How often they were not even tried.
    refusals: u32,
    detail: Option<Value>,
}

impl Try {
    fn of(items: Vec<Item>) -> Try {
        Try {
            items,
            attempts: 0,
            failures: 0,
            refusals: 0,
            detail: None,
        }
    }
}

pub(super) struct LaneRun {
    of: Arc<Consumer>,
    shard: String,
    index: usize,
    /// The position behind what was read.
    next: u64,
    window: Option<Open>,
    /// What was failing when the lane last ran.
    failing: Option<Failing>,
    earlier: Vec<u64>,
    pending: VecDeque<Item>,
    bytes: usize,
    is_end: bool,
    stopped: watch::Receiver<()>,
}

/// The place of a key among that many.
fn place(key: &str, count: usize) -> usize {
    if count < 2 {
        return 0;
    }
    // FNV-1a: positions are stored by lane, so a key's lane must not change with the compiler.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash % count as u64) as usize
}

impl LaneRun {
    pub(super) fn new(
        of: Arc<Consumer>,
        shard: &str,
        index: usize,
        lane: Lane,
        earlier: Vec<u64>,
    ) -> LaneRun {
        LaneRun {
            stopped: of.stopped.clone(),
            of,
            shard: shard.to_owned(),
            index,
            next: lane.next,
            window: lane.window,
            failing: lane.failing,
            earlier,
            pending: VecDeque::new(),
            bytes: 0,
            is_end: false,
        }
    }

    pub(super) async fn run(mut self) -> Result<End, Fault> {
        let changed: Arc<Notify> = self.of.stream.changed(&self.shard)?;
        let mut saved = self.next;
        let mut gathered_since: Option<Timestamp> = None;
        loop {
            if self.stopped.has_changed().is_err() {
                return Ok(End::Stopped);
            }
            // Asked for before looking, so that what comes in between is not missed.
            let mut news = std::pin::pin!(changed.notified());
            news.as_mut().enable();
            let is_through = self.look()?;
            let clock = self.of.cloud.clock.clone();
            let now = clock.now();
            if !is_through {
                // Much is passed over: others have their turn, and it is not looked through again.
                if self.pending.is_empty() {
                    self.save(self.next, &[]).await?;
                    saved = self.next;
                }
                tokio::task::yield_now().await;
                continue;
            }
            if self.pending.is_empty() {
                gathered_since = None;
                if let Some(end) = self.window_end()
                    && (now >= end || self.is_end)
                {
                    if self.close_window(false).await? == End::Stopped {
                        return Ok(End::Stopped);
                    }
                    continue;
                }
                if saved != self.next {
                    self.save(self.next, &[]).await?;
                    saved = self.next;
                }
                if self.is_end {
                    return Ok(End::Done);
                }
                let end = self.window_end();
                if !self.wait(news, end).await {
                    return Ok(End::Stopped);
                }
                continue;
            }
            let since = *gathered_since.get_or_insert(now);
            let due = since.plus_millis(self.of.plan.window);
            let is_full = self.pending.len() >= self.of.plan.batch_size || self.bytes >= MOST_BYTES;
            if !is_full && !self.is_end && now < due {
                let until = self.window_end().map_or(due, |end| end.min(due));
                if !self.wait(news, Some(until)).await {
                    return Ok(End::Stopped);
                }
                if self.window_end().is_none_or(|end| clock.now() < end) {
                    continue;
                }
            }
            gathered_since = None;
            if self.deliver().await? == End::Stopped {
                return Ok(End::Stopped);
            }
            saved = u64::MAX;
        }
    }

    /// Waits for news or a time; whether to go on.
    async fn wait(&mut self, news: impl Future<Output = ()>, until: Option<Timestamp>) -> bool {
        let clock = self.of.cloud.clock.clone();
        let time = async {
            match until {
                Some(when) => clock.until(when).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = news => true,
            () = time => true,
            _ = self.stopped.changed() => false,
        }
    }

    /// Reads on until a batch is full or nothing more is there; whether that was reached in a few looks.
    fn look(&mut self) -> Result<bool, Fault> {
        let plan = &self.of.plan;
        let count = plan.parallel.max(1);
        let wants_view = !plan.filters.is_empty();
        let mut looks = 0;
        while self.pending.len() < plan.batch_size && self.bytes < MOST_BYTES && !self.is_end {
            if looks == LOOKS {
                return Ok(false);
            }
            looks += 1;
            let is_picky = wants_view || count > 1;
            let limit = match is_picky {
                true => plan.batch_size.max(500),
                false => plan.batch_size - self.pending.len(),
            };
            let read = self
                .of
                .stream
                .read(&self.shard, self.next, limit.min(LOOK), wants_view)?;
            let first = read.next.saturating_sub(read.items.len() as u64);
            let is_empty = read.items.is_empty();
            for (number, item) in (first..).zip(read.items) {
                let is_mine = place(&item.key, count) == self.index;
                let was_had = self
                    .earlier
                    .get(place(&item.key, self.earlier.len()))
                    .is_some_and(|had| number < *had);
                let is_wanted = !wants_view || plan.filters.iter().any(|f| f.matches(item.view()));
                if is_mine && !was_had && is_wanted {
                    self.bytes += item.size;
                    self.pending.push_back(item);
                }
            }
            self.next = read.next;
            self.is_end = read.is_end;
            if is_empty {
                break;
            }
        }
        Ok(true)
    }

    /// When the open window ends.
    fn window_end(&self) -> Option<Timestamp> {
        let length = self.of.plan.tumbling?;
        let open = self.window.as_ref()?;
        Some(Timestamp(open.start + length))
    }

    /// Takes the next batch from what was read.
    fn batch(&mut self) -> Vec<Item> {
        let end = self.window_end();
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(item) = self.pending.front() {
            let is_late = end.is_some_and(|end| item.arrived >= end);
            let is_full = items.len() >= self.of.plan.batch_size
                || (bytes + item.size > MOST_BYTES && !items.is_empty());
            if is_late || is_full {
                break;
            }
            bytes += item.size;
            self.bytes = self.bytes.saturating_sub(item.size);
            items.extend(self.pending.pop_front());
        }
        items
    }

    /// Hands over the next batch, in whatever pieces that takes.
    async fn deliver(&mut self) -> Result<End, Fault> {
        if let Some(length) = self.of.plan.tumbling
            && let Some(first) = self.pending.front()
        {
            if self.window_end().is_some_and(|end| first.arrived >= end) {
                return self.close_window(false).await;
            }
            if self.window.is_none() {
                let length = length.max(1);
                self.window = Some(Open {
                    start: first.arrived.0.div_euclid(length) * length,
                    state: json!({}),
                });
            }
        }
        let mut first = Try::of(self.batch());
        let mut tries = VecDeque::new();
        if let Some(failing) = self.failing.take() {
            let count = failing.count.min(first.items.len());
            tries.push_back(Try::of(first.items.split_off(count)));
            first.attempts = failing.attempts;
            first.failures = failing.failures;
        }
        tries.push_front(first);
        while let Some(attempt) = tries.pop_front() {
            if attempt.items.is_empty() {
                continue;
            }
            let is_last = tries.is_empty() && self.pending.is_empty();
            if self.attempt(attempt, &mut tries, is_last).await? == End::Stopped {
                return Ok(End::Stopped);
            }
        }
        Ok(End::Done)
    }

    /// Hands records over once. What is left of them is put before the other tries.
    async fn attempt(
        &mut self,
        mut attempt: Try,
        tries: &mut VecDeque<Try>,
        is_last: bool,
    ) -> Result<End, Fault> {
        let plan = self.of.plan.clone();
        let clock = self.of.cloud.clock.clone();
        if let Some(most) = plan.max_age {
            let oldest = clock.now().plus_millis(-most);
            let old = attempt.items.partition_point(|item| item.arrived < oldest);
            if old > 0 {
                let rest = attempt.items.split_off(old);
                let is_last = is_last && rest.is_empty();
                self.lose(&attempt, true, is_last).await?;
                tries.push_front(Try {
                    items: rest,
                    ..attempt
                });
                return Ok(End::Done);
            }
        }
        let window = self.window_now(false, false);
        let batch = Batch {
            shard: &self.shard,
            items: &attempt.items,
            window: window.as_ref(),
        };
        match self.of.sink.take(batch).await {
            Outcome::Done(state) => {
                if let (Some(open), Some(state)) = (&mut self.window, state) {
                    open.state = state;
                }
                let next = self.behind(&attempt.items, is_last)?;
                self.save(next, &[]).await?;
                if self.state_size() > STATE_LIMIT {
                    return self.close_window(true).await;
                }
                Ok(End::Done)
            }
            Outcome::Later => {
                let pause = wait_after(attempt.refusals).min(REFUSED);
                attempt.refusals += 1;
                tries.push_front(attempt);
                self.pause(pause).await
            }
            Outcome::Failed {
                first,
                is_reported,
                detail,
            } => {
                attempt.attempts += 1;
                attempt.detail = Some(detail);
                if first > 0 && first < attempt.items.len() {
                    let rest = attempt.items.split_off(first);
                    let next = self.behind(&attempt.items, false)?;
                    self.save(next, &[]).await?;
                    attempt.items = rest;
                }
                if plan.bisects && !is_reported && attempt.items.len() > 1 {
                    let rest = attempt.items.split_off(attempt.items.len() / 2);
                    tries.push_front(Try {
                        items: rest,
                        attempts: attempt.attempts,
                        failures: attempt.failures,
                        refusals: 0,
                        detail: attempt.detail.clone(),
                    });
                    self.note(&attempt).await?;
                    tries.push_front(attempt);
                    return Ok(End::Done);
                }
                attempt.failures += 1;
                if plan.retries.is_some_and(|most| attempt.failures > most) {
                    self.lose(&attempt, false, is_last).await?;
                    return Ok(End::Done);
                }
                self.note(&attempt).await?;
                let pause = wait_after(attempt.failures - 1);
                let end = self.pause(pause).await?;
                if end == End::Done && self.is_there(&attempt)? {
                    tries.push_front(attempt);
                }
                Ok(end)
            }
        }
    }

    /// Whether records that fail again and again are still within the stream's retention.
    fn is_there(&self, attempt: &Try) -> Result<bool, Fault> {
        let Some(first) = attempt.items.first() else {
            return Ok(false);
        };
        let after = self.of.stream.after(&self.shard, &first.sequence)?;
        let at = after.saturating_sub(1);
        let found = self.of.stream.read(&self.shard, at, 1, false)?;
        Ok(found
            .items
            .first()
            .is_some_and(|item| item.sequence == first.sequence))
    }

    /// Leaves records behind that are given up.
    async fn lose(&mut self, attempt: &Try, is_old: bool, is_last: bool) -> Result<(), Fault> {
        let lost = Lost {
            shard: &self.shard,
            items: &attempt.items,
            is_old,
            attempts: attempt.attempts,
            detail: attempt.detail.as_ref(),
        };
        let sends = self.of.sink.lose(lost).await?;
        let next = self.behind(&attempt.items, is_last)?;
        self.save(next, &sends).await
    }

    /// The position behind records: behind all that was read, where they are the last of it.
    fn behind(&self, items: &[Item], is_last: bool) -> Result<u64, Fault> {
        match items.last() {
            Some(last) if !is_last => self.of.stream.after(&self.shard, &last.sequence),
            _ => Ok(self.next),
        }
    }

    async fn save(&self, next: u64, sends: &[crate::Delivery]) -> Result<(), Fault> {
        let lane = Lane {
            next,
            window: self.window.clone(),
            failing: None,
        };
        self.change(sends, |own| *own = lane).await
    }

    /// Keeps how often records have failed.
    async fn note(&self, attempt: &Try) -> Result<(), Fault> {
        let failing = Failing {
            count: attempt.items.len(),
            attempts: attempt.attempts,
            failures: attempt.failures,
        };
        self.change(&[], |own| own.failing = Some(failing)).await
    }

    async fn change(
        &self,
        sends: &[crate::Delivery],
        f: impl FnOnce(&mut Lane),
    ) -> Result<(), Fault> {
        let index = self.index;
        self.of
            .progress
            .write(&self.of.owner, &self.shard, sends, |row| {
                if let Some(own) = row.lanes.get_mut(index) {
                    f(own);
                }
            })
            .await
    }

    async fn pause(&mut self, millis: i64) -> Result<End, Fault> {
        let clock = self.of.cloud.clock.clone();
        tokio::select! {
            () = clock.pass(millis) => Ok(End::Done),
            _ = self.stopped.changed() => Ok(End::Stopped),
        }
    }

    fn state_size(&self) -> usize {
        self.window
            .as_ref()
            .map_or(0, |open| open.state.to_string().len())
    }

    fn window_now(&self, is_final: bool, is_early: bool) -> Option<Window> {
        let open = self.window.as_ref()?;
        Some(Window {
            start: Timestamp(open.start),
            end: self.window_end()?,
            state: open.state.clone(),
            is_final,
            is_early,
        })
    }

    /// Ends the open window; nothing else is taken before the sink has taken that.
    async fn close_window(&mut self, is_early: bool) -> Result<End, Fault> {
        let mut failures = 0;
        while let Some(window) = self.window_now(true, is_early) {
            let batch = Batch {
                shard: &self.shard,
                items: &[],
                window: Some(&window),
            };
            if matches!(self.of.sink.take(batch).await, Outcome::Done(_)) {
                let open = self.window.take();
                if is_early {
                    self.window = open.map(|open| Open {
                        state: json!({}),
                        ..open
                    });
                }
                let next = match self.pending.front() {
                    Some(first) => self.of.stream.after(&self.shard, &first.sequence)? - 1,
                    None => self.next,
                };
                self.save(next, &[]).await?;
                break;
            }
            if self.pause(wait_after(failures)).await? == End::Stopped {
                return Ok(End::Stopped);
            }
            failures += 1;
        }
        Ok(End::Done)
    }
}

fn wait_after(failures: u32) -> i64 {
    (RETRY.0 << failures.min(16)).min(RETRY.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_all_lanes_and_stay_in_theirs() {
        let mut seen = std::collections::HashSet::new();
        for n in 0..200 {
            let key = n.to_string();
            assert_eq!(place(&key, 10), place(&key, 10));
            seen.insert(place(&key, 10));
        }
        assert_eq!(seen.len(), 10);
        assert_eq!(place("a", 1), 0);
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<i64> = (0..10).map(wait_after).collect();
        assert_eq!(pauses[..3], [250, 500, 1_000]);
        assert_eq!(pauses.last(), Some(&60_000));
        assert_eq!(wait_after(u32::MAX), 60_000);
    }
}
