//! Starts process 1 of a sandbox.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

/// The descriptor on which process 1 finds the server.
pub(crate) const CONTROL: RawFd = 3;

const STACK: usize = 128 * 1024;

struct Start {
    program: RawFd,
    control: RawFd,
    argv: [*const libc::c_char; 3],
    envp: [*const libc::c_char; 1],
    errno: i32,
}

/// Runs in the server's memory until the exec, so: system calls only.
extern "C" fn begin(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the server waits (CLONE_VFORK) with the record alive and untouched until this process has exec'ed or ended.
    let start = unsafe { &mut *start.cast::<Start>() };
    // SAFETY: plain system calls on descriptors of this process's own table and on pointers the record keeps alive.
    unsafe {
        if libc::dup2(start.control, CONTROL) >= 0 {
            libc::syscall(
                libc::SYS_execveat,
                start.program,
                c"".as_ptr(),
                start.argv.as_ptr(),
                start.envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        start.errno = *libc::__errno_location();
        libc::_exit(127)
    }
}

/// Starts `program` with `argument` as process 1 of new namespaces. It is a child of the server: whoever holds the answer must reap it.
pub(crate) fn start_init(
    program: BorrowedFd<'_>,
    argument: &str,
    control: BorrowedFd<'_>,
    own_network: bool,
) -> io::Result<(libc::pid_t, OwnedFd)> {
    let name: &CStr = c"sandbox";
    let argument = CString::new(argument)?;
    // Both must survive the dup2 onto CONTROL.
    // SAFETY: fresh descriptors, known to nobody else.
    let (program, control) = unsafe {
        (
            OwnedFd::from_raw_fd(fcntl(program, FcntlArg::F_DUPFD_CLOEXEC(CONTROL + 1))?),
            OwnedFd::from_raw_fd(fcntl(control, FcntlArg::F_DUPFD_CLOEXEC(CONTROL + 1))?),
        )
    };
    let mut start = Start {
        program: program.as_raw_fd(),
        control: control.as_raw_fd(),
        argv: [name.as_ptr(), argument.as_ptr(), std::ptr::null()],
        envp: [std::ptr::null()],
        errno: 0,
    };
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let mut flags = libc::CLONE_VM
        | libc::CLONE_VFORK
        | libc::CLONE_PIDFD
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::SIGCHLD;
    if own_network {
        flags |= libc::CLONE_NEWNET;
    }
    let mut pidfd: RawFd = -1;
    let mut before = SigSet::empty();
    // No handler of the server may run in the child while it shares our memory.
    pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    // SAFETY: the child runs on its own stack, whose top (stacks grow down) is aligned to 16 bytes; this thread is stopped until the child has
    // exec'ed, so stack and record outlive their use; the pidfd is written into a live variable.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        libc::clone(
            begin,
            top.cast(),
            flags,
            (&raw mut start).cast(),
            &raw mut pidfd,
        )
    };
    let error = io::Error::last_os_error();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    if pid < 0 {
        return Err(error);
    }
    // SAFETY: the kernel has just made it for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if start.errno != 0 {
        let mut status = 0;
        // SAFETY: reaps the child that has failed to exec.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        return Err(io::Error::from_raw_os_error(start.errno));
    }
    Ok((pid, pidfd))
}
