//! Conditions and filters.

use std::borrow::Cow;
use std::cmp::Ordering;

use wire::Fault;

use super::parser::{Parser, Placeholders};
use super::path::Path;
use crate::number::Number;
use crate::value::{Attributes, Value};

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparator {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl Comparator {
    fn of(symbol: &str) -> Option<Comparator> {
        Some(match symbol {
            "=" => Comparator::Eq,
            "<>" => Comparator::Ne,
            "<" => Comparator::Lt,
            "<=" => Comparator::Le,
            ">" => Comparator::Gt,
            ">=" => Comparator::Ge,
            _ => return None,
        })
    }

    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Comparator::Eq => "=",
            Comparator::Ne => "<>",
            Comparator::Lt => "<",
            Comparator::Le => "<=",
            Comparator::Gt => ">",
            Comparator::Ge => ">=",
        }
    }

    fn is_order(self) -> bool {
        !matches!(self, Comparator::Eq | Comparator::Ne)
    }

    /// Whether it holds; what is not there equals nothing, and has no order.
    fn holds(self, a: Option<&Value>, b: Option<&Value>) -> bool {
        let order = || a?.order(b?);
        match self {
            Comparator::Eq => a.zip(b).is_some_and(|(a, b)| a.equals(b)),
            Comparator::Ne => !a.zip(b).is_some_and(|(a, b)| a.equals(b)),
            Comparator::Lt => order() == Some(Ordering::Less),
            Comparator::Le => order().is_some_and(Ordering::is_le),
            Comparator::Gt => order() == Some(Ordering::Greater),
            Comparator::Ge => order().is_some_and(Ordering::is_ge),
        }
    }
}

/// Something with a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// What a path leads to.
    Path(Path),
    /// A value of the request.
    Value(Value),
    /// `size(path)`
    Size(Path),
}

impl Operand {
    fn value<'a>(&'a self, item: &'a Attributes) -> Option<Cow<'a, Value>> {
        match self {
            Operand::Path(path) => path.find(item).map(Cow::Borrowed),
            Operand::Value(value) => Some(Cow::Borrowed(value)),
            Operand::Size(path) => {
                let size = match path.find(item)? {
                    Value::S(text) => text.chars().count(),
                    Value::B(bytes) => bytes.len(),
                    Value::L(list) => list.len(),
                    Value::M(map) => map.len(),
                    Value::SS(set) => set.len(),
                    Value::NS(set) => set.len(),
                    Value::BS(set) => set.len(),
                    _ => return None,
                };
                Some(Cow::Owned(Value::N(Number::from_u64(size as u64))))
            }
        }
    }

    fn paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        match self {
            Operand::Path(path) | Operand::Size(path) => visit(path),
            Operand::Value(_) => {}
        }
    }
}

/// A condition.
#[derive(Clone, Debug)]
pub enum Condition {
    /// A comparison of two operands.
    Compare(Comparator, Operand, Operand),
    /// Between two bounds, both included.
    Between(Operand, Operand, Operand),
    /// Equal to one of a list.
    In(Operand, Vec<Operand>),
    /// Both.
    And(Box<Condition>, Box<Condition>),
    /// One or both.
    Or(Box<Condition>, Box<Condition>),
    /// Not.
    Not(Box<Condition>),
    /// `attribute_exists`
    Exists(Path),
    /// `attribute_not_exists`
    NotExists(Path),
    /// `attribute_type`
    Type(Operand, String),
    /// `begins_with`
    BeginsWith(Operand, Operand),
    /// `contains`
    Contains(Operand, Operand),
    /// In parentheses: remembered, for twice is refused.
    Group(Box<Condition>),
}

impl Condition {
    /// Reads an expression.
    pub fn parse(
        kind: &'static str,
        text: &str,
        placeholders: &mut Placeholders,
    ) -> Result<Condition, Fault> {
        let mut parser = Parser::new(kind, text, placeholders)?;
        let condition = or(&mut parser)?;
        parser.end()?;
        Ok(condition)
    }

