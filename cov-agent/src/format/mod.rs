//! File formats, one module each: `write(&Snapshot, &mut dyn Write)` and, where it can be read, `read`.

pub mod cobertura;
pub mod coverage_db;
pub mod demangle;
mod error;
pub mod input;
pub mod json;
pub mod lcov;
mod name;
pub mod output;
pub mod parquet;
pub mod raw;
pub mod source;
#[cfg(test)]
mod testing;
mod text;

pub use error::{Limits, ReadError};
pub use name::{Format, UnknownFormat};

use crate::coverage::Snapshot;
use std::io::{self, Write};

/// Writes a snapshot in a format.
///
/// # Errors
/// Those of `out`.
pub fn write(format: Format, snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Coverage => coverage_db::write(snapshot, &coverage_db::Options::default(), out),
        Format::Json => json::write(snapshot, out),
        Format::Raw => raw::write(snapshot, out),
        Format::Lcov => lcov::write(snapshot, out),
        Format::Cobertura => cobertura::write(snapshot, out),
        Format::Parquet => parquet::write(snapshot, out),
    }
}

/// The time that reports carry, in seconds since 1970: `SOURCE_DATE_EPOCH` where it is set to a
/// number (reproducible-builds.org), else the end of the last run.
#[must_use]
pub fn report_time(snapshot: &Snapshot) -> u64 {
    let fixed = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse().ok());
    fixed.unwrap_or_else(|| snapshot.end())
}
