//! `cobertura.xml`: the XML report of Cobertura (`coverage-04.dtd`), which GitLab, Jenkins, Azure, gcovr, pycobertura
//! and diff-cover read.
//!
//! - One `class` a file, in a `package` a directory, as coverage.py writes it. Its name is relative to the one
//!   `<source>`, the runs' working directory, or absolute where it does not lie below.
//! - A method is a function, with the one line of its declaration; names are demangled.
//! - There are no branches; contexts, excluded and unmeasurable lines are not there, and a lower bound stands as if it
//!   was exact.

mod read;
mod write;

pub use read::read;
pub use write::{parts, write};

/// The size in bytes beyond which GitLab ignores a report. It also ignores one with more than 100 sources; ours have
/// one.
pub const GITLAB_MAX_BYTES: u64 = 10 << 20;

/// What the source is called where the runs had several working directories, or none.
const NO_SOURCE: &str = ".";

#[cfg(test)]
mod tests;
