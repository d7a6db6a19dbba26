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
}
