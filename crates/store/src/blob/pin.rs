//! Keeping blobs for a reader that has not opened them yet: one open file serves it, however many pieces it reads.

use super::{BlobId, Blobs};

/// While it lives, its blobs stay readable, whatever becomes of the records that link them.
#[derive(Debug)]
pub struct BlobPin {
    blobs: Blobs,
    ids: Vec<BlobId>,
}

/// How many pins a blob has, and whether it is to be deleted behind the last.
#[derive(Default)]
pub(super) struct Pinned {
    pub(super) pins: usize,
    pub(super) is_dead: bool,
}

impl Blobs {
    /// Keeps those blobs from being deleted. One that went before is not brought back: look again, when this returns,
    /// whether what links them is still there.
    pub fn pin(&self, ids: impl IntoIterator<Item = BlobId>) -> BlobPin {
        let ids: Vec<BlobId> = ids.into_iter().collect();
        let mut held = self.0.held.lock();
        for id in &ids {
            held.pinned.entry(*id).or_default().pins += 1;
        }
        drop(held);
        BlobPin {
            blobs: self.clone(),
            ids,
        }
    }
}

impl Drop for BlobPin {
    fn drop(&mut self) {
        let mut dead = Vec::new();
        let mut held = self.blobs.0.held.lock();
        for id in &self.ids {
            let Some(pinned) = held.pinned.get_mut(id) else {
                continue;
            };
            pinned.pins -= 1;
            if pinned.pins == 0 {
                if pinned.is_dead {
                    dead.push(*id);
                }
                held.pinned.remove(id);
            }
        }
        drop(held);
        dead.into_iter().for_each(|id| self.blobs.remove(id));
    }
}
