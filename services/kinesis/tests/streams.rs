//! Streams, shards, consumers, settings.

mod region;

use region::{Region, base64};
use serde_json::{Value, json};

const S: &str = "stream";
const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/stream";

async fn with_stream(shards: u32) -> Region {
    let region = Region::new();
    region
        .ok(
            "CreateStream",
            json!({ "StreamName": S, "ShardCount": shards }),
        )
        .await;
    region
}

async fn shards(region: &Region, filter: Value) -> Vec<String> {
    let mut input = json!({ "StreamARN": ARN });
    if !filter.is_null() {
        input["ShardFilter"] = filter;
    }
    let listed = region.ok("ListShards", input).await;
    let shards = listed["Shards"].as_array().expect("shards").clone();
    shards
        .iter()
        .map(|s| s["ShardId"].as_str().expect("an id")["shardId-00000000000".len()..].to_owned())
        .collect()
}

#[tokio::test]
async fn a_stream_is_described_until_it_is_deleted() {
    let region = with_stream(2).await;
    let described = region
        .ok("DescribeStream", json!({ "StreamName": S }))
        .await;
    let stream = &described["StreamDescription"];
    assert_eq!(stream["StreamARN"], ARN);
    assert_eq!(stream["StreamStatus"], "ACTIVE");
    assert_eq!(stream["EncryptionType"], "NONE");
    assert_eq!(
        stream["Shards"][1]["HashKeyRange"]["StartingHashKey"],
        "170141183460469231731687303715884105728"
    );
    let summary = region
        .ok("DescribeStreamSummary", json!({ "StreamARN": ARN }))
        .await;
    assert_eq!(summary["StreamDescriptionSummary"]["OpenShardCount"], 2);
    let (code, message) = region
        .fails("CreateStream", json!({ "StreamName": S, "ShardCount": 1 }))
        .await;
    assert_eq!(code, "ResourceInUseException");
    assert_eq!(
        message,
        "Stream stream under account 000000000000 already exists."
    );
    region.put(S, "k", "x").await;
    region.ok("DeleteStream", json!({ "StreamName": S })).await;
    let (code, message) = region
        .fails("DescribeStream", json!({ "StreamName": S }))
        .await;
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(
        message,
        "Stream stream under account 000000000000 not found."
    );
    region
        .ok("CreateStream", json!({ "StreamName": S, "ShardCount": 1 }))
        .await;
    assert_eq!(region.read(S, 0).await.0.len(), 0);
    let limit = region
        .fails(
            "CreateStream",
            json!({ "StreamName": "t", "ShardCount": 30_000 }),
        )
        .await;
    assert_eq!(limit.0, "LimitExceededException");
}

#[tokio::test]
async fn streams_are_listed_in_pages() {
    let region = Region::new();
    for i in 0..5 {
        region
            .ok(
                "CreateStream",
                json!({ "StreamName": format!("s{i}"), "ShardCount": 1 }),
            )
            .await;
    }
    let page = region.ok("ListStreams", json!({ "Limit": 3 })).await;
    assert_eq!(page["StreamNames"], json!(["s0", "s1", "s2"]));
    assert_eq!(page["HasMoreStreams"], true);
    let next = region
        .ok("ListStreams", json!({ "NextToken": page["NextToken"] }))
        .await;
    assert_eq!(next["StreamNames"], json!(["s3", "s4"]));
    assert_eq!(next["HasMoreStreams"], false);
    let limits = region.ok("DescribeLimits", json!({})).await;
    assert_eq!(limits["OpenShardCount"], 5);
}

