//! Message move tasks: the messages of a dead-letter queue go back to where they came from, or to another queue.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::Context;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Range, Read, Record, Scope, Tx};
use wire::Fault;

use crate::api::*;
use crate::batch;
use crate::content::Content;
use crate::errors;
use crate::fault::{invalid_parameter, invalid_value, required};
use crate::redrive::arn_of;
use crate::service::Sqs;
use crate::shelf::Place;
use crate::url::Name;

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MoveTask {
    /// Its id.
    pub id: String,
    /// The dead-letter queue's ARN.
    pub source: String,
    /// The destination's ARN; without one, messages go where they came from.
    pub destination: Option<String>,
    /// Messages a second.
    pub rate: Option<i32>,
    /// `RUNNING`, `COMPLETED`, `CANCELLING`, `CANCELLED`, `FAILED`
    pub status: String,
    /// When it began, milliseconds.
    pub started: i64,
    /// How many it moved.
    pub moved: i64,
    /// How many there were.
    pub to_move: i64,
    /// Why it failed.
    #[serde(default)]
    pub reason: Option<String>,
}
impl Record for MoveTask {}

/// The name of the jobs that move messages.
pub const MOVE: &str = "sqs.move";
/// Messages moved in one go.
const MOVED_AT_ONCE: usize = 50;
/// Tasks of a queue that are listed at most.
const MOST_LISTED: usize = 10;

fn no_task() -> Fault {
    errors::resource_not_found_exception("Task does not exist.")
}

fn handle(task: &MoveTask) -> String {
    STANDARD.encode(json!({ "taskId": task.id, "sourceArn": task.source }).to_string())
}

impl Sqs {
    pub(crate) async fn start_message_move_task(
        &self,
        ctx: &Context,
        input: StartMessageMoveTaskInput,
    ) -> Result<StartMessageMoveTaskOutput, Fault> {
        let source = required(input.source_arn, "SourceArn")?;
        let from = arn_of(&source, "SourceArn")?;
        let queue = self.find(&from).map_err(|_| {
            errors::resource_not_found_exception(
                "The resource that you specified for the SourceArn parameter doesn't exist.",
            )
        })?;
        self.permit(ctx, &from, &queue, "sqs:StartMessageMoveTask")?;
        if self.sources_of(&from, None, 1)?.is_empty() {
            return Err(invalid_parameter(
                "Source queue must be configured as a Dead Letter Queue.",
            ));
        }
        if let Some(text) = &input.destination_arn {
            let to = arn_of(text, "DestinationArn")?;
            let found = self.find(&to).map_err(|_| {
                errors::resource_not_found_exception(
                    "The resource that you specified for the DestinationArn parameter doesn't exist.",
                )
            })?;
            if found.is_fifo != queue.is_fifo || to == from {
                return Err(invalid_parameter(
                    "Source queue and destination queue must be of the same type and not the same queue.",
                ));
            }
        }
        if let Some(rate) = input.max_number_of_messages_per_second
            && !(1..=500).contains(&rate)
        {
            return Err(invalid_value(
                rate,
                "MaxNumberOfMessagesPerSecond",
                "Must be between 1 and 500, if provided.",
            ));
        }
        let (visible, in_flight, delayed) = self.counts(&from, &queue).await?;
        let task = MoveTask {
            id: cloud::ids::uuid(),
            source,
            destination: input.destination_arn,
            rate: input.max_number_of_messages_per_second,
            status: "RUNNING".into(),
            started: ctx.time.0,
            moved: 0,
            to_move: i64::try_from(visible + in_flight + delayed).unwrap_or(i64::MAX),
            reason: None,
        };
        let handle = handle(&task);
        self.change_tasks(&from, |tx| {
            let tasks = self.tasks(tx, &from)?;
            if tasks.iter().any(|t| t.status == "RUNNING" || t.status == "CANCELLING") {
                return Err(invalid_parameter(
                    "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
                ));
            }
            // What is not listed any more need not be kept.
            for old in tasks.iter().skip(MOST_LISTED - 1) {
                tx.delete(&self.tables.tasks, &task_key(&from, old));
            }
            tx.put(&self.tables.tasks, &task_key(&from, &task), &task)?;
            self.plan_move(tx, &from, &task, ctx.time)
        })
        .await?;
        Ok(StartMessageMoveTaskOutput {
            task_handle: Some(handle),
        })
    }

