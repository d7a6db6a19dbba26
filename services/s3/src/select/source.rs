//! The bytes of an object, as a query reads them: off its content, unpacked, counted on both sides.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use futures_util::TryStreamExt;
use tokio::runtime::Handle;
use wire::body::ByteStream;
use wire::{Body, BodyError, Fault};

use super::fault;

/// How an object is packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packing {
    None,
    Gzip,
    Bzip2,
}

/// A body, read on a thread that may wait for it.
pub struct Content {
    stream: ByteStream,
    chunk: Bytes,
    handle: Handle,
    scanned: Rc<Cell<u64>>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let next = self.handle.block_on(self.stream.try_next());
            match next.map_err(io::Error::other)? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..len]);
        self.scanned.set(self.scanned.get() + len as u64);
        Ok(len)
    }
}

/// What is read, and how much was.
pub struct Input<R> {
    read: R,
    packing: Packing,
    scanned: Rc<Cell<u64>>,
    processed: u64,
}

impl<R: Read> Input<R> {
    /// Of plain bytes.
    #[cfg(test)]
    pub fn of(read: R) -> Input<R> {
        Input {
            read,
            packing: Packing::None,
            scanned: Rc::default(),
            processed: 0,
        }
    }

    /// Reads that many bytes more into `buffer`, fewer only at the end; says whether it is reached.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, len: usize) -> Result<bool, Fault> {
        let before = buffer.len();
        let read = (&mut self.read).take(len as u64).read_to_end(buffer);
        let read = read.map_err(|error| {
            buffer.truncate(before);
            self.failed(&error)
        })?;
        self.processed += read as u64;
        Ok(read < len)
    }

    fn failed(&self, error: &io::Error) -> Fault {
        if let Some(body) = error.get_ref().and_then(|e| e.downcast_ref::<BodyError>()) {
            return Fault::from_body(body);
        }
        let name = match self.packing {
            Packing::None => return fault::not_evaluated(),
            Packing::Gzip => "GZIP",
            Packing::Bzip2 => "BZIP2",
        };
        if error.kind() == io::ErrorKind::UnexpectedEof && self.processed > 0 {
            return fault::truncated();
        }
        fault::of(
            "InvalidCompressionFormat",
            format!(
                "{name} is not applicable to the queried object. Please correct the request and try again."
            ),
        )
    }

    /// How many bytes were read of the object and how many these are unpacked.
    pub fn counts(&self) -> (u64, u64) {
        (self.scanned.get(), self.processed)
    }
}

/// What was read of an input and not yet taken.
pub struct Window<R> {
    input: Input<R>,
    buffer: Vec<u8>,
    /// What of the buffer was taken.
    start: usize,
    /// How far into the text the buffer's begin is.
    offset: u64,
    is_at_end: bool,
}

impl<R: Read> Window<R> {
    /// Over an input of which nothing was read.
    pub fn new(input: Input<R>) -> Window<R> {
        Window {
            input,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            is_at_end: false,
        }
    }

    /// What the input tells of itself.
    pub fn input(&self) -> &Input<R> {
        &self.input
    }

    /// The bytes that can be taken.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Takes that many of them.
    pub fn take(&mut self, len: usize) {
        self.start += len;
    }

    /// How far into the text they begin.
    pub fn position(&self) -> u64 {
        self.offset + self.start as u64
    }

    /// Whether no more come.
    pub fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Reads on: that many bytes more, fewer only at the end.
    pub fn fill(&mut self, len: usize) -> Result<(), Fault> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.offset += self.start as u64;
            self.start = 0;
        }
        self.is_at_end = self.input.fill(&mut self.buffer, len)?;
        Ok(())
    }
}

/// Opens a body for a query. To be called within a runtime.
pub fn open(body: Body, packing: Packing) -> Input<Box<dyn Read>> {
    let scanned = Rc::new(Cell::new(0));
    let content = Content {
        stream: body.into_stream(),
        chunk: Bytes::new(),
        handle: Handle::current(),
        scanned: scanned.clone(),
    };
    let read: Box<dyn Read> = match packing {
        Packing::None => Box::new(content),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(content)),
        Packing::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(content)),
    };
    Input {
        read,
        packing,
        scanned,
        processed: 0,
    }
}
