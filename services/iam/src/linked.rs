//! Roles linked to a service, which that service alone may change; and roles as other services see them.

use auth::account::IdKind;
use auth::policy::{Policy, PolicyKind};
use auth::principal::Caller;
use auth::trust::{Trust, evaluate_trust};
use cloud::ports::{Credentials, IdentityProvider, NewSession, RoleProblem};
use cloud::{Arn, Context, Principal, PrincipalKind};
use futures_util::future::BoxFuture;
use store::Read;
use wire::Fault;

use crate::api::*;
use crate::entity::{Policies, arn_of, key, missing, new_id};
use crate::errors::*;
use crate::linked_name;
use crate::managed;
use crate::role::Role;
use crate::service::Iam;
use crate::tag::Tags;

/// Services whose roles may have a suffix of their own.
const SUFFIXED: [&str; 3] = ["autoscaling", "connect", "lexv2"];

impl Iam {
    pub(crate) async fn create_service_linked_role(
        &self,
        ctx: &Context,
        input: CreateServiceLinkedRoleInput,
    ) -> Result<CreateServiceLinkedRoleOutput, Fault> {
        let service = input.aws_service_name;
        let Some(short) = service
            .strip_suffix(".amazonaws.com")
            .filter(|s| !s.is_empty())
        else {
            return Err(invalid_input_exception(format!(
                "Service principal {service} is not valid."
            )));
        };
        let known = linked_name::of(short);
        let stem = known.map_or_else(|| capitalised(short), |known| known.stem.to_owned());
        // Of the services that are known, few have several roles.
        if known.is_some_and(|known| !SUFFIXED.contains(&known.service))
            && input.custom_suffix.is_some()
        {
            return Err(invalid_input_exception(format!(
                "Custom suffix is not allowed for {service}"
            )));
        }
        let suffix = input
            .custom_suffix
            .map(|s| format!("_{s}"))
            .unwrap_or_default();
        let name = format!("AWSServiceRoleFor{stem}{suffix}");
        let path = format!("/aws-service-role/{service}/");
        let policy = known.map(|known| {
            let resource = format!("policy/aws-service-role/{}", known.policy);
            Arn::global("iam", &ctx.region, "aws", resource).to_string()
        });
        let description = known.and_then(|known| known.description).map(str::to_owned);
        let role = Role {
            arn: arn_of(ctx, format!("role{path}{name}")),
            id: new_id(IdKind::Role, &ctx.account),
            name,
            path,
            created: ctx.time.whole_second().0,
            trust: trust_in(&service),
            description: input.description.or(description),
            max_session: 3600,
            policies: Policies {
                managed: policy
                    .into_iter()
                    .filter(|arn| managed::exists(arn))
                    .collect(),
                ..Policies::default()
            },
            tags: Tags::new(),
            linked_to: Some(service),
        };
        self.insert_role(&ctx.account, &role).await.map_err(|fault| match fault.is("EntityAlreadyExists") {
            true => invalid_input_exception(format!(
                "Service role name {} has been taken in this account, please try a different suffix.",
                role.name
            )),
            false => fault,
        })?;
        Ok(CreateServiceLinkedRoleOutput {
            role: Some(crate::api::Role {
                role_last_used: None,
                max_session_duration: None,
                ..role.whole()
            }),
        })
    }

    pub(crate) async fn delete_service_linked_role(
        &self,
        ctx: &Context,
        input: DeleteServiceLinkedRoleInput,
    ) -> Result<DeleteServiceLinkedRoleOutput, Fault> {
        let account = ctx.account.as_str();
        let deletion_task_id = self.transact(account, |tx| {
            let role: Role = self.find_in(tx, account, &input.role_name)?;
            let service = role
                .linked_to
                .as_ref()
                .ok_or_else(|| missing("role", &input.role_name))?;
            for arn in &role.policies.managed {
                self.count(tx, account, arn, |uses| uses.attachments -= 1)?;
            }
            tx.delete(&self.roles, &(account, &key(&role.name)));
            tx.delete(&self.key_uses, &(account, &role.id));
            Ok(format!(
                "task/aws-service-role/{service}/{}/{}",
                role.name,
                cloud::ids::uuid()
            ))
        });
        Ok(DeleteServiceLinkedRoleOutput {
            deletion_task_id: deletion_task_id.await?,
        })
    }

