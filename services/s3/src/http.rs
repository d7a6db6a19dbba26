//! What is HTTP and no API operation: host names, signatures, the framing of bodies, forms, CORS, websites.

pub mod address;
pub mod chunked;
pub mod cors;
pub mod form;
pub mod integrity;
pub mod presigned;
pub mod signature;
pub mod website;

use std::sync::Arc;

use cloud::{Before, Context};
use futures_util::future::BoxFuture;
use http::request::Parts;
use wire::protocol::Response;
use wire::{Body, Fault, Protocol};

use crate::{S3, api, fault};

/// S3's front.
pub struct Front(pub Arc<S3>);

/// A header's text.
pub(crate) fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    wire::header::text(&parts.headers, name)
}

fn header_text<'a>(request: &'a http::Request<Body>, name: &str) -> &'a str {
    wire::header::text(request.headers(), name).unwrap_or_default()
}

/// An error as S3 answers it.
pub(crate) fn answer(fault: &Fault, ctx: &Context) -> Response {
    if let Some(cause) = &fault.cause {
        tracing::error!(cause, "internal failure");
    }
    Protocol::RestXml.write_fault(&api::MODEL, fault, &ctx.request_id)
}

/// Bucket and key of a path in path style, decoded.
pub(crate) fn bucket_and_key(path: &str) -> (String, String) {
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    (decode(bucket), decode(key))
}

impl Front {
    async fn receive(
        &self,
        ctx: &Context,
        mut request: http::Request<Body>,
    ) -> Result<Before, Fault> {
        let original = request.uri().clone();
        let host = address::host(request.uri(), request.headers());
        let website = host.as_deref().and_then(address::website_bucket);
        if let Some(bucket) = website.map(str::to_owned) {
            let (parts, _) = request.into_parts();
            // Boxed, as what else is rare: every request would carry room for it.
            let mut response = Box::pin(website::serve(&self.0, ctx, &bucket, &parts)).await;
            cors::dress_of(&self.0, &bucket, &parts, &mut response);
            return Ok(Before::Answer(response));
        }
        let bucket_of_host = host.as_deref().and_then(address::bucket).map(str::to_owned);
        if let Some(bucket) = &bucket_of_host {
            *request.uri_mut() = address::to_path_style(&original, bucket).ok_or_else(|| {
                Fault::sender(400, "InvalidURI", "Couldn't parse the specified URI.")
                    .field("URI", original.to_string())
            })?;
        }
        if request.uri().path().contains('%')
            && std::str::from_utf8(
                &percent_encoding::percent_decode_str(request.uri().path()).collect::<Vec<_>>(),
            )
            .is_err()
        {
            return Err(
                Fault::sender(400, "InvalidURI", "Couldn't parse the specified URI.")
                    .field("URI", original.path()),
            );
        }
        if request.method() == http::Method::OPTIONS {
            let (parts, _) = request.into_parts();
            return Ok(Before::Answer(cors::preflight(&self.0, ctx, &parts)));
        }
        if form::is_form(&request) {
            let (parts, body) = request.into_parts();
            let received = Box::pin(form::receive(&self.0, ctx, &parts, body));
            let mut response = match received.await {
                Ok(response) => response,
                Err(fault) => answer(&fault, ctx),
            };
            cors::dress(&self.0, &parts, &mut response);
            return Ok(Before::Answer(response));
        }
        let reads = matches!(*request.method(), http::Method::GET | http::Method::HEAD);
        if reads && wire::header::has(request.headers(), "x-amz-server-side-encryption") {
            return Err(fault::invalid_argument(
                "x-amz-server-side-encryption header is not supported for this operation.",
                "x-amz-server-side-encryption",
                header_text(&request, "x-amz-server-side-encryption"),
            ));
        }
        let verified = signature::verify(
            &self.0.cloud,
            ctx,
            &request,
            &original,
            bucket_of_host.as_deref(),
        )?;
        presigned::take_headers(&mut request);
        integrity::require_length(&request)?;
        let request = chunked::unwrap(request, verified)?;
        Ok(Before::Pass(integrity::guard(request)?))
    }
}

impl cloud::Front for Front {
    fn claims(&self, request: &Parts) -> bool {
        address::may_be_website(&request.headers)
            && address::host(&request.uri, &request.headers)
                .is_some_and(|host| address::website_bucket(&host).is_some())
    }

