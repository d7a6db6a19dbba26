//! Tags of everything that has a name of its own.

use std::collections::HashSet;

use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::entity::{Entity, key};
use crate::errors::*;
use crate::page::{Page, page};
use crate::role::Role;
use crate::service::Iam;
use crate::user::User;

/// Keys and values in the order they were first set.
pub(crate) type Tags = Vec<(String, String)>;

const MOST: usize = 50;

/// Tags with new ones among them.
pub(crate) fn merged(old: &Tags, new: Vec<Tag>) -> Result<Tags, Fault> {
    let mut seen = HashSet::new();
    let mut tags = old.clone();
    for Tag { key: name, value } in new {
        if name.to_lowercase().starts_with("aws:") {
            return Err(invalid_input_exception(
                "System tags cannot be added/updated by user.",
            ));
        }
        if !seen.insert(name.to_lowercase()) {
            return Err(invalid_input_exception(
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
        match tags
            .iter_mut()
            .find(|(k, _)| k.to_lowercase() == name.to_lowercase())
        {
            Some(tag) => *tag = (name, value),
            None => tags.push((name, value)),
        }
    }
    if tags.len() > MOST {
        return Err(limit_exceeded_exception(
            "The number of tags has reached the maximum limit.",
        ));
    }
    Ok(tags)
}

/// Tags as answers have them; none at all where there are none.
pub(crate) fn shown(tags: &Tags) -> Option<Vec<Tag>> {
    (!tags.is_empty()).then(|| listed(tags))
}

fn listed(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag {
            key: key.clone(),
            value: value.clone(),
        })
        .collect()
}

pub(crate) fn without(tags: &mut Tags, keys: &[String]) {
    let gone: HashSet<String> = keys.iter().map(|k| k.to_lowercase()).collect();
    tags.retain(|(key, _)| !gone.contains(&key.to_lowercase()));
}

pub(crate) fn paged(
    tags: &Tags,
    marker: Option<&str>,
    max_items: Option<i32>,
) -> Result<Page<Tag>, Fault> {
    let mut all = listed(tags);
    all.sort_by(|a, b| a.key.cmp(&b.key));
    page("ListTags", all, marker, max_items, |tag| tag.key.clone())
}

macro_rules! tags {
    ($entity:ident, $name:ident, $tag:ident: $tag_in:ident => $tag_out:ident,
     $untag:ident: $untag_in:ident => $untag_out:ident, $list:ident: $list_in:ident => $list_out:ident) => {
        impl Iam {
            pub(crate) async fn $tag(
                &self,
                ctx: &Context,
                input: $tag_in,
            ) -> Result<$tag_out, Fault> {
                self.change(&ctx.account, &input.$name, |_, entity: &mut $entity| {
                    entity.tags = merged(&entity.tags, input.tags)?;
                    Ok(())
                })
                .await?;
                Ok($tag_out {})
            }
            pub(crate) async fn $untag(
                &self,
                ctx: &Context,
                input: $untag_in,
            ) -> Result<$untag_out, Fault> {
                self.change(&ctx.account, &input.$name, |_, entity: &mut $entity| {
                    without(&mut entity.tags, &input.tag_keys);
                    Ok(())
                })
                .await?;
                Ok($untag_out {})
            }
            pub(crate) async fn $list(
                &self,
                ctx: &Context,
                input: $list_in,
            ) -> Result<$list_out, Fault> {
                let entity: $entity = self.find(&ctx.account, &input.$name)?;
                let page = paged(&entity.tags, input.marker.as_deref(), input.max_items)?;
                Ok($list_out {
                    tags: page.items,
                    is_truncated: page.is_truncated,
                    marker: page.marker,
                })
            }
        }
    };
}

tags!(Role, role_name, tag_role: TagRoleInput => TagRoleOutput, untag_role: UntagRoleInput => UntagRoleOutput,
    list_role_tags: ListRoleTagsInput => ListRoleTagsOutput);
tags!(User, user_name, tag_user: TagUserInput => TagUserOutput, untag_user: UntagUserInput => UntagUserOutput,
    list_user_tags: ListUserTagsInput => ListUserTagsOutput);

impl Iam {
    /// Whether an entity of that name exists.
    pub(crate) fn exists<E: Entity>(&self, account: &str, name: &str) -> Result<bool, Fault> {
        Ok(store::Read::contains(
            &self.cloud.store,
            &E::table(self),
            &(account, &key(name)),
        )?)
    }
}
