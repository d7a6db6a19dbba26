//! Contents too large for a record, by id.
//!
//! A blob is written once, then shared by counting links. Until its first link is committed it
//! belongs to its [`NewBlob`] and goes away with it; what a crash leaves behind is swept in the
//! background after the next start. Ids are unique over all stores and times.

mod lent;
mod pin;
mod reader;
mod spare;
mod transfer;
mod writer;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::engine::Engine;
use crate::store::{COUNTS, MapFile};
pub use pin::BlobPin;
pub use reader::BlobStream;
pub use writer::BlobWriter;

/// The name of a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobId(#[serde(with = "serde_bytes")] pub(crate) [u8; 16]);

impl BlobId {
    fn parse(name: &str) -> Option<BlobId> {
        let mut id = [0; 16];
        hex::decode_to_slice(name, &mut id).ok()?;
        Some(BlobId(id))
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

/// A blob as a record keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Its name.
    pub id: BlobId,
    /// Its length in bytes.
    pub len: u64,
}

/// A complete blob that no record uses yet. Keep it until the transaction that links it is
/// through; without one, dropping it deletes the content.
#[derive(Debug)]
pub struct NewBlob {
    blob: Blob,
    blobs: Blobs,
}

impl Deref for NewBlob {
    type Target = Blob;

    fn deref(&self) -> &Blob {
        &self.blob
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        if self.blobs.set_linked(self.blob.id) {
            self.blobs.remove(self.blob.id);
        }
    }
}

/// All blobs of a store. Cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Shared>);

struct Shared {
    place: Place,
    /// Begins every id given out by this process.
    token: [u8; 8],
    next: AtomicU64,
    /// Blobs of this process that are being written or not linked yet.
    unlinked: Mutex<HashSet<BlobId>>,
    held: Mutex<Held>,
    /// Blobs that came from a snapshot since the start, perhaps not committed yet.
    loaded: Mutex<HashSet<BlobId>>,
    sync: bool,
    map: Option<MapFile>,
}

/// What keeps blobs from being deleted: a snapshot all of them, a pin a few.
#[derive(Default)]
struct Held {
    holders: usize,
    waiting: Vec<BlobId>,
    pinned: HashMap<BlobId, pin::Pinned>,
    spares: spare::Spares,
}

enum Place {
    Memory(Mutex<HashMap<BlobId, Arc<[Bytes]>>>),
    Files(PathBuf),
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blobs")
    }
}

impl Blobs {
    pub(crate) fn in_memory() -> Result<Blobs, Error> {
        Blobs::new(Place::Memory(Mutex::default()), false, None)
    }

    /// Blobs as files under `dir`, which is created with the first. `sync`: a finished blob
    /// survives a power failure. `map`: how long stretches are read.
    pub(crate) fn in_files(dir: PathBuf, sync: bool, map: Option<MapFile>) -> Result<Blobs, Error> {
        Blobs::new(Place::Files(dir), sync, map)
    }

    fn new(place: Place, sync: bool, map: Option<MapFile>) -> Result<Blobs, Error> {
        let mut token = [0; 8];
        getrandom::fill(&mut token)
            .map_err(|error| Error::Engine(format!("no random numbers: {error}")))?;
        Ok(Blobs(Arc::new(Shared {
            place,
            token,
            next: AtomicU64::new(1),
            unlinked: Mutex::default(),
            held: Mutex::default(),
            loaded: Mutex::default(),
            sync,
            map,
        })))
    }

