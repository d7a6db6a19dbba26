//! Functions in Java and Ruby. A language that the host lacks is not tested.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, wait, and look at files"
)]

mod region;

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use region::{Answer, Region};
use serde_json::{Value, json};

runtime::init_hook!();

fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--help").output().is_ok();
    if !there {
        eprintln!("{program} is not installed: not tested");
    }
    there
}

/// What a function's own aws-lambda-java-core brings.
const CORE: [(&str, &str); 6] = [
    (
        "Context",
        "public interface Context { String getAwsRequestId(); String getLogGroupName(); String getLogStreamName(); String getFunctionName(); \
         String getFunctionVersion(); String getInvokedFunctionArn(); CognitoIdentity getIdentity(); ClientContext getClientContext(); \
         int getRemainingTimeInMillis(); int getMemoryLimitInMB(); LambdaLogger getLogger(); }",
    ),
    (
        "LambdaLogger",
        "public interface LambdaLogger { void log(String message); void log(byte[] message); }",
    ),
    (
        "CognitoIdentity",
        "public interface CognitoIdentity { String getIdentityId(); String getIdentityPoolId(); }",
    ),
    (
        "ClientContext",
        "public interface ClientContext { java.util.Map<String, String> getCustom(); java.util.Map<String, String> getEnvironment(); }",
    ),
    (
        "RequestHandler",
        "public interface RequestHandler<I, O> { O handleRequest(I input, Context context); }",
    ),
    (
        "RequestStreamHandler",
        "public interface RequestStreamHandler { void handleRequest(java.io.InputStream in, java.io.OutputStream out, Context context) \
         throws java.io.IOException; }",
    ),
];

const HANDLERS: [(&str, &str); 3] = [
    (
        "example/Shop.java",
        r#"package example;
import com.amazonaws.services.lambda.runtime.*;
import java.util.*;
public class Shop implements RequestHandler<Shop.Order, Shop.Receipt> {
  public enum Kind { BOOK, GAME }
  public static class Item { private String name; private int count; private Kind kind;
    public void setName(String v) { name = v; } public void setCount(int v) { count = v; } public void setKind(Kind v) { kind = v; }
    public String getName() { return name; } }
  public static class Order { public List<Item> items; public Map<String, Double> prices; private final String who;
    public Order(String who) { this.who = who; } }
  public static class Receipt { private final double total; private final String id; Receipt(double t, String i) { total = t; id = i; }
    public double getTotal() { return total; } public String getRequestId() { return id; } public boolean isPaid() { return false; } }
  public Receipt handleRequest(Order order, Context context) {
    context.getLogger().log("order of " + order.who + "\nof " + order.items.size());
    System.out.print("unended");
    double total = 0;
    for (Item item : order.items) total += item.count * order.prices.get(item.name);
    return new Receipt(total, context.getAwsRequestId());
  }
}"#,
    ),
    (
        "example/Plain.java",
        r#"package example;
import com.amazonaws.services.lambda.runtime.*;
import java.util.*;
public class Plain implements RequestStreamHandler {
  static int count;
  public void handleRequest(java.io.InputStream in, java.io.OutputStream out, Context context) throws java.io.IOException {
    int c; while ((c = in.read()) >= 0) out.write(Character.toUpperCase(c));
  }
  public Map<String, Object> map(Map<String, Object> event, Context context) {
    event.put("count", ++count); event.put("left", context.getRemainingTimeInMillis() > 1000);
    event.put("custom", context.getClientContext() == null ? null : context.getClientContext().getCustom());
    event.put("memory", context.getMemoryLimitInMB());
    return event;
  }
  public String text(String event) { return event + "!"; }
  public static int sum(List<Integer> all) { int sum = 0; for (int one : all) sum += one; return sum; }
  public void nothing() {}
  public Object fails(Object event) { throw new IllegalStateException("no such thing"); }
  public Object exits(Object event) { System.exit(3); return null; }
  public Object hoards(Object event) { List<long[]> all = new ArrayList<>(); while (true) all.add(new long[1 << 20]); }
  public String property(String name) { return System.getProperty(name); }
}"#,
    ),
    (
        "example/Broken.java",
        "package example;\npublic class Broken {\n  public Broken() { throw new IllegalArgumentException(\"not today\"); }\n  \
         public String run(String s) { return s; }\n}",
    ),
];

