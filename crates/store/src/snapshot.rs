//! The state as one file, and taking state away.
//!
//! A snapshot file is [`MAGIC`], then frames that begin with a tag: rows (`R`, two lengths, key,
//! value), behind them blobs (`B`, id, length, content), at last `E` with the number of frames.
//! Numbers are little endian.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write};
use std::path::Path;

use bytes::Bytes;

use crate::engine::{Row, Scanned, Span};
use crate::read::Raw;
use crate::store::{COUNTS, NAMES, Store};
use crate::{BlobId, Error, KeyFor};

const MAGIC: &[u8] = b"CUMULO SNAPSHOT 1\n";
/// A longer key or value is a sign of a damaged file.
const LONGEST: u32 = 1 << 30;

/// Which rows a reset or a snapshot concerns; the default is all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only tables and logs named `service.something`.
    pub service: Option<String>,
    /// Only rows whose keys begin with this account.
    pub account: Option<String>,
}

impl Filter {
    fn is_whole(&self) -> bool {
        self.service.is_none() && self.account.is_none()
    }
}

/// A filter with what it needs to judge encoded keys.
struct Matcher {
    whole: bool,
    service: Option<String>,
    account: Option<Vec<u8>>,
    names: BTreeMap<[u8; 4], String>,
}

impl Matcher {
    fn new(filter: &Filter, names: BTreeMap<[u8; 4], String>) -> Matcher {
        let account = filter.account.as_ref().map(|account| {
            let mut bytes = Vec::new();
            KeyFor::<String>::encode(account, &mut bytes);
            bytes
        });
        let service = filter.service.as_ref().map(|service| format!("{service}."));
        Matcher {
            whole: filter.is_whole(),
            service,
            account,
            names,
        }
    }

    fn matches(&self, key: &[u8]) -> bool {
        let Some((&table, rest)) = key.split_first_chunk::<4>() else {
            return false;
        };
        if self.whole || table <= COUNTS {
            return self.whole;
        }
        let name = self.names.get(&table);
        self.service
            .as_ref()
            .is_none_or(|service| name.is_some_and(|name| name.starts_with(&service[..])))
            && self
                .account
                .as_ref()
                .is_none_or(|account| rest.starts_with(account))
    }
}

impl Store {
    /// Writes the state to the file `to`, which is replaced once the snapshot is complete.
    /// Transactions wait while rows are copied, not while blobs are. Blocks the thread.
    pub fn snapshot_save(&self, to: &Path, filter: &Filter) -> Result<(), Error> {
        let mut part = to.as_os_str().to_owned();
        part.push(".part");
        let part = Path::new(&part);
        let saved = self.save(part, filter).and_then(|()| {
            std::fs::rename(part, to).map_err(Error::io(format!("writing {}", to.display())))
        });
        if saved.is_err() {
            // The error that counts is the first.
            let _ = std::fs::remove_file(part);
        }
        saved
    }

    fn save(&self, to: &Path, filter: &Filter) -> Result<(), Error> {
        let failed = || Error::io(format!("writing {}", to.display()));
        let mut out = BufWriter::new(File::create(to).map_err(failed())?);
        out.write_all(MAGIC).map_err(failed())?;
        let _hold = self.blobs().hold();
        let mut frames = 0u64;
        let mut blobs = BTreeSet::new();
        let paused = self.pause();
        let matcher = Matcher::new(filter, self.names()?);
        self.each_row(|(key, value)| {
            // Names go along even in part: the loading side judges tables by them.
            if matcher.matches(&key) || key.starts_with(&NAMES) {
                if matcher.whole && key.starts_with(&COUNTS) {
                    blobs.extend(BlobId::of_count(&key));
                } else if !matcher.whole {
                    self.blobs_of(&key, &value, &mut |id| {
                        blobs.insert(id);
                    })?;
                }
                frames += 1;
                write_row(&mut out, &key, &value).map_err(failed())?;
            }
            Ok(())
        })?;
        drop(paused);
        for id in blobs {
            frames += 1;
            out.write_all(b"B")
                .and_then(|()| out.write_all(&id.0))
                .map_err(failed())?;
            self.blobs().export(id, &mut out)?;
        }
        out.write_all(b"E").map_err(failed())?;
        out.write_all(&frames.to_le_bytes()).map_err(failed())?;
        let file = out
            .into_inner()
            .map_err(|error| failed()(error.into_error()))?;
        file.sync_all().map_err(failed())
    }

