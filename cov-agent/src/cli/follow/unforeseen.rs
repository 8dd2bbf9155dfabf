//! What counted processes map as code and the gate has not held: from memory, from where no library was looked for, on a
//! file system that was mounted a moment ago, or while this process was kept from its work. It is armed late, and told.

use super::read::Question;
use super::{Follow, Whom};
use crate::cli::console::Console;
use crate::cli::measure::{Measurement, is_system_library};
use crate::cli::message::Message;
use crate::coverage::LossKind;
use crate::process::gate::Key;
use crate::process::{Mapped, Mappings, is_alive, mapped_objects};
use crate::runner::Candidate;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often is looked at what was mapped.
const GLANCE: Duration = Duration::from_millis(50);
/// How long is waited at the end for what is being read.
const PATIENCE: Duration = Duration::from_secs(3);
/// More files than this are not remembered; they are then looked at once more.
const MAX_KNOWN: usize = 1 << 16;

/// Takes note of what is mapped.
pub(super) struct Unforeseen {
    /// `None` where the kernel does not tell.
    mappings: Option<Mappings>,
    /// What was foreseen, or was looked at.
    known: HashSet<(u64, u64)>,
    next: Instant,
    /// How many files are being read.
    asked: usize,
}

/// A file that was mapped, and by whom.
struct Found {
    path: PathBuf,
    processes: BTreeSet<u32>,
    /// Whether it is armed, and the processes are not counted.
    armed: bool,
}

impl Unforeseen {
    pub(super) fn begin(console: Console) -> Self {
        let failed = |error: &std::io::Error| {
            console.detail(&format!(
                "what is run from memory, and libraries that nobody looked for, go unnoticed: {error}"
            ));
        };
        let mappings = Mappings::begin().inspect_err(failed).ok();
        Self { mappings, known: HashSet::new(), next: Instant::now() + GLANCE, asked: 0 }
    }

    /// Whoever maps this file was, or need not be, held.
    pub(super) fn expect(&mut self, key: Key) {
        self.know(key.file());
    }

    fn know(&mut self, file: (u64, u64)) {
        if self.known.len() > MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(file);
    }

    /// Waits until it is time to look again.
    pub(super) async fn wait(&self) {
        match self.mappings {
            Some(_) => tokio::time::sleep_until(self.next.into()).await,
            None => std::future::pending().await,
        }
    }

    fn is_due(&self) -> bool {
        self.mappings.is_some() && Instant::now() >= self.next
    }

    /// Something was mounted or unmounted: the numbers of devices that are none may be given anew.
    fn doubt(&mut self) {
        self.known.retain(|(device, _)| device >> 32 != 0);
    }

    /// What was mapped since the last call and is news, by file.
    fn take(&mut self, whom: &Whom, measurement: &mut Measurement<'_>) -> Result<BTreeMap<(u64, u64), Found>, Message> {
        self.next = Instant::now() + GLANCE;
        let mut found: BTreeMap<_, Found> = BTreeMap::new();
        let Some(mappings) = &mut self.mappings else { return Ok(found) };
        let (mapped, missed) = mappings.take();
        if missed > 0 {
            let detail = "what processes mapped was not noticed for a time".to_owned();
            measurement.lose_many(LossKind::DroppedEvents, missed, detail);
        }
        // Where those are counted who run what is armed, all of them must have been held.
        let armed: HashSet<_> = match whom {
            Whom::Counted => HashSet::new(),
            Whom::Matching(_) => measurement.armed().map(Key::file).collect(),
        };
        for Mapped { process, file, path } in mapped {
            let (known, armed) = (self.known.contains(&file), armed.contains(&file));
            if known && !armed || is_system_library(&path) || !whom.object(&path) {
                continue;
            }
            // Only what was not held, or who was not counted, is news.
            let counted = measurement.has_tracked(process)?;
            if !(known && counted) && (counted || whom.process(process, measurement)?) {
                let one = || Found { path, processes: BTreeSet::new(), armed: known };
                found.entry(file).or_insert_with(one).processes.insert(process);
            }
        }
        Ok(found)
    }
}

impl Follow {
    /// Has what was mapped unforeseen read, if it is time to.
    pub(super) fn consider_mappings(&mut self, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        if self.unforeseen.is_due() { self.consider_all_mappings(measurement) } else { Ok(()) }
    }

