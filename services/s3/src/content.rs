//! Taking bodies in and giving them out: hashed and encrypted on the way, never held whole where they are large.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use parking_lot::Mutex;
use store::{BlobPin, Blobs, NewBlob};
use tokio::sync::Notify;
use wire::body::ByteStream;
use wire::{Body, BodyError, Fault};

use crate::checksum::{Algorithm, Hasher};
use crate::data_key::{self, DataKey};
use crate::fault;
use crate::object::Piece;

/// Contents up to this length are kept beside their record.
pub const INLINE: u64 = 16 * 1024;
/// The longest object of one request: 5 GiB.
pub const MAX_PUT: u64 = 5 << 30;
/// Bytes that are worth a thread away from those that serve requests: what a connection reads at once is 128 KiB, with a request's
/// headers in the first of them.
const BATCH: usize = 64 * 1024;
/// Bytes that may wait to be hashed.
const AHEAD: usize = 2 * 1024 * 1024;

/// What is to be done with a body.
pub struct Plan<'a> {
    /// The checksum to compute.
    pub algorithm: Algorithm,
    /// A second one, where the client's own is another than the one that is kept.
    pub also: Option<Algorithm>,
    /// The key to encrypt with.
    pub key: Option<&'a DataKey>,
    /// Whether a small content may stay out of the blobs.
    pub inline: bool,
}

/// A body that was taken in. Nothing refers to it yet.
pub struct Taken {
    /// Its length.
    pub size: u64,
    /// Its MD5.
    pub md5: [u8; 16],
    /// Its checksum in base64.
    pub checksum: String,
    /// The second one.
    pub also: Option<String>,
    /// The first counter block where it is encrypted.
    pub nonce: Option<[u8; 16]>,
    /// Its bytes, as they are kept.
    pub bytes: Kept,
}

/// Where a body's bytes went.
pub enum Kept {
    /// Nowhere yet: they are few.
    Held(Vec<u8>),
    /// Into a blob.
    Blob(NewBlob),
}

impl Taken {
    /// The piece that its blob is; `None` for what is held.
    pub fn piece(&self) -> Option<Piece> {
        match &self.bytes {
            Kept::Held(_) => None,
            Kept::Blob(blob) => Some(Piece {
                blob: **blob,
                nonce: self.nonce,
            }),
        }
    }
}

struct Hashes {
    md5: Md5,
    checksum: Hasher,
    also: Option<Hasher>,
}

/// MD5, checksum, second checksum.
type Sums = ([u8; 16], String, Option<String>);

impl Hashes {
    fn new(plan: &Plan<'_>) -> Hashes {
        Hashes {
            md5: Md5::new(),
            checksum: Hasher::new(plan.algorithm),
            also: plan.also.map(Hasher::new),
        }
    }
    fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.checksum.update(bytes);
        if let Some(also) = &mut self.also {
            also.update(bytes);
        }
    }
    fn finish(self) -> Sums {
        let also = self.also.map(Hasher::finish);
        (self.md5.finalize().into(), self.checksum.finish(), also)
    }
}

/// Hashes on a thread for blocking work, which takes what has arrived while it was busy and ends when there is no more:
/// a slow sender keeps no thread.
struct Hashing {
    shared: Arc<Mutex<Queue>>,
    taken: Arc<Notify>,
    thread: Option<tokio::task::JoinHandle<()>>,
}

struct Queue {
    /// Away while a thread hashes.
    hashes: Option<Hashes>,
    chunks: Vec<Bytes>,
    size: usize,
}

impl Hashing {
    fn new(plan: &Plan<'_>) -> Hashing {
        let hashes = Hashes::new(plan);
        Hashing {
            shared: Arc::new(Mutex::new(Queue {
                hashes: Some(hashes),
                chunks: Vec::new(),
                size: 0,
            })),
            taken: Arc::default(),
            thread: None,
        }
    }
    /// Waits while the sender is too far ahead.
    async fn update(&mut self, bytes: Bytes) {
        let idle = {
            let mut queue = self.shared.lock();
            queue.size += bytes.len();
            queue.chunks.push(bytes);
            let is_worth_it = queue.size >= BATCH;
            queue.hashes.take_if(|_| is_worth_it)
        };
        if let Some(hashes) = idle {
            let (shared, taken) = (self.shared.clone(), self.taken.clone());
            let run = move || hash(hashes, &shared, &taken);
            self.thread = Some(tokio::task::spawn_blocking(run));
        }
        while self.shared.lock().size > AHEAD {
            self.taken.notified().await;
        }
    }
    async fn finish(self) -> Result<Sums, Fault> {
        if let Some(thread) = self.thread {
            thread.await?;
        }
        let mut queue = self.shared.lock();
        let rest = std::mem::take(&mut queue.chunks);
        let mut hashes = queue.hashes.take().ok_or_else(|| {
            Fault::internal("We encountered an internal error. Please try again.")
        })?;
        rest.iter().for_each(|bytes| hashes.update(bytes));
        Ok(hashes.finish())
    }
}

