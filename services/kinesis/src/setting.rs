//! Settings of streams: monitoring, encryption, policies; and of the account.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::consumer::Resource;
use crate::errors::*;
use crate::service::Kinesis;
use crate::stream::Place;

/// An account's commitment to a minimum throughput.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Commitment {
    is_enabled: bool,
    started: i64,
    ended: Option<i64>,
}
impl Record for Commitment {}

/// The shortest commitment, milliseconds: a day.
const SHORTEST: i64 = 24 * 3_600_000;

/// All metrics of a shard, in the order in which they are answered.
const METRICS: [&str; 7] = [
    metrics_name::INCOMINGBYTES,
    metrics_name::INCOMINGRECORDS,
    metrics_name::OUTGOINGBYTES,
    metrics_name::OUTGOINGRECORDS,
    metrics_name::WRITEPROVISIONEDTHROUGHPUTEXCEEDED,
    metrics_name::READPROVISIONEDTHROUGHPUTEXCEEDED,
    metrics_name::ITERATORAGEMILLISECONDS,
];

fn names(name: &str, asked: &[String]) -> bool {
    asked.iter().any(|a| a == name || a == metrics_name::ALL)
}

impl Kinesis {
    /// Whether the account commits itself to a minimum throughput there, which On-demand Advantage comes with.
    pub(crate) fn is_committed(&self, reader: &impl Read, place: &Place) -> Result<bool, Fault> {
        let commitment: Option<Commitment> =
            Read::get(reader, &self.commitments, &(&place.account, &place.region))?;
        Ok(commitment.is_some_and(|c| c.is_enabled))
    }

    async fn change_metrics(
        &self,
        place: Place,
        stays: impl Fn(&str, bool) -> bool,
    ) -> Result<EnhancedMonitoringOutput, Fault> {
        let (current, desired) = self
            .change(&place, |_, stream| {
                let is_on = |name: &str| stream.metrics.iter().any(|m| m == name);
                let desired: Vec<String> = METRICS
                    .into_iter()
                    .filter(|name| stays(name, is_on(name)))
                    .map(str::to_owned)
                    .collect();
                let current = std::mem::replace(&mut stream.metrics, desired.clone());
                Ok((current, desired))
            })
            .await?;
        Ok(EnhancedMonitoringOutput {
            stream_arn: Some(place.arn()),
            stream_name: Some(place.name),
            current_shard_level_metrics: Some(current),
            desired_shard_level_metrics: Some(desired),
        })
    }

