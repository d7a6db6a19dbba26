//! The operations, each calling down to its noun.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use cloud::{Cloud, Context, Service};
use parking_lot::{Mutex, RwLock};
use store::{Decoded, Log, Table};
use wire::Fault;

use crate::api;
use crate::line::{Recent, Waiting};
use crate::publish::Audience;
use crate::subscription::Subscription;
use crate::target::Topics;
use crate::topic::Topic;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let store = &cloud.store;
    let sns = Arc::new_cyclic(|me: &Weak<Sns>| Sns {
        me: me.clone(),
        cloud: cloud.clone(),
        topics: store.table("sns.topics"),
        recent: Decoded::default(),
        subscriptions: store.table("sns.subscriptions"),
        deduplications: store.table("sns.deduplications"),
        dedup_times: store.table("sns.deduplication_times"),
        line: store.log("sns.line"),
        audiences: RwLock::default(),
        draining: Mutex::default(),
    });
    sns.register_line();
    cloud.targets.register("sns", Arc::new(Topics(sns.clone())));
    let weak = Arc::downgrade(&sns);
    cloud.after_reset(move || {
        if let Some(sns) = weak.upgrade() {
            sns.audiences.write().clear();
        }
    });
    Service::new(api::Api(sns))
}

/// The service's state.
pub(crate) struct Sns {
    pub(crate) me: Weak<Sns>,
    pub(crate) cloud: Cloud,
    /// By account, region and name.
    pub(crate) topics: Table<(String, String, String), Topic>,
    pub(crate) recent: Decoded<Topic>,
    /// By the topic's account and id, and the subscription's own id.
    pub(crate) subscriptions: Table<(String, u64, String), Subscription>,
    /// What a FIFO topic took within five minutes: by account, the topic's id and the deduplication id.
    pub(crate) deduplications: Table<(String, u64, String), Recent>,
    /// The same by account, the topic's id, time, and the deduplication id.
    pub(crate) dedup_times: Table<(String, u64, i64, String), Recent>,
    /// What FIFO topics have yet to deliver, in order: by account, the topic's id and the subscription's.
    pub(crate) line: Log<(String, u64, String), Waiting>,
    /// Who listens to a topic, by its id.
    pub(crate) audiences: RwLock<HashMap<u64, Arc<Audience>>>,
    /// Lines that are delivered now.
    pub(crate) draining: Mutex<HashMap<(u64, String), Arc<tokio::sync::Mutex<()>>>>,
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Sns for Sns {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Sns::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    create_topic: CreateTopicInput => CreateTopicOutput,
    delete_topic: DeleteTopicInput => DeleteTopicOutput,
    list_topics: ListTopicsInput => ListTopicsOutput,
    get_topic_attributes: GetTopicAttributesInput => GetTopicAttributesOutput,
    set_topic_attributes: SetTopicAttributesInput => SetTopicAttributesOutput,
    add_permission: AddPermissionInput => AddPermissionOutput,
    remove_permission: RemovePermissionInput => RemovePermissionOutput,
    subscribe: SubscribeInput => SubscribeOutput,
    confirm_subscription: ConfirmSubscriptionInput => ConfirmSubscriptionOutput,
    unsubscribe: UnsubscribeInput => UnsubscribeOutput,
    get_subscription_attributes: GetSubscriptionAttributesInput => GetSubscriptionAttributesOutput,
    set_subscription_attributes: SetSubscriptionAttributesInput => SetSubscriptionAttributesOutput,
    list_subscriptions: ListSubscriptionsInput => ListSubscriptionsOutput,
    list_subscriptions_by_topic: ListSubscriptionsByTopicInput => ListSubscriptionsByTopicOutput,
    publish: PublishInput => PublishOutput,
    publish_batch: PublishBatchInput => PublishBatchOutput,
    tag_resource: TagResourceInput => TagResourceOutput,
    untag_resource: UntagResourceInput => UntagResourceOutput,
    list_tags_for_resource: ListTagsForResourceInput => ListTagsForResourceOutput,
    get_data_protection_policy: GetDataProtectionPolicyInput => GetDataProtectionPolicyOutput,
    put_data_protection_policy: PutDataProtectionPolicyInput => PutDataProtectionPolicyOutput,
}
