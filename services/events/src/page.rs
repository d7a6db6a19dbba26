//! Pages of listings, whose tokens name the last thing on them.

use wire::Fault;

use crate::place::invalid;

/// How many a page lists.
pub(crate) fn size(limit: Option<i32>) -> usize {
    limit
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| (1..=100).contains(n))
        .unwrap_or(100)
}

/// The name after which a page begins.
pub(crate) fn start(of: &str, token: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(token) = token else {
        return Ok(None);
    };
    let place = cloud::paging::place(of, token).and_then(|parts| parts.into_iter().next());
    match place {
        Some(name) => Ok(Some(name)),
        None => Err(invalid("Parameter NextToken is not valid.")),
    }
}

/// Cuts what was read to a page, and makes the token of the next; `rows` are one more than a page where there is one.
pub(crate) fn cut<T>(
    of: &str,
    mut rows: Vec<T>,
    size: usize,
    name: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    if rows.len() <= size {
        return (rows, None);
    }
    rows.truncate(size);
    let last = rows.last().map(name).unwrap_or_default();
    (rows, Some(cloud::paging::token(of, &[&last])))
}
