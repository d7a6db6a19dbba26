//! The bucket's policy.

use std::collections::BTreeMap;

use auth::policy::{Effect, Policy, PolicyKind};
use auth::principal::PrincipalEntry;
use cloud::Context;
use serde::de::IgnoredAny;
use wire::Fault;

use crate::bucket::Bucket;
use crate::{api, fault};

/// The longest policy, in bytes.
const MAX_BYTES: usize = 20 * 1024;

/// Condition keys that narrow a grant to everyone so that it is public no more.
const NARROWING: [&str; 12] = [
    "aws:sourceip",
    "aws:sourcearn",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:sourceowner",
    "aws:sourceaccount",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:userid",
    "aws:principalarn",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:dataaccesspointarn",
];

/// Whether a policy lets everyone in, by AWS's meaning of public.
pub fn is_public(policy: &Policy) -> bool {
    policy.statements.iter().any(|statement| {
        let names_everyone = statement.principals.as_ref().is_some_and(|principals| {
            principals.is_negated
                || principals
                    .entries
                    .iter()
                    .any(|e| matches!(e, PrincipalEntry::Any))
        });
        let is_narrowed = || {
            statement.conditions.iter().any(|condition| {
                let shown = format!("{condition:?}").to_ascii_lowercase();
                NARROWING
                    .iter()
                    .any(|key| shown.contains(&format!("\"{key}\"")))
                    && !shown.contains("0.0.0.0/0")
                    && !shown.contains("ifexists")
            })
        };
        statement.effect == Effect::Allow && names_everyone && !is_narrowed()
    })
}

fn malformed(message: impl Into<String>) -> Fault {
    Fault::sender(400, "MalformedPolicy", message.into())
}

fn no_policy(bucket: &Bucket) -> Fault {
    Fault::sender(
        404,
        "NoSuchBucketPolicy",
        "The bucket policy does not exist",
    )
    .field("BucketName", bucket.name.as_str())
}

/// Every resource of a bucket's policy lies in the bucket.
fn check_resources(policy: &Policy, bucket: &Bucket) -> Result<(), Fault> {
    let arn = bucket.arn();
    for statement in &policy.statements {
        for pattern in statement.resources.iter().flat_map(|r| &r.patterns) {
            let text = pattern.as_str();
            let name = text.splitn(6, ':').nth(5).unwrap_or(text);
            let name = name.split('/').next().unwrap_or_default();
            let matches = text == "*"
                || name == bucket.name
                || auth::pattern::Pattern::new(name, false)
                    .matches(&bucket.name, &auth::pattern::Context::new());
            if !matches || !(text == "*" || text.starts_with("arn:")) {
                return Err(malformed("Policy has invalid resource")
                    .field("Detail", format!("{text} is not in {arn}")));
            }
        }
    }
    Ok(())
}

impl crate::S3 {
    /// `PutBucketPolicy`
    pub(crate) async fn put_policy(
        &self,
        ctx: &Context,
        input: api::PutBucketPolicyInput,
    ) -> Result<(), Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:PutBucketPolicy")?;
        let text = input.policy.as_deref().unwrap_or_default();
        if text.len() > MAX_BYTES {
            return Err(malformed(
                "Policy exceeds the maximum allowed document size.",
            ));
        }
        let text = text.trim();
        if !text.starts_with('{') {
            return Err(malformed(
                "Policies must be valid JSON and the first byte must be '{'",
            ));
        }
        let is_object = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text);
        if is_object.is_ok_and(|members| !members.contains_key("Statement")) {
            return Err(malformed("Missing required field Statement"));
        }
        let policy = Policy::parse(text, PolicyKind::Resource)
            .map_err(|error| malformed(error.to_string()))?;
        if policy.statements.iter().any(|s| s.principals.is_none()) {
            return Err(malformed("Missing required field Principal"));
        }
        if policy.statements.iter().any(|s| s.resources.is_none()) {
            return Err(malformed("Missing required field Resource"));
        }
        let excludes = |s: &auth::policy::Statement| {
            s.effect == Effect::Allow && s.principals.as_ref().is_some_and(|p| p.is_negated)
        };
        if policy.statements.iter().any(excludes) {
            return Err(malformed("Allow with NotPrincipal is not allowed."));
        }
        check_resources(&policy, &bucket)?;
        if bucket.public_access_block().block_public_policy && is_public(&policy) {
            return Err(fault::access_denied());
        }
        let text = text.to_owned();
        self.buckets
            .change(&bucket, |record, _| {
                record.policy = Some(text);
                Ok(())
            })
            .await
    }

    /// `GetBucketPolicy`
    pub(crate) async fn policy(
        &self,
        ctx: &Context,
        input: api::GetBucketPolicyInput,
    ) -> Result<api::GetBucketPolicyOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:GetBucketPolicy")?;
        let policy = bucket
            .record
            .policy
            .clone()
            .ok_or_else(|| no_policy(&bucket))?;
        Ok(api::GetBucketPolicyOutput {
            policy: Some(policy),
        })
    }

    /// `DeleteBucketPolicy`
    pub(crate) async fn delete_policy(
        &self,
        ctx: &Context,
        input: api::DeleteBucketPolicyInput,
    ) -> Result<(), Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:DeleteBucketPolicy")?;
        self.buckets
            .change(&bucket, |record, _| {
                record.policy = None;
                Ok(())
            })
            .await
    }

    /// `GetBucketPolicyStatus`
    pub(crate) async fn policy_status(
        &self,
        ctx: &Context,
        input: api::GetBucketPolicyStatusInput,
    ) -> Result<api::GetBucketPolicyStatusOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:GetBucketPolicyStatus")?;
        if bucket.record.policy.is_none() {
            return Err(no_policy(&bucket));
        }
        let is_public = Some(bucket.is_policy_public);
        Ok(api::GetBucketPolicyStatusOutput {
            policy_status: Some(api::PolicyStatus { is_public }),
        })
    }
}
