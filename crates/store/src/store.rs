use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustc_hash::FxHashSet;
use tokio::sync::oneshot;

use crate::blob::Blobs;
use crate::engine::{Batch, Durable, Engine, Memory};
use crate::heads::Heads;
use crate::scope::{Locked, Locks};
use crate::table::id_of;
use crate::{BlobId, Error, Log, Record, Scope, Table, Tx, View};

/// How a store is opened. The default is in memory.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The data directory; `None` keeps everything in memory.
    pub dir: Option<PathBuf>,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// How long stretches of blobs are had without copying them; without it they are read into buffers.
    pub map: Option<MapFile>,
    /// How the journal is had as memory to copy entries into; without it they are written by system calls.
    pub map_for_writing: Option<MapForWriting>,
}

/// Gives a range of a file as memory, with all of it read in; blocks meanwhile. The store asks for ranges of files that nobody
/// changes any more.
pub type MapFile = fn(&File, Range<u64>) -> io::Result<Bytes>;

/// Gives a range of a file, which may lie behind its end, as memory: what is copied there is in the file at once and survives the
/// process. Room on the disk has been set aside when this returns. While the answer lives, nobody cuts the file.
pub type MapForWriting = fn(&File, Range<u64>) -> io::Result<Writable>;

/// Memory that is a file's.
pub type Writable = Box<dyn AsMut<[u8]> + Send + Sync>;

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Nothing for sure: writes reach the disk in large pieces.
    None,
    /// The process: a `kill -9` at any moment loses nothing, a power failure the last moments.
    #[default]
    Process,
    /// A power failure: the disk has confirmed. Concurrent transactions share a confirmation.
    Disk,
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Durability::None),
            "process" => Ok(Durability::Process),
            "disk" => Ok(Durability::Disk),
            _ => Err(format!("durability is none, process or disk, not {text:?}")),
        }
    }
}

/// The state of a region. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) blobs: Blobs,
    pub(crate) tables: Mutex<BTreeMap<u32, Registered>>,
    /// Tables whose name is on disk, in the rows of [`NAMES`].
    named: RwLock<FxHashSet<u32>>,
    locks: Locks,
    /// Transactions share it; what needs a state that stands still has it alone.
    gate: RwLock<()>,
    /// Last numbers of logs: a part of the state that is not looked up.
    pub(crate) heads: Heads,
    /// Held while reference counts are read and changed: blobs are shared between scopes.
    counts: Mutex<()>,
    /// Dropped last: the directory is ours until everything else is closed.
    _lock: Option<File>,
}

/// What is known of a table besides its id.
pub(crate) struct Registered {
    pub(crate) name: &'static str,
    /// Decodes a record and names its blobs; absent where records hold none.
    pub(crate) blobs: Option<BlobsOf>,
}

pub(crate) type BlobsOf = fn(&[u8], &mut dyn FnMut(BlobId)) -> Result<(), Error>;

/// The names of the tables in use, by id; a reset and a snapshot choose tables by name.
pub(crate) const NAMES: [u8; 4] = 1u32.to_be_bytes();
/// The reference counts of the blobs, by id.
pub(crate) const COUNTS: [u8; 4] = 2u32.to_be_bytes();

/// What happens once a commit is durable.
pub(crate) struct After {
    hooks: Vec<Box<dyn FnOnce() + Send>>,
    dead: Vec<BlobId>,
}

impl After {
    pub(crate) fn run(self, blobs: &Blobs) {
        for id in self.dead {
            blobs.remove(id);
        }
        for hook in self.hooks {
            hook();
        }
    }
}

/// How often a transaction lets the thread's other tasks go on before it keeps them waiting for a scope that another thread has. Scopes
/// are had for microseconds, less than it takes to put a thread to sleep and to wake it.
const PATIENCE: usize = 16;

/// What a transaction holds: its scope, and snapshots and resets off.
struct Entered<'s> {
    #[allow(dead_code, reason = "held until it is dropped")]
    locked: Locked<'s>,
    #[allow(dead_code, reason = "held until it is dropped")]
    gate: RwLockReadGuard<'s, ()>,
}

/// A commit that is applied but not yet acknowledged.
pub(crate) type Pending = oneshot::Receiver<Result<(), Error>>;

impl Store {
    /// Opens (or creates) the store. Takes milliseconds even where there is much data.
    pub fn open(options: Options) -> Result<Store, Error> {
        let (engine, blobs, lock): (Arc<dyn Engine>, _, _) = match &options.dir {
            None => (Arc::new(Memory::default()), Blobs::in_memory()?, None),
            Some(dir) => {
                let lock = lock(dir)?;
                let engine = Durable::open(dir, options.durability, options.map_for_writing)?;
                let sync = options.durability == Durability::Disk;
                (
                    Arc::new(engine),
                    Blobs::in_files(dir.join("blobs"), sync, options.map)?,
                    Some(lock),
                )
            }
        };
        blobs.sweep(&engine)?;
        Ok(Store(Arc::new(Inner {
            engine,
            blobs,
            tables: Mutex::default(),
            named: RwLock::default(),
            locks: Locks::new(),
            gate: RwLock::new(()),
            heads: Heads::new(),
            counts: Mutex::new(()),
            _lock: lock,
        })))
    }

