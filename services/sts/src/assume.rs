//! Assuming roles: by principals, by web identities, by SAML assertions.

use auth::grammar::MalformedPolicy;
use auth::jwt::{Claims, InvalidToken};
use auth::pattern;
use auth::policy::{Policy, PolicyKind};
use auth::principal::Caller;
use auth::trust::{Trust, evaluate_trust};
use cloud::ports::{NewSession, Role};
use cloud::{Arn, Context, Principal, PrincipalKind};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::assertion::Assertion;
use crate::errors::*;
use crate::service::{Sts, missing_token};
use crate::session::{malformed, shown};

/// Bytes that session policies and tags may take once packed.
const PACKED: usize = 2048;
/// A session opened from another role's session lasts an hour at most.
const CHAINED: i64 = 3600;
/// Providers that trust policies name by themselves, without an ARN.
const WELL_KNOWN: [&str; 4] = [
    "accounts.google.com",
    "www.amazon.com",
    "graph.facebook.com",
    "cognito-identity.amazonaws.com",
];

/// What a caller asks for beside the role.
struct Wish {
    session_name: String,
    seconds: Option<i32>,
    policy: Option<String>,
    policy_arns: Vec<String>,
    tags: Vec<(String, String)>,
    transitive: Vec<String>,
    source_identity: Option<String>,
    mfa_at: Option<Timestamp>,
}

impl Sts {
    fn role(&self, arn: &str) -> Option<Role> {
        self.cloud.ports.roles().and_then(|roles| roles.role(arn))
    }

