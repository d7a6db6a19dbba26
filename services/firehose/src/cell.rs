//! JSON values as values of columns, by the rules of the deserializers that AWS offers: OpenX's, which takes much for what it
//! may have been meant as, and Hive's, which is stricter. What does not fit its column fails its record, in AWS's words.

use time::{Date, Month, PrimitiveDateTime, Time};

use crate::hive::Type;
use cloud::json_tree::Json;

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Boolean(bool),
    /// Also a date: days since 1970.
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    /// A decimal without its point.
    Decimal(i128),
    Bytes(Vec<u8>),
    /// Nanoseconds since 1970.
    Moment(i128),
    List(Vec<Cell>),
    /// Keys and values.
    Map(Vec<(Cell, Cell)>),
    Structure(Vec<Cell>),
}

/// How values are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether names count without their case.
    pub(crate) ignores_case: bool,
    /// Whether what is of another type is taken for what it may have been meant as.
    pub(crate) is_lenient: bool,
}

const MISMATCH: &str = "Data does not match the schema.";
const NANOS: i128 = 1_000_000_000;
/// An epoch from here on counts milliseconds, below it seconds.
const MILLIS_FROM: i128 = 1_000_000_000_000;

fn unfit(text: &str) -> String {
    format!("{MISMATCH} For input string: \"{text}\"")
}

