//! Tags of functions and event source mappings.

use std::collections::BTreeMap;

use cloud::{Arn, Context};
use store::Read;
use wire::Fault;

use crate::event_source::{self, Mapping};
use crate::name::Name;
use crate::state::State;
use crate::{api, errors};

fn invalid(text: impl Into<String>) -> Fault {
    errors::invalid_parameter_value_exception(text.into())
}

/// The function whose tags a request means.
fn tagged(ctx: &Context, resource: &str) -> Result<Name, Fault> {
    let found = resource
        .parse::<Arn>()
        .ok()
        .and_then(|arn| Name::of_arn(&arn));
    let is_provider = |arn: Arn| arn.resource.starts_with("capacity-provider:");
    if resource.parse::<Arn>().is_ok_and(is_provider) {
        // There are none here.
        let text = format!("Capacity provider not found: {resource}");
        return Err(errors::resource_not_found_exception(text));
    }
    let name =
        found.ok_or_else(|| invalid(format!("The resource {resource} is not a function's ARN")))?;
    if name.qualifier.is_some() {
        return Err(invalid(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        ));
    }
    if name.account != ctx.account {
        return Err(name.not_found());
    }
    Ok(name)
}

/// Changes the tags of what a request means.
async fn change(
    state: &State,
    ctx: &Context,
    resource: &str,
    f: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if let Some(key) = event_source::key_of(ctx, resource) {
        return event_source::change(state, &key, |tx| {
            let mut record: Mapping = tx
                .get(&state.mappings, &key)?
                .ok_or_else(|| missing(resource))?;
            f(&mut record.tags)?;
            Ok(tx.put(&state.mappings, &key, &record)?)
        })
        .await;
    }
    let name = tagged(ctx, resource)?;
    state
        .change(&name, |tx| {
            let mut record = state.function(tx, &name)?;
            f(&mut record.tags)?;
            record.latest.mark = Some(cloud::ids::uuid());
            Ok(tx.put(&state.functions, &name.key(), &record)?)
        })
        .await
}

fn missing(resource: &str) -> Fault {
    errors::resource_not_found_exception(format!("Event source mapping not found: {resource}"))
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListTagsInput,
) -> Result<api::ListTagsOutput, Fault> {
    let read = state.cloud.store.read();
    let tags = match event_source::key_of(ctx, &input.resource) {
        Some(key) => {
            let found: Option<Mapping> = read.get(&state.mappings, &key)?;
            found.ok_or_else(|| missing(&input.resource))?.tags
        }
        None => state.function(&read, &tagged(ctx, &input.resource)?)?.tags,
    };
    Ok(api::ListTagsOutput { tags: Some(tags) })
}

/// Holds a resource to the number of tags that it may have.
pub fn check_number(tags: usize) -> Result<(), Fault> {
    match tags > 50 {
        true => Err(invalid("Number of tags exceeds resource tag limit.")),
        false => Ok(()),
    }
}

pub async fn add(state: &State, ctx: &Context, input: api::TagResourceInput) -> Result<(), Fault> {
    if input.tags.is_empty() {
        return Err(invalid(
            "An error occurred and the request cannot be processed.",
        ));
    }
    change(state, ctx, &input.resource, |tags| {
        tags.extend(input.tags);
        check_number(tags.len())
    })
    .await
}

pub async fn remove(
    state: &State,
    ctx: &Context,
    input: &api::UntagResourceInput,
) -> Result<(), Fault> {
    if input.tag_keys.is_empty() {
        let text = "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null";
        return Err(Fault::sender(400, "ValidationException", text));
    }
    change(state, ctx, &input.resource, |tags| {
        tags.retain(|k, _| !input.tag_keys.contains(k));
        Ok(())
    })
    .await
}
