//! Encryption at rest: by S3, by KMS keys, and with keys that only the customer has.
//!
//! What a request or a bucket's configuration asks to encrypt is encrypted (AES-256 in counter mode): with the
//! customer's key, or with a data key that a master key wraps (`data_key`). The `AES256` that every object has without
//! asking is only answered; what keeps those bytes from other eyes is the protection of the data directory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use wire::Fault;

use crate::bucket::Bucket;
use crate::data_key::{self, DataKey};
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
            (Encryption::Customer { .. }, Some(_)) => Err(wrong_key()),
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

/// A reading comes with another customer's key than the writing.
fn wrong_key() -> Fault {
    let mut fault = fault::access_denied();
    fault.message = "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.".into();
    fault
}

/// A key that came with a request and goes with it.
#[derive(Clone)]
pub struct CustomerKey {
    /// The key itself.
    pub key: DataKey,
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
        let invalid = |message: &'static str| {
            Fault::sender(400, "InvalidArgument", message)
                .field("ArgumentName", "x-amz-server-side-encryption")
        };
        let Some(algorithm) = algorithm else {
            return if key.is_none() && md5.is_none() {
                Ok(None)
            } else {
                Err(invalid(
                    "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.",
                ))
            };
        };
        if algorithm != "AES256" {
            return Err(Fault::sender(
                400,
                "InvalidEncryptionAlgorithmError",
                "The Encryption request you specified is not valid. Supported value: AES256.",
            )
            .field("ArgumentName", "x-amz-server-side-encryption")
            .field("ArgumentValue", algorithm));
        }
        let key = key.ok_or_else(|| {
            invalid(
                "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.",
            )
        })?;
        let bytes = STANDARD.decode(key).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let (Some(bytes), Some(md5)) = (bytes, md5) else {
            return Err(invalid(
                "The secret key was invalid for the specified algorithm.",
            ));
        };
        if STANDARD.encode(Md5::digest(bytes)) != md5 {
            return Err(invalid(
                "The calculated MD5 hash of the key did not match the hash that was provided.",
            ));
        }
        Ok(Some(CustomerKey {
            key: bytes.into(),
            md5: md5.to_owned(),
        }))
    }
    /// The same for a reading, where what cannot be a key, or whose MD5 is not said, is just not the right one.
    pub fn presented(
        algorithm: Option<&str>,
        key: Option<&str>,
        md5: Option<&str>,
    ) -> Result<Option<CustomerKey>, Fault> {
        let is_key = |key: &str| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 32);
        match key {
            Some(key) if algorithm == Some("AES256") && (md5.is_none() || !is_key(key)) => {
                Err(wrong_key())
            }
            _ => CustomerKey::read(algorithm, key, md5),
        }
    }
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

/// The ARN of `aws/s3`, the key that AWS keeps for an account in a region: the same for the same two.
fn managed_key(region: &str, account: &str) -> String {
    let id = cloud::ids::uuid_of(Md5::digest(format!("aws/s3 {region} {account}")).into());
    cloud::arn::text("kms", region, account, format_args!("key/{id}"))
}

impl Requested<'_> {
    /// Fails for a request that has a customer's key besides, whatever that is.
    pub fn exclude_customer(&self) -> Result<(), Fault> {
        match self.algorithm {
            Some(algorithm) => Err(fault::invalid_argument(
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
                "x-amz-server-side-encryption",
                algorithm,
            )),
            None => Ok(()),
        }
    }
}

/// How a new version is encrypted: as the request says, else as the bucket's default has it.
pub fn choose(
    requested: &Requested<'_>,
    customer: Option<&CustomerKey>,
    bucket: &Bucket,
    account: &str,
) -> Result<Encryption, Fault> {
    if let Some(key) = customer {
        return Ok(Encryption::Customer {
            key_md5: key.md5.clone(),
            nonce: data_key::nonce(),
        });
    }
    let default_key = || managed_key(&bucket.record.region, account);
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
                .filter(|k| !k.is_empty() && *k != "alias/aws/s3")
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

/// Whether somebody asked for that encryption, by the request or the bucket's configuration: then it is done.
pub fn is_asked(requested: &Requested<'_>, bucket: &Bucket, encryption: &Encryption) -> bool {
    match encryption {
        Encryption::Kms { .. } => true,
        Encryption::Customer { .. } => false,
        Encryption::S3 => {
            let rules = bucket.encryption.iter().flat_map(|e| &e.rules);
            requested.algorithm.is_some()
                || rules
                    .take(1)
                    .any(|r| r.apply_server_side_encryption_by_default.is_some())
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
        "AES256" if default.kms_master_key_id.is_some() => Err(Fault::sender(
            400,
            "InvalidArgument",
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
        )
        .field("ArgumentName", "ApplyServerSideEncryptionByDefault")),
        "AES256" | "aws:kms" | "aws:kms:dsse" => Ok(()),
        _ => Err(fault::malformed_xml()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
