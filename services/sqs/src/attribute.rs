//! The attributes of queues: their names, ranges and how they are written.

use std::collections::BTreeMap;

use auth::policy::{Policy, PolicyKind};
use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::errors;
use crate::fault::missing;
use crate::queue::Queue;
use crate::redrive;
use crate::service::Sqs;
use crate::url::Name;

/// All attributes that can be asked for.
const NAMES: [&str; 21] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "ContentBasedDeduplication",
    "CreatedTimestamp",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "LastModifiedTimestamp",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "Policy",
    "QueueArn",
    "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "VisibilityTimeout",
];

/// Whether a queue has an attribute of that name.
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

fn unknown(name: &str) -> Fault {
    errors::invalid_attribute_name(format!("Unknown Attribute {name}."))
}

fn invalid(name: &str) -> Fault {
    errors::invalid_attribute_value(format!("Invalid value for the parameter {name}."))
}

/// The value of a stored attribute; `None` for one that the queue has not.
pub fn value(queue: &Queue, name: &str) -> Option<String> {
    let fifo = |value: &str| queue.is_fifo.then(|| value.to_owned());
    match name {
        "ContentBasedDeduplication" => fifo(word(queue.deduplicates_content)),
        "DeduplicationScope" => fifo(if queue.deduplicates_per_group {
            "messageGroup"
        } else {
            "queue"
        }),
        "FifoQueue" => fifo("true"),
        "FifoThroughputLimit" => fifo(if queue.limits_per_group {
            "perMessageGroupId"
        } else {
            "perQueue"
        }),
        "DelaySeconds" => Some(queue.delay.to_string()),
        "MaximumMessageSize" => Some(queue.maximum_size.to_string()),
        "MessageRetentionPeriod" => Some(queue.retention.to_string()),
        "ReceiveMessageWaitTimeSeconds" => Some(queue.wait.to_string()),
        "VisibilityTimeout" => Some(queue.visibility.to_string()),
        "Policy" => queue.policy.clone(),
        "RedrivePolicy" => queue.redrive.as_ref().map(|r| r.text.clone()),
        "RedriveAllowPolicy" => queue.redrive_allow.clone(),
        "KmsMasterKeyId" => queue.kms_key.clone(),
        "KmsDataKeyReusePeriodSeconds" => {
            let _ = queue.kms_key.as_ref()?;
            Some(queue.kms_reuse.map_or("300".into(), |s| s.to_string()))
        }
        "SqsManagedSseEnabled" => Some(word(queue.has_sse).into()),
        "CreatedTimestamp" => Some((queue.created / 1000).to_string()),
        "LastModifiedTimestamp" => Some((queue.modified / 1000).to_string()),
        _ => None,
    }
}

fn word(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

/// Sets attributes, all or none.
pub fn set(
    sqs: &Sqs,
    name: &Name,
    queue: &mut Queue,
    given: &BTreeMap<String, String>,
    is_new: bool,
) -> Result<(), Fault> {
    for (attribute, text) in given {
        let text = text.as_str();
        let number = |low: i64, high: i64| match text.parse::<i64>() {
            Ok(n) if (low..=high).contains(&n) => Ok(n),
            _ => Err(invalid(attribute)),
        };
        let boolean = || match text {
            t if t.eq_ignore_ascii_case("true") => Ok(true),
            t if t.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(invalid(attribute)),
        };
        let only_fifo = |queue: &Queue| match queue.is_fifo {
            true => Ok(()),
            false => Err(errors::invalid_attribute_name(format!(
                "You can specify the {attribute} only when FifoQueue is set to true."
            ))),
        };
        match attribute.as_str() {
            "DelaySeconds" => queue.delay = number(0, 900)?,
            "MaximumMessageSize" => queue.maximum_size = number(1024, 1_048_576)?,
            "MessageRetentionPeriod" => queue.retention = number(60, 1_209_600)?,
            "ReceiveMessageWaitTimeSeconds" => queue.wait = number(0, 20)?,
            "VisibilityTimeout" => queue.visibility = number(0, 43_200)?,
            "Policy" => queue.policy = policy(text)?,
            "RedrivePolicy" => queue.redrive = redrive::policy(sqs, name, queue.is_fifo, text)?,
            "RedriveAllowPolicy" => queue.redrive_allow = redrive::allow_policy(text)?,
            "KmsMasterKeyId" => {
                queue.kms_key = Some(text.to_owned()).filter(|t| !t.is_empty());
                // One kind of encryption at a time.
                if queue.kms_key.is_some() {
                    queue.has_sse = false;
                }
            }
            "KmsDataKeyReusePeriodSeconds" => {
                queue.kms_reuse = match text {
                    "" => None,
                    _ => Some(number(60, 86_400)?),
                }
            }
            "SqsManagedSseEnabled" => {
                queue.has_sse = boolean()?;
                if queue.has_sse && !given.contains_key("KmsMasterKeyId") {
                    queue.kms_key = None;
                }
            }
            "FifoQueue" if !queue.is_fifo => return Err(unknown(attribute)),
            "FifoQueue" => {
                if !boolean()? {
                    return Err(errors::invalid_attribute_value(
                        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.",
                    ));
                }
            }
            "ContentBasedDeduplication" if !queue.is_fifo => return Err(unknown(attribute)),
            "ContentBasedDeduplication" => queue.deduplicates_content = boolean()?,
            "DeduplicationScope" => {
                only_fifo(queue)?;
                queue.deduplicates_per_group = match text {
                    "messageGroup" => true,
                    "queue" => false,
                    _ => return Err(invalid(attribute)),
                }
            }
            "FifoThroughputLimit" => {
                only_fifo(queue)?;
                queue.limits_per_group = match text {
                    "perMessageGroupId" => true,
                    "perQueue" => false,
                    _ => return Err(invalid(attribute)),
                }
            }
            _ => return Err(unknown(attribute)),
        }
    }
    if queue.limits_per_group
        && !queue.deduplicates_per_group
        && given.contains_key("FifoThroughputLimit")
    {
        return Err(errors::invalid_attribute_value(
            "The perMessageGroupId value is allowed only when the value for DeduplicationScope is messageGroup.",
        ));
    }
    if is_new
        && queue.kms_key.is_some()
        && given
            .get("SqsManagedSseEnabled")
            .is_some_and(|t| t == "true")
    {
        return Err(errors::invalid_attribute_value(
            "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.",
        ));
    }
    Ok(())
}

/// Reads a queue's policy; an empty one takes it away.
fn policy(text: &str) -> Result<Option<String>, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match Policy::parse(text, PolicyKind::Resource) {
        Ok(policy) if policy.statements.iter().all(|s| s.principals.is_some()) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(invalid("Policy")),
    }
}

