//! Published versions, and changes of the one that is not.

use std::sync::Arc;

use cloud::Context;
use store::{Range, Read, Tx};
use wire::Fault;

use crate::api::{self, FunctionConfiguration};
use crate::configuration::Configuration;
use crate::function::{self, Function, Published, Settings, listed};
use crate::name::{LATEST, Name};
use crate::state::State;
use crate::{code, errors, layer, provisioned, revision};

fn check_revision(latest: &Configuration, asked: Option<&str>) -> Result<(), Fault> {
    revision::check(asked, latest.shown_revision(), "GetFunction/GetAlias")
}

/// Publishes the present configuration, or answers the last version where nothing has changed since.
pub fn publish_in(
    state: &State,
    tx: &mut Tx<'_>,
    name: &Name,
    function: &mut Function,
    description: Option<String>,
    now: i64,
) -> Result<(u64, Configuration), Fault> {
    if function.last_version > 0 {
        let key = (
            &name.account,
            &name.region,
            &name.function,
            function.last_version,
        );
        if let Some(last) = tx.get(&state.versions, &key)?
            && last.configuration.source_revision() == function.latest.source_revision()
        {
            return Ok((function.last_version, last.configuration));
        }
    }
    function.last_version += 1;
    let mut configuration = function.latest.clone();
    configuration.published_from = Some(function.latest.revision.clone());
    configuration.revision = cloud::ids::uuid();
    configuration.mark = None;
    configuration.modified = now;
    function.latest.mark = Some(cloud::ids::uuid());
    if let Some(description) = description {
        configuration.description = description;
    }
    configuration.link(tx);
    let key = (
        &name.account,
        &name.region,
        &name.function,
        function.last_version,
    );
    tx.put(
        &state.versions,
        &key,
        &Published {
            configuration: configuration.clone(),
        },
    )?;
    tx.put(&state.functions, &name.key(), function)?;
    Ok((function.last_version, configuration))
}

pub async fn publish(
    state: &Arc<State>,
    ctx: &Context,
    input: api::PublishVersionInput,
) -> Result<FunctionConfiguration, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let (number, configuration) = state
        .change(&name, |tx| {
            let mut function = state.function(tx, &name)?;
            check_revision(&function.latest, input.revision_id.as_deref())?;
            if let Some(sha) = &input.code_sha256
                && !sha.is_empty()
                && *sha != function.latest.code.sha256
            {
                let text = format!("CodeSHA256 ({sha}) is different from current CodeSHA256 in $LATEST ({}). Please try again with the CodeSHA256 in $LATEST.", function.latest.code.sha256);
                return Err(errors::invalid_parameter_value_exception(text));
            }
            publish_in(state, tx, &name, &mut function, input.description, ctx.time.0)
        })
        .await?;
    let version = number.to_string();
    Ok(configuration.describe(&name, name.arn_of(&version), &version))
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListVersionsByFunctionInput,
) -> Result<api::ListVersionsByFunctionOutput, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let read = state.cloud.store.read();
    let function = state.function(&read, &name)?;
    let most = usize::try_from(input.max_items.unwrap_or(50))
        .unwrap_or(50)
        .clamp(1, 50);
    let mut range = Range::prefix(&name.key());
    let mut versions = Vec::new();
    match input.marker.as_deref().filter(|m| !m.is_empty()) {
        Some(marker) => {
            let place = cloud::paging::place("ListVersionsByFunction", marker);
            let after = place.and_then(|p| p.first()?.parse::<u64>().ok());
            let after = after.ok_or_else(|| {
                errors::invalid_parameter_value_exception("Invalid pagination token")
            })?;
            range = range.after(&(&name.account, &name.region, &name.function, after));
        }
        None => versions.push(listed(function.latest.describe(
            &name,
            name.arn_of(LATEST),
            LATEST,
        ))),
    }
    let mut next_marker = None;
    let mut last = 0;
    for row in read.range(&state.versions, range) {
        let ((.., number), published) = row?;
        if versions.len() >= most {
            next_marker = Some(cloud::paging::token(
                "ListVersionsByFunction",
                &[&last.to_string()],
            ));
            break;
        }
        last = number;
        let version = number.to_string();
        let shown = published
            .configuration
            .describe(&name, name.arn_of(&version), &version);
        versions.push(listed(shown));
    }
    Ok(api::ListVersionsByFunctionOutput {
        versions: Some(versions),
        next_marker,
    })
}

