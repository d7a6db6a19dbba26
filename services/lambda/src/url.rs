//! Function URLs: their configurations. What answers them is in `front`.

use std::collections::BTreeMap;

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Read, Record};
use wire::{Fault, Timestamp};

use crate::api;
use crate::errors;
use crate::name::{LATEST, Name};
use crate::page::Page;
use crate::state::State;

/// The URL of a function or of an alias.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Url {
    /// The first label of its host name.
    pub id: String,
    /// `NONE` or `AWS_IAM`.
    pub auth: String,
    /// `BUFFERED` or `RESPONSE_STREAM`.
    pub mode: String,
    /// Whether anybody asked for that mode: what makes or changes the URL does not speak of it otherwise.
    #[serde(default)]
    pub is_mode_chosen: bool,
    pub cors: Option<Cors>,
    pub created: i64,
    pub modified: i64,
}

impl Record for Url {}

/// What other origins may do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cors {
    pub credentials: Option<bool>,
    pub headers: Option<Vec<String>>,
    pub methods: Option<Vec<String>>,
    pub origins: Option<Vec<String>>,
    pub expose: Option<Vec<String>>,
    pub max_age: Option<i32>,
}

/// Whose a URL is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Owner {
    pub account: String,
    pub region: String,
    pub function: String,
    pub qualifier: String,
}

impl Record for Owner {}

impl From<api::Cors> for Cors {
    fn from(c: api::Cors) -> Cors {
        Cors {
            credentials: c.allow_credentials,
            headers: c.allow_headers,
            methods: c.allow_methods,
            origins: c.allow_origins,
            expose: c.expose_headers,
            max_age: c.max_age,
        }
    }
}

impl From<Cors> for api::Cors {
    fn from(c: Cors) -> api::Cors {
        api::Cors {
            allow_credentials: c.credentials,
            allow_headers: c.headers,
            allow_methods: c.methods,
            allow_origins: c.origins,
            expose_headers: c.expose,
            max_age: c.max_age,
        }
    }
}

/// The tag that says which id a function's URL gets.
const CUSTOM_ID: &str = "_custom_id_";

/// The URL as clients of this server reach it: LocalStack's domain resolves to this machine everywhere.
fn address(ctx: &Context, state: &State, url: &Url) -> String {
    let scheme = if ctx.secure { "https" } else { "http" };
    format!(
        "{scheme}://{}.lambda-url.{}.localhost.localstack.cloud:{}/",
        url.id, ctx.region, state.cloud.config.port
    )
}

fn time(millis: i64) -> String {
    Timestamp(millis).iso8601_millis()
}

fn describe(ctx: &Context, state: &State, name: &Name, url: &Url) -> api::FunctionUrlConfig {
    api::FunctionUrlConfig {
        function_url: address(ctx, state, url),
        function_arn: name.full_arn(),
        creation_time: time(url.created),
        last_modified_time: time(url.modified),
        cors: url.cors.clone().map(Into::into),
        auth_type: url.auth.clone(),
        invoke_mode: Some(url.mode.clone()),
    }
}

fn check(name: &Name) -> Result<(), Fault> {
    let version = name
        .qualifier
        .as_ref()
        .filter(|q| *q == LATEST || q.bytes().all(|b| b.is_ascii_digit()));
    match version {
        Some(version) => Err(Fault::sender(
            400,
            "ValidationException",
            format!(
                "1 validation error detected: Value '{version}' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern: ((?!^\\d+$)^[0-9a-zA-Z-_]+$)"
            ),
        )),
        None => Ok(()),
    }
}

fn none() -> Fault {
    errors::resource_not_found_exception("The resource you requested does not exist.")
}

fn no_function() -> Fault {
    errors::resource_not_found_exception("Function does not exist")
}

/// The id that a function's tag asks for; none where it can be no part of a host's name, or is taken.
fn pinned(
    read: &impl Read,
    state: &State,
    name: &Name,
    tags: &BTreeMap<String, String>,
) -> Result<Option<String>, Fault> {
    let Some(tag) = tags.get(CUSTOM_ID) else {
        return Ok(None);
    };
    let is_label = |id: &str| {
        (1..=63).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !id.starts_with('-')
            && !id.ends_with('-')
    };
    let id = match &name.qualifier {
        Some(alias) => format!("{tag}-{alias}"),
        None => tag.clone(),
    };
    let id = id.to_ascii_lowercase();
    if !is_label(&id) {
        tracing::warn!(
            function = name.function,
            tag,
            "Invalid custom ID tag value: a function's URL is given another id"
        );
        return Ok(None);
    }
    Ok((!Read::contains(read, &state.url_owners, &id)?).then_some(id))
}

