//! Tags of schedule groups.

use std::collections::BTreeMap;

use cloud::{Arn, Context};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::service::Schedules;

const MOST: usize = 200;

/// Reads tags, each of whose keys may stand once.
pub(crate) fn read(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, Fault> {
    let mut read = BTreeMap::new();
    for tag in tags {
        if read.insert(tag.key, tag.value).is_some() {
            return Err(validation_exception("Duplicate tag keys are not allowed."));
        }
    }
    Ok(read)
}

/// The account, region and name of a group's ARN.
fn group(text: &str) -> Result<(String, String, String), Fault> {
    let bad = || validation_exception(format!("Invalid resource ARN {text}."));
    let arn: Arn = text.parse().map_err(|_| bad())?;
    let name = arn
        .resource
        .strip_prefix("schedule-group/")
        .ok_or_else(bad)?;
    Ok((arn.account.clone(), arn.region.clone(), name.to_owned()))
}

impl Schedules {
    pub(crate) async fn tag_resource(
        &self,
        ctx: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        let (account, region, name) = group(&input.resource_arn)?;
        let new = read(input.tags)?;
        self.change_group((&account, &region, &name), |_, group| {
            group.tags.extend(new);
            group.modified = ctx.time.0;
            match group.tags.len() > MOST {
                true => Err(validation_exception("Tag limit exceeded.")),
                false => Ok(()),
            }
        })
        .await?;
        Ok(TagResourceOutput {})
    }

    pub(crate) async fn untag_resource(
        &self,
        ctx: &Context,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, Fault> {
        let (account, region, name) = group(&input.resource_arn)?;
        self.change_group((&account, &region, &name), |_, group| {
            group.tags.retain(|key, _| !input.tag_keys.contains(key));
            group.modified = ctx.time.0;
            Ok(())
        })
        .await?;
        Ok(UntagResourceOutput {})
    }

    pub(crate) async fn list_tags_for_resource(
        &self,
        _: &Context,
        input: ListTagsForResourceInput,
    ) -> Result<ListTagsForResourceOutput, Fault> {
        let (account, region, name) = group(&input.resource_arn)?;
        let found = self.group(&self.cloud.store, &account, &region, &name)?;
        let tags = found.tags.into_iter();
        Ok(ListTagsForResourceOutput {
            tags: Some(tags.map(|(key, value)| Tag { key, value }).collect()),
        })
    }
}
