//! The operations, each calling down to its noun.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use cloud::{Cloud, Context, Service};
use parking_lot::Mutex;
use store::{Decoded, Log, Table};
use wire::Fault;

use crate::api;
use crate::channel::Channel;
use crate::consumer::Consumer;
use crate::lineage::Shard;
use crate::queue::Queue;
use crate::queue_record::{Due, Handed};
use crate::reader::Cursor;
use crate::record::Entry;
use crate::setting::Commitment;
use crate::stream::Stream;
use crate::subscription::Active;
use crate::target::Streams;
use crate::throughput::Throughput;
use crate::wiring::Wiring;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let store = &cloud.store;
    let kinesis = Arc::new_cyclic(|me: &Weak<Kinesis>| Kinesis {
        me: me.clone(),
        cloud: cloud.clone(),
        streams: store.table("kinesis.streams"),
        recent: Decoded::default(),
        shards: store.table("kinesis.shards"),
        records: store.log("kinesis.records"),
        consumers: store.table("kinesis.consumers"),
        commitments: store.table("kinesis.commitments"),
        queues: store.table("kinesis.queues"),
        cursors: store.table("kinesis.queue_cursors"),
        handed: store.table("kinesis.queue_records"),
        due: store.table("kinesis.queue_due"),
        channels: store.table("kinesis.channels"),
        running: Mutex::default(),
        wiring: Wiring::default(),
        throughput: Throughput::from_environment(),
        active: Mutex::default(),
    });
    kinesis.register_expiry();
    kinesis.register_removal();
    kinesis.register_reader_removal();
    kinesis.register_channels();
    cloud
        .targets
        .register("kinesis", Arc::new(Streams(kinesis.clone())));
    cloud.ports.set_data_streams(kinesis.clone());
    let weak = Arc::downgrade(&kinesis);
    cloud.after_reset(move || {
        if let Some(kinesis) = weak.upgrade() {
            kinesis.wiring.clear();
            kinesis.active.lock().clear();
            if let Err(fault) = kinesis.run_channels() {
                tracing::error!(%fault, cause = fault.cause, "channels wait for the next start");
            }
        }
    });
    Service::new(api::Api(kinesis))
}

