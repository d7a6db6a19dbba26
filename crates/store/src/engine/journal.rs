//! The write-ahead journal: what makes a commit cheap and lets it survive the process.
//!
//! A segment is a file of entries: length and CRC-32C of the payload (both little endian), then the
//! payload, which is one batch. Segments are numbered; a new one is begun whenever the rows of the
//! old ones are moved to the base, and the old ones go when that is done.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use crc_fast::CrcAlgorithm::Crc32Iscsi;

use super::Batch;
use super::segment::Segment;
use crate::{Durability, Error, MapForWriting};

const HEADER: usize = 8;
/// With [`Durability::None`], what is gathered before it is written.
const GATHERED: usize = 256 << 10;

/// The segment being written.
pub(super) struct Journal {
    dir: PathBuf,
    durability: Durability,
    map: Option<MapForWriting>,
    number: u64,
    segment: Segment,
    gathered: Vec<u8>,
}

/// Appends a batch as an entry to an empty buffer.
pub(super) fn encode(batch: &Batch, entry: &mut Vec<u8>) -> Result<(), Error> {
    let size: usize = batch
        .iter()
        .map(|(key, value)| 9 + key.len() + value.as_ref().map_or(0, Bytes::len))
        .sum();
    let len = u32::try_from(size).map_err(|_| Error::Engine("a transaction of 4 GiB".into()))?;
    entry.reserve(HEADER + size);
    entry.extend_from_slice(&len.to_le_bytes());
    entry.extend_from_slice(&[0; 4]);
    for (key, value) in batch {
        entry.push(u8::from(value.is_some()));
        let value = value.as_deref().unwrap_or_default();
        // Neither is longer than the whole, which was checked.
        entry.extend_from_slice(&(key.len() as u32).to_le_bytes());
        entry.extend_from_slice(&(value.len() as u32).to_le_bytes());
        entry.extend_from_slice(key);
        entry.extend_from_slice(value);
    }
    let crc = crc_fast::checksum(Crc32Iscsi, &entry[HEADER..]) as u32;
    entry[4..HEADER].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Takes one whole entry off the front.
fn decode(input: &mut Bytes) -> Option<Batch> {
    let (len, crc) = match input.first_chunk::<HEADER>()? {
        [a, b, c, d, crc @ ..] => (
            u32::from_le_bytes([*a, *b, *c, *d]),
            u32::from_le_bytes(*crc),
        ),
    };
    // A block that never reached the disk reads as zeros, which would pass as an empty entry.
    if len == 0 || input.len() - HEADER < len as usize {
        return None;
    }
    let mut payload = input.slice(HEADER..HEADER + len as usize);
    if crc_fast::checksum(Crc32Iscsi, &payload) as u32 != crc {
        return None;
    }
    let mut batch = Batch::new();
    while payload.remaining() >= 9 {
        let is_put = payload.get_u8() != 0;
        let key = payload.get_u32_le() as usize;
        let value = payload.get_u32_le() as usize;
        if payload.remaining() < key.checked_add(value)? {
            return None;
        }
        let key = payload.split_to(key);
        let value = payload.split_to(value);
        batch.push((key, is_put.then_some(value)));
    }
    input.advance(HEADER + len as usize);
    Some(batch)
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.journal"))
}

/// The numbers of the segments in `dir`, ascending.
fn segments(dir: &Path) -> Result<Vec<u64>, Error> {
    let failed = || Error::io(format!("listing {}", dir.display()));
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".journal"));
        if let Some(number) = number.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Deletes the segments up to `last`, whose rows are in the base.
pub(super) fn discard(dir: &Path, last: u64) -> Result<(), Error> {
    for number in segments(dir)?.into_iter().filter(|&number| number <= last) {
        let path = path_of(dir, number);
        fs::remove_file(&path).map_err(Error::io(format!("deleting {}", path.display())))?;
    }
    Ok(())
}

impl Journal {
    /// Hands every batch behind segment `applied` to `apply`, in order, and begins a new segment.
    pub(super) fn open(
        dir: PathBuf,
        durability: Durability,
        map: Option<MapForWriting>,
        applied: u64,
        mut apply: impl FnMut(Batch),
    ) -> Result<Journal, Error> {
        fs::create_dir_all(&dir).map_err(Error::io(format!("creating {}", dir.display())))?;
        discard(&dir, applied)?;
        let numbers = segments(&dir)?;
        let mut last = applied;
        let mut is_whole = true;
        for number in numbers {
            last = number;
            let path = path_of(&dir, number);
            let failed = |what: &str| Error::io(format!("{what} {}", path.display()));
            if !is_whole {
                // What followed a hole was never acknowledged as surviving it, and without the
                // hole's content it makes no sense.
                tracing::warn!(path = %path.display(), "ignoring a journal behind a damaged one");
                fs::remove_file(&path).map_err(failed("deleting"))?;
                continue;
            }
            let content = Bytes::from(fs::read(&path).map_err(failed("reading"))?);
            let mut rest = content.clone();
            while let Some(batch) = decode(&mut rest) {
                apply(batch);
            }
            if !rest.is_empty() {
                // Zeros are room that was set aside and not used: it is given back.
                if rest.iter().any(|byte| *byte != 0) {
                    is_whole = false;
                    tracing::warn!(path = %path.display(), lost = rest.len(), "a torn journal");
                }
                let len = (content.len() - rest.len()) as u64;
                OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .and_then(|file| file.set_len(len))
                    .map_err(failed("truncating"))?;
            }
        }
        let number = last + 1;
        // Each write is confirmed by the disk anyway, and a disk that fails is to be told as an error.
        let map = map.filter(|_| durability != Durability::Disk);
        let segment = begin(&dir, number, durability, map)?;
        Ok(Journal {
            dir,
            durability,
            map,
            number,
            segment,
            gathered: Vec::new(),
        })
    }

