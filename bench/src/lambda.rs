//! Functions: warm and cold, beside the bare server and the bare interpreter.

use std::io::{Cursor, Write};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;

use crate::Outcome;
use crate::load::{self, Call, Connection, Plan};
use crate::target::Target;

const TRIVIAL: &str = "def handler(event, context):\n    return event\n";
const BOTO3: &str = "import boto3\ndef handler(event, context):\n    return event\n";
const COLD_STARTS: usize = 9;

/// Prints warm p50, and cold starts as shares of the interpreter's own.
pub async fn run(bare: &Target, cumulo: &Target) -> Outcome {
    create(cumulo, "warm", TRIVIAL).await?;
    let invoke = |name: String| -> Plan {
        Arc::new(move |_| Call {
            method: Method::POST,
            path: format!("/2015-03-31/functions/{name}/invocations"),
            target: None,
            body: Bytes::from_static(b"{}"),
        })
    };
    load::median_ms(cumulo, 20, "lambda", &invoke("warm".into())).await?;
    let warm = load::median_ms(cumulo, 500, "lambda", &invoke("warm".into())).await?;
    let none: Plan = Arc::new(|_| Call {
        method: Method::POST,
        path: "/2".into(),
        target: None,
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
    let input = serde_json::json!({
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
        let state: serde_json::Value = serde_json::from_slice(&text)?;
        if state["State"] != "Pending" {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
