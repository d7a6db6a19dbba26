//! UpdateShardCount.

use cloud::Context;
use wire::Fault;

use crate::api::{UpdateShardCountInput, UpdateShardCountOutput};
use crate::errors::*;
use crate::service::Kinesis;
use crate::stream::Place;

/// The most shards of a stream that scaling leads to.
const MOST: i32 = 10_000;

impl Kinesis {
    pub(crate) async fn update_shard_count(
        &self,
        ctx: &Context,
        input: UpdateShardCountInput,
    ) -> Result<UpdateShardCountOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let target = input.target_shard_count;
        let mut current = 0;
        self.reshard(&place, |_, stream, lineage| {
            if stream.on_demand {
                return Err(validation_exception(format!(
                    "Request is invalid. Stream {} under account {} is in On-Demand mode.",
                    place.name, place.account
                )));
            }
            current = stream.open;
            let counts = format!("Current open shard count: {current} Target shard count: {target}");
            if target > current.saturating_mul(2) {
                return Err(invalid_argument_exception(format!(
                    "UpdateShardCount cannot scale up over double your current open shard count. {counts}"
                )));
            }
            // Half of an odd count is rounded down.
            if target < current / 2 {
                return Err(invalid_argument_exception(format!(
                    "UpdateShardCount cannot scale down below half your current open shard count. {counts}"
                )));
            }
            if target > MOST {
                return Err(limit_exceeded_exception(format!(
                    "UpdateShardCount cannot scale a stream to more than {MOST} shards. {counts}"
                )));
            }
            if target != current {
                lineage.scale(usize::try_from(target).unwrap_or(1));
            }
            Ok(())
        })
        .await?;
        Ok(UpdateShardCountOutput {
            stream_arn: Some(place.arn()),
            stream_name: Some(place.name),
            current_shard_count: Some(current),
            target_shard_count: Some(target),
        })
    }
}
