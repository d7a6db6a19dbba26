//! Schedule expressions: `rate(5 minutes)` and `cron(0 12 ? * MON-FRI *)`, as rules and schedules have them.

use time::{Date, Duration, Month, PrimitiveDateTime, Time};

/// When something happens, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// Each so many milliseconds.
    Rate(i64),
    /// Whenever the clock on the wall shows it.
    Cron(Box<Cron>),
}

/// A cron expression of six fields: minutes, hours, day of the month, month, day of the week, year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: Set,
    hours: Set,
    days: Days,
    months: Set,
    years: Set,
}

/// The numbers that a field lets through, each as an index from the field's smallest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    first: i32,
    has: Vec<bool>,
}

/// Which days, by the one of the two fields that is not `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    /// Days of the month.
    OfMonth(Set),
    /// The last of the month, or so many before it.
    Last(u8),
    /// The last weekday of the month.
    LastWeekday,
    /// The weekday nearest to that day.
    NearestWeekday(u8),
    /// Days of the week, Sunday being 1.
    OfWeek(Set),
    /// The last such day of the week in the month.
    LastOfWeek(u8),
    /// The so-and-so-manieth such day of the week in the month.
    Nth(u8, u8),
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const YEARS: (i32, i32) = (1970, 2199);
const MINUTE: i64 = 60_000;

impl Recurrence {
    /// Reads an expression. A rule wants `rate(1 minute)` in the singular and `rate(2 minutes)` in the plural; with
    /// `is_lenient` either does.
    pub fn parse(text: &str, is_lenient: bool) -> Option<Recurrence> {
        if let Some(inner) = inside(text, "rate(") {
            return rate(inner, is_lenient).map(Recurrence::Rate);
        }
        let cron = Cron::parse(inside(text, "cron(")?)?;
        Some(Recurrence::Cron(Box::new(cron)))
    }
}

/// What stands between `name(` and `)`.
pub fn inside<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.strip_suffix(')')
}

fn rate(text: &str, is_lenient: bool) -> Option<i64> {
    let (count, unit) = text.split_once(' ')?;
    if !count.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: i64 = count.parse().ok().filter(|n| *n > 0)?;
    let (single, is_plural) = match unit.strip_suffix('s') {
        Some(single) => (single, true),
        None => (unit, false),
    };
    let length = match single {
        "minute" => MINUTE,
        "hour" => 60 * MINUTE,
        "day" => 24 * 60 * MINUTE,
        _ => return None,
    };
    (is_lenient || is_plural == (count != 1)).then(|| count.saturating_mul(length))
}

fn number(text: &str, names: &[&str]) -> Option<i32> {
    if let Some(at) = names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
        return i32::try_from(at + 1).ok();
    }
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

impl Set {
    fn parse(text: &str, first: i32, last: i32, names: &[&str]) -> Option<Set> {
        let size = usize::try_from(last - first + 1).ok()?;
        let mut set = Set {
            first,
            has: vec![false; size],
        };
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(number(step, &[])?).filter(|s| *s > 0)),
                None => (item, Some(1)),
            };
            let step = step?;
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (first, last),
                Some((from, to)) => (number(from, names)?, number(to, names)?),
                None if item.contains('/') => (number(range, names)?, last),
                None => {
                    let only = number(range, names)?;
                    (only, only)
                }
            };
            let within = first..=last;
            if !within.contains(&from) || !within.contains(&to) {
                return None;
            }
            // `FRI-MON` goes round the end.
            let length = (to - from).rem_euclid(last - first + 1);
            let mut ahead = 0;
            while ahead <= length {
                let at = (from - first + ahead).rem_euclid(last - first + 1);
                *set.has.get_mut(usize::try_from(at).ok()?)? = true;
                ahead += step;
            }
        }
        Some(set)
    }

    fn has(&self, number: i32) -> bool {
        let at = usize::try_from(number - self.first).ok();
        at.and_then(|at| self.has.get(at)).copied().unwrap_or(false)
    }

    /// The first number it has from that one on.
    fn from(&self, number: i32) -> Option<i32> {
        let start = usize::try_from((number - self.first).max(0)).ok()?;
        let ahead = self.has.get(start..)?.iter().position(|has| *has)?;
        i32::try_from(start + ahead).ok().map(|at| at + self.first)
    }
}

