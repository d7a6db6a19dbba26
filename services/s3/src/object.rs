//! Objects: the record of a version, and the tables that hold current and older ones.
//!
//! A key's current version has its own row, so that reading and listing never meet older ones. Those lie in a second
//! table, newest first. Contents of a few kilobytes lie in a third, so that listings do not carry them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::alphabet::Alphabet;
use base64::engine::general_purpose::GeneralPurpose;
use serde::{Deserialize, Serialize};
use store::{Blob, BlobId, Decoded, Range, Read, Record, Store, Table, Tx};
use wire::{Fault, Timestamp};

use crate::acl::Acl;
use crate::bucket::{Bucket, Versioning};
use crate::checksum::Checksum;
use crate::data_key::Sealed;
use crate::encryption::Encryption;
use crate::fault;

/// The id of versions that were written while versioning was not enabled.
pub const NULL: &str = "null";

/// Where the bytes are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// There are none.
    #[default]
    Empty,
    /// In the table of contents.
    Inline,
    /// In blobs, one after the other.
    Pieces(Vec<Piece>),
}

/// One blob of a content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The blob.
    pub blob: Blob,
    /// Where it is encrypted: the first counter block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<[u8; 16]>,
}

/// A part that a multipart upload was completed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its number.
    pub number: i32,
    /// Its length.
    pub size: u64,
    /// Its checksum in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// Headers that are kept and given back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Headers {
    /// `Content-Type`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Cache-Control`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Content-Disposition`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Encoding`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Expires`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// `x-amz-website-redirect-location`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website_redirect: Option<String>,
}

/// How a version is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    /// Milliseconds since 1970.
    pub until: i64,
}

/// The version that a replica is of. It has the same id, place and time, so that a replication that is carried out
/// twice changes nothing.
#[derive(Clone, Debug)]
pub struct Origin {
    id: Option<String>,
    seq: u64,
    modified: i64,
}

impl Origin {
    /// The origin of replicas of that version.
    pub fn of(version: &Version) -> Origin {
        Origin {
            id: version.id.clone(),
            seq: version.seq,
            modified: version.modified,
        }
    }
}

/// A copy out of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Until when it is there, milliseconds since 1970.
    pub until: i64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Grows with every version of the key; tells its place.
    pub seq: u64,
    /// Its id; absent for the null version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it was written, milliseconds since 1970.
    pub modified: i64,
    /// When a newer one took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noncurrent_since: Option<i64>,
    /// Whether it only says that the object is gone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_delete_marker: bool,
    /// Length in bytes.
    #[serde(default)]
    pub size: u64,
    /// Without quotes.
    #[serde(default)]
    pub etag: String,
    /// Where the bytes are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub content: Content,
    /// The account that owns it.
    pub owner: String,
    /// Headers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers: Headers,
    /// `x-amz-meta-…`
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: BTreeMap<String, String>,
    /// Absent for `STANDARD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Its checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// How it is encrypted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encryption: Encryption,
    /// The key that the bytes are encrypted with; absent where they are plain or under the customer's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// Tags.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<(String, String)>,
    /// Who may do what; absent where only the owner may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,
    /// Parts of a multipart upload.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parts: Vec<Part>,
    /// The multipart upload that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// Until when it cannot be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Whether a legal hold is on it; absent where none was ever set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<bool>,
    /// `PENDING`, `COMPLETED`, `FAILED` or `REPLICA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<String>,
    /// A copy out of an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

impl Record for Version {
    const HOLDS_BLOBS: bool = true;
    fn blobs(&self, visit: &mut dyn FnMut(BlobId)) {
        if let Content::Pieces(pieces) = &self.content {
            pieces.iter().for_each(|piece| visit(piece.blob.id));
        }
    }
}

