//! Execution environments: a sandbox with a function's code that answers one invocation at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use runtime::{Exit, Limits, Line, Mount, Output, Sandbox, Scratch, Spec};
use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use wire::Fault;

use crate::channel::{Channel, Invoke, Said};
use crate::configuration::Configuration;
use crate::interpreter::{self, Interpreter, Language};
use crate::log::Log;
use crate::name::Name;
use crate::state::State;
use crate::{code, errors};

/// How long a function may take to initialize before the invocation's own time begins to count.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// Output lines that wait to be read.
const LINES: usize = 1024;
const MIB: u64 = 1 << 20;
/// Memory in MiB that has one whole processor.
const MIB_PER_CPU: f64 = 1769.0;
/// Seconds of a role's session in an environment.
const SESSION: i64 = 12 * 3600;

const BOOTSTRAPS: [(&str, &str); 2] = [
    (
        "python/bootstrap.py",
        include_str!("../bootstrap/python/bootstrap.py"),
    ),
    (
        "python/zygote.py",
        include_str!("../bootstrap/python/zygote.py"),
    ),
];

/// Everything that an environment of a function version is made from.
pub struct Blueprint {
    pub name: Name,
    pub version: String,
    pub configuration: Configuration,
}

/// What an invocation brings.
pub struct Event {
    pub id: String,
    pub arn: String,
    pub payload: Bytes,
    pub client_context: Option<serde_json::Value>,
    pub trace: Option<String>,
}

/// How an invocation ended.
#[derive(Debug)]
pub enum Ended {
    /// With an answer.
    Done(Bytes),
    /// With an error of the function or the platform.
    Failed(Bytes),
}

/// A running environment.
pub struct Environment {
    sandbox: Sandbox,
    channel: Channel,
    lines: mpsc::Receiver<Line>,
    pub log: Log,
    blueprint: Arc<Blueprint>,
    /// Milliseconds that initialization took, until it has been reported.
    init: Option<f64>,
    task: PathBuf,
    is_frozen: bool,
    /// Whether it can take another invocation.
    pub is_sound: bool,
}

/// The directory with our bootstraps, written if it is not there.
pub fn runtime_directory(state: &State) -> Result<PathBuf, Fault> {
    let place = state
        .scratch()
        .join(concat!("runtime-", env!("CARGO_PKG_VERSION")));
    for (name, text) in BOOTSTRAPS {
        let file = place.join(name);
        if std::fs::read_to_string(&file).is_ok_and(|found| found == text) {
            continue;
        }
        std::fs::create_dir_all(file.parent().unwrap_or(&place))?;
        let part = file.with_extension(cloud::ids::hex(8));
        std::fs::write(&part, text)?;
        std::fs::rename(&part, &file)?;
    }
    Ok(place)
}

