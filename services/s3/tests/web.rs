//! What browsers and links ask: websites, forms, cross-origin requests, presigned URLs, signed bodies.
#![allow(clippy::unwrap_used)]

mod region;

use std::sync::Arc;

use auth::canonical::Request;
use auth::chunk::ChunkChain;
use auth::credential::Credentials;
use auth::{sigv2, sigv4};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cloud::Principal;
use cloud::ports::{Identities, Identity};
use region::{Answer, Region};
use time::{Duration, OffsetDateTime};
use wire::Body;

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const ACCOUNT: &str = "000000000000";

/// Knows one access key, so that its signatures are compared.
struct Known;
impl Identities for Known {
    fn identity(&self, access_key: &str) -> Option<Identity> {
        (access_key == KEY).then(|| Identity {
            account: ACCOUNT.to_owned(),
            principal: Principal::root(ACCOUNT, "us-east-1", Some(KEY.to_owned())),
            secret_key: SECRET.to_owned(),
            session_token: None,
            expiration: None,
        })
    }
}

fn credentials() -> Credentials {
    Credentials {
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
        session_token: None,
    }
}

async fn region_with(bucket: &str) -> Region {
    let region = Region::start();
    region.cloud.ports.set_users(Arc::new(Known));
    region.bucket(bucket).await;
    region
}

fn now(region: &Region) -> OffsetDateTime {
    region.cloud.clock.now().date_time()
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.element("Code").unwrap_or_default())
}

// -- websites --------------------------------------------------------------------------------------------------------

async fn visit(region: &Region, path: &str) -> Answer {
    let host = [("host", "site.s3-website-us-east-1.amazonaws.com")];
    region.ask_as(None, "GET", path, &host, Body::Empty).await
}

