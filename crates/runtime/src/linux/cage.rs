//! One sandbox of the linux backend, from its first namespace to its last cgroup.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::cgroup::Cgroup;
use super::message::{self, Exec, Reply, Request, Setup};
use super::spawn::start_init;
use crate::host::Linux;
use crate::output::Readers;
use crate::sandbox::{Inner, blocking};
use crate::{Command, Error, Exit, INIT_ARGUMENT, Network, Result, Sandbox, Spec, User};

/// Process 1 and the cgroup of a sandbox.
#[derive(Debug)]
pub(crate) struct Cage {
    pidfd: OwnedFd,
    group: Box<dyn Cgroup>,
    destroyed: Mutex<bool>,
    // Keeps the server's part of the cgroup tree until the last sandbox is gone.
    _host: Arc<Linux>,
}

impl Cage {
    pub(crate) fn group(&self) -> &dyn Cgroup {
        self.group.as_ref()
    }

    /// Ends process 1, and with it everything in its pid namespace.
    fn end(&self) {
        let _ = self.thaw();
        // SAFETY: plain numbers; a pidfd never names another process than the one it was made for.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
    }

    fn thaw(&self) -> io::Result<()> {
        let (file, word) = self.group.thaw_file()?;
        nix::unistd::write(&file, word.as_bytes())?;
        Ok(())
    }

    /// Kills everything inside and removes what is left; waits for it. Once is enough, more does no harm.
    pub(crate) fn destroy(&self) -> io::Result<()> {
        let mut destroyed = self
            .destroyed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *destroyed {
            return Ok(());
        }
        self.end();
        while waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED)
            == Err(nix::errno::Errno::EINTR)
        {}
        *destroyed = true;
        self.group.remove()
    }
}

/// Destroys a cage that was let go of, without making the one who let go wait.
#[derive(Debug)]
pub(crate) struct Guard(pub(crate) Arc<Cage>);

impl Drop for Guard {
    fn drop(&mut self) {
        let cage = self.0.clone();
        if *cage
            .destroyed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            return;
        }
        cage.end();
        let rest = cage.clone();
        let work = move || {
            if let Err(error) = rest.destroy() {
                tracing::warn!(%error, "a sandbox could not be removed");
            }
        };
        if std::thread::Builder::new()
            .name("sandbox-end".into())
            .spawn(work)
            .is_err()
        {
            let _ = cage.destroy();
        }
    }
}

/// A prepared sandbox of this backend.
#[derive(Debug)]
pub(crate) struct Starter {
    guard: Guard,
    control: UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
    user: User,
    open_files: Option<u32>,
    own_network: bool,
}

/// Builds namespaces, root and cgroup.
pub(crate) async fn prepare(host: Arc<Linux>, spec: Spec) -> Result<(Starter, Readers)> {
    let (readers, stdout, stderr) =
        Readers::start(&spec.output).map_err(Error::setup("make output pipes"))?;
    let own_network = spec.network == Network::None;
    let user = spec.user;
    let open_files = spec.limits.open_files;
    let work = tokio::task::spawn_blocking(move || build(host, spec, own_network));
    let (guard, control) = work
        .await
        .map_err(io::Error::other)
        .map_err(Error::setup("prepare"))??;
    Ok((
        Starter {
            guard,
            control,
            stdout,
            stderr,
            user,
            open_files,
            own_network,
        },
        readers,
    ))
}

fn build(host: Arc<Linux>, spec: Spec, own_network: bool) -> Result<(Guard, UnixStream)> {
    let group = host
        .tree
        .create(&host.next_name(), &spec.limits)
        .map_err(Error::setup("make the cgroup"))?;
    let (control, theirs) = UnixStream::pair().map_err(Error::setup("make the control socket"))?;
    let (_, pidfd) = match start_init(
        host.program.as_fd(),
        INIT_ARGUMENT,
        theirs.as_fd(),
        own_network,
    ) {
        Ok(started) => started,
        Err(error) => {
            let _ = group.remove();
            return Err(Error::Setup {
                step: "start process 1".into(),
                source: error,
            });
        }
    };
    drop(theirs);
    let guard = Guard(Arc::new(Cage {
        pidfd,
        group,
        destroyed: Mutex::new(false),
        _host: host,
    }));
    let (thaw_file, thaw) = guard
        .0
        .group
        .thaw_file()
        .map_err(Error::setup("open the cgroup"))?;
    let entries = guard
        .0
        .group
        .entries()
        .map_err(Error::setup("open the cgroup"))?;
    let fds: Vec<_> = std::iter::once(&thaw_file)
        .chain(&entries)
        .map(AsRawFd::as_raw_fd)
        .collect();
    let setup = Setup {
        root: spec.root,
        mounts: spec.mounts,
        scratch: spec.scratch,
        files: spec.files,
        hostname: spec.hostname,
        names: spec.names,
        user: spec.user,
        own_network,
        thaw: thaw.to_owned(),
    };
    message::send(&control, &Request::Setup(setup), &fds).map_err(Error::setup("ask process 1"))?;
    match message::receive::<Reply>(&control).map_err(Error::setup("hear process 1"))? {
        Some((Reply::Ready, _)) => Ok((guard, control)),
        Some((Reply::Failed { step, errno }, _)) => Err(Error::Setup {
            step,
            source: io::Error::from_raw_os_error(errno),
        }),
        _ => Err(Error::Setup {
            step: "process 1 ended; does the program call runtime::init_entry first?".into(),
            source: io::Error::from(io::ErrorKind::UnexpectedEof),
        }),
    }
}