impl Environment {
    /// Starts an environment and initializes the function. What goes wrong inside is `Err(Ended)`, for the invocation that waits.
    pub async fn start(
        state: &Arc<State>,
        blueprint: Arc<Blueprint>,
    ) -> Result<Environment, Fault> {
        let configuration = &blueprint.configuration;
        let task = code::directory(state, &configuration.code).await?;
        let opt = code::layers(state, &configuration.layers).await?;
        let own = runtime_directory(state)?;
        let runtime = configuration.runtime.clone().unwrap_or_default();
        let language = interpreter::language(&runtime);
        let found = match language {
            Language::Provided => None,
            other => Some(state.interpreters.find(other).await?),
        };
        let name = &blueprint.name;
        let log = Log::new(
            state,
            name,
            &configuration.logging.group,
            &blueprint.version,
            configuration.logging.json,
        );
        let (sender, lines) = mpsc::channel(LINES);
        let mount = |source: &Path, target: &str| Mount {
            source: source.into(),
            target: target.into(),
            read_only: true,
        };
        let mut mounts = vec![mount(&task, "/var/task"), mount(&own, "/var/runtime")];
        mounts.extend(opt.as_ref().map(|opt| mount(opt, "/opt")));
        let visible = found
            .iter()
            .flat_map(|f| f.mounts.iter().cloned())
            .chain(interpreter::extra_packages());
        mounts.extend(visible.map(|path| Mount {
            source: path.clone(),
            target: path,
            read_only: true,
        }));
        let (memory, storage) = (size(configuration.memory), size(configuration.storage));
        let spec = Spec {
            mounts,
            scratch: vec![Scratch {
                target: "/tmp".into(),
                bytes: storage,
            }],
            limits: Limits {
                // What lies in /tmp is memory too, as far as the kernel is concerned.
                memory_bytes: Some(memory + storage),
                cpu: Some(f64::from(configuration.memory) / MIB_PER_CPU),
                pids: Some(1024),
            },
            hostname: Some("169.254.10.1".into()),
            output: Output::merged_to(sender),
            ..Spec::default()
        };
        let host = state.host().await?;
        let prepared = host.prepare(spec).await?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let inside = |path: &str| prepared.path(Path::new(path)).display().to_string();
        let mut env = variables(state, &blueprint, &log, &inside).await;
        let extra = std::env::join_paths(interpreter::extra_packages()).unwrap_or_default();
        env.push((
            "CUMULO_EXTRA_PACKAGES".into(),
            extra.to_string_lossy().into_owned(),
        ));
        env.push((
            "CUMULO_LAYERS_ROOT".into(),
            if opt.is_some() {
                inside("/opt")
            } else {
                "/opt".into()
            },
        ));
        let workdir = Some(PathBuf::from(inside("/var/task")));
        let mut command = runtime::Command {
            env,
            workdir,
            fds: vec![theirs.into()],
            ..Default::default()
        };
        #[allow(clippy::disallowed_methods, reason = "measures, decides nothing")]
        let started = Instant::now();
        let zygote = match (&found, language) {
            (Some(found), Language::Python(_)) => zygote(state, found, &task, opt.as_deref()).await,
            _ => None,
        };
        let sandbox = match (zygote, &found) {
            (Some(zygote), _) => zygote.fork(prepared, command, String::new()).await?,
            (None, Some(found)) => {
                command.argv = argv(found, language, &inside("/var/runtime"));
                prepared.exec(command).await?
            }
            (None, None) => {
                return Err(errors::invalid_runtime_exception(
                    "provided runtimes are not ready",
                ));
            }
        };
        let channel = Channel::new(UnixStream::from_std(ours)?);
        let mut environment = Environment {
            sandbox,
            channel,
            lines,
            log,
            blueprint: blueprint.clone(),
            init: None,
            task,
            is_frozen: false,
            is_sound: true,
        };
        let version = interpreter::version_name(&runtime);
        let arn = interpreter::version_arn(&name.region, &runtime);
        environment.log.platform(
            format!("INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n"),
            "platform.initStart",
            json!({ "initializationType": "on-demand", "phase": "init", "runtimeVersion": version, "runtimeVersionArn": arn,
                    "functionName": name.function, "functionVersion": blueprint.version }),
        );
        if let Some(notice) = found.as_ref().and_then(|f| f.notice.clone()) {
            environment.log.write(format!("WARNING {notice}\n"));
        }
        environment.init = Some(started.elapsed().as_secs_f64() * 1000.0);
        Ok(environment)
    }

    /// Waits until the function is initialized. `Err` is the error that the invocation gets.
    pub async fn initialize(&mut self, state: &State, id: &str) -> Result<(), Ended> {
        #[allow(clippy::disallowed_methods, reason = "measures, decides nothing")]
        let started = Instant::now();
        let before = self.init.unwrap_or(0.0);
        let timeout =
            Duration::from_secs(u64::try_from(self.blueprint.configuration.timeout).unwrap_or(3));
        let outcome = self.hear(INIT_LIMIT + timeout).await;
        self.init = Some(before + started.elapsed().as_secs_f64() * 1000.0);
        let (status, kind, error) = match outcome {
            Heard::Said(Said::Ready { boto3 }, _) => {
                if boto3 {
                    self.remember_boto3(state);
                }
                return Ok(());
            }
            Heard::Said(_, payload) => {
                let kind = error_type(&payload).unwrap_or_else(|| "Runtime.Unknown".into());
                ("error", kind, Ended::Failed(payload))
            }
            Heard::Late => ("timeout", "Sandbox.Timedout".into(), self.timed_out(id)),
            Heard::Gone(exit) => {
                let (kind, ended) = exited(id, exit);
                ("error", kind, ended)
            }
        };
        self.is_sound = false;
        let millis = self.init.unwrap_or(0.0);
        self.log.platform(
            format!("INIT_REPORT Init Duration: {millis:.2} ms\tPhase: init\tStatus: {status}\tError Type: {kind}\n"),
            "platform.initReport",
            json!({ "initializationType": "on-demand", "phase": "init", "status": status, "errorType": kind,
                    "metrics": { "durationMs": round(millis) } }),
        );
        Err(error)
    }

