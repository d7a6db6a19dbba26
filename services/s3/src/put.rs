//! Writing objects.

use cloud::Context;
use wire::{Body, Fault};

use crate::access::{Grant, Question};
use crate::acl::Permission;
use crate::bucket::Bucket;
use crate::checksum::{Announced, Checksum};
use crate::condition::WriteConditions;
use crate::content::{self, Kept, Plan, Taken};
use crate::encryption::Encryption;
use crate::object::{Content, Version};
use crate::properties::Properties;
use crate::{announced_checksums, api, requested, set_checksum, set_encryption};

/// A new version, ready to be written.
pub(crate) struct New {
    /// The version; its place and id are given when it is written.
    pub version: Version,
    /// The bytes of a small content.
    pub bytes: Option<Vec<u8>>,
    /// `ObjectCreated:Put`
    pub event: &'static str,
}

impl Version {
    /// A version with these properties; the rest is still to be filled in.
    pub(crate) fn with(properties: Properties, modified: i64) -> Version {
        let mut version = Version {
            modified,
            owner: properties.owner,
            headers: properties.headers,
            metadata: properties.metadata,
            storage_class: properties.storage_class,
            tags: properties.tags,
            acl: properties.acl,
            encryption: properties.encryption,
            sealed: properties.sealed,
            retention: properties.retention,
            legal_hold: properties.legal_hold,
            ..Version::default()
        };
        if let Some(origin) = properties.origin {
            version.replicate(origin);
        }
        version
    }
    /// Fills in what was taken in; returns the bytes of a small content.
    pub(crate) fn fill(&mut self, taken: &mut Taken) -> Option<Vec<u8>> {
        self.size = taken.size;
        self.etag = if self.encryption.has_md5_etag() {
            hex_of(&taken.md5)
        } else {
            self.encryption.etag(&taken.md5)
        };
        if let Some(first) = taken.nonce {
            match (&mut self.encryption, &mut self.sealed) {
                (Encryption::Customer { nonce, .. }, _) => *nonce = first,
                (_, Some(sealed)) => sealed.nonce = first,
                (_, None) => {}
            }
        }
        match &mut taken.bytes {
            Kept::Held(bytes) if bytes.is_empty() => None,
            Kept::Held(bytes) => {
                self.content = Content::Inline;
                Some(std::mem::take(bytes))
            }
            Kept::Blob(_) => {
                self.content = Content::Pieces(taken.piece().into_iter().collect());
                None
            }
        }
    }
}

struct NotWritten(Fault);

impl From<store::Error> for NotWritten {
    fn from(error: store::Error) -> NotWritten {
        NotWritten(match error {
            store::Error::NoBlob(_) => crate::fault::operation_aborted(),
            error => error.into(),
        })
    }
}

impl crate::S3 {
    /// `PutObject`
    pub(crate) async fn put(
        &self,
        ctx: &Context,
        mut input: api::PutObjectInput,
    ) -> Result<api::PutObjectOutput, Fault> {
        let body = std::mem::take(&mut input.body);
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let requested = requested!(input);
        self.permit_new(ctx, &bucket, &input.key, &requested, |_| {})?;
        if input.write_offset_bytes.is_some() {
            return Err(Fault::sender(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            )
            .field("Header", "x-amz-write-offset-bytes"));
        }
        let mut properties = requested.read(ctx, &bucket, &input.key)?;
        let conditions = WriteConditions {
            matches: input.if_match.as_deref(),
            none_match: input.if_none_match.as_deref(),
        };
        conditions.validate()?;
        let announced = Announced::read(
            &announced_checksums!(input),
            input.checksum_algorithm.as_deref(),
        )?;
        self.seal(&bucket, &mut properties).await?;
        let (version, kms_context) = self
            .store_body(
                ctx,
                &bucket,
                &input.key,
                body,
                properties,
                &announced,
                input.content_md5.as_deref(),
                &conditions,
                "ObjectCreated:Put",
            )
            .await?;
        let mut output = api::PutObjectOutput {
            e_tag: Some(version.quoted_etag()),
            // A suspended bucket's null version is not named to its writer.
            version_id: version.id.clone(),
            checksum_type: version.checksum.as_ref().map(|c| c.kind().to_owned()),
            expiration: crate::lifecycle::expiration_header(&bucket, &input.key, &version),
            ssekms_encryption_context: kms_context,
            ..Default::default()
        };
        set_checksum!(output, &version.checksum);
        set_encryption!(output, version.encryption);
        Ok(output)
    }