    fn consider_all_mappings(&mut self, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        if self.mounts.have_changed() {
            self.unforeseen.doubt();
        }
        for (file, Found { path, processes, armed }) in self.unforeseen.take(&self.whom, measurement)? {
            self.unforeseen.know(file);
            if armed {
                lose_uncounted(measurement, &path, processes.len());
                self.count_from_now(&processes, measurement)?;
                continue;
            }
            let Some((object, key)) = open(file, &path, &processes) else {
                let who = "it had ended before it could be looked at";
                lose(measurement, &path, processes.len(), who);
                continue;
            };
            self.unforeseen.expect(key);
            // An overlay shows the same file in two ways; what is being read is waited for.
            if measurement.is_armed(key) || self.waiting.contains_key(&key) {
                continue;
            }
            let (loading, since) = (None, Instant::now());
            let again = Vec::new();
            let question = Question { key, object, loading, amid: true, again, unforeseen: processes, since };
            if self.unforeseen_questions.send(question).is_ok() {
                self.unforeseen.asked += 1;
            }
        }
        Ok(())
    }

    /// Tells of an unforeseen file that was read and is to be measured.
    pub(super) fn lose_unforeseen(
        &mut self,
        path: &Path,
        processes: &BTreeSet<u32>,
        measured: bool,
        measurement: &Measurement<'_>,
    ) {
        self.unforeseen.asked = self.unforeseen.asked.saturating_sub(1);
        if measured {
            lose(
                measurement,
                path,
                processes.len(),
                "it may have run before its probes were armed, since nothing told of it earlier",
            );
        }
    }

    /// Counts these processes, where that is how processes are chosen.
    pub(super) fn count_from_now(
        &self,
        processes: &BTreeSet<u32>,
        measurement: &mut Measurement<'_>,
    ) -> Result<(), Message> {
        if matches!(self.whom, Whom::Matching(_)) {
            for process in processes.iter().filter(|process| is_alive(**process)) {
                if !measurement.tracks(*process)? {
                    measurement.track_running(*process)?;
                }
            }
        }
        Ok(())
    }

    /// Takes note of what was mapped until now, and waits for what is being read of it, but not for long.
    pub(super) async fn finish_unforeseen(&mut self, measurement: &mut Measurement<'_>) {
        if let Err(error) = self.consider_all_mappings(measurement) {
            return self.console.warning(&error);
        }
        let unanswered = self.gate.losses().unanswered;
        if self.unforeseen.mappings.is_none() && unanswered > 0 {
            let detail = "execs, also of others, that were let go before they were looked at".to_owned();
            measurement.lose_many(LossKind::UnattachedObjects, unanswered.into(), detail);
        }
        let until = tokio::time::Instant::now() + PATIENCE;
        while self.unforeseen.asked > 0 {
            match tokio::time::timeout_at(until, self.answers.recv()).await {
                Ok(Some(answer)) => self.answered_too_late(answer, measurement),
                Ok(None) => return,
                Err(_) => {
                    let detail = "what was run from memory, or loaded from elsewhere, was still being read".to_owned();
                    return measurement.lose(LossKind::UnattachedObjects, detail);
                }
            }
        }
    }
}

/// Tells of processes that run what is armed, and began to before they were counted.
pub(super) fn lose_uncounted(measurement: &Measurement<'_>, path: &Path, processes: usize) {
    lose(measurement, path, processes, "a process that ran it was let go before it was counted");
}

fn lose(measurement: &Measurement<'_>, path: &Path, processes: usize, why: &str) {
    let times = u64::try_from(processes).unwrap_or(u64::MAX);
    measurement.lose_many(LossKind::UnattachedObjects, times, format!("{}: {why}", path.display()));
}

/// Opens a file that was mapped: as one of the processes has it mapped, or by its path, if that leads to it.
fn open(file: (u64, u64), path: &Path, processes: &BTreeSet<u32>) -> Option<(Candidate, Key)> {
    let keyed = |candidate: Candidate| Key::of(&candidate.file).ok().map(|key| (candidate, key));
    let mapped = processes.iter().rev().find_map(|process| {
        let objects = mapped_objects(*process).ok()?.objects.into_iter();
        let objects = objects.filter(|object| object.path == path);
        let candidates = objects.map(|object| Candidate { path: object.path, file: object.file });
        candidates.filter_map(keyed).find(|(_, key)| key.inode() == file.1)
    });
    mapped.or_else(|| Candidate::open(path).ok().and_then(keyed).filter(|(_, key)| key.file() == file))
}
