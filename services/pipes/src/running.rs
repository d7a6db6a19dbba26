//! Which pipes run.

use std::sync::Arc;

use serde_json::Value;
use store::{Range, Read, Scope};
use wire::Fault;

use crate::flow::Flow;
use crate::pipe::{Pipe, Place, service_of};
use crate::service::Pipes;

/// The job that starts all pipes once the region runs.
const RESUME: &str = "pipes.resume";

impl Pipes {
    pub(crate) fn register_running(self: &Arc<Self>) {
        let pipes = self.clone();
        self.cloud.scheduler.register(RESUME, move |_| {
            let pipes = pipes.clone();
            Box::pin(async move { pipes.start_all() })
        });
        let pipes = self.clone();
        self.cloud.before_stop(move || {
            Box::pin(async move {
                pipes.stop_all();
            })
        });
        let view = self.cloud.store.read();
        if view
            .range(&self.pipes, Range::all().limit(1))
            .next()
            .is_none()
        {
            return;
        }
        let cloud = self.cloud.clone();
        // Not before the region runs: the queues may not have been built yet.
        tokio::spawn(async move {
            let now = cloud.clock.now();
            let plan = cloud.store.transact(Scope::new(&["pipes.resume"]), |tx| {
                cloud.scheduler.at(tx, now, RESUME, "", Value::Null)
            });
            if let Err(fault) = plan.await {
                tracing::error!(%fault, cause = fault.cause, "pipes wait for the next start");
            }
        });
    }

    pub(crate) fn start_all(&self) -> Result<(), Fault> {
        for row in self.cloud.store.read().range(&self.pipes, Range::all()) {
            let ((account, region, name), pipe) = row?;
            let place = Place {
                account,
                region,
                name,
            };
            self.run(&place, &pipe);
        }
        Ok(())
    }

    pub(crate) fn stop_all(&self) {
        self.pollers.lock().clear();
        self.consumers.stop_all();
    }

    fn stop(&self, place: &Place, pipe: &Pipe) {
        self.pollers.lock().remove(&pipe.id);
        self.consumers.stop(&Self::owner(place, pipe));
    }

    /// Runs a pipe as it is now, or ends it if it is to be stopped.
    pub(crate) fn run(&self, place: &Place, pipe: &Pipe) {
        self.stop(place, pipe);
        if !pipe.is_running() {
            return;
        }
        let flow = match Flow::new(&self.cloud, place, pipe) {
            Ok(flow) => Arc::new(flow),
            Err(fault) => {
                tracing::error!(pipe = place.arn(), %fault, "a pipe cannot run");
                return;
            }
        };
        match service_of(&pipe.source).as_str() {
            "sqs" => self.poll(flow),
            _ => self.consume(flow),
        }
    }

    /// Ends a pipe for good.
    pub(crate) async fn end(&self, place: &Place, pipe: &Pipe) -> Result<(), Fault> {
        self.stop(place, pipe);
        match service_of(&pipe.source).as_str() {
            "sqs" => Ok(()),
            _ => self.consumers.forget(&Self::owner(place, pipe)).await,
        }
    }
}
