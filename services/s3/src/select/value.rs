//! The values of a query: what rows hold and what expressions give.

use std::cmp::Ordering;
use std::str::FromStr;

use bigdecimal::{BigDecimal, ToPrimitive};
use cloud::json_tree::Json;
use wire::Fault;

use super::fault;
use super::timestamp::Timestamp;

/// The most significant digits of a decimal.
const PRECISION: u64 = 38;
/// The largest power of ten of a decimal, either way: digits are aligned before they are added.
const SCALE: i64 = 1000;

/// A value. `Missing` is what a row lacks, `Null` what it says is nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Missing,
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(BigDecimal),
    Text(String),
    Timestamp(Timestamp),
    List(Vec<Value>),
    /// Members in their order.
    Object(Vec<(String, Value)>),
}

/// A type to cast to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    Bool,
    Int,
    Float,
    Decimal,
    Text,
    Timestamp,
}

/// A decimal within bounds.
pub fn decimal(value: BigDecimal) -> Result<Value, Fault> {
    let value = if value.digits() > PRECISION {
        value.with_prec(PRECISION)
    } else {
        value
    };
    let (_, scale) = value.as_bigint_and_exponent();
    if scale.abs() > SCALE {
        return Err(fault::number_format());
    }
    Ok(Value::Decimal(value))
}

impl Value {
    /// Reads a number: an integer where it fits one, else a decimal.
    pub fn number(text: &str) -> Result<Value, Fault> {
        if let Ok(n) = text.parse() {
            return Ok(Value::Int(n));
        }
        // An exponent is looked at before digits are made of it.
        let exponent = text.split_once(['e', 'E']).map_or("0", |(_, e)| e);
        if !exponent.parse().is_ok_and(|e: i64| e.abs() <= SCALE) {
            return Err(fault::number_format());
        }
        decimal(BigDecimal::from_str(text).map_err(|_| fault::number_format())?)
    }

    /// The value of a JSON document.
    pub fn of_json(json: Json) -> Result<Value, Fault> {
        Ok(match json {
            Json::Null => Value::Null,
            Json::Boolean(is_true) => Value::Bool(is_true),
            Json::Number(digits) => Value::number(&digits)?,
            Json::Text(text) => Value::Text(text),
            Json::List(items) => {
                let items = items.into_iter().map(Value::of_json);
                Value::List(items.collect::<Result<_, _>>()?)
            }
            Json::Object(members) => {
                let members = members
                    .into_iter()
                    .map(|(name, value)| Ok((name, Value::of_json(value)?)));
                Value::Object(members.collect::<Result<_, Fault>>()?)
            }
        })
    }

    /// Whether it is neither missing nor null.
    pub fn is_known(&self) -> bool {
        !matches!(self, Value::Missing | Value::Null)
    }

    /// The number that it is, as a decimal; floats that are none give `None`.
    pub fn as_decimal(&self) -> Option<BigDecimal> {
        match self {
            Value::Int(n) => Some(BigDecimal::from(*n)),
            Value::Decimal(d) => Some(d.clone()),
            Value::Float(f) => BigDecimal::try_from(*f).ok(),
            _ => None,
        }
    }

