//! Execution environments: a sandbox with a function's code that answers one invocation at a time.
#![allow(
    clippy::disallowed_methods,
    reason = "durations and timeouts of a process are those of the host, whatever the clock of the region does"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use runtime::{Exit, Line, Sandbox};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant as Deadline;
use wire::Timestamp;

use crate::channel::{Channel, Invoke, Said};
use crate::configuration::Configuration;
use crate::ending::{
    Ended, Report, error_of, error_type, exit_text, exited, extension_failed, round,
};
use crate::extension::{Extensions, Failure, Supervisor};
use crate::log::Log;
use crate::name::Name;
use crate::provisioned::Member;
use crate::runtime_api::RuntimeApi;
use crate::state::State;
use crate::stream::Piece;
use crate::telemetry::Category;

/// How long a function may take to initialize before the invocation's own time begins to count.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// How long what a running function prints may wait.
const LOG_EVERY: Duration = Duration::from_secs(1);
/// How often it is seen whether a running function has more memory than it may.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// How long an ended process is listened to.
const LAST_WORDS: Duration = Duration::from_millis(20);
/// How long extensions have to take telemetry before their environment is stopped or ended.
const TELEMETRY: Duration = Duration::from_millis(500);
/// Bytes of a streamed answer that a caller who wants it whole can get, and one more.
const MOST_GATHERED: usize = crate::invocation::SYNC_LIMIT + 1;
const MIB: u64 = 1 << 20;
/// Memory in MiB that has one whole processor.
const MIB_PER_CPU: f64 = 1769.0;

/// Everything that an environment of a function version is made from.
pub struct Blueprint {
    pub name: Name,
    pub version: String,
    pub configuration: Configuration,
    /// Whether its environments are made before they are called for.
    pub is_provisioned: bool,
}

impl Blueprint {
    /// How AWS names what makes its environments.
    pub fn initialization_type(&self) -> &'static str {
        if self.is_provisioned {
            "provisioned-concurrency"
        } else {
            "on-demand"
        }
    }
}

/// What an invocation brings.
pub struct Event {
    pub id: String,
    pub arn: String,
    pub payload: Bytes,
    pub client_context: Option<serde_json::Value>,
    pub trace: Option<String>,
}

/// A trace that begins then, as `X-Amzn-Trace-Id` has it.
pub fn new_trace(at: Timestamp) -> String {
    format!("Root=1-{:08x}-{}", at.secs(), cloud::ids::hex(24))
}

impl Event {
    /// The trace that an invocation is part of; one that begins with it, where it came with none.
    fn trace(&self, at: Timestamp, is_traced: bool) -> String {
        let given = self.trace.clone().unwrap_or_default();
        if given.contains("Root=") && given.contains("Parent=") {
            return given;
        }
        let mut trace = match given.contains("Root=") {
            true => given,
            false => new_trace(at),
        };
        trace += &format!(";Parent={}", cloud::ids::hex(16));
        if !trace.contains("Sampled=") {
            trace += if is_traced {
                ";Sampled=1"
            } else {
                ";Sampled=0"
            };
        }
        trace
    }
}

/// A running environment.
pub struct Environment {
    pub sandbox: Sandbox,
    pub channel: Channel,
    pub lines: mpsc::Receiver<Line>,
    pub log: Log,
    pub blueprint: Arc<Blueprint>,
    /// Milliseconds that initialization took, until it has been reported.
    pub init: Option<f64>,
    pub task: PathBuf,
    pub extensions: Arc<Extensions>,
    /// What started its extensions, where it has any.
    pub supervisor: Option<Supervisor>,
    /// The server that extensions talk to, and the function's own bootstrap.
    pub _runtime_api: RuntimeApi,
    pub is_frozen: bool,
    /// Whether it can take another invocation.
    pub is_sound: bool,
    /// MiB of memory that it is known to have used.
    pub used: u64,
    /// How it ended where it was ended from here.
    pub ended: Option<Exit>,
    /// Why it ends, as extensions are told.
    pub reason: &'static str,
    /// Its place among provisioned environments.
    pub member: Option<Member>,
}

