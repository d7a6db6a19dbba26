//! The operations, each calling down to its noun.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use cloud::consumer::Consumers;
use cloud::{Cloud, Context, Service};
use parking_lot::Mutex;
use store::{Log, Table};
use wire::Fault;

use crate::api;
use crate::buffer::{Buffer, Entry};
use crate::delivery_stream::DeliveryStream;
use crate::target::DeliveryStreams;

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let store = &cloud.store;
    let firehose = Arc::new_cyclic(|me: &Weak<Firehose>| Firehose {
        me: me.clone(),
        cloud: cloud.clone(),
        streams: store.table("firehose.delivery_streams"),
        buffers: store.table("firehose.buffers"),
        entries: store.log("firehose.records"),
        consumers: Consumers::new(cloud, "firehose.positions"),
        flushing: Mutex::default(),
    });
    firehose.register_flush();
    firehose.register_sources();
    cloud
        .targets
        .register("firehose", Arc::new(DeliveryStreams(firehose.clone())));
    let weak = Arc::downgrade(&firehose);
    cloud.after_reset(move || {
        if let Some(firehose) = weak.upgrade() {
            firehose.consumers.stop_all();
            if let Err(fault) = firehose.resume() {
                tracing::error!(%fault, cause = fault.cause, "delivery streams wait for the next start");
            }
        }
    });
    Service::new(api::Api(firehose))
}

/// The service's state.
pub(crate) struct Firehose {
    pub(crate) me: Weak<Firehose>,
    pub(crate) cloud: Cloud,
    /// By account, region and name.
    pub(crate) streams: Table<(String, String, String), DeliveryStream>,
    /// What is gathered, by account and the stream's id.
    pub(crate) buffers: Table<(String, String), Buffer>,
    /// Records, by account and the stream's id.
    pub(crate) entries: Log<(String, String), Entry>,
    /// The readers of data streams.
    pub(crate) consumers: Consumers,
    /// Held while a stream is written out, by its id.
    pub(crate) flushing: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Firehose for Firehose {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Firehose::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    create_delivery_stream: CreateDeliveryStreamInput => CreateDeliveryStreamOutput,
    delete_delivery_stream: DeleteDeliveryStreamInput => DeleteDeliveryStreamOutput,
    describe_delivery_stream: DescribeDeliveryStreamInput => DescribeDeliveryStreamOutput,
    list_delivery_streams: ListDeliveryStreamsInput => ListDeliveryStreamsOutput,
    update_destination: UpdateDestinationInput => UpdateDestinationOutput,
    put_record: PutRecordInput => PutRecordOutput,
    put_record_batch: PutRecordBatchInput => PutRecordBatchOutput,
    start_delivery_stream_encryption: StartDeliveryStreamEncryptionInput => StartDeliveryStreamEncryptionOutput,
    stop_delivery_stream_encryption: StopDeliveryStreamEncryptionInput => StopDeliveryStreamEncryptionOutput,
    tag_delivery_stream: TagDeliveryStreamInput => TagDeliveryStreamOutput,
    untag_delivery_stream: UntagDeliveryStreamInput => UntagDeliveryStreamOutput,
    list_tags_for_delivery_stream: ListTagsForDeliveryStreamInput => ListTagsForDeliveryStreamOutput,
}
