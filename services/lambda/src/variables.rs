//! The environment variables of functions.

use crate::environment::Blueprint;
use crate::interpreter::{self, Language};
use crate::log::Log;
use crate::name::Name;
use crate::state::State;

/// Seconds of a role's session in an environment.
const SESSION: i64 = 12 * 3600;
/// Where X-Ray's daemon would be: nobody is there, and what is sent is lost, as it is on AWS while tracing is off.
const XRAY: (&str, &str) = ("127.0.0.1", "2000");

/// The environment variables, AWS's over the function's own
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>). `inside` says where the environment finds a path.
pub(crate) async fn variables(
    state: &State,
    blueprint: &Blueprint,
    log: &Log,
    inside: &impl Fn(&str) -> String,
) -> Vec<(String, String)> {
    let (name, configuration) = (&blueprint.name, &blueprint.configuration);
    let runtime = configuration.runtime.as_deref().unwrap_or_default();
    let port = state.cloud.config.port;
    let (opt, task, own) = (inside("/opt"), inside("/var/task"), inside("/var/runtime"));
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
    let language = interpreter::language(runtime);
    let interpreters = match language {
        Language::Provided => String::new(),
        _ => format!("{}/bin:", inside("/var/lang")),
    };
    set(
        "PATH",
        format!("{interpreters}/usr/local/bin:/usr/bin/:/bin:{opt}/bin"),
    );
    set(
        "LD_LIBRARY_PATH",
        format!("/var/lang/lib:/lib64:/usr/lib64:{own}:{own}/lib:{task}:{task}/lib:{opt}/lib"),
    );
    // As the shell leaves them that starts AWS's bootstraps.
    set("PWD", task.clone());
    set("SHLVL", "0".into());
    set("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".into());
    let (daemon, port) = XRAY;
    set("AWS_XRAY_DAEMON_ADDRESS", format!("{daemon}:{port}"));
    set("_AWS_XRAY_DAEMON_ADDRESS", daemon.into());
    set("_AWS_XRAY_DAEMON_PORT", port.into());
    // Where there is no private root, /tmp is another directory.
    if inside("/tmp") != "/tmp" {
        set("TMPDIR", inside("/tmp"));
        set("HOME", inside("/tmp"));
    }
    match language {
        Language::Python(_) => set("PYTHONPATH", own.clone()),
        Language::Node(version) => set(
            "NODE_PATH",
            format!(
                "{opt}/nodejs/node{version}/node_modules:{opt}/nodejs/node_modules:{own}/node_modules:{own}:{task}"
            ),
        ),
        Language::Ruby(major, minor) => {
            set(
                "GEM_PATH",
                format!(
                    "{task}/vendor/bundle/ruby/{major}.{minor}.0:{opt}/ruby/gems/{major}.{minor}.0"
                ),
            );
            set("RUBYLIB", format!("{task}:{opt}/ruby/lib"));
        }
        _ => {}
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
    // Text is what it is where nothing is said.
    if configuration.logging.json {
        set("AWS_LAMBDA_LOG_FORMAT", "JSON".into());
    }
    if let Some(level) = &configuration.logging.application_level {
        set("AWS_LAMBDA_LOG_LEVEL", level.clone());
    }
    set("LAMBDA_TASK_ROOT", task);
    set("LAMBDA_RUNTIME_DIR", own);
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
        match roles
            .assume(role, &session_name(&name.function), SESSION)
            .await
        {
            Ok(c) => return (c.access_key, c.secret_key, Some(c.session_token)),
            Err(fault) => tracing::warn!(role, %fault, "the execution role could not be assumed"),
        }
    }
    (name.account.clone(), "test".into(), None)
}

/// The name of a role's session: the function's, made longer where that is shorter than a session's may be.
fn session_name(function: &str) -> String {
    match function.len() {
        1 => format!("{function}@lambda_function"),
        _ => function.to_owned(),
    }
}
