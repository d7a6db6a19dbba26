//! Lifecycle rules: checked when they come, carried out once a day by the region's clock.

use cloud::{Context, Job};
use store::{Range, Read, Scope};
use time::{Date, Month};
use wire::{Fault, Timestamp};

use crate::bucket::{Bucket, Versioning};
use crate::object::Version;
use crate::{api, configuration, fault};

/// The scheduler's kind of job.
pub const JOB: &str = "s3.lifecycle";
const DAY: i64 = 86_400_000;
/// Versions looked at in one transaction.
const BATCH: usize = 500;
const SMALLEST_TRANSITION: u64 = 128 * 1024;

/// Midnight after so many days, as AWS rounds up.
fn due(from: i64, days: i32) -> i64 {
    let at = from.saturating_add(i64::from(days).saturating_mul(DAY));
    let midnight = at.div_euclid(DAY) * DAY;
    if midnight == at { at } else { midnight + DAY }
}

/// What a rule's filter says, whichever way it was written.
struct Filter<'a> {
    prefix: &'a str,
    tags: Vec<(&'a str, &'a str)>,
    larger: Option<i64>,
    smaller: Option<i64>,
}

fn filter(rule: &api::LifecycleRule) -> Filter<'_> {
    let mut filter = Filter {
        prefix: rule.prefix.as_deref().unwrap_or_default(),
        tags: Vec::new(),
        larger: None,
        smaller: None,
    };
    if let Some(f) = &rule.filter {
        let and = f.and.as_ref();
        filter.prefix = f
            .prefix
            .as_deref()
            .or_else(|| and.and_then(|a| a.prefix.as_deref()))
            .unwrap_or_default();
        filter.larger = f
            .object_size_greater_than
            .or_else(|| and.and_then(|a| a.object_size_greater_than));
        filter.smaller = f
            .object_size_less_than
            .or_else(|| and.and_then(|a| a.object_size_less_than));
        let tags = f
            .tag
            .iter()
            .chain(and.and_then(|a| a.tags.as_ref()).into_iter().flatten());
        filter.tags = tags.map(|t| (t.key.as_str(), t.value.as_str())).collect();
    }
    filter
}

impl Filter<'_> {
    fn matches(&self, key: &str, version: &Version) -> bool {
        let size = i64::try_from(version.size).unwrap_or(i64::MAX);
        key.starts_with(self.prefix)
            && self
                .tags
                .iter()
                .all(|(k, v)| version.tags.iter().any(|(a, b)| a == k && b == v))
            && self.larger.is_none_or(|n| size > n)
            && self.smaller.is_none_or(|n| size < n)
    }
}

fn enabled(bucket: &Bucket) -> impl Iterator<Item = &api::LifecycleRule> {
    bucket
        .lifecycle
        .iter()
        .flat_map(|l| &l.rules)
        .filter(|r| r.status == "Enabled")
}

/// `x-amz-expiration`: when a current version will expire, and by which rule.
pub fn expiration_header(bucket: &Bucket, key: &str, version: &Version) -> Option<String> {
    bucket.lifecycle.as_ref()?;
    let mut first: Option<(i64, &str)> = None;
    for rule in enabled(bucket) {
        let Some(expiration) = &rule.expiration else {
            continue;
        };
        let at = match (expiration.date, expiration.days) {
            (Some(date), _) => date.0,
            (None, Some(days)) => due(version.modified, days),
            _ => continue,
        };
        if filter(rule).matches(key, version) && first.is_none_or(|(earliest, _)| at < earliest) {
            first = Some((at, rule.id.as_deref().unwrap_or_default()));
        }
    }
    let (at, id) = first?;
    let date = Timestamp(at).format(wire::TimestampFormat::Rfc822);
    let id = crate::listing::encoded(id);
    Some(format!("expiry-date=\"{date}\", rule-id=\"{id}\""))
}

/// What is to become of a version.
#[derive(Debug, PartialEq)]
enum Fate {
    Stays,
    Expires,
    Moves(String),
}