    pub(crate) async fn cancel_message_move_task(
        &self,
        ctx: &Context,
        input: CancelMessageMoveTaskInput,
    ) -> Result<CancelMessageMoveTaskOutput, Fault> {
        let handle = required(input.task_handle, "TaskHandle")?;
        let read: Option<serde_json::Value> = STANDARD
            .decode(&handle)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let invalid = || invalid_parameter("Value for parameter TaskHandle is invalid.");
        let read = read.ok_or_else(invalid)?;
        let (Some(id), Some(arn)) = (read["taskId"].as_str(), read["sourceArn"].as_str()) else {
            return Err(invalid());
        };
        let from = Name::of_text(arn).ok_or_else(invalid)?;
        let queue = self.find(&from).map_err(|_| {
            errors::resource_not_found_exception(
                "The resource that you specified for the SourceArn parameter doesn't exist.",
            )
        })?;
        self.permit(ctx, &from, &queue, "sqs:CancelMessageMoveTask")?;
        let moved = self
            .change_tasks(&from, |tx| {
                let tasks = self.tasks(tx, &from)?;
                let mut task = tasks.into_iter().find(|t| t.id == id).ok_or_else(no_task)?;
                if task.status != "RUNNING" {
                    return Err(errors::unsupported_operation(
                        "Only active tasks can be cancelled.",
                    ));
                }
                task.status = "CANCELLED".into();
                tx.put(&self.tables.tasks, &task_key(&from, &task), &task)?;
                Ok(task.moved)
            })
            .await?;
        Ok(CancelMessageMoveTaskOutput {
            approximate_number_of_messages_moved: Some(moved),
        })
    }

    pub(crate) async fn list_message_move_tasks(
        &self,
        ctx: &Context,
        input: ListMessageMoveTasksInput,
    ) -> Result<ListMessageMoveTasksOutput, Fault> {
        let source = required(input.source_arn, "SourceArn")?;
        let from = arn_of(&source, "SourceArn")?;
        let queue = self.find(&from).map_err(|_| {
            errors::resource_not_found_exception(
                "The resource that you specified for the SourceArn parameter doesn't exist.",
            )
        })?;
        self.permit(ctx, &from, &queue, "sqs:ListMessageMoveTasks")?;
        let most = match input.max_results {
            None => 1,
            Some(n @ 1..=10) => usize::try_from(n).unwrap_or(1),
            Some(n) => {
                return Err(invalid_value(
                    n,
                    "MaxResults",
                    "Value for parameter MaxResults must be an integer between 1 and 10.",
                ));
            }
        };
        let tasks = self.tasks(&self.cloud.store, &from)?;
        let shown = tasks.into_iter().take(most).map(|task| {
            let is_running = task.status == "RUNNING";
            ListMessageMoveTasksResultEntry {
                task_handle: is_running.then(|| handle(&task)),
                status: Some(task.status),
                source_arn: Some(task.source),
                destination_arn: task.destination,
                max_number_of_messages_per_second: task.rate,
                approximate_number_of_messages_moved: Some(task.moved),
                approximate_number_of_messages_to_move: Some(task.to_move),
                failure_reason: task.reason,
                started_timestamp: Some(task.started),
            }
        });
        Ok(ListMessageMoveTasksOutput {
            results: batch::shown(shown.collect()),
        })
    }

    /// The tasks of a queue, the newest first.
    fn tasks(&self, read: &impl Read, from: &Name) -> Result<Vec<MoveTask>, Fault> {
        let rows = read.range(&self.tables.tasks, Range::prefix(&from.key()).reverse());
        Ok(rows
            .map(|row| row.map(|(_, task)| task))
            .collect::<Result<_, _>>()?)
    }

    async fn change_tasks<R>(
        &self,
        from: &Name,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["sqs.tasks", &from.account, &from.region, &from.queue];
        self.cloud.store.transact(Scope::new(&scope), f).await
    }

