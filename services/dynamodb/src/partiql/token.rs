//! The words of a statement.

use wire::Fault;

use super::malformed;

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or keyword as it is.
    Word(String),
    /// A name in double quotes.
    Quoted(String),
    /// A text in single quotes.
    Text(String),
    /// A number.
    Number(String),
    /// `=`, `<<`, `?` and so on.
    Symbol(&'static str),
}

const SYMBOLS: [&str; 23] = [
    "<<", ">>", "<=", ">=", "<>", "!=", "||", "=", "<", ">", "(", ")", "[", "]", "{", "}", ",",
    ".", ":", "?", "*", "+", "-",
];

/// Splits a statement.
pub fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        if first == ';' && rest[1..].trim().is_empty() {
            break;
        }
        let (token, len) = if first == '\'' || first == '"' {
            let (text, len) = quoted(rest, first)?;
            let token = match first {
                '\'' => Token::Text(text),
                _ => Token::Quoted(text),
            };
            (token, len)
        } else if first.is_ascii_digit() {
            let len = number(rest);
            (Token::Number(rest[..len].to_owned()), len)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            (Token::Word(rest[..len].to_owned()), len)
        } else {
            let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol));
            let symbol =
                symbol.ok_or_else(|| malformed(format!("Unexpected character: {first}")))?;
            (Token::Symbol(symbol), symbol.len())
        };
        found.push(token);
        rest = rest[len..].trim_start();
    }
    Ok(found)
}

/// A text in quotes, which are doubled within, and the length of all.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), Fault> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            text.push(c);
            continue;
        }
        match chars.peek() {
            Some((_, next)) if *next == quote => {
                text.push(quote);
                chars.next();
            }
            _ => return Ok((text, at + 1)),
        }
    }
    Err(malformed("Unterminated quoted text"))
}

/// The length of a number: digits, a point, an exponent.
fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits = |from: usize| {
        let tail = bytes.get(from..).unwrap_or_default();
        from + tail.iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}
