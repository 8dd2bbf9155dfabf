//! The manual explains each wording that a person can meet, and none that nobody says.

use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const SOURCES: &str = "cov-agent/src";
const PAGE: &str = "docs/src/reference/wordings.md";
/// What a wording stands behind: of an error, and of a note.
const MARKS: [&str; 2] = ["#[error(", ".note("];
/// The words for lines that are not measurable stand in this file, behind this.
const REASONS: (&str, &str) = ("cov-agent/src/plan/types.rs", "impl fmt::Display for Reason");

pub(super) fn check(files: &[PathBuf], faults: &mut Vec<String>) -> Result<()> {
    let mut said = BTreeSet::new();
    for file in files.iter().filter(|file| file.starts_with(SOURCES) && file.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(file)?;
        said.extend(wordings(&text));
    }
    let reasons = std::fs::read_to_string(REASONS.0)?;
    let (_, reasons) = reasons.split_once(REASONS.1).context("reasons have no words")?;
    let (reasons, _) = reasons.split_once("\n}").context("reasons have no end")?;
    said.extend(reasons.split("=> ").skip(1).filter_map(literal).map(|text| plain(&text)));
    let page = std::fs::read_to_string(Path::new(PAGE))?;
    let explained: BTreeSet<String> = page.lines().filter_map(first_cell).collect();
    faults.extend(said.difference(&explained).map(|text| format!("{PAGE} does not explain: {text}")));
    faults.extend(explained.difference(&said).map(|text| format!("{PAGE} explains what nobody says: {text}")));
    Ok(())
}

/// The wordings of errors and notes in a source, but for those that are all of other words.
fn wordings(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let behind = MARKS.iter().flat_map(|mark| source.split(mark).skip(1));
    let literals = behind.filter_map(|rest| literal(rest.trim_start().trim_start_matches("&format!(").trim_start()));
    literals.map(|text| plain(&text)).filter(|text| text.contains(char::is_alphabetic)).collect()
}

/// The string literal that `code` begins with.
fn literal(code: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = code.strip_prefix('"')?.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                '\n' => {
                    let rest = chars.as_str().trim_start();
                    chars = rest.chars();
                }
                'n' => text.push('\n'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}

/// A wording with `…` for what differs, and without the marks of code, which Markdown has its own of.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        out.push('…');
        rest = behind.split_once('}').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    out.replace('`', "").trim().to_owned()
}

/// What stands in the first cell of a table's row, where that is code.
fn first_cell(line: &str) -> Option<String> {
    let (cell, _) = line.strip_prefix("| `")?.split_once(" | ")?;
    Some(cell.replace('`', "").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wordings_are_found() {
        let source = "
            #[error(\"{path}: not \\\"{what}\\\", \\
                     but `this`\")]
            #[error(transparent)]
            #[error(\"{0}\")]
            console.note(\"done\");
            console.note(&format!(
                \"{n} of {} done\", all));
            console.note(&text);
#[cfg(test)]
mod tests {
            console.note(\"not this\");";
        let found: Vec<String> = wordings(source).into_iter().collect();
        assert_eq!(found, ["done", "… of … done", "…: not \"…\", but this"]);
    }

    #[test]
    fn cells_are_found() {
        assert_eq!(first_cell("| ``…: not, but `this` `` | why | x |"), Some("…: not, but this".to_owned()));
        assert_eq!(first_cell("| the line says | what |"), None);
        assert_eq!(first_cell("|---|---|"), None);
    }
}
