//! The operations, each calling down to its noun.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use cloud::{Cloud, Context, Service};
use parking_lot::Mutex;
use store::Table;
use tokio::sync::broadcast;
use wire::Fault;

use crate::api;
use crate::delivery::{DeliveryRow, PlaceRow, SourceRow};
use crate::event::Event;
use crate::export::Task;
use crate::group::Group;
use crate::metric_filter::Filter;
use crate::policy::Policy;
use crate::query::{Definition, QueryRow};
use crate::stream::Stream;
use crate::subscription::{DestinationRow, Subscription};
use crate::tail::{BACKLOG, Batch};
use crate::target::Groups;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let store = &cloud.store;
    let logs = Arc::new_cyclic(|me| Logs {
        me: me.clone(),
        cloud: cloud.clone(),
        groups: store.table("logs.groups"),
        streams: store.table("logs.streams"),
        events: store.table("logs.events"),
        metric_filters: store.table("logs.metric_filters"),
        subscriptions: store.table("logs.subscriptions"),
        destinations: store.table("logs.destinations"),
        delivery_sources: store.table("logs.delivery_sources"),
        delivery_destinations: store.table("logs.delivery_destinations"),
        deliveries: store.table("logs.deliveries"),
        policies: store.table("logs.policies"),
        queries: store.table("logs.queries"),
        definitions: store.table("logs.query_definitions"),
        exports: store.table("logs.exports"),
        running: Mutex::default(),
        tail: broadcast::channel(BACKLOG).0,
    });
    logs.register_expiry();
    logs.register_export();
    cloud.ports.set_logs(logs.clone());
    cloud
        .targets
        .register("logs", Arc::new(Groups(logs.clone())));
    Service::new(api::Api(logs))
}

/// A row by account, region and name or id.
pub(crate) type ByRegion<V> = Table<(String, String, String), V>;

