//! Users' access keys.

use auth::account::{IdKind, account_of_access_key, mint_secret};
use cloud::ports::{Identities, Identity};
use cloud::{Context, Principal, PrincipalKind};
use serde::{Deserialize, Serialize};
use store::{Read, Record, Tx};
use wire::{Fault, Timestamp};

use crate::api::{self, *};
use crate::entity::{key, new_id};
use crate::errors::*;
use crate::key_use::Used;
use crate::page::page;
use crate::service::Iam;
use crate::user::User;

/// An access key as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) secret: String,
    pub(crate) is_active: bool,
    pub(crate) created: i64,
}
impl Record for AccessKey {}

const MOST: usize = 2;

fn no_key(id: &str) -> Fault {
    no_such_entity_exception(format!("The Access Key with id {id} cannot be found."))
}

pub(crate) fn status(is_active: bool) -> String {
    if is_active {
        "Active".into()
    } else {
        "Inactive".into()
    }
}

impl Iam {
    /// Renames the owner of a user's keys.
    pub(crate) fn rename_keys(
        &self,
        tx: &mut Tx<'_>,
        account: &str,
        user: &User,
    ) -> Result<(), Fault> {
        for id in &user.access_keys {
            if let Some(mut found) = tx.get(&self.access_keys, &(account, id))? {
                found.user.clone_from(&user.name);
                tx.put(&self.access_keys, &(account, id), &found)?;
            }
        }
        Ok(())
    }

    /// Whose key is meant where no user is named: root means any of the account's, for its own are made up.
    fn owner_or_caller(
        &self,
        ctx: &Context,
        name: Option<String>,
        id: &str,
    ) -> Result<String, Fault> {
        if name.is_some() || ctx.principal.kind != PrincipalKind::Root {
            return self.user_or_caller(ctx, name);
        }
        let found: Option<AccessKey> = self
            .cloud
            .store
            .read()
            .get(&self.access_keys, &(&ctx.account, id))?;
        found.map(|found| found.user).ok_or_else(|| no_key(id))
    }

    pub(crate) async fn create_access_key(
        &self,
        ctx: &Context,
        input: CreateAccessKeyInput,
    ) -> Result<CreateAccessKeyOutput, Fault> {
        let name = self.user_or_caller(ctx, input.user_name)?;
        let account = ctx.account.as_str();
        let id = new_id(IdKind::AccessKey, account);
        let created = ctx.time.whole_second().0;
        let secret = mint_secret(&mut |buffer: &mut [u8]| cloud::ids::random(buffer));
        let made = self.change(account, &name, |tx, user: &mut User| {
            if user.access_keys.len() >= MOST {
                return Err(limit_exceeded_exception(format!(
                    "Cannot exceed quota for AccessKeysPerUser: {MOST}"
                )));
            }
            let made = AccessKey {
                id: id.clone(),
                user: user.name.clone(),
                secret,
                is_active: true,
                created,
            };
            tx.put(&self.access_keys, &(account, &id), &made)?;
            user.access_keys.push(id.clone());
            Ok(made)
        });
        let made = made.await?;
        let access_key = api::AccessKey {
            user_name: made.user,
            access_key_id: made.id,
            status: status(made.is_active),
            secret_access_key: made.secret,
            create_date: Some(Timestamp(created)),
        };
        Ok(CreateAccessKeyOutput { access_key })
    }