    /// The next environments of this code are forked from a server that has boto3 loaded.
    fn remember_boto3(&self, state: &State) {
        state.pools.uses_boto3(&self.task);
    }

    /// Whether a kept environment still runs.
    pub fn is_alive(&self) -> bool {
        self.is_sound && self.sandbox.exit().is_none()
    }

    /// Stops all its processes where they are.
    pub async fn freeze(&mut self) {
        if !self.is_frozen {
            self.is_frozen = self.sandbox.freeze().await.is_ok();
        }
    }

    /// Ends it.
    pub async fn end(self) {
        if let Err(e) = self.sandbox.kill().await {
            tracing::warn!(error = %e, "an execution environment could not be removed");
        }
    }

    /// Runs one invocation. The log has its START line and output; [`Environment::finish`] adds the rest.
    pub async fn invoke(&mut self, event: &Event, ready: Result<(), Ended>) -> (Ended, Report) {
        if self.is_frozen {
            self.is_frozen = self.sandbox.thaw().await.is_err();
        }
        let timeout = u64::try_from(self.blueprint.configuration.timeout).unwrap_or(3) * 1000;
        let (id, version) = (&event.id, &self.blueprint.version);
        self.log.platform(
            format!("START RequestId: {id} Version: {version}\n"),
            "platform.start",
            json!({ "requestId": id, "version": version }),
        );
        #[allow(clippy::disallowed_methods, reason = "measures, decides nothing")]
        let started = Instant::now();
        let heard = match ready {
            Err(ended) => {
                let report = Report::new(id, started.elapsed(), "error", error_of(&ended));
                return (ended, report);
            }
            Ok(()) => {
                let header = Invoke {
                    id: id.clone(),
                    arn: event.arn.clone(),
                    millis: timeout,
                    client_context: event.client_context.clone(),
                    trace: event.trace.clone(),
                };
                match self.channel.send(&header, &event.payload).await {
                    Ok(()) => self.hear(Duration::from_millis(timeout)).await,
                    Err(_) => Heard::Gone(self.sandbox.wait().await),
                }
            }
        };
        let took = started.elapsed();
        match heard {
            Heard::Said(Said::Done, payload) => {
                (Ended::Done(payload), Report::new(id, took, "success", None))
            }
            Heard::Said(Said::Error, payload) => {
                let kind = error_type(&payload);
                (Ended::Failed(payload), Report::new(id, took, "error", kind))
            }
            Heard::Said(..) => {
                self.is_sound = false;
                let (kind, ended) = exited(id, Exit::default());
                (ended, Report::new(id, took, "error", Some(kind)))
            }
            Heard::Late => {
                self.is_sound = false;
                let ended = self.timed_out(id);
                let limit = Duration::from_millis(timeout);
                (ended, Report::new(id, limit.max(took), "timeout", None))
            }
            Heard::Gone(exit) => {
                self.is_sound = false;
                let (kind, ended) = exited(id, exit);
                (ended, Report::new(id, took, "error", Some(kind)))
            }
        }
    }

