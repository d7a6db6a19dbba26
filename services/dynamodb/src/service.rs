//! The operations, each calling down to its noun.

use std::sync::Arc;

use cloud::{Cloud, Context, Service};
use store::{Log, Table};
use wire::Fault;

use crate::api::{self, *};
use crate::catalog::Catalog;
use crate::item::Stored;
use crate::key::Row;
use crate::stream::{Entry, Wakers};
use crate::table::Tallies;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let dynamo = Arc::new(Dynamo {
        catalog: Catalog::new(&cloud.store),
        items: cloud.store.table("dynamodb.items"),
        tallies: cloud.store.table("dynamodb.tallies"),
        entries: cloud.store.log("dynamodb.entries"),
        wakers: Wakers::default(),
        cloud: cloud.clone(),
    });
    let forgetful = dynamo.clone();
    cloud.after_reset(move || forgetful.catalog.forget());
    Service::new(api::Api(dynamo))
}

/// The service's state.
pub struct Dynamo {
    /// What every service is given.
    pub cloud: Cloud,
    /// The tables.
    pub catalog: Catalog,
    /// Items, and their entries in indexes.
    pub items: Table<Row, Stored>,
    /// Counts and sizes, by account, table and shard.
    pub tallies: Table<(String, u64, u8), Tallies>,
    /// Streams' records, by account and stream.
    pub entries: Log<(String, u64), Entry>,
    /// Who waits for records.
    pub wakers: Wakers,
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::DynamoDb for Dynamo {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Dynamo::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    create_table: CreateTableInput => CreateTableOutput,
    delete_item: DeleteItemInput => DeleteItemOutput,
    delete_table: DeleteTableInput => DeleteTableOutput,
    describe_table: DescribeTableInput => DescribeTableOutput,
    get_item: GetItemInput => GetItemOutput,
    list_tables: ListTablesInput => ListTablesOutput,
    query: QueryInput => QueryOutput,
    scan: ScanInput => ScanOutput,
    put_item: PutItemInput => PutItemOutput,
    update_item: UpdateItemInput => UpdateItemOutput,
}
