//! Paging tokens: opaque to clients, free of state here, so that they survive a restart.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Makes a token of the place where the next page begins. `of` names the listing, so that a token of
/// another one is refused.
pub fn token(of: &str, place: &[&str]) -> String {
    let mut all = vec![of];
    all.extend_from_slice(place);
    let json = serde_json::to_vec(&all).unwrap_or_default();
    let mut bytes = check(&json).to_be_bytes().to_vec();
    bytes.extend_from_slice(&json);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place in a token; `None` for what this function's twin did not make for that listing.
pub fn place(of: &str, token: &str) -> Option<Vec<String>> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (sum, json) = bytes.split_at_checked(4)?;
    if check(json).to_be_bytes() != sum {
        return None;
    }
    let mut all: Vec<String> = serde_json::from_slice(json).ok()?;
    (!all.is_empty() && all.remove(0) == of).then_some(all)
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
}