/// A zip file of the compiled handlers.
fn java_zip() -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let core = "com/amazonaws/services/lambda/runtime";
    let mut sources = Vec::new();
    let mut write = |name: String, text: String| {
        let path = place.path().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        sources.push(path);
    };
    for (name, text) in CORE {
        let package = core.replace('/', ".");
        write(
            format!("{core}/{name}.java"),
            format!("package {package}; {text}"),
        );
    }
    for (name, text) in HANDLERS {
        write(name.to_owned(), text.to_owned());
    }
    let out = place.path().join("out");
    let compiled = Command::new("javac")
        .args(["--release", "8", "-nowarn", "-d"])
        .arg(&out)
        .args(&sources)
        .output()
        .unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    // The library in a jar of its own, as functions are packed.
    let jar = place.path().join("core.jar");
    let packed = Command::new("jar")
        .arg("cf")
        .arg(&jar)
        .arg("-C")
        .arg(&out)
        .arg("com")
        .status()
        .unwrap();
    assert!(packed.success());
    let mut files = vec![("lib/core.jar".to_owned(), std::fs::read(&jar).unwrap())];
    for entry in std::fs::read_dir(out.join("example")).unwrap() {
        let path = entry.unwrap().path();
        let name = Path::new("example").join(path.file_name().unwrap());
        files.push((name.display().to_string(), std::fs::read(path).unwrap()));
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, c)| (n.as_str(), &c[..])).collect();
    region::zip_bytes(&files)
}

async fn make(region: &Region, name: &str, runtime: &str, handler: &str, zip: &[u8]) {
    let code = json!({ "ZipFile": STANDARD.encode(zip) });
    let request = json!({ "FunctionName": name, "Runtime": runtime, "Handler": handler, "MemorySize": 512, "Timeout": 30,
        "Role": "arn:aws:iam::000000000000:role/lambda-role", "Code": code });
    let made = region.call("POST", "/2015-03-31/functions", request).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
}

fn error(answer: &Answer) -> (String, String) {
    assert_eq!(
        answer.header("x-amz-function-error"),
        Some("Unhandled"),
        "{:?}",
        answer.body
    );
    let body = answer.json();
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    (text("errorType"), text("errorMessage"))
}

