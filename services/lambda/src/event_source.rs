//! Event source mappings: functions that are invoked with what a queue holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::{Arn, Context, EventPattern};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::{self, EventSourceMappingConfiguration};
use crate::errors;
use crate::name::Name;
use crate::poller;
use crate::state::State;

/// A mapping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// The ARN of the queue.
    pub source: String,
    /// The function, with the qualifier that it was named with.
    pub function: String,
    #[serde(default)]
    pub qualifier: Option<String>,
    /// `Creating`, `Enabled`, `Disabled`, `Enabling`, `Disabling`, `Updating`, `Deleting`
    pub state: String,
    /// What the state is on its way to.
    pub is_enabled: bool,
    pub batch_size: i32,
    /// Seconds.
    pub window: i32,
    #[serde(default)]
    pub filters: Option<Vec<String>>,
    /// `ReportBatchItemFailures`
    pub reports_failures: bool,
    #[serde(default)]
    pub concurrency: Option<i32>,
    #[serde(default)]
    pub kms_key: Option<String>,
    /// `EventCount`, where metrics are wanted.
    #[serde(default)]
    pub metrics: Option<Vec<String>>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    pub modified: i64,
    /// Changes with every change, so that a poller knows whether it is of this one.
    pub revision: u64,
}
impl Record for Mapping {}

/// A mapping's key: account, region, UUID.
pub type Key = (String, String, String);

/// The name of the jobs that bring a mapping to the state that it is on its way to.
pub const SETTLE: &str = "lambda.mapping";

fn invalid(text: impl Into<String>) -> Fault {
    errors::invalid_parameter_value_exception(text.into())
}

fn none() -> Fault {
    errors::resource_not_found_exception("The resource you requested does not exist.")
}

impl Mapping {
    /// The function that is invoked.
    pub fn name(&self, key: &Key) -> Name {
        Name {
            account: key.0.clone(),
            region: key.1.clone(),
            function: self.function.clone(),
            qualifier: self.qualifier.clone(),
        }
    }

    fn describe(&self, key: &Key) -> EventSourceMappingConfiguration {
        let name = self.name(key);
        let partition = name.arn();
        let partition = partition.split(':').nth(1).unwrap_or("aws");
        EventSourceMappingConfiguration {
            uuid: Some(key.2.clone()),
            batch_size: Some(self.batch_size),
            maximum_batching_window_in_seconds: Some(self.window),
            event_source_arn: Some(self.source.clone()),
            filter_criteria: self.filters.as_ref().map(|filters| api::FilterCriteria {
                filters: Some(
                    filters
                        .iter()
                        .map(|f| api::Filter {
                            pattern: Some(f.clone()),
                        })
                        .collect(),
                ),
            }),
            kms_key_arn: self.kms_key.clone(),
            metrics_config: self.metrics.clone().map(|metrics| {
                api::EventSourceMappingMetricsConfig {
                    metrics: Some(metrics),
                }
            }),
            scaling_config: self.concurrency.map(|n| api::ScalingConfig {
                maximum_concurrency: Some(n),
            }),
            function_arn: Some(name.full_arn()),
            last_modified: Some(Timestamp(self.modified)),
            state: Some(self.state.clone()),
            state_transition_reason: Some("USER_INITIATED".into()),
            function_response_types: Some(match self.reports_failures {
                true => vec!["ReportBatchItemFailures".into()],
                false => Vec::new(),
            }),
            event_source_mapping_arn: Some(format!(
                "arn:{partition}:lambda:{}:{}:event-source-mapping:{}",
                key.1, key.0, key.2
            )),
            ..Default::default()
        }
    }

    /// Checks what depends on the queue and the function, which must be there.
    fn check(&self, state: &State, key: &Key) -> Result<(), Fault> {
        let arn: Arn = self
            .source
            .parse()
            .map_err(|_| invalid("Unrecognized event source."))?;
        if arn.service != "sqs" {
            return Err(invalid("Unrecognized event source."));
        }
        let Some(queues) = state.cloud.ports.queues() else {
            return Err(invalid("Unrecognized event source."));
        };
        let facts = queues.queue(&arn).map_err(|fault| {
            invalid(format!(
                "Error occurred while ReceiveMessage. SQS Error Code: {}. SQS Error Message: {}",
                fault.code, fault.message
            ))
        })?;
        let name = self.name(key);
        let resolved = state.resolve(&state.cloud.store.read(), &name)?;
        let timeout = i64::from(resolved.configuration.timeout);
        if facts.visibility < timeout {
            return Err(invalid(format!(
                "Queue visibility timeout: {} seconds is less than Function timeout: {timeout} seconds",
                facts.visibility
            )));
        }
        if facts.is_fifo && self.window > 0 {
            return Err(invalid("Batching window is not supported for FIFO queues."));
        }
        if facts.is_fifo && self.batch_size > 10 {
            return Err(invalid(
                "BatchSize must not be greater than 10 for FIFO queues.",
            ));
        }
        if self.batch_size > 10 && self.window == 0 {
            return Err(invalid(
                "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
            ));
        }
        Ok(())
    }
}