impl Starter {
    pub(crate) async fn exec(self, command: Command, readers: Readers) -> Result<Sandbox> {
        let program = command.argv[0].clone();
        let (control, pid, guard) = blocking_start(self, command)
            .await?
            .map_err(|source| Error::Exec { program, source })?;
        let (publish, ended) = watch::channel(None);
        tokio::spawn(watch_exec(control, pid, guard.0.clone(), publish));
        Ok(Sandbox {
            pid: pid.unsigned_abs(),
            ended,
            readers,
            inner: Inner::Linux(guard),
        })
    }

    /// What a zygote's fork needs to become this sandbox's process: process 1, the output, and the cgroups, in this order.
    pub(crate) fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let mut fds = vec![
            self.guard.0.pidfd.try_clone()?,
            self.stdout.try_clone()?,
            self.stderr.try_clone()?,
        ];
        fds.extend(self.guard.0.group.entries()?);
        Ok(fds)
    }

    /// The namespaces a fork has to enter besides the one of processes.
    pub(crate) fn namespaces(&self) -> i32 {
        let network = if self.own_network {
            libc::CLONE_NEWNET
        } else {
            0
        };
        libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | network
    }

    pub(crate) fn user(&self) -> User {
        self.user
    }

    pub(crate) fn open_files(&self) -> Option<u32> {
        self.open_files
    }

    /// The sandbox of a zygote's fork; `status` tells how the fork ends, or nothing when the zygote dies first.
    pub(crate) fn adopted(
        self,
        pid: u32,
        readers: Readers,
        status: impl Future<Output = Option<i32>> + Send + 'static,
    ) -> Result<Sandbox> {
        let (publish, ended) = watch::channel(None);
        self.control
            .set_nonblocking(true)
            .map_err(Error::setup("watch process 1"))?;
        let control = tokio::net::UnixStream::from_std(self.control)
            .map_err(Error::setup("watch process 1"))?;
        let cage = self.guard.0.clone();
        tokio::spawn(async move {
            let exit = tokio::select! {
                status = status => status.map_or_else(Exit::default, Exit::from_status),
                () = lost(control) => Exit::killed(),
            };
            publish_end(&cage, exit, &publish);
        });
        Ok(Sandbox {
            pid,
            ended,
            readers,
            inner: Inner::Linux(self.guard),
        })
    }
}

type Started = (UnixStream, i32, Guard);

async fn blocking_start(starter: Starter, command: Command) -> Result<io::Result<Started>> {
    let work = move || {
        let stdin = match command.stdin {
            Some(stdin) => stdin,
            None => std::fs::File::open("/dev/null")?.into(),
        };
        let fds: Vec<_> = [&stdin, &starter.stdout, &starter.stderr]
            .into_iter()
            .chain(&command.fds)
            .map(AsRawFd::as_raw_fd)
            .collect();
        let workdir = command.workdir.unwrap_or_else(|| "/".into());
        let exec = Exec {
            argv: command.argv,
            env: command.env,
            workdir,
            user: starter.user,
            open_files: starter.open_files,
        };
        message::send(&starter.control, &Request::Exec(exec), &fds)?;
        // A short program may end before the answer about its start is written.
        match message::receive::<Reply>(&starter.control)? {
            Some((Reply::Started { pid }, _)) => Ok(Ok((starter.control, pid, starter.guard))),
            Some((Reply::Failed { errno, .. }, _)) => Ok(Err(io::Error::from_raw_os_error(errno))),
            _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    };
    blocking("start the program", work).await
}

async fn watch_exec(
    control: UnixStream,
    pid: i32,
    cage: Arc<Cage>,
    publish: watch::Sender<Option<Exit>>,
) {
    let exit = match follow(control, pid).await {
        Ok(status) => Exit::from_status(status),
        // Process 1 is gone, so everything was killed.
        Err(_) => Exit::killed(),
    };
    publish_end(&cage, exit, &publish);
}

fn publish_end(cage: &Cage, mut exit: Exit, publish: &watch::Sender<Option<Exit>>) {
    exit.oom_killed = cage.group.stats().is_ok_and(|stats| stats.oom_kills > 0);
    // What the process leaves behind ends with it.
    cage.end();
    publish.send_replace(Some(exit));
}

async fn follow(control: UnixStream, main: i32) -> io::Result<i32> {
    control.set_nonblocking(true)?;
    let mut control = tokio::net::UnixStream::from_std(control)?;
    loop {
        let mut header = [0; 4];
        control.read_exact(&mut header).await?;
        let mut body = vec![0; message::length(header)?];
        control.read_exact(&mut body).await?;
        match serde_json::from_slice(&body)? {
            Reply::Exited { pid, status } if pid == main => return Ok(status),
            _ => {}
        }
    }
}

/// Returns when process 1 is gone.
async fn lost(mut control: tokio::net::UnixStream) {
    let mut buffer = [0; 1024];
    while control.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}