pub async fn create(
    state: &State,
    ctx: &Context,
    input: api::CreateFunctionUrlConfigInput,
) -> Result<api::CreateFunctionUrlConfigOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    check(&name)?;
    let mut url = Url {
        id: cloud::ids::lower(32),
        auth: input.auth_type,
        is_mode_chosen: input.invoke_mode.is_some(),
        mode: input.invoke_mode.unwrap_or_else(|| "BUFFERED".into()),
        cors: input.cors.map(Into::into),
        created: ctx.time.0,
        modified: ctx.time.0,
    };
    state
        .change(&name, |tx| {
            let found = state.described(tx, &name).map_err(|_| no_function())?;
            if let Some(id) = pinned(tx, state, &name, &found.function.tags)? {
                url.id = id;
            }
            if tx.contains(&state.urls, &name.qualified())? {
                let text = format!(
                    "Failed to create function url config for [functionArn = {}]. Error message:  FunctionUrlConfig exists for this Lambda function",
                    name.full_arn()
                );
                return Err(errors::resource_conflict_exception(text));
            }
            let owner = Owner {
                account: name.account.clone(),
                region: name.region.clone(),
                function: name.function.clone(),
                qualifier: name.qualifier().to_owned(),
            };
            tx.put(&state.url_owners, &url.id, &owner)?;
            Ok(tx.put(&state.urls, &name.qualified(), &url)?)
        })
        .await?;
    let shown = describe(ctx, state, &name, &url);
    Ok(api::CreateFunctionUrlConfigOutput {
        function_url: shown.function_url,
        function_arn: shown.function_arn,
        auth_type: shown.auth_type,
        cors: shown.cors,
        creation_time: shown.creation_time,
        invoke_mode: shown.invoke_mode.filter(|_| url.is_mode_chosen),
    })
}

pub fn get(
    state: &State,
    ctx: &Context,
    input: &api::GetFunctionUrlConfigInput,
) -> Result<api::GetFunctionUrlConfigOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let url = state
        .cloud
        .store
        .read()
        .get(&state.urls, &name.qualified())?
        .ok_or_else(none)?;
    let shown = describe(ctx, state, &name, &url);
    Ok(api::GetFunctionUrlConfigOutput {
        function_url: shown.function_url,
        function_arn: shown.function_arn,
        auth_type: shown.auth_type,
        cors: shown.cors,
        creation_time: shown.creation_time,
        last_modified_time: shown.last_modified_time,
        invoke_mode: shown.invoke_mode,
    })
}

pub async fn update(
    state: &State,
    ctx: &Context,
    input: api::UpdateFunctionUrlConfigInput,
) -> Result<api::UpdateFunctionUrlConfigOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let url = state
        .change(&name, |tx| {
            state.resolve(tx, &name).map_err(|_| no_function())?;
            let mut url = tx.get(&state.urls, &name.qualified())?.ok_or_else(none)?;
            url.auth = input.auth_type.unwrap_or(url.auth);
            url.is_mode_chosen |= input.invoke_mode.is_some();
            url.mode = input.invoke_mode.unwrap_or(url.mode);
            url.cors = input.cors.map(Into::into).or(url.cors);
            url.modified = ctx.time.0;
            tx.put(&state.urls, &name.qualified(), &url)?;
            Ok(url)
        })
        .await?;
    let shown = describe(ctx, state, &name, &url);
    Ok(api::UpdateFunctionUrlConfigOutput {
        function_url: shown.function_url,
        function_arn: shown.function_arn,
        auth_type: shown.auth_type,
        cors: shown.cors,
        creation_time: shown.creation_time,
        last_modified_time: shown.last_modified_time,
        invoke_mode: shown.invoke_mode.filter(|_| url.is_mode_chosen),
    })
}

pub async fn delete(
    state: &State,
    ctx: &Context,
    input: &api::DeleteFunctionUrlConfigInput,
) -> Result<(), Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    state
        .change(&name, |tx| {
            let url = tx.get(&state.urls, &name.qualified())?.ok_or_else(none)?;
            tx.delete(&state.url_owners, &url.id);
            tx.delete(&state.urls, &name.qualified());
            Ok(())
        })
        .await
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListFunctionUrlConfigsInput,
) -> Result<api::ListFunctionUrlConfigsOutput, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let read = state.cloud.store.read();
    if !read.contains(&state.functions, &name.key())? {
        let text = "Function does not exist";
        return Err(errors::resource_not_found_exception(text));
    }
    let marker = input.marker.as_deref();
    let page = Page::read("ListFunctionUrlConfigs", marker, input.max_items)?;
    let rows = read.range(&state.urls, page.range(&name));
    let (function_url_configs, next_marker) = page.cut(rows.map(|row| {
        let ((.., qualifier), url) = row?;
        let named = Name {
            qualifier: (qualifier != LATEST).then(|| qualifier.clone()),
            ..name.clone()
        };
        Ok((qualifier, describe(ctx, state, &named, &url)))
    }))?;
    Ok(api::ListFunctionUrlConfigsOutput {
        function_url_configs,
        next_marker,
    })
}
