//! Where a delivery stream writes, as it is stored, given and described.

use serde::{Deserialize, Serialize};
use wire::Fault;

use crate::api::*;
use crate::conversion;
use crate::errors::*;
use crate::partition;
use crate::prefix;

/// A destination: a bucket, or an endpoint with a bucket behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Destination {
    /// The bucket.
    pub(crate) bucket: Bucket,
    /// What the newer form of a bucket's settings has besides.
    pub(crate) extended: Option<Extended>,
    /// The endpoint.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) processing: Option<Processing>,
}

/// A bucket and how objects are written there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) role: String,
    pub(crate) arn: String,
    pub(crate) prefix: Option<String>,
    pub(crate) error_prefix: Option<String>,
    /// MiB.
    pub(crate) size: i32,
    /// Seconds.
    pub(crate) interval: i32,
    pub(crate) compression: String,
    pub(crate) key: Option<String>,
    pub(crate) logging: Option<Logging>,
}

/// What `ExtendedS3` has besides a bucket.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Extended {
    /// The bucket for records as they came.
    pub(crate) backup: Option<Bucket>,
    pub(crate) backs_up: bool,
    /// What records are converted to, and by which schema.
    #[serde(default)]
    pub(crate) conversion: Option<conversion::Kept>,
    pub(crate) partitioning: Option<Partitioning>,
    pub(crate) extension: Option<String>,
    pub(crate) zone: Option<String>,
}

/// Objects by keys within the records.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Partitioning {
    pub(crate) is_enabled: bool,
    pub(crate) retry: Option<i32>,
}

/// `CloudWatchLoggingOptions`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Logging {
    pub(crate) enabled: bool,
    pub(crate) group: Option<String>,
    pub(crate) stream: Option<String>,
}

/// What is done with records before they are written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Processing {
    pub(crate) enabled: bool,
    pub(crate) processors: Vec<Step>,
}

/// A processor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) kind: String,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Step {
    /// A parameter's value.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// An HTTP endpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) name: Option<String>,
    pub(crate) access_key: Option<String>,
    pub(crate) size: i32,
    pub(crate) interval: i32,
    pub(crate) logging: Option<Logging>,
    pub(crate) encoding: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) role: Option<String>,
    /// Seconds.
    pub(crate) retry: i32,
    /// Whether everything is written to the bucket too, not only what failed.
    pub(crate) backs_up_all: bool,
}

const SIZE: i32 = 5;
const INTERVAL: i32 = 300;
pub(crate) const RETRY: i32 = 300;
const PLAIN: &str = "UNCOMPRESSED";

fn logging(given: CloudWatchLoggingOptions) -> Logging {
    Logging {
        enabled: given.enabled.unwrap_or(false),
        group: given.log_group_name,
        stream: given.log_stream_name,
    }
}

fn processing(given: ProcessingConfiguration) -> Processing {
    let step = |p: Processor| Step {
        kind: p.r#type,
        parameters: p
            .parameters
            .unwrap_or_default()
            .into_iter()
            .map(|p| (p.parameter_name, p.parameter_value))
            .collect(),
    };
    Processing {
        enabled: given.enabled.unwrap_or(false),
        processors: given
            .processors
            .unwrap_or_default()
            .into_iter()
            .map(step)
            .collect(),
    }
}

impl Bucket {
    fn of(given: S3DestinationConfiguration) -> Bucket {
        let mut bucket = Bucket {
            role: given.role_arn,
            arn: given.bucket_arn,
            prefix: None,
            error_prefix: None,
            size: SIZE,
            interval: INTERVAL,
            compression: PLAIN.into(),
            key: None,
            logging: None,
        };
        bucket.update(S3DestinationUpdate {
            role_arn: None,
            bucket_arn: None,
            prefix: given.prefix,
            error_output_prefix: given.error_output_prefix,
            buffering_hints: given.buffering_hints,
            compression_format: given.compression_format,
            encryption_configuration: given.encryption_configuration,
            cloud_watch_logging_options: given.cloud_watch_logging_options,
        });
        bucket
    }

