//! When a schedule is due: once, at a rate, or by a clock on some wall.

use cloud::schedule::{Recurrence, inside};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use time::macros::format_description;
use time::{Date, Month, PrimitiveDateTime, Time};
use wire::Timestamp;

/// A schedule's expression in its time zone.
pub(crate) struct Expression {
    kind: Kind,
    zone: TimeZone,
}

enum Kind {
    Once(PrimitiveDateTime),
    Again(Recurrence),
}

/// The zone of that name.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// The clock on the wall of a zone.
fn wall(zone: &TimeZone, at: Timestamp) -> Option<PrimitiveDateTime> {
    let instant = jiff::Timestamp::from_millisecond(at.0).ok()?;
    let shown = zone.to_datetime(instant);
    let month = Month::try_from(u8::try_from(shown.month()).ok()?).ok()?;
    let day = u8::try_from(shown.day()).ok()?;
    let date = Date::from_calendar_date(i32::from(shown.year()), month, day).ok()?;
    let part = |n: i8| u8::try_from(n).ok();
    let time = Time::from_hms(
        part(shown.hour())?,
        part(shown.minute())?,
        part(shown.second())?,
    );
    Some(PrimitiveDateTime::new(date, time.ok()?))
}

/// When a wall's clock shows that; of two times the first; `None` where it never does, for the clock is put forward.
fn instant(zone: &TimeZone, shown: PrimitiveDateTime) -> Option<Timestamp> {
    let part = |n: u8| i8::try_from(n).ok();
    let civil = DateTime::new(
        i16::try_from(shown.year()).ok()?,
        part(u8::from(shown.month()))?,
        part(shown.day())?,
        part(shown.hour())?,
        part(shown.minute())?,
        part(shown.second())?,
        0,
    )
    .ok()?;
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    if matches!(ambiguous.offset(), jiff::tz::AmbiguousOffset::Gap { .. }) {
        return None;
    }
    let found = ambiguous.earlier().ok()?;
    Some(Timestamp(found.as_millisecond()))
}

impl Expression {
    /// Reads an expression.
    pub(crate) fn parse(text: &str, zone: TimeZone) -> Option<Expression> {
        let kind = match inside(text, "at(") {
            Some(at) => {
                let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
                Kind::Once(PrimitiveDateTime::parse(at, form).ok()?)
            }
            None => Kind::Again(Recurrence::parse(text, true)?),
        };
        Some(Expression { kind, zone })
    }

    pub(crate) fn is_once(&self) -> bool {
        matches!(self.kind, Kind::Once(_))
    }

    /// When it is due next after a moment. A rate counts from `since`, which is its first time.
    pub(crate) fn next(&self, since: Timestamp, after: Timestamp) -> Option<Timestamp> {
        match &self.kind {
            Kind::Once(shown) => instant(&self.zone, *shown).filter(|at| *at > after),
            Kind::Again(Recurrence::Rate(length)) => {
                if since > after {
                    return Some(since);
                }
                let past = (after.0 - since.0) / length;
                Some(Timestamp(
                    since.0.saturating_add((past + 1).saturating_mul(*length)),
                ))
            }
            Kind::Again(Recurrence::Cron(cron)) => {
                let mut shown = wall(&self.zone, after)?;
                loop {
                    shown = cron.next(shown)?;
                    // What the wall's clock leaves out is left out, and what it shows again is not done again.
                    if let Some(at) = instant(&self.zone, shown).filter(|at| *at > after) {
                        return Some(at);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str, zone_name: &str, after: &str) -> Option<String> {
        let expression = Expression::parse(text, zone(zone_name).expect("a zone")).expect(text);
        let after = Timestamp::parse(after).expect("a time");
        expression.next(after, after).map(Timestamp::iso8601_secs)
    }

    #[test]
    fn a_zone_decides_when_the_clock_shows_it() {
        let cases = [
            (
                "at(2026-07-01T09:00:00)",
                "Europe/Berlin",
                "2026-01-01T00:00:00Z",
                "2026-07-01T07:00:00Z",
            ),
            (
                "cron(0 9 * * ? *)",
                "America/New_York",
                "2026-01-10T15:00:00Z",
                "2026-01-11T14:00:00Z",
            ),
            (
                "cron(0 9 * * ? *)",
                "America/New_York",
                "2026-07-10T15:00:00Z",
                "2026-07-11T13:00:00Z",
            ),
            (
                "cron(0 9 * * ? *)",
                "UTC",
                "2026-07-10T15:00:00Z",
                "2026-07-11T09:00:00Z",
            ),
            (
                "rate(5 minutes)",
                "Asia/Tokyo",
                "2026-07-10T15:00:00Z",
                "2026-07-10T15:05:00Z",
            ),
            // 02:30 is left out on that day.
            (
                "cron(30 2 * * ? *)",
                "Europe/Berlin",
                "2026-03-28T02:00:00Z",
                "2026-03-30T00:30:00Z",
            ),
            // 02:30 comes twice on that day, and is once.
            (
                "cron(30 2 * * ? *)",
                "Europe/Berlin",
                "2026-10-25T00:00:00Z",
                "2026-10-25T00:30:00Z",
            ),
            (
                "cron(30 2 * * ? *)",
                "Europe/Berlin",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z",
            ),
        ];
        for (text, zone, after, expected) in cases {
            assert_eq!(
                next(text, zone, after).as_deref(),
                Some(expected),
                "{text} {zone} {after}"
            );
        }
        assert_eq!(
            next("at(2020-01-01T00:00:00)", "UTC", "2026-01-01T00:00:00Z"),
            None
        );
    }

    #[test]
    fn a_moment_has_a_date_and_a_time_and_no_zone() {
        for text in [
            "at(2021-12-31)",
            "at(2021-12-31T23:59:59Z)",
            "at(x)",
            "at()",
        ] {
            assert!(Expression::parse(text, TimeZone::UTC).is_none(), "{text}");
        }
        assert!(zone("Mars/Olympus").is_none());
    }
}
