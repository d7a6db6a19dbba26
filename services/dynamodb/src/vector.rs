//! Vector indexes: how they are defined, and how they follow the items of their table.
//!
//! An entry is two rows under one key: the vector as 32-bit numbers, which a search goes through, and what the index
//! projects of the item, which only the results of one are read from.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/VectorSearchWorkingWith.html>

use serde::{Deserialize, Serialize};
use store::{Read, Tx};
use wire::Fault;

use crate::api::{self, search_schema_element_type};
use crate::catalog::check_name;
use crate::definition::{Definitions, projected};
use crate::distance::{Distance, Vector, numbers};
use crate::errors::limit_exceeded_exception;
use crate::fault::{invalid_parameter, validation};
use crate::item::{self, Stored};
use crate::key::{Keys, Part, Row};
use crate::service::Dynamo;
use crate::table::{self, Index, Projected, TableRecord, Tally};
use crate::value::{Attributes, Value};

/// Most vector indexes of a table.
const MAX_INDEXES: usize = 5;
const MAX_DIMENSIONS: i64 = 4096;
/// Most inline filters of an index.
const MAX_FILTERS: usize = 18;
/// The fewest bytes that a request about a vector index counts as.
pub const LEAST_BYTES: usize = 1024;

/// A vector index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorIndex {
    /// Its number among all of the table's indexes.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// The attribute that holds vectors.
    pub attribute: String,
    /// How many numbers a vector has.
    pub dimensions: usize,
    /// How similarity is measured.
    pub distance: Distance,
    /// What a search must say, if anything: one attribute for the hash, none for the range.
    pub keys: Keys,
    /// What a search may say.
    pub filters: Vec<Part>,
    /// What it holds besides.
    pub projected: Projected,
    /// Whether older items are still being added.
    pub is_backfilling: bool,
}

/// A row of an index with what is kept in it.
type Entry = (Row, Vector, Attributes);

impl VectorIndex {
    /// Reads one of a request.
    pub fn of(given: &api::VectorIndex, definitions: &Definitions) -> Result<VectorIndex, Fault> {
        let name = &given.index_name;
        check_name("IndexName", name)?;
        if given.dimensions > MAX_DIMENSIONS {
            return Err(invalid_parameter(&format!(
                "Dimensions of vector index {name} exceeds the limit of {MAX_DIMENSIONS}"
            )));
        }
        let (mut keys, mut filters) = (Keys::default(), Vec::new());
        for element in given.search_schema.iter().flatten() {
            let attribute = &element.attribute_name;
            let Some((_, kind)) = definitions.iter().find(|(n, _)| n == attribute) else {
                return Err(invalid_parameter(
                    "One element in SearchSchema is not defined in attribute definitions",
                ));
            };
            if keys.has(attribute) || filters.iter().any(|f: &Part| f.name == *attribute) {
                return Err(invalid_parameter(&format!(
                    "Duplicate attribute name in SearchSchema of index {name}: {attribute}"
                )));
            }
            let part = Part {
                name: attribute.clone(),
                kind: *kind,
            };
            match element.search_schema_element_type.as_str() {
                search_schema_element_type::HASH => keys.hash.push(part),
                _ => filters.push(part),
            }
        }
        if keys.hash.len() > 1 {
            return Err(invalid_parameter(
                "SearchSchema can have at most one HASH element",
            ));
        }
        if filters.len() > MAX_FILTERS {
            return Err(invalid_parameter(&format!(
                "Number of INLINE_FILTER elements in SearchSchema exceeds the limit of {MAX_FILTERS}"
            )));
        }
        Ok(VectorIndex {
            number: 0,
            name: name.clone(),
            attribute: given.vector_attribute.attribute_name.clone(),
            dimensions: usize::try_from(given.dimensions).unwrap_or(0),
            distance: Distance::of(&given.distance_function),
            keys,
            filters,
            projected: projected(name, &given.projection)?,
            is_backfilling: false,
        })
    }

    /// Whether its search schema names an attribute.
    pub fn has(&self, name: &str) -> bool {
        self.keys.has(name) || self.filters.iter().any(|part| part.name == name)
    }