    /// Whether it holds for an item.
    pub fn holds(&self, item: &Attributes) -> bool {
        match self {
            Condition::Compare(comparator, a, b) => {
                comparator.holds(a.value(item).as_deref(), b.value(item).as_deref())
            }
            Condition::Between(operand, low, high) => {
                let value = operand.value(item);
                Comparator::Ge.holds(value.as_deref(), low.value(item).as_deref())
                    && Comparator::Le.holds(value.as_deref(), high.value(item).as_deref())
            }
            Condition::In(operand, list) => {
                let value = operand.value(item);
                list.iter()
                    .any(|v| Comparator::Eq.holds(value.as_deref(), v.value(item).as_deref()))
            }
            Condition::And(a, b) => a.holds(item) && b.holds(item),
            Condition::Or(a, b) => a.holds(item) || b.holds(item),
            Condition::Not(inner) => !inner.holds(item),
            Condition::Group(inner) => inner.holds(item),
            Condition::Exists(path) => path.find(item).is_some(),
            Condition::NotExists(path) => path.find(item).is_none(),
            Condition::Type(operand, name) => operand
                .value(item)
                .is_some_and(|value| value.type_name() == name),
            Condition::BeginsWith(a, b) => match (a.value(item), b.value(item)) {
                (Some(a), Some(b)) => begins_with(&a, &b),
                _ => false,
            },
            Condition::Contains(a, b) => match (a.value(item), b.value(item)) {
                (Some(a), Some(b)) => contains(&a, &b),
                _ => false,
            },
        }
    }

    /// Visits the paths in it.
    pub fn paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        match self {
            Condition::Compare(_, a, b)
            | Condition::BeginsWith(a, b)
            | Condition::Contains(a, b) => {
                a.paths(visit);
                b.paths(visit);
            }
            Condition::Between(operand, low, high) => {
                operand.paths(visit);
                low.paths(visit);
                high.paths(visit);
            }
            Condition::In(operand, list) => {
                operand.paths(visit);
                list.iter().for_each(|operand| operand.paths(visit));
            }
            Condition::And(a, b) | Condition::Or(a, b) => {
                a.paths(visit);
                b.paths(visit);
            }
            Condition::Not(inner) | Condition::Group(inner) => inner.paths(visit),
            Condition::Exists(path) | Condition::NotExists(path) => visit(path),
            Condition::Type(operand, _) => operand.paths(visit),
        }
    }
}

/// Whether a text or bytes begin with others.
pub fn begins_with(value: &Value, prefix: &Value) -> bool {
    match (value, prefix) {
        (Value::S(a), Value::S(b)) => a.starts_with(b.as_str()),
        (Value::B(a), Value::B(b)) => a.starts_with(b),
        _ => false,
    }
}

/// Whether a text, set or list holds something.
pub fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::S(a), Value::S(b)) => a.contains(b.as_str()),
        (Value::B(a), Value::B(b)) => b.is_empty() || a.windows(b.len()).any(|w| w == &b[..]),
        (Value::SS(set), Value::S(b)) => set.contains(b),
        (Value::NS(set), Value::N(b)) => set.contains(b),
        (Value::BS(set), Value::B(b)) => set.contains(b),
        (Value::L(list), part) => list.iter().any(|v| v.equals(part)),
        _ => false,
    }
}

fn or(p: &mut Parser<'_, '_>) -> Result<Condition, Fault> {
    p.deeper(|p| {
        let mut left = and(p)?;
        while p.takes_keyword("OR") {
            p.count()?;
            left = Condition::Or(Box::new(left), Box::new(and(p)?));
        }
        Ok(left)
    })
}

fn and(p: &mut Parser<'_, '_>) -> Result<Condition, Fault> {
    let mut left = not(p)?;
    while p.takes_keyword("AND") {
        p.count()?;
        left = Condition::And(Box::new(left), Box::new(not(p)?));
    }
    Ok(left)
}

fn not(p: &mut Parser<'_, '_>) -> Result<Condition, Fault> {
    if p.takes_keyword("NOT") {
        p.count()?;
        let inner = p.deeper(not)?;
        return Ok(Condition::Not(Box::new(inner)));
    }
    primary(p)
}

fn primary(p: &mut Parser<'_, '_>) -> Result<Condition, Fault> {
    if p.takes("(") {
        // An operand may stand in parentheses too: `(a) = :b`.
        if is_lone_operand(p) {
            let operand = operand(p)?;
            p.expect(")")?;
            return comparison(p, operand);
        }
        let inner = or(p)?;
        p.expect(")")?;
        if matches!(inner, Condition::Group(_)) {
            return Err(p.error("The expression has redundant parentheses;"));
        }
        return Ok(Condition::Group(Box::new(inner)));
    }
    if let Some(name) = p.function()
        && name != "size"
    {
        return call(p, name);
    }
    let left = operand(p)?;
    comparison(p, left)
}

