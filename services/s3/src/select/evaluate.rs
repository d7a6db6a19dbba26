//! Expressions over rows.

use std::cmp::Ordering;

use bigdecimal::Zero;
use wire::Fault;

use super::fault;
use super::function::is_like;
use super::syntax::{Comparison, Expression, Name, Operator, Step, Unknown};
use super::timestamp::Timestamp;
use super::value::{Value, decimal};

/// A row of a source.
#[derive(Clone, Copy)]
pub enum Row<'r> {
    /// Texts of columns, and what the columns are called.
    Fields(&'r dyn Fields),
    /// A value and what it is called.
    Tree(&'r Value, &'r Name),
    /// None: what holds without one.
    Nothing,
}

/// A row of columns.
pub trait Fields {
    /// The text of a column, where the row is that long.
    fn field(&self, n: usize) -> Option<&str>;
    /// How many columns the row has.
    fn count(&self) -> usize;
    /// What a column is called.
    fn name(&self, n: usize) -> String;
    /// The columns as an object has them.
    fn members(&self) -> Vec<(String, Value)> {
        let text = |n| Value::Text(self.field(n).unwrap_or_default().to_owned());
        (0..self.count()).map(|n| (self.name(n), text(n))).collect()
    }
}

/// What expressions are evaluated in.
#[derive(Clone, Copy)]
pub struct Scope<'r> {
    pub row: Row<'r>,
    /// The query's aggregates, where they are known.
    pub sums: &'r [Value],
    pub now: Timestamp,
}

/// The member of that name. Letters' case counts only in quotes; who matches more than one then is told so.
pub fn member<'v>(members: &'v [(String, Value)], name: &Name) -> Result<Option<&'v Value>, Fault> {
    let mut found = members.iter().filter(|(n, _)| name.matches(n));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) if !name.is_exact => Err(fault::ambiguous_name()),
        (one, _) => Ok(one.map(|(_, value)| value)),
    }
}

/// Whether a name means what is called `other`.
pub fn is_called(name: &Name, other: &Name) -> bool {
    name.matches(&other.text) && other.matches(&name.text)
}

fn step<'v>(value: &'v Value, step: &Step) -> Result<Option<&'v Value>, Fault> {
    match (value, step) {
        (Value::Object(members), Step::Name(name)) => member(members, name),
        (Value::List(items), Step::Index(n)) => Ok(items.get(*n)),
        _ => Ok(None),
    }
}