    /// Whether it holds an attribute besides vectors, of a table with that key.
    pub fn projects(&self, base: &Keys, name: &str) -> bool {
        name != self.attribute
            && (self.has(name) || base.has(name) || self.projected.includes(name))
    }

    /// Checks an item that is to be written.
    fn check(&self, item: &Attributes) -> Result<(), Fault> {
        self.keys.check_index(&self.name, item)?;
        for part in &self.filters {
            if let Some(value) = item.get(&part.name)
                && !part.kind.fits(value)
            {
                return Err(part.mismatch(&self.name, value));
            }
        }
        let Some(value) = item.get(&self.attribute) else {
            return Ok(());
        };
        let wrong = |what: &str, expected: &str, actual: &str| {
            invalid_parameter(&format!(
                "Invalid {what}, Expected: {expected}, Actual: {actual}. IndexName: {}",
                self.name
            ))
        };
        let Value::L(list) = value else {
            let parameter = format!("type for parameter {}", self.attribute);
            return Err(wrong(&parameter, "L", value.type_name()));
        };
        if list.len() != self.dimensions {
            let (expected, actual) = (self.dimensions.to_string(), list.len().to_string());
            let parameter = format!("size for parameter {}", self.attribute);
            return Err(wrong(&parameter, &expected, &actual));
        }
        match numbers(list) {
            Ok(_) => Ok(()),
            Err(at) => match list.get(at) {
                Some(Value::N(number)) => Err(wrong(
                    &format!("value for parameter {}[{at}]", self.attribute),
                    "a 32-bit floating point number",
                    &number.to_string(),
                )),
                other => Err(wrong(
                    &format!("type for parameter {}[{at}]", self.attribute),
                    "N",
                    other.map_or("NULL", Value::type_name),
                )),
            },
        }
    }

