//! Signatures against AWS's documented examples and against those that botocore makes.

use auth::authorization::{Authorization, Presigned};
use auth::canonical::{Request, UNSIGNED_PAYLOAD};
use auth::credential::Credentials;
use auth::post_policy::{Form, FormSignature, PostPolicy};
use auth::sigv4::{SignatureError, payload_hash};
use auth::{sigv2, sigv4};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde::Deserialize;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const DOCUMENTED: OffsetDateTime = datetime!(2013-05-24 0:00 UTC);
const FIXTURE: OffsetDateTime = datetime!(2024-05-06 07:08:09 UTC);

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a header name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a header value"),
        );
    }
    map
}

fn verify_documented(
    method: &str,
    path: &str,
    query: &str,
    pairs: &[(&str, &str)],
    signed: &str,
    signature: &str,
) -> Result<(), SignatureError> {
    let map = headers(pairs);
    let request = Request {
        method,
        path,
        query,
        headers: &map,
        authority: None,
    };
    let header = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},Signature={signature}"
    );
    let Ok(Authorization::V4(v4)) = Authorization::parse(&header) else {
        panic!("not version 4");
    };
    let hash = map["x-amz-content-sha256"].to_str().expect("text");
    sigv4::verify_header(&request, &v4, SECRET, hash, DOCUMENTED).map(drop)
}

#[test]
fn the_documented_get_object_verifies() {
    let result = verify_documented(
        "GET",
        "/test.txt",
        "",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
        ],
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    assert_eq!(result, Ok(()));
}

#[test]
fn the_documented_put_object_verifies() {
    let result = verify_documented(
        "PUT",
        "/test$file.text",
        "",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            (
                "x-amz-content-sha256",
                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            ),
        ],
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    assert_eq!(result, Ok(()));
}

#[test]
fn the_documented_bucket_requests_verify() {
    let common = [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-content-sha256", EMPTY),
    ];
    let signed = "host;x-amz-content-sha256;x-amz-date";
    for (query, signature) in [
        (
            "lifecycle",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "max-keys=2&prefix=J",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let result = verify_documented("GET", "/", query, &common, signed, signature);
        assert_eq!(result, Ok(()), "{query}");
    }
}

#[test]
fn the_documented_presigned_url_verifies_until_it_expires() {
    let map = headers(&[("host", "examplebucket.s3.amazonaws.com")]);
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let request = Request {
        method: "GET",
        path: "/test.txt",
        query,
        headers: &map,
        authority: None,
    };
    let Ok(Some(Presigned::V4(v4))) = Presigned::parse(query) else {
        panic!("not presigned");
    };
    let verify =
        |now| sigv4::verify_presigned(&request, &v4, SECRET, UNSIGNED_PAYLOAD, now).map(drop);
    assert_eq!(verify(DOCUMENTED + Duration::hours(24)), Ok(()));
    assert!(matches!(
        verify(DOCUMENTED + Duration::hours(25)),
        Err(SignatureError::Expired {
            expires_seconds: Some(86400),
            ..
        })
    ));
    assert_eq!(
        verify(DOCUMENTED - Duration::hours(1)),
        Err(SignatureError::NotYetValid)
    );
}

#[test]
fn a_wrong_signature_shows_what_should_have_been_signed() {
    let result = verify_documented(
        "GET",
        "/test.txt",
        "",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
        ],
        "host;x-amz-content-sha256;x-amz-date",
        "00",
    );
    let Err(SignatureError::Mismatch(mismatch)) = result else {
        panic!("not a mismatch: {result:?}");
    };
    assert_eq!(mismatch.access_key_id, "AKIAIOSFODNN7EXAMPLE");
    assert!(mismatch.string_to_sign_bytes().starts_with("41 57 53 34"));
    assert!(
        mismatch
            .canonical_request
            .is_some_and(|canonical| canonical.starts_with("GET\n/test.txt\n\nhost:examplebucket"))
    );
}

#[test]
fn an_amz_header_that_is_not_signed_is_refused() {
    let result = verify_documented(
        "GET",
        "/test.txt",
        "",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-acl", "public-read"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
        ],
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    assert_eq!(
        result,
        Err(SignatureError::HeadersNotSigned("x-amz-acl".into()))
    );
}

