//! Attributes of topics.

use std::collections::BTreeMap;

use cloud::Context;
use wire::{Fault, Timestamp};

use crate::api::{
    GetTopicAttributesInput, GetTopicAttributesOutput, SetTopicAttributesInput,
    SetTopicAttributesOutput,
};
use crate::errors::*;
use crate::service::Sns;
use crate::topic::{Place, Topic};
use crate::{archive, delivery_policy, permission};

/// Attributes that are kept as they are set.
const PLAIN: [&str; 20] = [
    "DisplayName",
    "KmsMasterKeyId",
    "TracingConfig",
    "HTTPSuccessFeedbackRoleArn",
    "HTTPSuccessFeedbackSampleRate",
    "HTTPFailureFeedbackRoleArn",
    "FirehoseSuccessFeedbackRoleArn",
    "FirehoseSuccessFeedbackSampleRate",
    "FirehoseFailureFeedbackRoleArn",
    "LambdaSuccessFeedbackRoleArn",
    "LambdaSuccessFeedbackSampleRate",
    "LambdaFailureFeedbackRoleArn",
    "ApplicationSuccessFeedbackRoleArn",
    "ApplicationSuccessFeedbackSampleRate",
    "ApplicationFailureFeedbackRoleArn",
    "SQSSuccessFeedbackRoleArn",
    "SQSSuccessFeedbackSampleRate",
    "SQSFailureFeedbackRoleArn",
    "SignatureVersion",
    "ArchivePolicy",
];

/// Says it as AWS does where it may be said in other ways.
pub(crate) fn settle(name: &str, value: &mut str) {
    if name == "ContentBasedDeduplication" {
        value.make_ascii_lowercase();
    }
}

/// Checks an attribute of a topic.
pub(crate) fn check(name: &str, value: &str, is_fifo: bool) -> Result<(), Fault> {
    let invalid = |reason: &str| {
        Err(invalid_parameter_exception(format!(
            "Invalid parameter: {name} Reason: {reason}"
        )))
    };
    match name {
        "Policy" => permission::check(value),
        "DeliveryPolicy" if value.is_empty() => Ok(()),
        "DeliveryPolicy" => delivery_policy::check_of_topic(value).map_err(|why| {
            invalid_parameter_exception(format!("Invalid parameter: DeliveryPolicy: {why}"))
        }),
        "ContentBasedDeduplication" if is_fifo => match value {
            "true" | "false" => Ok(()),
            _ => invalid("Must be one of: true, false"),
        },
        "FifoThroughputScope" if is_fifo => match value {
            "Topic" | "MessageGroup" => Ok(()),
            _ => invalid("Must be one of: Topic, MessageGroup"),
        },
        "DisplayName" if value.len() > 100 => {
            invalid("Must be less than or equal to 100 characters long")
        }
        "SignatureVersion" if !matches!(value, "1" | "2") => invalid("Must be one of: 1, 2"),
        "TracingConfig" if !matches!(value, "PassThrough" | "Active" | "") => {
            invalid("Must be one of: PassThrough, Active")
        }
        "ArchivePolicy" if !is_fifo => invalid("ArchivePolicy is only supported for FIFO topics"),
        "ArchivePolicy" => archive::check(value),
        name if PLAIN.contains(&name) => Ok(()),
        _ => Err(invalid_parameter_exception(
            "Invalid parameter: AttributeName",
        )),
    }
}

/// An attribute's value, set or by default.
pub(crate) fn value(place: &Place, topic: &Topic, name: &str) -> Option<String> {
    if let Some(value) = topic.attributes.get(name) {
        return Some(value.clone());
    }
    match name {
        "Policy" => Some(permission::default(place)),
        "DisplayName" => Some(String::new()),
        "ContentBasedDeduplication" if topic.is_fifo => Some("false".into()),
        "FifoThroughputScope" if topic.is_fifo => Some("Topic".into()),
        "SignatureVersion" => Some("1".into()),
        _ => None,
    }
}

impl Sns {
    pub(crate) async fn get_topic_attributes(
        &self,
        ctx: &Context,
        input: GetTopicAttributesInput,
    ) -> Result<GetTopicAttributesOutput, Fault> {
        let action = "SNS:GetTopicAttributes";
        let (place, topic) = self.permitted(ctx, &input.topic_arn, "TopicArn", action)?;
        let mut attributes: BTreeMap<String, String> = topic.attributes.clone();
        attributes.retain(|_, value| !value.is_empty());
        let mut set = |name: &str, value: String| attributes.insert(name.into(), value);
        set("TopicArn", place.arn());
        set("Owner", place.account.clone());
        let effective = delivery_policy::effective_of_topic(topic.delivery_policy());
        set("EffectiveDeliveryPolicy", effective.to_string());
        if let Some(policy) = topic.delivery_policy().filter(|policy| !policy.is_empty()) {
            set("DeliveryPolicy", delivery_policy::shown_of_topic(policy));
        }
        set("SubscriptionsConfirmed", topic.confirmed.to_string());
        set("SubscriptionsPending", topic.pending.to_string());
        set("SubscriptionsDeleted", topic.deleted.to_string());
        let defaults = match topic.is_fifo {
            true => &[
                "Policy",
                "DisplayName",
                "ContentBasedDeduplication",
                "FifoThroughputScope",
            ][..],
            false => &["Policy", "DisplayName"],
        };
        for name in defaults {
            if let Some(value) = value(&place, &topic, name) {
                set(name, value);
            }
        }
        if let Some(since) = topic.archived_since {
            set("BeginningArchiveTime", Timestamp(since).iso8601_millis());
        }
        if topic.is_fifo {
            set("FifoTopic", "true".into());
        }
        Ok(GetTopicAttributesOutput {
            attributes: Some(attributes),
        })
    }

    pub(crate) async fn set_topic_attributes(
        &self,
        ctx: &Context,
        input: SetTopicAttributesInput,
    ) -> Result<SetTopicAttributesOutput, Fault> {
        let action = "SNS:SetTopicAttributes";
        let (place, _) = self.permitted(ctx, &input.topic_arn, "TopicArn", action)?;
        let mut value = input.attribute_value.unwrap_or_default();
        let name = input.attribute_name;
        settle(&name, &mut value);
        self.change(&place, |_, topic| {
            check(&name, &value, topic.is_fifo)?;
            topic.attributes.insert(name, value);
            topic.note_archive(ctx.time);
            Ok(())
        })
        .await?;
        Ok(SetTopicAttributesOutput {})
    }
}
