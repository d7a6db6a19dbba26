//! Functions that run: answers, errors, limits, logs.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, wait, and look at files"
)]

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

const FAULTS: &str = r#"
import os, sys, time, logging
logger = logging.getLogger()
def handler(event, context):
    kind = event.get('kind')
    if kind == 'raise':
        raise ValueError('no such thing')
    if kind == 'exit':
        sys.exit(1)
    if kind == 'os_exit':
        os._exit(3)
    if kind == 'zero':
        os._exit(0)
    if kind == 'sleep':
        time.sleep(60)
    if kind == 'oom':
        block = bytearray(900 << 20)
        for i in range(0, len(block), 4096):
            block[i] = 1
    if kind == 'much':
        block = bytearray(300 << 20)
        for i in range(0, len(block), 4096):
            block[i] = 1
        time.sleep(30)
    if kind == 'tmp':
        with open('/tmp/big', 'wb') as f:
            for _ in range(300):
                f.write(bytes(1 << 20))
        time.sleep(0.2)
        return os.path.getsize('/tmp/big')
    if kind == 'set':
        return {1, 2}
    if kind == 'segv':
        import ctypes
        ctypes.string_at(0)
    if kind == 'log':
        print('one')
        logger.warning('two\nlines')
        sys.stdout.write('no newline')
        return None
    return {'pid': os.getpid(), 'count': count()}
n = 0
def count():
    global n
    n += 1
    return n
"#;