fn fate_of_current(
    bucket: &Bucket,
    key: &str,
    version: &Version,
    is_only: bool,
    now: i64,
    small: bool,
) -> Fate {
    let mut class: Option<(i64, &str)> = None;
    for rule in enabled(bucket) {
        if !filter(rule).matches(key, version) {
            continue;
        }
        if let Some(expiration) = &rule.expiration {
            if version.is_delete_marker {
                let by_age = expiration
                    .days
                    .is_some_and(|days| due(version.modified, days) <= now);
                if is_only && (expiration.expired_object_delete_marker == Some(true) || by_age) {
                    return Fate::Expires;
                }
                continue;
            }
            let is_due = expiration.date.is_some_and(|d| d.0 <= now)
                || expiration
                    .days
                    .is_some_and(|days| due(version.modified, days) <= now);
            if is_due {
                return Fate::Expires;
            }
        }
        for transition in rule.transitions.iter().flatten() {
            let at = match (transition.date, transition.days) {
                (Some(date), _) => date.0,
                (None, Some(days)) => due(version.modified, days),
                _ => continue,
            };
            let target = transition.storage_class.as_deref().unwrap_or_default();
            if at <= now
                && (!small || filter(rule).larger.is_some())
                && class.is_none_or(|(latest, _)| at >= latest)
            {
                class = Some((at, target));
            }
        }
    }
    moves(version, class)
}

fn fate_of_older(
    bucket: &Bucket,
    key: &str,
    version: &Version,
    newer: usize,
    now: i64,
    small: bool,
) -> Fate {
    let since = version.noncurrent_since.unwrap_or(version.modified);
    let mut class: Option<(i64, &str)> = None;
    for rule in enabled(bucket) {
        if !filter(rule).matches(key, version) {
            continue;
        }
        let keeps =
            |kept: Option<i32>| kept.is_some_and(|n| newer < usize::try_from(n).unwrap_or(0));
        if let Some(expiration) = &rule.noncurrent_version_expiration
            && expiration
                .noncurrent_days
                .is_some_and(|days| due(since, days) <= now)
            && !keeps(expiration.newer_noncurrent_versions)
        {
            return Fate::Expires;
        }
        for transition in rule.noncurrent_version_transitions.iter().flatten() {
            let Some(days) = transition.noncurrent_days else {
                continue;
            };
            let at = due(since, days);
            if at <= now
                && !small
                && !keeps(transition.newer_noncurrent_versions)
                && class.is_none_or(|(latest, _)| at >= latest)
            {
                class = Some((at, transition.storage_class.as_deref().unwrap_or_default()));
            }
        }
    }
    moves(version, class)
}

fn moves(version: &Version, class: Option<(i64, &str)>) -> Fate {
    match class {
        Some((_, class)) if !version.is_delete_marker && version.class() != class => {
            Fate::Moves(class.to_owned())
        }
        _ => Fate::Stays,
    }
}

impl crate::S3 {
    /// Plans the next midnight's run for a bucket that has rules.
    fn plan_lifecycle(
        &self,
        tx: &mut store::Tx<'_>,
        bucket: &str,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let midnight = Timestamp((now.0.div_euclid(DAY) + 1) * DAY);
        self.cloud
            .scheduler
            .at(tx, midnight, JOB, bucket, serde_json::Value::Null)
    }

