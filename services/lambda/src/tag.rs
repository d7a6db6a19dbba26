//! Tags of functions.

use cloud::{Arn, Context};
use wire::Fault;

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

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListTagsInput,
) -> Result<api::ListTagsOutput, Fault> {
    let name = tagged(ctx, &input.resource)?;
    Ok(api::ListTagsOutput {
        tags: Some(state.function(&state.cloud.store.read(), &name)?.tags),
    })
}

pub async fn add(state: &State, ctx: &Context, input: api::TagResourceInput) -> Result<(), Fault> {
    let name = tagged(ctx, &input.resource)?;
    state
        .change(&name, |tx| {
            let mut record = state.function(tx, &name)?;
            record.tags.extend(input.tags);
            if record.tags.len() > 50 {
                return Err(invalid("Number of tags exceeds resource tag limit."));
            }
            Ok(tx.put(&state.functions, &name.key(), &record)?)
        })
        .await
}

pub async fn remove(
    state: &State,
    ctx: &Context,
    input: &api::UntagResourceInput,
) -> Result<(), Fault> {
    let name = tagged(ctx, &input.resource)?;
    state
        .change(&name, |tx| {
            let mut record = state.function(tx, &name)?;
            record.tags.retain(|k, _| !input.tag_keys.contains(k));
            Ok(tx.put(&state.functions, &name.key(), &record)?)
        })
        .await
}
