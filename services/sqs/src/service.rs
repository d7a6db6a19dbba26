//! The service: its tables, what lives beside them, and the operations, each calling down to its noun.

use std::sync::Arc;

use cloud::{Cloud, Context, Service};
use store::{Decoded, Scope, Store, Table};
use wire::Fault;

use crate::api;
use crate::content::Content;
use crate::fault::no_queue;
use crate::front::QueueUrls;
use crate::line::{Line, Lines, State, Tally};
use crate::move_task::{self, MoveTask};
use crate::poll::Poll;
use crate::queue::{self, Queue};
use crate::send::{Dedup, DedupEnd};
use crate::shelf::{Group, Member, Place, Shelf, Turn};
use crate::target::Queues;
use crate::url::{Name, Strategy};

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let sqs = Arc::new(Sqs {
        cloud: cloud.clone(),
        tables: Tables::new(&cloud.store),
        decoded: Decoded::default(),
        lines: Lines::default(),
        strategy: Strategy::named(&cloud.config.sqs_endpoint),
    });
    cloud.targets.register("sqs", Arc::new(Queues(sqs.clone())));
    cloud.ports.set_queues(Arc::new(Poll(sqs.clone())));
    let this = sqs.clone();
    cloud.scheduler.register(queue::SWEEP, move |job| {
        let this = this.clone();
        Box::pin(async move { this.sweep(&job.key).await })
    });
    let this = sqs.clone();
    cloud.scheduler.register(move_task::MOVE, move |job| {
        let this = this.clone();
        Box::pin(async move { this.move_some(&job.key).await })
    });
    let this = sqs.clone();
    cloud.after_reset(move || this.lines.clear());
    let front = Arc::new(QueueUrls(sqs.clone()));
    Service::new(api::Api(sqs)).with_front(front)
}

/// The service's rows. Those of messages begin with the account and the line, a number that stands for the queue until it is purged.
pub(crate) struct Tables {
    /// By account, region and name.
    pub queues: Table<(String, String, String), Queue>,
    /// By account, region, name, time and id.
    pub tasks: Table<(String, String, String, i64, String), MoveTask>,
    /// What messages say, by number.
    pub contents: Table<(String, u64, u64), Content>,
    /// Where messages stand that were received, by number.
    pub places: Table<(String, u64, u64), Place>,
    /// Turns by time and number.
    pub order: Table<(String, u64, i64, u64), Turn>,
    /// Messages by group and number.
    pub members: Table<(String, u64, String, u64), Member>,
    /// Groups' turns.
    pub groups: Table<(String, u64, String), Group>,
    /// Deduplications by their token.
    pub dedups: Table<(String, u64, String), Dedup>,
    /// Deduplications by when they end.
    pub dedup_ends: Table<(String, u64, i64, u64), DedupEnd>,
    /// Counts.
    pub tallies: Table<(String, u64), Tally>,
}

impl Tables {
    fn new(store: &Store) -> Tables {
        Tables {
            queues: store.table("sqs.queues"),
            tasks: store.table("sqs.move_tasks"),
            contents: store.table("sqs.contents"),
            places: store.table("sqs.places"),
            order: store.table("sqs.order"),
            members: store.table("sqs.members"),
            groups: store.table("sqs.groups"),
            dedups: store.table("sqs.dedups"),
            dedup_ends: store.table("sqs.dedup_ends"),
            tallies: store.table("sqs.tallies"),
        }
    }
}

/// The service's state.
pub(crate) struct Sqs {
    pub(crate) cloud: Cloud,
    pub(crate) tables: Tables,
    pub(crate) decoded: Decoded<Queue>,
    pub(crate) lines: Lines,
    pub(crate) strategy: Strategy,
}

/// The messages of a queue, opened within a transaction.
struct Opened<'l> {
    name: &'l Name,
    line: Arc<Line>,
    number: u64,
}

