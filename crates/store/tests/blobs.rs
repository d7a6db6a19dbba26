//! Blobs, and the state as a whole: snapshots and resets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use store::{
    Blob, BlobId, Durability, Error, Filter, NewBlob, Options, Read, Record, Scope, Store,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Object {
    body: Vec<Blob>,
}

impl Record for Object {
    const HOLDS_BLOBS: bool = true;

    fn blobs(&self, visit: &mut dyn FnMut(BlobId)) {
        self.body.iter().for_each(|blob| visit(blob.id));
    }
}

const SCOPE: &[&str] = &["test"];

fn open(dir: Option<&tempfile::TempDir>) -> Store {
    let dir = dir.map(|dir| dir.path().join("data"));
    Store::open(Options {
        dir,
        durability: Durability::Process,
        map: None,
        map_for_writing: None,
    })
    .unwrap()
}

/// `len` bytes that tell where they stand.
fn content(len: usize) -> Bytes {
    (0..len).map(|index| (index / 3 % 251) as u8).collect()
}

async fn write(store: &Store, content: &Bytes) -> NewBlob {
    let mut writer = store.blobs().create();
    for start in (0..content.len()).step_by(100_000) {
        let end = content.len().min(start + 100_000);
        writer.write(content.slice(start..end)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn read(store: &Store, id: BlobId, range: std::ops::Range<u64>) -> Result<Vec<u8>, Error> {
    let mut stream = store.blobs().read(id, range)?;
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece.unwrap());
    }
    Ok(all)
}

#[tokio::test]
async fn long_ranges_are_mapped_and_read_where_that_fails() {
    const LEN: u64 = 11 << 20;
    /// Maps, as far as a test can tell, the first half of the blob.
    fn map(file: &fs::File, range: Range<u64>) -> io::Result<Bytes> {
        if range.end > LEN * 3 / 4 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start)?;
        // A sign that the piece came this way.
        bytes[0] = !bytes[0];
        Ok(bytes.into())
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options {
        dir: Some(dir.path().into()),
        map: Some(map),
        ..Options::default()
    })
    .unwrap();
    let whole = content(LEN as usize);
    let blob = write(&store, &whole).await;

    let mut expected = whole.to_vec();
    expected[1000] = !expected[1000];
    expected[1000 + (4 << 20)] = !expected[1000 + (4 << 20)];
    let all = read(&store, blob.id, 1000..u64::MAX).await.unwrap();
    assert!(
        all == expected[1000..],
        "two stretches mapped, the rest read"
    );

    let short = read(&store, blob.id, 1000..3 << 20).await.unwrap();
    assert!(short == whole[1000..3 << 20], "a short range is read");
    assert!(
        read(&store, blob.id, LEN..u64::MAX)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn put(store: &Store, account: &str, key: &str, content: &Bytes) -> Blob {
    let objects = store.table::<(String, String), Object>("files.objects");
    let new = write(store, content).await;
    let put = store.transact::<_, Error>(Scope::new(SCOPE), |tx| {
        tx.link(new.id);
        tx.put(&objects, &(account, key), &Object { body: vec![*new] })
    });
    put.await.unwrap();
    *new
}

async fn release(store: &Store, id: BlobId) {
    let release = store.transact::<_, Error>(Scope::new(SCOPE), |tx| {
        tx.release(id);
        Ok(())
    });
    release.await.unwrap();
}

/// Deletion goes on behind the commit.
async fn is_gone(store: &Store, id: BlobId) {
    while !matches!(store.blobs().read(id, 0..1), Err(Error::NoBlob(_))) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_blob_comes_back_whole_and_in_part() {
    let dir = tempfile::tempdir().unwrap();
    for store in [open(None), open(Some(&dir))] {
        for len in [0, 1, 70_000, 3_000_000] {
            let content = content(len);
            let blob = put(&store, "a", "k", &content).await;
            assert_eq!(blob.len, len as u64);
            assert_eq!(read(&store, blob.id, 0..u64::MAX).await.unwrap(), content);
            let (start, end) = (len / 3, len / 3 * 2);
            let part = read(&store, blob.id, start as u64..end as u64)
                .await
                .unwrap();
            assert_eq!(part, content[start..end]);
        }
    }
}

#[tokio::test]
async fn a_blob_goes_with_its_last_link_and_its_readers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    for store in [open(None), open(Some(&dir))] {
        let content = content(3_000_000);
        let blob = put(&store, "a", "k", &content).await;
        let again = store.transact::<_, Error>(Scope::new(SCOPE), |tx| {
            tx.link(blob.id);
            Ok(())
        });
        again.await.unwrap();
        release(&store, blob.id).await;
        let mut reader = store.blobs().read(blob.id, 0..u64::MAX).unwrap();
        release(&store, blob.id).await;
        is_gone(&store, blob.id).await;
        let mut all = Vec::new();
        while let Some(piece) = reader.next().await {
            all.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(all, content);
    }
}

#[tokio::test]
async fn a_pinned_blob_outlives_its_last_link() {
    let dir = tempfile::tempdir().unwrap();
    for store in [open(None), open(Some(&dir))] {
        let content = content(200_000);
        let blob = put(&store, "a", "k", &content).await;
        let (pin, other) = (
            store.blobs().pin([blob.id, blob.id]),
            store.blobs().pin([blob.id]),
        );
        release(&store, blob.id).await;
        assert_eq!(read(&store, blob.id, 0..u64::MAX).await.unwrap(), content);
        drop(pin);
        assert_eq!(read(&store, blob.id, 0..9).await.unwrap(), content[..9]);
        drop(other);
        is_gone(&store, blob.id).await;
        let kept = put(&store, "a", "k", &content).await;
        drop(store.blobs().pin([kept.id]));
        assert_eq!(read(&store, kept.id, 0..9).await.unwrap(), content[..9]);
    }
}

#[tokio::test]
async fn an_unfinished_or_unlinked_blob_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for store in [open(None), open(Some(&dir))] {
        let mut writer = store.blobs().create();
        writer.write(content(3_000_000)).await.unwrap();
        drop(writer);
        let new = write(&store, &content(9)).await;
        let id = new.id;
        drop(new);
        is_gone(&store, id).await;
        let link = store.transact::<_, Error>(Scope::new(SCOPE), |tx| {
            tx.link(id);
            Ok(())
        });
        assert!(matches!(link.await, Err(Error::NoBlob(_))));
    }
    let files = || walk(dir.path().join("data/blobs"));
    while files() > 0 {
        tokio::task::yield_now().await;
    }
}

fn walk(dir: std::path::PathBuf) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| {
            if entry.path().is_dir() {
                walk(entry.path())
            } else {
                1
            }
        })
        .sum()
}

