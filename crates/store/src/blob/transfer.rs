//! Blobs to and from a snapshot.

use std::fs::{self, File};
use std::io::{self, Read, Write};

use bytes::Bytes;

use super::{BlobId, Blobs, Place, path_of};
use crate::Error;
use crate::snapshot::read_array;
use crate::store::COUNTS;

/// While it lives, no blob is deleted.
pub(crate) struct Hold(Blobs);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.0.0.held.lock();
        held.holders -= 1;
        let waiting = if held.holders == 0 {
            std::mem::take(&mut held.waiting)
        } else {
            vec![]
        };
        drop(held);
        waiting.into_iter().for_each(|id| self.0.remove(id));
    }
}

impl BlobId {
    /// The blob that a row of reference counts is about.
    pub(crate) fn of_count(key: &[u8]) -> Option<BlobId> {
        Some(BlobId(key.strip_prefix(&COUNTS)?.try_into().ok()?))
    }
}

impl Blobs {
    pub(crate) fn hold(&self) -> Hold {
        self.0.held.lock().holders += 1;
        Hold(self.clone())
    }

    /// Appends the length and the content of a blob to `out`.
    pub(crate) fn export(&self, id: BlobId, out: &mut impl Write) -> Result<(), Error> {
        let failed = || Error::io(format!("copying blob {id}"));
        match &self.0.place {
            Place::Memory(blobs) => {
                let pieces = blobs.lock().get(&id).cloned().ok_or(Error::NoBlob(id))?;
                let len: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
                out.write_all(&len.to_le_bytes()).map_err(failed())?;
                pieces
                    .iter()
                    .try_for_each(|piece| out.write_all(piece))
                    .map_err(failed())
            }
            Place::Files(dir) => {
                let mut file = File::open(path_of(dir, id)).map_err(failed())?;
                let len = file.metadata().map_err(failed())?.len();
                out.write_all(&len.to_le_bytes()).map_err(failed())?;
                io::copy(&mut file, out).map_err(failed())?;
                Ok(())
            }
        }
    }

    /// Reads a blob as [`Blobs::export`] wrote it. One that is here already, or not wanted, is
    /// passed over; a new one is added to `imported` and counts as not linked.
    pub(crate) fn import(
        &self,
        id: BlobId,
        input: &mut impl Read,
        is_wanted: bool,
        imported: &mut Vec<BlobId>,
    ) -> Result<(), Error> {
        let failed = || Error::io(format!("reading blob {id} from a snapshot"));
        let len = u64::from_le_bytes(read_array(input).map_err(failed())?);
        let mut content = input.take(len);
        let is_new = match &self.0.place {
            Place::Memory(blobs) => !blobs.lock().contains_key(&id),
            Place::Files(dir) => {
                self.unspare(id);
                !path_of(dir, id).exists()
            }
        };
        let copied = if is_new && is_wanted {
            self.0.loaded.lock().insert(id);
            self.0.unlinked.lock().insert(id);
            imported.push(id);
            match &self.0.place {
                Place::Memory(blobs) => {
                    let mut bytes = Vec::new();
                    let copied = content.read_to_end(&mut bytes).map_err(failed())?;
                    blobs.lock().insert(id, [Bytes::from(bytes)].into());
                    copied as u64
                }
                Place::Files(dir) => {
                    let path = path_of(dir, id);
                    if let Some(dir) = path.parent() {
                        fs::create_dir_all(dir).map_err(failed())?;
                    }
                    let mut file = File::create(&path).map_err(failed())?;
                    let copied = io::copy(&mut content, &mut file).map_err(failed())?;
                    if self.0.sync {
                        file.sync_all().map_err(failed())?;
                    }
                    copied
                }
            }
        } else {
            self.0.loaded.lock().insert(id);
            io::copy(&mut content, &mut io::sink()).map_err(failed())?
        };
        if copied < len {
            return Err(Error::Snapshot(format!("blob {id} is cut off")));
        }
        Ok(())
    }
}
