//! Object lock: retention, legal hold, and the bucket's default.

use cloud::Context;
use wire::{Fault, Timestamp};

use crate::bucket::{Bucket, Ownership, Versioning};
use crate::object::{Retention, Version};
use crate::{access, api, configuration, fault};

const DAY: i64 = 86_400;

/// `ON` or `OFF`.
pub fn hold_status(is_on: bool) -> String {
    if is_on { "ON" } else { "OFF" }.to_owned()
}

fn missing_configuration() -> Fault {
    fault::invalid_request("Bucket is missing Object Lock Configuration")
}

fn mode(text: &str) -> Result<String, Fault> {
    match text {
        "GOVERNANCE" | "COMPLIANCE" => Ok(text.to_owned()),
        other => Err(fault::invalid_argument(
            "Unknown wormMode directive.",
            "x-amz-object-lock-mode",
            other,
        )),
    }
}

/// What the headers of a write ask for, or else the bucket's default.
pub fn requested(
    lock_mode: Option<&str>,
    until: Option<Timestamp>,
    hold: Option<&str>,
    bucket: &Bucket,
    now: Timestamp,
) -> Result<(Option<Retention>, Option<bool>), Fault> {
    let asks = lock_mode.is_some() || until.is_some() || hold.is_some();
    if asks && !bucket.record.object_lock {
        return Err(missing_configuration());
    }
    let legal_hold = match hold {
        None => None,
        Some("ON") => Some(true),
        Some("OFF") => Some(false),
        Some(other) => {
            return Err(fault::invalid_argument(
                "Legal Hold must be either of 'ON' or 'OFF'",
                "x-amz-object-lock-legal-hold",
                other,
            ));
        }
    };
    let retention = match (lock_mode, until) {
        (Some(given), Some(until)) => {
            if until <= now {
                return Err(past("x-amz-object-lock-retain-until-date", until));
            }
            Some(Retention {
                mode: mode(given)?,
                until: until.0,
            })
        }
        (None, None) => default_retention(bucket, now),
        _ => {
            let missing = match lock_mode {
                Some(_) => "x-amz-object-lock-retain-until-date",
                None => "x-amz-object-lock-mode",
            };
            let message = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied";
            return Err(
                Fault::sender(400, "InvalidArgument", message).field("ArgumentName", missing)
            );
        }
    };
    Ok((retention, legal_hold))
}

/// A date that is over, which AWS shows as the clocks of Seattle have it.
fn past(argument: &str, until: Timestamp) -> Fault {
    let shown = jiff::Timestamp::from_millisecond(until.0)
        .ok()
        .and_then(|at| at.in_tz("America/Los_Angeles").ok())
        .map(|at| at.strftime("%a %b %d %H:%M:%S %Z %Y").to_string());
    fault::invalid_argument(
        "The retain until date must be in the future!",
        argument,
        shown.unwrap_or_default(),
    )
}

fn default_retention(bucket: &Bucket, now: Timestamp) -> Option<Retention> {
    let default = bucket
        .lock
        .as_ref()?
        .rule
        .as_ref()?
        .default_retention
        .as_ref()?;
    let days = default
        .days
        .map(i64::from)
        .or_else(|| default.years.map(|y| i64::from(y) * 365))?;
    Some(Retention {
        mode: default.mode.clone()?,
        until: now.plus_secs(days * DAY).0,
    })
}

impl Version {
    /// Whether it must not be deleted now.
    pub(crate) fn is_locked(&self, now: Timestamp, bypass: bool) -> bool {
        let is_retained = self
            .retention
            .as_ref()
            .is_some_and(|r| r.until > now.0 && !(bypass && r.mode == "GOVERNANCE"));
        self.legal_hold == Some(true) || is_retained
    }
}

/// `AccessDenied` of a locked version.
pub fn locked() -> Fault {
    Fault::sender(
        403,
        "AccessDenied",
        "Access Denied because object protected by object lock.",
    )
}