    /// Begins a new blob. Its file appears with the first bytes that do not fit the buffer.
    pub fn create(&self) -> BlobWriter {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.0.token);
        id[8..].copy_from_slice(&number.to_be_bytes());
        let id = BlobId(id);
        self.0.unlinked.lock().insert(id);
        BlobWriter::new(self.clone(), id)
    }

    /// The bytes of `range`, cut at the end of the blob, in pieces of up to 4 MiB. Goes on
    /// undisturbed when the blob is released meanwhile.
    ///
    /// Must be called, and read, inside a tokio runtime.
    pub fn read(&self, id: BlobId, range: Range<u64>) -> Result<BlobStream, Error> {
        match &self.0.place {
            Place::Memory(blobs) => {
                let pieces = blobs.lock().get(&id).cloned().ok_or(Error::NoBlob(id))?;
                Ok(BlobStream::of_pieces(pieces, range))
            }
            Place::Files(dir) => {
                let reading = self.reading(id).ok_or(Error::NoBlob(id))?;
                let file = fs::File::open(path_of(dir, id)).map_err(|error| {
                    if error.kind() == std::io::ErrorKind::NotFound {
                        Error::NoBlob(id)
                    } else {
                        Error::io(format!("opening blob {id}"))(error)
                    }
                })?;
                BlobStream::of_file(file, self.0.map, range, reading)
                    .map_err(Error::io(format!("reading blob {id}")))
            }
        }
    }

    /// Deletes, in the background, the files that a crash left without a link.
    pub(crate) fn sweep(&self, engine: &Arc<dyn Engine>) -> Result<(), Error> {
        let Place::Files(dir) = &self.0.place else {
            return Ok(());
        };
        if !dir.exists() {
            return Ok(());
        }
        let (dir, shared, engine) = (dir.clone(), Arc::downgrade(&self.0), Arc::downgrade(engine));
        std::thread::Builder::new()
            .name("store-sweep".into())
            .spawn(move || {
                if let Err(error) = sweep(&dir, &shared, &engine) {
                    tracing::warn!(%error, "unused blobs may remain until the next start");
                }
            })
            .map_err(Error::io("starting the thread store-sweep"))?;
        Ok(())
    }

    pub(crate) fn is_unlinked(&self, id: BlobId) -> bool {
        self.0.unlinked.lock().contains(&id)
    }

    /// From now on the blob belongs to records (or nobody). True if it did not before.
    pub(crate) fn set_linked(&self, id: BlobId) -> bool {
        self.0.unlinked.lock().remove(&id)
    }

    /// Deletes the content, unless a snapshot still copies or a reader has pinned it: then behind them.
    pub(crate) fn remove(&self, id: BlobId) {
        let sparable = self.sparable(id);
        let mut held = self.0.held.lock();
        if held.holders > 0 {
            held.waiting.push(id);
            return;
        }
        if let Some(pinned) = held.pinned.get_mut(&id) {
            pinned.is_dead = true;
            return;
        }
        if sparable.is_some_and(|len| self.spare(&mut held.spares, id, len)) {
            return;
        }
        drop(held);
        match &self.0.place {
            Place::Memory(blobs) => {
                blobs.lock().remove(&id);
            }
            Place::Files(dir) => {
                let path = path_of(dir, id);
                // Freeing the extents of a large file takes its time.
                match tokio::runtime::Handle::try_current() {
                    Ok(runtime) => drop(runtime.spawn_blocking(move || unlink(&path))),
                    Err(_) => unlink(&path),
                }
            }
        }
    }
}

/// Goes through the directories of `dir`.
fn sweep(dir: &Path, shared: &Weak<Shared>, engine: &Weak<dyn Engine>) -> Result<(), Error> {
    let failed = || Error::io(format!("sweeping {}", dir.display()));
    for folder in fs::read_dir(dir).map_err(failed())? {
        let folder = folder.map_err(failed())?.path();
        for file in fs::read_dir(&folder).map_err(failed())? {
            let file = file.map_err(failed())?;
            // The store may be closed before this is through.
            let (Some(shared), Some(engine)) = (shared.upgrade(), engine.upgrade()) else {
                return Ok(());
            };
            let name = file.file_name();
            let Some(id) = name.to_str().and_then(BlobId::parse) else {
                continue;
            };
            let is_ours = id.0.starts_with(&shared.token) || shared.loaded.lock().contains(&id);
            let is_ours = is_ours || shared.held.lock().pinned.contains_key(&id);
            if !is_ours && engine.get(&[&COUNTS[..], &id.0].concat())?.is_none() {
                unlink(&file.path());
            }
        }
    }
    Ok(())
}

/// A file that stays is swept after the next start, so a failure needs no more than a line.
fn unlink(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot delete a blob");
    }
}

/// Files are spread over 256 directories by the part of the id that changes fastest.
fn path_of(dir: &Path, id: BlobId) -> PathBuf {
    dir.join(hex::encode(&id.0[15..])).join(id.to_string())
}
