//! Tables: what data somewhere else looks like.

use cloud::Context;
use regex::Regex;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp, json};

use crate::api::*;
use crate::catalog::Place;
use crate::errors::*;
use crate::page;
use crate::service::Glue;

/// A version of a table as it is stored: all that was said of it as the API writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) version: u64,
    created: i64,
    updated: i64,
    /// The ARN of who made it.
    creator: String,
    pub(crate) input: String,
    /// Names of partition indexes and the keys of each.
    indexes: Vec<(String, Vec<String>)>,
}
impl Record for Row {}

/// The most versions of a table.
const MOST_VERSIONS: u64 = 100_000;

/// What is stored of an input, with what AWS fills in.
fn kept(mut input: TableInput) -> String {
    input.name = input.name.to_lowercase();
    input.retention.get_or_insert(0);
    if let Some(descriptor) = &mut input.storage_descriptor {
        descriptor.columns.get_or_insert_default();
        descriptor.compressed.get_or_insert(false);
        descriptor.number_of_buckets.get_or_insert(0);
        descriptor.sort_columns.get_or_insert_default();
        descriptor.stored_as_sub_directories.get_or_insert(false);
    }
    json::kept(&input)
}

impl Row {
    pub(crate) fn describe(&self, place: &Place) -> Result<Table, Fault> {
        let input: TableInput = json::restored(&self.input)?;
        Ok(Table {
            name: input.name,
            database_name: Some(place.database.clone()),
            description: input.description,
            owner: input.owner,
            create_time: Some(Timestamp(self.created)),
            update_time: Some(Timestamp(self.updated)),
            last_access_time: input.last_access_time,
            last_analyzed_time: input.last_analyzed_time,
            retention: input.retention,
            storage_descriptor: input.storage_descriptor,
            partition_keys: input.partition_keys,
            view_original_text: input.view_original_text,
            view_expanded_text: input.view_expanded_text,
            table_type: input.table_type,
            parameters: input.parameters,
            created_by: Some(self.creator.clone()),
            is_registered_with_lake_formation: Some(false),
            target_table: input.target_table,
            catalog_id: Some(place.account.clone()),
            version_id: Some(self.version.to_string()),
            federated_table: input.federated_table,
            is_multi_dialect_view: Some(false),
            ..Table::default()
        })
    }
}

/// Refuses what would need a service that is not here.
fn absent(what: &str) -> Fault {
    Fault::receiver(
        501,
        "NotImplemented",
        format!("glue: {what} is not available here"),
    )
}

/// The input of a table, which must be given.
fn given(input: Option<TableInput>) -> Result<TableInput, Fault> {
    let input = input.ok_or_else(|| invalid_input_exception("TableInput must be given."))?;
    if input.view_definition.is_some() {
        return Err(absent("a view's ViewDefinition"));
    }
    Ok(input)
}

impl Glue {
    /// The newest version of a table, if there is one, in a database that must exist.
    fn find(&self, reader: &impl Read, place: &Place, table: &str) -> Result<Option<Row>, Fault> {
        let found = Read::get(reader, &self.tables, &place.table(table))?;
        if found.is_none() {
            self.database(reader, place)?;
        }
        Ok(found)
    }

    /// The newest version of a table, which must exist.
    pub(crate) fn row(&self, reader: &impl Read, place: &Place, table: &str) -> Result<Row, Fault> {
        let found = self.find(reader, place, table)?;
        found.ok_or_else(|| entity_not_found_exception("Entity Not Found"))
    }

    /// As [`Glue::row`], of a table that is to be changed: its absence is told in other words.
    fn row_to_change(&self, tx: &Tx<'_>, place: &Place, table: &str) -> Result<Row, Fault> {
        let found = self.find(tx, place, table)?;
        found.ok_or_else(|| entity_not_found_exception(format!("Table {table} not found.")))
    }

