//! Each candidate behind one small trait.

use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

pub type Key = [u8; 16];

pub trait Engine: Send + Sync {
    /// One commit that survives `kill -9` if the engine allows that at all without a sync.
    fn put(&self, keys: &[Key], value: &[u8]);
    /// One put by one of many writers, which may share a commit.
    fn put_grouped(&self, key: Key, value: &[u8]) {
        self.put(&[key], value);
    }
    fn get(&self, key: &Key) -> Option<Vec<u8>>;
    fn range(&self, from: &Key, count: usize) -> usize;
    fn is_quick(&self) -> bool {
        true
    }
    /// Does now what the engine has put off.
    fn settle(&self) {}
}

pub fn open(name: &str, dir: &Path) -> Arc<dyn Engine> {
    match name {
        "fjall" => Arc::new(Fjall::open(dir, false)),
        "fjall-tuned" => Arc::new(Fjall::open(dir, true)),
        "sqlite" => Arc::new(Sqlite::open(dir, "NORMAL")),
        "sqlite-disk" => Arc::new(Sqlite::open(dir, "FULL")),
        "lmdb-disk" => Arc::new(Lmdb::open(dir, heed::EnvFlags::empty())),
        "lmdb-nosync" => Arc::new(Lmdb::open(dir, heed::EnvFlags::NO_SYNC)),
        "lmdb-writemap" => {
            Arc::new(Lmdb::open(dir, heed::EnvFlags::NO_SYNC | heed::EnvFlags::WRITE_MAP))
        }
        "redb-disk" => Arc::new(Redb::open(dir, redb::Durability::Immediate)),
        "redb-none" => Arc::new(Redb::open(dir, redb::Durability::None)),
        "store" => Arc::new(Own::open(dir, store::Durability::Process)),
        "store-disk" => Arc::new(Own::open(dir, store::Durability::Disk)),
        _ => panic!("no engine {name}"),
    }
}

struct Fjall(fjall::Database, fjall::Keyspace);

impl Fjall {
    fn open(dir: &Path, tuned: bool) -> Fjall {
        let mut builder = fjall::Database::builder(dir);
        let mut options = fjall::KeyspaceCreateOptions::default();
        if tuned {
            builder = builder.worker_threads(1).max_journaling_size(64 << 20).cache_size(8 << 20);
            options = options.max_memtable_size(8 << 20);
        }
        let db = builder.open().unwrap();
        let rows = db.keyspace("rows", || options).unwrap();
        Fjall(db, rows)
    }
}

impl Engine for Fjall {
    fn put(&self, keys: &[Key], value: &[u8]) {
        let mut batch = self.0.batch();
        for key in keys {
            batch.insert(&self.1, key, value);
        }
        batch.commit().unwrap();
    }
    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        self.1.get(key).unwrap().map(|value| value.to_vec())
    }
    fn range(&self, from: &Key, count: usize) -> usize {
        self.1.range(&from[..]..).take(count).map(|row| row.into_inner().unwrap().1.len()).sum()
    }
}

struct Sqlite {
    write: Mutex<rusqlite::Connection>,
    read: Mutex<rusqlite::Connection>,
    queue: Mutex<Queue>,
    committed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<(Key, Vec<u8>)>,
    batch: u64,
    busy: bool,
}

impl Sqlite {
    fn open(dir: &Path, synchronous: &str) -> Sqlite {
        let connect = || {
            let connection = rusqlite::Connection::open(dir.join("rows.sqlite")).unwrap();
            connection
                .execute_batch(&format!(
                    "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL;
                     PRAGMA synchronous = {synchronous}; PRAGMA mmap_size = 1073741824;
                     CREATE TABLE IF NOT EXISTS rows (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID;"
                ))
                .unwrap();
            Mutex::new(connection)
        };
        Sqlite {
            write: connect(),
            read: connect(),
            queue: Mutex::default(),
            committed: Condvar::new(),
        }
    }

    fn commit<'a>(&self, rows: impl Iterator<Item = (&'a Key, &'a [u8])>) {
        let mut connection = self.write.lock().unwrap();
        let tx = connection.transaction().unwrap();
        for (key, value) in rows {
            tx.prepare_cached("INSERT OR REPLACE INTO rows VALUES (?1, ?2)")
                .unwrap()
                .execute([&key[..], value])
                .unwrap();
        }
        tx.commit().unwrap();
    }
}

impl Engine for Sqlite {
    fn put(&self, keys: &[Key], value: &[u8]) {
        self.commit(keys.iter().map(|key| (key, value)));
    }
    fn put_grouped(&self, key: Key, value: &[u8]) {
        let mut queue = self.queue.lock().unwrap();
        queue.waiting.push((key, value.to_vec()));
        let mine = queue.batch;
        loop {
            if queue.batch > mine + u64::from(queue.busy) {
                return;
            }
            if !queue.busy && queue.batch == mine {
                let rows = std::mem::take(&mut queue.waiting);
                queue.busy = true;
                queue.batch += 1;
                drop(queue);
                self.commit(rows.iter().map(|(key, value)| (key, &value[..])));
                queue = self.queue.lock().unwrap();
                queue.busy = false;
                self.committed.notify_all();
                return;
            }
            queue = self.committed.wait(queue).unwrap();
        }
    }
    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let connection = self.read.lock().unwrap();
        let mut get = connection.prepare_cached("SELECT v FROM rows WHERE k = ?1").unwrap();
        get.query_row([&key[..]], |row| row.get(0)).ok()
    }
    fn range(&self, from: &Key, count: usize) -> usize {
        let connection = self.read.lock().unwrap();
        let mut range = connection
            .prepare_cached("SELECT k, v FROM rows WHERE k >= ?1 ORDER BY k LIMIT ?2")
            .unwrap();
        range
            .query_map(rusqlite::params![&from[..], count as i64], |row| row.get::<_, Vec<u8>>(1))
            .unwrap()
            .map(|value| value.unwrap().len())
            .sum()
    }
    fn is_quick(&self) -> bool {
        false
    }
}

