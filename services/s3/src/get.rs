//! Reading objects.

use std::sync::Arc;

use cloud::Context;
use store::Read;
use wire::{Body, Fault, Timestamp};

use crate::access::{Grant, Question, of_version};
use crate::acl::Permission;
use crate::bucket::Bucket;
use crate::checksum::Checksum;
use crate::condition::Conditions;
use crate::data_key::Masters;
use crate::encryption::{CustomerKey, Encryption};
use crate::object::{Content, Objects, Version};
use crate::put::version_header;
use crate::{api, content, fault, metadata, range, set_checksum, set_encryption, tagging};

/// A version that was found, for a caller who may read it.
pub(crate) struct Found {
    /// The version.
    pub version: Arc<Version>,
    /// Whether it is the key's current one.
    pub is_current: bool,
}

/// Which bytes of a version are asked for.
struct Selection {
    range: std::ops::Range<u64>,
    is_partial: bool,
    parts_count: Option<i32>,
}

/// A content that is replaced while it is opened is looked for again this often.
pub(crate) const ATTEMPTS: usize = 8;

/// Fails for a header to answer with that cannot be one.
fn check_override(name: &str, value: Option<&str>) -> Result<(), Fault> {
    match value {
        Some(value) if value.chars().any(|c| c > '\u{ff}') => Err(fault::invalid_argument(
            "Header value cannot be represented using ISO-8859-1.",
            name,
            value,
        )),
        _ => Ok(()),
    }
}

macro_rules! check_overrides {
    ($input:expr) => {
        for (name, value) in [
            ("response-cache-control", &$input.response_cache_control),
            (
                "response-content-disposition",
                &$input.response_content_disposition,
            ),
            (
                "response-content-encoding",
                &$input.response_content_encoding,
            ),
            (
                "response-content-language",
                &$input.response_content_language,
            ),
            ("response-content-type", &$input.response_content_type),
        ] {
            check_override(name, value.as_deref())?;
        }
    };
}

impl crate::S3 {
    /// The version of a key that a request means; a delete marker is an error as S3 answers it.
    pub(crate) fn find(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        id: Option<&str>,
        action: &str,
        permission: Permission,
    ) -> Result<Found, Fault> {
        let view = self.objects.store.read();
        let found = self.look_up(&view, bucket, key, id)?;
        let acl;
        let (owner, grant) = match &found {
            Some(found) if bucket.has_acls() => {
                acl = found.version.acl();
                (
                    found.version.owner.as_str(),
                    Some(Grant {
                        acl: &acl,
                        permission,
                    }),
                )
            }
            _ => (bucket.account.as_str(), None),
        };
        let question = Question {
            action,
            key: Some(key),
            owner,
            grant,
        };
        let permitted = self.permit_when(ctx, bucket, &question, |conditions| {
            if let Some(id) = id {
                conditions.set("s3:VersionId", id);
            }
            if let Some(found) = &found {
                tagging::conditions(conditions, "s3:ExistingObjectTag/", &found.version.tags);
            }
        });
        let Some(found) = found else {
            // Who may not list must not learn what is not there.
            let prefix = |conditions: &mut crate::access::Conditions| {
                conditions.set("s3:prefix", key);
            };
            let grant = Some(Grant {
                acl: &bucket.record.acl,
                permission: Permission::Read,
            });
            let question = Question {
                action: "s3:ListBucket",
                key: None,
                owner: &bucket.account,
                grant,
            };
            self.permit_when(ctx, bucket, &question, prefix)?;
            return Err(match id {
                Some(id) => fault::no_such_version(key, id),
                None => fault::no_such_key(key),
            });
        };
        permitted?;
        if found.version.is_delete_marker {
            let shown = found.version.shown_id().to_owned();
            let modified = found
                .version
                .last_modified()
                .format(wire::TimestampFormat::Rfc822);
            return Err(match id {
                Some(_) => Fault::sender(
                    405,
                    "MethodNotAllowed",
                    "The specified method is not allowed against this resource.",
                )
                .field(
                    "Method",
                    if action.starts_with("s3:GetObject") {
                        "GET"
                    } else {
                        "PUT"
                    },
                )
                .field("ResourceType", "DeleteMarker")
                .header("Allow", "DELETE")
                .header("Last-Modified", modified),
                None => fault::no_such_key(key),
            }
            .header("x-amz-delete-marker", "true")
            .header("x-amz-version-id", shown));
        }
        Ok(found)
    }

