//! FIFO queues: order within groups, deduplication, and a model that every sequence of operations must agree with.
#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test may fail as loudly as the test"
)]

mod region;

use std::collections::BTreeMap;

use proptest::prelude::*;
use region::Region;
use serde_json::{Value, json};

async fn fifo(region: &Region, attributes: Value) -> String {
    let mut all = json!({ "FifoQueue": "true", "ContentBasedDeduplication": "true" });
    if let (Some(all), Some(given)) = (all.as_object_mut(), attributes.as_object()) {
        all.extend(given.clone());
    }
    region.queue("q.fifo", all).await
}

async fn send(region: &Region, url: &str, group: &str, body: &str) -> Value {
    region
        .ok(
            "SendMessage",
            json!({ "QueueUrl": url, "MessageBody": body, "MessageGroupId": group }),
        )
        .await
}

#[tokio::test]
async fn a_group_waits_for_its_messages_in_flight() {
    let region = Region::new();
    let url = fifo(&region, json!({})).await;
    for (group, body) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")] {
        send(&region, &url, group, body).await;
    }
    let one = json!({ "QueueUrl": url, "MaxNumberOfMessages": 1, "AttributeNames": ["All"] });
    let first = region.ok("ReceiveMessage", one.clone()).await["Messages"][0].clone();
    assert_eq!(
        (
            first["Body"].as_str(),
            first["Attributes"]["MessageGroupId"].as_str()
        ),
        (Some("1"), Some("a"))
    );
    assert_eq!(region.bodies(&url).await, ["2"]);
    assert!(region.bodies(&url).await.is_empty());
    region.delete(&url, &first).await;
    assert_eq!(region.bodies(&url).await, ["3", "4"]);
    region.advance(31).await;
    // What was not deleted comes again, in its order.
    assert_eq!(region.bodies(&url).await, ["2", "3", "4"]);
}

#[tokio::test]
async fn an_expired_handle_deletes_nothing() {
    let region = Region::new();
    let url = fifo(&region, json!({ "VisibilityTimeout": "1" })).await;
    send(&region, &url, "a", "1").await;
    let taken = region.receive(&url).await;
    region.advance(2).await;
    let (kind, text) = region
        .fails(
            "DeleteMessage",
            json!({ "QueueUrl": url, "ReceiptHandle": taken[0]["ReceiptHandle"] }),
        )
        .await;
    assert_eq!(kind, "InvalidParameterValueException");
    assert!(
        text.ends_with("Reason: The receipt handle has expired."),
        "{text}"
    );
    assert_eq!(region.bodies(&url).await, ["1"]);
}

#[tokio::test]
async fn a_message_like_one_before_is_not_sent_for_five_minutes() {
    let region = Region::new();
    let url = fifo(&region, json!({})).await;
    let first = send(&region, &url, "a", "same").await;
    let second = send(&region, &url, "b", "same").await;
    assert_eq!(first["MessageId"], second["MessageId"]);
    assert_eq!(first["SequenceNumber"], second["SequenceNumber"]);
    let taken = region.receive(&url).await;
    assert_eq!(taken.len(), 1);
    region.delete(&url, &taken[0]).await;
    send(&region, &url, "a", "same").await;
    assert!(region.bodies(&url).await.is_empty());
    region.advance(301).await;
    send(&region, &url, "a", "same").await;
    assert_eq!(region.bodies(&url).await, ["same"]);
    region
        .ok(
            "SetQueueAttributes",
            json!({ "QueueUrl": url, "Attributes": { "DeduplicationScope": "messageGroup" } }),
        )
        .await;
    send(&region, &url, "c", "scoped").await;
    send(&region, &url, "d", "scoped").await;
    send(&region, &url, "d", "scoped").await;
    assert_eq!(region.bodies(&url).await, ["scoped", "scoped"]);
}

#[tokio::test]
async fn an_attempt_made_again_returns_the_same_messages() {
    let region = Region::new();
    let url = fifo(&region, json!({})).await;
    for n in 0..3 {
        send(&region, &url, "a", &n.to_string()).await;
    }
    let input =
        json!({ "QueueUrl": url, "MaxNumberOfMessages": 2, "ReceiveRequestAttemptId": "x" });
    let first = region.ok("ReceiveMessage", input.clone()).await;
    let second = region.ok("ReceiveMessage", input.clone()).await;
    assert_eq!(first, second);
    region.delete(&url, &first["Messages"][0]).await;
    assert_eq!(
        region.ok("ReceiveMessage", input).await["Messages"],
        Value::Null
    );
}

#[tokio::test]
async fn a_dead_message_lets_its_group_go_on() {
    let region = Region::new();
    let dead = region
        .queue("dead.fifo", json!({ "FifoQueue": "true" }))
        .await;
    let policy = json!({ "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead.fifo", "maxReceiveCount": 1 });
    let url = fifo(
        &region,
        json!({ "RedrivePolicy": policy.to_string(), "VisibilityTimeout": "1" }),
    )
    .await;
    for body in ["bad", "good"] {
        send(&region, &url, "a", body).await;
    }
    let one = json!({ "QueueUrl": url, "MaxNumberOfMessages": 1 });
    assert_eq!(
        region.ok("ReceiveMessage", one.clone()).await["Messages"][0]["Body"],
        "bad"
    );
    region.advance(2).await;
    assert_eq!(
        region.ok("ReceiveMessage", one).await["Messages"][0]["Body"],
        "good"
    );
    assert_eq!(region.bodies(&dead).await, ["bad"]);
}

