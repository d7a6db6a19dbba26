//! Builds a sandbox's root in the mount namespace of its process 1, and moves into it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, pivot_root};

use super::message::Setup;
use super::skeleton::Skeleton;
use crate::{Base, Writes};

/// Where the parts are put together: a directory every system has and no mount of a sandbox comes from.
const WORKSHOP: &str = "/sys";

/// The host's system directories.
const SYSTEM: &[&str] = &[
    "bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc",
];

/// Directories a root has although the host's content of them is hidden.
const EMPTY: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o755),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// Secrets of the host that a root workload inside could otherwise read.
const SECRETS: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/krb5.keytab",
    "/etc/letsencrypt",
    "/etc/wireguard",
    "/etc/kubernetes",
    "/etc/docker",
    "/etc/NetworkManager/system-connections",
    "/etc/machine-id",
];

/// Files of `/proc` by which a root workload could change the host.
const PROC_READ_ONLY: &[&str] = &[
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
];

/// A step that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) step: String,
    pub(super) errno: i32,
}

trait Step<T> {
    fn step(self, name: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, name: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            step: name(),
            errno: error.into().raw_os_error().unwrap_or(libc::EIO),
        })
    }
}

/// Builds the root and makes it the calling process's.
pub(super) fn enter(setup: &Setup) -> Result<(), Failure> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .step(|| "keep mounts private".into())?;
    let sources = Sources::collect(setup)?;
    let space = match setup.root.writes {
        Writes::Memory { bytes } => bytes,
        _ => 16 << 20,
    };
    let options = format!("mode=0755,size={space}");
    mount(
        Some("tmpfs"),
        WORKSHOP,
        Some("tmpfs"),
        MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .step(|| "mount the workshop".into())?;
    // Everything is named from here, so that no path of the caller's ends up in overlayfs's option string.
    chdir(WORKSHOP).step(|| "enter the workshop".into())?;
    overlay(setup, &sources)?;
    chdir("root").step(|| "enter the new root".into())?;
    pivot_root(".", ".").step(|| "pivot_root".into())?;
    umount2(".", MntFlags::MNT_DETACH).step(|| "leave the old root".into())?;
    chdir("/").step(|| "enter the new root".into())?;
    // From here on paths resolve inside the new root, whatever links an image may contain.
    furnish(setup)?;
    sources.place()
}

/// What is mounted from the host: taken hold of while the host's tree can still be seen, put in place once the new root is.
struct Sources {
    mounts: Vec<(OwnedFd, PathBuf, bool)>,
}

impl Sources {
    fn collect(setup: &Setup) -> Result<Self, Failure> {
        let mut mounts = Vec::new();
        if let Base::Host { exposed, .. } = &setup.root.base {
            for path in host_mounts(exposed) {
                // A mount that is just going away, or a dead network mount, must not keep sandboxes from starting.
                if let Ok(tree) = tree(&path, true) {
                    let directory = path.is_dir();
                    mounts.push((tree, path, directory));
                }
            }
        }
        for wanted in &setup.mounts {
            let tree = tree(&wanted.source, wanted.read_only)
                .step(|| format!("mount {}", wanted.source.display()))?;
            mounts.push((tree, wanted.target.clone(), wanted.source.is_dir()));
        }
        Ok(Self { mounts })
    }

    fn place(self) -> Result<(), Failure> {
        for (tree, target, directory) in self.mounts {
            if directory && !target.exists() {
                std::fs::create_dir_all(&target).step(|| format!("make {}", target.display()))?;
            }
            move_mount(&tree, &target).step(|| format!("mount on {}", target.display()))?;
        }
        Ok(())
    }
}

/// File systems of the host mounted at or below its visible directories; an overlay shows only the root's own file system.
fn host_mounts(exposed: &[PathBuf]) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let visible: Vec<PathBuf> = SYSTEM
        .iter()
        .map(|name| Path::new("/").join(name))
        .chain(exposed.iter().cloned())
        .collect();
    let mut found: Vec<PathBuf> = Vec::new();
    for path in table.lines().filter_map(|line| line.split(' ').nth(4)) {
        let path = PathBuf::from(path.replace("\\040", " "));
        let generated = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]
            .iter()
            .any(|file| path == Path::new(file));
        let nested = found.iter().any(|above| path.starts_with(above));
        if !generated && !nested && visible.iter().any(|above| path.starts_with(above)) {
            found.push(path);
        }
    }
    found
}

