//! Process 1 of a sandbox: builds the root, starts the program, reaps, and ends with the server.
//!
//! It stays outside the sandbox's cgroups: it is not frozen, so it can thaw the sandbox and end it when the server dies, and neither its
//! memory nor its end counts as the workload's. When it ends, the kernel kills everything in its pid namespace.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, fork};

use super::confine::confine;
use super::message::{self, Exec, Reply, Request, Setup};
use super::root;
use super::spawn::CONTROL;
use crate::process;

/// Above every number a program's own descriptors are put at.
const HIGH: RawFd = 128;

/// Runs process 1 until the server lets go of it.
pub(crate) fn run() -> ! {
    let code = match serve() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("sandbox: {error}");
            1
        }
    };
    std::process::exit(code)
}

#[derive(Default)]
struct Init {
    thaw: Option<(OwnedFd, String)>,
    tasks: Vec<OwnedFd>,
}

fn serve() -> io::Result<()> {
    // SAFETY: the server has put the control socket there; a hand-made start fails at the first read.
    let control = unsafe { UnixStream::from_raw_fd(CONTROL) };
    nix::fcntl::fcntl(
        &control,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    // The server started us with every signal blocked.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&children), None)?;
    let ended = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    // SAFETY: plain numbers. Nobody inside may look into this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0 as libc::c_ulong, 0, 0, 0) };
    // What is kept from the server (see `small_pages`) is not kept from what runs here.
    nix::sys::prctl::set_thp_disable(false).ok();
    nix::unistd::setsid().ok();
    let mut init = Init::default();
    let result = init.listen(&control, &ended);
    if let Some((file, word)) = &init.thaw {
        // A frozen process cannot be killed, and nobody else is left to thaw it.
        let _ = std::fs::File::from(file.try_clone()?).write_all(word.as_bytes());
    }
    result
}

impl Init {
    fn listen(&mut self, control: &UnixStream, ended: &SignalFd) -> io::Result<()> {
        loop {
            let mut waits = [
                PollFd::new(control.as_fd(), PollFlags::POLLIN),
                PollFd::new(ended.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut waits, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [asked, reap] =
                waits.map(|wait| wait.revents().is_some_and(|events| !events.is_empty()));
            if reap {
                while ended.read_signal()?.is_some() {}
                report_ended(control)?;
            }
            if asked {
                let Some((request, fds)) = message::receive::<Request>(control)? else {
                    return Ok(());
                };
                let reply = match request {
                    Request::Setup(setup) => self.set_up(&setup, fds),
                    Request::Exec(exec) => self.exec(&exec, &fds),
                };
                message::send(control, &reply, &[])?;
            }
        }
    }

    fn set_up(&mut self, setup: &Setup, fds: Vec<OwnedFd>) -> Reply {
        let mut fds = fds.into_iter();
        self.thaw = fds.next().map(|file| (file, setup.thaw.clone()));
        self.tasks = fds.collect();
        if let Err(failure) = root::enter(setup) {
            return Reply::Failed {
                step: failure.step,
                errno: failure.errno,
            };
        }
        if let Some(hostname) = &setup.hostname
            && let Err(error) = nix::unistd::sethostname(hostname)
        {
            return Reply::Failed {
                step: "set the host name".into(),
                errno: error as i32,
            };
        }
        if setup.own_network
            && let Err(error) = loopback_up()
        {
            return failed("bring loopback up", &error);
        }
        Reply::Ready
    }

    fn exec(&self, exec: &Exec, fds: &[OwnedFd]) -> Reply {
        let (mut failure, report) = match report_pipe() {
            Ok(pipe) => pipe,
            Err(error) => return failed("make a pipe", &error),
        };
        // SAFETY: this process has one thread, so the child may do everything the parent may.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                let error = match self.become_program(exec, fds) {
                    Ok(never) => match never {},
                    Err(error) => error,
                };
                let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                let mut report = std::fs::File::from(report);
                let _ = report.write_all(&errno.to_ne_bytes());
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(127) }
            }
            Ok(ForkResult::Parent { child }) => {
                drop(report);
                let mut errno = [0; 4];
                match failure.read_exact(&mut errno) {
                    Ok(()) => Reply::Failed {
                        step: String::new(),
                        errno: i32::from_ne_bytes(errno),
                    },
                    // The pipe closed by the exec.
                    Err(_) => Reply::Started {
                        pid: child.as_raw(),
                    },
                }
            }
            Err(error) => failed("fork", &error.into()),
        }
    }

    fn become_program(&self, exec: &Exec, fds: &[OwnedFd]) -> io::Result<std::convert::Infallible> {
        nix::unistd::setsid()?;
        for task in &self.tasks {
            // "0" means the caller, and for a lone thread spares the kernel a wait of milliseconds.
            nix::unistd::write(task, b"0")?;
        }
        std::env::set_current_dir(&exec.workdir)?;
        let argv = strings(exec.argv.iter().cloned())?;
        let env = strings(
            exec.env
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        )?;
        let path = exec
            .env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map_or("/usr/bin:/bin", |(_, value)| value.as_str());
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        for signal in Signal::iterator() {
            let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
            // SAFETY: the default action runs no code of ours. KILL and STOP refuse, which is fine.
            let _ = unsafe { sigaction(signal, &default) };
        }
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        arrange(fds)?;
        process::limit_open_files(exec.open_files)?;
        confine(exec.user)?;
        let mut last = Errno::ENOENT;
        for program in candidates(&exec.argv[0], path) {
            let program = CString::new(program)?;
            let Err(errno) = nix::unistd::execve(&program, &argv, &env);
            match errno {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // Another directory may have one that may be executed, but this is the better answer if not.
                Errno::EACCES => last = errno,
                errno => return Err(errno.into()),
            }
        }
        Err(last.into())
    }
}