impl Version {
    /// Makes it a replica of that version.
    pub fn replicate(&mut self, origin: Origin) {
        self.id = origin.id;
        self.seq = origin.seq;
        self.modified = origin.modified;
        self.replication = Some("REPLICA".to_owned());
    }
    /// Its id as clients see it.
    pub fn shown_id(&self) -> &str {
        self.id.as_deref().unwrap_or(NULL)
    }
    /// Whether it is the null version.
    pub fn is_null(&self) -> bool {
        self.id.is_none()
    }
    /// When it was written; HTTP's headers know no milliseconds.
    pub fn last_modified(&self) -> Timestamp {
        Timestamp(self.modified).whole_second()
    }
    /// Its ETag with quotes.
    pub fn quoted_etag(&self) -> String {
        ["\"", &self.etag, "\""].concat()
    }
    /// Its storage class.
    pub fn class(&self) -> &str {
        self.storage_class.as_deref().unwrap_or("STANDARD")
    }
    /// Whether it must be restored before it can be read.
    pub fn is_archived(&self, now: Timestamp) -> bool {
        matches!(self.class(), "GLACIER" | "DEEP_ARCHIVE")
            && self.restored.as_ref().is_none_or(|r| r.until <= now.0)
    }
    /// Its list.
    pub fn acl(&self) -> Acl {
        self.acl
            .clone()
            .unwrap_or_else(|| Acl::private(&self.owner))
    }
}

/// The bytes of a small content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inline(#[serde(with = "serde_bytes")] pub Vec<u8>);
impl Record for Inline {}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place(u64);
impl Record for Place {}

/// All objects of the region.
#[derive(Clone)]
pub struct Objects {
    /// The store.
    pub store: Store,
    /// Current versions by account, bucket and key.
    pub current: Table<(String, String, String), Version>,
    /// Current versions that were read lately.
    recent: Arc<Decoded<Version>>,
    /// Older versions; the last part counts down.
    pub older: Table<(String, String, String, u64), Version>,
    contents: Table<(String, String, String, u64), Inline>,
    /// The place of a null version among the older ones.
    nulls: Table<(String, String, String), Place>,
}

impl Objects {
    /// The tables of a store.
    pub fn open(store: &Store) -> Objects {
        Objects {
            store: store.clone(),
            current: store.table("s3.objects"),
            recent: Arc::default(),
            older: store.table("s3.versions"),
            contents: store.table("s3.contents"),
            nulls: store.table("s3.nulls"),
        }
    }
    /// The current version of a key, which may be a delete marker.
    pub fn current(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        key: &str,
    ) -> Result<Option<Version>, Fault> {
        Ok(Read::get(
            read,
            &self.current,
            &(&bucket.account, &bucket.name, key),
        )?)
    }
    /// The same, shared with whoever else reads it.
    pub fn current_shared(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        key: &str,
    ) -> Result<Option<Arc<Version>>, Fault> {
        let key = (&bucket.account, &bucket.name, key);
        Ok(self.recent.get(read, &self.current, &key)?)
    }
    /// The version of that id, and whether it is the current one.
    pub fn version(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        key: &str,
        id: &str,
    ) -> Result<Option<(Version, bool)>, Fault> {
        let place = place_of(id);
        if id != NULL && place.is_none() {
            return Err(invalid_id(id));
        }
        if let Some(current) = self.current(read, bucket, key)?
            && current.shown_id() == id
        {
            return Ok(Some((current, true)));
        }
        let place = match place {
            Some(place) => Some(place),
            None => Read::get(read, &self.nulls, &(&bucket.account, &bucket.name, key))?
                .map(|Place(p)| p),
        };
        let Some(place) = place else { return Ok(None) };
        let found = Read::get(
            read,
            &self.older,
            &(&bucket.account, &bucket.name, key, !place),
        )?;
        match found.filter(|v| v.shown_id() == id) {
            Some(version) => Ok(Some((version, false))),
            None if id == NULL || is_ours(id) => Ok(None),
            None => Err(invalid_id(id)),
        }
    }
    /// The bytes of a small content; `None` if they were replaced meanwhile.
    pub fn inline(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        key: &str,
        seq: u64,
    ) -> Result<Option<Vec<u8>>, Fault> {
        Ok(Read::get(
            read,
            &self.contents,
            &(&bucket.account, &bucket.name, key, seq),
        )?
        .map(|Inline(bytes)| bytes))
    }
    /// Whether the bucket has no versions at all.
    pub fn is_empty(&self, read: &impl Read, bucket: &Bucket) -> Result<bool, Fault> {
        let first = read
            .range(
                &self.current,
                Range::prefix(&(&bucket.account, &bucket.name)).limit(1),
            )
            .next_key()?;
        Ok(first.is_none())
    }

