//! Records: put, read in order, expired.

mod region;

use region::{Region, base64, texts};
use serde_json::{Value, json};

const S: &str = "stream";

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

#[tokio::test]
async fn records_of_a_shard_come_in_the_order_of_their_numbers() {
    let region = with_stream(1).await;
    let mut last = String::new();
    for i in 0..25 {
        let (shard, number) = region.put(S, &format!("k{i}"), &format!("r{i}")).await;
        assert_eq!(shard, "shardId-000000000000");
        assert_eq!(number.len(), 56);
        assert!(number > last);
        last = number;
    }
    let mut iterator = region.iterator(S, 0, "TRIM_HORIZON", Value::Null).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let page = region
            .ok(
                "GetRecords",
                json!({ "ShardIterator": iterator, "Limit": 10 }),
            )
            .await;
        let behind = page["MillisBehindLatest"].as_i64().expect("a number");
        all.extend(texts(&page));
        assert_eq!(behind == 0, all.len() == 25);
        iterator = page["NextShardIterator"].clone();
    }
    assert_eq!(all, (0..25).map(|i| format!("r{i}")).collect::<Vec<_>>());
    let page = region
        .ok("GetRecords", json!({ "ShardIterator": iterator }))
        .await;
    assert_eq!(texts(&page).len(), 0);
    assert_eq!(page.get("ChildShards"), None);
}

#[tokio::test]
async fn every_kind_of_iterator_begins_where_it_says() {
    let region = with_stream(1).await;
    let (_, first) = region.put(S, "k", "one").await;
    region.pass(10_000).await;
    let middle = region.now();
    let (_, second) = region.put(S, "k", "two").await;
    let read = async |kind: &str, more: Value| {
        let iterator = region.iterator(S, 0, kind, more).await;
        texts(
            &region
                .ok("GetRecords", json!({ "ShardIterator": iterator }))
                .await,
        )
    };
    assert_eq!(read("TRIM_HORIZON", Value::Null).await, ["one", "two"]);
    assert_eq!(read("LATEST", Value::Null).await.len(), 0);
    let at = |n: &str| json!({ "StartingSequenceNumber": n });
    assert_eq!(read("AT_SEQUENCE_NUMBER", at(&first)).await, ["one", "two"]);
    assert_eq!(read("AFTER_SEQUENCE_NUMBER", at(&first)).await, ["two"]);
    assert_eq!(read("AFTER_SEQUENCE_NUMBER", at(&second)).await.len(), 0);
    let time = |t: i64| json!({ "Timestamp": t as f64 / 1000.0 });
    assert_eq!(read("AT_TIMESTAMP", time(middle - 5_000)).await, ["two"]);
    assert_eq!(read("AT_TIMESTAMP", time(0)).await, ["one", "two"]);
    let (code, message) = region
        .fails(
            "GetShardIterator",
            json!({ "StreamName": S, "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP" }),
        )
        .await;
    assert_eq!(code, "InvalidArgumentException");
    assert!(message.starts_with("Must specify timestamp parameter"));
    for (kind, number) in [
        ("LATEST", Some("1")),
        ("AT_SEQUENCE_NUMBER", None),
        ("AT_SEQUENCE_NUMBER", Some("12")),
    ] {
        let mut input = json!({ "StreamName": S, "ShardId": "shardId-000000000000", "ShardIteratorType": kind });
        if let Some(number) = number {
            input["StartingSequenceNumber"] = number.into();
        }
        assert_eq!(
            region.fails("GetShardIterator", input).await.0,
            "InvalidArgumentException"
        );
    }
}

#[tokio::test]
async fn latest_sees_what_comes_after_it_and_iterators_expire() {
    let region = with_stream(1).await;
    region.put(S, "k", "before").await;
    let iterator = region.iterator(S, 0, "LATEST", Value::Null).await;
    region.put(S, "k", "after").await;
    let page = region
        .ok("GetRecords", json!({ "ShardIterator": iterator }))
        .await;
    assert_eq!(texts(&page), ["after"]);
    region.pass(300_500).await;
    let (code, message) = region
        .fails("GetRecords", json!({ "ShardIterator": iterator }))
        .await;
    assert_eq!(code, "ExpiredIteratorException");
    assert!(
        message.contains("tolerated delay of 300000 milliseconds"),
        "{message}"
    );
    let (code, message) = region
        .fails("GetRecords", json!({ "ShardIterator": "AAAA" }))
        .await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("InvalidArgumentException", "Invalid ShardIterator.")
    );
}

