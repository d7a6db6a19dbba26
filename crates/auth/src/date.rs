//! The date formats of signatures and policies.

use time::format_description::well_known::Rfc2822;
use time::{Date, Duration, Month, OffsetDateTime, Time, UtcOffset};

/// Formats `at` as signatures do: `20130524T000000Z`.
pub fn amz_date(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// Reads `20130524T000000Z`.
pub fn parse_amz_date(text: &str) -> Option<OffsetDateTime> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let date = calendar_date(
        digits(text.get(0..4)?)?,
        digits(text.get(4..6)?)?,
        digits(text.get(6..8)?)?,
    )?;
    let time = clock_time(
        digits(text.get(9..11)?)?,
        digits(text.get(11..13)?)?,
        digits(text.get(13..15)?)?,
        0,
    )?;
    Some(date.with_time(time).assume_utc())
}

/// Reads the date of an HTTP header: `Tue, 27 Mar 2007 19:36:42 +0000` or the same with `GMT`.
pub fn parse_http_date(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    OffsetDateTime::parse(text, &Rfc2822)
        .ok()
        .or_else(|| OffsetDateTime::parse(text.strip_suffix("UTC")?, &Rfc2822).ok())
}

/// Reads any date that a request may carry as its signing time.
pub fn parse_request_date(text: &str) -> Option<OffsetDateTime> {
    parse_amz_date(text)
        .or_else(|| parse_iso8601(text))
        .or_else(|| parse_http_date(text))
}

/// Reads an ISO 8601 date or date and time, with any part after the year left out, or seconds since 1970.
///
/// Policies may write `2019`, `2019-07`, `2019-07-16`, `2019-07-16T12:00Z`, `2019-07-16T12:00:00.5+02:00` and
/// `1563278400`; a bare number of at most four digits is a year.
pub fn parse_policy_date(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let is_number = text
        .strip_prefix('-')
        .unwrap_or(text)
        .bytes()
        .all(|byte| byte.is_ascii_digit());
    if is_number && text.len() > 4 {
        return OffsetDateTime::from_unix_timestamp(text.parse().ok()?).ok();
    }
    parse_iso8601(text)
}

/// Reads an ISO 8601 date with hyphens and an optional time; a missing zone is UTC.
pub fn parse_iso8601(text: &str) -> Option<OffsetDateTime> {
    let (day, clock) = match text.find(['T', 't']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, ""),
    };
    let mut parts = day.splitn(3, '-');
    let year = digits(parts.next()?)?;
    let month = parts.next().map_or(Some(1), digits)?;
    let day = parts.next().map_or(Some(1), digits)?;
    let date = calendar_date(year, month, day)?;
    let (clock, offset) = split_zone(clock)?;
    let mut parts = clock.splitn(3, ':');
    let hour = match parts.next() {
        None | Some("") => 0,
        Some(hour) => digits(hour)?,
    };
    let minute = parts.next().map_or(Some(0), digits)?;
    let (second, nanosecond) = match parts.next() {
        None => (0, 0),
        Some(second) => match second.split_once('.') {
            None => (digits(second)?, 0),
            Some((second, fraction)) => (digits(second)?, nanoseconds(fraction)?),
        },
    };
    let time = clock_time(hour, minute, second, nanosecond)?;
    date.with_time(time).assume_utc().checked_sub(offset)
}

fn split_zone(clock: &str) -> Option<(&str, Duration)> {
    if let Some(rest) = clock.strip_suffix(['Z', 'z']) {
        return Some((rest, Duration::ZERO));
    }
    let Some(at) = clock.rfind(['+', '-']) else {
        return Some((clock, Duration::ZERO));
    };
    let zone = clock.get(at + 1..)?;
    let two_digits = |text: &str| digits(text).filter(|_| text.len() == 2);
    let (hours, minutes) = match zone.split_once(':') {
        Some((hours, minutes)) => (two_digits(hours)?, two_digits(minutes)?),
        None if zone.len() == 4 => (digits(zone.get(..2)?)?, digits(zone.get(2..)?)?),
        None => (two_digits(zone)?, 0),
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = Duration::minutes(i64::from(hours) * 60 + i64::from(minutes));
    let sign = if clock.as_bytes().get(at) == Some(&b'-') {
        -1
    } else {
        1
    };
    Some((clock.get(..at)?, offset * sign))
}

fn nanoseconds(fraction: &str) -> Option<u32> {
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let value = digits(fraction)?;
    value.checked_mul(10u32.pow(9 - u32::try_from(fraction.len()).ok()?))
}

fn digits(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn calendar_date(year: u32, month: u32, day: u32) -> Option<Date> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()
}

fn clock_time(hour: u32, minute: u32, second: u32, nanosecond: u32) -> Option<Time> {
    // A leap second is read as the second before it.
    Time::from_hms_nano(
        u8::try_from(hour).ok()?,
        u8::try_from(minute).ok()?,
        u8::try_from(second.min(59)).ok().filter(|_| second <= 60)?,
        nanosecond,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_amz_date_survives_a_round_trip() {
        let at = datetime!(2013-05-24 01:02:03 UTC);
        assert_eq!(amz_date(at), "20130524T010203Z");
        assert_eq!(parse_amz_date("20130524T010203Z"), Some(at));
        assert_eq!(parse_amz_date("20131324T010203Z"), None);
        assert_eq!(parse_amz_date("20130524T0102é"), None);
    }

    #[test]
    fn policy_dates_may_leave_parts_out() {
        let day = datetime!(2019-07-16 00:00 UTC);
        assert_eq!(parse_policy_date("2019-07-16"), Some(day));
        assert_eq!(parse_policy_date("2019-07-16T02:00:00+02:00"), Some(day));
        assert_eq!(
            parse_policy_date("2019"),
            Some(datetime!(2019-01-01 00:00 UTC))
        );
        assert_eq!(parse_policy_date("1563235200"), Some(day));
        assert_eq!(
            parse_policy_date("2019-07-16T00:00:00.5Z"),
            Some(datetime!(2019-07-16 00:00:00.5 UTC))
        );
        assert_eq!(parse_policy_date("noon"), None);
    }

    #[test]
    fn http_dates_are_read() {
        let at = datetime!(2007-03-27 19:36:42 UTC);
        assert_eq!(parse_http_date("Tue, 27 Mar 2007 19:36:42 +0000"), Some(at));
        assert_eq!(parse_http_date("Tue, 27 Mar 2007 19:36:42 GMT"), Some(at));
    }
}
