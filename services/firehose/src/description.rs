//! Destinations as they are described.

use wire::Fault;

use crate::api::*;
use crate::conversion;
use crate::destination::{Bucket, Destination, Endpoint, Logging, Processing, RETRY, Step};

fn shown_logging(logging: Option<&Logging>) -> Option<CloudWatchLoggingOptions> {
    let logging = logging.cloned().unwrap_or_default();
    Some(CloudWatchLoggingOptions {
        enabled: Some(logging.enabled),
        log_group_name: logging.group,
        log_stream_name: logging.stream,
    })
}

fn shown_processing(processing: &Processing) -> ProcessingConfiguration {
    let shown = |step: &Step| Processor {
        r#type: step.kind.clone(),
        parameters: Some(
            step.parameters
                .iter()
                .map(|(name, value)| ProcessorParameter {
                    parameter_name: name.clone(),
                    parameter_value: value.clone(),
                })
                .collect(),
        ),
    };
    ProcessingConfiguration {
        enabled: Some(processing.enabled),
        processors: Some(processing.processors.iter().map(shown).collect()),
    }
}

impl Bucket {
    fn hints(&self) -> BufferingHints {
        BufferingHints {
            size_in_m_bs: Some(self.size),
            interval_in_seconds: Some(self.interval),
        }
    }

    fn encryption(&self) -> EncryptionConfiguration {
        match &self.key {
            Some(key) => EncryptionConfiguration {
                no_encryption_config: None,
                kms_encryption_config: Some(KMSEncryptionConfig {
                    awskms_key_arn: key.clone(),
                }),
            },
            None => EncryptionConfiguration {
                no_encryption_config: Some("NoEncryption".into()),
                kms_encryption_config: None,
            },
        }
    }

    fn describe(&self) -> S3DestinationDescription {
        S3DestinationDescription {
            role_arn: self.role.clone(),
            bucket_arn: self.arn.clone(),
            prefix: self.prefix.clone(),
            error_output_prefix: self.error_prefix.clone(),
            buffering_hints: self.hints(),
            compression_format: self.compression.clone(),
            encryption_configuration: self.encryption(),
            cloud_watch_logging_options: shown_logging(self.logging.as_ref()),
        }
    }
}

impl Destination {
    /// The destination as it is answered.
    pub(crate) fn describe(&self, id: &str) -> Result<DestinationDescription, Fault> {
        let mut shown = DestinationDescription {
            destination_id: id.to_owned(),
            ..DestinationDescription::default()
        };
        if let Some(endpoint) = &self.endpoint {
            shown.http_endpoint_destination_description = Some(self.shown_endpoint(endpoint));
            return Ok(shown);
        }
        let conversion = self.any_conversion()?.map(|given| {
            let enabled = Some(conversion::is_on(&given));
            DataFormatConversionConfiguration { enabled, ..given }
        });
        shown.s3_destination_description = Some(self.bucket.describe());
        // The newer form is shown of the older one too.
        let extended = self.extended.clone().unwrap_or_default();
        let bucket = &self.bucket;
        let mode = if extended.backs_up {
            "Enabled"
        } else {
            "Disabled"
        };
        shown.extended_s3_destination_description = Some(ExtendedS3DestinationDescription {
            role_arn: bucket.role.clone(),
            bucket_arn: bucket.arn.clone(),
            prefix: bucket.prefix.clone(),
            error_output_prefix: bucket.error_prefix.clone(),
            buffering_hints: bucket.hints(),
            compression_format: bucket.compression.clone(),
            encryption_configuration: bucket.encryption(),
            cloud_watch_logging_options: shown_logging(bucket.logging.as_ref()),
            processing_configuration: self.processing.as_ref().map(shown_processing),
            s3_backup_mode: Some(mode.into()),
            s3_backup_description: extended.backup.as_ref().map(Bucket::describe),
            data_format_conversion_configuration: conversion,
            dynamic_partitioning_configuration: extended.partitioning.map(|p| {
                DynamicPartitioningConfiguration {
                    enabled: Some(p.is_enabled),
                    retry_options: Some(RetryOptions {
                        duration_in_seconds: Some(p.retry.unwrap_or(RETRY)),
                    }),
                }
            }),
            file_extension: extended.extension.clone(),
            custom_time_zone: extended.zone.clone(),
        });
        Ok(shown)
    }

    fn shown_endpoint(&self, endpoint: &Endpoint) -> HttpEndpointDestinationDescription {
        let mode = if endpoint.backs_up_all {
            "AllData"
        } else {
            "FailedDataOnly"
        };
        HttpEndpointDestinationDescription {
            endpoint_configuration: Some(HttpEndpointDescription {
                url: Some(endpoint.url.clone()),
                name: endpoint.name.clone(),
            }),
            buffering_hints: Some(HttpEndpointBufferingHints {
                size_in_m_bs: Some(endpoint.size),
                interval_in_seconds: Some(endpoint.interval),
            }),
            cloud_watch_logging_options: shown_logging(endpoint.logging.as_ref()),
            request_configuration: Some(HttpEndpointRequestConfiguration {
                content_encoding: Some(endpoint.encoding.clone().unwrap_or("NONE".into())),
                common_attributes: Some(
                    endpoint
                        .attributes
                        .iter()
                        .map(|(name, value)| HttpEndpointCommonAttribute {
                            attribute_name: name.clone(),
                            attribute_value: value.clone(),
                        })
                        .collect(),
                ),
            }),
            processing_configuration: Some(shown_processing(
                &self.processing.clone().unwrap_or_default(),
            )),
            role_arn: endpoint.role.clone(),
            retry_options: Some(HttpEndpointRetryOptions {
                duration_in_seconds: Some(endpoint.retry),
            }),
            s3_backup_mode: Some(mode.into()),
            s3_destination_description: Some(self.bucket.describe()),
            secrets_manager_configuration: None,
        }
    }
}
