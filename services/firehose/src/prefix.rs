//! The names of objects: prefixes with expressions, and what is put behind them.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use time::{OffsetDateTime, UtcOffset};
use wire::{Fault, Timestamp};

use crate::destination::Bucket;
use crate::errors::invalid_argument_exception;

/// Characters of `!{firehose:random-string}`.
const RANDOM: usize = 11;

/// A moment as the clocks of a time zone show it.
pub(crate) struct Local {
    time: OffsetDateTime,
    /// The zone's name in the IANA database, and what its time is called then.
    id: String,
    short: String,
}

impl Local {
    /// The moment in that zone; in UTC where there is none.
    pub(crate) fn at(time: Timestamp, zone: Option<&str>) -> Local {
        let utc = time.date_time();
        let known = zone.filter(|z| !z.is_empty()).and_then(|z| {
            let at = jiff::Timestamp::from_millisecond(time.0).ok()?;
            let zone = TimeZone::get(z).ok()?;
            let info = zone.to_offset_info(at);
            let offset = UtcOffset::from_whole_seconds(info.offset().seconds()).ok()?;
            Some(Local {
                time: utc.checked_to_offset(offset)?,
                id: z.to_owned(),
                short: info.abbreviation().to_owned(),
            })
        });
        known.unwrap_or_else(|| Local {
            time: utc,
            id: "UTC".to_owned(),
            short: "UTC".to_owned(),
        })
    }
}

/// Whether there is a time zone of that name.
pub(crate) fn is_zone(name: &str) -> bool {
    TimeZone::get(name).is_ok()
}

/// What expressions stand for.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    /// When the oldest record of the object arrived.
    pub(crate) time: &'a Local,
    /// `processing-failed` and the like.
    pub(crate) error: Option<&'a str>,
    /// Keys from the records.
    pub(crate) keys: &'a BTreeMap<String, String>,
}

fn expressions(text: &str) -> impl Iterator<Item = &str> {
    text.split("!{")
        .skip(1)
        .map(|rest| rest.split('}').next().unwrap_or(rest))
}

/// Checks the prefixes of a bucket as a creation does.
pub(crate) fn check(bucket: &Bucket, is_partitioned: bool) -> Result<(), Fault> {
    let prefix = bucket.prefix.as_deref().unwrap_or_default();
    let error = bucket.error_prefix.as_deref().unwrap_or_default();
    let is_known = |expression: &str| match expression.split_once(':') {
        Some(("timestamp", pattern)) => !pattern.is_empty(),
        Some(("firehose", value)) => matches!(value, "random-string" | "error-output-type"),
        Some(("partitionKeyFromQuery" | "partitionKeyFromLambda", key)) => !key.is_empty(),
        _ => false,
    };
    for expression in expressions(prefix).chain(expressions(error)) {
        if !is_known(expression) {
            return Err(invalid_argument_exception(format!(
                "The expression !{{{expression}}} is not valid in a prefix."
            )));
        }
    }
    let mut own = expressions(prefix).peekable();
    if own.peek().is_some() && error.is_empty() {
        return Err(invalid_argument_exception(
            "ErrorOutputPrefix cannot be null or empty when Prefix contains expressions",
        ));
    }
    for expression in own {
        if expression == "firehose:error-output-type" {
            return Err(invalid_argument_exception(
                "Prefix cannot contain !{firehose:error-output-type}",
            ));
        }
        if expression.starts_with("partitionKey") && !is_partitioned {
            return Err(invalid_argument_exception(
                "Dynamic partitioning must be enabled to use partition keys in Prefix",
            ));
        }
    }
    let is_by_key = prefix.contains("!{partitionKey");
    if is_partitioned && !is_by_key {
        return Err(invalid_argument_exception(
            "Prefix must contain partition keys when Dynamic partitioning is enabled",
        ));
    }
    let mut failed = expressions(error).peekable();
    if failed.peek().is_some() && !failed.any(|e| e == "firehose:error-output-type") {
        return Err(invalid_argument_exception(
            "ErrorOutputPrefix must contain !{firehose:error-output-type}",
        ));
    }
    Ok(())
}

