//! The operations, each calling down to its noun.

use std::sync::Arc;

use cloud::{Cloud, Context, Service};
use store::Table;
use wire::Fault;

use crate::api;
use crate::event::Event;
use crate::group::Group;
use crate::stream::Stream;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let logs = Arc::new(Logs {
        cloud: cloud.clone(),
        groups: cloud.store.table("logs.groups"),
        streams: cloud.store.table("logs.streams"),
        events: cloud.store.table("logs.events"),
    });
    logs.register_expiry();
    cloud.ports.set_logs(logs.clone());
    Service::new(api::Api(logs))
}

/// The service's state.
pub(crate) struct Logs {
    pub(crate) cloud: Cloud,
    /// By account, region and name.
    pub(crate) groups: Table<(String, String, String), Group>,
    /// By account, the group's id, and name: a group made anew never sees the streams of a deleted one.
    pub(crate) streams: Table<(String, u64, String), Stream>,
    /// By account, the stream's id, the event's time, and its number in the stream.
    pub(crate) events: Table<(String, u64, i64, u64), Event>,
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
}