impl<'l> Opened<'l> {
    fn tell(&self, news: usize) {
        // A queue's waiters are few; more calls than they could answer would only be forgotten.
        for _ in 0..news.min(10) {
            self.line.wake.notify_one();
        }
    }
    fn forget(&self) {
        *self.line.state.lock() = None;
    }
}

impl Sqs {
    fn opened<'l>(&self, name: &'l Name, number: u64) -> Opened<'l> {
        Opened {
            name,
            line: self.lines.of(number),
            number,
        }
    }

    /// Whether the messages with that number are still those of the queue.
    fn is_current(&self, read: &impl store::Read, opened: &Opened<'_>) -> Result<bool, Fault> {
        let found = self
            .decoded
            .get(read, &self.tables.queues, &opened.name.key())?
            .ok_or_else(no_queue)?;
        Ok(found.line == opened.number)
    }

    /// Runs a transaction over a queue's messages. An error of `f` is one of the store: it undoes everything.
    pub(crate) async fn over<R>(
        &self,
        name: &Name,
        queue: &Queue,
        mut f: impl FnMut(&mut Shelf<'_, '_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let mut number = queue.line;
        loop {
            let opened = self.opened(name, number);
            let text = number.to_string();
            let own = ["sqs.line", &name.account, &text];
            let shared = ["sqs", &name.account, &name.region, &name.queue];
            let mut news = 0;
            let outcome = self.cloud.store.transact(
                Scope::new(&own).within(&shared),
                |tx| -> Result<Option<R>, Fault> {
                    if !self.is_current(tx, &opened)? {
                        return Ok(None);
                    }
                    let now = self.cloud.clock.now().0;
                    let mut state = opened.line.state.lock();
                    let state = live(&mut state, tx, &self.tables, &name.account, number, now)?;
                    let mut shelf = Shelf {
                        tables: &self.tables,
                        tx,
                        state,
                        account: &name.account,
                        line: number,
                        now,
                        news: 0,
                    };
                    let result = f(&mut shelf)?;
                    news = shelf.news;
                    Ok(Some(result))
                },
            );
            match outcome.await {
                Ok(Some(result)) => {
                    opened.tell(news);
                    return Ok(result);
                }
                // It was purged meanwhile.
                Ok(None) => number = self.find(name)?.line,
                Err(fault) => {
                    // What it noted of its changes has not happened.
                    opened.forget();
                    return Err(fault);
                }
            }
        }
    }

    /// Runs a transaction that takes messages from one queue and puts those that `f` hands on into another.
    pub(crate) async fn over_two<R>(
        &self,
        (name, queue): (&Name, &Queue),
        (other_name, other): (&Name, &Queue),
        mut f: impl FnMut(&mut Shelf<'_, '_>) -> Result<(R, Vec<(Content, Place)>), Fault>,
    ) -> Result<R, Fault> {
        let mut numbers = (queue.line, other.line);
        loop {
            let first = self.opened(name, numbers.0);
            let second = self.opened(other_name, numbers.1);
            let texts = (numbers.0.to_string(), numbers.1.to_string());
            let own = ["sqs.line", &name.account, &texts.0];
            let others = ["sqs.line", &other_name.account, &texts.1];
            let shared = ["sqs", &name.account, &name.region, &name.queue];
            let others_shared = [
                "sqs",
                &other_name.account,
                &other_name.region,
                &other_name.queue,
            ];
            let scope = Scope::new(&own)
                .and(&others)
                .within(&shared)
                .within(&others_shared);
            let mut news = (0, 0);
            let outcome = self
                .cloud
                .store
                .transact(scope, |tx| -> Result<Option<R>, Fault> {
                    if !self.is_current(tx, &first)? || !self.is_current(tx, &second)? {
                        return Ok(None);
                    }
                    let now = self.cloud.clock.now().0;
                    let (mut a, mut b) = (first.line.state.lock(), second.line.state.lock());
                    let a = live(&mut a, tx, &self.tables, &name.account, numbers.0, now)?;
                    let account = &other_name.account;
                    let b = live(&mut b, tx, &self.tables, account, numbers.1, now)?;
                    let mut shelf = Shelf {
                        tables: &self.tables,
                        tx,
                        state: a,
                        account: &name.account,
                        line: numbers.0,
                        now,
                        news: 0,
                    };
                    let (result, carried) = f(&mut shelf)?;
                    news.0 = shelf.news;
                    let mut shelf = Shelf {
                        tables: &self.tables,
                        tx,
                        state: b,
                        account,
                        line: numbers.1,
                        now,
                        news: 0,
                    };
                    for (content, place) in &carried {
                        shelf.put(content, other.is_fifo, *place)?;
                    }
                    news.1 = shelf.news;
                    Ok(Some(result))
                });
            match outcome.await {
                Ok(Some(result)) => {
                    first.tell(news.0);
                    second.tell(news.1);
                    return Ok(result);
                }
                Ok(None) => numbers = (self.find(name)?.line, self.find(other_name)?.line),
                Err(fault) => {
                    first.forget();
                    second.forget();
                    return Err(fault);
                }
            }
        }
    }
}

