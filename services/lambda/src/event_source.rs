//! Event source mappings: functions that are invoked with what a queue or a stream holds.

use std::sync::Arc;

use cloud::consumer::Stream;
use cloud::{Arn, Context};
use serde_json::Value;
use store::{Range, Read, Scope, Tx};
use wire::Fault;

use crate::api::{self, EventSourceMappingConfiguration};
use crate::errors;
pub use crate::mapping::{Key, Mapping};
use crate::mapping::{OfStream, filters, invalid, on_failure, refuse, service_of};
use crate::name::Name;
use crate::state::State;
use crate::{feed, poller};

/// The name of the jobs that bring a mapping to the state that it is on its way to.
pub const SETTLE: &str = "lambda.mapping";

fn none() -> Fault {
    errors::resource_not_found_exception("The resource you requested does not exist.")
}

/// Refuses what a creation and an update, which are two types of the model, may both carry for streams only.
macro_rules! refuse_stream_settings {
    ($input:ident) => {
        for (is_given, name) in [
            (
                $input.parallelization_factor.is_some(),
                "ParallelizationFactor",
            ),
            (
                $input.maximum_record_age_in_seconds.is_some(),
                "MaximumRecordAgeInSeconds",
            ),
            (
                $input.maximum_retry_attempts.is_some(),
                "MaximumRetryAttempts",
            ),
            (
                $input.bisect_batch_on_function_error.is_some(),
                "BisectBatchOnFunctionError",
            ),
            (
                $input.tumbling_window_in_seconds.is_some(),
                "TumblingWindowInSeconds",
            ),
            (
                $input
                    .destination_config
                    .as_ref()
                    .is_some_and(|d| d.on_failure.is_some() || d.on_success.is_some()),
                "DestinationConfig",
            ),
        ] {
            refuse(is_given, name)?;
        }
    };
}

/// Takes over what a creation and an update may both say of a stream.
macro_rules! take_stream_settings {
    ($of:ident, $input:ident) => {
        refuse($input.scaling_config.is_some(), "ScalingConfig")?;
        $of.parallel = $input.parallelization_factor.unwrap_or($of.parallel);
        $of.max_age = $input.maximum_record_age_in_seconds.unwrap_or($of.max_age);
        $of.retries = $input.maximum_retry_attempts.unwrap_or($of.retries);
        $of.bisects = $input.bisect_batch_on_function_error.unwrap_or($of.bisects);
        $of.tumbling = $input.tumbling_window_in_seconds.unwrap_or($of.tumbling);
        if let Some(given) = $input.destination_config.clone() {
            $of.on_failure = on_failure(Some(given))?;
        }
    };
}

/// Where a new mapping begins to read a stream.
fn beginning(input: &api::CreateEventSourceMappingInput, source: &str) -> Result<OfStream, Fault> {
    let Some(start) = input.starting_position.clone() else {
        return Err(invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.",
        ));
    };
    let time = input.starting_position_timestamp;
    if start == "AT_TIMESTAMP" {
        if service_of(source) == "dynamodb" {
            return Err(invalid(format!(
                "Unsupported starting position for arn type: {source}"
            )));
        }
        match time {
            None => {
                return Err(invalid(
                    "Timestamp is required with StartingPosition AT_TIMESTAMP",
                ));
            }
            Some(time) if time.0 < 0 => {
                return Err(invalid(
                    "Received Exception while reading from provided stream. class java.lang.Long can not be converted to a Timestamp",
                ));
            }
            Some(_) => {}
        }
    } else if time.is_some() {
        return Err(invalid(
            "Timestamp only valid with StartingPosition AT_TIMESTAMP",
        ));
    }
    Ok(OfStream {
        start,
        start_time: time.map(|time| time.0),
        parallel: 1,
        max_age: -1,
        retries: -1,
        ..OfStream::default()
    })
}

