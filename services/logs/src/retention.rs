//! Retention: how long a group keeps its events.

use std::sync::Arc;

use cloud::Context;
use store::Scope;
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::event::PURGE;
use crate::group::DAY;
use crate::service::Logs;

/// The days that AWS allows.
const DAYS: [i32; 23] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653, 0,
];
const EXPIRE: &str = "logs.expire";

impl Logs {
    pub(crate) fn register_expiry(self: &Arc<Self>) {
        let this = self.clone();
        self.cloud.scheduler.register(EXPIRE, move |job| {
            let this = this.clone();
            Box::pin(async move { this.expire(&job.payload).await })
        });
        let this = self.clone();
        self.cloud.scheduler.register(PURGE, move |job| {
            let this = this.clone();
            Box::pin(async move { this.purge(job.payload).await })
        });
    }

    pub(crate) async fn put_retention_policy(
        &self,
        ctx: &Context,
        input: PutRetentionPolicyInput,
    ) -> Result<PutRetentionPolicyOutput, Fault> {
        let days = input.retention_in_days;
        if days == 0 || !DAYS.contains(&days) {
            let known: Vec<String> = DAYS
                .iter()
                .filter(|d| **d > 0)
                .map(i32::to_string)
                .collect();
            return Err(invalid_parameter_exception(format!(
                "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: \
                 Member must satisfy enum value set: [{}]",
                known.join(", ")
            )));
        }
        let name = &input.log_group_name;
        self.change_group(&ctx.account, &ctx.region, name, |tx, group| {
            group.retention = Some(days);
            let payload =
                serde_json::json!({ "account": ctx.account, "region": ctx.region, "group": name });
            self.cloud.scheduler.at(
                tx,
                ctx.time.plus_millis(DAY),
                EXPIRE,
                &job_key(&ctx.account, &ctx.region, name),
                payload,
            )
        })
        .await?;
        Ok(PutRetentionPolicyOutput {})
    }

    pub(crate) async fn delete_retention_policy(
        &self,
        ctx: &Context,
        input: DeleteRetentionPolicyInput,
    ) -> Result<DeleteRetentionPolicyOutput, Fault> {
        let name = &input.log_group_name;
        self.change_group(&ctx.account, &ctx.region, name, |tx, group| {
            group.retention = None;
            self.cloud
                .scheduler
                .cancel(tx, EXPIRE, &job_key(&ctx.account, &ctx.region, name))
        })
        .await?;
        Ok(DeleteRetentionPolicyOutput {})
    }

    /// Deletes a group's expired events, which nobody has seen since they expired, and comes again tomorrow.
    async fn expire(&self, payload: &serde_json::Value) -> Result<(), Fault> {
        let text = |key: &str| payload[key].as_str().unwrap_or_default();
        let (account, region, name) = (text("account"), text("region"), text("group"));
        let Ok(group) = self.group(account, region, name) else {
            return Ok(());
        };
        if group.retention.is_none() {
            return Ok(());
        }
        let now = self.cloud.clock.now();
        let cutoff = group.cutoff(now.0);
        let owner = group.id.to_string();
        for (stream_name, stream) in self.streams_of(account, group.id, "")? {
            if stream.first_event.is_none_or(|first| first >= cutoff) {
                continue;
            }
            let freed = self.delete_before(account, stream.id, cutoff).await?;
            let scope = ["logs.streams", account, &owner, &stream_name];
            let shrink = self.cloud.store.transact(Scope::new(&scope), |tx| {
                let key = (account, group.id, &stream_name);
                if let Some(mut stream) = store::Read::get(tx, &self.streams, &key)? {
                    stream.bytes = (stream.bytes - freed).max(0);
                    stream.first_event = match stream.last_event {
                        Some(last) if last >= cutoff => {
                            stream.first_event.map(|first| first.max(cutoff))
                        }
                        _ => None,
                    };
                    tx.put(&self.streams, &key, &stream)?;
                }
                Ok::<_, Fault>(())
            });
            shrink.await?;
        }
        let again = Timestamp(now.0 + DAY);
        let key = job_key(account, region, name);
        let scope = ["logs.groups", account, region];
        let payload = payload.clone();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                self.cloud.scheduler.at(tx, again, EXPIRE, &key, payload)
            })
            .await
    }
}

fn job_key(account: &str, region: &str, group: &str) -> String {
    format!("{account}/{region}/{group}")
}
