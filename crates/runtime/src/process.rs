//! The process backend: a plain child in its own session, for systems where confinement is refused.
//!
//! It has no private root: mounts are the host's own paths and scratch directories are temporary ones without a size limit
//! ([`crate::Prepared::path`] tells where). Memory is limited per process, processor time and process counts are not.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use crate::output::Readers;
use crate::sandbox::{Inner, blocking};
use crate::{Command, Error, Exit, Result, Sandbox, Spec, Stats, spawner};

#[derive(Debug)]
pub(crate) struct Starter {
    spec: Spec,
    scratch: Vec<(PathBuf, TempDir)>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

pub(crate) fn prepare(spec: Spec) -> Result<(Starter, Readers)> {
    let (readers, stdout, stderr) =
        Readers::start(&spec.output).map_err(Error::setup("make output pipes"))?;
    let directory = |target: &PathBuf| Ok((target.clone(), tempfile::tempdir()?));
    let scratch = spec
        .scratch
        .iter()
        .map(|scratch| directory(&scratch.target))
        .collect::<io::Result<_>>();
    let scratch = scratch.map_err(Error::setup("make scratch directories"))?;
    Ok((
        Starter {
            spec,
            scratch,
            stdout,
            stderr,
        },
        readers,
    ))
}

impl Starter {
    pub(crate) fn path(&self, target: &Path) -> PathBuf {
        let mounts = self
            .spec
            .mounts
            .iter()
            .map(|mount| (mount.target.as_path(), mount.source.as_path()));
        let scratch = self
            .scratch
            .iter()
            .map(|(inside, outside)| (inside.as_path(), outside.path()));
        let mut places: Vec<_> = mounts
            .chain(scratch)
            .filter(|(inside, _)| target.starts_with(inside))
            .collect();
        places.sort_by_key(|(inside, _)| inside.components().count());
        match places
            .last()
            .and_then(|(inside, outside)| Some((target.strip_prefix(inside).ok()?, outside)))
        {
            Some((rest, outside)) if rest.as_os_str().is_empty() => outside.to_path_buf(),
            Some((rest, outside)) => outside.join(rest),
            None => target.to_owned(),
        }
    }

