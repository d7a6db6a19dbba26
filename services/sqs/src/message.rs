//! What is done with received messages: deleting them, and changing when they are visible again.

use cloud::Context;
use store::Read;
use wire::Fault;

use crate::api::*;
use crate::batch;
use crate::content::Content;
use crate::fault::{bad_receipt, invalid_value, missing, required};
use crate::queue::Queue;
use crate::receipt::Receipt;
use crate::service::Sqs;
use crate::shelf::{Place, Shelf};
use crate::url::Name;

/// Milliseconds for which a message may stay invisible from its receive on.
const LONGEST: i64 = 43_200_000;

/// Reads a receipt handle of that queue.
fn receipt(queue: &Queue, handle: &str) -> Result<Receipt, Fault> {
    Receipt::read(handle)
        .filter(|r| r.birth == queue.birth)
        .ok_or_else(|| bad_receipt(handle))
}

/// Deletes a message. One that is there no more is deleted already.
fn delete(
    shelf: &mut Shelf<'_, '_>,
    queue: &Queue,
    receipt: Receipt,
    handle: &str,
) -> Result<Result<(), Fault>, Fault> {
    if receipt.line != shelf.line {
        return Ok(Ok(()));
    }
    let key = (shelf.account, shelf.line, receipt.seq);
    let content: Option<Content> = shelf.tx.get(&shelf.tables.contents, &key)?;
    let Some(content) = content else {
        return Ok(Ok(()));
    };
    let place: Option<Place> = shelf.tx.get(&shelf.tables.places, &key)?;
    let place = place.unwrap_or(Place {
        when: content.due,
        ..Place::default()
    });
    if queue.is_fifo && (place.count != receipt.count || place.when <= shelf.now) {
        return Ok(Err(invalid_value(
            handle,
            "ReceiptHandle",
            "The receipt handle has expired.",
        )));
    }
    shelf.remove(receipt.seq, &content, place, queue.is_fifo)?;
    Ok(Ok(()))
}

/// Changes when a message is visible again.
fn change(
    shelf: &mut Shelf<'_, '_>,
    queue: &Queue,
    receipt: Receipt,
    handle: &str,
    seconds: i64,
) -> Result<Result<(), Fault>, Fault> {
    let gone = || {
        Ok(Err(invalid_value(
            handle,
            "ReceiptHandle",
            "Message does not exist or is not available for visibility timeout change.",
        )))
    };
    let key = (shelf.account, shelf.line, receipt.seq);
    if receipt.line != shelf.line {
        return gone();
    }
    let place: Option<Place> = shelf.tx.get(&shelf.tables.places, &key)?;
    let content: Option<Content> = shelf.tx.get(&shelf.tables.contents, &key)?;
    let (Some(place), Some(content)) = (place, content) else {
        return gone();
    };
    // AWS takes an older handle of a standard queue's message, and that of a message that is visible again.
    if queue.is_fifo && (place.count != receipt.count || place.when <= shelf.now) {
        return gone();
    }
    let when = shelf.now + seconds * 1000;
    if when - place.first > LONGEST && seconds > 0 && place.count == 1 {
        return Ok(Err(invalid_value(
            seconds,
            "VisibilityTimeout",
            "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]",
        )));
    }
    let group = queue
        .is_fifo
        .then(|| content.group.as_deref().unwrap_or_default());
    shelf.delay(receipt.seq, group, place, when)?;
    Ok(Ok(()))
}

fn seconds(given: Option<i32>) -> Result<i64, Fault> {
    let given = given.ok_or_else(|| missing("VisibilityTimeout"))?;
    match i64::from(given) {
        n @ 0..=43_200 => Ok(n),
        n => Err(invalid_value(
            n,
            "VisibilityTimeout",
            "VisibilityTimeout must be an integer between 0 and 43200.",
        )),
    }
}

impl Sqs {
    pub(crate) async fn delete_message(
        &self,
        ctx: &Context,
        input: DeleteMessageInput,
    ) -> Result<DeleteMessageOutput, Fault> {
        let (name, queue) = self.open(ctx, input.queue_url, "sqs:DeleteMessage")?;
        let handle = required(input.receipt_handle, "ReceiptHandle")?;
        let receipt = receipt(&queue, &handle)?;
        self.over(&name, &queue, |shelf| {
            delete(shelf, &queue, receipt, &handle)
        })
        .await??;
        Ok(DeleteMessageOutput {})
    }

