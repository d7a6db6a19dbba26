//! Runtimes by their names, and the host's interpreters that run them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use wire::Fault;

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

/// What runs a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Python 3 of that minor version.
    Python(u32),
    /// Node.js of that major version.
    Node(u32),
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
        RUNTIMES.join(", ")
    );
    Err(errors::invalid_parameter_value_exception(text))
}

/// A stable ARN for the version of a runtime.
pub fn version_arn(region: &str, runtime: &str) -> String {
    format!(
        "arn:aws:lambda:{region}::runtime:{}",
        hex::encode(Sha256::digest(runtime))
    )
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

/// The interpreters found so far.
#[derive(Default)]
pub struct Interpreters(Mutex<HashMap<Language, Arc<OnceCell<Arc<Interpreter>>>>>);

#[derive(Deserialize)]
struct Probe {
    version: String,
    prefixes: Vec<PathBuf>,
    boto3: bool,
}

const PROBE: &str = "import sys, json, importlib.util as u\n\
print(json.dumps({'version': '%d.%d.%d' % sys.version_info[:3], 'prefixes': sorted({sys.prefix, sys.base_prefix, sys.exec_prefix}), \
'boto3': u.find_spec('boto3') is not None}))";

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
                Language::Python(minor) => find_python(minor).await,
                Language::Node(major) => find_node(major).await,
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
        _ => "This runtime has no bootstrap here: python3.x, nodejs.x and provided run.".to_owned(),
    };
    errors::invalid_runtime_exception(text)
}

/// The directories in which programs are looked for. A pyenv shim is a shell script that needs its home, so shims are left out.
fn places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|p| p.is_absolute() && !p.ends_with("shims"))
        .collect();
    all.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| home.map(|h| h.join(".pyenv")));
    let mut versions: Vec<PathBuf> = std::fs::read_dir(pyenv.unwrap_or_default().join("versions"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path().join("bin"))
        .collect();
    versions.sort();
    versions.reverse();
    all.extend(versions);
    let mut seen = std::collections::HashSet::new();
    all.retain(|p| seen.insert(p.clone()));
    all
}

async fn find_python(minor: u32) -> Option<Interpreter> {
    let places = places();
    let named = |minor: u32| {
        let name = format!("python3.{minor}");
        places
            .iter()
            .map(move |p| p.join(&name))
            .filter(|p| p.is_file())
            .collect::<Vec<_>>()
    };
    let exact = probed(named(minor)).await;
    if let Some(found) = exact {
        return Some(found);
    }
    // The nearest newer one first: code rarely minds those.
    for other in (minor + 1..minor + 12).chain((6..minor).rev()) {
        if let Some(mut found) = probed(named(other)).await {
            found.notice = Some(format!(
                "This host has no python3.{minor}; the function runs on Python {} ({}).",
                found.version,
                found.program.display()
            ));
            return Some(found);
        }
    }
    None
}

/// The first of the programs that works, one with boto3 before one without.
async fn probed(programs: Vec<PathBuf>) -> Option<Interpreter> {
    let mut without = None;
    for program in programs {
        let Ok(output) = tokio::process::Command::new(&program)
            .args(["-I", "-c", PROBE])
            .env_clear()
            .output()
            .await
        else {
            continue;
        };
        let Ok(probe) = serde_json::from_slice::<Probe>(&output.stdout) else {
            continue;
        };
        let found = Interpreter {
            mounts: probe
                .prefixes
                .into_iter()
                .filter(|p| !is_system(p))
                .collect(),
            program,
            version: probe.version,
            has_boto3: probe.boto3,
            notice: None,
            plain: OnceCell::new(),
            with_boto3: OnceCell::new(),
        };
        if found.has_boto3 {
            return Some(found);
        }
        without.get_or_insert(found);
    }
    without
}

async fn find_node(major: u32) -> Option<Interpreter> {
    let mut other = None;
    for program in places()
        .into_iter()
        .map(|p| p.join("node"))
        .filter(|p| p.is_file())
    {
        let Ok(output) = tokio::process::Command::new(&program)
            .arg("--version")
            .output()
            .await
        else {
            continue;
        };
        let version = String::from_utf8_lossy(&output.stdout)
            .trim()
            .trim_start_matches('v')
            .to_owned();
        let Some(found) = version
            .split('.')
            .next()
            .and_then(|v| v.parse::<u32>().ok())
        else {
            continue;
        };
        let real = std::fs::canonicalize(&program).unwrap_or_else(|_| program.clone());
        let prefix = real.parent().and_then(Path::parent).map(Path::to_owned);
        let interpreter = |notice| Interpreter {
            mounts: prefix
                .clone()
                .into_iter()
                .filter(|p| !is_system(p))
                .collect(),
            program: real.clone(),
            version: version.clone(),
            has_boto3: false,
            notice,
            plain: OnceCell::new(),
            with_boto3: OnceCell::new(),
        };
        if found == major {
            return Some(interpreter(None));
        }
        let notice = format!(
            "This host has no Node.js {major}; the function runs on Node.js {version} ({}).",
            program.display()
        );
        other.get_or_insert_with(|| interpreter(Some(notice)));
    }
    other
}

/// Whether every sandbox shows a path anyway.
fn is_system(path: &Path) -> bool {
    ["/usr", "/bin", "/lib", "/lib64", "/etc"]
        .iter()
        .any(|p| path.starts_with(p))
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
    fn runtimes_are_told_by_their_names() {
        assert_eq!(language("python3.11"), Language::Python(11));
        assert_eq!(language("nodejs20.x"), Language::Node(20));
        assert_eq!(language("provided.al2023"), Language::Provided);
        assert_eq!(language("java21"), Language::Other);
        assert!(check("python2.7").is_err_and(|e| e.is("InvalidParameterValueException")));
        assert_eq!(version_name("python3.11"), "python:3.11.v1");
        assert_eq!(version_name("provided.al2023"), "provided:al2023.v1");
    }
}
