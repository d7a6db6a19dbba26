//! A file of the journal.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Error, MapForWriting, Writable};

/// How much of the file is had as memory at a time. The room is set aside on the disk.
const WINDOW: u64 = 4 << 20;

/// A file that entries are appended to: copied into its memory where the system lends that, which spares each of them a
/// system call under the journal's lock, and written otherwise.
pub(super) struct Segment {
    file: Arc<File>,
    path: PathBuf,
    /// The length of what is whole. The file may be longer, by zeros.
    len: u64,
    /// A failed write may have left half an entry behind `len`.
    is_torn: bool,
    /// None once it has failed: this file is then written.
    map: Option<MapForWriting>,
    window: Option<Window>,
}

struct Window {
    memory: Writable,
    start: u64,
    end: u64,
}

impl Segment {
    /// An empty file.
    pub(super) fn new(file: File, path: PathBuf, map: Option<MapForWriting>) -> Segment {
        Segment {
            file: Arc::new(file),
            path,
            len: 0,
            is_torn: false,
            map,
            window: None,
        }
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Appends an entry, or on an error nothing.
    pub(super) fn append(&mut self, entry: &[u8]) -> Result<(), Error> {
        if !self.copy(entry) {
            self.write(entry)?;
        }
        self.len += entry.len() as u64;
        Ok(())
    }

    /// Whether the entry could be copied; if not, no part of the file is had as memory.
    fn copy(&mut self, entry: &[u8]) -> bool {
        let Some(map) = self.map else {
            return false;
        };
        let (start, end) = (self.len, self.len + entry.len() as u64);
        if self.window.as_ref().is_none_or(|window| end > window.end) {
            let range = start..end.max(start + WINDOW);
            self.window = match map(&self.file, range.clone()) {
                Ok(memory) => Some(Window {
                    memory,
                    start,
                    end: range.end,
                }),
                Err(error) => {
                    tracing::debug!(%error, "the journal is written, not mapped");
                    self.map = None;
                    None
                }
            };
        }
        let Some(window) = &mut self.window else {
            return false;
        };
        let at = (start - window.start) as usize;
        let place = (*window.memory).as_mut().get_mut(at..at + entry.len());
        place.map(|place| place.copy_from_slice(entry)).is_some()
    }

    fn write(&mut self, entry: &[u8]) -> Result<(), Error> {
        self.mend()?;
        self.file.write_all_at(entry, self.len).map_err(|error| {
            self.is_torn = true;
            // If this fails too, the next write tries again before anything else.
            if let Err(error) = self.mend() {
                tracing::warn!(%error, "half an entry stays in the journal for now");
            }
            Error::io(format!("writing {}", self.path.display()))(error)
        })
    }

    /// Cuts off half an entry.
    pub(super) fn mend(&mut self) -> Result<(), Error> {
        match self.is_torn {
            true => self.cut(),
            false => Ok(()),
        }
    }

    /// Cuts off what is not whole, and room that was not used.
    pub(super) fn cut(&mut self) -> Result<(), Error> {
        self.window = None;
        self.file
            .set_len(self.len)
            .map_err(Error::io("truncating the journal"))?;
        self.is_torn = false;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: Arc<File>) -> Arc<File> {
        std::mem::replace(&mut self.file, file)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::ops::Range;

    use super::*;

    /// Memory that is written to the file when it is given back.
    struct Kept(File, u64, Vec<u8>);

    impl AsMut<[u8]> for Kept {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.2
        }
    }
    impl Drop for Kept {
        fn drop(&mut self) {
            self.0.write_all_at(&self.2, self.1).unwrap();
        }
    }

    fn lend(file: &File, range: Range<u64>) -> io::Result<Writable> {
        let len = (range.end - range.start) as usize;
        Ok(Box::new(Kept(file.try_clone()?, range.start, vec![0; len])))
    }

    /// Lends once.
    fn lend_the_first(file: &File, range: Range<u64>) -> io::Result<Writable> {
        match range.start {
            0 => lend(file, range),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    #[test]
    fn entries_of_any_size_follow_each_other_copied_or_written() {
        for map in [None, Some(lend as MapForWriting), Some(lend_the_first)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("segment");
            let mut segment = Segment::new(File::create(&path).unwrap(), path.clone(), map);
            let mut expected = Vec::new();
            for (n, size) in [1, 400, WINDOW, 3, 2 * WINDOW + 1, 70_000, WINDOW - 9, 5]
                .into_iter()
                .enumerate()
            {
                let entry = vec![n as u8 + 1; size as usize];
                segment.append(&entry).unwrap();
                expected.extend(entry);
            }
            segment.cut().unwrap();
            assert!(std::fs::read(&path).unwrap() == expected);
        }
    }
}
