//! HTTP headers: finding one among a request's, and those of an answer.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

/// A header of an answer: its name, in any case, and its value.
pub type Header = (Cow<'static, str>, String);

/// Whether a header has that name.
pub fn is_named(header: &HeaderName, name: &str) -> bool {
    let header = header.as_str();
    header.len() == name.len() && header.eq_ignore_ascii_case(name)
}

/// The text of the first header of that name. A request has few headers: comparing beats hashing the name.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(header, _)| is_named(header, name))?
        .1
        .to_str()
        .ok()
}

/// Whether there is a header of that name, whatever its value.
pub fn has(headers: &HeaderMap, name: &str) -> bool {
    headers.keys().any(|header| is_named(header, name))
}