    /// The version of that id, or the current one.
    pub(crate) fn look_up(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        key: &str,
        id: Option<&str>,
    ) -> Result<Option<Found>, Fault> {
        Ok(match id {
            Some(id) => {
                self.objects
                    .version(read, bucket, key, id)?
                    .map(|(version, is_current)| Found {
                        version: Arc::new(version),
                        is_current,
                    })
            }
            None => self
                .objects
                .current_shared(read, bucket, key)?
                .map(|version| Found {
                    version,
                    is_current: true,
                }),
        })
    }

    /// `GetObject`
    pub(crate) async fn get(
        &self,
        ctx: &Context,
        input: api::GetObjectInput,
    ) -> Result<api::GetObjectOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        check_overrides!(input);
        let customer = CustomerKey::presented(
            input.sse_customer_algorithm.as_deref(),
            input.sse_customer_key.as_deref(),
            input.sse_customer_key_md5.as_deref(),
        )?;
        let id = input.version_id.as_deref();
        let action = of_version(id, "s3:GetObject", "s3:GetObjectVersion");
        let mut attempt = 0;
        let (version, selection, body) = loop {
            let Found { version, .. } =
                self.find(ctx, &bucket, &input.key, id, action, Permission::Read)?;
            version.encryption.check(customer.as_ref())?;
            let conditions = Conditions {
                matches: input.if_match.as_deref(),
                none_match: input.if_none_match.as_deref(),
                modified_since: input.if_modified_since,
                unmodified_since: input.if_unmodified_since,
            };
            conditions.check_read(&version, ctx.time)?;
            if version.is_archived(ctx.time) {
                return Err(Fault::sender(
                    403,
                    "InvalidObjectState",
                    "The operation is not valid for the object's storage class",
                )
                .field("StorageClass", version.class()));
            }
            let selection = select(&version, input.range.as_deref(), input.part_number)?;
            match self.read_content(
                &bucket,
                &input.key,
                &version,
                selection.range.clone(),
                customer.as_ref(),
            )? {
                Some(body) => break (version, selection, body),
                // Replaced since its record was read.
                None if attempt < ATTEMPTS => attempt += 1,
                None => return Err(fault::operation_aborted()),
            }
        };
        let mut output = api::GetObjectOutput {
            body,
            ..Default::default()
        };
        let Selection {
            range,
            is_partial,
            parts_count,
        } = selection;
        let is_whole = range == (0..version.size);
        if is_partial {
            output.content_range = Some(content_range(&range, version.size));
        }
        output.content_length = i64::try_from(range.end - range.start).ok();
        output.parts_count = parts_count;
        let h = &version.headers;
        let or =
            |given: &Option<String>, kept: &Option<String>| given.clone().or_else(|| kept.clone());
        output.content_type =
            or(&input.response_content_type, &h.content_type).or_else(default_content_type);
        output.cache_control = or(&input.response_cache_control, &h.cache_control);
        output.content_disposition =
            or(&input.response_content_disposition, &h.content_disposition);
        output.content_encoding = or(&input.response_content_encoding, &h.content_encoding);
        output.content_language = or(&input.response_content_language, &h.content_language);
        output.expires = input.response_expires.or(h.expires.map(Timestamp));
        if input
            .checksum_mode
            .as_deref()
            .is_some_and(|m| m.eq_ignore_ascii_case("ENABLED"))
            && (!is_partial || parts_count.is_some() || is_whole)
        {
            let sum = checksum_of(&version, input.part_number);
            output.checksum_type = sum.as_ref().map(|c| c.kind().to_owned());
            set_checksum!(output, sum);
        }
        common(&mut output, &bucket, &input.key, id, &version);
        Ok(output)
    }

    /// `HeadObject`
    pub(crate) async fn head_object(
        &self,
        ctx: &Context,
        input: api::HeadObjectInput,
    ) -> Result<api::HeadObjectOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        check_overrides!(input);
        let customer = CustomerKey::presented(
            input.sse_customer_algorithm.as_deref(),
            input.sse_customer_key.as_deref(),
            input.sse_customer_key_md5.as_deref(),
        )?;
        let id = input.version_id.as_deref();
        let action = of_version(id, "s3:GetObject", "s3:GetObjectVersion");
        let Found { version, .. } =
            self.find(ctx, &bucket, &input.key, id, action, Permission::Read)?;
        version.encryption.check(customer.as_ref())?;
        let conditions = Conditions {
            matches: input.if_match.as_deref(),
            none_match: input.if_none_match.as_deref(),
            modified_since: input.if_modified_since,
            unmodified_since: input.if_unmodified_since,
        };
        conditions.check_read(&version, ctx.time)?;
        let Selection {
            range,
            is_partial,
            parts_count,
        } = select(&version, input.range.as_deref(), input.part_number)?;
        let is_whole = range == (0..version.size);
        let h = &version.headers;
        let or =
            |given: &Option<String>, kept: &Option<String>| given.clone().or_else(|| kept.clone());
        let mut output = api::HeadObjectOutput {
            content_range: is_partial.then(|| content_range(&range, version.size)),
            content_length: i64::try_from(range.end - range.start).ok(),
            parts_count,
            content_type: or(&input.response_content_type, &h.content_type)
                .or_else(default_content_type),
            cache_control: or(&input.response_cache_control, &h.cache_control),
            content_disposition: or(&input.response_content_disposition, &h.content_disposition),
            content_encoding: or(&input.response_content_encoding, &h.content_encoding),
            content_language: or(&input.response_content_language, &h.content_language),
            expires: input.response_expires.or(h.expires.map(Timestamp)),
            ..Default::default()
        };
        if input
            .checksum_mode
            .as_deref()
            .is_some_and(|m| m.eq_ignore_ascii_case("ENABLED"))
            && (!is_partial || parts_count.is_some() || is_whole)
        {
            let sum = checksum_of(&version, input.part_number);
            output.checksum_type = sum.as_ref().map(|c| c.kind().to_owned());
            set_checksum!(output, sum);
        }
        common_head(&mut output, &bucket, &input.key, id, &version);
        Ok(output)
    }

    /// The bytes of a version; `None` if it was replaced since its record was read.
    pub(crate) fn read_content(
        &self,
        bucket: &Bucket,
        key: &str,
        version: &Version,
        range: std::ops::Range<u64>,
        customer: Option<&CustomerKey>,
    ) -> Result<Option<Body>, Fault> {
        let masters = &self.masters;
        self.objects
            .read(masters, bucket, key, version, range, customer)
    }
}

