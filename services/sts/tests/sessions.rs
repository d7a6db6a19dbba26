//! Sessions: who may open one, who it is, and when it ends.

#![allow(clippy::disallowed_methods, reason = "a test copies files")]

mod region;

use region::Region;

const ROLE: &str = "arn:aws:iam::000000000000:role/r";

fn trust(principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{principal},"Action":["sts:AssumeRole","sts:TagSession","sts:AssumeRoleWithWebIdentity"],"Condition":{condition}}}]}}"#
    )
}

async fn with_role(principal: &str, condition: &str) -> Region {
    let region = Region::new();
    let trust = trust(principal, condition);
    region
        .ok(
            "test",
            "iam",
            "CreateRole",
            &[("RoleName", "r"), ("AssumeRolePolicyDocument", &trust)],
        )
        .await;
    region
}

const ASSUME: [(&str, &str); 2] = [("RoleArn", ROLE), ("RoleSessionName", "me")];

#[tokio::test]
async fn an_assumed_role_is_its_session_until_it_ends() {
    let region = with_role(r#"{"AWS":"000000000000"}"#, "{}").await;
    let assumed = region.ok("test", "sts", "AssumeRole", &ASSUME).await;
    let key = assumed.text("AccessKeyId");
    assert!(key.starts_with("ASIA"));
    assert_eq!(
        assumed.text("Arn"),
        "arn:aws:sts::000000000000:assumed-role/r/me"
    );
    assert!(
        assumed.text("AssumedRoleId").starts_with("AROA")
            && assumed.text("AssumedRoleId").ends_with(":me")
    );
    let me = region.ok(&key, "sts", "GetCallerIdentity", &[]).await;
    assert_eq!(
        (me.text("Arn"), me.text("UserId")),
        (assumed.text("Arn"), assumed.text("AssumedRoleId"))
    );
    region
        .cloud
        .scheduler
        .advance_to(region.cloud.clock.now().plus_secs(3601))
        .await
        .expect("time moves");
    let failure = region.fails(&key, "GetCallerIdentity", &[]).await;
    let message = "The security token included in the request is expired";
    assert_eq!(failure, (403, "ExpiredToken".into(), message.into()));
}

#[tokio::test]
async fn a_role_is_opened_to_none_but_those_it_trusts() {
    let region = with_role(r#"{"Service":"lambda.amazonaws.com"}"#, "{}").await;
    let denied = (
        403,
        "AccessDenied".to_owned(),
        format!(
            "User: arn:aws:iam::000000000000:root is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
        ),
    );
    assert_eq!(region.fails("test", "AssumeRole", &ASSUME).await, denied);
    let missing = [
        ("RoleArn", "arn:aws:iam::000000000000:role/none"),
        ("RoleSessionName", "me"),
    ];
    assert_eq!(
        region.fails("test", "AssumeRole", &missing).await.1,
        "AccessDenied"
    );
    let roles = region.cloud.ports.roles().expect("roles are owned");
    let credentials = roles
        .assume(ROLE, "function", 3600)
        .await
        .expect("credentials");
    let me = region
        .ok(&credentials.access_key, "sts", "GetCallerIdentity", &[])
        .await;
    assert_eq!(
        me.text("Arn"),
        "arn:aws:sts::000000000000:assumed-role/r/function"
    );
}

#[tokio::test]
async fn another_account_needs_the_external_id_that_was_agreed() {
    let condition = r#"{"StringEquals":{"sts:ExternalId":"42"}}"#;
    let region = with_role(r#"{"AWS":"arn:aws:iam::111111111111:root"}"#, condition).await;
    assert_eq!(
        region.fails("111111111111", "AssumeRole", &ASSUME).await.1,
        "AccessDenied"
    );
    let with_id = [ASSUME[0], ASSUME[1], ("ExternalId", "42")];
    let assumed = region
        .ok("111111111111", "sts", "AssumeRole", &with_id)
        .await;
    assert_eq!(
        assumed.text("Arn"),
        "arn:aws:sts::000000000000:assumed-role/r/me"
    );
    let info = region
        .ok(
            "test",
            "sts",
            "GetAccessKeyInfo",
            &[("AccessKeyId", &assumed.text("AccessKeyId"))],
        )
        .await;
    assert_eq!(info.text("Account"), "000000000000");
    assert_eq!(
        region.fails("222222222222", "AssumeRole", &with_id).await.1,
        "AccessDenied"
    );
}

#[tokio::test]
async fn durations_are_bounded_by_the_role_and_by_chaining() {
    let region = with_role(r#"{"AWS":"*"}"#, "{}").await;
    let long = [ASSUME[0], ASSUME[1], ("DurationSeconds", "7200")];
    let failure = region.fails("test", "AssumeRole", &long).await;
    assert_eq!(
        failure.2,
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    );
    let update = [("RoleName", "r"), ("MaxSessionDuration", "7200")];
    region.ok("test", "iam", "UpdateRole", &update).await;
    let first = region.ok("test", "sts", "AssumeRole", &long).await;
    let failure = region
        .fails(&first.text("AccessKeyId"), "AssumeRole", &long)
        .await;
    assert!(failure.2.contains("role chaining"), "{}", failure.2);
    region
        .ok(&first.text("AccessKeyId"), "sts", "AssumeRole", &ASSUME)
        .await;
    let short = [ASSUME[0], ASSUME[1], ("DurationSeconds", "10")];
    assert_eq!(
        region.fails("test", "AssumeRole", &short).await.1,
        "ValidationError"
    );
    let bad = [ASSUME[0], ASSUME[1], ("Policy", "{}")];
    assert_eq!(
        region.fails("test", "AssumeRole", &bad).await.1,
        "MalformedPolicyDocument"
    );
}

#[tokio::test]
async fn a_web_identity_is_trusted_by_its_provider_audience_and_claims() {
    let arn = "arn:aws:iam::000000000000:oidc-provider/idp.example.com";
    let condition = r#"{"StringEquals":{"idp.example.com:sub":"me"}}"#;
    let region = with_role(&format!(r#"{{"Federated":"{arn}"}}"#), condition).await;
    use base64::Engine;
    let token = |sub: &str, aud: &str, exp: i64| {
        let claims = format!(
            r#"{{"iss":"https://idp.example.com","sub":"{sub}","aud":"{aud}","exp":{exp}}}"#
        );
        format!(
            "e30.{}.c2ln",
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims)
        )
    };
    let soon = region.cloud.clock.now().secs() + 60;
    let assume = async |token: String| {
        let input = [ASSUME[0], ASSUME[1], ("WebIdentityToken", token.as_str())];
        let (status, answer) = region
            .call("test", "sts", "AssumeRoleWithWebIdentity", &input)
            .await;
        if status == 200 {
            "".into()
        } else {
            answer.text("Code")
        }
    };
    assert_eq!(
        assume(token("me", "app", soon)).await,
        "InvalidIdentityToken"
    );
    let provider = [
        ("Url", "https://idp.example.com"),
        ("ClientIDList.member.1", "app"),
    ];
    region
        .ok("test", "iam", "CreateOpenIDConnectProvider", &provider)
        .await;
    assert_eq!(assume(token("me", "app", soon)).await, "");
    assert_eq!(assume(token("you", "app", soon)).await, "AccessDenied");
    assert_eq!(
        assume(token("me", "other", soon)).await,
        "InvalidIdentityToken"
    );
    assert_eq!(
        assume(token("me", "app", soon - 3600)).await,
        "ExpiredTokenException"
    );
    assert_eq!(assume("nonsense".into()).await, "InvalidIdentityToken");
}

#[tokio::test]
async fn a_session_survives_a_kill() {
    let (first, second) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let open = |dir: &std::path::Path| {
        let options = store::Options {
            dir: Some(dir.to_owned()),
            ..store::Options::default()
        };
        Region::over(cloud::Cloud::open(options, cloud::Config::default()).expect("a region"))
    };
    let region = open(first.path());
    let key = region
        .ok("123456789012", "sts", "GetSessionToken", &[])
        .await
        .text("AccessKeyId");
    assert_eq!(
        region
            .fails(&key, "GetFederationToken", &[("Name", "bob")])
            .await
            .1,
        "AccessDenied"
    );
    // What a killed process leaves behind is what its files hold at that moment.
    copy(first.path(), second.path());
    let me = open(second.path())
        .ok(&key, "sts", "GetCallerIdentity", &[])
        .await;
    assert_eq!(me.text("Arn"), "arn:aws:iam::123456789012:root");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            std::fs::create_dir_all(&target).expect("made");
            copy(&source, &target);
        } else if entry.file_name() != "lock" {
            std::fs::copy(&source, &target).expect("copied");
        }
    }
}

#[tokio::test]
async fn a_signed_request_is_the_last_use_of_its_key_and_of_its_role() {
    let region = with_role(r#"{"AWS":"000000000000"}"#, "{}").await;
    region
        .ok("test", "iam", "CreateUser", &[("UserName", "ann")])
        .await;
    let made = region
        .ok("test", "iam", "CreateAccessKey", &[("UserName", "ann")])
        .await;
    let key = made.text("AccessKeyId");
    let last = [("AccessKeyId", key.as_str())];
    let unused = region
        .ok("test", "iam", "GetAccessKeyLastUsed", &last)
        .await;
    assert_eq!(unused.text("ServiceName"), "N/A");
    region.ok(&key, "sts", "GetCallerIdentity", &[]).await;
    let used = region
        .ok("test", "iam", "GetAccessKeyLastUsed", &last)
        .await;
    assert_eq!(
        (used.text("ServiceName"), used.text("Region")),
        ("sts".into(), "us-east-1".into())
    );
    let assumed = region.ok("test", "sts", "AssumeRole", &ASSUME).await;
    let session = assumed.text("AccessKeyId");
    region.ok(&session, "sts", "GetCallerIdentity", &[]).await;
    let role = region
        .ok("test", "iam", "GetRole", &[("RoleName", "r")])
        .await;
    assert_eq!(role.text("Region"), "us-east-1");
}
