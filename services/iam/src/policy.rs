//! Managed policies and their versions.

use auth::account::IdKind;
use auth::policy::PolicyKind;
use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Read, Record, Tx};
use wire::{Fault, Timestamp};

use crate::api::{self, *};
use crate::entity::{Entity, arn_of, check_document, encoded, key, new_id, path_of};
use crate::errors::*;
use crate::group::Group;
use crate::managed::{self, Managed};
use crate::page::page;
use crate::role::Role;
use crate::service::Iam;
use crate::tag::{Tags, merged, paged, shown, without};
use crate::user::User;

/// A customer's managed policy as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) versions: Vec<Version>,
    /// The number of the default version.
    pub(crate) default: u32,
    /// The number of the last version ever made.
    pub(crate) last: u32,
    #[serde(default)]
    pub(crate) tags: Tags,
}
impl Record for Policy {}

/// A version of a policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) document: String,
    pub(crate) created: i64,
}

/// How often a policy is used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Uses {
    pub(crate) attachments: i32,
    pub(crate) boundaries: i32,
}
impl Record for Uses {}

pub(crate) fn no_policy(arn: &str) -> Fault {
    no_such_entity_exception(format!("Policy {arn} was not found."))
}

pub(crate) fn no_version(arn: &str, version: &str) -> Fault {
    no_such_entity_exception(format!(
        "Policy {arn} version {version} does not exist or is not attachable."
    ))
}

impl Policy {
    pub(crate) fn document(&self) -> Option<&str> {
        self.versions
            .iter()
            .find(|v| v.number == self.default)
            .map(|v| v.document.as_str())
    }

    fn listed(&self, uses: Uses) -> api::Policy {
        api::Policy {
            policy_name: Some(self.name.clone()),
            policy_id: Some(self.id.clone()),
            arn: Some(self.arn.clone()),
            path: Some(self.path.clone()),
            default_version_id: Some(format!("v{}", self.default)),
            attachment_count: Some(uses.attachments),
            permissions_boundary_usage_count: Some(uses.boundaries),
            is_attachable: Some(true),
            create_date: Some(Timestamp(self.created)),
            update_date: Some(Timestamp(self.updated)),
            ..api::Policy::default()
        }
    }

    /// As CreatePolicy shows it.
    fn created(&self) -> api::Policy {
        api::Policy {
            tags: shown(&self.tags),
            ..self.listed(Uses::default())
        }
    }

    /// As GetPolicy shows it, which names no tags rather than none.
    fn whole(&self, uses: Uses) -> api::Policy {
        api::Policy {
            description: self.description.clone(),
            tags: Some(shown(&self.tags).unwrap_or_default()),
            ..self.listed(uses)
        }
    }

    /// With all its versions.
    pub(crate) fn detail(&self, uses: Uses) -> ManagedPolicyDetail {
        ManagedPolicyDetail {
            policy_name: Some(self.name.clone()),
            policy_id: Some(self.id.clone()),
            arn: Some(self.arn.clone()),
            path: Some(self.path.clone()),
            default_version_id: Some(format!("v{}", self.default)),
            attachment_count: Some(uses.attachments),
            permissions_boundary_usage_count: Some(uses.boundaries),
            is_attachable: Some(true),
            description: self.description.clone(),
            create_date: Some(Timestamp(self.created)),
            update_date: Some(Timestamp(self.updated)),
            policy_version_list: Some(
                self.versions
                    .iter()
                    .rev()
                    .map(|v| self.version(v, true))
                    .collect(),
            ),
        }
    }

    pub(crate) fn version(&self, version: &Version, with_document: bool) -> PolicyVersion {
        PolicyVersion {
            document: with_document.then(|| encoded(&version.document)),
            version_id: Some(format!("v{}", version.number)),
            is_default_version: Some(version.number == self.default),
            create_date: Some(Timestamp(version.created)),
        }
    }
}

