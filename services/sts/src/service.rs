//! The operations, each calling down to its noun.

use std::sync::Arc;

use auth::account::{account_of_access_key, is_account_id};
use cloud::{Cloud, Context, PrincipalKind, Service};
use store::Table;
use wire::Fault;

use crate::api::{self, *};
use crate::errors::*;
use crate::session::Session;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let sts = Arc::new(Sts {
        cloud: cloud.clone(),
        sessions: cloud.store.table("sts.sessions"),
    });
    sts.register_sweep();
    cloud.ports.set_sessions(sts.clone());
    cloud.ports.set_opener(sts.clone());
    Service::new(api::Api(sts))
}

/// The service's state.
pub(crate) struct Sts {
    pub(crate) cloud: Cloud,
    /// By account and access key.
    pub(crate) sessions: Table<(String, String), Session>,
}

impl Sts {
    async fn get_caller_identity(
        &self,
        ctx: &Context,
        _: GetCallerIdentityInput,
    ) -> Result<GetCallerIdentityOutput, Fault> {
        if ctx.principal.kind == PrincipalKind::Anonymous {
            return Err(missing_token());
        }
        Ok(GetCallerIdentityOutput {
            user_id: Some(ctx.principal.id.clone()),
            account: Some(ctx.account.clone()),
            arn: Some(ctx.principal.arn.clone()),
        })
    }

    async fn get_access_key_info(
        &self,
        _: &Context,
        input: GetAccessKeyInfoInput,
    ) -> Result<GetAccessKeyInfoOutput, Fault> {
        let key = &input.access_key_id;
        let account = match self.cloud.ports.identity(key) {
            Some(identity) => identity.account,
            None => match account_of_access_key(key) {
                account if is_account_id(key) || account != auth::account::DEFAULT_ACCOUNT => {
                    account
                }
                _ => self.cloud.config.account.clone(),
            },
        };
        Ok(GetAccessKeyInfoOutput {
            account: Some(account),
        })
    }

    /// Messages are encoded where a call is refused by its policies; nothing here does so yet, so none is valid.
    async fn decode_authorization_message(
        &self,
        _: &Context,
        _: DecodeAuthorizationMessageInput,
    ) -> Result<DecodeAuthorizationMessageOutput, Fault> {
        Err(invalid_authorization_message_exception(
            "Message is not valid",
        ))
    }
}

pub(crate) fn missing_token() -> Fault {
    Fault::sender(
        403,
        "MissingAuthenticationToken",
        "Request is missing Authentication Token",
    )
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Sts for Sts {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Sts::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    get_caller_identity: GetCallerIdentityInput => GetCallerIdentityOutput,
    assume_role: AssumeRoleInput => AssumeRoleOutput,
    assume_role_with_web_identity: AssumeRoleWithWebIdentityInput => AssumeRoleWithWebIdentityOutput,
    assume_role_with_saml: AssumeRoleWithSAMLInput => AssumeRoleWithSAMLOutput,
    get_session_token: GetSessionTokenInput => GetSessionTokenOutput,
    get_federation_token: GetFederationTokenInput => GetFederationTokenOutput,
    get_access_key_info: GetAccessKeyInfoInput => GetAccessKeyInfoOutput,
    decode_authorization_message: DecodeAuthorizationMessageInput => DecodeAuthorizationMessageOutput,
}