    /// Sets what is given and leaves the rest.
    fn update(&mut self, given: S3DestinationUpdate) {
        self.role = given.role_arn.unwrap_or(std::mem::take(&mut self.role));
        self.arn = given.bucket_arn.unwrap_or(std::mem::take(&mut self.arn));
        self.prefix = given.prefix.or(self.prefix.take());
        self.error_prefix = given.error_output_prefix.or(self.error_prefix.take());
        if let Some(hints) = given.buffering_hints {
            self.size = hints.size_in_m_bs.unwrap_or(self.size);
            self.interval = hints.interval_in_seconds.unwrap_or(self.interval);
        }
        if let Some(format) = given.compression_format {
            self.compression = format;
        }
        if let Some(encryption) = given.encryption_configuration {
            self.key = encryption.kms_encryption_config.map(|k| k.awskms_key_arn);
        }
        if let Some(options) = given.cloud_watch_logging_options {
            self.logging = Some(logging(options));
        }
    }

    /// The bucket's name.
    pub(crate) fn name(&self) -> &str {
        self.arn.rsplit(':').next().unwrap_or_default()
    }
}

/// Refuses a destination that does not exist here.
pub(crate) fn absent(kind: &str) -> Fault {
    Fault::receiver(
        501,
        "NotImplemented",
        format!("firehose: the destination {kind} is not available here"),
    )
}

impl Destination {
    /// The destination of a new stream.
    pub(crate) fn of(input: &mut CreateDeliveryStreamInput) -> Result<Destination, Fault> {
        let given = [
            input.s3_destination_configuration.is_some(),
            input.extended_s3_destination_configuration.is_some(),
            input.http_endpoint_destination_configuration.is_some(),
            input.redshift_destination_configuration.is_some(),
            input.elasticsearch_destination_configuration.is_some(),
            input
                .amazonopensearchservice_destination_configuration
                .is_some(),
            input.splunk_destination_configuration.is_some(),
            input
                .amazon_open_search_serverless_destination_configuration
                .is_some(),
            input.snowflake_destination_configuration.is_some(),
            input.iceberg_destination_configuration.is_some(),
        ];
        if given.iter().filter(|g| **g).count() != 1 {
            return Err(one_only());
        }
        let destination = if let Some(s3) = input.s3_destination_configuration.take() {
            Destination {
                bucket: Bucket::of(s3),
                extended: None,
                endpoint: None,
                processing: None,
            }
        } else if let Some(s3) = input.extended_s3_destination_configuration.take() {
            Self::extended(s3)?
        } else if let Some(http) = input.http_endpoint_destination_configuration.take() {
            Self::endpoint(http)?
        } else {
            let kinds = [
                "Redshift",
                "Elasticsearch",
                "AmazonOpenSearchService",
                "Splunk",
                "AmazonOpenSearchServerless",
                "Snowflake",
                "Iceberg",
            ];
            let kind = kinds.iter().zip(given.iter().skip(3)).find(|(_, g)| **g);
            return Err(absent(kind.map_or("given", |(kind, _)| kind)));
        };
        destination.check()?;
        Ok(destination)
    }

    fn extended(mut given: ExtendedS3DestinationConfiguration) -> Result<Destination, Fault> {
        let converts = given.data_format_conversion_configuration.as_ref();
        if converts.is_some_and(conversion::is_on) {
            let hints = given.buffering_hints.get_or_insert_default();
            hints.size_in_m_bs.get_or_insert(conversion::SIZE);
        }
        let mut destination = Destination {
            bucket: Bucket::of(S3DestinationConfiguration {
                role_arn: given.role_arn,
                bucket_arn: given.bucket_arn,
                prefix: given.prefix,
                error_output_prefix: given.error_output_prefix,
                buffering_hints: given.buffering_hints,
                compression_format: given.compression_format,
                encryption_configuration: given.encryption_configuration,
                cloud_watch_logging_options: given.cloud_watch_logging_options,
            }),
            extended: None,
            endpoint: None,
            processing: given.processing_configuration.map(processing),
        };
        let backup = given.s3_backup_configuration.map(Bucket::of);
        destination.extend(
            given.s3_backup_mode,
            backup,
            given.data_format_conversion_configuration,
            given.dynamic_partitioning_configuration,
            (given.file_extension, given.custom_time_zone),
        )?;
        Ok(destination)
    }