    pub(crate) async fn assume_role(
        &self,
        ctx: &Context,
        input: AssumeRoleInput,
    ) -> Result<AssumeRoleOutput, Fault> {
        if ctx.principal.kind == PrincipalKind::Anonymous {
            return Err(missing_token());
        }
        let arn = input.role_arn;
        let denied = |action: &str| {
            let message = format!(
                "User: {} is not authorized to perform: {action} on resource: {arn}",
                ctx.principal.arn
            );
            Fault::sender(403, "AccessDenied", message)
        };
        check_arn(&arn)?;
        let own = self.own_session(ctx)?;
        let is_chained = ctx.principal.kind == PrincipalKind::AssumedRole;
        let role = self.role(&arn).ok_or_else(|| denied("sts:AssumeRole"))?;
        let mut tags: Vec<(String, String)> = input
            .tags
            .unwrap_or_default()
            .into_iter()
            .map(|t| (t.key, t.value))
            .collect();
        check_tags(&tags)?;
        let mut transitive = input.transitive_tag_keys.unwrap_or_default();
        // What a chain hands on cannot be changed on the way.
        for key in own.iter().flat_map(|s| &s.transitive) {
            if tags.iter().any(|(k, _)| k.eq_ignore_ascii_case(key)) {
                return Err(invalid_value(
                    "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.",
                ));
            }
        }
        for key in &mut transitive {
            let Some((name, _)) = tags.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)) else {
                return Err(invalid_value(
                    "The specified transitive tag key must be included in the requested tags.",
                ));
            };
            key.clone_from(name);
        }
        let mut context = conditions(ctx, &input.role_session_name, &tags);
        if let Some(id) = &input.external_id {
            context.set("sts:ExternalId", id.as_str());
        }
        if let Some(identity) = &input.source_identity {
            context.set("sts:SourceIdentity", identity.as_str());
        }
        if !transitive.is_empty() {
            context.set_all("sts:TransitiveTagKeys", transitive.clone());
        }
        let given = self
            .verify_mfa(
                ctx,
                input.serial_number.as_deref(),
                input.token_code.as_deref(),
            )
            .await?;
        let mfa_at = given.or_else(|| own.as_ref()?.mfa_at.map(Timestamp));
        // Without a code only sessions' requests tell that there was none.
        if mfa_at.is_some() || own.is_some() {
            context.set("aws:MultiFactorAuthPresent", mfa_at.is_some().to_string());
        }
        if let Some(at) = mfa_at {
            let age = ctx.time.secs() - at.secs();
            context.set("aws:MultiFactorAuthAge", age.to_string());
        }
        for (key, value) in own.iter().flat_map(|s| &s.tags) {
            context.set(&format!("aws:PrincipalTag/{key}"), value.as_str());
        }
        let caller = self.caller(ctx)?;
        check_trust(&role, &caller, "sts:AssumeRole", &context, &denied)?;
        if !tags.is_empty() {
            check_trust(&role, &caller, "sts:TagSession", &context, &denied)?;
        }
        if input.source_identity.is_some() {
            check_trust(&role, &caller, "sts:SetSourceIdentity", &context, &denied)?;
        }
        if is_chained
            && input
                .duration_seconds
                .is_some_and(|s| i64::from(s) > CHAINED)
        {
            return Err(invalid(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
            ));
        }
        let source_identity = match (
            own.as_ref().and_then(|s| s.source_identity.clone()),
            input.source_identity,
        ) {
            (Some(old), Some(new)) if old != new => return Err(denied("sts:SetSourceIdentity")),
            (old, new) => old.or(new),
        };
        if let Some(own) = &own {
            let handed_on = own
                .tags
                .iter()
                .filter(|(key, _)| own.transitive.contains(key));
            tags.extend(handed_on.cloned());
            transitive.extend(own.transitive.iter().cloned());
        }
        let wish = Wish {
            session_name: input.role_session_name,
            seconds: input.duration_seconds,
            policy: input.policy,
            policy_arns: arns(input.policy_arns),
            tags,
            transitive,
            source_identity: source_identity.clone(),
            mfa_at,
        };
        let opened = self.open_role(&role, wish).await?;
        Ok(AssumeRoleOutput {
            credentials: Some(opened.credentials),
            assumed_role_user: Some(opened.user),
            packed_policy_size: opened.packed,
            source_identity,
            ..Default::default()
        })
    }

    pub(crate) async fn assume_role_with_web_identity(
        &self,
        ctx: &Context,
        input: AssumeRoleWithWebIdentityInput,
    ) -> Result<AssumeRoleWithWebIdentityOutput, Fault> {
        let token = |e: InvalidToken| match e {
            InvalidToken::Expired => expired_token_exception(e.to_string()),
            e => invalid_identity_token_exception(e.to_string()),
        };
        let claims = Claims::decode(&input.web_identity_token).map_err(token)?;
        let issuer = claims.required("iss").map_err(token)?;
        let subject = claims.required("sub").map_err(token)?;
        claims.check_expiry(ctx.time.date_time()).map_err(token)?;
        let denied = |action: &str| {
            Fault::sender(
                403,
                "AccessDenied",
                format!("Not authorized to perform {action}"),
            )
        };
        let action = "sts:AssumeRoleWithWebIdentity";
        let role = self.role(&input.role_arn).ok_or_else(|| denied(action))?;
        let host = issuer
            .trim_start_matches("https://")
            .trim_start_matches("http://")
            .trim_end_matches('/');
        let audiences = claims.values("aud");
        let federated = match WELL_KNOWN.contains(&host) {
            true => host.to_owned(),
            false => {
                let arn = Arn {
                    resource: format!("oidc-provider/{host}"),
                    ..Arn::stored(&role.arn)?
                }
                .to_string();
                let provider = self
                    .cloud
                    .ports
                    .roles()
                    .and_then(|roles| roles.provider(&arn))
                    .ok_or_else(|| {
                        invalid_identity_token_exception(format!(
                            "No OpenIDConnect provider found in your account for {issuer}"
                        ))
                    })?;
                if !audiences.iter().any(|a| provider.clients.contains(a)) {
                    return Err(invalid_identity_token_exception("Incorrect token audience"));
                }
                arn
            }
        };
        let mut context = conditions(ctx, &input.role_session_name, &[]);
        for name in claims.all().keys() {
            context.set_all(&format!("{host}:{name}"), claims.values(name));
        }
        check_trust(
            &role,
            &Caller::Federated(federated.clone()),
            action,
            &context,
            &denied,
        )?;
        let wish = Wish {
            session_name: input.role_session_name,
            seconds: input.duration_seconds,
            policy: input.policy,
            policy_arns: arns(input.policy_arns),
            tags: Vec::new(),
            transitive: Vec::new(),
            source_identity: None,
            mfa_at: None,
        };
        let opened = self.open_role(&role, wish).await?;
        Ok(AssumeRoleWithWebIdentityOutput {
            credentials: Some(opened.credentials),
            subject_from_web_identity_token: Some(subject),
            assumed_role_user: Some(opened.user),
            packed_policy_size: opened.packed,
            provider: Some(federated),
            audience: audiences.into_iter().next(),
            ..Default::default()
        })
    }

    pub(crate) async fn assume_role_with_saml(
        &self,
        ctx: &Context,
        input: AssumeRoleWithSAMLInput,
    ) -> Result<AssumeRoleWithSAMLOutput, Fault> {
        let assertion = Assertion::read(&input.saml_assertion)
            .ok_or_else(|| invalid_identity_token_exception("Invalid base64 SAMLResponse"))?;
        if assertion.ends.is_some_and(|end| end <= ctx.time) {
            return Err(expired_token_exception("SAML Assertion has expired"));
        }
        let action = "sts:AssumeRoleWithSAML";
        let denied = |action: &str| {
            Fault::sender(
                403,
                "AccessDenied",
                format!("Not authorized to perform {action}"),
            )
        };
        let role = self.role(&input.role_arn).ok_or_else(|| denied(action))?;
        let provider = self
            .cloud
            .ports
            .roles()
            .and_then(|roles| roles.provider(&input.principal_arn));
        if provider.is_none() {
            return Err(invalid_identity_token_exception(
                "Specified provider doesn't exist",
            ));
        }
        let names_both =
            |pair: &String| pair.contains(&input.role_arn) && pair.contains(&input.principal_arn);
        if !assertion
            .values("https://aws.amazon.com/SAML/Attributes/Role")
            .any(names_both)
        {
            return Err(denied(action));
        }
        let session_name = assertion
            .values("https://aws.amazon.com/SAML/Attributes/RoleSessionName")
            .next()
            .cloned()
            .ok_or_else(|| {
                invalid_identity_token_exception("RoleSessionName is required in the SAML response")
            })?;
        let mut context = conditions(ctx, &session_name, &[]);
        for (key, value) in [
            ("SAML:aud", &assertion.recipient),
            ("SAML:iss", &assertion.issuer),
            ("SAML:sub", &assertion.subject),
            ("SAML:sub_type", &assertion.subject_type),
        ] {
            if let Some(value) = value {
                context.set(key, value.as_str());
            }
        }
        check_trust(
            &role,
            &Caller::Federated(input.principal_arn.clone()),
            action,
            &context,
            &denied,
        )?;
        let asked = assertion
            .values("https://aws.amazon.com/SAML/Attributes/SessionDuration")
            .next();
        let wish = Wish {
            session_name,
            seconds: input
                .duration_seconds
                .or_else(|| asked.and_then(|s| s.parse().ok())),
            policy: input.policy,
            policy_arns: arns(input.policy_arns),
            tags: Vec::new(),
            transitive: Vec::new(),
            source_identity: None,
            mfa_at: None,
        };
        let opened = self.open_role(&role, wish).await?;
        Ok(AssumeRoleWithSAMLOutput {
            credentials: Some(opened.credentials),
            assumed_role_user: Some(opened.user),
            packed_policy_size: opened.packed,
            subject: assertion.subject,
            subject_type: assertion.subject_type,
            issuer: assertion.issuer,
            audience: assertion.recipient,
            ..Default::default()
        })
    }

    async fn open_role(&self, role: &Role, wish: Wish) -> Result<Opened, Fault> {
        let seconds = i64::from(wish.seconds.unwrap_or(3600));
        if seconds > role.max_session {
            return Err(invalid(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        let packed = packed_size(wish.policy.as_deref(), &wish.policy_arns, &wish.tags)?;
        let arn = Arn::stored(&role.arn)?
            .session(&role.name, &wish.session_name)
            .to_string();
        let id = format!("{}:{}", role.id, wish.session_name);
        let session = NewSession {
            account: role.account.clone(),
            principal: Principal {
                kind: PrincipalKind::AssumedRole,
                arn: arn.clone(),
                id: id.clone(),
                access_key: None,
            },
            entity_arn: role.arn.clone(),
            seconds,
            policies: wish.policy.into_iter().collect(),
            policy_arns: wish.policy_arns,
            tags: wish.tags,
            transitive: wish.transitive,
            source_identity: wish.source_identity,
            mfa_at: wish.mfa_at,
        };
        let credentials = shown(cloud::ports::Sessions::open(self, session).await?);
        Ok(Opened {
            credentials,
            user: AssumedRoleUser {
                assumed_role_id: id,
                arn,
            },
            packed,
        })
    }
}

struct Opened {
    credentials: Credentials,
    user: AssumedRoleUser,
    packed: Option<i32>,
}

fn invalid(message: &'static str) -> Fault {
    Fault::sender(400, "ValidationError", message)
}

fn invalid_value(message: &'static str) -> Fault {
    Fault::sender(400, "InvalidParameterValue", message)
}

/// A role's ARN has all its parts, whatever they say.
fn check_arn(arn: &str) -> Result<(), Fault> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, service, _, _, resource]
            if ![partition, service, resource].iter().any(|p| p.is_empty()) =>
        {
            Ok(())
        }
        _ => Err(Fault::sender(
            400,
            "ValidationError",
            format!("{arn} is invalid"),
        )),
    }
}

