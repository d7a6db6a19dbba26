//! The catalog of an account in a region, and names within it.

use cloud::ports::{CatalogColumn, Catalogs};
use cloud::{Arn, Context};
use wire::{Fault, json};

use crate::api::TableInput;
use crate::errors::*;
use crate::service::Glue;

/// A database of a catalog. Names are kept in lower case, as Hive has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) database: String,
}

/// The account whose catalog is meant; that of another is closed.
pub(crate) fn account(ctx: &Context, catalog: Option<&str>) -> Result<String, Fault> {
    match catalog {
        Some(id) if id != ctx.account => Err(invalid_input_exception(format!(
            "Cross account access is not available here: catalog {id}."
        ))),
        _ => Ok(ctx.account.clone()),
    }
}

impl Place {
    pub(crate) fn of(ctx: &Context, catalog: Option<&str>, database: &str) -> Result<Place, Fault> {
        Ok(Place {
            account: account(ctx, catalog)?,
            region: ctx.region.clone(),
            database: database.to_lowercase(),
        })
    }
    pub(crate) fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.database)
    }
    /// What changes of a database and of its tables lock.
    pub(crate) fn scope(&self) -> [&str; 4] {
        ["glue", &self.account, &self.region, &self.database]
    }
    pub(crate) fn table<'a>(&'a self, table: &'a str) -> (&'a str, &'a str, &'a str, &'a str) {
        (&self.account, &self.region, &self.database, table)
    }
    pub(crate) fn missing(&self) -> Fault {
        entity_not_found_exception(format!("Database {} not found.", self.database))
    }
    /// The database of that ARN.
    pub(crate) fn of_arn(text: &str) -> Result<Place, Fault> {
        let arn = text.parse::<Arn>().ok().filter(|a| a.service == "glue");
        let found = arn.as_ref().and_then(|arn| {
            let database = arn.resource.strip_prefix("database/")?;
            Some(Place {
                account: arn.account.clone(),
                region: arn.region.clone(),
                database: database.to_owned(),
            })
        });
        found.ok_or_else(|| invalid_input_exception(format!("Unsupported resource ARN {text}.")))
    }
}

impl Catalogs for Glue {
    fn columns(
        &self,
        account: &str,
        region: &str,
        database: &str,
        table: &str,
        version: Option<&str>,
    ) -> Result<Vec<CatalogColumn>, Fault> {
        let place = Place {
            account: account.to_owned(),
            region: region.to_owned(),
            database: database.to_lowercase(),
        };
        let view = self.cloud.store.read();
        let row = self.row_of(&view, &place, &table.to_lowercase(), version)?;
        let input: TableInput = json::restored(&row.input)?;
        let columns = input.storage_descriptor.and_then(|s| s.columns);
        let columns = columns.unwrap_or_default().into_iter();
        Ok(columns
            .map(|column| CatalogColumn {
                name: column.name,
                kind: column.r#type.unwrap_or_default(),
            })
            .collect())
    }
}
