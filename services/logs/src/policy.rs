//! Policies that are kept and read back: of resources, accounts, indexes and data protection.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::group::{arn, name_in};
use crate::service::Logs;

/// A policy as it is stored; its kind and name are in its key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Policy {
    document: String,
    updated: i64,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    criteria: Option<String>,
}
impl Record for Policy {}

const MOST_RESOURCE_POLICIES: usize = 10;
const RESOURCE: &str = "resource";
const INDEX: &str = "index";
const PROTECTION: &str = "data-protection";

impl Logs {
    async fn change_policies<R>(
        &self,
        ctx: &Context,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["logs.policies", &ctx.account, &ctx.region];
        self.cloud.store.transact(Scope::new(&scope), f).await
    }

    fn policies_of(&self, ctx: &Context, kind: &str) -> Result<Vec<(String, Policy)>, Fault> {
        let view = self.cloud.store.read();
        let rows = view.range(
            &self.policies,
            Range::prefix(&(&ctx.account, &ctx.region, kind)),
        );
        Ok(rows
            .map(|row| row.map(|((_, _, _, name), p)| (name, p)))
            .collect::<Result<_, _>>()?)
    }

    async fn put_policy(
        &self,
        ctx: &Context,
        kind: &str,
        name: &str,
        policy: &Policy,
    ) -> Result<(), Fault> {
        if serde_json::from_str::<serde_json::Value>(&policy.document).is_err() {
            return Err(invalid_parameter_exception(
                "The policy document is not valid JSON.",
            ));
        }
        self.change_policies(ctx, |tx| {
            Ok(tx.put(
                &self.policies,
                &(&ctx.account, &ctx.region, kind, name),
                policy,
            )?)
        })
        .await
    }

    async fn remove_policy(
        &self,
        ctx: &Context,
        kind: &str,
        name: &str,
        missing: &'static str,
    ) -> Result<(), Fault> {
        self.change_policies(ctx, |tx| {
            let at = (&ctx.account, &ctx.region, kind, name);
            if !tx.contains(&self.policies, &at)? {
                return Err(resource_not_found_exception(missing));
            }
            tx.delete(&self.policies, &at);
            Ok(())
        })
        .await
    }

    pub(crate) async fn put_resource_policy(
        &self,
        ctx: &Context,
        input: PutResourcePolicyInput,
    ) -> Result<PutResourcePolicyOutput, Fault> {
        let name = input.policy_name.or(input.resource_arn).unwrap_or_default();
        let all = self.policies_of(ctx, RESOURCE)?;
        if all.len() >= MOST_RESOURCE_POLICIES && !all.iter().any(|(n, _)| *n == name) {
            return Err(limit_exceeded_exception("Resource limit exceeded."));
        }
        let policy = Policy {
            document: input.policy_document.unwrap_or_default(),
            updated: ctx.time.0,
            ..Policy::default()
        };
        self.put_policy(ctx, RESOURCE, &name, &policy).await?;
        Ok(PutResourcePolicyOutput {
            resource_policy: Some(resource_policy(name, policy)),
            ..Default::default()
        })
    }

    pub(crate) async fn describe_resource_policies(
        &self,
        ctx: &Context,
        _: DescribeResourcePoliciesInput,
    ) -> Result<DescribeResourcePoliciesOutput, Fault> {
        let all = self.policies_of(ctx, RESOURCE)?;
        let shown = all
            .into_iter()
            .map(|(name, policy)| resource_policy(name, policy));
        Ok(DescribeResourcePoliciesOutput {
            resource_policies: Some(shown.collect()),
            next_token: None,
        })
    }

    pub(crate) async fn delete_resource_policy(
        &self,
        ctx: &Context,
        input: DeleteResourcePolicyInput,
    ) -> Result<DeleteResourcePolicyOutput, Fault> {
        let name = input.policy_name.or(input.resource_arn).unwrap_or_default();
        let missing = "Policy with name does not exist.";
        self.remove_policy(ctx, RESOURCE, &name, missing)
            .await
            .map_err(|fault| match fault.is("ResourceNotFoundException") {
                true => resource_not_found_exception(format!(
                    "Policy with name [{name}] does not exist"
                )),
                false => fault,
            })?;
        Ok(DeleteResourcePolicyOutput {})
    }

    pub(crate) async fn put_account_policy(
        &self,
        ctx: &Context,
        input: PutAccountPolicyInput,
    ) -> Result<PutAccountPolicyOutput, Fault> {
        let policy = Policy {
            document: input.policy_document,
            updated: ctx.time.0,
            scope: Some(input.scope.unwrap_or_else(|| "ALL".into())),
            criteria: input.selection_criteria,
        };
        self.put_policy(ctx, &input.policy_type, &input.policy_name, &policy)
            .await?;
        let shown = account_policy(ctx, &input.policy_type, input.policy_name, policy);
        Ok(PutAccountPolicyOutput {
            account_policy: Some(shown),
            ..Default::default()
        })
    }

    pub(crate) async fn describe_account_policies(
        &self,
        ctx: &Context,
        input: DescribeAccountPoliciesInput,
    ) -> Result<DescribeAccountPoliciesOutput, Fault> {
        let mut all = self.policies_of(ctx, &input.policy_type)?;
        all.retain(|(name, _)| input.policy_name.as_ref().is_none_or(|n| n == name));
        let shown = all
            .into_iter()
            .map(|(name, policy)| account_policy(ctx, &input.policy_type, name, policy));
        Ok(DescribeAccountPoliciesOutput {
            account_policies: Some(shown.collect()),
            next_token: None,
        })
    }

