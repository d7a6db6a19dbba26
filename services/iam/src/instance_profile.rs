//! Instance profiles: a role for machines.

use auth::account::IdKind;
use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Read, Record, Tx};
use wire::{Fault, Timestamp};

use crate::api::{self, *};
use crate::entity::{arn_of, key, new_id, path_of};
use crate::errors::*;
use crate::page::page;
use crate::role::Role;
use crate::service::Iam;
use crate::tag::{Tags, merged, paged, shown, without};

/// An instance profile as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct InstanceProfile {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) created: i64,
    /// The role's name; there is at most one.
    #[serde(default)]
    pub(crate) role: Option<String>,
    #[serde(default)]
    pub(crate) tags: Tags,
}
impl Record for InstanceProfile {}

impl Iam {
    /// As answers have it, with its role.
    pub(crate) fn profile_shown(
        &self,
        account: &str,
        profile: &InstanceProfile,
    ) -> Result<api::InstanceProfile, Fault> {
        let roles = match &profile.role {
            Some(role) => vec![self.find::<Role>(account, role)?.listed()],
            None => Vec::new(),
        };
        Ok(api::InstanceProfile {
            path: profile.path.clone(),
            instance_profile_name: profile.name.clone(),
            instance_profile_id: profile.id.clone(),
            arn: profile.arn.clone(),
            create_date: Timestamp(profile.created),
            roles,
            tags: shown(&profile.tags),
        })
    }

    /// The profiles with a role.
    pub(crate) fn profiles_of(
        &self,
        account: &str,
        role: &str,
    ) -> Result<impl Iterator<Item = InstanceProfile> + use<>, Fault> {
        let role = role.to_owned();
        Ok(self
            .all(self.profiles, account)?
            .into_iter()
            .filter(move |p| p.role.as_ref() == Some(&role)))
    }

