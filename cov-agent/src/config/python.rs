//! Who counts lines of Python.

use super::document::Raw;
use super::value::{Bad, Value, one};
use std::str::FromStr;

/// Who counts lines of Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Python {
    /// Whoever can, where there is likely to be Python.
    #[default]
    Auto,
    /// `sys.monitoring`, by a bootstrap in every process.
    Monitoring,
    /// The interpreter's static probe.
    Usdt,
    /// coverage.py, whose data files are taken in.
    Coverage,
    /// Nobody.
    Off,
}

impl Python {
    const NAMES: [(&str, Self); 5] = [
        ("auto", Self::Auto),
        ("monitoring", Self::Monitoring),
        ("usdt", Self::Usdt),
        ("coverage", Self::Coverage),
        ("off", Self::Off),
    ];
}

impl FromStr for Python {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| format!("give {}", Self::allowed()))
    }
}

impl Value for Python {
    fn allowed() -> String {
        "auto, monitoring, usdt, coverage or off".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| text.parse().ok())
    }

    fn show(&self) -> String {
        Self::NAMES.iter().find(|(_, value)| value == self).map(|(name, _)| (*name).to_owned()).unwrap_or_default()
    }
}
