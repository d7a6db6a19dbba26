//! Users' credentials for single services: kept and shown. None of these services is here to take them.

use auth::account::{IdKind, mint_secret};
use cloud::Context;
use serde::{Deserialize, Serialize};
use wire::{Fault, Timestamp};

use crate::access_key::status;
use crate::api::*;
use crate::entity::new_id;
use crate::errors::*;
use crate::page::page;
use crate::service::Iam;
use crate::user::User;

/// A credential as it is stored. The password is shown once and kept by nobody.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ServiceCredential {
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) login: String,
    pub(crate) is_active: bool,
    pub(crate) created: i64,
    /// When it ends, where it does.
    #[serde(default)]
    pub(crate) ends: Option<i64>,
}

/// Services that have such credentials.
const SERVICES: [&str; 3] = [
    "codecommit.amazonaws.com",
    "cassandra.amazonaws.com",
    BEDROCK,
];
/// Its credentials are keys: an alias and a secret instead of a user's name and a password, and they end.
const BEDROCK: &str = "bedrock.amazonaws.com";
/// Of a service for a user.
const MOST: usize = 2;
const DAY: i64 = 86_400_000;

fn no_credential(id: &str) -> Fault {
    no_such_entity_exception(format!("No such credential {id} exists"))
}

fn check_service(name: &str) -> Result<(), Fault> {
    match SERVICES.contains(&name) {
        true => Ok(()),
        false => Err(no_such_entity_exception(format!(
            "No such service {name} is supported for Service Specific Credentials"
        ))),
    }
}

impl ServiceCredential {
    fn has_keys(&self) -> bool {
        self.service == BEDROCK
    }

    /// As it is shown once, with its secret.
    fn reveal(&self, user: &str, secret: String) -> ServiceSpecificCredential {
        let (password, key) = match self.has_keys() {
            true => (None, Some(secret)),
            false => (Some(secret), None),
        };
        ServiceSpecificCredential {
            create_date: Timestamp(self.created),
            expiration_date: self.ends.map(Timestamp),
            service_name: self.service.clone(),
            service_user_name: (!self.has_keys()).then(|| self.login.clone()),
            service_password: password,
            service_credential_alias: self.has_keys().then(|| self.login.clone()),
            service_credential_secret: key,
            service_specific_credential_id: self.id.clone(),
            user_name: user.to_owned(),
            status: status(self.is_active),
        }
    }

    /// As it is listed.
    fn describe(self, user: &str) -> ServiceSpecificCredentialMetadata {
        let has_keys = self.has_keys();
        ServiceSpecificCredentialMetadata {
            user_name: user.to_owned(),
            status: status(self.is_active),
            service_user_name: (!has_keys).then(|| self.login.clone()),
            service_credential_alias: has_keys.then_some(self.login),
            create_date: Timestamp(self.created),
            expiration_date: self.ends.map(Timestamp),
            service_specific_credential_id: self.id,
            service_name: self.service,
        }
    }
}

fn secret() -> String {
    mint_secret(&mut |buffer: &mut [u8]| cloud::ids::random(buffer))
}

/// A user's credential of that id.
fn of<'a>(user: &'a mut User, id: &str) -> Result<&'a mut ServiceCredential, Fault> {
    let found = user.service_credentials.iter_mut().find(|c| c.id == id);
    found.ok_or_else(|| no_credential(id))
}

impl Iam {
    pub(crate) async fn create_service_specific_credential(
        &self,
        ctx: &Context,
        input: CreateServiceSpecificCredentialInput,
    ) -> Result<CreateServiceSpecificCredentialOutput, Fault> {
        let account = ctx.account.as_str();
        let service = input.service_name;
        let made = self.change(account, &input.user_name, |_, user: &mut User| {
            check_service(&service)?;
            let same = user.service_credentials.iter();
            let same = same.filter(|c| c.service == service).count();
            if same >= MOST {
                return Err(limit_exceeded_exception(format!(
                    "Cannot exceed quota for ServiceSpecificCredentialsPerUser: {MOST}"
                )));
            }
            let base = format!("{}-at-{account}", user.name);
            let login = match same {
                0 => base,
                n => format!("{base}+{n}"),
            };
            let created = ctx.time.whole_second().0;
            let days = input.credential_age_days.map(i64::from);
            let made = ServiceCredential {
                id: new_id(IdKind::ServiceCredential, account),
                service,
                login,
                is_active: true,
                created,
                ends: days.map(|days| created + days * DAY),
            };
            user.service_credentials.push(made.clone());
            Ok(made.reveal(&user.name, secret()))
        });
        Ok(CreateServiceSpecificCredentialOutput {
            service_specific_credential: Some(made.await?),
        })
    }

    pub(crate) async fn list_service_specific_credentials(
        &self,
        ctx: &Context,
        input: ListServiceSpecificCredentialsInput,
    ) -> Result<ListServiceSpecificCredentialsOutput, Fault> {
        let name = self.user_or_caller(ctx, input.user_name)?;
        let user: User = self.find(&ctx.account, &name)?;
        if let Some(service) = &input.service_name {
            check_service(service)?;
        }
        let mut found = user.service_credentials;
        let wanted = input.service_name.as_ref();
        found.retain(|c| wanted.is_none_or(|service| *service == c.service));
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let page = page(
            "ListServiceSpecificCredentials",
            found,
            input.marker.as_deref(),
            input.max_items,
            |c| c.id.clone(),
        )?;
        let shown = page.items.into_iter().map(|c| c.describe(&user.name));
        Ok(ListServiceSpecificCredentialsOutput {
            service_specific_credentials: Some(shown.collect()),
            marker: page.marker,
            is_truncated: page.is_truncated.filter(|more| *more),
        })
    }

    pub(crate) async fn update_service_specific_credential(
        &self,
        ctx: &Context,
        input: UpdateServiceSpecificCredentialInput,
    ) -> Result<UpdateServiceSpecificCredentialOutput, Fault> {
        let name = self.user_or_caller(ctx, input.user_name)?;
        self.change(&ctx.account, &name, |_, user: &mut User| {
            let found = of(user, &input.service_specific_credential_id)?;
            found.is_active = input.status == "Active";
            Ok(())
        })
        .await?;
        Ok(UpdateServiceSpecificCredentialOutput {})
    }

    pub(crate) async fn reset_service_specific_credential(
        &self,
        ctx: &Context,
        input: ResetServiceSpecificCredentialInput,
    ) -> Result<ResetServiceSpecificCredentialOutput, Fault> {
        let name = self.user_or_caller(ctx, input.user_name)?;
        let user: User = self.find(&ctx.account, &name)?;
        let id = &input.service_specific_credential_id;
        let found = user.service_credentials.iter().find(|c| c.id == *id);
        let found = found.ok_or_else(|| no_credential(id))?;
        Ok(ResetServiceSpecificCredentialOutput {
            service_specific_credential: Some(found.reveal(&user.name, secret())),
        })
    }

    pub(crate) async fn delete_service_specific_credential(
        &self,
        ctx: &Context,
        input: DeleteServiceSpecificCredentialInput,
    ) -> Result<DeleteServiceSpecificCredentialOutput, Fault> {
        let name = self.user_or_caller(ctx, input.user_name)?;
        self.change(&ctx.account, &name, |_, user: &mut User| {
            let id = &input.service_specific_credential_id;
            of(user, id)?;
            user.service_credentials.retain(|c| c.id != *id);
            Ok(())
        })
        .await?;
        Ok(DeleteServiceSpecificCredentialOutput {})
    }
}