#[tokio::test]
async fn keys_go_where_their_hash_says_and_explicit_hashes_override_it() {
    let region = with_stream(2).await;
    // MD5("a") begins with 0c, MD5("b") with 92.
    assert_eq!(region.put(S, "a", "x").await.0, "shardId-000000000000");
    assert_eq!(region.put(S, "b", "x").await.0, "shardId-000000000001");
    let explicit = |hash: &str| json!({ "StreamName": S, "PartitionKey": "a", "Data": "", "ExplicitHashKey": hash });
    for (hash, shard) in [
        ("0", "shardId-000000000000"),
        (
            "170141183460469231731687303715884105727",
            "shardId-000000000000",
        ),
        (
            "170141183460469231731687303715884105728",
            "shardId-000000000001",
        ),
        (
            "340282366920938463463374607431768211455",
            "shardId-000000000001",
        ),
    ] {
        assert_eq!(
            region.ok("PutRecord", explicit(hash)).await["ShardId"],
            shard
        );
    }
    let (code, message) = region
        .fails(
            "PutRecord",
            explicit("340282366920938463463374607431768211456"),
        )
        .await;
    assert_eq!(code, "InvalidArgumentException");
    assert!(message.contains("[0, 2^128-1]"));
}

#[tokio::test]
async fn a_batch_is_spread_and_keeps_order_within_each_shard() {
    let region = with_stream(3).await;
    let records: Vec<Value> = (0..500)
        .map(|i| json!({ "PartitionKey": format!("key-{}", i % 17), "Data": base64(&i.to_string()) }))
        .collect();
    let put = region
        .ok("PutRecords", json!({ "StreamName": S, "Records": records }))
        .await;
    assert_eq!(put["FailedRecordCount"], 0);
    let mut all = 0;
    for shard in 0..3 {
        let numbers: Vec<i32> = region
            .read(S, shard)
            .await
            .0
            .iter()
            .map(|t| t.parse().expect("a number"))
            .collect();
        assert!(numbers.is_sorted());
        all += numbers.len();
    }
    assert_eq!(all, 500);
}

#[tokio::test]
async fn sizes_are_limited() {
    let region = with_stream(1).await;
    let record = |n: usize| json!({ "PartitionKey": "key", "Data": base64(&"a".repeat(n)) });
    let mib = 1 << 20;
    let one = |n: usize| {
        let mut input = record(n);
        input["StreamName"] = S.into();
        input
    };
    region.ok("PutRecord", one(mib - 3)).await;
    let (code, message) = region.fails("PutRecord", one(mib - 2)).await;
    assert_eq!(code, "ValidationException");
    assert_eq!(
        message,
        "1 validation error detected: Value at 'data' failed to satisfy constraint: Member must have length less than or equal to 1048576"
    );
    let (_, message) = region
        .fails(
            "PutRecords",
            json!({ "StreamName": S, "Records": [record(1), record(mib)] }),
        )
        .await;
    assert!(message.contains("'records.2.member.data'"), "{message}");
    let many: Vec<Value> = (0..11).map(|_| record(mib - 100)).collect();
    let (code, _) = region
        .fails("PutRecords", json!({ "StreamName": S, "Records": many }))
        .await;
    assert_eq!(code, "InvalidArgumentException");
    let many: Vec<Value> = (0..501).map(|_| record(1)).collect();
    let (code, message) = region
        .fails("PutRecords", json!({ "StreamName": S, "Records": many }))
        .await;
    assert_eq!(code, "ValidationException");
    assert!(message.contains("less than or equal to 500"), "{message}");
    let (code, message) = region
        .fails("PutRecord", json!({ "StreamName": S, "Data": "" }))
        .await;
    assert_eq!(code, "ValidationException");
    assert!(message.contains("partitionKey"));
    let dry = json!({ "StreamName": S, "Data": "", "PartitionKey": "k", "DryRun": true });
    assert_eq!(
        region.fails("PutRecord", dry).await.0,
        "DryRunOperationException"
    );
    assert_eq!(region.read(S, 0).await.0.len(), 1);
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/stream";
    region
        .ok(
            "UpdateMaxRecordSize",
            json!({ "StreamARN": arn, "MaxRecordSizeInKiB": 2048 }),
        )
        .await;
    region.ok("PutRecord", one(mib)).await;
}

