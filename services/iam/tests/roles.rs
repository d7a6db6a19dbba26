//! Roles, their policies and instance profiles.

mod region;

use region::Region;

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const READ: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}"#;

async fn with_role() -> Region {
    let region = Region::new();
    region
        .ok(
            "CreateRole",
            &[
                ("RoleName", "r"),
                ("Path", "/app/"),
                ("AssumeRolePolicyDocument", TRUST),
            ],
        )
        .await;
    region
}

#[tokio::test]
async fn a_role_is_answered_with_its_arn_id_and_encoded_trust_policy() {
    let region = with_role().await;
    let role = region.ok("GetRole", &[("RoleName", "r")]).await;
    assert_eq!(role.text("Arn"), "arn:aws:iam::000000000000:role/app/r");
    assert!(role.text("RoleId").starts_with("AROA") && role.text("RoleId").len() == 21);
    assert_eq!(role.text("MaxSessionDuration"), "3600");
    assert_eq!(role.text("CreateDate").len(), "2026-01-01T00:00:00Z".len());
    let document = role.text("AssumeRolePolicyDocument");
    assert!(
        document.starts_with("%7B%22Version%22%3A%222012-10-17%22"),
        "{document}"
    );
    let decoded = percent_encoding::percent_decode_str(&document)
        .decode_utf8()
        .expect("text");
    assert_eq!(decoded, TRUST);
    let failure = region.fails("GetRole", &[("RoleName", "x")]).await;
    assert_eq!(
        failure,
        (
            404,
            "NoSuchEntity".into(),
            "The role with name x cannot be found.".into()
        )
    );
    let again = [("RoleName", "R"), ("AssumeRolePolicyDocument", TRUST)];
    let failure = region.fails("CreateRole", &again).await;
    assert_eq!(
        failure,
        (
            409,
            "EntityAlreadyExists".into(),
            "Role with name R already exists.".into()
        )
    );
    let bad = [("RoleName", "b"), ("AssumeRolePolicyDocument", "{")];
    assert_eq!(
        region.fails("CreateRole", &bad).await.1,
        "MalformedPolicyDocument"
    );
}

#[tokio::test]
async fn a_role_goes_only_when_nothing_hangs_on_it() {
    let region = with_role().await;
    let policy = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole";
    region
        .ok(
            "AttachRolePolicy",
            &[("RoleName", "r"), ("PolicyArn", policy)],
        )
        .await;
    region
        .ok(
            "PutRolePolicy",
            &[
                ("RoleName", "r"),
                ("PolicyName", "p"),
                ("PolicyDocument", READ),
            ],
        )
        .await;
    region
        .ok("CreateInstanceProfile", &[("InstanceProfileName", "ip")])
        .await;
    region
        .ok(
            "AddRoleToInstanceProfile",
            &[("InstanceProfileName", "ip"), ("RoleName", "r")],
        )
        .await;
    let of_role = region
        .ok("ListInstanceProfilesForRole", &[("RoleName", "r")])
        .await;
    assert_eq!(of_role.text("InstanceProfileName"), "ip");
    let delete = [("RoleName", "r")];
    for (undo, input, message) in [
        (
            "RemoveRoleFromInstanceProfile",
            vec![("InstanceProfileName", "ip"), ("RoleName", "r")],
            "Cannot delete entity, must remove roles from instance profile first.",
        ),
        (
            "DetachRolePolicy",
            vec![("RoleName", "r"), ("PolicyArn", policy)],
            "Cannot delete entity, must detach all policies first.",
        ),
        (
            "DeleteRolePolicy",
            vec![("RoleName", "r"), ("PolicyName", "p")],
            "Cannot delete entity, must delete policies first.",
        ),
    ] {
        let failure = region.fails("DeleteRole", &delete).await;
        assert_eq!(failure, (409, "DeleteConflict".into(), message.into()));
        region.ok(undo, &input).await;
    }
    region.ok("DeleteRole", &delete).await;
    assert!(
        region
            .ok("ListRoles", &[])
            .await
            .texts("RoleName")
            .is_empty()
    );
}

#[tokio::test]
async fn roles_are_listed_by_path_and_page() {
    let region = Region::new();
    for (name, path) in [("a", "/x/"), ("B", "/x/y/"), ("c", "/z/")] {
        region
            .ok(
                "CreateRole",
                &[
                    ("RoleName", name),
                    ("Path", path),
                    ("AssumeRolePolicyDocument", TRUST),
                ],
            )
            .await;
    }
    let page = region.ok("ListRoles", &[("MaxItems", "2")]).await;
    assert_eq!(
        (page.texts("RoleName"), page.text("IsTruncated")),
        (vec!["a".into(), "B".into()], "true".into())
    );
    let rest = region
        .ok(
            "ListRoles",
            &[("MaxItems", "2"), ("Marker", &page.text("Marker"))],
        )
        .await;
    assert_eq!(
        (rest.texts("RoleName"), rest.text("IsTruncated")),
        (vec!["c".into()], "false".into())
    );
    let under = region.ok("ListRoles", &[("PathPrefix", "/x/")]).await;
    assert_eq!(under.texts("RoleName"), ["a", "B"]);
    assert_eq!(
        region.fails("ListRoles", &[("Marker", "nonsense")]).await.1,
        "ValidationError"
    );
}

