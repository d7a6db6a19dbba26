//! Replication: versions that a rule names are copied to its destination, after the write and across crashes.

use cloud::{Arn, Context, Fact};
use serde::{Deserialize, Serialize};
use store::Tx;
use wire::{Fault, Timestamp};

use crate::bucket::{Bucket, Ownership, Versioning};
use crate::event::Event;
use crate::object::{Origin, Version};
use crate::{api, configuration, fault};

/// Why nothing is copied to a bucket without versions.
const UNVERSIONED: &str = "Destination bucket must have versioning enabled.";

/// A version that is to be replicated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replicate {
    account: String,
    bucket: String,
    key: String,
    version: String,
}

impl Fact for Replicate {
    const NAME: &'static str = "s3.Replicate";
}

fn matches(rule: &api::ReplicationRule, key: &str, version: &Version) -> bool {
    if rule.status != "Enabled" {
        return false;
    }
    let filter = rule.filter.as_ref();
    let and = filter.and_then(|f| f.and.as_ref());
    let prefix = rule
        .prefix
        .as_deref()
        .or_else(|| filter.and_then(|f| f.prefix.as_deref()))
        .or_else(|| and.and_then(|a| a.prefix.as_deref()))
        .unwrap_or_default();
    let mut tags = filter
        .and_then(|f| f.tag.as_ref())
        .into_iter()
        .chain(and.and_then(|a| a.tags.as_ref()).into_iter().flatten());
    let is_tagged = tags.all(|t| {
        version
            .tags
            .iter()
            .any(|(k, v)| *k == t.key && *v == t.value)
    });
    // Rules of the first schema have no filter and always replicate markers.
    let takes_markers = match &rule.delete_marker_replication {
        Some(markers) => markers.status.as_deref() == Some("Enabled"),
        None => rule.filter.is_none(),
    };
    let criteria = rule.source_selection_criteria.as_ref();
    let takes_kms = criteria
        .and_then(|c| c.sse_kms_encrypted_objects.as_ref())
        .is_some_and(|s| s.status == "Enabled");
    key.starts_with(prefix)
        && is_tagged
        && (!version.is_delete_marker || takes_markers)
        && (takes_kms || version.encryption.kms_key().is_none())
}

/// The rules that apply to a version, one per destination: the one of the highest priority.
fn rules<'b>(bucket: &'b Bucket, key: &str, version: &Version) -> Vec<&'b api::ReplicationRule> {
    let mut found: Vec<&api::ReplicationRule> = bucket
        .replication
        .iter()
        .flat_map(|r| &r.rules)
        .filter(|r| matches(r, key, version))
        .collect();
    found.sort_by_key(|rule| std::cmp::Reverse(rule.priority.unwrap_or(0)));
    let mut chosen: Vec<&api::ReplicationRule> = Vec::new();
    for rule in found {
        if !chosen
            .iter()
            .any(|other| other.destination.bucket == rule.destination.bucket)
        {
            chosen.push(rule);
        }
    }
    chosen
}

/// What the event of a failed replication tells:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication-metrics-events.html>
fn failure(rule: &api::ReplicationRule, version: &Version, fault: &Fault) -> serde_json::Value {
    let mut failure = serde_json::json!({
        "replicationRuleId": rule.id,
        "destinationBucket": rule.destination.bucket,
        "s3Operation": "OBJECT_PUT",
        "requestTime": Timestamp(version.modified).iso8601_millis(),
    });
    let reason = if fault.is("NoSuchBucket") {
        Some("DstBucketNotFound")
    } else if fault.is("AccessDenied") {
        Some("DstPutObjectNotPermitted")
    } else {
        (*fault.message == *UNVERSIONED).then_some("DstBucketUnversioned")
    };
    if let Some(reason) = reason {
        failure["failureReason"] = reason.into();
    }
    failure
}

impl crate::S3 {
    /// Whether a rule asks to replicate that version.
    pub(crate) fn is_replicated(&self, bucket: &Bucket, key: &str, version: &Version) -> bool {
        bucket.replication.is_some()
            && bucket.record.versioning == Versioning::Enabled
            && version.replication.as_deref() != Some("REPLICA")
            && !rules(bucket, key, version).is_empty()
    }

    /// Replicates a version once the transaction commits.
    pub(crate) fn replicate_later(
        &self,
        tx: &mut Tx<'_>,
        bucket: &Bucket,
        key: &str,
        version: &Version,
    ) -> Result<(), Fault> {
        let fact = Replicate {
            account: bucket.account.clone(),
            bucket: bucket.name.clone(),
            key: key.to_owned(),
            version: version.shown_id().to_owned(),
        };
        self.cloud.facts.emit(tx, &fact)
    }

