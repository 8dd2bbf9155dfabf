//! What changed since earlier data.

use crate::cli::rows::{self, Numbers, Row};
use std::collections::BTreeMap;

/// The difference to earlier data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// What the files that are shown had, by path; a file that is not there is new.
    pub(super) before: BTreeMap<String, Numbers>,
    /// What all files had together.
    pub(super) total: Numbers,
    /// Files that are no more there, by path.
    pub(super) gone: Vec<Row>,
}

impl Change {
    /// What a file had.
    pub(super) fn of(&self, path: &str) -> Option<Numbers> {
        self.before.get(path).copied()
    }
}

/// Keeps the rows whose numbers are not those of `earlier`: other lines, or other lines executed.
/// How often lines were executed is no such number: it differs from run to run.
pub(super) fn compare(rows: &mut Vec<Row>, earlier: Vec<Row>) -> Change {
    let total = rows::total(&earlier);
    let mut earlier: BTreeMap<String, Row> = earlier.into_iter().map(|row| (row.path.clone(), row)).collect();
    let mut before = BTreeMap::new();
    rows.retain(|row| match earlier.remove(&row.path) {
        Some(old) if old.numbers == row.numbers && old.missing == row.missing => false,
        Some(old) => {
            before.insert(row.path.clone(), old.numbers);
            true
        }
        None => true,
    });
    Change { before, total, gone: earlier.into_values().collect() }
}
