//! Function URLs, streamed answers, and bootstraps that are not Python.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, wait, and look at files"
)]

mod region;

use region::Region;
use serde_json::{Value, json};

runtime::init_hook!();

const F: &str = "/2015-03-31/functions";

async fn url(region: &Region, name: &str, more: Value) -> String {
    let mut request = json!({ "AuthType": "NONE" });
    for (k, v) in more.as_object().into_iter().flatten() {
        request[k] = v.clone();
    }
    let made = region
        .call(
            "POST",
            &format!("/2021-10-31/functions/{name}/url"),
            request,
        )
        .await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    // Who did not say how it is invoked is not told either.
    assert_eq!(made.json()["InvokeMode"], more["InvokeMode"]);
    let url = made.json()["FunctionUrl"].as_str().unwrap().to_owned();
    url.trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned()
}

async fn open(region: &Region, name: &str) {
    let url = json!({ "StatementId": "url", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE" });
    let function = json!({ "StatementId": "function", "Action": "lambda:InvokeFunction", "Principal": "*", "InvokedViaFunctionUrl": true });
    for ask in [url, function] {
        let path = format!("{F}/{name}/policy");
        assert_eq!(region.call("POST", &path, ask).await.status, 201);
    }
}

const ECHO: &str = r#"
def handler(event, context):
    if event['rawPath'] == '/plain':
        return {'hello': 'world'}
    if event['rawPath'] == '/fail':
        raise ValueError('x')
    return {'statusCode': 201, 'headers': {'x-a': 'b', 'content-type': 'text/plain'}, 'cookies': ['a=1', 'b=2'],
            'body': event['requestContext']['http']['method'] + ' ' + event['body'] + ' ' + event['queryStringParameters']['q']}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_function_url_answers_http() {
    let region = Region::start().await;
    region.python("f", ECHO, Value::Null).await;
    let cors = json!({ "Cors": { "AllowOrigins": ["https://a.example"], "AllowMethods": ["*"], "MaxAge": 60 } });
    let host = url(&region, "f", cors).await;
    let headers = [("host", host.as_str()), ("content-type", "text/plain")];
    let refused = region.send("POST", "/p?q=1&q=2", &headers, "body").await;
    let text = refused.json()["Message"].as_str().unwrap().to_owned();
    assert!(text.starts_with("Forbidden. For troubleshooting"), "{text}");
    let kind = Some("AccessDeniedException");
    assert_eq!(
        (refused.status, refused.header("x-amzn-errortype")),
        (403, kind)
    );
    open(&region, "f").await;
    let answer = region.send("POST", "/p?q=1&q=2", &headers, "body").await;
    assert_eq!(
        (answer.status, &answer.body[..]),
        (201, &b"POST body 1,2"[..])
    );
    assert_eq!(answer.header("x-a"), Some("b"));
    assert_eq!(
        answer
            .headers
            .iter()
            .filter(|(k, _)| k == "Set-Cookie")
            .count(),
        2
    );
    let plain = region
        .send(
            "GET",
            "/plain",
            &[("host", &host), ("origin", "https://a.example")],
            "",
        )
        .await;
    assert_eq!(
        (plain.status, &plain.body[..]),
        (200, &br#"{"hello":"world"}"#[..])
    );
    assert_eq!(
        plain.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(
        region
            .send("GET", "/fail", &[("host", &host)], "")
            .await
            .status,
        502
    );
    let preflight = [
        ("host", host.as_str()),
        ("origin", "https://a.example"),
        ("access-control-request-method", "PUT"),
    ];
    let answer = region.send("OPTIONS", "/", &preflight, "").await;
    assert_eq!(
        (answer.status, answer.header("access-control-max-age")),
        (200, Some("60"))
    );
    assert_eq!(
        region
            .call("DELETE", "/2021-10-31/functions/f/url", Value::Null)
            .await
            .status,
        204
    );
    let gone = region.send("GET", "/plain", &[("host", &host)], "").await;
    assert_eq!(
        (gone.status, &gone.body[..]),
        (403, &br#"{"Message":null}"#[..])
    );
    assert_eq!(gone.header("x-amzn-errortype"), kind);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_url_needs_both_permissions() {
    let code = "def handler(event, context):\n    h = event['headers']\n    return [event['rawPath'], h['x-forwarded-proto'], h['x-forwarded-port'], 'connection' in h, h['x-amzn-trace-id'][:7]]\n";
    let region = Region::start().await;
    region.python("f", code, Value::Null).await;
    let host = url(&region, "f", Value::Null).await;
    let path = format!("{F}/f/policy");
    let get = async || {
        let headers = [("host", host.as_str()), ("connection", "keep-alive")];
        region.send("GET", "//a/b", &headers, "").await
    };
    let url = json!({ "StatementId": "url", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE" });
    region.call("POST", &path, url).await;
    assert_eq!(get().await.status, 403);
    let function = json!({ "StatementId": "function", "Action": "lambda:InvokeFunction", "Principal": "*", "InvokedViaFunctionUrl": true });
    region.call("POST", &path, function).await;
    let answer = get().await;
    let port = host.rsplit_once(':').unwrap().1;
    assert_eq!(
        answer.json(),
        json!(["/a/b", "http", port, false, "Root=1-"])
    );
}

/// Tests need no more than Python; with Node.js on the host they go further.
fn has_node() -> bool {
    std::process::Command::new("node")
        .arg("--version")
        .output()
        .is_ok()
}

const NODE: &str = r#"
exports.handler = async (event, context) => {
  console.log("saw", event, "\nin two lines");
  if (event.fail) throw new TypeError("no good");
  return { event, name: context.functionName, left: context.getRemainingTimeInMillis() > 1000 };
};
exports.callback = (event, context, done) => setTimeout(() => done(null, "called"), 5);
exports.stream = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 202, headers: { "x-s": "t" } });
  stream.write("one ");
  stream.write("two");
  stream.end();
});
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_function_answers_fails_and_streams() {
    if !has_node() {
        eprintln!("skipped: no node");
        return;
    }
    let region = Region::start().await;
    let node = async |name: &str, handler: &str| {
        let more = json!({ "Runtime": "nodejs20.x", "Handler": handler });
        let made = region.create(name, &[("index.js", NODE)], more).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
    };
    node("f", "index.handler").await;
    let answer = region.invoke("f", json!({ "a": 1 })).await;
    assert_eq!(
        answer.json(),
        json!({ "event": { "a": 1 }, "name": "f", "left": true })
    );
    let log = region.logged("f", "REPORT").await;
    assert!(
        log.contains("\tINFO\tsaw { a: 1 } \nin two lines\n"),
        "{log}"
    );
    let failed = region.invoke("f", json!({ "fail": true })).await;
    let body = failed.json();
    assert_eq!(
        (&body["errorType"], &body["errorMessage"]),
        (&json!("TypeError"), &json!("no good"))
    );
    assert!(
        body["trace"][0] == "TypeError: no good"
            && failed.header("x-amz-function-error") == Some("Unhandled")
    );
    node("callback", "index.callback").await;
    assert_eq!(region.invoke("callback", json!({})).await.json(), "called");
    node("missing", "nothing.handler").await;
    assert_eq!(
        region.invoke("missing", json!({})).await.json()["errorType"],
        "Runtime.ImportModuleError"
    );
    node("s", "index.stream").await;
    let host = url(&region, "s", json!({ "InvokeMode": "RESPONSE_STREAM" })).await;
    open(&region, "s").await;
    let answer = region.send("GET", "/", &[("host", &host)], "").await;
    assert_eq!(
        (answer.status, answer.header("x-s"), &answer.body[..]),
        (202, Some("t"), &b"one two"[..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_stream_is_an_event_stream() {
    let region = Region::start().await;
    region
        .python("f", "def handler(e, c):\n    return e\n", Value::Null)
        .await;
    let path = "/2021-11-15/functions/f/response-streaming-invocations";
    let answer = region.call("POST", path, json!({ "a": 1 })).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let mut bytes = bytes::BytesMut::from(&answer.body[..]);
    let mut events = Vec::new();
    while let Some(message) = wire::event_stream::Message::parse(&mut bytes).unwrap() {
        events.push((
            message.header(":event-type").unwrap_or_default().to_owned(),
            message.payload,
        ));
    }
    assert_eq!(
        events[0],
        ("PayloadChunk".into(), bytes::Bytes::from("{\"a\": 1}"))
    );
    assert_eq!(events[1].0, "InvokeComplete");
}

const BOOTSTRAP: &str = r#"#!/usr/bin/python3
import json, os, urllib.request
base = 'http://' + os.environ['AWS_LAMBDA_RUNTIME_API'] + '/2018-06-01/runtime/'
while True:
    with urllib.request.urlopen(base + 'invocation/next') as got:
        identity, event = got.headers['Lambda-Runtime-Aws-Request-Id'], json.load(got)
    print('handles', identity)
    word = 'error' if event.get('fail') else 'response'
    body = json.dumps({'errorType': 'Own', 'errorMessage': 'm'} if event.get('fail') else {'own': event})
    urllib.request.urlopen(base + 'invocation/' + identity + '/' + word, body.encode()).close()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_of_the_functions_own_speaks_the_runtime_api() {
    let region = Region::start().await;
    let more = json!({ "Runtime": "provided.al2023", "Handler": "x" });
    region
        .create("f", &[("bootstrap", BOOTSTRAP)], more.clone())
        .await;
    for n in 0..2 {
        let answer = region.invoke("f", json!({ "n": n })).await;
        assert_eq!(
            answer.json(),
            json!({ "own": { "n": n } }),
            "{}",
            region.log_of("f")
        );
    }
    let failed = region.invoke("f", json!({ "fail": 1 })).await;
    assert_eq!(
        (
            failed.header("x-amz-function-error"),
            &failed.json()["errorType"]
        ),
        (Some("Unhandled"), &json!("Own"))
    );
    region.create("none", &[("x", "y")], more).await;
    let body = region.invoke("none", json!({})).await.json();
    assert_eq!(body["errorType"], "Runtime.InvalidEntrypoint");
    assert!(
        body["errorMessage"]
            .as_str()
            .unwrap()
            .contains("Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]")
    );
}
