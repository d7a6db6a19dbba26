//! Objects compressed as a destination asks.

use std::io::{Cursor, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use wire::Fault;

/// Bytes of a block of Hadoop's Snappy.
const BLOCK: usize = 256 * 1024;
/// Bytes of a block of snappy-java's.
const JAVA_BLOCK: usize = 32 * 1024;

/// The extension of objects of that format.
pub(crate) fn extension(format: &str) -> &'static str {
    match format {
        "GZIP" => ".gz",
        "ZIP" => ".zip",
        "Snappy" | "HADOOP_SNAPPY" => ".snappy",
        _ => "",
    }
}

/// The `Content-Encoding` that AWS gives objects of that format.
pub(crate) fn encoding(format: &str) -> Option<&'static str> {
    match format {
        "GZIP" => Some("gzip"),
        "ZIP" => Some("zip"),
        "Snappy" => Some("snappy-java"),
        "HADOOP_SNAPPY" => Some("hadoop-snappy"),
        _ => None,
    }
}

/// Compresses an object, which within a ZIP has that name.
pub(crate) fn compress(format: &str, name: &str, bytes: Vec<u8>) -> Result<Bytes, Fault> {
    let packed = match format {
        "GZIP" => gzip(&bytes)?,
        "ZIP" => {
            let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Deflated);
            zip.start_file(name, options)?;
            zip.write_all(&bytes)?;
            zip.finish()?.into_inner()
        }
        "Snappy" => snappy_java(&bytes)?,
        "HADOOP_SNAPPY" => hadoop(&bytes)?,
        _ => bytes,
    };
    Ok(packed.into())
}

/// Bytes in GZIP.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

/// The stream of the library snappy-java: a header with two versions, then blocks with their sizes.
fn snappy_java(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(JAVA_BLOCK) {
        let packed = encoder.compress_vec(block)?;
        out.extend_from_slice(
            &u32::try_from(packed.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

/// Blocks, each with its size before and after, as Hadoop's codec reads them.
fn hadoop(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(BLOCK) {
        let packed = encoder.compress_vec(block)?;
        let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
        out.extend_from_slice(&size(block.len()));
        out.extend_from_slice(&size(packed.len()));
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_format_reads_back() {
        let text = b"some text ".repeat(50_000);
        let packed = |format| compress(format, "f", text.clone()).unwrap();
        let mut found = Vec::new();
        flate2::read::GzDecoder::new(&packed("GZIP")[..])
            .read_to_end(&mut found)
            .unwrap();
        assert_eq!(found, text);
        let (mut found, java) = (Vec::new(), packed("Snappy"));
        let mut rest = java
            .strip_prefix(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01")
            .unwrap();
        while !rest.is_empty() {
            let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let block = snap::raw::Decoder::new()
                .decompress_vec(&rest[4..4 + size])
                .unwrap();
            found.extend(block);
            rest = &rest[4 + size..];
        }
        assert_eq!(found, text);
        let mut zip = zip::ZipArchive::new(Cursor::new(packed("ZIP"))).unwrap();
        let mut found = Vec::new();
        zip.by_name("f").unwrap().read_to_end(&mut found).unwrap();
        assert_eq!(found, text);
        let (mut found, hadoop) = (Vec::new(), packed("HADOOP_SNAPPY"));
        let mut rest = &hadoop[..];
        while !rest.is_empty() {
            let size = u32::from_be_bytes(rest[4..8].try_into().unwrap()) as usize;
            let block = snap::raw::Decoder::new()
                .decompress_vec(&rest[8..8 + size])
                .unwrap();
            found.extend(block);
            rest = &rest[8 + size..];
        }
        assert_eq!(found, text);
        assert_eq!(packed("UNCOMPRESSED"), text);
    }
}