    /// Makes `version` the key's current one, as the bucket's versioning has it, and gives it its place and id, unless
    /// it is a replica, which has them.
    /// Returns the version that was current.
    pub fn insert(
        &self,
        tx: &mut Tx<'_>,
        bucket: &Bucket,
        key: &str,
        version: &mut Version,
        bytes: Option<Vec<u8>>,
    ) -> Result<Option<Version>, Fault> {
        let old = self.current(tx, bucket, key)?;
        if version.id.is_some() {
            self.insert_replica(tx, bucket, key, old.as_ref(), version, bytes)?;
            return Ok(old);
        }
        let micros = u64::try_from(version.modified)
            .unwrap_or(0)
            .saturating_mul(1000);
        version.seq = old.as_ref().map_or(micros, |old| micros.max(old.seq + 1));
        version.id = (bucket.record.versioning == Versioning::Enabled).then(|| new_id(version.seq));
        if let Some(old) = &old {
            if version.is_null() && old.is_null() {
                self.drop_content(tx, bucket, key, old);
            } else {
                self.retire(tx, bucket, key, old, version.modified)?;
            }
        }
        if version.is_null() && bucket.is_versioned() {
            self.drop_older_null(tx, bucket, key)?;
        }
        self.keep_content(tx, bucket, key, version, bytes)?;
        tx.put(
            &self.current,
            &(&bucket.account, &bucket.name, key),
            version,
        )?;
        Ok(old)
    }

    /// Puts a replica into its source's place, unless it is there.
    fn insert_replica(
        &self,
        tx: &mut Tx<'_>,
        bucket: &Bucket,
        key: &str,
        current: Option<&Version>,
        version: &mut Version,
        bytes: Option<Vec<u8>>,
    ) -> Result<(), Fault> {
        let place = (&bucket.account, &bucket.name, key, !version.seq);
        let is_there =
            current.is_some_and(|c| c.seq == version.seq) || tx.contains(&self.older, &place)?;
        if is_there {
            return Ok(());
        }
        self.keep_content(tx, bucket, key, version, bytes)?;
        match current {
            Some(newer) if newer.seq > version.seq => {
                version.noncurrent_since = Some(newer.modified);
                tx.put(&self.older, &place, version)?;
            }
            older => {
                if let Some(older) = older {
                    self.retire(tx, bucket, key, older, version.modified)?;
                }
                tx.put(&self.current, &(place.0, place.1, place.2), version)?;
            }
        }
        Ok(())
    }

    fn keep_content(
        &self,
        tx: &mut Tx<'_>,
        bucket: &Bucket,
        key: &str,
        version: &Version,
        bytes: Option<Vec<u8>>,
    ) -> Result<(), Fault> {
        if let Content::Pieces(pieces) = &version.content {
            pieces.iter().for_each(|piece| tx.link(piece.blob.id));
        }
        if let Some(bytes) = bytes {
            tx.put(
                &self.contents,
                &(&bucket.account, &bucket.name, key, version.seq),
                &Inline(bytes),
            )?;
        }
        Ok(())
    }

    /// Moves a version among the older ones.
    fn retire(
        &self,
        tx: &mut Tx<'_>,
        bucket: &Bucket,
        key: &str,
        old: &Version,
        since: i64,
    ) -> Result<(), Fault> {
        let mut old = old.clone();
        old.noncurrent_since = Some(since);
        tx.put(
            &self.older,
            &(&bucket.account, &bucket.name, key, !old.seq),
            &old,
        )?;
        if old.is_null() {
            tx.put(
                &self.nulls,
                &(&bucket.account, &bucket.name, key),
                &Place(old.seq),
            )?;
        }
        Ok(())
    }

    fn drop_older_null(&self, tx: &mut Tx<'_>, bucket: &Bucket, key: &str) -> Result<(), Fault> {
        let path = (&bucket.account, &bucket.name, key);
        let Some(Place(place)) = tx.get(&self.nulls, &path)? else {
            return Ok(());
        };
        // The version that was current may just have come here; it is not the one to be replaced.
        let older = (path.0, path.1, path.2, !place);
        if let Some(version) = tx.get(&self.older, &older)? {
            self.drop_content(tx, bucket, key, &version);
            tx.delete(&self.older, &older);
        }
        tx.delete(&self.nulls, &path);
        Ok(())
    }

    fn drop_content(&self, tx: &mut Tx<'_>, bucket: &Bucket, key: &str, version: &Version) {
        match &version.content {
            Content::Empty => {}
            Content::Inline => tx.delete(
                &self.contents,
                &(&bucket.account, &bucket.name, key, version.seq),
            ),
            Content::Pieces(pieces) => pieces.iter().for_each(|piece| tx.release(piece.blob.id)),
        }
    }