#[tokio::test]
async fn tags_are_set_replaced_and_removed_whatever_their_case() {
    let region = with_role().await;
    let tags = [
        ("RoleName", "r"),
        ("Tags.member.1.Key", "K"),
        ("Tags.member.1.Value", "1"),
    ];
    region.ok("TagRole", &tags).await;
    let tags = [
        ("RoleName", "r"),
        ("Tags.member.1.Key", "k"),
        ("Tags.member.1.Value", "2"),
    ];
    region.ok("TagRole", &tags).await;
    let listed = region.ok("ListRoleTags", &[("RoleName", "r")]).await;
    assert_eq!(
        (listed.texts("Key"), listed.texts("Value")),
        (vec!["k".into()], vec!["2".into()])
    );
    let twice = [
        ("RoleName", "r"),
        ("Tags.member.1.Key", "a"),
        ("Tags.member.1.Value", "1"),
        ("Tags.member.2.Key", "A"),
        ("Tags.member.2.Value", "1"),
    ];
    assert_eq!(region.fails("TagRole", &twice).await.1, "InvalidInput");
    region
        .ok("UntagRole", &[("RoleName", "r"), ("TagKeys.member.1", "K")])
        .await;
    assert!(
        region
            .ok("ListRoleTags", &[("RoleName", "r")])
            .await
            .texts("Key")
            .is_empty()
    );
}

#[tokio::test]
async fn a_service_linked_role_is_changed_by_its_service_alone() {
    let region = Region::new();
    let made = region
        .ok(
            "CreateServiceLinkedRole",
            &[("AWSServiceName", "ecs.amazonaws.com")],
        )
        .await;
    assert_eq!(
        made.text("Arn"),
        "arn:aws:iam::000000000000:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
    );
    let again = region
        .fails(
            "CreateServiceLinkedRole",
            &[("AWSServiceName", "ecs.amazonaws.com")],
        )
        .await;
    assert_eq!(again.1, "InvalidInput");
    let name = ("RoleName", "AWSServiceRoleForECS");
    assert_eq!(
        region.fails("DeleteRole", &[name]).await.1,
        "UnmodifiableEntity"
    );
    let task = region
        .ok("DeleteServiceLinkedRole", &[name])
        .await
        .text("DeletionTaskId");
    let status = region
        .ok(
            "GetServiceLinkedRoleDeletionStatus",
            &[("DeletionTaskId", &task)],
        )
        .await;
    assert_eq!(status.text("Status"), "SUCCEEDED");
}

#[tokio::test]
async fn other_services_learn_whether_a_role_trusts_them() {
    use cloud::ports::RoleProblem;
    let region = with_role().await;
    let roles = region.cloud.ports.roles().expect("roles are owned");
    let arn = "arn:aws:iam::000000000000:role/app/r";
    assert_eq!(roles.check(arn, "lambda.amazonaws.com"), Ok(()));
    assert_eq!(
        roles.check(arn, "ec2.amazonaws.com"),
        Err(RoleProblem::Untrusted)
    );
    assert_eq!(
        roles.check("arn:aws:iam::000000000000:role/r", "lambda.amazonaws.com"),
        Err(RoleProblem::Missing)
    );
    assert_eq!(
        roles.check("nonsense", "lambda.amazonaws.com"),
        Err(RoleProblem::Missing)
    );
}

#[tokio::test]
async fn a_role_tells_of_its_sessions_last_use() {
    let region = with_role().await;
    let role = region.ok("GetRole", &[("RoleName", "r")]).await;
    assert_eq!(role.texts("LastUsedDate").len(), 0);
    let identity = |name: &str| cloud::ports::Identity {
        account: "000000000000".into(),
        principal: cloud::Principal {
            kind: cloud::PrincipalKind::AssumedRole,
            arn: format!("arn:aws:sts::000000000000:assumed-role/{name}/night"),
            id: format!("{}:night", role.text("RoleId")),
            access_key: Some("ASIAQAAAAAAAAAAAAAAA".into()),
        },
        secret_key: String::new(),
        session_token: Some(String::new()),
        expiration: None,
    };
    let users = region.cloud.ports.users().expect("the users");
    users.used(&identity("r"), "s3", "eu-west-1");
    let used = region.ok("GetRole", &[("RoleName", "r")]).await;
    assert!(used.text("LastUsedDate").ends_with(":00Z"));
    assert_eq!(used.text("Region"), "eu-west-1");
    let details = region.ok("GetAccountAuthorizationDetails", &[]).await;
    assert_eq!(details.text("LastUsedDate"), used.text("LastUsedDate"));
    // Another role of that name has another id.
    region.ok("DeleteRole", &[("RoleName", "r")]).await;
    let again = [("RoleName", "r"), ("AssumeRolePolicyDocument", TRUST)];
    region.ok("CreateRole", &again).await;
    let new = region.ok("GetRole", &[("RoleName", "r")]).await;
    assert_eq!(new.texts("LastUsedDate").len(), 0);
}