    /// `PutBucketLifecycleConfiguration`
    pub(crate) async fn put_lifecycle(
        &self,
        ctx: &Context,
        input: api::PutBucketLifecycleConfigurationInput,
    ) -> Result<api::PutBucketLifecycleConfigurationOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:PutLifecycleConfiguration")?;
        let mut document = input
            .lifecycle_configuration
            .ok_or_else(fault::malformed_xml)?;
        check(&document)?;
        for rule in &mut document.rules {
            rule.id.get_or_insert_with(cloud::ids::uuid);
        }
        let minimum = match input.transition_default_minimum_object_size.as_deref() {
            None => "all_storage_classes_128K",
            Some(given @ ("all_storage_classes_128K" | "varies_by_storage_class")) => given,
            Some(other) => {
                return Err(fault::invalid_request(format!(
                    "Invalid TransitionDefaultMinimumObjectSize found: {other}"
                )));
            }
        }
        .to_owned();
        let text = configuration::encode(&document);
        let kept = minimum.clone();
        self.buckets
            .change(&bucket, |record, tx| {
                record.documents.insert("lifecycle".to_owned(), text);
                record
                    .documents
                    .insert("lifecycle-minimum".to_owned(), kept);
                self.plan_lifecycle(tx, &bucket.name, self.cloud.clock.now())
            })
            .await?;
        Ok(api::PutBucketLifecycleConfigurationOutput {
            transition_default_minimum_object_size: Some(minimum),
        })
    }

    /// `GetBucketLifecycleConfiguration`
    pub(crate) async fn lifecycle(
        &self,
        ctx: &Context,
        input: api::GetBucketLifecycleConfigurationInput,
    ) -> Result<api::GetBucketLifecycleConfigurationOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:GetLifecycleConfiguration")?;
        let document = bucket.lifecycle.clone().ok_or_else(|| {
            Fault::sender(
                404,
                "NoSuchLifecycleConfiguration",
                "The lifecycle configuration does not exist",
            )
            .field("BucketName", bucket.name.as_str())
        })?;
        Ok(api::GetBucketLifecycleConfigurationOutput {
            rules: Some(document.rules),
            transition_default_minimum_object_size: bucket
                .record
                .documents
                .get("lifecycle-minimum")
                .cloned(),
        })
    }

    /// `DeleteBucketLifecycle`
    pub(crate) async fn delete_lifecycle(
        &self,
        ctx: &Context,
        input: api::DeleteBucketLifecycleInput,
    ) -> Result<(), Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:PutLifecycleConfiguration")?;
        self.buckets
            .change(&bucket, |record, tx| {
                record.documents.remove("lifecycle");
                record.documents.remove("lifecycle-minimum");
                self.cloud.scheduler.cancel(tx, JOB, &bucket.name)
            })
            .await
    }

    /// Carries a bucket's rules out, and plans the next run.
    pub(crate) async fn run_lifecycle(&self, job: Job) -> Result<(), Fault> {
        let Some(bucket) = self
            .buckets
            .find(&job.key)
            .filter(|b| b.lifecycle.is_some())
        else {
            return Ok(());
        };
        let now = self.cloud.clock.now();
        let ctx = Context::internal(
            &bucket.account,
            &bucket.record.region,
            "s3.amazonaws.com",
            now,
        );
        let mut after: Option<String> = None;
        loop {
            let keys = self.lifecycle_keys(&bucket, after.as_deref())?;
            let Some(last) = keys.last().cloned() else {
                break;
            };
            let scope = ["s3", &bucket.name];
            self.objects
                .store
                .transact(Scope::new(&scope), |tx| {
                    self.buckets.require(tx, &bucket)?;
                    keys.iter()
                        .try_for_each(|key| self.age(tx, &ctx, &bucket, key, now))
                })
                .await?;
            after = Some(last);
        }
        self.expire_uploads(&ctx, &bucket, now).await?;
        let scope = ["s3", &bucket.name];
        self.objects
            .store
            .transact(Scope::new(&scope), |tx| {
                self.plan_lifecycle(tx, &bucket.name, now)
            })
            .await
    }

    fn lifecycle_keys(&self, bucket: &Bucket, after: Option<&str>) -> Result<Vec<String>, Fault> {
        let within = (bucket.account.as_str(), bucket.name.as_str());
        let mut range = Range::prefix(&within).limit(BATCH);
        if let Some(after) = after {
            range = range.after(&(within.0, within.1, after));
        }
        let view = self.objects.store.read();
        let mut rows = view.range(&self.objects.current, range);
        let mut keys = Vec::new();
        while let Some((_, _, key)) = rows.next_key()? {
            keys.push(key);
        }
        Ok(keys)
    }

    /// Expires or moves the versions of one key.
    fn age(
        &self,
        tx: &mut store::Tx<'_>,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let all_sizes = bucket
            .record
            .documents
            .get("lifecycle-minimum")
            .is_some_and(|m| m == "varies_by_storage_class");
        let small = |v: &Version| !all_sizes && v.size < SMALLEST_TRANSITION;
        let path = (bucket.account.as_str(), bucket.name.as_str(), key);
        let older: Vec<Version> = tx
            .range(&self.objects.older, Range::prefix(&path))
            .map(|row| row.map(|(_, version)| version))
            .collect::<Result<_, _>>()?;
        let mut left = older.len();
        for (newer, mut version) in older.into_iter().enumerate() {
            match fate_of_older(bucket, key, &version, newer, now.0, small(&version)) {
                Fate::Expires if !version.is_locked(now, false) => {
                    self.objects.remove(tx, bucket, key, &version, false)?;
                    self.announce(tx, ctx, bucket, "LifecycleExpiration:Delete", key, &version)?;
                    left -= 1;
                }
                Fate::Moves(class) => {
                    version.storage_class = Some(class);
                    self.objects.update(tx, bucket, key, &version, false)?;
                    self.announce(tx, ctx, bucket, "LifecycleTransition", key, &version)?;
                }
                _ => {}
            }
        }
        let Some(mut current) = self.objects.current(tx, bucket, key)? else {
            return Ok(());
        };
        match fate_of_current(bucket, key, &current, left == 0, now.0, small(&current)) {
            Fate::Expires if current.is_delete_marker => {
                self.objects.remove(tx, bucket, key, &current, true)?;
                self.announce(tx, ctx, bucket, "LifecycleExpiration:Delete", key, &current)?;
            }
            Fate::Expires
                if bucket.record.versioning != Versioning::Unversioned
                    || !current.is_locked(now, false) =>
            {
                self.delete_current(tx, ctx, bucket, key, Some(current), "LifecycleExpiration")?;
            }
            Fate::Moves(class) => {
                current.storage_class = Some(class);
                self.objects.update(tx, bucket, key, &current, true)?;
                self.announce(tx, ctx, bucket, "LifecycleTransition", key, &current)?;
            }
            _ => {}
        }
        if current_restore_ended(self.objects.current(tx, bucket, key)?.as_ref(), now)
            && let Some(mut version) = self.objects.current(tx, bucket, key)?
        {
            version.restored = None;
            self.objects.update(tx, bucket, key, &version, true)?;
            self.announce(tx, ctx, bucket, "ObjectRestore:Delete", key, &version)?;
        }
        Ok(())
    }

    async fn expire_uploads(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        now: Timestamp,
    ) -> Result<(), Fault> {
        for rule in enabled(bucket) {
            let Some(days) = rule
                .abort_incomplete_multipart_upload
                .as_ref()
                .and_then(|a| a.days_after_initiation)
            else {
                continue;
            };
            let prefix = filter(rule).prefix.to_owned();
            for (key, upload_id, initiated) in
                self.uploads
                    .all(&self.objects.store.read(), bucket, &prefix)?
            {
                if due(initiated, days) <= now.0 {
                    self.abort_upload(ctx, bucket, &key, &upload_id).await?;
                }
            }
        }
        Ok(())
    }
}

