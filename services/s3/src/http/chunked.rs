//! The framing `aws-chunked`: chunks with their lengths, perhaps signed, and trailers behind the last.

use auth::chunk::ChunkChain;
use auth::sigv4::Verified;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use http::HeaderValue;
use wire::body::ByteStream;
use wire::{Body, BodyError, Fault};

use crate::checksum::{Algorithm, Hasher};
use crate::fault;

/// The longest line between chunks, and all trailers together.
const MAX_LINE: usize = 16 * 1024;

/// Takes the framing off a request's body, where it has one.
pub fn unwrap(
    mut request: http::Request<Body>,
    verified: Option<Verified>,
) -> Result<http::Request<Body>, Fault> {
    let headers = request.headers();
    let text = |name: &str| wire::header::text(headers, name);
    let Some(kind) = text("x-amz-content-sha256").filter(|hash| hash.starts_with("STREAMING-"))
    else {
        return Ok(request);
    };
    let is_signed = match kind {
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => false,
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => true,
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
        | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => true,
        other => {
            return Err(fault::invalid_argument(
                "x-amz-content-sha256 is none that S3 knows.",
                "x-amz-content-sha256",
                other,
            ));
        }
    };
    let length = text("x-amz-decoded-content-length").map(str::parse::<u64>);
    let length = match length {
        Some(Ok(length)) => length,
        Some(Err(_)) => {
            return Err(fault::invalid_argument(
                "The x-amz-decoded-content-length header is invalid.",
                "x-amz-decoded-content-length",
                "",
            ));
        }
        None => {
            return Err(Fault::sender(
                411,
                "MissingContentLength",
                "You must provide the Content-Length HTTP header.",
            ));
        }
    };
    let trailer = match text("x-amz-trailer") {
        None => None,
        Some(name) => Some(Algorithm::of_header(name).ok_or_else(|| {
            fault::invalid_request(
                "The value specified in the x-amz-trailer header is not supported",
            )
        })?),
    };
    let chain = verified
        .filter(|_| is_signed && kind.contains("HMAC"))
        .map(ChunkChain::new);
    let encoding = text("content-encoding").map(str::to_owned);
    let headers = request.headers_mut();
    headers.insert("content-length", HeaderValue::from(length));
    if let Some(encoding) = encoding.filter(|e| e.to_ascii_lowercase().contains("aws-chunked")) {
        let kept: Vec<&str> = encoding
            .split(',')
            .map(str::trim)
            .filter(|e| !e.eq_ignore_ascii_case("aws-chunked") && !e.is_empty())
            .collect();
        match HeaderValue::from_str(&kept.join(",")) {
            Ok(value) if !kept.is_empty() => headers.insert("content-encoding", value),
            _ => headers.remove("content-encoding"),
        };
    }
    if let Some(algorithm) = trailer {
        headers.insert(
            "x-amz-sdk-checksum-algorithm",
            HeaderValue::from_static(algorithm.name()),
        );
    }
    let body = std::mem::take(request.body_mut());
    let decoder = Decoder {
        stream: body.into_stream(),
        buffer: BytesMut::new(),
        state: State::Header,
        left: length,
        chain,
        signature: None,
        trailer: trailer.map(|algorithm| (algorithm, Hasher::new(algorithm))),
    };
    *request.body_mut() = Body::stream(Box::pin(decoder.into_stream()), Some(length));
    Ok(request)
}

enum State {
    /// Before the line with a chunk's length.
    Header,
    /// Within a chunk, with so many bytes to come.
    Data(u64),
    /// Before the line break behind a chunk.
    Break,
    /// Behind the last chunk.
    Trailers,
}

struct Decoder {
    stream: ByteStream,
    buffer: BytesMut,
    state: State,
    /// Decoded bytes still announced.
    left: u64,
    chain: Option<ChunkChain>,
    /// The signature of the chunk under way.
    signature: Option<String>,
    trailer: Option<(Algorithm, Hasher)>,
}

fn rejected(code: &'static str, message: &str) -> BodyError {
    BodyError::Rejected {
        code,
        message: message.to_owned(),
    }
}

fn incomplete() -> BodyError {
    rejected("IncompleteBody", "The request body terminated unexpectedly")
}

fn mismatch() -> BodyError {
    rejected(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    )
}

