//! The thread that reads files while those who need them wait.

use super::libraries::{Loading, libraries};
use crate::cli::console::Console;
use crate::cli::measure::is_system_library;
use crate::cli::setup::Setup;
use crate::plan::Scope;
use crate::process::gate::Key;
use crate::runner::{Candidate, Objects, prepare};
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// What takes longer than this to read may have been let go by the gate meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);

/// More files than this are not remembered.
const MAX_KNOWN: usize = 1 << 16;

/// A file to be read.
pub(super) struct Question {
    /// Which one.
    pub key: Key,
    /// The file.
    pub object: Candidate,
    /// How the program will be loaded; `None` for what is no program: its libraries are not looked for.
    pub loading: Option<Loading>,
    /// Whether processes are amid running it.
    pub amid: bool,
    /// Whether it was read before, and is to be read all the same.
    pub again: bool,
    /// The processes that have it mapped already, if nobody was held.
    pub unforeseen: BTreeSet<u32>,
    /// Since when somebody waits.
    pub since: Instant,
}

/// A file that was read, and its libraries.
pub(super) struct Answer {
    /// Which one was asked for.
    pub key: Key,
    /// Its path.
    pub path: PathBuf,
    /// What is to be armed.
    pub objects: Objects,
    /// All files that were looked at, measured or not.
    pub seen: Vec<Candidate>,
    /// How long it had to wait, if that was too long: it may have begun to run.
    pub late: Option<Duration>,
    /// Those of the [`Question`].
    pub unforeseen: BTreeSet<u32>,
}

/// Reads one file after the other, so that of a library that several use the first waits for all.
pub(super) fn read_files(
    setup: &Setup,
    console: Console,
    mut known: HashSet<Key>,
    asked: &Receiver<Question>,
    answers: &UnboundedSender<Answer>,
) {
    let files = setup.files();
    for Question { key, object, loading, amid, again, unforeseen, since } in asked {
        if again {
            known.remove(&key);
        }
        if known.len() > MAX_KNOWN {
            // Files are read again, and not armed twice.
            known.clear();
        }
        let path = object.path.clone();
        let search = loading.as_ref().map_or_else(|| setup.search.clone(), |loading| loading.search(setup));
        let more = loading.map(|loading| libraries(setup, &object, &loading, console)).unwrap_or_default();
        let mut candidates = vec![object];
        candidates.extend(more);
        candidates.retain(|candidate| {
            !is_system_library(&candidate.path) && Key::of(&candidate.file).is_ok_and(|key| known.insert(key))
        });
        let read = |candidates, scope| {
            setup.planning(&files, scope, |options| prepare(candidates, &search, options, setup.cache.as_ref(), &|| ()))
        };
        let copies = || -> Vec<Candidate> {
            let copy = |c: &Candidate| Some(Candidate { path: c.path.clone(), file: c.file.try_clone().ok()? });
            candidates.iter().filter_map(copy).collect()
        };
        let mut objects = read(copies(), if amid { Scope::Part } else { setup.scope });
        let time = since.elapsed();
        let late = (time > PATIENCE && !amid).then_some(time);
        if late.is_some() && !objects.prepared.is_empty() {
            // Its beginning is not counted.
            objects = read(copies(), Scope::Part);
        }
        if answers.send(Answer { key, path, objects, seen: candidates, late, unforeseen }).is_err() {
            return;
        }
    }
}
