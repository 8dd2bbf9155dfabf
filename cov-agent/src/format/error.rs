//! What readers say of files that they cannot read.

use std::io;

/// Why coverage data cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes cannot be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not in that format, or it is and was cut or changed.
    #[error("not a valid {format}: {what}")]
    Damaged {
        /// The format, in words.
        format: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A version of the format that is not known.
    #[error("a {format} of version {found}; this version of cov-agent reads version {known}")]
    Version {
        /// The format, in words.
        format: &'static str,
        /// The version in the file.
        found: String,
        /// The version or versions that are read.
        known: String,
    },
    /// It announces more than any program has.
    #[error("too big: {0}")]
    TooBig(String),
}

impl ReadError {
    /// A [`ReadError::Damaged`].
    pub(crate) fn damaged(format: &'static str, what: impl Into<String>) -> Self {
        Self::Damaged { format, what: what.into() }
    }
}
