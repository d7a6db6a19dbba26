//! What browsers ask: websites, forms, cross-origin requests.
#![allow(clippy::unwrap_used)]

mod region;

use auth::{sigv2, sigv4};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use region::key::{KEY, SECRET, code, now, region_with};
use region::{Answer, Region};
use time::{Duration, OffsetDateTime};
use wire::Body;

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
