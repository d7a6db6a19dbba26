//! Paging tokens that must be hexadecimal, in groups of sixteen digits, and long.

/// The token of a place.
pub fn of(place: &str) -> String {
    // Blanks behind the place fill it up to the length that tokens have.
    let length = place.len().next_multiple_of(8).max(56);
    format!("{place:<length$}")
        .bytes()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The place of a token; `None` for what is none.
pub fn read(token: &str) -> Option<String> {
    let digits = token.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let place = String::from_utf8(bytes?).ok()?;
    Some(place.trim_end().to_owned())
}
