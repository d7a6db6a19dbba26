//! Identifiers in AWS's formats. The one place where randomness comes from.

use std::cell::RefCell;

thread_local! {
    /// Random bytes fetched ahead: a system call for each id would cost more than the rest of it.
    static AHEAD: RefCell<(Vec<u8>, usize)> = const { RefCell::new((Vec::new(), 0)) };
}

/// Bytes fetched at once.
const FETCH: usize = 1024;

/// Fills a buffer with random bytes of the operating system, none of them given twice.
pub fn random(buffer: &mut [u8]) {
    if buffer.len() > FETCH {
        return fetch(buffer);
    }
    AHEAD.with_borrow_mut(|(ahead, used)| {
        if ahead.len() - *used < buffer.len() {
            ahead.resize(FETCH, 0);
            fetch(ahead);
            *used = 0;
        }
        let end = *used + buffer.len();
        buffer.copy_from_slice(&ahead[*used..end]);
        ahead[*used..end].fill(0);
        *used = end;
    });
}

/// Where the operating system has no randomness, the process cannot run safely and ends.
fn fetch(buffer: &mut [u8]) {
    if let Err(e) = getrandom::fill(buffer) {
        tracing::error!(error = %e, "the operating system gives no random bytes");
        std::process::abort();
    }
}

/// `n` random characters of `alphabet` (at most 256 characters of one byte each).
fn pick(alphabet: &[u8], n: usize) -> String {
    let mut bytes = vec![0u8; n];
    random(&mut bytes);
    for byte in &mut bytes {
        *byte = alphabet[usize::from(*byte) % alphabet.len()];
    }
    // The alphabets are ASCII.
    String::from_utf8(bytes).unwrap_or_default()
}

/// A random version 4 UUID with hyphens, the form of most request ids.
pub fn uuid() -> String {
    let mut bytes = [0u8; 16];
    random(&mut bytes);
    uuid_of(bytes)
}

/// The version 4 UUID of these bytes, which should be as good as random.
pub fn uuid_of(mut b: [u8; 16]) -> String {
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (i, byte) in b.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// `n` lower-case hexadecimal digits: `i-…`, `vpc-…`.
pub fn hex(n: usize) -> String {
    pick(HEX, n)
}
/// `n` digits and capitals, as S3's request ids have.
pub fn upper(n: usize) -> String {
    pick(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", n)
}
/// `n` letters and digits of any case.
pub fn alphanumeric(n: usize) -> String {
    pick(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._",
        n,
    )
}
/// `n` small letters and digits, as function URLs have.
pub fn lower(n: usize) -> String {
    pick(b"abcdefghijklmnopqrstuvwxyz012345", n)
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_fetched_ahead_are_given_once() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(super::uuid()));
        }
        let (mut large, mut small) = ([0u8; 5000], [0u8; 1024]);
        super::random(&mut large);
        super::random(&mut small);
        assert!(large.iter().any(|b| *b != 0) && small.iter().any(|b| *b != 0));
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let id = super::uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]));
    }
}
