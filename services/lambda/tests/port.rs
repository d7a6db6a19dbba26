//! What functions have from other services: code from S3, credentials from roles.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, wait, and look at files"
)]

mod region;

use std::sync::Arc;

use cloud::ports::{Content, Credentials, Objects, RoleProblem, Roles};
use futures_util::future::BoxFuture;
use region::{Region, zip};
use serde_json::{Value, json};
use wire::{Bytes, Fault, Timestamp};

runtime::init_hook!();

const ECHO: &str = "def handler(event, context):\n    return event\n";

struct Bucket;

impl Objects for Bucket {
    fn get<'a>(
        &'a self,
        _: &'a str,
        bucket: &'a str,
        key: &'a str,
        _: Option<&'a str>,
        _: u64,
    ) -> BoxFuture<'a, Result<Bytes, Fault>> {
        Box::pin(async move {
            match (bucket, key) {
                ("code", "f.zip") => Ok(zip(&[("app.py", ECHO)]).into()),
                _ => Err(Fault::sender(
                    404,
                    "NoSuchKey",
                    "The specified key does not exist.",
                )),
            }
        })
    }
    fn list<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<String>, Fault>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn put<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: Content<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async { Err(Fault::internal("nothing is put here")) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_comes_from_a_bucket() {
    let region = Region::start().await;
    region.cloud.ports.set_objects(Arc::new(Bucket));
    let from = |key: &str| json!({ "Code": { "S3Bucket": "code", "S3Key": key } });
    let made = region.python("f", "", from("f.zip")).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    assert_eq!(
        region.invoke("f", json!({ "a": 1 })).await.json(),
        json!({ "a": 1 })
    );
    let missing = region.python("g", "", from("g.zip")).await.error();
    let text = "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.";
    assert_eq!(
        missing,
        ("InvalidParameterValueException".into(), text.into())
    );
}

struct Known;

impl Roles for Known {
    fn check(&self, role: &str, service: &str) -> Result<(), RoleProblem> {
        assert_eq!(service, "lambda.amazonaws.com");
        match role.rsplit('/').next() {
            Some("good") => Ok(()),
            Some("other") => Err(RoleProblem::Untrusted),
            _ => Err(RoleProblem::Missing),
        }
    }
    fn assume<'a>(
        &'a self,
        _: &'a str,
        session: &'a str,
        _: i64,
    ) -> BoxFuture<'a, Result<Credentials, Fault>> {
        Box::pin(async move {
            Ok(Credentials {
                access_key: "ASIAEXAMPLE".into(),
                secret_key: "secret".into(),
                session_token: format!("token of {session}"),
                expiration: Timestamp(0),
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_has_the_credentials_of_its_role() {
    let region = Region::start().await;
    region.cloud.ports.set_roles(Arc::new(Known));
    let code = "import os\ndef handler(e, c):\n    return [os.environ.get('AWS_ACCESS_KEY_ID'), os.environ.get('AWS_SESSION_TOKEN')]\n";
    let role = |name: &str| json!({ "Role": format!("arn:aws:iam::000000000000:role/{name}") });
    let refused = region.python("f", code, role("other")).await.error();
    let text = "The role defined for the function cannot be assumed by Lambda.";
    assert_eq!(
        refused,
        ("InvalidParameterValueException".into(), text.into())
    );
    region.python("f", code, role("good")).await;
    assert_eq!(
        region.invoke("f", Value::Null).await.json(),
        json!(["ASIAEXAMPLE", "token of f@lambda_function"])
    );
    region.python("made-up", code, role("never-made")).await;
    assert_eq!(
        region.invoke("made-up", Value::Null).await.json(),
        json!(["000000000000", null])
    );
}
