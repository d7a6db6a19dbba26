//! Projection expressions: which parts of an item are answered.

use std::collections::BTreeSet;

use wire::Fault;

use super::parser::{Parser, Placeholders};
use super::path::{Clash, Path, Step};
use crate::fault::validation;
use crate::value::{Attributes, Value};

/// The parts of an item that are asked for.
#[derive(Clone, Debug)]
pub struct Projection {
    /// Where they are.
    pub paths: Vec<Path>,
}

impl Projection {
    /// Reads an expression.
    pub fn parse(text: &str, placeholders: &mut Placeholders) -> Result<Projection, Fault> {
        let mut parser = Parser::new("ProjectionExpression", text, placeholders)?;
        let mut paths = Vec::new();
        loop {
            paths.push(parser.path()?);
            if !parser.takes(",") {
                break;
            }
        }
        parser.end()?;
        refuse_clashes("ProjectionExpression", &paths)?;
        Ok(Projection { paths })
    }

    /// The legacy parameter `AttributesToGet`.
    pub fn of(names: &[String]) -> Result<Projection, Fault> {
        let mut seen = BTreeSet::new();
        for name in names {
            if name.is_empty() {
                return Err(crate::fault::invalid_parameter("Empty attribute name"));
            }
            if !seen.insert(name) {
                return Err(crate::fault::invalid_parameter(&format!(
                    "Duplicate value in attribute name: {name}"
                )));
            }
        }
        Ok(Projection {
            paths: names.iter().map(|name| Path::of(name)).collect(),
        })
    }

    /// The attributes it looks into.
    pub fn roots(&self) -> Vec<&str> {
        self.paths.iter().map(|path| path.root.as_str()).collect()
    }

    /// The parts of an item. Elements of a list keep their order and close ranks.
    pub fn apply(&self, item: &Attributes) -> Attributes {
        let mut out = Attributes::new();
        let mut nested: Vec<&Path> = Vec::new();
        for path in &self.paths {
            if path.steps.is_empty() {
                if let Some(value) = item.get(&path.root) {
                    out.insert(path.root.clone(), value.clone());
                }
            } else {
                nested.push(path);
            }
        }
        nested.sort();
        for group in nested.chunk_by(|a, b| a.root == b.root) {
            let Some(value) = item.get(&group[0].root) else {
                continue;
            };
            let steps: Vec<&[Step]> = group.iter().map(|path| &path.steps[..]).collect();
            if let Some(part) = part(value, &steps) {
                out.insert(group[0].root.clone(), part);
            }
        }
        out
    }
}

/// What sorted paths leave of a value; `None` where none of them leads anywhere.
fn part(value: &Value, paths: &[&[Step]]) -> Option<Value> {
    if paths.iter().any(|steps| steps.is_empty()) {
        return Some(value.clone());
    }
    let groups = paths.chunk_by(|a, b| a[0] == b[0]);
    let each = |group: &[&[Step]], child: &Value| {
        let rest: Vec<&[Step]> = group.iter().map(|steps| &steps[1..]).collect();
        part(child, &rest)
    };
    match value {
        Value::M(map) => {
            let found: Attributes = groups
                .filter_map(|group| {
                    let Step::Name(name) = &group[0][0] else {
                        return None;
                    };
                    Some((name.clone(), each(group, map.get(name)?)?))
                })
                .collect();
            (!found.is_empty()).then_some(Value::M(found))
        }
        Value::L(list) => {
            let found: Vec<Value> = groups
                .filter_map(|group| {
                    let Step::Index(index) = &group[0][0] else {
                        return None;
                    };
                    each(group, list.get(*index)?)
                })
                .collect();
            (!found.is_empty()).then_some(Value::L(found))
        }
        _ => None,
    }
}

/// Refuses paths of one expression that meet.
pub fn refuse_clashes(kind: &str, paths: &[Path]) -> Result<(), Fault> {
    // Sorted by root, only neighbours of one attribute need to be compared.
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by(|a, b| paths[*a].root.cmp(&paths[*b].root));
    for group in order.chunk_by(|a, b| paths[*a].root == paths[*b].root) {
        for (at, &first) in group.iter().enumerate() {
            for &second in &group[at + 1..] {
                let (first, second) = (&paths[first.min(second)], &paths[first.max(second)]);
                let how = match first.clash(second) {
                    None => continue,
                    Some(Clash::Overlap) => "overlap",
                    Some(Clash::Conflict) => "conflict",
                };
                return Err(validation(format!(
                    "Invalid {kind}: Two document paths {how} with each other; must remove or rewrite one of these paths; path one: {first}, path two: {second}"
                )));
            }
        }
    }
    Ok(())
}
