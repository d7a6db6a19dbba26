//! Copying objects and parts within the region.

use std::sync::Arc;

use cloud::Context;
use percent_encoding::percent_decode_str;
use wire::{Body, Fault, Timestamp};

use crate::access::of_version;
use crate::acl::Permission;
use crate::bucket::{Bucket, Versioning};
use crate::checksum::{Algorithm, Announced, Checksum};
use crate::condition::{Conditions, WriteConditions};
use crate::content::{self, Plan};
use crate::encryption::{CustomerKey, Encryption};
use crate::get::{ATTEMPTS, Found};
use crate::object::{Content, Origin, Version};
use crate::put::{New, version_header};
use crate::{api, fault, range, requested, set_checksum, set_encryption, tagging};

/// The longest object that CopyObject takes: 5 GiB.
const MAX_COPY: u64 = 5 << 30;

/// `x-amz-copy-source`, read.
pub(crate) struct Source {
    pub bucket: String,
    pub key: String,
    pub version: Option<String>,
}

impl Source {
    /// Reads the header: `[/]bucket/key[?versionId=id]`, percent-encoded, or an access point's ARN. A URL in path style
    /// is taken too, whatever its host.
    pub(crate) fn read(header: &str) -> Result<Source, Fault> {
        let invalid = || {
            fault::invalid_argument(
                "Invalid copy source object key",
                "x-amz-copy-source",
                "x-amz-copy-source",
            )
        };
        let (path, version) = match header.rsplit_once("?versionId=") {
            Some((path, version)) => (path, Some(version.to_owned())),
            None => (header, None),
        };
        let of_url = ["http://", "https://"]
            .into_iter()
            .find_map(|scheme| path.strip_prefix(scheme)?.split_once('/'));
        let path = of_url.map_or(path, |(_, path)| path);
        // A plus sign is a space, as in a form.
        let path = path.replace('+', " ");
        let decoded = percent_decode_str(&path)
            .decode_utf8()
            .map_err(|_| invalid())?;
        let (bucket, key) = decoded
            .trim_start_matches('/')
            .split_once('/')
            .ok_or_else(invalid)?;
        if bucket.is_empty() || key.is_empty() {
            return Err(invalid());
        }
        let version = version.filter(|v| !v.is_empty());
        Ok(Source {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version,
        })
    }
}

/// A source that may be read.
pub(crate) struct Original {
    bucket: std::sync::Arc<Bucket>,
    key: String,
    pub version: Version,
    is_current: bool,
    customer: Option<CustomerKey>,
}

impl crate::S3 {
    /// Finds a copy's source.
    fn original(
        &self,
        ctx: &Context,
        header: &str,
        expected_owner: Option<&str>,
        customer: Option<CustomerKey>,
        conditions: &Conditions<'_>,
    ) -> Result<Original, Fault> {
        let source = Source::read(header)?;
        let bucket = self.buckets.get(&source.bucket, expected_owner)?;
        let action = of_version(
            source.version.as_deref(),
            "s3:GetObject",
            "s3:GetObjectVersion",
        );
        let found = self.find(
            ctx,
            &bucket,
            &source.key,
            source.version.as_deref(),
            action,
            Permission::Read,
        );
        let Found { version, is_current } = found.map_err(|fault| match fault.is("MethodNotAllowed") {
            true => fault::invalid_request("The source of a copy request may not specifically refer to a delete marker by version id."),
            false => fault,
        })?;
        version.encryption.check(customer.as_ref())?;
        conditions.check_source(&version, ctx.time)?;
        if version.is_archived(ctx.time) {
            return Err(Fault::sender(
                403,
                "ObjectNotInActiveTierError",
                "The source object of the COPY action is not in the active tier and is only stored in Amazon S3 Glacier.",
            ));
        }
        let names_version =
            source.version.is_some() && bucket.record.versioning != Versioning::Unversioned;
        Ok(Original {
            bucket,
            key: source.key,
            version: Arc::unwrap_or_clone(version),
            // Who names a version wants that one, be it the newest.
            is_current: is_current && !names_version,
            customer,
        })
    }

    /// The bytes of a source, plain.
    fn bytes_of(&self, original: &Original, range: std::ops::Range<u64>) -> Result<Body, Fault> {
        let body = self.read_content(
            &original.bucket,
            &original.key,
            &original.version,
            range,
            original.customer.as_ref(),
        )?;
        body.ok_or_else(fault::operation_aborted)
    }

