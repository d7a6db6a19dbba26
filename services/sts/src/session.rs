//! Sessions: temporary credentials, and who they are.

use std::sync::Arc;

use auth::account::{IdKind, account_of_access_key, mint_id, mint_secret};
use auth::principal::Caller;
use cloud::ports::{Credentials, Identities, Identity, NewSession, Sessions};
use cloud::{Context, Principal, PrincipalKind};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use store::{Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::{self, *};
use crate::assume::packed_size;
use crate::errors::*;
use crate::service::{Sts, missing_token};

/// A session as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) secret: String,
    pub(crate) token: String,
    pub(crate) expiration: i64,
    pub(crate) kind: Kind,
    pub(crate) arn: String,
    pub(crate) id: String,
    /// The role or user behind it.
    pub(crate) entity_arn: String,
    #[serde(default)]
    pub(crate) policies: Vec<String>,
    #[serde(default)]
    pub(crate) policy_arns: Vec<String>,
    #[serde(default)]
    pub(crate) tags: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) transitive: Vec<String>,
    #[serde(default)]
    pub(crate) source_identity: Option<String>,
    /// When a code of an MFA device was given for it, milliseconds.
    #[serde(default)]
    pub(crate) mfa_at: Option<i64>,
}
impl Record for Session {}

/// Who a session is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    Root,
    User,
    AssumedRole,
    FederatedUser,
}

impl Kind {
    fn principal(self) -> PrincipalKind {
        match self {
            Kind::Root => PrincipalKind::Root,
            Kind::User => PrincipalKind::User,
            Kind::AssumedRole => PrincipalKind::AssumedRole,
            Kind::FederatedUser => PrincipalKind::FederatedUser,
        }
    }
}

/// Ended sessions are remembered that long, so that their callers hear what is wrong and not that a key is unknown.
const REMEMBERED: i64 = 7 * 86_400_000;
const SWEEP: &str = "sts.sweep";

impl Sts {
    pub(crate) fn register_sweep(self: &Arc<Self>) {
        let this = self.clone();
        self.cloud.scheduler.register(SWEEP, move |job| {
            let this = this.clone();
            Box::pin(async move {
                let account = account_of_access_key(&job.key);
                let scope = ["sts", &account];
                let store = &this.cloud.store;
                let swept = store.transact(Scope::new(&scope), |tx| {
                    tx.delete(&this.sessions, &(&account, &job.key));
                    Ok::<_, Fault>(())
                });
                swept.await
            })
        });
    }

    /// The session of a key.
    pub(crate) fn session(&self, access_key: &str) -> Result<Option<Session>, Fault> {
        // Only keys that were made here can be ours; a made-up one costs no look.
        if !access_key.starts_with("ASIA") {
            return Ok(None);
        }
        let account = account_of_access_key(access_key);
        Ok(self
            .cloud
            .store
            .read()
            .get(&self.sessions, &(account, access_key))?)
    }

    /// The session that a call is made in.
    pub(crate) fn own_session(&self, ctx: &Context) -> Result<Option<Session>, Fault> {
        match &ctx.principal.access_key {
            Some(key) => self.session(key),
            None => Ok(None),
        }
    }

    /// The caller as policies see it.
    pub(crate) fn caller(&self, ctx: &Context) -> Result<Caller, Fault> {
        let account = ctx.account.clone();
        let arn = ctx.principal.arn.clone();
        let entity = || -> Result<String, Fault> {
            Ok(self
                .own_session(ctx)?
                .map(|s| s.entity_arn)
                .unwrap_or_default())
        };
        Ok(match ctx.principal.kind {
            PrincipalKind::Root => Caller::Root { account },
            PrincipalKind::User => Caller::User { account, arn },
            PrincipalKind::AssumedRole => Caller::RoleSession {
                account,
                role_arn: entity()?,
                session_arn: arn,
            },
            PrincipalKind::FederatedUser => Caller::FederatedUser {
                account,
                user_arn: entity()?,
                session_arn: arn,
            },
            PrincipalKind::Service => Caller::Service(arn),
            PrincipalKind::Anonymous => Caller::Anonymous,
        })
    }

