//! Environments that are there before they are called for.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, wait, and look at files"
)]

mod region;

use region::Region;
use serde_json::{Value, json};

runtime::init_hook!();

const CODE: &str = "import os, time, uuid\nME = str(uuid.uuid4())\n\
    print('made', os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'])\n\
    def handler(event, context):\n    time.sleep(event.get('sleep', 0))\n    \
    if event.get('exit'):\n        os._exit(1)\n    \
    return {'me': ME, 'kind': os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']}\n";

fn config(name: &str, qualifier: &str) -> String {
    format!("/2019-09-30/functions/{name}/provisioned-concurrency?Qualifier={qualifier}")
}

async fn put(region: &Region, qualifier: &str, count: i32) -> region::Answer {
    let body = json!({ "ProvisionedConcurrentExecutions": count });
    region.call("PUT", &config("f", qualifier), body).await
}

async fn settled(region: &Region, qualifier: &str) -> Value {
    for _ in 0..3000 {
        let shown = region
            .call("GET", &config("f", qualifier), Value::Null)
            .await
            .json();
        if shown["Status"] != "IN_PROGRESS"
            && shown["AvailableProvisionedConcurrentExecutions"]
                == shown["AllocatedProvisionedConcurrentExecutions"]
        {
            return shown;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never settled: {}", region.log_of("f"));
}

async fn with_version(options: store::Options, code: &str) -> Region {
    let region = Region::over(options, tempfile::tempdir().unwrap()).await;
    let made = region.python("f", code, json!({ "Publish": true })).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    let made = made.json();
    assert_eq!(
        (&made["Version"], &made["FunctionArn"]),
        (
            &json!("1"),
            &json!("arn:aws:lambda:us-east-1:000000000000:function:f")
        )
    );
    region
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioned_environments_are_made_kept_and_spilled_over() {
    let region = with_version(store::Options::default(), CODE).await;
    let answer = put(&region, "1", 2).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    assert_eq!(answer.json()["Status"], "IN_PROGRESS");
    let shown = settled(&region, "1").await;
    assert_eq!(
        (
            &shown["Status"],
            &shown["AllocatedProvisionedConcurrentExecutions"]
        ),
        (&json!("READY"), &json!(2)),
        "{shown}"
    );
    let log = region
        .logged_times("f", "made provisioned-concurrency", 2)
        .await;
    assert!(!log.contains("START RequestId"), "{log}");
    // Three at once: two find their environment ready, the third gets one of its own.
    let path = "/2015-03-31/functions/f/invocations?Qualifier=1";
    let slow = || region.call("POST", path, json!({ "sleep": 0.8 }));
    let (a, b, c) = tokio::join!(slow(), slow(), slow());
    let all = [a.json(), b.json(), c.json()];
    let ready = all
        .iter()
        .filter(|v| v["kind"] == "provisioned-concurrency")
        .count();
    assert_eq!(ready, 2, "{all:?}");
    assert_eq!(
        settled(&region, "1").await["AvailableProvisionedConcurrentExecutions"],
        2
    );
    // One that ends is made anew.
    region.call("POST", path, json!({ "exit": 1 })).await;
    region
        .logged_times("f", "made provisioned-concurrency", 3)
        .await;
    assert_eq!(
        settled(&region, "1").await["AllocatedProvisionedConcurrentExecutions"],
        2
    );
    // Fewer are kept, and none after the configuration has gone.
    assert_eq!(put(&region, "1", 1).await.status, 202);
    assert_eq!(
        settled(&region, "1").await["AllocatedProvisionedConcurrentExecutions"],
        1
    );
    let gone = region.call("DELETE", &config("f", "1"), Value::Null).await;
    assert_eq!(gone.status, 204);
    let shown = region.call("GET", &config("f", "1"), Value::Null).await;
    assert_eq!(
        shown.error().0,
        "ProvisionedConcurrencyConfigNotFoundException"
    );
    let answer = region.call("POST", path, json!({})).await.json();
    assert_eq!(answer["kind"], "on-demand");
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioned_environments_are_there_again_after_a_restart_and_follow_their_alias() {
    let place = tempfile::tempdir().unwrap();
    let region = with_version(region::kept(place.path()), CODE).await;
    let alias = json!({ "Name": "live", "FunctionVersion": "1" });
    let made = region
        .call("POST", "/2015-03-31/functions/f/aliases", alias)
        .await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    assert_eq!(put(&region, "live", 1).await.status, 202);
    settled(&region, "live").await;
    let copy = region::as_killed(place.path());
    drop(region);
    let region = Region::over(region::kept(copy.path()), tempfile::tempdir().unwrap()).await;
    region.logged("f", "made provisioned-concurrency").await;
    assert_eq!(settled(&region, "live").await["Status"], "READY");

    let other = json!({ "ZipFile": base64_zip("x = 1\n") });
    region
        .call("PUT", "/2015-03-31/functions/f/code", other)
        .await;
    let published = region
        .call("POST", "/2015-03-31/functions/f/versions", json!({}))
        .await;
    assert_eq!(published.json()["Version"], "2", "{:?}", published.body);
    let moved = json!({ "FunctionVersion": "2" });
    region
        .call("PUT", "/2015-03-31/functions/f/aliases/live", moved)
        .await;
    let shown = settled(&region, "live").await;
    // That version has no handler.
    assert_eq!(
        (&shown["Status"], &shown["StatusReason"]),
        (&json!("FAILED"), &json!("FUNCTION_ERROR_INIT_FAILURE"))
    );
}

fn base64_zip(code: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(region::zip(&[("app.py", code)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioned_concurrency_is_bounded_as_on_aws() {
    let region = with_version(store::Options::default(), CODE).await;
    for (name, version) in [("a", "1"), ("latest", "$LATEST")] {
        let alias = json!({ "Name": name, "FunctionVersion": version });
        region
            .call("POST", "/2015-03-31/functions/f/aliases", alias)
            .await;
    }
    let unpublished =
        "Provisioned Concurrency Configs cannot be applied to unpublished function versions.";
    for qualifier in ["$LATEST", "latest"] {
        let (code, text) = put(&region, qualifier, 1).await.error();
        assert_eq!(
            (&*code, &*text),
            ("InvalidParameterValueException", unpublished)
        );
    }
    let (_, text) = put(&region, "1", 1001).await.error();
    assert_eq!(
        text,
        "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000]."
    );
    let (_, text) = put(&region, "1", 950).await.error();
    assert_eq!(
        text,
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
    );
    let reserve = |n: i32| {
        let body = json!({ "ReservedConcurrentExecutions": n });
        region.call("PUT", "/2017-10-31/functions/f/concurrency", body)
    };
    assert_eq!(reserve(2).await.status, 200);
    let (_, text) = put(&region, "1", 3).await.error();
    assert_eq!(
        text,
        "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    );
    assert_eq!(put(&region, "1", 2).await.status, 202);
    let (_, text) = reserve(1).await.error();
    assert_eq!(
        text,
        " ReservedConcurrentExecutions  1 should not be lower than function's total provisioned concurrency [2]."
    );
    reserve(10).await;
    let (code, text) = put(&region, "a", 1).await.error();
    assert_eq!(
        (&*code, &*text),
        (
            "ResourceConflictException",
            "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
        )
    );
    let settings = region
        .call("GET", "/2016-08-19/account-settings", Value::Null)
        .await
        .json();
    assert_eq!(
        settings["AccountLimit"]["UnreservedConcurrentExecutions"],
        990
    );
}
