//! Timestamps as Ion has them: moments that know how exact they are and how far from UTC their clock was
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-select-sql-reference-data-types.html>).

use std::fmt;

use bigdecimal::BigDecimal;
use jiff::civil::DateTime;
use jiff::{SignedDuration, Span};

/// How exact a timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    Year,
    Month,
    Day,
    Minute,
    Second,
}

/// A part of a timestamp that can be added to and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timestamp {
    /// The clock's date and time there.
    pub civil: DateTime,
    pub precision: Precision,
    /// Digits after the second's point, at most nine.
    pub fraction_digits: usize,
    /// Minutes east of UTC; `None` where that is not known, which counts as UTC.
    pub offset: Option<i32>,
}

/// Takes that many digits off the front.
fn digits(rest: &mut &str, len: usize) -> Option<i16> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    head.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| head.parse().ok())?
}

fn mark(rest: &mut &str, mark: char) -> Option<()> {
    *rest = rest.strip_prefix(mark)?;
    Some(())
}

impl Timestamp {
    /// A moment of UTC, to the millisecond.
    pub fn utc(millis: i64) -> Option<Timestamp> {
        let at = jiff::Timestamp::from_millisecond(millis).ok()?;
        Some(Timestamp {
            civil: jiff::tz::Offset::UTC.to_datetime(at),
            precision: Precision::Second,
            fraction_digits: 3,
            offset: Some(0),
        })
    }

    /// Reads `2007T`, `2007-02T`, `2007-02-23`, `2007-02-23T12:14Z`, `2007-02-23T12:14:33.079-08:00`.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let rest = &mut { text };
        let mut timestamp = Timestamp {
            civil: DateTime::ZERO,
            precision: Precision::Year,
            fraction_digits: 0,
            offset: None,
        };
        let (mut month, mut day, mut hour, mut minute, mut second, mut nanos) = (1, 1, 0, 0, 0, 0);
        let year = digits(rest, 4)?;
        if *rest != "T" {
            mark(rest, '-')?;
            month = digits(rest, 2)?;
            timestamp.precision = Precision::Month;
            if *rest != "T" {
                mark(rest, '-')?;
                day = digits(rest, 2)?;
                timestamp.precision = Precision::Day;
                if !rest.is_empty() && *rest != "T" {
                    mark(rest, 'T')?;
                    hour = digits(rest, 2)?;
                    mark(rest, ':')?;
                    minute = digits(rest, 2)?;
                    timestamp.precision = Precision::Minute;
                    if mark(rest, ':').is_some() {
                        second = digits(rest, 2)?;
                        timestamp.precision = Precision::Second;
                        if mark(rest, '.').is_some() {
                            (nanos, timestamp.fraction_digits) = fraction(rest)?;
                        }
                    }
                    timestamp.offset = offset(rest)?;
                }
            }
        }
        let narrow = |n: i16| i8::try_from(n).ok();
        timestamp.civil = DateTime::new(
            year,
            narrow(month)?,
            narrow(day)?,
            narrow(hour)?,
            narrow(minute)?,
            narrow(second)?,
            nanos,
        )
        .ok()?;
        Some(timestamp)
    }

    /// The moment in UTC.
    pub fn instant(&self) -> DateTime {
        let east = SignedDuration::from_mins(i64::from(self.offset.unwrap_or(0)));
        self.civil.saturating_sub(east)
    }

    /// Adds to a part. `None` past the calendar's ends.
    pub fn add(&self, part: Part, quantity: i64) -> Option<Timestamp> {
        let span = Span::new();
        let span = match part {
            Part::Year => span.try_years(quantity),
            Part::Month => span.try_months(quantity),
            Part::Day => span.try_days(quantity),
            Part::Hour => span.try_hours(quantity),
            Part::Minute => span.try_minutes(quantity),
            Part::Second => span.try_seconds(quantity),
        };
        let finest = match part {
            Part::Year => Precision::Year,
            Part::Month => Precision::Month,
            Part::Day => Precision::Day,
            Part::Hour | Part::Minute => Precision::Minute,
            Part::Second => Precision::Second,
        };
        Some(Timestamp {
            civil: self.civil.checked_add(span.ok()?).ok()?,
            precision: self.precision.max(finest),
            ..*self
        })
    }

    /// How many whole parts lie between this and `other`; below zero where `other` is the earlier one.
    pub fn until(&self, other: &Timestamp, part: Part) -> i64 {
        let (from, to) = (self.instant(), other.instant());
        let seconds = from.duration_until(to).as_secs();
        match part {
            Part::Second => seconds,
            Part::Minute => seconds / 60,
            Part::Hour => seconds / 3600,
            Part::Day => seconds / 86_400,
            Part::Month => months(from, to),
            Part::Year => months(from, to) / 12,
        }
    }

    /// The seconds with their fraction.
    pub fn seconds(&self) -> BigDecimal {
        let digits = i64::try_from(self.fraction_digits).unwrap_or(0);
        let scale = 10i64.pow(9 - u32::try_from(self.fraction_digits.min(9)).unwrap_or(0));
        let nanos = i64::from(self.civil.second()) * 1_000_000_000
            + i64::from(self.civil.subsec_nanosecond());
        BigDecimal::new((nanos / scale).into(), digits)
    }
}