    /// Carries out a fact: copies to every destination, then notes how it went.
    pub(crate) async fn replicate(&self, fact: Replicate) -> Result<(), Fault> {
        let Some(bucket) = self
            .buckets
            .find(&fact.bucket)
            .filter(|b| b.account == fact.account)
        else {
            return Ok(());
        };
        let view = self.objects.store.read();
        let Some(found) = self.look_up(&view, &bucket, &fact.key, Some(&fact.version))? else {
            return Ok(());
        };
        let mut failures = Vec::new();
        for rule in rules(&bucket, &fact.key, &found.version) {
            if let Err(fault) = self.replicate_to(&bucket, &fact, rule).await {
                if fault.cause.is_some() {
                    return Err(fault);
                }
                tracing::warn!(bucket = fact.bucket, key = fact.key, %fault, "a version could not be replicated");
                failures.push(failure(rule, &found.version, &fault));
            }
        }
        if found.version.is_delete_marker {
            return Ok(());
        }
        let ctx = Context::internal(
            &bucket.account,
            &bucket.record.region,
            "s3.amazonaws.com",
            self.cloud.clock.now(),
        );
        let noted = self
            .amend(&bucket, &fact.key, Some(&fact.version), |tx, version| {
                let status = if failures.is_empty() {
                    "COMPLETED"
                } else {
                    "FAILED"
                };
                version.replication = Some(status.to_owned());
                for failure in &failures {
                    let event = Event {
                        name: "Replication:OperationFailedReplication",
                        key: &fact.key,
                        version: Some(version),
                        replication: Some(failure.clone()),
                    };
                    self.announce_event(tx, &ctx, &bucket, &event)?;
                }
                Ok(())
            })
            .await;
        match noted {
            Err(fault) if fault.status < 500 => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn replicate_to(
        &self,
        bucket: &std::sync::Arc<Bucket>,
        fact: &Replicate,
        rule: &api::ReplicationRule,
    ) -> Result<(), Fault> {
        let arn: Arn = rule
            .destination
            .bucket
            .parse()
            .map_err(|_| fault::invalid_request("the destination is no bucket"))?;
        let to = self
            .buckets
            .get(&arn.resource, rule.destination.account.as_deref())?;
        if to.record.versioning != Versioning::Enabled {
            return Err(fault::invalid_request(UNVERSIONED));
        }
        let now = self.cloud.clock.now();
        let ctx = Context::internal(&to.account, &to.record.region, "s3.amazonaws.com", now);
        let view = self.objects.store.read();
        let Some(found) = self.look_up(&view, bucket, &fact.key, Some(&fact.version))? else {
            return Ok(());
        };
        let gives_away = rule
            .destination
            .access_control_translation
            .as_ref()
            .is_some_and(|t| t.owner == "Destination");
        let owner = if gives_away || to.record.ownership == Some(Ownership::BucketOwnerEnforced) {
            to.account.clone()
        } else {
            found.version.owner.clone()
        };
        if found.version.is_delete_marker {
            let mut marker = Version {
                is_delete_marker: true,
                owner,
                ..Version::default()
            };
            marker.replicate(Origin::of(&found.version));
            let scope = ["s3", &to.name];
            return self
                .objects
                .store
                .transact(store::Scope::new(&scope), |tx| {
                    self.buckets.require(tx, &to)?;
                    self.objects.insert(tx, &to, &fact.key, &mut marker, None)?;
                    self.announce(
                        tx,
                        &ctx,
                        &to,
                        "ObjectRemoved:DeleteMarkerCreated",
                        &fact.key,
                        &marker,
                    )
                })
                .await;
        }
        match self
            .copy_replica(&ctx, bucket.clone(), &fact.key, found, &to, rule, &owner)
            .await?
        {
            Some(_) => Ok(()),
            None => {
                let mut fault = fault::operation_aborted();
                fault.cause = Some("the source changed while it was read".into());
                Err(fault)
            }
        }
    }

    /// `PutBucketReplication`
    pub(crate) async fn put_replication(
        &self,
        ctx: &Context,
        input: api::PutBucketReplicationInput,
    ) -> Result<(), Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:PutReplicationConfiguration")?;
        if bucket.record.versioning != Versioning::Enabled {
            return Err(fault::invalid_request(
                "Versioning must be 'Enabled' on the bucket to apply a replication configuration",
            ));
        }
        let mut document = input.replication_configuration;
        if document.rules.is_empty() || document.rules.len() > 1000 {
            return Err(fault::malformed_xml());
        }
        let role: Result<Arn, _> = document.role.parse();
        if !role.is_ok_and(|arn| arn.service == "iam") {
            return Err(fault::invalid_argument(
                "Invalid Role specified in replication configuration",
                "Role",
                document.role,
            ));
        }
        for rule in &mut document.rules {
            if rule.status != "Enabled" && rule.status != "Disabled" {
                return Err(fault::malformed_xml());
            }
            let arn: Result<Arn, _> = rule.destination.bucket.parse();
            let destination = arn
                .ok()
                .filter(|a| a.service == "s3")
                .and_then(|a| self.buckets.find(&a.resource));
            if destination.is_none_or(|b| b.record.versioning != Versioning::Enabled) {
                return Err(fault::invalid_request(
                    "Destination bucket must have versioning enabled.",
                ));
            }
            if rule.filter.is_some() && rule.delete_marker_replication.is_none() {
                return Err(fault::invalid_request(
                    "DeleteMarkerReplication must be specified for this version of Cross Region Replication configuration schema. Please refer to S3 Developer Guide for more information.",
                ));
            }
            if rule.filter.is_some() && rule.priority.is_none() {
                return Err(fault::invalid_request(
                    "Priority must be specified for this version of Cross Region Replication configuration schema. Please refer to S3 Developer Guide for more information.",
                ));
            }
            rule.id.get_or_insert_with(cloud::ids::uuid);
        }
        let text = configuration::encode(&document);
        self.buckets
            .change(&bucket, |record, _| {
                record.documents.insert("replication".to_owned(), text);
                Ok(())
            })
            .await
    }
}
