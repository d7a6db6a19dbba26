//! Tags of pipes.

use cloud::{Arn, Context};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::pipe::Place;
use crate::service::Pipes;

const MOST: usize = 50;

fn place(text: &str) -> Result<Place, Fault> {
    let bad = || validation_exception(format!("Invalid resource ARN {text}."));
    let arn: Arn = text.parse().map_err(|_| bad())?;
    let name = arn.resource.strip_prefix("pipe/").ok_or_else(bad)?;
    Ok(Place {
        account: arn.account.clone(),
        region: arn.region.clone(),
        name: name.to_owned(),
    })
}

impl Pipes {
    pub(crate) async fn tag_resource(
        &self,
        _: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        let place = place(&input.resource_arn)?;
        self.change(&place, |pipe| {
            pipe.tags.extend(input.tags);
            match pipe.tags.len() > MOST {
                true => Err(validation_exception("Tag limit exceeded.")),
                false => Ok(()),
            }
        })
        .await?;
        Ok(TagResourceOutput {})
    }

    pub(crate) async fn untag_resource(
        &self,
        _: &Context,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, Fault> {
        let place = place(&input.resource_arn)?;
        self.change(&place, |pipe| {
            pipe.tags.retain(|key, _| !input.tag_keys.contains(key));
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
        let place = place(&input.resource_arn)?;
        let pipe = self.pipe(&self.cloud.store, &place)?;
        Ok(ListTagsForResourceOutput {
            tags: Some(pipe.tags),
        })
    }
}
