//! Runtimes by their names, and the host's interpreters that run them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use wire::Fault;

use crate::discovery;
use crate::errors;
use crate::state::State;

/// Runtimes that functions may name, retired ones included: code that ran on them is brought here too.
const RUNTIMES: [&str; 40] = [
    "nodejs12.x",
    "nodejs14.x",
    "nodejs16.x",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "nodejs26.x",
    "python3.6",
    "python3.7",
    "python3.8",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "python3.15",
    "java8",
    "java8.al2",
    "java8.al2023",
    "java11",
    "java11.al2023",
    "java17",
    "java17.al2023",
    "java21",
    "java25",
    "dotnetcore3.1",
    "dotnet6",
    "dotnet8",
    "dotnet10",
    "ruby2.7",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "ruby4.0",
    "go1.x",
    "provided",
    "provided.al2",
    "provided.al2023",
];

/// The runtimes that AWS names to who asks for another one, in its order.
const OFFERED: [&str; 25] = [
    "nodejs20.x",
    "python3.14",
    "provided.al2023",
    "python3.12",
    "python3.13",
    "nodejs24.x",
    "nodejs22.x",
    "java25",
    "python3.10",
    "python3.11",
    "java21",
    "ruby3.3",
    "ruby3.4",
    "ruby3.2",
    "python3.8",
    "python3.9",
    "java17",
    "nodejs16.x",
    "dotnet10",
    "dotnet8",
    "java11",
    "dotnet6",
    "nodejs18.x",
    "provided.al2",
    "java8.al2",
];

/// What a layer may be compatible with, as AWS lists it to who asks for something else.
const COMPATIBLE: &str = "ruby3.5, ruby2.6, dotnetcore1.0, python3.7, nodejs8.10, nasa, ruby2.7, python2.7-greengrass, dotnetcore2.0, python3.8, \
java21, dotnet6, dotnetcore2.1, python3.9, java11, nodejs6.10, provided, dotnetcore3.1, dotnet8, java25, java17, nodejs, nodejs4.3, java8.al2, \
go1.x, dotnet10, nodejs20.x, go1.9, byol, nodejs10.x, provided.al2023, nodejs22.x, python3.10, java8, nodejs12.x, python3.11, nodejs24.x, \
nodejs8.x, python3.12, nodejs14.x, nodejs8.9, nodejs26.x, python3.13, python3.14, nodejs16.x, python3.15, provided.al2, nodejs4.3-edge, \
nodejs18.x, ruby3.2, python3.4, ruby3.3, ruby3.4, ruby2.5, python3.6, python2.7";

/// What runs a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Python 3 of that minor version.
    Python(u32),
    /// Node.js of that major version.
    Node(u32),
    /// Java of that version.
    Java(u32),
    /// Ruby of that version.
    Ruby(u32, u32),
    /// The function's own `bootstrap`.
    Provided,
    /// A language for which there is no bootstrap here.
    Other,
}

/// Tells the language of a runtime.
pub fn language(runtime: &str) -> Language {
    if let Some(minor) = runtime
        .strip_prefix("python3.")
        .and_then(|v| v.parse().ok())
    {
        return Language::Python(minor);
    }
    if let Some(major) = runtime
        .strip_prefix("nodejs")
        .and_then(|v| v.strip_suffix(".x")?.parse().ok())
    {
        return Language::Node(major);
    }
    if let Some(version) = runtime.strip_prefix("java") {
        let version = version.split('.').next().unwrap_or_default();
        return version.parse().map_or(Language::Other, Language::Java);
    }
    if let Some((major, minor)) = runtime
        .strip_prefix("ruby")
        .and_then(|v| v.split_once('.'))
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
    {
        return Language::Ruby(major, minor);
    }
    if runtime.starts_with("provided") {
        Language::Provided
    } else {
        Language::Other
    }
}

/// Whether AWS knows a runtime of that name.
pub fn check(runtime: &str) -> Result<(), Fault> {
    if RUNTIMES.contains(&runtime) {
        return Ok(());
    }
    let text = format!(
        "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{}] or be a valid ARN",
        OFFERED.join(", ")
    );
    Err(errors::invalid_parameter_value_exception(text))
}