    pub(crate) async fn delete_account_policy(
        &self,
        ctx: &Context,
        input: DeleteAccountPolicyInput,
    ) -> Result<DeleteAccountPolicyOutput, Fault> {
        let missing = "The specified account policy does not exist.";
        self.remove_policy(ctx, &input.policy_type, &input.policy_name, missing)
            .await?;
        Ok(DeleteAccountPolicyOutput::default())
    }

    /// The name of a group that must exist.
    fn group_meant(&self, ctx: &Context, identifier: &str) -> Result<String, Fault> {
        let name = name_in(identifier)?;
        self.group(&ctx.account, &ctx.region, &name)?;
        Ok(name)
    }

    pub(crate) async fn put_index_policy(
        &self,
        ctx: &Context,
        input: PutIndexPolicyInput,
    ) -> Result<PutIndexPolicyOutput, Fault> {
        let name = self.group_meant(ctx, &input.log_group_identifier)?;
        let policy = Policy {
            document: input.policy_document,
            updated: ctx.time.0,
            ..Policy::default()
        };
        self.put_policy(ctx, INDEX, &name, &policy).await?;
        Ok(PutIndexPolicyOutput {
            index_policy: Some(index_policy(ctx, &name, policy)),
        })
    }

    pub(crate) async fn describe_index_policies(
        &self,
        ctx: &Context,
        input: DescribeIndexPoliciesInput,
    ) -> Result<DescribeIndexPoliciesOutput, Fault> {
        let mut shown = Vec::new();
        for identifier in &input.log_group_identifiers {
            let name = self.group_meant(ctx, identifier)?;
            let found = self
                .cloud
                .store
                .read()
                .get(&self.policies, &(&ctx.account, &ctx.region, INDEX, &name))?;
            shown.extend(found.map(|policy| index_policy(ctx, &name, policy)));
        }
        Ok(DescribeIndexPoliciesOutput {
            index_policies: Some(shown),
            next_token: None,
        })
    }

    pub(crate) async fn delete_index_policy(
        &self,
        ctx: &Context,
        input: DeleteIndexPolicyInput,
    ) -> Result<DeleteIndexPolicyOutput, Fault> {
        let name = self.group_meant(ctx, &input.log_group_identifier)?;
        self.remove_policy(
            ctx,
            INDEX,
            &name,
            "The specified index policy does not exist.",
        )
        .await?;
        Ok(DeleteIndexPolicyOutput {})
    }

    pub(crate) async fn put_data_protection_policy(
        &self,
        ctx: &Context,
        input: PutDataProtectionPolicyInput,
    ) -> Result<PutDataProtectionPolicyOutput, Fault> {
        let name = self.group_meant(ctx, &input.log_group_identifier)?;
        let policy = Policy {
            document: input.policy_document,
            updated: ctx.time.0,
            ..Policy::default()
        };
        self.put_policy(ctx, PROTECTION, &name, &policy).await?;
        Ok(PutDataProtectionPolicyOutput {
            log_group_identifier: Some(input.log_group_identifier),
            policy_document: Some(policy.document),
            last_updated_time: Some(policy.updated),
        })
    }

    pub(crate) async fn get_data_protection_policy(
        &self,
        ctx: &Context,
        input: GetDataProtectionPolicyInput,
    ) -> Result<GetDataProtectionPolicyOutput, Fault> {
        let name = self.group_meant(ctx, &input.log_group_identifier)?;
        let found = self.cloud.store.read().get(
            &self.policies,
            &(&ctx.account, &ctx.region, PROTECTION, &name),
        )?;
        Ok(match found {
            Some(policy) => GetDataProtectionPolicyOutput {
                log_group_identifier: Some(input.log_group_identifier),
                policy_document: Some(policy.document),
                last_updated_time: Some(policy.updated),
            },
            None => GetDataProtectionPolicyOutput::default(),
        })
    }

    pub(crate) async fn delete_data_protection_policy(
        &self,
        ctx: &Context,
        input: DeleteDataProtectionPolicyInput,
    ) -> Result<DeleteDataProtectionPolicyOutput, Fault> {
        let name = self.group_meant(ctx, &input.log_group_identifier)?;
        self.remove_policy(
            ctx,
            PROTECTION,
            &name,
            "The specified data protection policy does not exist.",
        )
        .await?;
        Ok(DeleteDataProtectionPolicyOutput {})
    }
}

fn resource_policy(name: String, policy: Policy) -> ResourcePolicy {
    ResourcePolicy {
        policy_name: Some(name),
        policy_document: Some(policy.document),
        last_updated_time: Some(policy.updated),
        ..ResourcePolicy::default()
    }
}

fn account_policy(ctx: &Context, kind: &str, name: String, policy: Policy) -> AccountPolicy {
    AccountPolicy {
        policy_name: Some(name),
        policy_document: Some(policy.document),
        last_updated_time: Some(policy.updated),
        policy_type: Some(kind.to_owned()),
        scope: policy.scope,
        selection_criteria: policy.criteria,
        account_id: Some(ctx.account.clone()),
    }
}

fn index_policy(ctx: &Context, group: &str, policy: Policy) -> IndexPolicy {
    IndexPolicy {
        log_group_identifier: Some(arn(&ctx.account, &ctx.region, group)),
        last_update_time: Some(policy.updated),
        policy_document: Some(policy.document),
        policy_name: None,
        source: Some("LOG_GROUP".into()),
    }
}
