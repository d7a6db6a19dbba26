//! What is signed other than in its headers: presigned URLs of both versions, bodies in chunks.
#![allow(clippy::unwrap_used)]

mod region;

use auth::canonical::Request;
use auth::chunk::ChunkChain;
use auth::{sigv2, sigv4};
use bytes::Bytes;
use region::key::{KEY, SECRET, code, credentials, now, region_with};
use region::{Answer, Region};
use time::{Duration, OffsetDateTime};
use wire::Body;

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