async fn faults(more: Value) -> Region {
    let region = Region::start().await;
    let created = region.python("faults", FAULTS, more).await;
    assert_eq!(created.status, 201, "{:?}", created.body);
    region
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_answered_as_pythons_runtime_answers_it() {
    let region = faults(Value::Null).await;
    let answer = region.invoke("faults", json!({ "kind": "raise" })).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-amz-function-error"), Some("Unhandled"));
    let body = answer.json();
    assert_eq!(
        (&body["errorType"], &body["errorMessage"]),
        (&json!("ValueError"), &json!("no such thing"))
    );
    let trace = body["stackTrace"][0].as_str().unwrap();
    assert!(
        trace.starts_with("  File \"/var/task/app.py\", line ")
            && trace.contains("in handler\n    raise ValueError"),
        "{trace}"
    );
    let log = region.logged("faults", "REPORT").await;
    assert!(
        log.contains("[ERROR] ValueError: no such thing\nTraceback (most recent call last):\n"),
        "{log}"
    );
    let set = region
        .invoke("faults", json!({ "kind": "set" }))
        .await
        .json();
    assert_eq!(set["errorType"], "Runtime.MarshalError");
    assert_eq!(
        set["errorMessage"],
        "Unable to marshal response: Object of type set is not JSON serializable"
    );
    assert_eq!(region.invoke("faults", json!({})).await.json()["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_is_an_exit_error_and_the_next_invocation_works() {
    let region = faults(Value::Null).await;
    let cases = [
        ("exit", "exit status 1"),
        ("os_exit", "exit status 3"),
        ("segv", "signal: segmentation fault"),
    ];
    for (kind, text) in cases {
        let answer = region.invoke("faults", json!({ "kind": kind })).await;
        assert_eq!(answer.header("x-amz-function-error"), Some("Unhandled"));
        let body = answer.json();
        assert_eq!(body["errorType"], "Runtime.ExitError");
        let message = body["errorMessage"].as_str().unwrap();
        assert!(
            message.starts_with("RequestId: ")
                && message.ends_with(&format!("Error: Runtime exited with error: {text}")),
            "{message}"
        );
    }
    let message = region
        .invoke("faults", json!({ "kind": "zero" }))
        .await
        .json()["errorMessage"]
        .clone();
    assert!(
        message
            .as_str()
            .unwrap()
            .ends_with("Error: Runtime exited without providing a reason"),
        "{message}"
    );
    assert_eq!(region.invoke("faults", json!({})).await.json()["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_takes_too_long_is_killed() {
    let region = faults(json!({ "Timeout": 1 })).await;
    let answer = region.invoke("faults", json!({ "kind": "sleep" })).await;
    assert_eq!(answer.header("x-amz-function-error"), Some("Unhandled"));
    let body = answer.json();
    assert_eq!(body["errorType"], "Sandbox.Timedout");
    assert!(
        body["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with(" Error: Task timed out after 1.00 seconds"),
        "{body}"
    );
    let log = region.logged("faults", "REPORT").await;
    assert!(
        log.contains("Task timed out after 1.00 seconds") && log.contains("Status: timeout"),
        "{log}"
    );
    assert_eq!(region.invoke("faults", json!({})).await.json()["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_takes_too_much_memory_is_killed() {
    let region =
        faults(json!({ "MemorySize": 128, "Timeout": 60, "EphemeralStorage": { "Size": 512 } }))
            .await;
    let answer = region.invoke("faults", json!({ "kind": "oom" })).await;
    let body = answer.json();
    assert_eq!(body["errorType"], "Runtime.ExitError");
    assert!(
        body["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("Error: Runtime exited with error: signal: killed"),
        "{body}"
    );
    let log = region.logged("faults", "REPORT").await;
    assert!(
        log.contains("Max Memory Used: 128 MB") && log.contains("Error Type: Runtime.OutOfMemory"),
        "{log}"
    );
    assert_eq!(region.invoke("faults", json!({})).await.json()["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_the_processes_own_and_what_lies_in_tmp_is_not_counted() {
    let region =
        faults(json!({ "MemorySize": 128, "Timeout": 60, "EphemeralStorage": { "Size": 512 } }))
            .await;
    let used = |log: &str| -> Vec<u32> {
        let parts = log.split("Max Memory Used: ").skip(1);
        parts
            .map(|p| p.split(' ').next().unwrap().parse().unwrap())
            .collect()
    };
    region.invoke("faults", json!({})).await;
    let log = region.logged("faults", "REPORT").await;
    // The interpreter's own pages count, shared with a fork server or not.
    assert!((6..80).contains(&used(&log)[0]), "{log}");
    let answer = region.invoke("faults", json!({ "kind": "tmp" })).await;
    assert_eq!(answer.json(), 300 << 20, "{}", region.log_of("faults"));
    let log = region.logged_times("faults", "REPORT", 2).await;
    assert!(used(&log)[1] < 80, "{log}");
    // More than the function's memory, and less than that and /tmp together.
    let body = region
        .invoke("faults", json!({ "kind": "much" }))
        .await
        .json();
    assert!(
        body["errorMessage"]
            .as_str()
            .unwrap()
            .ends_with("signal: killed"),
        "{body}"
    );
    let log = region.logged_times("faults", "REPORT", 3).await;
    assert_eq!(used(&log)[2], 128, "{log}");
    assert!(log.contains("Error Type: Runtime.OutOfMemory"), "{log}");
    assert_eq!(region.invoke("faults", json!({})).await.json()["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_used_again_and_others_are_made_in_parallel() {
    let region = faults(Value::Null).await;
    for n in 1..4 {
        assert_eq!(region.invoke("faults", json!({})).await.json()["count"], n);
    }
    // Frozen by now, and thawed for the next.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(region.invoke("faults", json!({})).await.json()["count"], 4);
    let code =
        "import time\ndef handler(e, c):\n    time.sleep(0.7)\n    return c.log_stream_name\n";
    region.python("slow", code, Value::Null).await;
    let (a, b, c) = tokio::join!(
        region.invoke("slow", json!(1)),
        region.invoke("slow", json!(2)),
        region.invoke("slow", json!(3))
    );
    let names = [a.json(), b.json(), c.json()];
    assert!(
        names[0] != names[1] && names[1] != names[2] && names[0] != names[2],
        "{names:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_into_the_log_in_its_order_and_records_stay_whole() {
    let region = faults(Value::Null).await;
    region.invoke("faults", json!({ "kind": "log" })).await;
    region.logged("faults", "REPORT").await;
    let all = region.logs.0.lock().clone();
    let at = |text: &str| {
        all.iter()
            .position(|(.., t)| t.contains(text))
            .unwrap_or_else(|| panic!("{text}: {all:?}"))
    };
    let two = at("two\nlines");
    assert!(all[two].2.starts_with("[WARNING]\t"), "{:?}", all[two]);
    assert!(
        at("START") < at("one")
            && at("one") < two
            && two < at("no newline")
            && at("no newline") < at("END")
    );
    assert!(all[0].1.contains("/[$LATEST]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_cannot_be_loaded_says_why() {
    let region = Region::start().await;
    let cases = [
        (
            "missing.handler",
            "x = 1\n",
            "Runtime.ImportModuleError",
            "Unable to import module 'missing': No module named 'missing'",
        ),
        (
            "app.nothing",
            "x = 1\n",
            "Runtime.HandlerNotFound",
            "Handler 'nothing' missing on module 'app'",
        ),
        (
            "app.handler",
            "def handler(:\n",
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'app': ",
        ),
        ("app.handler", "raise KeyError('k')\n", "KeyError", "'k'"),
    ];
    for (i, (handler, code, kind, text)) in cases.into_iter().enumerate() {
        let name = format!("bad{i}");
        region
            .python(&name, code, json!({ "Handler": handler }))
            .await;
        let answer = region.invoke(&name, json!({})).await;
        assert_eq!(answer.header("x-amz-function-error"), Some("Unhandled"));
        let body = answer.json();
        assert_eq!(body["errorType"], kind, "{body}");
        assert!(
            body["errorMessage"].as_str().unwrap().starts_with(text),
            "{body}"
        );
        let log = region.logged(&name, "REPORT").await;
        assert!(
            log.contains(&format!("[ERROR] {kind}: "))
                && log.contains("INIT_REPORT Init Duration: "),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_sees_its_own_world_and_nothing_else() {
    let region = Region::start().await;
    let code = r#"
import os
def tried(f):
    try:
        f()
        return 'done'
    except OSError as e:
        return type(e).__name__
def handler(event, context):
    return {
        'env': dict(os.environ), 'uid': os.getuid(), 'root': os.path.exists('/root/.bashrc'),
        'task': sorted(os.listdir('/var/task')), 'cwd': os.getcwd(),
        'write_task': tried(lambda: open('/var/task/x', 'w')), 'write_tmp': tried(lambda: open('/tmp/x', 'w').write('x')),
        'pids': len([p for p in os.listdir('/proc') if p.isdigit()]),
        'remaining': context.get_remaining_time_in_millis(), 'arn': context.invoked_function_arn,
        'memory': context.memory_limit_in_mb, 'id': context.aws_request_id,
        'custom': context.client_context.custom if context.client_context else None,
    }
"#;
    region
        .python(
            "world",
            code,
            json!({ "Environment": { "Variables": { "TABLE": "t", "TZ": "Europe/Madrid" } } }),
        )
        .await;
    use base64::Engine;
    let client = base64::engine::general_purpose::STANDARD.encode("{\"custom\":{\"a\":1}}");
    let answer = region
        .invoke_with("world", &[("x-amz-client-context", &client)], json!({}))
        .await;
    let body = answer.json();
    let env = &body["env"];
    assert_eq!(env["TABLE"], "t");
    assert_eq!(env["TZ"], "Europe/Madrid");
    assert_eq!(env["AWS_REGION"], "us-east-1");
    assert_eq!(env["AWS_ACCESS_KEY_ID"], "000000000000");
    assert_eq!(env["AWS_ENDPOINT_URL"], "http://localhost:4566");
    assert_eq!(env["_HANDLER"], "app.handler");
    assert_eq!(env["AWS_EXECUTION_ENV"], "AWS_Lambda_python3.11");
    assert!(env.get("CUMULO_EXTRA_PACKAGES").is_none());
    assert_eq!(
        (&body["memory"], &body["custom"]),
        (&json!("512"), &json!({ "a": 1 }))
    );
    assert_eq!(body["id"], answer.header("x-amzn-requestid").unwrap());
    assert_eq!(
        body["arn"],
        "arn:aws:lambda:us-east-1:000000000000:function:world"
    );
    assert!(
        (15_000..=20_000).contains(&body["remaining"].as_i64().unwrap()),
        "{body}"
    );
    if env["LAMBDA_TASK_ROOT"] == "/var/task" {
        assert_eq!(
            (&body["uid"], &body["root"], &body["task"]),
            (&json!(993), &json!(false), &json!(["app.py"]))
        );
        assert_eq!(
            (&body["write_task"], &body["write_tmp"], &body["cwd"]),
            (&json!("OSError"), &json!("done"), &json!("/var/task"))
        );
        assert!(body["pids"].as_i64().unwrap() <= 3, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_run_where_there_are_no_sandboxes_too() {
    let scratch = tempfile::tempdir().unwrap();
    let region = Region::with(store::Options::default(), scratch, "process").await;
    let code = "import tempfile\ndef handler(e, c):\n    with tempfile.TemporaryFile() as f:\n        f.write(b'x')\n    return e\n";
    region.python("f", code, Value::Null).await;
    for n in 0..2 {
        let answer = region.invoke("f", json!({ "n": n })).await;
        assert_eq!(answer.json(), json!({ "n": n }), "{}", region.log_of("f"));
    }
    let code = "import sys\ndef handler(e, c):\n    sys.exit(4)\n";
    region.python("exits", code, Value::Null).await;
    let body = region.invoke("exits", json!({})).await.json();
    let text = body["errorMessage"].as_str().unwrap();
    assert!(text.ends_with("exit status 4"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_may_log_json_into_a_group_of_its_own() {
    let region = Region::start().await;
    let code = "import logging\ndef handler(e, c):\n    logging.getLogger().info('quiet')\n    logging.getLogger().error('loud', extra={'n': 1})\n";
    let logging = json!({ "LoggingConfig": { "LogFormat": "JSON", "LogGroup": "own", "ApplicationLogLevel": "ERROR" } });
    let made = region.python("f", code, logging).await;
    assert_eq!(
        made.json()["LoggingConfig"]["SystemLogLevel"],
        "INFO",
        "{:?}",
        made.body
    );
    let id = region.invoke("f", json!({})).await;
    let id = id.header("x-amzn-requestid").unwrap();
    let mut records: Vec<Value> = Vec::new();
    for _ in 0..500 {
        let all = region.logs.0.lock().clone();
        records = all
            .iter()
            .filter(|(g, ..)| g == "own")
            .filter_map(|(.., t)| serde_json::from_str(t).ok())
            .collect();
        if records.iter().any(|r| r["type"] == "platform.report") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let kinds: Vec<&str> = records.iter().filter_map(|r| r["type"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "platform.initStart",
            "platform.start",
            "platform.runtimeDone",
            "platform.report"
        ]
    );
    let own: Vec<&Value> = records
        .iter()
        .filter(|r| r.get("level").is_some())
        .collect();
    assert_eq!(own.len(), 1, "{records:?}");
    assert_eq!(
        (&own[0]["message"], &own[0]["n"], &own[0]["requestId"]),
        (&json!("loud"), &json!(1), &json!(id))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_function_prints_is_logged_before_it_ends() {
    let region = Region::start().await;
    let code = "import time\ndef handler(e, c):\n    print('early')\n    time.sleep(30)\n";
    region.python("f", code, Value::Null).await;
    let waits = region.invoke_with("f", &[("x-amz-invocation-type", "Event")], json!({}));
    assert_eq!(waits.await.status, 202);
    let log = region.logged("f", "early").await;
    assert!(!log.contains("END RequestId"), "{log}");
}
