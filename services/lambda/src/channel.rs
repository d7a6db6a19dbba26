//! Frames between an execution environment and its bootstrap: two little-endian lengths, a JSON header, a payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What a bootstrap is told of an invocation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invoke {
    pub id: String,
    pub arn: String,
    /// Milliseconds until the timeout.
    pub millis: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_context: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// What a bootstrap answers; payloads come beside it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Said {
    /// The function is initialized.
    Ready {
        /// Whether that imported boto3.
        #[serde(default)]
        boto3: bool,
    },
    /// The function could not be initialized; the payload says why.
    InitError,
    /// The answer, whole.
    Done,
    /// The function failed; the payload says why.
    Error {
        /// Whether the process ends with it.
        #[serde(default)]
        last: bool,
    },
    /// A streamed answer begins.
    Start {
        #[serde(default)]
        content_type: Option<String>,
    },
    /// A piece of a streamed answer.
    Chunk,
    /// The end of a streamed answer; the payload, if any, is the error that ended it.
    End,
}

/// The most bytes of one frame: an answer of 6 MB in its largest encoding, and room.
const LARGEST: usize = 64 << 20;

/// One end of the socket.
pub struct Channel {
    stream: UnixStream,
    buffer: BytesMut,
}

impl Channel {
    pub fn new(stream: UnixStream) -> Channel {
        Channel {
            stream,
            buffer: BytesMut::with_capacity(4096),
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, header: &impl Serialize, payload: &[u8]) -> std::io::Result<()> {
        let header = serde_json::to_vec(header)?;
        let mut frame = BytesMut::with_capacity(8 + header.len() + payload.len());
        frame.put_u32_le(u32::try_from(header.len()).unwrap_or(u32::MAX));
        frame.put_u32_le(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        frame.put_slice(&header);
        frame.put_slice(payload);
        self.stream.write_all(&frame).await
    }

    /// The next frame; `None` when the other end is gone or speaks something else. May be cancelled.
    pub async fn receive<T: serde::de::DeserializeOwned>(&mut self) -> Option<(T, Bytes)> {
        loop {
            if let Some((header, payload)) = self.take()? {
                return Some((serde_json::from_slice(&header).ok()?, payload));
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// A whole frame from the buffer; the outer `None` is a frame too large.
    #[allow(clippy::option_option, reason = "broken, not yet, there")]
    fn take(&mut self) -> Option<Option<(Bytes, Bytes)>> {
        let Some(mut lengths) = self.buffer.get(..8) else {
            return Some(None);
        };
        let (header, payload) = (lengths.get_u32_le() as usize, lengths.get_u32_le() as usize);
        if header.saturating_add(payload) > LARGEST {
            return None;
        }
        if self.buffer.len() < 8 + header + payload {
            self.buffer
                .reserve(8 + header + payload - self.buffer.len());
            return Some(None);
        }
        self.buffer.advance(8);
        let header = self.buffer.split_to(header).freeze();
        Some(Some((header, self.buffer.split_to(payload).freeze())))
    }
}