impl Sqs {
    pub(crate) async fn set_queue_attributes(
        &self,
        ctx: &Context,
        input: SetQueueAttributesInput,
    ) -> Result<SetQueueAttributesOutput, Fault> {
        let (name, _) = self.open(ctx, input.queue_url, "sqs:SetQueueAttributes")?;
        let given = input
            .attributes
            .filter(|a| !a.is_empty())
            .ok_or_else(|| missing("Attribute.Name"))?;
        self.change(&name, |queue, _| {
            set(self, &name, queue, &given, false)?;
            queue.modified = ctx.time.0;
            Ok(())
        })
        .await?;
        // A shorter retention may end messages that are looked at no more.
        let queue = self.find(&name)?;
        self.lines.of(queue.line).wake.notify_waiters();
        Ok(SetQueueAttributesOutput {})
    }

    pub(crate) async fn get_queue_attributes(
        &self,
        ctx: &Context,
        input: GetQueueAttributesInput,
    ) -> Result<GetQueueAttributesOutput, Fault> {
        let (name, queue) = self.open(ctx, input.queue_url, "sqs:GetQueueAttributes")?;
        let asked = input.attribute_names.unwrap_or_default();
        if let Some(name) = asked
            .iter()
            .find(|n| *n != "All" && !NAMES.contains(&n.as_str()))
        {
            return Err(unknown(name));
        }
        let wants_all = asked.iter().any(|n| n == "All");
        let wants = |n: &str| wants_all || asked.iter().any(|a| a == n);
        let mut all = BTreeMap::new();
        if NAMES[..3].iter().any(|n| wants(n)) {
            let counts = self.counts(&name, &queue).await?;
            for (attribute, count) in NAMES.iter().zip([counts.0, counts.2, counts.1]) {
                all.insert((*attribute).to_owned(), count.to_string());
            }
        }
        all.insert("QueueArn".into(), name.arn());
        for attribute in NAMES {
            if let Some(value) = value(&queue, attribute) {
                all.insert(attribute.to_owned(), value);
            }
        }
        all.retain(|attribute, _| wants(attribute));
        Ok(GetQueueAttributesOutput {
            attributes: (!all.is_empty()).then_some(all),
        })
    }

    /// Messages that can be received, are in flight, and are delayed.
    pub(crate) async fn counts(
        &self,
        name: &Name,
        queue: &Queue,
    ) -> Result<(u64, u64, u64), Fault> {
        let is_due = {
            let line = self.lines.of(queue.line);
            let state = line.state.lock();
            let now = self.cloud.clock.now().0;
            state.as_ref().is_none_or(|s| {
                s.tally.total > 0 && s.oldest.saturating_add(queue.retention * 1000) <= now
            })
        };
        if is_due {
            self.over(name, queue, |shelf| {
                shelf.expire(queue.retention * 1000, queue.is_fifo)
            })
            .await?;
        }
        let now = self.cloud.clock.now().0;
        let line = self.lines.of(queue.line);
        let mut state = line.state.lock();
        // It is gone again only where the queue was purged just now.
        Ok(state.as_mut().map_or((0, 0, 0), |s| s.counts(now)))
    }
}