impl Environment {
    /// Waits until the function is initialized. `Err` is the error that the invocation gets.
    pub async fn initialize(&mut self, state: &State, id: &str) -> Result<(), Ended> {
        let started = Instant::now();
        let before = self.init.unwrap_or(0.0);
        let timeout =
            Duration::from_secs(u64::try_from(self.blueprint.configuration.timeout).unwrap_or(3));
        let outcome = self
            .hear_ready(Deadline::now() + INIT_LIMIT + timeout)
            .await;
        self.init = Some(before + started.elapsed().as_secs_f64() * 1000.0);
        let (status, kind, error) = match outcome {
            Heard::Said(Said::Ready { boto3 }, _) => {
                if boto3 {
                    self.remember_boto3(state);
                }
                let millis = self.init.unwrap_or(0.0);
                let kind = self.blueprint.initialization_type();
                self.log.telemetry.tell(Category::Platform, "platform.initReport", || {
                    json!({ "initializationType": kind, "phase": "init", "status": "success", "metrics": { "durationMs": round(millis) } })
                });
                self.give_share().await;
                return Ok(());
            }
            Heard::Said(_, payload) => {
                let kind = error_type(&payload).unwrap_or_else(|| "Runtime.Unknown".into());
                ("error", kind, Ended::Failed(payload))
            }
            Heard::Late => ("timeout", "Sandbox.Timedout".into(), self.timed_out(id)),
            Heard::Failed(failure) => {
                let (kind, ended) = extension_failed(id, &failure);
                ("error", kind, ended)
            }
            Heard::Gone(exit) => {
                let (kind, ended) = exited(id, exit);
                ("error", kind, ended)
            }
        };
        self.is_sound = false;
        self.reason = if status == "timeout" {
            "timeout"
        } else {
            "failure"
        };
        let millis = self.init.unwrap_or(0.0);
        self.log.platform(
            format!("INIT_REPORT Init Duration: {millis:.2} ms\tPhase: init\tStatus: {status}\tError Type: {kind}\n"),
            "platform.initReport",
            json!({ "initializationType": self.blueprint.initialization_type(), "phase": "init", "status": status, "errorType": kind,
                    "metrics": { "durationMs": round(millis) } }),
        );
        Err(error)
    }

    /// Waits until the runtime and the extensions are ready, or one of them says or does otherwise.
    async fn hear_ready(&mut self, deadline: Deadline) -> Heard {
        let extensions = self.extensions.clone();
        let heard = tokio::select! {
            biased;
            heard = self.hear(deadline) => heard,
            failure = extensions.failed(), if self.supervisor.is_some() => Heard::Failed(failure),
        };
        if !matches!(heard, Heard::Said(Said::Ready { .. }, _)) {
            return heard;
        }
        let kind = self.blueprint.initialization_type();
        self.log.telemetry.tell(
            Category::Platform,
            "platform.initRuntimeDone",
            || json!({ "initializationType": kind, "phase": "init", "status": "success" }),
        );
        if extensions.is_empty() {
            self.log.telemetry.close();
            return heard;
        }
        let all = tokio::time::timeout_at(deadline, extensions.initialized());
        let all = self.while_logging(all).await;
        self.log.telemetry.close();
        match all {
            Err(_) => return Heard::Late,
            Ok(Err(failure)) => return Heard::Failed(failure),
            Ok(Ok(())) => {}
        }
        for (name, events) in extensions.list() {
            let wanted = events.join(",");
            self.log.platform(
                format!("EXTENSION\tName: {name}\tState: Ready\tEvents: [{wanted}]\n"),
                "platform.extension",
                json!({ "name": name, "state": "Ready", "events": events }),
            );
        }
        heard
    }

