//! The checksums that clients choose and S3 keeps: five algorithms, of whole objects or of their parts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use wire::Fault;

use crate::fault;

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32C,
    /// CRC-64/NVME, which S3 computes when the client chooses none.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// All of them.
pub const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Crc32,
    Algorithm::Crc32C,
    Algorithm::Crc64Nvme,
    Algorithm::Sha1,
    Algorithm::Sha256,
];

impl Algorithm {
    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Crc32C => "CRC32C",
            Algorithm::Crc64Nvme => "CRC64NVME",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
        }
    }
    /// The header that carries its value.
    pub fn header(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "x-amz-checksum-crc32",
            Algorithm::Crc32C => "x-amz-checksum-crc32c",
            Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Algorithm::Sha1 => "x-amz-checksum-sha1",
            Algorithm::Sha256 => "x-amz-checksum-sha256",
        }
    }
    /// By AWS's name.
    pub fn parse(name: &str) -> Result<Algorithm, Fault> {
        ALGORITHMS.into_iter().find(|a| a.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            fault::invalid_request(
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
            )
        })
    }
    /// By its header.
    pub fn of_header(header: &str) -> Option<Algorithm> {
        ALGORITHMS
            .into_iter()
            .find(|a| a.header().eq_ignore_ascii_case(header.trim()))
    }
    /// The length of a value in bytes.
    fn len(self) -> usize {
        match self {
            Algorithm::Crc32 | Algorithm::Crc32C => 4,
            Algorithm::Crc64Nvme => 8,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
        }
    }
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Algorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32C => Some(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Algorithm::Sha1 | Algorithm::Sha256 => None,
        }
    }
    /// Whether parts' values can be put together to that of the whole.
    pub fn combines(self) -> bool {
        self.crc().is_some()
    }
}

/// A checksum under way.
pub enum Hasher {
    /// One of the CRCs.
    Crc(crc_fast::Digest, usize),
    /// SHA-1.
    Sha1(Sha1),
    /// SHA-256.
    Sha256(Sha256),
}

impl Hasher {
    /// Begins one.
    pub fn new(algorithm: Algorithm) -> Hasher {
        match (algorithm.crc(), algorithm) {
            (Some(crc), _) => Hasher::Crc(crc_fast::Digest::new(crc), algorithm.len()),
            (None, Algorithm::Sha1) => Hasher::Sha1(Sha1::new()),
            _ => Hasher::Sha256(Sha256::new()),
        }
    }
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Crc(digest, _) => digest.update(bytes),
            Hasher::Sha1(digest) => digest.update(bytes),
            Hasher::Sha256(digest) => digest.update(bytes),
        }
    }
    /// The value in base64.
    pub fn finish(self) -> String {
        match self {
            Hasher::Crc(digest, len) => {
                let bytes = digest.finalize().to_be_bytes();
                STANDARD.encode(bytes.get(8 - len..).unwrap_or_default())
            }
            Hasher::Sha1(digest) => STANDARD.encode(digest.finalize()),
            Hasher::Sha256(digest) => STANDARD.encode(digest.finalize()),
        }
    }
}

/// The value over held bytes, in base64.
pub fn of(algorithm: Algorithm, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// A checksum as a record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Base64; of a composite one with `-N` behind.
    pub value: String,
    /// Whether it covers the object's bytes, and not its parts' checksums.
    pub full_object: bool,
}

impl Checksum {
    /// `FULL_OBJECT` or `COMPOSITE`.
    pub fn kind(&self) -> &'static str {
        if self.full_object {
            "FULL_OBJECT"
        } else {
            "COMPOSITE"
        }
    }
}

/// Sets an output's checksum members from a record's checksum.
#[macro_export]
macro_rules! set_checksum {
    ($output:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            let value = Some(checksum.value.clone());
            match checksum.algorithm {
                $crate::checksum::Algorithm::Crc32 => $output.checksum_crc32 = value,
                $crate::checksum::Algorithm::Crc32C => $output.checksum_crc32_c = value,
                $crate::checksum::Algorithm::Crc64Nvme => $output.checksum_crc64_nvme = value,
                $crate::checksum::Algorithm::Sha1 => $output.checksum_sha1 = value,
                $crate::checksum::Algorithm::Sha256 => $output.checksum_sha256 = value,
            }
        }
    };
}

/// The checksum members of an input, as [`Announced`] takes them.
#[macro_export]
macro_rules! announced_checksums {
    ($input:expr) => {
        [
            (
                $crate::checksum::Algorithm::Crc32,
                $input.checksum_crc32.as_deref(),
            ),
            (
                $crate::checksum::Algorithm::Crc32C,
                $input.checksum_crc32_c.as_deref(),
            ),
            (
                $crate::checksum::Algorithm::Crc64Nvme,
                $input.checksum_crc64_nvme.as_deref(),
            ),
            (
                $crate::checksum::Algorithm::Sha1,
                $input.checksum_sha1.as_deref(),
            ),
            (
                $crate::checksum::Algorithm::Sha256,
                $input.checksum_sha256.as_deref(),
            ),
        ]
    };
}

