//! Processes that are already warm when they are needed.

use crate::{Command, Error, Prepared, Result, Sandbox};

/// An interpreter that has loaded what takes long, and forks.
///
/// It runs as root outside of any sandbox, so it must be trusted code, with one thread. What it has loaded is shared by its forks: it is not charged to their
/// sandboxes, and their address layout is the same. When it dies, its sandboxes are killed. Dropping it ends it.
///
/// The interpreter's side: descriptor 3 is a `SOCK_SEQPACKET` socket whose end of file is the order to end. Once warm, the zygote sends the packet
/// `ready`. A request is a packet of one byte with descriptors: a stream socket for this request, process 1 of the sandbox (a pidfd), standard output, standard
/// error, then the sandbox's cgroup files, then the caller's own. The zygote must
///
/// 1. choose the pid namespace of its next child, `setns(pidfd, CLONE_NEWPID)`, fork, and go back with `setns` on a descriptor of its own `/proc/self/ns/pid`;
/// 2. send the line `{"pid": n}` on the request's socket, or `{"error": text}`, and when it has reaped the child the line `{"status": n}` as of wait(2). It reaps
///    at once: a sandbox can only be removed when its processes have been reaped;
/// 3. in the child: read from the request's socket 4 bytes, the little-endian length of a JSON object, and the object: `cgroups` (how many of the descriptors are
///    cgroup files), `namespaces`, `uid`, `gid`, `seccomp` (8 bytes per instruction, in hexadecimal), `env`, `workdir`, `payload` (the caller's);
/// 4. in the child, in this order: write `0` into each cgroup file, `setns(pidfd, namespaces)`, `setsid`, go to the working directory, make standard
///    output and error the given ones, close everything that is not the program's, drop groups, gid and uid, set `no_new_privs`, install the filter, run.
#[derive(Debug)]
pub struct Zygote {
    #[cfg(target_os = "linux")]
    inner: linux::Warm,
}

impl Zygote {
    pub(crate) async fn start(command: Command) -> Result<Self> {
        #[cfg(target_os = "linux")]
        return Ok(Self {
            inner: linux::Warm::start(command).await?,
        });
        #[cfg(not(target_os = "linux"))]
        {
            let _ = command;
            Err(Error::Unsupported("zygotes need Linux".into()))
        }
    }

    /// Makes a fork of the zygote the process of a prepared sandbox. Of the command, `argv` and `stdin` are not used: what to run is said in `payload`.
    pub async fn fork(
        &self,
        prepared: Prepared,
        command: Command,
        payload: String,
    ) -> Result<Sandbox> {
        #[cfg(target_os = "linux")]
        if let crate::sandbox::PreparedInner::Linux(starter) = prepared.inner {
            return self
                .inner
                .fork(starter, prepared.readers, command, payload)
                .await;
        }
        let _ = (prepared, command, payload);
        Err(Error::Unsupported(
            "only sandboxes of the linux backend take a zygote's fork".into(),
        ))
    }

