//! Versions of tables: what they were before they were updated.

use cloud::Context;
use store::{Range, Read, Scope};
use wire::Fault;

use crate::api::*;
use crate::catalog::Place;
use crate::errors::*;
use crate::page;
use crate::service::Glue;
use crate::table::{Row, detail};

fn missing(version: &str) -> Fault {
    entity_not_found_exception(format!("Version {version} not found."))
}

impl Glue {
    /// A version of a table; the newest where none is named, or `LATEST` is.
    pub(crate) fn row_of(
        &self,
        reader: &impl Read,
        place: &Place,
        table: &str,
        version: Option<&str>,
    ) -> Result<Row, Fault> {
        let newest = self.row(reader, place, table)?;
        let Some(version) = version.filter(|v| *v != "LATEST") else {
            return Ok(newest);
        };
        let number: u64 = version.parse().map_err(|_| {
            invalid_input_exception(format!("{version} is not a valid version id."))
        })?;
        if number == newest.version {
            return Ok(newest);
        }
        let (account, region, database, name) = place.table(table);
        let key = (account, region, database, name, number);
        Read::get(reader, &self.versions, &key)?.ok_or_else(|| missing(version))
    }

    pub(crate) async fn get_table_version(
        &self,
        ctx: &Context,
        input: GetTableVersionInput,
    ) -> Result<GetTableVersionOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        let view = self.cloud.store.read();
        let name = input.table_name.to_lowercase();
        let row = self.row_of(&view, &place, &name, input.version_id.as_deref())?;
        Ok(GetTableVersionOutput {
            table_version: Some(shown(&row, &place)?),
        })
    }

    pub(crate) async fn get_table_versions(
        &self,
        ctx: &Context,
        input: GetTableVersionsInput,
    ) -> Result<GetTableVersionsOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        let table = input.table_name.to_lowercase();
        let after = page::start("GetTableVersions", input.next_token.as_deref())?;
        let after = after.and_then(|text| text.parse::<u64>().ok());
        let size = page::size(input.max_results);
        let view = self.cloud.store.read();
        let newest = self.row(&view, &place, &table)?;
        let own = place.table(&table);
        // Newest first.
        let mut range = Range::prefix(&own).reverse();
        if let Some(number) = after {
            range = range.after(&(own.0, own.1, own.2, own.3, number));
        }
        let mut rows = Vec::new();
        if after.is_none() {
            rows.push(newest);
        }
        for row in view.range(&self.versions, range.limit(size + 1)) {
            rows.push(row?.1);
        }
        let (rows, next_token) = page::cut("GetTableVersions", rows, size, |row| {
            row.version.to_string()
        });
        let versions = rows.iter().map(|row| shown(row, &place));
        Ok(GetTableVersionsOutput {
            table_versions: Some(versions.collect::<Result<_, _>>()?),
            next_token,
        })
    }

    async fn remove_version(&self, place: &Place, table: &str, version: &str) -> Result<(), Fault> {
        let table = table.to_lowercase();
        let scope = place.scope();
        let remove = self.cloud.store.transact(Scope::new(&scope), |tx| {
            let row = self.row_of(tx, place, &table, Some(version))?;
            if row.version == self.row(tx, place, &table)?.version {
                return Err(invalid_input_exception(
                    "Cannot delete the latest version of the table.",
                ));
            }
            let (account, region, database, name) = place.table(&table);
            tx.delete(
                &self.versions,
                &(account, region, database, name, row.version),
            );
            Ok(())
        });
        remove.await
    }

    pub(crate) async fn delete_table_version(
        &self,
        ctx: &Context,
        input: DeleteTableVersionInput,
    ) -> Result<DeleteTableVersionOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        self.remove_version(&place, &input.table_name, &input.version_id)
            .await?;
        Ok(DeleteTableVersionOutput {})
    }

    pub(crate) async fn batch_delete_table_version(
        &self,
        ctx: &Context,
        input: BatchDeleteTableVersionInput,
    ) -> Result<BatchDeleteTableVersionOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        let mut errors = Vec::new();
        for version in input.version_ids {
            let removed = self.remove_version(&place, &input.table_name, &version);
            if let Err(fault) = removed.await {
                errors.push(TableVersionError {
                    table_name: Some(input.table_name.clone()),
                    version_id: Some(version),
                    error_detail: Some(detail(&fault)),
                });
            }
        }
        Ok(BatchDeleteTableVersionOutput {
            errors: Some(errors),
        })
    }
}

fn shown(row: &Row, place: &Place) -> Result<TableVersion, Fault> {
    Ok(TableVersion {
        table: Some(row.describe(place)?),
        version_id: Some(row.version.to_string()),
    })
}
