//! The operations, each calling down to its noun.

use std::sync::Arc;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};

use cloud::{Cloud, Context, Manners, Service};
use parking_lot::Mutex;
use store::{Log, Table};
use wire::Fault;

use crate::api;
use crate::backup::{BACKUP, Backup};
use crate::bulk::{BULK, Bulk};
use crate::catalog::Catalog;
use crate::create::SWEEP;
use crate::distance::Vector;
use crate::export::{EXPORT, Export};
use crate::fill::FILL;
use crate::global_table::GlobalTableRecord;
use crate::import::{IMPORT, Import};
use crate::item::Stored;
use crate::key::Row;
use crate::policy::Policy;
use crate::recovery::{Former, HISTORY};
use crate::replica::{REPLICATE, Stamp};
use crate::stream::{Entry, Stream, TRIM, Wakers};
use crate::table::Tallies;
use crate::throttle::Throttle;
use crate::token::{TOKENS, Token};
use crate::ttl::{EXPIRE, End};

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let store = &cloud.store;
    let dynamo = Arc::new(Dynamo {
        catalog: Catalog::new(store),
        items: store.table("dynamodb.items"),
        tallies: store.table("dynamodb.tallies"),
        ends: store.table("dynamodb.ends"),
        planned_ends: Mutex::default(),
        streams: store.table("dynamodb.streams"),
        entries: store.log("dynamodb.entries"),
        wakers: Wakers::default(),
        tokens: store.table("dynamodb.tokens"),
        tokens_swept: AtomicI64::new(0),
        policies: store.table("dynamodb.policies"),
        backups: store.table("dynamodb.backups"),
        formers: store.table("dynamodb.formers"),
        exports: store.table("dynamodb.exports"),
        imports: store.table("dynamodb.imports"),
        bulks: store.table("dynamodb.bulk_operations"),
        running_bulks: Mutex::default(),
        stamps: store.table("dynamodb.stamps"),
        vectors: store.table("dynamodb.vectors"),
        global_tables: store.table("dynamodb.global_tables"),
        throttle: (cloud.config.throttles_tables).then(|| Throttle::new(&cloud.clock)),
        cloud: cloud.clone(),
    });
    dynamo.register_jobs();
    dynamo.register_bulks();
    dynamo.register_replication();
    dynamo.register_settings();
    cloud.ports.set_table_streams(dynamo.clone());
    let forgetful = dynamo.clone();
    cloud.after_reset(move || {
        forgetful.catalog.forget();
        forgetful.planned_ends.lock().clear();
        if let Some(throttle) = &forgetful.throttle {
            throttle.forget();
        }
        forgetful.tokens_swept.store(0, Ordering::Relaxed);
        if let Err(fault) = forgetful.begin_bulks(serde_json::Value::Null) {
            tracing::error!(%fault, cause = fault.cause, "bulk operations wait for the next start");
        }
    });
    Service::new(api::Api(dynamo)).with_manners(Manners {
        most_body: Some(16 << 20),
        most_head: Some(16 << 10),
        compresses_from: Some(4096),
        error_namespace: Some("com.amazonaws.dynamodb.v20120810"),
        server: Some("Server"),
    })
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
    /// Items in the order of their ends.
    pub ends: Table<Row, End>,
    /// For when the job of each order of ends is planned, in seconds. Live: what is missing is planned again.
    pub planned_ends: Mutex<HashMap<u64, i64>>,
    /// Streams, by account, region, table and label.
    pub streams: Table<(String, String, String, String), Stream>,
    /// Streams' records, by account and stream.
    pub entries: Log<(String, u64), Entry>,
    /// Who waits for records.
    pub wakers: Wakers,
    /// Tokens of transactions, by account, region and token.
    pub tokens: Table<(String, String, String), Token>,
    /// When their next removal is planned.
    pub tokens_swept: AtomicI64,
    /// Resource policies, by account and ARN.
    pub policies: Table<(String, String), Policy>,
    /// Backups, by account, region, table and id.
    pub backups: Table<(String, String, String, String), Backup>,
    /// What rows held before, by history, time and row.
    pub formers: Table<Row, Former>,
    /// Exports, by account, region, table and id.
    pub exports: Table<(String, String, String, String), Export>,
    /// Imports, by account, region, table and id.
    pub imports: Table<(String, String, String, String), Import>,
    /// Bulk operations, by account, region and id, which orders them by time.
    pub bulks: Table<(String, String, String), Bulk>,
    /// The ids of those that run.
    pub running_bulks: Mutex<HashSet<String>>,
    /// When items of tables with replicas were last written.
    pub stamps: Table<Row, Stamp>,
    /// The vectors of vector indexes, under the rows of their entries.
    pub vectors: Table<Row, Vector>,
    /// Global tables of version 2017.11.29, by account and name.
    pub global_tables: Table<(String, String), GlobalTableRecord>,
    /// What is left of provisioned throughput, where it is enforced.
    pub throttle: Option<Throttle>,
}

