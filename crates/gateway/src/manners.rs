//! What requests and answers of some services are held to, and what browsers are told.

use http::request::Parts;
use wire::protocol::Response;
use wire::{Body, Fault};

use crate::detect::{header, host_of};
use crate::host;

/// An error with the namespace that its service has before its errors' names, or AWS's framework before its own.
pub(crate) fn named(mut fault: Fault, namespace: &str) -> Fault {
    // That one is ours.
    if fault.is("NotImplemented") {
        return fault;
    }
    let namespace = match &*fault.code {
        "ValidationException" => "com.amazon.coral.validate",
        "AccessDeniedException"
        | "ExpiredTokenException"
        | "IncompleteSignatureException"
        | "InternalFailure"
        | "InvalidSignatureException"
        | "MissingAuthenticationTokenException"
        | "SerializationException"
        | "UnknownOperationException"
        | "UnrecognizedClientException" => "com.amazon.coral.service",
        _ => namespace,
    };
    fault.code = format!("{namespace}#{}", fault.code).into();
    fault
}

/// The refusal of a request whose line or headers are too long, or whose path is none of a service of one path.
pub(crate) fn outsized(parts: &Parts, most: usize) -> Option<Fault> {
    let line = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    let headers = parts.headers.iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if line > most || headers > most {
        return Some(Fault::sender(
            400,
            "RequestHeaderSectionTooLarge",
            "Your request header section exceeds the maximum allowed size.",
        ));
    }
    (parts.uri.path() != "/" && header(parts, "x-amz-target").is_some())
        .then(|| Fault::sender(404, "UnknownOperationException", ""))
}

/// Browsers may read what is not S3's: consoles run on other ports.
pub(crate) fn allow_origin(parts: &Parts, response: &mut Response) {
    if wire::header::has(&parts.headers, "origin") {
        for name in [
            "Access-Control-Allow-Origin",
            "Access-Control-Expose-Headers",
        ] {
            response.headers.push((name.into(), "*".into()));
        }
    }
}

/// The answer to a browser that asks whether it may call an API: those that are called at the root, which S3's names are not.
pub(crate) fn preflight(parts: &Parts) -> Option<Response> {
    let at_root = parts.method == http::Method::OPTIONS && parts.uri.path() == "/";
    let of_s3 = host_of(parts).and_then(host::service);
    if !at_root
        || !wire::header::has(&parts.headers, "origin")
        || of_s3.is_some_and(|(name, _)| name.starts_with("s3"))
    {
        return None;
    }
    let mut response = Response {
        status: 200,
        headers: Vec::new(),
        body: Body::Empty,
    };
    allow_origin(parts, &mut response);
    response
        .headers
        .push(("Access-Control-Max-Age".into(), "172800".into()));
    for (asked, allowed) in [
        (
            "access-control-request-method",
            "Access-Control-Allow-Methods",
        ),
        (
            "access-control-request-headers",
            "Access-Control-Allow-Headers",
        ),
    ] {
        if let Some(value) = header(parts, asked) {
            response.headers.push((allowed.into(), value.to_owned()));
        }
    }
    Some(response)
}