/// The service's state.
pub(crate) struct Kinesis {
    pub(crate) me: Weak<Kinesis>,
    pub(crate) cloud: Cloud,
    /// By account, region and name.
    pub(crate) streams: Table<(String, String, String), Stream>,
    pub(crate) recent: Decoded<Stream>,
    /// By account, the stream's id, and number: a stream made anew never sees the shards of a deleted one.
    pub(crate) shards: Table<(String, u64, u64), Shard>,
    /// By account, the stream's id, and the shard's number.
    pub(crate) records: Log<(String, u64, u64), Entry>,
    /// By account, the stream's id, and name.
    pub(crate) consumers: Table<(String, u64, String), Consumer>,
    /// By account and region.
    pub(crate) commitments: Table<(String, String), Commitment>,
    /// By account, region and id.
    pub(crate) queues: Table<(String, String, u64), Queue>,
    /// By account, the queue's or channel's id, and the shard's number.
    pub(crate) cursors: Table<(String, u64, u64), Cursor>,
    /// By account, the queue's id, the shard's number, and the record's.
    pub(crate) handed: Table<(String, u64, u64, u64), Handed>,
    /// By account, the queue's id, whether it is dead then, the time from which a record is visible, and the record.
    pub(crate) due: Table<(String, u64, bool, i64, u64, u64), Due>,
    /// By account, region and id.
    pub(crate) channels: Table<(String, String, u64), Channel>,
    /// The ids of the channels that have a task.
    pub(crate) running: Mutex<HashSet<u64>>,
    pub(crate) wiring: Wiring,
    pub(crate) throughput: Throughput,
    /// Subscriptions that run, by consumer and shard.
    pub(crate) active: Mutex<HashMap<(String, u64), Active>>,
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Kinesis for Kinesis {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Kinesis::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    create_stream: CreateStreamInput => CreateStreamOutput,
    delete_stream: DeleteStreamInput => DeleteStreamOutput,
    describe_stream: DescribeStreamInput => DescribeStreamOutput,
    describe_stream_summary: DescribeStreamSummaryInput => DescribeStreamSummaryOutput,
    list_streams: ListStreamsInput => ListStreamsOutput,
    describe_limits: DescribeLimitsInput => DescribeLimitsOutput,
    update_stream_mode: UpdateStreamModeInput => UpdateStreamModeOutput,
    update_max_record_size: UpdateMaxRecordSizeInput => UpdateMaxRecordSizeOutput,
    update_stream_record_distribution_strategy: UpdateStreamRecordDistributionStrategyInput => UpdateStreamRecordDistributionStrategyOutput,
    update_stream_warm_throughput: UpdateStreamWarmThroughputInput => UpdateStreamWarmThroughputOutput,
    put_record: PutRecordInput => PutRecordOutput,
    put_records: PutRecordsInput => PutRecordsOutput,
    get_shard_iterator: GetShardIteratorInput => GetShardIteratorOutput,
    get_records: GetRecordsInput => GetRecordsOutput,
    subscribe_to_shard: SubscribeToShardInput => SubscribeToShardOutput,
    register_stream_consumer: RegisterStreamConsumerInput => RegisterStreamConsumerOutput,
    deregister_stream_consumer: DeregisterStreamConsumerInput => DeregisterStreamConsumerOutput,
    describe_stream_consumer: DescribeStreamConsumerInput => DescribeStreamConsumerOutput,
    list_stream_consumers: ListStreamConsumersInput => ListStreamConsumersOutput,
    list_shards: ListShardsInput => ListShardsOutput,
    split_shard: SplitShardInput => SplitShardOutput,
    merge_shards: MergeShardsInput => MergeShardsOutput,
    update_shard_count: UpdateShardCountInput => UpdateShardCountOutput,
    increase_stream_retention_period: IncreaseStreamRetentionPeriodInput => IncreaseStreamRetentionPeriodOutput,
    decrease_stream_retention_period: DecreaseStreamRetentionPeriodInput => DecreaseStreamRetentionPeriodOutput,
    add_tags_to_stream: AddTagsToStreamInput => AddTagsToStreamOutput,
    remove_tags_from_stream: RemoveTagsFromStreamInput => RemoveTagsFromStreamOutput,
    list_tags_for_stream: ListTagsForStreamInput => ListTagsForStreamOutput,
    tag_resource: TagResourceInput => TagResourceOutput,
    untag_resource: UntagResourceInput => UntagResourceOutput,
    list_tags_for_resource: ListTagsForResourceInput => ListTagsForResourceOutput,
    enable_enhanced_monitoring: EnableEnhancedMonitoringInput => EnableEnhancedMonitoringOutput,
    disable_enhanced_monitoring: DisableEnhancedMonitoringInput => DisableEnhancedMonitoringOutput,
    start_stream_encryption: StartStreamEncryptionInput => StartStreamEncryptionOutput,
    stop_stream_encryption: StopStreamEncryptionInput => StopStreamEncryptionOutput,
    put_resource_policy: PutResourcePolicyInput => PutResourcePolicyOutput,
    get_resource_policy: GetResourcePolicyInput => GetResourcePolicyOutput,
    delete_resource_policy: DeleteResourcePolicyInput => DeleteResourcePolicyOutput,
    describe_account_settings: DescribeAccountSettingsInput => DescribeAccountSettingsOutput,
    update_account_settings: UpdateAccountSettingsInput => UpdateAccountSettingsOutput,
    create_queue: CreateQueueInput => CreateQueueOutput,
    describe_queue: DescribeQueueInput => DescribeQueueOutput,
    list_queues: ListQueuesInput => ListQueuesOutput,
    update_queue: UpdateQueueInput => UpdateQueueOutput,
    delete_queue: DeleteQueueInput => DeleteQueueOutput,
    receive_queue_records: ReceiveQueueRecordsInput => ReceiveQueueRecordsOutput,
    acknowledge_queue_records: AcknowledgeQueueRecordsInput => AcknowledgeQueueRecordsOutput,
    update_queue_records_visibility: UpdateQueueRecordsVisibilityInput => UpdateQueueRecordsVisibilityOutput,
    receive_dead_letter_queue_records: ReceiveDeadLetterQueueRecordsInput => ReceiveDeadLetterQueueRecordsOutput,
    acknowledge_dead_letter_queue_records: AcknowledgeDeadLetterQueueRecordsInput => AcknowledgeDeadLetterQueueRecordsOutput,
    update_dead_letter_queue_records_visibility: UpdateDeadLetterQueueRecordsVisibilityInput => UpdateDeadLetterQueueRecordsVisibilityOutput,
    restore_dead_letter_queue_records: RestoreDeadLetterQueueRecordsInput => RestoreDeadLetterQueueRecordsOutput,
    create_channel: CreateChannelInput => CreateChannelOutput,
    describe_channel: DescribeChannelInput => DescribeChannelOutput,
    list_channels: ListChannelsInput => ListChannelsOutput,
    update_channel: UpdateChannelInput => UpdateChannelOutput,
    delete_channel: DeleteChannelInput => DeleteChannelOutput,
}
