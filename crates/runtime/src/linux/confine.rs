//! Takes a process's rights away, just before it becomes the workload.

use std::io;

use crate::User;
use crate::linux::seccomp;

/// What a root workload keeps: the set containers usually have.
const KEPT: &[u32] = &[
    0,  // CAP_CHOWN
    1,  // CAP_DAC_OVERRIDE
    3,  // CAP_FOWNER
    4,  // CAP_FSETID
    5,  // CAP_KILL
    6,  // CAP_SETGID
    7,  // CAP_SETUID
    8,  // CAP_SETPCAP
    10, // CAP_NET_BIND_SERVICE
    13, // CAP_NET_RAW
    18, // CAP_SYS_CHROOT
    29, // CAP_AUDIT_WRITE
    31, // CAP_SETFCAP
];

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the calling, single-threaded process the given user without the rights to reach out of its sandbox.
pub(crate) fn confine(user: User) -> io::Result<()> {
    for capability in (0..64).filter(|capability| user.uid != 0 || !KEPT.contains(capability)) {
        // SAFETY: prctl with plain numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) } != 0
        {
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EINVAL) {
                break; // Beyond the kernel's last capability.
            }
            return Err(error);
        }
    }
    // SAFETY: an empty list is never read.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: plain numbers.
    check(unsafe { libc::setresgid(user.gid, user.gid, user.gid) })?;
    let filter = seccomp::program();
    if user.uid == 0 {
        // `no_new_privs` would break sudo and su inside, so the filter goes in while the right to do so is still there.
        seccomp::install(&filter)?;
        keep_only(KEPT)
    } else {
        // SAFETY: plain numbers.
        check(unsafe { libc::setresuid(user.uid, user.uid, user.uid) })?;
        // SAFETY: prctl with plain numbers.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as libc::c_ulong, 0, 0, 0) })?;
        seccomp::install(&filter)
    }
}

fn keep_only(capabilities: &[u32]) -> io::Result<()> {
    let set = capabilities.iter().fold(0_u64, |set, bit| set | 1 << bit);
    let header: [u32; 2] = [0x2008_0522, 0];
    let (low, high) = (set as u32, (set >> 32) as u32);
    let data: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: header and data have the layout of version 3 of capset and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    check(result as libc::c_int)
}
