//! Records put into delivery streams.

use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::buffer::Entry;
use crate::delivery_stream::{DeliveryStream, Place};
use crate::errors::*;
use crate::service::Firehose;

/// Bytes of one request.
const BATCH_LIMIT: usize = 4 * 1024 * 1024;

fn admit(stream: &DeliveryStream) -> Result<bool, Fault> {
    if stream.source.is_some() {
        return Err(invalid_argument_exception(
            "This operation is not permitted on KinesisStreamAsSource delivery stream type.",
        ));
    }
    Ok(stream.encryption.as_ref().is_some_and(|e| e.is_on))
}

/// An id as long as AWS's.
fn id() -> String {
    cloud::ids::alphanumeric(224).replace(['.', '_'], "0")
}

impl Firehose {
    pub(crate) async fn put_record(
        &self,
        ctx: &Context,
        input: PutRecordInput,
    ) -> Result<PutRecordOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        let stream = self.stream(&self.cloud.store, &place)?;
        let encrypted = admit(&stream)?;
        let entry = Entry::new(ctx.time, input.record.data);
        self.append(&place, &stream, vec![entry]).await?;
        Ok(PutRecordOutput {
            record_id: id(),
            encrypted: Some(encrypted),
        })
    }

    pub(crate) async fn put_record_batch(
        &self,
        ctx: &Context,
        input: PutRecordBatchInput,
    ) -> Result<PutRecordBatchOutput, Fault> {
        let place = Place::of(ctx, &input.delivery_stream_name);
        let stream = self.stream(&self.cloud.store, &place)?;
        let encrypted = admit(&stream)?;
        let size: usize = input.records.iter().map(|r| r.data.len()).sum();
        if size > BATCH_LIMIT {
            return Err(invalid_argument_exception(
                "Records size exceeds 4 MB limit",
            ));
        }
        let count = input.records.len();
        let entries = input.records.into_iter();
        let entries = entries.map(|r| Entry::new(ctx.time, r.data)).collect();
        self.append(&place, &stream, entries).await?;
        let response = || PutRecordBatchResponseEntry {
            record_id: Some(id()),
            ..PutRecordBatchResponseEntry::default()
        };
        Ok(PutRecordBatchOutput {
            failed_put_count: 0,
            encrypted: Some(encrypted),
            request_responses: std::iter::repeat_with(response).take(count).collect(),
        })
    }
}
