//! What a put and a get cost does not grow with what is there. Takes a minute: `cargo test -p kinesis --test growth -- --ignored --nocapture`.
#![allow(
    clippy::disallowed_methods,
    reason = "a measurement asks the system's clock"
)]

mod region;

use std::time::{Duration, Instant};

use region::{Region, base64};
use serde_json::{Value, json};

const S: &str = "stream";
const ROUNDS: u32 = 2_000;

/// The median time of a put, and of a get of ten records in the middle of what is there.
async fn measure(region: &Region) -> (Duration, Duration) {
    let (_, number) = region.put(S, "key", "middle").await;
    let iterator = region
        .iterator(
            S,
            0,
            "AT_SEQUENCE_NUMBER",
            json!({ "StartingSequenceNumber": number }),
        )
        .await;
    let mut puts = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        region.put(S, "key", "some data of a record").await;
        puts.push(start.elapsed());
    }
    let mut gets = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        region
            .ok(
                "GetRecords",
                json!({ "ShardIterator": iterator, "Limit": 10 }),
            )
            .await;
        gets.push(start.elapsed());
    }
    puts.sort();
    gets.sort();
    (puts[puts.len() / 2], gets[gets.len() / 2])
}

#[tokio::test]
#[ignore = "takes a minute"]
async fn a_put_and_a_get_cost_the_same_at_a_million_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let region = Region::at(folder.path());
    region
        .ok("CreateStream", json!({ "StreamName": S, "ShardCount": 1 }))
        .await;
    let fill = async |count: usize| {
        for _ in 0..count / 500 {
            let records: Vec<Value> =
                (0..500).map(|i| json!({ "PartitionKey": i.to_string(), "Data": base64("some data of a record") })).collect();
            region
                .ok("PutRecords", json!({ "StreamName": S, "Records": records }))
                .await;
        }
    };
    fill(1_000).await;
    let few = measure(&region).await;
    fill(1_000_000).await;
    let many = measure(&region).await;
    println!(
        "put {:?} and {:?}, get {:?} and {:?}",
        few.0, many.0, few.1, many.1
    );
    assert!(many.0 < few.0 * 3 / 2);
    assert!(many.1 < few.1 * 3 / 2);
}