    /// The table of this name, conventionally `service.plural`. Key parts conventionally begin
    /// with the account.
    ///
    /// # Panics
    /// If two names used by the program collide in their ids: rename one.
    pub fn table<K, V: Record>(&self, name: &'static str) -> Table<K, V> {
        let blobs: Option<BlobsOf> = V::HOLDS_BLOBS.then_some(|bytes, visit| {
            crate::record::decode::<V>(bytes)?.blobs(visit);
            Ok(())
        });
        Table::new(self.register(name, name, blobs))
    }

    /// The log of this name; every key of it has its own sequence.
    pub fn log<K, T: Record>(&self, name: &'static str) -> Log<K, T> {
        let heads = self.register(name, &format!("{name}#heads"), None);
        Log {
            entries: self.table(name),
            heads: Table::new(heads),
        }
    }

    fn register(&self, name: &'static str, hashed: &str, blobs: Option<BlobsOf>) -> u32 {
        let id = id_of(hashed);
        let mut tables = self.0.tables.lock();
        let table = tables.entry(id).or_insert(Registered { name, blobs });
        assert_eq!(table.name, name, "two tables have the id {id:08x}");
        id
    }

    /// The blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// Committed state, without a lock.
    pub fn read(&self) -> View {
        View(self.0.clone())
    }

    /// Runs `f` in a serializable transaction under the lock of `scope` and applies what it did if
    /// it returns `Ok`; on `Err`, its own or the store's, nothing is applied.
    ///
    /// Returns once the changes are as durable as was asked. If the caller gives up waiting for
    /// that, they are applied all the same. An error of the disk in this wait leaves open whether
    /// the changes survive a power failure.
    pub async fn transact<R, E: From<Error>>(
        &self,
        scope: Scope<'_>,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.calm().await;
        let mut patience = PATIENCE;
        let entered = loop {
            if let Some(entered) = self.try_enter(&scope) {
                break entered;
            }
            if patience == 0 {
                break self.enter(&scope);
            }
            patience -= 1;
            tokio::task::yield_now().await;
        };
        let (result, pending) = self.run(entered, f)?;
        if let Some(pending) = pending {
            pending.await.unwrap_or_else(|_| Err(gone()))?;
        }
        Ok(result)
    }

    /// [`Store::transact`] for start-up and tests: blocks the thread.
    ///
    /// # Panics
    /// With [`Durability::Disk`] on a thread that runs asynchronous tasks.
    pub fn transact_now<R, E: From<Error>>(
        &self,
        scope: Scope<'_>,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        while self.0.engine.is_overloaded() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let (result, pending) = self.run(self.enter(&scope), f)?;
        if let Some(pending) = pending {
            pending.blocking_recv().unwrap_or_else(|_| Err(gone()))?;
        }
        Ok(result)
    }

    /// Waits while the engine cannot keep up.
    async fn calm(&self) {
        while self.0.engine.is_overloaded() {
            let Some(relief) = self.0.engine.relief() else {
                return;
            };
            let relieved = relief.notified();
            if !self.0.engine.is_overloaded() {
                return;
            }
            relieved.await;
        }
    }