/// The keys of session tags differ in more than their case.
fn check_tags(tags: &[(String, String)]) -> Result<(), Fault> {
    let is_double = |n: usize, key: &str| {
        tags.iter()
            .take(n)
            .any(|(k, _)| k.eq_ignore_ascii_case(key))
    };
    match tags
        .iter()
        .enumerate()
        .any(|(n, (key, _))| is_double(n, key))
    {
        true => Err(invalid_value(
            "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
        )),
        false => Ok(()),
    }
}

fn arns(list: Option<Vec<PolicyDescriptorType>>) -> Vec<String> {
    list.unwrap_or_default()
        .into_iter()
        .filter_map(|p| p.arn)
        .collect()
}

/// The condition keys that every call has.
fn conditions(ctx: &Context, session_name: &str, tags: &[(String, String)]) -> pattern::Context {
    let mut context = pattern::Context::new();
    context.set("sts:RoleSessionName", session_name);
    context.set("aws:CurrentTime", ctx.time.iso8601_secs());
    context.set("aws:EpochTime", ctx.time.secs().to_string());
    context.set("aws:SourceIp", ctx.source_ip.to_string());
    context.set("aws:SecureTransport", ctx.secure.to_string());
    context.set("aws:UserAgent", ctx.user_agent.as_str());
    context.set("aws:RequestedRegion", ctx.region.as_str());
    if ctx.principal.kind != PrincipalKind::Anonymous {
        context.set("aws:PrincipalArn", ctx.principal.arn.as_str());
        context.set("aws:PrincipalAccount", ctx.account.as_str());
        context.set("aws:userid", ctx.principal.id.as_str());
    }
    for (key, value) in tags {
        context.set(&format!("aws:RequestTag/{key}"), value.as_str());
    }
    if !tags.is_empty() {
        context.set_all(
            "aws:TagKeys",
            tags.iter().map(|(key, _)| key.clone()).collect(),
        );
    }
    context
}

