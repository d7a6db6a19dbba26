//! Topic policies.

use std::sync::Arc;

use auth::evaluate;
use auth::policy::{Policy, PolicyKind};
use auth::principal::Caller;
use cloud::{Context, PrincipalKind, Source};
use serde_json::{Value, json};
use wire::Fault;

use crate::api::{
    AddPermissionInput, AddPermissionOutput, RemovePermissionInput, RemovePermissionOutput,
};
use crate::attribute;
use crate::errors::*;
use crate::service::Sns;
use crate::topic::{Place, Topic};

/// Bytes of a policy.
const LIMIT: usize = 30_720;

/// Services that tell whom a topic's message is from by its owner alone.
const OWNED: [&str; 2] = ["cloudwatch.amazonaws.com", "autoscaling.amazonaws.com"];

/// Actions that a policy may name in AddPermission.
const ACTIONS: [&str; 9] = [
    "GetTopicAttributes",
    "SetTopicAttributes",
    "AddPermission",
    "RemovePermission",
    "DeleteTopic",
    "Subscribe",
    "ListSubscriptionsByTopic",
    "Publish",
    "Receive",
];

/// The policy of a topic that has none of its own: its owner may do everything.
pub(crate) fn default(place: &Place) -> String {
    json!({
        "Version": "2008-10-17",
        "Id": "__default_policy_ID",
        "Statement": [{
            "Sid": "__default_statement_ID",
            "Effect": "Allow",
            "Principal": { "AWS": "*" },
            "Action": [
                "SNS:GetTopicAttributes",
                "SNS:SetTopicAttributes",
                "SNS:AddPermission",
                "SNS:RemovePermission",
                "SNS:DeleteTopic",
                "SNS:Subscribe",
                "SNS:ListSubscriptionsByTopic",
                "SNS:Publish",
            ],
            "Resource": place.arn(),
            "Condition": { "StringEquals": { "AWS:SourceOwner": place.account } },
        }],
    })
    .to_string()
}

/// Whether that is a policy.
pub(crate) fn check(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Ok(());
    }
    let is_policy = text.len() <= LIMIT && Policy::parse(text, PolicyKind::Resource).is_ok();
    match is_policy {
        true => Ok(()),
        false => Err(invalid_parameter_exception(
            "Invalid parameter: Policy Error: null",
        )),
    }
}

/// The topic's policy does not let a service in.
pub(crate) fn denied(service: &str, place: &Place) -> Fault {
    authorization_error_exception(format!(
        "User: {service} is not authorized to perform: SNS:Publish on resource: {} because no resource-based policy allows the SNS:Publish action",
        place.arn()
    ))
}

impl Sns {
    /// The topic of an ARN of the region that was asked, which the caller may do that with.
    pub(crate) fn permitted(
        &self,
        ctx: &Context,
        arn: &str,
        what: &str,
        action: &str,
    ) -> Result<(Place, Arc<Topic>), Fault> {
        let place = Place::of(ctx, arn, what)?;
        let topic = self.topic(&self.cloud.store, &place)?;
        self.permit(ctx, &place, &topic, action)?;
        Ok((place, topic))
    }

    /// Whether the caller may do that: the topic's account, unless its policy denies it, and whom the policy allows.
    /// The callers' own IAM policies are asked by the gateway.
    pub(crate) fn permit(
        &self,
        ctx: &Context,
        place: &Place,
        topic: &Topic,
        action: &str,
    ) -> Result<(), Fault> {
        let is_anonymous = ctx.principal.kind == PrincipalKind::Anonymous;
        // Unsigned requests are taken to be of the account that made-up credentials have.
        let is_owner = match is_anonymous {
            true => place.account == self.cloud.config.account,
            false => ctx.account == place.account,
        };
        // Most policies let others in and deny nothing, as the default one: their owner need not have them read.
        let denies = |policy: &String| policy.contains("Deny");
        if is_owner && !topic.attributes.get("Policy").is_some_and(denies) {
            return Ok(());
        }
        let text = attribute::value(place, topic, "Policy").unwrap_or_default();
        let refused = |why: &str| {
            Err(authorization_error_exception(format!(
                "User: {} is not authorized to perform: {action} on resource: {} {why}",
                ctx.principal.arn,
                place.arn()
            )))
        };
        let not_allowed = format!("because no resource-based policy allows the {action} action");
        let Ok(policy) = Policy::parse(&text, PolicyKind::Resource) else {
            return match is_owner {
                true => Ok(()),
                false => refused(&not_allowed),
            };
        };
        let mut context = auth::pattern::Context::new();
        context
            .set("aws:SourceIp", ctx.source_ip.to_string())
            .set("aws:SecureTransport", ctx.secure.to_string())
            .set("aws:CurrentTime", ctx.time.iso8601_secs())
            .set("aws:EpochTime", ctx.time.secs().to_string())
            .set("aws:ResourceAccount", place.account.as_str());
        if !is_anonymous {
            context
                .set("aws:PrincipalAccount", ctx.account.as_str())
                .set("aws:PrincipalArn", ctx.principal.arn.as_str())
                .set("aws:userid", ctx.principal.id.as_str())
                // What SNS calls a caller's account in topics' policies.
                .set("aws:SourceOwner", ctx.account.as_str());
        }
        let caller = Caller::of_arn(&ctx.principal.arn);
        let arn = place.arn();
        let request = evaluate::Request {
            caller: &caller,
            action,
            resource: &arn,
            resource_account: Some(&place.account),
            context: &context,
        };
        let reply = evaluate::ask(&request, &policy);
        if reply.is_denied {
            return refused("with an explicit deny in a resource-based policy");
        }
        match is_owner || reply.allowed.is_some() {
            true => Ok(()),
            false => refused(&not_allowed),
        }
    }