    pub(crate) async fn delete_message_batch(
        &self,
        ctx: &Context,
        input: DeleteMessageBatchInput,
    ) -> Result<DeleteMessageBatchOutput, Fault> {
        let (name, queue) = self.open(ctx, input.queue_url, "sqs:DeleteMessage")?;
        let entries = batch::entries(input.entries, "DeleteMessageBatchRequestEntry", |e| {
            e.id.as_deref()
        })?;
        let entries = entries
            .into_iter()
            .map(|e| (e.id, e.receipt_handle.unwrap_or_default()));
        let (done, failed) = self
            .each(
                &name,
                &queue,
                entries.collect(),
                |shelf, receipt, handle, _| delete(shelf, &queue, receipt, handle),
            )
            .await?;
        Ok(DeleteMessageBatchOutput {
            successful: batch::shown(
                done.into_iter()
                    .map(|id| DeleteMessageBatchResultEntry { id })
                    .collect(),
            ),
            failed: batch::shown(failed),
        })
    }

    pub(crate) async fn change_message_visibility(
        &self,
        ctx: &Context,
        input: ChangeMessageVisibilityInput,
    ) -> Result<ChangeMessageVisibilityOutput, Fault> {
        let (name, queue) = self.open(ctx, input.queue_url, "sqs:ChangeMessageVisibility")?;
        let handle = required(input.receipt_handle, "ReceiptHandle")?;
        let seconds = seconds(input.visibility_timeout)?;
        let receipt = receipt(&queue, &handle)?;
        self.over(&name, &queue, |shelf| {
            change(shelf, &queue, receipt, &handle, seconds)
        })
        .await??;
        Ok(ChangeMessageVisibilityOutput {})
    }

    pub(crate) async fn change_message_visibility_batch(
        &self,
        ctx: &Context,
        input: ChangeMessageVisibilityBatchInput,
    ) -> Result<ChangeMessageVisibilityBatchOutput, Fault> {
        let (name, queue) = self.open(ctx, input.queue_url, "sqs:ChangeMessageVisibility")?;
        let entries = batch::entries(
            input.entries,
            "ChangeMessageVisibilityBatchRequestEntry",
            |e| e.id.as_deref(),
        )?;
        let timeouts: Vec<Option<i32>> = entries.iter().map(|e| e.visibility_timeout).collect();
        let entries = entries
            .into_iter()
            .map(|e| (e.id, e.receipt_handle.unwrap_or_default()));
        let (done, failed) = self
            .each(
                &name,
                &queue,
                entries.collect(),
                |shelf, receipt, handle, at| match seconds(timeouts.get(at).copied().flatten()) {
                    Ok(seconds) => change(shelf, &queue, receipt, handle, seconds),
                    Err(fault) => Ok(Err(fault)),
                },
            )
            .await?;
        Ok(ChangeMessageVisibilityBatchOutput {
            successful: batch::shown(
                done.into_iter()
                    .map(|id| ChangeMessageVisibilityBatchResultEntry { id })
                    .collect(),
            ),
            failed: batch::shown(failed),
        })
    }

    /// Does something with each receipt of a batch in one transaction; which entries succeeded, and which not.
    #[allow(clippy::type_complexity, reason = "used twice, just above")]
    async fn each(
        &self,
        name: &Name,
        queue: &Queue,
        entries: Vec<(Option<String>, String)>,
        mut f: impl FnMut(&mut Shelf<'_, '_>, Receipt, &str, usize) -> Result<Result<(), Fault>, Fault>,
    ) -> Result<(Vec<Option<String>>, Vec<BatchResultErrorEntry>), Fault> {
        self.over(name, queue, |shelf| {
            let (mut done, mut failed) = (Vec::new(), Vec::new());
            for (at, (id, handle)) in entries.iter().enumerate() {
                let outcome = match receipt(queue, handle) {
                    Ok(receipt) => f(shelf, receipt, handle, at)?,
                    Err(mut fault) => {
                        // In batches AWS has other words for it.
                        fault.message = format!(
                            "The input receipt handle \"{handle}\" is not a valid receipt handle."
                        )
                        .into();
                        Err(fault)
                    }
                };
                match outcome {
                    Ok(()) => done.push(id.clone()),
                    Err(fault) => failed.push(batch::failure(id.clone(), &fault)),
                }
            }
            Ok((done, failed))
        })
        .await
    }

    /// Deletes messages by their handles, for who receives without a request.
    pub(crate) async fn delete_all(&self, name: &Name, handles: &[String]) -> Result<(), Fault> {
        let queue = self.find(name)?;
        let entries = handles.iter().map(|h| (None, h.clone())).collect();
        self.each(name, &queue, entries, |shelf, receipt, handle, _| {
            delete(shelf, &queue, receipt, handle)
        })
        .await?;
        Ok(())
    }

    /// Changes when messages are visible again, for who receives without a request.
    pub(crate) async fn delay_all(
        &self,
        name: &Name,
        handles: &[String],
        seconds: i64,
    ) -> Result<(), Fault> {
        let queue = self.find(name)?;
        let entries = handles.iter().map(|h| (None, h.clone())).collect();
        self.each(name, &queue, entries, |shelf, receipt, handle, _| {
            change(shelf, &queue, receipt, handle, seconds)
        })
        .await?;
        Ok(())
    }
}
