//! Aggregates: what is made of all rows
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-select-sql-reference-aggregate.html>).

use std::cmp::Ordering;

use bigdecimal::BigDecimal;
use wire::Fault;

use super::evaluate::Scope;
use super::fault;
use super::syntax::{Aggregate, AggregateFunction};
use super::value::{Value, decimal};

/// What an aggregate has come to so far.
#[derive(Clone)]
pub struct Gathered {
    count: i64,
    /// The sum, or what is largest or smallest so far.
    value: Value,
}

impl Gathered {
    /// Of no rows.
    pub fn new() -> Gathered {
        Gathered {
            count: 0,
            value: Value::Null,
        }
    }

    /// Takes a row in; unknown values are passed over.
    pub fn add(&mut self, aggregate: &Aggregate, scope: &Scope<'_>) -> Result<(), Fault> {
        let value = match &aggregate.of {
            None => Value::Bool(true),
            Some(of) => scope.value(of)?,
        };
        if !value.is_known() {
            return Ok(());
        }
        self.count += 1;
        let function = aggregate.function;
        if function == AggregateFunction::Count {
            return Ok(());
        }
        let is_number = matches!(value, Value::Int(_) | Value::Float(_) | Value::Decimal(_));
        if !is_number {
            return Err(fault::illegal_argument());
        }
        let wanted = match function {
            AggregateFunction::Maximum => Ordering::Greater,
            AggregateFunction::Minimum => Ordering::Less,
            AggregateFunction::Average | AggregateFunction::Sum | AggregateFunction::Count => {
                let so_far = std::mem::replace(&mut self.value, Value::Null);
                self.value = if so_far == Value::Null {
                    value
                } else {
                    plus(so_far, &value)?
                };
                return Ok(());
            }
        };
        if self.value == Value::Null || value.order(&self.value) == Some(wanted) {
            self.value = value;
        }
        Ok(())
    }

    /// What it comes to.
    pub fn finish(self, function: AggregateFunction) -> Result<Value, Fault> {
        match function {
            AggregateFunction::Count => Ok(Value::Int(self.count)),
            AggregateFunction::Average => match self.value {
                Value::Null => Ok(Value::Null),
                Value::Float(sum) => Ok(Value::Float(sum / self.count as f64)),
                sum => {
                    let sum = sum.as_decimal().ok_or_else(fault::illegal_argument)?;
                    decimal((sum / BigDecimal::from(self.count)).normalized())
                }
            },
            _ => Ok(self.value),
        }
    }
}

fn plus(a: Value, b: &Value) -> Result<Value, Fault> {
    Ok(match (&a, b) {
        (Value::Int(a), Value::Int(b)) => {
            Value::Int(a.checked_add(*b).ok_or_else(fault::integer_overflow)?)
        }
        (Value::Float(_), _) | (_, Value::Float(_)) => {
            Value::Float(a.as_float().unwrap_or_default() + b.as_float().unwrap_or_default())
        }
        _ => decimal(a.as_decimal().unwrap_or_default() + b.as_decimal().unwrap_or_default())?,
    })
}
