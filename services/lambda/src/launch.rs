//! How execution environments start: their sandbox, their variables, their process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use runtime::{Limits, Mount, Output, Scratch, Spec};
use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use wire::Fault;

use crate::channel::Channel;
use crate::code;
use crate::configuration::Configuration;
use crate::environment::{Blueprint, Environment};
use crate::interpreter::{self, Interpreter, Language};
use crate::log::Log;
use crate::name::Name;
use crate::runtime_api::RuntimeApi;
use crate::state::State;

/// The code of the fault for a function whose own bootstrap cannot be started.
pub const INVALID_ENTRYPOINT: &str = "Runtime.InvalidEntrypoint";
/// Output lines that wait to be read.
const LINES: usize = 1024;
const MIB: u64 = 1 << 20;
/// Seconds of a role's session in an environment.
const SESSION: i64 = 12 * 3600;

const BOOTSTRAPS: [(&str, &[u8]); 5] = [
    (
        "python/bootstrap.py",
        include_bytes!("../bootstrap/python/bootstrap.py"),
    ),
    (
        "python/zygote.py",
        include_bytes!("../bootstrap/python/zygote.py"),
    ),
    (
        "node/bootstrap.mjs",
        include_bytes!("../bootstrap/node/bootstrap.mjs"),
    ),
    (
        "java/bootstrap.jar",
        include_bytes!("../bootstrap/java/bootstrap.jar"),
    ),
    (
        "ruby/bootstrap.rb",
        include_bytes!("../bootstrap/ruby/bootstrap.rb"),
    ),
];

/// The directory with our bootstraps, written if it is not there.
#[allow(
    clippy::disallowed_methods,
    reason = "writes out what sandboxes show; it can be lost without loss"
)]
pub fn runtime_directory(state: &State) -> Result<PathBuf, Fault> {
    let place = state
        .scratch()
        .join(concat!("runtime-", env!("CARGO_PKG_VERSION")));
    for (name, content) in BOOTSTRAPS {
        let file = place.join(name);
        if std::fs::read(&file).is_ok_and(|found| found == content) {
            continue;
        }
        std::fs::create_dir_all(file.parent().unwrap_or(&place))?;
        let part = file.with_extension(cloud::ids::hex(8));
        std::fs::write(&part, content)?;
        std::fs::rename(&part, &file)?;
    }
    Ok(place)
}

