//! Deleting objects.

use std::sync::Arc;

use cloud::Context;
use store::{Scope, Tx};
use wire::{Fault, Timestamp};

use crate::access::{Grant, Question, of_version};
use crate::acl::Permission;
use crate::bucket::{Bucket, Versioning};
use crate::condition;
use crate::event::Event;
use crate::object::Version;
use crate::{api, fault, lock};

/// Most keys of one DeleteObjects.
const MAX_KEYS: usize = 1000;

/// What to delete, and on which conditions.
#[derive(Default)]
struct Wanted<'a> {
    key: &'a str,
    id: Option<&'a str>,
    /// Whether an event tells of it even where nothing was there: of a batch's keys it does.
    always_told: bool,
    etag: Option<&'a str>,
    modified: Option<Timestamp>,
    size: Option<i64>,
}

/// What was deleted.
#[derive(Default)]
pub(crate) struct Deleted {
    /// The id of the version that went, or of the marker that came.
    pub version_id: Option<String>,
    /// Whether a marker went or came.
    pub is_marker: bool,
}

impl Wanted<'_> {
    fn has_conditions(&self) -> bool {
        self.etag.is_some() || self.modified.is_some() || self.size.is_some()
    }
    fn check(&self, version: &Version) -> Result<(), Fault> {
        if self
            .etag
            .is_some_and(|header| !condition::etag_is_among(&version.etag, header))
        {
            return Err(fault::precondition_failed("If-Match"));
        }
        if self
            .modified
            .is_some_and(|t| t.secs() != version.last_modified().secs())
        {
            return Err(fault::precondition_failed(
                "x-amz-if-match-last-modified-time",
            ));
        }
        if self
            .size
            .is_some_and(|n| u64::try_from(n) != Ok(version.size))
        {
            return Err(fault::precondition_failed("x-amz-if-match-size"));
        }
        Ok(())
    }
}

impl crate::S3 {
    fn permit_delete(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        wanted: &Wanted<'_>,
    ) -> Result<(), Fault> {
        let action = of_version(wanted.id, "s3:DeleteObject", "s3:DeleteObjectVersion");
        let grant = Some(Grant {
            acl: &bucket.record.acl,
            permission: Permission::Write,
        });
        let question = Question {
            action,
            key: Some(wanted.key),
            owner: &bucket.account,
            grant,
        };
        self.permit_when(ctx, bucket, &question, |conditions| {
            if let Some(id) = wanted.id {
                conditions.set("s3:VersionId", id);
            }
        })
    }

    async fn delete_one(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        wanted: &Wanted<'_>,
        bypass: Option<bool>,
    ) -> Result<Deleted, Fault> {
        self.permit_delete(ctx, bucket, wanted)?;
        let bypass = self.bypasses(ctx, bucket, wanted.key, bypass)?;
        let scope = ["s3", &bucket.name];
        self.objects
            .store
            .transact(Scope::new(&scope), |tx| {
                self.buckets.require(tx, bucket)?;
                let latest = self.buckets.get(&bucket.name, None)?;
                self.delete_within(tx, ctx, &latest, wanted, bypass)
            })
            .await
    }

    fn delete_within(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        bucket: &Bucket,
        wanted: &Wanted<'_>,
        bypass: bool,
    ) -> Result<Deleted, Fault> {
        let found = self.look_up(tx, bucket, wanted.key, wanted.id)?;
        let is_there = found
            .as_ref()
            .is_some_and(|f| wanted.id.is_some() || !f.version.is_delete_marker);
        match &found {
            Some(found) if is_there => wanted.check(&found.version)?,
            _ if wanted.has_conditions() => return Err(fault::no_such_key(wanted.key)),
            _ => {}
        }
        if wanted.id.is_some() {
            let Some(found) = found else {
                return Ok(Deleted {
                    version_id: wanted.id.map(str::to_owned),
                    is_marker: false,
                });
            };
            if found.version.is_locked(ctx.time, bypass) {
                return Err(lock::locked());
            }
            self.objects
                .remove(tx, bucket, wanted.key, &found.version, found.is_current)?;
            self.announce(
                tx,
                ctx,
                bucket,
                "ObjectRemoved:Delete",
                wanted.key,
                &found.version,
            )?;
            return Ok(Deleted {
                version_id: Some(found.version.shown_id().to_owned()),
                is_marker: found.version.is_delete_marker,
            });
        }
        if found.is_none()
            && wanted.always_told
            && bucket.record.versioning == Versioning::Unversioned
        {
            let event = Event {
                name: "ObjectRemoved:Delete",
                key: wanted.key,
                version: None,
                replication: None,
            };
            self.announce_event(tx, ctx, bucket, &event)?;
        }
        self.delete_current(
            tx,
            ctx,
            bucket,
            wanted.key,
            found.map(|f| Arc::unwrap_or_clone(f.version)),
            "ObjectRemoved",
        )
    }

