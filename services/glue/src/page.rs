//! Pages of listings, whose tokens name the last thing on them.

use cloud::paging;
pub(crate) use cloud::paging::cut;
use wire::Fault;

use crate::errors::invalid_input_exception;

/// How many a page lists.
pub(crate) fn size(limit: Option<i32>) -> usize {
    paging::size(limit, 100)
}

/// The name that a page begins after.
pub(crate) fn start(of: &str, token: Option<&str>) -> Result<Option<String>, Fault> {
    let start = paging::start(of, token);
    let start = start.ok_or_else(|| invalid_input_exception("Invalid token provided."))?;
    Ok(start.and_then(|mut parts| parts.pop()))
}
