//! A request's or answer's body: held, or streamed.

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::StreamExt;

/// Chunks of a body as they arrive.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum BodyError {
    /// The peer went away or sent fewer bytes than it announced.
    #[error("the connection was closed before the whole body arrived: {0}")]
    Incomplete(String),
    /// More bytes than the reader allows.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// The bytes contradict a digest, a signature or the framing that was announced with them.
    #[error("{message}")]
    Rejected {
        /// AWS's error code.
        code: &'static str,
        /// AWS's message.
        message: String,
    },
    /// Reading the source failed.
    #[error("reading the body failed: {0}")]
    Io(String),
}

/// A body. Streams can be taken once.
#[derive(Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// All bytes, in memory.
    Bytes(Bytes),
    /// Bytes to come, with their number where it is known.
    Stream(Mutex<ByteStream>, Option<u64>),
}

impl Body {
    /// A streamed body of that length.
    pub fn stream(stream: ByteStream, len: Option<u64>) -> Body {
        Body::Stream(Mutex::new(stream), len)
    }
    /// Its length in bytes, where known.
    pub fn len(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Bytes(b) => Some(b.len() as u64),
            Body::Stream(_, len) => *len,
        }
    }
    /// Whether it is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
    /// The chunks, whatever the kind.
    pub fn into_stream(self) -> ByteStream {
        match self {
            Body::Empty => Box::pin(futures_util::stream::empty()),
            Body::Bytes(b) => Box::pin(futures_util::stream::once(async { Ok(b) })),
            Body::Stream(s, _) => s
                .into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        }
    }
    /// All bytes, unless there are more than `limit`.
    pub async fn collect(self, limit: u64) -> Result<Bytes, BodyError> {
        if self.len().is_some_and(|n| n > limit) {
            return Err(BodyError::TooLarge(limit));
        }
        let mut stream = match self {
            Body::Empty => return Ok(Bytes::new()),
            Body::Bytes(b) => return Ok(b),
            other => other.into_stream(),
        };
        let Some(first) = stream.next().await.transpose()? else {
            return Ok(Bytes::new());
        };
        let mut all: Option<BytesMut> = None;
        let mut size = first.len() as u64;
        if size > limit {
            return Err(BodyError::TooLarge(limit));
        }
        while let Some(chunk) = stream.next().await.transpose()? {
            size += chunk.len() as u64;
            if size > limit {
                return Err(BodyError::TooLarge(limit));
            }
            all.get_or_insert_with(|| BytesMut::from(&first[..]))
                .extend_from_slice(&chunk);
        }
        Ok(all.map_or(first, BytesMut::freeze))
    }
}

impl From<Bytes> for Body {
    fn from(b: Bytes) -> Self {
        if b.is_empty() {
            Body::Empty
        } else {
            Body::Bytes(b)
        }
    }
}
impl From<Vec<u8>> for Body {
    fn from(b: Vec<u8>) -> Self {
        Bytes::from(b).into()
    }
}
impl From<String> for Body {
    fn from(b: String) -> Self {
        Bytes::from(b).into()
    }
}
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({:?} bytes)", self.len())
    }
}
