//! Pages of listings, whose tokens name the last thing on them.

use wire::Fault;

use crate::errors::invalid_input_exception;

/// How many a page lists, unless fewer are asked for.
const SIZE: usize = 100;

/// How many a page lists.
pub(crate) fn size(limit: Option<i32>) -> usize {
    limit
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| (1..=SIZE).contains(n))
        .unwrap_or(SIZE)
}

/// The name that a page begins after.
pub(crate) fn start(of: &str, token: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(token) = token.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let place = cloud::paging::place(of, token).and_then(|mut parts| parts.pop());
    place
        .map(Some)
        .ok_or_else(|| invalid_input_exception("Invalid token provided."))
}