/// What a client may do.
#[derive(Clone, Debug)]
enum Step {
    Send(u8),
    Receive(usize),
    Delete(usize),
    Show(usize),
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8).prop_map(Step::Send),
        4 => (1..11usize).prop_map(Step::Receive),
        3 => (0..20usize).prop_map(Step::Delete),
        1 => (0..20usize).prop_map(Step::Show),
        1 => (1..20i64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..60)
}

/// A message as the model sees it.
#[derive(Clone, Debug)]
struct Model {
    group: u8,
    visible: i64,
    handle: Value,
    count: u32,
}

/// Runs steps against a queue and a naive model of it.
async fn agree(steps: Vec<Step>, is_fifo: bool) {
    const VISIBILITY: i64 = 10;
    let region = Region::new();
    let url = match is_fifo {
        true => fifo(&region, json!({ "VisibilityTimeout": "10" })).await,
        false => {
            region
                .queue("q", json!({ "VisibilityTimeout": "10" }))
                .await
        }
    };
    let mut model: BTreeMap<u32, Model> = BTreeMap::new();
    let mut taken: Vec<u32> = Vec::new();
    let (mut next, mut now) = (0u32, 0i64);
    for step in steps {
        match step {
            Step::Send(group) => {
                let mut input = json!({ "QueueUrl": url, "MessageBody": next.to_string() });
                if is_fifo {
                    input["MessageGroupId"] = json!(group.to_string());
                }
                region.ok("SendMessage", input).await;
                model.insert(
                    next,
                    Model {
                        group,
                        visible: i64::MIN,
                        handle: Value::Null,
                        count: 0,
                    },
                );
                next += 1;
            }
            Step::Receive(most) => {
                let input = json!({ "QueueUrl": url, "MaxNumberOfMessages": most });
                let answer = region.ok("ReceiveMessage", input).await;
                let answer = answer["Messages"].as_array().cloned().unwrap_or_default();
                // Those behind a message in flight wait for it; those before it do not.
                let held = |id: u32, group: u8, model: &BTreeMap<u32, Model>| {
                    let mut elders = model.range(..id);
                    is_fifo && elders.any(|(_, m)| m.group == group && m.visible > now)
                };
                let before = model.clone();
                for message in &answer {
                    let id: u32 = message["Body"].as_str().unwrap().parse().unwrap();
                    let group = before[&id].group;
                    assert!(before[&id].visible <= now, "{id} is in flight");
                    assert!(!held(id, group, &before), "an elder of {id} is in flight");
                    if is_fifo {
                        let earlier = model
                            .iter()
                            .any(|(k, m)| *k < id && m.group == group && m.visible <= now);
                        assert!(!earlier, "{id} came before its elders");
                    }
                    let entry = model.get_mut(&id).unwrap();
                    entry.visible = now + VISIBILITY;
                    entry.handle = message["ReceiptHandle"].clone();
                    entry.count += 1;
                    taken.push(id);
                }
                let could = before
                    .iter()
                    .filter(|(id, m)| m.visible <= now && !held(**id, m.group, &before))
                    .count();
                assert_eq!(answer.len(), could.min(most), "as many as there are");
            }
            Step::Delete(at) => {
                let Some(id) = (!taken.is_empty()).then(|| taken[at % taken.len()]) else {
                    continue;
                };
                let Some(known) = model.get(&id) else {
                    continue;
                };
                let input = json!({ "QueueUrl": url, "ReceiptHandle": known.handle });
                let (status, _) = region.call_as("test", "DeleteMessage", input).await;
                let may = !is_fifo || known.visible > now;
                assert_eq!(status == 200, may);
                if may {
                    model.remove(&id);
                }
            }
            Step::Show(at) => {
                let Some(id) = (!taken.is_empty()).then(|| taken[at % taken.len()]) else {
                    continue;
                };
                let Some(known) = model.get_mut(&id) else {
                    continue;
                };
                let input = json!({ "QueueUrl": url, "ReceiptHandle": known.handle, "VisibilityTimeout": 0 });
                let (status, _) = region
                    .call_as("test", "ChangeMessageVisibility", input)
                    .await;
                assert_eq!(status == 200, !is_fifo || known.visible > now);
                known.visible = known.visible.min(now);
            }
            Step::Pass(seconds) => {
                region.advance(seconds).await;
                now += seconds;
            }
        }
        let in_flight = model.values().filter(|m| m.visible > now).count() as u64;
        assert_eq!(
            region.counts(&url).await,
            (model.len() as u64 - in_flight, in_flight, 0)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_fifo_queue_agrees_with_its_model(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(agree(steps, true));
    }

    #[test]
    fn a_standard_queue_agrees_with_its_model(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(agree(steps, false));
    }
}
