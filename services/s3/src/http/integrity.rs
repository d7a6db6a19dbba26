//! Digests that a request announces for its body, compared while the body passes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use md5::{Digest, Md5};
use sha2::Sha256;
use wire::header::{has, text};
use wire::{Body, BodyError, Fault};

use crate::checksum::{ALGORITHMS, Algorithm, Hasher};
use crate::fault;

/// What is compared at the end of a body.
#[derive(Default)]
struct Expected {
    sha256: Option<(String, Sha256)>,
    md5: Option<(Vec<u8>, Md5)>,
    checksum: Option<(Algorithm, String, Hasher)>,
}

impl Expected {
    fn is_empty(&self) -> bool {
        self.sha256.is_none() && self.md5.is_none() && self.checksum.is_none()
    }
    fn update(&mut self, bytes: &[u8]) {
        if let Some((_, hash)) = &mut self.sha256 {
            hash.update(bytes);
        }
        if let Some((_, hash)) = &mut self.md5 {
            hash.update(bytes);
        }
        if let Some((_, _, hash)) = &mut self.checksum {
            hash.update(bytes);
        }
    }
    fn finish(self) -> Result<(), BodyError> {
        let rejected = |code, message: String| Err(BodyError::Rejected { code, message });
        if let Some((expected, hash)) = self.sha256
            && hex::encode(hash.finalize()) != expected.to_ascii_lowercase()
        {
            let message =
                "The provided 'x-amz-content-sha256' header does not match what was computed.";
            return rejected("XAmzContentSHA256Mismatch", message.to_owned());
        }
        if let Some((expected, hash)) = self.md5
            && hash.finalize()[..] != expected[..]
        {
            return rejected(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.".to_owned(),
            );
        }
        if let Some((algorithm, expected, hash)) = self.checksum
            && hash.finish() != expected
        {
            let message = format!(
                "The {} you specified did not match the calculated checksum.",
                algorithm.name()
            );
            return rejected("BadDigest", message);
        }
        Ok(())
    }
}

/// Fails for a body whose length nobody said.
pub fn require_length(request: &http::Request<Body>) -> Result<(), Fault> {
    let headers = request.headers();
    let has_length = has(headers, "content-length") || has(headers, "x-amz-decoded-content-length");
    if matches!(*request.method(), http::Method::PUT | http::Method::POST)
        && has(headers, "transfer-encoding")
        && !has_length
        && request.body().len().is_none()
    {
        return Err(Fault::sender(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        )
        .field("Header", "Transfer-Encoding"));
    }
    Ok(())
}

/// Whether the operation behind the request hashes its body itself.
fn is_object_write(request: &http::Request<Body>) -> bool {
    let path = request.uri().path().trim_start_matches('/');
    let is_plain = |pair: &str| {
        matches!(
            pair.split('=').next(),
            Some("" | "partNumber" | "uploadId" | "x-id")
        ) || pair.starts_with("X-Amz-")
    };
    *request.method() == http::Method::PUT
        && path.split_once('/').is_some_and(|(_, key)| !key.is_empty())
        && request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .all(is_plain)
}

/// Wraps the body so that it fails at its end where it is not what the headers announce.
pub fn guard(mut request: http::Request<Body>) -> Result<http::Request<Body>, Fault> {
    let is_object_write = is_object_write(&request);
    let headers = request.headers();
    let mut expected = Expected::default();
    if let Some(hash) = text(headers, "x-amz-content-sha256") {
        let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if is_hash {
            expected.sha256 = Some((hash.to_owned(), Sha256::new()));
        } else if hash != "UNSIGNED-PAYLOAD" && !hash.starts_with("STREAMING-") {
            return Err(fault::invalid_argument(
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
                "x-amz-content-sha256",
                hash,
            ));
        }
    }
    if has(headers, "content-md5") {
        let given = text(headers, "content-md5").unwrap_or_default();
        let digest = STANDARD.decode(given.trim()).ok().filter(|d| d.len() == 16);
        let digest = digest.ok_or_else(|| fault::invalid_digest(given))?;
        if !is_object_write {
            expected.md5 = Some((digest, Md5::new()));
        }
    }
    // CompleteMultipartUpload announces the checksum of the object, not of its own document.
    let completes = request
        .uri()
        .query()
        .unwrap_or_default()
        .contains("uploadId=")
        && *request.method() == http::Method::POST;
    let announces = |name: &http::HeaderName| name.as_str().starts_with("x-amz-checksum-");
    if !is_object_write && !completes && headers.keys().any(announces) {
        expected.checksum = ALGORITHMS.into_iter().find_map(|algorithm| {
            Some((
                algorithm,
                text(headers, algorithm.header())?.to_owned(),
                Hasher::new(algorithm),
            ))
        });
    }
    if expected.is_empty() {
        return Ok(request);
    }
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = match body {
        // The empty body still has a digest.
        Body::Empty | Body::Bytes(_) => {
            let bytes = match body {
                Body::Bytes(bytes) => bytes,
                _ => bytes::Bytes::new(),
            };
            expected.update(&bytes);
            expected.finish()?;
            bytes.into()
        }
        stream => {
            let len = stream.len();
            Body::stream(Box::pin(compared(stream, expected)), len)
        }
    };
    Ok(request)
}

fn compared(
    body: Body,
    expected: Expected,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, BodyError>> + Send {
    futures_util::stream::unfold(Some((body.into_stream(), expected)), |state| async move {
        let (mut stream, mut expected) = state?;
        match stream.next().await {
            Some(Ok(chunk)) => {
                expected.update(&chunk);
                Some((Ok(chunk), Some((stream, expected))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => expected.finish().err().map(|error| (Err(error), None)),
        }
    })
}