/// Hashes until the queue is empty.
fn hash(mut hashes: Hashes, shared: &Mutex<Queue>, taken: &Notify) {
    loop {
        let mut queue = shared.lock();
        if queue.chunks.is_empty() {
            queue.hashes = Some(hashes);
            return;
        }
        let chunks = std::mem::take(&mut queue.chunks);
        queue.size = 0;
        drop(queue);
        taken.notify_one();
        chunks.iter().for_each(|bytes| hashes.update(bytes));
    }
}

/// Takes a body in.
pub async fn take(blobs: &Blobs, body: Body, plan: &Plan<'_>) -> Result<Taken, Fault> {
    let Some(announced) = body.len() else {
        return Err(Fault::sender(
            411,
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
        ));
    };
    if announced > MAX_PUT {
        return Err(too_large(announced));
    }
    let taken = take_any(blobs, body, plan, announced).await?;
    if taken.size == announced {
        Ok(taken)
    } else {
        Err(incomplete())
    }
}

/// The same where the length, at most `limit`, need not be known before.
pub async fn take_any(
    blobs: &Blobs,
    body: Body,
    plan: &Plan<'_>,
    limit: u64,
) -> Result<Taken, Fault> {
    let nonce = plan.key.map(|_| data_key::nonce());
    if body.len().is_some_and(|len| len <= INLINE) && plan.inline {
        let bytes = body.collect(INLINE).await?;
        let mut hashes = Hashes::new(plan);
        hashes.update(&bytes);
        let kept = match (plan.key, &nonce) {
            (Some(key), Some(nonce)) => key.cipher(nonce, 0).apply(&bytes),
            _ => bytes.to_vec(),
        };
        let (md5, checksum, also) = hashes.finish();
        return Ok(Taken {
            size: bytes.len() as u64,
            md5,
            checksum,
            also,
            nonce,
            bytes: Kept::Held(kept),
        });
    }
    let mut hashing = Hashing::new(plan);
    let mut writer = blobs.create();
    let mut cipher = plan
        .key
        .zip(nonce.as_ref())
        .map(|(key, nonce)| key.cipher(nonce, 0));
    let mut stream = body.into_stream();
    let mut size = 0u64;
    while let Some(chunk) = stream.try_next().await? {
        size += chunk.len() as u64;
        if size > limit {
            return Err(incomplete());
        }
        let kept = match &mut cipher {
            Some(cipher) => cipher.apply(&chunk).into(),
            None => chunk.clone(),
        };
        writer.write(kept).await?;
        hashing.update(chunk).await;
    }
    let blob = writer.finish().await?;
    let (md5, checksum, also) = hashing.finish().await?;
    Ok(Taken {
        size,
        md5,
        checksum,
        also,
        nonce,
        bytes: Kept::Blob(blob),
    })
}

/// Why a stream could not be gathered.
pub enum Gathering {
    /// It is longer than allowed; tells how much had come.
    TooLarge(u64),
    /// It broke.
    Failed(BodyError),
}

/// A body of a stream whose length nobody said: held where it is short.
pub async fn gather(mut stream: ByteStream, limit: u64) -> Result<Body, Gathering> {
    let mut head: Vec<u8> = Vec::new();
    while head.len() as u64 <= INLINE {
        match stream.try_next().await.map_err(Gathering::Failed)? {
            Some(chunk) => head.extend_from_slice(&chunk),
            None if head.len() as u64 > limit => {
                return Err(Gathering::TooLarge(head.len() as u64));
            }
            None => return Ok(head.into()),
        }
    }
    if head.len() as u64 > limit {
        return Err(Gathering::TooLarge(head.len() as u64));
    }
    let mut left = limit;
    let whole = futures_util::stream::once(async move { Ok(Bytes::from(head)) }).chain(stream);
    let bounded = whole.map(move |chunk| {
        let chunk = chunk?;
        left = left
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| BodyError::Rejected {
                code: "EntityTooLarge",
                message: "Your proposed upload exceeds the maximum allowed size".to_owned(),
            })?;
        Ok(chunk)
    });
    Ok(Body::stream(Box::pin(bounded), None))
}