impl Dynamo {
    fn register_jobs(self: &Arc<Self>) {
        macro_rules! job {
            ($kind:expr, $this:ident, $job:ident => $run:expr) => {{
                let this = self.clone();
                self.cloud.scheduler.register($kind, move |$job| {
                    let $this = this.clone();
                    Box::pin(async move { $run.await })
                });
            }};
        }
        job!(SWEEP, this, job => this.sweep(job.payload));
        job!(FILL, this, job => this.fill(job.payload));
        job!(EXPIRE, this, job => this.expire(job.payload));
        job!(TRIM, this, job => this.trim(job.payload));
        job!(EXPORT, this, job => this.export(job.payload));
        job!(HISTORY, this, job => this.trim_history(job.payload));
        job!(BACKUP, this, job => this.finish_backup(job.payload));
        job!(BULK, this, job => async move { this.begin_bulks(job.payload) });
        job!(IMPORT, this, job => this.import(job.payload));
        job!(REPLICATE, this, job => this.settle_replica(job.payload));
        job!(TOKENS, this, _job => this.sweep_tokens());
    }
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
    execute_transaction: ExecuteTransactionInput => ExecuteTransactionOutput,
    execute_statement: ExecuteStatementInput => ExecuteStatementOutput,
    batch_execute_statement: BatchExecuteStatementInput => BatchExecuteStatementOutput,
    batch_get_item: BatchGetItemInput => BatchGetItemOutput,
    batch_write_item: BatchWriteItemInput => BatchWriteItemOutput,
    create_backup: CreateBackupInput => CreateBackupOutput,
    create_table: CreateTableInput => CreateTableOutput,
    delete_backup: DeleteBackupInput => DeleteBackupOutput,
    delete_item: DeleteItemInput => DeleteItemOutput,
    delete_resource_policy: DeleteResourcePolicyInput => DeleteResourcePolicyOutput,
    delete_table: DeleteTableInput => DeleteTableOutput,
    describe_backup: DescribeBackupInput => DescribeBackupOutput,
    describe_continuous_backups: DescribeContinuousBackupsInput => DescribeContinuousBackupsOutput,
    describe_contributor_insights: DescribeContributorInsightsInput => DescribeContributorInsightsOutput,
    describe_endpoints: DescribeEndpointsInput => DescribeEndpointsOutput,
    describe_kinesis_streaming_destination: DescribeKinesisStreamingDestinationInput => DescribeKinesisStreamingDestinationOutput,
    describe_limits: DescribeLimitsInput => DescribeLimitsOutput,
    describe_table: DescribeTableInput => DescribeTableOutput,
    describe_time_to_live: DescribeTimeToLiveInput => DescribeTimeToLiveOutput,
    disable_kinesis_streaming_destination: DisableKinesisStreamingDestinationInput => DisableKinesisStreamingDestinationOutput,
    enable_kinesis_streaming_destination: EnableKinesisStreamingDestinationInput => EnableKinesisStreamingDestinationOutput,
    describe_export: DescribeExportInput => DescribeExportOutput,
    export_table_to_point_in_time: ExportTableToPointInTimeInput => ExportTableToPointInTimeOutput,
    list_exports: ListExportsInput => ListExportsOutput,
    import_table: ImportTableInput => ImportTableOutput,
    describe_import: DescribeImportInput => DescribeImportOutput,
    list_imports: ListImportsInput => ListImportsOutput,
    get_item: GetItemInput => GetItemOutput,
    get_resource_policy: GetResourcePolicyInput => GetResourcePolicyOutput,
    list_backups: ListBackupsInput => ListBackupsOutput,
    list_contributor_insights: ListContributorInsightsInput => ListContributorInsightsOutput,
    list_tables: ListTablesInput => ListTablesOutput,
    list_tags_of_resource: ListTagsOfResourceInput => ListTagsOfResourceOutput,
    put_item: PutItemInput => PutItemOutput,
    put_resource_policy: PutResourcePolicyInput => PutResourcePolicyOutput,
    query: QueryInput => QueryOutput,
    restore_table_to_point_in_time: RestoreTableToPointInTimeInput => RestoreTableToPointInTimeOutput,
    restore_table_from_backup: RestoreTableFromBackupInput => RestoreTableFromBackupOutput,
    scan: ScanInput => ScanOutput,
    search_vectors: SearchVectorsInput => SearchVectorsOutput,
    tag_resource: TagResourceInput => TagResourceOutput,
    transact_get_items: TransactGetItemsInput => TransactGetItemsOutput,
    transact_write_items: TransactWriteItemsInput => TransactWriteItemsOutput,
    untag_resource: UntagResourceInput => UntagResourceOutput,
    update_continuous_backups: UpdateContinuousBackupsInput => UpdateContinuousBackupsOutput,
    update_contributor_insights: UpdateContributorInsightsInput => UpdateContributorInsightsOutput,
    update_item: UpdateItemInput => UpdateItemOutput,
    update_kinesis_streaming_destination: UpdateKinesisStreamingDestinationInput => UpdateKinesisStreamingDestinationOutput,
    update_table: UpdateTableInput => UpdateTableOutput,
    update_time_to_live: UpdateTimeToLiveInput => UpdateTimeToLiveOutput,
    create_global_table: CreateGlobalTableInput => CreateGlobalTableOutput,
    describe_global_table: DescribeGlobalTableInput => DescribeGlobalTableOutput,
    describe_global_table_settings: DescribeGlobalTableSettingsInput => DescribeGlobalTableSettingsOutput,
    list_global_tables: ListGlobalTablesInput => ListGlobalTablesOutput,
    update_global_table: UpdateGlobalTableInput => UpdateGlobalTableOutput,
    update_global_table_settings: UpdateGlobalTableSettingsInput => UpdateGlobalTableSettingsOutput,
    describe_table_replica_auto_scaling: DescribeTableReplicaAutoScalingInput => DescribeTableReplicaAutoScalingOutput,
    update_table_replica_auto_scaling: UpdateTableReplicaAutoScalingInput => UpdateTableReplicaAutoScalingOutput,
    start_bulk_put_items: StartBulkPutItemsInput => StartBulkPutItemsOutput,
    describe_bulk_operation: DescribeBulkOperationInput => DescribeBulkOperationOutput,
    list_bulk_operations: ListBulkOperationsInput => ListBulkOperationsOutput,
    cancel_bulk_operation: CancelBulkOperationInput => CancelBulkOperationOutput,
}