    /// Deletes a key as the bucket's versioning has it: for good, or with a marker. `events` is the family to announce.
    pub(crate) fn delete_current(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        current: Option<Version>,
        events: &str,
    ) -> Result<Deleted, Fault> {
        self.uploads.overtake(tx, bucket, key)?;
        if bucket.record.versioning == Versioning::Unversioned {
            let Some(version) = current else {
                return Ok(Deleted::default());
            };
            self.objects.remove(tx, bucket, key, &version, true)?;
            self.announce(tx, ctx, bucket, &format!("{events}:Delete"), key, &version)?;
            return Ok(Deleted::default());
        }
        let mut marker = Version {
            modified: self.cloud.clock.now().0,
            is_delete_marker: true,
            owner: crate::access::account(ctx)
                .unwrap_or(&bucket.account)
                .to_owned(),
            ..Version::default()
        };
        self.objects.insert(tx, bucket, key, &mut marker, None)?;
        self.announce(
            tx,
            ctx,
            bucket,
            &format!("{events}:DeleteMarkerCreated"),
            key,
            &marker,
        )?;
        if self.is_replicated(bucket, key, &marker) {
            self.replicate_later(tx, bucket, key, &marker)?;
        }
        Ok(Deleted {
            version_id: Some(marker.shown_id().to_owned()),
            is_marker: true,
        })
    }

    /// `DeleteObject`
    pub(crate) async fn delete(
        &self,
        ctx: &Context,
        input: api::DeleteObjectInput,
    ) -> Result<api::DeleteObjectOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.check_bypass(&bucket, input.bypass_governance_retention)?;
        let wanted = Wanted {
            key: &input.key,
            id: input.version_id.as_deref().filter(|id| !id.is_empty()),
            always_told: false,
            etag: input.if_match.as_deref(),
            modified: input.if_match_last_modified_time,
            size: input.if_match_size,
        };
        let deleted = self
            .delete_one(ctx, &bucket, &wanted, input.bypass_governance_retention)
            .await?;
        Ok(api::DeleteObjectOutput {
            delete_marker: deleted.is_marker.then_some(true),
            version_id: deleted.version_id,
            ..Default::default()
        })
    }

    /// `DeleteObjects`
    pub(crate) async fn delete_many(
        &self,
        ctx: &Context,
        input: api::DeleteObjectsInput,
    ) -> Result<api::DeleteObjectsOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.check_bypass(&bucket, input.bypass_governance_retention)?;
        let objects = &input.delete.objects;
        if objects.is_empty() || objects.len() > MAX_KEYS {
            return Err(fault::malformed_xml());
        }
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        for object in objects {
            let wanted = Wanted {
                key: &object.key,
                id: object.version_id.as_deref().filter(|id| !id.is_empty()),
                always_told: true,
                etag: object.e_tag.as_deref(),
                modified: object.last_modified_time,
                size: object.size,
            };
            match self
                .delete_one(ctx, &bucket, &wanted, input.bypass_governance_retention)
                .await
            {
                Ok(outcome) => deleted.push(api::DeletedObject {
                    key: Some(object.key.clone()),
                    version_id: object.version_id.clone(),
                    delete_marker: outcome.is_marker.then_some(true),
                    delete_marker_version_id: outcome.version_id.filter(|_| outcome.is_marker),
                }),
                Err(mut fault) => {
                    if fault.is("InvalidArgument") {
                        fault = fault::no_such_version(&object.key, wanted.id.unwrap_or_default());
                    }
                    if let Some(cause) = &fault.cause {
                        tracing::error!(cause, key = object.key, "an object could not be deleted");
                    }
                    errors.push(api::Error {
                        key: Some(object.key.clone()),
                        version_id: object.version_id.clone(),
                        code: Some(fault.code.to_string()),
                        message: Some(fault.message.to_string()),
                    });
                }
            }
        }
        if input.delete.quiet == Some(true) {
            deleted.clear();
        }
        Ok(api::DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..Default::default()
        })
    }
}
