//! A consumer: a stream's shards, parents before their children.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::Fault;

use crate::Cloud;

use super::lane::{End, LaneRun};
use super::progress::Progress;
use super::source::Stream;
use super::{Owner, Plan, Sink, Start};

/// Milliseconds before a stream that is not there is looked for again, doubling from the first to the last.
const MISSING: (i64, i64) = (1_000, 300_000);

pub(super) struct Consumer {
    pub(super) cloud: Cloud,
    pub(super) progress: Progress,
    pub(super) owner: Owner,
    pub(super) stream: Stream,
    pub(super) plan: Plan,
    pub(super) start: Start,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) stopped: watch::Receiver<()>,
}

impl Consumer {
    pub(super) async fn run(self: Arc<Self>) {
        let mut pause = MISSING.0;
        loop {
            let begun = self.cloud.clock.now();
            let fault = match self.clone().shards().await {
                Ok(()) => return,
                Err(fault) => fault,
            };
            tracing::debug!(owner = self.owner.name, %fault, cause = fault.cause, "a stream cannot be consumed now");
            self.sink.trouble(&fault);
            if fault.is("ResourceNotFoundException") && self.stream.check().is_err() {
                // A stream that is made anew under its name begins anew.
                if let Err(fault) = self.progress.restart(&self.owner).await {
                    tracing::warn!(%fault, cause = fault.cause, "a consumer's positions could not be forgotten");
                }
            }
            if self.cloud.clock.now() > begun.plus_millis(MISSING.1) {
                pause = MISSING.0;
            }
            let mut stopped = self.stopped.clone();
            tokio::select! {
                () = self.cloud.clock.pass(pause) => {}
                _ = stopped.changed() => return,
            }
            pause = (pause * 2).min(MISSING.1);
        }
    }

    /// Consumes until it is stopped or no shard is left that may have records.
    async fn shards(self: Arc<Self>) -> Result<(), Fault> {
        self.progress
            .begin(&self.owner, &self.stream, self.start)
            .await?;
        let mut running: JoinSet<Result<(String, End), Fault>> = JoinSet::new();
        let mut begun: HashSet<String> = HashSet::new();
        loop {
            for shard in self.stream.shards()? {
                if begun.contains(&shard.id) || self.is_done(&shard.id)? {
                    continue;
                }
                let mut is_due = true;
                for parent in &shard.parents {
                    is_due &= self.is_done(parent)?;
                }
                if is_due {
                    begun.insert(shard.id.clone());
                    running.spawn(self.clone().shard(shard.id));
                }
            }
            let Some(ended) = running.join_next().await else {
                // All is read and closed: there is nothing more to come, unless the stream is made anew.
                let mut stopped = self.stopped.clone();
                let _ = stopped.changed().await;
                return Ok(());
            };
            let (shard, end) = ended??;
            if end == End::Stopped {
                while running.join_next().await.is_some() {}
                return Ok(());
            }
            self.progress
                .write(&self.owner, &shard, &[], |row| row.is_done = true)
                .await?;
        }
    }

    fn is_done(&self, shard: &str) -> Result<bool, Fault> {
        Ok(self
            .progress
            .row(&self.owner, shard)?
            .is_some_and(|row| row.is_done))
    }

    /// Consumes one shard in its lanes.
    async fn shard(self: Arc<Self>, shard: String) -> Result<(String, End), Fault> {
        let count = self.plan.parallel.max(1);
        let row = self
            .progress
            .open(&self.owner, &self.stream, &shard, count)
            .await?;
        let mut lanes = JoinSet::new();
        for (index, lane) in row.lanes.iter().enumerate() {
            let run = LaneRun::new(
                self.clone(),
                &shard,
                index,
                lane.clone(),
                row.earlier.clone(),
            );
            lanes.spawn(run.run());
        }
        let mut end = End::Done;
        while let Some(ended) = lanes.join_next().await {
            if ended?? == End::Stopped {
                end = End::Stopped;
            }
        }
        Ok((shard, end))
    }
}
