//! The operations, each calling down to its noun.

use std::sync::Arc;

use cloud::{Cloud, Context, Service};
use store::Table;
use wire::Fault;

use crate::api;
use crate::database::Database;
use crate::table::Row;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let store = &cloud.store;
    let glue = Arc::new(Glue {
        cloud: cloud.clone(),
        databases: store.table("glue.databases"),
        tables: store.table("glue.tables"),
        versions: store.table("glue.versions"),
    });
    cloud.ports.set_catalogs(glue.clone());
    Service::new(api::Api(glue))
}

/// The service's state.
pub(crate) struct Glue {
    pub(crate) cloud: Cloud,
    /// By account, region and name.
    pub(crate) databases: Table<(String, String, String), Database>,
    /// The newest version of each table, by account, region, and the database's and the table's names.
    pub(crate) tables: Table<(String, String, String, String), Row>,
    /// The versions before, by their numbers too.
    pub(crate) versions: Table<(String, String, String, String, u64), Row>,
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Glue for Glue {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Glue::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    create_database: CreateDatabaseInput => CreateDatabaseOutput,
    get_database: GetDatabaseInput => GetDatabaseOutput,
    get_databases: GetDatabasesInput => GetDatabasesOutput,
    update_database: UpdateDatabaseInput => UpdateDatabaseOutput,
    delete_database: DeleteDatabaseInput => DeleteDatabaseOutput,
    create_table: CreateTableInput => CreateTableOutput,
    get_table: GetTableInput => GetTableOutput,
    get_tables: GetTablesInput => GetTablesOutput,
    update_table: UpdateTableInput => UpdateTableOutput,
    delete_table: DeleteTableInput => DeleteTableOutput,
    batch_delete_table: BatchDeleteTableInput => BatchDeleteTableOutput,
    get_table_version: GetTableVersionInput => GetTableVersionOutput,
    get_table_versions: GetTableVersionsInput => GetTableVersionsOutput,
    delete_table_version: DeleteTableVersionInput => DeleteTableVersionOutput,
    batch_delete_table_version: BatchDeleteTableVersionInput => BatchDeleteTableVersionOutput,
    get_partition_indexes: GetPartitionIndexesInput => GetPartitionIndexesOutput,
    tag_resource: TagResourceInput => TagResourceOutput,
    untag_resource: UntagResourceInput => UntagResourceOutput,
    get_tags: GetTagsInput => GetTagsOutput,
}