fn aws_listed(policy: &Managed<'_>, partition: &str, uses: Uses) -> api::Policy {
    api::Policy {
        policy_name: Some(policy.name.to_owned()),
        policy_id: Some(policy.id()),
        arn: Some(policy.arn_in(partition)),
        path: Some(policy.path.to_owned()),
        default_version_id: Some(policy.default_version_id.to_owned()),
        attachment_count: Some(uses.attachments),
        permissions_boundary_usage_count: Some(uses.boundaries),
        is_attachable: Some(true),
        create_date: Some(policy.created()),
        update_date: Some(policy.updated()),
        ..api::Policy::default()
    }
}

/// One of AWS's policies with its version.
pub(crate) fn aws_detail(policy: &Managed<'_>, partition: &str, uses: Uses) -> ManagedPolicyDetail {
    ManagedPolicyDetail {
        policy_name: Some(policy.name.to_owned()),
        policy_id: Some(policy.id()),
        arn: Some(policy.arn_in(partition)),
        path: Some(policy.path.to_owned()),
        default_version_id: Some(policy.default_version_id.to_owned()),
        attachment_count: Some(uses.attachments),
        permissions_boundary_usage_count: Some(uses.boundaries),
        is_attachable: Some(true),
        description: None,
        create_date: Some(policy.created()),
        update_date: Some(policy.updated()),
        policy_version_list: Some(vec![aws_version(policy, true)]),
    }
}

pub(crate) fn aws_version(policy: &Managed<'_>, with_document: bool) -> PolicyVersion {
    PolicyVersion {
        document: with_document.then(|| encoded(policy.document.get())),
        version_id: Some(policy.default_version_id.to_owned()),
        is_default_version: Some(true),
        create_date: Some(policy.updated()),
    }
}

impl Iam {
    pub(crate) fn policy(&self, account: &str, arn: &str) -> Result<Policy, Fault> {
        self.cloud
            .store
            .read()
            .get(&self.policies, &(account, &key(arn)))?
            .ok_or_else(|| no_policy(arn))
    }

    pub(crate) fn uses(&self, account: &str, arn: &str) -> Result<Uses, Fault> {
        Ok(self
            .cloud
            .store
            .read()
            .get(&self.uses, &(account, &key(arn)))?
            .unwrap_or_default())
    }

    /// The document in force of a policy, of the account or of AWS.
    pub(crate) fn document_of(&self, account: &str, arn: &str) -> Result<String, Fault> {
        if let Some(policy) = managed::find(arn) {
            return Ok(policy.document.get().to_owned());
        }
        let policy = self.policy(account, arn)?;
        policy
            .document()
            .map(str::to_owned)
            .ok_or_else(|| no_policy(arn))
    }

    pub(crate) async fn change_policy<R>(
        &self,
        account: &str,
        arn: &str,
        f: impl FnOnce(&mut Tx<'_>, &mut Policy) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        if managed::exists(arn) {
            return Err(aws_managed(arn));
        }
        self.transact(account, |tx| {
            let at = (account, &key(arn));
            let mut policy: Policy = tx.get(&self.policies, &at)?.ok_or_else(|| no_policy(arn))?;
            let result = f(tx, &mut policy)?;
            tx.put(&self.policies, &at, &policy)?;
            Ok(result)
        })
        .await
    }

    pub(crate) async fn create_policy(
        &self,
        ctx: &Context,
        input: CreatePolicyInput,
    ) -> Result<CreatePolicyOutput, Fault> {
        check_document(&input.policy_document, PolicyKind::Identity)?;
        check_size(&input.policy_document)?;
        let path = path_of(input.path)?;
        let account = ctx.account.as_str();
        let now = ctx.time.whole_second().0;
        let policy = Policy {
            arn: arn_of(ctx, format!("policy{path}{}", input.policy_name)),
            id: new_id(IdKind::ManagedPolicy, account),
            name: input.policy_name,
            path,
            description: input.description,
            created: now,
            updated: now,
            versions: vec![Version {
                number: 1,
                document: input.policy_document,
                created: now,
            }],
            default: 1,
            last: 1,
            tags: merged(&Tags::new(), input.tags.unwrap_or_default())?,
        };
        let same_name = self
            .all(self.policies, account)?
            .iter()
            .any(|p| key(&p.name) == key(&policy.name));
        self.transact(account, |tx| {
            let at = (account, &key(&policy.arn));
            if same_name || tx.contains(&self.policies, &at)? {
                return Err(entity_already_exists_exception(format!(
                    "A policy called {} already exists. Duplicate names are not allowed.",
                    policy.name
                )));
            }
            Ok(tx.put(&self.policies, &at, &policy)?)
        })
        .await?;
        Ok(CreatePolicyOutput {
            policy: Some(policy.created()),
        })
    }

