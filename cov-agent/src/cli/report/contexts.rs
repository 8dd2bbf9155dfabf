//! What each context executed.

use crate::coverage::{ExecutionCounter, Snapshot};
use std::collections::BTreeMap;

/// One context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    /// Its name; empty is the default one.
    pub(super) name: String,
    /// Files in which it executed something.
    pub(super) files: usize,
    /// Lines that it executed.
    pub(super) lines: usize,
    /// How often, together.
    pub(super) executions: ExecutionCounter,
}

/// The contexts of a snapshot, by name.
pub(super) fn contexts(snapshot: &Snapshot) -> Vec<Context> {
    let mut contexts: BTreeMap<&str, (usize, usize, ExecutionCounter)> = BTreeMap::new();
    for file in snapshot.files() {
        for (name, lines) in file.contexts().filter(|(_, lines)| lines.hit() > 0) {
            let entry = contexts.entry(name).or_default();
            entry.0 += 1;
            entry.1 += lines.hit();
            entry.2 += lines.hits().map(|(_, counter)| counter).sum();
        }
    }
    let context =
        |(name, (files, lines, executions)): (&str, _)| Context { name: name.to_owned(), files, lines, executions };
    contexts.into_iter().map(context).collect()
}