    async fn open_session(&self, new: NewSession) -> Result<Credentials, Fault> {
        let mut random = |buffer: &mut [u8]| cloud::ids::random(buffer);
        let account = new.account;
        let access_key = mint_id(IdKind::TemporaryAccessKey, &account, &mut random);
        let expiration = Timestamp((self.cloud.clock.now().secs() + new.seconds) * 1000);
        let kind = match new.principal.kind {
            PrincipalKind::Root => Kind::Root,
            PrincipalKind::User => Kind::User,
            PrincipalKind::FederatedUser => Kind::FederatedUser,
            _ => Kind::AssumedRole,
        };
        let session = Session {
            secret: mint_secret(&mut random),
            token: token(),
            expiration: expiration.0,
            kind,
            arn: new.principal.arn,
            id: new.principal.id,
            entity_arn: new.entity_arn,
            policies: new.policies,
            policy_arns: new.policy_arns,
            tags: new.tags,
            transitive: new.transitive,
            source_identity: new.source_identity,
            mfa_at: new.mfa_at.map(|at| at.0),
        };
        let scope = ["sts", &account];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                tx.put(&self.sessions, &(&account, &access_key), &session)?;
                let when = expiration.plus_millis(REMEMBERED);
                self.cloud
                    .scheduler
                    .at(tx, when, SWEEP, &access_key, serde_json::Value::Null)
            })
            .await?;
        Ok(Credentials {
            access_key,
            secret_key: session.secret,
            session_token: session.token,
            expiration,
        })
    }

    pub(crate) async fn get_session_token(
        &self,
        ctx: &Context,
        input: GetSessionTokenInput,
    ) -> Result<GetSessionTokenOutput, Fault> {
        self.check_long_lived(ctx, "GetSessionToken")?;
        let mfa_at = self
            .verify_mfa(
                ctx,
                input.serial_number.as_deref(),
                input.token_code.as_deref(),
            )
            .await?;
        let is_root = ctx.principal.kind == PrincipalKind::Root;
        let asked = input.duration_seconds.map(i64::from);
        // Root's sessions end after an hour at most.
        let seconds = if is_root {
            asked.unwrap_or(3600).min(3600)
        } else {
            asked.unwrap_or(43_200)
        };
        let session = NewSession {
            account: ctx.account.clone(),
            principal: ctx.principal.clone(),
            entity_arn: ctx.principal.arn.clone(),
            seconds,
            policies: Vec::new(),
            policy_arns: Vec::new(),
            tags: Vec::new(),
            transitive: Vec::new(),
            source_identity: None,
            mfa_at,
        };
        let credentials = shown(self.open_session(session).await?);
        Ok(GetSessionTokenOutput {
            credentials: Some(credentials),
            ..Default::default()
        })
    }

    pub(crate) async fn get_federation_token(
        &self,
        ctx: &Context,
        input: GetFederationTokenInput,
    ) -> Result<GetFederationTokenOutput, Fault> {
        self.check_long_lived(ctx, "GetFederationToken")?;
        let tags: Vec<_> = input
            .tags
            .unwrap_or_default()
            .into_iter()
            .map(|t| (t.key, t.value))
            .collect();
        let policy_arns: Vec<String> = input
            .policy_arns
            .unwrap_or_default()
            .into_iter()
            .filter_map(|p| p.arn)
            .collect();
        let packed_policy_size = packed_size(input.policy.as_deref(), &policy_arns, &tags)?;
        let resource = format!("federated-user/{}", input.name);
        let arn = cloud::Arn::global("sts", &ctx.region, &ctx.account, resource).to_string();
        let id = format!("{}:{}", ctx.account, input.name);
        let session = NewSession {
            account: ctx.account.clone(),
            principal: Principal {
                kind: PrincipalKind::FederatedUser,
                arn: arn.clone(),
                id: id.clone(),
                access_key: None,
            },
            entity_arn: ctx.principal.arn.clone(),
            seconds: input.duration_seconds.map_or(43_200, i64::from),
            policies: input.policy.into_iter().collect(),
            policy_arns,
            tags,
            transitive: Vec::new(),
            source_identity: None,
            mfa_at: None,
        };
        let credentials = shown(self.open_session(session).await?);
        Ok(GetFederationTokenOutput {
            credentials: Some(credentials),
            federated_user: Some(FederatedUser {
                federated_user_id: id,
                arn,
            }),
            packed_policy_size,
            ..Default::default()
        })
    }

    fn check_long_lived(&self, ctx: &Context, operation: &str) -> Result<(), Fault> {
        if ctx.principal.kind == PrincipalKind::Anonymous {
            return Err(missing_token());
        }
        if self.own_session(ctx)?.is_some() {
            let message = format!("Cannot call {operation} with session credentials");
            return Err(Fault::sender(403, "AccessDenied", message));
        }
        Ok(())
    }
}

/// As long and shapeless as AWS's, which clients must not look into.
fn token() -> String {
    use base64::Engine;
    let mut bytes = [0; 255];
    cloud::ids::random(&mut bytes);
    format!(
        "IQoJb3JpZ2luX2Vj{}",
        base64::engine::general_purpose::STANDARD.encode(bytes)
    )
}

pub(crate) fn shown(credentials: Credentials) -> api::Credentials {
    api::Credentials {
        access_key_id: credentials.access_key,
        secret_access_key: credentials.secret_key,
        session_token: credentials.session_token,
        expiration: credentials.expiration,
    }
}

impl Sessions for Sts {
    fn open(&self, session: NewSession) -> BoxFuture<'_, Result<Credentials, Fault>> {
        Box::pin(self.open_session(session))
    }
}

impl Identities for Sts {
    fn identity(&self, access_key: &str) -> Option<Identity> {
        let session = match self.session(access_key) {
            Ok(session) => session?,
            Err(e) => {
                tracing::error!(error = %e, cause = e.cause, "a session cannot be read");
                return None;
            }
        };
        Some(Identity {
            account: account_of_access_key(access_key),
            principal: Principal {
                kind: session.kind.principal(),
                arn: session.arn,
                id: session.id,
                access_key: Some(access_key.to_owned()),
            },
            secret_key: session.secret,
            session_token: Some(session.token),
            expiration: Some(Timestamp(session.expiration)),
        })
    }
}

/// A policy that cannot be one of a session.
pub(crate) fn malformed(message: String) -> Fault {
    malformed_policy_document_exception(message)
}