impl Days {
    fn parse(of_month: &str, of_week: &str) -> Option<Days> {
        match (of_month, of_week) {
            ("?", "?") => None,
            ("L", "?") => Some(Days::Last(0)),
            ("LW" | "WL", "?") => Some(Days::LastWeekday),
            (of_month, "?") => {
                if let Some(before) = of_month.strip_prefix("L-") {
                    let before = number(before, &[]).filter(|n| *n <= 30)?;
                    return Some(Days::Last(u8::try_from(before).ok()?));
                }
                if let Some(day) = of_month.strip_suffix('W') {
                    let day = number(day, &[]).filter(|n| (1..=31).contains(n))?;
                    return Some(Days::NearestWeekday(u8::try_from(day).ok()?));
                }
                Set::parse(of_month, 1, 31, &[]).map(Days::OfMonth)
            }
            ("?", of_week) => {
                let weekday = |text: &str| {
                    let day = number(text, &WEEKDAYS).filter(|n| (1..=7).contains(n))?;
                    u8::try_from(day).ok()
                };
                if let Some((day, nth)) = of_week.split_once('#') {
                    let nth = number(nth, &[]).filter(|n| (1..=5).contains(n))?;
                    return Some(Days::Nth(weekday(day)?, u8::try_from(nth).ok()?));
                }
                if of_week == "L" {
                    return Set::parse("7", 1, 7, &[]).map(Days::OfWeek);
                }
                if let Some(day) = of_week.strip_suffix('L') {
                    return Some(Days::LastOfWeek(weekday(day)?));
                }
                Set::parse(of_week, 1, 7, &WEEKDAYS).map(Days::OfWeek)
            }
            _ => None,
        }
    }

    fn has(&self, date: Date) -> bool {
        let day = date.day();
        let last = date.month().length(date.year());
        let weekday = date.weekday().number_from_sunday();
        match self {
            Days::OfMonth(set) => set.has(i32::from(day)),
            Days::Last(before) => day + before == last,
            Days::LastWeekday => day == nearest_weekday(date, last),
            Days::NearestWeekday(wanted) => {
                *wanted <= last && day == nearest_weekday(date, *wanted)
            }
            Days::OfWeek(set) => set.has(i32::from(weekday)),
            Days::LastOfWeek(wanted) => weekday == *wanted && day + 7 > last,
            Days::Nth(wanted, nth) => weekday == *wanted && (day - 1) / 7 + 1 == *nth,
        }
    }
}

/// The weekday of the month of `date` that is nearest to `day`, within that month.
fn nearest_weekday(date: Date, day: u8) -> u8 {
    let last = date.month().length(date.year());
    let weekday = date
        .replace_day(day)
        .map_or(1, |d| d.weekday().number_from_monday());
    match weekday {
        6 if day == 1 => 3,
        6 => day - 1,
        7 if day == last => day - 2,
        7 => day + 1,
        _ => day,
    }
}

impl Cron {
    /// Reads the six fields.
    pub fn parse(text: &str) -> Option<Cron> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, of_month, months, of_week, years] = fields.try_into().ok()?;
        Some(Cron {
            minutes: Set::parse(minutes, 0, 59, &[])?,
            hours: Set::parse(hours, 0, 23, &[])?,
            days: Days::parse(of_month, of_week)?,
            months: Set::parse(months, 1, 12, &MONTHS)?,
            years: Set::parse(years, YEARS.0, YEARS.1, &[])?,
        })
    }

    /// The first minute after that moment on the clock on the wall; `None` when there is no more.
    pub fn next(&self, after: PrimitiveDateTime) -> Option<PrimitiveDateTime> {
        let start = after.checked_add(Duration::MINUTE)?;
        let mut date = start.date();
        let mut from = (i32::from(start.hour()), i32::from(start.minute()));
        while date.year() <= YEARS.1 {
            if !self.years.has(date.year()) {
                let year = self.years.from(date.year())?;
                date = Date::from_calendar_date(year, Month::January, 1).ok()?;
                from = (0, 0);
                continue;
            }
            if !self.months.has(i32::from(u8::from(date.month()))) {
                date = first_of_next_month(date)?;
                from = (0, 0);
                continue;
            }
            if self.days.has(date)
                && let Some(time) = self.time_from(from)
            {
                return Some(PrimitiveDateTime::new(date, time));
            }
            date = date.next_day()?;
            from = (0, 0);
        }
        None
    }

    fn time_from(&self, (hour, minute): (i32, i32)) -> Option<Time> {
        let mut at = self.hours.from(hour)?;
        let found = match at == hour {
            true => self.minutes.from(minute),
            false => None,
        };
        let minute = match found {
            Some(minute) => minute,
            None => {
                if at == hour {
                    at = self.hours.from(hour + 1)?;
                }
                self.minutes.from(0)?
            }
        };
        Time::from_hms(u8::try_from(at).ok()?, u8::try_from(minute).ok()?, 0).ok()
    }
}

