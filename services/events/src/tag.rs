//! Tags of buses and rules.

use std::collections::BTreeMap;

use cloud::{Arn, Context};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::place::{Place, invalid};
use crate::service::Events;

const MOST: usize = 50;

/// Reads tags, each of whose keys may stand once.
pub(crate) fn read(tags: Option<Vec<Tag>>) -> Result<BTreeMap<String, String>, Fault> {
    let mut read = BTreeMap::new();
    for tag in tags.unwrap_or_default() {
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid(
                "Your Tag Key begins with a prefix (aws:) that is reserved. Remove or rename the Tag Key and try again.",
            ));
        }
        if read.insert(tag.key, tag.value).is_some() {
            return Err(invalid("Duplicate tag keys are not allowed."));
        }
    }
    match read.len() > MOST {
        true => Err(invalid("Tag limit exceeded.")),
        false => Ok(read),
    }
}

pub(crate) fn shown(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    let tags = tags.iter();
    tags.map(|(key, value)| Tag {
        key: key.clone(),
        value: value.clone(),
    })
    .collect()
}

enum Resource {
    Bus(Place),
    Rule(Place, String),
}

impl Resource {
    fn parse(text: &str) -> Result<Resource, Fault> {
        let arn = text.parse::<Arn>().map_err(|_| {
            invalid(format!(
                "Parameter {text} is not valid. Reason: Provided Arn is not in correct format."
            ))
        })?;
        if let Some(place) = Place::of_arn(&arn) {
            return Ok(Resource::Bus(place));
        }
        if let Some((place, rule)) = Place::of_rule_arn(&arn) {
            return Ok(Resource::Rule(place, rule));
        }
        Err(resource_not_found_exception(
            "An entity that you specified does not exist.",
        ))
    }
}

impl Events {
    async fn change_tags(
        &self,
        arn: &str,
        f: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match Resource::parse(arn)? {
            Resource::Bus(place) => self.change_bus(&place, |_, bus| f(&mut bus.tags)).await,
            Resource::Rule(place, rule) => {
                self.change_rule(&place, &rule, |_, rule| f(&mut rule.tags))
                    .await
            }
        }
    }

    pub(crate) async fn tag_resource(
        &self,
        _: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        let new = read(Some(input.tags))?;
        self.change_tags(&input.resource_arn, |tags| {
            tags.extend(new);
            match tags.len() > MOST {
                true => Err(invalid("Tag limit exceeded.")),
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
            Resource::Bus(place) => self.bus(&view, &place)?.tags,
            Resource::Rule(place, rule) => self.rule(&view, &place, &rule)?.tags,
        };
        Ok(ListTagsForResourceOutput {
            tags: Some(shown(&tags)),
        })
    }
}
