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
    let after = paging::start(of, marker).ok_or_else(|| {
        let marker = marker.unwrap_or_default();
        Fault::sender(400, "ValidationError", format!("Invalid Marker: {marker}"))
    })?;
    let after = after.and_then(|mut place| place.pop());
    let max = max_items
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(MOST);
    let items: Vec<T> = all
        .into_iter()
        .filter(|item| after.as_ref().is_none_or(|after| key(item) > *after))
        .take(max + 1)
        .collect();
    let (items, marker) = paging::cut(of, items, max, key);
    Ok(Page {
        items,
        is_truncated: Some(marker.is_some()),
        marker,
    })
}
