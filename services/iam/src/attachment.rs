//! Managed policies on users, groups and roles: attached, or as a boundary.

use cloud::Context;
use store::{Read, Tx};
use wire::Fault;

use crate::api::*;
use crate::entity::{Entity, key};
use crate::errors::*;
use crate::group::Group;
use crate::managed;
use crate::page::{Page, page};
use crate::policy::{Uses, no_policy};
use crate::role::Role;
use crate::service::Iam;
use crate::user::User;

/// Managed policies that one user, group or role may have.
const MOST: usize = 10;

impl Iam {
    /// Whether a policy exists, of the account or of AWS.
    pub(crate) fn policy_exists(
        &self,
        reader: &impl Read,
        account: &str,
        arn: &str,
    ) -> Result<bool, Fault> {
        Ok(managed::exists(arn) || reader.contains(&self.policies, &(account, &key(arn)))?)
    }

    /// Refuses a boundary that is no policy.
    pub(crate) fn check_boundary(
        &self,
        tx: &Tx<'_>,
        account: &str,
        arn: &str,
    ) -> Result<(), Fault> {
        if !arn.starts_with("arn:") {
            let message = format!("Value ({arn}) passed in for permissions boundary is invalid");
            return Err(invalid_input_exception(message));
        }
        if self.policy_exists(tx, account, arn)? {
            return Ok(());
        }
        Err(no_such_entity_exception(format!(
            "Scope ARN: {arn} does not exist or is not attachable."
        )))
    }

    /// Counts how often a policy is used.
    pub(crate) fn count(
        &self,
        tx: &mut Tx<'_>,
        account: &str,
        arn: &str,
        f: impl FnOnce(&mut Uses),
    ) -> Result<(), Fault> {
        let at = (account, &key(arn));
        let mut uses: Uses = tx.get(&self.uses, &at)?.unwrap_or_default();
        f(&mut uses);
        if uses.attachments <= 0 && uses.boundaries <= 0 {
            tx.delete(&self.uses, &at);
            return Ok(());
        }
        Ok(tx.put(&self.uses, &at, &uses)?)
    }

    async fn attach<E: Entity>(&self, ctx: &Context, of: &str, arn: &str) -> Result<(), Fault> {
        let account = ctx.account.as_str();
        check_arn(arn)?;
        self.change(account, of, |tx, entity: &mut E| {
            if !self.policy_exists(tx, account, arn)? {
                return Err(no_such_entity_exception(format!(
                    "Policy {arn} does not exist or is not attachable."
                )));
            }
            let managed = &mut entity.policies_mut().managed;
            if managed.iter().any(|a| a == arn) {
                return Ok(());
            }
            if managed.len() >= MOST {
                return Err(limit_exceeded_exception(format!(
                    "Cannot exceed quota for PoliciesPer{}: {MOST}",
                    E::KIND
                )));
            }
            managed.push(arn.to_owned());
            self.count(tx, account, arn, |uses| uses.attachments += 1)
        })
        .await
    }

    async fn detach<E: Entity>(&self, ctx: &Context, of: &str, arn: &str) -> Result<(), Fault> {
        let account = ctx.account.as_str();
        check_arn(arn)?;
        self.change(account, of, |tx, entity: &mut E| {
            let managed = &mut entity.policies_mut().managed;
            let before = managed.len();
            managed.retain(|a| a != arn);
            if managed.len() == before {
                return Err(no_policy(arn));
            }
            self.count(tx, account, arn, |uses| uses.attachments -= 1)
        })
        .await
    }

    fn attached<E: Entity>(
        &self,
        ctx: &Context,
        of: &str,
        prefix: Option<String>,
        marker: Option<&str>,
        max_items: Option<i32>,
    ) -> Result<Page<AttachedPolicy>, Fault> {
        let entity: E = self.find(&ctx.account, of)?;
        let prefix = prefix.unwrap_or_else(|| "/".into());
        let mut all = shown(&entity.policies().managed);
        all.retain(|p| {
            p.policy_arn
                .as_deref()
                .is_some_and(|arn| managed::path_in(arn).starts_with(&prefix))
        });
        all.sort_by(|a, b| a.policy_arn.cmp(&b.policy_arn));
        page("ListAttachedPolicies", all, marker, max_items, |p| {
            p.policy_arn.clone().unwrap_or_default()
        })
    }