fn current_restore_ended(version: Option<&Version>, now: Timestamp) -> bool {
    version.is_some_and(|v| v.restored.as_ref().is_some_and(|r| r.until <= now.0))
}

/// When an upload of a key would be aborted, and by which rule.
pub fn abort_date(bucket: &Bucket, key: &str, initiated: i64) -> Option<(Timestamp, String)> {
    enabled(bucket)
        .filter(|rule| key.starts_with(filter(rule).prefix))
        .find_map(|rule| {
            let days = rule
                .abort_incomplete_multipart_upload
                .as_ref()?
                .days_after_initiation?;
            Some((
                Timestamp(due(initiated, days)),
                rule.id.clone().unwrap_or_default(),
            ))
        })
}

fn check(document: &api::BucketLifecycleConfiguration) -> Result<(), Fault> {
    if document.rules.is_empty() || document.rules.len() > 1000 {
        return Err(fault::malformed_xml());
    }
    let invalid = |message: &str| Err(Fault::sender(400, "InvalidArgument", message.to_owned()));
    for (index, rule) in document.rules.iter().enumerate() {
        if rule.status != "Enabled" && rule.status != "Disabled" {
            return Err(fault::malformed_xml());
        }
        if rule.id.as_ref().is_some_and(|id| id.chars().count() > 255) {
            return invalid("ID length should not exceed allowed limit of 255");
        }
        if rule.id.is_some()
            && document
                .rules
                .iter()
                .take(index)
                .any(|other| other.id == rule.id)
        {
            return invalid("Rule ID must be unique. Found same ID for more than one rule");
        }
        if rule.prefix.is_some() == rule.filter.is_some() {
            return Err(fault::malformed_xml());
        }
        check_filter(rule)?;
        let has_action = rule.expiration.is_some()
            || rule.transitions.as_ref().is_some_and(|t| !t.is_empty())
            || rule.noncurrent_version_expiration.is_some()
            || rule
                .noncurrent_version_transitions
                .as_ref()
                .is_some_and(|t| !t.is_empty())
            || rule.abort_incomplete_multipart_upload.is_some();
        if !has_action {
            return Err(fault::invalid_request(
                "At least one action needs to be specified in a rule",
            ));
        }
        if let Some(expiration) = &rule.expiration {
            let given = [
                expiration.date.is_some(),
                expiration.days.is_some(),
                expiration.expired_object_delete_marker.is_some(),
            ];
            if given.iter().filter(|g| **g).count() != 1 {
                return Err(fault::malformed_xml());
            }
            if expiration.days.is_some_and(|d| d <= 0) {
                return invalid("'Days' for Expiration action must be a positive integer");
            }
            check_date(expiration.date)?;
            if expiration.expired_object_delete_marker.is_some() && !filter(rule).tags.is_empty() {
                return Err(fault::invalid_request(
                    "ExpiredObjectDeleteMarker cannot be specified with tags.",
                ));
            }
        }
        if let Some(expiration) = &rule.noncurrent_version_expiration {
            match expiration.noncurrent_days {
                None => return Err(fault::malformed_xml()),
                Some(days) if days <= 0 => {
                    return invalid(
                        "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer",
                    );
                }
                Some(_) => {}
            }
        }
        let classes = [
            "GLACIER",
            "STANDARD_IA",
            "ONEZONE_IA",
            "INTELLIGENT_TIERING",
            "DEEP_ARCHIVE",
            "GLACIER_IR",
        ];
        for transition in rule.transitions.iter().flatten() {
            if transition.date.is_some() == transition.days.is_some()
                || !transition
                    .storage_class
                    .as_deref()
                    .is_some_and(|c| classes.contains(&c))
            {
                return Err(fault::malformed_xml());
            }
            check_date(transition.date)?;
            if transition.days.is_some_and(|d| d < 0) {
                return invalid("'Days' for Transition action must be nonnegative");
            }
            let is_infrequent = transition
                .storage_class
                .as_deref()
                .is_some_and(|c| c.ends_with("_IA"));
            if is_infrequent && transition.days.is_some_and(|d| d < 30) {
                let class = transition.storage_class.as_deref().unwrap_or_default();
                return invalid(&format!(
                    "'Days' in Transition action must be greater than or equal to 30 for storageClass '{class}'"
                ));
            }
            if let (Some(expires), Some(moves)) = (
                rule.expiration.as_ref().and_then(|e| e.days),
                transition.days,
            ) && expires <= moves
            {
                return invalid(
                    "'Days' in the Expiration action for filter must be greater than 'Days' in the Transition action",
                );
            }
        }
        for transition in rule.noncurrent_version_transitions.iter().flatten() {
            if transition.noncurrent_days.is_none()
                || !transition
                    .storage_class
                    .as_deref()
                    .is_some_and(|c| classes.contains(&c))
            {
                return Err(fault::malformed_xml());
            }
        }
        if let Some(abort) = &rule.abort_incomplete_multipart_upload {
            if abort.days_after_initiation.is_none_or(|d| d <= 0) {
                return invalid(
                    "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer",
                );
            }
            if !filter(rule).tags.is_empty() {
                return Err(fault::invalid_request(
                    "AbortIncompleteMultipartUpload cannot be specified with Tags.",
                ));
            }
        }
    }
    Ok(())
}

