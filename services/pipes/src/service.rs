//! The operations, each calling down to its noun.

use std::collections::HashMap;
use std::sync::Arc;

use cloud::consumer::Consumers;
use cloud::{Cloud, Context, Service};
use parking_lot::Mutex;
use store::Table;
use tokio::sync::watch;
use wire::Fault;

use crate::api;
use crate::pipe::Pipe;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let store = &cloud.store;
    let pipes = Arc::new(Pipes {
        cloud: cloud.clone(),
        pipes: store.table("pipes.pipes"),
        consumers: Consumers::new(cloud, "pipes.positions"),
        pollers: Mutex::default(),
    });
    pipes.register_running();
    let weak = Arc::downgrade(&pipes);
    cloud.after_reset(move || {
        if let Some(pipes) = weak.upgrade() {
            pipes.stop_all();
            if let Err(fault) = pipes.start_all() {
                tracing::error!(%fault, cause = fault.cause, "pipes wait for the next start");
            }
        }
    });
    Service::new(api::Api(pipes))
}

/// The service's state.
pub(crate) struct Pipes {
    pub(crate) cloud: Cloud,
    /// By account, region and name.
    pub(crate) pipes: Table<(String, String, String), Pipe>,
    /// The readers of streams.
    pub(crate) consumers: Consumers,
    /// The pollers of queues, by the pipe's id: one runs until this is dropped.
    pub(crate) pollers: Mutex<HashMap<String, watch::Sender<()>>>,
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Pipes for Pipes {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Pipes::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    create_pipe: CreatePipeInput => CreatePipeOutput,
    describe_pipe: DescribePipeInput => DescribePipeOutput,
    list_pipes: ListPipesInput => ListPipesOutput,
    update_pipe: UpdatePipeInput => UpdatePipeOutput,
    delete_pipe: DeletePipeInput => DeletePipeOutput,
    start_pipe: StartPipeInput => StartPipeOutput,
    stop_pipe: StopPipeInput => StopPipeOutput,
    tag_resource: TagResourceInput => TagResourceOutput,
    untag_resource: UntagResourceInput => UntagResourceOutput,
    list_tags_for_resource: ListTagsForResourceInput => ListTagsForResourceOutput,
}