/// Whether a layer may be compatible with these runtimes.
pub fn check_layer(runtimes: &[String]) -> Result<(), Fault> {
    if runtimes.iter().all(|r| RUNTIMES.contains(&r.as_str())) {
        return Ok(());
    }
    let text = format!(
        "1 validation error detected: Value '[{}]' at 'compatibleRuntimes' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
        runtimes.join(", "),
        OFFERED.join(", ")
    );
    Err(Fault::sender(400, "ValidationException", text))
}

/// Whether layers can be asked for that are compatible with a runtime.
pub fn check_compatible(runtime: Option<&str>) -> Result<(), Fault> {
    let is_known =
        |runtime: &str| RUNTIMES.contains(&runtime) || COMPATIBLE.split(", ").any(|k| k == runtime);
    match runtime.filter(|runtime| !is_known(runtime)) {
        None => Ok(()),
        Some(runtime) => {
            let text = format!(
                "1 validation error detected: Value '{runtime}' at 'compatibleRuntime' failed to satisfy constraint: Member must satisfy enum value set: [{COMPATIBLE}]"
            );
            Err(Fault::sender(400, "ValidationException", text))
        }
    }
}

/// A stable ARN for the version of a runtime.
pub fn version_arn(region: &str, runtime: &str) -> String {
    let id = hex::encode(Sha256::digest(runtime));
    cloud::arn::text("lambda", region, "", format_args!("runtime:{id}"))
}

/// The runtime's version as log lines show it: `python:3.11.v1`.
pub fn version_name(runtime: &str) -> String {
    let at = runtime
        .find(|c: char| c.is_ascii_digit())
        .unwrap_or(runtime.len());
    let (language, version) = runtime.split_at(at);
    match language {
        "provided.al" => format!("provided:al{version}.v1"),
        _ => format!("{}:{}.v1", language, version.trim_end_matches(".x")),
    }
}

/// An interpreter of the host.
#[derive(Debug)]
pub struct Interpreter {
    pub program: PathBuf,
    /// Its version, as it says itself.
    pub version: String,
    /// Directories outside of the system's own that it needs to see.
    pub mounts: Vec<PathBuf>,
    /// Whether it can import boto3.
    pub has_boto3: bool,
    /// Said once in each log stream when it is not the version asked for.
    pub notice: Option<String>,
    plain: OnceCell<Option<runtime::Zygote>>,
    with_boto3: OnceCell<Option<runtime::Zygote>>,
}

impl Interpreter {
    /// Where it is installed, if environments are shown that: its `bin` and `lib` are there.
    pub fn home(&self) -> Option<&Path> {
        let home = self.program.parent()?.parent()?;
        if home.parent().is_none() {
            // What is in `/bin` is in `/usr/bin`.
            return Some(Path::new("/usr"));
        }
        let is_seen = home.starts_with("/usr") || self.mounts.iter().any(|m| home.starts_with(m));
        is_seen.then_some(home)
    }

    /// A program of that version that needs to see those directories.
    pub fn new(program: PathBuf, version: String, mounts: Vec<PathBuf>) -> Interpreter {
        Interpreter {
            program,
            version,
            mounts,
            has_boto3: false,
            notice: None,
            plain: OnceCell::new(),
            with_boto3: OnceCell::new(),
        }
    }
}

/// The interpreters found so far.
#[derive(Default)]
pub struct Interpreters(Mutex<HashMap<Language, Arc<OnceCell<Arc<Interpreter>>>>>);

impl Interpreters {
    /// Ends the fork servers.
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    /// The interpreter for a language, looked for once.
    pub async fn find(&self, language: Language) -> Result<Arc<Interpreter>, Fault> {
        let cell = self.0.lock().entry(language).or_default().clone();
        cell.get_or_try_init(|| async {
            let found = match language {
                Language::Python(minor) => discovery::python(minor).await,
                Language::Node(major) => discovery::node(major).await,
                Language::Java(version) => discovery::java(version).await,
                Language::Ruby(major, minor) => discovery::ruby(major, minor).await,
                Language::Provided | Language::Other => None,
            };
            found.map(Arc::new).ok_or_else(|| missing(language))
        })
        .await
        .cloned()
    }
}

