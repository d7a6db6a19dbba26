//! Where rows rest: a log-structured merge tree (fjall), fed with whole sorted tables.
//!
//! Rows are ingested, not inserted: the library's own journal and memtables stay empty, so that
//! nothing is written twice and opening has nothing to replay.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::config::PinningPolicy;
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions};

use super::{Row, Scanned, Span};
use crate::Error;

pub(super) struct Base {
    path: PathBuf,
    /// Created by the first flush: a store that stays small never needs it.
    tree: OnceLock<Tree>,
}

struct Tree {
    rows: Keyspace,
    _database: Database,
}

/// Sorts before the key of every row.
const APPLIED: &[u8] = &[0];
/// A page of a scan ends early behind so many bytes of values.
const PAGE_BYTES: usize = 1 << 20;
/// Blocks kept in memory; the system's page cache does the rest.
const CACHE_BYTES: u64 = 8 << 20;
/// So many flushed tables are merged into the next level at once. Each of them is asked for a row, but a filter of it
/// answers that; merging them sooner rewrites the next level more often.
const MERGED_AT: u8 = 8;

impl From<fjall::Error> for Error {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
                Error::Io {
                    action: "in the database".into(),
                    source,
                }
            }
            error => Error::Engine(error.to_string()),
        }
    }
}

impl Tree {
    fn open(path: &Path) -> Result<Tree, Error> {
        let database = Database::builder(path)
            .worker_threads(1)
            .cache_size(CACHE_BYTES)
            .open()?;
        // Unpinned, a filter of hundreds of KiB would be loaded for a single row. Pinned they cost
        // about 2 MiB per million rows, and the index 1 % of the data.
        let options = || {
            KeyspaceCreateOptions::default()
                .compaction_strategy(Arc::new(Leveled::default().with_l0_threshold(MERGED_AT)))
                .filter_block_pinning_policy(PinningPolicy::all(true))
                .index_block_pinning_policy(PinningPolicy::all(true))
        };
        let rows = database.keyspace("rows", options)?;
        Ok(Tree {
            rows,
            _database: database,
        })
    }
}

impl Base {
    /// Opens the tree, if there is one, and says up to which journal segment it is complete.
    pub(super) fn open(path: &Path) -> Result<(Base, u64), Error> {
        let base = Base {
            path: path.into(),
            tree: OnceLock::new(),
        };
        if !path.exists() {
            return Ok((base, 0));
        }
        let tree = Tree::open(path)?;
        let applied = match tree.rows.get(APPLIED)? {
            Some(bytes) => u64::from_be_bytes(
                bytes[..]
                    .try_into()
                    .map_err(|_| Error::Corrupt("a segment number".into()))?,
            ),
            None => 0,
        };
        // A fresh cell takes whatever is set first.
        let _ = base.tree.set(tree);
        Ok((base, applied))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.tree.get() {
            Some(tree) => Ok(tree.rows.get(key)?.map(Bytes::from)),
            None => Ok(None),
        }
    }

    pub(super) fn scan(
        &self,
        span: &Span,
        reverse: bool,
        limit: usize,
        out: &mut Vec<Row>,
    ) -> Result<Scanned, Error> {
        let Some(tree) = self.tree.get() else {
            return Ok(Scanned::All);
        };
        let rows = tree.rows.range(&span.lower[..]..&span.upper[..]);
        if reverse {
            take(rows.rev(), limit, out)
        } else {
            take(rows, limit, out)
        }
    }

    /// Makes `rows` (ascending) and everything up to journal segment `applied` part of the tree;
    /// on an error nothing changes.
    pub(super) fn apply<'a>(
        &self,
        rows: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
        applied: u64,
    ) -> Result<(), Error> {
        let tree = match self.tree.get() {
            Some(tree) => tree,
            None => {
                let tree = Tree::open(&self.path)?;
                self.tree.get_or_init(|| tree)
            }
        };
        let mut ingestion = tree.rows.start_ingestion()?;
        ingestion.write(APPLIED, applied.to_be_bytes())?;
        for (key, value) in rows {
            match value {
                Some(value) => ingestion.write(&key[..], &value[..])?,
                None => ingestion.write_tombstone(&key[..])?,
            }
        }
        Ok(ingestion.finish()?)
    }
}

fn take(
    rows: impl Iterator<Item = Guard>,
    limit: usize,
    out: &mut Vec<Row>,
) -> Result<Scanned, Error> {
    let (mut found, mut size) = (0, 0);
    for row in rows {
        let (key, value) = row.into_inner()?;
        let key = Bytes::from(key);
        found += 1;
        size += value.len();
        out.push((key.clone(), value.into()));
        if found == limit || size > PAGE_BYTES {
            return Ok(Scanned::Through(key));
        }
    }
    Ok(Scanned::All)
}