    /// The process number of the zygote on the host.
    pub fn pid(&self) -> u32 {
        #[cfg(target_os = "linux")]
        return self.inner.pid();
        #[cfg(not(target_os = "linux"))]
        0
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, IoSlice, IoSliceMut, Write};
    use std::os::fd::{AsRawFd, OwnedFd, RawFd};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Stdio};
    use std::sync::Arc;

    use nix::sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
    };
    use serde::{Deserialize, Serialize};
    use tokio::io::{AsyncBufReadExt, BufReader};

    use crate::linux::cage::Starter;
    use crate::output::Readers;
    use crate::sandbox::blocking;
    use crate::{Command, Error, Result, Sandbox, spawner};

    /// Where the zygote finds its socket.
    const SOCKET: RawFd = 3;

    #[derive(Debug)]
    pub(super) struct Warm {
        child: Child,
        socket: Arc<OwnedFd>,
    }

    #[derive(Serialize)]
    struct Fork<'a> {
        cgroups: usize,
        namespaces: i32,
        uid: u32,
        gid: u32,
        open_files: Option<u32>,
        seccomp: String,
        env: &'a [(String, String)],
        workdir: &'a str,
        payload: &'a str,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Answer {
        Pid(u32),
        Status(i32),
        Error(String),
    }

    fn gone() -> Error {
        Error::Zygote("it is gone".into())
    }

    impl Warm {
        pub(super) async fn start(command: Command) -> Result<Self> {
            let Some((program, arguments)) = command.argv.split_first() else {
                return Err(Error::Invalid("no program is named".into()));
            };
            let (ours, theirs) = socketpair(
                AddressFamily::Unix,
                SockType::SeqPacket,
                None,
                SockFlag::SOCK_CLOEXEC,
            )
            .map_err(|error| Error::Setup {
                step: "make the zygote's socket".into(),
                source: error.into(),
            })?;
            let mut child = std::process::Command::new(program);
            child
                .args(arguments)
                .env_clear()
                .envs(command.env)
                .stdin(Stdio::null());
            child.current_dir(command.workdir.unwrap_or_else(|| "/".into()));
            // SAFETY: between fork and exec only system calls are made, on a descriptor that is open.
            unsafe {
                child.pre_exec(move || {
                    if theirs.as_raw_fd() == SOCKET {
                        libc::fcntl(SOCKET, libc::F_SETFD, 0);
                    } else if libc::dup2(theirs.as_raw_fd(), SOCKET) < 0 {
                        return Err(io::Error::last_os_error());
                    }
                    libc::setsid();
                    Ok(())
                });
            }
            let name = program.clone();
            let spawned = blocking("start the zygote", move || Ok(spawner::spawn(child))).await?;
            let warm = Self {
                child: spawned.map_err(|source| Error::Exec {
                    program: name,
                    source,
                })?,
                socket: Arc::new(ours),
            };
            let socket = warm.socket.clone();
            let ready = blocking("warm the zygote", move || {
                let mut word = [0; 16];
                let mut slices = [IoSliceMut::new(&mut word)];
                let count =
                    recvmsg::<()>(socket.as_raw_fd(), &mut slices, None, MsgFlags::empty())?.bytes;
                Ok(word[..count] == *b"ready")
            });
            if ready.await? {
                Ok(warm)
            } else {
                Err(Error::Zygote("it ended before it was warm".into()))
            }
        }

        pub(super) fn pid(&self) -> u32 {
            self.child.id()
        }

        pub(super) async fn fork(
            &self,
            starter: Starter,
            readers: Readers,
            command: Command,
            payload: String,
        ) -> Result<Sandbox> {
            let user = starter.user();
            if user.uid == 0 {
                return Err(Error::Unsupported(
                    "a zygote's fork cannot run as root".into(),
                ));
            }
            let workdir = command.workdir.unwrap_or_else(|| "/".into());
            let socket = self.socket.clone();
            let (starter, stream) = blocking("ask the zygote", move || {
                let (ours, theirs) = UnixStream::pair()?;
                let own = starter.descriptors()?;
                let fork = Fork {
                    cgroups: own.len() - 3,
                    namespaces: starter.namespaces(),
                    uid: user.uid,
                    gid: user.gid,
                    open_files: starter.open_files(),
                    seccomp: crate::linux::seccomp_hex(),
                    env: &command.env,
                    workdir: workdir.to_str().unwrap_or("/"),
                    payload: &payload,
                };
                let fds: Vec<RawFd> = std::iter::once(theirs.as_raw_fd())
                    .chain(own.iter().chain(&command.fds).map(AsRawFd::as_raw_fd))
                    .collect();
                let control = [ControlMessage::ScmRights(&fds)];
                sendmsg::<()>(
                    socket.as_raw_fd(),
                    &[IoSlice::new(b"f")],
                    &control,
                    MsgFlags::MSG_NOSIGNAL,
                    None,
                )?;
                drop(theirs);
                (&ours).write_all(&crate::linux::encode(&fork)?)?;
                ours.set_nonblocking(true)?;
                Ok((starter, ours))
            })
            .await?;
            let stream = tokio::net::UnixStream::from_std(stream)
                .map_err(Error::setup("hear the zygote"))?;
            let mut answers = BufReader::new(stream).lines();
            let first = answers.next_line().await.ok().flatten().ok_or_else(gone)?;
            match serde_json::from_str(&first) {
                Ok(Answer::Pid(pid)) => starter.adopted(pid, readers, async move {
                    match serde_json::from_str(&answers.next_line().await.ok()??) {
                        Ok(Answer::Status(status)) => Some(status),
                        _ => None,
                    }
                }),
                Ok(Answer::Error(text)) => Err(Error::Zygote(text)),
                _ => Err(Error::Zygote(format!("it answered {first:?}"))),
            }
        }
    }

    impl Drop for Warm {
        fn drop(&mut self) {
            // A killed process is gone at once; waiting only takes its entry from the table.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
