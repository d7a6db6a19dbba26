//! The parameters that came before expressions: `Expected`, filters, `KeyConditions`, `AttributeUpdates`.

use std::collections::BTreeMap;

use wire::Fault;

use crate::api;
use crate::expression::condition::{Comparator, Condition, Operand};
use crate::expression::key_condition::{KeyCondition, Test};
use crate::expression::update::Expression;
use crate::expression::{Path, Update};
use crate::fault::{invalid_parameter, validation};
use crate::value::Value;

/// Refuses a request that uses both generations of parameters.
pub fn refuse_mixture(old: &[(&str, bool)], new: &[(&str, bool)]) -> Result<(), Fault> {
    let used = |all: &[(&str, bool)]| {
        let names: Vec<String> = all
            .iter()
            .filter(|(_, is_used)| *is_used)
            .map(|(name, _)| (*name).to_owned())
            .collect();
        names
    };
    let (old, new) = (used(old), used(new));
    if old.is_empty() || new.is_empty() {
        return Ok(());
    }
    Err(validation(format!(
        "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {{{}}} Expression parameters: {{{}}}",
        old.join(", "),
        new.join(", ")
    )))
}

/// Joins tests of attributes as `ConditionalOperator` says.
fn join(tests: Vec<Condition>, operator: Option<&str>) -> Option<Condition> {
    let is_or = operator == Some("OR");
    tests.into_iter().reduce(|a, b| {
        let (a, b) = (Box::new(a), Box::new(b));
        if is_or {
            Condition::Or(a, b)
        } else {
            Condition::And(a, b)
        }
    })
}

fn refuse_lone_operator(operator: Option<&str>, has_tests: bool) -> Result<(), Fault> {
    match operator {
        Some(_) if !has_tests => Err(validation(
            "One or more parameter values were invalid: ConditionalOperator cannot be used without Filter or Expected",
        )),
        _ => Ok(()),
    }
}

/// `Expected`
pub fn expected(
    given: Option<&BTreeMap<String, api::ExpectedAttributeValue>>,
    operator: Option<&str>,
) -> Result<Option<Condition>, Fault> {
    let given = given.filter(|map| !map.is_empty());
    refuse_lone_operator(operator, given.is_some())?;
    let mut tests = Vec::new();
    for (name, test) in given.into_iter().flatten() {
        let problem =
            |message: &str| invalid_parameter(&format!("{message} for Attribute: {name}"));
        let path = Path::of(name);
        match (&test.comparison_operator, &test.value) {
            (Some(_), _) if test.exists.is_some() => {
                return Err(problem(
                    "Exists and ComparisonOperator cannot be used together",
                ));
            }
            (Some(_), Some(_)) if test.attribute_value_list.is_some() => {
                return Err(problem(
                    "Value and AttributeValueList cannot be used together",
                ));
            }
            (Some(operator), value) => {
                let list = match (value, &test.attribute_value_list) {
                    (Some(value), _) => vec![value.clone()],
                    (None, Some(list)) => list.clone(),
                    (None, None) => Vec::new(),
                };
                tests.push(compare(name, operator, list)?);
            }
            (None, _) if test.attribute_value_list.is_some() => {
                return Err(problem(
                    "AttributeValueList can only be used with a ComparisonOperator",
                ));
            }
            (None, Some(value)) => {
                if test.exists == Some(false) {
                    return Err(problem("Value cannot be used when Exists is false"));
                }
                value.check()?;
                tests.push(Condition::Compare(
                    Comparator::Eq,
                    Operand::Path(path),
                    Operand::Value(value.clone()),
                ));
            }
            (None, None) => match test.exists {
                Some(false) => tests.push(Condition::NotExists(path)),
                Some(true) => return Err(problem("Value must be provided when Exists is true")),
                None => return Err(problem("Value must be provided when Exists is null")),
            },
        }
    }
    Ok(join(tests, operator))
}

/// `QueryFilter` and `ScanFilter`
pub fn filter(
    given: Option<&BTreeMap<String, api::Condition>>,
    operator: Option<&str>,
) -> Result<Option<Condition>, Fault> {
    let given = given.filter(|map| !map.is_empty());
    refuse_lone_operator(operator, given.is_some())?;
    let mut tests = Vec::new();
    for (name, test) in given.into_iter().flatten() {
        let list = test.attribute_value_list.clone().unwrap_or_default();
        tests.push(compare(name, &test.comparison_operator, list)?);
    }
    Ok(join(tests, operator))
}

/// Checks the arguments of a comparison.
fn check(operator: &str, list: &[Value]) -> Result<(), Fault> {
    for value in list {
        value.check()?;
    }
    let is_fitting = match operator {
        "NULL" | "NOT_NULL" => list.is_empty(),
        "BETWEEN" => list.len() == 2,
        "IN" => !list.is_empty(),
        _ => list.len() == 1,
    };
    if !is_fitting {
        return Err(invalid_parameter(&format!(
            "Invalid number of argument(s) for the {operator} ComparisonOperator"
        )));
    }
    let is_allowed = |value: &Value| match operator {
        "LT" | "LE" | "GT" | "GE" | "BETWEEN" | "IN" => {
            matches!(value, Value::S(_) | Value::N(_) | Value::B(_))
        }
        "BEGINS_WITH" => matches!(value, Value::S(_) | Value::B(_)),
        "CONTAINS" | "NOT_CONTAINS" => !matches!(
            value,
            Value::SS(_) | Value::NS(_) | Value::BS(_) | Value::L(_) | Value::M(_)
        ),
        _ => true,
    };
    if let Some(value) = list.iter().find(|value| !is_allowed(value)) {
        return Err(invalid_parameter(&format!(
            "ComparisonOperator {operator} is not valid for {} AttributeValue type",
            value.type_name()
        )));
    }
    if let [first, rest @ ..] = list
        && rest
            .iter()
            .any(|value| value.type_name() != first.type_name())
    {
        return Err(invalid_parameter(
            "AttributeValues inside AttributeValueList must be of same type",
        ));
    }
    if let ("BETWEEN", [low, high]) = (operator, list)
        && low.order(high).is_some_and(std::cmp::Ordering::is_gt)
    {
        return Err(validation(
            "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound",
        ));
    }
    Ok(())
}

