//! Sandboxes: a confined process with a root, limits, logs and statistics; and what else must be asked of the kernel directly.
//!
//! A [`Host`] is the place sandboxes run on. [`Host::prepare`] builds everything around a process that does not exist yet (namespaces, root,
//! limits, pipes), and [`Prepared`] then receives its process in one of two ways: [`Prepared::exec`] starts a program, [`Zygote::fork`]
//! moves a fork of an already warm process in. Both give a [`Sandbox`].
//!
//! Two backends exist. `linux` confines by namespaces, overlayfs and cgroups and needs root; `process` is a plain child for systems where that
//! is refused. The linux backend starts the current program again as process 1 of each sandbox, so a program that uses it must call
//! [`init_entry`] before anything else in `main`; test binaries use [`init_hook!`] instead.

mod error;
mod host;
mod mapping;
mod output;
mod process;
mod sandbox;
mod spawner;
mod spec;
mod zygote;

#[cfg(target_os = "linux")]
mod linux;

pub use error::{Error, Result};
pub use host::{Backend, BackendChoice, Host, Options};
pub use mapping::{map_file, map_for_writing};
pub use output::{Line, Output, Stream};
pub use sandbox::{Exit, Prepared, Sandbox, Stats};
pub use spec::{Base, Command, File, Limits, Mount, Network, Root, Scratch, Spec, User, Writes};
pub use zygote::Zygote;

/// The argument that makes a program become process 1 of a sandbox.
pub const INIT_ARGUMENT: &str = "__sandbox-init";

/// Becomes process 1 of a sandbox, and never returns, when the program was started for that; otherwise does nothing.
///
/// Call it first in `main`, before threads, logging or argument parsing.
pub fn init_entry() {
    #[cfg(target_os = "linux")]
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == INIT_ARGUMENT)
    {
        linux::init::run();
    }
}

/// Keeps the kernel from backing this process's memory with huge pages, from now on; what the process starts through this crate
/// may have them again.
///
/// The allocator asks for them wherever the system allows it, and a server that idles then holds 2 MiB wherever it has touched
/// a few bytes. Where the kernel refuses, nothing changes.
pub fn small_pages() {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_thp_disable(true).ok();
}

/// Makes a test binary able to be process 1 of a sandbox: place it once at the top level of the test's root file.
///
/// A test harness owns `main`, so the hook runs as a constructor of the binary.
#[macro_export]
macro_rules! init_hook {
    () => {
        #[cfg(target_os = "linux")]
        #[used]
        #[unsafe(link_section = ".init_array")]
        static SANDBOX_INIT_HOOK: extern "C" fn() = {
            extern "C" fn hook() {
                $crate::init_entry();
            }
            hook
        };
    };
}
