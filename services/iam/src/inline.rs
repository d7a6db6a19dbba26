//! Inline policies of users, groups and roles.

use auth::policy::PolicyKind;
use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::entity::{Entity, check_document, encoded};
use crate::errors::*;
use crate::group::Group;
use crate::page::{Page, page};
use crate::role::Role;
use crate::service::Iam;
use crate::user::User;

fn no_policy<E: Entity>(name: &str) -> Fault {
    no_such_entity_exception(format!(
        "The {} policy with name {name} cannot be found.",
        E::NOUN
    ))
}

/// All documents of one entity together; AWS does not count white space.
fn quota<E: Entity>() -> usize {
    match E::NOUN {
        "user" => 2048,
        "group" => 5120,
        _ => 10_240,
    }
}

impl Iam {
    async fn put_inline<E: Entity>(
        &self,
        ctx: &Context,
        of: &str,
        name: String,
        document: String,
    ) -> Result<(), Fault> {
        check_document(&document, PolicyKind::Identity)?;
        self.change(&ctx.account, of, |_, entity: &mut E| {
            let inline = &mut entity.policies_mut().inline;
            inline.insert(name, document);
            let size: usize = inline
                .values()
                .map(|d| d.chars().filter(|c| !c.is_whitespace()).count())
                .sum();
            if size > quota::<E>() {
                return Err(limit_exceeded_exception(format!(
                    "Maximum policy size of {} bytes exceeded for {} {of}",
                    quota::<E>(),
                    E::NOUN
                )));
            }
            Ok(())
        })
        .await
    }

    fn inline<E: Entity>(&self, ctx: &Context, of: &str, name: &str) -> Result<String, Fault> {
        let entity: E = self.find(&ctx.account, of)?;
        entity
            .policies()
            .inline
            .get(name)
            .map(|d| encoded(d))
            .ok_or_else(|| no_policy::<E>(name))
    }

    async fn delete_inline<E: Entity>(
        &self,
        ctx: &Context,
        of: &str,
        name: &str,
    ) -> Result<(), Fault> {
        self.change(&ctx.account, of, |_, entity: &mut E| {
            entity
                .policies_mut()
                .inline
                .remove(name)
                .map(|_| ())
                .ok_or_else(|| no_policy::<E>(name))
        })
        .await
    }

    fn inline_names<E: Entity>(
        &self,
        ctx: &Context,
        of: &str,
        marker: Option<&str>,
        max_items: Option<i32>,
    ) -> Result<Page<String>, Fault> {
        let entity: E = self.find(&ctx.account, of)?;
        let names: Vec<String> = entity.policies().inline.keys().cloned().collect();
        page("ListInlinePolicies", names, marker, max_items, Clone::clone)
    }
}

macro_rules! inline {
    ($entity:ident, $name:ident, $put:ident: $put_in:ident => $put_out:ident, $get:ident: $get_in:ident => $get_out:ident,
     $delete:ident: $delete_in:ident => $delete_out:ident, $list:ident: $list_in:ident => $list_out:ident) => {
        impl Iam {
            pub(crate) async fn $put(
                &self,
                ctx: &Context,
                input: $put_in,
            ) -> Result<$put_out, Fault> {
                self.put_inline::<$entity>(
                    ctx,
                    &input.$name,
                    input.policy_name,
                    input.policy_document,
                )
                .await?;
                Ok($put_out {})
            }
            pub(crate) async fn $get(
                &self,
                ctx: &Context,
                input: $get_in,
            ) -> Result<$get_out, Fault> {
                let policy_document =
                    self.inline::<$entity>(ctx, &input.$name, &input.policy_name)?;
                Ok($get_out {
                    $name: input.$name,
                    policy_name: input.policy_name,
                    policy_document,
                })
            }
            pub(crate) async fn $delete(
                &self,
                ctx: &Context,
                input: $delete_in,
            ) -> Result<$delete_out, Fault> {
                self.delete_inline::<$entity>(ctx, &input.$name, &input.policy_name)
                    .await?;
                Ok($delete_out {})
            }
            pub(crate) async fn $list(
                &self,
                ctx: &Context,
                input: $list_in,
            ) -> Result<$list_out, Fault> {
                let page = self.inline_names::<$entity>(
                    ctx,
                    &input.$name,
                    input.marker.as_deref(),
                    input.max_items,
                )?;
                Ok($list_out {
                    policy_names: page.items,
                    is_truncated: page.is_truncated,
                    marker: page.marker,
                })
            }
        }
    };
}

inline!(Role, role_name, put_role_policy: PutRolePolicyInput => PutRolePolicyOutput,
    get_role_policy: GetRolePolicyInput => GetRolePolicyOutput,
    delete_role_policy: DeleteRolePolicyInput => DeleteRolePolicyOutput,
    list_role_policies: ListRolePoliciesInput => ListRolePoliciesOutput);
inline!(User, user_name, put_user_policy: PutUserPolicyInput => PutUserPolicyOutput,
    get_user_policy: GetUserPolicyInput => GetUserPolicyOutput,
    delete_user_policy: DeleteUserPolicyInput => DeleteUserPolicyOutput,
    list_user_policies: ListUserPoliciesInput => ListUserPoliciesOutput);
inline!(Group, group_name, put_group_policy: PutGroupPolicyInput => PutGroupPolicyOutput,
    get_group_policy: GetGroupPolicyInput => GetGroupPolicyOutput,
    delete_group_policy: DeleteGroupPolicyInput => DeleteGroupPolicyOutput,
    list_group_policies: ListGroupPoliciesInput => ListGroupPoliciesOutput);
