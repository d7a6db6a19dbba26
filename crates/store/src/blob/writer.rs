use std::fs;
use std::io::{self, IoSlice, Write};
use std::mem;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{Blob, BlobId, Blobs, NewBlob, Place, path_of, unlink};
use crate::Error;

/// Takes in a blob piece by piece. Dropping it unfinished leaves nothing behind.
pub struct BlobWriter {
    blobs: Blobs,
    id: BlobId,
    len: u64,
    pieces: Vec<Bytes>,
    buffered: usize,
    /// The file, or the thread that is writing the last buffer to it.
    file: File,
    finished: bool,
}

enum File {
    None,
    Open(Opened),
    Busy(JoinHandle<io::Result<Opened>>),
}

struct Opened {
    file: fs::File,
    /// How long it was before: there may be more in it than what is written.
    old: u64,
}

/// What is handed to a blocking thread at once.
const BUFFER: usize = 1 << 20;

impl BlobWriter {
    pub(super) fn new(blobs: Blobs, id: BlobId) -> BlobWriter {
        BlobWriter {
            blobs,
            id,
            len: 0,
            pieces: Vec::new(),
            buffered: 0,
            file: File::None,
            finished: false,
        }
    }

    /// Appends `piece`. While a full buffer goes to the disk the next one fills.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Error> {
        self.len += piece.len() as u64;
        self.buffered += piece.len();
        self.pieces.push(piece);
        if self.buffered >= BUFFER && matches!(self.blobs.0.place, Place::Files(_)) {
            self.flush(false).await?;
        }
        Ok(())
    }

    /// The length so far, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Completes the blob. With [`Durability::Disk`](crate::Durability::Disk) its content is on
    /// the disk afterwards.
    pub async fn finish(mut self) -> Result<NewBlob, Error> {
        if matches!(self.blobs.0.place, Place::Files(_)) {
            self.settle().await?;
            let is_whole = matches!(&self.file, File::Open(opened) if opened.old <= self.len);
            if self.blobs.0.sync || !self.pieces.is_empty() || !is_whole {
                self.flush(true).await?;
            }
            self.settle().await?;
        } else if let Place::Memory(blobs) = &self.blobs.0.place {
            blobs
                .lock()
                .insert(self.id, mem::take(&mut self.pieces).into());
        }
        self.finished = true;
        Ok(NewBlob {
            blob: Blob {
                id: self.id,
                len: self.len,
            },
            blobs: self.blobs.clone(),
        })
    }

    /// Starts writing what is buffered, once the piece before is through.
    async fn flush(&mut self, last: bool) -> Result<(), Error> {
        let Place::Files(dir) = &self.blobs.0.place else {
            return Ok(());
        };
        let path = path_of(dir, self.id);
        self.settle().await?;
        let pieces = mem::take(&mut self.pieces);
        let buffered = mem::take(&mut self.buffered) as u64;
        let open = match mem::replace(&mut self.file, File::None) {
            File::Open(opened) => Some(opened),
            _ => None,
        };
        let (blobs, len) = (self.blobs.clone(), self.len);
        self.file = File::Busy(tokio::task::spawn_blocking(move || {
            let mut opened = match open {
                Some(opened) => opened,
                None => {
                    let (file, old) = blobs.file(&path, buffered)?;
                    Opened { file, old }
                }
            };
            write_pieces(&mut opened.file, &pieces)?;
            if last && opened.old > len {
                opened.file.set_len(len)?;
            }
            if last && blobs.0.sync {
                opened.file.sync_all()?;
                if let Some(dir) = path.parent() {
                    fs::File::open(dir)?.sync_all()?;
                }
            }
            Ok(opened)
        }));
        Ok(())
    }

    /// Waits for the buffer being written.
    async fn settle(&mut self) -> Result<(), Error> {
        if let File::Busy(task) = &mut self.file {
            let result = task
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error)));
            self.file = File::None;
            self.file = File::Open(result.map_err(Error::io(format!("writing blob {}", self.id)))?);
        }
        Ok(())
    }
}

/// Writes the pieces in as few calls as the system allows: the kernel then keeps them in large folios, which cost less to read
/// and to map.
fn write_pieces(file: &mut fs::File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    // Empty ones at the front count for nothing.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let (blobs, id) = (self.blobs.clone(), self.id);
        let Place::Files(dir) = &blobs.0.place else {
            blobs.set_linked(id);
            return;
        };
        let path = path_of(dir, id);
        match mem::replace(&mut self.file, File::None) {
            // A thread is writing: the file may yet appear, so it goes when the thread is through.
            File::Busy(task) => {
                let remove = async move {
                    let _ = task.await;
                    let _ = tokio::task::spawn_blocking(move || unlink(&path)).await;
                    blobs.set_linked(id);
                };
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    drop(runtime.spawn(remove));
                }
            }
            _ => {
                unlink(&path);
                blobs.set_linked(id);
            }
        }
    }
}
