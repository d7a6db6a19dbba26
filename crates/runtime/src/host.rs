//! The place sandboxes run on.

use std::path::PathBuf;
use std::str::FromStr;
#[cfg(target_os = "linux")]
use std::{
    os::fd::OwnedFd,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::sandbox::PreparedInner;
use crate::{Base, Command, Error, Prepared, Result, Sandbox, Spec, Writes, Zygote, process};

/// How sandboxes are confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Namespaces, overlayfs, cgroups, seccomp.
    Linux,
    /// Plain children of the server: no private root, limits as far as they go without privileges.
    Process,
}

/// Which backend is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// `linux` where it works, else `process`.
    #[default]
    Auto,
    /// Exactly this one, or an error.
    Exactly(Backend),
}

impl FromStr for BackendChoice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "linux" => Ok(Self::Exactly(Backend::Linux)),
            "process" => Ok(Self::Exactly(Backend::Process)),
            _ => Err(Error::Invalid(format!(
                "there is no sandbox backend {name:?}: auto, linux or process"
            ))),
        }
    }
}

/// How to open a host.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The backend wanted.
    pub backend: BackendChoice,
    /// The program that becomes process 1 of each sandbox, by calling [`crate::init_entry`]; the running one when absent.
    pub init_program: Option<PathBuf>,
}

/// The place sandboxes run on: one per server.
#[derive(Debug, Clone)]
pub struct Host {
    backend: Kind,
    reason: Option<String>,
}

#[derive(Debug, Clone)]
enum Kind {
    #[cfg(target_os = "linux")]
    Linux(Arc<Linux>),
    Process,
}

/// What the linux backend's sandboxes share.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct Linux {
    pub(crate) tree: crate::linux::cgroup::Tree,
    pub(crate) program: OwnedFd,
    last: AtomicU64,
}