fn missing(language: Language) -> Fault {
    let text = match language {
        Language::Python(minor) => {
            format!(
                "This host has no Python 3 to run python3.{minor}: install python3.{minor} (Debian: apt install python3) or put it on PATH."
            )
        }
        Language::Node(major) => {
            format!(
                "This host has no Node.js to run nodejs{major}.x: install Node.js {major} (Debian: apt install nodejs) or put it on PATH."
            )
        }
        Language::Java(version) => {
            format!(
                "This host has no Java to run java{version}: install a Java {version} runtime (Debian: apt install default-jre-headless) or put it on PATH."
            )
        }
        Language::Ruby(major, minor) => {
            format!(
                "This host has no Ruby to run ruby{major}.{minor}: install Ruby {major}.{minor} (Debian: apt install ruby) or put it on PATH."
            )
        }
        Language::Provided | Language::Other => {
            "This runtime has no bootstrap here: python3.x, nodejs.x, java, ruby and provided run."
                .to_owned()
        }
    };
    errors::invalid_runtime_exception(text)
}

/// Directories with further Python packages for all functions.
pub fn extra_packages() -> Vec<PathBuf> {
    let path = std::env::var_os("CUMULO_LAMBDA_PYTHONPATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|p| p.is_absolute() && p.is_dir())
        .collect()
}

impl Interpreter {
    /// The fork server of this interpreter, started if it is not there; `None` where there can be none.
    pub async fn zygote(&self, state: &State, boto3: bool) -> Option<&runtime::Zygote> {
        let (cell, modules): (_, &[&str]) = if boto3 {
            (&self.with_boto3, &["boto3"])
        } else {
            (&self.plain, &[])
        };
        let start = || async {
            let host = state.host().await.ok()?;
            let script = crate::launch::runtime_directory(state)
                .ok()?
                .join("python/zygote.py");
            let mut command =
                runtime::Command::new([self.program.to_str()?, "-I", "-B", script.to_str()?]);
            command.argv.extend(modules.iter().map(|m| (*m).to_owned()));
            let extra = std::env::join_paths(extra_packages()).ok()?;
            let command = command
                .env("LANG", "en_US.UTF-8")
                .env("CUMULO_EXTRA_PACKAGES", extra.to_str()?);
            match host.zygote(command).await {
                Ok(zygote) => Some(zygote),
                Err(e) => {
                    tracing::info!(program = %self.program.display(), error = %e, "functions start without a fork server");
                    None
                }
            }
        };
        cell.get_or_init(start).await.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreters_home_is_what_environments_see() {
        let home = |program: &str, mounts: &[&str]| {
            let mounts = mounts.iter().map(PathBuf::from).collect();
            let found = Interpreter::new(program.into(), "1".into(), mounts);
            found.home().map(|home| home.display().to_string())
        };
        assert_eq!(home("/usr/bin/node", &[]).as_deref(), Some("/usr"));
        assert_eq!(home("/bin/node", &[]).as_deref(), Some("/usr"));
        let own = "/srv/python/3.12.1";
        let program = format!("{own}/bin/python3.12");
        assert_eq!(home(&program, &[own]).as_deref(), Some(own));
        assert_eq!(home("/srv/bin/python3", &["/opt/python"]), None);
    }

    #[test]
    fn runtimes_are_told_by_their_names() {
        assert_eq!(language("python3.11"), Language::Python(11));
        assert_eq!(language("nodejs20.x"), Language::Node(20));
        assert_eq!(language("provided.al2023"), Language::Provided);
        assert_eq!(language("java21"), Language::Java(21));
        assert_eq!(language("java8.al2"), Language::Java(8));
        assert_eq!(language("ruby3.3"), Language::Ruby(3, 3));
        assert_eq!(language("dotnet8"), Language::Other);
        assert!(check("python2.7").is_err_and(|e| e.is("InvalidParameterValueException")));
        assert_eq!(version_name("python3.11"), "python:3.11.v1");
        assert_eq!(version_name("provided.al2023"), "provided:al2023.v1");
        assert_eq!(version_name("java8.al2"), "java:8.al2.v1");
    }
}
