//! The life of a sandbox.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::output::Readers;
use crate::{Command, Error, Result, process};

#[cfg(target_os = "linux")]
use crate::linux::cage::{Guard, Starter};

/// How the process of a sandbox ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, when it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it. Neither code nor signal is there when the end was not seen, because the zygote had died.
    pub signal: Option<i32>,
    /// Whether a process of the sandbox was killed for want of memory. Always false in the process backend, which cannot know.
    pub oom_killed: bool,
}

impl Exit {
    pub(crate) fn from_status(status: i32) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = std::process::ExitStatus::from_raw(status);
        Self {
            code: status.code(),
            signal: status.signal(),
            oom_killed: false,
        }
    }

    pub(crate) fn killed() -> Self {
        Self {
            signal: Some(libc::SIGKILL),
            ..Self::default()
        }
    }
}

/// What a sandbox uses and used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of memory in use now.
    pub memory_current: u64,
    /// Most bytes of memory in use at once, since the start or the last reset.
    pub memory_peak_bytes: u64,
    /// Most bytes that the processes had in memory, as they would report it themselves: pages shared with a zygote count, what lies in
    /// scratch directories or is cached of files does not. What ended processes had beside the others is estimated.
    pub resident_peak_bytes: u64,
    /// Processor time used.
    pub cpu_time: Duration,
    /// Scheduling periods (100 ms) in which the processor limit stopped the sandbox.
    pub throttled_periods: u64,
    /// Processes and threads now.
    pub pids: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
}

/// A sandbox without its process yet. Dropping it removes it.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) readers: Readers,
    pub(crate) inner: PreparedInner,
}

#[derive(Debug)]
pub(crate) enum PreparedInner {
    #[cfg(target_os = "linux")]
    Linux(Starter),
    Process(Box<process::Starter>),
}

impl Prepared {
    /// Starts a program in the sandbox, which ends with it.
    pub async fn exec(self, command: Command) -> Result<Sandbox> {
        let program = command.argv.first().cloned().unwrap_or_default();
        if program.is_empty() {
            return Err(Error::Invalid("no program is named".into()));
        }
        let strings = command
            .env
            .iter()
            .flat_map(|(name, value)| [name, value])
            .chain(&command.argv);
        if strings.into_iter().any(|string| string.contains('\0'))
            || command
                .env
                .iter()
                .any(|(name, _)| name.is_empty() || name.contains('='))
        {
            return Err(Error::Invalid(
                "arguments and environment cannot hold NUL, nor names '='".into(),
            ));
        }
        if command.fds.len() > 32 {
            return Err(Error::Invalid("more than 32 further descriptors".into()));
        }
        match self.inner {
            #[cfg(target_os = "linux")]
            PreparedInner::Linux(starter) => starter.exec(command, self.readers).await,
            PreparedInner::Process(starter) => starter.exec(command, self.readers).await,
        }
    }

    /// Where the processes find what is mounted at `target`: there, unless the backend has no private root and they must use the host's path.
    pub fn path(&self, target: &Path) -> PathBuf {
        match &self.inner {
            #[cfg(target_os = "linux")]
            PreparedInner::Linux(_) => target.to_owned(),
            PreparedInner::Process(starter) => starter.path(target),
        }
    }
}

/// A running sandbox. Dropping it kills every process inside and removes it.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) pid: u32,
    pub(crate) ended: watch::Receiver<Option<Exit>>,
    pub(crate) readers: Readers,
    pub(crate) inner: Inner,
}

#[derive(Debug)]
pub(crate) enum Inner {
    #[cfg(target_os = "linux")]
    Linux(Guard),
    Process(process::Group),
}

impl Sandbox {
    /// The number of the sandbox's process: its own namespace's one after [`Prepared::exec`] in the linux backend, else the host's.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end of the sandbox's process. Everything else inside is killed then. May be called again and by several.
    pub async fn wait(&self) -> Exit {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or_else(Exit::killed),
            Err(_) => Exit::killed(),
        }
    }

    /// How the process ended, when it has.
    pub fn exit(&self) -> Option<Exit> {
        *self.ended.borrow()
    }

    /// Kills every process inside, frozen ones too, and removes the sandbox; returns when nothing is left.
    pub async fn kill(self) -> Result<()> {
        match self.inner {
            #[cfg(target_os = "linux")]
            Inner::Linux(cage) => blocking("kill", move || cage.0.destroy()).await,
            Inner::Process(group) => blocking("kill", move || group.kill()).await,
        }
    }

    /// Stops all processes where they are; returns when they have stopped.
    pub async fn freeze(&self) -> Result<()> {
        self.set_frozen(true).await
    }

    /// Lets frozen processes go on.
    pub async fn thaw(&self) -> Result<()> {
        self.set_frozen(false).await
    }

    async fn set_frozen(&self, frozen: bool) -> Result<()> {
        if self.exit().is_some() {
            return Err(Error::Gone);
        }
        let step = if frozen { "freeze" } else { "thaw" };
        match &self.inner {
            #[cfg(target_os = "linux")]
            Inner::Linux(cage) => {
                let cage = cage.0.clone();
                blocking(step, move || cage.group().set_frozen(frozen)).await
            }
            Inner::Process(group) => group.set_frozen(frozen).map_err(Error::setup(step)),
        }
    }

    /// Changes how much processor time the sandbox has, as a number of cores.
    pub async fn limit_cpu(&self, cpu: f64) -> Result<()> {
        if !cpu.is_finite() || cpu <= 0.0 {
            return Err(Error::Invalid(
                "the processor limit must be more than zero".into(),
            ));
        }
        match &self.inner {
            #[cfg(target_os = "linux")]
            Inner::Linux(cage) => {
                let cage = cage.0.clone();
                blocking("limit the processor", move || cage.group().limit_cpu(cpu)).await
            }
            Inner::Process(_) => Err(Error::Unsupported(
                "the process backend cannot limit the processor".into(),
            )),
        }
    }

    /// What the sandbox uses and used; after its end, what it had used.
    pub fn stats(&self) -> Result<Stats> {
        match &self.inner {
            #[cfg(target_os = "linux")]
            Inner::Linux(cage) => cage.0.group().stats(),
            Inner::Process(group) => group.stats(),
        }
        .map_err(Error::setup("read statistics"))
    }

    /// Bytes of memory that the processes have written, without scratch directories and cached files.
    pub fn private_memory(&self) -> Result<u64> {
        match &self.inner {
            #[cfg(target_os = "linux")]
            Inner::Linux(cage) => cage
                .0
                .group()
                .private_memory()
                .map_err(Error::setup("read statistics")),
            Inner::Process(_) => Err(Error::Unsupported(
                "the process backend would have to look through all processes".into(),
            )),
        }
    }

    /// Makes [`Stats::memory_peak_bytes`] start again from the present use.
    pub fn reset_memory_peak(&self) -> Result<()> {
        match &self.inner {
            #[cfg(target_os = "linux")]
            Inner::Linux(cage) => cage
                .0
                .group()
                .reset_memory_peak()
                .map_err(Error::setup("reset the memory peak")),
            Inner::Process(_) => Err(Error::Unsupported(
                "the process backend keeps no memory peak".into(),
            )),
        }
    }

    /// Returns when every whole line printed before the call has been delivered to the receiver.
    pub async fn flush_output(&self) {
        self.readers.flush().await;
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    step: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let result = tokio::task::spawn_blocking(work).await;
    result
        .map_err(std::io::Error::other)
        .and_then(|result| result)
        .map_err(Error::setup(step))
}