    /// Waits for the scope, and with it the thread.
    fn enter(&self, scope: &Scope<'_>) -> Entered<'_> {
        let gate = self.0.gate.read();
        let locked = self.0.locks.hold(scope);
        Entered { locked, gate }
    }

    fn try_enter(&self, scope: &Scope<'_>) -> Option<Entered<'_>> {
        let gate = self.0.gate.read();
        let locked = self.0.locks.try_hold(scope)?;
        Some(Entered { locked, gate })
    }

    fn run<R, E: From<Error>>(
        &self,
        entered: Entered<'_>,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, E>,
    ) -> Result<(R, Option<Pending>), E> {
        let mut tx = Tx::new(&self.0);
        let result = f(&mut tx)?;
        let Tx {
            writes,
            links,
            hooks,
            heads,
            ..
        } = tx;
        let (now, pending) = self.commit(writes.into_batch(), links, hooks)?;
        self.0.heads.apply(heads);
        drop(entered);
        // Behind the locks: a hook may wake someone who wants it.
        if let Some(now) = now {
            now.run(&self.0.blobs);
        }
        Ok((result, pending))
    }

    /// Commits; what must follow at once comes back as the first part of the answer.
    pub(crate) fn commit(
        &self,
        mut batch: Batch,
        links: BTreeMap<BlobId, i64>,
        hooks: Vec<Box<dyn FnOnce() + Send>>,
    ) -> Result<(Option<After>, Option<Pending>), Error> {
        if batch.is_empty() && links.is_empty() && hooks.is_empty() {
            return Ok((None, None));
        }
        let counting = (!links.is_empty()).then(|| self.0.counts.lock());
        let mut dead = Vec::new();
        let mut linked = Vec::new();
        for (id, change) in links {
            let key = [&COUNTS[..], &id.0].concat();
            let old = match self.0.engine.get(&key)? {
                Some(bytes) => count(&bytes)?,
                None if change > 0 && !self.0.blobs.is_unlinked(id) => {
                    return Err(Error::NoBlob(id));
                }
                None => 0,
            };
            let new = old.saturating_add(change);
            if old == 0 && new > 0 {
                linked.push(id);
            }
            if new <= 0 && old > 0 {
                dead.push(id);
            }
            let value = (new > 0).then(|| Bytes::copy_from_slice(&new.to_be_bytes()));
            batch.push((key.into(), value));
        }
        let named = self.name_tables(&mut batch);
        let after = After { hooks, dead };
        let (now, pending) = if batch.is_empty() || !self.0.engine.defers() {
            self.0.engine.commit(batch, None)?;
            (Some(after), None)
        } else {
            let (sender, receiver) = oneshot::channel();
            let blobs = self.0.blobs.clone();
            let done = Box::new(move |result: Result<(), Error>| {
                if result.is_ok() {
                    after.run(&blobs);
                }
                // The caller may have stopped waiting.
                let _ = sender.send(result);
            });
            self.0.engine.commit(batch, Some(done))?;
            (None, Some(receiver))
        };
        drop(counting);
        if !named.is_empty() {
            self.0.named.write().extend(named);
        }
        for id in linked {
            self.0.blobs.set_linked(id);
        }
        Ok((now, pending))
    }

    /// Keeps transactions out while the answer lives.
    pub(crate) fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.gate.write()
    }

    /// Names the blobs that a row's record links.
    pub(crate) fn blobs_of(
        &self,
        key: &[u8],
        value: &[u8],
        visit: &mut dyn FnMut(BlobId),
    ) -> Result<(), Error> {
        let id = key.first_chunk().map(|id| u32::from_be_bytes(*id));
        let blobs = id.and_then(|id| self.0.tables.lock().get(&id).and_then(|table| table.blobs));
        blobs.map_or(Ok(()), |blobs| blobs(value, visit))
    }

    pub(crate) fn registered_names(&self) -> BTreeMap<[u8; 4], String> {
        let tables = self.0.tables.lock();
        tables
            .iter()
            .map(|(id, table)| (id.to_be_bytes(), table.name.to_owned()))
            .collect()
    }

    /// The names on disk are about to go; the next write to a table puts its name back.
    pub(crate) fn forget_names(&self) {
        self.0.named.write().clear();
    }

    /// Moves recent rows from the journal to their place: for a clean end, so that the next start
    /// has nothing to replay. Blocks the thread.
    pub fn flush(&self) -> Result<(), Error> {
        self.0.engine.flush()
    }

    /// Adds the names of tables that `batch` writes to for the first time.
    fn name_tables(&self, batch: &mut Batch) -> Vec<u32> {
        let mut new: Vec<u32> = Vec::new();
        let named = self.0.named.read();
        for (key, _) in batch.iter() {
            let Some(id) = key.first_chunk().map(|id| u32::from_be_bytes(*id)) else {
                continue;
            };
            if id > u32::from_be_bytes(COUNTS) && !named.contains(&id) && !new.contains(&id) {
                new.push(id);
            }
        }
        drop(named);
        if !new.is_empty() {
            let tables = self.0.tables.lock();
            for id in &new {
                if let Some(table) = tables.get(id) {
                    let key = [NAMES, id.to_be_bytes()].concat();
                    batch.push((key.into(), Some(Bytes::from_static(table.name.as_bytes()))));
                }
            }
        }
        new
    }
}

/// Makes `dir` ours; the system takes the lock back however the process ends.
fn lock(dir: &Path) -> Result<File, Error> {
    std::fs::create_dir_all(dir).map_err(Error::io(format!("creating {}", dir.display())))?;
    let path = dir.join("lock");
    let failed = || Error::io(format!("locking {}", path.display()));
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(failed())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(dir.into())),
        Err(TryLockError::Error(error)) => Err(failed()(error)),
    }
}

/// Decodes a reference count.
pub(crate) fn count(bytes: &[u8]) -> Result<i64, Error> {
    match bytes.try_into() {
        Ok(bytes) => Ok(i64::from_be_bytes(bytes)),
        Err(_) => Err(Error::Corrupt(
            "a reference count has the wrong length".into(),
        )),
    }
}

pub(crate) fn gone() -> Error {
    Error::Engine("the store was closed while a write waited for the disk".into())
}
