//! Retention by the clock, and what a deleted stream leaves behind.

use cloud::{Context, Job};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::{
    DecreaseStreamRetentionPeriodInput, DecreaseStreamRetentionPeriodOutput,
    IncreaseStreamRetentionPeriodInput, IncreaseStreamRetentionPeriodOutput,
};
use crate::errors::*;
use crate::service::Kinesis;
use crate::shard::horizon;
use crate::stream::{Place, Stream};
use crate::wiring::names;

const EXPIRE: &str = "kinesis.expire";
const REMOVE: &str = "kinesis.remove";
const HOUR: i64 = 3_600_000;
const SHORTEST: i32 = 24;
const LONGEST: i32 = 8760;
/// How many records one transaction deletes.
const CHUNK: usize = 1000;

#[derive(Serialize, Deserialize)]
struct Of {
    account: String,
    region: String,
    name: String,
    id: u64,
}

impl Of {
    fn new(place: &Place, stream: &Stream) -> Of {
        Of {
            account: place.account.clone(),
            region: place.region.clone(),
            name: place.name.clone(),
            id: stream.id,
        }
    }
}

impl Kinesis {
    /// Begins to run the jobs of this file.
    pub(crate) fn register_expiry(&self) {
        let me = self.me.clone();
        self.cloud.scheduler.register(EXPIRE, move |job: Job| {
            let me = me.clone();
            Box::pin(async move {
                match (me.upgrade(), serde_json::from_value(job.payload)) {
                    (Some(kinesis), Ok(of)) => kinesis.expire(of).await,
                    _ => Ok(()),
                }
            })
        });
    }

    /// Likewise.
    pub(crate) fn register_removal(&self) {
        let me = self.me.clone();
        self.cloud.scheduler.register(REMOVE, move |job: Job| {
            let me = me.clone();
            Box::pin(async move {
                match (me.upgrade(), serde_json::from_value(job.payload)) {
                    (Some(kinesis), Ok(of)) => kinesis.remove(of).await,
                    _ => Ok(()),
                }
            })
        });
    }

    /// Plans the next look at what has expired: what is oldest is `oldest`, and each look takes a part of the
    /// retention period's worth, so that a busy stream is not looked at for each record.
    pub(crate) fn plan_expiry(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        stream: &Stream,
        oldest: i64,
    ) -> Result<(), Fault> {
        let retention = i64::from(stream.retention) * HOUR;
        let now = self.cloud.clock.now().0;
        let when = (oldest + retention).max(now + retention / 24);
        let key = format!("{:x}", stream.id);
        let payload = serde_json::to_value(Of::new(place, stream))?;
        self.cloud
            .scheduler
            .at(tx, Timestamp(when), EXPIRE, &key, payload)
    }

    /// Plans the removal of all that a deleted stream has.
    pub(crate) fn plan_removal(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        stream: &Stream,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let key = format!("{:x}", stream.id);
        let payload = serde_json::to_value(Of::new(place, stream))?;
        self.cloud.scheduler.cancel(tx, EXPIRE, &key)?;
        self.cloud.scheduler.at(tx, now, REMOVE, &key, payload)
    }

    /// Deletes a shard's records before that number, in steps.
    async fn truncate(&self, of: &Of, shard: u64, before: u64) -> Result<(), Fault> {
        let [stream_id, number] = names(of.id, shard);
        let scope = ["kinesis.shard", &stream_id, &number];
        let key = (&of.account, of.id, shard);
        loop {
            let step = self.cloud.store.transact(Scope::new(&scope), |tx| {
                self.records.truncate(tx, &key, before, CHUNK)
            });
            if step.await? < CHUNK {
                return Ok(());
            }
            // Others' turn: a long log takes many steps.
            tokio::task::yield_now().await;
        }
    }

