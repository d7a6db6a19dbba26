//! The functions of SQL expressions
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-select-sql-reference-sql-functions.html>).

use wire::Fault;

use super::timestamp::{Part, Timestamp};
use super::value::{Value, decimal};
use super::{fault, format};

/// What EXTRACT takes out of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field {
    Part(Part),
    TimezoneHour,
    TimezoneMinute,
}

/// Where TRIM trims.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Leading,
    Trailing,
    Both,
}

/// A function. COALESCE and NULLIF look at unknown arguments; the others give back null for one that is null or missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    Coalesce,
    NullIf,
    CharLength,
    Lower,
    Upper,
    Substring,
    Trim(Side),
    DateAdd(Part),
    DateDiff(Part),
    Extract(Field),
    ToText,
    ToTimestamp,
    UtcNow,
}

impl Function {
    /// Whether it takes that many arguments.
    pub fn takes(self, count: usize) -> bool {
        match self {
            Function::Coalesce => count >= 1,
            Function::UtcNow => count == 0,
            Function::CharLength
            | Function::Lower
            | Function::Upper
            | Function::Extract(_)
            | Function::ToTimestamp => count == 1,
            Function::NullIf | Function::DateAdd(_) | Function::DateDiff(_) | Function::ToText => {
                count == 2
            }
            Function::Trim(_) => (1..=2).contains(&count),
            Function::Substring => (2..=3).contains(&count),
        }
    }

    /// Calls it.
    pub fn call(self, arguments: Vec<Value>, now: Timestamp) -> Result<Value, Fault> {
        match self {
            Function::Coalesce => {
                let known = arguments.into_iter().find(Value::is_known);
                return Ok(known.unwrap_or(Value::Null));
            }
            Function::NullIf => {
                let [first, second] = sized(arguments)?;
                let is_unknown = !first.is_known() || first.equals(&second);
                return Ok(if is_unknown { Value::Null } else { first });
            }
            _ => {}
        }
        if arguments.iter().any(|argument| !argument.is_known()) {
            return Ok(Value::Null);
        }
        Ok(match self {
            Function::Coalesce | Function::NullIf => Value::Null,
            Function::CharLength => {
                let [of] = sized(arguments)?;
                Value::Int(i64::try_from(text(&of)?.chars().count())?)
            }
            Function::Lower => {
                let [of] = sized(arguments)?;
                Value::Text(text(&of)?.to_lowercase())
            }
            Function::Upper => {
                let [of] = sized(arguments)?;
                Value::Text(text(&of)?.to_uppercase())
            }
            Function::Substring => substring(&arguments)?,
            Function::Trim(side) => trim(side, &arguments)?,
            Function::DateAdd(part) => {
                let [quantity, at] = sized(arguments)?;
                let Value::Int(quantity) = quantity else {
                    return Err(fault::argument_type());
                };
                let moved = timestamp(&at)?.add(part, quantity);
                Value::Timestamp(moved.ok_or_else(fault::illegal_argument)?)
            }
            Function::DateDiff(part) => {
                let [from, to] = sized(arguments)?;
                Value::Int(timestamp(&from)?.until(timestamp(&to)?, part))
            }
            Function::Extract(field) => {
                let [at] = sized(arguments)?;
                extract(field, timestamp(&at)?)?
            }
            Function::ToText => {
                let [at, pattern] = sized(arguments)?;
                Value::Text(format::format(timestamp(&at)?, text(&pattern)?)?)
            }
            Function::ToTimestamp => {
                let [of] = sized(arguments)?;
                let parsed = Timestamp::parse(text(&of)?);
                Value::Timestamp(parsed.ok_or_else(fault::invalid_timestamp)?)
            }
            Function::UtcNow => Value::Timestamp(now),
        })
    }
}

fn sized<const N: usize>(arguments: Vec<Value>) -> Result<[Value; N], Fault> {
    arguments.try_into().map_err(|_| fault::invalid_arguments())
}

fn text(value: &Value) -> Result<&str, Fault> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(fault::argument_type()),
    }
}

fn timestamp(value: &Value) -> Result<&Timestamp, Fault> {
    match value {
        Value::Timestamp(at) => Ok(at),
        _ => Err(fault::argument_type()),
    }
}

