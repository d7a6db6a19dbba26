//! SearchVectors: the entries of a vector index that are most similar to a vector.
//!
//! Every vector of the partition is compared, so that results are exact; AWS's are approximate.

use std::collections::BinaryHeap;

use cloud::Context;
use store::{Range, Read};
use wire::Fault;

use crate::api::{SearchResultItem, SearchVectorsInput, SearchVectorsOutput, VectorCapacity};
use crate::distance::{Searched, Vector, numbers};
use crate::expression::condition::{Comparator, Operand};
use crate::expression::{Condition, Placeholders, Projection};
use crate::fault::validation;
use crate::item::{Item, Stored};
use crate::key::Row;
use crate::service::Dynamo;
use crate::table::TableRecord;
use crate::value::{Attributes, Value};
use crate::vector::{LEAST_BYTES, VectorIndex};

/// The parameter, for messages.
const CONDITION: &str = "SearchConditionExpression";
const MOST: i32 = 100;
/// The most bytes of items in one answer.
const ANSWER: usize = 16 << 20;

/// A result so far: by rank, then by row, so that equals keep one order.
#[derive(PartialEq)]
struct Candidate {
    rank: f64,
    row: Row,
    score: f64,
    vector: Vector,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let rank = self.rank.total_cmp(&other.rank);
        rank.then_with(|| self.row.cmp(&other.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn invalid(what: &str) -> Fault {
    validation(format!("Invalid {CONDITION}: {what}"))
}

/// The values that a condition demands of attributes of the search schema.
fn demands(condition: Option<&Condition>, index: &VectorIndex) -> Result<Attributes, Fault> {
    let mut demanded = Attributes::new();
    for part in crate::partiql::conjuncts(condition) {
        let (path, value) = match part {
            Condition::Compare(Comparator::Eq, Operand::Path(path), Operand::Value(value))
            | Condition::Compare(Comparator::Eq, Operand::Value(value), Operand::Path(path)) => {
                (path, value)
            }
            _ => {
                return Err(invalid(
                    "Invalid comparator used in SearchConditionExpression",
                ));
            }
        };
        let name = &path.root;
        let mut parts = index.keys.parts().chain(&index.filters);
        let Some(known) = parts.find(|p| path.steps.is_empty() && p.name == *name) else {
            return Err(invalid(&format!(
                "Attribute {name} is not defined in SearchSchema of index {}",
                index.name
            )));
        };
        if !known.kind.fits(value) {
            return Err(invalid(&format!(
                "Type mismatch for attribute {name}, expected: {}, actual: {}",
                known.kind.name(),
                value.type_name()
            )));
        }
        if demanded.insert(name.clone(), value.clone()).is_some() {
            return Err(invalid(&format!(
                "Only one condition is allowed for attribute {name}"
            )));
        }
    }
    if index
        .keys
        .hash
        .iter()
        .any(|part| !demanded.contains_key(&part.name))
    {
        return Err(validation(
            "SearchConditionExpression must be provided when SearchSchema has a HASH key",
        ));
    }
    Ok(demanded)
}

/// The index that a search names.
fn searched<'t>(table: &'t TableRecord, name: &str) -> Result<&'t VectorIndex, Fault> {
    if table.index(name).is_some() {
        return Err(validation(
            "SearchVectors operation not supported on this index type.",
        ));
    }
    let index = table.vector(name).ok_or_else(|| {
        validation(format!(
            "The table does not have the specified index: {name}"
        ))
    })?;
    match index.is_backfilling {
        true => Err(validation(format!(
            "Cannot search backfilling vector index: {name}"
        ))),
        false => Ok(index),
    }
}

impl Dynamo {
    /// `SearchVectors`
    pub async fn search_vectors(
        &self,
        ctx: &Context,
        input: SearchVectorsInput,
    ) -> Result<SearchVectorsOutput, Fault> {
        let has_condition = input.search_condition_expression.is_some();
        let mut placeholders = Placeholders::new(
            input.expression_attribute_names,
            input.expression_attribute_values,
            has_condition || input.projection_expression.is_some(),
            (!has_condition).then_some(": SearchConditionExpression is null"),
        )?;
        let condition = match &input.search_condition_expression {
            Some(text) => Some(Condition::parse(CONDITION, text, &mut placeholders)?),
            None => None,
        };
        let projection = match &input.projection_expression {
            Some(text) => Some(Projection::parse(text, &mut placeholders)?),
            None => None,
        };
        placeholders.finish()?;
        let top = match input.top_k {
            top @ 1..=MOST => top as usize,
            top => {
                return Err(validation(format!(
                    "Provided TopK value '{top}' is out of valid range. The value must be between 1 and {MOST} inclusive"
                )));
            }
        };
        for value in &input.search_vector {
            value.check()?;
        }
        let vector = numbers(&input.search_vector).map_err(|at| {
            validation(format!(
                "Input search vector element {at} is not a 32-bit floating point number"
            ))
        })?;
        let table = self.catalog.table(ctx, &input.table_name)?;
        let index = searched(&table, &input.index_name)?;
        if vector.len() != index.dimensions {
            return Err(validation(format!(
                "Input search vector dimension {} does not match vector index dimension {}",
                vector.len(),
                index.dimensions
            )));
        }
        let demanded = demands(condition.as_ref(), index)?;
        let searched = Searched::new(vector);
        let (found, examined) = self.nearest(&table, index, &searched, &demanded, top)?;
        let mut results = Vec::with_capacity(found.len());
        let mut size = 0;
        for (candidate, stored) in found {
            let item = match &projection {
                None => Item::Stored(stored),
                Some(projection) => {
                    let mut item = stored.attributes()?;
                    // Without being asked for, vectors are not answered.
                    if projection.roots().contains(&index.attribute.as_str()) {
                        item.insert(index.attribute.clone(), candidate.vector.value());
                    }
                    Item::Plain(projection.apply(&item))
                }
            };
            size += match &item {
                Item::Plain(attributes) => crate::item::size(attributes),
                Item::Stored(stored) => stored.size(),
            };
            if size > ANSWER {
                return Err(validation(
                    "The size of the response exceeds the maximum allowed size of 16 MB",
                ));
            }
            results.push(SearchResultItem {
                item: Some(item),
                score: Some(candidate.score),
            });
        }
        let capacity = VectorCapacity {
            vector_search_request_bytes: Some(examined.max(LEAST_BYTES) as f64),
            vector_write_request_bytes: None,
        };
        Ok(SearchVectorsOutput {
            consumed_capacity: matches!(
                input.return_consumed_capacity.as_deref(),
                Some("TOTAL" | "INDEXES")
            )
            .then_some(capacity),
            search_results: Some(results),
        })
    }