fn overlay(setup: &Setup, sources: &Sources) -> Result<(), Failure> {
    for name in ["layer", "root", "upper", "work"] {
        std::fs::create_dir(name).step(|| format!("make {name}"))?;
    }
    let lowers = match &setup.root.base {
        Base::Host { .. } => vec![PathBuf::from("/")],
        Base::Layers(layers) => layers.clone(),
    };
    skeleton(setup, sources, &lowers).step(|| "make the hiding layer".into())?;
    let mut options = String::from("lowerdir=layer");
    for (index, lower) in lowers.iter().enumerate() {
        let name = format!("lower{index}");
        std::os::unix::fs::symlink(lower, &name).step(|| "name a layer".into())?;
        options.push(':');
        options.push_str(&name);
    }
    match &setup.root.writes {
        Writes::Refused => {}
        Writes::Memory { .. } => options.push_str(",upperdir=upper,workdir=work"),
        Writes::Directory(directory) => {
            for name in ["upper", "work"] {
                let kept = directory.join(name);
                std::fs::create_dir_all(&kept).step(|| format!("make {}", kept.display()))?;
                std::os::unix::fs::symlink(&kept, format!("kept-{name}"))
                    .step(|| "name the upper layer".into())?;
            }
            options.push_str(",upperdir=kept-upper,workdir=kept-work");
        }
    }
    mount(
        Some("overlay"),
        "root",
        Some("overlay"),
        MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .step(|| "mount the root".into())
}

fn skeleton(setup: &Setup, sources: &Sources, lowers: &[PathBuf]) -> io::Result<()> {
    let layer = Path::new(WORKSHOP).join("layer");
    let mut skeleton = Skeleton::new(layer, lowers.to_vec());
    if let Base::Host { exposed, masked } = &setup.root.base {
        let shown = |name: &Path| {
            SYSTEM.iter().any(|system| name == Path::new(system))
                || exposed
                    .iter()
                    .any(|path| path == &Path::new("/").join(name))
        };
        for entry in std::fs::read_dir("/")? {
            let name = PathBuf::from(entry?.file_name());
            if !shown(&name) && !EMPTY.iter().any(|(empty, _)| name == Path::new(empty)) {
                skeleton.hide(&name)?;
            }
        }
        for (name, mode) in EMPTY.iter().filter(|(name, _)| !shown(Path::new(name))) {
            skeleton.empty(Path::new(name), *mode)?;
        }
        for name in ["cache", "lib", "log", "run"] {
            skeleton.directory(&Path::new("/var").join(name))?;
        }
        skeleton.empty(Path::new("/var/tmp"), 0o1777)?;
        for path in SECRETS
            .iter()
            .map(Path::new)
            .chain(masked.iter().map(PathBuf::as_path))
        {
            skeleton.hide(path)?;
        }
    }
    for name in ["dev", "proc", "sys"] {
        skeleton.directory(Path::new(name))?;
    }
    network_files(&mut skeleton, setup.hostname.as_deref(), &setup.names)?;
    for file in &setup.files {
        skeleton.file(&file.target, Some(&file.content))?;
    }
    for scratch in &setup.scratch {
        // `/dev` is mounted over and gets its directories later.
        if !scratch.target.starts_with("/dev") {
            skeleton.directory(&scratch.target)?;
        }
    }
    for (_, target, directory) in &sources.mounts {
        // Below another mount the place must be there already: what is mounted is not ours to change.
        let nested = sources
            .mounts
            .iter()
            .any(|(_, above, _)| above != target && target.starts_with(above));
        if nested {
            continue;
        }
        if *directory {
            skeleton.directory(target).map(drop)?
        } else {
            skeleton.file(target, None)?
        }
    }
    Ok(())
}

/// Names must resolve inside as they do outside, also where the host's files are links into hidden directories.
fn network_files(
    skeleton: &mut Skeleton,
    hostname: Option<&str>,
    names: &[String],
) -> io::Result<()> {
    if let Ok(resolver) = std::fs::read("/etc/resolv.conf") {
        skeleton.file(Path::new("/etc/resolv.conf"), Some(&resolver))?;
    }
    let mut hosts = std::fs::read("/etc/hosts")
        .unwrap_or_else(|_| b"127.0.0.1 localhost\n::1 localhost\n".to_vec());
    if let Some(hostname) = hostname {
        hosts.extend_from_slice(format!("\n127.0.0.1 {hostname}\n").as_bytes());
        skeleton.file(
            Path::new("/etc/hostname"),
            Some(format!("{hostname}\n").as_bytes()),
        )?;
    }
    for name in names {
        hosts.extend_from_slice(format!("\n127.0.0.1 {name}\n").as_bytes());
    }
    skeleton.file(Path::new("/etc/hosts"), Some(&hosts))
}

/// Mounts what every root has: `/proc`, a small `/dev`, and the scratch directories.
fn furnish(setup: &Setup) -> Result<(), Failure> {
    let none: Option<&str> = None;
    let still = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        still | MsFlags::MS_NOEXEC,
        none,
    )
    .step(|| "mount /proc".into())?;
    if setup.user.uid == 0 {
        for path in PROC_READ_ONLY
            .iter()
            .map(Path::new)
            .filter(|path| path.exists())
        {
            tree(path, true)
                .and_then(|tree| move_mount(&tree, path))
                .step(|| format!("protect {}", path.display()))?;
        }
    }
    mount(
        Some("tmpfs"),
        "/dev",
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=0755,size=64k"),
    )
    .step(|| "mount /dev".into())?;
    for (name, minor) in [
        ("null", 3),
        ("zero", 5),
        ("full", 7),
        ("random", 8),
        ("urandom", 9),
    ] {
        let path = Path::new("/dev").join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(1, minor))
            .step(|| format!("make {}", path.display()))?;
        chmod(&path, 0o666)?;
    }
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    for (target, link) in links {
        std::os::unix::fs::symlink(target, link).step(|| format!("make {link}"))?;
    }
    for scratch in &setup.scratch {
        if !scratch.target.exists() {
            std::fs::create_dir_all(&scratch.target)
                .step(|| format!("make {}", scratch.target.display()))?;
        }
        let options = format!("mode=1777,size={}", scratch.bytes);
        mount(
            Some("tmpfs"),
            &scratch.target,
            Some("tmpfs"),
            still,
            Some(options.as_str()),
        )
        .step(|| format!("mount {}", scratch.target.display()))?;
    }
    Ok(())
}

fn chmod(path: &Path, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .step(|| format!("open {}", path.display()))
}

/// A copy of the mounts at a path, attached nowhere yet.
fn tree(path: &Path, read_only: bool) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let flags =
        libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: the path ends with a zero; the result is a fresh descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, name.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fresh, known to nobody else.
    let tree = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: a record of integers, for which zero is "leave as it is".
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if read_only {
        attributes.attr_set |= libc::MOUNT_ATTR_RDONLY;
    }
    // SAFETY: the record lives across the call and its true size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(tree)
    }
}

fn move_mount(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: both paths end with a zero; the descriptor is open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
