//! Users.

use std::collections::BTreeSet;

use auth::account::IdKind;
use cloud::{Context, PrincipalKind};
use serde::{Deserialize, Serialize};
use store::{Read, Record};
use wire::{Fault, Timestamp};

use crate::api::{self, *};
use crate::certificate::UploadKind;
use crate::entity::{Entity, Policies, arn_of, boundary, key, missing, new_id, path_of};
use crate::errors::*;
use crate::page::page;
use crate::service::{ByName, Iam};
use crate::service_credential::ServiceCredential;
use crate::tag::{Tags, merged, shown};

/// A user as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) created: i64,
    #[serde(default)]
    pub(crate) policies: Policies,
    #[serde(default)]
    pub(crate) tags: Tags,
    /// Keys of groups.
    #[serde(default)]
    pub(crate) groups: BTreeSet<String>,
    /// Ids.
    #[serde(default)]
    pub(crate) access_keys: Vec<String>,
    #[serde(default)]
    pub(crate) login: Option<Login>,
    #[serde(default)]
    pub(crate) service_credentials: Vec<ServiceCredential>,
}
impl Record for User {}

/// A password for the console. The password itself is kept by nobody: there is no console to log in to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) created: i64,
    pub(crate) must_reset: bool,
}

impl Entity for User {
    const NOUN: &'static str = "user";
    const KIND: &'static str = "User";
    fn table(iam: &Iam) -> ByName<User> {
        iam.users
    }
    fn policies(&self) -> &Policies {
        &self.policies
    }
    fn policies_mut(&mut self) -> &mut Policies {
        &mut self.policies
    }
}

impl User {
    /// As listings show it.
    pub(crate) fn listed(&self) -> api::User {
        api::User {
            path: self.path.clone(),
            user_name: self.name.clone(),
            user_id: self.id.clone(),
            arn: self.arn.clone(),
            create_date: Timestamp(self.created),
            ..api::User::default()
        }
    }
    /// As it is shown alone.
    pub(crate) fn whole(&self) -> api::User {
        api::User {
            permissions_boundary: boundary(&self.policies),
            tags: shown(&self.tags),
            ..self.listed()
        }
    }
}

impl Iam {
    /// The user that an operation means which takes a name or none: then it is the caller.
    pub(crate) fn user_or_caller(
        &self,
        ctx: &Context,
        name: Option<String>,
    ) -> Result<String, Fault> {
        match name {
            Some(name) => Ok(name),
            None if ctx.principal.kind == PrincipalKind::User => Ok(ctx
                .principal
                .arn
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()),
            None => Err(Fault::sender(
                400,
                "ValidationError",
                "Must specify userName when calling with non-User credentials",
            )),
        }
    }

    pub(crate) async fn create_user(
        &self,
        ctx: &Context,
        input: CreateUserInput,
    ) -> Result<CreateUserOutput, Fault> {
        let path = path_of(input.path)?;
        let account = ctx.account.as_str();
        let user = User {
            arn: arn_of(ctx, format!("user{path}{}", input.user_name)),
            id: new_id(IdKind::User, account),
            name: input.user_name,
            path,
            created: ctx.time.whole_second().0,
            policies: Policies {
                boundary: input.permissions_boundary,
                ..Policies::default()
            },
            tags: merged(&Tags::new(), input.tags.unwrap_or_default())?,
            ..User::default()
        };
        self.transact(account, |tx| {
            let at = (account, &key(&user.name));
            if tx.contains(&self.users, &at)? {
                return Err(entity_already_exists_exception(format!(
                    "User with name {} already exists.",
                    user.name
                )));
            }
            if let Some(arn) = &user.policies.boundary {
                self.check_boundary(tx, account, arn)?;
                self.count(tx, account, arn, |uses| uses.boundaries += 1)?;
            }
            Ok(tx.put(&self.users, &at, &user)?)
        })
        .await?;
        Ok(CreateUserOutput {
            user: Some(user.whole()),
        })
    }

    pub(crate) async fn get_user(
        &self,
        ctx: &Context,
        input: GetUserInput,
    ) -> Result<GetUserOutput, Fault> {
        if input.user_name.is_none() && ctx.principal.kind == PrincipalKind::Root {
            let user = api::User {
                path: "/".into(),
                user_name: "root".into(),
                user_id: ctx.account.clone(),
                arn: ctx.principal.arn.clone(),
                ..api::User::default()
            };
            return Ok(GetUserOutput { user });
        }
        let name = self.user_or_caller(ctx, input.user_name)?;
        Ok(GetUserOutput {
            user: self.find::<User>(&ctx.account, &name)?.whole(),
        })
    }