    pub(crate) async fn get_policy(
        &self,
        ctx: &Context,
        input: GetPolicyInput,
    ) -> Result<GetPolicyOutput, Fault> {
        let uses = self.uses(&ctx.account, &input.policy_arn)?;
        if let Some(policy) = managed::find(&input.policy_arn) {
            return Ok(GetPolicyOutput {
                policy: Some(api::Policy {
                    tags: Some(Vec::new()),
                    ..aws_listed(&policy, ctx.partition(), uses)
                }),
            });
        }
        Ok(GetPolicyOutput {
            policy: Some(self.policy(&ctx.account, &input.policy_arn)?.whole(uses)),
        })
    }

    pub(crate) async fn delete_policy(
        &self,
        ctx: &Context,
        input: DeletePolicyInput,
    ) -> Result<DeletePolicyOutput, Fault> {
        let (account, arn) = (ctx.account.as_str(), input.policy_arn.as_str());
        if managed::exists(arn) {
            return Err(aws_managed(arn));
        }
        self.transact(account, |tx| {
            let at = (account, &key(arn));
            let policy: Policy = tx.get(&self.policies, &at)?.ok_or_else(|| no_policy(arn))?;
            let uses: Uses = tx.get(&self.uses, &at)?.unwrap_or_default();
            if uses.attachments > 0 || uses.boundaries > 0 {
                return Err(delete_conflict_exception("Cannot delete a policy attached to entities."));
            }
            if policy.versions.len() > 1 {
                return Err(delete_conflict_exception(
                    "This policy has more than one version. Before you delete a policy, you must delete the policy's \
                     versions. The default version is deleted with the policy.",
                ));
            }
            tx.delete(&self.policies, &at);
            Ok(())
        })
        .await?;
        Ok(DeletePolicyOutput {})
    }

