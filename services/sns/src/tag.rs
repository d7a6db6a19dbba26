//! Tags of topics.

use std::collections::BTreeMap;

use cloud::Context;
use wire::Fault;

use crate::api::{
    ListTagsForResourceInput, ListTagsForResourceOutput, Tag, TagResourceInput, TagResourceOutput,
    UntagResourceInput, UntagResourceOutput,
};
use crate::errors::*;
use crate::service::Sns;
use crate::topic::Place;

const MOST: usize = 50;

/// Reads tags, each of whose keys may stand once.
pub(crate) fn read(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, Fault> {
    let mut read = BTreeMap::new();
    for tag in tags {
        if read.insert(tag.key, tag.value).is_some() {
            return Err(invalid_parameter_exception(
                "Invalid parameter: Duplicated keys are not allowed.",
            ));
        }
    }
    if read.len() > MOST {
        return Err(too_many());
    }
    Ok(read)
}

fn too_many() -> Fault {
    tag_limit_exceeded_exception("Could not complete request: tag quota of per resource exceeded")
}

/// The topic's absence, as these operations tell it.
fn renamed(fault: Fault) -> Fault {
    match fault.code.as_ref() {
        "NotFound" => resource_not_found_exception("Resource does not exist"),
        _ => fault,
    }
}

impl Sns {
    fn taggable(&self, ctx: &Context, arn: &str, action: &str) -> Result<Place, Fault> {
        let place = Place::of(ctx, arn, "ResourceArn")?;
        let topic = self.topic(&self.cloud.store, &place).map_err(renamed)?;
        self.permit(ctx, &place, &topic, action)?;
        Ok(place)
    }

    pub(crate) async fn tag_resource(
        &self,
        ctx: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        let place = self.taggable(ctx, &input.resource_arn, "SNS:TagResource")?;
        let tags = read(input.tags)?;
        self.change(&place, |_, topic| {
            topic.tags.extend(tags);
            match topic.tags.len() > MOST {
                true => Err(too_many()),
                false => Ok(()),
            }
        })
        .await
        .map_err(renamed)?;
        Ok(TagResourceOutput {})
    }

    pub(crate) async fn untag_resource(
        &self,
        ctx: &Context,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, Fault> {
        let place = self.taggable(ctx, &input.resource_arn, "SNS:UntagResource")?;
        self.change(&place, |_, topic| {
            topic.tags.retain(|key, _| !input.tag_keys.contains(key));
            Ok(())
        })
        .await
        .map_err(renamed)?;
        Ok(UntagResourceOutput {})
    }

    pub(crate) async fn list_tags_for_resource(
        &self,
        ctx: &Context,
        input: ListTagsForResourceInput,
    ) -> Result<ListTagsForResourceOutput, Fault> {
        let place = self.taggable(ctx, &input.resource_arn, "SNS:ListTagsForResource")?;
        let topic = self.topic(&self.cloud.store, &place).map_err(renamed)?;
        let tags = topic.tags.iter().map(|(key, value)| Tag {
            key: key.clone(),
            value: value.clone(),
        });
        Ok(ListTagsForResourceOutput {
            tags: Some(tags.collect()),
        })
    }
}