    async fn change_profile<R>(
        &self,
        account: &str,
        name: &str,
        f: impl FnOnce(&Tx<'_>, &mut InstanceProfile) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.transact(account, |tx| {
            let at = (account, &key(name));
            let mut profile: InstanceProfile = tx
                .get(&self.profiles, &at)?
                .ok_or_else(|| no_profile(name))?;
            let result = f(tx, &mut profile)?;
            tx.put(&self.profiles, &at, &profile)?;
            Ok(result)
        })
        .await
    }

    fn profile(&self, account: &str, name: &str) -> Result<InstanceProfile, Fault> {
        self.cloud
            .store
            .read()
            .get(&self.profiles, &(account, &key(name)))?
            .ok_or_else(|| no_profile(name))
    }

    pub(crate) async fn create_instance_profile(
        &self,
        ctx: &Context,
        input: CreateInstanceProfileInput,
    ) -> Result<CreateInstanceProfileOutput, Fault> {
        let path = path_of(input.path)?;
        let account = ctx.account.as_str();
        let name = input.instance_profile_name;
        let profile = InstanceProfile {
            arn: arn_of(ctx, format!("instance-profile{path}{name}")),
            id: new_id(IdKind::InstanceProfile, account),
            name,
            path,
            created: ctx.time.whole_second().0,
            role: None,
            tags: merged(&Tags::new(), input.tags.unwrap_or_default())?,
        };
        self.transact(account, |tx| {
            let at = (account, &key(&profile.name));
            if tx.contains(&self.profiles, &at)? {
                return Err(entity_already_exists_exception(format!(
                    "Instance Profile {} already exists.",
                    profile.name
                )));
            }
            Ok(tx.put(&self.profiles, &at, &profile)?)
        })
        .await?;
        Ok(CreateInstanceProfileOutput {
            instance_profile: self.profile_shown(account, &profile)?,
        })
    }

    pub(crate) async fn get_instance_profile(
        &self,
        ctx: &Context,
        input: GetInstanceProfileInput,
    ) -> Result<GetInstanceProfileOutput, Fault> {
        let profile = self.profile(&ctx.account, &input.instance_profile_name)?;
        Ok(GetInstanceProfileOutput {
            instance_profile: self.profile_shown(&ctx.account, &profile)?,
        })
    }

    pub(crate) async fn delete_instance_profile(
        &self,
        ctx: &Context,
        input: DeleteInstanceProfileInput,
    ) -> Result<DeleteInstanceProfileOutput, Fault> {
        let name = input.instance_profile_name;
        self.transact(&ctx.account, |tx| {
            let at = (&ctx.account, &key(&name));
            let profile: InstanceProfile = tx
                .get(&self.profiles, &at)?
                .ok_or_else(|| no_profile(&name))?;
            if profile.role.is_some() {
                return Err(delete_conflict_exception(
                    "Cannot delete entity, must remove roles from instance profile first.",
                ));
            }
            tx.delete(&self.profiles, &at);
            Ok(())
        })
        .await?;
        Ok(DeleteInstanceProfileOutput {})
    }

    pub(crate) async fn list_instance_profiles(
        &self,
        ctx: &Context,
        input: ListInstanceProfilesInput,
    ) -> Result<ListInstanceProfilesOutput, Fault> {
        let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
        let profiles = self
            .all(self.profiles, &ctx.account)?
            .into_iter()
            .filter(|p| p.path.starts_with(&prefix));
        let page = page(
            "ListInstanceProfiles",
            profiles,
            input.marker.as_deref(),
            input.max_items,
            |p| key(&p.name),
        )?;
        let shown = page
            .items
            .iter()
            .map(|p| self.profile_shown(&ctx.account, p));
        Ok(ListInstanceProfilesOutput {
            instance_profiles: shown.collect::<Result<_, _>>()?,
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn list_instance_profiles_for_role(
        &self,
        ctx: &Context,
        input: ListInstanceProfilesForRoleInput,
    ) -> Result<ListInstanceProfilesForRoleOutput, Fault> {
        let role: Role = self.find(&ctx.account, &input.role_name)?;
        let profiles = self.profiles_of(&ctx.account, &role.name)?;
        let page = page(
            "ListInstanceProfiles",
            profiles,
            input.marker.as_deref(),
            input.max_items,
            |p| key(&p.name),
        )?;
        let shown = page
            .items
            .iter()
            .map(|p| self.profile_shown(&ctx.account, p));
        Ok(ListInstanceProfilesForRoleOutput {
            instance_profiles: shown.collect::<Result<_, _>>()?,
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn add_role_to_instance_profile(
        &self,
        ctx: &Context,
        input: AddRoleToInstanceProfileInput,
    ) -> Result<AddRoleToInstanceProfileOutput, Fault> {
        self.change_profile(&ctx.account, &input.instance_profile_name, |tx, profile| {
            let role: Role = self.find_in(tx, &ctx.account, &input.role_name)?;
            if profile.role.is_some() {
                return Err(limit_exceeded_exception(
                    "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
                ));
            }
            profile.role = Some(role.name);
            Ok(())
        })
        .await?;
        Ok(AddRoleToInstanceProfileOutput {})
    }

    pub(crate) async fn remove_role_from_instance_profile(
        &self,
        ctx: &Context,
        input: RemoveRoleFromInstanceProfileInput,
    ) -> Result<RemoveRoleFromInstanceProfileOutput, Fault> {
        self.change_profile(&ctx.account, &input.instance_profile_name, |_, profile| {
            if profile.role.as_deref().map(key) != Some(key(&input.role_name)) {
                return Err(crate::entity::missing("role", &input.role_name));
            }
            profile.role = None;
            Ok(())
        })
        .await?;
        Ok(RemoveRoleFromInstanceProfileOutput {})
    }

    pub(crate) async fn tag_instance_profile(
        &self,
        ctx: &Context,
        input: TagInstanceProfileInput,
    ) -> Result<TagInstanceProfileOutput, Fault> {
        self.change_profile(&ctx.account, &input.instance_profile_name, |_, profile| {
            profile.tags = merged(&profile.tags, input.tags)?;
            Ok(())
        })
        .await?;
        Ok(TagInstanceProfileOutput {})
    }

    pub(crate) async fn untag_instance_profile(
        &self,
        ctx: &Context,
        input: UntagInstanceProfileInput,
    ) -> Result<UntagInstanceProfileOutput, Fault> {
        self.change_profile(&ctx.account, &input.instance_profile_name, |_, profile| {
            without(&mut profile.tags, &input.tag_keys);
            Ok(())
        })
        .await?;
        Ok(UntagInstanceProfileOutput {})
    }

    pub(crate) async fn list_instance_profile_tags(
        &self,
        ctx: &Context,
        input: ListInstanceProfileTagsInput,
    ) -> Result<ListInstanceProfileTagsOutput, Fault> {
        let profile = self.profile(&ctx.account, &input.instance_profile_name)?;
        let page = paged(&profile.tags, input.marker.as_deref(), input.max_items)?;
        Ok(ListInstanceProfileTagsOutput {
            tags: page.items,
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }
}

fn no_profile(name: &str) -> Fault {
    no_such_entity_exception(format!("Instance Profile {name} cannot be found."))
}