impl Objects {
    /// The bytes of a version, decrypted; `None` if it was replaced since its record was read.
    pub fn read(
        &self,
        masters: &Masters,
        bucket: &Bucket,
        key: &str,
        version: &Version,
        range: std::ops::Range<u64>,
        customer: Option<&CustomerKey>,
    ) -> Result<Option<Body>, Fault> {
        let view = self.store.read();
        let (key_of_bytes, nonce) = match (&version.encryption, &version.sealed) {
            (_, Some(sealed)) => (Some(masters.unseal(&view, bucket, sealed)?), sealed.nonce),
            (Encryption::Customer { nonce, .. }, None) => {
                (customer.map(|customer| customer.key.clone()), *nonce)
            }
            (_, None) => (None, [0; 16]),
        };
        match &version.content {
            Content::Empty => Ok(Some(Body::Empty)),
            Content::Inline => {
                let Some(bytes) = self.inline(&view, bucket, key, version.seq)? else {
                    return Ok(None);
                };
                let plain = match key_of_bytes {
                    Some(key) => key.cipher(&nonce, 0).apply(&bytes),
                    None => bytes,
                };
                let (start, end) = (usize::try_from(range.start)?, usize::try_from(range.end)?);
                let plain = bytes::Bytes::from(plain);
                Ok((end <= plain.len() && start <= end).then(|| plain.slice(start..end).into()))
            }
            Content::Pieces(pieces) => {
                let blobs = self.store.blobs();
                let mut pin = None;
                if content::is_in_several(pieces, &range) {
                    pin = Some(blobs.pin(pieces.iter().map(|piece| piece.blob.id)));
                    // A version that is there now was there when its pieces were pinned.
                    let now = self.version(&view, bucket, key, version.shown_id())?;
                    if now.is_none_or(|(now, _)| now.content != version.content) {
                        return Ok(None);
                    }
                }
                match content::read(blobs, pieces, range, key_of_bytes.as_ref(), pin) {
                    Ok(body) => Ok(Some(body)),
                    Err(store::Error::NoBlob(_)) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

/// The checksum of a version, or of the part that is asked for, if it has one.
fn checksum_of(version: &Version, part: Option<i32>) -> Option<Checksum> {
    let whole = version.checksum.as_ref()?;
    let value = match part.and_then(|number| version.parts.iter().find(|p| p.number == number)) {
        // The only part is all there is.
        Some(_) if whole.full_object && version.parts.len() == 1 => whole.value.clone(),
        Some(part) => part.checksum.clone()?,
        None => whole.value.clone(),
    };
    Some(Checksum {
        value,
        ..whole.clone()
    })
}

fn default_content_type() -> Option<String> {
    Some("binary/octet-stream".to_owned())
}

fn content_range(range: &std::ops::Range<u64>, size: u64) -> String {
    format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    )
}

fn select(version: &Version, header: Option<&str>, part: Option<i32>) -> Result<Selection, Fault> {
    let whole = 0..version.size;
    if let Some(number) = part {
        if header.is_some() {
            return Err(fault::invalid_request(
                "Cannot specify both Range header and partNumber query parameter",
            ));
        }
        let unsatisfiable = || {
            Fault::sender(
                416,
                "InvalidPartNumber",
                "The requested partnumber is not satisfiable",
            )
            .field("PartNumberRequested", number.to_string())
            .field("ActualPartCount", version.parts.len().max(1).to_string())
        };
        if version.parts.is_empty() {
            return match number {
                1 => Ok(Selection {
                    range: whole,
                    is_partial: version.size > 0,
                    parts_count: None,
                }),
                _ => Err(unsatisfiable()),
            };
        }
        let mut start = 0;
        for known in &version.parts {
            if known.number == number {
                let parts_count = i32::try_from(version.parts.len()).ok();
                return Ok(Selection {
                    range: start..start + known.size,
                    is_partial: true,
                    parts_count,
                });
            }
            start += known.size;
        }
        return Err(unsatisfiable());
    }
    match header
        .map(|header| range::read(header, version.size))
        .transpose()?
        .flatten()
    {
        Some(range) => Ok(Selection {
            range,
            is_partial: true,
            parts_count: None,
        }),
        None => Ok(Selection {
            range: whole,
            is_partial: false,
            parts_count: None,
        }),
    }
}

macro_rules! common {
    ($name:ident, $output:ty) => {
        /// What GetObject and HeadObject both tell of a version; `id` is the one that was asked for.
        fn $name(
            output: &mut $output,
            bucket: &Bucket,
            key: &str,
            id: Option<&str>,
            version: &Version,
        ) {
            output.accept_ranges = Some("bytes".to_owned());
            output.last_modified = Some(version.last_modified());
            output.e_tag = Some(version.quoted_etag());
            output.version_id = version_header(bucket, version);
            let metadata = version.metadata.iter();
            output.metadata = (!version.metadata.is_empty()).then(|| {
                metadata
                    .map(|(name, value)| (name.clone(), metadata::shown(value)))
                    .collect()
            });
            output.website_redirect_location = version.headers.website_redirect.clone();
            output.storage_class = version.storage_class.clone();
            output.replication_status = version.replication.clone();
            // Told of the current version, and only to who asks for no version.
            if id.is_none() {
                output.expiration = crate::lifecycle::expiration_header(bucket, key, version);
            }
            output.restore = version.restored.as_ref().map(|restored| {
                let until = Timestamp(restored.until).format(wire::TimestampFormat::Rfc822);
                format!("ongoing-request=\"false\", expiry-date=\"{until}\"")
            });
            output.tag_count = i32::try_from(version.tags.len()).ok().filter(|n| *n > 0);
            output.object_lock_mode = version.retention.as_ref().map(|r| r.mode.clone());
            output.object_lock_retain_until_date =
                version.retention.as_ref().map(|r| Timestamp(r.until));
            output.object_lock_legal_hold_status = version.legal_hold.map(crate::lock::hold_status);
            set_encryption!(output, version.encryption);
        }
    };
}
common!(common, api::GetObjectOutput);
common!(common_head, api::HeadObjectOutput);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::S3 as _;

    /// Before data keys there were, `aws:kms` was only written down.
    #[tokio::test]
    async fn what_was_written_without_a_key_is_read_without_one() {
        let cloud = cloud::Cloud::ephemeral();
        let s3 = crate::S3::open(&cloud);
        let now = cloud.clock.now();
        let ctx = Context::internal("000000000000", "us-east-1", "s3.amazonaws.com", now);
        let input = api::CreateBucketInput {
            bucket: "bucket".into(),
            ..Default::default()
        };
        let made = s3.create_bucket(&ctx, input).await;
        made.unwrap_or_else(|fault| panic!("{fault}"));
        let bucket = s3.buckets.find("bucket").expect("the bucket");
        let mut version = Version {
            size: 5,
            content: Content::Inline,
            encryption: Encryption::Kms {
                algorithm: "aws:kms".into(),
                key: "key".into(),
                bucket_key: false,
                context: None,
            },
            ..Version::default()
        };
        let objects = &s3.objects;
        let written = objects
            .store
            .transact_now(store::Scope::new(&["s3", "bucket"]), |tx| {
                objects.insert(tx, &bucket, "k", &mut version, Some(b"plain".to_vec()))
            });
        written.unwrap_or_else(|fault| panic!("{fault}"));
        let body = s3
            .read_content(&bucket, "k", &version, 0..5, None)
            .unwrap_or_else(|fault| panic!("{fault}"));
        let bytes = body.expect("a body").collect(5).await.expect("bytes");
        assert_eq!(bytes, "plain");
    }
}
