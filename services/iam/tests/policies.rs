//! Managed policies, users, groups, and what a simulation says of them.

mod region;

use region::Region;

fn allow(action: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"*"}}]}}"#
    )
}

const ARN: &str = "arn:aws:iam::000000000000:policy/p";

#[tokio::test]
async fn a_policy_has_five_versions_of_which_one_is_in_force() {
    let region = Region::new();
    let made = region
        .ok(
            "CreatePolicy",
            &[("PolicyName", "p"), ("PolicyDocument", &allow("s3:*"))],
        )
        .await;
    assert_eq!(
        (made.text("Arn"), made.text("DefaultVersionId")),
        (ARN.into(), "v1".into())
    );
    for _ in 2..=5 {
        let input = [
            ("PolicyArn", ARN),
            ("PolicyDocument", &allow("sqs:*")),
            ("SetAsDefault", "true"),
        ];
        region.ok("CreatePolicyVersion", &input).await;
    }
    let sixth = region
        .fails(
            "CreatePolicyVersion",
            &[("PolicyArn", ARN), ("PolicyDocument", &allow("sqs:*"))],
        )
        .await;
    assert_eq!((sixth.0, sixth.1.as_str()), (409, "LimitExceeded"));
    let failure = region
        .fails(
            "DeletePolicyVersion",
            &[("PolicyArn", ARN), ("VersionId", "v5")],
        )
        .await;
    assert_eq!(failure.2, "Cannot delete the default version of a policy.");
    region
        .ok(
            "SetDefaultPolicyVersion",
            &[("PolicyArn", ARN), ("VersionId", "v1")],
        )
        .await;
    region
        .ok(
            "DeletePolicyVersion",
            &[("PolicyArn", ARN), ("VersionId", "v5")],
        )
        .await;
    let versions = region.ok("ListPolicyVersions", &[("PolicyArn", ARN)]).await;
    assert_eq!(versions.texts("VersionId"), ["v4", "v3", "v2", "v1"]);
    assert_eq!(
        region.fails("DeletePolicy", &[("PolicyArn", ARN)]).await.1,
        "DeleteConflict"
    );
    let gone = region
        .fails(
            "GetPolicyVersion",
            &[("PolicyArn", ARN), ("VersionId", "v5")],
        )
        .await;
    assert_eq!(gone.0, 404);
    let same = region
        .fails(
            "CreatePolicy",
            &[
                ("PolicyName", "P"),
                ("Path", "/q/"),
                ("PolicyDocument", &allow("s3:*")),
            ],
        )
        .await;
    assert_eq!(
        same.2,
        "A policy called P already exists. Duplicate names are not allowed."
    );
}

#[tokio::test]
async fn attachments_are_counted_and_keep_a_policy_from_its_deletion() {
    let region = Region::new();
    region
        .ok(
            "CreatePolicy",
            &[("PolicyName", "p"), ("PolicyDocument", &allow("s3:*"))],
        )
        .await;
    region.ok("CreateUser", &[("UserName", "u")]).await;
    region.ok("CreateGroup", &[("GroupName", "g")]).await;
    region
        .ok("AttachUserPolicy", &[("UserName", "u"), ("PolicyArn", ARN)])
        .await;
    region
        .ok("AttachUserPolicy", &[("UserName", "u"), ("PolicyArn", ARN)])
        .await;
    region
        .ok(
            "AttachGroupPolicy",
            &[("GroupName", "g"), ("PolicyArn", ARN)],
        )
        .await;
    assert_eq!(
        region
            .ok("GetPolicy", &[("PolicyArn", ARN)])
            .await
            .text("AttachmentCount"),
        "2"
    );
    let entities = region
        .ok("ListEntitiesForPolicy", &[("PolicyArn", ARN)])
        .await;
    assert_eq!(
        (entities.texts("UserName"), entities.texts("GroupName")),
        (vec!["u".into()], vec!["g".into()])
    );
    let failure = region.fails("DeletePolicy", &[("PolicyArn", ARN)]).await;
    assert_eq!(failure.2, "Cannot delete a policy attached to entities.");
    let local = region
        .ok(
            "ListPolicies",
            &[("Scope", "Local"), ("OnlyAttached", "true")],
        )
        .await;
    assert_eq!(local.texts("PolicyName"), ["p"]);
    region
        .ok("DetachUserPolicy", &[("UserName", "u"), ("PolicyArn", ARN)])
        .await;
    region
        .ok(
            "DetachGroupPolicy",
            &[("GroupName", "g"), ("PolicyArn", ARN)],
        )
        .await;
    region.ok("DeletePolicy", &[("PolicyArn", ARN)]).await;
    let failure = region
        .fails("AttachUserPolicy", &[("UserName", "u"), ("PolicyArn", ARN)])
        .await;
    assert_eq!(
        failure.2,
        format!("Policy {ARN} does not exist or is not attachable.")
    );
}

