//! What a request that makes an object says besides its bytes: headers, metadata, tags, lists, locks, encryption.

use std::collections::BTreeMap;

use cloud::Context;
use wire::{Fault, Timestamp};

use crate::access::Conditions;
use crate::acl::{Acl, GrantHeaders};
use crate::bucket::{Bucket, Ownership};
use crate::data_key::{DataKey, Sealed};
use crate::encryption::{self, CustomerKey, Encryption};
use crate::object::{Headers, Origin, Retention};
use crate::{access, fault, lock, metadata, tagging};

/// The longest user metadata, in bytes of names and values.
const MAX_METADATA: usize = 2048;
/// The longest key, in bytes.
const MAX_KEY: usize = 1024;

/// Storage classes that an object can be written with.
const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];

/// A request's members, as they came.
#[derive(Clone, Copy, Default)]
pub struct Requested<'a> {
    /// The headers that are given back.
    pub content_type: Option<&'a str>,
    /// `Cache-Control`
    pub cache_control: Option<&'a str>,
    /// `Content-Disposition`
    pub content_disposition: Option<&'a str>,
    /// `Content-Encoding`
    pub content_encoding: Option<&'a str>,
    /// `Content-Language`
    pub content_language: Option<&'a str>,
    /// `Expires`
    pub expires: Option<Timestamp>,
    /// `x-amz-website-redirect-location`
    pub website_redirect: Option<&'a str>,
    /// `x-amz-meta-…`
    pub metadata: Option<&'a BTreeMap<String, String>>,
    /// Whether that is text as it stands, not what headers made of it.
    pub metadata_is_text: bool,
    /// `x-amz-storage-class`
    pub storage_class: Option<&'a str>,
    /// `x-amz-tagging`
    pub tagging: Option<&'a str>,
    /// `x-amz-acl`
    pub acl: Option<&'a str>,
    /// `x-amz-grant-…`
    pub grants: GrantHeaders<'a>,
    /// `x-amz-server-side-encryption…`
    pub encryption: encryption::Requested<'a>,
    /// The customer's key: algorithm, key, MD5.
    pub customer: (Option<&'a str>, Option<&'a str>, Option<&'a str>),
    /// `x-amz-object-lock-mode`
    pub lock_mode: Option<&'a str>,
    /// `x-amz-object-lock-retain-until-date`
    pub retain_until: Option<Timestamp>,
    /// `x-amz-object-lock-legal-hold`
    pub legal_hold: Option<&'a str>,
}

/// The members of PutObject, CopyObject and CreateMultipartUpload, which are named alike.
#[macro_export]
macro_rules! requested {
    ($input:expr) => {
        $crate::properties::Requested {
            content_type: $input.content_type.as_deref(),
            cache_control: $input.cache_control.as_deref(),
            content_disposition: $input.content_disposition.as_deref(),
            content_encoding: $input.content_encoding.as_deref(),
            content_language: $input.content_language.as_deref(),
            expires: $input.expires,
            website_redirect: $input.website_redirect_location.as_deref(),
            metadata: $input.metadata.as_ref(),
            metadata_is_text: false,
            storage_class: $input.storage_class.as_deref(),
            tagging: $input.tagging.as_deref(),
            acl: $input.acl.as_deref(),
            grants: $crate::acl::GrantHeaders {
                full_control: $input.grant_full_control.as_deref(),
                read: $input.grant_read.as_deref(),
                write: None,
                read_acp: $input.grant_read_acp.as_deref(),
                write_acp: $input.grant_write_acp.as_deref(),
            },
            encryption: $crate::encryption::Requested {
                algorithm: $input.server_side_encryption.as_deref(),
                kms_key: $input.ssekms_key_id.as_deref(),
                context: $input.ssekms_encryption_context.as_deref(),
                bucket_key: $input.bucket_key_enabled,
            },
            customer: (
                $input.sse_customer_algorithm.as_deref(),
                $input.sse_customer_key.as_deref(),
                $input.sse_customer_key_md5.as_deref(),
            ),
            lock_mode: $input.object_lock_mode.as_deref(),
            retain_until: $input.object_lock_retain_until_date,
            legal_hold: $input.object_lock_legal_hold_status.as_deref(),
        }
    };
}

/// The same, read and found right.
#[derive(Clone)]
pub struct Properties {
    /// The owning account.
    pub owner: String,
    /// Headers.
    pub headers: Headers,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
    /// Absent for `STANDARD`.
    pub storage_class: Option<String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// The list, where it is not the default one.
    pub acl: Option<Acl>,
    /// Encryption.
    pub encryption: Encryption,
    /// Whether the bytes are to be encrypted with a key of ours; see [`crate::S3::seal`].
    pub is_sealed: bool,
    /// The key to encrypt with: the customer's or ours.
    pub key: Option<DataKey>,
    /// Ours, as it is kept.
    pub sealed: Option<Sealed>,
    /// Retention.
    pub retention: Option<Retention>,
    /// Legal hold.
    pub legal_hold: Option<bool>,
    /// What it is a replica of, where replication writes it.
    pub origin: Option<Origin>,
}

