//! What each context executed.

use crate::cli::message::{Message, Slug, one_line};
use crate::coverage::{ExecutionCounter, Snapshot};
use globset::{Glob, GlobSet};
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

/// What the contexts that match one of `globs` executed.
pub(super) fn only(snapshot: Snapshot, globs: &[Glob]) -> Result<Snapshot, Message> {
    let mut set = GlobSet::builder();
    globs.iter().for_each(|glob| _ = set.add(glob.clone()));
    let set = set.build().map_err(|error| Message::new(Slug::Usage, error))?;
    let known = contexts(&snapshot);
    if !known.iter().any(|context| set.is_match(&context.name)) {
        let names: Vec<_> = known.iter().filter(|c| !c.name.is_empty()).take(5).map(|c| one_line(&c.name)).collect();
        let some =
            if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
        return Err(Message::new(Slug::NoData, format!("no context matches; {some}")));
    }
    Ok(snapshot.map_files(|file| Some(file.only_contexts(|name| set.is_match(name)))))
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
