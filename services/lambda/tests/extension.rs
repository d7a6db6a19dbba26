//! Extensions beside a function's runtime, scripts that start it, and what both see.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and wait"
)]

mod region;

use region::Region;
use serde_json::{Value, json};

runtime::init_hook!();

/// An extension that says what it is told, and does what the function's variables ask for.
const AGENT: &str = r#"#!/usr/bin/env python3
import json, os, sys, urllib.request
base = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"]
def call(path, body=None, **headers):
    headers = {"Lambda-Extension-" + k.replace("_", "-"): v for k, v in headers.items()}
    return urllib.request.urlopen(urllib.request.Request(base + path, body, headers))
if os.environ.get("AGENT") == "falls":
    sys.exit(7)
answer = call("/2020-01-01/extension/register", json.dumps({"events": ["INVOKE", "SHUTDOWN"]}).encode(),
              Name=os.path.basename(sys.argv[0]), Accept_Feature="accountId")
me = answer.headers["Lambda-Extension-Identifier"]
if os.environ.get("AGENT") == "listens":
    import http.server, threading
    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            for event in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
                heard.append([event["type"], event["record"], event["time"]])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
        def log_message(self, *_):
            pass
    heard = []
    server = http.server.ThreadingHTTPServer(("sandbox.localdomain", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wanted = {"schemaVersion": "2022-12-13", "types": ["platform", "function", "extension"], "buffering": {"timeoutMs": 25, "maxBytes": 262144, "maxItems": 1000},
              "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:%d/" % server.server_port}}
    request = urllib.request.Request(base + "/2022-07-01/telemetry", json.dumps(wanted).encode(), {"Lambda-Extension-Identifier": me}, method="PUT")
    print("agent: subscribed", urllib.request.urlopen(request).read().decode(), flush=True)
print("agent: registered", json.dumps(json.load(answer), sort_keys=True), flush=True)
while True:
    event = json.load(call("/2020-01-01/extension/event/next", Identifier=me))
    print("agent:", event["eventType"], event.get("requestId", event.get("shutdownReason")), flush=True)
    if event["eventType"] == "SHUTDOWN":
        if os.environ.get("AGENT") == "listens":
            print("agent: heard", json.dumps(heard), flush=True)
        break
    if os.environ.get("AGENT") == "crashes":
        os._exit(3)
    if os.environ.get("AGENT") == "exits":
        call("/2020-01-01/extension/exit/error", b"{}", Identifier=me, Function_Error_Type="Agent.Tired")
print("agent: done", flush=True)
"#;

const APP: &str = r#"
import os, signal, sys
def ends(*_):
    print("runtime: TERM", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, ends)
def handler(event, context):
    return {"id": context.aws_request_id, "wrapped": os.environ.get("WRAPPED"), "api": bool(os.environ.get("AWS_LAMBDA_RUNTIME_API"))}
"#;

fn with(layer: &str, variables: Value) -> Value {
    json!({ "Layers": [layer], "Environment": { "Variables": variables } })
}

fn asked(kind: &str) -> Value {
    json!({ "AGENT": kind })
}

#[tokio::test]
async fn an_extension_hears_of_invocations_and_of_the_end() {
    let sandboxed = Region::start().await;
    hears(&sandboxed).await;
    let scratch = tempfile::tempdir().unwrap();
    let plain = Region::with(store::Options::default(), scratch, "process").await;
    hears(&plain).await;
}

async fn hears(region: &Region) {
    let layer = region.layer("agent", &[("extensions/agent", AGENT)]).await;
    let made = region.python("f", APP, with(&layer, json!({}))).await;
    assert_eq!(made.status, 201);
    for _ in 0..2 {
        let answer = region.invoke("f", json!({})).await.json();
        let id = answer["id"].as_str().unwrap();
        region.logged("f", &format!("agent: INVOKE {id}")).await;
        region.logged("f", &format!("REPORT RequestId: {id}")).await;
    }
    let log = region.log_of("f");
    let ready = "EXTENSION\tName: agent\tState: Ready\tEvents: [INVOKE,SHUTDOWN]";
    assert_eq!(log.matches(ready).count(), 1, "{log}");
    let told = r#"{"accountId": "000000000000", "functionName": "f", "functionVersion": "$LATEST", "handler": "app.handler"}"#;
    assert!(log.contains(&format!("agent: registered {told}")), "{log}");
    region
        .call("DELETE", "/2015-03-31/functions/f", Value::Null)
        .await;
    region.logged("f", "agent: SHUTDOWN spindown").await;
    let log = region.logged("f", "agent: done").await;
    assert!(log.contains("runtime: TERM"), "{log}");
}

#[tokio::test]
async fn an_extension_hears_what_happens_and_what_is_printed() {
    let app = "def handler(event, context):\n    print('hello', event)\n    return 1\n";
    let region = Region::start().await;
    let layer = region.layer("agent", &[("extensions/agent", AGENT)]).await;
    region
        .python("f", app, with(&layer, asked("listens")))
        .await;
    for n in 0..2 {
        assert_eq!(region.invoke("f", json!({ "n": n })).await.json(), 1);
    }
    region.logged_times("f", "REPORT", 2).await;
    region
        .call("DELETE", "/2015-03-31/functions/f", Value::Null)
        .await;
    let log = region.logged("f", "agent: done").await;
    assert!(log.contains("agent: subscribed \"OK\""), "{log}");
    let heard = log.lines().find_map(|l| l.strip_prefix("agent: heard "));
    let heard: Vec<(String, Value, String)> = serde_json::from_str(heard.unwrap()).unwrap();
    let kinds: Vec<&str> = heard.iter().map(|(kind, ..)| kind.as_str()).collect();
    let is_line = |kind: &str, text: &str| {
        heard
            .iter()
            .filter(|(k, record, _)| k == kind && record.as_str() == Some(text))
            .count()
    };
    assert_eq!(kinds[0], "platform.initStart", "{log}");
    for (kind, times) in [
        ("platform.telemetrySubscription", 1),
        ("platform.initRuntimeDone", 1),
        ("platform.initReport", 1),
        ("platform.start", 2),
        ("platform.runtimeDone", 2),
        ("platform.report", 2),
    ] {
        assert_eq!(
            kinds.iter().filter(|k| **k == kind).count(),
            times,
            "{kind}: {log}"
        );
    }
    assert_eq!(is_line("function", "hello {'n': 1}\n"), 1, "{log}");
    assert_eq!(
        is_line("extension", "agent: subscribed \"OK\"\n"),
        1,
        "{log}"
    );
}

#[tokio::test]
async fn an_extension_that_fails_takes_its_environment_along() {
    let region = Region::start().await;
    let layer = region.layer("agent", &[("extensions/agent", AGENT)]).await;
    for (kind, code) in [("falls", "7"), ("crashes", "3")] {
        region.python(kind, APP, with(&layer, asked(kind))).await;
        let mut answer = region.invoke(kind, json!({})).await;
        if kind == "crashes" && answer.header("x-amz-function-error").is_none() {
            // The runtime was quicker; it is the environment's last answer all the same.
            region.logged(kind, "Error Type: Extension.Crash").await;
            answer = region.invoke(kind, json!({})).await;
        }
        if kind == "falls" {
            assert_eq!(answer.header("x-amz-function-error"), Some("Unhandled"));
            let error = answer.json();
            assert_eq!(error["errorType"], "Extension.Crash");
            let text = error["errorMessage"].as_str().unwrap();
            assert!(
                text.ends_with(&format!("Error: exit code {code}")),
                "{text}"
            );
        }
    }
    region
        .python("exits", APP, with(&layer, asked("exits")))
        .await;
    region.invoke("exits", json!({})).await;
    region.logged("exits", "Extension.ExitError").await;
}

#[tokio::test]
async fn a_bootstrap_of_the_functions_own_has_extensions_too() {
    let bootstrap = r#"#!/usr/bin/env python3
import os, urllib.request
base = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    answer = urllib.request.urlopen(base + "next")
    urllib.request.urlopen(base + answer.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", b'"done"')
"#;
    let region = Region::start().await;
    let layer = region.layer("agent", &[("extensions/agent", AGENT)]).await;
    let more = json!({ "Runtime": "provided.al2023", "Layers": [layer] });
    region.create("f", &[("bootstrap", bootstrap)], more).await;
    assert_eq!(region.invoke("f", json!({})).await.json(), "done");
    region.logged("f", "agent: INVOKE").await;
}

#[tokio::test]
async fn a_script_starts_the_runtime_where_the_function_names_one() {
    let script = "#!/bin/bash\nexport WRAPPED=\"$(basename \"$1\")\"\nexec \"$@\"\n";
    let region = Region::start().await;
    let layer = region
        .layer(
            "agent",
            &[("extensions/agent", AGENT), ("wrap/bootstrap", script)],
        )
        .await;
    let variables = json!({ "AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap/bootstrap" });
    region.python("f", APP, with(&layer, variables)).await;
    let answer = region.invoke("f", json!({})).await.json();
    let wrapped = answer["wrapped"].as_str().unwrap_or_default();
    assert!(wrapped.starts_with("python"), "{answer}");
    assert_eq!(answer["api"], true);

    let variables = json!({ "AWS_LAMBDA_EXEC_WRAPPER": "/opt/none" });
    region
        .python(
            "g",
            APP,
            json!({ "Environment": { "Variables": variables } }),
        )
        .await;
    let error = region.invoke("g", json!({})).await.json();
    assert_eq!(error["errorType"], "Runtime.ExitError");
    let text = error["errorMessage"].as_str().unwrap();
    assert!(
        text.ends_with("Runtime exited with error: exit status 127"),
        "{text}"
    );
    region.logged("g", "/opt/none: does not exist").await;
}

#[tokio::test]
async fn a_shell_script_finds_amazon_linuxs_shell() {
    let bootstrap = r#"#!/bin/sh
set -euo pipefail
base="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
words=(a b)
exec python3 -c 'import sys, urllib.request
base = sys.argv[1]
while True:
    answer = urllib.request.urlopen(base + "/next")
    id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
    urllib.request.urlopen(base + "/" + id + "/response", b"%d" % len(sys.argv))' "$base" "${words[@]}"
"#;
    let region = Region::start().await;
    let more = json!({ "Runtime": "provided.al2023" });
    region.create("f", &[("bootstrap", bootstrap)], more).await;
    assert_eq!(region.invoke("f", json!({})).await.json(), 4);
}

#[tokio::test]
async fn a_function_sees_the_variables_and_limits_that_aws_gives() {
    let app = r#"
import os, resource, sys
def handler(event, context):
    return {"env": dict(os.environ), "files": resource.getrlimit(resource.RLIMIT_NOFILE), "path": sys.path}
"#;
    let region = Region::start().await;
    region.python("f", app, json!({})).await;
    let answer = region.invoke("f", json!({})).await.json();
    let env = &answer["env"];
    assert_eq!(answer["files"], json!([1024, 1024]));
    assert_eq!(answer["path"][0], "/var/task");
    assert_eq!(env["PYTHONPATH"], "/var/runtime");
    assert_eq!(
        env["PATH"],
        "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
    );
    assert_eq!(env["PWD"], "/var/task");
    for name in ["HOME", "TMPDIR", "AWS_LAMBDA_LOG_FORMAT"] {
        assert_eq!(env[name], Value::Null, "{name}");
    }
    let trace = env["_X_AMZN_TRACE_ID"].as_str().unwrap();
    assert!(
        trace.starts_with("Root=1-") && trace.ends_with(";Sampled=0"),
        "{trace}"
    );
}