#[test]
fn the_documented_version_2_requests_verify() {
    let now = datetime!(2007-03-27 19:40 UTC);
    let map = headers(&[
        ("host", "awsexamplebucket1.us-west-1.s3.amazonaws.com"),
        ("date", "Tue, 27 Mar 2007 19:36:42 +0000"),
    ]);
    let request = Request {
        method: "GET",
        path: "/photos/puppy.jpg",
        query: "",
        headers: &map,
        authority: None,
    };
    let verify = |signature| {
        sigv2::verify_header(
            &request,
            "AKIAIOSFODNN7EXAMPLE",
            signature,
            SECRET,
            Some("awsexamplebucket1"),
            now,
        )
    };
    assert_eq!(verify("qgk2+6Sv9/oM7G3qLEjTH1a1l1g="), Ok(()));
    assert!(matches!(
        verify("AAAA+6Sv9/oM7G3qLEjTH1a1l1g="),
        Err(SignatureError::Mismatch(_))
    ));
}

#[test]
fn the_documented_post_policy_verifies() {
    let policy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
    let fields: Vec<(String, String)> = [
        ("policy", policy),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        (
            "x-amz-credential",
            "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
        ),
        ("x-amz-date", "20151229T000000Z"),
        (
            "x-amz-signature",
            "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let signature = FormSignature::of(Form(&fields)).expect("signed");
    assert_eq!(signature.access_key_id(), Some("AKIAIOSFODNN7EXAMPLE"));
    assert_eq!(signature.verify(SECRET), Ok(()));
    assert_eq!(
        PostPolicy::decode(policy).map(|policy| policy.conditions.len()),
        Ok(11)
    );
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    secret: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    service: String,
    body: String,
    #[serde(default)]
    fields: Vec<(String, String)>,
}

impl Case {
    fn verify(&self, secret: &str) -> Result<(), String> {
        let pairs: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let map = headers(&pairs);
        let request = Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &map,
            authority: None,
        };
        let text = |error: SignatureError| match error {
            SignatureError::Mismatch(mismatch) => format!("{mismatch:#?}"),
            other => other.to_string(),
        };
        if self.kind == "post" {
            let form = Form(&self.fields);
            let signature = FormSignature::of(form).map_err(|error| error.to_string())?;
            signature
                .verify(secret)
                .map_err(|error| error.to_string())?;
            let mut fields = self.fields.clone();
            fields.push(("bucket".into(), "bucket".into()));
            return PostPolicy::decode(form.get("policy").unwrap_or_default())
                .and_then(|policy| policy.check(Form(&fields), FIXTURE))
                .map_err(|error| error.to_string());
        }
        if let Some(presigned) = Presigned::parse(&self.query).map_err(|error| error.to_string())? {
            return match presigned {
                Presigned::V4(v4) => {
                    sigv4::verify_presigned(&request, &v4, secret, UNSIGNED_PAYLOAD, FIXTURE)
                        .map(drop)
                        .map_err(text)
                }
                Presigned::V2(v2) => {
                    sigv2::verify_presigned(&request, &v2, secret, None, FIXTURE).map_err(text)
                }
                Presigned::V4a(_) => Err("version 4a".into()),
            };
        }
        let header = map["authorization"].to_str().expect("text");
        match Authorization::parse(header).map_err(|error| error.to_string())? {
            Authorization::V4(v4) => {
                assert_eq!(v4.credential.service, self.service);
                let hash = match map.get("x-amz-content-sha256") {
                    Some(hash) => hash.to_str().expect("text").to_owned(),
                    None => payload_hash(self.body.as_bytes()),
                };
                sigv4::verify_header(&request, &v4, secret, &hash, FIXTURE)
                    .map(drop)
                    .map_err(text)
            }
            Authorization::V2 {
                access_key_id,
                signature,
            } => sigv2::verify_header(&request, access_key_id, signature, secret, None, FIXTURE)
                .map_err(text),
            Authorization::V4a(_) => Err("version 4a".into()),
        }
    }
}

#[test]
fn what_botocore_signs_verifies_and_only_with_its_secret() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("data/botocore-signatures.json")).expect("the fixture");
    assert_eq!(cases.len(), 144);
    for case in &cases {
        assert_eq!(
            case.verify(&case.secret),
            Ok(()),
            "{} {} {}?{}",
            case.kind,
            case.method,
            case.path,
            case.query
        );
        assert!(case.verify("another").is_err(), "{}", case.kind);
    }
}