impl crate::S3 {
    /// `x-amz-bypass-governance-retention` belongs to buckets with a lock, whatever it says. Buckets as they were before
    /// 2023 take it everywhere: clients of that time send it with every deletion.
    pub(crate) fn check_bypass(&self, bucket: &Bucket, asked: Option<bool>) -> Result<(), Fault> {
        let is_new = self.default_ownership() == Some(Ownership::BucketOwnerEnforced);
        if asked.is_some() && is_new && !bucket.record.object_lock {
            return Err(Fault::sender(
                400,
                "InvalidArgument",
                "x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets.",
            )
            .field("ArgumentName", "x-amz-bypass-governance-retention"));
        }
        Ok(())
    }

    /// Whether the caller asked to, and may, bypass governance.
    pub(crate) fn bypasses(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        asked: Option<bool>,
    ) -> Result<bool, Fault> {
        if asked != Some(true) {
            return Ok(false);
        }
        let question = access::Question {
            action: "s3:BypassGovernanceRetention",
            key: Some(key),
            owner: &bucket.account,
            grant: None,
        };
        self.permit_when(ctx, bucket, &question, |_| {})?;
        Ok(true)
    }

    fn permit_lock(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        action: &str,
    ) -> Result<(), Fault> {
        let question = access::Question {
            action,
            key: Some(key),
            owner: &bucket.account,
            grant: None,
        };
        self.permit_when(ctx, bucket, &question, |_| {})?;
        if bucket.record.object_lock {
            Ok(())
        } else {
            Err(missing_configuration())
        }
    }