/// Deletes one published version.
pub async fn delete(state: &Arc<State>, name: &Name) -> Result<(), Fault> {
    let number: u64 = name.qualifier().parse().map_err(|_| {
        let text = if name.qualifier() == LATEST {
            "$LATEST version cannot be deleted without deleting the function."
        } else {
            "Deletion of aliases is not currently supported."
        };
        errors::invalid_parameter_value_exception(text)
    })?;
    state
        .change(name, |tx| {
            let function = Name {
                qualifier: None,
                ..name.clone()
            };
            state.function(tx, &function)?;
            for row in tx
                .range(&state.aliases, Range::prefix(&name.key()))
                .collect::<Result<Vec<_>, _>>()?
            {
                if row.1.version == number.to_string()
                    || row.1.weights.contains_key(&number.to_string())
                {
                    let text = format!("Version {number} is referenced by the alias {}.", row.0.3);
                    return Err(errors::resource_conflict_exception(text));
                }
            }
            let key = (&name.account, &name.region, &name.function, number);
            // Deleting what is not there succeeds, as AWS's does.
            if let Some(published) = tx.get(&state.versions, &key)? {
                published.configuration.release(tx);
                tx.delete(&state.versions, &key);
            }
            tx.delete(&state.provisioned, &name.qualified());
            Ok(())
        })
        .await?;
    state.pools.retire(name, Some(name.qualifier()));
    provisioned::sync(state, name)
}

/// What AWS answers while a change is being rolled out.
fn in_progress(shown: &mut FunctionConfiguration) {
    shown.last_update_status = Some("InProgress".into());
    shown.last_update_status_reason = Some("The function is being created.".into());
    shown.last_update_status_reason_code = Some("Creating".into());
    // Being through will be another revision.
    shown.revision_id = Some(cloud::ids::uuid());
}

pub async fn update_code(
    state: &Arc<State>,
    ctx: &Context,
    input: api::UpdateFunctionCodeInput,
) -> Result<FunctionConfiguration, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let before = state.function(&state.cloud.store.read(), &name)?;
    check_revision(&before.latest, input.revision_id.as_deref())?;
    if input.image_uri.is_some() {
        let text = "Please don't provide ImageUri when updating a function with packageType Zip.";
        return Err(errors::invalid_parameter_value_exception(text));
    }
    let source = code::Source {
        zip: input.zip_file,
        bucket: input.s3_bucket,
        key: input.s3_key,
        version: input.s3_object_version,
    };
    let taken = code::take(state, &ctx.account, source).await?;
    code::directory(state, &taken.code).await?;
    let change = |function: &mut Function| {
        function.latest.code = taken.code.clone();
        if let Some(architectures) = &input.architectures {
            function.latest.architectures.clone_from(architectures);
        }
    };
    if input.dry_run == Some(true) {
        let mut function = before;
        change(&mut function);
        return Ok(function.latest.describe(&name, name.arn(), LATEST));
    }
    let publish = input.publish == Some(true);
    let shown = state
        .change(&name, |tx| {
            let mut function = state.function(tx, &name)?;
            check_revision(&function.latest, input.revision_id.as_deref())?;
            function.latest.release(tx);
            change(&mut function);
            function.latest.link(tx);
            settle(state, tx, ctx, &name, function, publish)
        })
        .await?;
    drop(taken);
    state.pools.retire(&name, Some(LATEST));
    Ok(shown)
}

/// Stores a changed function and shows it, or the version that is published of it.
fn settle(
    state: &State,
    tx: &mut Tx<'_>,
    ctx: &Context,
    name: &Name,
    mut function: Function,
    publish: bool,
) -> Result<FunctionConfiguration, Fault> {
    function.latest.modified = ctx.time.0;
    function.latest.revision = cloud::ids::uuid();
    function.latest.mark = None;
    tx.put(&state.functions, &name.key(), &function)?;
    if publish {
        let (number, configuration) = publish_in(state, tx, name, &mut function, None, ctx.time.0)?;
        let version = number.to_string();
        // A version is made like a function, not changed.
        let mut shown = configuration.describe(name, name.arn_of(&version), &version);
        function::pending(&mut shown);
        return Ok(shown);
    }
    let mut shown = function.latest.describe(name, name.arn(), LATEST);
    in_progress(&mut shown);
    Ok(shown)
}

pub async fn update_configuration(
    state: &Arc<State>,
    ctx: &Context,
    input: api::UpdateFunctionConfigurationInput,
) -> Result<FunctionConfiguration, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let layers = match &input.layers {
        Some(arns) => Some(layer::resolve(state, ctx, arns)?),
        None => None,
    };
    let revision = input.revision_id;
    let settings = Settings {
        runtime: input.runtime,
        role: input.role,
        handler: input.handler,
        description: input.description,
        timeout: input.timeout,
        memory: input.memory_size,
        environment: input.environment,
        kms_key: input.kms_key_arn,
        dead_letter: input.dead_letter_config,
        tracing: input.tracing_config,
        vpc: input.vpc_config,
        file_systems: input.file_system_configs,
        storage: input.ephemeral_storage,
        snap_start: input.snap_start,
        logging: input.logging_config,
    };
    let shown = state
        .change(&name, |tx| {
            let mut function = state.function(tx, &name)?;
            check_revision(&function.latest, revision.as_deref())?;
            function.latest.release(tx);
            settings.apply(state, &name, &mut function.latest)?;
            if let Some(layers) = layers {
                function.latest.layers = layers;
            }
            function.latest.link(tx);
            settle(state, tx, ctx, &name, function, false)
        })
        .await?;
    state.pools.retire(&name, Some(LATEST));
    Ok(shown)
}
