//! Versions of managed policies: five at most, of which one is in force.

use auth::policy::PolicyKind;
use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::entity::check_document;
use crate::errors::*;
use crate::managed;
use crate::policy::{Version, aws_version, check_size, no_version};
use crate::service::Iam;

const MOST_VERSIONS: usize = 5;

impl Iam {
    pub(crate) async fn create_policy_version(
        &self,
        ctx: &Context,
        input: CreatePolicyVersionInput,
    ) -> Result<CreatePolicyVersionOutput, Fault> {
        check_document(&input.policy_document, PolicyKind::Identity)?;
        check_size(&input.policy_document)?;
        let now = ctx.time.whole_second().0;
        let version = self.change_policy(&ctx.account, &input.policy_arn, |_, policy| {
            if policy.versions.len() >= MOST_VERSIONS {
                return Err(limit_exceeded_exception(
                    "A managed policy can have up to 5 versions. Before you create a new version, you must delete an \
                     existing version.",
                ));
            }
            policy.last += 1;
            let version = Version { number: policy.last, document: input.policy_document, created: now };
            if input.set_as_default.unwrap_or(false) {
                policy.default = version.number;
            }
            policy.updated = now;
            let shown = policy.version(&version, false);
            policy.versions.push(version);
            Ok(shown)
        });
        Ok(CreatePolicyVersionOutput {
            policy_version: Some(version.await?),
        })
    }

    pub(crate) async fn get_policy_version(
        &self,
        ctx: &Context,
        input: GetPolicyVersionInput,
    ) -> Result<GetPolicyVersionOutput, Fault> {
        let (arn, id) = (&input.policy_arn, &input.version_id);
        if let Some(policy) = managed::find(arn) {
            if policy.default_version_id != id {
                return Err(no_version(arn, id));
            }
            return Ok(GetPolicyVersionOutput {
                policy_version: Some(aws_version(&policy, true)),
            });
        }
        let policy = self.policy(&ctx.account, arn)?;
        let version = policy
            .versions
            .iter()
            .find(|v| format!("v{}", v.number) == *id)
            .ok_or_else(|| no_version(arn, id))?;
        Ok(GetPolicyVersionOutput {
            policy_version: Some(policy.version(version, true)),
        })
    }

    pub(crate) async fn delete_policy_version(
        &self,
        ctx: &Context,
        input: DeletePolicyVersionInput,
    ) -> Result<DeletePolicyVersionOutput, Fault> {
        let (arn, id) = (&input.policy_arn, &input.version_id);
        self.change_policy(&ctx.account, arn, |_, policy| {
            let at = policy
                .versions
                .iter()
                .position(|v| format!("v{}", v.number) == *id)
                .ok_or_else(|| no_version(arn, id))?;
            if policy.versions[at].number == policy.default {
                return Err(delete_conflict_exception(
                    "Cannot delete the default version of a policy.",
                ));
            }
            policy.versions.remove(at);
            Ok(())
        })
        .await?;
        Ok(DeletePolicyVersionOutput {})
    }

    pub(crate) async fn list_policy_versions(
        &self,
        ctx: &Context,
        input: ListPolicyVersionsInput,
    ) -> Result<ListPolicyVersionsOutput, Fault> {
        let versions = match managed::find(&input.policy_arn) {
            Some(policy) => vec![aws_version(&policy, false)],
            None => {
                let policy = self.policy(&ctx.account, &input.policy_arn)?;
                // The newest comes first.
                policy
                    .versions
                    .iter()
                    .rev()
                    .map(|v| policy.version(v, false))
                    .collect()
            }
        };
        Ok(ListPolicyVersionsOutput {
            versions: Some(versions),
            is_truncated: Some(false),
            marker: None,
        })
    }

    pub(crate) async fn set_default_policy_version(
        &self,
        ctx: &Context,
        input: SetDefaultPolicyVersionInput,
    ) -> Result<SetDefaultPolicyVersionOutput, Fault> {
        let (arn, id) = (&input.policy_arn, &input.version_id);
        self.change_policy(&ctx.account, arn, |_, policy| {
            let found = policy
                .versions
                .iter()
                .find(|v| format!("v{}", v.number) == *id);
            policy.default = found.ok_or_else(|| no_version(arn, id))?.number;
            Ok(())
        })
        .await?;
        Ok(SetDefaultPolicyVersionOutput {})
    }
}