    /// Waits for something, logging what is printed meanwhile.
    async fn while_logging<T>(&mut self, wait: impl Future<Output = T>) -> T {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                biased;
                answer = &mut wait => return answer,
                Some(line) = self.lines.recv() => self.log.line(&line),
            }
        }
    }

    /// Gives it the processor time of its memory.
    async fn give_share(&self) {
        let cpu = f64::from(self.blueprint.configuration.memory) / MIB_PER_CPU;
        if let Err(error) = self.sandbox.limit_cpu(cpu).await {
            tracing::debug!(%error, "a function has no limit of processor time");
        }
    }

    /// The next environments of this code are forked from a server that has boto3 loaded.
    fn remember_boto3(&self, state: &State) {
        state.pools.uses_boto3(&self.task);
    }

    /// Whether a kept environment still runs.
    pub fn is_alive(&self) -> bool {
        self.is_sound && self.sandbox.exit().is_none()
    }

    fn is_out_of_memory(&self) -> bool {
        let exit = self.ended.or_else(|| self.sandbox.exit());
        exit.is_some_and(|exit| exit.oom_killed)
    }

    /// Whether its processes have more memory than the function may. The kernel's own limit leaves room for what lies in `/tmp`.
    fn exceeds_memory(&self) -> bool {
        let limit = u64::try_from(self.blueprint.configuration.memory).unwrap_or(128) * MIB;
        self.sandbox.private_memory().is_ok_and(|used| used > limit)
    }

    /// Stops all its processes where they are.
    pub async fn freeze(&mut self) {
        if !self.is_frozen {
            self.log.telemetry.flush(TELEMETRY).await;
            self.log.telemetry.stop(true);
            self.is_frozen = self.sandbox.freeze().await.is_ok();
        }
    }

    /// Lets its processes go on.
    async fn thaw(&mut self) {
        if self.is_frozen {
            self.is_frozen = self.sandbox.thaw().await.is_err();
            self.log.telemetry.stop(false);
        }
    }

    /// Ends it, once its extensions have had their time.
    pub async fn end(mut self) {
        let is_running = self.sandbox.exit().is_none();
        if let Some(supervisor) = self.supervisor.take().filter(|_| is_running) {
            self.thaw().await;
            self.log.telemetry.flush(TELEMETRY).await;
            supervisor.end();
            let extensions = self.extensions.clone();
            let reason = self.reason;
            let ending = extensions.shut_down(reason, self.log.system());
            if self.while_logging(ending).await {
                self.rest().await;
            }
        }
        if let Err(e) = self.sandbox.kill().await {
            tracing::warn!(error = %e, "an execution environment could not be removed");
        }
    }

    /// Runs one invocation. The log has its START line and output; [`Environment::finish`] adds the rest.
    ///
    /// A streamed answer goes to `sink` as it comes; without one it is gathered.
    pub async fn invoke(
        &mut self,
        event: &Event,
        ready: Result<(), Ended>,
        sink: Option<&mpsc::Sender<Piece>>,
    ) -> (Ended, Report) {
        self.thaw().await;
        let timeout = u64::try_from(self.blueprint.configuration.timeout).unwrap_or(3) * 1000;
        let (id, version) = (&event.id, &self.blueprint.version);
        self.log.platform(
            format!("START RequestId: {id} Version: {version}\n"),
            "platform.start",
            json!({ "requestId": id, "version": version }),
        );
        let started = Instant::now();
        let deadline = Deadline::now() + Duration::from_millis(timeout);
        let report = |took, status, kind| Report {
            id: id.clone(),
            started,
            deadline,
            took,
            status,
            kind,
            failure: None,
        };
        let heard = match ready {
            Err(ended) => {
                let report = report(started.elapsed(), "error", error_of(&ended));
                return (ended, report);
            }
            Ok(()) => {
                let now = self.log.system();
                let trace = event.trace(now, self.blueprint.configuration.is_traced());
                let extensions = self.extensions.clone();
                let until = now.plus_millis(i64::try_from(timeout).unwrap_or(i64::MAX));
                extensions.invoke(event, &trace, until.0);
                let header = Invoke {
                    id: id.clone(),
                    arn: event.arn.clone(),
                    millis: timeout,
                    client_context: event.client_context.clone(),
                    trace: Some(trace),
                };
                match self.channel.send(&header, &event.payload).await {
                    Ok(()) => tokio::select! {
                        biased;
                        heard = self.answer(deadline, sink) => heard,
                        failure = extensions.failed(), if !extensions.is_empty() => Heard::Failed(failure),
                    },
                    Err(_) => Heard::Gone(self.sandbox.wait().await),
                }
            }
        };
        let took = started.elapsed();
        match heard {
            Heard::Said(Said::Done, payload) => {
                (Ended::Done(payload), report(took, "success", None))
            }
            Heard::Said(Said::Error { last }, payload) => {
                self.is_sound &= !last;
                let kind = error_type(&payload);
                (Ended::Failed(payload), report(took, "error", kind))
            }
            Heard::Said(..) => {
                self.fail();
                let (kind, ended) = exited(id, Exit::default());
                (ended, report(took, "error", Some(kind)))
            }
            Heard::Late => {
                self.is_sound = false;
                self.reason = "timeout";
                let ended = self.timed_out(id);
                let limit = Duration::from_millis(timeout);
                (ended, report(limit.max(took), "timeout", None))
            }
            Heard::Gone(exit) => {
                self.fail();
                let (kind, ended) = exited(id, exit);
                (ended, report(took, "error", Some(kind)))
            }
            Heard::Failed(failure) => {
                self.fail();
                let (kind, ended) = extension_failed(id, &failure);
                let mut report = report(took, "error", Some(kind));
                report.failure = Some(failure);
                (ended, report)
            }
        }
    }

    /// It takes no other invocation.
    fn fail(&mut self) {
        self.is_sound = false;
        self.reason = "failure";
    }

    /// Waits until the extensions are through, too; the report tells what they cost.
    async fn await_extensions(&mut self, report: &mut Report) {
        let extensions = self.extensions.clone();
        if extensions.is_empty() || !self.is_sound {
            return;
        }
        let all = tokio::time::timeout_at(report.deadline, extensions.finished());
        let all = self.while_logging(all).await;
        report.took = report.started.elapsed();
        match all {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                self.fail();
                (report.status, report.kind) = ("error", Some(failure.kind.to_owned()));
                report.failure = Some(failure);
            }
            Err(_) => {
                self.is_sound = false;
                self.reason = "timeout";
                (report.status, report.kind) = ("timeout", None);
            }
        }
    }

    /// Waits for the extensions, takes what is still to be printed and adds the END and REPORT lines.
    pub async fn finish(&mut self, mut report: Report) {
        self.await_extensions(&mut report).await;
        self.drain().await;
        let Report {
            id,
            took,
            status,
            kind,
            failure,
            ..
        } = report;
        if status == "timeout" {
            let time = self.log_time();
            let seconds = self.blueprint.configuration.timeout;
            self.log.write(format!(
                "{time} {id} Task timed out after {seconds}.00 seconds\n\n"
            ));
        } else if let Some(failure) = failure {
            let Failure { kind, text } = failure;
            self.log
                .write(format!("RequestId: {id} Error: {text}\n{kind}\n"));
        } else if let Some(kind) = kind
            .as_deref()
            .filter(|k| k.starts_with("Runtime.ExitError") || *k == "Runtime.OutOfMemory")
        {
            let text = match self.ended.or_else(|| self.sandbox.exit()) {
                Some(exit) => exit_text(exit),
                None => "Runtime exited without providing a reason".into(),
            };
            self.log
                .write(format!("RequestId: {id} Error: {text}\n{kind}\n"));
        }
        self.log.platform(
            format!("END RequestId: {id}\n"),
            "platform.runtimeDone",
            json!({ "requestId": id, "status": status, "errorType": kind, "metrics": { "durationMs": round(took.as_secs_f64() * 1000.0) } }),
        );
        let memory = self.blueprint.configuration.memory;
        let now = self
            .sandbox
            .stats()
            .map(|s| s.resident_peak_bytes.div_ceil(MIB))
            .unwrap_or(0);
        // Of a process that has ended no more is known than what it was charged with.
        self.used = self.used.max(now);
        let most = u64::try_from(memory).unwrap_or(128);
        let peak = if self.is_out_of_memory() {
            most
        } else {
            self.used.clamp(1, most)
        };
        let millis = took.as_secs_f64() * 1000.0;
        let init = self.init.take();
        // Provisioned environments are paid for by the hour, their initialization with them.
        let paid = init.filter(|_| !self.blueprint.is_provisioned);
        let billed = (millis + paid.unwrap_or(0.0)).ceil();
        let mut text = format!(
            "REPORT RequestId: {id}\tDuration: {millis:.2} ms\tBilled Duration: {billed:.0} ms\tMemory Size: {memory} MB\tMax Memory Used: {peak} MB\t"
        );
        let mut metrics = json!({ "durationMs": round(millis), "billedDurationMs": billed as u64, "memorySizeMB": memory, "maxMemoryUsedMB": peak });
        if let Some(init) = init {
            text += &format!("Init Duration: {init:.2} ms\t");
            metrics["initDurationMs"] = json!(round(init));
        }
        if status != "success" && (status == "timeout" || !self.is_sound) {
            text += &format!("Status: {status}\t");
            if let Some(kind) = &kind {
                text += &format!("Error Type: {kind}\t");
            }
        }
        let mut record = json!({ "requestId": id, "metrics": metrics, "status": status });
        if let Some(kind) = &kind {
            record["errorType"] = json!(kind);
        }
        self.log.platform(text + "\n", "platform.report", record);
        self.log.flush();
    }

    fn log_time(&self) -> String {
        self.log.now().iso8601_millis()
    }

    fn timed_out(&mut self, id: &str) -> Ended {
        let seconds = self.blueprint.configuration.timeout;
        let message = format!("RequestId: {id} Error: Task timed out after {seconds}.00 seconds");
        Ended::Failed(
            json!({ "errorType": "Sandbox.Timedout", "errorMessage": message })
                .to_string()
                .into(),
        )
    }

    /// Logs what was printed so far, for it may be long until the next invocation.
    pub async fn rest(&mut self) {
        self.drain().await;
        self.log.flush();
    }

    /// Logs lines until every one printed so far has come.
    async fn drain(&mut self) {
        let flushed = self.sandbox.flush_output();
        tokio::pin!(flushed);
        loop {
            tokio::select! {
                biased;
                Some(line) = self.lines.recv() => self.log.line(&line),
                () = &mut flushed => break,
            }
        }
        while let Ok(line) = self.lines.try_recv() {
            self.log.line(&line);
        }
    }

    /// The answer of the bootstrap, whole or in pieces.
    async fn answer(&mut self, deadline: Deadline, sink: Option<&mpsc::Sender<Piece>>) -> Heard {
        let mut gathered = BytesMut::new();
        loop {
            match self.hear(deadline).await {
                Heard::Said(Said::Start { content_type }, _) => {
                    if let Some(sink) = sink {
                        // A reader that has gone does not stop the function.
                        let _ = sink.send(Piece::Start(content_type)).await;
                    }
                }
                Heard::Said(Said::Chunk, chunk) => match sink {
                    Some(sink) => {
                        let _ =
                            tokio::time::timeout_at(deadline, sink.send(Piece::Chunk(chunk))).await;
                    }
                    None if gathered.len() <= MOST_GATHERED => gathered.extend_from_slice(&chunk),
                    None => {}
                },
                Heard::Said(Said::End, error) if error.is_empty() => {
                    return Heard::Said(Said::Done, gathered.freeze());
                }
                Heard::Said(Said::End, error) => {
                    return Heard::Said(Said::Error { last: false }, error);
                }
                other => return other,
            }
        }
    }

    /// Waits for the bootstrap to say something, logging what is printed meanwhile.
    async fn hear(&mut self, deadline: Deadline) -> Heard {
        let mut printing = true;
        let mut flushed = tokio::time::Instant::now();
        let mut check = tokio::time::interval_at(flushed + CHECK_EVERY, CHECK_EVERY);
        loop {
            let exit = tokio::select! {
                biased;
                said = self.channel.receive() => match said {
                    Some((said, payload)) => return Heard::Said(said, payload),
                    // The process has ended, or is about to; one that goes on without its socket is stopped by the timeout.
                    None => match tokio::time::timeout_at(deadline, self.sandbox.wait()).await {
                        Ok(exit) => return Heard::Gone(exit),
                        Err(_) => return Heard::Late,
                    },
                },
                line = self.lines.recv(), if printing => {
                    match line {
                        Some(line) => self.log.line(&line),
                        None => printing = false,
                    }
                    continue;
                }
                exit = self.sandbox.wait() => exit,
                () = tokio::time::sleep_until(deadline) => return Heard::Late,
                _ = check.tick() => {
                    if self.exceeds_memory() {
                        let exit = Exit { signal: Some(9), oom_killed: true, ..Exit::default() };
                        self.ended = Some(exit);
                        return Heard::Gone(exit);
                    }
                    if flushed.elapsed() >= LOG_EVERY {
                        flushed = tokio::time::Instant::now();
                        self.log.flush();
                    }
                    continue;
                }
            };
            // What it said last may still be on its way.
            let last = tokio::time::timeout(LAST_WORDS, self.channel.receive()).await;
            return match last {
                Ok(Some((said, payload))) => Heard::Said(said, payload),
                _ => Heard::Gone(exit),
            };
        }
    }
}

/// What came from the bootstrap.
enum Heard {
    Said(Said, Bytes),
    Late,
    Gone(Exit),
    /// An extension has.
    Failed(Failure),
}
