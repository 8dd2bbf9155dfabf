//! The thread that reads files while those who need them wait.

use super::libraries::{Loading, libraries};
use crate::cli::console::Console;
use crate::cli::measure::is_system_library;
use crate::cli::setup::Setup;
use crate::plan::Scope;
use crate::process::gate::{self, Key};
use crate::runner::{Candidate, Objects, prepare};
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// What takes longer than this to read may have been let go by the gate meanwhile.
pub(super) fn patience() -> Duration {
    gate::patience().saturating_sub(Duration::from_millis(50))
}

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
    /// What was read before, and is to be read all the same.
    pub again: Vec<Key>,
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
    /// Since when somebody waits whose run is to be counted from its beginning.
    pub since: Option<Instant>,
    /// What is to be asked where it turns out that it had begun to run before it was armed: `None` where the plan is good
    /// for parts of runs too.
    pub part: Option<Question>,
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
        again.iter().for_each(|key| _ = known.remove(key));
        if known.len() > MAX_KNOWN {
            // Files are read again, and not armed twice.
            known.clear();
        }
        let path = object.path.clone();
        let search = loading.as_ref().map_or_else(|| setup.search.clone(), |loading| loading.search(setup));
        let more = loading.as_ref().map(|loading| libraries(setup, &object, loading, console)).unwrap_or_default();
        let mut part =
            (!amid && setup.scope == Scope::Whole).then(|| object.file.try_clone().ok()).flatten().map(|file| {
                let object = Candidate { path: path.clone(), file };
                Question { key, object, loading, amid: true, again: Vec::new(), unforeseen: BTreeSet::new(), since }
            });
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
        let late = (time > patience() && !amid).then_some(time);
        if late.is_some() && !objects.prepared.is_empty() {
            // Its beginning is not counted.
            objects = read(copies(), Scope::Part);
            part = None;
        }
        let since = (late.is_none() && !amid).then_some(since);
        if answers.send(Answer { key, path, objects, seen: candidates, late, since, part, unforeseen }).is_err() {
            return;
        }
    }
}
