//! The top layer under a sandbox's root: hides what must not be seen, and holds every place something is mounted on.
//!
//! It is built anew on a tmpfs for each sandbox, inside its mount namespace, so nothing of it outlives the sandbox.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};

/// Symbolic links followed in one path before it counts as a loop.
const MOST_LINKS: usize = 40;

pub(super) struct Skeleton {
    layer: PathBuf,
    lowers: Vec<PathBuf>,
    /// Directories of the layer that hide what lies below them.
    opaque: BTreeSet<PathBuf>,
}

impl Skeleton {
    pub(super) fn new(layer: PathBuf, lowers: Vec<PathBuf>) -> Self {
        Self {
            layer,
            lowers,
            opaque: BTreeSet::new(),
        }
    }

    /// Makes the path not exist inside, when the layers below have it.
    pub(super) fn hide(&mut self, path: &Path) -> io::Result<()> {
        let Some(below) = self.below(&relative(path)) else {
            return Ok(());
        };
        let is_done = self.layer.join(&below).symlink_metadata().is_ok();
        if is_done || below.ancestors().any(|above| self.is_hidden(above)) {
            return Ok(());
        }
        if let Some(parent) = below.parent() {
            self.directory(parent)?;
        }
        mknod(&self.layer.join(&below), SFlag::S_IFCHR, Mode::empty(), 0)?;
        Ok(())
    }

    /// Makes an empty directory that hides the one below it.
    pub(super) fn empty(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        let path = self.directory(path)?;
        let full = self.layer.join(&path);
        std::fs::set_permissions(&full, std::fs::Permissions::from_mode(mode))?;
        std::os::unix::fs::chown(&full, Some(0), Some(0))?;
        self.cover(path)
    }

    /// Lets a directory of the layer hide what lies below it.
    fn cover(&mut self, path: PathBuf) -> io::Result<()> {
        let full = self.layer.join(&path);
        let name = CString::new(full.as_os_str().as_bytes())?;
        // SAFETY: both strings end with a zero and the value is one byte long.
        let result = unsafe {
            libc::lsetxattr(
                name.as_ptr(),
                c"trusted.overlay.opaque".as_ptr(),
                c"y".as_ptr().cast(),
                1,
                0,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        self.opaque.insert(path);
        Ok(())
    }

    /// Makes a file, or an empty one to mount on.
    pub(super) fn file(&mut self, path: &Path, content: Option<&[u8]>) -> io::Result<()> {
        let path = relative(path);
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        let Some(name) = path.file_name() else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let path = parent.join(name);
        let full = self.layer.join(&path);
        match content {
            Some(content) => {
                std::fs::write(&full, content)?;
                std::fs::set_permissions(full, std::fs::Permissions::from_mode(0o644))
            }
            None if self.below(&path).is_some() || full.symlink_metadata().is_ok() => Ok(()),
            None => std::fs::write(full, b""),
        }
    }

    /// Makes sure a directory exists inside; answers where it really is, symbolic links of the layers below followed.
    pub(super) fn directory(&mut self, path: &Path) -> io::Result<PathBuf> {
        let mut todo: Vec<OsString> = parts(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&part);
            if self.layer.join(&next).is_dir() {
                done = next;
                continue;
            }
            let mut builder = std::fs::DirBuilder::new();
            // What was hidden is made anew, with nothing in it but what is asked for.
            if self.is_hidden(&next) {
                std::fs::remove_file(self.layer.join(&next))?;
                builder.mode(0o755).create(self.layer.join(&next))?;
                self.cover(next.clone())?;
                done = next;
                continue;
            }
            match self.below(&next) {
                Some(below) => {
                    let found = self.source(&below)?;
                    let meta = found.symlink_metadata()?;
                    if meta.is_symlink() {
                        links += 1;
                        if links > MOST_LINKS {
                            return Err(io::Error::from_raw_os_error(libc::ELOOP));
                        }
                        let target = std::fs::read_link(&found)?;
                        if target.is_absolute() {
                            done = PathBuf::new();
                        }
                        todo.extend(parts(&target));
                        continue;
                    }
                    // The merged directory shows the top layer's owner and mode.
                    let full = self.layer.join(&next);
                    builder.create(&full)?;
                    std::os::unix::fs::chown(&full, Some(meta.uid()), Some(meta.gid()))?;
                    std::fs::set_permissions(
                        &full,
                        std::fs::Permissions::from_mode(meta.mode() & 0o7777),
                    )?;
                }
                None => builder.mode(0o755).create(self.layer.join(&next))?,
            }
            done = next;
        }
        Ok(done)
    }

    /// Whether the layer makes a path not exist.
    fn is_hidden(&self, path: &Path) -> bool {
        let meta = self.layer.join(path).symlink_metadata();
        meta.is_ok_and(|meta| meta.file_type().is_char_device())
    }

    /// The same path, when a layer below shows it.
    fn below(&self, path: &Path) -> Option<PathBuf> {
        if path.ancestors().any(|above| self.opaque.contains(above)) {
            return None;
        }
        self.source(path).ok().map(|_| path.to_owned())
    }

    fn source(&self, path: &Path) -> io::Result<PathBuf> {
        let mut found = self
            .lowers
            .iter()
            .map(|lower| lower.join(path))
            .filter(|full| full.symlink_metadata().is_ok());
        found
            .next()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

/// The parts of a path, last first, so that they can be taken off and links put in their place.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_behind_links_is_made_where_they_lead_and_never_outside() {
        let lower = tempfile::tempdir().unwrap();
        let layer = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(lower.path().join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("/usr/lib", lower.path().join("lib")).unwrap();
        std::os::unix::fs::symlink("../../../../usr", lower.path().join("up")).unwrap();
        let mut skeleton = Skeleton::new(layer.path().to_owned(), vec![lower.path().to_owned()]);
        assert_eq!(
            skeleton.directory(Path::new("/lib/x")).unwrap(),
            Path::new("usr/lib/x")
        );
        assert_eq!(
            skeleton.directory(Path::new("/up/y")).unwrap(),
            Path::new("usr/y")
        );
        assert!(layer.path().join("usr/lib/x").is_dir());
        assert!(!lower.path().join("usr/lib/x").exists());
    }

    #[test]
    fn a_place_in_what_is_hidden_is_made_without_the_rest_of_it() {
        let lower = tempfile::tempdir().unwrap();
        let layer = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(lower.path().join("work/venv/lib")).unwrap();
        std::fs::create_dir_all(lower.path().join("work/secret")).unwrap();
        let mut skeleton = Skeleton::new(layer.path().to_owned(), vec![lower.path().to_owned()]);
        // Making devices and marking directories takes root.
        if skeleton.hide(Path::new("/work")).is_err() {
            return;
        }
        skeleton.directory(Path::new("/work/venv")).unwrap();
        assert!(layer.path().join("work/venv").is_dir());
        assert_eq!(skeleton.below(Path::new("work/secret")), None);
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let lower = tempfile::tempdir().unwrap();
        let layer = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("b", lower.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", lower.path().join("b")).unwrap();
        let mut skeleton = Skeleton::new(layer.path().to_owned(), vec![lower.path().to_owned()]);
        assert_eq!(
            skeleton
                .directory(Path::new("/a/x"))
                .unwrap_err()
                .raw_os_error(),
            Some(libc::ELOOP)
        );
    }
}
