//! Tags of databases.

use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::catalog::Place;
use crate::errors::*;
use crate::service::Glue;

/// The most tags of a resource.
const MOST: usize = 50;

impl Glue {
    pub(crate) async fn tag_resource(
        &self,
        _: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        let place = Place::of_arn(&input.resource_arn)?;
        self.change_database(&place, |_, database| {
            database.tags.extend(input.tags_to_add);
            match database.tags.len() > MOST {
                true => Err(invalid_input_exception(format!(
                    "A resource can have at most {MOST} tags."
                ))),
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
        let place = Place::of_arn(&input.resource_arn)?;
        self.change_database(&place, |_, database| {
            let gone = &input.tags_to_remove;
            database.tags.retain(|key, _| !gone.contains(key));
            Ok(())
        })
        .await?;
        Ok(UntagResourceOutput {})
    }

    pub(crate) async fn get_tags(
        &self,
        _: &Context,
        input: GetTagsInput,
    ) -> Result<GetTagsOutput, Fault> {
        let place = Place::of_arn(&input.resource_arn)?;
        let database = self.database(&self.cloud.store, &place)?;
        Ok(GetTagsOutput {
            tags: Some(database.tags),
        })
    }
}
