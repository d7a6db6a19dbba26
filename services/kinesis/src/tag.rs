//! Tags of streams and consumers.

use std::collections::BTreeMap;

use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::consumer::Resource;
use crate::errors::*;
use crate::service::Kinesis;
use crate::stream::Place;

/// The most tags of a resource.
const MOST: usize = 50;

fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || c.is_whitespace() || "_./=+-%@:".contains(c)
}

/// Whether tags may be set on something that has none.
pub(crate) fn check(tags: &BTreeMap<String, String>) -> Result<(), Fault> {
    let all = tags.iter().flat_map(|(k, v)| k.chars().chain(v.chars()));
    if !all.into_iter().all(is_allowed) {
        return Err(invalid_argument_exception(
            "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - % @.",
        ));
    }
    if tags
        .keys()
        .any(|k| k.to_ascii_lowercase().starts_with("aws:"))
    {
        return Err(invalid_argument_exception(
            "Tag keys must not start with aws:, which is reserved for system use.",
        ));
    }
    if tags.len() > MOST {
        return Err(invalid_argument_exception(format!(
            "A resource cannot have more than {MOST} tags associated with it."
        )));
    }
    Ok(())
}

fn add(
    tags: &mut BTreeMap<String, String>,
    new: BTreeMap<String, String>,
    what: &str,
) -> Result<(), Fault> {
    tags.extend(new);
    if tags.len() > MOST {
        return Err(invalid_argument_exception(format!(
            "Failed to add tags to {what} because a given stream cannot have more than {MOST} tags associated with it."
        )));
    }
    Ok(())
}

fn shown(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag {
            key: key.clone(),
            value: Some(value.clone()),
        })
        .collect()
}

impl Kinesis {
    pub(crate) async fn add_tags_to_stream(
        &self,
        ctx: &Context,
        input: AddTagsToStreamInput,
    ) -> Result<AddTagsToStreamOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        check(&input.tags)?;
        let what = format!("stream {} under account {}", place.name, place.account);
        self.change(&place, |_, stream| add(&mut stream.tags, input.tags, &what))
            .await?;
        Ok(AddTagsToStreamOutput {})
    }

    pub(crate) async fn remove_tags_from_stream(
        &self,
        ctx: &Context,
        input: RemoveTagsFromStreamInput,
    ) -> Result<RemoveTagsFromStreamOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        self.change(&place, |_, stream| {
            stream.tags.retain(|key, _| !input.tag_keys.contains(key));
            Ok(())
        })
        .await?;
        Ok(RemoveTagsFromStreamOutput {})
    }

    pub(crate) async fn list_tags_for_stream(
        &self,
        ctx: &Context,
        input: ListTagsForStreamInput,
    ) -> Result<ListTagsForStreamOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let stream = self.stream(&self.cloud.store, &place)?;
        let mut tags = shown(&stream.tags);
        if let Some(after) = &input.exclusive_start_tag_key {
            tags.retain(|tag| tag.key > *after);
        }
        let limit = input
            .limit
            .and_then(|l| usize::try_from(l).ok())
            .unwrap_or(MOST);
        let has_more_tags = tags.len() > limit;
        tags.truncate(limit);
        Ok(ListTagsForStreamOutput {
            tags,
            has_more_tags,
        })
    }

    /// Changes the tags of what an ARN names.
    async fn change_tags(
        &self,
        arn: &str,
        f: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match Resource::parse(arn)? {
            Resource::Stream(place) => self.change(&place, |_, stream| f(&mut stream.tags)).await,
            Resource::Consumer(place, name, created) => {
                self.change_consumer(&place, &name, created, |consumer| f(&mut consumer.tags))
                    .await
            }
            Resource::Channel(place) => {
                self.change_channel(&place, |_, channel| f(&mut channel.tags))
                    .await
            }
            Resource::Queue(place) => {
                self.change_queue(&place, |_, queue| f(&mut queue.tags))
                    .await
            }
        }
    }

    pub(crate) async fn tag_resource(
        &self,
        _: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        check(&input.tags)?;
        let what = format!("resource {}", input.resource_arn);
        self.change_tags(&input.resource_arn, |tags| add(tags, input.tags, &what))
            .await?;
        Ok(TagResourceOutput {})
    }

    pub(crate) async fn untag_resource(
        &self,
        _: &Context,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, Fault> {
        self.change_tags(&input.resource_arn, |tags| {
            tags.retain(|key, _| !input.tag_keys.contains(key));
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
        let view = self.cloud.store.read();
        let tags = match Resource::parse(&input.resource_arn)? {
            Resource::Stream(place) => shown(&self.stream(&view, &place)?.tags),
            Resource::Consumer(place, name, created) => {
                let stream = self.stream(&view, &place)?;
                let consumer = self.consumer(&view, &place, &stream, &name, Some(created))?;
                shown(&consumer.tags)
            }
            Resource::Queue(place) => shown(&self.queue(&view, &place)?.tags),
            Resource::Channel(place) => shown(&self.channel(&view, &place)?.tags),
        };
        Ok(ListTagsForResourceOutput { tags: Some(tags) })
    }
}
