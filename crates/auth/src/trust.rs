//! Who may assume a role.

use crate::evaluate::{Decision, Policies, Request, ask, evaluate};
use crate::pattern::Context;
use crate::policy::Policy;
use crate::principal::{Caller, Naming};

/// What a role's trust policy says to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The policy names the caller: within the role's account nothing else is needed.
    Granted,
    /// The policy trusts the caller's account, or the caller is of another one: its own policies must allow too.
    Delegated,
    /// The policy does not trust the caller, or denies it.
    Refused,
}

/// Evaluates a trust policy alone, for a caller of `sts:AssumeRole`, `sts:AssumeRoleWithWebIdentity`,
/// `sts:AssumeRoleWithSAML`, `sts:TagSession` or `sts:SetSourceIdentity`.
///
/// The external id, MFA, tags and the claims of a token are condition keys: `sts:ExternalId`,
/// `aws:MultiFactorAuthPresent`, `aws:RequestTag/..`, `accounts.example.com:aud`.
pub fn evaluate_trust(
    policy: &Policy,
    caller: &Caller,
    action: &str,
    role_arn: &str,
    role_account: &str,
    context: &Context,
) -> Trust {
    let request = Request {
        caller,
        action,
        resource: role_arn,
        resource_account: Some(role_account),
        context,
    };
    let reply = ask(&request, policy);
    let is_local = caller
        .account()
        .is_none_or(|account| account == role_account);
    match reply.allowed {
        _ if reply.is_denied => Trust::Refused,
        None => Trust::Refused,
        Some(naming) if is_local && naming > Naming::Account => Trust::Granted,
        Some(_) => Trust::Delegated,
    }
}

/// Decides with all of the caller's policies, as enforcement does. The `resource` of `policies` is the trust policy.
pub fn evaluate_assume(request: &Request<'_>, policies: &Policies<'_>) -> Decision {
    let policies = Policies {
        resource_must_allow: true,
        ..*policies
    };
    evaluate(request, &policies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyKind;

    const ROLE: &str = "arn:aws:iam::111111111111:role/r";

    fn trust(
        principal: &str,
        condition: &str,
        caller: &Caller,
        action: &str,
        context: &Context,
    ) -> Trust {
        let document = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{principal},"Action":["sts:AssumeRole","sts:AssumeRoleWithWebIdentity"],"Condition":{condition}}}}}"#
        );
        let policy = Policy::parse(&document, PolicyKind::Trust).expect("a trust policy");
        evaluate_trust(&policy, caller, action, ROLE, "111111111111", context)
    }

    fn user(account: &str) -> Caller {
        Caller::User {
            account: account.into(),
            arn: format!("arn:aws:iam::{account}:user/bob"),
        }
    }

    #[test]
    fn an_account_is_trusted_by_delegation_and_a_user_by_name() {
        let context = Context::new();
        let trust = |principal: &str, caller: &Caller| {
            trust(principal, "{}", caller, "sts:AssumeRole", &context)
        };
        let local = user("111111111111");
        let foreign = user("222222222222");
        assert_eq!(trust(r#"{"AWS":"111111111111"}"#, &local), Trust::Delegated);
        assert_eq!(
            trust(r#"{"AWS":"arn:aws:iam::111111111111:user/bob"}"#, &local),
            Trust::Granted
        );
        assert_eq!(
            trust(r#"{"AWS":"arn:aws:iam::222222222222:user/bob"}"#, &foreign),
            Trust::Delegated
        );
        assert_eq!(trust(r#"{"AWS":"111111111111"}"#, &foreign), Trust::Refused);
        let lambda = Caller::Service("lambda.amazonaws.com".into());
        assert_eq!(
            trust(r#"{"Service":"lambda.amazonaws.com"}"#, &lambda),
            Trust::Granted
        );
        assert_eq!(
            trust(r#"{"Service":"ec2.amazonaws.com"}"#, &lambda),
            Trust::Refused
        );
    }

    #[test]
    fn an_external_id_must_be_the_one_agreed() {
        let caller = user("222222222222");
        let condition = r#"{"StringEquals":{"sts:ExternalId":"42"}}"#;
        let mut context = Context::new();
        let trust = |context: &Context| {
            trust(
                r#"{"AWS":"222222222222"}"#,
                condition,
                &caller,
                "sts:AssumeRole",
                context,
            )
        };
        assert_eq!(trust(&context), Trust::Refused);
        context.set("sts:ExternalId", "42");
        assert_eq!(trust(&context), Trust::Delegated);
    }

    #[test]
    fn a_web_identity_is_trusted_by_its_provider_and_claims() {
        let caller =
            Caller::Federated("arn:aws:iam::111111111111:oidc-provider/idp.example.com".into());
        let principal =
            r#"{"Federated":"arn:aws:iam::111111111111:oidc-provider/idp.example.com"}"#;
        let condition = r#"{"StringEquals":{"idp.example.com:aud":"app"}}"#;
        let mut context = Context::new();
        context.set("idp.example.com:aud", "app");
        let action = "sts:AssumeRoleWithWebIdentity";
        assert_eq!(
            trust(principal, condition, &caller, action, &context),
            Trust::Granted
        );
        assert_eq!(
            trust(
                principal,
                condition,
                &caller,
                "sts:AssumeRoleWithSAML",
                &context
            ),
            Trust::Refused
        );
        context.set("idp.example.com:aud", "other");
        assert_eq!(
            trust(principal, condition, &caller, action, &context),
            Trust::Refused
        );
    }
}
