//! Expressions over a row's fields.

use std::cmp::Ordering;

use regex::Regex;
use wire::Timestamp;

use super::{Row, shown_time};

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Number(f64),
    Text(String),
    Bool(bool),
}

impl Value {
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Value::Number(n) => Some(*n),
            Value::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            Value::Null => None,
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Text(text) => text.clone(),
            Value::Bool(b) => u8::from(*b).to_string(),
            Value::Number(n) if n.fract() == 0.0 && n.abs() < 1e15 => format!("{n:.0}"),
            Value::Number(n) => {
                let text = format!("{n:.4}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Bool(b) => *b,
            Value::Number(n) => *n != 0.0,
            Value::Text(text) => !text.is_empty() && text != "0",
            Value::Null => false,
        }
    }

    /// Numbers by their value, else texts; nothing comes first.
    pub(crate) fn order(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) => Ordering::Less,
            (_, Value::Null) => Ordering::Greater,
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => self.text().cmp(&other.text()),
            },
        }
    }
}

/// `+`, `and`, `<`, …
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

/// An expression.
#[derive(Debug)]
pub(crate) enum Expression {
    Field(String),
    Number(f64),
    Text(String),
    Binary(Binary, Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Like(Box<Expression>, Regex),
    Contains(Box<Expression>, Box<Expression>),
    In(Box<Expression>, Vec<Expression>),
    Call(Function, Vec<Expression>),
}

/// The functions, by name and the fewest and most arguments.
const FUNCTIONS: [(&str, Function, usize, usize); 33] = [
    ("abs", Function::Abs, 1, 1),
    ("ceil", Function::Ceil, 1, 1),
    ("floor", Function::Floor, 1, 1),
    ("log", Function::Log, 1, 1),
    ("sqrt", Function::Sqrt, 1, 1),
    ("greatest", Function::Greatest, 1, 20),
    ("least", Function::Least, 1, 20),
    ("bin", Function::Bin, 1, 1),
    ("datefloor", Function::DateFloor, 2, 2),
    ("dateceil", Function::DateCeil, 2, 2),
    ("frommillis", Function::FromMillis, 1, 1),
    ("tomillis", Function::ToMillis, 1, 1),
    ("ispresent", Function::IsPresent, 1, 1),
    ("isempty", Function::IsEmpty, 1, 1),
    ("isblank", Function::IsBlank, 1, 1),
    ("coalesce", Function::Coalesce, 1, 20),
    ("concat", Function::Concat, 1, 20),
    ("strlen", Function::StrLen, 1, 1),
    ("toupper", Function::ToUpper, 1, 1),
    ("tolower", Function::ToLower, 1, 1),
    ("trim", Function::Trim, 1, 2),
    ("ltrim", Function::LTrim, 1, 2),
    ("rtrim", Function::RTrim, 1, 2),
    ("substr", Function::Substr, 2, 3),
    ("replace", Function::Replace, 3, 3),
    ("strcontains", Function::StrContains, 2, 2),
    ("isipv4insubnet", Function::IsIpv4InSubnet, 2, 2),
    ("isvalidip", Function::IsValidIp, 1, 1),
    ("isvalidipv4", Function::IsValidIpv4, 1, 1),
    ("isvalidipv6", Function::IsValidIpv6, 1, 1),
    ("duration", Function::Duration, 1, 1),
    ("tonumber", Function::ToNumber, 1, 1),
    ("tostring", Function::ToText, 1, 1),
];

/// A function of the language.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Function {
    Abs,
    Ceil,
    Floor,
    Log,
    Sqrt,
    Greatest,
    Least,
    Bin,
    DateFloor,
    DateCeil,
    FromMillis,
    ToMillis,
    IsPresent,
    IsEmpty,
    IsBlank,
    Coalesce,
    Concat,
    StrLen,
    ToUpper,
    ToLower,
    Trim,
    LTrim,
    RTrim,
    Substr,
    Replace,
    StrContains,
    IsIpv4InSubnet,
    IsValidIp,
    IsValidIpv4,
    IsValidIpv6,
    Duration,
    ToNumber,
    ToText,
}

