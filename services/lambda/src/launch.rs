//! How execution environments start: their sandbox, their variables, their process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
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
use crate::extension::{self, Extensions, Supervisor};
use crate::interpreter::{self, Interpreter, Language};
use crate::log::Log;
use crate::runtime_api::{RuntimeApi, Tenant};
use crate::state::State;
use crate::telemetry;
use crate::variables::variables;

/// The code of the fault for a function whose own bootstrap cannot be started.
pub const INVALID_ENTRYPOINT: &str = "Runtime.InvalidEntrypoint";
/// Output lines that wait to be read.
const LINES: usize = 1024;
const MIB: u64 = 1 << 20;
const BOOTSTRAPS: [(&str, &[u8]); 7] = [
    (
        "extensions.sh",
        include_bytes!("../bootstrap/extensions.sh"),
    ),
    ("wrapper.sh", include_bytes!("../bootstrap/wrapper.sh")),
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
    mounts.extend(shell().map(|bash| mount(bash, "/bin/sh")));
    // Scripts name interpreters by AWS's paths.
    let home = found.as_ref().and_then(|f| f.home());
    mounts.extend(home.map(|home| mount(home, "/var/lang")));
    let visible = found
        .iter()
        .flat_map(|f| f.mounts.iter().cloned())
        .chain(interpreter::extra_packages());
    mounts.extend(visible.map(|path| Mount {
        source: path.clone(),
        target: path,
        read_only: true,
    }));
    let programs = opt.as_deref().map(extension::programs).unwrap_or_default();
    let has_programs = !programs.is_empty();
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
            open_files: Some(1024),
        },
        hostname: Some("169.254.10.1".into()),
        output: match has_programs {
            // What extensions print is told apart by the second stream.
            true => Output::to(sender),
            false => Output::merged_to(sender),
        },
        names: telemetry::HOSTS.map(str::to_owned).into(),
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
    let extensions = Arc::new(Extensions::new(programs));
    let wrapper = wrapper(&blueprint.configuration, language, &inside);
    let is_plain = wrapper.is_none() && !has_programs;
    let zygote = match (&found, language) {
        (Some(found), Language::Python(_)) if is_plain => {
            zygote(state, found, &task, opt.as_deref()).await
        }
        _ => None,
    };
    // The server's end of the descriptor that other bootstraps have inside.
    let bridge = match found {
        None => command.fds.pop().map(std::os::unix::net::UnixStream::from),
        Some(_) => None,
    };
    let runtime_api = serve(state, &blueprint, bridge, &extensions, &log).await?;
    command
        .env
        .push(("AWS_LAMBDA_RUNTIME_API".into(), runtime_api.address()));
    let mut supervisor = None;
    let sandbox = match zygote {
        Some(zygote) => zygote.fork(prepared, command, String::new()).await?,
        None => {
            command.argv = match &found {
                Some(found) => argv(found, language, &blueprint.configuration, &inside),
                None => vec![own_bootstrap(&task, opt.as_deref(), &inside)?],
            };
            let scripts = inside("/var/runtime");
            if let Some(wrapper) = wrapper {
                let started = ["/bin/sh".into(), format!("{scripts}/wrapper.sh"), wrapper];
                command.argv.splice(..0, started);
            }
            if let Language::Java(_) = language {
                command.stdin = command.fds.pop();
            }
            if has_programs {
                let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
                ours.set_nonblocking(true)?;
                // The script has it at 4, whether or not the runtime has one at 3.
                if command.fds.is_empty() {
                    command.fds.push(nothing()?);
                }
                command.fds.push(theirs.into());
                let started = [
                    "/bin/sh".into(),
                    format!("{scripts}/extensions.sh"),
                    format!("{}/extensions", inside("/opt")),
                ];
                command.argv.splice(..0, started);
                let ours = UnixStream::from_std(ours)?;
                supervisor = Some(Supervisor::start(ours, extensions.clone()));
            }
            match prepared.exec(command).await {
                Ok(sandbox) => sandbox,
                Err(e @ runtime::Error::Exec { .. }) if found.is_none() => {
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
        extensions,
        supervisor,
        _runtime_api: runtime_api,
        is_frozen: false,
        is_sound: true,
        used: 0,
        ended: None,
        reason: "spindown",
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

/// The Runtime and Extensions API of an environment; with a stream, its bootstrap is to speak HTTP.
async fn serve(
    state: &State,
    blueprint: &Blueprint,
    stream: Option<std::os::unix::net::UnixStream>,
    extensions: &Arc<Extensions>,
    log: &Log,
) -> Result<RuntimeApi, Fault> {
    let stream = match stream {
        Some(stream) => {
            stream.set_nonblocking(true)?;
            Some(UnixStream::from_std(stream)?)
        }
        None => None,
    };
    let handler = blueprint.configuration.handler.clone();
    let tenant = Tenant {
        account: blueprint.name.account.clone(),
        function: blueprint.name.function.clone(),
        version: blueprint.version.clone(),
        handler: handler.unwrap_or_default(),
        extensions: extensions.clone(),
        telemetry: log.telemetry.clone(),
    };
    Ok(RuntimeApi::start(tenant, stream, state.cloud.clock.clone()).await?)
}

/// A descriptor to read nothing from.
#[allow(clippy::disallowed_methods, reason = "no file that holds anything")]
fn nothing() -> std::io::Result<std::os::fd::OwnedFd> {
    Ok(std::fs::File::open("/dev/null")?.into())
}

/// What `/bin/sh` is on Amazon Linux, where the host has it and has another one there: scripts of functions count on it, those of AWS's
/// own guides too.
#[allow(clippy::disallowed_methods, reason = "looks at the host's programs")]
fn shell() -> Option<&'static Path> {
    static BASH: OnceLock<Option<PathBuf>> = OnceLock::new();
    let bash = BASH.get_or_init(|| {
        let bash = std::fs::canonicalize("/bin/bash").ok()?;
        let is_other = std::fs::canonicalize("/bin/sh").is_ok_and(|sh| sh != bash);
        is_other.then_some(bash)
    });
    bash.as_deref()
}

/// The script that a function's own bootstrap is.
fn own_bootstrap(
    task: &Path,
    opt: Option<&Path>,
    inside: &impl Fn(&str) -> String,
) -> Result<String, Fault> {
    let has = |host: &Path| host.join("bootstrap").is_file();
    if has(task) {
        return Ok(format!("{}/bootstrap", inside("/var/task")));
    }
    if opt.is_some_and(has) {
        return Ok(format!("{}/bootstrap", inside("/opt")));
    }
    let text = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
    Err(Fault::receiver(502, INVALID_ENTRYPOINT, text))
}

/// The script that is to start the runtime, where the function names one
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html>). A function's own bootstrap is started without.
fn wrapper(
    configuration: &Configuration,
    language: Language,
    inside: &impl Fn(&str) -> String,
) -> Option<String> {
    if matches!(language, Language::Provided) {
        return None;
    }
    let variables = configuration.environment.as_ref()?;
    let script = variables.get("AWS_LAMBDA_EXEC_WRAPPER")?;
    let shown = ["/opt", "/var/task"].into_iter().find_map(|place| {
        let rest = script.strip_prefix(place)?;
        rest.starts_with('/').then(|| inside(place) + rest)
    });
    (!script.is_empty()).then(|| shown.unwrap_or_else(|| script.clone()))
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
