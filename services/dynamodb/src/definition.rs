//! How tables and indexes are defined in requests, and the rules for that.

use wire::Fault;

use crate::api;
use crate::catalog::check_name;
use crate::fault::{invalid_parameter, validation};
use crate::key::{KeyType, Keys, Part};
use crate::table::{Capacity, Index, Projected};
use crate::vector::VectorIndex;

/// Most secondary indexes of a table.
const MAX_LOCAL: usize = 5;
/// See [`MAX_LOCAL`].
pub const MAX_GLOBAL: usize = 20;
/// Most attributes of an index's hash key, and of its range key.
const MAX_PARTS: usize = 4;
/// Most names that all indexes together project.
const MAX_PROJECTED: usize = 100;

/// Attribute definitions by name.
pub type Definitions = Vec<(String, KeyType)>;

/// Reads attribute definitions.
pub fn definitions(given: &[api::AttributeDefinition]) -> Result<Definitions, Fault> {
    let mut found = Definitions::new();
    let mut seen = std::collections::BTreeSet::new();
    for definition in given {
        let name = &definition.attribute_name;
        if !seen.insert(name) {
            return Err(invalid_parameter(&format!(
                "Duplicate AttributeName in AttributeDefinitions: {name}"
            )));
        }
        let Some(kind) = KeyType::of(&definition.attribute_type) else {
            return Err(validation(format!(
                "1 validation error detected: Value '{}' at 'attributeDefinitions.{}.member.attributeType' failed to satisfy constraint: Member must satisfy enum value set: [B, N, S]",
                definition.attribute_type,
                found.len() + 1
            )));
        };
        found.push((name.clone(), kind));
    }
    Ok(found)
}

/// Names in brackets, as messages list them.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    format!("[{}]", names.join(", "))
}

/// Reads a table's key schema.
pub fn table_keys(
    schema: &[api::KeySchemaElement],
    definitions: &Definitions,
    has_indexes: bool,
) -> Result<Keys, Fault> {
    if schema.len() > 2 {
        return Err(too_long(schema, "keySchema"));
    }
    if !has_indexes {
        refuse_more_keys(schema, definitions)?;
    }
    simple_form(schema)?;
    keys(schema, definitions)
}

/// Of a schema of more than two elements, which are shown.
fn too_long(schema: &[api::KeySchemaElement], path: &str) -> Fault {
    const SHOWN: usize = 10;
    let shown = |element: &api::KeySchemaElement| {
        format!(
            "KeySchemaElement(attributeName={}, keyType={})",
            element.attribute_name, element.key_type
        )
    };
    // A message must not become as long as what it refuses.
    let shown: Vec<String> = schema.iter().take(SHOWN).map(shown).collect();
    validation(format!(
        "1 validation error detected: Value '[{}]' at '{path}' failed to satisfy constraint: Member must have length less than or equal to 2",
        shown.join(", ")
    ))
}

/// Refuses a schema of more attributes than are defined; which of them are not is then not told.
pub fn refuse_more_keys(
    schema: &[api::KeySchemaElement],
    definitions: &Definitions,
) -> Result<(), Fault> {
    let is_new = |(at, element): &(usize, &api::KeySchemaElement)| {
        let mut before = schema.iter().take(*at);
        before.all(|other| other.attribute_name != element.attribute_name)
    };
    if schema.iter().enumerate().filter(is_new).count() <= definitions.len() {
        return Ok(());
    }
    Err(validation(
        "Invalid KeySchema: Some index key attribute have no definition",
    ))
}

/// One HASH element, and perhaps one RANGE element behind it.
fn simple_form(schema: &[api::KeySchemaElement]) -> Result<(), Fault> {
    let kind = |at: usize| schema.get(at).map(|element| element.key_type.as_str());
    if kind(0) != Some("HASH") {
        return Err(validation(
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
        ));
    }
    if kind(1).is_some_and(|kind| kind != "RANGE") {
        return Err(validation(
            "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type",
        ));
    }
    if schema.len() == 2 && schema[0].attribute_name == schema[1].attribute_name {
        return Err(validation(
            "Both the Hash Key and the Range Key element in the KeySchema have the same name",
        ));
    }
    Ok(())
}