    /// Whether a service may publish to the topic on behalf of a source.
    pub(crate) fn lets_in(&self, place: &Place, topic: &Topic, source: &Source) -> bool {
        // What acts as a role of the account is that role's matter.
        if source.role.is_some() && source.account == place.account {
            return true;
        }
        let text = attribute::value(place, topic, "Policy").unwrap_or_default();
        let Ok(policy) = Policy::parse(&text, PolicyKind::Resource) else {
            return false;
        };
        let mut context = auth::pattern::Context::new();
        context
            .set("aws:SourceArn", source.arn.as_str())
            .set("aws:SourceAccount", source.account.as_str())
            .set("aws:SecureTransport", "true");
        // The default policy asks for it: these publish to topics of their account without a policy that names them.
        if OWNED.contains(&source.service.as_str()) {
            context.set("aws:SourceOwner", source.account.as_str());
        }
        let caller = match &source.role {
            Some(role) => Caller::RoleSession {
                account: source.account.clone(),
                role_arn: role.clone(),
                session_arn: role.clone(),
            },
            None => Caller::Service(source.service.clone()),
        };
        let arn = place.arn();
        let request = evaluate::Request {
            caller: &caller,
            action: "sns:Publish",
            resource: &arn,
            resource_account: Some(&place.account),
            context: &context,
        };
        let reply = evaluate::ask(&request, &policy);
        !reply.is_denied && reply.allowed.is_some()
    }

    /// Changes the statements of a topic's policy.
    async fn change_statements(
        &self,
        place: &Place,
        f: impl FnOnce(&mut Vec<Value>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.change(place, |_, topic| {
            let text = attribute::value(place, topic, "Policy").unwrap_or_default();
            let mut policy: Value = serde_json::from_str(&text)?;
            let mut statements = match policy["Statement"].take() {
                Value::Array(statements) => statements,
                one => vec![one],
            };
            f(&mut statements)?;
            policy["Statement"] = statements.into();
            topic.attributes.insert("Policy".into(), policy.to_string());
            Ok(())
        })
        .await
    }

    pub(crate) async fn add_permission(
        &self,
        ctx: &Context,
        input: AddPermissionInput,
    ) -> Result<AddPermissionOutput, Fault> {
        let (place, _) = self.permitted(ctx, &input.topic_arn, "TopicArn", "SNS:AddPermission")?;
        let unknown = |a: &String| !ACTIONS.contains(&a.as_str()) && a != "*";
        if input.action_name.iter().any(unknown) || input.action_name.is_empty() {
            return Err(invalid_parameter_exception(
                "Invalid parameter: Policy statement action out of service scope!",
            ));
        }
        let is_account = |a: &String| a.len() == 12 && a.bytes().all(|b| b.is_ascii_digit());
        if !input.aws_account_id.iter().all(is_account) || input.aws_account_id.is_empty() {
            return Err(invalid_parameter_exception(
                "Invalid parameter: AWSAccountId",
            ));
        }
        let one_or_all = |mut all: Vec<String>| match all.len() {
            1 => Value::from(all.remove(0)),
            _ => Value::from(all),
        };
        let principals = input.aws_account_id.iter();
        let principals = principals
            .map(|a| cloud::Arn::global("iam", &ctx.region, a, "root").to_string())
            .collect();
        let actions = input
            .action_name
            .iter()
            .map(|a| format!("SNS:{a}"))
            .collect();
        self.change_statements(&place, |statements| {
            if statements.iter().any(|s| s["Sid"] == input.label) {
                return Err(invalid_parameter_exception(
                    "Invalid parameter: Statement already exists",
                ));
            }
            statements.push(json!({
                "Sid": input.label,
                "Effect": "Allow",
                "Principal": { "AWS": one_or_all(principals) },
                "Action": one_or_all(actions),
                "Resource": place.arn(),
            }));
            Ok(())
        })
        .await?;
        Ok(AddPermissionOutput {})
    }

    pub(crate) async fn remove_permission(
        &self,
        ctx: &Context,
        input: RemovePermissionInput,
    ) -> Result<RemovePermissionOutput, Fault> {
        let action = "SNS:RemovePermission";
        let (place, _) = self.permitted(ctx, &input.topic_arn, "TopicArn", action)?;
        self.change_statements(&place, |statements| {
            statements.retain(|s| s["Sid"] != input.label);
            Ok(())
        })
        .await?;
        Ok(RemovePermissionOutput {})
    }
}