    /// `PutObjectLockConfiguration`
    pub(crate) async fn put_lock(
        &self,
        ctx: &Context,
        input: api::PutObjectLockConfigurationInput,
    ) -> Result<api::PutObjectLockConfigurationOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:PutBucketObjectLockConfiguration")?;
        let document = input.object_lock_configuration.ok_or_else(|| {
            Fault::sender(400, "MissingRequestBodyError", "Request Body is empty")
        })?;
        if document.object_lock_enabled.as_deref() != Some("Enabled") {
            return Err(fault::malformed_xml());
        }
        if bucket.record.versioning != Versioning::Enabled {
            return Err(fault::invalid_bucket_state(
                "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
            ));
        }
        if let Some(rule) = &document.rule {
            let default = rule
                .default_retention
                .as_ref()
                .ok_or_else(fault::malformed_xml)?;
            match default.mode.as_deref() {
                Some("GOVERNANCE" | "COMPLIANCE") => {}
                _ => return Err(fault::malformed_xml()),
            }
            let invalid =
                |message: &'static str| Fault::sender(400, "InvalidRetentionPeriod", message);
            match (default.days, default.years) {
                (Some(_), Some(_)) | (None, None) => return Err(fault::malformed_xml()),
                (Some(days), None) if days <= 0 => {
                    return Err(invalid(
                        "Default retention period must be a positive integer value.",
                    ));
                }
                (None, Some(years)) if years <= 0 => {
                    return Err(invalid(
                        "Default retention period must be a positive integer value.",
                    ));
                }
                (Some(days), None) if days > 36_500 => {
                    return Err(invalid("Default retention period too large."));
                }
                (None, Some(years)) if years > 100 => {
                    return Err(invalid("Default retention period too large."));
                }
                _ => {}
            }
        }
        let text = configuration::encode(&document);
        self.buckets
            .change(&bucket, |record, _| {
                record.object_lock = true;
                record.documents.insert("object-lock".to_owned(), text);
                Ok(())
            })
            .await?;
        Ok(api::PutObjectLockConfigurationOutput::default())
    }

    /// `GetObjectLockConfiguration`
    pub(crate) async fn lock(
        &self,
        ctx: &Context,
        input: api::GetObjectLockConfigurationInput,
    ) -> Result<api::GetObjectLockConfigurationOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:GetBucketObjectLockConfiguration")?;
        let document = bucket.lock.clone().ok_or_else(|| {
            Fault::sender(
                404,
                "ObjectLockConfigurationNotFoundError",
                "Object Lock configuration does not exist for this bucket",
            )
            .field("BucketName", bucket.name.as_str())
        })?;
        Ok(api::GetObjectLockConfigurationOutput {
            object_lock_configuration: Some(document),
        })
    }

    /// `PutObjectRetention`
    pub(crate) async fn put_retention(
        &self,
        ctx: &Context,
        input: api::PutObjectRetentionInput,
    ) -> Result<api::PutObjectRetentionOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_lock(ctx, &bucket, &input.key, "s3:PutObjectRetention")?;
        let bypass = self.bypasses(ctx, &bucket, &input.key, input.bypass_governance_retention)?;
        let wanted = input.retention.ok_or_else(fault::malformed_xml)?;
        let retention = match (wanted.mode.as_deref(), wanted.retain_until_date) {
            (Some(given), Some(until)) => {
                let given = mode(given).map_err(|_| fault::malformed_xml())?;
                if until <= ctx.time {
                    return Err(past("RetainUntilDate", until));
                }
                Some(Retention {
                    mode: given,
                    until: until.0,
                })
            }
            (None, None) => None,
            _ => return Err(fault::malformed_xml()),
        };
        let now = ctx.time;
        self.amend(
            &bucket,
            &input.key,
            input.version_id.as_deref(),
            |_, version| {
                let loosens = version
                    .retention
                    .as_ref()
                    .filter(|old| old.until > now.0)
                    .is_some_and(|old| match &retention {
                        Some(new) => new.until < old.until || new.mode != old.mode,
                        None => true,
                    });
                let strengthens = |old: &Retention| {
                    old.mode == "GOVERNANCE"
                        && retention
                            .as_ref()
                            .is_some_and(|new| new.mode == "COMPLIANCE" && new.until >= old.until)
                };
                let may = version.retention.as_ref().is_none_or(|old| {
                    !loosens || (old.mode == "GOVERNANCE" && bypass) || (bypass && strengthens(old))
                });
                if !may {
                    return Err(locked());
                }
                version.retention = retention;
                Ok(())
            },
        )
        .await?;
        Ok(api::PutObjectRetentionOutput::default())
    }

    /// `GetObjectRetention`
    pub(crate) async fn retention(
        &self,
        ctx: &Context,
        input: api::GetObjectRetentionInput,
    ) -> Result<api::GetObjectRetentionOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_lock(ctx, &bucket, &input.key, "s3:GetObjectRetention")?;
        let found = self.existing(&bucket, &input.key, input.version_id.as_deref(), "GET")?;
        let retention = found.version.retention.clone().ok_or_else(no_lock)?;
        let shown = api::ObjectLockRetention {
            mode: Some(retention.mode),
            retain_until_date: Some(Timestamp(retention.until)),
            ..Default::default()
        };
        Ok(api::GetObjectRetentionOutput {
            retention: Some(shown),
        })
    }

    /// `PutObjectLegalHold`
    pub(crate) async fn put_legal_hold(
        &self,
        ctx: &Context,
        input: api::PutObjectLegalHoldInput,
    ) -> Result<api::PutObjectLegalHoldOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let is_on = match input.legal_hold.and_then(|h| h.status).as_deref() {
            Some("ON") => true,
            Some("OFF") => false,
            _ => return Err(fault::malformed_xml()),
        };
        self.permit_lock(ctx, &bucket, &input.key, "s3:PutObjectLegalHold")?;
        self.amend(
            &bucket,
            &input.key,
            input.version_id.as_deref(),
            |_, version| {
                version.legal_hold = Some(is_on);
                Ok(())
            },
        )
        .await?;
        Ok(api::PutObjectLegalHoldOutput::default())
    }

    /// `GetObjectLegalHold`
    pub(crate) async fn legal_hold(
        &self,
        ctx: &Context,
        input: api::GetObjectLegalHoldInput,
    ) -> Result<api::GetObjectLegalHoldOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_lock(ctx, &bucket, &input.key, "s3:GetObjectLegalHold")?;
        let found = self.existing(&bucket, &input.key, input.version_id.as_deref(), "GET")?;
        let is_on = found.version.legal_hold.ok_or_else(no_lock)?;
        Ok(api::GetObjectLegalHoldOutput {
            legal_hold: Some(api::ObjectLockLegalHold {
                status: Some(hold_status(is_on)),
            }),
        })
    }
}

fn no_lock() -> Fault {
    Fault::sender(
        404,
        "NoSuchObjectLockConfiguration",
        "The specified object does not have a ObjectLock configuration",
    )
}