#[tokio::test]
async fn records_expire_by_the_clock() {
    let region = with_stream(1).await;
    region.put(S, "k", "old").await;
    region.pass(13 * 3_600_000).await;
    region.put(S, "k", "young").await;
    assert_eq!(region.read(S, 0).await.0, ["old", "young"]);
    region.pass(12 * 3_600_000).await;
    assert_eq!(region.read(S, 0).await.0, ["young"]);
    let (_, number) = region.put(S, "k", "new").await;
    region.pass(100 * 3_600_000).await;
    assert_eq!(region.read(S, 0).await.0.len(), 0);
    assert!(region.put(S, "k", "newest").await.1 > number);
    assert_eq!(region.read(S, 0).await.0, ["newest"]);
    region
        .ok(
            "IncreaseStreamRetentionPeriod",
            json!({ "StreamName": S, "RetentionPeriodHours": 48 }),
        )
        .await;
    region.pass(47 * 3_600_000).await;
    assert_eq!(region.read(S, 0).await.0, ["newest"]);
    region
        .ok(
            "DecreaseStreamRetentionPeriod",
            json!({ "StreamName": S, "RetentionPeriodHours": 24 }),
        )
        .await;
    assert_eq!(region.read(S, 0).await.0.len(), 0);
}

#[tokio::test]
async fn writers_that_race_a_split_lose_nothing() {
    let region = std::sync::Arc::new(with_stream(1).await);
    let writers: Vec<_> = (0..4)
        .map(|w| {
            let region = region.clone();
            tokio::spawn(async move {
                for i in 0..100 {
                    region
                        .put(S, &format!("{w}-{i}"), &format!("{w}-{i:03}"))
                        .await;
                }
            })
        })
        .collect();
    let mut shards = 1;
    for target in [2, 4, 2, 3] {
        region
            .ok("UpdateShardCount", json!({ "StreamName": S, "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING" }))
            .await;
        let listed = region.ok("ListShards", json!({ "StreamName": S })).await;
        shards = listed["Shards"].as_array().expect("shards").len() as u64;
    }
    for writer in writers {
        writer.await.expect("a writer ends");
    }
    let mut all = Vec::new();
    for shard in 0..shards {
        all.extend(region.read(S, shard).await.0);
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 400);
}

#[tokio::test]
async fn deliveries_of_other_services_become_records() {
    let region = with_stream(2).await;
    let mut delivery = cloud::Delivery {
        target: "arn:aws:kinesis:us-east-1:000000000000:stream/stream".into(),
        payload: base64("bytes"),
        ..cloud::Delivery::default()
    };
    delivery
        .parameters
        .insert("encoding".into(), "base64".into());
    delivery
        .parameters
        .insert("partition_key".into(), "b".into());
    region
        .cloud
        .targets
        .deliver(&delivery)
        .await
        .expect("a delivery");
    assert_eq!(region.read(S, 1).await.0, ["bytes"]);
    let arn: cloud::Arn = delivery.target.parse().expect("an ARN");
    assert!(
        region
            .cloud
            .targets
            .check(&arn, &cloud::Source::default())
            .is_ok()
    );
    delivery.target.push('x');
    assert!(region.cloud.targets.deliver(&delivery).await.is_err());
}

#[tokio::test]
async fn other_services_read_shards_and_are_woken() {
    use cloud::ports::DataStart;
    let region = with_stream(1).await;
    let streams = region.cloud.ports.data_streams().expect("an owner").clone();
    let arn: cloud::Arn = "arn:aws:kinesis:us-east-1:000000000000:stream/stream"
        .parse()
        .expect("an ARN");
    let shards = streams.shards(&arn).expect("shards");
    let shard = shards[0].id.as_str();
    let newest = streams
        .position(&arn, shard, DataStart::Newest)
        .expect("a position");
    let changed = streams.changed(&arn, shard).expect("a notice");
    let woken = changed.notified();
    assert!(
        streams
            .read(&arn, shard, newest, 10)
            .expect("records")
            .records
            .is_empty()
    );
    let (_, number) = region.put(S, "k", "x").await;
    woken.await;
    let read = streams.read(&arn, shard, newest, 10).expect("records");
    assert_eq!(read.records[0].sequence_number, number);
    assert_eq!(&read.records[0].data[..], b"x");
    let woken = changed.notified();
    region
        .ok(
            "SplitShard",
            json!({ "StreamName": S, "ShardToSplit": shard, "NewStartingHashKey": "1000" }),
        )
        .await;
    woken.await;
    let end = streams.read(&arn, shard, read.next, 10).expect("records");
    assert!(end.is_end && end.records.is_empty());
    let shards = streams.shards(&arn).expect("shards");
    assert_eq!(shards[1].parents, [shard]);
}