    /// Forgets a table and its versions.
    pub(crate) fn remove_table(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        table: &str,
    ) -> Result<(), Fault> {
        let mut numbers = Vec::new();
        {
            let mut rows = tx.range(&self.versions, Range::prefix(&place.table(table)));
            while let Some((.., number)) = rows.next_key()? {
                numbers.push(number);
            }
        }
        let (account, region, database, name) = place.table(table);
        for number in numbers {
            tx.delete(&self.versions, &(account, region, database, name, number));
        }
        tx.delete(&self.tables, &place.table(table));
        Ok(())
    }

    pub(crate) async fn create_table(
        &self,
        ctx: &Context,
        input: CreateTableInput,
    ) -> Result<CreateTableOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        if input.open_table_format_input.is_some() {
            return Err(absent("an OpenTableFormatInput"));
        }
        let table = given(input.table_input)?;
        let name = table.name.to_lowercase();
        let keys = table.partition_keys.as_deref().unwrap_or_default();
        let indexes = input.partition_indexes.unwrap_or_default();
        for index in &indexes {
            let is_known = |key: &String| keys.iter().any(|column| column.name == *key);
            if let Some(key) = index.keys.iter().find(|key| !is_known(key)) {
                return Err(invalid_input_exception(format!(
                    "Partition index key {key} is not a partition key of the table."
                )));
            }
        }
        let row = Row {
            version: 0,
            created: ctx.time.whole_second().0,
            updated: ctx.time.whole_second().0,
            creator: ctx.principal.arn.clone(),
            input: kept(table),
            indexes: indexes
                .into_iter()
                .map(|index| (index.index_name, index.keys))
                .collect(),
        };
        let scope = place.scope();
        let create = self.cloud.store.transact(Scope::new(&scope), |tx| {
            self.database(tx, &place)?;
            if tx.contains(&self.tables, &place.table(&name))? {
                return Err(already_exists_exception("Table already exists."));
            }
            Ok(tx.put(&self.tables, &place.table(&name), &row)?)
        });
        create.await?;
        Ok(CreateTableOutput {})
    }

    pub(crate) async fn get_table(
        &self,
        ctx: &Context,
        input: GetTableInput,
    ) -> Result<GetTableOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        let view = self.cloud.store.read();
        let row = self.row(&view, &place, &input.name.to_lowercase())?;
        Ok(GetTableOutput {
            table: Some(row.describe(&place)?),
        })
    }

    pub(crate) async fn get_tables(
        &self,
        ctx: &Context,
        input: GetTablesInput,
    ) -> Result<GetTablesOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        let pattern = input.expression.as_deref().filter(|e| !e.is_empty());
        // Hive's patterns: a regular expression, or a name in which stars stand for anything.
        let patterns =
            pattern.map(|text| [text.to_owned(), text.replace(".*", "*").replace('*', ".*")]);
        let patterns = patterns.iter().flatten().map(|text| {
            let regex = Regex::new(&format!("^(?:{text})$"));
            regex.map_err(|_| invalid_input_exception("Invalid expression."))
        });
        let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
        let mut range = Range::prefix(&place.key());
        if let Some(after) = page::start("GetTables", input.next_token.as_deref())? {
            range = range.after(&place.table(&after));
        }
        let size = page::size(input.max_results);
        let view = self.cloud.store.read();
        self.database(&view, &place)?;
        let (mut shown, mut last, mut next_token) = (Vec::new(), String::new(), None);
        for found in view.range(&self.tables, range) {
            let ((.., name), row) = found?;
            if !patterns.is_empty() && !patterns.iter().any(|p| p.is_match(&name)) {
                continue;
            }
            if shown.len() == size {
                next_token = Some(cloud::paging::token("GetTables", &[&last]));
                break;
            }
            shown.push(row.describe(&place)?);
            last = name;
        }
        Ok(GetTablesOutput {
            table_list: Some(shown),
            next_token,
        })
    }

    pub(crate) async fn update_table(
        &self,
        ctx: &Context,
        input: UpdateTableInput,
    ) -> Result<UpdateTableOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        if input.update_open_table_format_input.is_some() {
            return Err(absent("an UpdateOpenTableFormatInput"));
        }
        let table = given(input.table_input)?;
        let name = table.name.to_lowercase();
        let text = kept(table);
        let scope = place.scope();
        let update = self.cloud.store.transact(Scope::new(&scope), |tx| {
            let old = self.row_to_change(tx, &place, &name)?;
            let current = old.version.to_string();
            if input.version_id.as_ref().is_some_and(|v| *v != current) {
                return Err(concurrent_modification_exception(
                    "Update table failed due to concurrent modifications.",
                ));
            }
            if old.version + 1 >= MOST_VERSIONS {
                return Err(resource_number_limit_exceeded_exception(
                    "Number of table versions limit exceeded.",
                ));
            }
            if input.skip_archive != Some(true) {
                let (account, region, database, name) = place.table(&name);
                let key = (account, region, database, name, old.version);
                tx.put(&self.versions, &key, &old)?;
            }
            let new = Row {
                version: old.version + 1,
                updated: ctx.time.whole_second().0,
                input: text,
                ..old
            };
            Ok(tx.put(&self.tables, &place.table(&name), &new)?)
        });
        update.await?;
        Ok(UpdateTableOutput {})
    }

    /// Deletes one table, which must exist.
    async fn delete(&self, place: &Place, table: &str) -> Result<(), Fault> {
        let name = table.to_lowercase();
        let scope = place.scope();
        let delete = self.cloud.store.transact(Scope::new(&scope), |tx| {
            self.row_to_change(tx, place, &name)?;
            self.remove_table(tx, place, &name)
        });
        delete.await
    }

    pub(crate) async fn delete_table(
        &self,
        ctx: &Context,
        input: DeleteTableInput,
    ) -> Result<DeleteTableOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        self.delete(&place, &input.name).await?;
        Ok(DeleteTableOutput {})
    }

    pub(crate) async fn batch_delete_table(
        &self,
        ctx: &Context,
        input: BatchDeleteTableInput,
    ) -> Result<BatchDeleteTableOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        self.database(&self.cloud.store, &place)?;
        let mut errors = Vec::new();
        for name in input.tables_to_delete {
            if let Err(fault) = self.delete(&place, &name).await {
                errors.push(TableError {
                    table_name: Some(name),
                    error_detail: Some(detail(&fault)),
                });
            }
        }
        Ok(BatchDeleteTableOutput {
            errors: Some(errors),
        })
    }

    pub(crate) async fn get_partition_indexes(
        &self,
        ctx: &Context,
        input: GetPartitionIndexesInput,
    ) -> Result<GetPartitionIndexesOutput, Fault> {
        let place = Place::of(ctx, input.catalog_id.as_deref(), &input.database_name)?;
        let view = self.cloud.store.read();
        let row = self.row(&view, &place, &input.table_name.to_lowercase())?;
        let table: TableInput = json::restored(&row.input)?;
        let columns = table.partition_keys.unwrap_or_default();
        let element = |key: String| {
            let column = columns.iter().find(|column| column.name == key);
            KeySchemaElement {
                r#type: column.and_then(|c| c.r#type.clone()).unwrap_or_default(),
                name: key,
            }
        };
        let shown = row
            .indexes
            .into_iter()
            .map(|(name, keys)| PartitionIndexDescriptor {
                index_name: name,
                keys: keys.into_iter().map(element).collect(),
                index_status: partition_index_status::ACTIVE.into(),
                backfill_errors: None,
            });
        Ok(GetPartitionIndexesOutput {
            partition_index_descriptor_list: Some(shown.collect()),
            next_token: None,
        })
    }
}

/// What a batch says of something that failed.
pub(crate) fn detail(fault: &Fault) -> ErrorDetail {
    ErrorDetail {
        error_code: Some(fault.code.to_string()),
        error_message: Some(fault.message.to_string()),
    }
}
