//! Decisions as AWS documents them.

use auth::evaluate::{Decision, Policies, PolicyRole, Request, Source, Verdict, evaluate};
use auth::pattern::Context;
use auth::policy::{Policy, PolicyKind, Position};
use auth::principal::Caller;
use proptest::prelude::*;

const A: &str = "111111111111";
const B: &str = "222222222222";
const OBJECT: &str = "arn:aws:s3:::bucket/key";
const ALLOW_ALL: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;

fn policy(statements: &str) -> Policy {
    let document = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    let kind = if statements.contains("Principal") {
        PolicyKind::Resource
    } else {
        PolicyKind::Identity
    };
    Policy::parse(&document, kind).expect(&document)
}

fn user() -> Caller {
    Caller::User {
        account: A.into(),
        arn: format!("arn:aws:iam::{A}:user/bob"),
    }
}

fn session() -> Caller {
    Caller::RoleSession {
        account: A.into(),
        role_arn: format!("arn:aws:iam::{A}:role/path/r"),
        session_arn: format!("arn:aws:sts::{A}:assumed-role/r/s"),
    }
}

#[derive(Default)]
struct World {
    identity: Option<Policy>,
    boundary: Option<Policy>,
    session: Option<Policy>,
    service_control: Vec<Policy>,
    resource: Option<Policy>,
    owner: Option<&'static str>,
}

impl World {
    fn decide(&self, caller: &Caller, action: &str, resource: &str) -> Decision {
        let source = |id, policy| Source { id, policy };
        let identity: Vec<_> = self
            .identity
            .iter()
            .map(|p| source("identity", p))
            .collect();
        let session: Vec<_> = self.session.iter().map(|p| source("session", p)).collect();
        let levels: Vec<Vec<_>> = self
            .service_control
            .iter()
            .map(|p| vec![source("scp", p)])
            .collect();
        let levels: Vec<&[_]> = levels.iter().map(Vec::as_slice).collect();
        let policies = Policies {
            identity: &identity,
            boundary: self.boundary.as_ref().map(|p| source("boundary", p)),
            session: &session,
            service_control: &levels,
            resource: self.resource.as_ref().map(|p| source("resource", p)),
            ..Policies::default()
        };
        let mut context = Context::new();
        context.set("aws:username", "bob");
        let request = Request {
            caller,
            action,
            resource,
            resource_account: self.owner,
            context: &context,
        };
        evaluate(&request, &policies)
    }

    fn get(&self, caller: &Caller) -> Verdict {
        self.decide(caller, "s3:GetObject", OBJECT).verdict
    }
}

fn grant(principal: &str) -> Option<Policy> {
    Some(policy(&format!(
        r#"{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"s3:GetObject","Resource":"{OBJECT}"}}"#
    )))
}

fn nothing_useful() -> Option<Policy> {
    Some(policy(
        r#"{"Effect":"Allow","Action":"sqs:*","Resource":"*"}"#,
    ))
}

#[test]
fn nothing_is_allowed_by_default_and_an_explicit_deny_is_final() {
    let mut world = World::default();
    assert_eq!(
        world.get(&user()),
        Verdict::ImplicitDeny(PolicyRole::Identity)
    );
    world.identity = Some(policy(ALLOW_ALL));
    assert_eq!(world.get(&user()), Verdict::Allowed);
    world.resource = Some(policy(&format!(
        r#"{{"Effect":"Deny","Principal":"*","Action":"s3:get*","Resource":"{OBJECT}"}}"#
    )));
    assert_eq!(
        world.get(&user()),
        Verdict::ExplicitDeny(PolicyRole::Resource)
    );
}

#[test]
fn the_root_user_needs_no_policy_but_obeys_the_organization() {
    let root = Caller::Root { account: A.into() };
    let mut world = World::default();
    assert_eq!(world.get(&root), Verdict::Allowed);
    world.service_control = vec![policy(ALLOW_ALL), nothing_useful().expect("a policy")];
    assert_eq!(
        world.get(&root),
        Verdict::ImplicitDeny(PolicyRole::ServiceControl)
    );
}

