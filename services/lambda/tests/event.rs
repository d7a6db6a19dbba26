//! Asynchronous invocations: retries, destinations, deliveries from other services.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, wait, and look at files"
)]

mod region;

use std::sync::Arc;
use std::time::Duration;

use cloud::{Arn, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use region::Region;
use serde_json::{Value, json};
use wire::Fault;

runtime::init_hook!();

/// A queue that keeps what it is given.
#[derive(Default)]
struct Queue(Mutex<Vec<Delivery>>);

impl Target for Queue {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        self.0.lock().push(delivery.clone());
        Box::pin(async { Ok(Receipt::default()) })
    }
    fn check(&self, _: &Arn, _: &Source) -> Result<(), Fault> {
        Ok(())
    }
}

async fn with_queue() -> (Region, Arc<Queue>) {
    let region = Region::start().await;
    let queue = Arc::new(Queue::default());
    region.cloud.targets.register("sqs", queue.clone());
    (region, queue)
}

async fn delivered(queue: &Queue, n: usize) -> Vec<Delivery> {
    for _ in 0..1000 {
        if queue.0.lock().len() >= n {
            return queue.0.lock().clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{n} deliveries did not come: {:?}", queue.0.lock());
}

const FAILING: &str = "def handler(event, context):\n    raise ValueError('always')\n";

async fn send(region: &Region, name: &str, payload: Value) {
    let answer = region
        .invoke_with(name, &[("x-amz-invocation-type", "Event")], payload)
        .await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_event_is_tried_three_times_by_the_regions_clock_and_then_handed_on() {
    let (region, queue) = with_queue().await;
    let dead =
        json!({ "DeadLetterConfig": { "TargetArn": "arn:aws:sqs:us-east-1:000000000000:dead" } });
    region.python("f", FAILING, dead).await;
    let config = json!({ "DestinationConfig": { "OnFailure": { "Destination": "arn:aws:sqs:us-east-1:000000000000:failed" } } });
    let put = region
        .call("PUT", "/2019-09-25/functions/f/event-invoke-config", config)
        .await;
    assert_eq!(put.status, 200, "{:?}", put.body);
    send(&region, "f", json!({ "n": 1 })).await;
    region.logged_times("f", "REPORT", 1).await;
    let clock = region.cloud.clock.clone();
    // The retry is planned when the first attempt has been recorded.
    for attempts in 2..=3 {
        for _ in 0..20 {
            region
                .cloud
                .scheduler
                .advance_to(clock.now().plus_secs(60))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            if region.log_of("f").matches("REPORT").count() >= attempts {
                break;
            }
        }
        region.logged_times("f", "REPORT", attempts).await;
    }
    let all = delivered(&queue, 2).await;
    let failed = all.iter().find(|d| d.target.ends_with(":failed")).unwrap();
    let record: Value = serde_json::from_str(&failed.payload).unwrap();
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 3);
    assert_eq!(
        record["requestContext"]["functionArn"],
        "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST"
    );
    assert_eq!(
        (
            &record["requestPayload"],
            &record["responsePayload"]["errorType"]
        ),
        (&json!({ "n": 1 }), &json!("ValueError"))
    );
    assert_eq!(
        record["responseContext"],
        json!({ "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" })
    );
    let dead = all.iter().find(|d| d.target.ends_with(":dead")).unwrap();
    assert_eq!(dead.payload, "{\"n\":1}");
    assert_eq!(
        (
            dead.parameters["ErrorCode"].as_str(),
            dead.parameters["ErrorMessage"].as_str()
        ),
        ("200", "always")
    );
    let log = region.log_of("f");
    let ids: std::collections::HashSet<&str> = log
        .split("START RequestId: ")
        .skip(1)
        .filter_map(|t| t.split(' ').next())
        .collect();
    assert_eq!(ids.len(), 1, "every attempt has the same request id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_goes_to_its_destination() {
    let (region, queue) = with_queue().await;
    region
        .python(
            "f",
            "def handler(e, c):\n    return e['n'] + 1\n",
            Value::Null,
        )
        .await;
    let config = json!({ "MaximumRetryAttempts": 0, "DestinationConfig": { "OnSuccess": { "Destination": "arn:aws:sqs:us-east-1:000000000000:done" } } });
    region
        .call("PUT", "/2019-09-25/functions/f/event-invoke-config", config)
        .await;
    send(&region, "f", json!({ "n": 1 })).await;
    let record: Value = serde_json::from_str(&delivered(&queue, 1).await[0].payload).unwrap();
    assert_eq!(
        (
            &record["requestContext"]["condition"],
            &record["responsePayload"]
        ),
        (&json!("Success"), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_concurrency_fails_its_events_at_once() {
    let (region, queue) = with_queue().await;
    region.python("f", FAILING, Value::Null).await;
    region
        .call(
            "PUT",
            "/2017-10-31/functions/f/concurrency",
            json!({ "ReservedConcurrentExecutions": 0 }),
        )
        .await;
    let config = json!({ "DestinationConfig": { "OnFailure": { "Destination": "arn:aws:sqs:us-east-1:000000000000:failed" } } });
    region
        .call("PUT", "/2019-09-25/functions/f/event-invoke-config", config)
        .await;
    send(&region, "f", json!({})).await;
    let record: Value = serde_json::from_str(&delivered(&queue, 1).await[0].payload).unwrap();
    assert_eq!(
        record["requestContext"]["condition"],
        "ZeroReservedConcurrency"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_service_needs_its_permission() {
    let region = Region::start().await;
    region
        .python(
            "f",
            "def handler(e, c):\n    print('saw', e['Records'][0]['s3'])\n",
            Value::Null,
        )
        .await;
    let delivery = Delivery {
        target: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        payload: json!({ "Records": [{ "s3": "it" }] }).to_string(),
        source: Source {
            service: "s3.amazonaws.com".into(),
            arn: "arn:aws:s3:::b".into(),
            account: "000000000000".into(),
            role: None,
        },
        ..Delivery::default()
    };
    assert!(
        matches!(region.cloud.targets.deliver(&delivery).await, Err(Refusal::Never(e)) if e.status == 403)
    );
    let ask = json!({ "StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "SourceAccount": "000000000000" });
    region
        .call("POST", "/2015-03-31/functions/f/policy", ask)
        .await;
    region
        .cloud
        .targets
        .deliver(&delivery)
        .await
        .map_err(|_| "refused")
        .unwrap();
    region.logged("f", "saw it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_event_survives_a_killed_server() {
    let data = tempfile::tempdir().unwrap();
    let code = "import time\ndef handler(event, context):\n    print('begins')\n    time.sleep(1)\n    print('ends')\n";
    let region = Region::over(region::kept(data.path()), tempfile::tempdir().unwrap()).await;
    region.python("f", code, Value::Null).await;
    send(&region, "f", json!({})).await;
    let left = region::as_killed(data.path());
    let again = Region::over(region::kept(left.path()), tempfile::tempdir().unwrap()).await;
    again.logged("f", "ends").await;
}
