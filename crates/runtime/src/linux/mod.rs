//! The linux backend: namespaces, overlayfs, cgroups, seccomp. Needs root and a kernel of 5.12 or newer.

pub(crate) mod cage;
pub(crate) mod cgroup;
mod confine;
pub(crate) mod init;
mod message;
mod root;
mod seccomp;
mod skeleton;
mod spawn;

pub(crate) use message::encode;

/// The filter of system calls as a zygote receives it.
pub(crate) fn seccomp_hex() -> String {
    let instructions = seccomp::program();
    let bytes = instructions.iter().flat_map(|step| {
        let [a, b] = step.code.to_ne_bytes();
        let [e, f, g, h] = step.k.to_ne_bytes();
        [a, b, step.jt, step.jf, e, f, g, h]
    });
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