    /// Whether the caller may write that key.
    pub(crate) fn permit_write(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        action: &str,
        key: &str,
        conditions: impl FnOnce(&mut crate::access::Conditions),
    ) -> Result<(), Fault> {
        let grant = Some(Grant {
            acl: &bucket.record.acl,
            permission: Permission::Write,
        });
        let question = Question {
            action,
            key: Some(key),
            owner: &bucket.account,
            grant,
        };
        self.permit_when(ctx, bucket, &question, conditions)
    }

    /// Takes a body in and writes it as the key's current version.
    #[allow(
        clippy::too_many_arguments,
        reason = "what a form and PutObject both know"
    )]
    pub(crate) async fn store_body(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        body: Body,
        properties: Properties,
        announced: &Announced,
        md5: Option<&str>,
        conditions: &WriteConditions<'_>,
        event: &'static str,
    ) -> Result<(Version, Option<String>), Fault> {
        let plan = Plan {
            algorithm: announced.algorithm(),
            also: None,
            key: properties.key.as_ref(),
            inline: true,
        };
        let mut taken = content::take(self.objects.store.blobs(), body, &plan).await?;
        content::check_md5(md5, &taken.md5, |md5| hex::encode(md5))?;
        announced.check(&taken.checksum)?;
        let kms_context = match &properties.encryption {
            Encryption::Kms { context, .. } => context.clone(),
            _ => None,
        };
        let mut version = Version::with(properties, self.cloud.clock.now().0);
        version.checksum = Some(Checksum {
            algorithm: announced.algorithm(),
            value: taken.checksum.clone(),
            full_object: true,
        });
        let bytes = version.fill(&mut taken);
        let new = New {
            version,
            bytes,
            event,
        };
        // `taken` owns the blob until the transaction has linked it.
        let version = self.commit(ctx, bucket, key, new, conditions).await?;
        drop(taken);
        Ok((version, kms_context))
    }

    /// Writes a new version, its events and its replication in one transaction. `OperationAborted`: another object
    /// shared its bytes, and has gone meanwhile.
    pub(crate) async fn commit(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        new: New,
        conditions: &WriteConditions<'_>,
    ) -> Result<Version, Fault> {
        // Keys of one bucket are written side by side; what concerns all of them has the bucket for itself.
        let (scope, whole) = (["s3", &bucket.name, key], ["s3", &bucket.name]);
        self.objects
            .store
            .transact(store::Scope::new(&scope).within(&whole), move |tx| {
                self.write(tx, ctx, bucket, key, new, conditions)
                    .map_err(NotWritten)
            })
            .await
            .map_err(|NotWritten(fault)| fault)
    }

    /// The same within a transaction under the bucket's scope or the key's.
    pub(crate) fn write(
        &self,
        tx: &mut store::Tx<'_>,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        new: New,
        conditions: &WriteConditions<'_>,
    ) -> Result<Version, Fault> {
        self.buckets.require(tx, bucket)?;
        // The bucket may have changed since the request began.
        let latest = self.buckets.get(&bucket.name, None)?;
        let bucket = &latest;
        if conditions.matches.is_some() || conditions.none_match.is_some() {
            conditions.check(self.objects.current(tx, bucket, key)?.as_ref(), key)?;
        }
        let New {
            mut version,
            bytes,
            event,
        } = new;
        // A reset may have taken the master key away since the bytes came in.
        if let Some(sealed) = &version.sealed {
            self.masters
                .unseal(tx, bucket, sealed)
                .map_err(|_| crate::fault::operation_aborted())?;
        }
        if version.replication.is_none() && self.is_replicated(bucket, key, &version) {
            version.replication = Some("PENDING".to_owned());
        }
        self.objects.insert(tx, bucket, key, &mut version, bytes)?;
        self.announce(tx, ctx, bucket, event, key, &version)?;
        if version.replication.as_deref() == Some("PENDING") {
            self.replicate_later(tx, bucket, key, &version)?;
        }
        Ok(version)
    }
}

fn hex_of(md5: &[u8; 16]) -> String {
    let mut digits = vec![0; 32];
    // Two digits a byte have room, and are ASCII.
    let _ = hex::encode_to_slice(md5, &mut digits);
    String::from_utf8(digits).unwrap_or_default()
}

/// `x-amz-version-id`, which buckets that never had versioning do not show.
pub(crate) fn version_header(bucket: &Bucket, version: &Version) -> Option<String> {
    match &version.id {
        Some(id) => Some(id.clone()),
        None if bucket.is_versioned() => Some(crate::object::NULL.to_owned()),
        None => None,
    }
}
