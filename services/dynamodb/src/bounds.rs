//! The rows that a query or a scan may read: key conditions, starting keys, segments.

use std::collections::BTreeMap;

use store::Range;
use wire::Fault;

use crate::expression::condition::Comparator;
use crate::expression::key_condition::Test;
use crate::expression::{self, KeyCondition};
use crate::fault::{invalid_parameter, validation};
use crate::key::{Keys, Row};
use crate::table::{Index, TableRecord};
use crate::value::{Attributes, Value};

/// Key conditions as they apply to a key: its hash attributes, and tests of range attributes in their order.
pub struct Bounds {
    hash: Attributes,
    equal: Vec<Value>,
    last: Option<Test>,
}

fn key_element_missing(name: &str) -> Fault {
    validation(format!("Query condition missed key schema element: {name}"))
}

impl Bounds {
    /// Of a request's conditions, in either form.
    pub fn of(condition: KeyCondition, keys: &Keys) -> Result<Bounds, Fault> {
        let is_composite = keys.hash.len() + keys.range.len() > 2;
        let mut tests: BTreeMap<String, Test> = BTreeMap::new();
        let count = condition.tests.len();
        for (name, test) in condition.tests {
            if tests.insert(name, test).is_some() {
                return Err(validation(
                    "Invalid KeyConditionExpression: KeyConditionExpressions must only contain one condition per key",
                ));
            }
        }
        if count > 2 && !is_composite {
            return Err(validation("Conditions can be of length 1 or 2 only"));
        }
        let mut hash = Attributes::new();
        for part in &keys.hash {
            match tests.remove(&part.name) {
                Some(Test::Compare(Comparator::Eq, value)) => {
                    check_type(part.kind.fits(&value))?;
                    hash.insert(part.name.clone(), value);
                }
                Some(_) if !is_composite => {
                    return Err(validation("Query key condition not supported"));
                }
                None if !is_composite => return Err(key_element_missing(&part.name)),
                _ => {
                    return Err(validation(format!(
                        "Query key condition not supported: all HASH key attributes of the index need an equality condition, missing: {}",
                        part.name
                    )));
                }
            }
        }
        let (mut equal, mut last) = (Vec::new(), None);
        for part in &keys.range {
            let Some(test) = tests.remove(&part.name) else {
                break;
            };
            for value in test.values() {
                check_type(part.kind.fits(value))?;
            }
            match test {
                Test::Compare(Comparator::Eq, value) => equal.push(value),
                Test::BeginsWith(Value::N(_)) => {
                    return Err(validation(
                        "One or more parameter values were invalid: ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type",
                    ));
                }
                Test::Compare(Comparator::Ne, _) => {
                    return Err(validation("Query key condition not supported"));
                }
                other => {
                    last = Some(other);
                    break;
                }
            }
        }
        if let Some(name) = tests.keys().next() {
            if keys.has(name) {
                return Err(validation(format!(
                    "Query key condition not supported: conditions on RANGE key attributes must be equality conditions from the first attribute on, only the last one may be another: {name}"
                )));
            }
            return Err(match keys.range.first() {
                Some(part) if !is_composite => key_element_missing(&part.name),
                _ => validation("Query key condition not supported"),
            });
        }
        for (name, value) in &hash {
            refuse_empty(name, value)?;
        }
        let last_value = match &last {
            Some(Test::Compare(_, value)) => Some(value),
            _ => None,
        };
        for (part, value) in keys.range.iter().zip(equal.iter().chain(last_value)) {
            refuse_empty(&part.name, value)?;
        }
        Ok(Bounds { hash, equal, last })
    }

    /// The rows of an index that they allow.
    pub fn range(&self, table: &TableRecord, number: u8, keys: &Keys) -> Range<Row> {
        let mut prefix = Row::index(&table.account, table.uid, number).partition(keys, &self.hash);
        for value in &self.equal {
            prefix = prefix.then(value);
        }
        let all = Range::prefix(&prefix);
        let at = |value: &Value| prefix.clone().then(value);
        match &self.last {
            None | Some(Test::Compare(Comparator::Eq | Comparator::Ne, _)) => all,
            Some(Test::Compare(Comparator::Lt, value)) => all.until(&at(value)),
            Some(Test::Compare(Comparator::Ge, value)) => all.from(&at(value)),
            Some(Test::Compare(Comparator::Gt, value)) => all.from(&at(value).behind()),
            Some(Test::Compare(Comparator::Le, value)) => all.until(&at(value).behind()),
            Some(Test::Between(low, high)) => all.from(&at(low)).until(&at(high).behind()),
            Some(Test::BeginsWith(value)) => Range::prefix(&prefix.clone().then_prefix(value)),
        }
    }

