//! The services that speak JSON to one path: queues, tables, streams, topics.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::Outcome;
use crate::load::{self, Call, Connection, Plan};
use crate::target::Target;

const CONNECTIONS: usize = 32;
/// What the records carry.
const PAYLOAD: usize = 256;
/// Items under one partition key, for queries.
const ITEMS: u64 = 10;

/// Runs the scenarios that are wanted.
pub async fn run(bare: &Target, cumulo: &Target, on: &dyn Fn(&str) -> bool) -> Outcome {
    let text = "x".repeat(PAYLOAD);
    let mut admin = Connection::open(cumulo.port).await?;
    if on("dynamodb") {
        tables(&mut admin).await?;
    }
    if on("sqs") {
        let queue = json!({ "QueueName": "bench" });
        admin
            .expect("sqs", call("AmazonSQS.CreateQueue", &queue))
            .await?;
    }
    if on("kinesis") {
        let stream = json!({ "StreamName": "bench", "ShardCount": 4 });
        admin
            .expect("kinesis", call("Kinesis_20131202.CreateStream", &stream))
            .await?;
    }
    let item = |i: u64| json!({ "pk": { "S": format!("k{}", i >> 32) }, "sk": { "N": (i % ITEMS).to_string() }, "text": { "S": "x".repeat(PAYLOAD) } });
    let key = |i: u64| json!({ "pk": { "S": format!("k{}", i >> 32) }, "sk": { "N": (i % ITEMS).to_string() } });
    let scenarios: [(&str, &'static str, Plan); 6] = [
        (
            "sqs-send",
            "sqs",
            plan("AmazonSQS.SendMessage", {
                let text = text.clone();
                move |_| json!({ "QueueUrl": "http://localhost:4566/000000000000/bench", "MessageBody": text })
            }),
        ),
        (
            "dynamodb-put",
            "dynamodb",
            plan(
                "DynamoDB_20120810.PutItem",
                move |i| json!({ "TableName": "bench", "Item": item(i) }),
            ),
        ),
        (
            "dynamodb-get",
            "dynamodb",
            plan(
                "DynamoDB_20120810.GetItem",
                move |i| json!({ "TableName": "bench", "Key": key(i) }),
            ),
        ),
        (
            "dynamodb-query",
            "dynamodb",
            plan("DynamoDB_20120810.Query", |i| {
                json!({
                    "TableName": "bench",
                    "KeyConditionExpression": "pk = :pk",
                    "ExpressionAttributeValues": { ":pk": { "S": format!("k{}", i >> 32) } },
                })
            }),
        ),
        (
            "dynamodb-transact",
            "dynamodb",
            plan("DynamoDB_20120810.TransactWriteItems", move |i| {
                json!({ "TransactItems": [
                    { "Put": { "TableName": "bench", "Item": item(i) } },
                    { "Put": { "TableName": "bench", "Item": item(i + 1) } },
                ] })
            }),
        ),
        (
            "kinesis-put",
            "kinesis",
            plan(
                "Kinesis_20131202.PutRecord",
                move |i| json!({ "StreamName": "bench", "PartitionKey": i.to_string(), "Data": text }),
            ),
        ),
    ];
    for (name, scope, cumulo_plan) in scenarios {
        if on(name) {
            let same = cumulo_plan.clone();
            // The bare server takes the same body and answers as many bytes as the path says.
            let bare_plan: Plan = Arc::new(move |i| Call {
                path: "/200".into(),
                ..same(i)
            });
            load::compare(
                name,
                CONNECTIONS,
                scope,
                (bare, bare_plan),
                (cumulo, cumulo_plan),
            )
            .await?;
        }
    }
    Ok(())
}

async fn tables(admin: &mut Connection) -> Outcome {
    let table = json!({
        "TableName": "bench",
        "KeySchema": [
            { "AttributeName": "pk", "KeyType": "HASH" },
            { "AttributeName": "sk", "KeyType": "RANGE" },
        ],
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "sk", "AttributeType": "N" },
        ],
        "BillingMode": "PAY_PER_REQUEST",
    });
    admin
        .expect("dynamodb", call("DynamoDB_20120810.CreateTable", &table))
        .await?;
    loop {
        let described = call(
            "DynamoDB_20120810.DescribeTable",
            &json!({ "TableName": "bench" }),
        );
        let text = admin.expect("dynamodb", described).await?;
        let description: Value = serde_json::from_slice(&text)?;
        if description["Table"]["TableStatus"] == "ACTIVE" {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn call(target: &'static str, input: &Value) -> Call {
    Call {
        method: Method::POST,
        path: "/".into(),
        target: Some(target),
        body: Bytes::from(input.to_string()),
    }
}

fn plan(target: &'static str, input: impl Fn(u64) -> Value + Send + Sync + 'static) -> Plan {
    Arc::new(move |i| call(target, &input(i)))
}