pub async fn create(
    state: &Arc<State>,
    ctx: &Context,
    input: api::CreateEventSourceMappingInput,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let source = input
        .event_source_arn
        .clone()
        .ok_or_else(|| invalid("Unrecognized event source."))?;
    let name = Name::read(ctx, &input.function_name, None)?;
    let of_stream = match service_of(&source) {
        "kinesis" | "dynamodb" => {
            let mut of = beginning(&input, &source)?;
            take_stream_settings!(of, input);
            Some(of)
        }
        _ => {
            if input.starting_position.is_some() {
                return Err(invalid(
                    "StartingPosition is not valid for SQS event sources.",
                ));
            }
            refuse_stream_settings!(input);
            None
        }
    };
    state
        .described(&state.cloud.store.read(), &name)
        .map_err(|_| invalid("Function does not exist"))?;
    let key = (
        name.account.clone(),
        name.region.clone(),
        cloud::ids::uuid(),
    );
    let mapping = Mapping {
        source,
        function: name.function.clone(),
        qualifier: name.qualifier.clone(),
        state: "Creating".into(),
        is_enabled: input.enabled != Some(false),
        batch_size: input
            .batch_size
            .unwrap_or(if of_stream.is_some() { 100 } else { 10 }),
        window: input.maximum_batching_window_in_seconds.unwrap_or(0),
        filters: filters(input.filter_criteria)?,
        reports_failures: input
            .function_response_types
            .is_some_and(|t| t.iter().any(|t| t == "ReportBatchItemFailures")),
        concurrency: input.scaling_config.and_then(|s| s.maximum_concurrency),
        kms_key: input.kms_key_arn,
        metrics: input.metrics_config.and_then(|m| m.metrics),
        tags: input.tags.unwrap_or_default(),
        modified: ctx.time.0,
        revision: 1,
        of_stream,
    };
    mapping.check(state, &key)?;
    change(state, &key, |tx| {
        for row in tx.range(&state.mappings, Range::prefix(&(&key.0, &key.1))) {
            let ((_, _, uuid), known) = row?;
            if known.source == mapping.source
                && known.function == mapping.function
                && known.qualifier == mapping.qualifier
                && known.state != "Deleting"
            {
                let (source, function) = (&mapping.source, &mapping.function);
                return Err(errors::resource_conflict_exception(match &mapping.of_stream {
                    None => format!(
                        "An event source mapping with SQS arn (\" {source} \") and function (\" {function} \") already exists. Please update or delete the existing mapping with UUID {uuid}"
                    ),
                    Some(_) => format!(
                        "The event source arn (\" {source} \") and function (\" {function} \") provided mapping already exists. Please update or delete the existing mapping with UUID {uuid}"
                    ),
                }));
            }
        }
        put(state, tx, &key, &mapping)
    })
    .await?;
    Ok(shown(state, &mapping, &key))
}

pub async fn update(
    state: &Arc<State>,
    ctx: &Context,
    input: api::UpdateEventSourceMappingInput,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let key = key(ctx, &input.uuid);
    let name = match &input.function_name {
        Some(text) => Some(Name::read(ctx, text, None)?),
        None => None,
    };
    let new_filters = match input.filter_criteria {
        Some(given) => Some(filters(Some(given))?),
        None => None,
    };
    let mapping = change(state, &key, |tx| {
        let mut mapping: Mapping = tx.get(&state.mappings, &key)?.ok_or_else(none)?;
        if mapping.state == "Deleting" {
            return Err(errors::resource_in_use_exception(
                "Cannot update the event source mapping because it is in use.",
            ));
        }
        match &mut mapping.of_stream {
            Some(of) => {
                take_stream_settings!(of, input);
            }
            None => refuse_stream_settings!(input),
        }
        if let Some(name) = name {
            (mapping.function, mapping.qualifier) = (name.function, name.qualifier);
        }
        mapping.state = match input.enabled {
            Some(true) if !mapping.is_enabled => "Enabling",
            Some(false) if mapping.is_enabled => "Disabling",
            _ => "Updating",
        }
        .into();
        mapping.is_enabled = input.enabled.unwrap_or(mapping.is_enabled);
        mapping.batch_size = input.batch_size.unwrap_or(mapping.batch_size);
        mapping.window = input
            .maximum_batching_window_in_seconds
            .unwrap_or(mapping.window);
        if let Some(new) = new_filters {
            mapping.filters = new;
        }
        if let Some(types) = &input.function_response_types {
            mapping.reports_failures = types.iter().any(|t| t == "ReportBatchItemFailures");
        }
        if let Some(scaling) = &input.scaling_config {
            mapping.concurrency = scaling.maximum_concurrency;
        }
        if let Some(kms_key) = input.kms_key_arn {
            mapping.kms_key = Some(kms_key).filter(|k| !k.is_empty());
        }
        if let Some(metrics) = input.metrics_config {
            mapping.metrics = metrics.metrics;
        }
        mapping.modified = ctx.time.0;
        mapping.revision += 1;
        mapping.check(state, &key)?;
        put(state, tx, &key, &mapping)?;
        Ok(mapping)
    })
    .await?;
    Ok(shown(state, &mapping, &key))
}