    pub(crate) async fn get_service_linked_role_deletion_status(
        &self,
        ctx: &Context,
        input: GetServiceLinkedRoleDeletionStatusInput,
    ) -> Result<GetServiceLinkedRoleDeletionStatusOutput, Fault> {
        let id = &input.deletion_task_id;
        let parts: Vec<&str> = id.split('/').collect();
        let ["task", "aws-service-role", _, role, _] = parts.as_slice() else {
            return Err(no_such_entity_exception(format!(
                "Deletion task id: {id} not found."
            )));
        };
        // The task names its role, and was over when its id was answered.
        let status = match self.exists::<Role>(&ctx.account, role)? {
            true => "NOT_STARTED",
            false => "SUCCEEDED",
        };
        Ok(GetServiceLinkedRoleDeletionStatusOutput {
            status: status.into(),
            reason: None,
        })
    }

    fn role_of_arn(&self, arn: &str) -> Result<Option<(String, Role)>, Fault> {
        let Ok(arn) = arn.parse::<Arn>() else {
            return Ok(None);
        };
        let Some(name) = arn
            .resource
            .strip_prefix("role/")
            .and_then(|r| r.rsplit('/').next())
        else {
            return Ok(None);
        };
        let role: Option<Role> = self
            .cloud
            .store
            .read()
            .get(&self.roles, &(&arn.account, &key(name)))?;
        Ok(role
            .filter(|role| role.arn == arn.to_string())
            .map(|role| (arn.account, role)))
    }

    fn role_at(&self, arn: &str) -> Option<(String, Role)> {
        self.role_of_arn(arn).unwrap_or_else(|e| {
            tracing::error!(error = %e, cause = e.cause, arn, "a role cannot be read");
            None
        })
    }
}

fn trust_in(service: &str) -> String {
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" }]
    })
    .to_string()
}

fn capitalised(service: &str) -> String {
    let word = |w: &str| {
        w.chars()
            .take(1)
            .flat_map(char::to_uppercase)
            .chain(w.chars().skip(1))
            .collect::<String>()
    };
    service.split(['.', '-']).map(word).collect()
}

impl cloud::ports::Roles for Iam {
    fn role(&self, role_arn: &str) -> Option<cloud::ports::Role> {
        let (account, role) = self.role_at(role_arn)?;
        Some(cloud::ports::Role {
            account,
            name: role.name,
            id: role.id,
            arn: role.arn,
            trust: role.trust,
            max_session: i64::from(role.max_session),
            tags: role.tags,
        })
    }

    fn provider(&self, arn: &str) -> Option<IdentityProvider> {
        let account = arn.parse::<Arn>().ok()?.account;
        let provider = Iam::provider(self, &account, arn).ok()?;
        Some(IdentityProvider {
            arn: provider.arn,
            clients: provider.clients,
        })
    }

    fn check(&self, role_arn: &str, service: &str) -> Result<(), RoleProblem> {
        let (account, role) = self.role_at(role_arn).ok_or(RoleProblem::Missing)?;
        let policy =
            Policy::parse(&role.trust, PolicyKind::Trust).map_err(|_| RoleProblem::Untrusted)?;
        let caller = Caller::Service(service.to_owned());
        let context = auth::pattern::Context::new();
        match evaluate_trust(
            &policy,
            &caller,
            "sts:AssumeRole",
            &role.arn,
            &account,
            &context,
        ) {
            Trust::Refused => Err(RoleProblem::Untrusted),
            Trust::Granted | Trust::Delegated => Ok(()),
        }
    }

    fn assume<'a>(
        &'a self,
        role_arn: &'a str,
        session: &'a str,
        seconds: i64,
    ) -> BoxFuture<'a, Result<Credentials, Fault>> {
        Box::pin(async move {
            let (account, role) = self.role_of_arn(role_arn)?.ok_or_else(|| {
                let name = role_arn.rsplit('/').next().unwrap_or(role_arn);
                missing("role", name)
            })?;
            let opener = self.cloud.ports.opener().ok_or_else(|| {
                Fault::receiver(
                    501,
                    "NotImplemented",
                    "sts does not run here, so no role can be assumed.",
                )
            })?;
            let principal = Principal {
                kind: PrincipalKind::AssumedRole,
                arn: Arn::stored(&role.arn)?
                    .session(&role.name, session)
                    .to_string(),
                id: format!("{}:{session}", role.id),
                access_key: None,
            };
            let new = NewSession {
                account,
                principal,
                entity_arn: role.arn,
                seconds,
                policies: Vec::new(),
                policy_arns: Vec::new(),
                tags: Vec::new(),
                transitive: Vec::new(),
                source_identity: None,
                mfa_at: None,
            };
            opener.open(new).await
        })
    }
}