/// Characters count from 1; what starts before them starts with the first.
fn substring(arguments: &[Value]) -> Result<Value, Fault> {
    let number = |value: &Value| match value {
        Value::Int(n) => Ok(*n),
        _ => Err(fault::argument_type()),
    };
    let [of, start, rest @ ..] = arguments else {
        return Err(fault::invalid_arguments());
    };
    let skipped = usize::try_from(number(start)?.max(1) - 1)?;
    let chars = text(of)?.chars().skip(skipped);
    Ok(Value::Text(match rest.first() {
        None => chars.collect(),
        Some(length) => {
            let length =
                usize::try_from(number(length)?).map_err(|_| fault::invalid_arguments())?;
            chars.take(length).collect()
        }
    }))
}

fn trim(side: Side, arguments: &[Value]) -> Result<Value, Fault> {
    let [of, rest @ ..] = arguments else {
        return Err(fault::invalid_arguments());
    };
    let removed = rest.first().map_or(Ok(" "), text)?;
    let is_removed = |c: char| removed.contains(c);
    let of = text(of)?;
    let trimmed = match side {
        Side::Leading => of.trim_start_matches(is_removed),
        Side::Trailing => of.trim_end_matches(is_removed),
        Side::Both => of.trim_matches(is_removed),
    };
    Ok(Value::Text(trimmed.to_owned()))
}

fn extract(field: Field, at: &Timestamp) -> Result<Value, Fault> {
    let civil = &at.civil;
    let east = at.offset.unwrap_or(0);
    Ok(Value::Int(match field {
        Field::Part(Part::Year) => civil.year().into(),
        Field::Part(Part::Month) => civil.month().into(),
        Field::Part(Part::Day) => civil.day().into(),
        Field::Part(Part::Hour) => civil.hour().into(),
        Field::Part(Part::Minute) => civil.minute().into(),
        Field::Part(Part::Second) if at.fraction_digits > 0 => return decimal(at.seconds()),
        Field::Part(Part::Second) => civil.second().into(),
        Field::TimezoneHour => (east / 60).into(),
        Field::TimezoneMinute => (east % 60).into(),
    }))
}

/// Whether a text is like a pattern, in which `%` stands for any characters and `_` for one. `None` for an escape that
/// escapes nothing.
pub fn is_like(text: &str, pattern: &str, escape: Option<char>) -> Option<bool> {
    enum Mark {
        Char(char),
        One,
        Many,
    }
    let mut marks = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        marks.push(match c {
            c if Some(c) == escape => {
                let escaped = |c: &char| matches!(c, '%' | '_') || Some(*c) == escape;
                Mark::Char(chars.next().filter(escaped)?)
            }
            '%' => Mark::Many,
            '_' => Mark::One,
            c => Mark::Char(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut t, mut m) = (0, 0);
    // The last `%` and how far it has come: what follows it is tried again one character on.
    let mut last = None;
    while t < text.len() {
        match marks.get(m) {
            Some(Mark::Many) => {
                m += 1;
                last = Some((m, t));
            }
            Some(Mark::One) => (t, m) = (t + 1, m + 1),
            Some(Mark::Char(c)) if *c == text[t] => (t, m) = (t + 1, m + 1),
            _ => match &mut last {
                Some((after, from)) => {
                    *from += 1;
                    (t, m) = (*from, *after);
                }
                None => return Some(false),
            },
        }
    }
    Some(marks[m..].iter().all(|mark| matches!(mark, Mark::Many)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match() {
        for (text, pattern, is) in [
            ("", "", true),
            ("", "%", true),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "a_c", true),
            ("abc", "a_", false),
            ("aXbXc", "a%b%c", true),
            ("aab", "%ab", true),
            ("müde", "m_de", true),
            ("abc", "ABC", false),
        ] {
            assert_eq!(is_like(text, pattern, None), Some(is), "{text} {pattern}");
        }
        assert_eq!(is_like("50%", "50\\%", Some('\\')), Some(true));
        assert_eq!(is_like("500", "50\\%", Some('\\')), Some(false));
        assert_eq!(is_like("a", "\\a", Some('\\')), None);
        assert_eq!(is_like("a", "a\\", Some('\\')), None);
        // In time that grows with the text, not with its powers.
        let long = "a".repeat(20_000);
        assert_eq!(is_like(&long, &"%a".repeat(50), None), Some(true));
        assert_eq!(is_like(&long, "%a%a%a%a%a%a%a%b", None), Some(false));
    }
}
