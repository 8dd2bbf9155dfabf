//! The counts that fixtures announce in their own lines; tests/fixtures/README.md has the syntax.

use crate::FileCoverage;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

/// What one line of a fixture announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The count; a range of one but after faults.
    pub count: RangeInclusive<u64>,
    /// Whether the line must be reported at all.
    pub must: bool,
}

/// Announced lines, from 1.
pub type Expected = BTreeMap<u32, Want>;

/// Reads the announcements of `source` for a program that `compiler` made.
///
/// # Panics
/// On an announcement that cannot be read, so that none is passed over.
#[must_use]
pub fn expected(source: &Path, compiler: &str) -> Expected {
    let text = std::fs::read_to_string(source).unwrap();
    let mut wants = Expected::new();
    for (index, line) in text.lines().enumerate() {
        let Some((_, rest)) = line.split_once("// count").or_else(|| line.split_once("# count")) else { continue };
        let (must, rest) = match rest.strip_prefix("?: ") {
            Some(rest) => (false, rest),
            None => (true, rest.strip_prefix(": ").unwrap_or_else(|| panic!("{}:{}", source.display(), index + 1))),
        };
        let other = rest.split_once(&format!("({compiler} ")).map(|(_, other)| other);
        let number = other.unwrap_or(rest).split([' ', ')']).next().unwrap();
        let parse = |n: &str| n.parse().unwrap_or_else(|e| panic!("{}:{}: {n:?}: {e}", source.display(), index + 1));
        let count = match number.split_once('-') {
            Some((low, high)) => parse(low)..=parse(high),
            None => parse(number)..=parse(number),
        };
        wants.insert(u32::try_from(index + 1).unwrap(), Want { count, must });
    }
    assert!(!wants.is_empty(), "{} announces nothing", source.display());
    wants
}

/// Compares what was reported with what was announced.
///
/// # Panics
/// With every difference, one a line.
pub fn assert_counts(what: &str, want: &Expected, got: &FileCoverage) {
    let mut wrong = Vec::new();
    for (line, want) in want {
        match got.lines.get(line) {
            Some(count) if want.count.contains(count) => {}
            Some(count) => wrong.push(format!("line {line}: {count}, not {:?}", want.count)),
            None if want.must => wrong.push(format!("line {line}: not reported, should be {:?}", want.count)),
            None => {}
        }
    }
    for (line, count) in &got.lines {
        if !want.contains_key(line) {
            wrong.push(format!("line {line}: {count}, but nothing is announced there"));
        }
    }
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}
