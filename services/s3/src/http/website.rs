//! Websites: a bucket's pages, its index and error documents, and its redirects.

use cloud::{Context, Principal};
use http::request::Parts;
use wire::protocol::Response;
use wire::{Body, Fault};

use super::bucket_and_key;
use crate::acl::Permission;
use crate::bucket::Bucket;
use crate::{S3, api, fault, metadata};

/// Checks PutBucketWebsite's document.
pub fn check(document: &api::WebsiteConfiguration) -> Result<(), Fault> {
    if let Some(redirect) = &document.redirect_all_requests_to {
        let alone = document.index_document.is_none()
            && document.error_document.is_none()
            && document.routing_rules.is_none();
        if !alone {
            return Err(fault::invalid_argument(
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
                "RedirectAllRequestsTo",
                "not null",
            ));
        }
        if redirect.host_name.is_empty() {
            return Err(fault::malformed_xml());
        }
        return check_protocol(redirect.protocol.as_deref());
    }
    let Some(index) = &document.index_document else {
        return Err(fault::invalid_argument(
            "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
            "IndexDocument",
            "null",
        ));
    };
    if index.suffix.is_empty() || index.suffix.contains('/') {
        return Err(fault::invalid_argument(
            "The IndexDocument Suffix is not well formed",
            "IndexDocument",
            index.suffix.as_str(),
        ));
    }
    if document
        .error_document
        .as_ref()
        .is_some_and(|e| e.key.is_empty())
    {
        return Err(fault::invalid_argument(
            "The ErrorDocument Key is not well formed",
            "ErrorDocument",
            "",
        ));
    }
    if document.routing_rules.as_ref().is_some_and(Vec::is_empty) {
        return Err(fault::malformed_xml());
    }
    for rule in document.routing_rules.iter().flatten() {
        let redirect = &rule.redirect;
        check_protocol(redirect.protocol.as_deref())?;
        let is_empty = |condition: &api::Condition| {
            condition.key_prefix_equals.is_none()
                && condition.http_error_code_returned_equals.is_none()
        };
        if rule.condition.as_ref().is_some_and(is_empty) {
            return Err(fault::invalid_request(
                "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't be present.",
            ));
        }
        if redirect.replace_key_with.is_some() && redirect.replace_key_prefix_with.is_some() {
            return Err(fault::invalid_request(
                "You can only define ReplaceKeyPrefix or ReplaceKey but not both.",
            ));
        }
    }
    Ok(())
}

fn check_protocol(protocol: Option<&str>) -> Result<(), Fault> {
    if protocol.is_none_or(|p| matches!(p, "http" | "https")) {
        return Ok(());
    }
    Err(fault::invalid_request(
        "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.",
    ))
}

/// An error as a page; `custom` is why the website's own page for it cannot be shown.
fn html(ctx: &Context, fault: &Fault, custom: Option<&Fault>) -> Response {
    let reason = http::StatusCode::from_u16(fault.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let title = format!("{} {reason}", fault.status);
    let mut text =
        format!("<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n");
    lines(&mut text, fault);
    line(&mut text, "RequestId", &ctx.request_id);
    line(
        &mut text,
        "HostId",
        &wire::protocol::host_id(&ctx.request_id),
    );
    text.push_str("</ul>\n");
    if let Some(custom) = custom {
        text.push_str("<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n<ul>\n");
        lines(&mut text, custom);
        text.push_str("</ul>\n");
    }
    text.push_str("<hr/>\n</body>\n</html>\n");
    Response::new(fault.status, "text/html; charset=utf-8", text)
        .header("x-amz-error-code", fault.code.clone())
        .header("x-amz-error-message", fault.message.clone())
}

fn lines(text: &mut String, fault: &Fault) {
    line(text, "Code", &fault.code);
    line(text, "Message", &fault.message);
    for (name, value) in &fault.fields {
        line(text, name, value);
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    text.push_str("<li>");
    text.push_str(name);
    text.push_str(": ");
    wire::xml::escape(text, value);
    text.push_str("</li>\n");
}

fn redirect_to(status: u16, location: String) -> Response {
    Response {
        status,
        headers: vec![("Location".into(), location)],
        body: Body::Empty,
    }
}

fn encoded(key: &str) -> String {
    const SET: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b'/');
    percent_encoding::utf8_percent_encode(key, SET).to_string()
}

/// Where a routing rule sends a key.
fn routed(rule: &api::RoutingRule, key: &str, scheme: &str, host: &str) -> Response {
    let redirect = &rule.redirect;
    let prefix = rule
        .condition
        .as_ref()
        .and_then(|c| c.key_prefix_equals.as_deref())
        .unwrap_or_default();
    let key = match (
        &redirect.replace_key_with,
        &redirect.replace_key_prefix_with,
    ) {
        (Some(key), _) => key.clone(),
        (None, Some(with)) => format!("{with}{}", key.strip_prefix(prefix).unwrap_or(key)),
        (None, None) => key.to_owned(),
    };
    let status = redirect
        .http_redirect_code
        .as_deref()
        .and_then(|c| c.parse().ok())
        .unwrap_or(301);
    let protocol = redirect.protocol.as_deref().unwrap_or(scheme);
    let host = redirect.host_name.as_deref().unwrap_or(host);
    redirect_to(status, format!("{protocol}://{host}/{}", encoded(&key)))
}

fn rule_for<'a>(
    site: &'a api::WebsiteConfiguration,
    key: &str,
    error: Option<u16>,
) -> Option<&'a api::RoutingRule> {
    site.routing_rules.iter().flatten().find(|rule| {
        let Some(condition) = &rule.condition else {
            return error.is_none();
        };
        let is_prefix = condition
            .key_prefix_equals
            .as_deref()
            .is_none_or(|p| key.starts_with(p));
        let wanted = condition
            .http_error_code_returned_equals
            .as_deref()
            .and_then(|c| c.parse::<u16>().ok());
        is_prefix && wanted == error
    })
}

