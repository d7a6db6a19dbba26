//! Events: put, got, filtered, expired.

mod region;

use region::Region;
use serde_json::{Value, json};

const GROUP: &str = "/app/web";

async fn with_stream() -> Region {
    let region = Region::new();
    region
        .ok("CreateLogGroup", json!({ "logGroupName": GROUP }))
        .await;
    region
        .ok(
            "CreateLogStream",
            json!({ "logGroupName": GROUP, "logStreamName": "a" }),
        )
        .await;
    region
}

async fn put(region: &Region, stream: &str, events: &[(i64, &str)]) -> Value {
    let events: Vec<Value> = events
        .iter()
        .map(|(t, m)| json!({ "timestamp": t, "message": m }))
        .collect();
    region
        .ok(
            "PutLogEvents",
            json!({ "logGroupName": GROUP, "logStreamName": stream, "logEvents": events }),
        )
        .await
}

fn messages(answer: &Value) -> Vec<&str> {
    answer["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|e| e["message"].as_str())
        .collect()
}

#[tokio::test]
async fn pages_of_a_stream_go_forward_and_back_and_end_with_a_steady_token() {
    let region = with_stream().await;
    let now = region.now();
    let texts: Vec<String> = (0..5).map(|i| format!("m{i}")).collect();
    let events: Vec<(i64, &str)> = texts.iter().map(|t| (now, t.as_str())).collect();
    put(&region, "a", &events).await;
    let get = |token: Option<String>, head: bool| {
        let mut input = json!({ "logGroupName": GROUP, "logStreamName": "a", "limit": 2, "startFromHead": head });
        if let Some(token) = token {
            input["nextToken"] = token.into();
        }
        input
    };
    let token = |v: &Value, key: &str| Some(v[key].as_str().expect("a token").to_owned());
    let first = region.ok("GetLogEvents", get(None, true)).await;
    assert_eq!(messages(&first), ["m0", "m1"]);
    let second = region
        .ok("GetLogEvents", get(token(&first, "nextForwardToken"), true))
        .await;
    assert_eq!(messages(&second), ["m2", "m3"]);
    let third = region
        .ok(
            "GetLogEvents",
            get(token(&second, "nextForwardToken"), true),
        )
        .await;
    assert_eq!(messages(&third), ["m4"]);
    let end = region
        .ok("GetLogEvents", get(token(&third, "nextForwardToken"), true))
        .await;
    assert!(messages(&end).is_empty());
    assert_eq!(end["nextForwardToken"], third["nextForwardToken"]);
    let back = region
        .ok(
            "GetLogEvents",
            get(token(&third, "nextBackwardToken"), true),
        )
        .await;
    assert_eq!(messages(&back), ["m2", "m3"]);
    let tail = region.ok("GetLogEvents", get(None, false)).await;
    assert_eq!(messages(&tail), ["m3", "m4"]);
    put(&region, "a", &[(now + 1, "late")]).await;
    let more = region
        .ok("GetLogEvents", get(token(&end, "nextForwardToken"), true))
        .await;
    assert_eq!(messages(&more), ["late"]);
}

#[tokio::test]
async fn a_filter_interleaves_streams_by_time_and_pages_through_them() {
    let region = with_stream().await;
    region
        .ok(
            "CreateLogStream",
            json!({ "logGroupName": GROUP, "logStreamName": "b" }),
        )
        .await;
    let now = region.now();
    put(
        &region,
        "a",
        &[(now, "ERROR 1"), (now + 2, "ERROR 3"), (now + 4, "INFO")],
    )
    .await;
    put(&region, "b", &[(now + 1, "ERROR 2"), (now + 2, "ERROR 4")]).await;
    let mut input = json!({ "logGroupName": GROUP, "filterPattern": "ERROR", "limit": 3 });
    let first = region.ok("FilterLogEvents", input.clone()).await;
    assert_eq!(messages(&first), ["ERROR 1", "ERROR 2", "ERROR 3"]);
    input["nextToken"] = first["nextToken"].clone();
    let second = region.ok("FilterLogEvents", input).await;
    assert_eq!(messages(&second), ["ERROR 4"]);
    assert_eq!(second["nextToken"], Value::Null);
    let only = region
        .ok(
            "FilterLogEvents",
            json!({ "logGroupName": GROUP, "logStreamNamePrefix": "b", "startTime": now + 2 }),
        )
        .await;
    assert_eq!(messages(&only), ["ERROR 4"]);
}

#[tokio::test]
async fn events_outside_the_times_that_aws_takes_are_told_by_their_index() {
    let region = with_stream().await;
    let (now, day) = (region.now(), 86_400_000);
    let answer = put(&region, "a", &[(now - 15 * day, "old")]).await;
    assert_eq!(
        answer["rejectedLogEventsInfo"],
        json!({ "tooOldLogEventEndIndex": 1 })
    );
    let answer = put(&region, "a", &[(now, "good"), (now + 3 * 3_600_000, "new")]).await;
    assert_eq!(
        answer["rejectedLogEventsInfo"],
        json!({ "tooNewLogEventStartIndex": 1 })
    );
    let got = region
        .ok(
            "GetLogEvents",
            json!({ "logGroupName": GROUP, "logStreamName": "a" }),
        )
        .await;
    assert_eq!(messages(&got), ["good"]);
    let unordered = json!({ "logGroupName": GROUP, "logStreamName": "a", "logEvents": [
        { "timestamp": now, "message": "2" }, { "timestamp": now - 1, "message": "1" }] });
    let (code, message) = region.fails("PutLogEvents", unordered).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(
        message,
        "Log events in a single PutLogEvents request must be in chronological order."
    );
    let large = "x".repeat(1_048_576);
    let input = json!({ "logGroupName": GROUP, "logStreamName": "a", "logEvents": [{ "timestamp": now, "message": large }] });
    assert_eq!(
        region.fails("PutLogEvents", input).await.1,
        "Upload too large: 1048602 bytes exceeds limit of 1048576"
    );
}

#[tokio::test]
async fn events_expire_when_the_clock_passes_their_retention() {
    let region = with_stream().await;
    region
        .ok(
            "PutRetentionPolicy",
            json!({ "logGroupName": GROUP, "retentionInDays": 3 }),
        )
        .await;
    let now = region.now();
    put(&region, "a", &[(now, "short-lived")]).await;
    region
        .cloud
        .scheduler
        .advance_to(region.cloud.clock.now().plus_secs(2 * 86_400))
        .await
        .expect("time moves");
    let get = json!({ "logGroupName": GROUP, "logStreamName": "a", "startFromHead": true });
    assert_eq!(
        messages(&region.ok("GetLogEvents", get.clone()).await),
        ["short-lived"]
    );
    region
        .cloud
        .scheduler
        .advance_to(region.cloud.clock.now().plus_secs(3 * 86_400))
        .await
        .expect("time moves");
    assert!(messages(&region.ok("GetLogEvents", get).await).is_empty());
    let groups = region.ok("DescribeLogGroups", json!({})).await;
    assert_eq!(
        groups["logGroups"][0]["storedBytes"], 0,
        "the expired events are deleted, not only hidden"
    );
    let (code, _) = region
        .fails(
            "PutRetentionPolicy",
            json!({ "logGroupName": GROUP, "retentionInDays": 2 }),
        )
        .await;
    assert_eq!(code, "InvalidParameterException");
}

#[tokio::test]
async fn a_group_made_anew_does_not_show_the_events_of_the_old_one() {
    let region = with_stream().await;
    put(&region, "a", &[(region.now(), "old")]).await;
    region
        .ok("DeleteLogGroup", json!({ "logGroupName": GROUP }))
        .await;
    region
        .ok("CreateLogGroup", json!({ "logGroupName": GROUP }))
        .await;
    let (code, message) = region
        .fails(
            "GetLogEvents",
            json!({ "logGroupName": GROUP, "logStreamName": "a" }),
        )
        .await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "ResourceNotFoundException",
            "The specified log stream does not exist."
        )
    );
    region
        .ok(
            "CreateLogStream",
            json!({ "logGroupName": GROUP, "logStreamName": "a" }),
        )
        .await;
    let got = region
        .ok(
            "GetLogEvents",
            json!({ "logGroupName": GROUP, "logStreamName": "a" }),
        )
        .await;
    assert!(messages(&got).is_empty());
}

#[tokio::test]
async fn a_service_that_writes_logs_gets_group_and_stream_made() {
    let region = Region::new();
    let sink = region.cloud.ports.logs().expect("logs are owned");
    let now = region.cloud.clock.now();
    let events = vec![(now, "START".to_owned()), (now, "END".to_owned())];
    sink.append(
        "000000000000",
        "us-east-1",
        "/aws/lambda/f",
        "2026/[1]abc",
        events,
    )
    .await
    .expect("appended");
    let got = region.ok("FilterLogEvents", json!({ "logGroupIdentifier": "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f" })).await;
    assert_eq!(messages(&got), ["START", "END"]);
}