/// The service's state.
pub(crate) struct Logs {
    pub(crate) me: Weak<Logs>,
    pub(crate) cloud: Cloud,
    /// By account, region and name.
    pub(crate) groups: Table<(String, String, String), Group>,
    /// By account, the group's id, and name: a group made anew never sees the streams of a deleted one.
    pub(crate) streams: Table<(String, u64, String), Stream>,
    /// By account, the stream's id, the event's time, and its number in the stream.
    pub(crate) events: Table<(String, u64, i64, u64), Event>,
    /// By account, the group's id, and name.
    pub(crate) metric_filters: Table<(String, u64, String), Filter>,
    /// Likewise.
    pub(crate) subscriptions: Table<(String, u64, String), Subscription>,
    pub(crate) destinations: ByRegion<DestinationRow>,
    pub(crate) delivery_sources: ByRegion<SourceRow>,
    pub(crate) delivery_destinations: ByRegion<PlaceRow>,
    pub(crate) deliveries: ByRegion<DeliveryRow>,
    /// By account, region, kind and name.
    pub(crate) policies: Table<(String, String, String, String), Policy>,
    pub(crate) queries: ByRegion<QueryRow>,
    pub(crate) definitions: ByRegion<Definition>,
    pub(crate) exports: ByRegion<Task>,
    /// Queries that run now.
    pub(crate) running: Mutex<HashSet<String>>,
    /// New events, for who listens.
    pub(crate) tail: broadcast::Sender<Arc<Batch>>,
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Logs for Logs {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Logs::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    create_log_group: CreateLogGroupInput => CreateLogGroupOutput,
    delete_log_group: DeleteLogGroupInput => DeleteLogGroupOutput,
    describe_log_groups: DescribeLogGroupsInput => DescribeLogGroupsOutput,
    list_log_groups: ListLogGroupsInput => ListLogGroupsOutput,
    put_log_group_deletion_protection: PutLogGroupDeletionProtectionInput => PutLogGroupDeletionProtectionOutput,
    associate_kms_key: AssociateKmsKeyInput => AssociateKmsKeyOutput,
    disassociate_kms_key: DisassociateKmsKeyInput => DisassociateKmsKeyOutput,
    create_log_stream: CreateLogStreamInput => CreateLogStreamOutput,
    delete_log_stream: DeleteLogStreamInput => DeleteLogStreamOutput,
    describe_log_streams: DescribeLogStreamsInput => DescribeLogStreamsOutput,
    put_log_events: PutLogEventsInput => PutLogEventsOutput,
    get_log_events: GetLogEventsInput => GetLogEventsOutput,
    filter_log_events: FilterLogEventsInput => FilterLogEventsOutput,
    put_retention_policy: PutRetentionPolicyInput => PutRetentionPolicyOutput,
    delete_retention_policy: DeleteRetentionPolicyInput => DeleteRetentionPolicyOutput,
    tag_log_group: TagLogGroupInput => TagLogGroupOutput,
    untag_log_group: UntagLogGroupInput => UntagLogGroupOutput,
    list_tags_log_group: ListTagsLogGroupInput => ListTagsLogGroupOutput,
    tag_resource: TagResourceInput => TagResourceOutput,
    untag_resource: UntagResourceInput => UntagResourceOutput,
    list_tags_for_resource: ListTagsForResourceInput => ListTagsForResourceOutput,
    put_metric_filter: PutMetricFilterInput => PutMetricFilterOutput,
    describe_metric_filters: DescribeMetricFiltersInput => DescribeMetricFiltersOutput,
    delete_metric_filter: DeleteMetricFilterInput => DeleteMetricFilterOutput,
    test_metric_filter: TestMetricFilterInput => TestMetricFilterOutput,
    put_subscription_filter: PutSubscriptionFilterInput => PutSubscriptionFilterOutput,
    describe_subscription_filters: DescribeSubscriptionFiltersInput => DescribeSubscriptionFiltersOutput,
    delete_subscription_filter: DeleteSubscriptionFilterInput => DeleteSubscriptionFilterOutput,
    put_delivery_source: PutDeliverySourceInput => PutDeliverySourceOutput,
    get_delivery_source: GetDeliverySourceInput => GetDeliverySourceOutput,
    describe_delivery_sources: DescribeDeliverySourcesInput => DescribeDeliverySourcesOutput,
    delete_delivery_source: DeleteDeliverySourceInput => DeleteDeliverySourceOutput,
    put_delivery_destination: PutDeliveryDestinationInput => PutDeliveryDestinationOutput,
    get_delivery_destination: GetDeliveryDestinationInput => GetDeliveryDestinationOutput,
    describe_delivery_destinations: DescribeDeliveryDestinationsInput => DescribeDeliveryDestinationsOutput,
    delete_delivery_destination: DeleteDeliveryDestinationInput => DeleteDeliveryDestinationOutput,
    put_delivery_destination_policy: PutDeliveryDestinationPolicyInput => PutDeliveryDestinationPolicyOutput,
    get_delivery_destination_policy: GetDeliveryDestinationPolicyInput => GetDeliveryDestinationPolicyOutput,
    delete_delivery_destination_policy: DeleteDeliveryDestinationPolicyInput => DeleteDeliveryDestinationPolicyOutput,
    create_delivery: CreateDeliveryInput => CreateDeliveryOutput,
    get_delivery: GetDeliveryInput => GetDeliveryOutput,
    describe_deliveries: DescribeDeliveriesInput => DescribeDeliveriesOutput,
    update_delivery_configuration: UpdateDeliveryConfigurationInput => UpdateDeliveryConfigurationOutput,
    delete_delivery: DeleteDeliveryInput => DeleteDeliveryOutput,
    put_destination: PutDestinationInput => PutDestinationOutput,
    put_destination_policy: PutDestinationPolicyInput => PutDestinationPolicyOutput,
    describe_destinations: DescribeDestinationsInput => DescribeDestinationsOutput,
    delete_destination: DeleteDestinationInput => DeleteDestinationOutput,
    put_resource_policy: PutResourcePolicyInput => PutResourcePolicyOutput,
    describe_resource_policies: DescribeResourcePoliciesInput => DescribeResourcePoliciesOutput,
    delete_resource_policy: DeleteResourcePolicyInput => DeleteResourcePolicyOutput,
    put_account_policy: PutAccountPolicyInput => PutAccountPolicyOutput,
    describe_account_policies: DescribeAccountPoliciesInput => DescribeAccountPoliciesOutput,
    delete_account_policy: DeleteAccountPolicyInput => DeleteAccountPolicyOutput,
    put_index_policy: PutIndexPolicyInput => PutIndexPolicyOutput,
    describe_index_policies: DescribeIndexPoliciesInput => DescribeIndexPoliciesOutput,
    delete_index_policy: DeleteIndexPolicyInput => DeleteIndexPolicyOutput,
    put_data_protection_policy: PutDataProtectionPolicyInput => PutDataProtectionPolicyOutput,
    get_data_protection_policy: GetDataProtectionPolicyInput => GetDataProtectionPolicyOutput,
    delete_data_protection_policy: DeleteDataProtectionPolicyInput => DeleteDataProtectionPolicyOutput,
    start_query: StartQueryInput => StartQueryOutput,
    get_query_results: GetQueryResultsInput => GetQueryResultsOutput,
    stop_query: StopQueryInput => StopQueryOutput,
    describe_queries: DescribeQueriesInput => DescribeQueriesOutput,
    get_log_record: GetLogRecordInput => GetLogRecordOutput,
    get_log_group_fields: GetLogGroupFieldsInput => GetLogGroupFieldsOutput,
    put_query_definition: PutQueryDefinitionInput => PutQueryDefinitionOutput,
    describe_query_definitions: DescribeQueryDefinitionsInput => DescribeQueryDefinitionsOutput,
    delete_query_definition: DeleteQueryDefinitionInput => DeleteQueryDefinitionOutput,
    create_export_task: CreateExportTaskInput => CreateExportTaskOutput,
    describe_export_tasks: DescribeExportTasksInput => DescribeExportTasksOutput,
    cancel_export_task: CancelExportTaskInput => CancelExportTaskOutput,
    start_live_tail: StartLiveTailInput => StartLiveTailOutput,
}
