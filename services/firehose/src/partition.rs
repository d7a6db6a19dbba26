//! Keys taken from records, by which objects are told apart.

use std::collections::BTreeMap;

use serde_json::Value;

/// A query of the language jq, as far as it is an object of paths: `{id: .customer.id, year: .date[0:4]}` without the slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query(Vec<(String, Vec<Part>)>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Field(String),
    Item(usize),
}

impl Query {
    /// Reads a query; `None` for one that is more than an object of paths.
    pub(crate) fn parse(text: &str) -> Option<Query> {
        let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
        let mut keys = Vec::new();
        for part in inside.split(',') {
            let (name, path) = part.split_once(':')?;
            let name = name.trim().trim_matches('"');
            let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(is_name) {
                return None;
            }
            keys.push((name.to_owned(), path_of(path.trim())?));
        }
        Some(Query(keys))
    }

    /// The keys of a record; `None` where one is missing or no plain value.
    pub(crate) fn keys(&self, record: &Value) -> Option<BTreeMap<String, String>> {
        let mut keys = BTreeMap::new();
        for (name, path) in &self.0 {
            let mut value = record;
            for part in path {
                value = match part {
                    Part::Field(field) => value.get(field)?,
                    Part::Item(at) => value.get(at)?,
                };
            }
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => return None,
            };
            keys.insert(name.clone(), text).is_none().then_some(())?;
        }
        Some(keys)
    }
}

fn path_of(text: &str) -> Option<Vec<Part>> {
    let mut rest = text.strip_prefix('.')?;
    let mut path = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (index, behind) = inside.split_once(']')?;
            let index = index.trim();
            path.push(
                match index.strip_prefix('"').and_then(|i| i.strip_suffix('"')) {
                    Some(field) => Part::Field(field.to_owned()),
                    None => Part::Item(index.parse().ok()?),
                },
            );
            rest = behind;
        } else if let Some(inside) = rest.strip_prefix('"') {
            let (field, behind) = inside.split_once('"')?;
            path.push(Part::Field(field.to_owned()));
            rest = behind;
        } else {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let (field, behind) = rest.split_at_checked(end)?;
            if field.is_empty() {
                return None;
            }
            path.push(Part::Field(field.to_owned()));
            rest = behind;
        }
        // A point goes before a field, and may go before an index.
        if let Some(behind) = rest.strip_prefix('.') {
            if behind.is_empty() {
                return None;
            }
            rest = behind;
        } else if !rest.is_empty() && !rest.starts_with('[') {
            return None;
        }
    }
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_of_paths_takes_keys_from_records() {
        let query = Query::parse("{id: .customer.id, \"n\":.list[1], q: .\"odd name\".x}").unwrap();
        let keys = query
            .keys(
                &json!({ "customer": { "id": "c" }, "list": [1, 2.5], "odd name": { "x": true } }),
            )
            .unwrap();
        let wanted = [("id", "c"), ("n", "2.5"), ("q", "true")];
        assert_eq!(
            keys,
            wanted.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
        );
        assert_eq!(query.keys(&json!({ "customer": {} })), None);
        assert_eq!(query.keys(&json!({ "customer": { "id": null } })), None);
    }

    #[test]
    fn anything_more_is_not_understood() {
        for text in [
            "",
            "{}",
            ".a",
            "{a}",
            "{a: .}",
            "{a: .b | ascii}",
            "{a: .b.}",
            "{a: .b..c}",
            "{a: .b[x]}",
            "{a: b}",
        ] {
            assert_eq!(Query::parse(text), None, "{text}");
        }
    }
}
