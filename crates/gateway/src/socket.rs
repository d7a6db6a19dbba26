//! A plain connection that sends files without reading them.
//!
//! hyper hands out bytes in memory only. For a content that lies in files the body yields pieces of one static array
//! that stand for the files' bytes, and notes in [`Outbox`] what they stand for; [`Socket`] knows these pieces by their
//! address and has the kernel send the noted bytes instead (sendfile(2)): they are never copied through this process.
//! That holds for HTTP/1.1 without TLS, where a connection's answers go out in their order and unchanged.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use wire::BodyError;
use wire::body::FileRange;

/// The longest piece that is sent at once.
const PIECE: usize = 1 << 20;
/// Never read or written: it takes addresses, not memory.
static STAND_IN: [u8; PIECE] = [0; PIECE];

fn stands_in(bytes: &[u8]) -> bool {
    let (start, at) = (STAND_IN.as_ptr() as usize, bytes.as_ptr() as usize);
    (start..start + PIECE).contains(&at) && !bytes.is_empty()
}

/// What the pieces under way on a connection stand for, in the order in which they will be written.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Arc<Mutex<VecDeque<FileRange>>>);

impl Outbox {
    /// The pieces that stand for these files' bytes. Their consumer must be the [`Socket`] of this outbox.
    pub(crate) fn pieces(
        &self,
        files: Vec<FileRange>,
    ) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + use<> {
        let outbox = self.clone();
        let files = VecDeque::from(files);
        futures_util::stream::try_unfold((outbox, files), |(outbox, mut files)| async move {
            while files.front().is_some_and(|file| file.range.is_empty()) {
                files.pop_front();
            }
            let Some(next) = files.front_mut() else {
                return Ok(None);
            };
            let end = next.range.end.min(next.range.start + PIECE as u64);
            let piece = FileRange {
                file: next.file.clone(),
                range: next.range.start..end,
            };
            next.range.start = end;
            let len = (end - piece.range.start) as usize;
            let piece = cached(piece)
                .await
                .map_err(|e| BodyError::Io(e.to_string()))?;
            outbox.0.lock().push_back(piece);
            let bytes = Bytes::from_static(&STAND_IN[..len]);
            Ok(Some((bytes, (outbox, files))))
        })
    }
}

/// Brings a piece into the system's cache, so that sending it does not keep the thread waiting for a disk.
async fn cached(piece: FileRange) -> io::Result<FileRange> {
    let (start, last) = (piece.range.start, piece.range.end - 1);
    // What was written or read a while ago is evicted in runs, so a few places tell.
    if [start, start.midpoint(last), last]
        .into_iter()
        .all(|at| is_near(&piece.file, at))
    {
        return Ok(piece);
    }
    let read = move || {
        use std::os::unix::fs::FileExt;
        let mut buffer = vec![0; 128 << 10];
        let mut at = piece.range.start;
        while at < piece.range.end {
            let len = buffer.len().min((piece.range.end - at) as usize);
            piece.file.read_exact_at(&mut buffer[..len], at)?;
            at += len as u64;
        }
        Ok(piece)
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// Whether the byte at an offset can be had without waiting for a disk.
#[cfg(target_os = "linux")]
fn is_near(file: &File, at: u64) -> bool {
    let mut byte = [0];
    let mut buffers = [io::IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(file, &mut buffers, at, rustix::io::ReadWriteFlags::NOWAIT) == Ok(1)
}
#[cfg(not(target_os = "linux"))]
fn is_near(_: &File, _: u64) -> bool {
    false
}

/// A connection and what is to be sent on it from files.
pub(crate) struct Socket {
    stream: TcpStream,
    outbox: Outbox,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Socket {
        Socket {
            stream,
            outbox: Outbox::default(),
        }
    }
    /// `None` where the system cannot send files.
    pub(crate) fn outbox(&self) -> Option<Outbox> {
        cfg!(target_os = "linux").then(|| self.outbox.clone())
    }

    /// Sends up to `len` bytes of the piece whose turn it is.
    fn poll_send(&self, context: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        let mut pieces = self.outbox.0.lock();
        let Some(piece) = pieces.front_mut() else {
            return Poll::Ready(Err(io::Error::other("nothing is noted for this piece")));
        };
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let send = || self.send(&piece.file, piece.range.start, len);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(sent) => {
                    piece.range.start += sent as u64;
                    if piece.range.is_empty() {
                        pieces.pop_front();
                    }
                    return Poll::Ready(Ok(sent));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn send(&self, file: &File, mut at: u64, len: usize) -> io::Result<usize> {
        Ok(rustix::fs::sendfile(
            &self.stream,
            file,
            Some(&mut at),
            len,
        )?)
    }
    #[cfg(not(target_os = "linux"))]
    fn send(&self, _: &File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if stands_in(bytes) {
            return self.poll_send(context, bytes.len());
        }
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = buffers.iter().position(|b| !b.is_empty()).unwrap_or(0);
        let buffers = &buffers[first..];
        match buffers.iter().position(|b| stands_in(b)) {
            Some(0) => self.poll_send(context, buffers[0].len()),
            Some(own) => {
                Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, &buffers[..own])
            }
            None => Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, buffers),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;

    use futures_util::TryStreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn bytes_of_files_go_out_between_others_in_their_order() {
        let content: Vec<u8> = (0..3 << 20).map(|i: u32| (i * 31 % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let of_file = Arc::new(file);
        let range = move |range| FileRange {
            file: of_file.clone(),
            range,
        };

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let mut client = client.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        let outbox = socket.outbox().unwrap();
        let sending = tokio::spawn(async move {
            let ranges = vec![range(5..(2 << 20) + 9), range(7..7), range(0..3)];
            let pieces: Vec<Bytes> = outbox.pieces(ranges).try_collect().await.unwrap();
            socket.write_all(b"head").await.unwrap();
            for piece in &pieces {
                socket.write_all(piece).await.unwrap();
            }
            let parts = [IoSlice::new(b"ta"), IoSlice::new(b"il")];
            assert_eq!(socket.write_vectored(&parts).await.unwrap(), 4);
            pieces.len()
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(sending.await.unwrap(), 4);
        let wanted = [b"head", &content[5..(2 << 20) + 9], &content[..3], b"tail"].concat();
        assert!(received == wanted);
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_ends_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        let empty = FileRange {
            file: Arc::new(tempfile::tempfile().unwrap()),
            range: 0..10,
        };
        let outbox = socket.outbox().unwrap();
        outbox.0.lock().push_back(empty);
        assert!(socket.write_all(&STAND_IN[..10]).await.is_err());
        drop(client);
    }
}
