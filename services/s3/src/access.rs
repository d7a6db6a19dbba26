//! Whether a caller may: the bucket's policy, its owner, and access control lists.
//!
//! The owner's account may do everything that the policy does not deny; the callers' own IAM policies are asked by
//! the gateway. Other accounts and anonymous callers need a grant by policy or list.

use auth::evaluate::{self, Reply};
use auth::principal::Caller;
use cloud::{Context, PrincipalKind};
use wire::Fault;

use crate::acl::{Acl, Permission};
use crate::bucket::Bucket;
use crate::fault;

/// The values of a request's condition keys.
pub type Conditions = auth::pattern::Context;

/// What an access control list may grant.
#[derive(Clone, Copy)]
pub struct Grant<'a> {
    /// The list.
    pub acl: &'a Acl,
    /// What is needed.
    pub permission: Permission,
}

/// A question.
pub struct Question<'a> {
    /// `s3:GetObject`
    pub action: &'a str,
    /// The object, or the bucket itself.
    pub key: Option<&'a str>,
    /// The account that owns what is asked for.
    pub owner: &'a str,
    /// The list that may grant it.
    pub grant: Option<Grant<'a>>,
}

/// The action on a version, where one is named, or on the current one: `s3:GetObjectVersion`, `s3:GetObject`.
pub(crate) fn of_version<'a>(id: Option<&str>, current: &'a str, version: &'a str) -> &'a str {
    if id.is_some() { version } else { current }
}

/// The account that calls; `None` for nobody in particular.
pub fn account(ctx: &Context) -> Option<&str> {
    (ctx.principal.kind != PrincipalKind::Anonymous).then_some(ctx.account.as_str())
}

impl crate::S3 {
    /// Fails for anonymous callers.
    pub(crate) fn require_signed(&self, ctx: &Context) -> Result<(), Fault> {
        account(ctx).map(|_| ()).ok_or_else(fault::access_denied)
    }

    /// Whether the caller may do that to the bucket, which no list grants.
    pub(crate) fn permit(&self, ctx: &Context, bucket: &Bucket, action: &str) -> Result<(), Fault> {
        let question = Question {
            action,
            key: None,
            owner: &bucket.account,
            grant: None,
        };
        self.permit_when(ctx, bucket, &question, |_| {})
    }

    /// Whether the caller may do that to the bucket, which its list may grant.
    pub(crate) fn permit_acl(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        action: &str,
        permission: Permission,
    ) -> Result<(), Fault> {
        let grant = Some(Grant {
            acl: &bucket.record.acl,
            permission,
        });
        let question = Question {
            action,
            key: None,
            owner: &bucket.account,
            grant,
        };
        self.permit_when(ctx, bucket, &question, |_| {})
    }

    /// Whether the caller may; `conditions` adds the request's own condition keys.
    pub(crate) fn permit_when(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        question: &Question<'_>,
        conditions: impl FnOnce(&mut Conditions),
    ) -> Result<(), Fault> {
        let reply = ask(ctx, bucket, question, conditions);
        let is_about_policy = question.action.ends_with("BucketPolicy");
        let is_root_owner =
            ctx.principal.kind == PrincipalKind::Root && ctx.account == bucket.account;
        if reply.is_denied && !(is_about_policy && is_root_owner) {
            return Err(fault::access_denied());
        }
        let caller = account(ctx);
        if ctx.principal.kind == PrincipalKind::Service || caller == Some(question.owner) {
            return Ok(());
        }
        let block = bucket.public_access_block();
        let is_restricted = block.restrict_public_buckets
            && bucket.is_policy_public
            && caller != Some(&bucket.account);
        if reply.allowed.is_some() && !is_restricted {
            return Ok(());
        }
        match question.grant {
            Some(Grant { acl, permission })
                if bucket.has_acls()
                    && acl.allows(caller, permission, block.ignore_public_acls) =>
            {
                Ok(())
            }
            _ => Err(fault::access_denied()),
        }
    }
}

fn ask(
    ctx: &Context,
    bucket: &Bucket,
    question: &Question<'_>,
    conditions: impl FnOnce(&mut Conditions),
) -> Reply {
    let Some(policy) = &bucket.policy else {
        return Reply {
            is_denied: false,
            allowed: None,
        };
    };
    let mut context = Conditions::new();
    context
        .set("aws:SourceIp", ctx.source_ip.to_string())
        .set("aws:SecureTransport", ctx.secure.to_string())
        .set("aws:CurrentTime", ctx.time.iso8601_secs())
        .set("aws:EpochTime", ctx.time.secs().to_string())
        .set("aws:ResourceAccount", bucket.account.as_str())
        .set("s3:ResourceAccount", bucket.account.as_str());
    if let Some(referer) = &ctx.referer {
        context.set("aws:Referer", referer.as_str());
    }
    if !ctx.user_agent.is_empty() {
        context.set("aws:UserAgent", ctx.user_agent.as_str());
    }
    if let Some(account) = account(ctx) {
        context
            .set("aws:PrincipalAccount", account)
            .set("aws:PrincipalArn", ctx.principal.arn.as_str())
            .set("aws:userid", ctx.principal.id.as_str());
    }
    conditions(&mut context);
    let resource = match question.key {
        Some(key) => format!("{}/{key}", bucket.arn()),
        None => bucket.arn(),
    };
    let request = evaluate::Request {
        caller: &Caller::of_arn(&ctx.principal.arn),
        action: question.action,
        resource: &resource,
        resource_account: Some(&bucket.account),
        context: &context,
    };
    evaluate::ask(&request, policy)
}
