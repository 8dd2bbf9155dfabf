//! The formats by name, and the files that hold them.

use std::fmt;
use std::str::FromStr;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// coverage.py's data file.
    Coverage,
    /// coverage.py's JSON report, with counts.
    Json,
    /// The lossless store.
    Raw,
    /// LCOV's tracefile.
    Lcov,
    /// Cobertura's XML report.
    Cobertura,
    /// One row per file, line and context, for query engines.
    Parquet,
}

/// The name of no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no format is called '{0}'; there are {all}", all = Format::names())]
pub struct UnknownFormat(
    /// What was written.
    pub String,
);

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Coverage, Self::Json, Self::Raw, Self::Lcov, Self::Cobertura, Self::Parquet];

    /// The name in options and configuration files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Coverage => "coverage",
            Self::Json => "json",
            Self::Raw => "raw",
            Self::Lcov => "lcov",
            Self::Cobertura => "cobertura",
            Self::Parquet => "parquet",
        }
    }

    /// The name of the file in the output directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Coverage => ".coverage",
            Self::Json => "coverage.json",
            Self::Raw => "coverage_raw.dat",
            Self::Lcov => "lcov.info",
            Self::Cobertura => "cobertura.xml",
            Self::Parquet => "coverage.parquet",
        }
    }

    /// All names, for people.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        let error = "xml".parse::<Format>().unwrap_err().to_string();
        assert_eq!(error, "no format is called 'xml'; there are coverage, json, raw, lcov, cobertura, parquet");
    }
}
