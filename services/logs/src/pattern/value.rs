//! What a column or a selected JSON value is compared with.

use regex::Regex;

use super::Invalid;

/// `=`, `!=`, `<`, …
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// Takes an operator off the front.
    pub(crate) fn take(text: &str) -> Option<(Operator, &str)> {
        const ALL: [(&str, Operator); 6] = [
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        ALL.iter()
            .find_map(|(sign, operator)| text.strip_prefix(sign).map(|rest| (*operator, rest)))
    }
}

/// The right side of a comparison.
#[derive(Debug)]
pub(crate) enum Operand {
    Regex(Regex),
    Number(f64, String),
    /// Parts of a text around its `*`.
    Text(Vec<String>),
}

/// AWS allows few and short expressions; the bound keeps a hostile one cheap.
pub(crate) fn regex(text: &str) -> Result<Regex, Invalid> {
    regex::RegexBuilder::new(text)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| Invalid)
}

impl Operand {
    /// Of an unquoted text.
    pub(crate) fn bare(text: &str) -> Result<Operand, Invalid> {
        if let Some(inner) = text.strip_prefix('%') {
            return Ok(Operand::Regex(regex(
                inner.strip_suffix('%').ok_or(Invalid)?,
            )?));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Operand::Number(number, text.to_owned())),
            _ => Ok(Operand::text(text)),
        }
    }

    /// Of a quoted text, in which `*` still is a wildcard.
    pub(crate) fn text(text: &str) -> Operand {
        Operand::Text(text.split('*').map(str::to_owned).collect())
    }

    /// Whether a value compares so.
    pub(crate) fn holds(&self, operator: Operator, value: &str) -> bool {
        let is_equal = || match self {
            Operand::Regex(regex) => regex.is_match(value),
            Operand::Number(number, text) => {
                value.parse::<f64>().map_or(value == text, |v| v == *number)
            }
            Operand::Text(parts) => wildcard(parts, value),
        };
        let order = |wanted: fn(&f64, &f64) -> bool| match self {
            Operand::Number(number, _) => value.parse::<f64>().is_ok_and(|v| wanted(&v, number)),
            _ => false,
        };
        match operator {
            Operator::Equal => is_equal(),
            Operator::Unequal => !is_equal(),
            Operator::Less => order(f64::lt),
            Operator::LessOrEqual => order(f64::le),
            Operator::Greater => order(f64::gt),
            Operator::GreaterOrEqual => order(f64::ge),
        }
    }
}

fn wildcard(parts: &[String], value: &str) -> bool {
    match parts {
        [] => false,
        [whole] => whole == value,
        [first, middle @ .., last] => {
            let Some(rest) = value.strip_prefix(first.as_str()) else {
                return false;
            };
            let Some(mut rest) = rest.strip_suffix(last.as_str()) else {
                return false;
            };
            for part in middle {
                match rest.find(part.as_str()) {
                    Some(at) => rest = &rest[at + part.len()..],
                    None => return false,
                }
            }
            true
        }
    }
}

/// Takes a quoted text off the front, with its escapes resolved.
pub(crate) fn take_quoted(text: &str) -> Result<(String, &str), Invalid> {
    let mut chars = text.char_indices();
    if chars.next().map(|(_, c)| c) != Some('"') {
        return Err(Invalid);
    }
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => out.push(escaped),
                Some((_, other)) => out.extend(['\\', other]),
                None => return Err(Invalid),
            },
            c => out.push(c),
        }
    }
    Err(Invalid)
}

/// Takes `%…%` off the front.
pub(crate) fn take_regex(text: &str) -> Result<(Regex, &str), Invalid> {
    let inner = text.strip_prefix('%').ok_or(Invalid)?;
    let at = inner.find('%').ok_or(Invalid)?;
    Ok((regex(&inner[..at])?, &inner[at + 1..]))
}
