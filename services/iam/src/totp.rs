//! Codes that devices make of a seed and the time (RFC 6238): six digits, new every 30 seconds.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// How long a code is shown, milliseconds.
const STEP: i64 = 30_000;
/// How many steps a device's clock may differ when it is enabled, 15 minutes either way.
const FAR: i64 = 30;
/// And later, from what it differed then.
const NEAR: i64 = 1;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The step that a moment is in.
pub fn step(millis: i64) -> i64 {
    millis.div_euclid(STEP)
}

/// The code of a step.
fn code(seed: &[u8], step: i64) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(seed) else {
        return String::new();
    };
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 0xf);
    let word = digest[at..at + 4]
        .iter()
        .fold(0u32, |word, byte| word << 8 | u32::from(*byte));
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

/// The step of the second of two codes that follow each other; `None` for others.
pub fn find(seed: &[u8], codes: [&str; 2], now: i64) -> Option<i64> {
    let steps = now - FAR..=now + FAR;
    let [first, second] = codes;
    steps
        .map(|step| step + 1)
        .find(|next| code(seed, next - 1) == first && code(seed, *next) == second)
}

/// The step of a code that has not been used yet; `None` for another.
pub fn check(seed: &[u8], given: &str, now: i64, used: i64) -> Option<i64> {
    let steps = (now - NEAR).max(used + 1)..=now + NEAR;
    steps.into_iter().find(|step| code(seed, *step) == given)
}

/// A seed as authenticators take it (RFC 4648, base 32). Its length must be a multiple of five bytes.
pub fn shown(seed: &[u8]) -> String {
    let mut text = String::new();
    for bytes in seed.chunks_exact(5) {
        let bits = bytes
            .iter()
            .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        for at in (0..8).rev() {
            let n = (bits >> (at * 5)) & 31;
            text.push(char::from(ALPHABET[usize::try_from(n).unwrap_or(0)]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &[u8] = b"12345678901234567890";

    /// RFC 6238's test values, their last six digits.
    #[test]
    fn codes_are_those_of_the_standard() {
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(SEED, step(seconds * 1000)), expected);
        }
    }

    #[test]
    fn a_code_is_good_once_and_in_its_time() {
        let now = step(1_700_000_000_000);
        let at = |step| code(SEED, step);
        assert_eq!(find(SEED, [&at(now - 7), &at(now - 6)], now), Some(now - 6));
        assert_eq!(find(SEED, [&at(now), &at(now)], now), None);
        assert_eq!(find(SEED, [&at(now - 40), &at(now - 39)], now), None);
        assert_eq!(check(SEED, &at(now), now, now - 5), Some(now));
        assert_eq!(check(SEED, &at(now), now, now), None);
        assert_eq!(check(SEED, &at(now + 3), now, 0), None);
    }

    /// RFC 4648's test values.
    #[test]
    fn seeds_are_shown_in_base_32() {
        assert_eq!(shown(b"fooba"), "MZXW6YTB");
        assert_eq!(shown(SEED), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    }
}