#[test]
fn a_boundary_and_a_session_policy_limit_what_identity_policies_allow() {
    let world = |boundary, session| World {
        identity: Some(policy(ALLOW_ALL)),
        boundary,
        session,
        ..World::default()
    };
    assert_eq!(
        world(nothing_useful(), None).get(&user()),
        Verdict::ImplicitDeny(PolicyRole::Boundary)
    );
    assert_eq!(
        world(None, nothing_useful()).get(&session()),
        Verdict::ImplicitDeny(PolicyRole::Session)
    );
    assert_eq!(
        world(Some(policy(ALLOW_ALL)), Some(policy(ALLOW_ALL))).get(&session()),
        Verdict::Allowed
    );
}

#[test]
fn a_resource_policy_of_the_same_account_grants_by_how_it_names_the_caller() {
    let limited = |principal: &str| World {
        boundary: nothing_useful(),
        session: nothing_useful(),
        resource: grant(principal),
        ..World::default()
    };
    let user_arn = format!("arn:aws:iam::{A}:user/bob");
    let role_arn = format!("arn:aws:iam::{A}:role/path/r");
    let session_arn = format!("arn:aws:sts::{A}:assumed-role/r/s");
    assert_eq!(limited(&user_arn).get(&user()), Verdict::Allowed);
    assert_eq!(limited(&session_arn).get(&session()), Verdict::Allowed);
    assert_eq!(
        limited(&role_arn).get(&session()),
        Verdict::ImplicitDeny(PolicyRole::Identity)
    );
    assert_eq!(
        limited(A).get(&user()),
        Verdict::ImplicitDeny(PolicyRole::Identity)
    );
    let unlimited = World {
        resource: grant(&role_arn),
        ..World::default()
    };
    assert_eq!(unlimited.get(&session()), Verdict::Allowed);
}

#[test]
fn across_accounts_both_sides_must_allow() {
    let user_arn = format!("arn:aws:iam::{A}:user/bob");
    let mut world = World {
        owner: Some(B),
        identity: Some(policy(ALLOW_ALL)),
        ..World::default()
    };
    assert_eq!(
        world.get(&user()),
        Verdict::ImplicitDeny(PolicyRole::Resource)
    );
    world.resource = grant(&user_arn);
    assert_eq!(world.get(&user()), Verdict::Allowed);
    world.resource = grant(A);
    assert_eq!(world.get(&user()), Verdict::Allowed);
    world.identity = None;
    assert_eq!(
        world.get(&user()),
        Verdict::ImplicitDeny(PolicyRole::Identity)
    );
    world.resource = grant("*");
    assert_eq!(world.get(&Caller::Anonymous), Verdict::Allowed);
}