    /// Writes a changed version back in its place.
    pub fn update(
        &self,
        tx: &mut Tx<'_>,
        bucket: &Bucket,
        key: &str,
        version: &Version,
        is_current: bool,
    ) -> Result<(), Fault> {
        let path = (&bucket.account, &bucket.name, key);
        if is_current {
            tx.put(&self.current, &path, version)?;
        } else {
            tx.put(
                &self.older,
                &(path.0, path.1, path.2, !version.seq),
                version,
            )?;
        }
        Ok(())
    }

    /// Removes a version for good; the newest older one takes the place of a current one.
    pub fn remove(
        &self,
        tx: &mut Tx<'_>,
        bucket: &Bucket,
        key: &str,
        version: &Version,
        is_current: bool,
    ) -> Result<(), Fault> {
        let path = (&bucket.account, &bucket.name, key);
        self.drop_content(tx, bucket, key, version);
        if !is_current {
            tx.delete(&self.older, &(path.0, path.1, path.2, !version.seq));
            if version.is_null() {
                tx.delete(&self.nulls, &path);
            }
            return Ok(());
        }
        tx.delete(&self.current, &path);
        let newest = tx
            .range(&self.older, Range::prefix(&path).limit(1))
            .next()
            .transpose()?;
        if let Some((place, mut promoted)) = newest {
            tx.delete(&self.older, &place);
            if promoted.is_null() {
                tx.delete(&self.nulls, &path);
            }
            promoted.noncurrent_since = None;
            tx.put(&self.current, &path, &promoted)?;
        }
        Ok(())
    }
}

fn invalid_id(id: &str) -> Fault {
    fault::invalid_argument("Invalid version id specified", "versionId", id)
}

/// S3's version ids have letters, digits, points and underscores.
static LETTERS: LazyLock<GeneralPurpose> = LazyLock::new(|| {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
    // It is an alphabet: 64 letters, each once.
    let alphabet = Alphabet::new(letters).unwrap_or(base64::alphabet::URL_SAFE);
    GeneralPurpose::new(&alphabet, base64::engine::general_purpose::NO_PAD)
});

/// A new version id, from which the version's place can be told, and that it is one.
fn new_id(seq: u64) -> String {
    let mut bytes = [0u8; 24];
    if let Some(random) = bytes.get_mut(..16) {
        cloud::ids::random(random);
    }
    for (byte, mask) in seq.to_be_bytes().into_iter().enumerate() {
        bytes[byte] = bytes[byte + 8] ^ mask;
    }
    let sum = sum_of(&bytes);
    bytes[16..].copy_from_slice(&sum);
    LETTERS.encode(bytes)
}

/// The last bytes of an id, which its first ones determine (FNV-1a).
fn sum_of(bytes: &[u8; 24]) -> [u8; 8] {
    let sum = bytes
        .iter()
        .take(16)
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    sum.to_be_bytes()
}

fn bytes_of(id: &str) -> Option<[u8; 24]> {
    // Ids of former versions of this program had hyphens.
    LETTERS.decode(id.replace('-', ".")).ok()?.try_into().ok()
}

/// Whether an id was made here, for whatever object.
fn is_ours(id: &str) -> bool {
    bytes_of(id).is_some_and(|bytes| sum_of(&bytes) == bytes[16..])
}

/// The place of the version with that id; `None` for what is no id.
pub fn place_of(id: &str) -> Option<u64> {
    let bytes = bytes_of(id)?;
    let mut place = [0u8; 8];
    for (i, byte) in place.iter_mut().enumerate() {
        *byte = bytes[i] ^ bytes[i + 8];
    }
    Some(u64::from_be_bytes(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_version_is_told_from_its_id() {
        for seq in [0, 1, 1_700_000_000_000_000, u64::MAX] {
            let id = new_id(seq);
            assert_eq!(id.len(), 32);
            assert_eq!(place_of(&id), Some(seq));
            assert!(is_ours(&id));
            assert!(!is_ours(&id.replacen(
                &id[..1],
                if &id[..1] == "A" { "B" } else { "A" },
                1
            )));
        }
        assert_eq!(place_of("null"), None);
        assert_eq!(place_of("é"), None);
    }
}
