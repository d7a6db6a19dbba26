use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;

use super::lent;

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
    Whole(Option<Bytes>),
    Ahead(mpsc::Receiver<io::Result<Bytes>>),
}

/// Pieces read ahead of who consumes them.
const AHEAD: usize = 4;
/// Up to here a thread of its own costs more than reading in place.
const IN_PLACE: u64 = 64 << 10;

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

    pub(super) fn of_file(mut file: fs::File, range: Range<u64>) -> io::Result<BlobStream> {
        let len = file.metadata()?.len();
        let left = range.end.min(len).saturating_sub(range.start);
        if range.start > 0 && left > 0 {
            file.seek(SeekFrom::Start(range.start))?;
        }
        if left <= IN_PLACE {
            let piece = read_piece(&mut file, left as usize)?;
            return Ok(BlobStream {
                source: Source::Whole(Some(piece)),
                left,
            });
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            let mut left = left;
            while left > 0 {
                let piece = read_piece(&mut file, left.min(lent::LEN as u64) as usize);
                let failed = piece.is_err();
                left -= left.min(lent::LEN as u64);
                // The reader may have gone.
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        Ok(BlobStream {
            source: Source::Ahead(receiver),
            left,
        })
    }

    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.left
    }
}

fn read_piece(file: &mut fs::File, len: usize) -> io::Result<Bytes> {
    lent::filled(len, |buffer| file.read_exact(buffer))
}

impl Stream for BlobStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let left = self.left;
        let piece = match &mut self.source {
            Source::Whole(piece) => piece.take().map(Ok),
            Source::Ahead(receiver) => match receiver.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                // The thread only stops early if it panicked or the runtime is closing.
                Poll::Ready(None) => Some(Err(io::Error::other("reading was cut off"))),
                Poll::Ready(piece) => piece,
            },
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
