//! Event invoke configurations: retries, age and destinations of asynchronous invocations.

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Read, Record};
use wire::{Fault, Timestamp};

use crate::api::{self, FunctionEventInvokeConfig};
use crate::errors;
use crate::name::Name;
use crate::page::Page;
use crate::state::State;

/// What is said of the events of a function, a version or an alias.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EventInvoke {
    pub retries: Option<i32>,
    /// Seconds.
    pub maximum_age: Option<i32>,
    pub on_success: Option<String>,
    pub on_failure: Option<String>,
    pub modified: i64,
}

impl Record for EventInvoke {}

impl EventInvoke {
    fn describe(&self, name: &Name) -> FunctionEventInvokeConfig {
        FunctionEventInvokeConfig {
            last_modified: Some(Timestamp(self.modified)),
            function_arn: Some(name.arn_of(name.qualifier())),
            maximum_retry_attempts: self.retries,
            maximum_event_age_in_seconds: self.maximum_age,
            destination_config: Some(api::DestinationConfig {
                on_success: Some(api::OnSuccess {
                    destination: self.on_success.clone(),
                }),
                on_failure: Some(api::OnFailure {
                    destination: self.on_failure.clone(),
                }),
            }),
        }
    }
}

/// A destination that may be; an empty one takes it away.
fn destination(
    state: &State,
    name: &Name,
    given: Option<String>,
    whole: &str,
) -> Result<Option<String>, Fault> {
    let Some(text) = given.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let invalid = |text: String| Err(errors::invalid_parameter_value_exception(text));
    let known = ["lambda", "sqs", "sns", "events", "s3"];
    match text.parse::<Arn>() {
        Ok(arn) if arn.to_string() == name.arn() => {
            invalid("You can't specify the function as a destination for itself.".into())
        }
        Ok(arn) if known.contains(&arn.service.as_str()) => {
            if arn.service == "lambda" {
                let target = Name::of_arn(&arn).unwrap_or_else(|| name.clone());
                if !state
                    .cloud
                    .store
                    .read()
                    .contains(&state.functions, &target.key())?
                {
                    return invalid(format!("The destination ARN {text} is invalid."));
                }
            }
            Ok(Some(text))
        }
        _ => invalid(format!(
            "The provided destination config {whole} is invalid."
        )),
    }
}

/// A destination config, as AWS writes it in messages.
fn written(config: &api::DestinationConfig) -> String {
    let on = |kind: &str, given: Option<&Option<String>>| match given {
        Some(destination) => {
            let destination = destination.as_deref().unwrap_or("null");
            format!("{kind}(destination={destination})")
        }
        None => "null".to_owned(),
    };
    let success = config.on_success.as_ref().map(|d| &d.destination);
    let failure = config.on_failure.as_ref().map(|d| &d.destination);
    format!(
        "DestinationConfig(onSuccess={}, onFailure={})",
        on("OnSuccess", success),
        on("OnFailure", failure)
    )
}

fn none(name: &Name) -> Fault {
    let text = format!(
        "The function {} doesn't have an EventInvokeConfig",
        name.arn_of(name.qualifier())
    );
    errors::resource_not_found_exception(text)
}

/// Sets all of it.
pub async fn put(
    state: &State,
    ctx: &Context,
    input: api::PutFunctionEventInvokeConfigInput,
) -> Result<FunctionEventInvokeConfig, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let says_nothing = input.maximum_retry_attempts.is_none()
        && input.maximum_event_age_in_seconds.is_none()
        && input.destination_config.is_none();
    if says_nothing {
        return Err(errors::invalid_parameter_value_exception(
            "You must specify at least one of error handling or destination setting.",
        ));
    }
    let targets = input.destination_config.unwrap_or_default();
    let whole = written(&targets);
    let on_success = targets.on_success.and_then(|d| d.destination);
    let on_failure = targets.on_failure.and_then(|d| d.destination);
    let record = EventInvoke {
        retries: input.maximum_retry_attempts,
        maximum_age: input.maximum_event_age_in_seconds,
        on_success: destination(state, &name, on_success, &whole)?,
        on_failure: destination(state, &name, on_failure, &whole)?,
        modified: ctx.time.0,
    };
    state
        .change(&name, |tx| {
            state.resolve(tx, &name).map_err(|_| no_function())?;
            Ok(tx.put(&state.event_invokes, &name.qualified(), &record)?)
        })
        .await?;
    Ok(record.describe(&name))
}

fn no_function() -> Fault {
    errors::resource_not_found_exception("The function doesn't exist.")
}

/// Sets what is given and leaves the rest.
pub async fn update(
    state: &State,
    ctx: &Context,
    input: api::UpdateFunctionEventInvokeConfigInput,
) -> Result<FunctionEventInvokeConfig, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let targets = input.destination_config.unwrap_or_default();
    let whole = written(&targets);
    let on_success = match targets.on_success {
        Some(given) => Some(destination(state, &name, given.destination, &whole)?),
        None => None,
    };
    let on_failure = match targets.on_failure {
        Some(given) => Some(destination(state, &name, given.destination, &whole)?),
        None => None,
    };
    let record = state
        .change(&name, |tx| {
            state.resolve(tx, &name).map_err(|_| no_function())?;
            let mut record = tx
                .get(&state.event_invokes, &name.qualified())?
                .ok_or_else(|| none(&name))?;
            record.retries = input.maximum_retry_attempts.or(record.retries);
            record.maximum_age = input.maximum_event_age_in_seconds.or(record.maximum_age);
            record.on_success = on_success.unwrap_or(record.on_success);
            record.on_failure = on_failure.unwrap_or(record.on_failure);
            record.modified = ctx.time.0;
            tx.put(&state.event_invokes, &name.qualified(), &record)?;
            Ok(record)
        })
        .await?;
    Ok(record.describe(&name))
}

pub fn get(
    state: &State,
    ctx: &Context,
    input: &api::GetFunctionEventInvokeConfigInput,
) -> Result<FunctionEventInvokeConfig, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let read = state.cloud.store.read();
    let record = read
        .get(&state.event_invokes, &name.qualified())?
        .ok_or_else(|| none(&name))?;
    Ok(record.describe(&name))
}

pub async fn delete(
    state: &State,
    ctx: &Context,
    input: &api::DeleteFunctionEventInvokeConfigInput,
) -> Result<(), Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    state
        .change(&name, |tx| {
            if !tx.contains(&state.event_invokes, &name.qualified())? {
                return Err(none(&name));
            }
            tx.delete(&state.event_invokes, &name.qualified());
            Ok(())
        })
        .await
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListFunctionEventInvokeConfigsInput,
) -> Result<api::ListFunctionEventInvokeConfigsOutput, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let read = state.cloud.store.read();
    state.function(&read, &name).map_err(|_| no_function())?;
    let marker = input.marker.as_deref();
    let page = Page::read("ListFunctionEventInvokeConfigs", marker, input.max_items)?;
    let rows = read.range(&state.event_invokes, page.range(&name));
    let (configs, next_marker) = page.cut(rows.map(|row| {
        let ((.., qualifier), record) = row?;
        let named = Name {
            qualifier: Some(qualifier.clone()),
            ..name.clone()
        };
        Ok((qualifier, record.describe(&named)))
    }))?;
    Ok(api::ListFunctionEventInvokeConfigsOutput {
        function_event_invoke_configs: Some(configs),
        next_marker,
    })
}
