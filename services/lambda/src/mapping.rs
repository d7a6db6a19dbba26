//! An event source mapping as it is stored and described, and what it is checked for.

use std::collections::BTreeMap;

use cloud::consumer::Stream;
use cloud::{Arn, EventPattern};
use serde::{Deserialize, Serialize};
use store::Record;
use wire::{Fault, Timestamp};

use crate::api::{self, EventSourceMappingConfiguration};
use crate::errors;
use crate::name::Name;
use crate::state::State;

/// A mapping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// The ARN of the queue or stream.
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
    /// What only streams have.
    #[serde(default)]
    pub of_stream: Option<OfStream>,
}
impl Record for Mapping {}

/// How a stream is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OfStream {
    /// `TRIM_HORIZON`, `LATEST` or `AT_TIMESTAMP`
    pub start: String,
    /// Milliseconds.
    pub start_time: Option<i64>,
    /// Batches of a shard that run at once.
    pub parallel: i32,
    /// Seconds; -1 for no limit.
    pub max_age: i32,
    /// -1 for no limit.
    pub retries: i32,
    pub bisects: bool,
    /// Seconds.
    pub tumbling: i32,
    /// The ARN of a queue, a topic or a bucket.
    pub on_failure: Option<String>,
}

/// A mapping's key: account, region, UUID.
pub type Key = (String, String, String);

pub fn invalid(text: impl Into<String>) -> Fault {
    errors::invalid_parameter_value_exception(text.into())
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

    /// The mapping as it is answered; `result` is what became of the last batch.
    pub fn describe(&self, key: &Key, result: Option<String>) -> EventSourceMappingConfiguration {
        let name = self.name(key);
        let filter = |pattern: &String| api::Filter {
            pattern: Some(pattern.clone()),
        };
        let mut shown = EventSourceMappingConfiguration {
            uuid: Some(key.2.clone()),
            batch_size: Some(self.batch_size),
            maximum_batching_window_in_seconds: Some(self.window),
            event_source_arn: Some(self.source.clone()),
            filter_criteria: self.filters.as_ref().map(|filters| api::FilterCriteria {
                filters: Some(filters.iter().map(filter).collect()),
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
            event_source_mapping_arn: Some(cloud::arn::text(
                "lambda",
                &key.1,
                &key.0,
                format_args!("event-source-mapping:{}", key.2),
            )),
            ..Default::default()
        };
        if let Some(stream) = &self.of_stream {
            shown.starting_position = Some(stream.start.clone());
            shown.starting_position_timestamp = stream.start_time.map(Timestamp);
            shown.parallelization_factor = Some(stream.parallel);
            shown.maximum_record_age_in_seconds = Some(stream.max_age);
            shown.maximum_retry_attempts = Some(stream.retries);
            shown.bisect_batch_on_function_error = Some(stream.bisects);
            shown.tumbling_window_in_seconds = Some(stream.tumbling);
            shown.destination_config = Some(api::DestinationConfig {
                on_success: None,
                on_failure: Some(api::OnFailure {
                    destination: stream.on_failure.clone(),
                }),
            });
            shown.state_transition_reason = Some("User action".into());
            shown.last_processing_result =
                Some(result.unwrap_or_else(|| "No records processed".into()));
        }
        shown
    }

    /// Checks what depends on the source and the function, which must be there.
    pub fn check(&self, state: &State, key: &Key) -> Result<(), Fault> {
        match &self.of_stream {
            Some(stream) => self.check_stream(state, key, stream),
            None => self.check_queue(state, key),
        }
    }

    fn check_stream(&self, state: &State, key: &Key, of: &OfStream) -> Result<(), Fault> {
        let stream = Stream::of(&state.cloud.ports, &self.source)
            .ok_or_else(|| invalid("Unrecognized event source."))?;
        state.resolve(&state.cloud.store.read(), &self.name(key))?;
        stream
            .check()
            .map_err(|_| invalid(format!("Stream not found: {}", self.source)))?;
        if (0..60).contains(&of.max_age) {
            return Err(Fault::sender(
                400,
                "ValidationException",
                format!(
                    "1 validation error detected: Value '{}' at 'maximumRecordAgeInSeconds' failed to satisfy constraint: Member must have value greater than or equal to 60",
                    of.max_age
                ),
            ));
        }
        Ok(())
    }

    fn check_queue(&self, state: &State, key: &Key) -> Result<(), Fault> {
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
pub fn filters(given: Option<api::FilterCriteria>) -> Result<Option<Vec<String>>, Fault> {
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

/// The service that a source is of.
pub fn service_of(source: &str) -> &str {
    source.split(':').nth(2).unwrap_or_default()
}

/// Where batches that are given up go.
pub fn on_failure(given: Option<api::DestinationConfig>) -> Result<Option<String>, Fault> {
    let given = given.unwrap_or_default();
    refuse(
        given.on_success.and_then(|d| d.destination).is_some(),
        "DestinationConfig",
    )?;
    let target = given.on_failure.and_then(|d| d.destination);
    let Some(target) = target.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    match service_of(&target) {
        "sqs" | "sns" | "s3" => Ok(Some(target)),
        _ => Err(invalid(format!(
            "The provided destination config DestinationConfig is invalid: {target}"
        ))),
    }
}

/// Refuses a parameter that this kind of source has not.
pub fn refuse(is_given: bool, name: &str) -> Result<(), Fault> {
    match is_given {
        true => Err(invalid(format!(
            "Unsupported {name} parameter for given event source mapping type."
        ))),
        false => Ok(()),
    }
}