    /// The `top` most similar entries that have what is demanded, the most similar first, and the bytes examined.
    fn nearest(
        &self,
        table: &TableRecord,
        index: &VectorIndex,
        searched: &Searched,
        demanded: &Attributes,
        top: usize,
    ) -> Result<(Vec<(Candidate, Stored)>, usize), Fault> {
        let prefix = Row::index(&table.account, table.uid, index.number);
        let prefix = prefix.partition(&index.keys, demanded);
        let filters: Vec<(&String, &Value)> = demanded
            .iter()
            .filter(|(name, _)| !index.keys.has(name))
            .collect();
        let view = self.cloud.store.read();
        let mut heap: BinaryHeap<Candidate> = BinaryHeap::with_capacity(top + 1);
        let mut examined = 0;
        for row in view.range(&self.vectors, Range::prefix(&prefix)) {
            let (row, stored) = row?;
            examined += stored.size();
            let score = index.distance.score(searched, &stored);
            let candidate = Candidate {
                rank: index.distance.rank(score),
                row,
                score,
                vector: stored,
            };
            if heap.len() == top && heap.peek().is_some_and(|worst| candidate >= *worst) {
                continue;
            }
            // Only what would be a result is looked at further.
            if !filters.is_empty() {
                let Some(item) = view.get(&self.items, &candidate.row)? else {
                    continue;
                };
                let item = item.attributes()?;
                let passes = |(name, value): &(&String, &Value)| {
                    item.get(*name).is_some_and(|own| own.equals(value))
                };
                if !filters.iter().all(passes) {
                    continue;
                }
            }
            heap.push(candidate);
            if heap.len() > top {
                heap.pop();
            }
        }
        let mut found = Vec::with_capacity(heap.len());
        for candidate in heap.into_sorted_vec() {
            if let Some(stored) = view.get(&self.items, &candidate.row)? {
                found.push((candidate, stored));
            }
        }
        Ok((found, examined))
    }
}