/// The prefix of an object.
pub(crate) fn evaluate(bucket: &Bucket, values: &Values<'_>) -> String {
    let prefix = bucket.prefix.as_deref().unwrap_or_default();
    let text = match (values.error, bucket.error_prefix.as_deref()) {
        (Some(_), Some(error)) if !error.is_empty() => error.to_owned(),
        (Some(kind), _) => format!("{prefix}{kind}/"),
        (None, _) => prefix.to_owned(),
    };
    if !text.contains("!{") {
        return format!("{text}{}", java_time("yyyy/MM/dd/HH/", values.time));
    }
    let mut name = String::new();
    let mut rest = text.as_str();
    while let Some((before, behind)) = rest.split_once("!{") {
        name.push_str(before);
        let (expression, after) = behind.split_once('}').unwrap_or((behind, ""));
        match expression.split_once(':') {
            Some(("timestamp", pattern)) => name.push_str(&java_time(pattern, values.time)),
            Some(("firehose", "random-string")) => {
                name.push_str(&cloud::ids::lower(RANDOM));
            }
            Some(("firehose", "error-output-type")) => {
                name.push_str(values.error.unwrap_or_default());
            }
            Some((_, key)) => {
                name.push_str(values.keys.get(key).map_or("", String::as_str));
            }
            None => {}
        }
        rest = after;
    }
    name.push_str(rest);
    name
}

/// What stands behind the prefix, without an extension.
pub(crate) fn suffix(stream: &str, version: u64, time: &Local) -> String {
    let stamp = java_time("yyyy-MM-dd-HH-mm-ss", time);
    format!("{stream}-{version}-{stamp}-{}", cloud::ids::uuid())
}

/// A distance from UTC as Java writes it: `+HH` with minutes if need be, `+HHmm` or `+HH:mm`.
fn java_offset(offset: UtcOffset, count: usize) -> String {
    let (hours, minutes, _) = offset.as_hms();
    let sign = if offset.is_negative() { '-' } else { '+' };
    let (hours, minutes) = (hours.unsigned_abs(), minutes.unsigned_abs());
    match count {
        1 if minutes == 0 => format!("{sign}{hours:02}"),
        1 | 2 | 4 => format!("{sign}{hours:02}{minutes:02}"),
        _ => format!("{sign}{hours:02}:{minutes:02}"),
    }
}

