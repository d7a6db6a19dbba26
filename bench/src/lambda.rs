//! Functions: warm and cold, beside the bare server and the bare interpreter.

use std::io::{Cursor, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::Outcome;
use crate::json;
use crate::load::{self, Call, Connection, Kind, Plan};
use crate::target::Target;

const TRIVIAL: &str = "def handler(event, context):\n    return event\n";
const BOTO3: &str = "import boto3\ndef handler(event, context):\n    return event\n";
/// Says how old, in milliseconds, the messages are that it gets.
const CONSUMER: &str = r#"
import time
def handler(event, context):
    now = time.time()
    for record in event["Records"]:
        print("took", (now - float(record["body"])) * 1000)
"#;
const COLD_STARTS: usize = 9;

/// Prints warm p50, and cold starts as shares of the interpreter's own.
pub async fn run(bare: &Target, cumulo: &Target) -> Outcome {
    create(cumulo, "warm", TRIVIAL).await?;
    let invoke = |name: String| -> Plan {
        Arc::new(move |_, _| Call {
            method: Method::POST,
            path: format!("/2015-03-31/functions/{name}/invocations"),
            kind: Kind::Rest,
            body: Bytes::from_static(b"{}"),
        })
    };
    load::median_ms(cumulo, 20, "lambda", &invoke("warm".into())).await?;
    let warm = load::median_ms(cumulo, 500, "lambda", &invoke("warm".into())).await?;
    let none: Plan = Arc::new(|_, _| Call {
        method: Method::POST,
        path: "/2".into(),
        kind: Kind::Rest,
        body: Bytes::from_static(b"{}"),
    });
    let reference = load::median_ms(bare, 500, "lambda", &none).await?;
    println!(
        "lambda-warm            p50 {warm:.2} ms, bare {reference:.2} ms, difference {:.2} ms",
        warm - reference
    );
    for (kind, code, script) in [
        ("trivial", TRIVIAL, "pass"),
        ("boto3", BOTO3, "import boto3"),
    ] {
        let (mut cold, mut python) = (Vec::new(), Vec::new());
        for i in 0..=COLD_STARTS {
            let name = format!("cold-{kind}-{i}");
            create(cumulo, &name, code).await?;
            let took = load::median_ms(cumulo, 1, "lambda", &invoke(name)).await?;
            let started = Instant::now();
            let status = std::process::Command::new(interpreter())
                .args(["-c", script])
                .status()?;
            // The first one warms the fork server and the page cache.
            if i > 0 && status.success() {
                cold.push(took);
                python.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        let (cold, python) = (load::median(cold), load::median(python));
        println!(
            "lambda-cold-{kind:<10} p50 {cold:.1} ms, python3 -c '{script}' {python:.1} ms, ratio {:.2}",
            cold / python
        );
    }
    Ok(())
}

/// Prints how long after its sending a message is before the function that a mapping joins to its queue.
pub async fn mapping(cumulo: &Target) -> Outcome {
    const MESSAGES: usize = 200;
    const GROUP: &str = "/aws/lambda/consumer";
    create(cumulo, "consumer", CONSUMER).await?;
    let mut admin = Connection::open(cumulo.port).await?;
    let queue = json::queue(&mut admin, "work").await?;
    let mapped = json!({
        "FunctionName": "consumer",
        "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:work",
    });
    let path = "/2015-03-31/event-source-mappings/";
    let body = Bytes::from(mapped.to_string());
    let (status, text) = admin.send(Method::POST, path, "lambda", body).await?;
    if status != 202 {
        return Err(format!("mapping: {status} {}", String::from_utf8_lossy(&text)).into());
    }
    let mut took: Vec<f64> = Vec::new();
    for n in 0..MESSAGES {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let message = json!({ "QueueUrl": queue, "MessageBody": now.as_secs_f64().to_string() });
        // Of each message there is one line, written after it was sent.
        let asked = json!({ "logGroupName": GROUP, "filterPattern": "took", "startTime": now.as_millis() as u64 });
        admin
            .expect("sqs", json::call("AmazonSQS.SendMessage", &message))
            .await?;
        // The next one is sent when this one has been through, as its log line tells.
        while took.len() <= n {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let call = json::call("Logs_20140328.FilterLogEvents", &asked);
            let (status, text) = admin.call("logs", call).await?;
            // There is no group before the first line.
            if status != 200 {
                continue;
            }
            let found: Value = serde_json::from_slice(&text)?;
            let line = found["events"][0]["message"].as_str();
            took.extend(line.and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok()));
        }
    }
    // The first ones find a cold function.
    let warm = took.split_off(10);
    println!(
        "sqs-to-lambda          p50 {:.2} ms from sending to the handler",
        load::median(warm)
    );
    Ok(())
}

/// The interpreter itself: a version manager's shim would flatter us.
fn interpreter() -> String {
    let asked = std::process::Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output();
    asked
        .ok()
        .and_then(|o| String::from_utf8(o.stdout).ok())
        .map_or_else(|| "python3".into(), |s| s.trim().to_owned())
}

async fn create(cumulo: &Target, name: &str, code: &str) -> Outcome {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file("handler.py", zip::write::SimpleFileOptions::default())?;
    archive.write_all(code.as_bytes())?;
    let input = json!({
        "FunctionName": name,
        "Runtime": "python3.11",
        "Handler": "handler.handler",
        "Role": "arn:aws:iam::000000000000:role/bench",
        "MemorySize": 1769,
        "Code": { "ZipFile": STANDARD.encode(archive.finish()?.into_inner()) },
    });
    let mut connection = Connection::open(cumulo.port).await?;
    let body = Bytes::from(input.to_string());
    let (status, text) = connection
        .send(Method::POST, "/2015-03-31/functions", "lambda", body)
        .await?;
    if status != 201 {
        return Err(format!(
            "function {name}: {status} {}",
            String::from_utf8_lossy(&text)
        )
        .into());
    }
    loop {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        let (_, text) = connection
            .send(Method::GET, &path, "lambda", Bytes::new())
            .await?;
        let state: Value = serde_json::from_slice(&text)?;
        if state["State"] != "Pending" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
