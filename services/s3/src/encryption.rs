//! Encryption at rest: by S3, by KMS keys, and with keys that only the customer has.
//!
//! Contents under a customer's key are really encrypted with it (AES-256 in counter mode). `AES256` and `aws:kms` are
//! recorded and answered; what keeps those bytes from other eyes is the protection of the data directory.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use wire::Fault;

use crate::bucket::Bucket;
use crate::{api, fault};

/// How a version is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Encryption {
    /// With S3's keys.
    #[default]
    S3,
    /// With a key of KMS.
    Kms {
        /// `aws:kms` or `aws:kms:dsse`.
        algorithm: String,
        /// The key's id or ARN.
        key: String,
        /// Whether a bucket key is used.
        #[serde(default)]
        bucket_key: bool,
        /// The encryption context, as it was sent.
        #[serde(default)]
        context: Option<String>,
    },
    /// With the customer's key.
    Customer {
        /// Base64 of the MD5 of the key.
        key_md5: String,
        /// The first counter block of a small content.
        #[serde(default)]
        nonce: [u8; 16],
    },
}

impl Encryption {
    /// `x-amz-server-side-encryption`
    pub fn algorithm(&self) -> Option<String> {
        match self {
            Encryption::S3 => Some("AES256".to_owned()),
            Encryption::Kms { algorithm, .. } => Some(algorithm.clone()),
            Encryption::Customer { .. } => None,
        }
    }
    /// `x-amz-server-side-encryption-aws-kms-key-id`
    pub fn kms_key(&self) -> Option<String> {
        match self {
            Encryption::Kms { key, .. } => Some(key.clone()),
            _ => None,
        }
    }
    /// `x-amz-server-side-encryption-bucket-key-enabled`
    pub fn bucket_key(&self) -> Option<bool> {
        match self {
            Encryption::Kms {
                bucket_key: true, ..
            } => Some(true),
            _ => None,
        }
    }
    /// `x-amz-server-side-encryption-customer-algorithm`
    pub fn customer_algorithm(&self) -> Option<String> {
        matches!(self, Encryption::Customer { .. }).then(|| "AES256".to_owned())
    }
    /// `x-amz-server-side-encryption-customer-key-MD5`
    pub fn customer_key_md5(&self) -> Option<String> {
        match self {
            Encryption::Customer { key_md5, .. } => Some(key_md5.clone()),
            _ => None,
        }
    }
    /// The ETag of encrypted bytes: the same for the same bytes and key, and not their MD5, which is nobody's to learn
    /// without the key.
    pub fn etag(&self, md5: &[u8; 16]) -> String {
        let key = self
            .customer_key_md5()
            .or(self.kms_key())
            .unwrap_or_default();
        hex::encode(Md5::new().chain_update(key).chain_update(md5).finalize())
    }
    /// Whether the ETag is the MD5 of the bytes.
    pub fn has_md5_etag(&self) -> bool {
        matches!(self, Encryption::S3)
    }
    /// Fails unless `key` is the one that this was encrypted with, or neither is there.
    pub fn check(&self, key: Option<&CustomerKey>) -> Result<(), Fault> {
        match (self, key) {
            (Encryption::Customer { key_md5, .. }, Some(key)) if *key_md5 == key.md5 => Ok(()),
            (Encryption::Customer { .. }, Some(_)) => Err(fault::access_denied()),
            (Encryption::Customer { .. }, None) => Err(fault::invalid_request(
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
            )),
            (_, Some(_)) => Err(fault::invalid_request(
                "The encryption parameters are not applicable to this object.",
            )),
            (_, None) => Ok(()),
        }
    }
}

/// Sets an output's encryption members.
#[macro_export]
macro_rules! set_encryption {
    ($output:expr, $encryption:expr) => {
        $output.server_side_encryption = $encryption.algorithm();
        $output.ssekms_key_id = $encryption.kms_key();
        $output.bucket_key_enabled = $encryption.bucket_key();
        $output.sse_customer_algorithm = $encryption.customer_algorithm();
        $output.sse_customer_key_md5 = $encryption.customer_key_md5();
    };
}