/// A time by a pattern of Java's `DateTimeFormatter`.
fn java_time(pattern: &str, local: &Local) -> String {
    let t = local.time;
    let offset = t.offset();
    let mut text = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(letter) = rest.next() {
        if letter == '\'' {
            // Two quotes are one; else all up to the next is as it stands.
            let mut quoted = String::new();
            for c in rest.by_ref() {
                if c == '\'' {
                    break;
                }
                quoted.push(c);
            }
            text.push_str(if quoted.is_empty() { "'" } else { &quoted });
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            text.push(letter);
            continue;
        }
        let mut count = 1;
        while rest.next_if_eq(&letter).is_some() {
            count += 1;
        }
        let number = |n: i32| format!("{n:0count$}");
        let named = |name: String| match count {
            1..=3 => name.chars().take(3).collect(),
            _ => name,
        };
        let hour = i32::from(t.hour());
        text.push_str(&match letter {
            'y' | 'u' if count == 2 => format!("{:02}", t.year().rem_euclid(100)),
            'y' | 'u' => number(t.year()),
            'M' | 'L' if count > 2 => named(t.month().to_string()),
            'M' | 'L' => number(i32::from(u8::from(t.month()))),
            'd' => number(i32::from(t.day())),
            'D' => number(i32::from(t.ordinal())),
            'H' => number(hour),
            'k' => number(if hour == 0 { 24 } else { hour }),
            'K' => number(hour % 12),
            'h' => number(if hour % 12 == 0 { 12 } else { hour % 12 }),
            'm' => number(i32::from(t.minute())),
            's' => number(i32::from(t.second())),
            'S' => format!("{:09}", t.nanosecond())
                .chars()
                .take(count)
                .collect(),
            'a' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            'E' => named(t.weekday().to_string()),
            'e' => number(i32::from(t.weekday().number_days_from_sunday()) + 1),
            'Q' | 'q' => number((i32::from(u8::from(t.month())) + 2) / 3),
            'z' => local.short.clone(),
            'V' => local.id.clone(),
            'X' if offset.is_utc() => "Z".to_owned(),
            'X' | 'x' => java_offset(offset, count),
            'Z' if count < 4 => java_offset(offset, 2),
            'Z' if count == 4 && offset.is_utc() => "GMT".to_owned(),
            'Z' if count == 4 => format!("GMT{}", java_offset(offset, 3)),
            'Z' if offset.is_utc() => "Z".to_owned(),
            'Z' => java_offset(offset, 3),
            _ => String::new(),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(prefix: Option<&str>, error: Option<&str>) -> Bucket {
        Bucket {
            role: String::new(),
            arn: "arn:aws:s3:::b".into(),
            prefix: prefix.map(str::to_owned),
            error_prefix: error.map(str::to_owned),
            size: 5,
            interval: 300,
            compression: "UNCOMPRESSED".into(),
            key: None,
            logging: None,
        }
    }

    /// 2018-08-27 10:30:05.250.
    const TIME: Timestamp = Timestamp(1_535_365_805_250);

    fn both(prefix: Option<&str>, error: Option<&str>) -> (String, String) {
        let keys = BTreeMap::from([("id".to_owned(), "7".to_owned())]);
        let bucket = bucket(prefix, error);
        let time = Local::at(TIME, None);
        let of = |error| {
            let values = Values {
                time: &time,
                error,
                keys: &keys,
            };
            evaluate(&bucket, &values)
        };
        (of(None), of(Some("processing-failed")))
    }

    /// The examples of AWS's documentation.
    #[test]
    fn prefixes_are_evaluated_as_documented() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            both(None, Some("failures/!{firehose:error-output-type}/")),
            pair("2018/08/27/10/", "failures/processing-failed/")
        );
        assert_eq!(
            both(Some("mine/"), None),
            pair(
                "mine/2018/08/27/10/",
                "mine/processing-failed/2018/08/27/10/"
            )
        );
        assert_eq!(
            both(
                Some("year=!{timestamp:yyyy}/month=!{timestamp:MM}/"),
                Some("e/!{timestamp:yyyy}/anyMonth/!{timestamp:dd}/!{firehose:error-output-type}")
            ),
            pair(
                "year=2018/month=08/",
                "e/2018/anyMonth/27/processing-failed"
            )
        );
        let (random, _) = both(Some("r=!{firehose:random-string}/"), Some("e"));
        assert_eq!(random.len(), "r=/".len() + RANDOM);
        assert_eq!(
            both(Some("c=!{partitionKeyFromQuery:id}/"), Some("e")).0,
            "c=7/"
        );
    }

    #[test]
    fn java_s_patterns_are_understood() {
        let utc = Local::at(TIME, None);
        assert_eq!(java_time("yyyy'-'MM'-'dd''HH", &utc), "2018-08-27'10");
        assert_eq!(
            java_time("yy/M/d h:mm a E MMM SSS", &utc),
            "18/8/27 10:30 AM Mon Aug 250"
        );
        assert_eq!(
            java_time("z VV X XXX x Z ZZZZ", &utc),
            "UTC UTC Z Z +00 +0000 GMT"
        );
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let at = |zone| {
            java_time(
                "yyyy-MM-dd HH:mm z VV X XXX Z ZZZZ",
                &Local::at(TIME, Some(zone)),
            )
        };
        assert_eq!(
            at("America/New_York"),
            "2018-08-27 06:30 EDT America/New_York -04 -04:00 -0400 GMT-04:00"
        );
        assert_eq!(
            at("Asia/Kolkata"),
            "2018-08-27 16:00 IST Asia/Kolkata +0530 +05:30 +0530 GMT+05:30"
        );
        assert!(is_zone("Asia/Tokyo") && !is_zone("Mars/Olympus"));
    }

    #[test]
    fn expressions_are_checked() {
        let refused =
            |prefix, error, is_partitioned| check(&bucket(prefix, error), is_partitioned).is_err();
        assert!(refused(Some("!{timestamp:yyyy}/"), None, false));
        assert!(refused(
            Some("!{firehose:error-output-type}/"),
            Some("e"),
            false
        ));
        assert!(refused(Some("!{nothing:x}/"), Some("e"), false));
        assert!(refused(
            Some("!{partitionKeyFromQuery:a}/"),
            Some("e"),
            false
        ));
        assert!(refused(Some("a/"), Some("e"), true));
        assert!(refused(None, Some("!{timestamp:yyyy}"), false));
        assert!(!refused(
            Some("!{partitionKeyFromQuery:a}/"),
            Some("e"),
            true
        ));
        assert!(!refused(Some("plain"), None, false));
    }
}