fn incomplete() -> Fault {
    Fault::sender(
        400,
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}

/// `EntityTooLarge`.
pub fn too_large(proposed: u64) -> Fault {
    Fault::sender(
        400,
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
    )
    .field("ProposedSize", proposed.to_string())
    .field("MaxSizeAllowed", MAX_PUT.to_string())
}

/// Whether more than one of the pieces has bytes of `range`.
pub fn is_in_several(pieces: &[Piece], range: &Range<u64>) -> bool {
    let mut start = 0u64;
    let touched = pieces.iter().filter(|piece| {
        let end = start + piece.blob.len;
        let is_touched = start < range.end && end > range.start;
        start = end;
        is_touched
    });
    touched.take(2).count() > 1
}

/// The bytes of `range` out of pieces, decrypted with `key`. The first piece is opened at once: an error is that its
/// content has been replaced. Further ones are opened when their turn comes, which `pin` keeps them for.
pub fn read(
    blobs: &Blobs,
    pieces: &[Piece],
    range: Range<u64>,
    key: Option<&DataKey>,
    pin: Option<BlobPin>,
) -> Result<Body, store::Error> {
    let mut parts: Vec<(Piece, Range<u64>)> = Vec::new();
    let mut start = 0u64;
    for piece in pieces {
        let end = start + piece.blob.len;
        if start < range.end && end > range.start {
            let within = range.start.saturating_sub(start)..range.end.min(end) - start;
            parts.push((piece.clone(), within));
        }
        start = end;
    }
    let len = range.end.saturating_sub(range.start);
    let mut parts = parts.into_iter();
    let Some((first, within)) = parts.next() else {
        return Ok(Body::Empty);
    };
    let head = open(blobs, &first, within, key)?;
    let (blobs, key) = (blobs.clone(), key.cloned());
    let tail = futures_util::stream::iter(parts).flat_map(move |(piece, within)| -> ByteStream {
        let _ = &pin;
        match open(&blobs, &piece, within, key.as_ref()) {
            Ok(stream) => stream,
            Err(error) => {
                let error = BodyError::Io(error.to_string());
                Box::pin(futures_util::stream::once(async move { Err(error) }))
            }
        }
    });
    Ok(Body::stream(Box::pin(head.chain(tail)), Some(len)))
}

fn open(
    blobs: &Blobs,
    piece: &Piece,
    within: Range<u64>,
    key: Option<&DataKey>,
) -> Result<ByteStream, store::Error> {
    let mut cipher = key
        .zip(piece.nonce.as_ref())
        .map(|(key, nonce)| key.cipher(nonce, within.start));
    let stream = blobs.read(piece.blob.id, within)?;
    Ok(Box::pin(stream.map(move |chunk| {
        let chunk = chunk.map_err(|error| BodyError::Io(error.to_string()))?;
        Ok(match &mut cipher {
            Some(cipher) => cipher.apply(&chunk).into(),
            None => chunk,
        })
    })))
}

/// Compares a body's MD5 with `Content-MD5`. The error shows what was expected as `shown` writes it.
pub fn check_md5(
    announced: Option<&str>,
    md5: &[u8; 16],
    shown: impl FnOnce(&[u8]) -> String,
) -> Result<(), Fault> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let Some(announced) = announced else {
        return Ok(());
    };
    match STANDARD.decode(announced) {
        Ok(bytes) if bytes[..] == md5[..] => Ok(()),
        Ok(bytes) if bytes.len() == 16 => Err(Fault::sender(
            400,
            "BadDigest",
            "The Content-MD5 you specified did not match what we received.",
        )
        .field("ExpectedDigest", shown(&bytes))
        .field("CalculatedDigest", STANDARD.encode(md5))),
        _ => Err(fault::invalid_digest(announced)),
    }
}
