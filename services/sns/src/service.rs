//! The operations, each calling down to its noun.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use cloud::{Cloud, Context, Service};
use parking_lot::{Mutex, RwLock};
use store::{Decoded, Log, Table};
use wire::{Fault, Timestamp};

use crate::api;
use crate::archive::Archived;
use crate::captured::Captured;
use crate::confirmation::Word;
use crate::feedback::Feedback;
use crate::front::Paths;
use crate::line::{Recent, Waiting};
use crate::phone::{OptedOut, Settings, TrialNumber};
use crate::platform::{Application, Device, Registered};
use crate::publish::Audience;
use crate::signature::{Kept, Signer};
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
        applications: store.table("sns.applications"),
        devices: store.table("sns.devices"),
        device_tokens: store.table("sns.device_tokens"),
        archived: store.table("sns.archived"),
        words: store.table("sns.words"),
        captured: store.table("sns.captured"),
        opted_out: store.table("sns.opted_out"),
        sms_settings: store.table("sns.sms_settings"),
        trial_numbers: store.table("sns.trial_numbers"),
        keys: store.table("sns.keys"),
        signer: RwLock::default(),
        former_signer: Mutex::default(),
        making_signer: tokio::sync::Mutex::default(),
        turns: Mutex::default(),
        audiences: RwLock::default(),
        draining: Mutex::default(),
    });
    sns.register_line();
    sns.register_posts();
    sns.register_words();
    sns.register_replays();
    cloud.targets.register("sns", Arc::new(Topics(sns.clone())));
    let feedback = Arc::new(Feedback(sns.clone()));
    cloud.targets.tell("sns.amazonaws.com", feedback);
    let weak = Arc::downgrade(&sns);
    cloud.after_reset(move || {
        if let Some(sns) = weak.upgrade() {
            sns.audiences.write().clear();
            *sns.former_signer.lock() = sns.signer.write().take();
        }
    });
    let paths = Arc::new(Paths(sns.clone()));
    Service::new(api::Api(sns)).with_front(paths)
}

/// Whose turn it is on a line, by topic and subscription.
type Turns = Mutex<HashMap<(u64, String), Arc<tokio::sync::Mutex<()>>>>;

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
    /// By account, region, and platform and name.
    pub(crate) applications: Table<(String, String, String), Application>,
    /// By the application and the endpoint's id.
    pub(crate) devices: Table<(String, String, String, String), Device>,
    /// By the application and the endpoint's token.
    pub(crate) device_tokens: Table<(String, String, String, String), Registered>,
    /// What FIFO topics keep: by account, the topic's id, time and number.
    pub(crate) archived: Table<(String, u64, i64, u64), Archived>,
    /// Words by which subscriptions are confirmed, by account and word.
    pub(crate) words: Table<(String, String), Word>,
    /// Messages to people: by account, region, medium, time, and message and recipient.
    pub(crate) captured: Table<(String, String, String, i64, String), Captured>,
    /// Numbers that want no texts, by account.
    pub(crate) opted_out: Table<(String, String), OptedOut>,
    /// By account and region.
    pub(crate) sms_settings: Table<(String, String), Settings>,
    /// By account, region and number.
    pub(crate) trial_numbers: Table<(String, String, String), TrialNumber>,
    /// The key that signs messages.
    pub(crate) keys: Table<(String, String), Kept>,
    pub(crate) signer: RwLock<Option<Arc<Signer>>>,
    /// The signer of before a reset: who has its certificate need not fetch another.
    pub(crate) former_signer: Mutex<Option<Arc<Signer>>>,
    pub(crate) making_signer: tokio::sync::Mutex<()>,
    /// When an endpoint's next message may go, by subscription.
    pub(crate) turns: Mutex<HashMap<String, Timestamp>>,
    /// Who listens to a topic, by its id.
    pub(crate) audiences: RwLock<HashMap<u64, Arc<Audience>>>,
    /// Lines that are delivered now.
    pub(crate) draining: Turns,
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
    create_platform_application: CreatePlatformApplicationInput => CreatePlatformApplicationOutput,
    delete_platform_application: DeletePlatformApplicationInput => DeletePlatformApplicationOutput,
    list_platform_applications: ListPlatformApplicationsInput => ListPlatformApplicationsOutput,
    get_platform_application_attributes: GetPlatformApplicationAttributesInput => GetPlatformApplicationAttributesOutput,
    set_platform_application_attributes: SetPlatformApplicationAttributesInput => SetPlatformApplicationAttributesOutput,
    create_platform_endpoint: CreatePlatformEndpointInput => CreatePlatformEndpointOutput,
    delete_endpoint: DeleteEndpointInput => DeleteEndpointOutput,
    list_endpoints_by_platform_application: ListEndpointsByPlatformApplicationInput => ListEndpointsByPlatformApplicationOutput,
    get_endpoint_attributes: GetEndpointAttributesInput => GetEndpointAttributesOutput,
    set_endpoint_attributes: SetEndpointAttributesInput => SetEndpointAttributesOutput,
    set_sms_attributes: SetSMSAttributesInput => SetSMSAttributesOutput,
    get_sms_attributes: GetSMSAttributesInput => GetSMSAttributesOutput,
    check_if_phone_number_is_opted_out: CheckIfPhoneNumberIsOptedOutInput => CheckIfPhoneNumberIsOptedOutOutput,
    list_phone_numbers_opted_out: ListPhoneNumbersOptedOutInput => ListPhoneNumbersOptedOutOutput,
    list_origination_numbers: ListOriginationNumbersInput => ListOriginationNumbersOutput,
    opt_in_phone_number: OptInPhoneNumberInput => OptInPhoneNumberOutput,
    create_sms_sandbox_phone_number: CreateSMSSandboxPhoneNumberInput => CreateSMSSandboxPhoneNumberOutput,
    verify_sms_sandbox_phone_number: VerifySMSSandboxPhoneNumberInput => VerifySMSSandboxPhoneNumberOutput,
    delete_sms_sandbox_phone_number: DeleteSMSSandboxPhoneNumberInput => DeleteSMSSandboxPhoneNumberOutput,
    list_sms_sandbox_phone_numbers: ListSMSSandboxPhoneNumbersInput => ListSMSSandboxPhoneNumbersOutput,
    get_sms_sandbox_account_status: GetSMSSandboxAccountStatusInput => GetSMSSandboxAccountStatusOutput,
}
