//! Request bodies that come compressed, as SDKs send large ones.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use wire::{BodyError, Bytes, Fault};

/// The body as it was before its `Content-Encoding`, at most `limit` bytes of it. Encodings that are no compression
/// (some SDKs name their own) leave it as it is.
pub(crate) fn decoded(headers: &HeaderMap, body: Bytes, limit: u64) -> Result<Bytes, Fault> {
    let Some(encoding) = headers.get(http::header::CONTENT_ENCODING) else {
        return Ok(body);
    };
    let (mut out, broken) = (Vec::new(), "The request body could not be decompressed");
    let mut inflate = |reader: &mut dyn Read| {
        let read = reader.take(limit + 1).read_to_end(&mut out);
        read.map_err(|_| Fault::receiver(500, "InternalServerError", broken))
    };
    match encoding.as_bytes() {
        b"gzip" => inflate(&mut MultiGzDecoder::new(&body[..]))?,
        b"deflate" => inflate(&mut ZlibDecoder::new(&body[..]))?,
        _ => return Ok(body),
    };
    if out.len() as u64 > limit {
        return Err(Fault::from_body(&BodyError::TooLarge(limit)));
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn headers(encoding: &'static str) -> HeaderMap {
        let value = http::HeaderValue::from_static(encoding);
        HeaderMap::from_iter([(http::header::CONTENT_ENCODING, value)])
    }

    fn compressed(text: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory takes it");
        encoder.finish().expect("memory takes it").into()
    }

    #[test]
    fn a_compressed_body_is_read_and_a_bomb_refused() {
        let zeros = vec![b'0'; 100_000];
        let body = compressed(&zeros);
        let read = decoded(&headers("gzip"), body.clone(), 100_000).expect("it fits");
        assert_eq!(&read[..], &zeros[..]);
        assert!(decoded(&headers("gzip"), body, 99_999).is_err_and(|f| f.status == 413));
        let plain = Bytes::from_static(b"{}");
        assert!(decoded(&headers("gzip"), plain.clone(), 9).is_err_and(|f| f.status == 500));
        assert_eq!(
            decoded(&headers("amz-1.0"), plain.clone(), 9).expect("as it is"),
            plain
        );
        assert_eq!(
            decoded(&HeaderMap::new(), plain.clone(), 9).expect("as it is"),
            plain
        );
    }
}
