//! Data keys: what is encrypted at rest lies under a key of its own, which is kept wrapped by a master key.
//!
//! There is a master key for each bucket (SSE-S3) and for each key of KMS that was named, in a table of their own: who
//! has a record but not that table has nothing to read.

use aes::Aes256;
use aes_kw::{KeyInit, KwAes256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use serde::{Deserialize, Serialize};
use store::{Read, Record, Scope, Store, Table};
use wire::Fault;

use crate::bucket::Bucket;
use crate::encryption::Encryption;

/// A key that contents are encrypted with, by AES-256 in counter mode: any byte can be read by itself.
#[derive(Clone)]
pub struct DataKey([u8; 32]);

impl From<[u8; 32]> for DataKey {
    fn from(bytes: [u8; 32]) -> DataKey {
        DataKey(bytes)
    }
}

impl DataKey {
    /// A random one.
    pub fn random() -> DataKey {
        let mut bytes = [0; 32];
        cloud::ids::random(&mut bytes);
        DataKey(bytes)
    }
    /// The cipher of a content, `offset` bytes behind its beginning.
    pub fn cipher(&self, nonce: &[u8; 16], offset: u64) -> Cipher {
        let mut cipher = Ctr128BE::<Aes256>::new(&self.0.into(), &(*nonce).into());
        cipher.seek(offset);
        Cipher(cipher)
    }
}

/// A cipher at its place in a content.
pub struct Cipher(Ctr128BE<Aes256>);

impl Cipher {
    /// Encrypts or decrypts the next bytes.
    pub fn apply(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        self.0.apply_keystream(&mut out);
        out
    }
}

/// A first counter block.
pub fn nonce() -> [u8; 16] {
    let mut nonce = [0; 16];
    cloud::ids::random(&mut nonce);
    nonce
}

/// The length of a data key that is wrapped.
const WRAPPED: usize = 32 + aes_kw::IV_LEN;

/// A data key as records keep it: wrapped (RFC 3394) by a master key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// The master's name.
    master: String,
    #[serde(with = "serde_bytes")]
    wrapped: [u8; WRAPPED],
    /// The first counter block of a small content.
    #[serde(default, with = "serde_bytes")]
    pub nonce: [u8; 16],
}

#[derive(Clone, Serialize, Deserialize)]
struct Master(#[serde(with = "serde_bytes")] [u8; 32]);
impl Record for Master {}

impl Master {
    fn wrap(&self, name: String, key: &DataKey) -> Result<Sealed, Fault> {
        let mut wrapped = [0; WRAPPED];
        KwAes256::new(&self.0.into()).wrap_key(&key.0, &mut wrapped)?;
        Ok(Sealed {
            master: name,
            wrapped,
            nonce: [0; 16],
        })
    }
    fn unwrap(&self, sealed: &Sealed) -> Result<DataKey, Fault> {
        let mut key = [0; 32];
        KwAes256::new(&self.0.into()).unwrap_key(&sealed.wrapped, &mut key)?;
        Ok(DataKey(key))
    }
}

/// The master keys, by account and name.
#[derive(Clone)]
pub struct Masters {
    store: Store,
    table: Table<(String, String), Master>,
}

impl Masters {
    /// The table of a store.
    pub fn open(store: &Store) -> Masters {
        Masters {
            store: store.clone(),
            table: store.table("s3.masters"),
        }
    }

    /// Wraps a data key for contents of that bucket. The master key is made with the first.
    pub async fn seal(
        &self,
        bucket: &Bucket,
        encryption: &Encryption,
        key: &DataKey,
    ) -> Result<Sealed, Fault> {
        let name = match encryption.kms_key() {
            Some(key) => format!("kms:{key}"),
            None => format!("bucket:{}", bucket.name),
        };
        let path = (&bucket.account, &name);
        let known = Read::get(&self.store.read(), &self.table, &path)?;
        let master = match known {
            Some(master) => master,
            None => {
                let scope = ["s3.masters", &bucket.account, &name];
                let make = |tx: &mut store::Tx<'_>| {
                    if let Some(master) = tx.get(&self.table, &path)? {
                        return Ok(master);
                    }
                    let master = Master(DataKey::random().0);
                    tx.put(&self.table, &path, &master)?;
                    Ok::<_, Fault>(master)
                };
                self.store.transact(Scope::new(&scope), make).await?
            }
        };
        master.wrap(name, key)
    }

    /// The data key of contents of that bucket.
    pub fn unseal(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        sealed: &Sealed,
    ) -> Result<DataKey, Fault> {
        let master = Read::get(read, &self.table, &(&bucket.account, &sealed.master))?;
        let master = master.ok_or_else(|| {
            let mut fault = Fault::internal("We encountered an internal error. Please try again.");
            fault.cause = Some(format!("the master key {} is gone", sealed.master));
            fault
        })?;
        master.unwrap(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_decrypts_by_itself() {
        let (key, nonce) = (DataKey::random(), nonce());
        let plain: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        let mut cipher = key.cipher(&nonce, 0);
        let mut encrypted = cipher.apply(&plain[..33_333]);
        encrypted.extend(cipher.apply(&plain[33_333..]));
        assert_ne!(encrypted, plain);
        assert_eq!(
            key.cipher(&nonce, 777).apply(&encrypted[777..999]),
            &plain[777..999]
        );
    }

    #[test]
    fn a_data_key_opens_only_under_its_master() {
        let (master, other) = (Master([1; 32]), Master([2; 32]));
        let key = DataKey::random();
        let sealed = master
            .wrap("m".into(), &key)
            .unwrap_or_else(|f| panic!("{f}"));
        assert_ne!(sealed.wrapped[8..], key.0);
        let opened = master.unwrap(&sealed).unwrap_or_else(|f| panic!("{f}"));
        assert_eq!(opened.0, key.0);
        assert!(other.unwrap(&sealed).is_err());
    }
}