impl Requested<'_> {
    /// The condition keys of a policy that these set.
    pub fn conditions(&self, conditions: &mut Conditions) {
        let keys = [
            ("s3:x-amz-acl", self.acl),
            ("s3:x-amz-grant-full-control", self.grants.full_control),
            ("s3:x-amz-grant-read", self.grants.read),
            ("s3:x-amz-grant-read-acp", self.grants.read_acp),
            ("s3:x-amz-grant-write", self.grants.write),
            ("s3:x-amz-grant-write-acp", self.grants.write_acp),
            ("s3:x-amz-server-side-encryption", self.encryption.algorithm),
            (
                "s3:x-amz-server-side-encryption-aws-kms-key-id",
                self.encryption.kms_key,
            ),
            (
                "s3:x-amz-server-side-encryption-customer-algorithm",
                self.customer.0,
            ),
            ("s3:x-amz-storage-class", self.storage_class),
            ("s3:x-amz-website-redirect-location", self.website_redirect),
            ("s3:object-lock-mode", self.lock_mode),
            ("s3:object-lock-legal-hold", self.legal_hold),
        ];
        for (key, value) in keys {
            if let Some(value) = value {
                conditions.set(key, value);
            }
        }
        if let Some(until) = self.retain_until {
            conditions.set("s3:object-lock-retain-until-date", until.iso8601_secs());
        }
        if let Some(Ok(tags)) = self.tagging.map(tagging::read_header) {
            tagging::conditions(conditions, "s3:RequestObjectTag/", &tags);
            conditions.set_all(
                "s3:RequestObjectTagKeys",
                tags.into_iter().map(|(key, _)| key).collect(),
            );
        }
    }

    /// Whether a list is asked for that lets in others than the writer and the bucket's owner. AWS's own example of a policy
    /// asks for no more than `s3:PutObject` of an account that gives the owner full control.
    fn lets_others_in(&self, ctx: &Context, bucket: &Bucket) -> bool {
        let owner = bucket.account.as_str();
        let writer = access::account(ctx).unwrap_or(owner);
        Acl::requested(self.acl, &self.grants, writer, owner)
            .is_ok_and(|acl| acl.is_some_and(|acl| !acl.is_among(&[writer, owner])))
    }

    /// Reads and checks them for an object in that bucket.
    pub fn read(&self, ctx: &Context, bucket: &Bucket, key: &str) -> Result<Properties, Fault> {
        if key.len() > MAX_KEY {
            return Err(
                Fault::sender(400, "KeyTooLongError", "Your key is too long")
                    .field("Size", key.len().to_string())
                    .field("MaxSizeAllowed", MAX_KEY.to_string()),
            );
        }
        let metadata = self.metadata.cloned().unwrap_or_default();
        let metadata: BTreeMap<String, String> = metadata
            .into_iter()
            .map(|(name, value)| match self.metadata_is_text {
                true => (name, value),
                false => (name, metadata::read(value)),
            })
            .collect();
        let size: usize = metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
        if size > MAX_METADATA {
            return Err(Fault::sender(
                400,
                "MetadataTooLarge",
                "Your metadata headers exceed the maximum allowed metadata size",
            )
            .field("Size", size.to_string())
            .field("MaxSizeAllowed", MAX_METADATA.to_string()));
        }
        let class = self.storage_class.unwrap_or("STANDARD");
        if !STORAGE_CLASSES.contains(&class) {
            return Err(Fault::sender(
                400,
                "InvalidStorageClass",
                "The storage class you specified is not valid",
            )
            .field("StorageClassRequested", class));
        }
        if let Some(location) = self.website_redirect
            && !(location.starts_with('/')
                || location.starts_with("http://")
                || location.starts_with("https://"))
        {
            return Err(fault::invalid_argument(
                "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
                "x-amz-website-redirect-location",
                location,
            ));
        }
        let (owner, acl) = self.ownership(ctx, bucket)?;
        let (algorithm, customer, md5) = self.customer;
        if algorithm.or(customer).or(md5).is_some() {
            self.encryption.exclude_customer()?;
        }
        let customer = CustomerKey::read(algorithm, customer, md5)?;
        let encryption =
            encryption::choose(&self.encryption, customer.as_ref(), bucket, &ctx.account)?;
        let own = |text: Option<&str>| text.map(str::to_owned);
        let (retention, legal_hold) = lock::requested(
            self.lock_mode,
            self.retain_until,
            self.legal_hold,
            bucket,
            ctx.time,
        )?;
        Ok(Properties {
            owner,
            headers: Headers {
                content_type: own(self.content_type),
                cache_control: own(self.cache_control),
                content_disposition: own(self.content_disposition),
                content_encoding: self.content_encoding.and_then(without_chunking),
                content_language: own(self.content_language),
                expires: self.expires.map(|t| t.0),
                website_redirect: own(self.website_redirect),
            },
            metadata,
            storage_class: own(self.storage_class).filter(|c| c != "STANDARD"),
            tags: self
                .tagging
                .map(tagging::read_header)
                .transpose()?
                .unwrap_or_default(),
            acl,
            is_sealed: encryption::is_asked(&self.encryption, bucket, &encryption),
            encryption,
            key: customer.map(|customer| customer.key),
            sealed: None,
            retention,
            legal_hold,
            origin: None,
        })
    }

    /// Who will own the object, and its list where that is not the default.
    fn ownership(&self, ctx: &Context, bucket: &Bucket) -> Result<(String, Option<Acl>), Fault> {
        let writer = access::account(ctx).unwrap_or(&bucket.account).to_owned();
        let gives_owner_control = self.acl == Some("bucket-owner-full-control");
        if !bucket.has_acls() {
            let owner = &bucket.account;
            let acl = Acl::requested(self.acl, &self.grants, owner, owner)?;
            let owner_only = acl.is_none_or(|acl| acl == Acl::private(owner));
            if self.acl.is_none_or(|_| gives_owner_control) && owner_only {
                return Ok((bucket.account.clone(), None));
            }
            return Err(acls_unsupported());
        }
        let is_preferred = bucket.record.ownership == Some(Ownership::BucketOwnerPreferred);
        let owner = if is_preferred && gives_owner_control {
            bucket.account.clone()
        } else {
            writer
        };
        let acl = Acl::requested(self.acl, &self.grants, &owner, &bucket.account)?;
        let acl = acl.filter(|acl| *acl != Acl::private(&owner));
        if bucket.public_access_block().block_public_acls
            && acl.as_ref().is_some_and(Acl::is_public)
        {
            return Err(fault::access_denied());
        }
        Ok((owner, acl))
    }
}