    /// Replaces the state, or the part of it that `filter` names, by what the file `from` holds of
    /// it, all at once. Rows must fit in memory. Blocks the thread.
    ///
    /// Whoever keeps decoded state has to read it again.
    pub fn snapshot_load(&self, from: &Path, filter: &Filter) -> Result<(), Error> {
        let mut imported = Vec::new();
        let loaded = self.load(from, filter, &mut imported);
        for id in imported {
            if self.blobs().set_linked(id) && loaded.is_err() {
                self.blobs().remove(id);
            }
        }
        loaded
    }

    fn load(&self, from: &Path, filter: &Filter, imported: &mut Vec<BlobId>) -> Result<(), Error> {
        let bad = |what: &str| Error::Snapshot(format!("{}: {what}", from.display()));
        let failed = || Error::io(format!("reading {}", from.display()));
        let mut input = BufReader::new(File::open(from).map_err(failed())?);
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).map_err(failed())?;
        if magic != MAGIC {
            return Err(bad("no snapshot, or one of another version"));
        }
        let mut rows: Vec<Row> = Vec::new();
        let mut wanted = None;
        let mut frames = 0u64;
        loop {
            match read_array(&mut input).map_err(failed())? {
                [b'R'] => {
                    let key = u32::from_le_bytes(read_array(&mut input).map_err(failed())?);
                    let value = u32::from_le_bytes(read_array(&mut input).map_err(failed())?);
                    if key.max(value) > LONGEST {
                        return Err(bad("damaged"));
                    }
                    let key = read_bytes(&mut input, key).map_err(failed())?;
                    rows.push((key, read_bytes(&mut input, value).map_err(failed())?));
                }
                [b'B'] => {
                    if wanted.is_none() {
                        wanted = Some(self.choose(&mut rows, filter)?);
                    }
                    let id = BlobId(read_array(&mut input).map_err(failed())?);
                    let is_wanted = wanted
                        .as_ref()
                        .and_then(Option::as_ref)
                        .is_none_or(|wanted: &BTreeSet<BlobId>| wanted.contains(&id));
                    self.blobs().import(id, &mut input, is_wanted, imported)?;
                }
                [b'E'] => {
                    if frames != u64::from_le_bytes(read_array(&mut input).map_err(failed())?) {
                        return Err(bad("incomplete"));
                    }
                    break;
                }
                _ => return Err(bad("damaged")),
            }
            frames += 1;
        }
        if wanted.is_none() {
            self.choose(&mut rows, filter)?;
        }
        self.replace(filter, rows)
    }

    /// Keeps the rows that `filter` names, and says which blobs they need (`None`: all).
    fn choose(
        &self,
        rows: &mut Vec<Row>,
        filter: &Filter,
    ) -> Result<Option<BTreeSet<BlobId>>, Error> {
        if filter.is_whole() {
            // A snapshot of a part has no counts; loaded as the whole they come from its records.
            if rows.iter().any(|(key, _)| key.starts_with(&COUNTS)) {
                return Ok(None);
            }
        }
        let mut names = self.names()?;
        names.extend(rows.iter().filter_map(name_row));
        let matcher = Matcher::new(filter, names);
        rows.retain(|(key, _)| matcher.matches(key) || key.starts_with(&NAMES));
        let mut wanted = BTreeSet::new();
        for (key, value) in rows.iter() {
            self.blobs_of(key, value, &mut |id| {
                wanted.insert(id);
            })?;
        }
        Ok(Some(wanted))
    }

    /// Deletes the state, or the part of it that `filter` names, all at once. Blocks the thread.
    ///
    /// Whoever keeps decoded state has to drop it.
    pub fn reset(&self, filter: &Filter) -> Result<(), Error> {
        self.replace(filter, Vec::new())
    }

    fn replace(&self, filter: &Filter, rows: Vec<Row>) -> Result<(), Error> {
        let paused = self.pause();
        let matcher = Matcher::new(filter, self.names()?);
        let has_counts = rows.iter().any(|(key, _)| key.starts_with(&COUNTS));
        let mut changes: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        let mut links: BTreeMap<BlobId, i64> = BTreeMap::new();
        let mut dead = BTreeSet::new();
        self.each_row(|(key, value)| {
            if matcher.matches(&key) {
                if matcher.whole {
                    dead.extend(BlobId::of_count(&key));
                } else {
                    self.blobs_of(&key, &value, &mut |id| *links.entry(id).or_default() -= 1)?;
                }
                changes.insert(key, None);
            }
            Ok(())
        })?;
        for (key, value) in rows {
            if has_counts {
                if let Some(id) = BlobId::of_count(&key) {
                    dead.remove(&id);
                }
            } else {
                self.blobs_of(&key, &value, &mut |id| {
                    dead.remove(&id);
                    *links.entry(id).or_default() += 1;
                })?;
            }
            changes.insert(key, Some(value));
        }
        if matcher.whole && !has_counts {
            // All old counts go, so the new ones do not add to them.
            for (id, count) in std::mem::take(&mut links) {
                let key = [&COUNTS[..], &id.0].concat();
                changes.insert(
                    key.into(),
                    Some(Bytes::copy_from_slice(&count.to_be_bytes())),
                );
            }
        }
        let blobs = self.blobs().clone();
        let remove: Box<dyn FnOnce() + Send> =
            Box::new(move || dead.into_iter().for_each(|id| blobs.remove(id)));
        if matcher.whole {
            self.forget_names();
        }
        self.0.heads.clear();
        let (now, pending) = self.commit(changes.into_iter().collect(), links, vec![remove])?;
        drop(paused);
        if let Some(now) = now {
            now.run(self.blobs());
        }
        match pending {
            Some(pending) => pending
                .blocking_recv()
                .unwrap_or_else(|_| Err(crate::store::gone())),
            None => Ok(()),
        }
    }

    fn names(&self) -> Result<BTreeMap<[u8; 4], String>, Error> {
        let mut names = self.registered_names();
        let upper = crate::range::end_of(NAMES.to_vec()).unwrap_or_default();
        self.scan_rows(
            Span {
                lower: NAMES.to_vec(),
                upper,
            },
            |row| {
                names.extend(name_row(&row));
                Ok(())
            },
        )?;
        Ok(names)
    }

    /// Visits every row, in order.
    fn each_row(&self, visit: impl FnMut(Row) -> Result<(), Error>) -> Result<(), Error> {
        self.scan_rows(
            Span {
                lower: NAMES.to_vec(),
                upper: vec![0xFF; 5],
            },
            visit,
        )
    }

    fn scan_rows(
        &self,
        mut span: Span,
        mut visit: impl FnMut(Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let view = self.read();
        loop {
            let mut rows = Vec::new();
            let scanned = Raw::scan(&view, &span, false, 1024, &mut rows)?;
            rows.into_iter().try_for_each(&mut visit)?;
            match scanned {
                Scanned::All => return Ok(()),
                Scanned::Through(last) => span.lower = [&last[..], &[0]].concat(),
            }
        }
    }
}

/// The table id and name that a row of [`NAMES`] holds.
fn name_row((key, value): &Row) -> Option<([u8; 4], String)> {
    let id = key.strip_prefix(&NAMES)?.try_into().ok()?;
    Some((id, String::from_utf8_lossy(value).into_owned()))
}

fn write_row(out: &mut impl Write, key: &[u8], value: &[u8]) -> std::io::Result<()> {
    out.write_all(b"R")?;
    // A journal entry, which held both, has no more than 4 GiB.
    out.write_all(&(key.len() as u32).to_le_bytes())?;
    out.write_all(&(value.len() as u32).to_le_bytes())?;
    out.write_all(key)?;
    out.write_all(value)
}

pub(crate) fn read_array<const N: usize>(
    input: &mut impl std::io::Read,
) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads without believing the length before the bytes are there.
fn read_bytes(input: &mut impl std::io::Read, len: u32) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    if input.take(len.into()).read_to_end(&mut bytes)? < len as usize {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.into())
}