    fn extend(
        &mut self,
        mode: Option<String>,
        backup: Option<Bucket>,
        converted: Option<DataFormatConversionConfiguration>,
        partitioning: Option<DynamicPartitioningConfiguration>,
        (extension, zone): (Option<String>, Option<String>),
    ) -> Result<(), Fault> {
        let extended = self.extended.get_or_insert_default();
        if let Some(mode) = mode {
            extended.backs_up = mode == "Enabled";
        }
        extended.backup = backup.or(extended.backup.take());
        if let Some(given) = converted {
            let merged = conversion::merged(extended.conversion.as_ref(), given)?;
            extended.conversion = Some(merged);
        }
        if let Some(given) = partitioning {
            extended.partitioning = Some(Partitioning {
                is_enabled: given.enabled.unwrap_or(false),
                retry: given.retry_options.and_then(|r| r.duration_in_seconds),
            });
        }
        extended.extension = extension.or(extended.extension.take());
        extended.zone = zone.or(extended.zone.take());
        Ok(())
    }

    fn endpoint(given: HttpEndpointDestinationConfiguration) -> Result<Destination, Fault> {
        if given
            .secrets_manager_configuration
            .as_ref()
            .is_some_and(|s| s.enabled)
        {
            return Err(absent("secret SecretsManagerConfiguration"));
        }
        let mut destination = Destination {
            bucket: Bucket::of(given.s3_configuration),
            extended: None,
            endpoint: Some(Endpoint {
                size: SIZE,
                interval: INTERVAL,
                retry: RETRY,
                ..Endpoint::default()
            }),
            processing: None,
        };
        destination.update_endpoint(HttpEndpointDestinationUpdate {
            endpoint_configuration: Some(given.endpoint_configuration),
            buffering_hints: given.buffering_hints,
            cloud_watch_logging_options: given.cloud_watch_logging_options,
            request_configuration: given.request_configuration,
            processing_configuration: given.processing_configuration,
            role_arn: given.role_arn,
            retry_options: given.retry_options,
            s3_backup_mode: given.s3_backup_mode,
            s3_update: None,
            secrets_manager_configuration: None,
        });
        Ok(destination)
    }

    fn update_endpoint(&mut self, given: HttpEndpointDestinationUpdate) {
        let endpoint = self.endpoint.get_or_insert_default();
        if let Some(of) = given.endpoint_configuration {
            endpoint.url = of.url;
            endpoint.name = of.name.or(endpoint.name.take());
            endpoint.access_key = of.access_key.or(endpoint.access_key.take());
        }
        if let Some(hints) = given.buffering_hints {
            endpoint.size = hints.size_in_m_bs.unwrap_or(endpoint.size);
            endpoint.interval = hints.interval_in_seconds.unwrap_or(endpoint.interval);
        }
        if let Some(options) = given.cloud_watch_logging_options {
            endpoint.logging = Some(logging(options));
        }
        if let Some(request) = given.request_configuration {
            endpoint.encoding = request.content_encoding;
            let attributes = request.common_attributes.unwrap_or_default();
            endpoint.attributes = attributes
                .into_iter()
                .map(|a| (a.attribute_name, a.attribute_value))
                .collect();
        }
        endpoint.role = given.role_arn.or(endpoint.role.take());
        if let Some(seconds) = given.retry_options.and_then(|r| r.duration_in_seconds) {
            endpoint.retry = seconds;
        }
        if let Some(mode) = given.s3_backup_mode {
            endpoint.backs_up_all = mode == "AllData";
        }
        if let Some(s3) = given.s3_update {
            self.bucket.update(s3);
        }
        if let Some(given) = given.processing_configuration {
            self.processing = Some(processing(given));
        }
    }

