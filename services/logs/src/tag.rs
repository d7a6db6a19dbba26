//! Tags of log groups, by the older operations and the newer ones.

use std::collections::BTreeMap;

use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::group::name_in;
use crate::service::Logs;

const MOST: usize = 50;

impl Logs {
    async fn tag(
        &self,
        ctx: &Context,
        name: &str,
        new: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Fault> {
        self.change_group(&ctx.account, &ctx.region, name, |_, group| {
            group.tags.extend(new);
            if group.tags.len() > MOST {
                return Err(too_many_tags_exception(
                    "The number of tags exceeds the limit of 50.",
                ));
            }
            Ok(())
        })
        .await
    }

    async fn untag(&self, ctx: &Context, name: &str, keys: &[String]) -> Result<(), Fault> {
        self.change_group(&ctx.account, &ctx.region, name, |_, group| {
            keys.iter().for_each(|key| {
                group.tags.remove(key);
            });
            Ok(())
        })
        .await
    }

    fn tags(&self, ctx: &Context, name: &str) -> Result<BTreeMap<String, String>, Fault> {
        Ok(self.group(&ctx.account, &ctx.region, name)?.tags)
    }

    pub(crate) async fn tag_log_group(
        &self,
        ctx: &Context,
        input: TagLogGroupInput,
    ) -> Result<TagLogGroupOutput, Fault> {
        self.tag(ctx, &input.log_group_name, input.tags).await?;
        Ok(TagLogGroupOutput {})
    }

    pub(crate) async fn untag_log_group(
        &self,
        ctx: &Context,
        input: UntagLogGroupInput,
    ) -> Result<UntagLogGroupOutput, Fault> {
        self.untag(ctx, &input.log_group_name, &input.tags).await?;
        Ok(UntagLogGroupOutput {})
    }

    pub(crate) async fn list_tags_log_group(
        &self,
        ctx: &Context,
        input: ListTagsLogGroupInput,
    ) -> Result<ListTagsLogGroupOutput, Fault> {
        Ok(ListTagsLogGroupOutput {
            tags: Some(self.tags(ctx, &input.log_group_name)?.into_iter().collect()),
        })
    }

    pub(crate) async fn tag_resource(
        &self,
        ctx: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        self.tag(ctx, &group_of(&input.resource_arn)?, input.tags)
            .await
            .map_err(no_resource)?;
        Ok(TagResourceOutput {})
    }

    pub(crate) async fn untag_resource(
        &self,
        ctx: &Context,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, Fault> {
        self.untag(ctx, &group_of(&input.resource_arn)?, &input.tag_keys)
            .await
            .map_err(no_resource)?;
        Ok(UntagResourceOutput {})
    }

    pub(crate) async fn list_tags_for_resource(
        &self,
        ctx: &Context,
        input: ListTagsForResourceInput,
    ) -> Result<ListTagsForResourceOutput, Fault> {
        let tags = self
            .tags(ctx, &group_of(&input.resource_arn)?)
            .map_err(no_resource)?;
        Ok(ListTagsForResourceOutput {
            tags: Some(tags.into_iter().collect()),
        })
    }
}

fn group_of(arn: &str) -> Result<String, Fault> {
    if !arn.starts_with("arn:") {
        return Err(validation_exception(format!("Invalid ARN: {arn}")));
    }
    name_in(arn)
}

fn no_resource(fault: Fault) -> Fault {
    if fault.is("ResourceNotFoundException") {
        return resource_not_found_exception("The specified resource does not exist.");
    }
    fault
}
