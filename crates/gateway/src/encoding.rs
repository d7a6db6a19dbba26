//! Bodies that come or go compressed: large requests of SDKs, large answers of services that compress them.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderMap;
use wire::protocol::Response;
use wire::{Body, BodyError, Bytes, Fault};

/// The body as it was before its `Content-Encoding`, at most `limit` bytes of it. Encodings that are no compression
/// (some SDKs name their own) leave it as it is.
/// Where a service is strict they are refused.
pub(crate) fn decoded(
    headers: &HeaderMap,
    body: Bytes,
    limit: u64,
    is_strict: bool,
) -> Result<Bytes, Fault> {
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
        b"" | b"identity" => return Ok(body),
        _ if is_strict => return Err(Fault::receiver(500, "InternalServerError", broken)),
        _ => return Ok(body),
    };
    if out.len() as u64 > limit {
        return Err(Fault::from_body(&BodyError::TooLarge(limit)));
    }
    Ok(out.into())
}

/// A compression that clients ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Coding {
    Gzip,
    Deflate,
}

/// What a client wants, as DynamoDB reads it: by weight, then by order; nothing where it wants no compression.
/// A weight that is none counts as one.
fn wanted(accepted: &str) -> Option<Coding> {
    let mut named = Vec::new();
    let mut others = None;
    for entry in accepted.split(',') {
        let name = entry.split(';').next().unwrap_or_default().trim();
        let weight = entry.split_once("q=").map_or(1.0, |(_, rest)| {
            let text = rest.split(';').next().unwrap_or_default().trim();
            text.parse::<f64>().unwrap_or(1.0).clamp(0.0, 1.0)
        });
        match name.to_ascii_lowercase().as_str() {
            "gzip" => named.push((Coding::Gzip, weight)),
            "deflate" => named.push((Coding::Deflate, weight)),
            "*" => others = Some(weight),
            _ => {}
        }
    }
    // The star stands for what is not named.
    for coding in [Coding::Gzip, Coding::Deflate] {
        if let Some(weight) = others
            && !named.iter().any(|(name, _)| *name == coding)
        {
            named.push((coding, weight));
        }
    }
    let mut best: Option<(Coding, f64)> = None;
    for (coding, weight) in named {
        if weight > best.map_or(0.0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

/// Compresses an answer of at least `least` bytes for who accepts it; one that is a stream is left as it is.
pub(crate) fn compress(headers: &HeaderMap, least: usize, response: &mut Response) {
    let accepted = headers
        .get(http::header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok());
    let Some(coding) = accepted.and_then(wanted) else {
        return;
    };
    let Body::Bytes(bytes) = &response.body else {
        return;
    };
    if bytes.len() < least {
        return;
    }
    let level = Compression::default();
    let (name, compressed) = match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            (
                "gzip",
                encoder.write_all(bytes).and_then(|()| encoder.finish()),
            )
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            (
                "deflate",
                encoder.write_all(bytes).and_then(|()| encoder.finish()),
            )
        }
    };
    if let Ok(compressed) = compressed {
        response.body = Body::from(Bytes::from(compressed));
        response
            .headers
            .push(("Content-Encoding".into(), name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_wants_is_read_as_dynamodb_reads_it() {
        for (accepted, coding) in [
            ("identity", None),
            ("", None),
            ("br", None),
            ("gzip, deflate", Some(Coding::Gzip)),
            ("br, identity, deflate, gzip", Some(Coding::Deflate)),
            ("GZIP, identity", Some(Coding::Gzip)),
            ("gzip;q=0.8, deflate;q=0.5", Some(Coding::Gzip)),
            (
                "br, gzip;q=0, deflate; q = 0.5 , identity;q=0",
                Some(Coding::Deflate),
            ),
            ("*", Some(Coding::Gzip)),
            ("*, deflate;q=0.5", Some(Coding::Gzip)),
            ("*, deflate", Some(Coding::Deflate)),
            ("*, gzip;q=0.5", Some(Coding::Deflate)),
            ("gzip ;q=0", None),
            ("*;q=0", None),
            ("\"gzip\"", None),
            ("gzip:q=1", None),
            ("gzip;q=31,deflate;q=51", Some(Coding::Gzip)),
            ("deflate;q=0.5, gzip;q=1;q=0.2", Some(Coding::Gzip)),
            ("deflate;q=0.5,gzip;q=0.", Some(Coding::Deflate)),
            ("deflate;q=0.5,gzip;q=0.x", Some(Coding::Gzip)),
            ("gzip;q =0;q=1", Some(Coding::Gzip)),
            ("gzip;nq=0;q=1", None),
            ("gzip;q=0, gzip;q=1, gzip;q=0", Some(Coding::Gzip)),
        ] {
            assert_eq!(wanted(accepted), coding, "{accepted}");
        }
    }

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
        let read = decoded(&headers("gzip"), body.clone(), 100_000, false).expect("it fits");
        assert_eq!(&read[..], &zeros[..]);
        assert!(decoded(&headers("gzip"), body, 99_999, false).is_err_and(|f| f.status == 413));
        let plain = Bytes::from_static(b"{}");
        assert!(decoded(&headers("gzip"), plain.clone(), 9, false).is_err_and(|f| f.status == 500));
        assert_eq!(
            decoded(&headers("amz-1.0"), plain.clone(), 9, false).expect("as it is"),
            plain
        );
        assert_eq!(
            decoded(&HeaderMap::new(), plain.clone(), 9, false).expect("as it is"),
            plain
        );
    }
}