    /// Takes what is still to be printed and adds the END and REPORT lines.
    pub async fn finish(&mut self, report: Report) {
        self.drain().await;
        let Report {
            id,
            took,
            status,
            kind,
        } = report;
        if status == "timeout" {
            let time = self.log_time();
            let seconds = self.blueprint.configuration.timeout;
            self.log.write(format!(
                "{time} {id} Task timed out after {seconds}.00 seconds\n\n"
            ));
        } else if let Some(kind) = kind
            .as_deref()
            .filter(|k| k.starts_with("Runtime.ExitError") || *k == "Runtime.OutOfMemory")
        {
            let text = match self.sandbox.exit() {
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
        let peak = self
            .sandbox
            .stats()
            .map(|s| s.memory_peak_bytes.div_ceil(MIB))
            .unwrap_or(0);
        let peak = peak.clamp(1, u64::try_from(memory).unwrap_or(128));
        let millis = took.as_secs_f64() * 1000.0;
        let init = self.init.take();
        let billed = (millis + init.unwrap_or(0.0)).ceil();
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

    /// Logs lines until every one printed so far has come.
    async fn drain(&mut self) {
        let flushed = self.sandbox.flush_output();
        tokio::pin!(flushed);
        loop {
            tokio::select! {
                biased;
                Some(line) = self.lines.recv() => self.log.line(&line.bytes),
                () = &mut flushed => break,
            }
        }
        while let Ok(line) = self.lines.try_recv() {
            self.log.line(&line.bytes);
        }
    }

    /// Waits for the bootstrap to say something, logging what is printed meanwhile.
    async fn hear(&mut self, limit: Duration) -> Heard {
        let late = tokio::time::sleep(limit);
        tokio::pin!(late);
        let mut printing = true;
        loop {
            tokio::select! {
                biased;
                said = self.channel.receive() => match said {
                    Some((said, payload)) => return Heard::Said(said, payload),
                    None => return self.gone(late).await,
                },
                line = self.lines.recv(), if printing => match line {
                    Some(line) => self.log.line(&line.bytes),
                    None => printing = false,
                },
                () = &mut late => return Heard::Late,
            }
        }
    }

    /// The socket is closed: the process has ended, or is about to; one that goes on without it is stopped by the timeout.
    async fn gone(&mut self, late: std::pin::Pin<&mut tokio::time::Sleep>) -> Heard {
        tokio::select! {
            exit = self.sandbox.wait() => Heard::Gone(exit),
            () = late => Heard::Late,
        }
    }
}

/// What came from the bootstrap.
enum Heard {
    Said(Said, Bytes),
    Late,
    Gone(Exit),
}

/// What the log is to say at the end of an invocation.
pub struct Report {
    id: String,
    took: Duration,
    status: &'static str,
    kind: Option<String>,
}

impl Report {
    fn new(id: &str, took: Duration, status: &'static str, kind: Option<String>) -> Report {
        Report {
            id: id.to_owned(),
            took,
            status,
            kind,
        }
    }
}

fn round(millis: f64) -> f64 {
    (millis * 1000.0).round() / 1000.0
}

fn size(mib: i32) -> u64 {
    u64::try_from(mib).unwrap_or(128) * MIB
}

fn error_type(payload: &[u8]) -> Option<String> {
    let error: serde_json::Value = serde_json::from_slice(payload).ok()?;
    Some(error.get("errorType")?.as_str()?.to_owned())
}

fn error_of(ended: &Ended) -> Option<String> {
    match ended {
        Ended::Done(_) => None,
        Ended::Failed(payload) => error_type(payload),
    }
}

fn exit_text(exit: Exit) -> String {
    match (exit.code, exit.signal) {
        _ if exit.oom_killed => "Runtime exited with error: signal: killed".into(),
        (Some(0), _) | (None, None) => "Runtime exited without providing a reason".into(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(signal)) => {
            format!("Runtime exited with error: signal: {}", signal_name(signal))
        }
    }
}

fn signal_name(signal: i32) -> String {
    match signal {
        4 => "illegal instruction".into(),
        6 => "aborted".into(),
        7 => "bus error".into(),
        8 => "floating point exception".into(),
        9 => "killed".into(),
        11 => "segmentation fault".into(),
        13 => "broken pipe".into(),
        15 => "terminated".into(),
        other => format!("signal {other}"),
    }
}

fn exited(id: &str, exit: Exit) -> (String, Ended) {
    let kind = if exit.oom_killed {
        "Runtime.OutOfMemory"
    } else {
        "Runtime.ExitError"
    };
    let message = format!("RequestId: {id} Error: {}", exit_text(exit));
    let body = json!({ "errorType": "Runtime.ExitError", "errorMessage": message }).to_string();
    (kind.to_owned(), Ended::Failed(body.into()))
}

fn argv(interpreter: &Interpreter, language: Language, own: &str) -> Vec<String> {
    let program = interpreter.program.display().to_string();
    match language {
        Language::Node(_) => vec![program, format!("{own}/node/bootstrap.mjs")],
        _ => vec![program, "-B".into(), format!("{own}/python/bootstrap.py")],
    }
}

/// The fork server for a function: with boto3 where its code uses the host's.
async fn zygote<'a>(
    state: &Arc<State>,
    found: &'a Arc<Interpreter>,
    task: &Path,
    opt: Option<&Path>,
) -> Option<&'a runtime::Zygote> {
    let brings = |place: &Path| {
        ["boto3", "botocore", "urllib3"]
            .iter()
            .any(|m| place.join(m).is_dir())
    };
    let own = brings(task)
        || opt.is_some_and(|opt| brings(&opt.join("python")) || opt.join("python/lib").is_dir());
    if found.has_boto3 && !own && state.pools.wants_boto3(task) {
        if let Some(zygote) = found.ready_with_boto3() {
            return Some(zygote);
        }
        // It takes longer to start than what is saved once; the next ones have it.
        let (state, found) = (state.clone(), found.clone());
        tokio::spawn(async move { found.zygote(&state, true).await.is_some() });
    }
    found.zygote(state, false).await
}

/// The environment variables, AWS's over the function's own.
async fn variables(
    state: &State,
    blueprint: &Blueprint,
    log: &Log,
    inside: &impl Fn(&str) -> String,
) -> Vec<(String, String)> {
    let (name, configuration) = (&blueprint.name, &blueprint.configuration);
    let runtime = configuration.runtime.as_deref().unwrap_or_default();
    let port = state.cloud.config.port;
    let opt = inside("/opt");
    let mut all: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let mut set = |key: &str, value: String| {
        all.insert(key.to_owned(), value);
    };
    // What a function may set otherwise.
    set("AWS_ENDPOINT_URL", format!("http://localhost:{port}"));
    set("LOCALSTACK_HOSTNAME", "localhost".into());
    set("EDGE_PORT", port.to_string());
    set("TZ", ":UTC".into());
    set("LANG", "en_US.UTF-8".into());
    set("PATH", format!("/usr/local/bin:/usr/bin:/bin:{opt}/bin"));
    set(
        "LD_LIBRARY_PATH",
        format!(
            "/var/lang/lib:/lib64:/usr/lib64:{0}:{0}/lib:{opt}/lib",
            inside("/var/task")
        ),
    );
    set("HOME", "/tmp".into());
    if runtime.starts_with("nodejs") {
        set(
            "NODE_PATH",
            format!("{opt}/nodejs/node_modules:{opt}/nodejs"),
        );
    }
    for (key, value) in configuration.environment.iter().flatten() {
        set(key, value.clone());
    }
    let (access_key, secret, token) = credentials(state, name, &configuration.role).await;
    set("AWS_ACCESS_KEY_ID", access_key);
    set("AWS_SECRET_ACCESS_KEY", secret);
    if let Some(token) = token {
        set("AWS_SESSION_TOKEN", token);
    }
    set("AWS_REGION", name.region.clone());
    set("AWS_DEFAULT_REGION", name.region.clone());
    set("AWS_LAMBDA_FUNCTION_NAME", name.function.clone());
    set("AWS_LAMBDA_FUNCTION_VERSION", blueprint.version.clone());
    set(
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        configuration.memory.to_string(),
    );
    set("AWS_LAMBDA_LOG_GROUP_NAME", log.group.clone());
    set("AWS_LAMBDA_LOG_STREAM_NAME", log.stream.clone());
    set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".into());
    set("AWS_EXECUTION_ENV", format!("AWS_Lambda_{runtime}"));
    set(
        "AWS_LAMBDA_LOG_FORMAT",
        if configuration.logging.json {
            "JSON"
        } else {
            "Text"
        }
        .into(),
    );
    if let Some(level) = &configuration.logging.application_level {
        set("AWS_LAMBDA_LOG_LEVEL", level.clone());
    }
    set("LAMBDA_TASK_ROOT", inside("/var/task"));
    set("LAMBDA_RUNTIME_DIR", inside("/var/runtime"));
    set(
        "_HANDLER",
        configuration.handler.clone().unwrap_or_default(),
    );
    all.into_iter().collect()
}

/// Access key, secret and token of the execution role; of the account where no such role was made.
async fn credentials(state: &State, name: &Name, role: &str) -> (String, String, Option<String>) {
    if let Some(roles) = state.cloud.ports.roles()
        && roles.check(role, "lambda.amazonaws.com").is_ok()
    {
        match roles.assume(role, &name.function, SESSION).await {
            Ok(c) => return (c.access_key, c.secret_key, Some(c.session_token)),
            Err(fault) => tracing::warn!(role, %fault, "the execution role could not be assumed"),
        }
    }
    (name.account.clone(), "test".into(), None)
}
