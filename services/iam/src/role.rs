//! Roles.

use auth::account::IdKind;
use auth::policy::PolicyKind;
use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Read, Record};
use wire::{Fault, Timestamp};

use crate::api::{self, *};
use crate::entity::{
    Entity, Policies, arn_of, boundary, check_document, encoded, key, new_id, path_of,
};
use crate::errors::*;
use crate::page::page;
use crate::service::{ByName, Iam};
use crate::tag::{Tags, merged, shown};

/// A role as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) created: i64,
    /// The trust policy.
    pub(crate) trust: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// Seconds.
    pub(crate) max_session: i32,
    #[serde(default)]
    pub(crate) policies: Policies,
    #[serde(default)]
    pub(crate) tags: Tags,
    /// The service that alone may change it.
    #[serde(default)]
    pub(crate) linked_to: Option<String>,
}
impl Record for Role {}

impl Entity for Role {
    const NOUN: &'static str = "role";
    const KIND: &'static str = "Role";
    fn table(iam: &Iam) -> ByName<Role> {
        iam.roles
    }
    fn policies(&self) -> &Policies {
        &self.policies
    }
    fn policies_mut(&mut self) -> &mut Policies {
        &mut self.policies
    }
    fn check_modifiable(&self) -> Result<(), Fault> {
        match &self.linked_to {
            Some(service) => Err(unmodifiable_entity_exception(format!(
                "Cannot perform the operation on the protected role '{}' - this role is only modifiable by AWS: {service}",
                self.name
            ))),
            None => Ok(()),
        }
    }
}

impl Role {
    /// As listings show it: without tags and boundary.
    pub(crate) fn listed(&self) -> api::Role {
        api::Role {
            path: self.path.clone(),
            role_name: self.name.clone(),
            role_id: self.id.clone(),
            arn: self.arn.clone(),
            create_date: Timestamp(self.created),
            assume_role_policy_document: Some(encoded(&self.trust)),
            description: self.description.clone(),
            max_session_duration: Some(self.max_session),
            ..api::Role::default()
        }
    }

    /// As it is shown alone.
    pub(crate) fn whole(&self) -> api::Role {
        api::Role {
            permissions_boundary: boundary(&self.policies),
            tags: shown(&self.tags),
            role_last_used: Some(RoleLastUsed::default()),
            ..self.listed()
        }
    }
}

impl Iam {
    pub(crate) async fn create_role(
        &self,
        ctx: &Context,
        input: CreateRoleInput,
    ) -> Result<CreateRoleOutput, Fault> {
        check_document(&input.assume_role_policy_document, PolicyKind::Trust)?;
        let path = path_of(input.path)?;
        let account = ctx.account.as_str();
        let role = Role {
            arn: arn_of(ctx, format!("role{path}{}", input.role_name)),
            id: new_id(IdKind::Role, account),
            name: input.role_name,
            path,
            created: ctx.time.whole_second().0,
            trust: input.assume_role_policy_document,
            description: input.description,
            max_session: input.max_session_duration.unwrap_or(3600),
            policies: Policies {
                boundary: input.permissions_boundary,
                ..Policies::default()
            },
            tags: merged(&Tags::new(), input.tags.unwrap_or_default())?,
            linked_to: None,
        };
        self.insert_role(account, &role).await?;
        // The answer to a creation has neither.
        Ok(CreateRoleOutput {
            role: api::Role {
                role_last_used: None,
                max_session_duration: None,
                ..role.whole()
            },
        })
    }

    pub(crate) async fn insert_role(&self, account: &str, role: &Role) -> Result<(), Fault> {
        self.transact(account, |tx| {
            let at = (account, &key(&role.name));
            if tx.contains(&self.roles, &at)? {
                return Err(entity_already_exists_exception(format!(
                    "Role with name {} already exists.",
                    role.name
                )));
            }
            if let Some(arn) = &role.policies.boundary {
                self.check_boundary(tx, account, arn)?;
                self.count(tx, account, arn, |uses| uses.boundaries += 1)?;
            }
            for arn in &role.policies.managed {
                self.count(tx, account, arn, |uses| uses.attachments += 1)?;
            }
            Ok(tx.put(&self.roles, &at, role)?)
        })
        .await
    }

    pub(crate) async fn get_role(
        &self,
        ctx: &Context,
        input: GetRoleInput,
    ) -> Result<GetRoleOutput, Fault> {
        let role: Role = self.find(&ctx.account, &input.role_name)?;
        Ok(GetRoleOutput {
            role: api::Role {
                role_last_used: Some(self.role_last_used(&ctx.account, &role.id)?),
                ..role.whole()
            },
        })
    }

    pub(crate) async fn delete_role(
        &self,
        ctx: &Context,
        input: DeleteRoleInput,
    ) -> Result<DeleteRoleOutput, Fault> {
        self.transact(&ctx.account, |tx| {
            let role: Role = self.find_in(tx, &ctx.account, &input.role_name)?;
            role.check_modifiable()?;
            if self.profiles_of(&ctx.account, &role.name)?.next().is_some() {
                return Err(delete_conflict_exception(
                    "Cannot delete entity, must remove roles from instance profile first.",
                ));
            }
            Iam::check_bare(&role)?;
            if let Some(arn) = &role.policies.boundary {
                self.count(tx, &ctx.account, arn, |uses| uses.boundaries -= 1)?;
            }
            tx.delete(&self.roles, &(&ctx.account, &key(&role.name)));
            tx.delete(&self.key_uses, &(&ctx.account, &role.id));
            Ok(())
        })
        .await?;
        Ok(DeleteRoleOutput {})
    }

    pub(crate) async fn list_roles(
        &self,
        ctx: &Context,
        input: ListRolesInput,
    ) -> Result<ListRolesOutput, Fault> {
        let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
        let roles = self
            .all(self.roles, &ctx.account)?
            .into_iter()
            .filter(|r| r.path.starts_with(&prefix));
        let page = page(
            "ListRoles",
            roles,
            input.marker.as_deref(),
            input.max_items,
            |r| key(&r.name),
        )?;
        Ok(ListRolesOutput {
            roles: page.items.iter().map(Role::listed).collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn update_role(
        &self,
        ctx: &Context,
        input: UpdateRoleInput,
    ) -> Result<UpdateRoleOutput, Fault> {
        self.change(&ctx.account, &input.role_name, |_, role: &mut Role| {
            // What is left out is emptied, as AWS does.
            role.description = input.description;
            role.max_session = input.max_session_duration.unwrap_or(3600);
            Ok(())
        })
        .await?;
        Ok(UpdateRoleOutput {})
    }

    pub(crate) async fn update_role_description(
        &self,
        ctx: &Context,
        input: UpdateRoleDescriptionInput,
    ) -> Result<UpdateRoleDescriptionOutput, Fault> {
        let role = self.change(&ctx.account, &input.role_name, |_, role: &mut Role| {
            role.description = Some(input.description);
            Ok(role.whole())
        });
        Ok(UpdateRoleDescriptionOutput {
            role: Some(role.await?),
        })
    }

    pub(crate) async fn update_assume_role_policy(
        &self,
        ctx: &Context,
        input: UpdateAssumeRolePolicyInput,
    ) -> Result<UpdateAssumeRolePolicyOutput, Fault> {
        let document = input.policy_document;
        check_document(&document, PolicyKind::Trust)?;
        self.change(&ctx.account, &input.role_name, |_, role: &mut Role| {
            role.trust = document;
            Ok(())
        })
        .await?;
        Ok(UpdateAssumeRolePolicyOutput {})
    }
}