fn keys(schema: &[api::KeySchemaElement], definitions: &Definitions) -> Result<Keys, Fault> {
    let mut keys = Keys::default();
    for element in schema {
        let name = &element.attribute_name;
        let Some((_, kind)) = definitions.iter().find(|(n, _)| n == name) else {
            let missing = schema
                .iter()
                .map(|element| element.attribute_name.as_str())
                .filter(|name| !definitions.iter().any(|(n, _)| n == name));
            return Err(invalid_parameter(&format!(
                "Some index key attributes are not defined in AttributeDefinitions. Keys: {}, AttributeDefinitions: {}",
                listed(missing),
                listed(definitions.iter().map(|(name, _)| name.as_str()))
            )));
        };
        let part = Part {
            name: name.clone(),
            kind: *kind,
        };
        match element.key_type.as_str() {
            "HASH" => keys.hash.push(part),
            _ => keys.range.push(part),
        }
    }
    Ok(keys)
}

/// Reads the key schema of a global index, which may have several attributes for each role.
fn global_keys(schema: &[api::KeySchemaElement], definitions: &Definitions) -> Result<Keys, Fault> {
    let of = |kind: &str| schema.iter().filter(|e| e.key_type == kind).count();
    let (hashes, ranges) = (of("HASH"), of("RANGE"));
    if hashes == 0 {
        return Err(validation(
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
        ));
    }
    if hashes > MAX_PARTS {
        return Err(validation(format!(
            "Invalid KeySchema: The number of HASH key attributes exceeds the limit of {MAX_PARTS}"
        )));
    }
    if ranges > MAX_PARTS {
        return Err(validation(format!(
            "Invalid KeySchema: The number of RANGE key attributes exceeds the limit of {MAX_PARTS}"
        )));
    }
    if schema.iter().skip(hashes).any(|e| e.key_type == "HASH") {
        return Err(validation(
            "Invalid KeySchema: All HASH key elements must precede all RANGE key elements",
        ));
    }
    for (at, element) in schema.iter().enumerate() {
        let name = &element.attribute_name;
        if schema[..at].iter().any(|e| &e.attribute_name == name) {
            return Err(validation(match schema.len() {
                2 => "Both the Hash Key and the Range Key element in the KeySchema have the same name".to_owned(),
                _ => format!("Invalid KeySchema: Two elements in the KeySchema have the same name: {name}"),
            }));
        }
    }
    keys(schema, definitions)
}

/// Refuses definitions that no key uses.
pub fn refuse_unused(
    definitions: &Definitions,
    table: &Keys,
    indexes: &[Index],
    vectors: &[VectorIndex],
) -> Result<(), Fault> {
    let is_used = |name: &str| {
        table.has(name)
            || indexes.iter().any(|i| i.keys.has(name))
            || vectors.iter().any(|i| i.has(name))
    };
    if definitions.iter().all(|(name, _)| is_used(name)) {
        return Ok(());
    }
    if indexes.is_empty() && vectors.is_empty() {
        return Err(invalid_parameter(
            "Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions",
        ));
    }
    let all = definitions.iter().map(|(name, _)| name.as_str());
    Err(invalid_parameter(&format!(
        "Some AttributeDefinitions are not used. AttributeDefinitions: {}, keys used: {}",
        listed(all.clone()),
        listed(all.filter(|name| is_used(name)))
    )))
}