fn first_of_next_month(date: Date) -> Option<Date> {
    let year = date.year() + i32::from(date.month() == Month::December);
    Date::from_calendar_date(year, date.month().next(), 1).ok()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn next(fields: &str, after: PrimitiveDateTime) -> Option<PrimitiveDateTime> {
        Cron::parse(fields)
            .unwrap_or_else(|| panic!("{fields} is no expression"))
            .next(after)
    }

    #[test]
    fn each_field_says_when() {
        let after = datetime!(2026-11-26 10:07:30);
        let cases = [
            ("* * * * ? *", datetime!(2026-11-26 10:08)),
            ("0 10 * * ? *", datetime!(2026-11-27 10:00)),
            ("0/15 * * * ? *", datetime!(2026-11-26 10:15)),
            ("5,35 14 * * ? *", datetime!(2026-11-26 14:05)),
            ("0-5/5 8-9 * * ? *", datetime!(2026-11-27 08:00)),
            ("0 18 ? * MON-FRI *", datetime!(2026-11-26 18:00)),
            ("0 2 ? * SAT *", datetime!(2026-11-28 02:00)),
            ("0 2 ? * SAT-MON *", datetime!(2026-11-28 02:00)),
            ("0 0 L * ? *", datetime!(2026-11-30 00:00)),
            ("0 0 L-3 * ? *", datetime!(2026-11-27 00:00)),
            ("0 0 LW * ? *", datetime!(2026-11-30 00:00)),
            ("0 0 1W * ? *", datetime!(2026-12-01 00:00)),
            ("0 0 1W 8 ? *", datetime!(2027-08-02 00:00)),
            ("0 0 ? * 6L *", datetime!(2026-11-27 00:00)),
            ("0 0 ? * SAT#1 *", datetime!(2026-12-05 00:00)),
            ("0 0 ? * 7#5 *", datetime!(2027-01-30 00:00)),
            ("0 0 ? * L *", datetime!(2026-11-28 00:00)),
            ("0 0 29 FEB ? *", datetime!(2028-02-29 00:00)),
            ("30 23 31 12 ? 2026-2030/2", datetime!(2026-12-31 23:30)),
            ("59 9 * * ? *", datetime!(2026-11-27 09:59)),
        ];
        for (fields, expected) in cases {
            assert_eq!(next(fields, after), Some(expected), "{fields}");
        }
        assert_eq!(next("0 0 1 1 ? 2020", after), None);
        assert_eq!(next("0 0 30 2 ? *", after), None);
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "cron(0 1 * * * *)",
            "cron(7 20 * * NOT *)",
            "cron(INVALID)",
            "cron(0 dummy ? * MON-FRI *)",
            "cron(71 8 1 * ? *)",
            "cron()",
            "cron(0 0 ? * ? *)",
            "cron(0/0 0 ? * * *)",
            "cron(0 0 32 * ? *)",
            "cron(0 0 ? * 8#1 *)",
            "rate(10 seconds)",
            "rate(10 years)",
            "rate()",
            "rate(10)",
            "rate(10 minutess)",
            "rate(foo minutes)",
            "rate(0 minutes)",
            "rate(+1 minute)",
            "rate(-10 minutes)",
            "rate( 10 minutes )",
            " rate(10 minutes)",
            "at(2021-12-31T23:59:59)",
            "",
        ] {
            assert_eq!(Recurrence::parse(text, true), None, "{text}");
        }
        assert_eq!(Recurrence::parse("rate(1 minutes)", false), None);
        assert_eq!(Recurrence::parse("rate(5 minute)", false), None);
        assert_eq!(
            Recurrence::parse("rate(1 minute)", false),
            Some(Recurrence::Rate(60_000))
        );
        assert_eq!(
            Recurrence::parse("rate(2 days)", false),
            Some(Recurrence::Rate(172_800_000))
        );
    }
}