fn parts(path_and_query: &str) -> http::request::Parts {
    http::Request::builder()
        .method("PUT")
        .uri(path_and_query)
        .header("host", "localhost:4566")
        .header("content-type", "text/plain")
        .body(())
        .expect("a request")
        .into_parts()
        .0
}

proptest! {
    #[test]
    fn what_is_signed_here_verifies_here(
        path in "/[a-zA-Z0-9/%._~-]{0,20}",
        key in "[a-z]{1,5}", value in "[a-zA-Z0-9%+]{0,8}",
        service in prop::sample::select(vec!["s3", "lambda"]),
        token in prop::option::of("[a-zA-Z0-9+/=]{1,20}"),
    ) {
        let credentials = Credentials {
            access_key_id: "AKID".into(),
            secret_access_key: "secret".into(),
            session_token: token,
        };
        let mut parts = parts(&format!("{path}?{key}={value}"));
        let hash = payload_hash(b"body");
        let presigned = {
            let request = Request { method: "PUT", path: parts.uri.path(), query: parts.uri.query().unwrap_or(""),
                headers: &parts.headers, authority: None };
            sigv4::presign(&request, &credentials, "eu-west-1", service, FIXTURE, 60)
        };
        let Ok(Some(Presigned::V4(v4))) = Presigned::parse(&presigned) else {
            panic!("not presigned: {presigned}");
        };
        let payload = if service == "s3" { UNSIGNED_PAYLOAD.to_owned() } else { payload_hash(b"") };
        let request = Request { method: "PUT", path: parts.uri.path(), query: &presigned,
            headers: &parts.headers, authority: None };
        prop_assert!(sigv4::verify_presigned(&request, &v4, "secret", &payload, FIXTURE).is_ok());

        let signature = sigv4::sign(&mut parts, &hash, &credentials, "eu-west-1", service, FIXTURE).expect("signed");
        let header = parts.headers["authorization"].to_str().expect("text");
        let Ok(Authorization::V4(v4)) = Authorization::parse(header) else {
            panic!("not version 4: {header}");
        };
        prop_assert_eq!(v4.signature, &signature);
        let request = Request { method: "PUT", path: parts.uri.path(), query: parts.uri.query().unwrap_or(""),
            headers: &parts.headers, authority: None };
        prop_assert!(sigv4::verify_header(&request, &v4, "secret", &hash, FIXTURE).is_ok());
        let late = FIXTURE + Duration::minutes(16);
        let skewed = sigv4::verify_header(&request, &v4, "secret", &hash, late);
        prop_assert!(matches!(skewed, Err(SignatureError::Skewed { .. })), "not skewed");
        prop_assert!(sigv4::verify_header(&request, &v4, "other", &hash, FIXTURE).is_err());
    }

    #[test]
    fn arbitrary_requests_never_panic(path in "\\PC*", query in "\\PC*", signed in "\\PC*", value: Vec<u8>) {
        let mut map = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            map.insert("x-amz-meta-a", value);
        }
        map.insert("x-amz-date", HeaderValue::from_static("20240506T070809Z"));
        let request = Request { method: "GET", path: &path, query: &query, headers: &map, authority: None };
        let header = format!("AWS4-HMAC-SHA256 Credential=A/20240506/r/s3/aws4_request,SignedHeaders=host;{signed},Signature=0");
        if let Ok(Authorization::V4(v4)) = Authorization::parse(&header) {
            prop_assert!(sigv4::verify_header(&request, &v4, "secret", "hash", FIXTURE).is_err());
        }
        prop_assert!(sigv2::verify_header(&request, "A", "sig", "secret", None, FIXTURE).is_err());
    }
}
