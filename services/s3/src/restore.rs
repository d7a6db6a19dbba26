//! Restoring archived objects: at once, for the region has no tapes to fetch.

use cloud::Context;
use wire::{Fault, Timestamp};

use crate::access::Question;
use crate::object::Restored;
use crate::{api, fault};

const DAY: i64 = 86_400_000;

impl crate::S3 {
    /// `RestoreObject`: 202, or 200 for a copy that is there already and is kept for longer.
    pub(crate) async fn restore(
        &self,
        ctx: &Context,
        input: api::RestoreObjectInput,
    ) -> Result<api::RestoreObjectOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let question = Question {
            action: "s3:RestoreObject",
            key: Some(&input.key),
            owner: &bucket.account,
            grant: None,
        };
        self.permit_when(ctx, &bucket, &question, |_| {})?;
        let request = input.restore_request.unwrap_or_default();
        if request.r#type.is_some()
            || request.select_parameters.is_some()
            || request.output_location.is_some()
        {
            return Err(Fault::sender(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            ));
        }
        let days = match request.days {
            Some(days) if days > 0 => i64::from(days),
            _ => return Err(fault::malformed_xml()),
        };
        let now = self.cloud.clock.now();
        let midnight = (now.0 + days * DAY).div_euclid(DAY) * DAY + DAY;
        let mut was_restored = false;
        self.amend(
            &bucket,
            &input.key,
            input.version_id.as_deref(),
            |tx, version| {
                if !matches!(version.class(), "GLACIER" | "DEEP_ARCHIVE") {
                    return Err(Fault::sender(
                        403,
                        "InvalidObjectState",
                        "Restore is not allowed for the object's current storage class",
                    )
                    .field("StorageClass", version.class()));
                }
                was_restored = version.restored.as_ref().is_some_and(|r| r.until > now.0);
                version.restored = Some(Restored {
                    until: Timestamp(midnight).0,
                });
                self.announce(tx, ctx, &bucket, "ObjectRestore:Post", &input.key, version)?;
                self.announce(
                    tx,
                    ctx,
                    &bucket,
                    "ObjectRestore:Completed",
                    &input.key,
                    version,
                )
            },
        )
        .await?;
        Ok(api::RestoreObjectOutput {
            status_code: Some(if was_restored { 200 } else { 202 }),
            ..api::RestoreObjectOutput::default()
        })
    }
}
