//! What a sandbox is made of.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Output;

/// Everything around a process: what it sees, what it may use, where its output goes.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// The root directory.
    pub root: Root,
    /// Directories and files of the host shown inside, mounted in this order.
    pub mounts: Vec<Mount>,
    /// Empty writable directories of limited size, such as `/tmp`.
    pub scratch: Vec<Scratch>,
    /// Small files written into the root before the start.
    pub files: Vec<File>,
    /// What the processes may use.
    pub limits: Limits,
    /// The host name inside; the host's own when absent.
    pub hostname: Option<String>,
    /// Further names of the loopback address. The process backend has no hosts file of its own and ignores them.
    pub names: Vec<String>,
    /// Who the processes run as.
    pub user: User,
    /// The network they see.
    pub network: Network,
    /// Where standard output and standard error go.
    pub output: Output,
}

/// The root directory of a sandbox.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Root {
    /// What is in it at the start; never changed by the sandbox.
    pub base: Base,
    /// Where changes go.
    pub writes: Writes,
}

/// The content a root starts with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Base {
    /// The host's own system directories (`/usr`, `/etc`, `/bin`, `/lib*`, `/sbin`). Everything else of the host's root is hidden, and so
    /// are the well-known secrets under `/etc`.
    Host {
        /// Further top-level directories to show, such as `/opt`.
        exposed: Vec<PathBuf>,
        /// Further paths to hide.
        masked: Vec<PathBuf>,
    },
    /// Directories laid over each other, the first on top: an unpacked image.
    Layers(Vec<PathBuf>),
}

impl Default for Base {
    fn default() -> Self {
        Self::Host {
            exposed: Vec::new(),
            masked: Vec::new(),
        }
    }
}

/// Where a sandbox's changes to its root go. The process backend knows no private root and ignores it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub enum Writes {
    /// Nowhere: the root is read-only.
    #[default]
    Refused,
    /// Into memory, gone with the sandbox.
    Memory {
        /// How many bytes of changes fit.
        bytes: u64,
    },
    /// Into a directory that outlives the sandbox. Two running sandboxes must not share one.
    Directory(PathBuf),
}

/// A directory or file of the host shown inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mount {
    /// The path on the host.
    pub source: PathBuf,
    /// The absolute path inside; made when missing, also below hidden directories.
    pub target: PathBuf,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// An empty writable directory of limited size, in memory.
///
/// What is written into it counts against [`Limits::memory_bytes`] of the sandbox as well: the kernel charges such pages to who writes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scratch {
    /// The absolute path inside.
    pub target: PathBuf,
    /// How many bytes fit.
    pub bytes: u64,
}

/// A small file placed in the root, readable by everyone inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct File {
    /// The absolute path inside.
    pub target: PathBuf,
    /// Its content.
    pub content: Vec<u8>,
}

/// What the processes of a sandbox may use together; absent means unlimited.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Bytes of memory, swap included.
    pub memory_bytes: Option<u64>,
    /// Processor time as a number of cores; 0.5 is half of one.
    pub cpu: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Files and sockets that one process has open at once.
    pub open_files: Option<u32>,
}

/// The numeric identity of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id. With 0 the processes keep the capabilities that containers usually have.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Default for User {
    /// An identity without rights on the host.
    fn default() -> Self {
        Self { uid: 993, gid: 990 }
    }
}

/// The network a sandbox sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// Only a loopback interface of its own.
    None,
}

/// A program to start in a prepared sandbox.
#[derive(Debug, Default)]
pub struct Command {
    /// The program and its arguments. A name without `/` is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// The absolute working directory; `/` when absent.
    pub workdir: Option<PathBuf>,
    /// Standard input; empty when absent.
    pub stdin: Option<OwnedFd>,
    /// Further descriptors, which the program finds as 3, 4 and so on.
    pub fds: Vec<OwnedFd>,
}

impl Command {
    /// A program and its arguments with an ordinary `PATH`.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: vec![(
                "PATH".into(),
                "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into(),
            )],
            ..Self::default()
        }
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}
