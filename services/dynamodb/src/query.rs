//! Queries and scans.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::Context;
use store::{Range, Read};
use wire::Fault;

use crate::api::*;
use crate::capacity::{Usage, read_units};
use crate::errors::resource_not_found_exception;
use crate::expression::condition::Comparator;
use crate::expression::key_condition::Test;
use crate::expression::{self, KeyCondition, Placeholders, Projection};
use crate::fault::{invalid_parameter, listed, validation};
use crate::item::{Item, Stored};
use crate::key::{BASE, Keys, Row};
use crate::legacy::{self, refuse_mixture};
use crate::service::Dynamo;
use crate::table::{Index, Projected, TableRecord};
use crate::value::{Attributes, Value};

/// Bytes of items that one answer is made from.
const PAGE: usize = 1024 * 1024;

/// What of the items found is answered.
#[derive(Clone, Debug)]
enum Shown {
    /// Only their number.
    Count,
    /// All that was read.
    All,
    /// Parts of them.
    Parts(Projection),
}

/// What queries and scans have in common.
struct Reading<'a> {
    table: &'a TableRecord,
    index: Option<&'a Index>,
    range: Range<Row>,
    filter: Option<expression::Condition>,
    shown: Shown,
    /// A local index does not hold all that is asked for: items are read from the table.
    fetches: bool,
    limit: Option<usize>,
    is_consistent: bool,
}

/// What was found.
struct Found {
    items: Vec<Item>,
    count: i32,
    scanned: i32,
    last: Option<Attributes>,
    usage: Usage,
}

/// Parameters that queries and scans share.
struct Selection<'a> {
    select: Option<&'a str>,
    attributes: Option<&'a [String]>,
    projection: Option<&'a str>,
}

impl Selection<'_> {
    /// What is answered, and whether a local index must be left for it.
    fn read(&self, placeholders: &mut Placeholders) -> Result<Option<Projection>, Fault> {
        match (self.projection, self.attributes) {
            (Some(text), _) => Projection::parse(text, placeholders).map(Some),
            (None, Some(names)) => Projection::of(names).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Refuses what does not go together.
    fn check(&self, has_index: bool) -> Result<(), Fault> {
        let name = match self.projection {
            Some(_) => "ProjectionExpression",
            None => "AttributesToGet",
        };
        match (
            self.select,
            self.projection.map(|_| ()).or(self.attributes.map(|_| ())),
        ) {
            (Some(select @ ("ALL_ATTRIBUTES" | "ALL_PROJECTED_ATTRIBUTES" | "COUNT")), Some(_)) => {
                let what = match select {
                    "COUNT" => "only the Count",
                    other => other,
                };
                return Err(validation(format!(
                    "Cannot specify the {name} when choosing to get {what}"
                )));
            }
            (Some("SPECIFIC_ATTRIBUTES"), None) => {
                return Err(validation(
                    "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES",
                ));
            }
            (Some("ALL_PROJECTED_ATTRIBUTES"), None) if !has_index => {
                return Err(validation(
                    "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName",
                ));
            }
            (
                Some(
                    "SPECIFIC_ATTRIBUTES" | "COUNT" | "ALL_ATTRIBUTES" | "ALL_PROJECTED_ATTRIBUTES",
                )
                | None,
                _,
            ) => {}
            (Some(other), _) => {
                return Err(validation(format!(
                    "1 validation error detected: Value '{other}' at 'select' failed to satisfy constraint: Member must satisfy enum value set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]"
                )));
            }
        }
        Ok(())
    }

    fn resolve(
        &self,
        projection: Option<Projection>,
        table: &TableRecord,
        index: Option<&Index>,
    ) -> Result<(Shown, bool), Fault> {
        let is_whole = index.is_none_or(|index| index.projected == Projected::All);
        if self.select == Some("ALL_ATTRIBUTES")
            && let Some(index) = index.filter(|index| !index.is_local && !is_whole)
        {
            return Err(invalid_parameter(&format!(
                "Select type ALL_ATTRIBUTES is not supported for global secondary index {} because its projection type is not ALL",
                index.name
            )));
        }
        let mut fetches = self.select == Some("ALL_ATTRIBUTES") && !is_whole;
        if let (Some(projection), Some(index)) = (&projection, index) {
            let missing: Vec<&str> = projection
                .roots()
                .into_iter()
                .filter(|name| !index.projects(&table.keys, name))
                .collect();
            if !missing.is_empty() && !index.is_local {
                return Err(invalid_parameter(&format!(
                    "Global secondary index {} does not project [{}]",
                    index.name,
                    missing.join(", ")
                )));
            }
            fetches |= !missing.is_empty();
        }
        let shown = match (self.select, projection) {
            (Some("COUNT"), _) => Shown::Count,
            (_, Some(projection)) => Shown::Parts(projection),
            _ => Shown::All,
        };
        Ok((shown, fetches))
    }
}

/// The index that a request names.
fn index<'t>(table: &'t TableRecord, name: Option<&str>) -> Result<Option<&'t Index>, Fault> {
    let Some(name) = name else {
        return Ok(None);
    };
    let Some(index) = table.index(name) else {
        return Err(validation(format!(
            "The table does not have the specified index: {name}"
        )));
    };
    if index.is_backfilling {
        return Err(validation(format!(
            "Cannot read from backfilling global secondary index: {name}"
        )));
    }
    Ok(Some(index))
}

