use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::scratch::{keep, scratch};
use crate::{BlobId, Error};

/// A value a table or a log can hold.
///
/// It is stored as one version byte and MessagePack with field names, so that a field with
/// `#[serde(default)]` may be added, and an unused one removed, without a new version.
/// Byte fields should be `#[serde(with = "serde_bytes")]`.
pub trait Record: Serialize + DeserializeOwned {
    /// The version written today. Raise it with a change that old records do not survive.
    const VERSION: u8 = 1;

    /// True if [`Record::blobs`] names something; spares decoding where it does not.
    const HOLDS_BLOBS: bool = false;

    /// Reads a record of the older version `from`; `bytes` is its MessagePack.
    fn migrate(from: u8, bytes: &[u8]) -> Result<Self, Error> {
        let _ = bytes;
        Err(Error::Version {
            found: from,
            known: Self::VERSION,
        })
    }

    /// Names each blob this record keeps a link on (once per link). A reset or a partial snapshot,
    /// which see rows and not services, keep the reference counts right by it.
    fn blobs(&self, visit: &mut dyn FnMut(BlobId)) {
        let _ = visit;
    }
}

pub(crate) fn encode<V: Record>(value: &V) -> Result<Bytes, Error> {
    scratch(|out| {
        out.push(V::VERSION);
        rmp_serde::encode::write_named(out, value)?;
        Ok(keep(out))
    })
}

pub(crate) fn decode<V: Record>(bytes: &[u8]) -> Result<V, Error> {
    match bytes.split_first() {
        Some((&version, body)) if version == V::VERSION => Ok(rmp_serde::from_slice(body)?),
        Some((&version, body)) if version < V::VERSION => V::migrate(version, body),
        Some((&version, _)) => Err(Error::Version {
            found: version,
            known: V::VERSION,
        }),
        None => Err(Error::Corrupt("an empty record".into())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        name: String,
        size: u64,
    }

    impl Record for Old {}

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        name: String,
        #[serde(default)]
        owner: Option<String>,
        #[serde(default, with = "serde_bytes")]
        body: Vec<u8>,
    }

    impl Record for New {}

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Renamed {
        title: String,
    }

    impl Record for Renamed {
        const VERSION: u8 = 2;

        fn migrate(_: u8, bytes: &[u8]) -> Result<Self, Error> {
            let old: Old = rmp_serde::from_slice(bytes)?;
            Ok(Renamed { title: old.name })
        }
    }

    #[test]
    fn a_field_may_be_added_and_another_removed() {
        let bytes = encode(&Old {
            name: "n".into(),
            size: 3,
        })
        .unwrap();
        let new: New = decode(&bytes).unwrap();
        assert_eq!(
            new,
            New {
                name: "n".into(),
                owner: None,
                body: vec![]
            }
        );
    }

    #[test]
    fn an_older_version_is_migrated_and_a_newer_one_refused() {
        let bytes = encode(&Old {
            name: "n".into(),
            size: 3,
        })
        .unwrap();
        assert_eq!(
            decode::<Renamed>(&bytes).unwrap(),
            Renamed { title: "n".into() }
        );
        let newer = encode(&Renamed { title: "n".into() }).unwrap();
        assert!(matches!(
            decode::<Old>(&newer),
            Err(Error::Version { found: 2, known: 1 })
        ));
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(
            name in any::<String>(),
            owner in any::<Option<String>>(),
            body in any::<Vec<u8>>(),
        ) {
            let record = New { name, owner, body };
            prop_assert_eq!(decode::<New>(&encode(&record).unwrap()).unwrap(), record);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode::<New>(&bytes);
        }
    }
}
