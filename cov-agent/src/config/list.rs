//! Values that are lists.

use super::document::{Line, Raw};
use super::value::{Bad, Value, bad};
use crate::coverage::{Filter, Markers};
use crate::format::Format;
use std::path::PathBuf;

/// The items of a list: separated by line breaks and by commas, but not by those within braces,
/// which are part of a glob.
pub(crate) fn items(raw: &Raw, allowed: &str) -> Result<Vec<Line>, Bad> {
    let all: Vec<Line> = match raw {
        Raw::Items(lines) => lines.clone(),
        Raw::Text(lines) => lines
            .iter()
            .flat_map(|line| split(&line.text).map(|text| Line { number: line.number, text: text.to_owned() }))
            .collect(),
        Raw::Table(_) => return Err(bad(raw, "a table", allowed)),
    };
    let trimmed = all.into_iter().map(|line| Line { text: line.text.trim().to_owned(), ..line });
    Ok(trimmed.filter(|line| !line.text.is_empty()).collect())
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    text.split(move |c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// Each item of a list, checked.
fn list<T>(raw: &Raw, allowed: &str, check: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Bad> {
    items(raw, allowed)?.into_iter().map(|line| checked(&line, &check)).collect()
}

fn checked<T>(line: &Line, check: impl Fn(&str) -> Result<T, String>) -> Result<T, Bad> {
    check(&line.text).map_err(|text| Bad { line: Some(line.number), text })
}

impl Value for Vec<PathBuf> {
    fn allowed() -> String {
        "paths".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        list(raw, &Self::allowed(), |text| Ok(PathBuf::from(text)))
    }

    fn show(&self) -> String {
        self.iter().map(Value::show).collect::<Vec<_>>().join(", ")
    }
}

/// Globs on source paths; see [`Filter`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns(
    /// Each a glob that [`Filter`] takes.
    pub Vec<String>,
);

impl Value for Patterns {
    fn allowed() -> String {
        "globs on source paths".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        list(raw, &Self::allowed(), |text| match Filter::new(&[text], &[] as &[&str], "/") {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .map(Self)
    }

    fn show(&self) -> String {
        self.0.join(", ")
    }
}

/// Regular expressions, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Regexes(
    /// Each one that compiles.
    pub Vec<String>,
);

impl Value for Regexes {
    fn allowed() -> String {
        "regular expressions, one a line".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        let (Raw::Items(lines) | Raw::Text(lines)) = raw else {
            return Err(bad(raw, "a table", &Self::allowed()));
        };
        let lines = lines.iter().filter(|line| !line.text.trim().is_empty());
        let check = |text: &str| {
            let pattern = text.trim().to_owned();
            let compiled = Markers::new(Some(std::slice::from_ref(&pattern)), &[]);
            compiled.map(|_| pattern).map_err(|error| error.to_string())
        };
        lines.map(|line| checked(line, check)).collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        self.0.join(" ⏎ ")
    }
}

/// Which files to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Formats(
    /// Each once, in the order given.
    pub Vec<Format>,
);

impl Value for Formats {
    fn allowed() -> String {
        format!("one or several of {}", Format::ALL.map(Format::name).join(", "))
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        let allowed = Self::allowed();
        let mut formats = Vec::new();
        for format in list(raw, &allowed, |text| text.parse::<Format>().map_err(|e| e.to_string()))? {
            if !formats.contains(&format) {
                formats.push(format);
            }
        }
        if formats.is_empty() { Err(bad(raw, "", &allowed)) } else { Ok(Self(formats)) }
    }

    fn show(&self) -> String {
        self.0.iter().map(|format| format.name()).collect::<Vec<_>>().join(",")
    }
}

/// Which paths mean the same files: for each name the paths, the first of them the one to keep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathMap(
    /// The name, which is only for people, and its paths.
    pub Vec<(String, Vec<String>)>,
);

impl Value for PathMap {
    fn allowed() -> String {
        "'NAME = KEEP, SAME, …', one a line or separated by ';'".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        let allowed = Self::allowed();
        let rows: Vec<(Line, Raw)> = match raw {
            Raw::Table(rows) => rows.clone(),
            Raw::Items(_) => return Err(bad(raw, "a list", &allowed)),
            Raw::Text(lines) => {
                let rows = lines.iter().flat_map(|line| line.text.split(';').map(move |text| (line.number, text)));
                let rows = rows.filter(|(_, text)| !text.trim().is_empty());
                let row = |(number, text): (usize, &str)| match text.split_once('=') {
                    Some((name, paths)) => {
                        Ok((Line { number, text: name.trim().to_owned() }, Raw::text(number, paths)))
                    }
                    None => Err(Bad::new(Some(number), text.trim(), &allowed)),
                };
                rows.map(row).collect::<Result<_, _>>()?
            }
        };
        let row = |(name, raw): (Line, Raw)| {
            let paths = list(&raw, &allowed, |text| Ok(text.to_owned()))?;
            if paths.len() < 2 {
                return Err(Bad::new(
                    Some(name.number),
                    &paths.join(", "),
                    "at least two paths: the one to keep, and one that means the same",
                ));
            }
            Ok((name.text, paths))
        };
        rows.into_iter().map(row).collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(|(name, paths)| format!("{name} = {}", paths.join(", "))).collect::<Vec<_>>().join("; ")
    }
}

/// Beginnings of paths and what replaces them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrefixMap(
    /// The old beginning and the new one.
    pub Vec<(String, String)>,
);

impl Value for PrefixMap {
    fn allowed() -> String {
        "OLD=NEW, with OLD not empty".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        let allowed = Self::allowed();
        let pair = |text: &str| match text.split_once('=') {
            Some((old, new)) if !old.trim().is_empty() => Ok((old.trim().to_owned(), new.trim().to_owned())),
            _ => Err(Bad::new(None, text, &allowed).text),
        };
        list(raw, &allowed, pair).map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(|(old, new)| format!("{old}={new}")).collect::<Vec<_>>().join(", ")
    }
}
