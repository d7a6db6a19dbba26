//! The words of an expression.

/// A word and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// As it is written.
    pub text: &'a str,
    /// Where it begins in the expression.
    pub start: usize,
}

/// The kinds of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `abc`
    Word,
    /// `#abc`
    Name,
    /// `:abc`
    Value,
    /// `123`
    Number,
    /// `=`, `<>`, `(`, `.` and so on.
    Symbol,
    /// What belongs into no expression.
    Unknown,
}

/// Splits an expression.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&first) = bytes.get(at) {
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let run = |from: usize| {
            let rest = bytes.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|b| is_part(b)).count()
        };
        let (kind, end) = match first {
            b'a'..=b'z' | b'A'..=b'Z' => (Kind::Word, run(at)),
            b'0'..=b'9' => {
                let digits = bytes[at..]
                    .iter()
                    .take_while(|b| b.is_ascii_digit())
                    .count();
                (Kind::Number, at + digits)
            }
            b'#' | b':' if run(at + 1) > at + 1 => (
                if first == b'#' {
                    Kind::Name
                } else {
                    Kind::Value
                },
                run(at + 1),
            ),
            b'<' if matches!(bytes.get(at + 1), Some(b'=' | b'>')) => (Kind::Symbol, at + 2),
            b'>' if bytes.get(at + 1) == Some(&b'=') => (Kind::Symbol, at + 2),
            b'=' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b',' | b'.' | b'+' | b'-' => {
                (Kind::Symbol, at + 1)
            }
            _ => {
                let width = text[at..].chars().next().map_or(1, char::len_utf8);
                (Kind::Unknown, at + width)
            }
        };
        found.push(Token {
            kind,
            text: &text[at..end],
            start: at,
        });
        at = end;
    }
    found
}