impl Rules {
    /// The member of that name.
    pub(crate) fn member<'a>(&self, members: &'a [(String, Json)], name: &str) -> Option<&'a Json> {
        let is_it = |n: &str| {
            n == name
                || self.ignores_case
                    && (n.eq_ignore_ascii_case(name)
                        || !n.is_ascii() && n.to_lowercase() == name.to_lowercase())
        };
        // Of several, the last counts.
        let found = members.iter().rev().find(|(n, _)| is_it(n));
        found.map(|(_, value)| value)
    }

    /// A value as one of that type, or why it is none.
    pub(crate) fn cell(&self, value: &Json, of: &Type) -> Result<Cell, String> {
        if *value == Json::Null {
            return Ok(Cell::Null);
        }
        match of {
            Type::List(element) => self.list(value, element),
            Type::Map(key, element) => self.map(value, key, element),
            Type::Structure(members) => self.structure(value, members),
            Type::Text { most, is_char } => {
                let mut text = self.text(value)?;
                if let Some((end, _)) = most.and_then(|most| text.char_indices().nth(most)) {
                    text.truncate(end);
                }
                if *is_char {
                    text.truncate(text.trim_end_matches(' ').len());
                }
                Ok(Cell::Bytes(text.into_bytes()))
            }
            Type::Binary => Ok(Cell::Bytes(self.text(value)?.into_bytes())),
            Type::Boolean => match value {
                Json::Boolean(is_true) => Ok(Cell::Boolean(*is_true)),
                Json::Text(text) if self.is_lenient && text.eq_ignore_ascii_case("true") => {
                    Ok(Cell::Boolean(true))
                }
                Json::Text(text) if self.is_lenient && text.eq_ignore_ascii_case("false") => {
                    Ok(Cell::Boolean(false))
                }
                other => Err(unfit(&plain(other))),
            },
            Type::Date => match value {
                Json::Text(text) => date(text)
                    .map(|date| Cell::Int(days(date)))
                    .ok_or_else(|| unfit(text)),
                other => Err(unfit(&plain(other))),
            },
            Type::Timestamp => {
                let text = plain(value);
                let moment = epoch(&text).or_else(|| moment(&text));
                moment.map(Cell::Moment).ok_or_else(|| {
                    format!("{MISMATCH} Timestamp format must be yyyy-mm-dd hh:mm:ss[.fffffffff]")
                })
            }
            numeric => self.number(value, numeric),
        }
    }

    fn text(&self, value: &Json) -> Result<String, String> {
        match value {
            Json::List(_) | Json::Object(_) if !self.is_lenient => Err(
                "One or more fields have incorrect format. Exception when validating field (root)"
                    .to_owned(),
            ),
            Json::Text(text) => Ok(text.clone()),
            other => Ok(other.text()),
        }
    }

    fn number(&self, value: &Json, of: &Type) -> Result<Cell, String> {
        let text = match value {
            Json::Number(digits) => digits,
            Json::Text(_) if !self.is_lenient => {
                return Err(format!(
                    "{MISMATCH} Current token (VALUE_STRING) not numeric, can not use numeric value accessors"
                ));
            }
            Json::Text(text) => text.trim(),
            other => return Err(unfit(&plain(other))),
        };
        let found = match of {
            Type::Integer(64) => text.parse().ok().map(Cell::Long),
            Type::Integer(bits) => {
                let number = text.parse::<i32>().ok();
                let room = 1_i64 << (bits - 1);
                number
                    .filter(|n| (-room..room).contains(&i64::from(*n)))
                    .map(Cell::Int)
            }
            Type::Float => text
                .parse::<f32>()
                .ok()
                .filter(|n| n.is_finite())
                .map(Cell::Float),
            Type::Double => text
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite())
                .map(Cell::Double),
            Type::Decimal(precision, scale) => decimal(text, u32::from(*scale))
                .filter(|n| n.unsigned_abs() < 10_u128.pow(u32::from(*precision)))
                .map(Cell::Decimal),
            _ => None,
        };
        found.ok_or_else(|| unfit(text))
    }

    fn list(&self, value: &Json, element: &Type) -> Result<Cell, String> {
        let items = match value {
            Json::List(items) => items.as_slice(),
            _ if !self.is_lenient => {
                return Err(format!(
                    "{MISMATCH} java.io.IOException: Start of Array expected"
                ));
            }
            // One thing is a list of one.
            one => std::slice::from_ref(one),
        };
        let cells = items.iter().map(|item| self.cell(item, element));
        cells.collect::<Result<_, _>>().map(Cell::List)
    }

    fn map(&self, value: &Json, key: &Type, element: &Type) -> Result<Cell, String> {
        let Json::Object(members) = value else {
            return Err(self.no_object(value));
        };
        let mut cells: Vec<(Cell, Cell)> = Vec::new();
        for (name, value) in members {
            // A key is written as a text, whatever its type.
            let lenient = Rules {
                is_lenient: true,
                ..*self
            };
            let name = lenient.cell(&Json::Text(name.clone()), key)?;
            let value = self.cell(value, element)?;
            match cells.iter_mut().find(|(n, _)| *n == name) {
                Some((_, old)) => *old = value,
                None => cells.push((name, value)),
            }
        }
        Ok(Cell::Map(cells))
    }

    fn structure(&self, value: &Json, types: &[(String, Type)]) -> Result<Cell, String> {
        let null = Json::Null;
        let cells: Result<Vec<_>, _> = match value {
            Json::Object(members) => types
                .iter()
                .map(|(name, of)| self.cell(self.member(members, name).unwrap_or(&null), of))
                .collect(),
            Json::List(items) if self.is_lenient => types
                .iter()
                .enumerate()
                .map(|(n, (_, of))| self.cell(items.get(n).unwrap_or(&null), of))
                .collect(),
            other => return Err(self.no_object(other)),
        };
        cells.map(Cell::Structure)
    }

    fn no_object(&self, value: &Json) -> String {
        if !self.is_lenient {
            return format!("{MISMATCH} java.io.IOException: Start of Object expected");
        }
        let class = match value {
            Json::Number(digits) if digits.contains(['.', 'e', 'E']) => "java.lang.Double",
            Json::Number(_) => "java.lang.Long",
            Json::Boolean(_) => "java.lang.Boolean",
            Json::List(_) => return format!("{MISMATCH} A map column cannot hold a JSON array."),
            _ => "java.lang.String",
        };
        format!(
            "{MISMATCH} Data is not JSONObject  but {class} with value {}",
            plain(value)
        )
    }
}

/// A value as it is shown: a text without its quotes.
fn plain(value: &Json) -> String {
    match value {
        Json::Text(text) => text.clone(),
        other => other.text(),
    }
}

/// A decimal number times ten to the power of `scale`, rounded half up; `None` for no number and for one too large for an `i128`.
fn decimal(text: &str, scale: u32) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (is_negative, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let all = all.trim_start_matches('0');
    if all.is_empty() {
        return Some(0);
    }
    // How many zeros follow the digits, or how many digits fall away.
    let behind = i64::try_from(fraction.len()).ok()?;
    let shift = exponent
        .checked_sub(behind)?
        .checked_add(i64::from(scale))?;
    let kept = i64::try_from(all.len()).ok()?.checked_add(shift.min(0))?;
    let value = if shift >= 0 {
        let shift = u32::try_from(shift).ok().filter(|s| *s <= 38)?;
        let digits = all.parse::<i128>().ok()?;
        digits.checked_mul(10_i128.checked_pow(shift)?)?
    } else if kept < 0 {
        0
    } else {
        let (kept, rest) = all.split_at(usize::try_from(kept).ok()?);
        let value: i128 = if kept.is_empty() {
            0
        } else {
            kept.parse().ok()?
        };
        value.checked_add(i128::from(
            rest.as_bytes().first().is_some_and(|b| *b >= b'5'),
        ))?
    };
    Some(if is_negative { -value } else { value })
}

