//! Schedules, asked as a client asks, with a queue that notes what it gets.

use std::sync::Arc;

use cloud::{Arn, Cloud, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use gateway::{Gateway, Metrics};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wire::{Body, Fault};

struct Region {
    cloud: Cloud,
    gateway: Gateway,
    delivered: mpsc::UnboundedReceiver<Delivery>,
}

struct Sink(mpsc::UnboundedSender<Delivery>);

impl Target for Sink {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        self.0.send(delivery.clone()).expect("a listener");
        Box::pin(async { Ok(Receipt::default()) })
    }
    fn check(&self, _: &Arn, _: &Source) -> Result<(), Fault> {
        Ok(())
    }
}

impl Region {
    fn new() -> Region {
        let cloud = Cloud::ephemeral();
        let (sender, delivered) = mpsc::unbounded_channel();
        cloud.targets.register("sqs", Arc::new(Sink(sender)));
        let services = vec![scheduler::service(&cloud)];
        cloud.start();
        let metrics = Arc::new(Metrics::default());
        let gateway = Gateway::new(cloud.clone(), services, Arc::new(()), metrics);
        Region {
            cloud,
            gateway,
            delivered,
        }
    }

    async fn call(&self, method: &str, path: &str, input: Value) -> (u16, Value) {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:4566")
            .header("content-type", "application/json")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/scheduler/aws4_request, SignedHeaders=host, Signature=00",
            )
            .body(Body::from(input.to_string()))
            .expect("a request");
        let answer = self.gateway.answer(request, [127, 0, 0, 1].into(), false);
        let response = answer.await;
        let body = response.body.collect(1 << 20).await.expect("a body");
        (
            response.status,
            serde_json::from_slice(&body).unwrap_or_default(),
        )
    }

    async fn pass(&self, minutes: i64) {
        let when = self.cloud.clock.now().plus_secs(minutes * 60);
        let moved = self.cloud.scheduler.advance_to(when).await;
        moved.expect("the clock moves");
    }
}

fn schedule(expression: &str, more: Value) -> Value {
    let mut input = json!({
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": { "Mode": "OFF" },
        "Target": {
            "Arn": "arn:aws:sqs:us-east-1:000000000000:q",
            "RoleArn": "arn:aws:iam::000000000000:role/r",
            "Input": "<aws.scheduler.scheduled-time>",
        },
    });
    if let (Some(input), Some(more)) = (input.as_object_mut(), more.as_object()) {
        input.extend(more.clone());
    }
    input
}

#[tokio::test]
async fn a_rate_is_due_at_once_and_then_again() {
    let mut region = Region::new();
    let made = schedule("rate(5 minutes)", json!({}));
    let (status, answer) = region.call("POST", "/schedules/tick", made).await;
    assert_eq!(status, 200, "{answer}");
    region.pass(11).await;
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(region.delivered.recv().await.expect("a delivery").payload);
    }
    assert!(times.is_sorted() && times[0] != times[2], "{times:?}");
    region.call("DELETE", "/schedules/tick", json!({})).await;
    region.pass(60).await;
    assert!(region.delivered.try_recv().is_err());
}

#[tokio::test]
async fn one_that_is_done_may_delete_itself() {
    let mut region = Region::new();
    let when = region.cloud.clock.now().plus_secs(3_600).iso8601_secs();
    let at = format!("at({})", when.trim_end_matches('Z'));
    let made = schedule(&at, json!({ "ActionAfterCompletion": "DELETE" }));
    region.call("POST", "/schedules/once", made).await;
    let (status, shown) = region.call("GET", "/schedules/once", json!({})).await;
    assert_eq!((status, &shown["ScheduleExpression"]), (200, &json!(at)));
    region.pass(61).await;
    assert_eq!(
        region.delivered.recv().await.expect("a delivery").payload,
        when
    );
    let (status, answer) = region.call("GET", "/schedules/once", json!({})).await;
    assert_eq!(status, 404);
    assert_eq!(answer["Message"], "Schedule once does not exist.");
}

#[tokio::test]
async fn a_moment_that_has_just_gone_by_is_not_missed() {
    let mut region = Region::new();
    for (name, seconds) in [("old", -120), ("new", -2)] {
        let when = region.cloud.clock.now().plus_secs(seconds).iso8601_secs();
        let made = schedule(&format!("at({})", when.trim_end_matches('Z')), json!({}));
        let path = format!("/schedules/{name}");
        assert_eq!(region.call("POST", &path, made).await.0, 200);
    }
    let only = region.delivered.recv().await.expect("a delivery");
    assert!(only.source.arn.ends_with("/new"));
    region.pass(60).await;
    assert!(region.delivered.try_recv().is_err());
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let region = Region::new();
    let old = region.cloud.clock.now().secs() - 3_600;
    let cases = [
        (
            schedule("rate(x)", json!({})),
            "Invalid Schedule Expression rate(x).",
        ),
        (
            schedule(
                "rate(1 day)",
                json!({ "ScheduleExpressionTimezone": "Mars" }),
            ),
            "Invalid Schedule Expression Timezone Mars.",
        ),
        (
            schedule("rate(1 day)", json!({ "StartDate": old })),
            "The StartDate you specify cannot be earlier than 5 minutes ago.",
        ),
        (
            schedule("rate(1 day)", json!({ "GroupName": "none" })),
            "Schedule group none does not exist.",
        ),
    ];
    for (input, message) in cases {
        let (_, answer) = region.call("POST", "/schedules/x", input).await;
        assert_eq!(answer["Message"], message);
    }
}