/// Reads filter criteria; empty ones are none.
fn filters(given: Option<api::FilterCriteria>) -> Result<Option<Vec<String>>, Fault> {
    let patterns: Vec<String> = given
        .and_then(|c| c.filters)
        .unwrap_or_default()
        .into_iter()
        .map(|f| f.pattern.unwrap_or_default())
        .collect();
    if patterns.len() > 10 {
        return Err(invalid("Maximum number of filters exceeded."));
    }
    for pattern in &patterns {
        EventPattern::parse(pattern).map_err(|_| invalid("Invalid filter pattern definition."))?;
    }
    Ok((!patterns.is_empty()).then_some(patterns))
}

/// Settings of streams, which queues have not.
fn refuse(is_given: bool, name: &str) -> Result<(), Fault> {
    match is_given {
        true => Err(invalid(format!(
            "Unsupported {name} parameter for given event source mapping type."
        ))),
        false => Ok(()),
    }
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

pub async fn create(
    state: &Arc<State>,
    ctx: &Context,
    input: api::CreateEventSourceMappingInput,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let source = input
        .event_source_arn
        .ok_or_else(|| invalid("Unrecognized event source."))?;
    let name = Name::read(ctx, &input.function_name, None)?;
    refuse(input.starting_position.is_some(), "StartingPosition")?;
    refuse_stream_settings!(input);
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
        batch_size: input.batch_size.unwrap_or(10),
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
                return Err(errors::resource_conflict_exception(format!(
                    "An event source mapping with SQS arn (\" {} \") and function (\" {} \") already exists. Please update or delete the existing mapping with UUID {uuid}",
                    mapping.source, mapping.function
                )));
            }
        }
        put(state, tx, &key, &mapping)
    })
    .await?;
    Ok(mapping.describe(&key))
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
    refuse_stream_settings!(input);
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
    Ok(mapping.describe(&key))
}

pub fn get(
    state: &State,
    ctx: &Context,
    uuid: &str,
) -> Result<EventSourceMappingConfiguration, Fault> {
    let key = key(ctx, uuid);
    let found = state.cloud.store.read().get(&state.mappings, &key)?;
    Ok(found.ok_or_else(none)?.describe(&key))
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
    Ok(mapping.describe(&key))
}

pub fn list(
    state: &State,
    ctx: &Context,
    input: &api::ListEventSourceMappingsInput,
) -> Result<api::ListEventSourceMappingsOutput, Fault> {
    let name = match &input.function_name {
        Some(text) => {
            let name = Name::read(ctx, text, None)?;
            // A function that is not there has no mappings to list; AWS says so.
            state.function(&state.cloud.store.read(), &name)?;
            Some(name)
        }
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
    let mut shown = Vec::new();
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
        if shown.len() == most {
            let last = shown
                .last()
                .and_then(|m: &EventSourceMappingConfiguration| m.uuid.clone())
                .unwrap_or_default();
            next_marker = Some(cloud::paging::token("ListEventSourceMappings", &[&last]));
            break;
        }
        shown.push(mapping.describe(&key));
    }
    Ok(api::ListEventSourceMappingsOutput {
        next_marker,
        event_source_mappings: Some(shown),
    })
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
        Some(mapping) if mapping.is_enabled => poller::start(state, key, mapping),
        _ => state.pollers.stop(&key),
    }
    Ok(())
}

/// Starts the pollers of all enabled mappings.
pub fn start_all(state: &Arc<State>) -> Result<(), Fault> {
    state.pollers.stop_all();
    for row in state
        .cloud
        .store
        .read()
        .range(&state.mappings, Range::all())
    {
        let (key, mapping) = row?;
        if mapping.is_enabled && mapping.state == "Enabled" {
            poller::start(state, key, mapping);
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