    /// Appends an entry, or on an error nothing.
    pub(super) fn append(&mut self, entry: &[u8]) -> Result<(), Error> {
        if self.durability != Durability::None {
            return self.segment.append(entry);
        }
        if self.gathered.len() + entry.len() > GATHERED {
            self.write_gathered()?;
        }
        self.gathered.extend_from_slice(entry);
        Ok(())
    }

    fn write_gathered(&mut self) -> Result<(), Error> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        let written = self.segment.append(&gathered);
        if written.is_err() {
            self.gathered = gathered;
        }
        written
    }

    /// Writes what [`Durability::None`] has held back, and gives room back that was not used: for a clean end.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        self.write_gathered()?;
        self.segment.cut()
    }

    /// Begins a new segment and returns the number of the one that is now complete.
    pub(super) fn rotate(&mut self) -> Result<u64, Error> {
        self.write_gathered()?;
        self.segment.mend()?;
        if self.durability == Durability::Disk {
            // Who still waits for this segment is told by the next sync of a newer one.
            self.segment
                .file()
                .sync_data()
                .map_err(Error::io("syncing the journal"))?;
        }
        self.segment = begin(&self.dir, self.number + 1, self.durability, self.map)?;
        self.number += 1;
        Ok(self.number - 1)
    }

    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: Arc<File>) -> Arc<File> {
        self.segment.replace_file(file)
    }

    /// The file that holds what was appended last.
    pub(super) fn file(&self) -> Arc<File> {
        self.segment.file().clone()
    }
}

fn begin(
    dir: &Path,
    number: u64,
    durability: Durability,
    map: Option<MapForWriting>,
) -> Result<Segment, Error> {
    let path = path_of(dir, number);
    let failed = || Error::io(format!("creating {}", path.display()));
    // A number whose creation half failed before is empty, or holds what nobody was told of.
    let file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(true)
        .open(&path)
        .map_err(failed())?;
    if durability == Durability::Disk {
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed())?;
    }
    Ok(Segment::new(file, path, map))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(batch: &Batch) -> Bytes {
        let mut entry = Vec::new();
        encode(batch, &mut entry).unwrap();
        entry.into()
    }

    fn entry() -> impl Strategy<Value = Batch> {
        let part = || any::<Vec<u8>>().prop_map(Bytes::from);
        proptest::collection::vec((part(), proptest::option::of(part())), 1..5)
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_and_a_torn_one_does_not(batch in entry(), cut in any::<usize>()) {
            let bytes = encoded(&batch);
            let mut torn = bytes.slice(..cut % bytes.len());
            prop_assert!(decode(&mut torn).is_none());
            let mut whole = bytes;
            prop_assert_eq!(decode(&mut whole), Some(batch));
            prop_assert!(whole.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode(&mut Bytes::from(bytes));
        }
    }

    #[test]
    fn a_torn_end_is_cut_off_and_writing_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let batch = |text: &'static str| vec![(Bytes::from(text), Some(Bytes::from(text)))];
        let open = || {
            let mut found = Vec::new();
            let journal = Journal::open(dir.path().into(), Durability::Process, None, 0, |batch| {
                found.push(batch);
            });
            (journal.unwrap(), found)
        };
        let (mut journal, _) = open();
        journal.append(&encoded(&batch("a"))).unwrap();
        journal.append(&encoded(&batch("b"))[..9]).unwrap();
        let (mut journal, found) = open();
        assert_eq!(found, [batch("a")]);
        journal.append(&encoded(&batch("c"))).unwrap();
        assert_eq!(open().1, [batch("a"), batch("c")]);
    }

    #[test]
    fn room_that_was_set_aside_is_given_back_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let batch = |text: &'static str| vec![(Bytes::from(text), Some(Bytes::from(text)))];
        let mut expected = Vec::new();
        for text in ["a", "b", "c"] {
            let mut found = Vec::new();
            let journal = Journal::open(dir.path().into(), Durability::Process, None, 0, |batch| {
                found.push(batch);
            });
            assert_eq!(found, expected);
            let mut journal = journal.unwrap();
            journal.append(&encoded(&batch(text))).unwrap();
            // As a server that was killed leaves it.
            journal.file().set_len(4 << 20).unwrap();
            expected.push(batch(text));
        }
        let sizes = segments(dir.path()).unwrap().into_iter().map(|number| {
            let path = path_of(dir.path(), number);
            fs::metadata(path).unwrap().len()
        });
        let len = encoded(&batch("a")).len() as u64;
        assert_eq!(sizes.collect::<Vec<_>>(), [len, len, 4 << 20]);
    }
}
