//! Rules, what they send, and what is kept and replayed.

mod region;

use region::Region;
use serde_json::{Value, json};

const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:queue";
const BUS: &str = "arn:aws:events:us-east-1:000000000000:event-bus/default";

async fn rule(region: &Region, name: &str, target: Value) {
    let pattern = json!({ "source": ["s"] }).to_string();
    region
        .ok("PutRule", json!({ "Name": name, "EventPattern": pattern }))
        .await;
    let put = region
        .ok("PutTargets", json!({ "Rule": name, "Targets": [target] }))
        .await;
    assert_eq!(put["FailedEntryCount"], 0);
}

async fn put(region: &Region, detail: Value) -> String {
    let entry = json!({ "Source": "s", "DetailType": "d", "Detail": detail.to_string(), "Time": 1_600_000_000 });
    let answer = region.ok("PutEvents", json!({ "Entries": [entry] })).await;
    let id = answer["Entries"][0]["EventId"].as_str();
    id.expect("an id").to_owned()
}

#[tokio::test]
async fn an_event_is_sent_whole_in_part_or_made_anew() {
    let mut region = Region::new();
    rule(&region, "a", json!({ "Id": "1", "Arn": QUEUE })).await;
    let id = put(&region, json!({ "x": [1, 2] })).await;
    let whole = region.next().await;
    assert_eq!(
        whole.payload,
        format!(
            "{{\"version\":\"0\",\"id\":\"{id}\",\"detail-type\":\"d\",\"source\":\"s\",\"account\":\"000000000000\",\
             \"time\":\"2020-09-13T12:26:40Z\",\"region\":\"us-east-1\",\"resources\":[],\"detail\":{{\"x\":[1,2]}}}}"
        )
    );
    assert_eq!(whole.source.service, "events.amazonaws.com");
    assert_eq!(
        whole.source.arn,
        "arn:aws:events:us-east-1:000000000000:rule/a"
    );
    for (change, expected) in [
        (json!({ "InputPath": "$.detail.x[1]" }), "2"),
        (json!({ "Input": "{\"own\": 1}" }), "{\"own\": 1}"),
        (
            json!({ "InputTransformer": { "InputPathsMap": { "x": "$.detail.x" }, "InputTemplate": "{\"x\": <x>}" } }),
            "{\"x\":[1,2]}",
        ),
    ] {
        let mut target = json!({ "Id": "1", "Arn": QUEUE });
        if let (Some(target), Some(change)) = (target.as_object_mut(), change.as_object()) {
            target.extend(change.clone());
        }
        rule(&region, "a", target).await;
        put(&region, json!({ "x": [1, 2] })).await;
        assert_eq!(region.next().await.payload, expected);
    }
    region.ok("DisableRule", json!({ "Name": "a" })).await;
    put(&region, json!({})).await;
    rule(
        &region,
        "b",
        json!({ "Id": "1", "Arn": QUEUE, "Input": "1" }),
    )
    .await;
    put(&region, json!({})).await;
    assert_eq!(
        region.next().await.payload,
        "1",
        "a disabled rule sends nothing"
    );
}

#[tokio::test]
async fn a_target_that_refuses_is_tried_again_or_given_up() {
    let mut region = Region::new();
    let dead = json!({ "Arn": QUEUE });
    let never = json!({ "Id": "1", "Arn": format!("{QUEUE}-never"), "DeadLetterConfig": dead, "Input": "1" });
    rule(&region, "a", never).await;
    put(&region, json!({ "n": 1 })).await;
    let dead = region.next().await;
    assert_eq!(dead.target, QUEUE);
    assert!(
        dead.payload.contains("\"detail\":{\"n\":1}"),
        "{}",
        dead.payload
    );
    assert_eq!(dead.parameters["ERROR_CODE"], "NO_PERMISSIONS");
    assert_eq!(dead.parameters["ERROR_MESSAGE"], "never");
    assert_eq!(dead.parameters["TARGET_ARN"], format!("{QUEUE}-never"));
    assert_eq!(
        dead.parameters["RULE_ARN"],
        "arn:aws:events:us-east-1:000000000000:rule/a"
    );
    region
        .ok("RemoveTargets", json!({ "Rule": "a", "Ids": ["1"] }))
        .await;
    rule(
        &region,
        "a",
        json!({ "Id": "1", "Arn": format!("{QUEUE}-later") }),
    )
    .await;
    put(&region, json!({ "n": 2 })).await;
    let retried = region.next().await;
    assert!(retried.payload.contains("\"n\":2"));
}