fn check_trust(
    role: &Role,
    caller: &Caller,
    action: &str,
    context: &pattern::Context,
    denied: &impl Fn(&str) -> Fault,
) -> Result<(), Fault> {
    // What is stored was once read as a trust policy; should it not be any more, nobody is trusted.
    let Ok(policy) = Policy::parse(&role.trust, PolicyKind::Trust) else {
        return Err(denied(action));
    };
    match evaluate_trust(&policy, caller, action, &role.arn, &role.account, context) {
        Trust::Refused => Err(denied(action)),
        Trust::Granted | Trust::Delegated => Ok(()),
    }
}

/// The share of the room for session policies and tags that is used, in percent; `None` where there are none.
pub(crate) fn packed_size(
    policy: Option<&str>,
    arns: &[String],
    tags: &[(String, String)],
) -> Result<Option<i32>, Fault> {
    if let Some(policy) = policy {
        match Policy::parse(policy, PolicyKind::Identity) {
            // Unlike IAM, STS takes policies of the older version.
            Ok(_) | Err(MalformedPolicy::Version) => {}
            Err(e) => return Err(malformed(e.to_string())),
        }
    }
    if policy.is_none() && arns.is_empty() && tags.is_empty() {
        return Ok(None);
    }
    let tags: usize = tags
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2)
        .sum();
    let size =
        policy.map_or(0, str::len) / 2 + arns.iter().map(String::len).sum::<usize>() / 2 + tags;
    let percent = (size * 100).div_ceil(PACKED);
    if percent > 100 {
        return Err(packed_policy_too_large_exception(format!(
            "Packed size of session tags consumes {percent}% of allotted space."
        )));
    }
    Ok(Some(i32::try_from(percent.max(1)).unwrap_or(100)))
}