fn check_filter(rule: &api::LifecycleRule) -> Result<(), Fault> {
    let Some(f) = &rule.filter else { return Ok(()) };
    let given = [
        f.prefix.is_some(),
        f.tag.is_some(),
        f.object_size_greater_than.is_some(),
        f.object_size_less_than.is_some(),
        f.and.is_some(),
    ];
    if given.iter().filter(|g| **g).count() > 1 {
        return Err(fault::malformed_xml());
    }
    let Some(and) = &f.and else { return Ok(()) };
    let tags = and.tags.as_deref().unwrap_or_default();
    if (1..tags.len()).any(|i| tags[..i].iter().any(|before| before.key == tags[i].key)) {
        return Err(fault::invalid_request(
            "Duplicate Tag Keys are not allowed.",
        ));
    }
    let predicates = usize::from(and.prefix.is_some())
        + and.tags.as_ref().map_or(0, Vec::len)
        + usize::from(and.object_size_greater_than.is_some())
        + usize::from(and.object_size_less_than.is_some());
    if predicates < 2 {
        return Err(fault::malformed_xml());
    }
    if let (Some(larger), Some(smaller)) = (and.object_size_greater_than, and.object_size_less_than)
        && larger >= smaller
    {
        return Err(fault::invalid_request(
            "'ObjectSizeGreaterThan' should be less than 'ObjectSizeLessThan'",
        ));
    }
    Ok(())
}

/// Dates are at midnight, UTC.
fn check_date(date: Option<Timestamp>) -> Result<(), Fault> {
    let Some(date) = date else { return Ok(()) };
    let first =
        Date::from_calendar_date(1970, Month::January, 1).map(|d| d.midnight().assume_utc());
    if date.0.rem_euclid(DAY) != 0 || first.is_ok_and(|first| date.date_time() < first) {
        return Err(fault::invalid_argument(
            "'Date' must be at midnight GMT",
            "Date",
            date.iso8601_millis(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_the_next_midnight() {
        assert_eq!(due(0, 1), DAY);
        assert_eq!(due(1, 1), 2 * DAY);
        assert_eq!(due(DAY - 1, 3), 4 * DAY);
    }
}
