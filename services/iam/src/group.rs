//! Groups.

use auth::account::IdKind;
use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Read, Record};
use wire::{Fault, Timestamp};

use crate::api::{self, *};
use crate::entity::{Entity, Policies, arn_of, key, new_id, path_of};
use crate::errors::*;
use crate::page::page;
use crate::service::{ByName, Iam};
use crate::user::User;

/// A group as it is stored; who is in it, its users know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) created: i64,
    #[serde(default)]
    pub(crate) policies: Policies,
}
impl Record for Group {}

impl Entity for Group {
    const NOUN: &'static str = "group";
    const KIND: &'static str = "Group";
    fn table(iam: &Iam) -> ByName<Group> {
        iam.groups
    }
    fn policies(&self) -> &Policies {
        &self.policies
    }
    fn policies_mut(&mut self) -> &mut Policies {
        &mut self.policies
    }
}

impl Group {
    fn shown(&self) -> api::Group {
        api::Group {
            path: self.path.clone(),
            group_name: self.name.clone(),
            group_id: self.id.clone(),
            arn: self.arn.clone(),
            create_date: Timestamp(self.created),
        }
    }
}

impl Iam {
    fn members(&self, account: &str, group: &str) -> Result<Vec<User>, Fault> {
        let mut users = self.all(self.users, account)?;
        users.retain(|user| user.groups.contains(&key(group)));
        Ok(users)
    }

    pub(crate) async fn create_group(
        &self,
        ctx: &Context,
        input: CreateGroupInput,
    ) -> Result<CreateGroupOutput, Fault> {
        let path = path_of(input.path)?;
        let account = ctx.account.as_str();
        let group = Group {
            arn: arn_of(ctx, format!("group{path}{}", input.group_name)),
            id: new_id(IdKind::Group, account),
            name: input.group_name,
            path,
            created: ctx.time.whole_second().0,
            policies: Policies::default(),
        };
        self.transact(account, |tx| {
            let at = (account, &key(&group.name));
            if tx.contains(&self.groups, &at)? {
                return Err(entity_already_exists_exception(format!(
                    "Group with name {} already exists.",
                    group.name
                )));
            }
            Ok(tx.put(&self.groups, &at, &group)?)
        })
        .await?;
        Ok(CreateGroupOutput {
            group: group.shown(),
        })
    }

    pub(crate) async fn get_group(
        &self,
        ctx: &Context,
        input: GetGroupInput,
    ) -> Result<GetGroupOutput, Fault> {
        let group: Group = self.find(&ctx.account, &input.group_name)?;
        let users = self.members(&ctx.account, &group.name)?;
        let page = page(
            "GetGroup",
            users,
            input.marker.as_deref(),
            input.max_items,
            |u| key(&u.name),
        )?;
        Ok(GetGroupOutput {
            group: group.shown(),
            users: page.items.iter().map(User::listed).collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn delete_group(
        &self,
        ctx: &Context,
        input: DeleteGroupInput,
    ) -> Result<DeleteGroupOutput, Fault> {
        self.transact(&ctx.account, |tx| {
            let group: Group = self.find_in(tx, &ctx.account, &input.group_name)?;
            if !self.members(&ctx.account, &group.name)?.is_empty() {
                return Err(delete_conflict_exception(
                    "Cannot delete entity, must remove users from group first.",
                ));
            }
            Iam::check_bare(&group)?;
            tx.delete(&self.groups, &(&ctx.account, &key(&group.name)));
            Ok(())
        })
        .await?;
        Ok(DeleteGroupOutput {})
    }

    pub(crate) async fn list_groups(
        &self,
        ctx: &Context,
        input: ListGroupsInput,
    ) -> Result<ListGroupsOutput, Fault> {
        let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
        let groups = self
            .all(self.groups, &ctx.account)?
            .into_iter()
            .filter(|g| g.path.starts_with(&prefix));
        let page = page(
            "ListGroups",
            groups,
            input.marker.as_deref(),
            input.max_items,
            |g| key(&g.name),
        )?;
        Ok(ListGroupsOutput {
            groups: page.items.iter().map(Group::shown).collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn list_groups_for_user(
        &self,
        ctx: &Context,
        input: ListGroupsForUserInput,
    ) -> Result<ListGroupsForUserOutput, Fault> {
        let user: User = self.find(&ctx.account, &input.user_name)?;
        let groups = self
            .all(self.groups, &ctx.account)?
            .into_iter()
            .filter(|g| user.groups.contains(&key(&g.name)));
        let page = page(
            "ListGroupsForUser",
            groups,
            input.marker.as_deref(),
            input.max_items,
            |g| key(&g.name),
        )?;
        Ok(ListGroupsForUserOutput {
            groups: page.items.iter().map(Group::shown).collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn update_group(
        &self,
        ctx: &Context,
        input: UpdateGroupInput,
    ) -> Result<UpdateGroupOutput, Fault> {
        let account = ctx.account.as_str();
        let path = input.new_path.map(|p| path_of(Some(p))).transpose()?;
        self.transact(account, |tx| {
            let mut group: Group = self.find_in(tx, account, &input.group_name)?;
            let old = key(&group.name);
            if let Some(name) = input.new_group_name {
                if key(&name) != old && tx.contains(&self.groups, &(account, &key(&name)))? {
                    return Err(entity_already_exists_exception(format!(
                        "Group with name {name} already exists."
                    )));
                }
                group.name = name;
            }
            group.path = path.unwrap_or(group.path);
            group.arn = arn_of(ctx, format!("group{}{}", group.path, group.name));
            let new = key(&group.name);
            if new != old {
                for mut user in self.members(account, &old)? {
                    user.groups.remove(&old);
                    user.groups.insert(new.clone());
                    tx.put(&self.users, &(account, &key(&user.name)), &user)?;
                }
                tx.delete(&self.groups, &(account, &old));
            }
            Ok(tx.put(&self.groups, &(account, &new), &group)?)
        })
        .await?;
        Ok(UpdateGroupOutput {})
    }
}