/// Whether behind the parenthesis stands one word and its end.
fn is_lone_operand(p: &Parser<'_, '_>) -> bool {
    (p.is_path() || p.is_value()) && p.peek_next().is_some_and(|token| token.text == ")")
}

fn comparison(p: &mut Parser<'_, '_>, left: Operand) -> Result<Condition, Fault> {
    if p.takes_keyword("BETWEEN") {
        p.count()?;
        let low = operand(p)?;
        if !p.takes_keyword("AND") {
            return Err(p.unexpected());
        }
        let high = operand(p)?;
        return between(p, left, low, high);
    }
    if p.takes_keyword("IN") {
        p.count()?;
        p.expect("(")?;
        let mut list = Vec::new();
        loop {
            list.push(operand(p)?);
            if !p.takes(",") {
                break;
            }
        }
        p.expect(")")?;
        if list.len() > 100 {
            return Err(p.error(format!(
                "Too many operands for the operator or function: {}; maximum allowed: 100; operator or function: IN",
                list.len()
            )));
        }
        return Ok(Condition::In(left, list));
    }
    let Some(comparator) = p.peek().and_then(|token| Comparator::of(token.text)) else {
        return Err(p.unexpected());
    };
    p.next();
    p.count()?;
    let right = operand(p)?;
    if comparator.is_order() {
        for side in [&left, &right] {
            refuse_unordered(p, side, comparator.symbol())?;
        }
    }
    distinct(p, &left, &right, comparator.symbol())?;
    Ok(Condition::Compare(comparator, left, right))
}

fn distinct(
    p: &Parser<'_, '_>,
    left: &Operand,
    right: &Operand,
    operator: &str,
) -> Result<(), Fault> {
    if let (Operand::Path(a), Operand::Path(b)) = (left, right)
        && a == b
    {
        return Err(p.error(format!(
            "The first operand must be distinct from the remaining operands for this operator or function; operator: {operator}, first operand: {a}"
        )));
    }
    Ok(())
}

fn refuse_unordered(p: &Parser<'_, '_>, operand: &Operand, operator: &str) -> Result<(), Fault> {
    match operand {
        Operand::Value(value) if !matches!(value, Value::S(_) | Value::N(_) | Value::B(_)) => {
            Err(wrong_type(p, operator, value))
        }
        _ => Ok(()),
    }
}

fn wrong_type(p: &Parser<'_, '_>, operator: &str, value: &Value) -> Fault {
    p.error(format!(
        "Incorrect operand type for operator or function; operator or function: {operator}, operand type: {}",
        value.type_name()
    ))
}

fn between(
    p: &Parser<'_, '_>,
    operand: Operand,
    low: Operand,
    high: Operand,
) -> Result<Condition, Fault> {
    for side in [&operand, &low, &high] {
        refuse_unordered(p, side, "BETWEEN")?;
    }
    if let (Operand::Value(a), Operand::Value(b)) = (&low, &high) {
        match a.order(b) {
            None => {
                return Err(p.error(format!(
                    "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: AttributeValue: {}, upper bound operand: AttributeValue: {}",
                    shown(a),
                    shown(b)
                )));
            }
            Some(Ordering::Greater) => {
                return Err(p.error(format!(
                    "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {}, upper bound operand: AttributeValue: {}",
                    shown(a),
                    shown(b)
                )));
            }
            _ => {}
        }
    }
    Ok(Condition::Between(operand, low, high))
}

/// A bound as messages show it: `{N:3}`.
pub fn shown(value: &Value) -> String {
    match value {
        Value::S(text) => format!("{{S:{text}}}"),
        Value::N(number) => format!("{{N:{number}}}"),
        Value::B(bytes) => {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            format!("{{B:{text}}}")
        }
        other => format!("{{{}}}", other.type_name()),
    }
}

fn operand(p: &mut Parser<'_, '_>) -> Result<Operand, Fault> {
    if let Some(name) = p.function() {
        if name != "size" {
            return Err(match is_function(name) {
                true => p.error(format!(
                    "The function is not allowed to be used this way in an expression; function: {name}"
                )),
                false => p.error(format!("Invalid function name; function: {name}")),
            });
        }
        return size(p);
    }
    if p.takes("(") {
        let inner = p.deeper(operand)?;
        p.expect(")")?;
        return Ok(inner);
    }
    if p.is_value() {
        return Ok(Operand::Value(p.value()?));
    }
    if p.is_path() {
        return Ok(Operand::Path(p.path()?));
    }
    Err(p.unexpected())
}