    /// Whether a key is among those that they allow.
    pub fn allow(&self, keys: &Keys, key: &Attributes) -> bool {
        let is_equal = |name: &str, value: &Value| key.get(name) == Some(value);
        if !self.hash.iter().all(|(name, value)| is_equal(name, value)) {
            return false;
        }
        let mut range = keys.range.iter();
        for value in &self.equal {
            if !range.next().is_some_and(|part| is_equal(&part.name, value)) {
                return false;
            }
        }
        let (Some(test), Some(part)) = (&self.last, range.next()) else {
            return true;
        };
        let Some(value) = key.get(&part.name) else {
            return false;
        };
        let order = |other: &Value| value.order(other);
        use std::cmp::Ordering::*;
        match test {
            Test::Compare(Comparator::Lt, other) => order(other) == Some(Less),
            Test::Compare(Comparator::Le, other) => order(other).is_some_and(|o| o.is_le()),
            Test::Compare(Comparator::Gt, other) => order(other) == Some(Greater),
            Test::Compare(Comparator::Ge, other) => order(other).is_some_and(|o| o.is_ge()),
            Test::Compare(_, other) => order(other) == Some(Equal),
            Test::Between(low, high) => {
                order(low).is_some_and(|o| o.is_ge()) && order(high).is_some_and(|o| o.is_le())
            }
            Test::BeginsWith(prefix) => expression::condition::begins_with(value, prefix),
        }
    }
}

fn check_type(fits: bool) -> Result<(), Fault> {
    match fits {
        true => Ok(()),
        false => Err(invalid_parameter(
            "Condition parameter type does not match schema type",
        )),
    }
}

fn refuse_empty(name: &str, value: &Value) -> Result<(), Fault> {
    let what = match value {
        Value::S(text) if text.is_empty() => "string",
        Value::B(bytes) if bytes.is_empty() => "binary",
        _ => return Ok(()),
    };
    Err(validation(format!(
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty {what} value. Key: {name}"
    )))
}

/// Checks `ExclusiveStartKey` and gives its row.
pub fn start_row(
    table: &TableRecord,
    index: Option<&Index>,
    key: &Attributes,
) -> Result<Row, Fault> {
    const INVALID: &str = "The provided starting key is invalid";
    let keys = index.map(|index| &index.keys);
    let parts = table
        .keys
        .parts()
        .chain(keys.into_iter().flat_map(Keys::parts));
    let mut wanted = 0;
    let mut names: Vec<&str> = Vec::new();
    for part in parts {
        if names.contains(&part.name.as_str()) {
            continue;
        }
        names.push(&part.name);
        wanted += 1;
        match key.get(&part.name) {
            Some(value) if part.kind.fits(value) => refuse_empty(&part.name, value)?,
            Some(_) => {
                return Err(validation(format!(
                    "{INVALID}: The provided key element does not match the schema"
                )));
            }
            None => {
                return Err(validation(format!(
                    "{INVALID}: The provided key element does not match the schema"
                )));
            }
        }
    }
    if key.len() != wanted {
        return Err(validation(format!(
            "{INVALID}: The provided key element does not match the schema"
        )));
    }
    Ok(match index {
        None => table.row(key),
        Some(index) => Row::entry(
            &table.account,
            table.uid,
            index.number,
            &index.keys,
            &table.keys,
            key,
        ),
    })
}

/// `Segment` and `TotalSegments`
pub fn segments(segment: Option<i32>, total: Option<i32>) -> Result<Option<(u64, u64)>, Fault> {
    match (segment, total) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(validation(
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is present",
        )),
        (None, Some(_)) => Err(validation(
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is present",
        )),
        (Some(segment), Some(total)) if segment >= total => Err(validation(format!(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {segment} is not less than TotalSegments: {total}"
        ))),
        (Some(segment), Some(total)) => Ok(Some((
            u64::from(segment.unsigned_abs()),
            u64::from(total.unsigned_abs()),
        ))),
    }
}
