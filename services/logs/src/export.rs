//! Export tasks: a group's events written to a bucket.

use std::io::Write;
use std::sync::Arc;

use cloud::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::{Bytes, Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::reading::{Merged, Selection};
use crate::service::Logs;

/// An export task as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    name: Option<String>,
    group: String,
    stream_prefix: String,
    from: i64,
    to: i64,
    bucket: String,
    prefix: String,
    status: String,
    #[serde(default)]
    message: Option<String>,
    created: i64,
    #[serde(default)]
    completed: Option<i64>,
}
impl Record for Task {}

const EXPORT: &str = "logs.export";

impl Logs {
    pub(crate) fn register_export(self: &Arc<Self>) {
        let this = self.clone();
        self.cloud.scheduler.register(EXPORT, move |job| {
            let this = this.clone();
            Box::pin(async move {
                let text = |key: &str| job.payload[key].as_str().unwrap_or_default().to_owned();
                this.run_export(&text("account"), &text("region"), &text("id"))
                    .await
            })
        });
    }

    async fn change_task(
        &self,
        account: &str,
        region: &str,
        id: &str,
        f: impl FnOnce(&mut Task) -> Result<(), Fault>,
    ) -> Result<Task, Fault> {
        let scope = ["logs.exports", account, region];
        let changed = self.cloud.store.transact(Scope::new(&scope), |tx| {
            let at = (account, region, id);
            let found: Option<Task> = tx.get(&self.exports, &at)?;
            let mut task = found.ok_or_else(|| {
                resource_not_found_exception("The specified export task does not exist.")
            })?;
            f(&mut task)?;
            tx.put(&self.exports, &at, &task)?;
            Ok(task)
        });
        changed.await
    }