#[tokio::test]
async fn a_split_shard_ends_with_its_children() {
    let region = with_stream(1).await;
    region.put(S, "k", "before").await;
    region.pass(1_000).await;
    let before = region.now();
    region.pass(1_000).await;
    let split = json!({ "StreamName": S, "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000" });
    region.ok("SplitShard", split.clone()).await;
    let (texts, answer) = region.read(S, 0).await;
    assert_eq!(texts, ["before"]);
    assert_eq!(answer.get("NextShardIterator"), None);
    assert_eq!(answer["ChildShards"][0]["ShardId"], "shardId-000000000001");
    assert_eq!(
        answer["ChildShards"][1]["ParentShards"],
        json!(["shardId-000000000000"])
    );
    assert_eq!(
        answer["ChildShards"][1]["HashKeyRange"]["StartingHashKey"],
        "1000"
    );
    let (code, message) = region.fails("SplitShard", split).await;
    assert_eq!(code, "InvalidArgumentException");
    assert!(message.ends_with(
        "has already been merged or split, and thus is not eligible for merging or splitting."
    ));
    region
        .ok("MergeShards", json!({ "StreamName": S, "ShardToMerge": "shardId-000000000002", "AdjacentShardToMerge": "shardId-000000000001" }))
        .await;
    let listed = region.ok("ListShards", json!({ "StreamName": S })).await;
    assert_eq!(listed["Shards"][3]["ParentShardId"], "shardId-000000000002");
    assert_eq!(
        listed["Shards"][3]["AdjacentParentShardId"],
        "shardId-000000000001"
    );
    let number = |i: usize, key: &str| {
        listed["Shards"][i]["SequenceNumberRange"][key]
            .as_str()
            .map(str::to_owned)
    };
    assert!(number(0, "EndingSequenceNumber") < number(1, "StartingSequenceNumber"));
    assert!(number(2, "EndingSequenceNumber") < number(3, "StartingSequenceNumber"));
    assert_eq!(number(3, "EndingSequenceNumber"), None);

    assert_eq!(shards(&region, Value::Null).await, ["0", "1", "2", "3"]);
    assert_eq!(shards(&region, json!({ "Type": "AT_LATEST" })).await, ["3"]);
    assert_eq!(
        shards(&region, json!({ "Type": "AT_TRIM_HORIZON" })).await,
        ["0"]
    );
    assert_eq!(
        shards(&region, json!({ "Type": "FROM_TRIM_HORIZON" }))
            .await
            .len(),
        4
    );
    assert_eq!(
        shards(
            &region,
            json!({ "Type": "AT_TIMESTAMP", "Timestamp": before as f64 / 1000.0 })
        )
        .await,
        ["0"]
    );
    let after = json!({ "Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001" });
    assert_eq!(shards(&region, after).await, ["2", "3"]);
    let page = region
        .ok("ListShards", json!({ "StreamName": S, "MaxResults": 3 }))
        .await;
    let rest = region
        .ok("ListShards", json!({ "NextToken": page["NextToken"] }))
        .await;
    assert_eq!(rest["Shards"].as_array().map(Vec::len), Some(1));
    let both = region
        .fails(
            "ListShards",
            json!({ "StreamName": S, "NextToken": page["NextToken"] }),
        )
        .await;
    assert_eq!(both.0, "InvalidArgumentException");
    region.pass(301_000).await;
    let late = region
        .fails("ListShards", json!({ "NextToken": page["NextToken"] }))
        .await;
    assert_eq!(late.0, "ExpiredNextTokenException");
    // Closed shards go with their records.
    region.pass(50 * 3_600_000).await;
    assert_eq!(shards(&region, Value::Null).await, ["3"]);
}

#[tokio::test]
async fn shards_are_split_and_merged_only_as_aws_allows() {
    let region = with_stream(3).await;
    let cases = [
        (
            "SplitShard",
            json!({ "StreamName": S, "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1" }),
            "InvalidArgumentException",
        ),
        (
            "SplitShard",
            json!({ "StreamName": S, "ShardToSplit": "unknown", "NewStartingHashKey": "9" }),
            "ResourceNotFoundException",
        ),
        (
            "SplitShard",
            json!({ "StreamName": S, "ShardToSplit": "shardId-000000000009", "NewStartingHashKey": "9" }),
            "ResourceNotFoundException",
        ),
        (
            "MergeShards",
            json!({ "StreamName": S, "ShardToMerge": "0", "AdjacentShardToMerge": "2" }),
            "InvalidArgumentException",
        ),
        (
            "MergeShards",
            json!({ "StreamName": S, "ShardToMerge": "0", "AdjacentShardToMerge": "0" }),
            "InvalidArgumentException",
        ),
        (
            "UpdateShardCount",
            json!({ "StreamName": S, "TargetShardCount": 7, "ScalingType": "UNIFORM_SCALING" }),
            "InvalidArgumentException",
        ),
        (
            "UpdateShardCount",
            json!({ "StreamName": S, "TargetShardCount": 0, "ScalingType": "UNIFORM_SCALING" }),
            "ValidationException",
        ),
        (
            "PutRecord",
            json!({ "PartitionKey": "k", "Data": "" }),
            "InvalidArgumentException",
        ),
        ("ListShards", json!({}), "InvalidArgumentException"),
    ];
    for (operation, input, code) in cases {
        assert_eq!(
            region.fails(operation, input.clone()).await.0,
            code,
            "{operation} {input}"
        );
    }
    assert_eq!(shards(&region, Value::Null).await.len(), 3);
}