/// Reads a projection.
pub fn projected(index: &str, given: &api::Projection) -> Result<Projected, Fault> {
    let names = given.non_key_attributes.as_ref();
    let kind = given.projection_type.as_deref();
    match (kind, names) {
        (Some("ALL"), None) => Ok(Projected::All),
        (Some("KEYS_ONLY"), None) => Ok(Projected::KeysOnly),
        (Some(kind @ ("ALL" | "KEYS_ONLY")), Some(_)) => Err(invalid_parameter(&format!(
            "ProjectionType is {kind}, but NonKeyAttributes is specified"
        ))),
        (Some("INCLUDE"), None) => Err(invalid_parameter(
            "ProjectionType is INCLUDE, but NonKeyAttributes is not specified",
        )),
        (Some("INCLUDE"), Some(names)) => {
            for (at, name) in names.iter().enumerate() {
                if names[..at].contains(name) {
                    return Err(invalid_parameter(&format!(
                        "Duplicate attribute name in NonKeyAttributes of index {index}: {name}"
                    )));
                }
            }
            Ok(Projected::Include(names.clone()))
        }
        (kind, _) => Err(invalid_parameter(&format!(
            "Unknown ProjectionType: {}",
            kind.unwrap_or("null")
        ))),
    }
}

/// Reads provisioned throughput.
pub fn capacity(given: &api::ProvisionedThroughput) -> Result<Capacity, Fault> {
    for (units, what) in [
        (given.read_capacity_units, "ReadCapacityUnits"),
        (given.write_capacity_units, "WriteCapacityUnits"),
    ] {
        if units > 1_000_000_000_000 {
            return Err(invalid_parameter(&format!(
                "Given value {units} for {what} is out of bounds"
            )));
        }
    }
    Ok(Capacity {
        read: given.read_capacity_units,
        write: given.write_capacity_units,
        ..Capacity::default()
    })
}

/// Reads throughput on demand.
pub fn on_demand(given: Option<&api::OnDemandThroughput>) -> Option<(Option<i64>, Option<i64>)> {
    let limit = |units: Option<i64>| units.filter(|units| *units != -1);
    let limits = given.map(|t| {
        (
            limit(t.max_read_request_units),
            limit(t.max_write_request_units),
        )
    })?;
    (limits != (None, None)).then_some(limits)
}

/// Reads warm throughput of a table or an index; no less than it has without being asked.
pub fn warm(
    given: Option<&api::WarmThroughput>,
    provisioned: Option<&Capacity>,
    of: &str,
) -> Result<Option<(i64, i64)>, Fault> {
    let Some(given) = given else {
        return Ok(None);
    };
    let (least_read, least_write) = crate::table::default_warm(provisioned);
    let read = given.read_units_per_second.unwrap_or(least_read);
    let write = given.write_units_per_second.unwrap_or(least_write);
    let what = match provisioned {
        Some(_) => "provisioned throughput",
        None => "initial throughput for OnDemand",
    };
    for (units, least, name) in [
        (read, least_read, "ReadUnitsPerSecond"),
        (write, least_write, "WriteUnitsPerSecond"),
    ] {
        if units < least {
            return Err(invalid_parameter(&format!(
                "Requested {name} for WarmThroughput for {of} is lower than {what}"
            )));
        }
    }
    Ok(Some((read, write)))
}

/// A table's billing, read from a request: its capacity, or none on demand.
pub fn billing(
    mode: Option<&str>,
    given: Option<&api::ProvisionedThroughput>,
) -> Result<Option<Capacity>, Fault> {
    match (mode.unwrap_or("PROVISIONED"), given) {
        ("PAY_PER_REQUEST", None) => Ok(None),
        ("PAY_PER_REQUEST", Some(_)) => Err(invalid_parameter(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        )),
        (_, Some(given)) => Ok(Some(capacity(given)?)),
        (_, None) => Err(invalid_parameter(
            "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED",
        )),
    }
}