impl Decoder {
    fn into_stream(self) -> impl futures_util::Stream<Item = Result<Bytes, BodyError>> + Send {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut decoder = state?;
            match decoder.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(decoder))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The next decoded bytes.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match self.state {
                State::Header => {
                    let line = self.line().await?;
                    let size = self.header(&line)?;
                    if size == 0 {
                        self.finish_chunk()?;
                        self.state = State::Trailers;
                    } else if size > self.left {
                        return Err(incomplete());
                    } else {
                        self.state = State::Data(size);
                    }
                }
                State::Data(0) => {
                    self.finish_chunk()?;
                    self.state = State::Break;
                }
                State::Data(size) => {
                    if self.buffer.is_empty() && !self.fill().await? {
                        return Err(incomplete());
                    }
                    let take = usize::try_from(size)
                        .unwrap_or(usize::MAX)
                        .min(self.buffer.len());
                    let bytes = self.buffer.split_to(take).freeze();
                    if let Some(chain) = &mut self.chain {
                        chain.update(&bytes);
                    }
                    if let Some((_, hasher)) = &mut self.trailer {
                        hasher.update(&bytes);
                    }
                    self.left -= take as u64;
                    self.state = State::Data(size - take as u64);
                    return Ok(Some(bytes));
                }
                State::Break => {
                    if !self.line().await?.is_empty() {
                        return Err(rejected(
                            "InvalidChunkSizeError",
                            "Only the last chunk is allowed to have a size less than 8192 bytes",
                        ));
                    }
                    self.state = State::Header;
                }
                State::Trailers => {
                    self.trailers().await?;
                    return if self.left == 0 {
                        Ok(None)
                    } else {
                        Err(incomplete())
                    };
                }
            }
        }
    }

    async fn fill(&mut self) -> Result<bool, BodyError> {
        while let Some(chunk) = self.stream.next().await.transpose()? {
            if !chunk.is_empty() {
                self.buffer.extend_from_slice(&chunk);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next line without its break.
    async fn line(&mut self) -> Result<Vec<u8>, BodyError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.split_to(end).to_vec();
                self.buffer.advance(2);
                return Ok(line);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(rejected("InvalidRequest", "The chunk header is too long"));
            }
            if !self.fill().await? {
                return Err(incomplete());
            }
        }
    }

    /// Reads `size[;chunk-signature=…]`.
    fn header(&mut self, line: &[u8]) -> Result<u64, BodyError> {
        let text = std::str::from_utf8(line).unwrap_or_default();
        let (size, extensions) = text.split_once(';').unwrap_or((text, ""));
        let signature = extensions
            .split(';')
            .find_map(|e| e.trim().strip_prefix("chunk-signature="));
        self.signature = signature.map(str::to_owned);
        if self.chain.is_some() && self.signature.is_none() {
            return Err(mismatch());
        }
        let size = size.trim();
        match u64::from_str_radix(size, 16) {
            Ok(number) if !size.starts_with('+') => Ok(number),
            _ => Err(rejected(
                "InvalidRequest",
                "The chunk size is not a hexadecimal number",
            )),
        }
    }

    fn finish_chunk(&mut self) -> Result<(), BodyError> {
        match (&mut self.chain, &self.signature) {
            (Some(chain), Some(signature)) => chain.finish_chunk(signature).map_err(|_| mismatch()),
            _ => Ok(()),
        }
    }

    async fn trailers(&mut self) -> Result<(), BodyError> {
        let mut signed = String::new();
        let mut found: Option<(Algorithm, String)> = None;
        let mut signature: Option<String> = None;
        loop {
            // The empty line at the end is left out by some clients.
            if self.buffer.is_empty() && !self.fill().await? {
                break;
            }
            let line = match self.line().await {
                Ok(line) => line,
                Err(BodyError::Rejected {
                    code: "IncompleteBody",
                    ..
                }) => self.buffer.split().to_vec(),
                Err(error) => return Err(error),
            };
            if line.is_empty() {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            let Some((name, value)) = text.trim_end_matches('\n').split_once(':') else {
                return Err(rejected(
                    "MalformedTrailerError",
                    "The request contained trailing data that was not well-formed or did not conform to our published schema.",
                ));
            };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            if name == "x-amz-trailer-signature" {
                signature = Some(value.to_owned());
            } else {
                signed.push_str(&format!("{name}:{value}\n"));
                found = Algorithm::of_header(&name)
                    .map(|a| (a, value.to_owned()))
                    .or(found);
            }
            if signed.len() > MAX_LINE {
                return Err(rejected(
                    "MalformedTrailerError",
                    "The trailers are too long",
                ));
            }
        }
        if let Some(chain) = &mut self.chain {
            match &signature {
                Some(signature) => chain
                    .finish_trailer(&signed, signature)
                    .map_err(|_| mismatch())?,
                // Without it anyone on the way could have put the trailers there.
                None if !signed.is_empty() => return Err(mismatch()),
                None => {}
            }
        }
        let Some((algorithm, hasher)) = self.trailer.take() else {
            return Ok(());
        };
        match found {
            Some((named, value)) if named == algorithm => {
                if hasher.finish() == value {
                    return Ok(());
                }
                let message = format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                );
                Err(BodyError::Rejected {
                    code: "BadDigest",
                    message,
                })
            }
            _ => Err(rejected(
                "MalformedTrailerError",
                "The request contained trailing data that was not well-formed or did not conform to our published schema.",
            )),
        }
    }
}
