//! A journal in front of a database.
//!
//! A commit appends to the journal and to an ordered map of recent rows (`active`). When that map
//! is large, a thread of its own freezes it, writes it to the base in one transaction and lets the
//! journal segments go that covered it. Reads look through active, frozen and base. A restart reads
//! only the journal's tail.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::Notify;

use super::base::Base;
use super::hot::Hot;
use super::journal::{self, Journal};
use super::{Batch, Done, Engine, Row, Scanned, Span, merge};
use crate::scratch::scratch;
use crate::{Durability, Error, MapForWriting};

type Recent = BTreeMap<Bytes, Option<Bytes>>;

/// Recent rows are moved to the base when they take so many bytes,
const FLUSH_AT: usize = 16 << 20;
/// and writers wait when the base falls behind so far.
const OVERLOAD_AT: usize = 3 * FLUSH_AT;
/// What the map costs per row besides the bytes.
const ROW_COST: usize = 128;
/// After a failed flush, such as on a full disk.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Durable {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    durability: Durability,
    journal_dir: PathBuf,
    /// Locked before `recent` wherever both are. The standard library's, which spins for about as long as an append takes:
    /// the other one soon yields the processor, a system call that costs more than the wait.
    journal: std::sync::Mutex<Journal>,
    recent: RwLock<State>,
    /// The size of the active rows, to be had without their lock.
    pressure: AtomicUsize,
    base: Base,
    /// Rows of the base. None of them is in the maps, so that it may be looked at first.
    hot: Hot,
    flushing: Mutex<()>,
    orders: Mutex<Orders>,
    ordered: Condvar,
    unsynced: Mutex<Unsynced>,
    appended: Condvar,
    relief: Notify,
}

#[derive(Default)]
struct State {
    active: Recent,
    size: usize,
    frozen: Option<Arc<Recent>>,
    /// Counts freezings and thawings; a scan that spans one begins again.
    generation: u64,
}

/// What the flushing thread is to do.
#[derive(Default)]
struct Orders {
    flush: bool,
    stop: bool,
}

/// What the syncing thread is to do.
#[derive(Default)]
struct Unsynced {
    waiting: Vec<(Arc<File>, Done)>,
    stop: bool,
}

impl State {
    fn apply(&mut self, batch: Batch) {
        for (key, value) in batch {
            let cost = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
            self.size += cost(&value);
            let key_cost = key.len() + ROW_COST;
            match self.active.insert(key, value) {
                Some(old) => self.size = self.size.saturating_sub(cost(&old)),
                None => self.size += key_cost,
            }
        }
    }
}

impl Durable {
    pub(crate) fn open(
        dir: &Path,
        durability: Durability,
        map: Option<MapForWriting>,
    ) -> Result<Durable, Error> {
        let (base, applied) = Base::open(&dir.join("base"))?;
        let journal_dir = dir.join("journal");
        let mut state = State::default();
        let journal = Journal::open(journal_dir.clone(), durability, map, applied, |batch| {
            state.apply(batch);
        })?;
        let is_large = state.size >= FLUSH_AT;
        let shared = Arc::new(Shared {
            durability,
            journal_dir,
            journal: std::sync::Mutex::new(journal),
            pressure: AtomicUsize::new(state.size),
            recent: RwLock::new(state),
            base,
            hot: Hot::new(),
            flushing: Mutex::new(()),
            orders: Mutex::new(Orders {
                flush: is_large,
                stop: false,
            }),
            ordered: Condvar::new(),
            unsynced: Mutex::default(),
            appended: Condvar::new(),
            relief: Notify::new(),
        });
        let mut threads = vec![spawn("store-flush", &shared, Shared::flush_on_order)?];
        if durability == Durability::Disk {
            threads.push(spawn("store-sync", &shared, Shared::sync_appended)?);
        }
        Ok(Durable { shared, threads })
    }
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    run: impl FnOnce(&Shared) + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let shared = shared.clone();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || run(&shared))
        .map_err(Error::io(format!("starting the thread {name}")))
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.shared.orders.lock().stop = true;
        self.shared.ordered.notify_all();
        self.shared.unsynced.lock().stop = true;
        self.shared.appended.notify_all();
        for thread in self.threads.drain(..) {
            // A hook that held the last handle of the store drops it on the syncing thread.
            if thread.thread().id() != std::thread::current().id() {
                // A panic of the thread has been reported where it happened.
                let _ = thread.join();
            }
        }
        if let Err(error) = self.shared.journal().close() {
            tracing::error!(%error, "the last writes are lost");
        }
    }
}