    /// Changes what an update gives.
    pub(crate) fn update(&mut self, input: UpdateDestinationInput) -> Result<(), Fault> {
        let others = [
            ("Redshift", input.redshift_destination_update.is_some()),
            (
                "Elasticsearch",
                input.elasticsearch_destination_update.is_some(),
            ),
            (
                "AmazonOpenSearchService",
                input.amazonopensearchservice_destination_update.is_some(),
            ),
            ("Splunk", input.splunk_destination_update.is_some()),
            (
                "AmazonOpenSearchServerless",
                input
                    .amazon_open_search_serverless_destination_update
                    .is_some(),
            ),
            ("Snowflake", input.snowflake_destination_update.is_some()),
            ("Iceberg", input.iceberg_destination_update.is_some()),
        ];
        let other = others.iter().find(|(_, is_given)| *is_given);
        let own = [
            input.s3_destination_update.is_some(),
            input.extended_s3_destination_update.is_some(),
            input.http_endpoint_destination_update.is_some(),
        ];
        let count = own.iter().filter(|g| **g).count() + usize::from(other.is_some());
        if count != 1 {
            return Err(one_only());
        }
        if let Some((kind, _)) = other {
            return Err(absent(kind));
        }
        if input.http_endpoint_destination_update.is_some() != self.endpoint.is_some() {
            return Err(invalid_argument_exception(
                "Changing the destination type to or from HttpEndpoint is not supported at this time.",
            ));
        }
        if let Some(s3) = input.s3_destination_update {
            self.bucket.update(s3);
        }
        if let Some(s3) = input.extended_s3_destination_update {
            self.bucket.update(S3DestinationUpdate {
                role_arn: s3.role_arn,
                bucket_arn: s3.bucket_arn,
                prefix: s3.prefix,
                error_output_prefix: s3.error_output_prefix,
                buffering_hints: s3.buffering_hints,
                compression_format: s3.compression_format,
                encryption_configuration: s3.encryption_configuration,
                cloud_watch_logging_options: s3.cloud_watch_logging_options,
            });
            if let Some(given) = s3.processing_configuration {
                self.processing = Some(processing(given));
            }
            let backup = s3.s3_backup_update.map(|update| {
                let known = self.extended.as_ref().and_then(|e| e.backup.clone());
                let mut backup = known.unwrap_or_else(|| Bucket {
                    prefix: None,
                    error_prefix: None,
                    ..self.bucket.clone()
                });
                backup.update(update);
                backup
            });
            self.extend(
                s3.s3_backup_mode,
                backup,
                s3.data_format_conversion_configuration,
                s3.dynamic_partitioning_configuration,
                (s3.file_extension, s3.custom_time_zone),
            )?;
        }
        if let Some(http) = input.http_endpoint_destination_update {
            self.update_endpoint(http);
        }
        self.check()
    }

    fn check(&self) -> Result<(), Fault> {
        if !self.bucket.arn.contains(":s3:") {
            return Err(invalid_argument_exception(format!(
                "Bucket ARN {} is not valid.",
                self.bucket.arn
            )));
        }
        self.check_conversion()?;
        let extended = self.extended.clone().unwrap_or_default();
        let is_partitioned = self.is_partitioned();
        prefix::check(&self.bucket, is_partitioned)?;
        if let Some(backup) = &extended.backup {
            prefix::check(backup, false)?;
        }
        if extended.backs_up && extended.backup.is_none() {
            return Err(invalid_argument_exception(
                "S3BackupConfiguration cannot be null when S3BackupMode is Enabled.",
            ));
        }
        if let Some(zone) = extended.zone.as_deref()
            && !zone.is_empty()
            && !prefix::is_zone(zone)
        {
            return Err(invalid_argument_exception(format!(
                "CustomTimeZone {zone} is not valid."
            )));
        }
        if is_partitioned && self.bucket.size < 64 {
            return Err(invalid_argument_exception(
                "BufferingHints.SizeInMBs must be at least 64 when Dynamic Partitioning is enabled.",
            ));
        }
        for step in self.steps() {
            match step.kind.as_str() {
                "Lambda" if step.parameter("LambdaArn").is_none() => {
                    return Err(invalid_argument_exception(
                        "Lambda processor requires the parameter LambdaArn.",
                    ));
                }
                "MetadataExtraction" => {
                    let query = step.parameter("MetadataExtractionQuery").unwrap_or("");
                    partition::Query::parse(query).ok_or_else(|| {
                        invalid_argument_exception(format!(
                            "MetadataExtractionQuery {query} is not a query that is understood here: an object of paths, such as {{id:.a.b}}."
                        ))
                    })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether objects are by keys within the records.
    pub(crate) fn is_partitioned(&self) -> bool {
        let partitioning = self.extended.as_ref().and_then(|e| e.partitioning);
        partitioning.is_some_and(|p| p.is_enabled)
    }

    /// The processors, where they are enabled.
    pub(crate) fn steps(&self) -> &[Step] {
        match &self.processing {
            Some(processing) if processing.enabled => &processing.processors,
            _ => &[],
        }
    }

    /// Bytes and milliseconds for which records are gathered.
    pub(crate) fn hints(&self) -> (u64, i64) {
        let (size, interval) = match &self.endpoint {
            Some(endpoint) => (endpoint.size, endpoint.interval),
            None => (self.bucket.size, self.bucket.interval),
        };
        let bytes = u64::try_from(size).unwrap_or(1) * 1024 * 1024;
        (bytes, i64::from(interval) * 1000)
    }
}

fn one_only() -> Fault {
    invalid_argument_exception("Exactly one destination configuration is supported for a Firehose")
}