    /// The entry of an item. Items that were there before the index may have none.
    pub fn entry(&self, table: &TableRecord, item: &Attributes) -> Option<Entry> {
        let Some(Value::L(list)) = item.get(&self.attribute) else {
            return None;
        };
        if list.len() != self.dimensions || !self.keys.cover(item) {
            return None;
        }
        let vector = Vector::of(&numbers(list).ok()?);
        let row = Row::entry(
            &table.account,
            table.uid,
            self.number,
            &self.keys,
            &table.keys,
            item,
        );
        let projected = item
            .iter()
            .filter(|(name, _)| self.projects(&table.keys, name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Some((row, vector, projected))
    }

    fn schema(&self) -> Option<Vec<api::SearchSchemaElement>> {
        let element = |kind: &'static str| {
            move |part: &Part| api::SearchSchemaElement {
                attribute_name: part.name.clone(),
                search_schema_element_type: kind.to_owned(),
            }
        };
        let hash = self.keys.hash.iter();
        let all: Vec<_> = hash
            .map(element(search_schema_element_type::HASH))
            .chain(
                self.filters
                    .iter()
                    .map(element(search_schema_element_type::INLINE_FILTER)),
            )
            .collect();
        (!all.is_empty()).then_some(all)
    }

    /// How it is described.
    pub fn describe(&self, arn: &str, status: &str, tally: Tally) -> api::VectorIndexDescription {
        let index_status = match self.is_backfilling || status == "CREATING" {
            true => "CREATING",
            false => "ACTIVE",
        };
        api::VectorIndexDescription {
            index_name: Some(self.name.clone()),
            search_schema: self.schema(),
            projection: Some(table::projection(&self.projected)),
            vector_attribute: Some(api::VectorAttributeDefinition {
                attribute_name: self.attribute.clone(),
            }),
            dimensions: i64::try_from(self.dimensions).ok(),
            distance_function: Some(self.distance.name().into()),
            index_status: Some(index_status.into()),
            backfilling: self.is_backfilling.then_some(true),
            index_size_bytes: Some(tally.bytes.max(0)),
            item_count: Some(tally.items.max(0)),
            index_arn: Some(format!("{arn}/index/{}", self.name)),
        }
    }

    /// How a backup tells of it.
    pub fn info(&self) -> api::VectorIndexInfo {
        api::VectorIndexInfo {
            index_name: Some(self.name.clone()),
            vector_attribute: Some(api::VectorAttributeDefinition {
                attribute_name: self.attribute.clone(),
            }),
            search_schema: self.schema(),
            projection: Some(table::projection(&self.projected)),
            dimensions: i64::try_from(self.dimensions).ok(),
            distance_function: Some(self.distance.name().into()),
        }
    }
}

/// Whether an index may stand beside others of its table.
fn admit(new: &VectorIndex, others: &[VectorIndex], table: &Keys) -> Result<(), Fault> {
    if table.has(&new.attribute) || new.has(&new.attribute) {
        return Err(invalid_parameter(&format!(
            "VectorAttribute {} of index {} must not be a key attribute or an element of SearchSchema",
            new.attribute, new.name
        )));
    }
    let is_other = |other: &&VectorIndex| {
        other.attribute == new.attribute && other.dimensions != new.dimensions
    };
    if let Some(other) = others.iter().find(is_other) {
        return Err(invalid_parameter(&format!(
            "Vector indexes {} and {} of attribute {} must have the same Dimensions",
            other.name, new.name, new.attribute
        )));
    }
    Ok(())
}

/// The error of a vector index on a table that is not on demand.
pub fn needs_demand() -> Fault {
    invalid_parameter(
        "Vector indexes are only supported on tables with BillingMode PAY_PER_REQUEST",
    )
}

/// Reads the vector indexes of a new table and numbers them behind its others.
pub fn indexes(
    given: Option<&[api::VectorIndex]>,
    is_provisioned: bool,
    keys: &Keys,
    others: &[Index],
    definitions: &Definitions,
) -> Result<Vec<VectorIndex>, Fault> {
    let Some(given) = given else {
        return Ok(Vec::new());
    };
    if given.is_empty() {
        return Err(invalid_parameter("List of VectorIndexes is empty"));
    }
    if is_provisioned {
        return Err(needs_demand());
    }
    if given.len() > MAX_INDEXES {
        return Err(invalid_parameter(&format!(
            "Number of VectorIndexes exceeds per-table limit of {MAX_INDEXES}"
        )));
    }
    let mut all: Vec<VectorIndex> = Vec::new();
    for given in given {
        let mut index = VectorIndex::of(given, definitions)?;
        admit(&index, &all, keys)?;
        let names = others.iter().map(|i| &i.name);
        if names
            .chain(all.iter().map(|i| &i.name))
            .any(|n| *n == index.name)
        {
            return Err(invalid_parameter(&format!(
                "Duplicate index name: {}",
                index.name
            )));
        }
        index.number = (others.len() + all.len()) as u8 + 1;
        all.push(index);
    }
    Ok(all)
}

impl TableRecord {
    /// The vector index of that name.
    pub fn vector(&self, name: &str) -> Option<&VectorIndex> {
        self.vectors.iter().find(|index| index.name == name)
    }

    /// Adds a vector index, to be filled; answers its number.
    pub fn add_vector(
        &mut self,
        create: &api::CreateVectorIndexAction,
        definitions: &Definitions,
    ) -> Result<u8, Fault> {
        let name = &create.index_name;
        if self.provisioned.is_some() {
            return Err(needs_demand());
        }
        if self.index(name).is_some() || self.vector(name).is_some() {
            return Err(validation(format!(
                "Attempting to create an index which already exists: {name}"
            )));
        }
        if self.vectors.len() >= MAX_INDEXES {
            return Err(limit_exceeded_exception(format!(
                "Subscriber limit exceeded: Number of VectorIndexes exceeds per-table limit of {MAX_INDEXES}"
            )));
        }
        let given = api::VectorIndex {
            index_name: name.clone(),
            vector_attribute: create.vector_attribute.clone(),
            search_schema: create.search_schema.clone(),
            projection: create.projection.clone(),
            dimensions: create.dimensions,
            distance_function: create.distance_function.clone(),
        };
        let mut index = VectorIndex::of(&given, definitions)?;
        admit(&index, &self.vectors, &self.keys)?;
        index.is_backfilling = true;
        self.take_vector(index)
    }

