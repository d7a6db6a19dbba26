//! Functions that run: answers, errors, limits, logs.
#![allow(clippy::unwrap_used)]

mod region;

use region::Region;
use serde_json::{Value, json};

runtime::init_hook!();

const ECHO: &str = "def handler(event, context):\n    print('got', event)\n    return {'event': event, 'name': context.function_name}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_function_answers_and_logs() {
    let region = Region::start().await;
    let created = region.python("echo", ECHO, Value::Null).await;
    assert_eq!(created.status, 201, "{:?}", created.body);
    assert_eq!(created.json()["State"], "Pending");
    let shown = region
        .call("GET", "/2015-03-31/functions/echo", Value::Null)
        .await
        .json();
    assert_eq!(shown["Configuration"]["State"], "Active");
    let answer = region
        .invoke_with("echo", &[("x-amz-log-type", "Tail")], json!({ "a": 1 }))
        .await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(
        answer.json(),
        json!({ "event": { "a": 1 }, "name": "echo" })
    );
    assert_eq!(answer.header("x-amz-executed-version"), Some("$LATEST"));
    let tail = answer.tail();
    let parts = [
        "START RequestId: ",
        "got {'a': 1}\n",
        "END RequestId: ",
        "REPORT RequestId: ",
        "Memory Size: 512 MB",
        "Init Duration: ",
    ];
    for part in parts {
        assert!(tail.contains(part), "{tail}");
    }
    let log = region.logged("echo", "REPORT").await;
    assert!(
        log.starts_with("INIT_START Runtime Version: python:3.11"),
        "{log}"
    );
}