async fn open_to_all(region: &Region, bucket: &str) {
    // New buckets block what is public.
    let block = format!("/{bucket}?publicAccessBlock");
    assert_eq!(region.ask("DELETE", &block, Body::Empty).await.status, 204);
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::{bucket}/*"}}]}}"#
    );
    region
        .configure(&format!("/{bucket}?policy"), &policy)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_website_shows_its_pages_and_its_error_page() {
    let region = region_with("site").await;
    region
        .configure(
            "/site?website",
            "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument>\
            <ErrorDocument><Key>error.html</Key></ErrorDocument></WebsiteConfiguration>",
        )
        .await;
    let html = [
        ("content-type", "text/html"),
        ("cache-control", "max-age=5"),
    ];
    for (key, text) in [
        ("index.html", "home"),
        ("docs/index.html", "docs"),
        ("error.html", "oh"),
    ] {
        let path = format!("/site/{key}");
        region.with("PUT", &path, &html, Bytes::from(text)).await;
    }
    let closed = visit(&region, "/").await;
    assert_eq!(closed.status, 403, "pages are as closed as their objects");
    assert_eq!(
        closed.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    open_to_all(&region, "site").await;
    let home = visit(&region, "/").await;
    assert_eq!((home.status, home.text().as_str()), (200, "home"));
    assert_eq!(home.header("content-type"), Some("text/html"));
    assert_eq!(home.header("cache-control"), Some("max-age=5"));
    assert_eq!(visit(&region, "/docs/").await.text(), "docs");
    let folder = visit(&region, "/docs").await;
    assert_eq!(
        (folder.status, folder.header("location")),
        (302, Some("/docs/"))
    );
    let missing = visit(&region, "/nothing").await;
    // Who may not list learns no more than that.
    assert_eq!((missing.status, missing.text().as_str()), (403, "oh"));
    let host = [("host", "site.s3-website-us-east-1.amazonaws.com")];
    let put = region
        .ask_as(None, "PUT", "/x", &host, Bytes::from("x"))
        .await;
    assert_eq!(put.status, 405);
    let etag = home.header("etag").unwrap();
    let known = [host[0], ("if-none-match", etag)];
    let same = region.ask_as(None, "GET", "/", &known, Body::Empty).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    let head = region.ask_as(None, "HEAD", "/", &host, Body::Empty).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_website_tells_why_it_has_no_page_and_no_error_page() {
    let region = region_with("site").await;
    let without = visit(&region, "/").await.text();
    assert!(without.contains("<li>Code: NoSuchWebsiteConfiguration</li>"));
    assert!(without.contains("<li>BucketName: site</li>\n<li>RequestId: "));
    region
        .configure(
            "/site?website",
            "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument>\
            <ErrorDocument><Key>error.html</Key></ErrorDocument></WebsiteConfiguration>",
        )
        .await;
    // Who may not list is not told what is not there.
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
        "Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::site","arn:aws:s3:::site/*"]}]}"#;
    open_to_all(&region, "site").await;
    region.configure("/site?policy", policy).await;
    let page = visit(&region, "/nothing").await;
    assert_eq!(page.header("x-amz-error-code"), Some("NoSuchKey"));
    let page = page.text();
    let begin = "<html>\n<head><title>404 Not Found</title></head>\n<body>\n<h1>404 Not Found</h1>\n<ul>\n<li>Code: NoSuchKey</li>\n\
        <li>Message: The specified key does not exist.</li>\n<li>Key: nothing</li>\n<li>RequestId: ";
    assert!(page.starts_with(begin), "{page}");
    let end = "<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n<ul>\n<li>Code: NoSuchKey</li>\n\
        <li>Message: The specified key does not exist.</li>\n<li>Key: error.html</li>\n</ul>\n<hr/>\n</body>\n</html>\n";
    assert!(page.ends_with(end), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_website_sends_on_by_its_rules() {
    let region = region_with("site").await;
    open_to_all(&region, "site").await;
    region
        .configure(
            "/site?website",
            "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument><RoutingRules>\
            <RoutingRule><Condition><KeyPrefixEquals>old/</KeyPrefixEquals></Condition>\
            <Redirect><ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith></Redirect></RoutingRule>\
            <RoutingRule><Condition><HttpErrorCodeReturnedEquals>403</HttpErrorCodeReturnedEquals></Condition>\
            <Redirect><HostName>example.com</HostName><Protocol>https</Protocol><HttpRedirectCode>307</HttpRedirectCode>\
            <ReplaceKeyWith>lost page</ReplaceKeyWith></Redirect></RoutingRule>\
            </RoutingRules></WebsiteConfiguration>",
        )
        .await;
    let moved = visit(&region, "/old/a%20b").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (
            301,
            Some("http://site.s3-website-us-east-1.amazonaws.com/new/a%20b")
        )
    );
    let lost = visit(&region, "/nothing").await;
    assert_eq!(
        (lost.status, lost.header("location")),
        (307, Some("https://example.com/lost%20page"))
    );
    let headers = [("x-amz-website-redirect-location", "/elsewhere")];
    region
        .with("PUT", "/site/here", &headers, Bytes::from("x"))
        .await;
    let sent = visit(&region, "/here").await;
    assert_eq!(
        (sent.status, sent.header("location")),
        (301, Some("/elsewhere"))
    );
    region
        .configure(
            "/site?website",
            "<WebsiteConfiguration><RedirectAllRequestsTo><HostName>example.org</HostName></RedirectAllRequestsTo>\
            </WebsiteConfiguration>",
        )
        .await;
    let all = visit(&region, "/a/b?c=d").await;
    assert_eq!(
        (all.status, all.header("location")),
        (301, Some("http://example.org/a/b"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_website_s_document_is_checked() {
    let region = region_with("site").await;
    let index = "<IndexDocument><Suffix>i</Suffix></IndexDocument>";
    let rule = |inner: &str| {
        format!("{index}<RoutingRules><RoutingRule>{inner}</RoutingRule></RoutingRules>")
    };
    let all = |inner: &str| {
        format!("<RedirectAllRequestsTo><HostName>h</HostName>{inner}</RedirectAllRequestsTo>")
    };
    for (document, wanted) in [
        (String::new(), "InvalidArgument"),
        (index.replace(">i<", ">/i<"), "InvalidArgument"),
        (index.to_owned() + &all(""), "InvalidArgument"),
        (all("<Protocol>ftp</Protocol>"), "InvalidRequest"),
        (
            rule("<Redirect><Protocol>ftp</Protocol></Redirect>"),
            "InvalidRequest",
        ),
        (
            rule("<Condition/><Redirect><HostName>h</HostName></Redirect>"),
            "InvalidRequest",
        ),
        (
            rule(
                "<Redirect><ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith></Redirect>",
            ),
            "InvalidRequest",
        ),
    ] {
        let text = format!("<WebsiteConfiguration>{document}</WebsiteConfiguration>");
        let put = region.ask("PUT", "/site?website", text).await;
        assert_eq!(code(&put), (400, wanted.to_owned()), "{document}");
    }
}

// -- forms -----------------------------------------------------------------------------------------------------------

/// Posts a form with those fields, then the file.
async fn post(region: &Region, fields: &[(&str, &str)], file: &str) -> Answer {
    let mut body = String::new();
    for (name, value) in fields {
        body.push_str(&format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str(&format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\a.txt\"\r\nContent-Type: text/x-file\r\n\r\n{file}\r\n--xyz--\r\n"
    ));
    let headers = [("content-type", "multipart/form-data; boundary=xyz")];
    region
        .ask_as(None, "POST", "/bucket", &headers, Bytes::from(body))
        .await
}

/// A policy that ends then, encoded.
fn policy(until: OffsetDateTime, conditions: &str) -> String {
    let at = wire::Timestamp::from_secs(until.unix_timestamp()).iso8601_secs();
    STANDARD.encode(format!(
        r#"{{"expiration":"{at}","conditions":[{{"bucket":"bucket"}},{conditions}]}}"#
    ))
}

/// The fields that sign a policy by version 4.
fn signed(region: &Region, policy: &str) -> [(&'static str, String); 5] {
    let date = auth::date::amz_date(now(region));
    let credential = format!("{KEY}/{}/us-east-1/s3/aws4_request", &date[..8]);
    let key = sigv4::SigningKey::derive(SECRET, &date[..8], "us-east-1", "s3");
    [
        ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("x-amz-credential", credential),
        ("x-amz-date", date),
        ("policy", policy.to_owned()),
        ("x-amz-signature", key.sign(policy)),
    ]
}

/// Conditions for what every signed form has.
const SIGNING: &str = r#"["starts-with","$x-amz-algorithm",""],["starts-with","$x-amz-credential",""],["starts-with","$x-amz-date",""]"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_form_stores_what_its_policy_allows() {
    let region = region_with("bucket").await;
    let later = now(&region) + Duration::minutes(5);
    let allowed = policy(
        later,
        &format!(
            r#"{SIGNING},["starts-with","$key","up/"],["content-length-range",2,10],
            {{"x-amz-meta-who":"me"}},{{"success_action_status":"201"}},{{"Content-Type":"text/plain"}}"#
        ),
    );
    let signature = signed(&region, &allowed);
    let form = async |key: &str, who: &str, signature: &str, file: &str| {
        let mut fields = vec![
            ("key", key),
            ("x-amz-meta-who", who),
            ("success_action_status", "201"),
            ("Content-Type", "text/plain"),
        ];
        let signs = signed(&region, &allowed);
        fields.extend(signs[..4].iter().map(|(name, value)| (*name, &**value)));
        fields.push(("x-amz-signature", signature));
        post(&region, &fields, file).await
    };
    let right = &*signature[4].1;
    let made = form("up/${filename}", "me", right, "hello").await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.header("x-amz-checksum-crc64nvme").is_some());
    assert_eq!(made.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    assert_eq!(made.element("Key").as_deref(), Some("up/a.txt"));
    assert_eq!(made.element("Bucket").as_deref(), Some("bucket"));
    let got = region.ask("GET", "/bucket/up/a.txt", Body::Empty).await;
    assert_eq!(got.text(), "hello");
    assert_eq!(got.header("content-type"), Some("text/plain"));
    assert_eq!(got.header("x-amz-meta-who"), Some("me"));

    let large = form("up/b", "me", right, "far more than ten").await;
    assert_eq!(code(&large), (400, "EntityTooLarge".into()));
    let small = form("up/b", "me", right, "x").await;
    assert_eq!(code(&small), (400, "EntityTooSmall".into()));
    let elsewhere = form("down/b", "me", right, "hello").await;
    assert_eq!(code(&elsewhere), (403, "AccessDenied".into()));
    assert_eq!(
        elsewhere
            .element("Message")
            .map(|m| m.replace("&quot;", "'")),
        Some(
            "Invalid according to Policy: Policy Condition failed: ['starts-with', '$key', 'up/']"
                .into()
        )
    );
    let other = form("up/b", "you", right, "hello").await;
    assert_eq!(code(&other), (403, "AccessDenied".into()));
    let forged = form("up/b", "me", &"0".repeat(64), "hello").await;
    assert_eq!(code(&forged), (403, "SignatureDoesNotMatch".into()));
    let none = region.ask("GET", "/bucket/up/b", Body::Empty).await;
    assert_eq!(none.status, 404, "what was refused left nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_s_policy_ends_and_covers_every_field() {
    let region = region_with("bucket").await;
    let ended = policy(
        now(&region) - Duration::minutes(5),
        &format!(r#"{SIGNING},{{"key":"k"}}"#),
    );
    let signature = signed(&region, &ended);
    let mut fields = vec![("key", "k")];
    fields.extend(signature.iter().map(|(name, value)| (*name, &**value)));
    let late = post(&region, &fields, "x").await;
    assert_eq!(code(&late), (403, "AccessDenied".into()));
    assert_eq!(
        late.element("Message").as_deref(),
        Some("Invalid according to Policy: Policy expired.")
    );
    let good = policy(
        now(&region) + Duration::minutes(5),
        &format!(r#"{SIGNING},{{"key":"k"}}"#),
    );
    let signature = signed(&region, &good);
    let mut fields = vec![("key", "k"), ("x-amz-meta-more", "1")];
    fields.extend(signature.iter().map(|(name, value)| (*name, &**value)));
    let extra = post(&region, &fields, "x").await;
    assert_eq!(code(&extra), (403, "AccessDenied".into()));
    assert!(extra.text().contains("Extra input fields"));
    // Version 2 signs the same document in another way; nobody without a policy may write.
    let plain = policy(now(&region) + Duration::minutes(5), r#"{"key":"k"}"#);
    let signature = sigv2::signature(SECRET, &plain);
    let fields = [
        ("key", "k"),
        ("AWSAccessKeyId", KEY),
        ("policy", &*plain),
        ("signature", &*signature),
    ];
    let made = post(&region, &fields, "by two").await;
    assert_eq!(made.status, 204, "{}", made.text());
    let got = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(got.text(), "by two");
    let nobody = post(&region, &[("key", "k")], "x").await;
    assert_eq!(code(&nobody), (403, "AccessDenied".into()));
}

// -- cross-origin requests -------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_by_the_bucket_s_rules() {
    let region = region_with("bucket").await;
    let preflight = async |headers: &[(&str, &str)]| {
        region
            .ask_as(None, "OPTIONS", "/bucket/k", headers, Body::Empty)
            .await
    };
    let asks = [
        ("origin", "https://a.example.com"),
        ("access-control-request-method", "PUT"),
        (
            "access-control-request-headers",
            "Content-Type, x-amz-meta-a",
        ),
    ];
    let without = preflight(&asks).await;
    assert_eq!(code(&without), (403, "AccessForbidden".into()));
    assert_eq!(without.element("ResourceType").as_deref(), Some("BUCKET"));
    let vague = preflight(&asks[..1]).await;
    assert_eq!(code(&vague), (403, "AccessForbidden".into()));
    assert_eq!(vague.element("Method").as_deref(), Some("OPTIONS"));
    let nowhere = region
        .ask_as(None, "OPTIONS", "/nowhere/k", &asks, Body::Empty)
        .await;
    assert_eq!(
        nowhere.element("Message").as_deref(),
        Some("CORSResponse: Bucket not found")
    );
    region
        .configure(
            "/bucket?cors",
            "<CORSConfiguration><CORSRule><AllowedOrigin>https://*.example.com</AllowedOrigin>\
            <AllowedMethod>PUT</AllowedMethod><AllowedMethod>GET</AllowedMethod><AllowedHeader>content-*</AllowedHeader>\
            <AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds>\
            </CORSRule></CORSConfiguration>",
        )
        .await;
    let answer = preflight(&asks).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (name, value) in [
        ("access-control-allow-origin", "https://a.example.com"),
        ("access-control-allow-methods", "PUT, GET"),
        ("access-control-allow-headers", "content-type, x-amz-meta-a"),
        ("access-control-expose-headers", "ETag"),
        ("access-control-max-age", "60"),
        ("access-control-allow-credentials", "true"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    for refused in [
        [("origin", "https://evil.org"), asks[1], asks[2]],
        [
            asks[0],
            ("access-control-request-method", "DELETE"),
            asks[2],
        ],
        [
            asks[0],
            asks[1],
            ("access-control-request-headers", "authorization"),
        ],
    ] {
        assert_eq!(
            code(&preflight(&refused).await),
            (403, "AccessForbidden".into())
        );
    }
    for refused in [&asks[1..], &asks[..1]] {
        assert_eq!(code(&preflight(refused).await), (400, "BadRequest".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_tell_browsers_who_may_read_them() {
    let region = region_with("bucket").await;
    region
        .configure(
            "/bucket?cors",
            "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
            </CORSRule></CORSConfiguration>",
        )
        .await;
    region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let origin = ("origin", "http://localhost:3000");
    let allowed = "access-control-allow-origin";
    let got = region
        .with("GET", "/bucket/k", &[origin], Body::Empty)
        .await;
    assert_eq!(got.header(allowed), Some("*"));
    assert_eq!(got.header("access-control-allow-credentials"), None);
    let missing = region
        .with("GET", "/bucket/no", &[origin], Body::Empty)
        .await;
    assert_eq!((missing.status, missing.header(allowed)), (404, Some("*")));
    let host = ("host", "bucket.s3.amazonaws.com");
    let got = region.with("GET", "/k", &[origin, host], Body::Empty).await;
    assert_eq!((got.text().as_str(), got.header(allowed)), ("x", Some("*")));
    // An error that comes before the operation is one to be read too.
    let expired = "/k?AWSAccessKeyId=test&Expires=1&Signature=x";
    let refused = region
        .ask_as(None, "GET", expired, &[origin, host], Body::Empty)
        .await;
    assert_eq!((refused.status, refused.header(allowed)), (403, Some("*")));
    let put = region
        .with("PUT", "/bucket/k", &[origin], Bytes::from("x"))
        .await;
    assert_eq!((put.status, put.header(allowed)), (200, None));
}

// -- signatures ------------------------------------------------------------------------------------------------------

fn presigned(method: &str, path: &str, query: &str, at: OffsetDateTime, expires: u32) -> String {
    let mut headers = http::HeaderMap::new();
    headers.insert("host", "localhost:4566".parse().unwrap());
    let request = Request {
        method,
        path,
        query,
        headers: &headers,
        authority: None,
    };
    let query = sigv4::presign(&request, &credentials(), "us-east-1", "s3", at, expires);
    format!("{path}?{query}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_url_works_in_its_time_and_for_what_it_says() {
    let region = region_with("bucket").await;
    let at = now(&region);
    let ask = async |method: &str, url: &str, body: &'static str| {
        region
            .ask_as(None, method, url, &[], Bytes::from(body))
            .await
    };
    let put = presigned("PUT", "/bucket/a%20b", "", at, 60);
    let made = ask("PUT", &put, "x").await;
    assert_eq!(made.status, 200, "{}", made.text());
    let query = "response-content-type=text%2Fcsv";
    let get = presigned("GET", "/bucket/a%20b", query, at, 60);
    let got = ask("GET", &get, "").await;
    assert_eq!((got.status, got.text().as_str()), (200, "x"));
    assert_eq!(got.header("content-type"), Some("text/csv"));
    let other = ask("PUT", &get, "y").await;
    assert_eq!(code(&other), (403, "SignatureDoesNotMatch".into()));
    let elsewhere = get.replace("a%20b", "c");
    let other = ask("GET", &elsewhere, "").await;
    assert_eq!(code(&other), (403, "SignatureDoesNotMatch".into()));
    let late = presigned("GET", "/bucket/a%20b", "", at - Duration::minutes(2), 60);
    let late = ask("GET", &late, "").await;
    assert_eq!(code(&late), (403, "AccessDenied".into()));
    assert_eq!(
        late.element("Message").as_deref(),
        Some("Request has expired")
    );
    let long = presigned("GET", "/bucket/a%20b", "", at, 700_000);
    let long = ask("GET", &long, "").await;
    assert_eq!(
        code(&long),
        (400, "AuthorizationQueryParametersError".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_url_carries_headers() {
    let region = region_with("bucket").await;
    let put = async |query: &str, body: &'static str| {
        let url = presigned("PUT", "/bucket/k", query, now(&region), 60);
        region
            .ask_as(None, "PUT", &url, &[], Bytes::from(body))
            .await
    };
    let query = "if-none-match=%2A&x-amz-meta-a=b";
    let made = put(query, "x").await;
    assert_eq!(made.status, 200, "{}", made.text());
    let again = put(query, "x").await;
    assert_eq!(code(&again), (412, "PreconditionFailed".into()));
    let sum = "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32";
    // Clients presign the checksum of no body; it is not of this one.
    let other = put(sum, "x").await;
    assert_eq!(other.status, 200, "{}", other.text());
    assert!(other.header("x-amz-checksum-crc64nvme").is_some());
    put("x-amz-meta-a=b", "x").await;
    let read = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(read.header("x-amz-meta-a"), Some("b"));
    let list = region
        .ask("GET", "/bucket?list-type=2&prefix=k", Body::Empty)
        .await;
    assert_eq!(list.header("x-amz-bucket-region"), Some("us-east-1"));
    let acl = region.ask("GET", "/bucket?acl", Body::Empty).await;
    assert_eq!(acl.header("x-amz-bucket-region"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_signed_by_version_2_still_works() {
    let region = region_with("bucket").await;
    region.ask("PUT", "/bucket/k", Bytes::from("x")).await;
    let link = |expires: i64| {
        let text = format!("GET\n\n\n{expires}\n/bucket/k");
        let signature = auth::canonical::uri_encode(&sigv2::signature(SECRET, &text)).into_owned();
        format!("/bucket/k?AWSAccessKeyId={KEY}&Expires={expires}&Signature={signature}")
    };
    let soon = now(&region).unix_timestamp() + 60;
    // What was a header when it was signed is in the query.
    let text = format!("PUT\n\ntext/plain\n{soon}\nx-amz-meta-a:b c\n/bucket/k2");
    let signature = auth::canonical::uri_encode(&sigv2::signature(SECRET, &text)).into_owned();
    let put = format!(
        "/bucket/k2?AWSAccessKeyId={KEY}&Expires={soon}&Signature={signature}&x-amz-meta-a=b+c&content-type=text%2Fplain"
    );
    let made = region
        .ask_as(None, "PUT", &put, &[], Bytes::from("x"))
        .await;
    assert_eq!(made.status, 200, "{}", made.text());
    let read = region.ask("GET", "/bucket/k2", Body::Empty).await;
    assert_eq!(read.header("x-amz-meta-a"), Some("b c"));
    assert_eq!(read.header("content-type"), Some("text/plain"));
    let got = region
        .ask_as(None, "GET", &link(soon), &[], Body::Empty)
        .await;
    assert_eq!((got.status, got.text().as_str()), (200, "x"));
    let forged = link(soon).replace(&soon.to_string(), &(soon + 1000).to_string());
    let refused = region.ask_as(None, "GET", &forged, &[], Body::Empty).await;
    assert_eq!(code(&refused), (403, "SignatureDoesNotMatch".into()));
    let late = link(soon - 120);
    let refused = region.ask_as(None, "GET", &late, &[], Body::Empty).await;
    assert_eq!(code(&refused), (403, "AccessDenied".into()));
}

/// Puts a body in signed chunks, perhaps with a trailer; `spoil` is called on what goes out.
async fn put_chunks(
    region: &Region,
    chunks: &[&str],
    trailer: Option<&str>,
    spoil: impl FnOnce(String) -> String,
) -> Answer {
    let hash = match trailer {
        Some(_) => auth::chunk::STREAMING_PAYLOAD_TRAILER,
        None => auth::chunk::STREAMING_PAYLOAD,
    };
    let length: usize = chunks.iter().map(|c| c.len()).sum();
    let mut request = http::Request::builder()
        .method("PUT")
        .uri("/bucket/k")
        .header("host", "localhost:4566")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", length.to_string());
    if trailer.is_some() {
        request = request.header("x-amz-trailer", "x-amz-checksum-crc32");
    }
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let at = now(region);
    let signature = sigv4::sign(&mut parts, hash, &credentials(), "us-east-1", "s3", at).unwrap();
    let date = auth::date::amz_date(at);
    let mut chain = ChunkChain::new(sigv4::Verified {
        key: sigv4::SigningKey::derive(SECRET, &date[..8], "us-east-1", "s3"),
        signature,
        scope: format!("{}/us-east-1/s3/aws4_request", &date[..8]),
        date,
    });
    let mut body = String::new();
    for chunk in chunks.iter().chain([&""]) {
        chain.update(chunk.as_bytes());
        let signature = chain.sign_chunk();
        body.push_str(&format!(
            "{:x};chunk-signature={signature}\r\n",
            chunk.len()
        ));
        if !chunk.is_empty() {
            body.push_str(&format!("{chunk}\r\n"));
        }
    }
    match trailer {
        Some(sum) => {
            let line = format!("x-amz-checksum-crc32:{sum}");
            let signature = chain.sign_trailer(&format!("{line}\n"));
            body.push_str(&format!(
                "{line}\r\nx-amz-trailer-signature:{signature}\r\n\r\n"
            ));
        }
        None => body.push_str("\r\n"),
    }
    let headers: Vec<(&str, &str)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let body = Bytes::from(spoil(body));
    region
        .ask_as(None, "PUT", "/bucket/k", &headers, body)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_signed_chunks_is_taken_as_it_was_signed() {
    let region = region_with("bucket").await;
    let chunks = ["12345", "6789"];
    let same = |body: String| body;
    let made = put_chunks(&region, &chunks, None, same).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let got = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(got.text(), "123456789");
    assert_eq!(got.header("content-encoding"), None);
    let made = put_chunks(&region, &chunks, Some("y/Q5Jg=="), same).await;
    assert_eq!(made.status, 200, "{}", made.text());
    assert_eq!(made.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));

    let changed = put_chunks(&region, &chunks, None, |body| body.replace("6789", "6788")).await;
    assert_eq!(code(&changed), (403, "SignatureDoesNotMatch".into()));
    let wrong = put_chunks(&region, &chunks, Some("AAAAAA=="), same).await;
    assert_eq!(code(&wrong), (400, "BadDigest".into()));
    let unsigned = put_chunks(&region, &chunks, Some("y/Q5Jg=="), |body| {
        let at = body.find("x-amz-trailer-signature").unwrap();
        format!("{}\r\n", &body[..at])
    })
    .await;
    assert_eq!(code(&unsigned), (403, "SignatureDoesNotMatch".into()));
    let cut = put_chunks(&region, &chunks, None, |body| body[..100].to_owned()).await;
    assert_eq!(code(&cut), (400, "IncompleteBody".into()));
    let got = region.ask("GET", "/bucket/k", Body::Empty).await;
    assert_eq!(got.text(), "123456789", "what was refused changed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_no_announced_length_is_refused() {
    let region = region_with("bucket").await;
    let stream = futures_util::stream::iter([Ok(Bytes::from("x"))]);
    let body = Body::stream(Box::pin(stream), None);
    let chunked = [("transfer-encoding", "chunked")];
    let refused = region.with("PUT", "/bucket/k", &chunked, body).await;
    assert_eq!(code(&refused), (501, "NotImplemented".into()));
    assert_eq!(
        refused.element("Header").as_deref(),
        Some("Transfer-Encoding")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_before_the_body_is_told_to_connect_anew() {
    let region = region_with("bucket").await;
    let waits = [("expect", "100-continue")];
    let refused = region
        .with("PUT", "/nowhere/k", &waits, Bytes::from("x"))
        .await;
    assert_eq!(
        (refused.status, refused.header("connection")),
        (404, Some("close"))
    );
    let late = "/bucket/k?AWSAccessKeyId=test&Expires=1&Signature=x";
    let refused = region
        .ask_as(None, "PUT", late, &waits, Bytes::from("x"))
        .await;
    assert_eq!(
        (refused.status, refused.header("connection")),
        (403, Some("close"))
    );
    let put = region
        .with("PUT", "/bucket/k", &waits, Bytes::from("x"))
        .await;
    assert_eq!((put.status, put.header("connection")), (200, None));
}