/// A key that came with a request and goes with it.
#[derive(Clone)]
pub struct CustomerKey {
    bytes: [u8; 32],
    /// Base64 of its MD5.
    pub md5: String,
}

impl CustomerKey {
    /// Reads the three headers; `None` where none is there.
    pub fn read(
        algorithm: Option<&str>,
        key: Option<&str>,
        md5: Option<&str>,
    ) -> Result<Option<CustomerKey>, Fault> {
        let wrong =
            |message: &str, header: &str| Err(fault::invalid_argument(message, header, "null"));
        let (algorithm, key, md5) = match (algorithm, key, md5) {
            (None, None, None) => return Ok(None),
            (None, ..) => {
                return wrong(
                    "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.",
                    "x-amz-server-side-encryption-customer-algorithm",
                );
            }
            (Some(algorithm), key, md5) => (algorithm, key, md5),
        };
        if algorithm != "AES256" {
            return Err(Fault::sender(
                400,
                "InvalidEncryptionAlgorithmError",
                "The encryption request you specified is not valid. The valid value is AES256.",
            ));
        }
        let (Some(key), Some(md5)) = (key, md5) else {
            return wrong(
                "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.",
                "x-amz-server-side-encryption-customer-key",
            );
        };
        let decoded = STANDARD
            .decode(key)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let Some(bytes) = decoded else {
            return wrong(
                "The secret key was invalid for the specified algorithm.",
                "x-amz-server-side-encryption-customer-key",
            );
        };
        if STANDARD.encode(Md5::digest(bytes)) != md5 {
            return wrong(
                "The calculated MD5 hash of the key did not match the hash that was provided.",
                "x-amz-server-side-encryption-customer-key-MD5",
            );
        }
        Ok(Some(CustomerKey {
            bytes,
            md5: md5.to_owned(),
        }))
    }
    /// The cipher of a content, `offset` bytes behind its beginning.
    pub fn cipher(&self, nonce: &[u8; 16], offset: u64) -> Cipher {
        let mut cipher = Ctr128BE::<Aes256>::new(&self.bytes.into(), &(*nonce).into());
        cipher.seek(offset);
        Cipher(cipher)
    }
}

/// A cipher at its place in a content.
pub struct Cipher(Ctr128BE<Aes256>);

impl Cipher {
    /// Encrypts or decrypts the next bytes.
    pub fn apply(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        self.0.apply_keystream(&mut out);
        out
    }
}

/// A first counter block.
pub fn nonce() -> [u8; 16] {
    let mut nonce = [0; 16];
    cloud::ids::random(&mut nonce);
    nonce
}

/// What a request says of encryption.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requested<'a> {
    /// `x-amz-server-side-encryption`
    pub algorithm: Option<&'a str>,
    /// The key of KMS.
    pub kms_key: Option<&'a str>,
    /// The encryption context.
    pub context: Option<&'a str>,
    /// Whether to use a bucket key.
    pub bucket_key: Option<bool>,
}

