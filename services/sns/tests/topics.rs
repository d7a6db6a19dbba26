//! Topics, subscriptions and what is published.

mod region;

use region::{Region, element};
use serde_json::{Value, json};

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:news";
const FIFO: &str = "arn:aws:sns:us-east-1:000000000000:news.fifo";
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:queue";
const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

async fn with_topic() -> Region {
    let region = Region::new();
    let made = region.ok("CreateTopic", &[("Name", "news")]).await;
    assert_eq!(element(&made, "TopicArn"), TOPIC);
    region
}

async fn subscribe(
    region: &Region,
    topic: &str,
    protocol: &str,
    endpoint: &str,
    attributes: &[(&str, &str)],
) -> String {
    let mut input: Vec<(String, String)> = vec![
        ("TopicArn".into(), topic.into()),
        ("Protocol".into(), protocol.into()),
        ("Endpoint".into(), endpoint.into()),
    ];
    for (i, (name, value)) in attributes.iter().enumerate() {
        input.push((format!("Attributes.entry.{}.key", i + 1), (*name).into()));
        input.push((format!("Attributes.entry.{}.value", i + 1), (*value).into()));
    }
    let input: Vec<_> = input
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    element(&region.ok("Subscribe", &input).await, "SubscriptionArn")
}

#[tokio::test]
async fn a_topic_is_made_once_described_listed_and_deleted() {
    let region = with_topic().await;
    region.ok("CreateTopic", &[("Name", "news")]).await;
    let attributes = region
        .ok("GetTopicAttributes", &[("TopicArn", TOPIC)])
        .await;
    assert!(
        attributes.contains("EffectiveDeliveryPolicy")
            && attributes.contains("__default_policy_ID")
    );
    let (code, message) = region
        .fails(
            "CreateTopic",
            &[
                ("Name", "news"),
                ("Attributes.entry.1.key", "DisplayName"),
                ("Attributes.entry.1.value", "x"),
            ],
        )
        .await;
    assert_eq!(code, "InvalidParameter");
    assert_eq!(
        message,
        "Invalid parameter: Attributes Reason: Topic already exists with different attributes"
    );
    for name in ["", "a b", "x.fifo"] {
        assert_eq!(
            region.fails("CreateTopic", &[("Name", name)]).await.0,
            "InvalidParameter"
        );
    }
    region
        .ok(
            "SetTopicAttributes",
            &[
                ("TopicArn", TOPIC),
                ("AttributeName", "DisplayName"),
                ("AttributeValue", "News"),
            ],
        )
        .await;
    assert!(
        region
            .ok("GetTopicAttributes", &[("TopicArn", TOPIC)])
            .await
            .contains("News")
    );
    region
        .ok(
            "TagResource",
            &[
                ("ResourceArn", TOPIC),
                ("Tags.member.1.Key", "k"),
                ("Tags.member.1.Value", "v"),
            ],
        )
        .await;
    assert_eq!(
        element(
            &region
                .ok("ListTagsForResource", &[("ResourceArn", TOPIC)])
                .await,
            "Key"
        ),
        "k"
    );
    region
        .ok(
            "AddPermission",
            &[
                ("TopicArn", TOPIC),
                ("Label", "l"),
                ("AWSAccountId.member.1", "111111111111"),
                ("ActionName.member.1", "Publish"),
            ],
        )
        .await;
    assert!(
        region
            .ok("GetTopicAttributes", &[("TopicArn", TOPIC)])
            .await
            .contains("111111111111")
    );
    region
        .ok("RemovePermission", &[("TopicArn", TOPIC), ("Label", "l")])
        .await;
    assert!(region.ok("ListTopics", &[]).await.contains(TOPIC));
    region.ok("DeleteTopic", &[("TopicArn", TOPIC)]).await;
    let (code, message) = region
        .fails("GetTopicAttributes", &[("TopicArn", TOPIC)])
        .await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("NotFound", "Topic does not exist")
    );
    let (_, message) = region
        .fails("Publish", &[("TopicArn", "x"), ("Message", "m")])
        .await;
    assert_eq!(
        message,
        "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1"
    );
}

