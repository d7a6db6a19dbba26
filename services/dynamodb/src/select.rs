//! Readings as PartiQL statements say them.

use store::Range;
use wire::Fault;

use crate::bounds::{Bounds, start_row};
use crate::capacity::{Partitions, Usage};
use crate::expression::condition::{Comparator, Operand};
use crate::expression::key_condition::Test;
use crate::expression::{self, KeyCondition, Projection};
use crate::fault::validation;
use crate::item::Item;
use crate::key::{BASE, Keys, Row};
use crate::query::{Reading, Selection, index, refuse_consistent};
use crate::service::Dynamo;
use crate::table::TableRecord;
use crate::value::Attributes;

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
        let index = index("Query", table, select.index).map_err(|fault| match select.index {
            Some(name) if table.index(name).is_none() && table.vector(name).is_none() => {
                validation("The table does not have the specified index")
            }
            _ => fault,
        })?;
        refuse_consistent(index, select.is_consistent)?;
        let keys = index.map_or(&table.keys, |index| &index.keys);
        let number = index.map_or(BASE, |index| index.number);
        let prefix = Row::index(&table.account, table.uid, number);
        let bounds = key_condition(select.condition, keys);
        let mut range = match &bounds {
            Some(bounds) => bounds.range(table, number, keys),
            None => Range::prefix(&prefix),
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
        let mut first = 0;
        if let Some(key) = &select.start {
            let row = start_row(table, index, key)?;
            first = row.hash(&prefix);
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
            partitions: (bounds.is_none() && table.provisioned.is_none())
                .then(|| Partitions::of(prefix, first, u32::MAX)),
        })?;
        Ok((found.items, found.last, found.usage))
    }
}
