//! Looking at a queue's messages without receiving them: LocalStack's developer endpoint.

use store::{Range, Read};
use wire::Fault;

use crate::api::{Message, ReceiveMessageOutput};
use crate::batch;
use crate::receipt::Receipt;
use crate::receive::{Received, Shows};
use crate::service::Sqs;
use crate::shelf::Place;
use crate::url::Name;

/// Messages that are looked at, at most.
const MOST: usize = 1000;

impl Sqs {
    /// The messages of a queue, those in flight or delayed only where asked for.
    pub(crate) fn peek(
        &self,
        name: &Name,
        shows_invisible: bool,
        shows_delayed: bool,
    ) -> Result<ReceiveMessageOutput, Fault> {
        let queue = self.find(name)?;
        let now = self.cloud.clock.now().0;
        let view = self.cloud.store.read();
        let range = Range::prefix(&(&name.account, queue.line)).limit(MOST);
        let mut messages: Vec<Message> = Vec::new();
        for row in view.range(&self.tables.contents, range) {
            let ((.., seq), content) = row?;
            if content.sent + queue.retention * 1000 <= now {
                continue;
            }
            let place: Option<Place> =
                view.get(&self.tables.places, &(&name.account, queue.line, seq))?;
            let place = place.unwrap_or(Place {
                when: content.due,
                ..Place::default()
            });
            let may_show = match place.count {
                _ if place.when <= now => true,
                0 => shows_delayed,
                _ => shows_invisible,
            };
            if !may_show {
                continue;
            }
            let handle = Receipt {
                birth: queue.birth,
                line: queue.line,
                seq,
                count: place.count,
            }
            .handle();
            let received = Received {
                handle,
                seq,
                place,
                content,
            };
            messages.push(Shows::all().message(received, queue.is_fifo));
        }
        Ok(ReceiveMessageOutput {
            messages: batch::shown(messages),
        })
    }
}
