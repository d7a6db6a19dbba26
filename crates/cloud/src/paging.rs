//! Paging tokens: opaque to clients, free of state here, so that they survive a restart.

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{Engine, alphabet};

/// Makes a token of the place where the next page begins. `of` names the listing, so that a token of
/// another one is refused.
pub fn token(of: &str, place: &[&str]) -> String {
    let mut all = vec![of];
    all.extend_from_slice(place);
    let json = serde_json::to_vec(&all).unwrap_or_default();
    let mut bytes = check(&json).to_be_bytes().to_vec();
    bytes.extend_from_slice(&json);
    STANDARD.encode(bytes)
}

/// The place in a token; `None` for what this function's twin did not make for that listing.
pub fn place(of: &str, token: &str) -> Option<Vec<String>> {
    let bytes = decode(token)?;
    let (sum, json) = bytes.split_at_checked(4)?;
    if check(json).to_be_bytes() != sum {
        return None;
    }
    let mut all: Vec<String> = serde_json::from_slice(json).ok()?;
    (!all.is_empty() && all.remove(0) == of).then_some(all)
}

/// Tokens are base 64 as AWS's are; those of earlier versions had the other alphabet and no padding.
fn decode(token: &str) -> Option<Vec<u8>> {
    const ANY_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const FORMER: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);
    let decoded = STANDARD.decode(token).or_else(|_| FORMER.decode(token));
    decoded.ok()
}

/// What a page begins behind: nothing without a token, or with an empty one; `None` for a token that is not of that listing.
pub fn start(of: &str, token: Option<&str>) -> Option<Option<Vec<String>>> {
    match token.filter(|token| !token.is_empty()) {
        None => Some(None),
        Some(token) => place(of, token).map(Some),
    }
}

/// How many a page lists: what is asked for, if it is at most `most`, else `most`.
pub fn size(limit: Option<i32>, most: usize) -> usize {
    let limit = limit.and_then(|n| usize::try_from(n).ok());
    limit.filter(|n| (1..=most).contains(n)).unwrap_or(most)
}

/// Cuts what was read to a page, and makes the token of the next; `rows` are one more than a page where there is one.
pub fn cut<T>(
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
    (rows, Some(token(of, &[&last])))
}

/// FNV-1a: tells a mistyped token, not a forged one.
fn check(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, b| {
        (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_its_place_back_to_its_own_listing_only() {
        let t = token("ListRoles", &["a", "ü/\"b"]);
        assert_eq!(
            place("ListRoles", &t),
            Some(vec!["a".into(), "ü/\"b".into()])
        );
        assert_eq!(place("ListUsers", &t), None);
        assert_eq!(place("ListRoles", &t[1..]), None);
        assert_eq!(place("ListRoles", ""), None);
    }

    #[test]
    fn a_page_is_cut_where_more_follows() {
        let names = |n: u8| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
        let (page, next) = cut("List", names(3), 2, String::clone);
        assert_eq!(page, ["0", "1"]);
        let after = start("List", next.as_deref());
        assert_eq!(after, Some(Some(vec!["1".to_owned()])));
        assert_eq!(cut("List", names(2), 2, String::clone).1, None);
        assert_eq!(start("Other", next.as_deref()), None);
        assert_eq!(start("List", None), Some(None));
        let sizes = [Some(5), Some(0), Some(101), None].map(|n| size(n, 100));
        assert_eq!(sizes, [5, 100, 100, 100]);
    }
}
