//! The kinds of values: how each is read, what it allows, how it is shown. Lists are in `list`.

use super::document::Raw;
use std::path::PathBuf;

/// A value that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// The line, where the source has lines.
    pub(crate) line: Option<usize>,
    /// What is wrong, and what would be right.
    pub(crate) text: String,
}

impl Bad {
    /// What was written is not what is allowed.
    pub(crate) fn new(line: Option<usize>, written: &str, allowed: &str) -> Self {
        Self { line, text: format!("'{}' is not allowed; give {allowed}", written.replace('\n', " ")) }
    }
}

/// A kind of value.
pub(crate) trait Value: Sized + Default {
    /// What is allowed, for messages and the reference: "true or false".
    fn allowed() -> String;
    /// Reads what a file or the environment says.
    fn read(raw: &Raw) -> Result<Self, Bad>;
    /// The value as a file may say it, on one line.
    fn show(&self) -> String;
}

/// The value as one text.
pub(crate) fn text(raw: &Raw, allowed: &str) -> Result<String, Bad> {
    match raw {
        Raw::Text(lines) => Ok(lines.iter().map(|l| l.text.as_str()).collect::<Vec<_>>().join("\n").trim().to_owned()),
        Raw::Items(_) => Err(bad(raw, "a list", allowed)),
        Raw::Table(_) => Err(bad(raw, "a table", allowed)),
    }
}

pub(crate) fn bad(raw: &Raw, written: &str, allowed: &str) -> Bad {
    Bad::new(raw.line(), written, allowed)
}

/// Reads one text with `parse`, which gives nothing for what is not allowed.
pub(crate) fn one<T: Value>(raw: &Raw, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Bad> {
    let allowed = T::allowed();
    let text = text(raw, &allowed)?;
    parse(&text).ok_or_else(|| bad(raw, &text, &allowed))
}

/// Yes or no, in the words that `configparser` knows.
fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

impl Value for bool {
    fn allowed() -> String {
        "true or false".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, truth)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u64 {
    fn allowed() -> String {
        "a whole number, 0 or more".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| text.parse().ok())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Digits behind the point of a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Precision(
    /// From 0 to [`Precision::MAX`].
    pub usize,
);

impl Precision {
    /// More digits than a count of lines can fill.
    pub const MAX: usize = 9;
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.parse().ok().filter(|digits| *digits <= Self::MAX);
        digits.map(Self).ok_or_else(|| format!("give {}", Self::allowed()))
    }
}

impl Value for Precision {
    fn allowed() -> String {
        format!("a whole number from 0 to {}", Self::MAX)
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| text.parse().ok())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A percentage that something must reach, if anything must.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Threshold(
    /// From 0 to 100.
    pub Option<f64>,
);

impl std::str::FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.trim_end_matches('%').trim_end().parse().ok().filter(|p| (0.0..=100.0).contains(p));
        percent.map(|p| Self(Some(p))).ok_or_else(|| "give a percentage from 0 to 100".to_owned())
    }
}

impl Value for Threshold {
    fn allowed() -> String {
        "a percentage from 0 to 100, or nothing".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| if text.is_empty() { Some(Self(None)) } else { text.parse().ok() })
    }

    fn show(&self) -> String {
        self.0.map(|percent| percent.to_string()).unwrap_or_default()
    }
}

/// What part of a process's own time hits of its probes may cost, if that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Overhead(
    /// In percent, 0 or more.
    pub Option<f64>,
);

impl std::str::FromStr for Overhead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let percent = text.trim_end_matches('%').trim_end().parse().ok().filter(|p| (0.0..=1e6).contains(p));
        percent.map(|p| Self(Some(p))).ok_or_else(|| format!("give {}", Self::allowed()))
    }
}

impl Value for Overhead {
    fn allowed() -> String {
        "a percentage such as 5%, or none".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| text.parse().ok())
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "none".to_owned(), |percent| format!("{percent}%"))
    }
}

/// A length of time, if one was given.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seconds(
    /// Not negative.
    pub Option<std::time::Duration>,
);

impl Value for Seconds {
    fn allowed() -> String {
        "a number of seconds such as 10 or 0.5, or nothing".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        let parse = |text: &str| std::time::Duration::try_from_secs_f64(text.parse().ok()?).ok();
        one(raw, |text| if text.is_empty() { Some(Self(None)) } else { parse(text).map(|d| Self(Some(d))) })
    }

    fn show(&self) -> String {
        self.0.map(|time| time.as_secs_f64().to_string()).unwrap_or_default()
    }
}

// Text; empty means that nothing was given.
impl Value for String {
    fn allowed() -> String {
        "text".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| Some(text.to_owned()))
    }

    fn show(&self) -> String {
        self.clone()
    }
}

// A path; empty means that nothing was given.
impl Value for PathBuf {
    fn allowed() -> String {
        "a path".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| Some(Self::from(text)))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

/// What a table is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sort {
    /// The column.
    pub by: SortColumn,
    /// The other way round than the column's own order.
    pub reversed: bool,
}

/// A column that a table may be sorted by, in its own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortColumn {
    /// The path, from a to z.
    #[default]
    Name,
    /// Executable lines, the fewest first.
    Lines,
    /// Lines not executed, the fewest first.
    Missing,
    /// The percentage, the lowest first.
    Cover,
    /// The count of the hottest line, the highest first.
    Hottest,
}

impl std::str::FromStr for Sort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let by = match text.trim_start_matches(['-', '+']) {
            "name" => SortColumn::Name,
            // coverage.py's names stand beside ours.
            "lines" | "stmts" => SortColumn::Lines,
            "missing" | "miss" => SortColumn::Missing,
            "cover" => SortColumn::Cover,
            "hottest" => SortColumn::Hottest,
            _ => return Err(format!("give {}", Self::allowed())),
        };
        Ok(Self { by, reversed: text.starts_with('-') })
    }
}

impl Value for Sort {
    fn allowed() -> String {
        "name, lines, missing, cover or hottest, with - in front for the other way round".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| text.parse().ok())
    }

    fn show(&self) -> String {
        let name = match self.by {
            SortColumn::Name => "name",
            SortColumn::Lines => "lines",
            SortColumn::Missing => "missing",
            SortColumn::Cover => "cover",
            SortColumn::Hottest => "hottest",
        };
        format!("{}{name}", if self.reversed { "-" } else { "" })
    }
}

/// Whether source paths are written relative, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Relative {
    /// Absolute.
    #[default]
    No,
    /// To the working directory.
    Directory,
    /// To the top of the git repository that the working directory lies in.
    Repository,
}

impl Value for Relative {
    fn allowed() -> String {
        "true, false or repository".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| match truth(text) {
            Some(true) => Some(Self::Directory),
            Some(false) => Some(Self::No),
            None => (text == "repository").then_some(Self::Repository),
        })
    }

    fn show(&self) -> String {
        match self {
            Self::No => "false",
            Self::Directory => "true",
            Self::Repository => "repository",
        }
        .to_owned()
    }
}

/// When to write in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Value for Color {
    fn allowed() -> String {
        "auto, always or never".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| match text {
            "auto" => Some(Self::Auto),
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            _ => None,
        })
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
        .to_owned()
    }
}
