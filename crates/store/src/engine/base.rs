//! Where rows rest: an SQLite file, written in large transactions by one thread.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::{Row, Scanned, Span};
use crate::Error;

pub(super) struct Base {
    path: PathBuf,
    /// The file is created by the first flush: a store that stays small never needs it.
    exists: AtomicBool,
    /// Connections at rest; a reader takes one and gives it back.
    readers: Mutex<Vec<Connection>>,
}

/// Connections kept when nobody reads.
const KEPT: usize = 4;
/// A page of a scan ends early behind so many bytes of values.
const PAGE_BYTES: usize = 1 << 20;

const GET: &str = "SELECT v FROM rows WHERE k = ?1";
const SCAN: &str = "SELECT k, v FROM rows WHERE k >= ?1 AND k < ?2 ORDER BY k LIMIT ?3";
const SCAN_BACK: &str = "SELECT k, v FROM rows WHERE k >= ?1 AND k < ?2 ORDER BY k DESC LIMIT ?3";
const PUT: &str =
    "INSERT INTO rows (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const DELETE: &str = "DELETE FROM rows WHERE k = ?1";

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Io {
                action: "writing the database".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Error::Corrupt(error.to_string())
            }
            _ => Error::Engine(error.to_string()),
        }
    }
}

impl Base {
    /// Opens the file, if there is one, and says up to which journal segment it is complete.
    pub(super) fn open(path: &Path) -> Result<(Base, u64), Error> {
        let base = Base {
            path: path.into(),
            exists: AtomicBool::new(path.exists()),
            readers: Mutex::default(),
        };
        let applied = base.read(0, |connection| {
            Ok(connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))?)
        })?;
        Ok((base, applied.into()))
    }

    /// Lends a connection to `f`; without a file the answer is `absent`.
    fn read<T>(
        &self,
        absent: T,
        f: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if !self.exists.load(Ordering::Acquire) {
            return Ok(absent);
        }
        // Taken in a statement of its own, so that the lock is not held while reading.
        let resting = self.readers.lock().pop();
        let connection = match resting {
            Some(connection) => connection,
            None => self.connect(1 << 10)?,
        };
        let result = f(&connection);
        let mut readers = self.readers.lock();
        if readers.len() < KEPT {
            readers.push(connection);
        }
        result
    }

    /// A connection with so many KiB of its own cache; the system's page cache does the rest.
    fn connect(&self, cache: u32) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.execute_batch(&format!(
            "PRAGMA page_size = 8192;
             PRAGMA cache_size = -{cache};
             PRAGMA mmap_size = 1073741824;
             PRAGMA synchronous = FULL;
             PRAGMA temp_store = MEMORY;"
        ))?;
        Ok(connection)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.read(None, |connection| {
            let mut statement = connection.prepare_cached(GET)?;
            let mut rows = statement.query([key])?;
            match rows.next()? {
                Some(row) => Ok(Some(bytes(row.get_ref(0)?)?)),
                None => Ok(None),
            }
        })
    }

    pub(super) fn scan(
        &self,
        span: &Span,
        reverse: bool,
        limit: usize,
        out: &mut Vec<Row>,
    ) -> Result<Scanned, Error> {
        self.read(Scanned::All, |connection| {
            let sql = if reverse { SCAN_BACK } else { SCAN };
            let mut statement = connection.prepare_cached(sql)?;
            let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![span.lower, span.upper, limit_sql])?;
            let (mut found, mut size) = (0, 0);
            while let Some(row) = rows.next()? {
                let row = (bytes(row.get_ref(0)?)?, bytes(row.get_ref(1)?)?);
                found += 1;
                size += row.1.len();
                let last = row.0.clone();
                out.push(row);
                if found == limit || size > PAGE_BYTES {
                    return Ok(Scanned::Through(last));
                }
            }
            Ok(Scanned::All)
        })
    }

    /// Makes `rows` (ascending) and everything up to journal segment `applied` part of the file;
    /// on an error nothing changes.
    pub(super) fn apply<'a>(
        &self,
        rows: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
        applied: u64,
    ) -> Result<(), Error> {
        // A connection for the occasion: its cache goes with it.
        let mut connection = self.connect(16 << 10)?;
        if !self.exists.load(Ordering::Acquire) {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS rows (k BLOB PRIMARY KEY, v BLOB NOT NULL)
                 WITHOUT ROWID",
            )?;
        }
        let transaction = connection.transaction()?;
        {
            let mut put = transaction.prepare(PUT)?;
            let mut delete = transaction.prepare(DELETE)?;
            for (key, value) in rows {
                match value {
                    Some(value) => put.execute([&key[..], &value[..]])?,
                    None => delete.execute([&key[..]])?,
                };
            }
        }
        let applied = u32::try_from(applied)
            .map_err(|_| Error::Engine("the journal's numbers are used up".into()))?;
        transaction.pragma_update(None, "user_version", applied)?;
        transaction.commit()?;
        self.exists.store(true, Ordering::Release);
        Ok(())
    }
}

fn bytes(value: ValueRef<'_>) -> Result<Bytes, Error> {
    match value {
        ValueRef::Blob(bytes) => Ok(Bytes::copy_from_slice(bytes)),
        _ => Err(Error::Corrupt("a row is not made of bytes".into())),
    }
}
