//! Starts ordinary children of the server.

use std::io;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};

type Job = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Starts a child that the kernel kills when the server ends, where the kernel can.
///
/// One thread that lives as long as the server starts all of them: the parent-death signal fires when the starting *thread* ends, and
/// a worker thread of an async runtime may end at any time.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    set_child_up(&mut command);
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        let started = std::thread::Builder::new()
            .name("sandbox-spawner".into())
            .spawn(move || {
                for (mut command, answer) in queue {
                    let _ = answer.send(command.spawn());
                }
            });
        if let Err(error) = started {
            tracing::error!(%error, "no thread to start processes from");
        }
        jobs
    });
    let (answer, wait) = mpsc::sync_channel(1);
    let gone = || io::Error::other("no thread to start processes from");
    spawner.send((command, answer)).map_err(|_| gone())?;
    wait.recv().map_err(|_| gone())?
}

/// What the child does for itself before its program starts.
#[cfg(target_os = "linux")]
fn set_child_up(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: prctl is a bare system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            // See `small_pages`: only the server goes without.
            nix::sys::prctl::set_thp_disable(false).ok();
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn set_child_up(_: &mut Command) {}
