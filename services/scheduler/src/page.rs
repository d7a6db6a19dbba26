//! Pages of listings, whose tokens name the last thing on them.

use cloud::paging;
use wire::Fault;

use crate::errors::validation_exception;

/// How many a page lists.
pub(crate) fn size(limit: Option<i32>) -> usize {
    paging::size(limit, 100)
}

/// What a page begins after.
pub(crate) fn start(of: &str, token: Option<&str>) -> Result<Option<Vec<String>>, Fault> {
    paging::start(of, token).ok_or_else(|| validation_exception("Invalid NextToken."))
}