#[tokio::test]
async fn a_rule_acts_by_the_clock() {
    let mut region = Region::new();
    let made = json!({ "Name": "tick", "ScheduleExpression": "rate(5 minutes)" });
    region.ok("PutRule", made).await;
    let target = json!({ "Rule": "tick", "Targets": [{ "Id": "1", "Arn": QUEUE }] });
    region.ok("PutTargets", target).await;
    region.pass(11 * 60_000).await;
    let ticks = [region.next().await, region.next().await];
    let event: Value = serde_json::from_str(&ticks[0].payload).expect("JSON");
    assert_eq!(event["detail-type"], "Scheduled Event");
    assert_eq!(event["source"], "aws.events");
    assert_eq!(event["detail"], json!({}));
    assert_eq!(
        event["resources"],
        json!(["arn:aws:events:us-east-1:000000000000:rule/tick"])
    );
    region.ok("DisableRule", json!({ "Name": "tick" })).await;
    region.pass(60 * 60_000).await;
    assert!(region.delivered.try_recv().is_err());
    let refused = json!({ "Name": "x", "ScheduleExpression": "cron(0 1 * * * *)" });
    let (code, message) = region.fails("PutRule", refused).await;
    assert_eq!(code, "ValidationException");
    assert_eq!(message, "Parameter ScheduleExpression is not valid.");
}

#[tokio::test]
async fn an_archive_keeps_replays_and_forgets() {
    let mut region = Region::new();
    rule(&region, "a", json!({ "Id": "1", "Arn": QUEUE })).await;
    let pattern = json!({ "detail": { "keep": [true] } }).to_string();
    let made = region
        .ok(
            "CreateArchive",
            json!({ "ArchiveName": "all", "EventSourceArn": BUS, "EventPattern": pattern, "RetentionDays": 2 }),
        )
        .await;
    for n in 0..3 {
        put(&region, json!({ "n": n, "keep": n != 1 })).await;
        region.next().await;
    }
    let shown = region
        .ok("DescribeArchive", json!({ "ArchiveName": "all" }))
        .await;
    assert_eq!(shown["EventCount"], 2);
    let replay = json!({
        "ReplayName": "again", "EventSourceArn": made["ArchiveArn"], "EventStartTime": 1_500_000_000,
        "EventEndTime": 1_700_000_000, "Destination": { "Arn": BUS },
    });
    let started = region.ok("StartReplay", replay.clone()).await;
    assert_eq!(started["State"], "STARTING");
    let (code, _) = region.fails("StartReplay", replay).await;
    assert_eq!(code, "ResourceAlreadyExistsException");
    region.pass(1_000).await;
    for n in [0, 2] {
        let event: Value = serde_json::from_str(&region.next().await.payload).expect("JSON");
        assert_eq!(event["replay-name"], "again");
        assert_eq!(event["detail"]["n"], n);
    }
    let shown = region
        .ok("DescribeReplay", json!({ "ReplayName": "again" }))
        .await;
    assert_eq!(shown["State"], "COMPLETED");
    region.pass(2 * 86_400_000).await;
    let shown = region
        .ok("DescribeArchive", json!({ "ArchiveName": "all" }))
        .await;
    assert_eq!(
        (&shown["EventCount"], &shown["SizeBytes"]),
        (&json!(0), &json!(0))
    );
    let managed = json!({ "Name": "Events-Archive-all" });
    let (code, _) = region.fails("DisableRule", managed.clone()).await;
    assert_eq!(code, "ManagedRuleException");
    region
        .ok("DeleteArchive", json!({ "ArchiveName": "all" }))
        .await;
    let (code, _) = region.fails("DescribeRule", managed).await;
    assert_eq!(code, "ResourceNotFoundException");
}