/// Answers a request to a website's host.
pub async fn serve(s3: &S3, ctx: &Context, bucket: &str, request: &Parts) -> Response {
    if request.method != http::Method::GET && request.method != http::Method::HEAD {
        let fault = Fault::sender(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .field("Method", request.method.as_str())
        .field("ResourceType", "OBJECT");
        return html(ctx, &fault, None);
    }
    let (_, path) = bucket_and_key(&format!("/{bucket}{}", request.uri.path()));
    let Some(found) = s3.buckets.find(bucket) else {
        return html(ctx, &crate::fault::no_such_bucket(bucket), None);
    };
    let Some(site) = &found.website else {
        let fault = Fault::sender(
            404,
            "NoSuchWebsiteConfiguration",
            "The specified bucket does not have a website configuration",
        );
        return html(ctx, &fault.field("BucketName", bucket), None);
    };
    let scheme = if ctx.secure { "https" } else { "http" };
    if let Some(all) = &site.redirect_all_requests_to {
        let protocol = all.protocol.as_deref().unwrap_or(scheme);
        return redirect_to(
            301,
            format!("{protocol}://{}/{}", all.host_name, encoded(&path)),
        );
    }
    // A website is open to whom its objects are open to; nobody signs.
    let visitor = Context {
        principal: Principal::anonymous(),
        ..ctx.clone()
    };
    if let Some(rule) = rule_for(site, &path, None) {
        return routed(rule, &path, scheme, &ctx.host);
    }
    let suffix = site
        .index_document
        .as_ref()
        .map_or("index.html", |i| i.suffix.as_str());
    let key = if path.is_empty() || path.ends_with('/') {
        format!("{path}{suffix}")
    } else {
        path.clone()
    };
    let fault = match page(s3, &visitor, &found, &key, 200, request).await {
        Ok(response) => return response,
        Err(fault) => fault,
    };
    if matches!(fault.status, 403 | 404) && key == path {
        let folder = format!("{path}/{suffix}");
        if page(s3, &visitor, &found, &folder, 200, request)
            .await
            .is_ok()
        {
            return redirect_to(302, format!("/{}/", encoded(&path)));
        }
    }
    if fault.status < 400 {
        return Response {
            status: fault.status,
            headers: Vec::new(),
            body: Body::Empty,
        };
    }
    if let Some(rule) = rule_for(site, &path, Some(fault.status)) {
        return routed(rule, &path, scheme, &ctx.host);
    }
    let Some(document) = &site.error_document else {
        return html(ctx, &fault, None);
    };
    match page(s3, &visitor, &found, &document.key, fault.status, request).await {
        Ok(response) => response,
        Err(custom) => html(ctx, &fault, Some(&custom)),
    }
}

async fn page(
    s3: &S3,
    ctx: &Context,
    bucket: &Bucket,
    key: &str,
    status: u16,
    request: &Parts,
) -> Result<Response, Fault> {
    let found = s3.find(ctx, bucket, key, None, "s3:GetObject", Permission::Read)?;
    let version = &found.version;
    if let Some(location) = &version.headers.website_redirect {
        return Ok(redirect_to(301, location.clone()));
    }
    if status == 200 {
        let date = |name: &str| super::header(request, name).and_then(wire::Timestamp::parse);
        let conditions = crate::condition::Conditions {
            matches: super::header(request, "if-match"),
            none_match: super::header(request, "if-none-match"),
            modified_since: date("if-modified-since"),
            unmodified_since: date("if-unmodified-since"),
        };
        conditions.check_read(version, ctx.time)?;
    }
    let body = if request.method == http::Method::HEAD {
        Body::Empty
    } else {
        s3.read_content(bucket, key, version, 0..version.size, None)?
            .ok_or_else(fault::operation_aborted)?
    };
    let content_type = version
        .headers
        .content_type
        .as_deref()
        .unwrap_or("binary/octet-stream");
    let mut response = Response::new(status, content_type, body)
        .header("ETag", version.quoted_etag())
        .header(
            "Last-Modified",
            version
                .last_modified()
                .format(wire::TimestampFormat::Rfc822),
        )
        .header("Content-Length", version.size.to_string());
    for (name, value) in [
        ("Cache-Control", &version.headers.cache_control),
        ("Content-Disposition", &version.headers.content_disposition),
        ("Content-Encoding", &version.headers.content_encoding),
        ("Content-Language", &version.headers.content_language),
    ] {
        if let Some(value) = value {
            response = response.header(name, value.as_str());
        }
    }
    for (name, value) in &version.metadata {
        response = response.header(format!("x-amz-meta-{name}"), metadata::shown(value));
    }
    Ok(response)
}
