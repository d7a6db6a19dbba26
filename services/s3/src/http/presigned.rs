//! Headers that a presigned URL carries in its query: who uses it sends none.

use http::{HeaderName, HeaderValue};
use wire::Body;

/// What makes the signature and says nothing of the request.
const OF_SIGNATURE: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

const CONDITIONS: [&str; 4] = [
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
];

/// Makes them headers, where the request has none of that name.
pub fn take_headers(request: &mut http::Request<Body>) {
    let Some(query) = request.uri().query() else {
        return;
    };
    // Version 2's, and the end of version 4's `X-Amz-Signature`.
    if !query.contains("Signature=") {
        return;
    }
    let carried: Vec<(HeaderName, HeaderValue)> = form_urlencoded::parse(query.as_bytes())
        .filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let is_header = match name.starts_with("x-amz-") {
                true => !OF_SIGNATURE.contains(&name.as_str()),
                false => CONDITIONS.contains(&name.as_str()),
            };
            let name = is_header.then(|| HeaderName::from_bytes(name.as_bytes()))?;
            Some((name.ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        })
        .collect();
    let headers = request.headers_mut();
    for (name, value) in carried {
        headers.entry(name).or_insert(value);
    }
}