fn compare(name: &str, operator: &str, list: Vec<Value>) -> Result<Condition, Fault> {
    if name.is_empty() {
        return Err(invalid_parameter("Empty attribute name"));
    }
    check(operator, &list)?;
    let path = Path::of(name);
    let attribute = || Operand::Path(path.clone());
    let mut values = list.into_iter().map(Operand::Value);
    let comparator = match operator {
        "EQ" => Comparator::Eq,
        "NE" => Comparator::Ne,
        "LT" => Comparator::Lt,
        "LE" => Comparator::Le,
        "GT" => Comparator::Gt,
        "GE" => Comparator::Ge,
        "NULL" => return Ok(Condition::NotExists(path)),
        "NOT_NULL" => return Ok(Condition::Exists(path)),
        "IN" => return Ok(Condition::In(attribute(), values.collect())),
        _ => {
            let (Some(first), second) = (values.next(), values.next()) else {
                return Err(invalid_parameter("Invalid number of argument(s)"));
            };
            return Ok(match (operator, second) {
                ("BETWEEN", Some(second)) => Condition::Between(attribute(), first, second),
                ("BEGINS_WITH", _) => Condition::BeginsWith(attribute(), first),
                ("CONTAINS", _) => Condition::Contains(attribute(), first),
                _ => Condition::And(
                    Box::new(Condition::Exists(path.clone())),
                    Box::new(Condition::Not(Box::new(Condition::Contains(
                        attribute(),
                        first,
                    )))),
                ),
            });
        }
    };
    let Some(value) = values.next() else {
        return Err(invalid_parameter("Invalid number of argument(s)"));
    };
    Ok(Condition::Compare(comparator, attribute(), value))
}

/// `KeyConditions`
pub fn key_conditions(given: &BTreeMap<String, api::Condition>) -> Result<KeyCondition, Fault> {
    let mut tests = Vec::new();
    for (name, test) in given {
        let list = test.attribute_value_list.clone().unwrap_or_default();
        let operator = test.comparison_operator.as_str();
        check(operator, &list)?;
        let mut values = list.into_iter();
        let (first, second) = (values.next(), values.next());
        let comparator = match operator {
            "EQ" => Comparator::Eq,
            "LT" => Comparator::Lt,
            "LE" => Comparator::Le,
            "GT" => Comparator::Gt,
            "GE" => Comparator::Ge,
            "BETWEEN" | "BEGINS_WITH" => Comparator::Ne,
            _ => {
                return Err(validation(
                    "Attempted conditional constraint is not an indexable operation",
                ));
            }
        };
        let test = match (operator, first, second) {
            ("BETWEEN", Some(low), Some(high)) => Test::Between(low, high),
            ("BEGINS_WITH", Some(prefix), _) => Test::BeginsWith(prefix),
            (_, Some(value), _) => Test::Compare(comparator, value),
            _ => return Err(invalid_parameter("Invalid number of argument(s)")),
        };
        tests.push((name.clone(), test));
    }
    Ok(KeyCondition { tests })
}

/// `AttributeUpdates`
pub fn attribute_updates(
    given: &BTreeMap<String, api::AttributeValueUpdate>,
) -> Result<Update, Fault> {
    let mut update = Update {
        is_legacy: true,
        ..Update::default()
    };
    for (name, change) in given {
        if name.is_empty() {
            return Err(invalid_parameter("Empty attribute name"));
        }
        let path = Path::of(name);
        if let Some(value) = &change.value {
            value.check()?;
        }
        match (change.action.as_deref().unwrap_or("PUT"), &change.value) {
            ("PUT", Some(value)) => {
                update.set.push((path, Expression::Value(value.clone())));
            }
            ("ADD", Some(value)) => match value {
                Value::L(_) => update.set.push((
                    path.clone(),
                    Expression::ListAppend(
                        Box::new(Expression::IfNotExists(
                            path,
                            Box::new(Expression::Value(Value::L(Vec::new()))),
                        )),
                        Box::new(Expression::Value(value.clone())),
                    ),
                )),
                Value::N(_) | Value::SS(_) | Value::NS(_) | Value::BS(_) => {
                    update.add.push((path, value.clone()));
                }
                other => {
                    return Err(invalid_parameter(&format!(
                        "ADD action is not supported for the type {}",
                        other.type_name()
                    )));
                }
            },
            ("DELETE", None) => update.remove.push(path),
            ("DELETE", Some(value)) => match value {
                Value::SS(_) | Value::NS(_) | Value::BS(_) => {
                    update.delete.push((path, value.clone()));
                }
                other => {
                    return Err(invalid_parameter(&format!(
                        "DELETE action with value is not supported for the type {}",
                        other.type_name()
                    )));
                }
            },
            (_, None) => {
                return Err(invalid_parameter(&format!(
                    "Only DELETE action is allowed when no attribute value is specified for attribute: {name}"
                )));
            }
            (action, _) => {
                return Err(invalid_parameter(&format!("Unknown action: {action}")));
            }
        }
    }
    Ok(update)
}
