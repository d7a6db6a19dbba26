//! The patterns of TO_STRING
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-select-sql-reference-date.html#s3-select-sql-reference-to-string>).

use std::fmt::Write;

use wire::Fault;

use super::fault;
use super::timestamp::Timestamp;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Writes a timestamp by a pattern.
pub fn format(at: &Timestamp, pattern: &str) -> Result<String, Fault> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let len = rest.find(|other| other != c).unwrap_or(rest.len());
        if c == '\'' {
            rest = quoted(&rest[1..], &mut out)?;
            continue;
        }
        let (symbols, tail) = rest.split_at(len);
        rest = tail;
        if c.is_ascii_alphabetic() {
            part(at, c, symbols.len(), &mut out)?;
        } else {
            out.push_str(symbols);
        }
    }
    Ok(out)
}

/// Copies what a quote encloses; two quotes are one. Gives what comes after.
fn quoted<'p>(rest: &'p str, out: &mut String) -> Result<&'p str, Fault> {
    if let Some(tail) = rest.strip_prefix('\'') {
        out.push('\'');
        return Ok(tail);
    }
    let mut rest = rest;
    loop {
        let (text, tail) = rest.split_once('\'').ok_or_else(|| {
            fault::of(
                "EvaluatorUnterminatedTimestampFormatPatternToken",
                "Time stamp format pattern contains an unterminated token in the SQL expression.",
            )
        })?;
        out.push_str(text);
        match tail.strip_prefix('\'') {
            Some(more) => {
                out.push('\'');
                rest = more;
            }
            None => return Ok(tail),
        }
    }
}

fn part(at: &Timestamp, symbol: char, len: usize, out: &mut String) -> Result<(), Fault> {
    let civil = &at.civil;
    let month = MONTHS
        .get(usize::from(civil.month().unsigned_abs()) - 1)
        .copied()
        .unwrap_or_default();
    let (hour, half) = (civil.hour(), if civil.hour() < 12 { "AM" } else { "PM" });
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    // Writing to a string does not fail.
    let _ = match (symbol, len) {
        ('y', 1) => write!(out, "{}", civil.year()),
        ('y', 2) => write!(out, "{:02}", civil.year() % 100),
        ('y', 4) => write!(out, "{:04}", civil.year()),
        ('M', 1) => write!(out, "{}", civil.month()),
        ('M', 2) => write!(out, "{:02}", civil.month()),
        ('M', 3) => write!(out, "{}", &month[..3]),
        ('M', 4) => write!(out, "{month}"),
        ('M', 5) => write!(out, "{}", &month[..1]),
        ('d', 1) => write!(out, "{}", civil.day()),
        ('d', 2) => write!(out, "{:02}", civil.day()),
        ('a', 1) => write!(out, "{half}"),
        ('h', 1) => write!(out, "{twelve}"),
        ('h', 2) => write!(out, "{twelve:02}"),
        ('H', 1) => write!(out, "{hour}"),
        ('H', 2) => write!(out, "{hour:02}"),
        ('m', 1) => write!(out, "{}", civil.minute()),
        ('m', 2) => write!(out, "{:02}", civil.minute()),
        ('s', 1) => write!(out, "{}", civil.second()),
        ('s', 2) => write!(out, "{:02}", civil.second()),
        ('S', len @ 1..=9) => {
            let nanos = format!("{:09}", civil.subsec_nanosecond());
            write!(out, "{}", &nanos[..len])
        }
        ('n', 1) => write!(out, "{}", civil.subsec_nanosecond()),
        ('X', 1..=5) if at.offset.unwrap_or(0) == 0 => write!(out, "Z"),
        ('X' | 'x', len @ 1..=5) => {
            let east = at.offset.unwrap_or(0);
            let sign = if east < 0 { '-' } else { '+' };
            let (hours, minutes) = (east.abs() / 60, east.abs() % 60);
            match len {
                1 if minutes == 0 => write!(out, "{sign}{hours:02}"),
                3 | 5 => write!(out, "{sign}{hours:02}:{minutes:02}"),
                _ => write!(out, "{sign}{hours:02}{minutes:02}"),
            }
        }
        ('y' | 'M' | 'd' | 'a' | 'h' | 'H' | 'm' | 's' | 'S' | 'n' | 'X' | 'x', _) => {
            return Err(fault::of(
                "EvaluatorInvalidTimestampFormatPatternToken",
                "Time stamp format pattern contains an invalid token in the SQL expression.",
            ));
        }
        _ => {
            return Err(fault::of(
                "EvaluatorInvalidTimestampFormatPatternSymbol",
                "Time stamp format pattern contains an invalid symbol in the SQL expression.",
            ));
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation's examples.
    #[test]
    fn patterns_are_filled_in() {
        for (at, pattern, text) in [
            ("1969-07-20T20:18Z", "MMMM d, y", "July 20, 1969"),
            ("1969-07-20T20:18Z", "MMM d, yyyy", "Jul 20, 1969"),
            ("1969-07-20T20:18Z", "M-d-yy", "7-20-69"),
            ("1969-07-20T20:18Z", "MM-d-y", "07-20-1969"),
            (
                "1969-07-20T20:18Z",
                "MMMM d, y h:m a",
                "July 20, 1969 8:18 PM",
            ),
            (
                "1969-07-20T20:18Z",
                "y-MM-dd'T'H:m:ssX",
                "1969-07-20T20:18:00Z",
            ),
            (
                "1969-07-20T20:18+08:00",
                "y-MM-dd'T'H:m:ssXXXX",
                "1969-07-20T20:18:00+0800",
            ),
            (
                "1969-07-20T20:18+08:00",
                "y-MM-dd'T'H:m:ssXXXXX",
                "1969-07-20T20:18:00+08:00",
            ),
            (
                "1969-07-20T00:18:01.25Z",
                "hh 'o''clock' SSS n",
                "12 o'clock 250 250000000",
            ),
        ] {
            let at = Timestamp::parse(at).unwrap();
            assert_eq!(format(&at, pattern).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let at = Timestamp::parse("1969T").unwrap();
        for (pattern, code) in [
            ("y'", "EvaluatorUnterminatedTimestampFormatPatternToken"),
            ("yyyyyy", "EvaluatorInvalidTimestampFormatPatternToken"),
            ("Q", "EvaluatorInvalidTimestampFormatPatternSymbol"),
        ] {
            assert_eq!(format(&at, pattern).unwrap_err().code, code);
        }
    }
}