    async fn run_export(&self, account: &str, region: &str, id: &str) -> Result<(), Fault> {
        let begun = self.change_task(account, region, id, |task| {
            if task.status == "PENDING" {
                task.status = "RUNNING".into();
            }
            Ok(())
        });
        let Ok(task) = begun.await else { return Ok(()) };
        if task.status != "RUNNING" {
            return Ok(());
        }
        let outcome = self.export(account, region, id, &task).await;
        let now = self.cloud.clock.now().0;
        self.change_task(account, region, id, |task| {
            match outcome {
                Ok(()) => {
                    task.status = "COMPLETED".into();
                    task.message = Some("Completed successfully".into());
                }
                Err(fault) => {
                    task.status = "FAILED".into();
                    task.message = Some(fault.message.to_string());
                }
            }
            task.completed = Some(now);
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn export(
        &self,
        account: &str,
        region: &str,
        id: &str,
        task: &Task,
    ) -> Result<(), Fault> {
        let objects = self.cloud.ports.objects().ok_or_else(no_objects)?;
        let group = self.group(account, region, &task.group)?;
        for (name, stream) in self.streams_of(account, group.id, &task.stream_prefix)? {
            let selection = Selection {
                account: account.to_owned(),
                streams: vec![(name.clone(), stream)],
                start: task.from,
                end: task.to,
                after: None,
            };
            let content = {
                let view = self.cloud.store.read();
                let mut merged = Merged::over(&view, self.events, &selection)?;
                let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
                let mut is_empty = true;
                while let Some(found) = merged.next()? {
                    is_empty = false;
                    let message = found.event.message.trim_end_matches('\n');
                    writeln!(gzip, "{} {message}", Timestamp(found.time).iso8601_millis())?;
                }
                (!is_empty).then(|| gzip.finish()).transpose()?
            };
            if let Some(content) = content {
                let key = format!("{}/{id}/{}/000000.gz", task.prefix, name.replace('/', "-"));
                objects
                    .put(account, &task.bucket, &key, content.into())
                    .await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn create_export_task(
        &self,
        ctx: &Context,
        input: CreateExportTaskInput,
    ) -> Result<CreateExportTaskOutput, Fault> {
        self.group(&ctx.account, &ctx.region, &input.log_group_name)?;
        if input.from >= input.to {
            return Err(invalid_parameter_exception(
                "fromTime must be before toTime",
            ));
        }
        let prefix = input
            .destination_prefix
            .unwrap_or_else(|| "exportedlogs".into());
        let objects = self.cloud.ports.objects().ok_or_else(no_objects)?;
        let test = Bytes::from_static(b"Permission Check Successful");
        // AWS tries the bucket at its root, whatever the prefix.
        let key = "aws-logs-write-test";
        objects
            .put(&ctx.account, &input.destination, key, test.into())
            .await
            .map_err(|fault| match fault.is("NoSuchBucket") {
                true => invalid_parameter_exception(
                    "The given bucket does not exist. Please make sure the bucket is valid.",
                ),
                false => fault,
            })?;
        let id = cloud::ids::uuid();
        let task = Task {
            name: input.task_name,
            group: input.log_group_name,
            stream_prefix: input.log_stream_name_prefix.unwrap_or_default(),
            from: input.from,
            to: input.to,
            bucket: input.destination,
            prefix,
            status: "PENDING".into(),
            message: Some("Created successfully".into()),
            created: ctx.time.0,
            completed: None,
        };
        let scope = ["logs.exports", &ctx.account, &ctx.region];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let rows = tx.range(&self.exports, Range::prefix(&(&ctx.account, &ctx.region)));
                let tasks = rows.collect::<Result<Vec<_>, _>>()?;
                if tasks
                    .iter()
                    .any(|(_, t)| matches!(t.status.as_str(), "PENDING" | "RUNNING"))
                {
                    return Err(limit_exceeded_exception("Resource limit exceeded."));
                }
                tx.put(&self.exports, &(&ctx.account, &ctx.region, &id), &task)?;
                let payload =
                    serde_json::json!({ "account": ctx.account, "region": ctx.region, "id": id });
                self.cloud.scheduler.at(tx, ctx.time, EXPORT, &id, payload)
            })
            .await?;
        Ok(CreateExportTaskOutput { task_id: Some(id) })
    }

    pub(crate) async fn describe_export_tasks(
        &self,
        ctx: &Context,
        input: DescribeExportTasksInput,
    ) -> Result<DescribeExportTasksOutput, Fault> {
        let view = self.cloud.store.read();
        let rows = view.range(&self.exports, Range::prefix(&(&ctx.account, &ctx.region)));
        let mut shown = Vec::new();
        for row in rows {
            let ((_, _, id), task) = row?;
            let is_wanted = input.task_id.as_ref().is_none_or(|t| *t == id)
                && input.status_code.as_ref().is_none_or(|s| *s == task.status);
            if is_wanted {
                shown.push(ExportTask {
                    task_id: Some(id),
                    task_name: task.name,
                    log_group_name: Some(task.group),
                    from: Some(task.from),
                    to: Some(task.to),
                    destination: Some(task.bucket),
                    destination_prefix: Some(task.prefix),
                    status: Some(ExportTaskStatus {
                        code: Some(task.status),
                        message: task.message,
                    }),
                    execution_info: Some(ExportTaskExecutionInfo {
                        creation_time: Some(task.created),
                        completion_time: task.completed,
                    }),
                });
            }
        }
        if input.task_id.is_some() && shown.is_empty() {
            return Err(resource_not_found_exception(
                "The specified export task does not exist.",
            ));
        }
        Ok(DescribeExportTasksOutput {
            export_tasks: Some(shown),
            next_token: None,
        })
    }

    pub(crate) async fn cancel_export_task(
        &self,
        ctx: &Context,
        input: CancelExportTaskInput,
    ) -> Result<CancelExportTaskOutput, Fault> {
        self.change_task(&ctx.account, &ctx.region, &input.task_id, |task| {
            if !matches!(task.status.as_str(), "PENDING" | "RUNNING") {
                return Err(invalid_operation_exception(
                    "The specified export task has already finished",
                ));
            }
            task.status = "CANCELLED".into();
            Ok(())
        })
        .await?;
        Ok(CancelExportTaskOutput {})
    }
}

fn no_objects() -> Fault {
    Fault::receiver(
        501,
        "NotImplemented",
        "s3 does not run here, so nothing can be exported.",
    )
}
