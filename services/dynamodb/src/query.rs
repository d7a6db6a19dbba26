//! Queries and scans.

use std::sync::Arc;

use cloud::Context;
use store::{Range, Read};
use wire::Fault;

use crate::api::*;
use crate::bounds::{Bounds, segments, start_row};
use crate::capacity::{Partitions, Usage, read_units};
use crate::errors::resource_not_found_exception;
use crate::expression::{self, KeyCondition, Placeholders, Projection};
use crate::fault::{invalid_parameter, listed, validation};
use crate::item::{Item, Stored};
use crate::key::{BASE, Keys, Row};
use crate::legacy::{self, refuse_mixture};
use crate::service::Dynamo;
use crate::table::{Index, Projected, TableRecord};
use crate::value::Attributes;

/// Bytes of items that one answer is made from.
const PAGE: usize = 1024 * 1024;

/// What of the items found is answered.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Only their number.
    Count,
    /// All that was read.
    All,
    /// Parts of them.
    Parts(Projection),
}

/// What queries and scans have in common.
pub struct Reading<'a> {
    /// The table.
    pub table: &'a TableRecord,
    /// Its index.
    pub index: Option<&'a Index>,
    /// The rows.
    pub range: Range<Row>,
    /// What must hold of items.
    pub filter: Option<expression::Condition>,
    /// What is answered.
    pub shown: Shown,
    /// A local index does not hold all that is asked for: items are read from the table.
    pub fetches: bool,
    /// Most items that are looked at.
    pub limit: Option<usize>,
    /// Whether it is consistent.
    pub is_consistent: bool,
    /// The partitions that are read, where each is paid for by itself.
    pub partitions: Option<Partitions>,
}

/// What was found.
pub struct Found {
    /// The items.
    pub items: Vec<Item>,
    /// How many passed the filter.
    pub count: i32,
    /// How many were looked at.
    pub scanned: i32,
    /// The key to go on behind.
    pub last: Option<Attributes>,
    /// What it took.
    pub usage: Usage,
}

/// Parameters that queries and scans share.
pub struct Selection<'a> {
    /// `Select`
    pub select: Option<&'a str>,
    /// `AttributesToGet`
    pub attributes: Option<&'a [String]>,
    /// `ProjectionExpression`
    pub projection: Option<&'a str>,
}

impl Selection<'_> {
    /// Reads the projection, in either form.
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

    /// What is answered, and whether a local index must be left for it.
    pub fn resolve(
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

/// The index that a request of that operation names.
pub fn index<'t>(
    operation: &str,
    table: &'t TableRecord,
    name: Option<&str>,
) -> Result<Option<&'t Index>, Fault> {
    let Some(name) = name else {
        return Ok(None);
    };
    if table.vector(name).is_some() {
        return Err(validation(format!(
            "{operation} operation not supported on this index type."
        )));
    }
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

/// Refuses what global indexes cannot do.
pub fn refuse_consistent(index: Option<&Index>, is_consistent: bool) -> Result<(), Fault> {
    match index {
        Some(index) if !index.is_local && is_consistent => Err(validation(
            "Consistent reads are not supported on global secondary indexes",
        )),
        _ => Ok(()),
    }
}

impl Dynamo {
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
        let index = index("Query", &table, input.index_name.as_deref())?;
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
            partitions: None,
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
        let index = index("Scan", &table, input.index_name.as_deref())?;
        let is_consistent = input.consistent_read == Some(true);
        refuse_consistent(index, is_consistent)?;
        let (shown, fetches) = selection.resolve(projection, &table, index)?;
        let number = index.map_or(BASE, |index| index.number);
        let prefix = Row::index(&table.account, table.uid, number);
        let mut range = Range::prefix(&prefix);
        let mut bounds = None;
        let (segment, of) = segments.unwrap_or((0, 1));
        let mut first = Row::segment_hash(segment, of) as u32;
        let end = (Row::segment_hash(segment + 1, of) - 1) as u32;
        if segments.is_some() {
            let begin = prefix.clone().segment(segment, of);
            let end = prefix.clone().segment(segment + 1, of);
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
            first = row.hash(&prefix);
            range = range.after(&row);
        }
        let is_on_demand = table.provisioned.is_none();
        let reading = Reading {
            table: &table,
            index,
            range,
            filter,
            shown,
            fetches,
            limit: input.limit.map(|limit| limit as usize),
            is_consistent,
            partitions: is_on_demand.then(|| Partitions::of(prefix, first, end)),
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
    pub fn find(&self, reading: Reading<'_>) -> Result<Found, Fault> {
        let Reading {
            table,
            index,
            range,
            filter,
            shown,
            fetches,
            limit,
            is_consistent,
            mut partitions,
        } = reading;
        self.admit_read(table, index)?;
        let view = self.cloud.store.read();
        let (mut items, mut scanned, mut count) = (Vec::new(), 0i32, 0i32);
        let (mut bytes, mut fetched) = (0usize, 0.0f64);
        let mut last: Option<Stored> = None;
        let mut is_more = false;
        for row in view.range(&self.items, range) {
            let (row, stored) = row?;
            scanned += 1;
            bytes += stored.size();
            let is_last = limit.is_some_and(|limit| scanned as usize >= limit) || bytes >= PAGE;
            if let Some(partitions) = &mut partitions {
                partitions.read(&row, stored.size(), is_last);
            }
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
        let units = match partitions {
            Some(partitions) => partitions.units(is_consistent),
            None => read_units(bytes, is_consistent),
        };
        let mut usage = Usage::of(table, name, units);
        usage.table += fetched;
        self.spend(table, &usage, false);
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