#[tokio::test]
async fn aws_own_policies_are_found_listed_and_not_changed() {
    let region = Region::new();
    let arn = "arn:aws:iam::aws:policy/AdministratorAccess";
    let policy = region.ok("GetPolicy", &[("PolicyArn", arn)]).await;
    assert_eq!(policy.text("PolicyName"), "AdministratorAccess");
    let version = region
        .ok(
            "GetPolicyVersion",
            &[
                ("PolicyArn", arn),
                ("VersionId", &policy.text("DefaultVersionId")),
            ],
        )
        .await;
    assert!(version.text("Document").starts_with("%7B"));
    let first = region
        .ok("ListPolicies", &[("Scope", "AWS"), ("MaxItems", "3")])
        .await;
    assert_eq!(
        (first.texts("PolicyName").len(), first.text("IsTruncated")),
        (3, "true".into())
    );
    assert_eq!(
        region.fails("DeletePolicy", &[("PolicyArn", arn)]).await.0,
        403
    );
}

#[tokio::test]
async fn a_key_made_here_is_known_to_the_gateway_by_its_user() {
    let region = Region::new();
    region.ok("CreateUser", &[("UserName", "u")]).await;
    let key = region.ok("CreateAccessKey", &[("UserName", "u")]).await;
    let id = key.text("AccessKeyId");
    assert!(id.starts_with("AKIA") && id.len() == 20);
    let identity = region.cloud.ports.identity(&id).expect("an identity");
    assert_eq!(identity.principal.arn, "arn:aws:iam::000000000000:user/u");
    assert_eq!(identity.secret_key, key.text("SecretAccessKey"));
    let last = [("AccessKeyId", id.as_str())];
    let unused = region.ok("GetAccessKeyLastUsed", &last).await;
    assert_eq!(unused.text("ServiceName"), "N/A");
    let users = region.cloud.ports.users().expect("the users");
    users.used(&identity, "s3", "eu-west-1");
    let used = region.ok("GetAccessKeyLastUsed", &last).await;
    assert_eq!(
        (
            used.text("ServiceName"),
            used.text("Region"),
            used.text("UserName")
        ),
        ("s3".into(), "eu-west-1".into(), "u".into())
    );
    assert!(used.text("LastUsedDate").ends_with(":00Z"));
    region.ok("CreateAccessKey", &[("UserName", "u")]).await;
    let third = region.fails("CreateAccessKey", &[("UserName", "u")]).await;
    assert_eq!(third.2, "Cannot exceed quota for AccessKeysPerUser: 2");
    let failure = region.fails("DeleteUser", &[("UserName", "u")]).await;
    assert_eq!(
        failure.2,
        "Cannot delete entity, must delete access keys first."
    );
    region
        .ok(
            "UpdateAccessKey",
            &[
                ("UserName", "u"),
                ("AccessKeyId", &id),
                ("Status", "Inactive"),
            ],
        )
        .await;
    assert!(region.cloud.ports.identity(&id).is_none());
    let renamed = [("UserName", "u"), ("NewUserName", "v")];
    region.ok("UpdateUser", &renamed).await;
    assert_eq!(
        region
            .ok("ListAccessKeys", &[("UserName", "v")])
            .await
            .texts("UserName"),
        ["v", "v"]
    );
}