impl Function {
    pub(crate) fn find(name: &str, arguments: usize) -> Result<Function, String> {
        let name = name.to_ascii_lowercase();
        let (_, function, least, most) = FUNCTIONS
            .iter()
            .find(|(n, ..)| *n == name)
            .ok_or_else(|| format!("unknown function: {name}"))?;
        if arguments < *least || arguments > *most {
            return Err(format!("function {name} has a wrong number of arguments"));
        }
        Ok(*function)
    }
}

/// Milliseconds of a time in a field: as results show it, or a number.
fn millis(value: &Value) -> Option<i64> {
    match value {
        Value::Text(text) if text.contains('-') && text.contains(':') => Timestamp::parse(
            &format!("{}Z", text.trim_end_matches('Z').replacen(' ', "T", 1)),
        )
        .map(|t| t.0),
        other => other.number().map(|n| n as i64),
    }
}

impl Expression {
    pub(crate) fn eval(&self, row: &Row) -> Value {
        match self {
            Expression::Field(name) => row.field(name),
            Expression::Number(n) => Value::Number(*n),
            Expression::Text(text) => Value::Text(text.clone()),
            Expression::Not(e) => Value::Bool(!e.eval(row).is_true()),
            Expression::Negative(e) => e
                .eval(row)
                .number()
                .map_or(Value::Null, |n| Value::Number(-n)),
            Expression::Like(e, regex) => match e.eval(row) {
                Value::Null => Value::Bool(false),
                value => Value::Bool(regex.is_match(&value.text())),
            },
            Expression::Contains(e, part) => match e.eval(row) {
                Value::Null => Value::Bool(false),
                value => Value::Bool(value.text().contains(&part.eval(row).text())),
            },
            Expression::In(e, list) => {
                let value = e.eval(row);
                Value::Bool(list.iter().any(|item| equal(&value, &item.eval(row))))
            }
            Expression::Binary(operator, a, b) => binary(*operator, a, b, row),
            Expression::Call(function, arguments) => {
                let values: Vec<Value> = arguments.iter().map(|a| a.eval(row)).collect();
                call(*function, &values, row)
            }
        }
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    !matches!((a, b), (Value::Null, _) | (_, Value::Null)) && a.order(b).is_eq()
}

fn binary(operator: Binary, a: &Expression, b: &Expression, row: &Row) -> Value {
    let a = a.eval(row);
    match operator {
        Binary::And => return Value::Bool(a.is_true() && b.eval(row).is_true()),
        Binary::Or => return Value::Bool(a.is_true() || b.eval(row).is_true()),
        _ => {}
    }
    let b = b.eval(row);
    let ordered = |wanted: fn(Ordering) -> bool| match (&a, &b) {
        (Value::Null, _) | (_, Value::Null) => Value::Bool(false),
        (a, b) => Value::Bool(wanted(a.order(b))),
    };
    let math = |f: fn(f64, f64) -> f64| match (a.number(), b.number()) {
        (Some(a), Some(b)) => Some(f(a, b))
            .filter(|n| n.is_finite())
            .map_or(Value::Null, Value::Number),
        _ => Value::Null,
    };
    match operator {
        Binary::Equal => Value::Bool(equal(&a, &b)),
        Binary::Unequal => Value::Bool(!equal(&a, &b)),
        Binary::Less => ordered(Ordering::is_lt),
        Binary::LessOrEqual => ordered(Ordering::is_le),
        Binary::Greater => ordered(Ordering::is_gt),
        Binary::GreaterOrEqual => ordered(Ordering::is_ge),
        Binary::Add => math(|a, b| a + b),
        Binary::Subtract => math(|a, b| a - b),
        Binary::Multiply => math(|a, b| a * b),
        Binary::Divide => math(|a, b| a / b),
        Binary::Remainder => math(|a, b| a % b),
        Binary::Power => math(f64::powf),
        Binary::And | Binary::Or => Value::Null,
    }
}

fn call(function: Function, values: &[Value], row: &Row) -> Value {
    let arg = |i: usize| values.get(i).unwrap_or(&Value::Null);
    let text = |i: usize| arg(i).text();
    let number = |f: fn(f64) -> f64| match arg(0).number().map(f) {
        Some(n) if n.is_finite() => Value::Number(n),
        _ => Value::Null,
    };
    let floor = |time: Option<i64>, period: &Value, up: bool| match (
        time,
        period.number().map(|p| p as i64),
    ) {
        (Some(time), Some(period)) if period > 0 => {
            let start = time - time.rem_euclid(period);
            let end = start.saturating_add(period);
            Value::Text(shown_time(if up && start != time { end } else { start }))
        }
        _ => Value::Null,
    };
    let trimmed = |left: bool, right: bool| {
        let chars: Vec<char> = if values.len() > 1 {
            text(1).chars().collect()
        } else {
            vec![' ', '\t', '\n', '\r']
        };
        let whole = text(0);
        let mut part = whole.as_str();
        if left {
            part = part.trim_start_matches(&chars[..]);
        }
        if right {
            part = part.trim_end_matches(&chars[..]);
        }
        Value::Text(part.to_owned())
    };
    match function {
        Function::Abs => number(f64::abs),
        Function::Ceil => number(f64::ceil),
        Function::Floor => number(f64::floor),
        Function::Log => number(f64::ln),
        Function::Sqrt => number(f64::sqrt),
        Function::Greatest => values
            .iter()
            .max_by(|a, b| a.order(b))
            .cloned()
            .unwrap_or(Value::Null),
        Function::Least => values
            .iter()
            .min_by(|a, b| a.order(b))
            .cloned()
            .unwrap_or(Value::Null),
        Function::Bin => floor(millis(&row.field("@timestamp")), arg(0), false),
        Function::DateFloor => floor(millis(arg(0)), arg(1), false),
        Function::DateCeil => floor(millis(arg(0)), arg(1), true),
        Function::FromMillis => millis(arg(0)).map_or(Value::Null, |t| Value::Text(shown_time(t))),
        Function::ToMillis => millis(arg(0)).map_or(Value::Null, |t| Value::Number(t as f64)),
        Function::IsPresent => Value::Bool(*arg(0) != Value::Null),
        Function::IsEmpty => Value::Bool(text(0).is_empty()),
        Function::IsBlank => Value::Bool(text(0).trim().is_empty()),
        Function::Coalesce => values
            .iter()
            .find(|v| **v != Value::Null)
            .cloned()
            .unwrap_or(Value::Null),
        Function::Concat => Value::Text(values.iter().map(Value::text).collect()),
        Function::StrLen => Value::Number(text(0).chars().count() as f64),
        Function::ToUpper => Value::Text(text(0).to_uppercase()),
        Function::ToLower => Value::Text(text(0).to_lowercase()),
        Function::Trim => trimmed(true, true),
        Function::LTrim => trimmed(true, false),
        Function::RTrim => trimmed(false, true),
        Function::Substr => {
            let start = arg(1).number().map_or(0, |n| n.max(0.0) as usize);
            let length = if values.len() > 2 {
                arg(2).number().map_or(0, |n| n.max(0.0) as usize)
            } else {
                usize::MAX
            };
            Value::Text(text(0).chars().skip(start).take(length).collect())
        }
        Function::Replace => match text(1).is_empty() {
            true => arg(0).clone(),
            false => Value::Text(text(0).replace(&text(1), &text(2))),
        },
        Function::StrContains => Value::Bool(text(0).contains(&text(1))),
        Function::IsIpv4InSubnet => Value::Bool(in_subnet(&text(0), &text(1)).unwrap_or(false)),
        Function::IsValidIp => Value::Bool(text(0).parse::<std::net::IpAddr>().is_ok()),
        Function::IsValidIpv4 => Value::Bool(text(0).parse::<std::net::Ipv4Addr>().is_ok()),
        Function::IsValidIpv6 => Value::Bool(text(0).parse::<std::net::Ipv6Addr>().is_ok()),
        Function::Duration | Function::ToNumber => number(|n| n),
        Function::ToText => Value::Text(text(0)),
    }
}

fn in_subnet(ip: &str, subnet: &str) -> Option<bool> {
    let (net, bits) = subnet.split_once('/')?;
    let bits: u32 = bits.parse().ok().filter(|b| *b <= 32)?;
    let as_number = |text: &str| text.parse::<std::net::Ipv4Addr>().ok().map(u32::from);
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Some(as_number(ip)? & mask == as_number(net)? & mask)
}