    fn before<'a>(
        &'a self,
        ctx: &'a Context,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Before> {
        Box::pin(async move {
            // What a browser's script is to be told even where the request is refused.
            let of_script = request
                .headers()
                .contains_key(http::header::ORIGIN)
                .then(|| {
                    let mut copy = http::Request::new(());
                    copy.method_mut().clone_from(request.method());
                    copy.headers_mut().clone_from(request.headers());
                    let host = address::host(request.uri(), request.headers());
                    let bucket = match host.as_deref().and_then(address::bucket) {
                        Some(bucket) => bucket.to_owned(),
                        None => bucket_and_key(request.uri().path()).0,
                    };
                    (bucket, copy.into_parts().0)
                });
            let waits = waits(request.headers());
            match self.receive(ctx, request).await {
                Ok(Before::Answer(mut response)) => {
                    close_unread(waits, &mut response);
                    Before::Answer(response)
                }
                Ok(before) => before,
                Err(fault) => {
                    let mut response = answer(&fault, ctx);
                    if let Some((bucket, parts)) = &of_script {
                        cors::dress_of(&self.0, bucket, parts, &mut response);
                    }
                    close_unread(waits, &mut response);
                    Before::Answer(response)
                }
            }
        })
    }

    /// That there is no such bucket goes before what is wrong with the document for it.
    fn unreadable(&self, operation: &str, request: &Parts, fault: Fault) -> Fault {
        let (name, _) = bucket_and_key(request.uri.path());
        let is_missing = || self.0.buckets.find(&name).is_none();
        if fault.is("MalformedXML") && operation != "CreateBucket" && is_missing() {
            return fault::no_such_bucket(&name);
        }
        fault
    }

    fn after(&self, _: &Context, request: &Parts, response: &mut Response) {
        let query = request.uri.query().unwrap_or_default();
        let asks_location = || {
            query
                .split('&')
                .any(|pair| pair.split('=').next() == Some("location"))
        };
        if response.status == 200 && request.method == http::Method::GET && asks_location() {
            single_element(response);
        }
        let is_range =
            |(name, _): &wire::header::Header| name.eq_ignore_ascii_case("content-range");
        if response.status == 200 && response.headers.iter().any(is_range) {
            response.status = 206;
        }
        if response.status == 304 {
            response.body = Body::Empty;
            response
                .headers
                .retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        }
        if response.status == 204 {
            response
                .headers
                .retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        }
        // HeadBucket's answer, and no other of this method, names the region; it says what its body would be.
        let is_region = |(name, _): &wire::header::Header| name == "x-amz-bucket-region";
        if request.method == http::Method::HEAD
            && response.status == 200
            && response.headers.iter().any(is_region)
        {
            let xml = ("content-type".into(), "application/xml".into());
            response.headers.push(xml);
        }
        if response.status == 200 && request.method == http::Method::GET {
            self.tell_region(request, response);
        }
        cors::dress(&self.0, request, response);
        close_unread(waits(&request.headers), response);
    }
}

impl Front {
    /// A list of a bucket's objects names the bucket's region.
    fn tell_region(&self, request: &Parts, response: &mut Response) {
        const OF_LISTS: [&str; 9] = [
            "continuation-token",
            "delimiter",
            "encoding-type",
            "fetch-owner",
            "list-type",
            "marker",
            "max-keys",
            "prefix",
            "start-after",
        ];
        let name = request.uri.path().trim_start_matches('/');
        let name = name.strip_suffix('/').unwrap_or(name);
        if name.is_empty() || name.contains('/') {
            return;
        }
        let is_list = request.uri.query().unwrap_or_default().split('&').all(|p| {
            let name = p.split('=').next().unwrap_or_default();
            name.is_empty() || name.starts_with("X-Amz-") || OF_LISTS.contains(&name)
        });
        if let Some(bucket) = self.0.buckets.find(name).filter(|_| is_list) {
            let region = bucket.record.region.clone();
            response
                .headers
                .push(("x-amz-bucket-region".into(), region));
        }
    }
}

/// Whether a client waits to be told that it may send its body.
fn waits(headers: &http::HeaderMap) -> bool {
    wire::header::has(headers, "expect")
}

/// Ends the connection behind a refusal that a client got before its body: whether that body still comes, or the next
/// request, nobody can tell.
fn close_unread(waits: bool, response: &mut Response) {
    if waits && response.status >= 400 {
        response.headers.push(("connection".into(), "close".into()));
    }
}

/// GetBucketLocation's answer is its root element's text, which the model cannot say.
fn single_element(response: &mut Response) {
    let Body::Bytes(bytes) = &response.body else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    let inner = text
        .split_once("<LocationConstraint>")
        .and_then(|(_, rest)| rest.split_once("</LocationConstraint>"));
    if let Some((region, _)) = inner {
        let namespace = api::MODEL.namespace.unwrap_or_default();
        response.body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint xmlns=\"{namespace}\">{region}</LocationConstraint>"
        )
        .into();
    }
}

/// `AccessDenied` where the request presents nothing that S3 could verify.
pub(crate) fn denied(message: impl Into<String>) -> Fault {
    let mut fault = fault::access_denied();
    fault.message = message.into().into();
    fault
}
