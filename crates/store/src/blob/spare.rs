//! Files of deleted blobs, kept for a moment: the next content is written into one of them.
//!
//! To make a file and to let one go can cost more than to write a megabyte into it: pages and blocks are had and given back,
//! and ext4 steps over each inode that was freed in the last seconds before it takes one (`recently_deleted`). Who overwrites
//! objects pays that with each of them.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{BlobId, Blobs, Place, Shared, path_of, unlink};

/// How many files are kept,
const MOST: usize = 16;
/// how long the longest is,
const LONGEST: u64 = 4 << 20;
/// and for how long.
const KEPT: Duration = Duration::from_secs(2);

/// The files. Whoever wants to read a blob whose file is here comes too late.
#[derive(Default)]
pub(super) struct Spares {
    idle: Vec<Spare>,
    /// Those that are about to have another name.
    taken: HashSet<BlobId>,
    /// Readers by blob: what they have open is never written over.
    readers: HashMap<BlobId, usize>,
    /// Whether a task waits for their time to end.
    is_tended: bool,
}

struct Spare {
    /// The blob it was, which still names it.
    id: BlobId,
    len: u64,
    since: Instant,
}

/// While it lives, the file of a blob keeps its content, though it may lose its name.
pub(super) struct Reading {
    blobs: Blobs,
    id: BlobId,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let readers = &mut self.blobs.0.held.lock().spares.readers;
        if let Some(count) = readers.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.id);
            }
        }
    }
}

impl Spares {
    /// Takes a file out whose length is near `len`.
    fn take(&mut self, len: u64) -> Option<Spare> {
        let nearest = self.idle.iter().enumerate();
        let (at, _) = nearest.min_by_key(|(_, spare)| spare.len.abs_diff(len))?;
        let spare = self.idle.swap_remove(at);
        self.taken.insert(spare.id);
        Some(spare)
    }

    fn expired(&mut self, now: Instant) -> Vec<BlobId> {
        let is_expired = |spare: &mut Spare| now.duration_since(spare.since) >= KEPT;
        self.idle
            .extract_if(.., is_expired)
            .map(|spare| spare.id)
            .collect()
    }
}

impl Blobs {
    /// Begins to read a blob; `None` if it was deleted.
    pub(super) fn reading(&self, id: BlobId) -> Option<Reading> {
        let spares = &mut self.0.held.lock().spares;
        if spares.taken.contains(&id) || spares.idle.iter().any(|spare| spare.id == id) {
            return None;
        }
        *spares.readers.entry(id).or_default() += 1;
        let blobs = self.clone();
        Some(Reading { blobs, id })
    }

    /// Sees to it that a deleted blob has no file, for one that comes back. Blocks.
    pub(super) fn unspare(&self, id: BlobId) {
        loop {
            let mut held = self.0.held.lock();
            let spares = &mut held.spares;
            if !spares.taken.contains(&id) {
                // Under the same lock: nobody may take it in between.
                let here = spares.idle.extract_if(.., |spare| spare.id == id);
                return self.0.unlink_all(here.map(|spare| spare.id).collect());
            }
            drop(held);
            std::thread::yield_now();
        }
    }

    /// The length of a blob's file where that could be kept.
    pub(super) fn sparable(&self, id: BlobId) -> Option<u64> {
        let Place::Files(dir) = &self.0.place else {
            return None;
        };
        // A rename would have to reach the disk before what is written.
        if self.0.sync {
            return None;
        }
        let len = fs::metadata(path_of(dir, id)).ok()?.len();
        (len <= LONGEST).then_some(len)
    }

    /// Keeps a deleted blob's file; false where that cannot be, and it is to be deleted.
    pub(super) fn spare(&self, spares: &mut Spares, id: BlobId, len: u64) -> bool {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return false;
        };
        if spares.idle.len() >= MOST || spares.readers.contains_key(&id) {
            return false;
        }
        let since = Instant::now();
        spares.idle.push(Spare { id, len, since });
        if !spares.is_tended {
            spares.is_tended = true;
            runtime.spawn(tend(Arc::downgrade(&self.0)));
        }
        true
    }

    /// A file at `path` for about `len` bytes, and how long it is already: what it holds is to be written over, and what is behind
    /// the end cut off.
    pub(super) fn file(&self, path: &Path, len: u64) -> io::Result<(fs::File, u64)> {
        let spare = self.0.held.lock().spares.take(len);
        if let (Some(spare), Place::Files(dir)) = (spare, &self.0.place) {
            let old = path_of(dir, spare.id);
            let file = in_folder(path, || fs::rename(&old, path))
                .and_then(|()| OpenOptions::new().write(true).open(path));
            if file.is_err() {
                unlink(&old);
                unlink(path);
            }
            self.0.held.lock().spares.taken.remove(&spare.id);
            if let Ok(file) = file {
                return Ok((file, spare.len));
            }
        }
        create(path).map(|file| (file, 0))
    }
}

/// Deletes spare files when their time is over, and ends when there are none.
async fn tend(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(KEPT).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let (expired, is_last) = {
            let spares = &mut shared.held.lock().spares;
            let expired = spares.expired(Instant::now());
            spares.is_tended = !spares.idle.is_empty();
            (expired, !spares.is_tended)
        };
        let removed = tokio::task::spawn_blocking(move || shared.unlink_all(expired));
        // A panic has been reported where it happened.
        let _ = removed.await;
        if is_last {
            return;
        }
    }
}

impl Shared {
    fn unlink_all(&self, ids: Vec<BlobId>) {
        if let Place::Files(dir) = &self.place {
            ids.into_iter().for_each(|id| unlink(&path_of(dir, id)));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut self.held.get_mut().spares.idle);
        self.unlink_all(idle.into_iter().map(|spare| spare.id).collect());
    }
}

fn create(path: &Path) -> io::Result<fs::File> {
    in_folder(path, || {
        OpenOptions::new().write(true).create_new(true).open(path)
    })
}

/// Does what needs the folder of `path`, which is made where it is not there.
fn in_folder<R>(path: &Path, act: impl Fn() -> io::Result<R>) -> io::Result<R> {
    match act() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            act()
        }
        result => result,
    }
}
