//! Pages of listings, by `Marker` and `MaxItems`.

use cloud::paging;
use wire::Fault;

/// A page of a listing.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) is_truncated: Option<bool>,
    pub(crate) marker: Option<String>,
}

const MOST: usize = 100;

/// The page behind `marker` of what is sorted by `key`.
pub(crate) fn page<T>(
    of: &str,
    all: impl IntoIterator<Item = T>,
    marker: Option<&str>,
    max_items: Option<i32>,
    key: impl Fn(&T) -> String,
) -> Result<Page<T>, Fault> {
    let after = match marker {
        Some(marker) => paging::place(of, marker)
            .and_then(|mut place| place.pop())
            .map(Some)
            .ok_or_else(|| {
                Fault::sender(400, "ValidationError", format!("Invalid Marker: {marker}"))
            })?,
        None => None,
    };
    let max = max_items
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(MOST);
    let mut items: Vec<T> = all
        .into_iter()
        .filter(|item| after.as_ref().is_none_or(|after| key(item) > *after))
        .take(max + 1)
        .collect();
    let is_truncated = items.len() > max;
    items.truncate(max);
    let marker = match items.last() {
        Some(last) if is_truncated => Some(paging::token(of, &[&key(last)])),
        _ => None,
    };
    Ok(Page {
        items,
        is_truncated: Some(is_truncated),
        marker,
    })
}