    pub(crate) async fn delete_user(
        &self,
        ctx: &Context,
        input: DeleteUserInput,
    ) -> Result<DeleteUserOutput, Fault> {
        self.transact(&ctx.account, |tx| {
            let user: User = self.find_in(tx, &ctx.account, &input.user_name)?;
            let conflict = |what: &str| {
                Err(delete_conflict_exception(format!(
                    "Cannot delete entity, must {what} first."
                )))
            };
            if !user.groups.is_empty() {
                return conflict("remove users from group");
            }
            if user.login.is_some() {
                return conflict("delete login profile");
            }
            if !user.access_keys.is_empty() {
                return conflict("delete access keys");
            }
            if !user.service_credentials.is_empty() {
                return conflict("remove referenced objects");
            }
            for (kind, what) in [
                (UploadKind::Signing, "delete signing certificates"),
                (UploadKind::Ssh, "delete SSH public keys"),
            ] {
                if !self.uploads_of(&ctx.account, &user, kind)?.is_empty() {
                    return conflict(what);
                }
            }
            if !self.devices_of(&ctx.account, &user.name)?.is_empty() {
                return conflict("delete MFA device");
            }
            Iam::check_bare(&user)?;
            if let Some(arn) = &user.policies.boundary {
                self.count(tx, &ctx.account, arn, |uses| uses.boundaries -= 1)?;
            }
            tx.delete(&self.users, &(&ctx.account, &key(&user.name)));
            Ok(())
        })
        .await?;
        Ok(DeleteUserOutput {})
    }

    pub(crate) async fn list_users(
        &self,
        ctx: &Context,
        input: ListUsersInput,
    ) -> Result<ListUsersOutput, Fault> {
        let prefix = input.path_prefix.unwrap_or_else(|| "/".into());
        let users = self
            .all(self.users, &ctx.account)?
            .into_iter()
            .filter(|u| u.path.starts_with(&prefix));
        let page = page(
            "ListUsers",
            users,
            input.marker.as_deref(),
            input.max_items,
            |u| key(&u.name),
        )?;
        Ok(ListUsersOutput {
            users: page.items.iter().map(User::listed).collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn update_user(
        &self,
        ctx: &Context,
        input: UpdateUserInput,
    ) -> Result<UpdateUserOutput, Fault> {
        let account = ctx.account.as_str();
        let path = input.new_path.map(|p| path_of(Some(p))).transpose()?;
        self.transact(account, |tx| {
            let mut user: User = self.find_in(tx, account, &input.user_name)?;
            let old = key(&user.name);
            if let Some(name) = input.new_user_name {
                if key(&name) != old && tx.contains(&self.users, &(account, &key(&name)))? {
                    return Err(entity_already_exists_exception(format!(
                        "User with name {name} already exists."
                    )));
                }
                user.name = name;
            }
            user.path = path.unwrap_or(user.path);
            user.arn = arn_of(ctx, format!("user{}{}", user.path, user.name));
            tx.delete(&self.users, &(account, &old));
            self.rename_keys(tx, account, &user)?;
            for mut device in self.devices_of(account, &old)? {
                device.user = Some(user.name.clone());
                tx.put(&self.mfa_devices, &(account, &key(&device.serial)), &device)?;
            }
            Ok(tx.put(&self.users, &(account, &key(&user.name)), &user)?)
        })
        .await?;
        Ok(UpdateUserOutput {})
    }

    pub(crate) async fn add_user_to_group(
        &self,
        ctx: &Context,
        input: AddUserToGroupInput,
    ) -> Result<AddUserToGroupOutput, Fault> {
        self.change(&ctx.account, &input.user_name, |tx, user: &mut User| {
            if !tx.contains(&self.groups, &(&ctx.account, &key(&input.group_name)))? {
                return Err(missing("group", &input.group_name));
            }
            user.groups.insert(key(&input.group_name));
            if user.groups.len() > 10 {
                return Err(limit_exceeded_exception(
                    "Cannot exceed quota for GroupsPerUser: 10",
                ));
            }
            Ok(())
        })
        .await?;
        Ok(AddUserToGroupOutput {})
    }

    pub(crate) async fn remove_user_from_group(
        &self,
        ctx: &Context,
        input: RemoveUserFromGroupInput,
    ) -> Result<RemoveUserFromGroupOutput, Fault> {
        self.change(&ctx.account, &input.user_name, |tx, user: &mut User| {
            if !tx.contains(&self.groups, &(&ctx.account, &key(&input.group_name)))? {
                return Err(missing("group", &input.group_name));
            }
            if !user.groups.remove(&key(&input.group_name)) {
                return Err(no_such_entity_exception(format!(
                    "User {} not in group {}",
                    user.name, input.group_name
                )));
            }
            Ok(())
        })
        .await?;
        Ok(RemoveUserFromGroupOutput {})
    }
}
