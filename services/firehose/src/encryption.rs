//! Server-side encryption of delivery streams: kept and shown.

use cloud::Context;
use serde::{Deserialize, Serialize};
use wire::Fault;

use crate::api::*;
use crate::delivery_stream::Place;
use crate::errors::*;
use crate::service::Firehose;

/// How a stream is encrypted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Encryption {
    key: Option<String>,
    kind: String,
    pub(crate) is_on: bool,
}

const OWN: &str = "AWS_OWNED_CMK";

impl Encryption {
    pub(crate) fn of(
        given: DeliveryStreamEncryptionConfigurationInput,
    ) -> Result<Encryption, Fault> {
        match (given.key_type.as_str(), &given.key_arn) {
            (OWN, Some(_)) => Err(invalid_argument_exception(
                "KeyARN must not be specified when KeyType is AWS_OWNED_CMK.",
            )),
            (OWN, None) | (_, Some(_)) => Ok(Encryption {
                key: given.key_arn,
                kind: given.key_type,
                is_on: true,
            }),
            (_, None) => Err(invalid_argument_exception(
                "KeyARN must be specified when KeyType is CUSTOMER_MANAGED_CMK.",
            )),
        }
    }

    pub(crate) fn describe(&self) -> DeliveryStreamEncryptionConfiguration {
        let status = if self.is_on { "ENABLED" } else { "DISABLED" };
        DeliveryStreamEncryptionConfiguration {
            key_arn: self.key.clone().filter(|_| self.is_on),
            key_type: Some(self.kind.clone()).filter(|_| self.is_on),
            status: Some(status.into()),
            failure_description: None,
        }
    }
}

impl Firehose {
    pub(crate) async fn start_delivery_stream_encryption(
        &self,
        ctx: &Context,
        input: StartDeliveryStreamEncryptionInput,
    ) -> Result<StartDeliveryStreamEncryptionOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        let given = input.delivery_stream_encryption_configuration_input;
        let encryption =
            Encryption::of(
                given.unwrap_or_else(|| DeliveryStreamEncryptionConfigurationInput {
                    key_arn: None,
                    key_type: OWN.into(),
                }),
            )?;
        self.change(&place, |_, stream| {
            if stream.source.is_some() {
                return Err(invalid_argument_exception(
                    "Server-side encryption is not supported for delivery streams with KinesisStreamAsSource.",
                ));
            }
            stream.encryption = Some(encryption);
            Ok(())
        })
        .await?;
        Ok(StartDeliveryStreamEncryptionOutput {})
    }

    pub(crate) async fn stop_delivery_stream_encryption(
        &self,
        ctx: &Context,
        input: StopDeliveryStreamEncryptionInput,
    ) -> Result<StopDeliveryStreamEncryptionOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        self.change(&place, |_, stream| {
            match &mut stream.encryption {
                Some(encryption) => encryption.is_on = false,
                none => {
                    *none = Some(Encryption {
                        key: None,
                        kind: OWN.into(),
                        is_on: false,
                    });
                }
            }
            Ok(())
        })
        .await?;
        Ok(StopDeliveryStreamEncryptionOutput {})
    }
}