#[tokio::test]
async fn a_simulation_weighs_inline_group_and_boundary_policies() {
    let region = Region::new();
    region
        .ok(
            "CreatePolicy",
            &[("PolicyName", "p"), ("PolicyDocument", &allow("s3:*"))],
        )
        .await;
    region
        .ok(
            "CreateUser",
            &[("UserName", "u"), ("PermissionsBoundary", ARN)],
        )
        .await;
    region.ok("CreateGroup", &[("GroupName", "g")]).await;
    region
        .ok("AddUserToGroup", &[("GroupName", "g"), ("UserName", "u")])
        .await;
    let put = [
        ("GroupName", "g"),
        ("PolicyName", "x"),
        ("PolicyDocument", &allow("s3:Get*")),
    ];
    region.ok("PutGroupPolicy", &put).await;
    let put = [
        ("UserName", "u"),
        ("PolicyName", "y"),
        ("PolicyDocument", &allow("sqs:*")),
    ];
    region.ok("PutUserPolicy", &put).await;
    let input = [
        ("PolicySourceArn", "arn:aws:iam::000000000000:user/u"),
        ("ActionNames.member.1", "s3:GetObject"),
        ("ActionNames.member.2", "s3:PutObject"),
        ("ActionNames.member.3", "sqs:SendMessage"),
    ];
    let answer = region.ok("SimulatePrincipalPolicy", &input).await;
    assert_eq!(
        answer.texts("EvalDecision"),
        ["allowed", "implicitDeny", "implicitDeny"]
    );
    assert_eq!(
        answer.texts("AllowedByPermissionsBoundary"),
        ["true", "true", "false"]
    );
    let input = [(
        "PolicyInputList.member.1",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${aws:PrincipalTag/x}"}}}]}"#,
    )];
    let keys = region
        .ok("GetContextKeysForCustomPolicy", &input)
        .await
        .texts("member");
    assert_eq!(keys, ["aws:username", "aws:PrincipalTag/x"]);
}

#[tokio::test]
async fn a_policy_is_shown_with_what_aws_shows_of_it() {
    let region = Region::new();
    let document = allow("s3:*");
    let plain = [("PolicyName", "p"), ("PolicyDocument", document.as_str())];
    let described = [plain[0], plain[1], ("Description", "what it is for")];
    let made = region.ok("CreatePolicy", &described).await;
    assert!(
        !made.0.contains("<Description>") && !made.0.contains("<Tags"),
        "{}",
        made.0
    );
    let got = region.ok("GetPolicy", &[("PolicyArn", ARN)]).await;
    assert!(
        got.0.contains("<Description>what it is for</Description>"),
        "{}",
        got.0
    );
    assert!(got.0.contains("<Tags"), "{}", got.0);
    let aws = "arn:aws:iam::aws:policy/AdministratorAccess";
    let got = region.ok("GetPolicy", &[("PolicyArn", aws)]).await;
    assert!(got.0.contains("<Tags"), "{}", got.0);
}

#[tokio::test]
async fn a_user_has_two_signing_certificates_at_most_and_the_report_tells_of_them() {
    let region = Region::new();
    region.ok("CreateUser", &[("UserName", "u")]).await;
    let body = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----";
    let input = [("UserName", "u"), ("CertificateBody", body)];
    for _ in 0..2 {
        region.ok("UploadSigningCertificate", &input).await;
    }
    let third = region.fails("UploadSigningCertificate", &input).await;
    assert_eq!(
        (third.0, third.1.as_str(), third.2.as_str()),
        (
            409,
            "LimitExceeded",
            "Cannot exceed quota for CertificatesPerUser: 2"
        )
    );
    region.ok("GenerateCredentialReport", &[]).await;
    let report = region.ok("GetCredentialReport", &[]).await.text("Content");
    use base64::Engine;
    let report = base64::engine::general_purpose::STANDARD
        .decode(report)
        .unwrap_or_default();
    let report = String::from_utf8_lossy(&report).into_owned();
    let line = report
        .lines()
        .find(|line| line.starts_with("u,"))
        .unwrap_or_default();
    let fields: Vec<&str> = line.rsplit(',').collect();
    assert_eq!(
        (fields.get(1), fields.get(3)),
        (Some(&"true"), Some(&"true")),
        "{report}"
    );
}
