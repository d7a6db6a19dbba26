//! Pages of listings, whose tokens name the last thing on them.

use wire::Fault;

use crate::errors::validation_exception;

/// How many a page lists.
pub(crate) fn size(limit: Option<i32>) -> usize {
    limit
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| (1..=100).contains(n))
        .unwrap_or(100)
}

/// What a page begins after.
pub(crate) fn start(of: &str, token: Option<&str>) -> Result<Option<Vec<String>>, Fault> {
    match token {
        None => Ok(None),
        Some(token) => match cloud::paging::place(of, token) {
            Some(parts) => Ok(Some(parts)),
            None => Err(validation_exception("Invalid NextToken.")),
        },
    }
}