/// What a client says of a body's checksum before sending it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// The algorithm it chose.
    pub algorithm: Option<Algorithm>,
    /// The value, where a header carried it.
    pub value: Option<String>,
}

impl Announced {
    /// From the checksum members and `x-amz-sdk-checksum-algorithm`.
    pub fn read(
        values: &[(Algorithm, Option<&str>)],
        algorithm: Option<&str>,
    ) -> Result<Announced, Fault> {
        let mut given = values.iter().filter_map(|(a, v)| v.map(|v| (*a, v)));
        let named = algorithm.map(Algorithm::parse).transpose()?;
        let Some((found, value)) = given.next() else {
            return Ok(Announced {
                algorithm: named,
                value: None,
            });
        };
        if given.next().is_some() {
            return Err(fault::invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        if named.is_some_and(|n| n != found) {
            return Err(fault::invalid_request(
                "Value for x-amz-sdk-checksum-algorithm header is invalid.",
            ));
        }
        let is_right = STANDARD.decode(value).is_ok_and(|b| b.len() == found.len());
        if !is_right {
            return Err(fault::invalid_request(format!(
                "Value for {} header is invalid.",
                found.header()
            )));
        }
        Ok(Announced {
            algorithm: Some(found),
            value: Some(value.to_owned()),
        })
    }
    /// The algorithm to compute.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm.unwrap_or(Algorithm::Crc64Nvme)
    }
    /// Compares with what was computed.
    pub fn check(&self, computed: &str) -> Result<(), Fault> {
        match &self.value {
            Some(value) if value != computed => Err(mismatch(self.algorithm())),
            _ => Ok(()),
        }
    }
}

/// `BadDigest` of a checksum.
pub fn mismatch(algorithm: Algorithm) -> Fault {
    Fault::sender(
        400,
        "BadDigest",
        format!(
            "The {} you specified did not match the calculated checksum.",
            algorithm.name()
        ),
    )
}

/// The checksum of an object from those of its parts, given with their lengths; `None` where one is no such value.
pub fn of_parts(
    algorithm: Algorithm,
    full_object: bool,
    parts: &[(String, u64)],
) -> Option<Checksum> {
    let decoded: Option<Vec<Vec<u8>>> =
        parts.iter().map(|(v, _)| STANDARD.decode(v).ok()).collect();
    let decoded = decoded?;
    if !full_object {
        let value = format!("{}-{}", of(algorithm, &decoded.concat()), parts.len());
        return Some(Checksum {
            algorithm,
            value,
            full_object,
        });
    }
    let crc = algorithm.crc()?;
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let mut sum: Option<u64> = None;
    for (bytes, (_, len)) in decoded.iter().zip(parts) {
        let part = number(bytes);
        sum = Some(match sum {
            Some(sum) => crc_fast::checksum_combine(crc, sum, part, *len),
            None => part,
        });
    }
    let bytes = sum.unwrap_or(0).to_be_bytes();
    let value = STANDARD.encode(bytes.get(8 - algorithm.len()..)?);
    Some(Checksum {
        algorithm,
        value,
        full_object,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values_come_out() {
        assert_eq!(of(Algorithm::Crc32, b"123456789"), "y/Q5Jg==");
        assert_eq!(of(Algorithm::Crc32C, b"123456789"), "4waSgw==");
        assert_eq!(of(Algorithm::Crc64Nvme, b"123456789"), "rosUhgp5mIg=");
        assert_eq!(of(Algorithm::Sha1, b""), "2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
    }

    #[test]
    fn two_checksums_at_once_are_refused() {
        let both = [
            (Algorithm::Crc32, Some("y/Q5Jg==")),
            (Algorithm::Sha1, Some("2jmj7l5rSw0yVb/vlWAYkK/YBwk=")),
        ];
        assert!(Announced::read(&both, None).is_err());
        assert!(Announced::read(&both[..1], Some("SHA1")).is_err());
        assert!(Announced::read(&[(Algorithm::Crc32, Some("zzz"))], None).is_err());
    }

    proptest! {
        #[test]
        fn parts_combine_to_the_checksum_of_the_whole(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6)) {
            for algorithm in [Algorithm::Crc32, Algorithm::Crc32C, Algorithm::Crc64Nvme] {
                let each: Vec<_> = parts.iter().map(|p| (of(algorithm, p), p.len() as u64)).collect();
                let whole = of_parts(algorithm, true, &each).expect("values");
                prop_assert_eq!(whole.value, of(algorithm, &parts.concat()));
            }
        }
    }
}
