//! Whether a caller may use a queue: its owner's account, unless the policy denies it, and whom the policy allows.
//!
//! The callers' own IAM policies are asked by the gateway.

use auth::evaluate::{self, Reply};
use auth::policy::{Policy, PolicyKind};
use auth::principal::Caller;
use cloud::{Context, PrincipalKind, Source};
use wire::Fault;

use crate::queue::Queue;
use crate::service::Sqs;
use crate::url::Name;

fn denied(action: &str, arn: &str) -> Fault {
    Fault::sender(
        403,
        "AccessDenied",
        format!(
            "User is not authorized to perform: {} on resource: {arn} because no resource-based policy allows the {} action",
            action.to_ascii_lowercase(),
            action.to_ascii_lowercase()
        ),
    )
    .shape("AccessDeniedException")
}

fn ask(
    policy: &str,
    caller: &Caller,
    action: &str,
    name: &Name,
    context: &auth::pattern::Context,
) -> Reply {
    let Ok(policy) = Policy::parse(policy, PolicyKind::Resource) else {
        return Reply {
            is_denied: false,
            allowed: None,
        };
    };
    let arn = name.arn();
    let request = evaluate::Request {
        caller,
        action,
        resource: &arn,
        resource_account: Some(&name.account),
        context,
    };
    evaluate::ask(&request, &policy)
}

impl Sqs {
    /// Whether the caller may do that with the queue.
    pub(crate) fn permit(
        &self,
        ctx: &Context,
        name: &Name,
        queue: &Queue,
        action: &str,
    ) -> Result<(), Fault> {
        let is_anonymous = ctx.principal.kind == PrincipalKind::Anonymous;
        let is_owner = !is_anonymous && ctx.account == name.account;
        let Some(policy) = &queue.policy else {
            return match is_owner || self.is_unsigned_local(ctx, name) {
                true => Ok(()),
                false => Err(denied(action, &name.arn())),
            };
        };
        // Most policies let services in and deny nothing: their owner need not have them read.
        if is_owner && !policy.contains("Deny") {
            return Ok(());
        }
        let mut context = auth::pattern::Context::new();
        context
            .set("aws:SourceIp", ctx.source_ip.to_string())
            .set("aws:SecureTransport", ctx.secure.to_string())
            .set("aws:CurrentTime", ctx.time.iso8601_secs())
            .set("aws:EpochTime", ctx.time.secs().to_string())
            .set("aws:ResourceAccount", name.account.as_str());
        if !is_anonymous {
            context
                .set("aws:PrincipalAccount", ctx.account.as_str())
                .set("aws:PrincipalArn", ctx.principal.arn.as_str())
                .set("aws:userid", ctx.principal.id.as_str());
        }
        let reply = ask(
            policy,
            &Caller::of_arn(&ctx.principal.arn),
            action,
            name,
            &context,
        );
        // The account's root can always mend a policy that locks everyone out.
        let is_mending = is_owner
            && ctx.principal.kind == PrincipalKind::Root
            && [
                "sqs:SetQueueAttributes",
                "sqs:GetQueueAttributes",
                "sqs:DeleteQueue",
            ]
            .contains(&action);
        let may = is_owner || reply.allowed.is_some() || self.is_unsigned_local(ctx, name);
        match may && (!reply.is_denied || is_mending) {
            true => Ok(()),
            false => Err(denied(action, &name.arn())),
        }
    }

    /// Unsigned requests are of the default account: a browser or curl at one's own machine.
    fn is_unsigned_local(&self, ctx: &Context, name: &Name) -> bool {
        ctx.principal.kind == PrincipalKind::Anonymous && name.account == self.cloud.config.account
    }

    /// Whether a service may send to the queue on behalf of a source.
    pub(crate) fn admits(&self, name: &Name, queue: &Queue, source: &Source) -> bool {
        // What acts as a role of the account is that role's matter.
        if source.role.is_some() && source.account == name.account {
            return true;
        }
        let Some(policy) = &queue.policy else {
            return false;
        };
        let mut context = auth::pattern::Context::new();
        context
            .set("aws:SourceArn", source.arn.as_str())
            .set("aws:SourceAccount", source.account.as_str())
            .set("aws:SourceOwner", source.account.as_str())
            .set("aws:SecureTransport", "true");
        let caller = match &source.role {
            Some(role) => Caller::RoleSession {
                account: source.account.clone(),
                role_arn: role.clone(),
                session_arn: role.clone(),
            },
            None => Caller::Service(source.service.clone()),
        };
        let reply = ask(policy, &caller, "sqs:SendMessage", name, &context);
        !reply.is_denied && reply.allowed.is_some()
    }
}
