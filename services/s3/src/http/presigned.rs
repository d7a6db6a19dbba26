//! Headers that a presigned URL carries in its query: who uses it sends none.

use http::{HeaderName, HeaderValue};
use wire::Body;

use crate::metadata;

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

/// What S3 leaves alone: clients presign the checksum of no body before they know the one to come.
const OF_NO_BODY: &str = "x-amz-checksum-";

/// What only a URL of version 2 carries.
const OF_VERSION_2: [&str; 2] = ["content-md5", "content-type"];

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
    let is_version_2 = query.contains("AWSAccessKeyId=");
    let carried: Vec<(HeaderName, HeaderValue)> = form_urlencoded::parse(query.as_bytes())
        .filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let is_header = match name.starts_with("x-amz-") {
                true => {
                    !OF_SIGNATURE.contains(&name.as_str())
                        && !name.starts_with(OF_NO_BODY)
                        && name != "x-amz-sdk-checksum-algorithm"
                }
                false => {
                    CONDITIONS.contains(&name.as_str())
                        || (is_version_2 && OF_VERSION_2.contains(&name.as_str()))
                }
            };
            // A query's text is UTF-8, where a header's is Latin-1.
            let value = match name.starts_with("x-amz-meta-") {
                true => metadata::shown(&value).into(),
                false => value,
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