/// Whole months between two moments.
fn months(from: DateTime, to: DateTime) -> i64 {
    let count = |d: DateTime| i64::from(d.year()) * 12 + i64::from(d.month());
    let within = |d: DateTime| (d.day(), d.time());
    let months = count(to) - count(from);
    if months > 0 && within(to) < within(from) {
        months - 1
    } else if months < 0 && within(to) > within(from) {
        months + 1
    } else {
        months
    }
}

/// The digits of a fraction, as nanoseconds, and how many they are.
fn fraction(rest: &mut &str) -> Option<(i32, usize)> {
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let (digits, tail) = rest.split_at(end);
    *rest = tail;
    let kept = digits.get(..digits.len().min(9))?;
    let nanos: i32 = format!("{kept:0<9}").parse().ok()?;
    (end > 0).then_some((nanos, kept.len()))
}

fn offset(rest: &mut &str) -> Option<Option<i32>> {
    if *rest == "Z" {
        return Some(Some(0));
    }
    let is_west = rest.starts_with('-');
    *rest = rest.strip_prefix(['+', '-'])?;
    let hours = digits(rest, 2).filter(|h| *h < 24)?;
    mark(rest, ':')?;
    let minutes = digits(rest, 2).filter(|m| *m < 60)?;
    let east = i32::from(hours) * 60 + i32::from(minutes);
    match (rest.is_empty(), is_west, east) {
        (false, ..) => None,
        (_, true, 0) => Some(None),
        (_, true, _) => Some(Some(-east)),
        (_, false, _) => Some(Some(east)),
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = &self.civil;
        write!(f, "{:04}", at.year())?;
        match self.precision {
            Precision::Year => return f.write_str("T"),
            Precision::Month => return write!(f, "-{:02}T", at.month()),
            _ => write!(f, "-{:02}-{:02}", at.month(), at.day())?,
        }
        if self.precision == Precision::Day {
            return Ok(());
        }
        write!(f, "T{:02}:{:02}", at.hour(), at.minute())?;
        if self.precision == Precision::Second {
            write!(f, ":{:02}", at.second())?;
            if self.fraction_digits > 0 {
                let nanos = format!("{:09}", at.subsec_nanosecond());
                write!(f, ".{}", &nanos[..self.fraction_digits.min(9)])?;
            }
        }
        match self.offset {
            None => f.write_str("-00:00"),
            Some(0) => f.write_str("Z"),
            Some(east) => {
                let sign = if east < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", east.abs() / 60, east.abs() % 60)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn timestamps_are_written_as_they_are_read() {
        for text in [
            "2007T",
            "2007-02T",
            "2007-02-23",
            "2007-02-23T12:14Z",
            "2007-02-23T12:14:33.079-08:00",
            "2007-02-23T12:14:33+07:08",
            "2007-02-23T12:14-00:00",
        ] {
            assert_eq!(at(text).to_string(), text);
        }
        for bad in [
            "",
            "2007",
            "2007-13T",
            "2007-02-30",
            "2007-02-23T12:14",
            "2007-02-23T25:00Z",
            "x",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    /// The documentation's examples of DATE_ADD.
    #[test]
    fn parts_are_added() {
        for (from, part, quantity, to) in [
            ("2010-01-01T", Part::Year, 5, "2015-01-01"),
            ("2010T", Part::Month, 1, "2010-02T"),
            ("2010T", Part::Month, 13, "2011-02T"),
            ("2017-01-10T", Part::Day, -1, "2017-01-09"),
            ("2017T", Part::Hour, 1, "2017-01-01T01:00-00:00"),
            ("2017-01-02T03:04Z", Part::Hour, 1, "2017-01-02T04:04Z"),
            (
                "2017-01-02T03:04:05.006Z",
                Part::Minute,
                1,
                "2017-01-02T03:05:05.006Z",
            ),
            (
                "2017-01-02T03:04:05.006Z",
                Part::Second,
                1,
                "2017-01-02T03:04:06.006Z",
            ),
        ] {
            assert_eq!(at(from).add(part, quantity).unwrap().to_string(), to);
        }
        assert_eq!(at("2017T").add(Part::Year, i64::MAX), None);
        assert_eq!(at("9999T").add(Part::Year, 1), None);
    }

    /// The documentation's examples of DATE_DIFF, those that hold.
    #[test]
    fn parts_between_are_counted() {
        for (from, part, to, count) in [
            ("2010-01-01T", Part::Year, "2011-01-01T", 1),
            ("2010T", Part::Month, "2010-05T", 4),
            ("2010T", Part::Month, "2011T", 12),
            ("2011T", Part::Month, "2010T", -12),
            ("2010-01-01T23:00Z", Part::Day, "2010-01-02T01:00Z", 0),
            ("2010-01-31T", Part::Month, "2010-02-28T", 0),
        ] {
            assert_eq!(at(from).until(&at(to), part), count, "{from} {to}");
        }
    }
}
