//! The signature chain of an `aws-chunked` body.
//!
//! Each chunk's signature covers the one before it, starting at the request's own. A verifier is fed the bytes as they
//! pass, so no chunk need be held in memory.

use sha2::{Digest, Sha256};

use crate::digest::{equal_in_constant_time, sha256_hex};
use crate::sigv4::{SigningKey, Verified};

/// The `x-amz-content-sha256` of a signed chunked body.
pub const STREAMING_PAYLOAD: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
/// The `x-amz-content-sha256` of a signed chunked body with signed trailers.
pub const STREAMING_PAYLOAD_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
/// The `x-amz-content-sha256` of an unsigned chunked body with trailers.
pub const STREAMING_UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A chunk or trailer whose signature is not the one its bytes have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)]
pub struct ChunkMismatch {
    /// The string that should have been signed.
    pub string_to_sign: String,
    /// The signature that was presented.
    pub signature_provided: String,
}

/// Verifies, or makes, the signatures of a body's chunks in order.
#[derive(Debug, Clone)]
pub struct ChunkChain {
    key: SigningKey,
    date: String,
    scope: String,
    previous: String,
    hash: Sha256,
}

impl ChunkChain {
    /// Starts a chain at a verified request.
    pub fn new(request: Verified) -> Self {
        ChunkChain {
            key: request.key,
            date: request.date,
            scope: request.scope,
            previous: request.signature,
            hash: Sha256::new(),
        }
    }

    /// Takes the next bytes of the current chunk.
    pub fn update(&mut self, data: &[u8]) {
        self.hash.update(data);
    }

    /// Ends the current chunk, which may be the empty last one, and checks its signature.
    pub fn finish_chunk(&mut self, signature: &str) -> Result<(), ChunkMismatch> {
        let text = self.chunk_string_to_sign();
        self.check(text, signature)
    }

    /// Ends the current chunk and returns the signature it must carry.
    pub fn sign_chunk(&mut self) -> String {
        let text = self.chunk_string_to_sign();
        self.previous = self.key.sign(&text);
        self.previous.clone()
    }

    /// Checks `x-amz-trailer-signature` over the trailers, given as `name:value\n` lines, names in lower case.
    pub fn finish_trailer(&mut self, trailers: &str, signature: &str) -> Result<(), ChunkMismatch> {
        let text = self.trailer_string_to_sign(trailers);
        self.check(text, signature)
    }

    /// The signature that the trailers must carry.
    pub fn sign_trailer(&mut self, trailers: &str) -> String {
        let text = self.trailer_string_to_sign(trailers);
        self.previous = self.key.sign(&text);
        self.previous.clone()
    }

    fn chunk_string_to_sign(&mut self) -> String {
        let hash = hex::encode(std::mem::take(&mut self.hash).finalize());
        format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{EMPTY_HASH}\n{hash}",
            self.date, self.scope, self.previous
        )
    }

    fn trailer_string_to_sign(&self, trailers: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            self.date,
            self.scope,
            self.previous,
            sha256_hex(trailers.as_bytes())
        )
    }

    fn check(&mut self, text: String, signature: &str) -> Result<(), ChunkMismatch> {
        let expected = self.key.sign(&text);
        if !equal_in_constant_time(&expected, signature) {
            return Err(ChunkMismatch {
                string_to_sign: text,
                signature_provided: signature.to_owned(),
            });
        }
        self.previous = expected;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of AWS's documentation of chunked uploads.
    fn documented_chain() -> ChunkChain {
        ChunkChain::new(Verified {
            key: SigningKey::derive(
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "20130524",
                "us-east-1",
                "s3",
            ),
            signature: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".into(),
            date: "20130524T000000Z".into(),
            scope: "20130524/us-east-1/s3/aws4_request".into(),
        })
    }

    #[test]
    fn the_documented_chunks_verify_in_order() {
        let mut chain = documented_chain();
        for _ in 0..64 {
            chain.update(&[b'a'; 1024]);
        }
        assert_eq!(
            chain.finish_chunk("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            Ok(())
        );
        chain.update(&[b'a'; 1024]);
        assert_eq!(
            chain.finish_chunk("0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            Ok(())
        );
        assert_eq!(
            chain.finish_chunk("b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
            Ok(())
        );
    }

    #[test]
    fn a_changed_chunk_breaks_the_chain() {
        let mut signer = documented_chain();
        signer.update(b"hello");
        let signature = signer.sign_chunk();
        let mut chain = documented_chain();
        chain.update(b"hallo");
        let error = chain.finish_chunk(&signature).expect_err("another chunk");
        assert!(
            error
                .string_to_sign
                .starts_with("AWS4-HMAC-SHA256-PAYLOAD\n")
        );
    }

    #[test]
    fn trailers_are_chained_to_the_last_chunk() {
        let mut signer = documented_chain();
        signer.update(b"hello");
        let (chunk, last) = (signer.sign_chunk(), signer.sign_chunk());
        let trailer = signer.sign_trailer("x-amz-checksum-crc32c:sOO8/Q==\n");
        let mut chain = documented_chain();
        chain.update(b"hel");
        chain.update(b"lo");
        assert_eq!(chain.finish_chunk(&chunk), Ok(()));
        assert_eq!(chain.finish_chunk(&last), Ok(()));
        assert_eq!(
            chain.finish_trailer("x-amz-checksum-crc32c:sOO8/Q==\n", &trailer),
            Ok(())
        );
    }
}