fn refuse_consistent(index: Option<&Index>, is_consistent: bool) -> Result<(), Fault> {
    match index {
        Some(index) if !index.is_local && is_consistent => Err(validation(
            "Consistent reads are not supported on global secondary indexes",
        )),
        _ => Ok(()),
    }
}

/// Key conditions as they apply to a key: its hash attributes, and tests of range attributes in their order.
struct Bounds {
    hash: Attributes,
    equal: Vec<Value>,
    last: Option<Test>,
}

fn key_element_missing(name: &str) -> Fault {
    validation(format!("Query condition missed key schema element: {name}"))
}

impl Bounds {
    fn of(condition: KeyCondition, keys: &Keys) -> Result<Bounds, Fault> {
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
    fn range(&self, table: &TableRecord, number: u8, keys: &Keys) -> Range<Row> {
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
    fn allow(&self, keys: &Keys, key: &Attributes) -> bool {
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
fn start_row(table: &TableRecord, index: Option<&Index>, key: &Attributes) -> Result<Row, Fault> {
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

/// A reading as a PartiQL statement says it.
pub struct Select<'a> {
    /// The table.
    pub table: &'a TableRecord,
    /// Its index.
    pub index: Option<&'a str>,
    /// The `WHERE` clause.
    pub condition: Option<&'a expression::Condition>,
    /// What is read of items.
    pub paths: Option<&'a [expression::Path]>,
    /// The sort key, and whether it descends.
    pub order: Option<(&'a str, bool)>,
    /// Most items that are looked at.
    pub limit: Option<usize>,
    /// The key behind which it begins.
    pub start: Option<Attributes>,
    /// Whether it is consistent.
    pub is_consistent: bool,
}

/// The tests of key attributes in a condition, if they name the hash key: what a query can do.
fn key_condition(condition: Option<&expression::Condition>, keys: &Keys) -> Option<Bounds> {
    use expression::condition::Operand;
    let mut tests: Vec<(String, Test)> = Vec::new();
    for part in crate::partiql::conjuncts(condition) {
        let (operand, test) = match part {
            expression::Condition::Compare(comparator, path, Operand::Value(value))
                if *comparator != Comparator::Ne =>
            {
                (path, Test::Compare(*comparator, value.clone()))
            }
            expression::Condition::Between(path, Operand::Value(low), Operand::Value(high)) => {
                (path, Test::Between(low.clone(), high.clone()))
            }
            expression::Condition::BeginsWith(path, Operand::Value(value)) => {
                (path, Test::BeginsWith(value.clone()))
            }
            _ => continue,
        };
        let Operand::Path(path) = operand else {
            continue;
        };
        let is_new = !tests.iter().any(|(name, _)| *name == path.root);
        if path.steps.is_empty() && keys.has(&path.root) && is_new {
            tests.push((path.root.clone(), test));
        }
    }
    Bounds::of(KeyCondition { tests }, keys).ok()
}

impl Dynamo {
    /// Reads what a statement selects: the items, the key to go on behind, and what it took.
    #[allow(clippy::type_complexity, reason = "named only here")]
    pub fn select(
        &self,
        select: Select<'_>,
    ) -> Result<(Vec<Item>, Option<Attributes>, Usage), Fault> {
        let table = select.table;
        let index = index(table, select.index).map_err(|fault| match select.index {
            Some(name) if table.index(name).is_none() => {
                validation("The table does not have the specified index")
            }
            _ => fault,
        })?;
        refuse_consistent(index, select.is_consistent)?;
        let keys = index.map_or(&table.keys, |index| &index.keys);
        let number = index.map_or(BASE, |index| index.number);
        let bounds = key_condition(select.condition, keys);
        let mut range = match &bounds {
            Some(bounds) => bounds.range(table, number, keys),
            None => Range::prefix(&Row::index(&table.account, table.uid, number)),
        };
        let is_reverse = match select.order {
            None => false,
            Some((name, is_descending)) => {
                if bounds.is_none() {
                    return Err(validation(
                        "Must have WHERE clause in the statement when using ORDER BY clause.",
                    ));
                }
                if !keys.has(name) {
                    return Err(validation(format!(
                        "Variable reference {name} in ORDER BY clause must be part of the primary key"
                    )));
                }
                is_descending
            }
        };
        if let Some(key) = &select.start {
            let row = start_row(table, index, key)?;
            range = match is_reverse {
                false => range.after(&row),
                true => range.until(&row),
            };
        }
        let projection = select.paths.map(|paths| Projection {
            paths: paths
                .iter()
                .map(|path| expression::Path::of(&path.root))
                .collect(),
        });
        let selection = Selection {
            select: None,
            attributes: None,
            projection: select.paths.map(|_| ""),
        };
        let (shown, fetches) = selection.resolve(projection, table, index)?;
        let found = self.find(Reading {
            table,
            index,
            range: if is_reverse { range.reverse() } else { range },
            filter: select.condition.cloned(),
            shown,
            fetches,
            limit: select.limit,
            is_consistent: select.is_consistent,
        })?;
        Ok((found.items, found.last, found.usage))
    }

    /// `Query`
    pub async fn query(&self, ctx: &Context, input: QueryInput) -> Result<QueryOutput, Fault> {
        refuse_mixture(
            &[
                ("AttributesToGet", input.attributes_to_get.is_some()),
                ("QueryFilter", input.query_filter.is_some()),
                ("ConditionalOperator", input.conditional_operator.is_some()),
            ],
            &[
                (
                    "ProjectionExpression",
                    input.projection_expression.is_some(),
                ),
                ("FilterExpression", input.filter_expression.is_some()),
                (
                    "KeyConditionExpression",
                    input.key_condition_expression.is_some(),
                ),
            ],
        )?;
        // `KeyConditions` goes together with all expressions but its own successor.
        refuse_mixture(
            &[("KeyConditions", input.key_conditions.is_some())],
            &[(
                "KeyConditionExpression",
                input.key_condition_expression.is_some(),
            )],
        )?;
        let has_conditions =
            input.filter_expression.is_some() || input.key_condition_expression.is_some();
        let mut placeholders = Placeholders::new(
            input.expression_attribute_names,
            input.expression_attribute_values,
            has_conditions || input.projection_expression.is_some(),
            (!has_conditions).then_some(": FilterExpression and KeyConditionExpression are null"),
        )?;
        let selection = Selection {
            select: input.select.as_deref(),
            attributes: input.attributes_to_get.as_deref(),
            projection: input.projection_expression.as_deref(),
        };
        selection
            .check(input.index_name.is_some())
            .map_err(listed)?;
        let filter = match &input.filter_expression {
            Some(text) => Some(expression::Condition::parse(
                "FilterExpression",
                text,
                &mut placeholders,
            )?),
            None => legacy::filter(
                input.query_filter.as_ref(),
                input.conditional_operator.as_deref(),
            )?,
        };
        let projection = selection.read(&mut placeholders)?;
        let condition = match (&input.key_condition_expression, &input.key_conditions) {
            (Some(text), _) => KeyCondition::parse(text, &mut placeholders)?,
            (None, Some(conditions)) => legacy::key_conditions(conditions)?,
            (None, None) => {
                return Err(validation(
                    "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
                ));
            }
        };
        placeholders.finish()?;
        let table = self.catalog.table(ctx, &input.table_name)?;
        let index = index(&table, input.index_name.as_deref())?;
        let is_consistent = input.consistent_read == Some(true);
        refuse_consistent(index, is_consistent)?;
        let keys = index.map_or(&table.keys, |index| &index.keys);
        let bounds = Bounds::of(condition, keys)?;
        if let Some(filter) = &filter {
            let mut key = None;
            filter.paths(&mut |path| {
                if keys.has(&path.root) {
                    key = Some(path.root.clone());
                }
            });
            if let Some(key) = key {
                let what = match input.filter_expression {
                    Some(_) => "Filter Expression",
                    None => "QueryFilter",
                };
                return Err(validation(format!(
                    "{what} can only contain non-primary key attributes: Primary key attribute: {key}"
                )));
            }
        }
        let (shown, fetches) = selection.resolve(projection, &table, index)?;
        let mut range = bounds.range(&table, index.map_or(BASE, |index| index.number), keys);
        let is_forward = input.scan_index_forward != Some(false);
        if let Some(key) = &input.exclusive_start_key {
            let row = start_row(&table, index, key)?;
            if index.is_none() && table.keys.range.is_empty() {
                let shown: Vec<String> = key
                    .iter()
                    .map(|(name, value)| {
                        format!(
                            "{name}=AttributeValue: {}",
                            expression::condition::shown(value)
                        )
                    })
                    .collect();
                return Err(validation(format!(
                    "The provided exclusive start key is invalid: ExclusiveStartKey: {{{}}}",
                    shown.join(", ")
                )));
            }
            if !bounds.allow(keys, key) {
                return Err(validation(
                    "The provided starting key is outside query boundaries based on provided conditions",
                ));
            }
            range = match is_forward {
                true => range.after(&row),
                false => range.until(&row),
            };
        }
        let reading = Reading {
            table: &table,
            index,
            range: if is_forward { range } else { range.reverse() },
            filter,
            shown,
            fetches,
            limit: input.limit.map(|limit| limit as usize),
            is_consistent,
        };
        let is_count = matches!(reading.shown, Shown::Count);
        let found = self.find(reading)?;
        Ok(QueryOutput {
            items: (!is_count).then_some(found.items),
            count: Some(found.count),
            scanned_count: Some(found.scanned),
            last_evaluated_key: found.last,
            consumed_capacity: found
                .usage
                .report(&table.name, input.return_consumed_capacity.as_deref()),
        })
    }

    /// `Scan`
    pub async fn scan(&self, ctx: &Context, input: ScanInput) -> Result<ScanOutput, Fault> {
        refuse_mixture(
            &[
                ("AttributesToGet", input.attributes_to_get.is_some()),
                ("ScanFilter", input.scan_filter.is_some()),
                ("ConditionalOperator", input.conditional_operator.is_some()),
            ],
            &[
                (
                    "ProjectionExpression",
                    input.projection_expression.is_some(),
                ),
                ("FilterExpression", input.filter_expression.is_some()),
            ],
        )?;
        let has_filter = input.filter_expression.is_some();
        let mut placeholders = Placeholders::new(
            input.expression_attribute_names,
            input.expression_attribute_values,
            has_filter || input.projection_expression.is_some(),
            (!has_filter).then_some(": FilterExpression is null"),
        )?;
        let segments = segments(input.segment, input.total_segments)?;
        let selection = Selection {
            select: input.select.as_deref(),
            attributes: input.attributes_to_get.as_deref(),
            projection: input.projection_expression.as_deref(),
        };
        selection.check(input.index_name.is_some())?;
        let filter = match &input.filter_expression {
            Some(text) => Some(expression::Condition::parse(
                "FilterExpression",
                text,
                &mut placeholders,
            )?),
            None => legacy::filter(
                input.scan_filter.as_ref(),
                input.conditional_operator.as_deref(),
            )?,
        };
        let projection = selection.read(&mut placeholders)?;
        placeholders.finish()?;
        let table = self.catalog.table(ctx, &input.table_name)?;
        let index = index(&table, input.index_name.as_deref())?;
        let is_consistent = input.consistent_read == Some(true);
        refuse_consistent(index, is_consistent)?;
        let (shown, fetches) = selection.resolve(projection, &table, index)?;
        let number = index.map_or(BASE, |index| index.number);
        let prefix = Row::index(&table.account, table.uid, number);
        let mut range = Range::prefix(&prefix);
        let mut bounds = None;
        if let Some((segment, of)) = segments {
            let begin = prefix.clone().segment(segment, of);
            let end = prefix.segment(segment + 1, of);
            range = range.from(&begin).until(&end);
            bounds = Some((begin, end));
        }
        if let Some(key) = &input.exclusive_start_key {
            let row = start_row(&table, index, key)?;
            if bounds.is_some_and(|(begin, end)| row < begin || row >= end) {
                return Err(validation(
                    "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: "
                        .to_owned()
                        + &format!(
                            "{} Segment: {}",
                            input.total_segments.unwrap_or_default(),
                            input.segment.unwrap_or_default()
                        ),
                ));
            }
            range = range.after(&row);
        }
        let reading = Reading {
            table: &table,
            index,
            range,
            filter,
            shown,
            fetches,
            limit: input.limit.map(|limit| limit as usize),
            is_consistent,
        };
        let is_count = matches!(reading.shown, Shown::Count);
        let found = self.find(reading)?;
        Ok(ScanOutput {
            items: (!is_count).then_some(found.items),
            count: Some(found.count),
            scanned_count: Some(found.scanned),
            last_evaluated_key: found.last,
            consumed_capacity: found
                .usage
                .report(&table.name, input.return_consumed_capacity.as_deref()),
        })
    }

    /// Reads one page.
    fn find(&self, reading: Reading<'_>) -> Result<Found, Fault> {
        let Reading {
            table,
            index,
            range,
            filter,
            shown,
            fetches,
            limit,
            is_consistent,
        } = reading;
        let view = self.cloud.store.read();
        let (mut items, mut scanned, mut count) = (Vec::new(), 0i32, 0i32);
        let (mut bytes, mut fetched) = (0usize, 0.0f64);
        let mut last: Option<Stored> = None;
        let mut is_more = false;
        for row in view.range(&self.items, range) {
            let (_, stored) = row?;
            scanned += 1;
            bytes += stored.size();
            let is_last = limit.is_some_and(|limit| scanned as usize >= limit) || bytes >= PAGE;
            if is_last {
                last = Some(stored.clone());
            }
            let mut stored = stored;
            if fetches {
                let key = stored.pick(&names(&table.keys))?;
                let Some(whole) = view.get(&self.items, &table.row(&key))? else {
                    continue;
                };
                fetched += read_units(whole.size(), is_consistent);
                stored = whole;
            }
            let holds = match &filter {
                Some(filter) => filter.holds(&stored.attributes()?),
                None => true,
            };
            if holds {
                count += 1;
                match &shown {
                    Shown::Count => {}
                    Shown::All => items.push(Item::Stored(stored)),
                    Shown::Parts(projection) => {
                        let item = stored.pick(&projection.roots())?;
                        items.push(Item::Plain(projection.apply(&item)));
                    }
                }
            }
            if is_last {
                is_more = true;
                break;
            }
        }
        let last = match last.filter(|_| is_more) {
            None => None,
            Some(stored) => {
                let mut wanted = names(&table.keys);
                wanted.extend(index.into_iter().flat_map(|index| names(&index.keys)));
                Some(stored.pick(&wanted)?)
            }
        };
        let name = index.map(|index| index.name.as_str());
        let mut usage = Usage::of(table, name, read_units(bytes, is_consistent));
        usage.table += fetched;
        Ok(Found {
            items,
            count,
            scanned,
            last,
            usage,
        })
    }

    /// The table of a request about one of its indexes.
    pub fn indexed_table(
        &self,
        ctx: &Context,
        name: &str,
        index: Option<&str>,
    ) -> Result<Arc<TableRecord>, Fault> {
        let table = self.catalog.described(ctx, name)?;
        match index {
            Some(index) if table.index(index).is_none() => Err(resource_not_found_exception(
                format!("Requested resource not found: Index: {index} not found"),
            )),
            _ => Ok(table),
        }
    }
}

fn names(keys: &Keys) -> Vec<&str> {
    keys.parts().map(|part| part.name.as_str()).collect()
}

/// `Segment` and `TotalSegments`
fn segments(segment: Option<i32>, total: Option<i32>) -> Result<Option<(u64, u64)>, Fault> {
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