#[tokio::test]
async fn targets_are_checked_counted_and_listed() {
    let region = Region::new();
    rule(&region, "a", json!({ "Id": "0", "Arn": QUEUE })).await;
    for (target, expected) in [
        (
            json!({ "Id": "x", "Arn": "nothing" }),
            "Parameter nothing is not valid. Reason: Provided Arn is not in correct format.",
        ),
        (
            json!({ "Id": "x", "Arn": QUEUE, "Input": "1", "InputPath": "$.a" }),
            "Only one of Input, InputPath, or InputTransformer must be provided for target x.",
        ),
        (
            json!({ "Id": "x", "Arn": format!("{QUEUE}.fifo") }),
            "Parameter(s) SqsParameters must be specified for target: x.",
        ),
        (
            json!({ "Id": "x", "Arn": "arn:aws:kinesis:us-east-1:000000000000:stream/s" }),
            "RoleArn is required for target arn:aws:kinesis:us-east-1:000000000000:stream/s.",
        ),
        (
            json!({ "Id": "x", "Arn": QUEUE, "InputTransformer": { "InputTemplate": "\"<no>\"" } }),
            "InputTemplate for target x contains invalid placeholder no.",
        ),
    ] {
        let (code, message) = region
            .fails("PutTargets", json!({ "Rule": "a", "Targets": [target] }))
            .await;
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("ValidationException", expected)
        );
    }
    let many: Vec<_> = (1..6)
        .map(|n| json!({ "Id": n.to_string(), "Arn": QUEUE }))
        .collect();
    let (code, _) = region
        .fails("PutTargets", json!({ "Rule": "a", "Targets": many }))
        .await;
    assert_eq!(code, "LimitExceededException");
    region
        .ok("PutTargets", json!({ "Rule": "a", "Targets": many[..3] }))
        .await;
    let page = region
        .ok("ListTargetsByRule", json!({ "Rule": "a", "Limit": 3 }))
        .await;
    let ids: Vec<_> = page["Targets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|t| &t["Id"])
        .collect();
    assert_eq!(ids, ["0", "1", "2"]);
    let next = json!({ "Rule": "a", "NextToken": page["NextToken"] });
    let rest = region.ok("ListTargetsByRule", next).await;
    assert_eq!(rest["Targets"], json!([{ "Id": "3", "Arn": QUEUE }]));
    let named = region
        .ok("ListRuleNamesByTarget", json!({ "TargetArn": QUEUE }))
        .await;
    assert_eq!(named["RuleNames"], json!(["a"]));
    let (code, message) = region.fails("DeleteRule", json!({ "Name": "a" })).await;
    assert_eq!(code, "ValidationException");
    assert_eq!(message, "Rule can't be deleted since it has targets.");
}

#[tokio::test]
async fn a_bus_is_made_once_and_deleted_with_its_rules() {
    let region = Region::new();
    region
        .ok("CreateEventBus", json!({ "Name": "b", "Description": "d" }))
        .await;
    for name in ["b", "default"] {
        let (code, message) = region
            .fails("CreateEventBus", json!({ "Name": name }))
            .await;
        assert_eq!(code, "ResourceAlreadyExistsException");
        assert_eq!(message, format!("Event bus {name} already exists."));
    }
    let pattern = json!({ "source": ["s"] }).to_string();
    let made = json!({ "Name": "r", "EventBusName": "b", "EventPattern": pattern });
    let arn = region.ok("PutRule", made).await["RuleArn"].clone();
    assert_eq!(arn, "arn:aws:events:us-east-1:000000000000:rule/b/r");
    let tags = json!({ "ResourceARN": arn, "Tags": [{ "Key": "k", "Value": "v" }] });
    region.ok("TagResource", tags).await;
    let listed = region
        .ok("ListTagsForResource", json!({ "ResourceARN": arn }))
        .await;
    assert_eq!(listed["Tags"], json!([{ "Key": "k", "Value": "v" }]));
    region.ok("DeleteEventBus", json!({ "Name": "b" })).await;
    region.ok("DeleteEventBus", json!({ "Name": "b" })).await;
    let (_, message) = region
        .fails("ListTagsForResource", json!({ "ResourceARN": arn }))
        .await;
    assert_eq!(message, "Rule r does not exist on EventBus b.");
    let (_, message) = region
        .fails("DeleteEventBus", json!({ "Name": "default" }))
        .await;
    assert_eq!(message, "Cannot delete event bus default.");
}

#[tokio::test]
async fn endpoints_are_kept_and_described() {
    let region = Region::new();
    let bus = |region: &str| json!({ "EventBusArn": format!("arn:aws:events:{region}:000000000000:event-bus/b") });
    let routing = |to: &str| {
        json!({ "FailoverConfig": {
            "Primary": { "HealthCheck": "arn:aws:route53:::healthcheck/abc" }, "Secondary": { "Route": to },
        } })
    };
    let made = json!({
        "Name": "e", "RoutingConfig": routing("us-west-2"), "EventBuses": [bus("us-east-1"), bus("us-west-2")],
    });
    region.ok("CreateEndpoint", made.clone()).await;
    let (code, _) = region.fails("CreateEndpoint", made).await;
    assert_eq!(code, "ResourceAlreadyExistsException");
    let change = json!({ "Name": "e", "RoutingConfig": routing("eu-west-1") });
    region.ok("UpdateEndpoint", change).await;
    let shown = region.ok("DescribeEndpoint", json!({ "Name": "e" })).await;
    assert_eq!(shown["RoutingConfig"], routing("eu-west-1"));
    assert_eq!(shown["State"], "ACTIVE");
    let listed = region.ok("ListEndpoints", json!({})).await;
    assert_eq!(listed["Endpoints"][0]["EndpointId"], shown["EndpointId"]);
    region.ok("DeleteEndpoint", json!({ "Name": "e" })).await;
    let (code, _) = region
        .fails("DescribeEndpoint", json!({ "Name": "e" }))
        .await;
    assert_eq!(code, "ResourceNotFoundException");
}
