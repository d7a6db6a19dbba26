use std::io;
use std::path::PathBuf;

use crate::BlobId;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: a full disk, a missing permission, a broken device.
    #[error("{action}: {source}")]
    Io {
        /// What was being done, with the file where that helps.
        action: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another process (or another `Store` of this one) has the directory open.
    #[error("the data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// What is on disk is not what this program writes.
    #[error("corrupt data: {0}")]
    Corrupt(String),
    /// A stored record was written by a version this program cannot read.
    #[error("a record of version {found} cannot be read, this program knows up to {known}")]
    Version {
        /// The version byte found.
        found: u8,
        /// The newest version known.
        known: u8,
    },
    /// A record could not be encoded.
    #[error("a record could not be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// A record could not be decoded.
    #[error("a record could not be decoded: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    /// The engine below failed.
    #[error("storage engine: {0}")]
    Engine(String),
    /// No blob of this id exists, or it was dropped before it was linked.
    #[error("no blob {0}")]
    NoBlob(BlobId),
    /// The file is not a snapshot, or an incomplete one.
    #[error("not a usable snapshot: {0}")]
    Snapshot(String),
}

impl Error {
    /// Wraps an operating system error with what was being done.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let action = action.into();
        move |source| Error::Io { action, source }
    }

    /// True if the cause is a full disk or an exceeded quota: a later attempt may succeed.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Error::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            ),
            _ => false,
        }
    }
}
