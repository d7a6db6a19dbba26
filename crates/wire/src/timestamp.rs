//! Points in time with millisecond precision, and their three wire formats.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// The end of the year 9999.
const LAST: i64 = 253_402_300_799_999;

/// How a timestamp is written; names as in the models' `timestampFormat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampFormat {
    /// `1985-04-12T23:20:50.520Z`
    Iso8601,
    /// `Tue, 29 Apr 2014 18:30:38 GMT`
    Rfc822,
    /// Seconds, with a fraction where there is one.
    UnixTimestamp,
}

impl Timestamp {
    /// From whole seconds since 1970.
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1000))
    }
    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }
    /// Whole seconds since 1970, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }
    /// Later by that many milliseconds.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Timestamp(self.0.saturating_add(millis))
    }
    /// Later by that many seconds.
    pub const fn plus_secs(self, secs: i64) -> Self {
        Timestamp(self.0.saturating_add(secs.saturating_mul(1000)))
    }
    /// The date and time in UTC; clamped to the years that can be written.
    pub fn date_time(self) -> OffsetDateTime {
        const FIRST: i64 = -62_135_596_800_000;
        let nanos = i128::from(self.0.clamp(FIRST, LAST)) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
    /// The wire text in that format.
    pub fn format(self, format: TimestampFormat) -> String {
        match format {
            TimestampFormat::Iso8601 if self.0 % 1000 == 0 => self.iso8601_secs(),
            TimestampFormat::Iso8601 => self.iso8601_millis(),
            // A header of every S3 answer: httpdate takes a tenth of the time, for the years it knows.
            TimestampFormat::Rfc822 if (0..=LAST).contains(&self.0) => {
                let since = Duration::from_secs(self.secs().unsigned_abs());
                httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
            }
            TimestampFormat::Rfc822 => {
                let description = format_description!(
                    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
                );
                self.date_time().format(description).unwrap_or_default()
            }
            TimestampFormat::UnixTimestamp if self.0 % 1000 == 0 => self.secs().to_string(),
            TimestampFormat::UnixTimestamp => (self.0 as f64 / 1000.0).to_string(),
        }
    }
    /// Without its fraction of a second.
    pub fn whole_second(self) -> Timestamp {
        Timestamp(self.secs() * 1000)
    }
    /// `1985-04-12T23:20:50Z`
    pub fn iso8601_secs(self) -> String {
        let description = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        self.date_time().format(description).unwrap_or_default()
    }
    /// `1985-04-12T23:20:50.000Z`
    pub fn iso8601_millis(self) -> String {
        let description = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        );
        self.date_time().format(description).unwrap_or_default()
    }
    /// Reads any of the three formats.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let text = text.trim();
        if let Ok(secs) = text.parse::<f64>() {
            return Timestamp::from_secs_f64(secs);
        }
        if let Ok(t) = OffsetDateTime::parse(text, &Rfc3339) {
            return Some(Timestamp::from_date_time(t));
        }
        if let Ok(t) = OffsetDateTime::parse(text, &Rfc2822) {
            return Some(Timestamp::from_date_time(t));
        }
        let short = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
        if let Ok(t) = PrimitiveDateTime::parse(text, short) {
            return Some(Timestamp::from_date_time(t.assume_offset(UtcOffset::UTC)));
        }
        let fraction = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second].[subsecond] GMT"
        );
        if let Ok(t) = PrimitiveDateTime::parse(text, fraction) {
            return Some(Timestamp::from_date_time(t.assume_offset(UtcOffset::UTC)));
        }
        let compact = format_description!("[year][month][day]T[hour][minute][second]Z");
        if let Ok(t) = PrimitiveDateTime::parse(text, compact) {
            return Some(Timestamp::from_date_time(t.assume_offset(UtcOffset::UTC)));
        }
        let date = format_description!("[year]-[month]-[day]");
        time::Date::parse(text, date)
            .ok()
            .map(|d| Timestamp::from_date_time(d.midnight().assume_offset(UtcOffset::UTC)))
    }
    /// From seconds with a fraction; `None` for what is not finite or not a date.
    pub fn from_secs_f64(secs: f64) -> Option<Timestamp> {
        let millis = (secs * 1000.0).round();
        (millis.is_finite() && millis.abs() < 1e16).then_some(Timestamp(millis as i64))
    }
    fn from_date_time(t: OffsetDateTime) -> Timestamp {
        Timestamp((t.unix_timestamp_nanos().div_euclid(1_000_000)) as i64)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iso8601_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats_are_read_back() {
        let t = Timestamp(1_398_796_238_000);
        for format in [
            TimestampFormat::Iso8601,
            TimestampFormat::Rfc822,
            TimestampFormat::UnixTimestamp,
        ] {
            assert_eq!(Timestamp::parse(&t.format(format)), Some(t), "{format:?}");
        }
        assert_eq!(
            t.format(TimestampFormat::Rfc822),
            "Tue, 29 Apr 2014 18:30:38 GMT"
        );
        assert_eq!(t.format(TimestampFormat::Iso8601), "2014-04-29T18:30:38Z");
        assert_eq!(
            Timestamp(1_398_796_238_123).format(TimestampFormat::Iso8601),
            "2014-04-29T18:30:38.123Z"
        );
    }

    #[test]
    fn a_time_outside_the_calendar_is_clamped() {
        assert_eq!(Timestamp(i64::MAX).iso8601_secs(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::parse("nonsense"), None);
        assert_eq!(Timestamp::parse("NaN"), None);
    }
}
