//! Streams and time to live, by the region's clock.

mod region;

use cloud::ports::TableStreamStart;
use region::Region;
use serde_json::{Value, json};

async fn streamed(region: &Region, view: &str) -> String {
    let stream = json!({"StreamSpecification": {"StreamEnabled": true, "StreamViewType": view}});
    region.table("watched", stream).await;
    let table = region
        .ok("DescribeTable", json!({"TableName": "watched"}))
        .await;
    table["Table"]["LatestStreamArn"]
        .as_str()
        .expect("it is there")
        .to_owned()
}

fn records(region: &Region, arn: &str) -> Vec<Value> {
    let streams = region.cloud.ports.table_streams().expect("it is there");
    let shard = streams
        .find(arn)
        .expect("it is there")
        .expect("it is there")
        .shards[0]
        .id
        .clone();
    let from = streams
        .position(arn, &shard, TableStreamStart::Oldest)
        .expect("it is there");
    streams
        .read(arn, &shard, from, 1000)
        .expect("it is there")
        .records
}

#[tokio::test]
async fn each_change_is_recorded_in_order_with_its_images() {
    let region = Region::new();
    let arn = streamed(&region, "NEW_AND_OLD_IMAGES").await;
    let streams = region.cloud.ports.table_streams().unwrap();
    let changed = streams.changed(&arn).unwrap();
    let woken = changed.notified();
    region
        .put("watched", "a", 1, json!({"v": {"N": "1"}}))
        .await;
    woken.await;
    region
        .put("watched", "a", 1, json!({"v": {"N": "1"}}))
        .await;
    region
        .put("watched", "a", 1, json!({"v": {"N": "2"}}))
        .await;
    let key = json!({"p": {"S": "a"}, "c": {"N": "1"}});
    region
        .ok("DeleteItem", json!({"TableName": "watched", "Key": key}))
        .await;
    region
        .ok("DeleteItem", json!({"TableName": "watched", "Key": key}))
        .await;
    let records = records(&region, &arn);
    let names: Vec<&str> = records
        .iter()
        .filter_map(|r| r["eventName"].as_str())
        .collect();
    assert_eq!(names, ["INSERT", "MODIFY", "REMOVE"]);
    let modify = &records[1]["dynamodb"];
    assert_eq!(modify["Keys"], key);
    assert_eq!(modify["OldImage"]["v"], json!({"N": "1"}));
    assert_eq!(modify["NewImage"]["v"], json!({"N": "2"}));
    assert_eq!(records[2]["dynamodb"]["NewImage"], Value::Null);
    let numbers: Vec<&str> = records
        .iter()
        .filter_map(|r| r["dynamodb"]["SequenceNumber"].as_str())
        .collect();
    assert!(numbers.is_sorted() && numbers.iter().all(|n| n.len() >= 21));
}

#[tokio::test]
async fn records_are_gone_after_a_day_and_a_disabled_stream_with_them() {
    let region = Region::new();
    let arn = streamed(&region, "KEYS_ONLY").await;
    region.put("watched", "a", 1, json!({})).await;
    let hours = |n: i64| region.cloud.clock.now().plus_secs(n * 3600);
    region.cloud.scheduler.advance_to(hours(12)).await.unwrap();
    region.put("watched", "a", 2, json!({})).await;
    assert_eq!(records(&region, &arn).len(), 2);
    region.cloud.scheduler.advance_to(hours(13)).await.unwrap();
    assert_eq!(records(&region, &arn).len(), 1);
    let off = json!({"TableName": "watched", "StreamSpecification": {"StreamEnabled": false}});
    region.ok("UpdateTable", off).await;
    let streams = region.cloud.ports.table_streams().unwrap();
    assert!(
        streams
            .find(&arn)
            .unwrap()
            .is_some_and(|stream| !stream.is_open)
    );
    region.cloud.scheduler.advance_to(hours(60)).await.unwrap();
    assert!(streams.find(&arn).unwrap().is_none());
}

#[tokio::test]
async fn items_end_by_the_clock_and_the_stream_says_who_did_it() {
    let region = Region::new();
    let arn = streamed(&region, "OLD_IMAGE").await;
    let now = region.cloud.clock.now().millis() / 1000;
    region
        .put(
            "watched",
            "before",
            1,
            json!({"ends": {"N": (now + 50).to_string()}}),
        )
        .await;
    let ttl = json!({
        "TableName": "watched",
        "TimeToLiveSpecification": {"Enabled": true, "AttributeName": "ends"},
    });
    region.ok("UpdateTimeToLive", ttl.clone()).await;
    let (_, message) = region.fails("UpdateTimeToLive", ttl).await;
    assert_eq!(message, "TimeToLive is already enabled");
    region
        .put(
            "watched",
            "later",
            1,
            json!({"ends": {"N": (now + 500).to_string()}}),
        )
        .await;
    region
        .put(
            "watched",
            "soon",
            1,
            json!({"ends": {"N": (now + 20).to_string()}}),
        )
        .await;
    region
        .put(
            "watched",
            "moved",
            1,
            json!({"ends": {"N": (now + 20).to_string()}}),
        )
        .await;
    region
        .put(
            "watched",
            "moved",
            1,
            json!({"ends": {"N": (now + 900).to_string()}}),
        )
        .await;
    region
        .put("watched", "never", 1, json!({"ends": {"S": "1"}}))
        .await;
    let left = async || {
        let all = region.ok("Scan", json!({"TableName": "watched"})).await;
        let mut names: Vec<String> = all["Items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["p"]["S"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(left().await.len(), 5);
    let at = |seconds: i64| wire::Timestamp::from_secs(now + seconds);
    region.cloud.scheduler.advance_to(at(100)).await.unwrap();
    assert_eq!(left().await, ["later", "moved", "never"]);
    region.cloud.scheduler.advance_to(at(1000)).await.unwrap();
    assert_eq!(left().await, ["never"]);
    let records = records(&region, &arn);
    let ended: Vec<&Value> = records
        .iter()
        .filter(|r| r["eventName"] == "REMOVE")
        .collect();
    assert_eq!(ended.len(), 4);
    for record in ended {
        let service = json!({"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"});
        assert_eq!(record["userIdentity"], service);
    }
}
