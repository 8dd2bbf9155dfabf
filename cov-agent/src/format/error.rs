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
    /// It stops before its end.
    #[error("the {format} is cut off after {at}: was it copied whole, and its writer not killed?")]
    Truncated {
        /// The format, in words.
        format: &'static str,
        /// What there is: "7 bytes", "3 lines".
        at: String,
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

/// How much one input may hold. What it announces beyond is refused, so that a small hostile file
/// cannot take all memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Source files.
    pub files: u64,
    /// Counters: lines, once for each context that hit them, functions, reasons.
    pub records: u64,
}

impl Default for Limits {
    /// Ten times the biggest projects: at most about 4 GB.
    fn default() -> Self {
        Self { files: 2_000_000, records: 200_000_000 }
    }
}

/// The most bytes that the names in one input may have together, where compression lets a small file announce any
/// number of them: paths, functions, contexts.
const MAX_TEXT: usize = 1 << 30;

/// Counts what was read against [`Limits`].
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    left: Limits,
    text: usize,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, left: limits, text: MAX_TEXT }
    }

    fn over(what: &str, limit: u64) -> ReadError {
        ReadError::TooBig(format!("more than {limit} {what}; refused, to bound memory"))
    }

    pub(super) fn file(&mut self) -> Result<(), ReadError> {
        let over = Self::over("source files", self.limits.files);
        self.left.files = self.left.files.checked_sub(1).ok_or(over)?;
        Ok(())
    }

    pub(super) fn records(&mut self, records: usize) -> Result<(), ReadError> {
        let over = Self::over("line records", self.limits.records);
        self.left.records = self.left.records.checked_sub(records as u64).ok_or(over)?;
        Ok(())
    }

    pub(super) fn text(&mut self, bytes: usize) -> Result<(), ReadError> {
        let over = || ReadError::TooBig(format!("more than {MAX_TEXT} bytes of names; refused, to bound memory"));
        self.text = self.text.checked_sub(bytes).ok_or_else(over)?;
        Ok(())
    }
}