    /// `CopyObject`. A source that is replaced meanwhile is looked for again.
    pub(crate) async fn copy(
        &self,
        ctx: &Context,
        input: api::CopyObjectInput,
    ) -> Result<api::CopyObjectOutput, Fault> {
        for _ in 1..ATTEMPTS {
            match self.copy_now(ctx, &input).await {
                Err(fault) if fault.is("OperationAborted") => {}
                outcome => return outcome,
            }
        }
        self.copy_now(ctx, &input).await
    }

    async fn copy_now(
        &self,
        ctx: &Context,
        input: &api::CopyObjectInput,
    ) -> Result<api::CopyObjectOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let mut asked = requested!(input);
        let directive = |given: Option<&str>, name: &str| match given {
            None | Some("COPY") => Ok(false),
            Some("REPLACE") => Ok(true),
            Some(other) => Err(fault::invalid_argument(
                format!("Unknown {name} directive."),
                name,
                other,
            )),
        };
        let replaces_metadata = directive(input.metadata_directive.as_deref(), "metadata")?;
        let replaces_tags = directive(input.tagging_directive.as_deref(), "tagging")?;
        if !replaces_tags {
            asked.tagging = None;
        }
        self.permit_new(ctx, &bucket, &input.key, &asked, |conditions| {
            conditions.set(
                "s3:x-amz-copy-source",
                input.copy_source.trim_start_matches('/'),
            );
            if let Some(directive) = &input.metadata_directive {
                conditions.set("s3:x-amz-metadata-directive", directive.as_str());
            }
        })?;
        let source_key = CustomerKey::read(
            input.copy_source_sse_customer_algorithm.as_deref(),
            input.copy_source_sse_customer_key.as_deref(),
            input.copy_source_sse_customer_key_md5.as_deref(),
        )?;
        let conditions = Conditions {
            matches: input.copy_source_if_match.as_deref(),
            none_match: input.copy_source_if_none_match.as_deref(),
            modified_since: input.copy_source_if_modified_since,
            unmodified_since: input.copy_source_if_unmodified_since,
        };
        let original = self.original(
            ctx,
            &input.copy_source,
            input.expected_source_bucket_owner.as_deref(),
            source_key,
            &conditions,
        )?;
        let source = &original.version;
        if source.size > MAX_COPY {
            return Err(fault::invalid_request(format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: {MAX_COPY}"
            )));
        }
        let is_itself =
            original.bucket.name == bucket.name && original.key == input.key && original.is_current;
        let changes = replaces_metadata
            || input.storage_class.is_some()
            || input.website_redirect_location.is_some()
            || input.server_side_encryption.is_some()
            || input.sse_customer_algorithm.is_some()
            || input.copy_source_sse_customer_algorithm.is_some();
        if is_itself && !changes && bucket.encryption.is_none() {
            return Err(fault::invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        let mut properties = asked.read(ctx, &bucket, &input.key)?;
        if !replaces_metadata {
            let redirect = properties.headers.website_redirect.take();
            properties.headers = crate::object::Headers {
                website_redirect: redirect,
                ..source.headers.clone()
            };
            properties.metadata = source.metadata.clone();
        }
        if !replaces_tags {
            properties.tags = source.tags.clone();
        }
        let write = WriteConditions {
            matches: input.if_match.as_deref(),
            none_match: input.if_none_match.as_deref(),
        };
        write.validate()?;
        self.seal(&bucket, &mut properties).await?;
        let algorithm = input
            .checksum_algorithm
            .as_deref()
            .map(Algorithm::parse)
            .transpose()?;
        let version = self
            .copy_version(
                ctx,
                &original,
                &bucket,
                &input.key,
                properties,
                algorithm,
                &write,
                "ObjectCreated:Copy",
            )
            .await?;
        let mut result = api::CopyObjectResult {
            e_tag: Some(version.quoted_etag()),
            last_modified: Some(version.last_modified()),
            checksum_type: version.checksum.as_ref().map(|c| c.kind().to_owned()),
            ..Default::default()
        };
        set_checksum!(result, &version.checksum);
        let mut output = api::CopyObjectOutput {
            copy_object_result: Some(result),
            expiration: crate::lifecycle::expiration_header(&bucket, &input.key, &version),
            copy_source_version_id: source.id.clone(),
            version_id: version_header(&bucket, &version),
            ..Default::default()
        };
        set_encryption!(output, version.encryption);
        Ok(output)
    }

    /// Writes a copy. Blobs are shared where their bytes stay as they are.
    #[allow(
        clippy::too_many_arguments,
        reason = "what CopyObject and replication both know"
    )]
    async fn copy_version(
        &self,
        ctx: &Context,
        original: &Original,
        bucket: &Bucket,
        key: &str,
        properties: crate::properties::Properties,
        algorithm: Option<Algorithm>,
        conditions: &WriteConditions<'_>,
        event: &'static str,
    ) -> Result<Version, Fault> {
        let source = &original.version;
        let keeps_sum = source
            .checksum
            .as_ref()
            .is_some_and(|c| c.full_object && algorithm.is_none_or(|a| a == c.algorithm));
        let is_ours = |encryption: &Encryption| !matches!(encryption, Encryption::Customer { .. });
        let shares = keeps_sum
            && source.parts.is_empty()
            && matches!(source.content, Content::Pieces(_))
            && is_ours(&source.encryption)
            && is_ours(&properties.encryption)
            && source.sealed.is_some() == properties.sealed.is_some()
            && source.encryption.has_md5_etag() == properties.encryption.has_md5_etag();
        let modified = self.cloud.clock.now().0;
        if shares {
            let mut version = Version::with(properties, modified);
            version.size = source.size;
            version.etag = source.etag.clone();
            version.content = source.content.clone();
            version.checksum = source.checksum.clone();
            if let Some(sealed) = &source.sealed {
                // The bytes stay under their key, which changes its master.
                let view = self.objects.store.read();
                let data_key = self.masters.unseal(&view, &original.bucket, sealed)?;
                let resealed = self.masters.seal(bucket, &version.encryption, &data_key);
                version.sealed = Some(resealed.await?);
            }
            let new = New {
                version,
                bytes: None,
                event,
            };
            return self.commit(ctx, bucket, key, new, conditions).await;
        }
        let body = self.bytes_of(original, 0..source.size)?;
        let sum = algorithm
            .or_else(|| source.checksum.as_ref().map(|c| c.algorithm))
            .unwrap_or(Algorithm::Crc64Nvme);
        let plan = Plan {
            algorithm: sum,
            also: None,
            key: properties.key.as_ref(),
            inline: true,
        };
        let mut taken = content::take(self.objects.store.blobs(), body, &plan).await?;
        let mut version = Version::with(properties, modified);
        version.checksum = Some(Checksum {
            algorithm: sum,
            value: taken.checksum.clone(),
            full_object: true,
        });
        let bytes = version.fill(&mut taken);
        let version = self
            .commit(
                ctx,
                bucket,
                key,
                New {
                    version,
                    bytes,
                    event,
                },
                conditions,
            )
            .await?;
        drop(taken);
        Ok(version)
    }

    /// `UploadPartCopy`
    pub(crate) async fn copy_part(
        &self,
        ctx: &Context,
        input: api::UploadPartCopyInput,
    ) -> Result<api::UploadPartCopyOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_write(ctx, &bucket, "s3:PutObject", &input.key, |conditions| {
            conditions.set(
                "s3:x-amz-copy-source",
                input.copy_source.trim_start_matches('/'),
            );
        })?;
        let customer = CustomerKey::read(
            input.sse_customer_algorithm.as_deref(),
            input.sse_customer_key.as_deref(),
            input.sse_customer_key_md5.as_deref(),
        )?;
        let source_key = CustomerKey::read(
            input.copy_source_sse_customer_algorithm.as_deref(),
            input.copy_source_sse_customer_key.as_deref(),
            input.copy_source_sse_customer_key_md5.as_deref(),
        )?;
        let conditions = Conditions {
            matches: input.copy_source_if_match.as_deref(),
            none_match: input.copy_source_if_none_match.as_deref(),
            modified_since: input.copy_source_if_modified_since,
            unmodified_since: input.copy_source_if_unmodified_since,
        };
        let mut attempt = 1;
        let (original, body) = loop {
            let original = self.original(
                ctx,
                &input.copy_source,
                input.expected_source_bucket_owner.as_deref(),
                source_key.clone(),
                &conditions,
            )?;
            let range = match &input.copy_source_range {
                Some(header) => range::read_copy(header, original.version.size)?,
                None => 0..original.version.size,
            };
            match self.bytes_of(&original, range) {
                Err(fault) if fault.is("OperationAborted") && attempt < ATTEMPTS => attempt += 1,
                body => break (original, body?),
            }
        };
        let (upload, part, sum) = self
            .store_part(
                &bucket,
                &input.key,
                &input.upload_id,
                input.part_number,
                body,
                customer.as_ref(),
                &Announced::default(),
                None,
            )
            .await?;
        let mut result = api::CopyPartResult {
            e_tag: Some(format!("\"{}\"", part.etag)),
            last_modified: Some(Timestamp(part.modified).whole_second()),
            ..Default::default()
        };
        let sum = upload.algorithm.map(|_| sum);
        set_checksum!(result, &sum);
        let mut output = api::UploadPartCopyOutput {
            copy_source_version_id: version_header(&original.bucket, &original.version),
            copy_part_result: Some(result),
            ..Default::default()
        };
        set_encryption!(output, upload.encryption);
        Ok(output)
    }

    /// Copies a version into another bucket as replication does. `None`: it is gone meanwhile.
    #[allow(
        clippy::too_many_arguments,
        reason = "a version with where it comes from and goes to"
    )]
    pub(crate) async fn copy_replica(
        &self,
        ctx: &Context,
        from: std::sync::Arc<Bucket>,
        key: &str,
        found: Found,
        to: &Bucket,
        rule: &api::ReplicationRule,
        owner: &str,
    ) -> Result<Option<Version>, Fault> {
        if matches!(found.version.encryption, Encryption::Customer { .. }) {
            return Err(fault::invalid_request(
                "objects under a customer's key are not replicated",
            ));
        }
        let original = Original {
            bucket: from,
            key: key.to_owned(),
            version: Arc::unwrap_or_clone(found.version),
            is_current: found.is_current,
            customer: None,
        };
        let source = &original.version;
        let tagging: Option<String> = (!source.tags.is_empty()).then(|| {
            form_urlencoded::Serializer::new(String::new())
                .extend_pairs(source.tags.iter())
                .finish()
        });
        let destination = &rule.destination;
        let class = destination.storage_class.as_deref();
        let kms_key = destination.encryption_configuration.as_ref();
        let algorithm = source.encryption.algorithm();
        let asked = crate::properties::Requested {
            storage_class: class.or(source.storage_class.as_deref()),
            // A replica is encrypted as its source is, whatever the bucket's default.
            encryption: crate::encryption::Requested {
                algorithm: algorithm.as_deref(),
                kms_key: kms_key
                    .and_then(|e| e.replica_kms_key_id.as_deref())
                    .filter(|_| source.encryption.kms_key().is_some()),
                context: None,
                bucket_key: source.encryption.bucket_key(),
            },
            ..Default::default()
        };
        let mut properties = asked.read(ctx, to, key)?;
        properties.is_sealed = source.sealed.is_some();
        self.seal(to, &mut properties).await?;
        properties.owner = owner.to_owned();
        properties.origin = Some(Origin::of(source));
        properties.headers = source.headers.clone();
        properties.metadata = source.metadata.clone();
        properties.tags = tagging
            .as_deref()
            .map(tagging::read_header)
            .transpose()?
            .unwrap_or_default();
        properties.retention = source.retention.clone().filter(|_| to.record.object_lock);
        properties.legal_hold = source.legal_hold.filter(|_| to.record.object_lock);
        match self
            .copy_version(
                ctx,
                &original,
                to,
                key,
                properties,
                None,
                &WriteConditions::default(),
                "ObjectCreated:Copy",
            )
            .await
        {
            Ok(version) => Ok(Some(version)),
            Err(fault) if fault.is("OperationAborted") => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn a_source_is_decoded_but_for_its_version() {
        let source = Source::read("/b/a%2Bb%20c?versionId=x%y")
            .ok()
            .map(|s| (s.bucket, s.key, s.version));
        assert_eq!(
            source,
            Some(("b".into(), "a+b c".into(), Some("x%y".into())))
        );
        let of_url = Source::read("http://localhost:4566/b/c/d").ok();
        assert_eq!(
            of_url.map(|s| (s.bucket, s.key)),
            Some(("b".into(), "c/d".into()))
        );
        assert!(Source::read("b").is_err());
        assert!(Source::read("b/").is_err());
    }
}