#[tokio::test]
async fn tags_policies_metrics_and_encryption_read_back() {
    let region = with_stream(1).await;
    region
        .ok(
            "AddTagsToStream",
            json!({ "StreamName": S, "Tags": { "a": "1", "b": "2" } }),
        )
        .await;
    region
        .ok(
            "TagResource",
            json!({ "ResourceARN": ARN, "Tags": { "c": "3" } }),
        )
        .await;
    region
        .ok(
            "RemoveTagsFromStream",
            json!({ "StreamARN": ARN, "TagKeys": ["a"] }),
        )
        .await;
    let tags = region
        .ok("ListTagsForStream", json!({ "StreamName": S, "Limit": 1 }))
        .await;
    assert_eq!(
        tags,
        json!({ "Tags": [{ "Key": "b", "Value": "2" }], "HasMoreTags": true })
    );
    let tags = region
        .ok("ListTagsForResource", json!({ "ResourceARN": ARN }))
        .await;
    assert_eq!(tags["Tags"].as_array().map(Vec::len), Some(2));
    let many: serde_json::Map<String, Value> =
        (0..49).map(|i| (format!("t{i}"), "v".into())).collect();
    assert_eq!(
        region
            .fails("AddTagsToStream", json!({ "StreamName": S, "Tags": many }))
            .await
            .0,
        "InvalidArgumentException"
    );

    let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Principal": { "AWS": "000000000000" }, "Action": "kinesis:PutRecord", "Resource": ARN }] });
    region
        .ok(
            "PutResourcePolicy",
            json!({ "ResourceARN": ARN, "Policy": policy.to_string() }),
        )
        .await;
    assert_eq!(
        region
            .ok("GetResourcePolicy", json!({ "ResourceARN": ARN }))
            .await["Policy"],
        policy.to_string()
    );
    region
        .ok("DeleteResourcePolicy", json!({ "ResourceARN": ARN }))
        .await;
    assert_eq!(
        region
            .fails("DeleteResourcePolicy", json!({ "ResourceARN": ARN }))
            .await
            .0,
        "ResourceNotFoundException"
    );

    let on = region
        .ok(
            "EnableEnhancedMonitoring",
            json!({ "StreamName": S, "ShardLevelMetrics": ["ALL"] }),
        )
        .await;
    assert_eq!(
        on["DesiredShardLevelMetrics"].as_array().map(Vec::len),
        Some(7)
    );
    let off = region
        .ok(
            "DisableEnhancedMonitoring",
            json!({ "StreamName": S, "ShardLevelMetrics": ["IncomingBytes"] }),
        )
        .await;
    assert_eq!(
        off["DesiredShardLevelMetrics"].as_array().map(Vec::len),
        Some(6)
    );

    region
        .ok(
            "StartStreamEncryption",
            json!({ "StreamName": S, "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis" }),
        )
        .await;
    let put = region
        .ok(
            "PutRecord",
            json!({ "StreamName": S, "PartitionKey": "k", "Data": "" }),
        )
        .await;
    assert_eq!(put["EncryptionType"], "KMS");
    region
        .ok(
            "StopStreamEncryption",
            json!({ "StreamName": S, "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis" }),
        )
        .await;

    region
        .ok(
            "UpdateStreamMode",
            json!({ "StreamARN": ARN, "StreamModeDetails": { "StreamMode": "ON_DEMAND" } }),
        )
        .await;
    let (code, message) = region
        .fails(
            "UpdateShardCount",
            json!({ "StreamName": S, "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING" }),
        )
        .await;
    assert_eq!(code, "ValidationException");
    assert_eq!(
        message,
        "Request is invalid. Stream stream under account 000000000000 is in On-Demand mode."
    );
    let settings = region.ok("DescribeAccountSettings", json!({})).await;
    assert_eq!(
        settings["MinimumThroughputBillingCommitment"]["Status"],
        "DISABLED"
    );
}