#[tokio::test]
async fn queues_and_functions_get_what_is_published() {
    let mut region = with_topic().await;
    let queue = subscribe(&region, TOPIC, "sqs", QUEUE, &[]).await;
    let published = region
        .ok(
            "Publish",
            &[
                ("TopicArn", TOPIC),
                ("Message", "hello \"you\""),
                ("Subject", "greeting"),
                ("MessageAttributes.entry.1.Name", "color"),
                ("MessageAttributes.entry.1.Value.DataType", "String"),
                ("MessageAttributes.entry.1.Value.StringValue", "red"),
            ],
        )
        .await;
    let delivery = region.next().await;
    assert_eq!(delivery.target, QUEUE);
    let body: Value = serde_json::from_str(&delivery.payload).expect("JSON");
    assert_eq!(body["Type"], "Notification");
    assert_eq!(body["MessageId"], element(&published, "MessageId"));
    assert_eq!(
        (&body["Message"], &body["Subject"]),
        (&json!("hello \"you\""), &json!("greeting"))
    );
    assert_eq!(
        body["MessageAttributes"]["color"],
        json!({ "Type": "String", "Value": "red" })
    );
    region
        .ok(
            "SetSubscriptionAttributes",
            &[
                ("SubscriptionArn", &queue),
                ("AttributeName", "RawMessageDelivery"),
                ("AttributeValue", "true"),
            ],
        )
        .await;
    region
        .ok("Publish", &[("TopicArn", TOPIC), ("Message", "raw")])
        .await;
    assert_eq!(region.next().await.payload, "raw");
    region
        .ok("Unsubscribe", &[("SubscriptionArn", &queue)])
        .await;
    let function = subscribe(&region, TOPIC, "lambda", FUNCTION, &[]).await;
    region
        .ok(
            "Publish",
            &[
                ("TopicArn", TOPIC),
                ("MessageStructure", "json"),
                ("Message", r#"{"default":"d","lambda":"for functions"}"#),
            ],
        )
        .await;
    let event: Value = serde_json::from_str(&region.next().await.payload).expect("JSON");
    assert_eq!(event["Records"][0]["EventSubscriptionArn"], function);
    assert_eq!(event["Records"][0]["Sns"]["Message"], "for functions");
    assert_eq!(event["Records"][0]["Sns"]["Subject"], Value::Null);
    assert!(
        region
            .ok("ListSubscriptionsByTopic", &[("TopicArn", TOPIC)])
            .await
            .contains(&function)
    );
    assert!(
        region
            .ok("ListSubscriptions", &[])
            .await
            .contains(&function)
    );
}

#[tokio::test]
async fn filters_choose_and_dead_letters_keep_what_is_refused() {
    let mut region = with_topic().await;
    subscribe(
        &region,
        TOPIC,
        "sqs",
        QUEUE,
        &[
            ("FilterPolicy", r#"{"color":["red"]}"#),
            ("RawMessageDelivery", "true"),
        ],
    )
    .await;
    let body = r#"{"order":{"price":[{"numeric":[">",10]}]}}"#;
    subscribe(
        &region,
        TOPIC,
        "lambda",
        FUNCTION,
        &[("FilterPolicy", body), ("FilterPolicyScope", "MessageBody")],
    )
    .await;
    let dead = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead"}"#;
    subscribe(
        &region,
        TOPIC,
        "sqs",
        "arn:aws:sqs:us-east-1:000000000000:never",
        &[("RedrivePolicy", dead), ("RawMessageDelivery", "true")],
    )
    .await;
    region
        .ok(
            "Publish",
            &[
                ("TopicArn", TOPIC),
                ("Message", r#"{"order":{"price":11}}"#),
            ],
        )
        .await;
    let mut targets = vec![region.next().await.target, region.next().await.target];
    targets.sort();
    assert_eq!(
        targets,
        [FUNCTION, "arn:aws:sqs:us-east-1:000000000000:dead"]
    );
    region
        .ok(
            "Publish",
            &[
                ("TopicArn", TOPIC),
                ("Message", "m"),
                ("MessageAttributes.entry.1.Name", "color"),
                ("MessageAttributes.entry.1.Value.DataType", "String"),
                ("MessageAttributes.entry.1.Value.StringValue", "red"),
            ],
        )
        .await;
    let mut targets = vec![region.next().await.target, region.next().await.target];
    targets.sort();
    assert_eq!(targets, ["arn:aws:sqs:us-east-1:000000000000:dead", QUEUE]);
    let (code, message) = region
        .fails(
            "Subscribe",
            &[
                ("TopicArn", TOPIC),
                ("Protocol", "sqs"),
                ("Endpoint", "arn:aws:sqs:us-east-1:000000000000:x"),
                ("Attributes.entry.1.key", "FilterPolicy"),
                ("Attributes.entry.1.value", r#"{"a":1}"#),
            ],
        )
        .await;
    assert_eq!(code, "InvalidParameter");
    assert_eq!(
        message,
        "Invalid parameter: Attributes Reason: FilterPolicy: \"a\" must be an object or an array"
    );
}

#[tokio::test]
async fn a_fifo_topic_keeps_order_and_drops_doubles() {
    let mut region = Region::new();
    region
        .ok(
            "CreateTopic",
            &[
                ("Name", "news.fifo"),
                ("Attributes.entry.1.key", "FifoTopic"),
                ("Attributes.entry.1.value", "true"),
            ],
        )
        .await;
    subscribe(
        &region,
        FIFO,
        "sqs",
        "arn:aws:sqs:us-east-1:000000000000:q.fifo",
        &[("RawMessageDelivery", "true")],
    )
    .await;
    let publish = async |region: &Region, text: &str, dedup: &str| {
        let input = [
            ("TopicArn", FIFO),
            ("Message", text),
            ("MessageGroupId", "g"),
            ("MessageDeduplicationId", dedup),
        ];
        element(&region.ok("Publish", &input).await, "SequenceNumber")
    };
    let mut last = String::new();
    for i in 0..20 {
        // The third is refused at first; those behind it wait.
        let text = if i == 2 {
            "later".to_owned()
        } else {
            i.to_string()
        };
        let number = publish(&region, &text, &i.to_string()).await;
        assert!(number > last && number.len() == 20);
        last = number;
    }
    assert_eq!(publish(&region, "19", "19").await, last);
    for i in 0..20 {
        let delivery = region.next().await;
        assert_eq!(delivery.parameters["MessageDeduplicationId"], i.to_string());
        assert_eq!(delivery.parameters["MessageGroupId"], "g");
    }
    let when = region.cloud.clock.now().plus_millis(301_000);
    region
        .cloud
        .scheduler
        .advance_to(when)
        .await
        .expect("the clock moves");
    assert!(publish(&region, "again", "19").await > last);
    assert_eq!(region.next().await.payload, "again");
    let (_, message) = region
        .fails("Publish", &[("TopicArn", FIFO), ("Message", "m")])
        .await;
    assert_eq!(
        message,
        "Invalid parameter: The MessageGroupId parameter is required for FIFO topics"
    );
}

#[tokio::test]
async fn a_batch_fails_in_parts() {
    let mut region = with_topic().await;
    subscribe(
        &region,
        TOPIC,
        "sqs",
        QUEUE,
        &[("RawMessageDelivery", "true")],
    )
    .await;
    let entry = |i: usize, field: &str| format!("PublishBatchRequestEntries.member.{i}.{field}");
    let (a, b, c, d) = (
        entry(1, "Id"),
        entry(1, "Message"),
        entry(2, "Id"),
        entry(2, "Message"),
    );
    let input = [
        ("TopicArn", TOPIC),
        (a.as_str(), "x"),
        (b.as_str(), "m"),
        (c.as_str(), "y"),
        (d.as_str(), ""),
    ];
    let answer = region.ok("PublishBatch", &input).await;
    assert!(
        answer.contains("<Id>x</Id>") && answer.contains("<Failed><member><Id>y</Id>"),
        "{answer}"
    );
    assert_eq!(region.next().await.payload, "m");
    let input = [
        ("TopicArn", TOPIC),
        (a.as_str(), "x"),
        (b.as_str(), "m"),
        (c.as_str(), "x"),
        (d.as_str(), "m"),
    ];
    assert_eq!(
        region.fails("PublishBatch", &input).await.0,
        "BatchEntryIdsNotDistinct"
    );
}

#[tokio::test]
async fn an_email_subscription_waits_for_its_word_and_others_publish_by_policy() {
    let mut region = with_topic().await;
    assert_eq!(
        subscribe(&region, TOPIC, "email", "a@example.com", &[]).await,
        "pending confirmation"
    );
    assert!(
        region
            .ok("ListSubscriptionsByTopic", &[("TopicArn", TOPIC)])
            .await
            .contains("PendingConfirmation")
    );
    subscribe(
        &region,
        TOPIC,
        "sqs",
        QUEUE,
        &[("RawMessageDelivery", "true")],
    )
    .await;
    let delivery = cloud::Delivery {
        target: TOPIC.into(),
        payload: "from S3".into(),
        source: cloud::Source {
            service: "s3.amazonaws.com".into(),
            arn: "arn:aws:s3:::b".into(),
            account: "000000000000".into(),
            role: None,
        },
        ..cloud::Delivery::default()
    };
    assert!(
        region.cloud.targets.deliver(&delivery).await.is_err(),
        "the default policy lets no service in"
    );
    let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Principal": { "Service": "s3.amazonaws.com" }, "Action": "sns:Publish", "Resource": TOPIC }] });
    region
        .ok(
            "SetTopicAttributes",
            &[
                ("TopicArn", TOPIC),
                ("AttributeName", "Policy"),
                ("AttributeValue", &policy.to_string()),
            ],
        )
        .await;
    region
        .cloud
        .targets
        .deliver(&delivery)
        .await
        .expect("a delivery");
    assert_eq!(region.next().await.payload, "from S3");
}

#[tokio::test]
async fn platform_endpoints_are_kept_by_their_token() {
    let region = Region::new();
    let made = region
        .ok(
            "CreatePlatformApplication",
            &[
                ("Name", "app"),
                ("Platform", "GCM"),
                ("Attributes.entry.1.key", "PlatformCredential"),
                ("Attributes.entry.1.value", "k"),
            ],
        )
        .await;
    let app = element(&made, "PlatformApplicationArn");
    assert_eq!(app, "arn:aws:sns:us-east-1:000000000000:app/GCM/app");
    assert!(
        !region
            .ok(
                "GetPlatformApplicationAttributes",
                &[("PlatformApplicationArn", &app)]
            )
            .await
            .contains("PlatformCredential")
    );
    let create = [("PlatformApplicationArn", app.as_str()), ("Token", "t")];
    let endpoint = element(
        &region.ok("CreatePlatformEndpoint", &create).await,
        "EndpointArn",
    );
    assert_eq!(
        element(
            &region.ok("CreatePlatformEndpoint", &create).await,
            "EndpointArn"
        ),
        endpoint
    );
    let other = [
        ("PlatformApplicationArn", app.as_str()),
        ("Token", "t"),
        ("CustomUserData", "d"),
    ];
    let (_, message) = region.fails("CreatePlatformEndpoint", &other).await;
    assert_eq!(
        message,
        format!(
            "Invalid parameter: Token Reason: Endpoint {endpoint} already exists with the same Token, but different attributes."
        )
    );
    region
        .ok(
            "SetEndpointAttributes",
            &[
                ("EndpointArn", &endpoint),
                ("Attributes.entry.1.key", "Enabled"),
                ("Attributes.entry.1.value", "false"),
            ],
        )
        .await;
    let (code, message) = region
        .fails("Publish", &[("TargetArn", &endpoint), ("Message", "m")])
        .await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("EndpointDisabled", "Endpoint is disabled")
    );
    region
        .ok("DeleteEndpoint", &[("EndpointArn", &endpoint)])
        .await;
    assert_eq!(
        region
            .fails("GetEndpointAttributes", &[("EndpointArn", &endpoint)])
            .await
            .1,
        "Endpoint does not exist"
    );
    region
        .ok(
            "DeletePlatformApplication",
            &[("PlatformApplicationArn", &app)],
        )
        .await;
    assert!(
        !region
            .ok("ListPlatformApplications", &[])
            .await
            .contains(&app)
    );
}