pub fn get(
    state: &State,
    ctx: &Context,
    uuid: &str,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let key = key(ctx, uuid);
    let found = state.cloud.store.read().get(&state.mappings, &key)?;
    Ok(shown(state, &found.ok_or_else(none)?, &key))
}

pub async fn delete(
    state: &Arc<State>,
    ctx: &Context,
    uuid: &str,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let key = key(ctx, uuid);
    let mapping = change(state, &key, |tx| {
        let mut mapping: Mapping = tx.get(&state.mappings, &key)?.ok_or_else(none)?;
        mapping.state = "Deleting".into();
        mapping.is_enabled = false;
        mapping.revision += 1;
        put(state, tx, &key, &mapping)?;
        Ok(mapping)
    })
    .await?;
    Ok(shown(state, &mapping, &key))
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListEventSourceMappingsInput,
) -> Result<api::ListEventSourceMappingsOutput, Fault> {
    let name = match &input.function_name {
        Some(text) => Some(Name::read(ctx, text, None)?),
        None => None,
    };
    let most = usize::try_from(input.max_items.unwrap_or(100).clamp(1, 100)).unwrap_or(100);
    let mut range = Range::prefix(&(&ctx.account, &ctx.region));
    if let Some(marker) = input.marker.as_deref().filter(|m| !m.is_empty()) {
        let after = cloud::paging::place("ListEventSourceMappings", marker)
            .and_then(|p| p.into_iter().next())
            .ok_or_else(|| invalid("The Marker is invalid."))?;
        range = range.after(&(&ctx.account, &ctx.region, &after));
    }
    let mut found = Vec::new();
    let mut next_marker = None;
    for row in state.cloud.store.read().range(&state.mappings, range) {
        let (key, mapping) = row?;
        let is_meant = input
            .event_source_arn
            .as_ref()
            .is_none_or(|arn| *arn == mapping.source)
            && name.as_ref().is_none_or(|n| {
                n.function == mapping.function
                    && (n.qualifier.is_none() || n.qualifier == mapping.qualifier)
            });
        if !is_meant {
            continue;
        }
        if found.len() == most {
            let last = found
                .last()
                .and_then(|m: &EventSourceMappingConfiguration| m.uuid.clone())
                .unwrap_or_default();
            next_marker = Some(cloud::paging::token("ListEventSourceMappings", &[&last]));
            break;
        }
        found.push(shown(state, &mapping, &key));
    }
    Ok(api::ListEventSourceMappingsOutput {
        next_marker,
        event_source_mappings: Some(found),
    })
}

fn shown(state: &State, mapping: &Mapping, key: &Key) -> EventSourceMappingConfiguration {
    mapping.describe(key, state.feeds.result(key))
}

fn key(ctx: &Context, uuid: &str) -> Key {
    (
        ctx.account.clone(),
        ctx.region.clone(),
        uuid.to_ascii_lowercase(),
    )
}

/// The key of the mapping that an ARN of the caller's account and region names.
pub fn key_of(ctx: &Context, arn: &str) -> Option<Key> {
    let arn: Arn = arn.parse().ok()?;
    let uuid = arn.resource.strip_prefix("event-source-mapping:")?;
    (arn.service == "lambda" && arn.account == ctx.account && arn.region == ctx.region)
        .then(|| key(ctx, uuid))
}