    pub(crate) async fn list_policies(
        &self,
        ctx: &Context,
        input: ListPoliciesInput,
    ) -> Result<ListPoliciesOutput, Fault> {
        let account = ctx.account.as_str();
        let scope = input.scope.as_deref().unwrap_or("All");
        let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
        let mut all = Vec::new();
        if scope != "AWS" {
            for policy in self.all(self.policies, account)? {
                all.push(policy.listed(self.uses(account, &policy.arn)?));
            }
        }
        if scope != "Local" {
            for policy in managed::all() {
                let partition = ctx.partition();
                let uses = self.uses(account, &policy.arn_in(partition))?;
                all.push(aws_listed(&policy, partition, uses));
            }
        }
        let usage = input.policy_usage_filter.as_deref();
        let attached_only = input.only_attached.unwrap_or(false);
        all.retain(|p| {
            let (attachments, boundaries) = (
                p.attachment_count.unwrap_or(0),
                p.permissions_boundary_usage_count.unwrap_or(0),
            );
            p.path
                .as_ref()
                .is_some_and(|path| path.starts_with(&prefix))
                && (!attached_only || attachments > 0)
                && match usage {
                    Some("PermissionsBoundary") => boundaries > 0,
                    Some("PermissionsPolicy") => attachments > 0,
                    _ => true,
                }
        });
        all.sort_by(|a, b| a.arn.cmp(&b.arn));
        let page = page(
            "ListPolicies",
            all,
            input.marker.as_deref(),
            input.max_items,
            |p| p.arn.clone().unwrap_or_default(),
        )?;
        Ok(ListPoliciesOutput {
            policies: Some(page.items),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn list_entities_for_policy(
        &self,
        ctx: &Context,
        input: ListEntitiesForPolicyInput,
    ) -> Result<ListEntitiesForPolicyOutput, Fault> {
        let (account, arn) = (ctx.account.as_str(), input.policy_arn.as_str());
        if !self.policy_exists(&self.cloud.store, account, arn)? {
            return Err(no_policy(arn));
        }
        let as_boundary = input.policy_usage_filter.as_deref() != Some("PermissionsPolicy");
        let as_policy = input.policy_usage_filter.as_deref() != Some("PermissionsBoundary");
        let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
        let wants = |kind: &str| {
            input
                .entity_filter
                .as_deref()
                .is_none_or(|filter| filter == kind)
        };
        fn uses<E: Entity>(entity: &E, arn: &str, as_policy: bool, as_boundary: bool) -> bool {
            let policies = entity.policies();
            (as_policy && policies.managed.iter().any(|a| a == arn))
                || (as_boundary && policies.boundary.as_deref() == Some(arn))
        }
        let mut output = ListEntitiesForPolicyOutput {
            is_truncated: Some(false),
            ..Default::default()
        };
        let roles = self.all(self.roles, account)?.into_iter();
        let roles = roles.filter(|r: &Role| {
            r.path.starts_with(&prefix) && wants("Role") && uses(r, arn, as_policy, as_boundary)
        });
        let role = |r: Role| PolicyRole {
            role_name: Some(r.name),
            role_id: Some(r.id),
        };
        output.policy_roles = Some(roles.map(role).collect());
        let users = self.all(self.users, account)?.into_iter();
        let users = users.filter(|u: &User| {
            u.path.starts_with(&prefix) && wants("User") && uses(u, arn, as_policy, as_boundary)
        });
        let user = |u: User| PolicyUser {
            user_name: Some(u.name),
            user_id: Some(u.id),
        };
        output.policy_users = Some(users.map(user).collect());
        let groups = self.all(self.groups, account)?.into_iter();
        let groups = groups.filter(|g: &Group| {
            g.path.starts_with(&prefix) && wants("Group") && uses(g, arn, as_policy, as_boundary)
        });
        let group = |g: Group| PolicyGroup {
            group_name: Some(g.name),
            group_id: Some(g.id),
        };
        output.policy_groups = Some(groups.map(group).collect());
        Ok(output)
    }

    pub(crate) async fn tag_policy(
        &self,
        ctx: &Context,
        input: TagPolicyInput,
    ) -> Result<TagPolicyOutput, Fault> {
        self.change_policy(&ctx.account, &input.policy_arn, |_, policy| {
            policy.tags = merged(&policy.tags, input.tags)?;
            Ok(())
        })
        .await?;
        Ok(TagPolicyOutput {})
    }

    pub(crate) async fn untag_policy(
        &self,
        ctx: &Context,
        input: UntagPolicyInput,
    ) -> Result<UntagPolicyOutput, Fault> {
        self.change_policy(&ctx.account, &input.policy_arn, |_, policy| {
            without(&mut policy.tags, &input.tag_keys);
            Ok(())
        })
        .await?;
        Ok(UntagPolicyOutput {})
    }

    pub(crate) async fn list_policy_tags(
        &self,
        ctx: &Context,
        input: ListPolicyTagsInput,
    ) -> Result<ListPolicyTagsOutput, Fault> {
        let tags = match managed::exists(&input.policy_arn) {
            true => Tags::new(),
            false => self.policy(&ctx.account, &input.policy_arn)?.tags,
        };
        let page = paged(&tags, input.marker.as_deref(), input.max_items)?;
        Ok(ListPolicyTagsOutput {
            tags: page.items,
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }
}

fn aws_managed(arn: &str) -> Fault {
    Fault::sender(
        403,
        "AccessDenied",
        format!("Policy {arn} is managed by AWS and cannot be changed."),
    )
}

/// AWS does not count white space.
pub(crate) fn check_size(document: &str) -> Result<(), Fault> {
    if document.chars().filter(|c| !c.is_whitespace()).count() > 6144 {
        return Err(limit_exceeded_exception(
            "Cannot exceed quota for PolicySize: 6144",
        ));
    }
    Ok(())
}
