//! The text of user metadata in headers. What is not ASCII comes as bytes, each of which S3 takes for a character of
//! Latin-1, and goes out as encoded words (RFC 2047).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const PREFIX: &str = "=?UTF-8?";
/// The longest text of one encoded word, so that it has 75 characters with what surrounds it.
const LONGEST: usize = 63;

/// A value as it came, read as S3 reads it.
pub fn read(value: String) -> String {
    if value.is_ascii() {
        return decoded(&value).unwrap_or(value);
    }
    value.bytes().map(char::from).collect()
}

/// What an encoded word says, if that needs no encoding.
fn decoded(word: &str) -> Option<String> {
    let (kind, text) = word
        .strip_prefix(PREFIX)?
        .strip_suffix("?=")?
        .split_once('?')?;
    let bytes = match kind {
        "B" => STANDARD.decode(text).ok()?,
        "Q" => {
            let text = text.replace('_', " ").replace('%', "%25").replace('=', "%");
            percent_encoding::percent_decode_str(&text).collect()
        }
        _ => return None,
    };
    let text = String::from_utf8(bytes).ok()?;
    text.bytes()
        .all(|b| (b' '..=b'~').contains(&b))
        .then_some(text)
}

/// A value as it is given back.
pub fn shown(value: &str) -> String {
    let is_plain = |c: char| matches!(c, ' '..='~' | '\t');
    if value.chars().all(is_plain) {
        return value.to_owned();
    }
    let others = value.chars().filter(|&c| !is_plain(c)).count();
    let is_mostly_ascii = value.chars().count() - others > others;
    let mut words = Vec::new();
    encode(value, is_mostly_ascii, &mut words);
    words.join(" ")
}

/// Encodes a text, halved where it is too long for a word.
fn encode(text: &str, quoted: bool, words: &mut Vec<String>) {
    let encoded = if quoted {
        quote(text)
    } else {
        STANDARD.encode(text)
    };
    let middle = text.chars().count() / 2;
    if encoded.len() > LONGEST && middle > 0 {
        let at = text.char_indices().nth(middle).map_or(0, |(at, _)| at);
        encode(&text[..at], quoted, words);
        encode(&text[at..], quoted, words);
    } else {
        let kind = if quoted { 'Q' } else { 'B' };
        words.push(format!("{PREFIX}{kind}?{encoded}?="));
    }
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('_'),
            b'=' | b'_' | b'?' => out.push_str(&format!("={byte:02X}")),
            b'!'..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("={byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ascii_goes_out_as_s3_shows_it() {
        let through = |text: &str| shown(&read(text.to_owned()));
        assert_eq!(through("AMAZONS3 =?"), "AMAZONS3 =?");
        // Encoded words are kept, but for those that need not be any.
        assert_eq!(through("=?UTF-8?Q?a-word_100%=21?="), "a-word 100%!");
        assert_eq!(through("=?UTF-8?B?YWJj?="), "abc");
        for kept in [
            "=?UTF-8?B?AAECAw==?=",
            "=?UTF-8?B?w5Y=?=",
            "=?UTF-8?B?=GGG?=",
        ] {
            assert_eq!(through(kept), kept);
        }
        assert_eq!(
            through("ÄMÄZÕÑ S3"),
            "=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?="
        );
        assert_eq!(through("Miniö"), "=?UTF-8?Q?Mini=C3=83=C2=B6?=");
        assert_eq!(through("ö"), "=?UTF-8?B?w4PCtg==?=");
        // Text that came as such, in a form.
        assert_eq!(
            shown("ÄMÄZÕÑ S3"),
            "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="
        );
        assert_eq!(shown("\0\u{1}\u{2}\u{3}\u{4}"), "=?UTF-8?B?AAECAwQ=?=");
    }

    #[test]
    fn a_long_text_is_cut_into_words() {
        let words = shown(&"é".repeat(300));
        assert!(words.split(' ').count() > 1);
        assert!(words.split(' ').all(|word| word.len() <= 75));
    }
}