    async fn set_boundary<E: Entity>(
        &self,
        ctx: &Context,
        of: &str,
        arn: Option<String>,
    ) -> Result<(), Fault> {
        let account = ctx.account.as_str();
        self.change(account, of, |tx, entity: &mut E| {
            if let Some(arn) = &arn {
                self.check_boundary(tx, account, arn)?;
                self.count(tx, account, arn, |uses| uses.boundaries += 1)?;
            }
            if let Some(old) = std::mem::replace(&mut entity.policies_mut().boundary, arn) {
                self.count(tx, account, &old, |uses| uses.boundaries -= 1)?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn put_role_permissions_boundary(
        &self,
        ctx: &Context,
        input: PutRolePermissionsBoundaryInput,
    ) -> Result<PutRolePermissionsBoundaryOutput, Fault> {
        self.set_boundary::<Role>(ctx, &input.role_name, Some(input.permissions_boundary))
            .await?;
        Ok(PutRolePermissionsBoundaryOutput {})
    }

    pub(crate) async fn delete_role_permissions_boundary(
        &self,
        ctx: &Context,
        input: DeleteRolePermissionsBoundaryInput,
    ) -> Result<DeleteRolePermissionsBoundaryOutput, Fault> {
        self.set_boundary::<Role>(ctx, &input.role_name, None)
            .await?;
        Ok(DeleteRolePermissionsBoundaryOutput {})
    }

    pub(crate) async fn put_user_permissions_boundary(
        &self,
        ctx: &Context,
        input: PutUserPermissionsBoundaryInput,
    ) -> Result<PutUserPermissionsBoundaryOutput, Fault> {
        self.set_boundary::<User>(ctx, &input.user_name, Some(input.permissions_boundary))
            .await?;
        Ok(PutUserPermissionsBoundaryOutput {})
    }

    pub(crate) async fn delete_user_permissions_boundary(
        &self,
        ctx: &Context,
        input: DeleteUserPermissionsBoundaryInput,
    ) -> Result<DeleteUserPermissionsBoundaryOutput, Fault> {
        self.set_boundary::<User>(ctx, &input.user_name, None)
            .await?;
        Ok(DeleteUserPermissionsBoundaryOutput {})
    }
}

/// Attached policies as answers have them.
pub(crate) fn shown(arns: &[String]) -> Vec<AttachedPolicy> {
    arns.iter()
        .map(|arn| AttachedPolicy {
            policy_name: Some(arn.rsplit('/').next().unwrap_or_default().to_owned()),
            policy_arn: Some(arn.clone()),
        })
        .collect()
}

fn check_arn(arn: &str) -> Result<(), Fault> {
    if arn.starts_with("arn:") {
        return Ok(());
    }
    Err(Fault::sender(
        400,
        "ValidationError",
        "Invalid ARN:  Could not be parsed!",
    ))
}

macro_rules! attachments {
    ($entity:ident, $name:ident, $attach:ident: $attach_in:ident => $attach_out:ident,
     $detach:ident: $detach_in:ident => $detach_out:ident, $list:ident: $list_in:ident => $list_out:ident) => {
        impl Iam {
            pub(crate) async fn $attach(
                &self,
                ctx: &Context,
                input: $attach_in,
            ) -> Result<$attach_out, Fault> {
                self.attach::<$entity>(ctx, &input.$name, &input.policy_arn)
                    .await?;
                Ok($attach_out {})
            }
            pub(crate) async fn $detach(
                &self,
                ctx: &Context,
                input: $detach_in,
            ) -> Result<$detach_out, Fault> {
                self.detach::<$entity>(ctx, &input.$name, &input.policy_arn)
                    .await?;
                Ok($detach_out {})
            }
            pub(crate) async fn $list(
                &self,
                ctx: &Context,
                input: $list_in,
            ) -> Result<$list_out, Fault> {
                let page = self.attached::<$entity>(
                    ctx,
                    &input.$name,
                    input.path_prefix,
                    input.marker.as_deref(),
                    input.max_items,
                )?;
                Ok($list_out {
                    attached_policies: Some(page.items),
                    is_truncated: page.is_truncated,
                    marker: page.marker,
                })
            }
        }
    };
}

attachments!(Role, role_name, attach_role_policy: AttachRolePolicyInput => AttachRolePolicyOutput,
    detach_role_policy: DetachRolePolicyInput => DetachRolePolicyOutput,
    list_attached_role_policies: ListAttachedRolePoliciesInput => ListAttachedRolePoliciesOutput);
attachments!(User, user_name, attach_user_policy: AttachUserPolicyInput => AttachUserPolicyOutput,
    detach_user_policy: DetachUserPolicyInput => DetachUserPolicyOutput,
    list_attached_user_policies: ListAttachedUserPoliciesInput => ListAttachedUserPoliciesOutput);
attachments!(Group, group_name, attach_group_policy: AttachGroupPolicyInput => AttachGroupPolicyOutput,
    detach_group_policy: DetachGroupPolicyInput => DetachGroupPolicyOutput,
    list_attached_group_policies: ListAttachedGroupPoliciesInput => ListAttachedGroupPoliciesOutput);