/// How a new version is encrypted: as the request says, else as the bucket's default has it.
pub fn choose(
    requested: &Requested<'_>,
    customer: Option<&CustomerKey>,
    bucket: &Bucket,
    account: &str,
) -> Result<Encryption, Fault> {
    if let Some(key) = customer {
        if requested.algorithm.is_some() {
            return Err(fault::invalid_argument(
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
                "x-amz-server-side-encryption",
                requested.algorithm.unwrap_or_default(),
            ));
        }
        return Ok(Encryption::Customer {
            key_md5: key.md5.clone(),
            nonce: nonce(),
        });
    }
    let default_key = || {
        format!(
            "arn:aws:kms:{}:{account}:alias/aws/s3",
            bucket.record.region
        )
    };
    let rule = bucket.encryption.as_ref().and_then(|e| e.rules.first());
    let default_bucket_key = rule.and_then(|r| r.bucket_key_enabled).unwrap_or(false);
    match requested.algorithm {
        Some("AES256") if requested.kms_key.is_some() => Err(fault::invalid_argument(
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
            "x-amz-server-side-encryption",
            "AES256",
        )),
        Some("AES256") => Ok(Encryption::S3),
        Some(algorithm @ ("aws:kms" | "aws:kms:dsse")) => Ok(Encryption::Kms {
            algorithm: algorithm.to_owned(),
            key: requested
                .kms_key
                .filter(|k| !k.is_empty())
                .map_or_else(default_key, str::to_owned),
            bucket_key: requested.bucket_key.unwrap_or(default_bucket_key),
            context: requested.context.map(str::to_owned),
        }),
        Some(other) => Err(fault::invalid_argument(
            "The encryption method specified is not supported",
            "x-amz-server-side-encryption",
            other,
        )),
        None if requested.kms_key.is_some() => Err(fault::invalid_argument(
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
            "x-amz-server-side-encryption",
            "null",
        )),
        None => {
            let default = rule.and_then(|r| r.apply_server_side_encryption_by_default.as_ref());
            Ok(match default {
                Some(d) if d.sse_algorithm.starts_with("aws:kms") => Encryption::Kms {
                    algorithm: d.sse_algorithm.clone(),
                    key: d.kms_master_key_id.clone().unwrap_or_else(default_key),
                    bucket_key: default_bucket_key,
                    context: None,
                },
                _ => Encryption::S3,
            })
        }
    }
}

/// Checks PutBucketEncryption's document.
pub fn check(configuration: &api::ServerSideEncryptionConfiguration) -> Result<(), Fault> {
    let [rule] = &configuration.rules[..] else {
        return Err(fault::malformed_xml());
    };
    let Some(default) = &rule.apply_server_side_encryption_by_default else {
        return if rule.blocked_encryption_types.is_some() {
            Ok(())
        } else {
            Err(fault::malformed_xml())
        };
    };
    match default.sse_algorithm.as_str() {
        "AES256" if default.kms_master_key_id.is_some() => Err(fault::invalid_argument(
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
            "ApplyServerSideEncryptionByDefault",
            "AES256",
        )),
        "AES256" | "aws:kms" | "aws:kms:dsse" => Ok(()),
        _ => Err(fault::malformed_xml()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CustomerKey {
        let bytes = [7u8; 32];
        let md5 = STANDARD.encode(Md5::digest(bytes));
        CustomerKey::read(Some("AES256"), Some(&STANDARD.encode(bytes)), Some(&md5))
            .expect("a key")
            .expect("a key")
    }

    #[test]
    fn a_range_decrypts_by_itself() {
        let (key, nonce) = (key(), nonce());
        let plain: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        let mut cipher = key.cipher(&nonce, 0);
        let mut encrypted = cipher.apply(&plain[..33_333]);
        encrypted.extend(cipher.apply(&plain[33_333..]));
        assert_ne!(encrypted, plain);
        assert_eq!(
            key.cipher(&nonce, 777).apply(&encrypted[777..999]),
            &plain[777..999]
        );
    }

    #[test]
    fn a_key_whose_md5_is_wrong_is_refused() {
        let text = STANDARD.encode([7u8; 32]);
        assert!(CustomerKey::read(Some("AES256"), Some(&text), Some("rubbish")).is_err());
        assert!(CustomerKey::read(Some("AES256"), Some("c2hvcnQ="), Some("x")).is_err());
        assert!(CustomerKey::read(Some("AES256"), None, None).is_err());
        assert!(CustomerKey::read(None, Some(&text), None).is_err());
        assert!(CustomerKey::read(None, None, None).is_ok_and(|k| k.is_none()));
    }
}