fn size(p: &mut Parser<'_, '_>) -> Result<Operand, Fault> {
    let mut arguments = arguments(p, "size", 1)?;
    match arguments.pop() {
        Some(Operand::Path(path)) => Ok(Operand::Size(path)),
        Some(Operand::Value(value)) => match &value {
            Value::N(_) | Value::Bool(_) | Value::Null => Err(wrong_type(p, "size", &value)),
            // A constant's size is as good as its path would be, and nobody asks for it; AWS computes it.
            _ => {
                let name = "value".to_owned();
                let item = Attributes::from([(name.clone(), value)]);
                let size = Operand::Size(Path::of(&name));
                let size = size.value(&item).map(Cow::into_owned);
                Ok(Operand::Value(size.unwrap_or(Value::Null)))
            }
        },
        _ => Err(p.error(
            "The function is not allowed to be used this way in an expression; function: size",
        )),
    }
}

fn is_function(name: &str) -> bool {
    matches!(
        name,
        "attribute_exists"
            | "attribute_not_exists"
            | "attribute_type"
            | "begins_with"
            | "contains"
            | "size"
            | "if_not_exists"
            | "list_append"
    )
}

fn arguments(p: &mut Parser<'_, '_>, name: &str, wanted: usize) -> Result<Vec<Operand>, Fault> {
    p.count()?;
    p.next();
    p.expect("(")?;
    let mut found = Vec::new();
    if !p.takes(")") {
        loop {
            found.push(p.deeper(operand)?);
            if !p.takes(",") {
                break;
            }
        }
        p.expect(")")?;
    }
    if found.len() != wanted {
        return Err(p.error(format!(
            "Incorrect number of operands for operator or function; operator or function: {name}, number of operands: {}",
            found.len()
        )));
    }
    Ok(found)
}

fn call(p: &mut Parser<'_, '_>, name: &str) -> Result<Condition, Fault> {
    let wanted = match name {
        "attribute_exists" | "attribute_not_exists" => 1,
        "attribute_type" | "begins_with" | "contains" => 2,
        "if_not_exists" | "list_append" => {
            return Err(p.error(format!(
                "The function is not allowed in a condition expression; function: {name}"
            )));
        }
        _ => return Err(p.error(format!("Invalid function name; function: {name}"))),
    };
    let mut arguments = arguments(p, name, wanted)?.into_iter();
    let (Some(first), second) = (arguments.next(), arguments.next()) else {
        return Err(p.unexpected());
    };
    let Some(second) = second else {
        let Operand::Path(path) = first else {
            return Err(p.error(format!(
                "Operator or function requires a document path; operator or function: {name}"
            )));
        };
        return Ok(match name {
            "attribute_exists" => Condition::Exists(path),
            _ => Condition::NotExists(path),
        });
    };
    match name {
        "attribute_type" => {
            match second {
                Operand::Value(Value::S(kind)) => {
                    const TYPES: [&str; 10] =
                        ["B", "NULL", "SS", "BOOL", "L", "BS", "N", "NS", "S", "M"];
                    if !TYPES.contains(&kind.as_str()) {
                        return Err(p.error(format!(
                            "Invalid attribute type name found; type: {kind}, valid types: {{{}}}",
                            TYPES.join(",")
                        )));
                    }
                    Ok(Condition::Type(first, kind))
                }
                Operand::Value(value) => Err(wrong_type(p, name, &value)),
                _ => Err(p.error(format!(
                    "Incorrect operand type for operator or function; operator or function: {name}, operand type: {{NS,SS,L,BS,N,M,B,BOOL,NULL,S}}"
                ))),
            }
        }
        "begins_with" => {
            for operand in [&first, &second] {
                if let Operand::Value(value) = operand
                    && !matches!(value, Value::S(_) | Value::B(_))
                {
                    return Err(wrong_type(p, name, value));
                }
            }
            distinct(p, &first, &second, name)?;
            Ok(Condition::BeginsWith(first, second))
        }
        _ => {
            distinct(p, &first, &second, name)?;
            Ok(Condition::Contains(first, second))
        }
    }
}