#[tokio::test]
async fn consumers_are_registered_and_pushed_to() {
    use futures_util::StreamExt;
    let region = with_stream(1).await;
    let registered = region
        .ok(
            "RegisterStreamConsumer",
            json!({ "StreamARN": ARN, "ConsumerName": "c" }),
        )
        .await;
    let arn = registered["Consumer"]["ConsumerARN"].clone();
    assert!(
        arn.as_str()
            .expect("an ARN")
            .starts_with(&format!("{ARN}/consumer/c:"))
    );
    assert_eq!(
        region
            .fails(
                "RegisterStreamConsumer",
                json!({ "StreamARN": ARN, "ConsumerName": "c" })
            )
            .await
            .0,
        "ResourceInUseException"
    );
    assert_eq!(
        region
            .fails("DeleteStream", json!({ "StreamName": S }))
            .await
            .0,
        "ResourceInUseException"
    );
    region
        .ok(
            "TagResource",
            json!({ "ResourceARN": arn, "Tags": { "k": "v" } }),
        )
        .await;
    let described = region
        .ok("DescribeStreamConsumer", json!({ "ConsumerARN": arn }))
        .await;
    assert_eq!(described["ConsumerDescription"]["ConsumerStatus"], "ACTIVE");

    region.put(S, "k", "one").await;
    let subscribe = json!({ "ConsumerARN": arn, "ShardId": "shardId-000000000000", "StartingPosition": { "Type": "TRIM_HORIZON" } });
    let (status, body) = region.stream("SubscribeToShard", subscribe.clone()).await;
    assert_eq!(status, 200);
    let mut frames = body.into_stream();
    let mut event = async || {
        let frame = frames.next().await.expect("a frame").expect("bytes");
        let mut buffer = bytes::BytesMut::from(&frame[..]);
        let message = wire::event_stream::Message::parse(&mut buffer)
            .expect("a message")
            .expect("all of it");
        let kind = message
            .header(":event-type")
            .or(message.header(":exception-type"))
            .unwrap_or_default()
            .to_owned();
        (
            kind,
            serde_json::from_slice::<Value>(&message.payload).expect("JSON"),
        )
    };
    assert_eq!(event().await.0, "initial-response");
    let (kind, first) = event().await;
    assert_eq!(kind, "SubscribeToShardEvent");
    assert_eq!(first["Records"][0]["Data"], base64("one"));
    let (one, put) = tokio::join!(event(), region.put(S, "k", "two"));
    assert_eq!(one.1["Records"][0]["SequenceNumber"], put.1);
    assert_eq!(
        region.fails("SubscribeToShard", subscribe.clone()).await.0,
        "ResourceInUseException"
    );
    region.ok("SplitShard", json!({ "StreamName": S, "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000" })).await;
    let (_, last) = event().await;
    assert_eq!(last["ChildShards"].as_array().map(Vec::len), Some(2));
    assert_eq!(last.get("ContinuationSequenceNumber"), None);
    assert!(frames.next().await.is_none());

    region
        .ok(
            "DeregisterStreamConsumer",
            json!({ "StreamARN": ARN, "ConsumerName": "c" }),
        )
        .await;
    assert_eq!(
        region
            .fails("DescribeStreamConsumer", json!({ "ConsumerARN": arn }))
            .await
            .0,
        "ResourceNotFoundException"
    );
}

#[tokio::test]
async fn a_second_subscription_takes_over_after_five_seconds() {
    use futures_util::StreamExt;
    let region = with_stream(1).await;
    let registered = region
        .ok(
            "RegisterStreamConsumer",
            json!({ "StreamARN": ARN, "ConsumerName": "c" }),
        )
        .await;
    let subscribe = json!({ "ConsumerARN": registered["Consumer"]["ConsumerARN"], "ShardId": "shardId-000000000000", "StartingPosition": { "Type": "LATEST" } });
    let (_, body) = region.stream("SubscribeToShard", subscribe.clone()).await;
    region.pass(6_000).await;
    let (status, _second) = region.stream("SubscribeToShard", subscribe).await;
    assert_eq!(status, 200);
    let frames: Vec<_> = body.into_stream().collect().await;
    let last = frames.last().expect("frames").as_ref().expect("bytes");
    assert!(String::from_utf8_lossy(last).contains("ResourceInUseException"));
}

#[tokio::test]
async fn closed_shards_without_records_end_too() {
    let region = with_stream(2).await;
    region.put(S, "a", "old").await;
    region.pass(10 * 3_600_000).await;
    region
        .ok(
            "MergeShards",
            json!({ "StreamName": S, "ShardToMerge": "0", "AdjacentShardToMerge": "1" }),
        )
        .await;
    for expired in [false, true] {
        for shard in 0..2 {
            let (texts, answer) = region.read(S, shard).await;
            assert_eq!(texts.is_empty(), expired || shard == 1);
            assert_eq!(answer["ChildShards"][0]["ShardId"], "shardId-000000000002");
            assert_eq!(answer.get("NextShardIterator"), None);
        }
        // The record goes, the shard stays until it was closed for as long.
        region.pass(15 * 3_600_000).await;
    }
    assert_eq!(shards(&region, Value::Null).await, ["2"]);
}