    pub(crate) async fn enable_enhanced_monitoring(
        &self,
        ctx: &Context,
        input: EnableEnhancedMonitoringInput,
    ) -> Result<EnableEnhancedMonitoringOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let asked = input.shard_level_metrics;
        self.change_metrics(place, |name, is_on| is_on || names(name, &asked))
            .await
    }

    pub(crate) async fn disable_enhanced_monitoring(
        &self,
        ctx: &Context,
        input: DisableEnhancedMonitoringInput,
    ) -> Result<DisableEnhancedMonitoringOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let asked = input.shard_level_metrics;
        self.change_metrics(place, |name, is_on| is_on && !names(name, &asked))
            .await
    }

    pub(crate) async fn start_stream_encryption(
        &self,
        ctx: &Context,
        input: StartStreamEncryptionInput,
    ) -> Result<StartStreamEncryptionOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        if input.encryption_type != encryption_type::KMS {
            return Err(invalid_argument_exception(
                "The only valid encryption type for this operation is KMS.",
            ));
        }
        self.change(&place, |_, stream| {
            stream.key = Some(input.key_id);
            Ok(())
        })
        .await?;
        Ok(StartStreamEncryptionOutput {})
    }

    pub(crate) async fn stop_stream_encryption(
        &self,
        ctx: &Context,
        input: StopStreamEncryptionInput,
    ) -> Result<StopStreamEncryptionOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        if input.encryption_type != encryption_type::KMS {
            return Err(invalid_argument_exception(
                "The only valid encryption type for this operation is KMS.",
            ));
        }
        self.change(&place, |_, stream| {
            stream.key = None;
            Ok(())
        })
        .await?;
        Ok(StopStreamEncryptionOutput {})
    }

    /// Sets, or with `None` removes, a resource's policy and answers the one it had.
    async fn change_policy(
        &self,
        arn: &str,
        policy: Option<String>,
    ) -> Result<Option<String>, Fault> {
        match Resource::parse(arn)? {
            Resource::Stream(place) => {
                self.change(&place, |_, stream| {
                    Ok(std::mem::replace(&mut stream.policy, policy))
                })
                .await
            }
            Resource::Consumer(place, name, created) => {
                let mut old = None;
                self.change_consumer(&place, &name, created, |consumer| {
                    old = std::mem::replace(&mut consumer.policy, policy);
                    Ok(())
                })
                .await?;
                Ok(old)
            }
            Resource::Queue(place) => {
                self.change_queue(&place, |_, queue| {
                    Ok(std::mem::replace(&mut queue.policy, policy))
                })
                .await
            }
            Resource::Channel(place) => {
                self.change_channel(&place, |_, channel| {
                    Ok(std::mem::replace(&mut channel.policy, policy))
                })
                .await
            }
        }
    }

    pub(crate) async fn put_resource_policy(
        &self,
        _: &Context,
        input: PutResourcePolicyInput,
    ) -> Result<PutResourcePolicyOutput, Fault> {
        if let Err(e) =
            auth::policy::Policy::parse(&input.policy, auth::policy::PolicyKind::Resource)
        {
            return Err(invalid_argument_exception(format!(
                "The policy is not valid: {e}"
            )));
        }
        self.change_policy(&input.resource_arn, Some(input.policy))
            .await?;
        Ok(PutResourcePolicyOutput {})
    }

    pub(crate) async fn get_resource_policy(
        &self,
        _: &Context,
        input: GetResourcePolicyInput,
    ) -> Result<GetResourcePolicyOutput, Fault> {
        let view = self.cloud.store.read();
        let policy = match Resource::parse(&input.resource_arn)? {
            Resource::Stream(place) => self.stream(&view, &place)?.policy.clone(),
            Resource::Consumer(place, name, created) => {
                let stream = self.stream(&view, &place)?;
                self.consumer(&view, &place, &stream, &name, Some(created))?
                    .policy
            }
            Resource::Queue(place) => self.queue(&view, &place)?.policy,
            Resource::Channel(place) => self.channel(&view, &place)?.policy,
        };
        Ok(GetResourcePolicyOutput {
            policy: policy.unwrap_or_else(|| "{}".into()),
        })
    }

    pub(crate) async fn delete_resource_policy(
        &self,
        _: &Context,
        input: DeleteResourcePolicyInput,
    ) -> Result<DeleteResourcePolicyOutput, Fault> {
        let old = self.change_policy(&input.resource_arn, None).await?;
        if old.is_none() {
            return Err(resource_not_found_exception(format!(
                "No resource policy found for resource ARN {}.",
                input.resource_arn
            )));
        }
        Ok(DeleteResourcePolicyOutput {})
    }

    pub(crate) async fn describe_account_settings(
        &self,
        ctx: &Context,
        _: DescribeAccountSettingsInput,
    ) -> Result<DescribeAccountSettingsOutput, Fault> {
        let view = self.cloud.store.read();
        let commitment: Option<Commitment> =
            view.get(&self.commitments, &(&ctx.account, &ctx.region))?;
        Ok(DescribeAccountSettingsOutput {
            minimum_throughput_billing_commitment: Some(shown(commitment, ctx.time.0)),
        })
    }

    pub(crate) async fn update_account_settings(
        &self,
        ctx: &Context,
        input: UpdateAccountSettingsInput,
    ) -> Result<UpdateAccountSettingsOutput, Fault> {
        let enable = input.minimum_throughput_billing_commitment.status
            == minimum_throughput_billing_commitment_input_status::ENABLED;
        let now = ctx.time.0;
        let scope = ["kinesis.commitment", &ctx.account, &ctx.region];
        let at = (&ctx.account, &ctx.region);
        let commitment = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let old: Option<Commitment> = tx.get(&self.commitments, &at)?;
                let new = match (old, enable) {
                    (Some(old), true) if old.is_enabled => old,
                    (_, true) => Commitment {
                        is_enabled: true,
                        started: now,
                        ended: None,
                    },
                    (Some(old), false) => Commitment {
                        is_enabled: false,
                        started: old.started,
                        ended: Some(old.ended.unwrap_or(now.max(old.started + SHORTEST))),
                    },
                    (None, false) => return Ok::<_, Fault>(None),
                };
                tx.put(&self.commitments, &at, &new)?;
                Ok(Some(new))
            })
            .await?;
        Ok(UpdateAccountSettingsOutput {
            minimum_throughput_billing_commitment: Some(shown(commitment, now)),
        })
    }
}

fn shown(commitment: Option<Commitment>, now: i64) -> MinimumThroughputBillingCommitmentOutput {
    use minimum_throughput_billing_commitment_output_status::*;
    let Some(commitment) = commitment else {
        return MinimumThroughputBillingCommitmentOutput {
            status: DISABLED.into(),
            ..MinimumThroughputBillingCommitmentOutput::default()
        };
    };
    let status = match commitment.ended {
        _ if commitment.is_enabled => ENABLED,
        Some(ended) if ended > now => ENABLED_UNTIL_EARLIEST_ALLOWED_END,
        _ => DISABLED,
    };
    MinimumThroughputBillingCommitmentOutput {
        status: status.into(),
        started_at: Some(Timestamp(commitment.started)),
        ended_at: commitment.ended.filter(|t| *t <= now).map(Timestamp),
        earliest_allowed_end_at: Some(Timestamp(commitment.started + SHORTEST)),
    }
}