    /// Takes an index over under a number of its own, and the attributes that it needs defined.
    fn take_vector(&mut self, mut index: VectorIndex) -> Result<u8, Fault> {
        let Some(next) = self.next_index.checked_add(1) else {
            return Err(limit_exceeded_exception(
                "Too many indexes have been created for this table",
            ));
        };
        index.number = self.next_index;
        self.next_index = next;
        for part in index.keys.parts().chain(&index.filters) {
            if !self.attributes.iter().any(|(name, _)| *name == part.name) {
                self.attributes.push((part.name.clone(), part.kind));
            }
        }
        let number = index.number;
        self.vectors.push(index);
        Ok(number)
    }

    /// Takes over an index of another table of its group, to be filled; answers its number.
    pub fn take_over_vector(&mut self, index: &VectorIndex) -> Result<u8, Fault> {
        self.take_vector(VectorIndex {
            is_backfilling: true,
            ..index.clone()
        })
    }

    /// Checks an item that is to be written against the vector indexes. What an update leaves as it was may have been there
    /// before the index, and is not its mistake.
    pub fn check_vectors(&self, item: &Attributes, old: Option<&Attributes>) -> Result<(), Fault> {
        let is_new = |index: &&VectorIndex| {
            let names = index.keys.parts().chain(&index.filters).map(|p| &p.name);
            let mut names = names.chain([&index.attribute]);
            old.is_none_or(|old| names.any(|name| old.get(name) != item.get(name)))
        };
        let mut changed = self.vectors.iter().filter(is_new);
        changed.try_for_each(|index| index.check(item))
    }

    /// Whether a key, or an index, needs an attribute to be defined.
    pub fn is_defined_for_use(&self, name: &str) -> bool {
        self.keys.has(name)
            || self.indexes.iter().any(|index| index.keys.has(name))
            || self.vectors.iter().any(|index| index.has(name))
    }
}

impl Dynamo {
    /// Brings one vector index in line with an item's change: bytes written, items and bytes kept.
    pub fn index_vector(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        index: &VectorIndex,
        old: Option<&Attributes>,
        new: Option<&Attributes>,
    ) -> Result<(usize, i64, i64), Fault> {
        let old = old.and_then(|item| index.entry(table, item));
        let new = new.and_then(|item| index.entry(table, item));
        if old == new && !index.is_backfilling {
            return Ok((0, 0, 0));
        }
        let size = |entry: &Option<Entry>| {
            entry
                .as_ref()
                .map_or(0, |(_, vector, item)| vector.size() + item::size(item))
        };
        let (old_size, new_size) = (size(&old), size(&new));
        // What a backfill has not reached yet is not counted yet.
        let was_there = match &old {
            Some((row, ..)) if index.is_backfilling => tx.contains(&self.vectors, row)?,
            old => old.is_some(),
        };
        if let Some((row, ..)) = &old
            && new.as_ref().is_none_or(|(new, ..)| new != row)
        {
            tx.delete(&self.vectors, row);
            tx.delete(&self.items, row);
        }
        if let Some((row, vector, item)) = &new {
            tx.put(&self.vectors, row, vector)?;
            tx.put(&self.items, row, &Stored::new(item))?;
        }
        let written = match (&old, &new) {
            (None, None) => 0,
            _ => new_size.max(old_size).max(LEAST_BYTES),
        };
        let old_size = if was_there { old_size } else { 0 };
        Ok((
            written,
            i64::from(new.is_some()) - i64::from(was_there),
            new_size as i64 - old_size as i64,
        ))
    }

    /// Adds an item that was there before the index, unless it is there by now; answers its bytes.
    pub fn fill_vector(
        &self,
        tx: &mut Tx<'_>,
        table: &TableRecord,
        index: &VectorIndex,
        item: &Attributes,
    ) -> Result<Option<usize>, Fault> {
        let Some((row, vector, projected)) = index.entry(table, item) else {
            return Ok(None);
        };
        if tx.contains(&self.vectors, &row)? {
            return Ok(None);
        }
        tx.put(&self.vectors, &row, &vector)?;
        tx.put(&self.items, &row, &Stored::new(&projected))?;
        Ok(Some(vector.size() + item::size(&projected)))
    }
}
