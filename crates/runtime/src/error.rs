//! What can go wrong around a sandbox.

use std::io;

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a sandbox could not be made, started or asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification contradicts itself or names what cannot exist.
    #[error("invalid sandbox: {0}")]
    Invalid(String),
    /// This host or backend cannot do what was asked; the text says what is missing.
    #[error("not possible here: {0}")]
    Unsupported(String),
    /// A step of building the sandbox failed.
    #[error("sandbox could not be set up: {step}: {source}")]
    Setup {
        /// What was being done.
        step: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The sandbox stands but its program could not be started.
    #[error("{program} could not be started: {source}")]
    Exec {
        /// The program as it was named.
        program: String,
        /// The system's answer, such as `NotFound` or `PermissionDenied`.
        source: io::Error,
    },
    /// The zygote refused to fork or is gone.
    #[error("zygote: {0}")]
    Zygote(String),
    /// The sandbox ended while it was being used.
    #[error("the sandbox has ended")]
    Gone,
}

impl Error {
    pub(crate) fn setup(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Setup { step, source }
    }
}