/// Runs a transaction over the mappings of an account and region: two of the same kind must not be made at once.
pub async fn change<R>(
    state: &State,
    key: &Key,
    f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let scope = ["lambda.mappings", &key.0, &key.1];
    state.cloud.store.transact(Scope::new(&scope), f).await
}

/// Stores a mapping and plans its settling.
fn put(state: &State, tx: &mut Tx<'_>, key: &Key, mapping: &Mapping) -> Result<(), Fault> {
    tx.put(&state.mappings, key, mapping)?;
    let job = format!("{}/{}/{}", key.0, key.1, key.2);
    let now = state.cloud.clock.now();
    state.cloud.scheduler.at(tx, now, SETTLE, &job, Value::Null)
}

/// Brings a mapping to the state that it is on its way to, and its poller with it.
async fn settle(state: &Arc<State>, job: &str) -> Result<(), Fault> {
    let mut parts = job.split('/').map(str::to_owned);
    let (Some(account), Some(region), Some(uuid)) = (parts.next(), parts.next(), parts.next())
    else {
        return start_all(state);
    };
    let key = (account, region, uuid);
    let before: Option<Mapping> = state.cloud.store.read().get(&state.mappings, &key)?;
    if let Some(mapping) = before.filter(|m| m.is_enabled) {
        // What is put once the mapping is seen enabled must not be before its beginning.
        feed::begin(state, &key, &mapping).await;
    }
    let settled = change(state, &key, |tx| {
        let Some(mut mapping): Option<Mapping> = tx.get(&state.mappings, &key)? else {
            return Ok(None);
        };
        if mapping.state == "Deleting" {
            tx.delete(&state.mappings, &key);
            return Ok(None);
        }
        mapping.state = if mapping.is_enabled {
            "Enabled"
        } else {
            "Disabled"
        }
        .into();
        tx.put(&state.mappings, &key, &mapping)?;
        Ok(Some(mapping))
    })
    .await?;
    match settled {
        Some(mapping) if mapping.is_enabled => run(state, key, mapping),
        Some(_) => {
            state.pollers.stop(&key);
            state.consumers.stop(&feed::owner(&key));
        }
        None => {
            state.pollers.stop(&key);
            state.feeds.forget(&key);
            state.consumers.forget(&feed::owner(&key)).await?;
        }
    }
    Ok(())
}

/// Begins to read for a mapping.
fn run(state: &Arc<State>, key: Key, mapping: Mapping) {
    match Stream::of(&state.cloud.ports, &mapping.source) {
        Some(stream) => feed::start(state, &key, mapping, stream),
        // Without the service of the stream there is nothing to read.
        None if mapping.of_stream.is_some() => {}
        None => poller::start(state, key, mapping),
    }
}

/// Starts the pollers of all enabled mappings.
pub fn start_all(state: &Arc<State>) -> Result<(), Fault> {
    state.pollers.stop_all();
    state.consumers.stop_all();
    for row in state
        .cloud
        .store
        .read()
        .range(&state.mappings, Range::all())
    {
        let (key, mapping) = row?;
        if mapping.is_enabled && mapping.state == "Enabled" {
            run(state, key, mapping);
        }
    }
    Ok(())
}

/// Handles settling, and begins to poll once the region runs.
pub fn start(state: &Arc<State>) {
    let handler = state.clone();
    state.cloud.scheduler.register(SETTLE, move |job| {
        let state = handler.clone();
        Box::pin(async move { settle(&state, &job.key).await })
    });
    let is_empty = state
        .cloud
        .store
        .read()
        .range(&state.mappings, Range::all().limit(1))
        .next()
        .is_none();
    if !is_empty {
        let state = state.clone();
        // Not before the region runs: the queues may not have been built yet.
        tokio::spawn(async move {
            let (scheduler, now) = (state.cloud.scheduler.clone(), state.cloud.clock.now());
            let all = (String::new(), String::new(), String::new());
            let planned = change(&state, &all, |tx| {
                scheduler.at(tx, now, SETTLE, "", Value::Null)
            });
            if let Err(e) = planned.await {
                tracing::error!(fault = %e, cause = e.cause, "event source mappings wait for the next start");
            }
        });
    }
}
