//! The lines a sandbox prints.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

/// Bytes after which a line is delivered although its end has not come, so that one line cannot fill memory.
const LONGEST_LINE: usize = 256 * 1024;

/// Where a sandbox's standard output and standard error go.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Receives each line; nobody when absent. A receiver that lags slows the sandbox down, one that is dropped does not. The channel ends when the
    /// last process holding the output has ended.
    pub lines: Option<mpsc::Sender<Line>>,
    /// Whether both streams share one pipe, which keeps their exact order but names every line `Stdout`.
    pub merged: bool,
}

impl Output {
    /// Both streams, each in its own order, to a channel.
    pub fn to(lines: mpsc::Sender<Line>) -> Self {
        Self {
            lines: Some(lines),
            merged: false,
        }
    }

    /// Both streams in their exact common order to a channel.
    pub fn merged_to(lines: mpsc::Sender<Line>) -> Self {
        Self {
            lines: Some(lines),
            merged: true,
        }
    }
}

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of output, without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it came from.
    pub stream: Stream,
    /// Its bytes, as printed.
    pub bytes: Vec<u8>,
    /// False when no newline had come: the line was too long, or the output ended.
    pub complete: bool,
}

type Flush = oneshot::Sender<()>;

/// The reading ends of a sandbox's output.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    flushes: Vec<mpsc::UnboundedSender<Flush>>,
}

impl Readers {
    /// Makes the pipes: the readers run as tasks, the writing ends for standard output and standard error come back.
    pub(crate) fn start(output: &Output) -> io::Result<(Self, OwnedFd, OwnedFd)> {
        let mut readers = Self::default();
        let stdout = readers.pipe(Stream::Stdout, output.lines.clone())?;
        let stderr = if output.merged {
            stdout.try_clone()?
        } else {
            readers.pipe(Stream::Stderr, output.lines.clone())?
        };
        Ok((readers, stdout, stderr))
    }

    fn pipe(&mut self, stream: Stream, lines: Option<mpsc::Sender<Line>>) -> io::Result<OwnedFd> {
        let (read, write) = io::pipe()?;
        let receiver = pipe::Receiver::from_owned_fd(OwnedFd::from(read))?;
        let (flush, flushes) = mpsc::unbounded_channel();
        self.flushes.push(flush);
        tokio::spawn(
            Reader {
                receiver,
                stream,
                lines,
                partial: Vec::new(),
            }
            .run(flushes),
        );
        Ok(OwnedFd::from(write))
    }

    /// Returns when everything printed before the call has been delivered.
    pub(crate) async fn flush(&self) {
        for flush in &self.flushes {
            let (done, wait) = oneshot::channel();
            if flush.send(done).is_ok() {
                // A reader that has ended has delivered everything.
                let _ = wait.await;
            }
        }
    }
}

struct Reader {
    receiver: pipe::Receiver,
    stream: Stream,
    lines: Option<mpsc::Sender<Line>>,
    partial: Vec<u8>,
}

impl Reader {
    async fn run(mut self, mut flushes: mpsc::UnboundedReceiver<Flush>) {
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                flush = flushes.recv(), if open => match flush {
                    Some(done) => {
                        let ended = self.drain().await;
                        let _ = done.send(());
                        if ended { break }
                    }
                    None => open = false,
                },
                ready = self.receiver.readable() => {
                    if ready.is_err() || self.drain().await { break }
                }
            }
        }
        if !self.partial.is_empty() {
            let rest = std::mem::take(&mut self.partial);
            self.deliver(rest, false).await;
        }
    }

    /// Takes all there is; true when the output has ended.
    async fn drain(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match self.receiver.try_read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => self.take(&buffer[..count]).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }

    async fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.deliver(line, true).await;
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() >= LONGEST_LINE {
            let part = std::mem::take(&mut self.partial);
            self.deliver(part, false).await;
        }
    }

    async fn deliver(&mut self, bytes: Vec<u8>, complete: bool) {
        if let Some(lines) = &self.lines {
            let line = Line {
                stream: self.stream,
                bytes,
                complete,
            };
            if lines.send(line).await.is_err() {
                // Keep reading without a receiver: a full pipe would stop the sandbox.
                self.lines = None;
            }
        }
    }
}
