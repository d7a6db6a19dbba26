//! The canonical request of signature version 4.

use std::borrow::Cow;
use std::fmt::Write;

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::digest::sha256_hex;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The payload hash that says the payload is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The parts of a request that a signature covers, as they were on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The path, percent-encoded as it was received.
    pub path: &'a str,
    /// The query without its question mark, as it was received; empty if there is none.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The authority, used as `host` where HTTP/2 carries no such header.
    pub authority: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// The value of a header if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// How a service writes the path into its canonical request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathEncoding {
    /// S3: encoded once, never normalised, for a key may well be `a//../b`.
    Single,
    /// All other services: dot segments removed, and encoded twice.
    Double,
}

impl PathEncoding {
    /// The encoding that the service of this signing name uses.
    pub fn of_service(service: &str) -> Self {
        match service {
            "s3" | "s3express" | "s3-object-lambda" | "s3-outposts" => Self::Single,
            _ => Self::Double,
        }
    }
}

/// Percent-encodes everything but the unreserved characters.
pub fn uri_encode(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, UNRESERVED).into()
}

/// The canonical request, except for the payload hash of its last line.
pub fn canonical_request(
    request: &Request<'_>,
    signed_headers: &str,
    path: &str,
    payload_hash: &str,
) -> String {
    let mut text = String::with_capacity(512);
    text.push_str(request.method);
    text.push('\n');
    text.push_str(path);
    text.push('\n');
    canonical_query(&mut text, request.query);
    text.push('\n');
    for name in signed_headers.split(';').filter(|name| !name.is_empty()) {
        canonical_header(&mut text, request, name);
    }
    text.push('\n');
    text.push_str(signed_headers);
    text.push('\n');
    text.push_str(payload_hash);
    text
}

/// The string to sign for a canonical request.
pub fn string_to_sign(algorithm: &str, date: &str, scope: &str, canonical_request: &str) -> String {
    format!(
        "{algorithm}\n{date}\n{scope}\n{}",
        sha256_hex(canonical_request.as_bytes())
    )
}

/// The path as the canonical request shows it.
pub fn canonical_path(path: &str, encoding: PathEncoding) -> String {
    let path = if path.is_empty() { "/" } else { path };
    match encoding {
        PathEncoding::Single => {
            let decoded: Vec<u8> = percent_decode_str(path).collect();
            percent_encoding::percent_encode(&decoded, PATH).to_string()
        }
        PathEncoding::Double => utf8_percent_encode(&without_dot_segments(path), PATH).to_string(),
    }
}

fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if kept.is_empty() || path.ends_with('/') {
        normal.push('/');
    }
    normal
}

fn canonical_query(text: &mut String, query: &str) {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (recode(name), recode(value))
        })
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort_unstable();
    for (index, (name, value)) in pairs.iter().enumerate() {
        let separator = if index == 0 { "" } else { "&" };
        let _ = write!(text, "{separator}{name}={value}");
    }
}

// Clients differ in what they leave unencoded on the wire; the signature is over the one canonical form.
fn recode(part: &str) -> String {
    let spaced = part.replace('+', " ");
    let decoded: Vec<u8> = percent_decode_str(&spaced).collect();
    percent_encoding::percent_encode(&decoded, UNRESERVED).to_string()
}

fn canonical_header(text: &mut String, request: &Request<'_>, name: &str) {
    text.push_str(name);
    text.push(':');
    let mut is_first = true;
    for value in request.headers.get_all(name) {
        if !is_first {
            text.push(',');
        }
        is_first = false;
        push_trimmed(text, &String::from_utf8_lossy(value.as_bytes()));
    }
    if is_first && name == "host" {
        text.push_str(request.authority.unwrap_or_default());
    }
    text.push('\n');
}

fn push_trimmed(text: &mut String, value: &str) {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        text.push_str(first.trim_start());
    }
    for word in words {
        text.push(' ');
        text.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_s3_keeps_its_path_as_it_is() {
        assert_eq!(
            canonical_path("/a//../b%20c", PathEncoding::Single),
            "/a//../b%20c"
        );
        assert_eq!(canonical_path("/a=b", PathEncoding::Single), "/a%3Db");
        assert_eq!(
            canonical_path("/a//./x/../b%20c/", PathEncoding::Double),
            "/a/b%2520c/"
        );
        assert_eq!(canonical_path("", PathEncoding::Double), "/");
    }

    #[test]
    fn query_parameters_are_sorted_and_encoded_once() {
        let mut text = String::new();
        canonical_query(&mut text, "b=2&a&X-Amz-Signature=x&a%2Fb=c d&a=%7e");
        assert_eq!(text, "a=&a=~&a%2Fb=c%20d&b=2");
    }

    #[test]
    fn runs_of_spaces_in_a_header_become_one() {
        let mut text = String::new();
        push_trimmed(&mut text, "  a   b  c ");
        assert_eq!(text, "a b c");
    }
}
