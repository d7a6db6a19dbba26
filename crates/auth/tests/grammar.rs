//! Which documents IAM refuses, and what it says of them.

use auth::grammar::MalformedPolicy;
use auth::policy::{Policy, PolicyKind};

/// The answer to an identity policy whose one statement allows with these further members.
fn statement(members: &str) -> Option<String> {
    identity(&format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow",{members}}}}}"#
    ))
}

fn identity(document: &str) -> Option<String> {
    Policy::parse(document, PolicyKind::Identity)
        .err()
        .map(|error| error.to_string())
}

const SYNTAX: &str = "Syntax errors in policy.";
const LEGACY: &str = "The policy failed legacy parsing";

#[test]
fn what_is_not_of_the_grammars_shape_is_a_syntax_error() {
    for document in [
        "",
        "no json",
        "[]",
        r#"{"Version":"2012-10-17"}"#,
        r#"{"Version":"2012-10-17","Statement":[]}"#,
        r#"{"Version":"2011-01-01","Statement":[{"Effect":"Allow","Action":"a:b","Resource":"*"}]}"#,
        r#"{"Version":"2012-10-17","Statement":[{"Action":"a:b","Resource":"*"}]}"#,
        r#"{"Version":"2012-10-17","Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a:b","Resource":"*"}]}"#,
        r#"{"Version":"2012-10-17","More":1,"Statement":[{"Effect":"Allow","Action":"a:b","Resource":"*"}]}"#,
    ] {
        assert_eq!(identity(document).as_deref(), Some(SYNTAX), "{document}");
    }
    for members in [
        r#""Action":"a:b","NotAction":"a:c","Resource":"*""#,
        r#""Action":"a:b","Resource":"*","NotResource":"*""#,
        r#""Action":{},"Resource":"*""#,
        r#""Action":"a:b","Resource":"*","Sid":[]"#,
        r#""Action":"a:b","Resource":"*","Condition":{"Sounds":{"like":"fun"}}"#,
        r#""Action":"a:b","Resource":"*","Condition":{"StringEquals":"text"}"#,
    ] {
        assert_eq!(statement(members).as_deref(), Some(SYNTAX), "{members}");
    }
}

#[test]
fn an_identity_policy_must_have_the_present_version() {
    let document =
        r#"{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"a:b","Resource":"*"}}"#;
    assert_eq!(
        Policy::parse(document, PolicyKind::Identity),
        Err(MalformedPolicy::Version)
    );
}

