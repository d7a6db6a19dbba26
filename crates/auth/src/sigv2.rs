//! S3's signature version 2, which old tools and old links still use.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;

use crate::authorization::PresignedV2;
use crate::canonical::Request;
use crate::date;
use crate::digest::{equal_in_constant_time, hmac_sha1};
use crate::sigv4::{MAX_SKEW, Mismatch, SignatureError};

/// The query parameters that are part of the resource, in order.
const SUBRESOURCES: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "encryption",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// The base64 signature of a string to sign.
pub fn signature(secret: &str, string_to_sign: &str) -> String {
    STANDARD.encode(hmac_sha1(secret.as_bytes(), string_to_sign.as_bytes()))
}

/// Verifies the header `Authorization: AWS key:signature`.
///
/// `bucket` is the bucket when the host names it, for the path then does not.
pub fn verify_header(
    request: &Request<'_>,
    access_key_id: &str,
    presented: &str,
    secret: &str,
    bucket: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), SignatureError> {
    let amz_date = request.header("x-amz-date");
    let at = amz_date
        .or(request.header("date"))
        .and_then(date::parse_request_date)
        .ok_or(SignatureError::MissingDate)?;
    if (now - at).abs() > MAX_SKEW {
        return Err(SignatureError::Skewed {
            request_time: at,
            server_time: now,
        });
    }
    let date = match amz_date {
        Some(_) => "",
        None => request.header("date").unwrap_or_default(),
    };
    compare(
        request,
        access_key_id,
        presented,
        secret,
        date,
        bucket,
        Signed::of(request),
    )
}

/// Verifies a version 2 presigned request.
pub fn verify_presigned(
    request: &Request<'_>,
    presented: &PresignedV2<'_>,
    secret: &str,
    bucket: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), SignatureError> {
    let expires = OffsetDateTime::from_unix_timestamp(presented.expires)
        .map_err(|_| SignatureError::MalformedDate)?;
    if now > expires {
        return Err(SignatureError::Expired {
            expires,
            expires_seconds: None,
            server_time: now,
        });
    }
    compare(
        request,
        &presented.access_key_id,
        &presented.signature,
        secret,
        &presented.expires.to_string(),
        bucket,
        Signed::of(request).with_query(request.query),
    )
}

/// The headers that a signature covers.
struct Signed {
    content_md5: String,
    content_type: String,
    /// All `x-amz-…`, by name.
    amz: Vec<(String, String)>,
}

impl Signed {
    fn of(request: &Request<'_>) -> Signed {
        let text = |name| request.header(name).unwrap_or_default().trim().to_owned();
        Signed {
            content_md5: text("content-md5"),
            content_type: text("content-type"),
            amz: amz_headers(request.headers),
        }
    }
    /// A presigned URL carries headers in its query, where who uses it sends none of that name.
    fn with_query(mut self, query: &str) -> Signed {
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).to_ascii_lowercase();
            match name.as_str() {
                "content-md5" if self.content_md5.is_empty() => self.content_md5 = decoded(value),
                "content-type" if self.content_type.is_empty() => {
                    self.content_type = decoded(value)
                }
                _ if name.starts_with("x-amz-") && self.amz.iter().all(|(n, _)| *n != name) => {
                    self.amz.push((name, decoded(value)));
                }
                _ => {}
            }
        }
        self.amz.sort();
        self
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}

fn compare(
    request: &Request<'_>,
    access_key_id: &str,
    presented: &str,
    secret: &str,
    date: &str,
    bucket: Option<&str>,
    signed: Signed,
) -> Result<(), SignatureError> {
    let mut text = preamble(request, date, bucket, &signed);
    let start = text.len();
    push_subresources(&mut text, request.query, false);
    if equal_in_constant_time(&signature(secret, &text), presented) {
        return Ok(());
    }
    // Some clients send `?uploads=` and sign it so, where the documentation signs `?uploads`.
    let mut with_equals = text.get(..start).unwrap_or_default().to_owned();
    push_subresources(&mut with_equals, request.query, true);
    if equal_in_constant_time(&signature(secret, &with_equals), presented) {
        return Ok(());
    }
    Err(SignatureError::Mismatch(Box::new(Mismatch {
        access_key_id: access_key_id.to_owned(),
        signature_provided: presented.to_owned(),
        string_to_sign: text,
        canonical_request: None,
    })))
}

// The string to sign up to its subresources. `date` is the `Date` header, empty when `x-amz-date` is there, or the
// `Expires` of a query.
fn preamble(request: &Request<'_>, date: &str, bucket: Option<&str>, signed: &Signed) -> String {
    let mut text = format!(
        "{}\n{}\n{}\n{date}\n",
        request.method, signed.content_md5, signed.content_type
    );
    for (name, value) in &signed.amz {
        text.push_str(&format!("{name}:{value}\n"));
    }
    if let Some(bucket) = bucket {
        text.push('/');
        text.push_str(bucket);
    }
    text.push_str(if request.path.is_empty() {
        "/"
    } else {
        request.path
    });
    text
}

fn push_subresources(text: &mut String, query: &str, keep_empty: bool) {
    let mut kept: Vec<(&str, Option<&str>)> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        })
        .filter(|(name, _)| SUBRESOURCES.contains(name))
        .collect();
    kept.sort_by_key(|(name, _)| *name);
    for (index, (name, value)) in kept.into_iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name);
        if let Some(value) = value.filter(|value| keep_empty || !value.is_empty()) {
            text.push('=');
            text.push_str(&decoded(value));
        }
    }
}

fn amz_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-amz-"))
        .map(|name| {
            let values: Vec<String> = headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
                .collect();
            (name.as_str().to_owned(), values.join(","))
        })
        .collect();
    kept.sort();
    kept
}
