//! Values that say which functions and lines are measured.

use super::document::{Line, Raw};
use super::value::{Bad, Value, bad};
use globset::{Glob, GlobBuilder};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Each line of a value, read with `check`.
fn each<T>(raw: &Raw, allowed: &str, check: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Bad> {
    let (Raw::Items(lines) | Raw::Text(lines)) = raw else { return Err(bad(raw, "a table", allowed)) };
    let lines = lines.iter().filter(|line| !line.text.trim().is_empty());
    let read = |line: &Line| check(line.text.trim()).map_err(|text| Bad { line: Some(line.number), text });
    lines.map(read).collect()
}

/// Globs on names of functions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Functions(
    /// Each one that [`function`] takes.
    pub Vec<Glob>,
);

/// A glob on the name of a function; `*` matches whatever there is.
///
/// # Errors
/// It is no glob; the text says why.
pub fn function(text: &str) -> Result<Glob, String> {
    GlobBuilder::new(text).backslash_escape(true).build().map_err(|error| error.to_string())
}

impl Value for Functions {
    fn allowed() -> String {
        "globs on names of functions, one a line".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        each(raw, &Self::allowed(), function).map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(|glob| glob.glob().to_owned()).collect::<Vec<_>>().join(" ⏎ ")
    }
}

/// Lines of source files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LineLists(
    /// In the order given.
    pub Vec<LineList>,
);

/// Lines of a source file, or a file with more of that kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineList {
    /// `FILE:10-20,30`.
    Of {
        /// The source file: a path, or the end of one.
        file: String,
        /// Its lines, in the order given.
        lines: Vec<RangeInclusive<u32>>,
    },
    /// `@LIST`: a file that has one a line; empty lines and those that begin with `#` are nothing.
    In(PathBuf),
}

impl std::str::FromStr for LineList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(list) = text.strip_prefix('@').filter(|list| !list.is_empty()) {
            return Ok(Self::In(list.into()));
        }
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (0 < first && first <= last).then_some(first..=last)
        };
        let read = || {
            let (file, lines) = text.rsplit_once(':').filter(|(file, _)| !file.is_empty())?;
            let lines = lines.split(',').map(range).collect::<Option<_>>()?;
            Some(Self::Of { file: file.to_owned(), lines })
        };
        read().ok_or_else(|| format!("'{text}' names no lines; give FILE:10-20,30 or @LIST"))
    }
}

impl std::fmt::Display for LineList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::In(list) => write!(f, "@{}", list.display()),
            Self::Of { file, lines } => {
                let range = |range: &RangeInclusive<u32>| match (range.start(), range.end()) {
                    (first, last) if first == last => first.to_string(),
                    (first, last) => format!("{first}-{last}"),
                };
                write!(f, "{file}:{}", lines.iter().map(range).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl Value for LineLists {
    fn allowed() -> String {
        "FILE:10-20,30 or @LIST, one a line".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        each(raw, &Self::allowed(), str::parse).map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(LineList::to_string).collect::<Vec<_>>().join(" ⏎ ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_shown() {
        for text in ["a.c:10", "src/a b.c:1-3,7,9-9", "C:/x.c:4", "@list", "a:b:2"] {
            let shown = text.replace("9-9", "9");
            assert_eq!(text.parse::<LineList>().map(|list| list.to_string()), Ok(shown));
        }
        for text in ["a.c", "a.c:", ":3", "a.c:0", "a.c:5-3", "a.c:x", "a.c:3,", "@", "", "a.c:4294967296"] {
            let want = format!("'{text}' names no lines; give FILE:10-20,30 or @LIST");
            assert_eq!(text.parse::<LineList>(), Err(want));
        }
    }

    #[test]
    fn names_match_across_whatever_they_hold() {
        let is = |glob: &str, name: &str| function(glob).unwrap().compile_matcher().is_match(name);
        assert!(is("ns::*", "ns::a::b(int, char const*)"));
        assert!(is("*operator/*", "ns::operator/(A, B)"));
        assert!(!is("main", "mainly") && is("main?", "main1") && is("{a,b}", "b"));
        assert!(function("a[").is_err());
    }
}
