//! The coordinator of one run.

use super::{ExecutionCounter, FileHandle, FileTracker, Losses, Object, Run, Snapshot};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Collects one run: [`coverage_init`](Self::coverage_init), then recording from any number of
/// threads, then [`coverage_cleanup`](Self::coverage_cleanup).
///
/// Recording into a file that the filter leaves out does nothing. For many lines of one file take
/// its handle ([`file`](Self::file)) and record through it.
///
/// ```
/// use cov_agent::coverage::{CoverageCollector, ExecutionCounter, Run, Statistics};
/// let collector = CoverageCollector::coverage_init();
/// std::thread::scope(|threads| {
///     for test in ["one", "two"] {
///         let file = collector.file("/src/a.c").expect("no filter");
///         threads.spawn(move || (10..20).for_each(|line| file.lock().record(line, ExecutionCounter::exact(1), test)));
///     }
/// });
/// collector.executable("/src/a.c", 20);
/// let snapshot = collector.coverage_cleanup(Run::default());
/// let total = Statistics::of(&snapshot, 0).total;
/// assert_eq!((total.hit, total.total, total.executions), (10, 11, ExecutionCounter::exact(20)));
/// assert_eq!(snapshot.files()[0].contexts().map(|(name, _)| name).collect::<Vec<_>>(), ["one", "two"]);
/// ```
pub struct CoverageCollector {
    files: FileTracker,
    objects: Mutex<BTreeSet<Object>>,
    losses: Mutex<Losses>,
}

impl CoverageCollector {
    /// Begins a run that keeps all files.
    #[must_use]
    pub fn coverage_init() -> Self {
        Self::with_files(FileTracker::default())
    }

    /// Begins a run with a tracker that has its filter, base directory and way to follow links.
    #[must_use]
    pub fn with_files(files: FileTracker) -> Self {
        Self { files, objects: Mutex::default(), losses: Mutex::default() }
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &FileTracker {
        &self.files
    }

    /// The file at `path`, made if it is new; `None` if the filter leaves it out.
    pub fn file(&self, path: impl AsRef<Path>) -> Option<FileHandle> {
        self.files.file(path)
    }

    /// Says that `line` of `path` is executable.
    pub fn executable(&self, path: impl AsRef<Path>, line: u32) {
        if let Some(file) = self.file(path) {
            file.lock().executable(line);
        }
    }

    /// Adds `counter` executions of a line in `context` (`""`: none in particular).
    pub fn record(&self, path: impl AsRef<Path>, line: u32, counter: ExecutionCounter, context: &str) {
        if let Some(file) = self.file(path) {
            file.lock().record(line, counter, context);
        }
    }

    /// Adds `counter` entries of a function, by its mangled name and the line of its declaration.
    pub fn function(&self, path: impl AsRef<Path>, name: &str, line: u32, counter: ExecutionCounter) {
        if let Some(file) = self.file(path) {
            file.lock().function(line, name, counter);
        }
    }

    /// Says that a line has code that cannot be measured, and why.
    pub fn unmeasurable(&self, path: impl AsRef<Path>, line: u32, reason: &str) {
        if let Some(file) = self.file(path) {
            file.lock().unmeasurable(line, reason);
        }
    }

    /// Says that an object's code was counted.
    pub fn object(&self, build_id: impl Into<String>, path: impl Into<String>) {
        let object = Object { build_id: build_id.into(), path: path.into() };
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).insert(object);
    }

    /// What was lost so far.
    pub fn losses_mut(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data so far; recording goes on.
    pub fn snapshot(&self, run: Run) -> Snapshot {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot::new(run, objects, self.losses_mut().clone(), self.files.files())
    }

    /// Ends the run.
    #[must_use]
    pub fn coverage_cleanup(self, run: Run) -> Snapshot {
        let objects = self.objects.into_inner().unwrap_or_else(PoisonError::into_inner);
        let losses = self.losses.into_inner().unwrap_or_else(PoisonError::into_inner);
        Snapshot::new(run, objects, losses, self.files.into_files())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_snapshot_is_taken_while_recording_goes_on() {
        let collector = CoverageCollector::coverage_init();
        collector.object("ab12", "/w/p");
        collector.function("/a.c", "f", 1, ExecutionCounter::exact(3));
        collector.unmeasurable("/a.c", 2, "no probe can be there");
        collector.executable("/a.c", 3);
        let earlier = collector.snapshot(Run::default());
        collector.record("/a.c", 3, ExecutionCounter::exact(1), "");
        let later = collector.coverage_cleanup(Run::default());
        let of = |snapshot: &Snapshot| snapshot.file("/a.c").unwrap().lines().get(3).unwrap().value();
        assert_eq!((of(&earlier), of(&later)), (0, 1));
        for snapshot in [&earlier, &later] {
            let file = snapshot.file("/a.c").unwrap();
            let functions: Vec<_> = file.functions().map(|(f, counter)| (&*f.name, f.line, counter.value())).collect();
            assert_eq!(functions, [("f", 1, 3)]);
            assert_eq!(file.unmeasurable_lines().collect::<Vec<_>>(), [(2, "no probe can be there")]);
            assert_eq!(snapshot.objects().map(|object| object.build_id.as_str()).collect::<Vec<_>>(), ["ab12"]);
        }
    }

    #[test]
    fn concurrent_records_are_all_counted() {
        let collector = CoverageCollector::coverage_init();
        thread::scope(|scope| {
            for thread in 0..8 {
                let collector = &collector;
                scope.spawn(move || {
                    let context = if thread % 2 == 0 { "even" } else { "odd" };
                    for i in 0..1000u32 {
                        let path = format!("/f{}.c", i % 7);
                        collector.record(path, i % 50 + 1, ExecutionCounter::exact(1), context);
                    }
                    collector.losses_mut().add(crate::coverage::LossKind::DroppedEvents, 1);
                });
            }
        });
        let snapshot = collector.coverage_cleanup(Run::default());
        let total: u64 = snapshot.files().iter().flat_map(|f| f.lines().iter()).map(|(_, c)| c.value()).sum();
        assert_eq!((snapshot.files().len(), total), (7, 8000));
        let of = |name: &str| -> u64 {
            let files =
                snapshot.files().iter().flat_map(crate::coverage::FileCoverage::contexts).filter(|(n, _)| *n == name);
            files.flat_map(|(_, lines)| lines.iter()).map(|(_, c)| c.value()).sum()
        };
        assert_eq!((of("even"), of("odd"), of("")), (4000, 4000, 0));
        assert_eq!(snapshot.losses().iter().next().unwrap().1.count, 8);
    }
}