    /// Deletes a shard that has no more records.
    async fn drop_shard(&self, of: &Of, shard: u64) -> Result<(), Fault> {
        let [stream_id, number] = names(of.id, shard);
        let scope = ["kinesis.shard", &stream_id, &number];
        let key = (&of.account, of.id, shard);
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                self.records.forget(tx, &key);
                tx.delete(&self.shards, &key);
                Ok::<_, Fault>(())
            })
            .await?;
        self.wiring.forget_shard(of.id, shard);
        Ok(())
    }

    fn shard_numbers(&self, of: &Of) -> Result<Vec<(u64, Option<i64>)>, Fault> {
        let view = self.cloud.store.read();
        let rows = view.range(&self.shards, Range::prefix(&(&of.account, of.id)));
        let mut shards = Vec::new();
        for row in rows {
            let ((_, _, number), shard) = row?;
            shards.push((number, shard.closed));
        }
        Ok(shards)
    }

    async fn expire(&self, of: Of) -> Result<(), Fault> {
        let place = Place {
            account: of.account.clone(),
            region: of.region.clone(),
            name: of.name.clone(),
        };
        let view = self.cloud.store.read();
        let now = self.cloud.clock.now().0;
        let stream = match self.recent.get(&view, &self.streams, &place.key())? {
            Some(stream) if stream.id == of.id => stream,
            _ => return Ok(()),
        };
        let horizon = horizon(&stream, now);
        let queues = self.queues_of(&view, of.id, &of.account, &of.region)?;
        let mut oldest = now;
        for (shard, closed) in self.shard_numbers(&of)? {
            let key = (of.account.as_str(), of.id, shard);
            let first = self.first_since(&view, &key, 0, horizon + 1)?;
            self.truncate(&of, shard, first).await?;
            for (queue, _) in &queues {
                self.expire_handed(queue, shard, first).await?;
            }
            match closed {
                Some(closed) if closed <= horizon => {
                    self.drop_shard(&of, shard).await?;
                    continue;
                }
                Some(closed) => oldest = oldest.min(closed),
                None => {}
            }
            if let Some((_, entry)) = self
                .records
                .range(&view, &key, first, 1)
                .next()
                .transpose()?
            {
                oldest = oldest.min(entry.time);
            }
        }
        self.change(&place, |tx, stream| {
            if stream.id != of.id {
                return Ok(());
            }
            self.plan_expiry(tx, &place, stream, oldest)
        })
        .await
        .or_else(|fault| match fault.code.as_ref() {
            // Deleted meanwhile.
            "ResourceNotFoundException" => Ok(()),
            _ => Err(fault),
        })
    }

    async fn remove(&self, of: Of) -> Result<(), Fault> {
        for (shard, _) in self.shard_numbers(&of)? {
            self.truncate(&of, shard, u64::MAX).await?;
            self.drop_shard(&of, shard).await?;
        }
        let id = format!("{:x}", of.id);
        let scope = ["kinesis.removal", &id];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let rows = tx.range(&self.consumers, Range::prefix(&(&of.account, of.id)));
                let keys = rows
                    .map(|row| row.map(|(key, _)| key))
                    .collect::<Result<Vec<_>, _>>()?;
                for (account, stream, name) in &keys {
                    tx.delete(&self.consumers, &(account, *stream, name));
                }
                Ok::<_, Fault>(())
            })
            .await?;
        self.wiring.forget(of.id);
        Ok(())
    }

    pub(crate) async fn increase_stream_retention_period(
        &self,
        ctx: &Context,
        input: IncreaseStreamRetentionPeriodInput,
    ) -> Result<IncreaseStreamRetentionPeriodOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let hours = input.retention_period_hours;
        self.change(&place, |_, stream| {
            check(hours)?;
            if hours < stream.retention {
                return Err(invalid_argument_exception(format!(
                    "Requested retention period ({hours} hours) for stream {} can not be shorter than existing retention period ({} hours). Use DecreaseRetentionPeriod API.",
                    place.name, stream.retention
                )));
            }
            stream.retention = hours;
            Ok(())
        })
        .await?;
        Ok(IncreaseStreamRetentionPeriodOutput {})
    }

    pub(crate) async fn decrease_stream_retention_period(
        &self,
        ctx: &Context,
        input: DecreaseStreamRetentionPeriodInput,
    ) -> Result<DecreaseStreamRetentionPeriodOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        let hours = input.retention_period_hours;
        self.change(&place, |tx, stream| {
            check(hours)?;
            if hours > stream.retention {
                return Err(invalid_argument_exception(format!(
                    "Requested retention period ({hours} hours) for stream {} can not be longer than existing retention period ({} hours). Use IncreaseRetentionPeriod API.",
                    place.name, stream.retention
                )));
            }
            stream.retention = hours;
            self.plan_expiry(tx, &place, stream, stream.created)
        })
        .await?;
        Ok(DecreaseStreamRetentionPeriodOutput {})
    }
}

fn check(hours: i32) -> Result<(), Fault> {
    if hours < SHORTEST {
        return Err(invalid_argument_exception(format!(
            "Minimum allowed retention period is {SHORTEST} hours. Requested retention period ({hours} hours) is too short."
        )));
    }
    if hours > LONGEST {
        return Err(invalid_argument_exception(format!(
            "Maximum allowed retention period is {LONGEST} hours. Requested retention period ({hours} hours) is too long."
        )));
    }
    Ok(())
}
