//! Tags of queues.

use std::collections::BTreeMap;

use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::fault::{invalid_parameter, missing};
use crate::service::Sqs;

/// Most tags of a queue.
const MOST: usize = 50;

/// Checks keys and values.
pub fn check(queue: &str, tags: &BTreeMap<String, String>) -> Result<(), Fault> {
    let is_allowed = |text: &str| {
        text.chars()
            .all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c))
    };
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || !is_allowed(key) {
            return Err(invalid_parameter(
                "Tag keys must be between 1 and 128 characters in length.",
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid_parameter(
                "System tags cannot be added/updated by requester",
            ));
        }
        if value.chars().count() > 256 || !is_allowed(value) {
            return Err(invalid_parameter(
                "Tag values must be between 0 and 256 characters in length.",
            ));
        }
    }
    if tags.len() > MOST {
        return Err(too_many(queue));
    }
    Ok(())
}

fn too_many(queue: &str) -> Fault {
    invalid_parameter(format!("Too many tags added for queue {queue}."))
}

impl Sqs {
    pub(crate) async fn tag_queue(
        &self,
        ctx: &Context,
        input: TagQueueInput,
    ) -> Result<TagQueueOutput, Fault> {
        let (name, _) = self.open(ctx, input.queue_url, "sqs:TagQueue")?;
        let tags = input
            .tags
            .filter(|t| !t.is_empty())
            .ok_or_else(|| missing("Tags"))?;
        check(&name.queue, &tags)?;
        self.change(&name, |queue, _| {
            queue.tags.extend(tags);
            match queue.tags.len() > MOST {
                true => Err(too_many(&name.queue)),
                false => Ok(()),
            }
        })
        .await?;
        Ok(TagQueueOutput {})
    }

    pub(crate) async fn untag_queue(
        &self,
        ctx: &Context,
        input: UntagQueueInput,
    ) -> Result<UntagQueueOutput, Fault> {
        let (name, _) = self.open(ctx, input.queue_url, "sqs:UntagQueue")?;
        let keys = input.tag_keys.filter(|k| !k.is_empty()).ok_or_else(|| {
            invalid_parameter("Tag keys must be between 1 and 128 characters in length.")
        })?;
        self.change(&name, |queue, _| {
            queue.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        })
        .await?;
        Ok(UntagQueueOutput {})
    }

    pub(crate) async fn list_queue_tags(
        &self,
        ctx: &Context,
        input: ListQueueTagsInput,
    ) -> Result<ListQueueTagsOutput, Fault> {
        let (_, queue) = self.open(ctx, input.queue_url, "sqs:ListQueueTags")?;
        Ok(ListQueueTagsOutput {
            tags: (!queue.tags.is_empty()).then(|| queue.tags.clone()),
        })
    }
}
