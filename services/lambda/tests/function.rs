//! Functions, versions, aliases, layers and their settings.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, wait, and look at files"
)]

mod region;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use region::{Region, zip};
use serde_json::{Value, json};
use sha2::Digest;

runtime::init_hook!();

const F: &str = "/2015-03-31/functions";

fn saying(word: &str) -> String {
    format!("def handler(event, context):\n    return '{word} ' + context.function_version\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_as_a_whole_is_refused_as_such() {
    let region = Region::start().await;
    let body = json!({
        "FunctionName": "f", "Runtime": "python3.12", "Handler": "app.handler",
        "Role": "arn:aws:iam::000000000000:role/r",
        "Code": { "ZipFile": STANDARD.encode(zip(&[("app.py", ECHO)])) },
        "Environment": { "Variables": { "large": "x".repeat(70_167_211) } },
    });
    let refused = region.call("POST", F, body).await;
    assert_eq!(refused.status, 413);
    assert_eq!(
        refused.json()["message"],
        "Request must be smaller than 70167211 bytes for the CreateFunction operation"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_function_has_awss_defaults() {
    let region = Region::start().await;
    let files = [("app.py", ECHO)];
    let made = region
        .create(
            "f",
            &files,
            json!({ "MemorySize": 128, "Timeout": 3, "Tags": { "a": "b" } }),
        )
        .await
        .json();
    let digest = STANDARD.encode(sha2::Sha256::digest(zip(&files)));
    assert_eq!(made["CodeSha256"], digest);
    let got = region
        .call("GET", &format!("{F}/f"), Value::Null)
        .await
        .json();
    let c = &got["Configuration"];
    assert_eq!(
        c["FunctionArn"],
        "arn:aws:lambda:us-east-1:000000000000:function:f"
    );
    assert_eq!(
        (&c["Version"], &c["PackageType"], &c["Architectures"]),
        (&json!("$LATEST"), &json!("Zip"), &json!(["x86_64"]))
    );
    assert_eq!(
        (&c["EphemeralStorage"], &c["TracingConfig"]),
        (&json!({ "Size": 512 }), &json!({ "Mode": "PassThrough" }))
    );
    assert_eq!(
        c["SnapStart"],
        json!({ "ApplyOn": "None", "OptimizationStatus": "Off" })
    );
    assert_eq!(
        c["LoggingConfig"],
        json!({ "LogFormat": "Text", "LogGroup": "/aws/lambda/f" })
    );
    assert_eq!(
        (&c["State"], &c["LastUpdateStatus"]),
        (&json!("Active"), &json!("Successful"))
    );
    let modified = c["LastModified"].as_str().unwrap();
    assert!(
        modified.len() == 28 && modified.ends_with("+0000"),
        "{modified}"
    );
    assert_eq!(got["Tags"], json!({ "a": "b" }));
    assert_eq!(got["Code"]["RepositoryType"], "S3");
    let location = got["Code"]["Location"].as_str().unwrap();
    let path = location.strip_prefix("http://localhost:4566").unwrap();
    let fetched = region
        .send("GET", path, &[("host", "localhost:4566")], "")
        .await;
    assert_eq!((fetched.status, fetched.body.to_vec()), (200, zip(&files)));
    let wrong = path.replace("sha256=", "sha256=x");
    assert_eq!(
        region
            .send("GET", &wrong, &[("host", "localhost:4566")], "")
            .await
            .status,
        404
    );
}

const ECHO: &str = "def handler(event, context):\n    return event\n";

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_answered_as_aws_answers_them() {
    let region = Region::start().await;
    region.python("f", ECHO, Value::Null).await;
    let (code, message) = region.python("f", ECHO, Value::Null).await.error();
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("ResourceConflictException", "Function already exist: f")
    );
    let missing = region.call("GET", &format!("{F}/none"), Value::Null).await;
    assert_eq!(missing.status, 404);
    assert_eq!(
        missing.error(),
        (
            "ResourceNotFoundException".into(),
            "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none".into()
        )
    );
    assert_eq!(missing.json()["Type"], "User");
    let cases = [
        (
            json!({ "Runtime": "python2.7" }),
            "InvalidParameterValueException",
            "Value python2.7 at 'runtime' failed to satisfy constraint",
        ),
        (
            json!({ "Timeout": 901 }),
            "ValidationException",
            "Value '901' at 'timeout' failed to satisfy constraint",
        ),
        (
            json!({ "Role": "nobody" }),
            "ValidationException",
            "at 'role' failed to satisfy constraint",
        ),
        (
            json!({ "Environment": { "Variables": { "AWS_REGION": "x" } } }),
            "InvalidParameterValueException",
            "Reserved keys used in this request: AWS_REGION",
        ),
        (
            json!({ "Code": { "ZipFile": STANDARD.encode("no zip") } }),
            "InvalidParameterValueException",
            "Could not unzip uploaded file",
        ),
        (
            json!({ "Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"] }),
            "InvalidParameterValueException",
            "Layer version arn:aws:lambda:us-east-1:000000000000:layer:l:1 does not exist.",
        ),
    ];
    for (more, code, text) in cases {
        let answer = region.python("g", ECHO, more.clone()).await;
        let (found, message) = answer.error();
        assert_eq!(
            (answer.status, found.as_str()),
            (400, code),
            "{more}: {message}"
        );
        assert!(message.contains(text), "{more}: {message}");
    }
    let answer = region
        .send("POST", &format!("{F}/f/invocations"), &[], "{no json")
        .await;
    assert_eq!(answer.error().0, "InvalidRequestContentException");
    let big = format!("\"{}\"", "x".repeat(6_300_000));
    let answer = region
        .send("POST", &format!("{F}/f/invocations"), &[], big)
        .await;
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (413, "RequestTooLargeException")
    );
    let event = format!("\"{}\"", "x".repeat(300_000));
    let answer = region
        .send(
            "POST",
            &format!("{F}/f/invocations"),
            &[("x-amz-invocation-type", "Event")],
            event,
        )
        .await;
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (413, "RequestTooLargeException")
    );
    assert_eq!(
        region
            .invoke_with("f", &[("x-amz-invocation-type", "DryRun")], json!({}))
            .await
            .status,
        204
    );
    assert_eq!(
        region
            .call("DELETE", &format!("{F}/f"), Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(
        region
            .call("GET", &format!("{F}/f"), Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_stay_and_aliases_point_to_them() {
    let region = Region::start().await;
    region.python("f", &saying("one"), Value::Null).await;
    let first = region
        .call("POST", &format!("{F}/f/versions"), json!({}))
        .await
        .json();
    assert_eq!(first["Version"], "1");
    let again = region
        .call("POST", &format!("{F}/f/versions"), json!({}))
        .await
        .json();
    assert_eq!(again["Version"], "1", "nothing has changed");
    assert_eq!(region.invoke("f", json!({})).await.json(), "one $LATEST");
    let code = STANDARD.encode(zip(&[("app.py", &saying("two"))]));
    let updated = region
        .call(
            "PUT",
            &format!("{F}/f/code"),
            json!({ "ZipFile": code, "Publish": true }),
        )
        .await
        .json();
    assert_eq!(
        (&updated["Version"], &updated["State"]),
        (&json!("2"), &json!("Pending"))
    );
    assert_eq!(updated["LastUpdateStatus"], Value::Null);
    assert_eq!(region.invoke("f", json!({})).await.json(), "two $LATEST");
    assert_eq!(region.invoke("f:1", json!({})).await.json(), "one 1");
    let alias = json!({ "Name": "live", "FunctionVersion": "1" });
    let made = region
        .call("POST", &format!("{F}/f/aliases"), alias.clone())
        .await;
    assert_eq!(
        (made.status, &made.json()["AliasArn"]),
        (
            201,
            &json!("arn:aws:lambda:us-east-1:000000000000:function:f:live")
        )
    );
    assert_eq!(
        region
            .call("POST", &format!("{F}/f/aliases"), alias)
            .await
            .error()
            .0,
        "ResourceConflictException"
    );
    let answer = region.invoke("f:live", json!({})).await;
    assert_eq!(
        (answer.json(), answer.header("x-amz-executed-version")),
        (json!("one 1"), Some("1"))
    );
    let weights = json!({ "RoutingConfig": { "AdditionalVersionWeights": { "2": 1.0 } } });
    region
        .call("PUT", &format!("{F}/f/aliases/live"), weights)
        .await;
    assert_eq!(region.invoke("f:live", json!({})).await.json(), "two 2");
    let held = region
        .call("DELETE", &format!("{F}/f?Qualifier=1"), Value::Null)
        .await;
    assert_eq!(held.error().0, "ResourceConflictException");
    let all = region
        .call("GET", &format!("{F}/f/versions"), Value::Null)
        .await
        .json();
    let numbers: Vec<&Value> = all["Versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| &v["Version"])
        .collect();
    assert_eq!(numbers, [&json!("$LATEST"), &json!("1"), &json!("2")]);
    assert_eq!(
        region
            .call("DELETE", &format!("{F}/f/aliases/live"), Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(
        region
            .call("DELETE", &format!("{F}/f?Qualifier=1"), Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(region.invoke("f:1", json!({})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_changed_for_the_next_environment() {
    let region = Region::start().await;
    let code = "import os\ndef handler(e, c):\n    return [os.environ.get('WORD'), c.memory_limit_in_mb]\n";
    region.python("f", code, Value::Null).await;
    assert_eq!(
        region.invoke("f", json!({})).await.json(),
        json!([null, "512"])
    );
    let change = json!({ "MemorySize": 256, "Environment": { "Variables": { "WORD": "w" } }, "Description": "d" });
    let changed = region
        .call("PUT", &format!("{F}/f/configuration"), change)
        .await
        .json();
    assert_eq!(
        (&changed["MemorySize"], &changed["Handler"]),
        (&json!(256), &json!("app.handler"))
    );
    assert_eq!(
        region.invoke("f", json!({})).await.json(),
        json!(["w", "256"])
    );
    let stale = json!({ "RevisionId": "x", "MemorySize": 512 });
    let refused = region
        .call("PUT", &format!("{F}/f/configuration"), stale)
        .await;
    assert_eq!(
        (refused.status, refused.error().0.as_str()),
        (412, "PreconditionFailedException")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_lie_over_each_other_under_opt() {
    let region = Region::start().await;
    let publish = async |name: &str, files: &[(&str, &str)]| {
        let content = json!({ "Content": { "ZipFile": STANDARD.encode(zip(files)) }, "CompatibleRuntimes": ["python3.11"] });
        region
            .call(
                "POST",
                &format!("/2018-10-31/layers/{name}/versions"),
                content,
            )
            .await
            .json()
    };
    let one = publish(
        "one",
        &[("python/shared.py", "word = 'one'\n"), ("data/a", "a")],
    )
    .await;
    let two = publish("two", &[("python/shared.py", "word = 'two'\n")]).await;
    assert_eq!(
        (
            &one["Version"],
            &publish("one", &[("x", "x")]).await["Version"]
        ),
        (&json!(1), &json!(2))
    );
    let code = "import os, shared\ndef handler(e, c):\n    return [shared.word, sorted(os.listdir('/opt'))]\n";
    let layers = json!({ "Layers": [one["LayerVersionArn"], two["LayerVersionArn"]] });
    let made = region.python("f", code, layers).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    assert_eq!(
        region
            .call("DELETE", "/2018-10-31/layers/two/versions/1", Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(
        region.invoke("f", json!({})).await.json(),
        json!(["two", ["data", "python"]])
    );
    let listed = region
        .call("GET", "/2018-10-31/layers", Value::Null)
        .await
        .json();
    assert_eq!(listed["Layers"].as_array().unwrap().len(), 1);
    assert_eq!(listed["Layers"][0]["LatestMatchingVersion"]["Version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_kept_as_a_policy() {
    let region = Region::start().await;
    region.python("f", ECHO, Value::Null).await;
    let ask = json!({ "StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::b" });
    let added = region
        .call("POST", &format!("{F}/f/policy"), ask.clone())
        .await;
    assert_eq!(added.status, 201);
    let statement: Value =
        serde_json::from_str(added.json()["Statement"].as_str().unwrap()).unwrap();
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    assert_eq!(
        statement,
        json!({ "Sid": "s3", "Effect": "Allow", "Principal": { "Service": "s3.amazonaws.com" }, "Action": "lambda:InvokeFunction",
                "Resource": arn, "Condition": { "ArnLike": { "AWS:SourceArn": "arn:aws:s3:::b" } } })
    );
    assert_eq!(
        region
            .call("POST", &format!("{F}/f/policy"), ask)
            .await
            .error()
            .0,
        "ResourceConflictException"
    );
    let source = |bucket: &str| cloud::Source {
        service: "s3.amazonaws.com".into(),
        arn: format!("arn:aws:s3:::{bucket}"),
        account: "000000000000".into(),
        role: None,
    };
    let target = arn.parse().unwrap();
    assert!(region.cloud.targets.check(&target, &source("b")).is_ok());
    assert!(region.cloud.targets.check(&target, &source("c")).is_err());
    assert_eq!(
        region
            .call("DELETE", &format!("{F}/f/policy/s3"), Value::Null)
            .await
            .status,
        204
    );
    assert!(region.cloud.targets.check(&target, &source("b")).is_err());
    assert_eq!(
        region
            .call("GET", &format!("{F}/f/policy"), Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_concurrency_throttles_and_leaves_a_hundred() {
    let region = Region::start().await;
    region.python("f", ECHO, Value::Null).await;
    let put = async |n: i32| {
        let body = json!({ "ReservedConcurrentExecutions": n });
        region
            .call("PUT", "/2017-10-31/functions/f/concurrency", body)
            .await
    };
    assert_eq!(put(901).await.error().0, "InvalidParameterValueException");
    assert_eq!(put(0).await.status, 200);
    let throttled = region.invoke("f", json!({})).await;
    assert_eq!(
        (throttled.status, throttled.error().0.as_str()),
        (429, "TooManyRequestsException")
    );
    assert_eq!(
        throttled.json()["Reason"],
        "ReservedFunctionConcurrentInvocationLimitExceeded"
    );
    let settings = region
        .call("GET", "/2016-08-19/account-settings", Value::Null)
        .await
        .json();
    assert_eq!(
        settings["AccountLimit"]["UnreservedConcurrentExecutions"],
        1000
    );
    assert_eq!(
        region
            .call("DELETE", "/2017-10-31/functions/f/concurrency", Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(region.invoke("f", json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_listed_in_pages() {
    let region = Region::start().await;
    for n in 0..3 {
        region.python(&format!("f{n}"), ECHO, Value::Null).await;
    }
    let first = region
        .call("GET", &format!("{F}?MaxItems=2"), Value::Null)
        .await
        .json();
    assert_eq!(first["Functions"].as_array().unwrap().len(), 2);
    let marker = first["NextMarker"].as_str().unwrap();
    let rest = region
        .call("GET", &format!("{F}?Marker={marker}"), Value::Null)
        .await
        .json();
    assert_eq!(rest["Functions"][0]["FunctionName"], "f2");
    assert!(rest.get("NextMarker").is_none_or(Value::is_null));
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_reload_runs_what_the_directory_holds_now() {
    let region = Region::start().await;
    let place = tempfile::tempdir().unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(place.path().join("app.py"), saying("one")).unwrap();
    let code = json!({ "Code": { "S3Bucket": "hot-reload", "S3Key": place.path() } });
    let made = region.python("f", ECHO, code).await;
    assert_eq!(
        made.json()["CodeSha256"],
        "hot-reloading-hash-not-available",
        "{:?}",
        made.body
    );
    assert_eq!(region.invoke("f", json!({})).await.json(), "one $LATEST");
    std::fs::write(place.path().join("app.py"), saying("changed")).unwrap();
    assert_eq!(
        region.invoke("f", json!({})).await.json(),
        "changed $LATEST"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_survive_a_killed_server_and_a_lost_scratch_directory() {
    let data = tempfile::tempdir().unwrap();
    let region = Region::over(region::kept(data.path()), tempfile::tempdir().unwrap()).await;
    region.python("f", &saying("one"), Value::Null).await;
    let left = region::as_killed(data.path());
    let again = Region::over(region::kept(left.path()), tempfile::tempdir().unwrap()).await;
    assert_eq!(again.invoke("f", json!({})).await.json(), "one $LATEST");
}

#[tokio::test]
async fn layers_are_of_known_runtimes_and_versions() {
    let region = Region::start().await;
    let layers = "/2018-10-31/layers";
    let wrong = json!({ "Content": { "ZipFile": STANDARD.encode(zip(&[("a", "b")])) },
                        "CompatibleRuntimes": ["cobol"] });
    let path = format!("{layers}/l/versions");
    let (code, text) = region.call("POST", &path, wrong).await.error();
    assert_eq!(code, "ValidationException");
    let begin = "1 validation error detected: Value '[cobol]' at 'compatibleRuntimes'";
    assert!(text.starts_with(begin), "{text}");
    for path in [
        format!("{layers}?CompatibleRuntime=cobol"),
        format!("{layers}/l/versions?CompatibleArchitecture=vax"),
    ] {
        let (code, _) = region.call("GET", &path, Value::Null).await.error();
        assert_eq!(code, "ValidationException", "{path}");
    }
    let below = region
        .call("DELETE", &format!("{layers}/l/versions/-1"), Value::Null)
        .await;
    let text = "Layer Version Cannot be less than 1".to_owned();
    assert_eq!(
        below.error(),
        ("InvalidParameterValueException".into(), text)
    );
}

#[tokio::test]
async fn an_alias_takes_its_url_along_and_accounts_keep_to_their_own() {
    let region = Region::start().await;
    region
        .python("f", "def handler(e, c): pass\n", json!({ "Publish": true }))
        .await;
    let alias = json!({ "Name": "live", "FunctionVersion": "1" });
    region.call("POST", &format!("{F}/f/aliases"), alias).await;
    let url = "/2021-10-31/functions/f/url?Qualifier=live";
    let made = region
        .call("POST", url, json!({ "AuthType": "NONE" }))
        .await;
    assert_eq!(made.status, 201);
    region
        .call("DELETE", &format!("{F}/f/aliases/live"), Value::Null)
        .await;
    assert_eq!(region.call("GET", url, Value::Null).await.status, 404);
    let foreign = "arn:aws:lambda:us-east-1:999999999999:function:g";
    let refused = region
        .python(foreign, "def handler(e, c): pass\n", json!({}))
        .await;
    assert_eq!(
        (refused.status, refused.error().0.as_str()),
        (403, "AccessDeniedException")
    );
}