/// Starts an environment; its function is not initialized yet.
pub async fn start(state: &Arc<State>, blueprint: Arc<Blueprint>) -> Result<Environment, Fault> {
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
            // What lies in /tmp is memory too, as far as the kernel is concerned; the function's own is watched while it runs.
            memory_bytes: Some(memory + storage),
            // AWS initializes functions with all it has; their share begins with the first invocation.
            cpu: None,
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
    let workdir = Some(PathBuf::from("/var/task"));
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
    let mut runtime_api = None;
    let sandbox = match (zygote, &found) {
        (Some(zygote), _) => zygote.fork(prepared, command, String::new()).await?,
        (None, Some(found)) => {
            if let Language::Java(_) = language {
                command.stdin = command.fds.pop();
            }
            command.argv = argv(found, language, &blueprint.configuration, &inside);
            prepared.exec(command).await?
        }
        (None, None) => {
            let place = [(Some(&task), "/var/task"), (opt.as_ref(), "/opt")]
                .into_iter()
                .find_map(|(host, seen)| {
                    host.filter(|host| host.join("bootstrap").is_file())
                        .map(|_| seen)
                });
            let Some(place) = place else {
                let text = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
                return Err(Fault::receiver(502, INVALID_ENTRYPOINT, text));
            };
            // The server's end of the descriptor that other bootstraps have inside.
            let theirs = command.fds.pop().map(std::os::unix::net::UnixStream::from);
            let Some(theirs) = theirs else {
                return Err(Fault::internal("no channel"));
            };
            theirs.set_nonblocking(true)?;
            let clock = state.cloud.clock.clone();
            let now = move || clock.now().0 - clock.offset();
            let server = RuntimeApi::start(UnixStream::from_std(theirs)?, now).await?;
            command
                .env
                .push(("AWS_LAMBDA_RUNTIME_API".into(), server.address()));
            runtime_api = Some(server);
            command.argv = vec![format!("{}/bootstrap", inside(place))];
            match prepared.exec(command).await {
                Ok(sandbox) => sandbox,
                Err(e @ runtime::Error::Exec { .. }) => {
                    return Err(Fault::receiver(502, INVALID_ENTRYPOINT, e.to_string()));
                }
                Err(e) => return Err(e.into()),
            }
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
        _runtime_api: runtime_api,
        is_frozen: false,
        is_sound: true,
        used: 0,
        ended: None,
        member: None,
    };
    let version = interpreter::version_name(&runtime);
    let arn = interpreter::version_arn(&name.region, &runtime);
    environment.log.platform(
            format!("INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n"),
            "platform.initStart",
            json!({ "initializationType": blueprint.initialization_type(), "phase": "init", "runtimeVersion": version, "runtimeVersionArn": arn,
                    "functionName": name.function, "functionVersion": blueprint.version }),
        );
    if let Some(notice) = found.as_ref().and_then(|f| f.notice.clone()) {
        environment.log.write(format!("WARNING {notice}\n"));
    }
    environment.init = Some(started.elapsed().as_secs_f64() * 1000.0);
    Ok(environment)
}

fn size(mib: i32) -> u64 {
    u64::try_from(mib).unwrap_or(128) * MIB
}

/// The command of an interpreter's bootstrap.
fn argv(
    interpreter: &Interpreter,
    language: Language,
    configuration: &Configuration,
    inside: &impl Fn(&str) -> String,
) -> Vec<String> {
    let own = inside("/var/runtime");
    let program = interpreter.program.display().to_string();
    match language {
        Language::Node(_) => vec![program, format!("{own}/node/bootstrap.mjs")],
        Language::Ruby(..) => vec![program, format!("{own}/ruby/bootstrap.rb")],
        Language::Java(_) => vec![
            program,
            // What AWS gives of the memory to objects, and how it trades peak speed for a quick start.
            format!(
                "-XX:MaxHeapSize={}k",
                size(configuration.memory) / 1024 * 85 / 100
            ),
            "-XX:+UseSerialGC".into(),
            "-XX:+TieredCompilation".into(),
            "-XX:TieredStopAtLevel=1".into(),
            "-XX:-UsePerfData".into(),
            "-Xshare:auto".into(),
            format!("-Djava.io.tmpdir={}", inside("/tmp")),
            "-cp".into(),
            format!("{own}/java/bootstrap.jar"),
            "cumulo.Bootstrap".into(),
            inside("/var/task"),
            inside("/opt"),
            configuration.handler.clone().unwrap_or_default(),
        ],
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
        // Waiting for a fork server that starts is quicker than importing within the function's share of a processor.
        if let Some(zygote) = found.zygote(state, true).await {
            return Some(zygote);
        }
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
    // Where there is no private root, /tmp is another directory.
    set("HOME", inside("/tmp"));
    set("TMPDIR", inside("/tmp"));
    if runtime.starts_with("nodejs") {
        set(
            "NODE_PATH",
            format!("{opt}/nodejs/node_modules:{opt}/nodejs"),
        );
    }
    if let Language::Ruby(major, minor) = interpreter::language(runtime) {
        let task = inside("/var/task");
        set(
            "GEM_PATH",
            format!(
                "{task}/vendor/bundle/ruby/{major}.{minor}.0:{opt}/ruby/gems/{major}.{minor}.0"
            ),
        );
        set("RUBYLIB", format!("{task}:{opt}/ruby/lib"));
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
    set(
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        blueprint.initialization_type().into(),
    );
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