/// Reads a local index.
pub fn local_index(
    given: &api::LocalSecondaryIndex,
    table: &Keys,
    definitions: &Definitions,
) -> Result<Index, Fault> {
    let name = &given.index_name;
    check_name("IndexName", name)?;
    if table.range.is_empty() {
        return Err(invalid_parameter(
            "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex",
        ));
    }
    if given.key_schema.len() > 2 {
        return Err(too_long(
            &given.key_schema,
            "localSecondaryIndexes.1.member.keySchema",
        ));
    }
    simple_form(&given.key_schema)?;
    let keys = keys(&given.key_schema, definitions)?;
    let leading = keys.hash.first().map(|part| part.name.as_str());
    let own = table.hash.first().map(|part| part.name.as_str());
    if leading != own {
        return Err(invalid_parameter(&format!(
            "Index KeySchema does not have the same leading hash key as table KeySchema for index: {name}. index hash key: {}, table hash key: {}",
            leading.unwrap_or_default(),
            own.unwrap_or_default()
        )));
    }
    if keys.range.is_empty() {
        return Err(invalid_parameter(&format!(
            "Index KeySchema does not have a range key for index: {name}"
        )));
    }
    Ok(Index {
        number: 0,
        name: name.clone(),
        is_local: true,
        keys,
        projected: projected(name, &given.projection)?,
        provisioned: None,
        on_demand: None,
        warm: None,
        is_backfilling: false,
    })
}

/// Reads a global index.
pub fn global_index(
    given: &api::GlobalSecondaryIndex,
    is_provisioned: bool,
    definitions: &Definitions,
) -> Result<Index, Fault> {
    let name = &given.index_name;
    check_name("IndexName", name)?;
    let keys = global_keys(&given.key_schema, definitions)?;
    let provisioned = match (&given.provisioned_throughput, is_provisioned) {
        (Some(throughput), true) => Some(capacity(throughput)?),
        (None, false) => None,
        (None, true) => {
            return Err(invalid_parameter(&format!(
                "ProvisionedThroughput must be specified for index: {name}"
            )));
        }
        (Some(_), false) => {
            return Err(invalid_parameter(&format!(
                "ProvisionedThroughput should not be specified for index: {name} when BillingMode is PAY_PER_REQUEST"
            )));
        }
    };
    Ok(Index {
        number: 0,
        name: name.clone(),
        is_local: false,
        keys,
        projected: projected(name, &given.projection)?,
        warm: warm(
            given.warm_throughput.as_ref(),
            provisioned.as_ref(),
            &format!("index {name}"),
        )?,
        provisioned,
        on_demand: on_demand(given.on_demand_throughput.as_ref()),
        is_backfilling: false,
    })
}

/// Reads all indexes of a new table, and numbers them.
pub fn indexes(
    local: Option<&[api::LocalSecondaryIndex]>,
    global: Option<&[api::GlobalSecondaryIndex]>,
    is_provisioned: bool,
    table: &Keys,
    definitions: &Definitions,
) -> Result<Vec<Index>, Fault> {
    if local.is_some_and(<[_]>::is_empty) {
        return Err(invalid_parameter("List of LocalSecondaryIndexes is empty"));
    }
    if global.is_some_and(<[_]>::is_empty) {
        return Err(invalid_parameter("List of GlobalSecondaryIndexes is empty"));
    }
    if local.is_some_and(|list| list.len() > MAX_LOCAL) {
        return Err(invalid_parameter(
            "Number of LocalSecondaryIndexes exceeds per-table limit of 5",
        ));
    }
    if global.is_some_and(|list| list.len() > MAX_GLOBAL) {
        return Err(invalid_parameter(
            "GlobalSecondaryIndex count exceeds the per-table limit of 20",
        ));
    }
    let mut all: Vec<Index> = Vec::new();
    let local = local.into_iter().flatten();
    let global = global.into_iter().flatten();
    let read = local
        .map(|given| local_index(given, table, definitions))
        .chain(global.map(|given| global_index(given, is_provisioned, definitions)));
    for index in read {
        let mut index = index?;
        if all.iter().any(|other| other.name == index.name) {
            return Err(invalid_parameter(&format!(
                "Duplicate index name: {}",
                index.name
            )));
        }
        index.number = all.len() as u8 + 1;
        all.push(index);
    }
    let names: usize = all
        .iter()
        .map(|index| match &index.projected {
            Projected::Include(names) => names.len(),
            _ => 0,
        })
        .sum();
    if names > MAX_PROJECTED {
        return Err(invalid_parameter(
            "Number of attributes in NonKeyAttributes exceeds the limit of 100 across all indexes",
        ));
    }
    Ok(all)
}