/// A pipe that tells why an exec failed, its writing end out of the way of the program's descriptors.
fn report_pipe() -> io::Result<(io::PipeReader, OwnedFd)> {
    let (read, write) = io::pipe()?;
    let high = nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(HIGH))?;
    // SAFETY: fresh, known to nobody else.
    Ok((read, unsafe { OwnedFd::from_raw_fd(high) }))
}

/// Puts the given descriptors at 0, 1, 2, ... for the program; everything else closes on exec.
fn arrange(fds: &[OwnedFd]) -> io::Result<()> {
    // Out of the way first: one of them may sit on the number of another.
    let clear = |fd: RawFd| {
        // SAFETY: duplicates an open descriptor to a number at or above the given one.
        let high = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, HIGH) };
        if high < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(high)
        }
    };
    let high = fds
        .iter()
        .map(|fd| clear(fd.as_raw_fd()))
        .collect::<io::Result<Vec<_>>>()?;
    for (number, fd) in high.into_iter().enumerate() {
        // SAFETY: the target numbers belong to descriptors this process no longer needs: it ends or execs next.
        if unsafe { libc::dup2(fd, number as RawFd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    path.split(':')
        .filter_map(|directory| {
            Path::new(directory)
                .join(program)
                .to_str()
                .map(str::to_owned)
        })
        .collect()
}

fn strings(items: impl Iterator<Item = String>) -> io::Result<Vec<CString>> {
    items
        .map(|item| CString::new(item).map_err(io::Error::from))
        .collect()
}

fn failed(step: &str, error: &io::Error) -> Reply {
    Reply::Failed {
        step: step.into(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// Reaps everyone who has ended, orphans of the sandbox included.
fn report_ended(control: &UnixStream) -> io::Result<()> {
    loop {
        let mut status = 0;
        // SAFETY: the status is written into a live variable.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return Ok(());
        }
        message::send(control, &Reply::Exited { pid, status }, &[])?;
    }
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: a fresh socket and a zeroed record with the interface's name; the kernel only reads it.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        if libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        ) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
