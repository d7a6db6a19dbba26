//! Files in S3 that tables are filled from: decompressed, and DynamoDB's JSON in them.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use serde_json::value::RawValue;
use wire::{Audit, Decode};

use crate::api::PutRequest;
use crate::value::Attributes;

/// Bytes of one file, and of what it decompresses to.
pub const LARGEST: u64 = 1 << 30;

/// The text of a file; `None` where it is not compressed as it is said to be.
pub fn text(bytes: &[u8], compression: Option<&str>) -> Option<String> {
    let mut text = Vec::new();
    match compression {
        Some("GZIP") => {
            let mut reader = MultiGzDecoder::new(bytes).take(LARGEST);
            reader.read_to_end(&mut text).ok()?;
        }
        Some("ZSTD") => {
            let mut rest = bytes;
            // A file may be several frames, one behind the other.
            while !rest.is_empty() {
                let left = LARGEST.saturating_sub(text.len() as u64);
                let mut reader = StreamingDecoder::new(&mut rest).ok()?.take(left);
                reader.read_to_end(&mut text).ok()?;
                if text.len() as u64 >= LARGEST {
                    return None;
                }
            }
        }
        _ => text.extend_from_slice(bytes),
    }
    // Without a copy where it is what it should be.
    Some(
        String::from_utf8(text)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
    )
}

/// The documents of a file, which may stand on one line; of what is none, the rest of its line.
pub fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let (document, end) = match stream.next() {
            Some(Ok(document)) => (document.get(), stream.byte_offset()),
            _ => {
                let end = rest.find('\n').unwrap_or(rest.len());
                (rest.get(..end).unwrap_or_default(), end)
            }
        };
        rest = rest.get(end..).unwrap_or_default();
        Some(document)
    })
}

/// An item from a document of DynamoDB's JSON: `{"Item": {…}}`.
pub fn json_item(line: &str) -> Option<Attributes> {
    let mut audit = Audit::default();
    let read = wire::json::read(line.as_bytes(), |r| PutRequest::decode(r, &mut audit));
    read.ok().map(|put| put.item)
}
