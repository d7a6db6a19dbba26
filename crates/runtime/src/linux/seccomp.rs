//! The system calls a sandbox may not make, as a filter program for the kernel.
//!
//! Everything else is allowed: the namespaces and the missing capabilities do the confining, this takes away what has the most
//! history of kernel faults, and user namespaces, which would hand the capabilities back.

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<u32> = None;

/// Calls answered with "operation not permitted".
const REFUSED: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_open_by_handle_at,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
];

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// The filter, or nothing on a processor whose calls are not listed here.
pub(crate) fn program() -> Vec<libc::sock_filter> {
    let Some(architecture) = ARCHITECTURE else {
        return Vec::new();
    };
    let refuse = step(RETURN, 0, 0, ERRNO | libc::EPERM as u32);
    let absent = step(RETURN, 0, 0, ERRNO | libc::ENOSYS as u32);
    let spaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let mut program = vec![
        // A call by another architecture's numbers would slip past the list.
        step(LOAD, 0, 0, 4),
        step(JUMP_EQUAL, 1, 0, architecture),
        absent,
        step(LOAD, 0, 0, 0),
        // So would the x32 numbers.
        step(JUMP_AT_LEAST, 0, 1, 0x4000_0000),
        absent,
        // The flags of clone3 lie in memory, where a filter cannot look; the C library falls back to clone.
        step(JUMP_EQUAL, 0, 1, libc::SYS_clone3 as u32),
        absent,
    ];
    for call in REFUSED {
        program.push(step(JUMP_EQUAL, 0, 1, *call as u32));
        program.push(refuse);
    }
    program.extend([
        step(JUMP_EQUAL, 0, 3, libc::SYS_clone as u32),
        // The low half of the first argument: the flags.
        step(LOAD, 0, 0, 16),
        step(JUMP_ANY_BIT, 0, 1, spaces as u32),
        refuse,
        step(RETURN, 0, 0, ALLOW),
    ]);
    program
}

/// Puts the filter on the calling process, which needs `no_new_privs` or CAP_SYS_ADMIN.
pub(crate) fn install(program: &[libc::sock_filter]) -> std::io::Result<()> {
    if program.is_empty() {
        return Ok(());
    }
    let header = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which lives across the call and is not written to.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const header,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
