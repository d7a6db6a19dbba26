//! Subscriptions that wait for their word, and what the topic's policy has to say about it.

mod region;

use region::{Region, element};

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:news";

async fn pending(region: &Region) -> String {
    let subscribed = region
        .ok(
            "Subscribe",
            &[
                ("TopicArn", TOPIC),
                ("Protocol", "email"),
                ("Endpoint", "a@example.com"),
                ("ReturnSubscriptionArn", "true"),
            ],
        )
        .await;
    element(&subscribed, "SubscriptionArn")
}

async fn count(region: &Region, of: &str) -> String {
    let attributes = region
        .ok("GetTopicAttributes", &[("TopicArn", TOPIC)])
        .await;
    let (_, rest) = attributes.split_once(of).expect("the attribute");
    element(rest, "value")
}

#[tokio::test]
async fn what_nobody_confirms_ends_after_two_days() {
    let region = Region::new();
    region.ok("CreateTopic", &[("Name", "news")]).await;
    let arn = pending(&region).await;
    assert_eq!(count(&region, "SubscriptionsPending").await, "1");
    let now = region.cloud.clock.now();
    let scheduler = &region.cloud.scheduler;
    scheduler
        .advance_to(now.plus_secs(86_400))
        .await
        .expect("a day");
    assert_eq!(count(&region, "SubscriptionsPending").await, "1");
    scheduler
        .advance_to(now.plus_secs(2 * 86_400 + 60))
        .await
        .expect("two days");
    assert_eq!(count(&region, "SubscriptionsPending").await, "0");
    let (code, _) = region
        .fails("GetSubscriptionAttributes", &[("SubscriptionArn", &arn)])
        .await;
    assert_eq!(code, "NotFound");
}

#[tokio::test]
async fn an_endpoint_must_be_one_of_its_protocol() {
    let region = Region::new();
    region.ok("CreateTopic", &[("Name", "news")]).await;
    for (protocol, endpoint, wrong) in [
        (
            "http",
            "https://example.com",
            "Endpoint must match the specified protocol",
        ),
        ("https", "https://", "Unreachable Endpoint"),
        (
            "sms",
            "+15--551234567",
            "Invalid SMS endpoint: +15--551234567",
        ),
        (
            "application",
            "arn:aws:sns:us-east-1:000000000000:endpoint/GCM/a/b",
            "Endpoint does not exist",
        ),
    ] {
        let (code, message) = region
            .fails(
                "Subscribe",
                &[
                    ("TopicArn", TOPIC),
                    ("Protocol", protocol),
                    ("Endpoint", endpoint),
                ],
            )
            .await;
        assert_eq!(code, "InvalidParameter");
        assert!(message.contains(wrong), "{message}");
    }
}

#[tokio::test]
async fn an_explicit_deny_holds_for_the_owner_too() {
    let region = Region::new();
    region.ok("CreateTopic", &[("Name", "news")]).await;
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny","Principal":"*","Action":"sns:Publish","Resource":"{TOPIC}"}}]}}"#
    );
    region
        .ok(
            "SetTopicAttributes",
            &[
                ("TopicArn", TOPIC),
                ("AttributeName", "Policy"),
                ("AttributeValue", &policy),
            ],
        )
        .await;
    let publish = [("TopicArn", TOPIC), ("Message", "m")];
    let (code, message) = region.fails("Publish", &publish).await;
    assert_eq!(code, "AuthorizationError");
    assert!(
        message.ends_with("with an explicit deny in a resource-based policy"),
        "{message}"
    );
    region
        .ok("GetTopicAttributes", &[("TopicArn", TOPIC)])
        .await;
}
