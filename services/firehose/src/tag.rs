//! Tags of delivery streams, in the order in which they were set.

use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::delivery_stream::Place;
use crate::errors::*;
use crate::service::Firehose;

/// The most tags of a stream.
const MOST: usize = 50;

type Tags = Vec<(String, Option<String>)>;

fn add(tags: &mut Tags, new: Vec<Tag>) -> Result<(), Fault> {
    if new.iter().any(|tag| tag.key.starts_with("aws:")) {
        return Err(invalid_argument_exception(
            "Tag keys starting with 'aws:' are reserved for system use",
        ));
    }
    for tag in new {
        match tags.iter_mut().find(|(key, _)| *key == tag.key) {
            Some((_, value)) => *value = tag.value,
            None => tags.push((tag.key, tag.value)),
        }
    }
    if tags.len() > MOST {
        return Err(invalid_argument_exception(format!(
            "A delivery stream cannot have more than {MOST} tags."
        )));
    }
    Ok(())
}

/// The tags of a new stream.
pub(crate) fn first(new: Vec<Tag>) -> Result<Tags, Fault> {
    let mut tags = Tags::new();
    add(&mut tags, new)?;
    Ok(tags)
}

impl Firehose {
    pub(crate) async fn tag_delivery_stream(
        &self,
        ctx: &Context,
        input: TagDeliveryStreamInput,
    ) -> Result<TagDeliveryStreamOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        self.change(&place, |_, stream| add(&mut stream.tags, input.tags))
            .await?;
        Ok(TagDeliveryStreamOutput {})
    }

    pub(crate) async fn untag_delivery_stream(
        &self,
        ctx: &Context,
        input: UntagDeliveryStreamInput,
    ) -> Result<UntagDeliveryStreamOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        self.change(&place, |_, stream| {
            stream.tags.retain(|(key, _)| !input.tag_keys.contains(key));
            Ok(())
        })
        .await?;
        Ok(UntagDeliveryStreamOutput {})
    }

    pub(crate) async fn list_tags_for_delivery_stream(
        &self,
        ctx: &Context,
        input: ListTagsForDeliveryStreamInput,
    ) -> Result<ListTagsForDeliveryStreamOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        let stream = self.stream(&self.cloud.store, &place)?;
        let limit = usize::try_from(input.limit.unwrap_or(50)).unwrap_or(50);
        let after = input.exclusive_start_tag_key.as_deref();
        let place_of = |key| stream.tags.iter().position(|(k, _)| k == key);
        let skip = after.and_then(place_of).map_or(0, |at| at + 1);
        let rest = stream.tags.iter().skip(skip);
        let has_more_tags = rest.len() > limit;
        let tags = rest.take(limit).map(|(key, value)| Tag {
            key: key.clone(),
            value: value.clone(),
        });
        Ok(ListTagsForDeliveryStreamOutput {
            tags: tags.collect(),
            has_more_tags,
        })
    }
}
