//! Files as memory.

use std::fs::File;
use std::io;
use std::ops::Range;

use bytes::Bytes;

/// The bytes of `range` of a file, in place: what the kernel holds of the file is mapped and nothing is copied. All of it has
/// been read when this returns, so it blocks as long as the disk takes, and a disk that fails is told here.
///
/// For files that nobody writes to any more, and that are deleted without being cut: a change would show in the bytes, and a
/// page that is cut off ends the process. `range` must lie within the file.
///
/// Fails with `Unsupported` where the kernel cannot read a mapping in (Linux before 5.14, other systems).
#[cfg(target_os = "linux")]
pub fn map_file(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    use memmap2::{Advice, MmapOptions};

    let len = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(Bytes::new());
    }
    let mut options = MmapOptions::new();
    // SAFETY: nobody writes to the file or cuts it, by this function's contract. It is mapped read only.
    let map = unsafe { options.offset(range.start).len(len).map(file)? };
    map.advise(Advice::PopulateRead)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => io::ErrorKind::Unsupported.into(),
            _ => error,
        })?;
    Ok(Bytes::from_owner(map))
}

/// Not to be had on this system.
#[cfg(not(target_os = "linux"))]
pub fn map_file(_: &File, _: Range<u64>) -> io::Result<Bytes> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A range of a file, which may lie behind its end, as memory: what is copied there is in the file as the kernel keeps it, at once
/// and also once this process has been killed. The disk has set room aside for all of it when this returns.
///
/// For files that nobody else writes to or cuts meanwhile: a page that is cut off ends the process.
///
/// Fails with `Unsupported` but on ext, XFS and tmpfs. Others may not keep their word about the room (those that copy on write
/// need some anew each time), and a page that finds none ends the process, too.
#[cfg(target_os = "linux")]
pub fn map_for_writing(
    file: &File,
    range: Range<u64>,
) -> io::Result<Box<dyn AsMut<[u8]> + Send + Sync>> {
    use memmap2::MmapOptions;
    use nix::fcntl::{FallocateFlags, fallocate};
    use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};

    let kind = fstatfs(file)?.filesystem_type();
    if ![EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC].contains(&kind) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let size = range.end.saturating_sub(range.start);
    let (start, len) = (
        i64::try_from(range.start).map_err(io::Error::other)?,
        i64::try_from(size).map_err(io::Error::other)?,
    );
    fallocate(file, FallocateFlags::empty(), start, len)?;
    let mut options = MmapOptions::new();
    options.offset(range.start);
    options.len(usize::try_from(size).map_err(io::Error::other)?);
    // SAFETY: nobody else writes to the file or cuts it while this is mapped, by this function's contract, and its pages have
    // their room on the disk.
    Ok(Box::new(unsafe { options.map_mut(file)? }))
}

/// Not to be had on this system.
#[cfg(not(target_os = "linux"))]
pub fn map_for_writing(_: &File, _: Range<u64>) -> io::Result<Box<dyn AsMut<[u8]> + Send + Sync>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn any_range_of_a_file_is_its_bytes_even_once_it_is_deleted() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let content: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
        file.write_all(&content).expect("written");
        let (file, path) = file.into_parts();
        for range in [0..100_000, 5000..9000, 4096..4097, 99_999..100_000, 7..7] {
            let expected = &content[range.start as usize..range.end as usize];
            let mapped = map_file(&file, range.clone()).expect("mapped");
            assert_eq!(mapped, expected, "{range:?}");
        }
        let mapped = map_file(&file, 10..50_000).expect("mapped");
        drop((file, path));
        assert_eq!(mapped, content[10..50_000]);
    }

    #[test]
    fn what_lies_behind_the_end_is_an_error_and_no_signal() {
        let file = tempfile::tempfile().expect("a file");
        assert!(map_file(&file, 0..10_000).is_err());
    }

    #[test]
    fn what_is_copied_behind_the_end_of_a_file_is_in_it() {
        let mut file = tempfile::tempfile_in(std::env::temp_dir()).expect("a file");
        file.write_all(b"begin").expect("written");
        let mut memory = match map_for_writing(&file, 5..10_000) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            memory => memory.expect("mapped"),
        };
        (*memory).as_mut()[..7].copy_from_slice(b" and on");
        let content = map_file(&file, 0..10_000).expect("mapped");
        assert_eq!(content[..12], *b"begin and on");
        assert!(content[12..].iter().all(|byte| *byte == 0));
    }
}