impl Engine for Durable {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(value) = self.shared.hot.get(key) {
            return Ok(Some(value));
        }
        let recent = self.shared.recent.read();
        let found = recent
            .active
            .get(key)
            .or_else(|| recent.frozen.as_ref().and_then(|frozen| frozen.get(key)));
        if let Some(value) = found {
            return Ok(value.clone());
        }
        let generation = recent.generation;
        drop(recent);
        // Rows leave the maps only after they have arrived in the base.
        let value = self.shared.base.get(key)?;
        if let Some(value) = &value {
            // If nothing has left the maps since and the key is in none, what was read is still what there is; who writes
            // a newer one forgets this one, and needs the lock for it.
            let recent = self.shared.recent.read();
            if recent.generation == generation && !recent.active.contains_key(key) {
                self.shared.hot.keep(key, value);
            }
        }
        Ok(value)
    }

    fn scan(
        &self,
        span: &Span,
        reverse: bool,
        limit: usize,
        out: &mut Vec<Row>,
    ) -> Result<Scanned, Error> {
        if span.is_empty() {
            return Ok(Scanned::All);
        }
        loop {
            let generation = self.shared.recent.read().generation;
            let mut base = Vec::new();
            // Not under the lock: this may go to the disk.
            let mut end = self.shared.base.scan(span, reverse, limit, &mut base)?;
            let recent = self.shared.recent.read();
            if recent.generation != generation {
                continue;
            }
            if let Some(frozen) = &recent.frozen {
                let mut merged = Vec::with_capacity(base.len());
                end = lay_over(base, end, frozen, span, reverse, limit, &mut merged);
                base = merged;
            }
            return Ok(lay_over(
                base,
                end,
                &recent.active,
                span,
                reverse,
                limit,
                out,
            ));
        }
    }

    fn scan_recent(&self, span: &Span, limit: usize, out: &mut Vec<Row>) -> bool {
        if span.is_empty() {
            return true;
        }
        let recent = self.shared.recent.read();
        let (mut older, mut end) = (Vec::new(), Scanned::All);
        if let Some(frozen) = &recent.frozen {
            end = lay_over(Vec::new(), end, frozen, span, false, limit, &mut older);
        }
        lay_over(older, end, &recent.active, span, false, limit, out);
        true
    }

    fn defers(&self) -> bool {
        self.shared.durability == Durability::Disk
    }

    fn commit(&self, batch: Batch, done: Option<Done>) -> Result<(), Error> {
        let shared = &self.shared;
        if batch.is_empty() {
            return Ok(());
        }
        let journal = scratch(|entry| {
            journal::encode(&batch, entry)?;
            let mut journal = shared.journal();
            journal.append(entry)?;
            Ok::<_, Error>(journal)
        })?;
        let waiting = done.map(|done| (journal.file(), done));
        let mut recent = shared.recent.write();
        shared.hot.forget(batch.iter().map(|(key, _)| key));
        recent.apply(batch);
        shared.pressure.store(recent.size, Ordering::Relaxed);
        let is_large = recent.size >= FLUSH_AT && recent.frozen.is_none();
        drop(recent);
        drop(journal);
        if is_large {
            shared.orders.lock().flush = true;
            shared.ordered.notify_one();
        }
        if let Some(waiting) = waiting {
            shared.unsynced.lock().waiting.push(waiting);
            shared.appended.notify_one();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), Error> {
        self.shared.flush()
    }

    fn is_overloaded(&self) -> bool {
        self.shared.pressure.load(Ordering::Relaxed) >= OVERLOAD_AT
    }

    fn relief(&self) -> Option<&Notify> {
        Some(&self.shared.relief)
    }
}

fn lay_over(
    base: Vec<Row>,
    end: Scanned,
    rows: &Recent,
    span: &Span,
    reverse: bool,
    limit: usize,
    out: &mut Vec<Row>,
) -> Scanned {
    let range = rows.range::<[u8], _>((
        Bound::Included(&span.lower[..]),
        Bound::Excluded(&span.upper[..]),
    ));
    if reverse {
        merge(base, end, range.rev(), true, limit, out)
    } else {
        merge(base, end, range, false, limit, out)
    }
}

