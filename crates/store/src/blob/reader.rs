use std::fs;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use tokio::task::{JoinHandle, spawn_blocking};

use super::lent;
use super::spare::Reading;
use crate::MapFile;

/// The content of a blob, as [`Blobs::read`](crate::Blobs::read) gives it.
pub struct BlobStream {
    source: Source,
    /// Bytes still to come.
    left: u64,
}

enum Source {
    Pieces {
        pieces: Arc<[Bytes]>,
        index: usize,
        skip: u64,
    },
    File {
        file: Arc<Opened>,
        offset: u64,
        /// A piece that must come from the disk.
        awaited: Option<JoinHandle<io::Result<Bytes>>>,
    },
    Mapped {
        file: Arc<Opened>,
        map: MapFile,
        /// Where the stretch begins that is being mapped.
        offset: u64,
        mapping: JoinHandle<io::Result<Bytes>>,
    },
}

/// A blob's file, which keeps its content as long as this lives.
struct Opened {
    file: fs::File,
    _reading: Reading,
}

/// A stretch that is mapped.
struct Stretch {
    bytes: Bytes,
    /// Behind the bytes: these are let go first.
    _file: Arc<Opened>,
}

impl AsRef<[u8]> for Stretch {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is mapped at once: a thread is asked for the next stretch while this one is sent, which then costs nothing.
const STRETCH: u64 = 4 << 20;

/// Begins to map the stretch at `offset`.
fn map_stretch(
    file: &Arc<Opened>,
    map: MapFile,
    offset: u64,
    end: u64,
) -> JoinHandle<io::Result<Bytes>> {
    let file = file.clone();
    spawn_blocking(move || {
        let bytes = map(&file.file, offset..end.min(offset + STRETCH))?;
        Ok(Bytes::from_owner(Stretch { bytes, _file: file }))
    })
}

impl BlobStream {
    pub(super) fn of_pieces(pieces: Arc<[Bytes]>, range: Range<u64>) -> BlobStream {
        let len: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let left = range.end.min(len).saturating_sub(range.start);
        BlobStream {
            source: Source::Pieces {
                pieces,
                index: 0,
                skip: range.start,
            },
            left,
        }
    }

    pub(super) fn of_file(
        file: fs::File,
        map: Option<MapFile>,
        range: Range<u64>,
        reading: Reading,
    ) -> io::Result<BlobStream> {
        let len = file.metadata()?.len();
        let file = Arc::new(Opened {
            file,
            _reading: reading,
        });
        let offset = range.start;
        let end = range.end.min(len);
        let left = end.saturating_sub(offset);
        let source = match map {
            Some(map) if left >= STRETCH => Source::Mapped {
                mapping: map_stretch(&file, map, offset, end),
                file,
                map,
                offset,
            },
            _ => Source::File {
                file,
                offset,
                awaited: None,
            },
        };
        Ok(BlobStream { source, left })
    }
}

/// A piece that is in the system's cache already; `None` where reading it could take the disk's time.
#[cfg(target_os = "linux")]
fn read_now(file: &fs::File, offset: u64, len: usize) -> io::Result<Option<Bytes>> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let read = lent::filled(len, |buffer| {
        let mut buffers = [io::IoSliceMut::new(buffer)];
        preadv2(file, &mut buffers, offset, ReadWriteFlags::NOWAIT)
    });
    match read {
        Ok(piece) if !piece.is_empty() => Ok(Some(piece)),
        // The end too is for the other way to find out; not every file system can tell.
        Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn read_now(_: &fs::File, _: u64, _: usize) -> io::Result<Option<Bytes>> {
    Ok(None)
}

/// A piece from wherever it is. Blocks.
fn read_piece(file: &fs::File, offset: u64, len: usize) -> io::Result<Bytes> {
    lent::filled(len, |buffer| {
        file.read_exact_at(buffer, offset)?;
        Ok(buffer.len())
    })
}

impl Stream for BlobStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let left = self.left;
        let piece = match &mut self.source {
            Source::Mapped {
                file,
                map,
                offset,
                mapping,
            } => match ready!(Pin::new(&mut *mapping).poll(context)) {
                Ok(Ok(piece)) => {
                    let end = *offset + left;
                    *offset += piece.len() as u64;
                    if *offset < end {
                        *mapping = map_stretch(file, *map, *offset, end);
                    }
                    Some(Ok(piece))
                }
                // What cannot be mapped can be read, and if not that says why.
                _ => {
                    self.source = Source::File {
                        file: file.clone(),
                        offset: *offset,
                        awaited: None,
                    };
                    return self.poll_next(context);
                }
            },
            Source::File {
                file,
                offset,
                awaited,
            } => {
                let len = left.min(lent::LEN as u64) as usize;
                let piece = match awaited {
                    None => read_now(&file.file, *offset, len).transpose(),
                    Some(_) => None,
                };
                let piece = match piece {
                    Some(piece) => piece,
                    None => {
                        let (file, offset) = (file.clone(), *offset);
                        let read = move || read_piece(&file.file, offset, len);
                        let task = awaited.get_or_insert_with(|| spawn_blocking(read));
                        let piece = ready!(Pin::new(task).poll(context));
                        *awaited = None;
                        piece.unwrap_or_else(|error| Err(io::Error::other(error)))
                    }
                };
                *offset += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                Some(piece)
            }
            Source::Pieces {
                pieces,
                index,
                skip,
            } => loop {
                let Some(piece) = pieces.get(*index) else {
                    break None;
                };
                *index += 1;
                let len = piece.len() as u64;
                if *skip >= len {
                    *skip -= len;
                    continue;
                }
                let end = len.min(skip.saturating_add(left));
                let part = piece.slice(*skip as usize..end as usize);
                *skip = 0;
                break Some(Ok(part));
            },
        };
        match &piece {
            Some(Ok(piece)) => self.left -= (piece.len() as u64).min(left),
            _ => self.left = 0,
        }
        Poll::Ready(piece)
    }
}