const ROWS: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("rows");

struct Redb(redb::Database, redb::Durability);

impl Redb {
    fn open(dir: &Path, durability: redb::Durability) -> Redb {
        let db = redb::Builder::new()
            .set_cache_size(16 << 20)
            .create(dir.join("rows.redb"))
            .unwrap();
        let tx = db.begin_write().unwrap();
        tx.open_table(ROWS).unwrap();
        tx.commit().unwrap();
        Redb(db, durability)
    }
}

impl Engine for Redb {
    fn put(&self, keys: &[Key], value: &[u8]) {
        let mut tx = self.0.begin_write().unwrap();
        let durable = if keys.len() > 1 { redb::Durability::Immediate } else { self.1 };
        tx.set_durability(durable).unwrap();
        {
            let mut table = tx.open_table(ROWS).unwrap();
            for key in keys {
                table.insert(&key[..], value).unwrap();
            }
        }
        tx.commit().unwrap();
    }
    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        use redb::ReadableDatabase;
        let table = self.0.begin_read().unwrap().open_table(ROWS).unwrap();
        table.get(&key[..]).unwrap().map(|value| value.value().to_vec())
    }
    fn range(&self, from: &Key, count: usize) -> usize {
        use redb::ReadableDatabase;
        let table = self.0.begin_read().unwrap().open_table(ROWS).unwrap();
        table.range(&from[..]..).unwrap().take(count).map(|row| row.unwrap().1.value().len()).sum()
    }
    fn is_quick(&self) -> bool {
        false
    }
}

type Rows = heed::Database<heed::types::Bytes, heed::types::Bytes>;

struct Lmdb(heed::Env, Rows);

impl Lmdb {
    fn open(dir: &Path, flags: heed::EnvFlags) -> Lmdb {
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(8 << 30);
        // SAFETY: nobody else opens or changes the files of a benchmark.
        let env = unsafe { options.flags(flags).open(dir) }.unwrap();
        let mut tx = env.write_txn().unwrap();
        let rows = env.create_database(&mut tx, None).unwrap();
        tx.commit().unwrap();
        Lmdb(env, rows)
    }
}

impl Engine for Lmdb {
    fn put(&self, keys: &[Key], value: &[u8]) {
        let mut tx = self.0.write_txn().unwrap();
        for key in keys {
            self.1.put(&mut tx, key, value).unwrap();
        }
        tx.commit().unwrap();
    }
    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let tx = self.0.read_txn().unwrap();
        self.1.get(&tx, key).unwrap().map(<[u8]>::to_vec)
    }
    fn range(&self, from: &Key, count: usize) -> usize {
        let tx = self.0.read_txn().unwrap();
        let rows = self.1.range(&tx, &(Bound::Included(&from[..]), Bound::Unbounded)).unwrap();
        rows.take(count).map(|row| row.unwrap().1.len()).sum()
    }
    fn is_quick(&self) -> bool {
        false
    }
}

/// The store itself, with its typed keys and records.
struct Own(store::Store, store::Table<Key, Raw>);

#[derive(serde::Serialize, serde::Deserialize)]
struct Raw(#[serde(with = "serde_bytes")] Vec<u8>);

impl store::Record for Raw {}

impl Own {
    fn open(dir: &Path, durability: store::Durability) -> Own {
        let options = store::Options { dir: Some(dir.into()), durability };
        let store = store::Store::open(options).unwrap();
        let table = store.table("bench.rows");
        Own(store, table)
    }
}

impl Engine for Own {
    fn put(&self, keys: &[Key], value: &[u8]) {
        let value = Raw(value.to_vec());
        self.0
            .transact_now::<_, store::Error>(store::Scope::new(&["bench"]), |tx| {
                keys.iter().try_for_each(|key| tx.put(&self.1, key, &value))
            })
            .unwrap();
    }
    fn put_grouped(&self, key: Key, value: &[u8]) {
        self.put(&[key], value);
    }
    fn settle(&self) {
        self.0.flush().unwrap();
    }
    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        use store::Read;
        self.0.read().get(&self.1, key).unwrap().map(|raw: Raw| raw.0)
    }
    fn range(&self, from: &Key, count: usize) -> usize {
        use store::{Range, Read};
        let view = self.0.read();
        let from = Range::all().from(from).limit(count);
        view.range(&self.1, from).map(|row| row.unwrap().1.0.len()).sum()
    }
}