/// The moment that a number counts to.
fn epoch(text: &str) -> Option<i128> {
    let nanos = decimal(text.trim(), 9)?;
    let millis = nanos >= MILLIS_FROM * NANOS;
    let nanos = if millis { nanos / 1_000 } else { nanos };
    // What no calendar here reaches is no moment.
    (nanos.unsigned_abs() < (300_000_i128 * 366 * 86_400 * NANOS).unsigned_abs()).then_some(nanos)
}

fn date(text: &str) -> Option<Date> {
    let mut parts = text.trim().splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number =
        |t: &str, most| (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    if year.len() != 4 || !is_number(year, 4) || !is_number(month, 2) || !is_number(day, 2) {
        return None;
    }
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()
}

fn days(date: Date) -> i32 {
    const EPOCH: i32 = 2_440_588;
    date.to_julian_day() - EPOCH
}

/// A moment as Java's `Timestamp` writes it, leniently, or as ISO 8601 does, strictly; without a zone it is UTC.
fn moment(text: &str) -> Option<i128> {
    let text = text.trim();
    let (day, time) = text.split_once(['T', ' '])?;
    let is_iso = text.as_bytes().get(day.len()) == Some(&b'T');
    let time = match is_iso {
        true => time.strip_suffix('Z').unwrap_or(time),
        false => time,
    };
    if is_iso
        && (day.len() != 10
            || time
                .get(..8)
                .is_none_or(|t| t.split(':').any(|p| p.len() != 2)))
    {
        return None;
    }
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let is_fraction =
        (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    if !is_fraction {
        return None;
    }
    let mut parts = clock.trim().splitn(3, ':').map(|part| {
        let is_number = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| part.parse::<u8>().ok()).flatten()
    });
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    let time = Time::from_hms_nano(hour, minute, second, nanos).ok()?;
    let moment = PrimitiveDateTime::new(date(day)?, time).assume_utc();
    Some(moment.unix_timestamp_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENX: Rules = Rules {
        ignores_case: true,
        is_lenient: true,
    };
    const HIVE: Rules = Rules {
        ignores_case: true,
        is_lenient: false,
    };

    fn cell(rules: Rules, text: &str, of: &str) -> Result<Cell, String> {
        let mut value = Json::read(text.as_bytes()).unwrap();
        if rules.is_lenient {
            value.lower();
        }
        rules.cell(&value, &Type::parse(of).unwrap())
    }
    fn text(text: &str) -> Cell {
        Cell::Bytes(text.into())
    }
    fn refused(rules: Rules, value: &str, of: &str) -> String {
        cell(rules, value, of).unwrap_err()
    }

    #[test]
    fn numbers_keep_their_digits_and_their_bounds() {
        assert_eq!(cell(OPENX, "127", "tinyint"), Ok(Cell::Int(127)));
        assert_eq!(
            refused(OPENX, "128", "tinyint"),
            "Data does not match the schema. For input string: \"128\""
        );
        assert_eq!(cell(OPENX, "\"20\"", "int"), Ok(Cell::Int(20)));
        assert_eq!(
            refused(HIVE, "\"20\"", "int"),
            "Data does not match the schema. Current token (VALUE_STRING) not numeric, can not use numeric value accessors"
        );
        assert_eq!(
            cell(OPENX, "9007199254740993", "bigint"),
            Ok(Cell::Long(9_007_199_254_740_993))
        );
        assert_eq!(
            cell(OPENX, "12345678901234567890.12", "decimal(22,2)"),
            Ok(Cell::Decimal(1_234_567_890_123_456_789_012))
        );
        assert_eq!(
            cell(OPENX, "12.345", "decimal(4,2)"),
            Ok(Cell::Decimal(1_235))
        );
        assert_eq!(cell(OPENX, "-0.005", "decimal(4,2)"), Ok(Cell::Decimal(-1)));
        assert_eq!(
            cell(OPENX, "\"1e-1000000000\"", "decimal(22,2)"),
            Ok(Cell::Decimal(0))
        );
        assert_eq!(
            cell(OPENX, "\"0e1000000000\"", "decimal(22,2)"),
            Ok(Cell::Decimal(0))
        );
        for (value, of) in [
            ("12345.67", "decimal(4,2)"),
            ("\"1e1000000000\"", "decimal(22,2)"),
            ("\"1e9223372036854775807\"", "decimal(22,2)"),
            ("\"1e1000000000\"", "timestamp"),
            ("1e1000", "double"),
            ("1e100", "float"),
            ("\"NaN\"", "double"),
            ("\"maybe\"", "boolean"),
        ] {
            assert!(cell(OPENX, value, of).is_err(), "{value} {of}");
        }
    }

    #[test]
    fn moments_are_read_as_aws_reads_them() {
        for (value, expected) in [
            ("1518033528", 1_518_033_528_000),
            ("\"1518033528\"", 1_518_033_528_000),
            ("1518033528123", 1_518_033_528_123),
            ("999999999999", 999_999_999_999_000),
            ("1000000000000", 1_000_000_000_000),
            ("1518033528.123", 1_518_033_528_123),
            ("0", 0),
            ("-1000", -1_000_000),
            ("\"2018-02-07 19:58:48\"", 1_518_033_528_000),
            ("\"2018-2-7 19:58:48.5\"", 1_518_033_528_500),
            ("\"2018-02-07T19:58:48Z\"", 1_518_033_528_000),
            ("\"2018-02-07T19:58:48\"", 1_518_033_528_000),
        ] {
            assert_eq!(
                cell(OPENX, value, "timestamp"),
                Ok(Cell::Moment(expected * 1_000_000)),
                "{value}"
            );
        }
        for bad in [
            "\"2026-9-7T12:00:02Z\"",
            "\"2026-05-21T14:00:00+00:00\"",
            "18446744073709551616",
            "\"2018-02-07\"",
            "\"soon\"",
        ] {
            assert!(cell(OPENX, bad, "timestamp").is_err(), "{bad}");
        }
        assert_eq!(cell(OPENX, "\"1970-1-2\"", "date"), Ok(Cell::Int(1)));
    }

    #[test]
    fn openx_takes_what_may_have_been_meant() {
        let list = |items: &[&str]| Cell::List(items.iter().map(|i| text(i)).collect());
        assert_eq!(cell(OPENX, "\"a\"", "array<string>"), Ok(list(&["a"])));
        assert_eq!(cell(OPENX, "[1,2]", "array<string>"), Ok(list(&["1", "2"])));
        let person = "struct<name:string,age:int>";
        let zoe = Cell::Structure(vec![text("Zoe"), Cell::Int(9)]);
        assert_eq!(
            cell(OPENX, r#"["Zoe", 9, "more"]"#, person),
            Ok(zoe.clone())
        );
        assert_eq!(
            cell(OPENX, r#"{"NAME": "Zoe", "Age": "9", "x": 1}"#, person),
            Ok(zoe)
        );
        let nobody = Cell::Structure(vec![Cell::Null, Cell::Null]);
        assert_eq!(cell(OPENX, "{}", person), Ok(nobody));
        assert_eq!(
            refused(OPENX, "42", person),
            "Data does not match the schema. Data is not JSONObject  but java.lang.Long with value 42"
        );
        assert_eq!(
            cell(OPENX, r#"{"Outer": {"Inner": 1}}"#, "string"),
            Ok(text(r#"{"outer":{"inner":1}}"#))
        );
        assert_eq!(
            cell(OPENX, r#"{"Mixed": 1}"#, "map<string,int>"),
            Ok(Cell::Map(vec![(text("mixed"), Cell::Int(1))]))
        );
    }

    #[test]
    fn hive_is_stricter() {
        let mismatch = |text: &str| format!("Data does not match the schema. {text}");
        assert_eq!(
            refused(HIVE, "\"a\"", "array<string>"),
            mismatch("java.io.IOException: Start of Array expected")
        );
        assert_eq!(
            refused(HIVE, "42", "struct<a:int>"),
            mismatch("java.io.IOException: Start of Object expected")
        );
        assert_eq!(
            refused(HIVE, "{}", "string"),
            "One or more fields have incorrect format. Exception when validating field (root)"
        );
        assert_eq!(
            cell(HIVE, r#"{"Mixed": 1}"#, "map<string,int>"),
            Ok(Cell::Map(vec![(text("Mixed"), Cell::Int(1))]))
        );
    }
}