#[cfg(target_os = "linux")]
impl Linux {
    pub(crate) fn next_name(&self) -> String {
        self.last.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

impl Host {
    /// Opens the host and removes what dead servers left on it. The linux backend is tried with a first sandbox, which takes some milliseconds.
    pub async fn open(options: Options) -> Result<Self> {
        let process = |reason| Self {
            backend: Kind::Process,
            reason,
        };
        if options.backend == BackendChoice::Exactly(Backend::Process) {
            return Ok(process(None));
        }
        match Self::open_linux(&options).await {
            Ok(host) => Ok(host),
            Err(reason) if options.backend == BackendChoice::Auto => {
                tracing::warn!(%reason, "sandboxes are plain processes");
                Ok(process(Some(reason)))
            }
            Err(reason) => Err(Error::Unsupported(reason)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn open_linux(_: &Options) -> std::result::Result<Self, String> {
        Err("this system is not Linux".into())
    }

    #[cfg(target_os = "linux")]
    async fn open_linux(options: &Options) -> std::result::Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("the linux backend needs root".into());
        }
        let program = options
            .init_program
            .clone()
            .unwrap_or_else(|| "/proc/self/exe".into());
        let opened = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::open(&program)
                .map_err(|error| format!("{}: {error}", program.display()))?;
            // Two hosts in one process are two servers.
            static HOSTS: AtomicU64 = AtomicU64::new(0);
            let clock = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
            let start = clock
                .rsplit(") ")
                .next()
                .and_then(|rest| rest.split(' ').nth(19))
                .unwrap_or("0")
                .to_owned();
            let name = format!(
                "{}-{start}-{}",
                std::process::id(),
                HOSTS.fetch_add(1, Ordering::Relaxed)
            );
            let tree = crate::linux::cgroup::Tree::open(&name)?;
            Ok::<_, String>(Linux {
                tree,
                program: file.into(),
                last: AtomicU64::new(0),
            })
        });
        let linux = opened.await.map_err(|error| error.to_string())??;
        let host = Self {
            backend: Kind::Linux(Arc::new(linux)),
            reason: None,
        };
        let spec = Spec {
            hostname: Some("probe".into()),
            ..Spec::default()
        };
        let trial = host
            .start(spec, Command::new(["/bin/true"]))
            .await
            .map_err(|error| error.to_string())?;
        let exit = trial.wait().await;
        trial.kill().await.map_err(|error| error.to_string())?;
        if exit.code != Some(0) {
            return Err(format!("a first sandbox ended with {exit:?}"));
        }
        Ok(host)
    }

    /// The backend in use.
    pub fn backend(&self) -> Backend {
        match self.backend {
            #[cfg(target_os = "linux")]
            Kind::Linux(_) => Backend::Linux,
            Kind::Process => Backend::Process,
        }
    }

    /// Why it is not the linux backend, when that was wanted but does not work here.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Builds a sandbox that waits for its process.
    pub async fn prepare(&self, spec: Spec) -> Result<Prepared> {
        check(&spec)?;
        match &self.backend {
            #[cfg(target_os = "linux")]
            Kind::Linux(linux) => {
                let (starter, readers) = crate::linux::cage::prepare(linux.clone(), spec).await?;
                Ok(Prepared {
                    readers,
                    inner: PreparedInner::Linux(starter),
                })
            }
            Kind::Process => {
                let (starter, readers) = process::prepare(spec)?;
                Ok(Prepared {
                    readers,
                    inner: PreparedInner::Process(Box::new(starter)),
                })
            }
        }
    }

    /// Builds a sandbox and starts a program in it.
    pub async fn start(&self, spec: Spec, command: Command) -> Result<Sandbox> {
        self.prepare(spec).await?.exec(command).await
    }

    /// Starts a zygote: see [`Zygote`]. Only the linux backend has them.
    pub async fn zygote(&self, command: Command) -> Result<Zygote> {
        match self.backend() {
            Backend::Linux => Zygote::start(command).await,
            Backend::Process => Err(Error::Unsupported(
                "the process backend has no zygotes".into(),
            )),
        }
    }
}

fn check(spec: &Spec) -> Result<()> {
    let invalid = |text: String| Err(Error::Invalid(text));
    let targets = spec.mounts.iter().map(|mount| &mount.target);
    let targets = targets
        .chain(spec.scratch.iter().map(|scratch| &scratch.target))
        .chain(spec.files.iter().map(|file| &file.target));
    let (exposed, layers): (&[PathBuf], &[PathBuf]) = match &spec.root.base {
        Base::Host { exposed, .. } => (exposed, &[]),
        Base::Layers(layers) => (&[], layers),
    };
    let kept = match &spec.root.writes {
        Writes::Directory(directory) => Some(directory),
        _ => None,
    };
    for path in targets
        .chain(exposed)
        .chain(layers)
        .chain(kept)
        .chain(spec.mounts.iter().map(|mount| &mount.source))
    {
        let climbs = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        if !path.is_absolute() || climbs || path.to_str().is_none_or(|path| path.contains('\0')) {
            return invalid(format!(
                "{} is not an absolute path in UTF-8 without '..'",
                path.display()
            ));
        }
    }
    for target in spec
        .mounts
        .iter()
        .map(|mount| &mount.target)
        .chain(spec.scratch.iter().map(|scratch| &scratch.target))
    {
        if target.parent().is_none() {
            return invalid("nothing can be mounted on the root itself".into());
        }
    }
    if matches!(&spec.root.base, Base::Layers(layers) if layers.is_empty()) {
        return invalid("a root of layers needs one".into());
    }
    if spec
        .limits
        .cpu
        .is_some_and(|cpu| !cpu.is_finite() || cpu <= 0.0)
    {
        return invalid("the processor limit must be more than zero".into());
    }
    if spec.hostname.as_deref().is_some_and(|name| {
        name.is_empty() || name.len() > 64 || name.contains(char::is_whitespace)
    }) {
        return invalid("a host name has 1 to 64 characters without spaces".into());
    }
    Ok(())
}