/// The live state of messages, read where it is not known.
fn live<'l>(
    state: &'l mut Option<State>,
    read: &impl store::Read,
    tables: &Tables,
    account: &str,
    line: u64,
    now: i64,
) -> Result<&'l mut State, Fault> {
    let state = match state {
        Some(state) => state,
        None => state.insert(State::load(read, tables, account, line, now)?),
    };
    state.pass(now);
    Ok(state)
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident,)*) => {
        impl api::Sqs for Sqs {
            $(async fn $operation(&self, ctx: &Context, input: api::$input) -> Result<api::$output, Fault> {
                Sqs::$operation(self, ctx, input).await
            })*
        }
    };
}

operations! {
    add_permission: AddPermissionInput => AddPermissionOutput,
    cancel_message_move_task: CancelMessageMoveTaskInput => CancelMessageMoveTaskOutput,
    change_message_visibility: ChangeMessageVisibilityInput => ChangeMessageVisibilityOutput,
    change_message_visibility_batch: ChangeMessageVisibilityBatchInput => ChangeMessageVisibilityBatchOutput,
    create_queue: CreateQueueInput => CreateQueueOutput,
    delete_message: DeleteMessageInput => DeleteMessageOutput,
    delete_message_batch: DeleteMessageBatchInput => DeleteMessageBatchOutput,
    delete_queue: DeleteQueueInput => DeleteQueueOutput,
    get_queue_attributes: GetQueueAttributesInput => GetQueueAttributesOutput,
    get_queue_url: GetQueueUrlInput => GetQueueUrlOutput,
    list_dead_letter_source_queues: ListDeadLetterSourceQueuesInput => ListDeadLetterSourceQueuesOutput,
    list_message_move_tasks: ListMessageMoveTasksInput => ListMessageMoveTasksOutput,
    list_queue_tags: ListQueueTagsInput => ListQueueTagsOutput,
    list_queues: ListQueuesInput => ListQueuesOutput,
    purge_queue: PurgeQueueInput => PurgeQueueOutput,
    receive_message: ReceiveMessageInput => ReceiveMessageOutput,
    remove_permission: RemovePermissionInput => RemovePermissionOutput,
    send_message: SendMessageInput => SendMessageOutput,
    send_message_batch: SendMessageBatchInput => SendMessageBatchOutput,
    set_queue_attributes: SetQueueAttributesInput => SetQueueAttributesOutput,
    start_message_move_task: StartMessageMoveTaskInput => StartMessageMoveTaskOutput,
    tag_queue: TagQueueInput => TagQueueOutput,
    untag_queue: UntagQueueInput => UntagQueueOutput,
}