#[test]
fn not_principal_spares_a_user_only_beside_its_account() {
    let deny = |principals: &str| World {
        identity: Some(policy(ALLOW_ALL)),
        resource: Some(policy(&format!(
            r#"{{"Effect":"Deny","NotPrincipal":{{"AWS":{principals}}},"Action":"s3:*","Resource":"*"}}"#
        ))),
        ..World::default()
    };
    let user_arn = format!("arn:aws:iam::{A}:user/bob");
    assert_eq!(
        deny(&format!(r#"["{user_arn}","{A}"]"#)).get(&user()),
        Verdict::Allowed
    );
    assert_eq!(
        deny(&format!(r#"["{user_arn}"]"#)).get(&user()),
        Verdict::ExplicitDeny(PolicyRole::Resource)
    );
}

#[test]
fn not_action_and_not_resource_match_everything_else() {
    let world = World {
        identity: Some(policy(
            r#"{"Effect":"Allow","NotAction":"iam:*","Resource":"*"},
               {"Effect":"Deny","Action":"s3:*","NotResource":"arn:aws:s3:::home/${aws:username}/*"}"#,
        )),
        ..World::default()
    };
    assert!(
        world
            .decide(&user(), "s3:GetObject", "arn:aws:s3:::home/bob/x")
            .is_allowed()
    );
    assert_eq!(
        world
            .decide(&user(), "S3:getobject", "arn:aws:s3:::home/eve/x")
            .verdict,
        Verdict::ExplicitDeny(PolicyRole::Identity)
    );
    assert_eq!(
        world.decide(&user(), "iam:GetUser", "*").verdict,
        Verdict::ImplicitDeny(PolicyRole::Identity)
    );
}

#[test]
fn a_decision_names_the_statements_and_where_they_stand() {
    let document = "{\n \"Version\": \"2012-10-17\",\n \"Statement\": [\n  {\"Sid\": \"One\", \"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": \"*\"}\n ]\n}";
    let world = World {
        identity: Some(Policy::parse(document, PolicyKind::Identity).expect("a policy")),
        ..World::default()
    };
    let decision = world.decide(&user(), "s3:GetObject", OBJECT);
    let found = &decision.matches[0];
    assert_eq!(
        (found.source.as_str(), found.sid.as_deref()),
        ("identity", Some("One"))
    );
    assert_eq!(found.start, Position { line: 4, column: 3 });
    assert_eq!(
        found.end,
        Position {
            line: 4,
            column: 71
        }
    );
}

#[test]
fn the_keys_a_policy_asks_for_and_the_request_lacks_are_listed() {
    let world = World {
        identity: Some(policy(
            r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":true}}}"#,
        )),
        ..World::default()
    };
    let decision = world.decide(&user(), "s3:GetObject", OBJECT);
    assert_eq!(decision.verdict.eval_decision(), "implicitDeny");
    assert_eq!(decision.missing_context_values, ["aws:SecureTransport"]);
}

fn any_statement() -> impl Strategy<Value = String> {
    (
        prop::sample::select(vec!["Allow", "Deny"]),
        prop::sample::select(vec!["Action", "NotAction"]),
        prop::sample::select(vec!["*", "s3:*", "s3:Get*", "s3:Put?bject", "sqs:*"]),
        prop::sample::select(vec!["Resource", "NotResource"]),
        prop::sample::select(vec!["*", "arn:aws:s3:::bucket/*", "arn:aws:s3:::other", "arn:aws:s3:::${aws:username}/*"]),
    )
        .prop_map(|(effect, action_element, action, resource_element, resource)| {
            format!(r#"{{"Effect":"{effect}","{action_element}":"{action}","{resource_element}":"{resource}"}}"#)
        })
}

proptest! {
    #[test]
    fn a_deny_of_everything_always_wins(
        statements in prop::collection::vec(any_statement(), 0..6), boundary in any_statement(), at in 0usize..6,
    ) {
        let mut statements = statements;
        statements.insert(at.min(statements.len()), r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#.into());
        let world = World {
            identity: Some(policy(&statements.join(","))),
            boundary: Some(policy(&boundary)),
            resource: grant("*"),
            ..World::default()
        };
        prop_assert!(matches!(world.get(&user()), Verdict::ExplicitDeny(_)), "not denied");
    }

    #[test]
    fn another_allow_never_takes_a_permission_away(
        statements in prop::collection::vec(any_statement(), 1..6), added in any_statement(), boundary in prop::option::of(any_statement()),
    ) {
        let boundary = boundary.map(|statement| policy(&statement));
        let world = |statements: &[String]| World {
            identity: Some(policy(&statements.join(","))),
            boundary: boundary.clone(),
            ..World::default()
        };
        let before = world(&statements).get(&user());
        let mut more = statements;
        more.push(added.replace("Deny", "Allow"));
        let after = world(&more).get(&user());
        prop_assert!(before != Verdict::Allowed || after == Verdict::Allowed, "{before:?} became {after:?}");
    }

    #[test]
    fn arbitrary_documents_never_panic(text in "\\PC*", action in "\\PC*", resource in "\\PC*") {
        for kind in [PolicyKind::Identity, PolicyKind::Resource, PolicyKind::Trust] {
            let _ = Policy::parse(&text, kind);
            let document = serde_json::json!({"Version": "2012-10-17", "Statement":
                {"Effect": "Allow", "Action": action, "Resource": resource,
                 "Condition": {"DateEquals": {"k": text}}}});
            let _ = Policy::parse(&document.to_string(), kind);
        }
    }
}