    pub(crate) async fn exec(self, command: Command, readers: Readers) -> Result<Sandbox> {
        let program = command.argv[0].clone();
        let workdir = self.path(command.workdir.as_deref().unwrap_or(Path::new("/")));
        let mut child = std::process::Command::new(&program);
        child
            .args(&command.argv[1..])
            .env_clear()
            .envs(command.env)
            .current_dir(workdir);
        child
            .stdin(command.stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(self.stdout)
            .stderr(self.stderr);
        let memory = self.spec.limits.memory_bytes;
        let open_files = self.spec.limits.open_files;
        let fds = command.fds;
        // SAFETY: between fork and exec only system calls are made, on numbers and descriptors moved into the closure.
        unsafe {
            child.pre_exec(move || {
                if libc::setsid() < 0 {
                    return Err(io::Error::last_os_error());
                }
                limit_memory(memory)?;
                pass(&fds)?;
                limit_open_files(open_files)
            });
        }
        let spawned = blocking("start the program", move || Ok(spawner::spawn(child))).await?;
        let mut child = spawned.map_err(|source| Error::Exec { program, source })?;
        let pid = child.id();
        let (publish, ended) = watch::channel(None);
        let waiter = std::thread::Builder::new()
            .name("sandbox-wait".into())
            .stack_size(128 * 1024)
            .spawn(move || {
                let exit = child.wait().map_or_else(
                    |_| Exit::killed(),
                    |status| Exit::from_status(status.into_raw()),
                );
                signal(pid, libc::SIGKILL);
                publish.send_replace(Some(exit));
            });
        let group = Group {
            session: pid,
            _scratch: self.scratch,
            killed: Mutex::new(false),
        };
        waiter.map_err(Error::setup("wait for the program"))?;
        Ok(Sandbox {
            pid,
            ended,
            readers,
            inner: Inner::Process(group),
        })
    }
}

/// Lowers a limit of the calling process, for good. Between fork and exec, so without allocating.
macro_rules! lower {
    ($resource:expr, $to:expr) => {
        // SAFETY: the record lives across both calls. The hard limit is kept below what it was, never above.
        unsafe {
            let mut limit = std::mem::zeroed::<libc::rlimit>();
            if libc::getrlimit($resource, &raw mut limit) != 0 {
                return Err(io::Error::last_os_error());
            }
            limit.rlim_max = limit.rlim_max.min($to as libc::rlim_t);
            limit.rlim_cur = limit.rlim_max;
            if libc::setrlimit($resource, &raw const limit) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    };
}

/// Bytes of private writable memory, of each process by itself: an address-space limit would break what reserves more than it uses.
fn limit_memory(bytes: Option<u64>) -> io::Result<()> {
    if let Some(bytes) = bytes {
        lower!(libc::RLIMIT_DATA, bytes);
    }
    Ok(())
}

/// How many files the process has open at once.
pub(crate) fn limit_open_files(count: Option<u32>) -> io::Result<()> {
    if let Some(count) = count {
        lower!(libc::RLIMIT_NOFILE, count);
    }
    Ok(())
}

/// Puts descriptors at 3, 4, ... . Between fork and exec, so without allocating: first out of each other's way, then in place.
fn pass(fds: &[OwnedFd]) -> io::Result<()> {
    let mut high = [0; 32];
    for (slot, fd) in high.iter_mut().zip(fds) {
        // SAFETY: duplicates an open descriptor.
        *slot = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) };
        if *slot < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // The standard library's own pipe, which reports a failed exec, may sit on one of the numbers; it is then lost, and with it
    // only the reason of such a failure.
    for (number, fd) in high.iter().take(fds.len()).enumerate() {
        // SAFETY: replaces descriptors of this child only.
        if unsafe { libc::dup2(*fd, 3 + number as i32) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The processes of one sandbox: its session.
#[derive(Debug)]
pub(crate) struct Group {
    session: u32,
    _scratch: Vec<(PathBuf, TempDir)>,
    killed: Mutex<bool>,
}

impl Group {
    pub(crate) fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        signal(
            self.session,
            if frozen { libc::SIGSTOP } else { libc::SIGCONT },
        );
        Ok(())
    }

    /// Kills the session until nobody is left in it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let mut killed = self
            .killed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *killed {
            return Ok(());
        }
        *killed = true;
        for _ in 0..2000 {
            signal(self.session, libc::SIGKILL);
            if members(self.session).iter().all(|member| member.ended) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }

    pub(crate) fn stats(&self) -> io::Result<Stats> {
        let members = members(self.session);
        Ok(Stats {
            memory_current: members.iter().map(|member| member.memory).sum(),
            memory_peak_bytes: members.iter().map(|member| member.peak).sum(),
            resident_peak_bytes: members.iter().map(|member| member.peak).sum(),
            cpu_time: members.iter().map(|member| member.cpu).sum(),
            pids: members.iter().filter(|member| !member.ended).count() as u64,
            ..Stats::default()
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !*self
            .killed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            signal(self.session, libc::SIGKILL);
        }
    }
}

/// To the process group of the leader, and to whoever else is in its session.
fn signal(session: u32, number: i32) {
    let Ok(group) = i32::try_from(session) else {
        return;
    };
    // SAFETY: plain numbers; the session was made by our child and is never 0 or 1.
    unsafe { libc::kill(-group, number) };
    for member in members(session).iter().filter(|member| !member.ended) {
        // SAFETY: plain numbers.
        unsafe { libc::kill(member.pid, number) };
    }
}

struct Member {
    pid: i32,
    ended: bool,
    memory: u64,
    peak: u64,
    cpu: Duration,
}

#[cfg(not(target_os = "linux"))]
fn members(_: u32) -> Vec<Member> {
    Vec::new()
}

#[cfg(target_os = "linux")]
fn members(session: u32) -> Vec<Member> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| member(entry.file_name().to_str()?.parse().ok()?, session))
        .collect()
}

#[cfg(target_os = "linux")]
fn member(pid: i32, session: u32) -> Option<Member> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are state, ppid, pgrp, session, ...
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    if fields.get(3)?.parse() != Ok(session) {
        return None;
    }
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let resident = resident(pid).unwrap_or_default();
    // SAFETY: a question to the C library.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Some(Member {
        pid,
        ended: matches!(fields.first(), Some(&"Z" | &"X")),
        memory: resident.now,
        peak: resident.peak,
        cpu: Duration::from_millis((ticks(11) + ticks(12)) * 1000 / per_second),
    })
}

/// What a process has in memory.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resident {
    /// Bytes now.
    pub(crate) now: u64,
    /// The most bytes there ever were.
    pub(crate) peak: u64,
    /// Bytes of files now, which are charged to nobody or to who read them first.
    pub(crate) files: u64,
}

/// Reads what a process has in memory; `None` when it is gone.
#[cfg(target_os = "linux")]
pub(crate) fn resident(pid: i32) -> Option<Resident> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) * 1024
    };
    Some(Resident {
        now: bytes("VmRSS:"),
        peak: bytes("VmHWM:"),
        files: bytes("RssFile:"),
    })
}
