//! Tags of log groups, by the older operations and the newer ones, and of destinations and deliveries.

use std::collections::BTreeMap;

use cloud::Context;
use store::Read;
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

    /// Changes the tags of what an ARN names.
    async fn retag(
        &self,
        ctx: &Context,
        arn: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Result<(), Fault> {
        let check = |tags: &BTreeMap<String, String>| match tags.len() > MOST {
            true => Err(too_many_tags_exception(
                "The number of tags exceeds the limit of 50.",
            )),
            false => Ok(()),
        };
        macro_rules! row {
            ($change:ident, $table:ident, $name:expr) => {{
                let key = (&ctx.account, &ctx.region, $name);
                self.$change(ctx, |tx| {
                    let mut row = tx.get(&self.$table, &key)?.ok_or_else(missing)?;
                    change(&mut row.tags);
                    check(&row.tags)?;
                    Ok(tx.put(&self.$table, &key, &row)?)
                })
                .await
            }};
        }
        match kind_of(arn)? {
            Tagged::Destination(name) => row!(change_destination, destinations, name),
            Tagged::Source(name) => row!(change_deliveries, delivery_sources, name),
            Tagged::Place(name) => row!(change_deliveries, delivery_destinations, name),
            Tagged::Delivery(id) => row!(change_deliveries, deliveries, id),
            Tagged::Group(name) => {
                self.change_group(&ctx.account, &ctx.region, &name, |_, group| {
                    change(&mut group.tags);
                    check(&group.tags)
                })
                .await
            }
        }
        .map_err(no_resource)
    }

    pub(crate) async fn tag_resource(
        &self,
        ctx: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        self.retag(ctx, &input.resource_arn, |tags| tags.extend(input.tags))
            .await?;
        Ok(TagResourceOutput {})
    }

    pub(crate) async fn untag_resource(
        &self,
        ctx: &Context,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, Fault> {
        self.retag(ctx, &input.resource_arn, |tags| {
            tags.retain(|key, _| !input.tag_keys.contains(key));
        })
        .await?;
        Ok(UntagResourceOutput {})
    }

    pub(crate) async fn list_tags_for_resource(
        &self,
        ctx: &Context,
        input: ListTagsForResourceInput,
    ) -> Result<ListTagsForResourceOutput, Fault> {
        let view = self.cloud.store.read();
        let at = |name| (&ctx.account, &ctx.region, name);
        let tags = match kind_of(&input.resource_arn)? {
            Tagged::Destination(name) => {
                view.get(&self.destinations, &at(name))?.map(|row| row.tags)
            }
            Tagged::Source(name) => {
                let row = view.get(&self.delivery_sources, &at(name))?;
                row.map(|row| row.tags)
            }
            Tagged::Place(name) => {
                let row = view.get(&self.delivery_destinations, &at(name))?;
                row.map(|row| row.tags)
            }
            Tagged::Delivery(id) => view.get(&self.deliveries, &at(id))?.map(|row| row.tags),
            Tagged::Group(name) => Some(self.tags(ctx, &name).map_err(no_resource)?),
        };
        Ok(ListTagsForResourceOutput {
            tags: Some(tags.ok_or_else(missing)?.into_iter().collect()),
        })
    }
}

/// What has tags, by the ARN that names it.
enum Tagged<'a> {
    Group(String),
    Destination(&'a str),
    Source(&'a str),
    Place(&'a str),
    Delivery(&'a str),
}

fn kind_of(arn: &str) -> Result<Tagged<'_>, Fault> {
    let mut parts = arn.splitn(7, ':');
    if parts.next() != Some("arn") {
        return Err(validation_exception(format!("Invalid ARN: {arn}")));
    }
    Ok(match (parts.nth(4), parts.next()) {
        (Some("destination"), Some(name)) => Tagged::Destination(name),
        (Some("delivery-source"), Some(name)) => Tagged::Source(name),
        (Some("delivery-destination"), Some(name)) => Tagged::Place(name),
        (Some("delivery"), Some(id)) => Tagged::Delivery(id),
        _ => Tagged::Group(name_in(arn)?),
    })
}

fn missing() -> Fault {
    resource_not_found_exception("The specified resource does not exist.")
}

fn no_resource(fault: Fault) -> Fault {
    match fault.is("ResourceNotFoundException") {
        true => missing(),
        false => fault,
    }
}