impl crate::S3 {
    /// Whether the caller may make an object so. Tags, lists and locks need permissions of their own
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>); `conditions` adds to the request's condition keys.
    pub(crate) fn permit_new(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        asked: &Requested<'_>,
        conditions: impl Fn(&mut Conditions),
    ) -> Result<(), Fault> {
        let conditions = |c: &mut Conditions| {
            asked.conditions(c);
            conditions(c);
        };
        let is_locked = asked.lock_mode.is_some() || asked.retain_until.is_some();
        let is_tagged = asked.tagging.is_some_and(|tagging| !tagging.is_empty());
        let needed = [
            ("s3:PutObject", true),
            ("s3:PutObjectAcl", asked.lets_others_in(ctx, bucket)),
            ("s3:PutObjectTagging", is_tagged),
            ("s3:PutObjectRetention", is_locked),
            ("s3:PutObjectLegalHold", asked.legal_hold.is_some()),
        ];
        for (action, _) in needed.into_iter().filter(|(_, is_asked)| *is_asked) {
            self.permit_write(ctx, bucket, action, key, conditions)?;
        }
        Ok(())
    }

    /// Gives contents that are to be encrypted a key of their own.
    pub(crate) async fn seal(
        &self,
        bucket: &Bucket,
        properties: &mut Properties,
    ) -> Result<(), Fault> {
        if properties.is_sealed {
            let key = DataKey::random();
            let sealed = self
                .masters
                .seal(bucket, &properties.encryption, &key)
                .await?;
            properties.key = Some(key);
            properties.sealed = Some(sealed);
        }
        Ok(())
    }
}

/// `AccessControlListNotSupported`.
pub fn acls_unsupported() -> Fault {
    Fault::sender(
        400,
        "AccessControlListNotSupported",
        "The bucket does not allow ACLs",
    )
}

/// `aws-chunked` tells how the body came, not what it is.
fn without_chunking(encoding: &str) -> Option<String> {
    if !encoding.to_ascii_lowercase().contains("aws-chunked") {
        return Some(encoding.to_owned());
    }
    let kept: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|e| !e.eq_ignore_ascii_case("aws-chunked") && !e.is_empty())
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

#[cfg(test)]
mod tests {
    use super::without_chunking;

    #[test]
    fn chunking_is_no_encoding_of_the_content() {
        assert_eq!(without_chunking("aws-chunked"), None);
        assert_eq!(
            without_chunking("gzip, aws-chunked").as_deref(),
            Some("gzip")
        );
        assert_eq!(without_chunking("gzip").as_deref(), Some("gzip"));
    }
}