/// The rows that steps lead to from a value. A wildcard gives one at least: what is not there is missing.
pub fn rows(
    value: Value,
    steps: &[Step],
    each: &mut dyn FnMut(Value) -> Result<bool, Fault>,
) -> Result<bool, Fault> {
    let Some((first, rest)) = steps.split_first() else {
        return each(value);
    };
    let found: Vec<Value> = match (first, value) {
        (Step::Elements, Value::List(items)) => items,
        (Step::Members, Value::Object(members)) => members.into_iter().map(|(_, v)| v).collect(),
        (Step::Name(_) | Step::Index(_), value) => {
            step(&value, first)?.cloned().into_iter().collect()
        }
        _ => Vec::new(),
    };
    if found.is_empty() {
        return rows(Value::Missing, rest, each);
    }
    for value in found {
        if !rows(value, rest, each)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Scope<'_> {
    /// Evaluates an expression.
    pub fn value(&self, expression: &Expression) -> Result<Value, Fault> {
        Ok(match expression {
            Expression::Literal(value) => value.clone(),
            Expression::Path(name, steps) => self.path(name, steps)?,
            Expression::Column(n) => match self.row {
                Row::Fields(fields) => fields
                    .field(*n)
                    .map_or(Value::Missing, |text| Value::Text(text.to_owned())),
                _ => Value::Missing,
            },
            Expression::Row => self.whole(),
            Expression::List(items) => Value::List(self.values(items)?),
            Expression::Negate(of) => negate(self.value(of)?)?,
            Expression::Not(of) => match self.truth(of)? {
                Some(is_true) => Value::Bool(!is_true),
                None => Value::Null,
            },
            Expression::And(parts) => self.all(parts, false)?,
            Expression::Or(parts) => self.all(parts, true)?,
            Expression::Arithmetic(operator, pair) => {
                arithmetic(*operator, self.value(&pair[0])?, self.value(&pair[1])?)?
            }
            Expression::Concat(pair) => match (self.value(&pair[0])?, self.value(&pair[1])?) {
                (Value::Text(a), Value::Text(b)) => Value::Text(a + &b),
                (a, b) if a.is_known() && b.is_known() => return Err(fault::argument_type()),
                _ => Value::Null,
            },
            Expression::Compare(comparison, pair) => {
                compare(*comparison, &self.value(&pair[0])?, &self.value(&pair[1])?)
            }
            Expression::Is(what, of) => {
                let value = self.value(of)?;
                Value::Bool(match what {
                    Unknown::Null => !value.is_known(),
                    Unknown::Missing => value == Value::Missing,
                })
            }
            Expression::In(all) => self.is_in(all)?,
            Expression::Between(three) => {
                let value = self.value(&three[0])?;
                let least = compare(Comparison::GreaterOrEqual, &value, &self.value(&three[1])?);
                let greatest = compare(Comparison::LessOrEqual, &value, &self.value(&three[2])?);
                match (least, greatest) {
                    (Value::Bool(false), _) | (_, Value::Bool(false)) => Value::Bool(false),
                    (Value::Bool(true), Value::Bool(true)) => Value::Bool(true),
                    _ => Value::Null,
                }
            }
            Expression::Like(all) => self.like(all)?,
            Expression::Cast(to, of) => self.value(of)?.cast(*to)?,
            Expression::Case(parts) => {
                let (pairs, otherwise) = parts.as_chunks::<2>();
                for [condition, result] in pairs {
                    if self.truth(condition)? == Some(true) {
                        return self.value(result);
                    }
                }
                match otherwise {
                    [otherwise] => self.value(otherwise)?,
                    _ => Value::Null,
                }
            }
            Expression::Call(function, arguments) => {
                function.call(self.values(arguments)?, self.now)?
            }
            Expression::Aggregate(n) => self.sums.get(*n).cloned().unwrap_or(Value::Null),
        })
    }

    fn values(&self, expressions: &[Expression]) -> Result<Vec<Value>, Fault> {
        expressions.iter().map(|e| self.value(e)).collect()
    }

    /// Whether a condition holds; `None` where that is unknown.
    pub fn truth(&self, condition: &Expression) -> Result<Option<bool>, Fault> {
        match self.value(condition)? {
            Value::Bool(is_true) => Ok(Some(is_true)),
            Value::Null | Value::Missing => Ok(None),
            _ => Err(fault::argument_type()),
        }
    }

    /// `AND` and `OR`: `decides` is what settles it.
    fn all(&self, parts: &[Expression], decides: bool) -> Result<Value, Fault> {
        let mut is_known = true;
        for part in parts {
            match self.truth(part)? {
                Some(is_true) if is_true == decides => return Ok(Value::Bool(decides)),
                Some(_) => {}
                None => is_known = false,
            }
        }
        Ok(if is_known {
            Value::Bool(!decides)
        } else {
            Value::Null
        })
    }

    fn is_in(&self, all: &[Expression]) -> Result<Value, Fault> {
        let Some((value, rest)) = all.split_first() else {
            return Ok(Value::Null);
        };
        let value = self.value(value)?;
        let mut is_known = true;
        for other in rest {
            match compare(Comparison::Equal, &value, &self.value(other)?) {
                Value::Bool(true) => return Ok(Value::Bool(true)),
                Value::Bool(false) => {}
                _ => is_known = false,
            }
        }
        Ok(if is_known {
            Value::Bool(false)
        } else {
            Value::Null
        })
    }

    fn like(&self, all: &[Expression]) -> Result<Value, Fault> {
        let values = self.values(all)?;
        if values.iter().any(|value| !value.is_known()) {
            return Ok(Value::Null);
        }
        let (text, pattern, escape) = match &values[..] {
            [Value::Text(text), Value::Text(pattern)] => (text, pattern, None),
            [Value::Text(text), Value::Text(pattern), Value::Text(escape)] => {
                let mut chars = escape.chars();
                match (chars.next(), chars.next()) {
                    (Some(escape), None) => (text, pattern, Some(escape)),
                    _ => return Err(fault::invalid_escape()),
                }
            }
            _ => return Err(fault::invalid_like()),
        };
        let is_like = is_like(text, pattern, escape).ok_or_else(fault::invalid_escape)?;
        Ok(Value::Bool(is_like))
    }

    /// The row as one value.
    fn whole(&self) -> Value {
        match self.row {
            Row::Tree(value, _) => value.clone(),
            Row::Fields(fields) => Value::Object(fields.members()),
            Row::Nothing => Value::Missing,
        }
    }

    /// What a path leads to: from the row by what it is called, else from a member of it. `_1` is the row where it
    /// has no such member.
    fn path(&self, name: &Name, steps: &[Step]) -> Result<Value, Fault> {
        let Row::Tree(row, called) = self.row else {
            return Ok(Value::Missing);
        };
        let start = if is_called(name, called) {
            Some(row)
        } else {
            let found = match row {
                Value::Object(members) => member(members, name)?,
                _ => None,
            };
            found.or((name.text == "_1").then_some(row))
        };
        let mut found = start;
        for next in steps {
            found = match found {
                Some(value) => step(value, next)?,
                None => break,
            };
        }
        Ok(found.cloned().unwrap_or(Value::Missing))
    }
}

fn negate(value: Value) -> Result<Value, Fault> {
    Ok(match value {
        Value::Int(n) => Value::Int(n.checked_neg().ok_or_else(fault::integer_overflow)?),
        Value::Float(f) => Value::Float(-f),
        Value::Decimal(d) => Value::Decimal(-d),
        unknown if !unknown.is_known() => unknown,
        _ => return Err(fault::argument_type()),
    })
}

fn arithmetic(operator: Operator, a: Value, b: Value) -> Result<Value, Fault> {
    if !a.is_known() || !b.is_known() {
        return Ok(Value::Null);
    }
    if let (Value::Int(a), Value::Int(b)) = (&a, &b) {
        let is_by_zero = *b == 0;
        let done = match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            Operator::Divide | Operator::Remainder if is_by_zero => {
                return Err(fault::not_evaluated());
            }
            Operator::Divide => a.checked_div(*b),
            Operator::Remainder => a.checked_rem(*b),
        };
        return done.map(Value::Int).ok_or_else(fault::integer_overflow);
    }
    if matches!(a, Value::Float(_)) || matches!(b, Value::Float(_)) {
        let (Some(a), Some(b)) = (a.as_float(), b.as_float()) else {
            return Err(fault::argument_type());
        };
        return Ok(Value::Float(match operator {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => a * b,
            Operator::Divide => a / b,
            Operator::Remainder => a % b,
        }));
    }
    let (Some(a), Some(b)) = (a.as_decimal(), b.as_decimal()) else {
        return Err(fault::argument_type());
    };
    let is_division = matches!(operator, Operator::Divide | Operator::Remainder);
    if is_division && b.is_zero() {
        return Err(fault::not_evaluated());
    }
    decimal(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => (a / b).normalized(),
        Operator::Remainder => a % b,
    })
}

/// What is unknown compares to nothing; what is of another kind neither, but it is not equal.
fn compare(comparison: Comparison, a: &Value, b: &Value) -> Value {
    if !a.is_known() || !b.is_known() {
        return Value::Null;
    }
    let is = match comparison {
        Comparison::Equal => a.equals(b),
        Comparison::NotEqual => !a.equals(b),
        _ => match (comparison, a.order(b)) {
            (_, None) => return Value::Null,
            (Comparison::Less, Some(order)) => order == Ordering::Less,
            (Comparison::LessOrEqual, Some(order)) => order != Ordering::Greater,
            (Comparison::Greater, Some(order)) => order == Ordering::Greater,
            (_, Some(order)) => order != Ordering::Less,
        },
    };
    Value::Bool(is)
}
