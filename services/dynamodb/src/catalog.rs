//! The tables by name. Their records are kept decoded, for every request begins with one.

use std::collections::HashMap;
use std::sync::Arc;

use cloud::Context;
use parking_lot::RwLock;
use store::{Read, Store, Table};
use wire::Fault;

use crate::api;
use crate::errors::resource_not_found_exception;
use crate::fault::{access_denied, validation};
use crate::table::TableRecord;

/// A record and its name, as account, region and name.
type Records = Table<(String, String, String), TableRecord>;

/// Records and what is kept of them in memory.
pub struct Catalog {
    store: Store,
    /// By account, region and name.
    pub records: Records,
    cached: RwLock<Cached>,
}

#[derive(Default)]
struct Cached {
    slots: HashMap<String, Slot>,
    /// Raised whenever what was read before may be old.
    generation: u64,
}

enum Slot {
    Ready(Arc<TableRecord>),
    /// So many transactions are changing it: nobody may keep what the store shows meanwhile.
    Changing(usize),
}

/// While it lives, a table's record is read from the store by everybody.
pub struct Changing<'c> {
    catalog: &'c Catalog,
    slot: String,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut cached = self.catalog.cached.write();
        cached.generation += 1;
        if let Some(Slot::Changing(count)) = cached.slots.get_mut(&self.slot) {
            *count -= 1;
            if *count == 0 {
                cached.slots.remove(&self.slot);
            }
        }
    }
}

impl Catalog {
    /// Over a store.
    pub fn new(store: &Store) -> Catalog {
        Catalog {
            store: store.clone(),
            records: store.table("dynamodb.tables"),
            cached: RwLock::default(),
        }
    }

    /// Forgets what is kept in memory.
    pub fn forget(&self) {
        let mut cached = self.cached.write();
        cached.generation += 1;
        cached
            .slots
            .retain(|_, slot| matches!(slot, Slot::Changing(_)));
    }

    /// Announces a change of a table's record; to be held until its transaction is over.
    pub fn changing(&self, account: &str, region: &str, name: &str) -> Changing<'_> {
        let slot = slot(account, region, name);
        let mut cached = self.cached.write();
        cached.generation += 1;
        let count = match cached.slots.get(&slot) {
            Some(Slot::Changing(count)) => count + 1,
            _ => 1,
        };
        cached.slots.insert(slot.clone(), Slot::Changing(count));
        Changing {
            catalog: self,
            slot,
        }
    }

    /// The record of that name.
    pub fn find(
        &self,
        reader: &impl Read,
        account: &str,
        region: &str,
        name: &str,
    ) -> Result<Option<Arc<TableRecord>>, Fault> {
        let slot = slot(account, region, name);
        let generation = {
            let cached = self.cached.read();
            if let Some(Slot::Ready(record)) = cached.slots.get(&slot) {
                return Ok(Some(record.clone()));
            }
            cached.generation
        };
        let Some(record) = Read::get(reader, &self.records, &(account, region, name))? else {
            return Ok(None);
        };
        let record = Arc::new(record);
        let mut cached = self.cached.write();
        if cached.generation == generation && !cached.slots.contains_key(&slot) {
            cached.slots.insert(slot, Slot::Ready(record.clone()));
        }
        Ok(Some(record))
    }

    /// The table that a request names, by name or ARN.
    pub fn table(&self, ctx: &Context, name: &str) -> Result<Arc<TableRecord>, Fault> {
        let place = Place::of(ctx, name)?;
        self.find(
            &self.store.read(),
            &place.account,
            &place.region,
            &place.name,
        )?
        .ok_or_else(|| resource_not_found_exception("Requested resource not found"))
    }

    /// [`Catalog::table`] for operations about tables, whose error names the table.
    pub fn described(&self, ctx: &Context, name: &str) -> Result<Arc<TableRecord>, Fault> {
        let place = Place::of(ctx, name)?;
        self.find(
            &self.store.read(),
            &place.account,
            &place.region,
            &place.name,
        )?
        .ok_or_else(|| no_table(&place.name))
    }

    /// The record as a transaction sees it; `None` if it is no longer that table as it was.
    pub fn is_current(&self, reader: &impl Read, table: &TableRecord) -> Result<bool, Fault> {
        let now = self.find(reader, &table.account, &table.region, &table.name)?;
        Ok(now.is_some_and(|now| now.uid == table.uid && now.revision == table.revision))
    }
}

fn slot(account: &str, region: &str, name: &str) -> String {
    let mut slot = String::with_capacity(account.len() + region.len() + name.len() + 2);
    for part in [account, "/", region, "/", name] {
        slot.push_str(part);
    }
    slot
}

/// The error of a table that is not there.
pub fn no_table(name: &str) -> Fault {
    resource_not_found_exception(format!(
        "Requested resource not found: Table: {name} not found"
    ))
}

/// Where a table is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The name.
    pub name: String,
}

impl Place {
    /// From a name or an ARN.
    pub fn of(ctx: &Context, name: &str) -> Result<Place, Fault> {
        if !name.starts_with("arn:") {
            check_name("TableName", name)?;
            return Ok(Place {
                account: ctx.account.clone(),
                region: ctx.region.clone(),
                name: name.to_owned(),
            });
        }
        let arn: Option<cloud::Arn> = name.parse().ok();
        let table = arn.as_ref().and_then(|arn| {
            let name = arn.resource.strip_prefix("table/")?;
            (arn.service == "dynamodb" && !name.contains('/')).then(|| name.to_owned())
        });
        match (arn, table) {
            (Some(arn), Some(table)) if arn.account == ctx.account => {
                check_name("TableName", &table)?;
                Ok(Place {
                    account: arn.account,
                    region: arn.region,
                    name: table,
                })
            }
            (Some(_), Some(_)) => Err(access_denied(format!(
                "User: {} is not authorized to access this resource: {name}",
                ctx.principal.arn
            ))),
            _ => Err(validation(
                "Invalid table/index name.  Table/index names must be between 3 and 255 characters long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'",
            )),
        }
    }
}

/// Checks the form of a table's or an index's name.
pub fn check_name(what: &str, name: &str) -> Result<(), Fault> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if !(3..=255).contains(&name.len()) {
        return Err(validation(format!(
            "{what} must be at least 3 characters long and at most 255 characters long"
        )));
    }
    if !name.bytes().all(is_allowed) {
        let at = match what {
            "IndexName" => "indexName",
            _ => "tableName",
        };
        return Err(validation(format!(
            "1 validation error detected: Value '{name}' at '{at}' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        )));
    }
    Ok(())
}

/// The fields of a tag that the API knows.
pub fn tags(tags: &[api::Tag]) -> Result<std::collections::BTreeMap<String, String>, Fault> {
    let mut found = std::collections::BTreeMap::new();
    for tag in tags {
        if tag.key.starts_with("aws:") {
            return Err(validation(
                "One or more parameter values were invalid: Tag keys cannot begin with aws:",
            ));
        }
        let is_allowed =
            |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
        if !tag.key.chars().chain(tag.value.chars()).all(is_allowed) {
            return Err(validation(format!(
                "One or more parameter values were invalid: Tag contains characters that are not allowed: {}={}",
                tag.key, tag.value
            )));
        }
        if found.insert(tag.key.clone(), tag.value.clone()).is_some() {
            return Err(validation(format!(
                "One or more parameter values were invalid: Tag list contains duplicate keys: {}",
                tag.key
            )));
        }
    }
    if found.len() > 50 {
        return Err(validation(
            "One or more parameter values were invalid: Too many tags: the limit is 50",
        ));
    }
    Ok(found)
}
