//! What a pipe is told of its source, enrichment, target and logs, kept as the API writes it: an upgrade of the model is then no
//! migration of data.

use wire::Fault;

use crate::api::*;
use crate::errors::validation_exception;

/// The parameters of a source of that service, with what AWS fills in.
pub(crate) fn of_source(
    service: &str,
    given: Option<PipeSourceParameters>,
) -> Result<PipeSourceParameters, Fault> {
    let mut all = given.unwrap_or_default();
    match service {
        "sqs" => {
            let queue = all.sqs_queue_parameters.get_or_insert_default();
            queue.batch_size.get_or_insert(10);
            queue.maximum_batching_window_in_seconds.get_or_insert(0);
        }
        "kinesis" => {
            let stream = all.kinesis_stream_parameters.as_mut().ok_or_else(|| {
                validation_exception(
                    "KinesisStreamParameters must be provided for a Kinesis stream source.",
                )
            })?;
            stream.batch_size.get_or_insert(100);
            stream.maximum_batching_window_in_seconds.get_or_insert(0);
            stream.maximum_record_age_in_seconds.get_or_insert(-1);
            stream.maximum_retry_attempts.get_or_insert(-1);
            stream.parallelization_factor.get_or_insert(1);
        }
        _ => {
            let stream = all.dynamo_db_stream_parameters.as_mut().ok_or_else(|| {
                validation_exception(
                    "DynamoDBStreamParameters must be provided for a DynamoDB stream source.",
                )
            })?;
            stream.batch_size.get_or_insert(100);
            stream.maximum_batching_window_in_seconds.get_or_insert(0);
            stream.maximum_record_age_in_seconds.get_or_insert(-1);
            stream.maximum_retry_attempts.get_or_insert(-1);
            stream.parallelization_factor.get_or_insert(1);
        }
    }
    Ok(all)
}

/// Changes the parameters of a source, as far as they can be.
pub(crate) fn change_source(all: &mut PipeSourceParameters, change: UpdatePipeSourceParameters) {
    if let Some(filters) = change.filter_criteria {
        all.filter_criteria = Some(filters);
    }
    if let (Some(queue), Some(new)) = (&mut all.sqs_queue_parameters, change.sqs_queue_parameters) {
        queue.batch_size = new.batch_size.or(queue.batch_size);
        let window = new.maximum_batching_window_in_seconds;
        queue.maximum_batching_window_in_seconds =
            window.or(queue.maximum_batching_window_in_seconds);
    }
    macro_rules! stream {
        ($old:ident) => {
            if let (Some(stream), Some(new)) = (&mut all.$old, change.$old) {
                stream.batch_size = new.batch_size.or(stream.batch_size);
                stream.dead_letter_config = new.dead_letter_config;
                stream.on_partial_batch_item_failure = new.on_partial_batch_item_failure;
                let window = new.maximum_batching_window_in_seconds;
                stream.maximum_batching_window_in_seconds =
                    window.or(stream.maximum_batching_window_in_seconds);
                let age = new.maximum_record_age_in_seconds;
                stream.maximum_record_age_in_seconds = age.or(stream.maximum_record_age_in_seconds);
                let retries = new.maximum_retry_attempts;
                stream.maximum_retry_attempts = retries.or(stream.maximum_retry_attempts);
                let parallel = new.parallelization_factor;
                stream.parallelization_factor = parallel.or(stream.parallelization_factor);
            }
        };
    }
    stream!(kinesis_stream_parameters);
    stream!(dynamo_db_stream_parameters);
}

/// Where logs go, as it is described.
pub(crate) fn log(given: PipeLogConfigurationParameters) -> PipeLogConfiguration {
    PipeLogConfiguration {
        s3_log_destination: given.s3_log_destination.map(|s3| S3LogDestination {
            bucket_name: Some(s3.bucket_name),
            prefix: s3.prefix,
            bucket_owner: Some(s3.bucket_owner),
            output_format: s3.output_format,
        }),
        firehose_log_destination: given
            .firehose_log_destination
            .map(|f| FirehoseLogDestination {
                delivery_stream_arn: Some(f.delivery_stream_arn),
            }),
        cloudwatch_logs_log_destination: given.cloudwatch_logs_log_destination.map(|c| {
            CloudwatchLogsLogDestination {
                log_group_arn: Some(c.log_group_arn),
            }
        }),
        level: Some(given.level),
        include_execution_data: given.include_execution_data,
    }
}