    pub(crate) fn keys_of(&self, account: &str, user: &User) -> Result<Vec<AccessKey>, Fault> {
        let view = self.cloud.store.read();
        let keys = user
            .access_keys
            .iter()
            .map(|id| view.get(&self.access_keys, &(account, id)));
        Ok(keys
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    pub(crate) async fn list_access_keys(
        &self,
        ctx: &Context,
        input: ListAccessKeysInput,
    ) -> Result<ListAccessKeysOutput, Fault> {
        let name = match input.user_name {
            // Root's own keys are made up: there are none to list.
            None if ctx.principal.kind == PrincipalKind::Root => {
                return Ok(ListAccessKeysOutput {
                    is_truncated: Some(false),
                    ..Default::default()
                });
            }
            name => self.user_or_caller(ctx, name)?,
        };
        let user: User = self.find(&ctx.account, &name)?;
        let mut keys = self.keys_of(&ctx.account, &user)?;
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        let page = page(
            "ListAccessKeys",
            keys,
            input.marker.as_deref(),
            input.max_items,
            |k| k.id.clone(),
        )?;
        let shown = page.items.into_iter().map(|k| AccessKeyMetadata {
            user_name: Some(k.user),
            access_key_id: Some(k.id),
            status: Some(status(k.is_active)),
            create_date: Some(Timestamp(k.created)),
        });
        Ok(ListAccessKeysOutput {
            access_key_metadata: shown.collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn update_access_key(
        &self,
        ctx: &Context,
        input: UpdateAccessKeyInput,
    ) -> Result<UpdateAccessKeyOutput, Fault> {
        let name = self.owner_or_caller(ctx, input.user_name, &input.access_key_id)?;
        let id = input.access_key_id;
        self.change(&ctx.account, &name, |tx, user: &mut User| {
            let at = (&ctx.account, &id);
            let found = tx
                .get(&self.access_keys, &at)?
                .filter(|_| user.access_keys.contains(&id));
            let mut found = found.ok_or_else(|| no_key(&id))?;
            found.is_active = input.status == "Active";
            Ok(tx.put(&self.access_keys, &at, &found)?)
        })
        .await?;
        Ok(UpdateAccessKeyOutput {})
    }

    pub(crate) async fn delete_access_key(
        &self,
        ctx: &Context,
        input: DeleteAccessKeyInput,
    ) -> Result<DeleteAccessKeyOutput, Fault> {
        let name = self.owner_or_caller(ctx, input.user_name, &input.access_key_id)?;
        let id = input.access_key_id;
        self.change(&ctx.account, &name, |tx, user: &mut User| {
            let at = user
                .access_keys
                .iter()
                .position(|k| *k == id)
                .ok_or_else(|| no_key(&id))?;
            user.access_keys.remove(at);
            tx.delete(&self.access_keys, &(&ctx.account, &id));
            tx.delete(&self.key_uses, &(&ctx.account, &id));
            Ok(())
        })
        .await?;
        Ok(DeleteAccessKeyOutput {})
    }

    pub(crate) async fn get_access_key_last_used(
        &self,
        ctx: &Context,
        input: GetAccessKeyLastUsedInput,
    ) -> Result<GetAccessKeyLastUsedOutput, Fault> {
        let id = &input.access_key_id;
        let found = self
            .cloud
            .store
            .read()
            .get(&self.access_keys, &(&ctx.account, id))?;
        let found: AccessKey = found.ok_or_else(|| {
            Fault::sender(
                403,
                "AccessDenied",
                format!("The Access Key with id {id} cannot be found."),
            )
        })?;
        let last = match self.last_use(&ctx.account, id)? {
            Some(used) => AccessKeyLastUsed {
                last_used_date: Some(Timestamp(used.time)),
                service_name: used.service,
                region: used.region,
            },
            // AWS's words for a key that was never used.
            None => AccessKeyLastUsed {
                last_used_date: None,
                service_name: "N/A".into(),
                region: "N/A".into(),
            },
        };
        Ok(GetAccessKeyLastUsedOutput {
            user_name: Some(found.user),
            access_key_last_used: Some(last),
        })
    }
}

impl Identities for Iam {
    fn used(&self, identity: &Identity, service: &str, region: &str) {
        if let Some(used) = Used::of(&identity.principal) {
            self.note_use(&identity.account, used, service, region);
        }
    }

    fn identity(&self, access_key: &str) -> Option<Identity> {
        if !access_key.starts_with("AKIA") {
            return None;
        }
        let account = account_of_access_key(access_key);
        let view = self.cloud.store.read();
        let found = view
            .get(&self.access_keys, &(&account, access_key))
            .and_then(|found| match found {
                Some(found) if found.is_active => {
                    let user = view.get(&self.users, &(&account, &key(&found.user)))?;
                    Ok(user.map(|user| (found, user)))
                }
                _ => Ok(None),
            });
        let (found, user) = match found {
            Ok(found) => found?,
            Err(e) => {
                tracing::error!(error = %e, "an access key cannot be read");
                return None;
            }
        };
        Some(Identity {
            account,
            principal: Principal {
                kind: PrincipalKind::User,
                arn: user.arn,
                id: user.id,
                access_key: Some(access_key.to_owned()),
            },
            secret_key: found.secret,
            session_token: None,
            expiration: None,
        })
    }
}
