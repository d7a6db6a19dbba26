//! Queues, tables, streams and topics: small requests to one path.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::Outcome;
use crate::load::{self, Call, Connection, Kind, Plan};
use crate::target::Target;

const CONNECTIONS: usize = 32;
/// What the records carry.
const PAYLOAD: usize = 256;
/// Items under one partition key, for queries, and records that a read of a stream answers.
const ITEMS: u64 = 10;
/// Queues that a topic's messages go to.
const FAN: usize = 10;

/// A scenario: its name, its service's signing name, what is sent.
type Scenario = (&'static str, &'static str, Plan);

/// Runs the scenarios that are wanted.
pub async fn run(bare: &Target, cumulo: &Target, on: &dyn Fn(&str) -> bool) -> Outcome {
    let mut admin = Connection::open(cumulo.port).await?;
    let mut scenarios = Vec::new();
    if on("dynamodb") {
        table(&mut admin).await?;
        scenarios.extend(table_scenarios());
    }
    if on("sqs") {
        scenarios.extend(queue_scenarios(&mut admin).await?);
    }
    if on("kinesis") {
        scenarios.extend(stream_scenarios(&mut admin).await?);
    }
    if on("sns") {
        scenarios.extend(topic_scenarios(&mut admin).await?);
    }
    for (name, scope, cumulo_plan) in scenarios {
        if on(name) {
            let same = cumulo_plan.clone();
            // The bare server takes the same body and answers as many bytes as the path says.
            let bare_plan: Plan = Arc::new(move |i, last| Call {
                path: "/200".into(),
                ..same(i, last)
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

fn text() -> String {
    "x".repeat(PAYLOAD)
}

fn queue_url(name: &str) -> String {
    format!("http://localhost:4566/000000000000/{name}")
}

/// Makes a queue; its URL.
pub async fn queue(admin: &mut Connection, name: &str) -> Outcome<String> {
    let input = json!({ "QueueName": name });
    admin
        .expect("sqs", call("AmazonSQS.CreateQueue", &input))
        .await?;
    Ok(queue_url(name))
}

async fn queue_scenarios(admin: &mut Connection) -> Outcome<[Scenario; 2]> {
    let sent = queue(admin, "bench").await?;
    let cycled = queue(admin, "cycle").await?;
    let send = plan(
        "AmazonSQS.SendMessage",
        move |_| json!({ "QueueUrl": sent, "MessageBody": text() }),
    );
    // Each connection sends, receives and deletes in turns, so that a message is always there.
    let cycle: Plan = Arc::new(move |i, last| match handle(last) {
        _ if i % 3 == 0 => call(
            "AmazonSQS.SendMessage",
            &json!({ "QueueUrl": cycled, "MessageBody": text() }),
        ),
        Some(handle) if i % 3 == 2 => call(
            "AmazonSQS.DeleteMessage",
            &json!({ "QueueUrl": cycled, "ReceiptHandle": handle }),
        ),
        _ => call("AmazonSQS.ReceiveMessage", &json!({ "QueueUrl": cycled })),
    });
    Ok([("sqs-send", "sqs", send), ("sqs-cycle", "sqs", cycle)])
}

/// The receipt handle in an answer: found, not parsed, for the generator's time counts on both sides.
fn handle(answer: &Bytes) -> Option<&str> {
    let text = std::str::from_utf8(answer).ok()?;
    let after = text.split_once("\"ReceiptHandle\":\"")?.1;
    Some(after.split_once('"')?.0)
}

fn table_scenarios() -> [Scenario; 4] {
    let item = |i: u64| json!({ "pk": { "S": format!("k{}", i >> 32) }, "sk": { "N": (i % ITEMS).to_string() }, "text": { "S": text() } });
    let key = |i: u64| json!({ "pk": { "S": format!("k{}", i >> 32) }, "sk": { "N": (i % ITEMS).to_string() } });
    let put = plan(
        "DynamoDB_20120810.PutItem",
        move |i| json!({ "TableName": "bench", "Item": item(i) }),
    );
    let get = plan(
        "DynamoDB_20120810.GetItem",
        move |i| json!({ "TableName": "bench", "Key": key(i) }),
    );
    let query = plan("DynamoDB_20120810.Query", |i| {
        json!({
            "TableName": "bench",
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": format!("k{}", i >> 32) } },
        })
    });
    let transact = plan("DynamoDB_20120810.TransactWriteItems", move |i| {
        json!({ "TransactItems": [
            { "Put": { "TableName": "bench", "Item": item(i) } },
            { "Put": { "TableName": "bench", "Item": item(i + 1) } },
        ] })
    });
    [
        ("dynamodb-put", "dynamodb", put),
        ("dynamodb-get", "dynamodb", get),
        ("dynamodb-query", "dynamodb", query),
        ("dynamodb-transact", "dynamodb", transact),
    ]
}

async fn stream_scenarios(admin: &mut Connection) -> Outcome<[Scenario; 2]> {
    for (name, shards) in [("bench", 4), ("read", 1)] {
        let input = json!({ "StreamName": name, "ShardCount": shards });
        admin
            .expect("kinesis", call("Kinesis_20131202.CreateStream", &input))
            .await?;
    }
    for i in 0..ITEMS {
        let input = json!({ "StreamName": "read", "PartitionKey": i.to_string(), "Data": text() });
        admin
            .expect("kinesis", call("Kinesis_20131202.PutRecord", &input))
            .await?;
    }
    let start = json!({
        "StreamName": "read",
        "ShardId": "shardId-000000000000",
        "ShardIteratorType": "TRIM_HORIZON",
    });
    let answer = admin
        .expect("kinesis", call("Kinesis_20131202.GetShardIterator", &start))
        .await?;
    let iterator = serde_json::from_slice::<Value>(&answer)?["ShardIterator"].clone();
    let put = plan(
        "Kinesis_20131202.PutRecord",
        move |i| json!({ "StreamName": "bench", "PartitionKey": i.to_string(), "Data": text() }),
    );
    let get = plan(
        "Kinesis_20131202.GetRecords",
        move |_| json!({ "ShardIterator": iterator, "Limit": ITEMS }),
    );
    Ok([
        ("kinesis-put", "kinesis", put),
        ("kinesis-get", "kinesis", get),
    ])
}

async fn topic_scenarios(admin: &mut Connection) -> Outcome<[Scenario; 2]> {
    let arn =
        |service: &str, name: &str| format!("arn:aws:{service}:us-east-1:000000000000:{name}");
    for topic in ["bench", "fan"] {
        admin
            .expect("sns", form(&[("Action", "CreateTopic"), ("Name", topic)]))
            .await?;
    }
    for n in 0..FAN {
        let name = format!("fan-{n}");
        let url = queue(admin, &name).await?;
        let policy = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "sns.amazonaws.com" },
            "Action": "sqs:SendMessage",
            "Resource": arn("sqs", &name),
        }] });
        let let_in = json!({ "QueueUrl": url, "Attributes": { "Policy": policy.to_string() } });
        admin
            .expect("sqs", call("AmazonSQS.SetQueueAttributes", &let_in))
            .await?;
        let subscription = form(&[
            ("Action", "Subscribe"),
            ("TopicArn", &arn("sns", "fan")),
            ("Protocol", "sqs"),
            ("Endpoint", &arn("sqs", &name)),
        ]);
        admin.expect("sns", subscription).await?;
    }
    let publish = |topic: &str| -> Plan {
        let topic = arn("sns", topic);
        Arc::new(move |_, _| {
            form(&[
                ("Action", "Publish"),
                ("TopicArn", &topic),
                ("Message", &text()),
            ])
        })
    };
    Ok([
        ("sns-publish", "sns", publish("bench")),
        ("sns-fan-out-10", "sns", publish("fan")),
    ])
}

async fn table(admin: &mut Connection) -> Outcome {
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

/// A call of the JSON protocols.
pub fn call(target: &'static str, input: &Value) -> Call {
    Call {
        method: Method::POST,
        path: "/".into(),
        kind: Kind::Json(target),
        body: Bytes::from(input.to_string()),
    }
}

fn form(fields: &[(&str, &str)]) -> Call {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields);
    Call {
        method: Method::POST,
        path: "/".into(),
        kind: Kind::Form,
        body: Bytes::from(body.finish()),
    }
}

fn plan(target: &'static str, input: impl Fn(u64) -> Value + Send + Sync + 'static) -> Plan {
    Arc::new(move |i, _| call(target, &input(i)))
}