impl Shared {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        // Nothing that can panic leaves it half changed.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_on_order(&self) {
        loop {
            let mut orders = self.orders.lock();
            while !orders.flush && !orders.stop {
                self.ordered.wait(&mut orders);
            }
            if orders.stop {
                return;
            }
            orders.flush = false;
            drop(orders);
            if let Err(error) = self.flush() {
                tracing::warn!(%error, "cannot move rows to the database yet, the journal keeps them");
                let mut orders = self.orders.lock();
                orders.flush = true;
                if !orders.stop {
                    self.ordered.wait_for(&mut orders, RETRY);
                }
            }
        }
    }

    /// Moves the active rows to the base. After a failure the frozen ones stay readable.
    fn flush(&self) -> Result<(), Error> {
        let _alone = self.flushing.lock();
        // Frozen rows of a failed flush are moved first, with whatever segments they cover.
        let mut journal = self.journal();
        let recent = self.recent.read();
        if recent.active.is_empty() && recent.frozen.is_none() {
            return Ok(());
        }
        drop(recent);
        let complete = journal.rotate()?;
        let mut recent = self.recent.write();
        let newer = std::mem::take(&mut recent.active);
        recent.size = 0;
        self.pressure.store(0, Ordering::Relaxed);
        recent.generation += 1;
        let frozen = match recent.frozen.take() {
            None => newer,
            Some(older) => {
                let mut rows = Arc::unwrap_or_clone(older);
                rows.extend(newer);
                rows
            }
        };
        let frozen = Arc::new(frozen);
        recent.frozen = Some(frozen.clone());
        drop(recent);
        drop(journal);
        self.relief.notify_waiters();

        self.base.apply(frozen.iter(), complete)?;

        let mut recent = self.recent.write();
        let old = recent.frozen.take();
        recent.generation += 1;
        let is_large = recent.size >= FLUSH_AT;
        drop(recent);
        drop((old, frozen));
        if is_large {
            self.orders.lock().flush = true;
        }
        journal::discard(&self.journal_dir, complete)
    }

    /// Confirms everything appended since the last time with one sync.
    fn sync_appended(&self) {
        loop {
            let mut unsynced = self.unsynced.lock();
            while unsynced.waiting.is_empty() && !unsynced.stop {
                self.appended.wait(&mut unsynced);
            }
            let waiting = std::mem::take(&mut unsynced.waiting);
            drop(unsynced);
            let Some((newest, _)) = waiting.last() else {
                return;
            };
            // An older segment was synced when this one began.
            let result = newest.clone().sync_data();
            for (_, done) in waiting {
                done(match &result {
                    Ok(()) => Ok(()),
                    Err(error) => Err(Error::io("syncing the journal")(std::io::Error::from(
                        error.kind(),
                    ))),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(engine: &Durable, key: &'static str) -> Result<(), Error> {
        let batch = vec![(Bytes::from(key), Some(Bytes::from(key)))];
        engine.commit(batch, None)
    }

    #[test]
    fn a_full_disk_fails_the_write_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Durable::open(dir.path(), Durability::Process, None).unwrap();
        put(&engine, "before").unwrap();
        let full = File::options().append(true).open("/dev/full").unwrap();
        let good = engine.shared.journal().replace_file(Arc::new(full));

        assert!(put(&engine, "lost").unwrap_err().is_out_of_space());
        assert!(engine.shared.flush().is_err());
        assert_eq!(engine.get(b"lost").unwrap(), None);
        assert_eq!(engine.get(b"before").unwrap(), Some(Bytes::from("before")));

        engine.shared.journal().replace_file(good);
        put(&engine, "after").unwrap();
        drop(engine);
        let engine = Durable::open(dir.path(), Durability::Process, None).unwrap();
        assert_eq!(engine.get(b"lost").unwrap(), None);
        assert!(engine.get(b"before").unwrap().is_some());
        assert!(engine.get(b"after").unwrap().is_some());
    }

    /// Rows are looked for in what is kept of the base first: what is kept must never be older than what was committed.
    #[test]
    fn a_row_never_goes_back_while_it_moves_to_the_base() {
        const LAST: u64 = 3000;
        let dir = tempfile::tempdir().unwrap();
        let engine = Durable::open(dir.path(), Durability::None, None).unwrap();
        let number = |bytes: Bytes| u64::from_be_bytes(bytes[..].try_into().unwrap());
        let put = |n: u64| {
            let value = Bytes::copy_from_slice(&n.to_be_bytes());
            engine
                .commit(vec![(Bytes::from("row"), Some(value))], None)
                .unwrap();
        };
        put(0);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for n in 1..=LAST {
                    put(n);
                    assert_eq!(engine.get(b"row").unwrap().map(number), Some(n));
                    // Pauses, in which the row comes to rest and is kept.
                    if n % 100 == 0 {
                        engine.flush().unwrap();
                        assert_eq!(engine.get(b"row").unwrap().map(number), Some(n));
                    }
                }
            });
            let mut seen = 0;
            while seen < LAST {
                let next = engine.get(b"row").unwrap().map_or(0, number);
                assert!(next >= seen, "{next} after {seen}");
                seen = next;
            }
        });
    }
}
