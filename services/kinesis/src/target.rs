//! How other services put records.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cloud::{Arn, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use wire::Fault;

use crate::errors::*;
use crate::service::Kinesis;
use crate::stream::Place;

/// Takes deliveries as records. The parameter `partition_key` is the record's key, else each goes anywhere; with
/// `encoding` `base64` the payload is bytes.
pub(crate) struct Streams(pub(crate) Arc<Kinesis>);

fn place(arn: &Arn) -> Result<Place, Fault> {
    Place::of_arn(arn)
        .ok_or_else(|| invalid_argument_exception(format!("{arn} is not the ARN of a stream.")))
}

impl Target for Streams {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        Box::pin(async move {
            let arn: Arn = delivery.target.parse().map_err(|_| {
                Refusal::Never(invalid_argument_exception(format!(
                    "{} is not an ARN.",
                    delivery.target
                )))
            })?;
            let place = place(&arn).map_err(Refusal::Never)?;
            let data = match delivery.parameters.get("encoding").map(String::as_str) {
                Some("base64") => STANDARD.decode(&delivery.payload).map_err(|e| {
                    Refusal::Never(invalid_argument_exception(format!(
                        "the payload is not base64: {e}"
                    )))
                })?,
                _ => delivery.payload.clone().into_bytes(),
            };
            let key = delivery.parameters.get("partition_key").cloned();
            let key = key
                .filter(|k| !k.is_empty())
                .unwrap_or_else(cloud::ids::uuid);
            let put = self.0.put_delivery(&place, key, Bytes::from(data)).await;
            put.map(|()| Receipt::default()).map_err(Refusal::of)
        })
    }

    fn check(&self, target: &Arn, _: &Source) -> Result<(), Fault> {
        let place = place(target)?;
        self.0.stream(&self.0.cloud.store.read(), &place).map(drop)
    }
}
