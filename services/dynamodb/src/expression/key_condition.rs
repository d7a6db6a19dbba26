//! Key conditions: which items of a partition a query reads.

use wire::Fault;

use super::condition::{Comparator, Condition, Operand};
use super::parser::Placeholders;
use crate::fault::validation;
use crate::value::Value;

/// A test of one key attribute.
#[derive(Clone, Debug)]
pub enum Test {
    /// A comparison, other than `<>`.
    Compare(Comparator, Value),
    /// Between two values, both included.
    Between(Value, Value),
    /// Begins with text or bytes.
    BeginsWith(Value),
}

impl Test {
    /// The values in it.
    pub fn values(&self) -> Vec<&Value> {
        match self {
            Test::Compare(_, value) | Test::BeginsWith(value) => vec![value],
            Test::Between(low, high) => vec![low, high],
        }
    }
}

/// Tests of key attributes, in the order they were written.
#[derive(Clone, Debug, Default)]
pub struct KeyCondition {
    /// By attribute.
    pub tests: Vec<(String, Test)>,
}

impl KeyCondition {
    /// Reads an expression.
    pub fn parse(text: &str, placeholders: &mut Placeholders) -> Result<KeyCondition, Fault> {
        let condition = Condition::parse("KeyConditionExpression", text, placeholders)?;
        let mut tests = Vec::new();
        collect(&condition, &mut tests)?;
        Ok(KeyCondition { tests })
    }
}

fn error(message: impl std::fmt::Display) -> Fault {
    validation(format!("Invalid KeyConditionExpression: {message}"))
}

fn operator(name: &str) -> Fault {
    error(format!(
        "Invalid operator used in KeyConditionExpression: {name}"
    ))
}

fn collect(condition: &Condition, tests: &mut Vec<(String, Test)>) -> Result<(), Fault> {
    let (operand, test) = match condition {
        Condition::And(a, b) => {
            collect(a, tests)?;
            return collect(b, tests);
        }
        Condition::Group(inner) => return collect(inner, tests),
        Condition::Compare(Comparator::Ne, ..) => return Err(operator("<>")),
        Condition::Compare(comparator, a, b) => match (a, b) {
            (Operand::Value(value), path) => {
                let turned = match comparator {
                    Comparator::Lt => Comparator::Gt,
                    Comparator::Le => Comparator::Ge,
                    Comparator::Gt => Comparator::Lt,
                    Comparator::Ge => Comparator::Le,
                    same => *same,
                };
                (path, Test::Compare(turned, value.clone()))
            }
            (path, value) => (path, Test::Compare(*comparator, constant(value)?)),
        },
        Condition::Between(path, low, high) => {
            (path, Test::Between(constant(low)?, constant(high)?))
        }
        Condition::BeginsWith(path, prefix) => (path, Test::BeginsWith(constant(prefix)?)),
        Condition::Or(..) => return Err(operator("OR")),
        Condition::Not(_) => return Err(operator("NOT")),
        Condition::In(..) => return Err(operator("IN")),
        Condition::Exists(_) => return Err(operator("attribute_exists")),
        Condition::NotExists(_) => return Err(operator("attribute_not_exists")),
        Condition::Type(..) => return Err(operator("attribute_type")),
        Condition::Contains(..) => return Err(operator("contains")),
    };
    match operand {
        Operand::Path(path) if path.steps.is_empty() => {
            tests.push((path.root.clone(), test));
            Ok(())
        }
        Operand::Path(_) => Err(error(
            "KeyConditionExpressions cannot have conditions on nested attributes",
        )),
        Operand::Size(_) => Err(operator("size")),
        Operand::Value(_) => Err(error("No key attribute specified; operator: =")),
    }
}

fn constant(operand: &Operand) -> Result<Value, Fault> {
    match operand {
        Operand::Value(value) => Ok(value.clone()),
        Operand::Size(_) => Err(operator("size")),
        Operand::Path(_) => Err(error(
            "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition",
        )),
    }
}
