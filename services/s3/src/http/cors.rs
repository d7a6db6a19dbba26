//! Cross-origin requests: the preflight, and the headers of answers.

use cloud::Context;
use http::request::Parts;
use wire::protocol::Response;
use wire::{Body, Fault};

use super::{answer, bucket_and_key, header};
use crate::{S3, api, fault};

const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// Checks PutBucketCors's document.
pub fn check(configuration: &api::CORSConfiguration) -> Result<(), Fault> {
    if configuration.cors_rules.is_empty() || configuration.cors_rules.len() > 100 {
        return Err(fault::malformed_xml());
    }
    for rule in &configuration.cors_rules {
        if rule.allowed_methods.is_empty() || rule.allowed_origins.is_empty() {
            return Err(fault::malformed_xml());
        }
        if let Some(method) = rule
            .allowed_methods
            .iter()
            .find(|m| !METHODS.contains(&m.as_str()))
        {
            return Err(fault::invalid_request(format!(
                "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            )));
        }
        if let Some(origin) = rule
            .allowed_origins
            .iter()
            .find(|o| o.matches('*').count() > 1)
        {
            return Err(fault::invalid_request(format!(
                "AllowedOrigin \"{origin}\" can not have more than one wildcard."
            )));
        }
        if let Some(name) = rule
            .allowed_headers
            .iter()
            .flatten()
            .find(|h| h.matches('*').count() > 1)
        {
            return Err(fault::invalid_request(format!(
                "AllowedHeader \"{name}\" can not have more than one wildcard."
            )));
        }
    }
    Ok(())
}

/// Whether a text matches a pattern with at most one asterisk.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, tail)) => {
            text.len() >= head.len() + tail.len() && text.starts_with(head) && text.ends_with(tail)
        }
        None => pattern == text,
    }
}

fn rule_for<'a>(
    rules: &'a [api::CORSRule],
    origin: &str,
    method: &str,
    headers: &[String],
) -> Option<&'a api::CORSRule> {
    rules.iter().find(|rule| {
        let allows_header = |name: &String| {
            rule.allowed_headers
                .iter()
                .flatten()
                .any(|h| matches(&h.to_ascii_lowercase(), &name.to_ascii_lowercase()))
        };
        rule.allowed_origins.iter().any(|o| matches(o, origin))
            && rule.allowed_methods.iter().any(|m| m == method)
            && headers.iter().all(allows_header)
    })
}

fn common(rule: &api::CORSRule, origin: &str, response: &mut Response) {
    let any = rule.allowed_origins.iter().any(|o| o == "*");
    let mut push = |name: &'static str, value: String| response.headers.push((name.into(), value));
    push(
        "Access-Control-Allow-Origin",
        if any {
            "*".to_owned()
        } else {
            origin.to_owned()
        },
    );
    push(
        "Access-Control-Allow-Methods",
        rule.allowed_methods.join(", "),
    );
    if let Some(names) = rule.expose_headers.as_ref().filter(|n| !n.is_empty()) {
        push("Access-Control-Expose-Headers", names.join(", "));
    }
    if let Some(seconds) = rule.max_age_seconds {
        push("Access-Control-Max-Age", seconds.to_string());
    }
    if !any {
        push("Access-Control-Allow-Credentials", "true".to_owned());
    }
    push(
        "Vary",
        "Origin, Access-Control-Request-Headers, Access-Control-Request-Method".to_owned(),
    );
}

/// `Access-Control-Request-Headers`
fn announced(request: &Parts) -> Vec<String> {
    header(request, "access-control-request-headers")
        .unwrap_or_default()
        .split(',')
        .map(|h| h.trim().to_ascii_lowercase())
        .filter(|h| !h.is_empty())
        .collect()
}

/// Answers `OPTIONS`.
pub fn preflight(s3: &S3, ctx: &Context, request: &Parts) -> Response {
    let (bucket, key) = bucket_and_key(request.uri.path());
    let bad = |message: String| answer(&Fault::sender(400, "BadRequest", message), ctx);
    let Some(origin) = header(request, "origin") else {
        return bad("Insufficient information. Origin request header needed.".to_owned());
    };
    let method = header(request, "access-control-request-method");
    let forbidden = |message: &str, resource: &'static str| {
        let fault = Fault::sender(403, "AccessForbidden", message.to_owned())
            .field("Method", method.unwrap_or("OPTIONS"))
            .field("ResourceType", resource);
        answer(&fault, ctx)
    };
    let Some(bucket) = s3.buckets.find(&bucket) else {
        return forbidden("CORSResponse: Bucket not found", "BUCKET");
    };
    let Some(configuration) = &bucket.cors else {
        return forbidden(
            "CORSResponse: CORS is not enabled for this bucket.",
            "BUCKET",
        );
    };
    let Some(method) = method.filter(|method| METHODS.contains(method)) else {
        let shown = method.unwrap_or("null");
        return bad(format!("Invalid Access-Control-Request-Method: {shown}"));
    };
    let headers = announced(request);
    let Some(rule) = rule_for(&configuration.cors_rules, origin, method, &headers) else {
        return forbidden(
            "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
            if key.is_empty() { "BUCKET" } else { "OBJECT" },
        );
    };
    let mut response = Response {
        status: 200,
        headers: Vec::new(),
        body: Body::Empty,
    };
    common(rule, origin, &mut response);
    if !headers.is_empty() {
        let allowed = headers.join(", ");
        response
            .headers
            .push(("Access-Control-Allow-Headers".into(), allowed));
    }
    response
}

/// Adds the headers of a cross-origin answer to a request in path style.
pub fn dress(s3: &S3, request: &Parts, response: &mut Response) {
    if header(request, "origin").is_some() {
        let (bucket, _) = bucket_and_key(request.uri.path());
        dress_of(s3, &bucket, request, response);
    }
}

/// The same where the bucket is known, which has to have a rule for the request.
pub fn dress_of(s3: &S3, bucket: &str, request: &Parts, response: &mut Response) {
    let Some(origin) = header(request, "origin") else {
        return;
    };
    let Some(bucket) = s3.buckets.find(bucket) else {
        return;
    };
    let Some(configuration) = &bucket.cors else {
        return;
    };
    let method =
        header(request, "access-control-request-method").unwrap_or(request.method.as_str());
    if let Some(rule) = rule_for(
        &configuration.cors_rules,
        origin,
        method,
        &announced(request),
    ) {
        common(rule, origin, response);
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn one_asterisk_stands_for_anything() {
        assert!(matches("*", ""));
        assert!(matches("http://*.example.com", "http://a.example.com"));
        assert!(matches("*suffix", "a-suffix"));
        assert!(!matches("start*end", "startend2"));
        assert!(!matches("aa*aa", "aaa"));
    }
}