    fn plan_move(
        &self,
        tx: &mut Tx<'_>,
        from: &Name,
        task: &MoveTask,
        when: wire::Timestamp,
    ) -> Result<(), Fault> {
        let key = format!("{} {} {}", from.arn(), task.started, task.id);
        self.cloud
            .scheduler
            .at(tx, when, MOVE, &key, serde_json::Value::Null)
    }

    /// Moves some messages of a task, and plans the next ones.
    pub(crate) async fn move_some(&self, key: &str) -> Result<(), Fault> {
        let mut parts = key.split(' ');
        let (Some(from), Some(id)) = (parts.next().and_then(Name::of_text), parts.nth(1)) else {
            return Ok(());
        };
        let tasks = self.tasks(&self.cloud.store, &from)?;
        let Some(task) = tasks
            .into_iter()
            .find(|t| t.id == id && t.status == "RUNNING")
        else {
            return Ok(());
        };
        let most = task
            .rate
            .map_or(MOVED_AT_ONCE, |r| usize::try_from(r).unwrap_or(1));
        let mut moved = 0;
        let mut end = None;
        while moved < most {
            match self.move_one(&from, &task).await {
                Ok(true) => moved += 1,
                Ok(false) => {
                    end = Some(("COMPLETED", None));
                    break;
                }
                Err(fault) if fault.status < 500 => {
                    end = Some(("FAILED", Some(fault.code.to_string())));
                    break;
                }
                Err(fault) => return Err(fault),
            }
        }
        self.change_tasks(&from, |tx| {
            let at = task_key(&from, &task);
            let Some(mut task) = tx.get(&self.tables.tasks, &at)? else {
                return Ok(());
            };
            task.moved += i64::try_from(moved).unwrap_or(0);
            let is_running = task.status == "RUNNING";
            if let (true, Some((status, reason))) = (is_running, &end) {
                task.status = (*status).to_owned();
                task.reason.clone_from(reason);
            }
            tx.put(&self.tables.tasks, &at, &task)?;
            if is_running && end.is_none() {
                let now = self.cloud.clock.now();
                let next = now.plus_millis(if task.rate.is_some() { 1000 } else { 0 });
                self.plan_move(tx, &from, &task, next)?;
            }
            Ok(())
        })
        .await
    }

    /// Moves the next message; false if there is none.
    async fn move_one(&self, from: &Name, task: &MoveTask) -> Result<bool, Fault> {
        let queue = self.find(from)?;
        // Which queue it goes to is known only once it has been seen.
        let next = self
            .over(from, &queue, |shelf| {
                shelf.expire(queue.retention * 1000, queue.is_fifo)?;
                let first = shelf.first()?;
                Ok(first.map(|(seq, content)| (seq, content.source)))
            })
            .await?;
        let Some((seq, source)) = next else {
            return Ok(false);
        };
        let target = task.destination.clone().or(source);
        let Some(to) = target.as_deref().and_then(Name::of_text) else {
            return Err(errors::queue_does_not_exist(
                "The specified queue does not exist.",
            ));
        };
        let destination = self.find(&to)?;
        self.over_two((from, &queue), (&to, &destination), |shelf| {
            // Another may have taken it meanwhile; then the next one is looked for.
            let Some((_, content)) = shelf.first()?.filter(|(first, _)| *first == seq) else {
                return Ok(((), Vec::new()));
            };
            let key = (shelf.account, shelf.line, seq);
            let place: Option<Place> = shelf.tx.get(&shelf.tables.places, &key)?;
            let place = place.unwrap_or(Place {
                when: content.due,
                ..Place::default()
            });
            shelf.remove(seq, &content, place, queue.is_fifo)?;
            let fresh = Content {
                source: None,
                sent: shelf.now,
                due: shelf.now,
                ..content
            };
            // It begins anew: were its receives to count, it would be dead again at once.
            Ok(((), vec![(fresh, Place::default())]))
        })
        .await?;
        Ok(true)
    }
}

fn task_key<'a>(from: &'a Name, task: &'a MoveTask) -> (&'a str, &'a str, &'a str, i64, &'a str) {
    (
        &from.account,
        &from.region,
        &from.queue,
        task.started,
        &task.id,
    )
}
