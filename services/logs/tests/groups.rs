//! Groups and streams: made, listed, tagged, deleted.

mod region;

use region::Region;
use serde_json::{Value, json};

fn names<'a>(answer: &'a Value, list: &str, key: &str) -> Vec<&'a str> {
    answer[list]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|v| v[key].as_str())
        .collect()
}

#[tokio::test]
async fn a_group_is_described_with_both_its_arns() {
    let region = Region::new();
    region
        .ok(
            "CreateLogGroup",
            json!({ "logGroupName": "g", "tags": { "k": "v" } }),
        )
        .await;
    let group = &region
        .ok("DescribeLogGroups", json!({ "logGroupNamePrefix": "g" }))
        .await["logGroups"][0];
    assert_eq!(
        group["arn"],
        "arn:aws:logs:us-east-1:000000000000:log-group:g:*"
    );
    assert_eq!(
        group["logGroupArn"],
        "arn:aws:logs:us-east-1:000000000000:log-group:g"
    );
    assert_eq!(group["logGroupClass"], "STANDARD");
    assert_eq!(
        (&group["metricFilterCount"], &group["storedBytes"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(group.get("retentionInDays"), None);
    let (code, message) = region
        .fails("CreateLogGroup", json!({ "logGroupName": "g" }))
        .await;
    assert_eq!(code, "ResourceAlreadyExistsException");
    assert_eq!(message, "The specified log group already exists");
    let (code, message) = region
        .fails("DeleteLogGroup", json!({ "logGroupName": "h" }))
        .await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "ResourceNotFoundException",
            "The specified log group does not exist."
        )
    );
    let (code, message) = region
        .fails("CreateLogGroup", json!({ "logGroupName": "a b" }))
        .await;
    assert_eq!(code, "InvalidParameterException");
    assert!(
        message.starts_with("1 validation error detected: Value 'a b' at 'logGroupName'"),
        "{message}"
    );
}

#[tokio::test]
async fn groups_are_listed_by_prefix_pattern_and_page() {
    let region = Region::new();
    for name in ["/a/one", "/a/two", "/b/One"] {
        region
            .ok("CreateLogGroup", json!({ "logGroupName": name }))
            .await;
    }
    let first = region.ok("DescribeLogGroups", json!({ "limit": 2 })).await;
    assert_eq!(
        names(&first, "logGroups", "logGroupName"),
        ["/a/one", "/a/two"]
    );
    let second = region
        .ok(
            "DescribeLogGroups",
            json!({ "limit": 2, "nextToken": first["nextToken"] }),
        )
        .await;
    assert_eq!(names(&second, "logGroups", "logGroupName"), ["/b/One"]);
    assert_eq!(second.get("nextToken"), None);
    let found = region
        .ok("DescribeLogGroups", json!({ "logGroupNamePattern": "one" }))
        .await;
    assert_eq!(
        names(&found, "logGroups", "logGroupName"),
        ["/a/one", "/b/One"]
    );
    let both = json!({ "logGroupNamePattern": "one", "logGroupNamePrefix": "/a" });
    assert_eq!(
        region.fails("DescribeLogGroups", both).await.0,
        "InvalidParameterException"
    );
    assert_eq!(
        region
            .fails("DescribeLogGroups", json!({ "nextToken": "nonsense" }))
            .await
            .0,
        "InvalidParameterException"
    );
}

#[tokio::test]
async fn streams_are_listed_by_name_or_by_their_last_event() {
    let region = Region::new();
    region
        .ok("CreateLogGroup", json!({ "logGroupName": "g" }))
        .await;
    let now = region.now();
    for (i, name) in ["c", "a", "b"].into_iter().enumerate() {
        region
            .ok(
                "CreateLogStream",
                json!({ "logGroupName": "g", "logStreamName": name }),
            )
            .await;
        let events = json!([{ "timestamp": now + i as i64, "message": "m" }]);
        region
            .ok(
                "PutLogEvents",
                json!({ "logGroupName": "g", "logStreamName": name, "logEvents": events }),
            )
            .await;
    }
    let by_name = region
        .ok("DescribeLogStreams", json!({ "logGroupName": "g" }))
        .await;
    assert_eq!(
        names(&by_name, "logStreams", "logStreamName"),
        ["a", "b", "c"]
    );
    let mut input =
        json!({ "logGroupName": "g", "orderBy": "LastEventTime", "descending": true, "limit": 2 });
    let first = region.ok("DescribeLogStreams", input.clone()).await;
    assert_eq!(names(&first, "logStreams", "logStreamName"), ["b", "a"]);
    assert_eq!(first["logStreams"][0]["lastEventTimestamp"], now + 2);
    input["nextToken"] = first["nextToken"].clone();
    let second = region.ok("DescribeLogStreams", input.clone()).await;
    assert_eq!(names(&second, "logStreams", "logStreamName"), ["c"]);
    input["logStreamNamePrefix"] = "a".into();
    let (_, message) = region.fails("DescribeLogStreams", input).await;
    assert_eq!(
        message,
        "Cannot order by LastEventTime with a logStreamNamePrefix."
    );
}

#[tokio::test]
async fn tags_are_the_same_by_old_and_new_operations() {
    let region = Region::new();
    region
        .ok(
            "CreateLogGroup",
            json!({ "logGroupName": "g", "tags": { "a": "1" } }),
        )
        .await;
    let arn = "arn:aws:logs:us-east-1:000000000000:log-group:g";
    region
        .ok(
            "TagLogGroup",
            json!({ "logGroupName": "g", "tags": { "b": "2" } }),
        )
        .await;
    region
        .ok(
            "TagResource",
            json!({ "resourceArn": arn, "tags": { "c": "3" } }),
        )
        .await;
    region
        .ok(
            "UntagResource",
            json!({ "resourceArn": arn, "tagKeys": ["a"] }),
        )
        .await;
    let tags = json!({ "tags": { "b": "2", "c": "3" } });
    assert_eq!(
        region
            .ok("ListTagsForResource", json!({ "resourceArn": arn }))
            .await,
        tags
    );
    assert_eq!(
        region
            .ok("ListTagsLogGroup", json!({ "logGroupName": "g" }))
            .await,
        tags
    );
}