#[tokio::test]
async fn files_that_a_crash_left_are_swept_and_linked_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Some(&dir));
    let kept = put(&store, "a", "k", &content(9)).await;
    let lost = write(&store, &content(9)).await;
    let id = lost.id;
    // As a crash would: without its destructor.
    std::mem::forget(lost);
    drop(store);
    // The forgotten blob holds no lock, so the directory is free again.
    let store = open(Some(&dir));
    is_gone(&store, id).await;
    assert_eq!(read(&store, kept.id, 0..9).await.unwrap(), content(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_brings_back_what_a_reset_took() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for store in [open(None), open(Some(&dirs[0]))] {
        let file = dirs[1].path().join("snapshot");
        let objects = store.table::<(String, String), Object>("files.objects");
        let a = put(&store, "a", "k", &content(500_000)).await;
        let b = put(&store, "b", "k", &content(10)).await;
        let whole = Filter::default();
        let of_a = Filter {
            service: Some("files".into()),
            account: Some("a".into()),
        };
        store.snapshot_save(&file, &whole).unwrap();

        tokio::task::block_in_place(|| store.reset(&of_a)).unwrap();
        is_gone(&store, a.id).await;
        let has = |account: &str| store.read().contains(&objects, &(account, "k")).unwrap();
        assert_eq!((has("a"), has("b")), (false, true));
        let other = Filter {
            service: Some("other".into()),
            account: None,
        };
        store.reset(&other).unwrap();
        assert!(has("b"));

        store.snapshot_load(&file, &of_a).unwrap();
        assert_eq!((has("a"), has("b")), (true, true));
        assert_eq!(
            read(&store, a.id, 0..u64::MAX).await.unwrap(),
            content(500_000)
        );

        store.reset(&whole).unwrap();
        is_gone(&store, a.id).await;
        is_gone(&store, b.id).await;
        assert_eq!((has("a"), has("b")), (false, false));

        store.snapshot_load(&file, &whole).unwrap();
        assert_eq!(read(&store, b.id, 0..u64::MAX).await.unwrap(), content(10));
        // The counts are right: one release is the last.
        release(&store, a.id).await;
        is_gone(&store, a.id).await;
        store.reset(&whole).unwrap();
    }
}

#[test]
fn a_damaged_snapshot_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(None);
    let objects = store.table::<(String, String), Object>("files.objects");
    let put = |key: &str| {
        store.transact_now::<_, Error>(Scope::new(SCOPE), |tx| {
            tx.put(&objects, &("a", key), &Object { body: vec![] })
        })
    };
    put("saved").unwrap();
    let file = dir.path().join("snapshot");
    store.snapshot_save(&file, &Filter::default()).unwrap();
    put("later").unwrap();
    let whole = std::fs::read(&file).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&file, &whole[..len]).unwrap();
        assert!(store.snapshot_load(&file, &Filter::default()).is_err());
    }
    assert!(store.read().contains(&objects, &("a", "later")).unwrap());
}

/// The files under a directory, by their inode.
fn inodes(dir: &std::path::Path) -> Vec<u64> {
    use std::os::unix::fs::DirEntryExt;
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| match entry.path().is_dir() {
            true => inodes(&entry.path()),
            false => vec![entry.ino()],
        })
        .collect()
}

#[tokio::test]
async fn the_file_of_a_deleted_blob_takes_in_another_and_nobody_notices() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Some(&dir));
    let files = dir.path().join("data/blobs");
    let first = put(&store, "a", "k", &content(2_500_000)).await;
    let inode = inodes(&files);
    release(&store, first.id).await;
    is_gone(&store, first.id).await;
    // Shorter, longer than one buffer, longer than the file, and empty.
    for len in [20_000, 1_500_000, 3_000_000, 0] {
        let blob = put(&store, "a", "k", &content(len)).await;
        assert_eq!(inodes(&files), inode, "{len}: the same file");
        let whole = read(&store, blob.id, 0..u64::MAX).await.unwrap();
        assert!(whole == content(len), "{len}: nothing of the one before");
        assert!(matches!(
            store.blobs().read(first.id, 0..1),
            Err(Error::NoBlob(_))
        ));
        release(&store, blob.id).await;
        is_gone(&store, blob.id).await;
    }
    // What is being read is not written over.
    let kept = put(&store, "a", "k", &content(300_000)).await;
    let mut reader = store.blobs().read(kept.id, 0..u64::MAX).unwrap();
    release(&store, kept.id).await;
    is_gone(&store, kept.id).await;
    put(&store, "a", "k", &Bytes::from(vec![7; 300_000])).await;
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await {
        all.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(all, content(300_000));
}
