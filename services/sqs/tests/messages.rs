//! Messages of standard queues: visibility, delays, dead letters, retention, batches.
#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test may fail as loudly as the test"
)]

mod region;

use region::Region;
use serde_json::{Value, json};
use wire::Body;

#[tokio::test]
async fn a_received_message_is_hidden_until_its_timeout() {
    let region = Region::new();
    let url = region.queue("q", json!({})).await;
    region
        .ok(
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": "one" }),
        )
        .await;
    assert_eq!(region.counts(&url).await, (1, 0, 0));
    let first = region.receive(&url).await;
    assert_eq!(first[0]["Attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(region.counts(&url).await, (0, 1, 0));
    assert!(region.receive(&url).await.is_empty());
    region.advance(31).await;
    assert_eq!(region.counts(&url).await, (1, 0, 0));
    let second = region.receive(&url).await;
    assert_eq!(second[0]["Attributes"]["ApproximateReceiveCount"], "2");
    assert_ne!(first[0]["ReceiptHandle"], second[0]["ReceiptHandle"]);
    region.ok("ChangeMessageVisibility", json!({
        "QueueUrl": url, "ReceiptHandle": second[0]["ReceiptHandle"], "VisibilityTimeout": 0,
    })).await;
    let third = region.receive(&url).await;
    region.delete(&url, &third[0]).await;
    region.delete(&url, &third[0]).await;
    assert_eq!(region.counts(&url).await, (0, 0, 0));
    region.advance(100).await;
    assert!(region.receive(&url).await.is_empty());
    let (kind, text) = region
        .fails(
            "ChangeMessageVisibility",
            json!({
                "QueueUrl": url, "ReceiptHandle": third[0]["ReceiptHandle"], "VisibilityTimeout": 1,
            }),
        )
        .await;
    assert_eq!(kind, "InvalidParameterValueException");
    assert!(text.ends_with(
        "Reason: Message does not exist or is not available for visibility timeout change."
    ));
}

#[tokio::test]
async fn delays_hold_messages_back() {
    let region = Region::new();
    let url = region.queue("q", json!({ "DelaySeconds": "5" })).await;
    region
        .ok(
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": "later" }),
        )
        .await;
    region
        .ok(
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": "now", "DelaySeconds": 0 }),
        )
        .await;
    assert_eq!(region.counts(&url).await, (1, 0, 1));
    assert_eq!(region.bodies(&url).await, ["now"]);
    region.advance(6).await;
    assert_eq!(region.bodies(&url).await, ["later"]);
}

#[tokio::test]
async fn a_waiting_receive_wakes_at_once() {
    let region = std::sync::Arc::new(Region::new());
    let url = region.queue("q", json!({})).await;
    let waiting = {
        let (region, url) = (region.clone(), url.clone());
        tokio::spawn(async move {
            let input = json!({ "QueueUrl": url, "WaitTimeSeconds": 20 });
            region.ok("ReceiveMessage", input).await
        })
    };
    tokio::task::yield_now().await;
    region
        .ok(
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": "x" }),
        )
        .await;
    let sent = region.cloud.clock.now();
    let answer = waiting.await.expect("no panic");
    assert_eq!(answer["Messages"][0]["Body"], "x");
    assert!(region.cloud.clock.now().0 - sent.0 < 10_000);
}

#[tokio::test]
async fn a_message_received_too_often_goes_to_the_dead_letter_queue_and_back() {
    let region = Region::new();
    let dead = region.queue("dead", json!({})).await;
    let policy = json!({ "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead", "maxReceiveCount": "2" });
    let url = region
        .queue(
            "q",
            json!({ "RedrivePolicy": policy.to_string(), "VisibilityTimeout": "1" }),
        )
        .await;
    region
        .ok(
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": "bad" }),
        )
        .await;
    for _ in 0..2 {
        assert_eq!(region.bodies(&url).await, ["bad"]);
        region.advance(2).await;
    }
    assert!(region.bodies(&url).await.is_empty());
    assert_eq!(region.counts(&url).await, (0, 0, 0));
    let found = region.receive(&dead).await;
    assert_eq!(found[0]["Attributes"]["ApproximateReceiveCount"], "3");
    assert_eq!(
        found[0]["Attributes"]["DeadLetterQueueSourceArn"],
        "arn:aws:sqs:us-east-1:000000000000:q"
    );
    let sources = region
        .ok("ListDeadLetterSourceQueues", json!({ "QueueUrl": dead }))
        .await;
    assert_eq!(sources["queueUrls"], json!([url]));
    region.advance(31).await;
    let source = json!({ "SourceArn": "arn:aws:sqs:us-east-1:000000000000:dead" });
    region.ok("StartMessageMoveTask", source.clone()).await;
    for _ in 0..1000 {
        region.advance(1).await;
        if region.counts(&url).await.0 == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(region.bodies(&url).await, ["bad"]);
    let mut status = Value::Null;
    for _ in 0..1000 {
        status = region.ok("ListMessageMoveTasks", source.clone()).await["Results"][0].clone();
        if status["Status"] == "COMPLETED" {
            break;
        }
        region.advance(1).await;
    }
    assert_eq!(status["Status"], "COMPLETED");
    assert_eq!(status["ApproximateNumberOfMessagesMoved"], 1);
}

#[tokio::test]
async fn messages_end_with_their_retention() {
    let region = Region::new();
    let url = region
        .queue("q", json!({ "MessageRetentionPeriod": "60" }))
        .await;
    for body in ["a", "b"] {
        region
            .ok(
                "SendMessage",
                json!({ "QueueUrl": url, "MessageBody": body }),
            )
            .await;
    }
    assert_eq!(region.receive(&url).await.len(), 2);
    region.advance(61).await;
    assert_eq!(region.counts(&url).await, (0, 0, 0));
    assert!(region.receive(&url).await.is_empty());
}

#[tokio::test]
async fn a_purged_queue_is_empty_and_goes_on() {
    let region = Region::new();
    let url = region.queue("q", json!({})).await;
    for n in 0..20 {
        region
            .ok(
                "SendMessage",
                json!({ "QueueUrl": url, "MessageBody": n.to_string() }),
            )
            .await;
    }
    let taken = region.receive(&url).await;
    region.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
    assert_eq!(region.counts(&url).await, (0, 0, 0));
    region.delete(&url, &taken[0]).await;
    region
        .ok(
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": "new" }),
        )
        .await;
    assert_eq!(region.bodies(&url).await, ["new"]);
    region.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    let (kind, text) = region
        .fails(
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": "x" }),
        )
        .await;
    assert_eq!(
        (kind.as_str(), text.as_str()),
        ("QueueDoesNotExist", "The specified queue does not exist.")
    );
    region.queue("q", json!({})).await;
    assert!(region.bodies(&url).await.is_empty());
}

#[tokio::test]
async fn a_batch_fails_by_its_entries() {
    let region = Region::new();
    let url = region
        .queue("q", json!({ "MaximumMessageSize": "1024" }))
        .await;
    let sent = region
        .ok(
            "SendMessageBatch",
            json!({ "QueueUrl": url, "Entries": [
                { "Id": "ok", "MessageBody": "x" },
                { "Id": "long", "MessageBody": "x".repeat(1025) },
                { "Id": "late", "MessageBody": "x", "DelaySeconds": 901 },
                { "Id": "bad", "MessageBody": "\u{0}" },
            ]}),
        )
        .await;
    assert_eq!(sent["Successful"].as_array().map(Vec::len), Some(1));
    let codes: Vec<_> = sent["Failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["Code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "InvalidParameterValue",
            "InvalidParameterValue",
            "InvalidMessageContents"
        ]
    );
    for (entries, kind) in [
        (json!([]), "EmptyBatchRequest"),
        (
            json!([{ "Id": "a", "MessageBody": "x" }, { "Id": "a", "MessageBody": "x" }]),
            "BatchEntryIdsNotDistinct",
        ),
        (
            json!([{ "Id": "a b", "MessageBody": "x" }]),
            "InvalidBatchEntryId",
        ),
        (
            json!(
                (0..11)
                    .map(|n| json!({ "Id": n.to_string(), "MessageBody": "x" }))
                    .collect::<Vec<_>>()
            ),
            "TooManyEntriesInBatchRequest",
        ),
    ] {
        assert_eq!(
            region
                .fails(
                    "SendMessageBatch",
                    json!({ "QueueUrl": url, "Entries": entries })
                )
                .await
                .0,
            kind
        );
    }
    let taken = region.receive(&url).await;
    let deleted = region.ok("DeleteMessageBatch", json!({ "QueueUrl": url, "Entries": [
        { "Id": "a", "ReceiptHandle": taken[0]["ReceiptHandle"] }, { "Id": "b", "ReceiptHandle": "garbage" },
    ]})).await;
    assert_eq!(deleted["Successful"], json!([{ "Id": "a" }]));
    assert_eq!(deleted["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
}

#[tokio::test]
async fn bad_requests_are_refused_in_aws_words() {
    let region = Region::new();
    let url = region.queue("q", json!({})).await;
    let cases = [
        (
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": "" }),
            "The request must contain the parameter MessageBody.",
        ),
        (
            "SendMessage",
            json!({ "MessageBody": "x" }),
            "The request must contain the parameter QueueUrl.",
        ),
        (
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": "x", "DelaySeconds": 901 }),
            "Value 901 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.",
        ),
        (
            "ReceiveMessage",
            json!({ "QueueUrl": url, "MaxNumberOfMessages": 11 }),
            "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            "ReceiveMessage",
            json!({ "QueueUrl": url, "WaitTimeSeconds": -1 }),
            "Value -1 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.",
        ),
        (
            "GetQueueAttributes",
            json!({ "QueueUrl": url, "AttributeNames": ["Nope"] }),
            "Unknown Attribute Nope.",
        ),
        (
            "CreateQueue",
            json!({ "QueueName": "a b" }),
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ),
        (
            "CreateQueue",
            json!({ "QueueName": "q", "Attributes": { "DelaySeconds": "1" } }),
            "A queue already exists with the same name and a different value for attribute DelaySeconds",
        ),
        (
            "CreateQueue",
            json!({ "QueueName": "x", "Attributes": { "VisibilityTimeout": "43201" } }),
            "Invalid value for the parameter VisibilityTimeout.",
        ),
        (
            "CreateQueue",
            json!({ "QueueName": "x", "Attributes": { "ContentBasedDeduplication": "true" } }),
            "Unknown Attribute ContentBasedDeduplication.",
        ),
        (
            "DeleteMessage",
            json!({ "QueueUrl": url, "ReceiptHandle": "x" }),
            "The input receipt handle \"x\" is not a valid receipt handle.",
        ),
        (
            "GetQueueUrl",
            json!({ "QueueName": "nope" }),
            "The specified queue does not exist.",
        ),
    ];
    for (operation, input, text) in cases {
        assert_eq!(
            region.fails(operation, input.clone()).await.1,
            text,
            "{operation} {input}"
        );
    }
}

#[tokio::test]
async fn another_account_needs_the_queues_policy() {
    let region = Region::new();
    let url = region.queue("q", json!({})).await;
    let send = json!({ "QueueUrl": url, "MessageBody": "x" });
    let (status, answer) = region
        .call_as("111111111111", "SendMessage", send.clone())
        .await;
    assert_eq!(
        (status, answer["__type"].as_str()),
        (403, Some("AccessDeniedException"))
    );
    region.ok("AddPermission", json!({
        "QueueUrl": url, "Label": "other", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"],
    })).await;
    assert_eq!(
        region
            .call_as("111111111111", "SendMessage", send.clone())
            .await
            .0,
        200
    );
    assert_eq!(
        region
            .call_as("222222222222", "SendMessage", send.clone())
            .await
            .0,
        403
    );
    region
        .ok(
            "RemovePermission",
            json!({ "QueueUrl": url, "Label": "other" }),
        )
        .await;
    assert_eq!(
        region.call_as("111111111111", "SendMessage", send).await.0,
        403
    );
}

#[tokio::test]
async fn the_query_protocol_speaks_at_the_queues_own_url() {
    let region = Region::new();
    region.queue("q", json!({})).await;
    let form = "Action=SendMessage&MessageBody=hello&MessageAttribute.1.Name=n&MessageAttribute.1.Value.DataType=Number&MessageAttribute.1.Value.StringValue=7";
    let request = http::Request::post("/000000000000/q")
        .header("host", "localhost:4566")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=00");
    let answer = region
        .send(request.body(Body::from(form.to_owned())).unwrap())
        .await;
    assert_eq!(answer.status, 200);
    let get = "/queue/us-east-1/000000000000/q?Action=ReceiveMessage&AttributeName.1=All&MessageAttributeName.1=All";
    let request = http::Request::get(get).header("host", "localhost:4566");
    let answer = region.send(request.body(Body::Empty).unwrap()).await;
    let text = String::from_utf8(answer.body.collect(1 << 20).await.unwrap().to_vec()).unwrap();
    for part in [
        "<ReceiveMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">",
        "<Body>hello</Body>",
        "<Attribute><Name>ApproximateReceiveCount</Name><Value>1</Value></Attribute>",
        "<MessageAttribute><Name>n</Name><Value><StringValue>7</StringValue><DataType>Number</DataType></Value></MessageAttribute>",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let request =
        http::Request::get("/_aws/sqs/messages/us-east-1/000000000000/q?ShowInvisible=true")
            .header("host", "localhost:4566")
            .header("accept", "application/json");
    let answer = region.send(request.body(Body::Empty).unwrap()).await;
    let seen: Value = serde_json::from_slice(&answer.body.collect(1 << 20).await.unwrap()).unwrap();
    assert_eq!(seen["Messages"][0]["Body"], "hello");
}

#[tokio::test]
async fn in_flight_receipts_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region::new();
    let url = region.queue("q", json!({})).await;
    let fifo = region
        .queue(
            "q.fifo",
            json!({ "FifoQueue": "true", "ContentBasedDeduplication": "true" }),
        )
        .await;
    for n in 0..3 {
        region
            .ok(
                "SendMessage",
                json!({ "QueueUrl": url, "MessageBody": n.to_string() }),
            )
            .await;
        region
            .ok(
                "SendMessage",
                json!({ "QueueUrl": fifo, "MessageBody": n.to_string(), "MessageGroupId": "g" }),
            )
            .await;
    }
    let taken = region
        .ok("ReceiveMessage", json!({ "QueueUrl": url }))
        .await["Messages"][0]
        .clone();
    let first = region
        .ok("ReceiveMessage", json!({ "QueueUrl": fifo }))
        .await["Messages"][0]
        .clone();
    let snapshot = folder.path().join("snapshot");
    region.cloud.snapshot_save(&snapshot).await.unwrap();
    let again = Region::new();
    again.cloud.snapshot_load(&snapshot).await.unwrap();
    assert_eq!(again.counts(&url).await, (2, 1, 0));
    assert_eq!(again.bodies(&url).await.len(), 2);
    assert_eq!(again.counts(&url).await, (0, 3, 0));
    assert!(
        again.bodies(&fifo).await.is_empty(),
        "the group is still held by its first message"
    );
    again.delete(&url, &taken).await;
    again.delete(&fifo, &first).await;
    assert_eq!(again.bodies(&fifo).await, ["1", "2"]);
    assert_eq!(again.counts(&url).await, (0, 2, 0));
}

#[tokio::test]
async fn a_long_queue_gives_every_message_once_in_its_order() {
    let region = Region::new();
    let url = region
        .queue(
            "q.fifo",
            json!({ "FifoQueue": "true", "ContentBasedDeduplication": "true" }),
        )
        .await;
    let plain = region.queue("q", json!({})).await;
    for chunk in (0..3000).collect::<Vec<_>>().chunks(10) {
        let entry = |n: &i32| json!({ "Id": n.to_string(), "MessageBody": n.to_string(), "MessageGroupId": (n % 7).to_string() });
        let entries: Vec<_> = chunk.iter().map(entry).collect();
        region
            .ok(
                "SendMessageBatch",
                json!({ "QueueUrl": url, "Entries": entries }),
            )
            .await;
        region
            .ok(
                "SendMessageBatch",
                json!({ "QueueUrl": plain, "Entries": entries }),
            )
            .await;
    }
    let mut last = [-1; 7];
    let (mut ordered, mut seen) = (0, std::collections::HashSet::new());
    loop {
        let messages = region.receive(&url).await;
        let others = region.bodies(&plain).await;
        if messages.is_empty() && others.is_empty() {
            break;
        }
        seen.extend(others);
        for message in &messages {
            let n: i32 = message["Body"].as_str().unwrap().parse().unwrap();
            let group = usize::try_from(n % 7).unwrap();
            assert_eq!(last[group], if n < 7 { -1 } else { n - 7 });
            last[group] = n;
            ordered += 1;
            region.delete(&url, message).await;
        }
    }
    assert_eq!((ordered, seen.len()), (3000, 3000));
    assert_eq!(region.counts(&plain).await, (0, 3000, 0));
}
