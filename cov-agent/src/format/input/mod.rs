//! Data from files, directories and standard input, of any readable format, mixed.
//!
//! ```no_run
//! use cov_agent::format::{Limits, input};
//! let inputs = input::find(["shards/".into(), "old/lcov.info".into()])?;
//! let merged = input::merge(&inputs, &input::Options::default())?;
//! println!("{} files", merged.files().len());
//! # Ok::<(), input::InputError>(())
//! ```

mod find;
mod merge;
#[cfg(test)]
mod tests;

pub use find::find;
pub use merge::{Options, merge, merge_to_raw};

use super::{Format, Limits, ReadError, cobertura, coverage_db, json, lcov, parquet, raw};
use crate::coverage::Snapshot;
use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

/// Where data comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// Standard input, written `-`.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Why inputs could not be read or merged.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// One of them cannot be read.
    #[error("{input}: {source}")]
    Read {
        /// Which.
        input: Input,
        /// Why.
        source: ReadError,
    },
    /// A directory without data.
    #[error(
        "{directory}: no coverage data in it or below (looked for *.dat, coverage*.json, .coverage*, *.info, \
         cobertura*.xml, coverage.xml, *.parquet)",
        directory = directory.display()
    )]
    Nothing {
        /// The directory.
        directory: PathBuf,
    },
    /// Two of them hold the same run: its hits would count twice.
    #[error(
        "{first} and {second} hold the same data ({what}), which would count twice: leave one out, or allow duplicates"
    )]
    Duplicate {
        /// One.
        first: Input,
        /// The other.
        second: Input,
        /// The run or the file that they share.
        what: String,
    },
    /// The merged data cannot be written.
    #[error("cannot write the merged data: {0}")]
    Write(#[source] io::Error),
}

/// How many bytes tell a format.
const HEAD: usize = 512;

/// The format of data that begins so; `None` if it is of no known one. `head` should have some
/// hundred bytes, or all there are.
///
/// ```
/// use cov_agent::format::{Format, input::detect};
/// assert_eq!(detect(b"TN:\nSF:/a.c\n"), Some(Format::Lcov));
/// assert_eq!(detect(b"PK\x03\x04"), None);
/// ```
#[must_use]
pub fn detect(head: &[u8]) -> Option<Format> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let lcov = |line: &[u8]| [&b"TN:"[..], b"SF:", b"#"].iter().any(|start| line.starts_with(start));
    match text.first()? {
        _ if head.starts_with(b"SQLite format 3\0") => Some(Format::Coverage),
        _ if head.starts_with(b"\x89COV") => Some(Format::Raw),
        _ if head.starts_with(b"PAR1") => Some(Format::Parquet),
        b'{' => Some(Format::Json),
        b'<' => Some(Format::Cobertura),
        _ if lcov(text) => Some(Format::Lcov),
        _ => None,
    }
}

/// Reads data of whatever readable format it is, whole.
///
/// # Errors
/// It cannot be read, is of no readable format, damaged or beyond the limits.
pub fn read(mut from: impl Read, limits: Limits) -> Result<Snapshot, ReadError> {
    let mut head = Vec::with_capacity(HEAD);
    from.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    let format = detect(&head);
    let mut all = io::Cursor::new(&head).chain(from);
    match format {
        Some(Format::Raw) => raw::read(all, limits),
        Some(Format::Json) => json::read(all, limits),
        Some(Format::Lcov) => lcov::read(all, limits),
        Some(Format::Coverage) => coverage_db::read(&mut all, limits),
        Some(Format::Cobertura) => cobertura::read(&mut all, limits),
        Some(Format::Parquet) => parquet::read(&mut all, limits),
        None if head.is_empty() => Err(ReadError::damaged("coverage data file", "it is empty")),
        None => Err(ReadError::damaged(
            "coverage data file",
            "it looks like none of raw, coverage.py's .coverage and JSON, LCOV, Cobertura and Parquet",
        )),
    }
}