#[tokio::test(flavor = "multi_thread")]
async fn java_handlers_of_every_form_answer() {
    if !is_there("javac") {
        return;
    }
    let region = Region::start().await;
    let zip = java_zip();
    make(&region, "shop", "java17", "example.Shop", &zip).await;
    let order = json!({ "who": "me", "unknown": 1, "prices": { "a": 1.5, "b": 2 },
        "items": [{ "name": "a", "count": 2, "kind": "BOOK" }, { "Name": "b", "count": 1 }] });
    let answer = region.invoke("shop", order).await;
    let id = answer.header("x-amzn-requestid").unwrap();
    assert_eq!(
        answer.json(),
        json!({ "total": 5.0, "requestId": id, "paid": false }),
        "{}",
        region.log_of("shop")
    );
    region.logged("shop", "REPORT").await;
    let all = region.logs.0.lock().clone();
    let texts: Vec<&str> = all.iter().map(|(.., text)| text.as_str()).collect();
    assert!(
        texts.contains(&"order of me\nof 2\n") && texts.contains(&"unended\n"),
        "{texts:?}"
    );
    assert!(
        texts[0].starts_with("INIT_START Runtime Version: java:17.v1"),
        "{texts:?}"
    );

    make(&region, "stream", "java17", "example.Plain", &zip).await;
    assert_eq!(region.invoke("stream", json!("abc")).await.json(), "ABC");
    let cases = [
        ("text", json!("hello"), json!("hello!")),
        ("sum", json!([1, 2, 3]), json!(6)),
        ("nothing", json!({}), Value::Null),
    ];
    for (method, event, wanted) in cases {
        make(
            &region,
            method,
            "java17",
            &format!("example.Plain::{method}"),
            &zip,
        )
        .await;
        assert_eq!(
            region.invoke(method, event).await.json(),
            wanted,
            "{method}"
        );
    }
    make(&region, "map", "java17", "example.Plain::map", &zip).await;
    let client = STANDARD.encode("{\"custom\":{\"a\":\"b\"}}");
    for count in 1..3 {
        let headers = [("x-amz-client-context", client.as_str())];
        let answer = region
            .invoke_with("map", &headers, json!({ "n": [1, 2.5, null] }))
            .await;
        assert_eq!(
            answer.json(),
            json!({ "n": [1, 2.5, null], "count": count, "left": true, "custom": { "a": "b" }, "memory": 512 })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gives_java_options_as_awss_guide_does() {
    if !is_there("javac") {
        return;
    }
    let script =
        "#!/bin/bash\nargs=(\"$@\")\nexec \"${args[@]:0:$#-1}\" -Dwrapped=yes \"${args[@]: -1}\"\n";
    let region = Region::start().await;
    // With an extension, Java's socket comes to it through one more script.
    let agent = r#"#!/usr/bin/env python3
import os, urllib.request
base = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2020-01-01/extension/"
answer = urllib.request.urlopen(urllib.request.Request(base + "register", b'{"events": ["INVOKE"]}', {"Lambda-Extension-Name": "agent"}))
me = {"Lambda-Extension-Identifier": answer.headers["Lambda-Extension-Identifier"]}
while True:
    print("agent:", urllib.request.urlopen(urllib.request.Request(base + "event/next", headers=me)).read(), flush=True)
"#;
    let layer = region
        .layer(
            "wrap",
            &[("bootstrap", script), ("extensions/agent", agent)],
        )
        .await;
    let zip = java_zip();
    let request = json!({
        "FunctionName": "f", "Runtime": "java17", "Handler": "example.Plain::property", "Role": "arn:aws:iam::000000000000:role/r",
        "MemorySize": 512, "Timeout": 20, "Code": { "ZipFile": STANDARD.encode(&zip) }, "Layers": [layer],
        "Environment": { "Variables": { "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap" } },
    });
    let made = region.call("POST", "/2015-03-31/functions", request).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    let answer = region.invoke("f", json!("wrapped")).await;
    assert_eq!(answer.json(), "yes", "{}", region.log_of("f"));
    region.logged("f", "agent: b'{").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javas_errors_are_those_of_awss_runtime() {
    if !is_there("javac") {
        return;
    }
    let region = Region::start().await;
    let zip = java_zip();
    make(&region, "fails", "java21", "example.Plain::fails", &zip).await;
    let answer = region.invoke("fails", json!({})).await;
    let wanted = (
        "java.lang.IllegalStateException".into(),
        "no such thing".into(),
    );
    assert_eq!(error(&answer), wanted);
    assert_eq!(
        answer.json()["stackTrace"],
        json!(["example.Plain.fails(Plain.java:18)"])
    );
    let log = region.logged("fails", "REPORT").await;
    assert!(log.contains("no such thing: java.lang.IllegalStateException\njava.lang.IllegalStateException: no such thing\n\tat example"), "{log}");

    let cases = [
        (
            "example.Nothing",
            "java.lang.ClassNotFoundException",
            "Class not found: example.Nothing",
        ),
        (
            "example.Plain::none",
            "",
            "No public method named none with appropriate method signature found on class example.Plain",
        ),
        (
            "example.Broken",
            "",
            "Class does not implement an appropriate handler interface: example.Broken",
        ),
        (
            "example.Broken::run",
            "java.lang.IllegalArgumentException",
            "not today",
        ),
        (
            "example.Plain::sum",
            "java.lang.RuntimeException",
            "An error occurred during JSON parsing",
        ),
    ];
    for (i, (handler, kind, message)) in cases.into_iter().enumerate() {
        let name = format!("bad{i}");
        make(&region, &name, "java17", handler, &zip).await;
        let answer = region.invoke(&name, json!({ "a": 1 })).await;
        assert_eq!(error(&answer), (kind.to_owned(), message.to_owned()));
    }
    make(&region, "exits", "java17", "example.Plain::exits", &zip).await;
    let (kind, message) = error(&region.invoke("exits", json!({})).await);
    assert_eq!(kind, "Runtime.ExitError");
    assert!(message.ends_with("exit status 3"), "{message}");
    make(&region, "hoards", "java17", "example.Plain::hoards", &zip).await;
    for _ in 0..2 {
        let (kind, _) = error(&region.invoke("hoards", json!({})).await);
        assert_eq!(kind, "java.lang.OutOfMemoryError");
    }
}

#[test]
fn the_jar_is_made_from_the_sources_beside_it() {
    use sha2::Digest;
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("bootstrap/java");
    let mut sources: Vec<_> = std::fs::read_dir(place.join("cumulo"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    sources.sort();
    let mut hash = sha2::Sha256::new();
    for source in sources {
        hash.update(std::fs::read(source).unwrap());
    }
    let jar = std::fs::File::open(place.join("bootstrap.jar")).unwrap();
    let mut jar = zip::ZipArchive::new(jar).unwrap();
    let recorded = std::io::read_to_string(jar.by_name("source.sha256").unwrap()).unwrap();
    assert_eq!(
        recorded.trim(),
        hex::encode(hash.finalize()),
        "run bootstrap/java/build"
    );
}

const RUBY: &str = r#"
require 'logger'
module Shop
  class Till
    def self.pay(event:, context:)
      { total: event['items'].sum, id: context.aws_request_id, left: context.get_remaining_time_in_millis > 1000 }
    end
  end
end
def handler(event:, context:)
  case event['kind']
  when 'raise' then raise ArgumentError, 'no such thing'
  when 'name' then nothing_of_that_name
  when 'exit' then exit!(3)
  when 'log'
    puts 'one', 'two'
    Logger.new($stdout).info("three\nfour")
    print 'unended'
  end
  $count = ($count || 0) + 1
end
"#;

#[tokio::test(flavor = "multi_thread")]
async fn ruby_handlers_answer_log_and_fail_as_on_aws() {
    if !is_there("ruby") {
        return;
    }
    let region = Region::start().await;
    let zip = region::zip(&[("app.rb", RUBY), ("broken.rb", "require 'nothing_here'\n")]);
    make(&region, "till", "ruby3.3", "app.Shop::Till.pay", &zip).await;
    let answer = region.invoke("till", json!({ "items": [1, 2.5] })).await;
    let id = answer.header("x-amzn-requestid").unwrap();
    assert_eq!(
        answer.json(),
        json!({ "total": 3.5, "id": id, "left": true }),
        "{}",
        region.log_of("till")
    );

    make(&region, "app", "ruby3.2", "app.handler", &zip).await;
    for count in 1..3 {
        assert_eq!(region.invoke("app", json!({})).await.json(), count);
    }
    let answer = region.invoke("app", json!({ "kind": "raise" })).await;
    assert_eq!(
        error(&answer),
        ("Function<ArgumentError>".into(), "no such thing".into())
    );
    let trace = answer.json()["stackTrace"].clone();
    let first = trace[0].as_str().unwrap();
    assert!(
        first.starts_with("/var/task/app.rb:12:in ") && trace.as_array().unwrap().len() == 1,
        "{trace}"
    );
    assert_eq!(
        region.invoke("app", json!({ "kind": "log" })).await.json(),
        3
    );
    region.logged_times("app", "REPORT", 4).await;
    let all = region.logs.0.lock().clone();
    let has = |f: &dyn Fn(&str) -> bool| assert!(all.iter().any(|(.., text)| f(text)), "{all:?}");
    has(&|text| text == "one\ntwo\n");
    has(&|text| text.starts_with("I, [") && text.ends_with(" -- : three\nfour\n"));
    has(&|text| text == "unended\n");
    has(&|text| text == "Error raised from handler method\n");
    // An error of names ends the process, after it has been told.
    let (kind, _) = error(&region.invoke("app", json!({ "kind": "name" })).await);
    assert_eq!(kind, "Function<NameError>");
    assert_eq!(region.invoke("app", json!({})).await.json(), 1);
    let (_, message) = error(&region.invoke("app", json!({ "kind": "exit" })).await);
    assert!(message.ends_with("exit status 3"), "{message}");

    make(&region, "broken", "ruby3.3", "broken.handler", &zip).await;
    let (kind, message) = error(&region.invoke("broken", json!({})).await);
    assert_eq!(kind, "Init<LoadError>");
    assert!(message.contains("nothing_here"), "{message}");
    make(&region, "nameless", "ruby3.3", "app", &zip).await;
    let (kind, message) = error(&region.invoke("nameless", json!({})).await);
    assert_eq!(kind, "Init<ArgumentError>");
    assert!(
        message.starts_with("Invalid handler [\"app\"], must be of form"),
        "{message}"
    );
}