    /// The number that it is, as a float.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Decimal(d) => d.to_f64(),
            Value::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// How it compares with another; `None` for values that do not compare.
    pub fn order(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.instant().cmp(&b.instant())),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Float(_), _) | (_, Value::Float(_)) => {
                self.as_float()?.partial_cmp(&other.as_float()?)
            }
            _ => Some(self.as_decimal()?.cmp(&other.as_decimal()?)),
        }
    }

    /// Whether it is the same value; values of different types are not.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Value::Object(a), Value::Object(b)) => {
                let holds = |(name, value): &(String, Value)| {
                    b.iter().any(|(other, v)| other == name && value.equals(v))
                };
                a.len() == b.len() && a.iter().all(holds)
            }
            (Value::Null, Value::Null) | (Value::Missing, Value::Missing) => true,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }

    /// Converts it, as `CAST` does; what is unknown stays so.
    pub fn cast(self, to: Type) -> Result<Value, Fault> {
        let failed = fault::cast_failed;
        Ok(match (to, self) {
            (_, unknown @ (Value::Missing | Value::Null)) => unknown,
            (Type::Bool, value @ Value::Bool(_))
            | (Type::Int, value @ Value::Int(_))
            | (Type::Float, value @ Value::Float(_))
            | (Type::Decimal, value @ Value::Decimal(_))
            | (Type::Text, value @ Value::Text(_))
            | (Type::Timestamp, value @ Value::Timestamp(_)) => value,
            (Type::Bool, Value::Text(text)) if text.eq_ignore_ascii_case("true") => {
                Value::Bool(true)
            }
            (Type::Bool, Value::Text(text)) if text.eq_ignore_ascii_case("false") => {
                Value::Bool(false)
            }
            (Type::Bool, value @ (Value::Int(_) | Value::Decimal(_) | Value::Float(_))) => {
                Value::Bool(value.as_float() != Some(0.0))
            }
            (Type::Int, Value::Bool(b)) => Value::Int(i64::from(b)),
            (Type::Int, Value::Text(text)) => Value::Int(text.parse().map_err(|_| failed())?),
            (Type::Int, Value::Float(f)) if f.is_finite() && f.abs() < i64::MAX as f64 => {
                Value::Int(f as i64)
            }
            (Type::Int, Value::Decimal(d)) => Value::Int(d.to_i64().ok_or_else(failed)?),
            (Type::Float, Value::Bool(b)) => Value::Float(f64::from(u8::from(b))),
            (Type::Float, Value::Text(text)) => Value::Float(text.parse().map_err(|_| failed())?),
            (Type::Float, value @ (Value::Int(_) | Value::Decimal(_))) => {
                Value::Float(value.as_float().ok_or_else(failed)?)
            }
            (Type::Decimal, Value::Bool(b)) => Value::Decimal(BigDecimal::from(u8::from(b))),
            (Type::Decimal, Value::Text(text)) => {
                let value = Value::number(&text).map_err(|_| failed())?;
                decimal(value.as_decimal().ok_or_else(failed)?)?
            }
            (Type::Decimal, value @ (Value::Int(_) | Value::Float(_))) => {
                decimal(value.as_decimal().ok_or_else(failed)?)?
            }
            // Lists and objects have no text.
            (Type::Text, value) => Value::Text(value.text().ok_or_else(failed)?),
            (Type::Timestamp, Value::Text(text)) => {
                Value::Timestamp(Timestamp::parse(&text).ok_or_else(failed)?)
            }
            _ => return Err(failed()),
        })
    }

    /// Its text in CSV; `None` for lists and objects, which have none.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Value::Missing | Value::Null => String::new(),
            Value::Bool(b) => b.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Float(f) => format!("{f:?}"),
            Value::Decimal(d) => shown(d),
            Value::Text(text) => text.clone(),
            Value::Timestamp(t) => t.to_string(),
            Value::List(_) | Value::Object(_) => return None,
        })
    }

    /// Writes it as JSON; a member that is missing is left out.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Value::Missing | Value::Null => out.extend_from_slice(b"null"),
            Value::Text(text) => write_text(text, out),
            Value::Timestamp(t) => write_text(&t.to_string(), out),
            Value::Float(f) if !f.is_finite() => out.extend_from_slice(b"null"),
            Value::List(items) => {
                out.push(b'[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    item.write_json(out);
                }
                out.push(b']');
            }
            Value::Object(members) => {
                write_members(
                    members.iter().map(|(name, value)| (name.as_str(), value)),
                    out,
                );
            }
            _ => out.extend_from_slice(self.text().unwrap_or_default().as_bytes()),
        }
    }
}

/// Digits without an exponent, unless there would be many zeros.
fn shown(d: &BigDecimal) -> String {
    let (_, scale) = d.as_bigint_and_exponent();
    if (-20..=60).contains(&scale) {
        d.to_plain_string()
    } else {
        d.to_scientific_notation()
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // A string is always written.
    let _ = serde_json::to_writer(out, text);
}

/// Writes an object of those members, in that order.
pub fn write_members<'v>(members: impl Iterator<Item = (&'v str, &'v Value)>, out: &mut Vec<u8>) {
    out.push(b'{');
    let known = members.filter(|(_, value)| **value != Value::Missing);
    for (n, (name, value)) in known.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        value.write_json(out);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Value {
        Value::Text(s.into())
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (given, shown) in [
            ("12", "12"),
            ("1.50", "1.50"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("1e3", "1000"),
        ] {
            assert_eq!(Value::number(given).unwrap().text().unwrap(), shown);
        }
        for bad in ["1e999999999", "1e-999999999", "x", ""] {
            assert_eq!(Value::number(bad).unwrap_err().code, "NumberFormatError");
        }
    }

    #[test]
    fn values_compare_within_their_kind() {
        let number = |s: &str| Value::number(s).unwrap();
        assert!(number("1").equals(&number("1.0")));
        assert!(!number("1").equals(&text("1")));
        assert_eq!(number("2").order(&number("10.5")), Some(Ordering::Less));
        assert_eq!(number("2").order(&text("1")), None);
        assert_eq!(Value::Float(0.5).order(&number("1")), Some(Ordering::Less));
    }

    #[test]
    fn casts_do_as_told_or_fail() {
        let cast = |value: Value, to| value.cast(to).map_err(|fault| fault.code.clone());
        assert_eq!(cast(text("12"), Type::Int), Ok(Value::Int(12)));
        assert_eq!(cast(text("1.5"), Type::Float), Ok(Value::Float(1.5)));
        assert_eq!(cast(text("TRUE"), Type::Bool), Ok(Value::Bool(true)));
        assert_eq!(cast(Value::Float(2.9), Type::Int), Ok(Value::Int(2)));
        assert_eq!(cast(Value::Int(7), Type::Text), Ok(text("7")));
        assert_eq!(cast(Value::Null, Type::Int), Ok(Value::Null));
        for (value, to) in [
            (text(""), Type::Int),
            (text("1.5"), Type::Int),
            (text("x"), Type::Timestamp),
            (text("x"), Type::Bool),
            (Value::List(vec![]), Type::Text),
        ] {
            assert_eq!(cast(value, to), Err("CastFailed".into()));
        }
    }
}