#[test]
fn each_fault_of_a_statement_has_its_text() {
    for (members, message) in [
        (
            r#""Resource":"*""#,
            "Policy statement must contain actions.",
        ),
        (
            r#""Action":[],"Resource":"*""#,
            "Policy statement must contain actions.",
        ),
        (
            r#""Action":"a:b""#,
            "Policy statement must contain resources.",
        ),
        (
            r#""Action":"ab","Resource":"*""#,
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        (
            r#""Action":"a:b:c","Resource":"*""#,
            "Actions/Condition can contain only one colon.",
        ),
        (
            r#""Action":"a b:c","Resource":"*""#,
            "Vendor a b is not valid",
        ),
        (
            r#""Action":"a:b","Resource":"bucket""#,
            "Resource bucket must be in ARN format or \"*\".",
        ),
        (
            r#""Action":"a:b","Resource":"arn:moon:s3:::b""#,
            "Partition \"moon\" is not valid for resource \"arn:moon:s3:::b\".",
        ),
        (
            r#""Action":"a:b","Resource":"x:moon""#,
            "Partition \"moon\" is not valid for resource \"arn:moon:*:*:*:*\".",
        ),
        (
            r#""Action":"a:b","Resource":"arn:aws""#,
            "Resource vendor must be fully qualified and cannot contain regexes.",
        ),
        (
            r#""Action":"a:b","Resource":"arn:aws:s3:r::b""#,
            "Resource arn:aws:s3:r::b can not contain region information.",
        ),
        (
            r#""Action":"a:b","Resource":"arn:aws:iam:r::user/b""#,
            "IAM resource arn:aws:iam:r::user/b cannot contain region information.",
        ),
        (r#""Action":"a:b","Resource":"arn:aws:s3::b""#, LEGACY),
        (
            r#""Action":"a:b","Resource":"*","Condition":{"DateEquals":{"k":"noon"}}"#,
            LEGACY,
        ),
        (
            r#""Action":"a:b","Resource":"*","Condition":{"DateEquals":{"k":"2016-12-13T02:00:00+1"}}"#,
            LEGACY,
        ),
        (
            r#""Action":"a:b","Resource":"*","Principal":"*""#,
            "Policy document should not specify a principal.",
        ),
    ] {
        assert_eq!(statement(members).as_deref(), Some(message), "{members}");
    }
    let path = statement(r#""Action":"a:b","Resource":"arn:aws:iam::1:thing""#).unwrap_or_default();
    assert!(path.starts_with("IAM resource path must either be \"*\" or start with user/, "));
}

#[test]
fn what_iam_takes_is_taken() {
    for members in [
        r#""Action":"*","Resource":"*""#,
        r#""Action":["s3:Get*"],"Resource":["arn:aws:s3:::b/*",null]"#,
        r#""NotAction":"iam:*","NotResource":"arn:aws:iam::*:user/${aws:username}""#,
        r#""Action":"a:b","Resource":"*","Condition":{"Bool":{"k":true},"NumericLessThan":{"n":10},"Unknown":{}}"#,
        r#""Action":"a:b","Resource":"*","Condition":{"DateLessThan":{"k":"-292275054"}}"#,
        r#""Action":"a:b","Resource":"arn:aws:s3:us-west-2:1:accesspoint/p""#,
        r#""Action":"a:b","Resource":"*","Condition":{"ForAllValues:StringLikeIfExists":{"aws:TagKeys":["a"]}}"#,
    ] {
        assert_eq!(statement(members), None, "{members}");
    }
}

#[test]
fn statement_ids_must_differ() {
    let document = r#"{"Version":"2012-10-17","Statement":[
        {"Sid":"a","Effect":"Allow","Action":"a:b","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"a:b","Resource":"*"}]}"#;
    assert_eq!(
        Policy::parse(document, PolicyKind::Identity),
        Err(MalformedPolicy::DuplicateSid)
    );
}

#[test]
fn a_trust_policy_names_principals_and_no_resources() {
    let trust = |members: &str| {
        let document =
            format!(r#"{{"Version":"2008-10-17","Statement":[{{"Effect":"Allow",{members}}}]}}"#);
        Policy::parse(&document, PolicyKind::Trust).map(drop)
    };
    let principal = r#""Principal":{"Service":"lambda.amazonaws.com"}"#;
    assert_eq!(
        trust(&format!(r#"{principal},"Action":"sts:AssumeRole""#)),
        Ok(())
    );
    assert_eq!(
        trust(&format!(
            r#"{principal},"Action":"sts:AssumeRole","Resource":"*""#
        )),
        Err(MalformedPolicy::ProhibitedResource)
    );
    for action in [
        "s3:GetObject",
        "*",
        "sts:TagSessions",
        "sts:GetCallerIdentity",
    ] {
        assert_eq!(
            trust(&format!(r#"{principal},"Action":"{action}""#)),
            Err(MalformedPolicy::TrustAction),
            "{action}"
        );
    }
    for action in [
        "sts:assumerolewithsaml",
        "sts:TagSession",
        "STS:SetSourceIdentity",
        "sts:*",
    ] {
        let members = format!(r#"{principal},"Action":["sts:AssumeRole","{action}"]"#);
        assert_eq!(trust(&members), Ok(()), "{action}");
    }
    assert_eq!(
        trust(r#""Action":"sts:AssumeRole""#),
        Err(MalformedPolicy::MissingPrincipal)
    );
}
