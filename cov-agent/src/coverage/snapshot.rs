//! What writers see.

use super::{FileCoverage, LossKind, Losses, Object, Run, RunId};
use std::collections::{BTreeMap, BTreeSet};

/// The data of one run or of several merged ones: immutable, sorted. Equal data give equal bytes in
/// every format.
///
/// Merging commutes, associates, and an empty snapshot changes nothing.
///
/// ```
/// use cov_agent::coverage::{Snapshot, synthetic::synthetic};
/// let (a, b) = (synthetic(1, 2, 10), synthetic(2, 3, 10));
/// let both = a.clone().merge(b.clone());
/// assert_eq!(both, b.merge(a.clone()));
/// assert_eq!((both.runs().count(), both.files().len()), (2, 3));
/// assert_eq!(both.common_runs(&a).count(), 1);
/// assert_eq!(a.clone().merge(Snapshot::default()), a);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    runs: BTreeMap<RunId, Run>,
    objects: BTreeSet<Object>,
    losses: Losses,
    files: Vec<FileCoverage>,
    branches: bool,
}

impl Snapshot {
    /// One run's data. Files come in any order; those with one path are merged.
    #[must_use]
    pub fn new(run: Run, objects: BTreeSet<Object>, losses: Losses, files: Vec<FileCoverage>) -> Self {
        Self::of_runs([run], objects, losses, files)
    }

    /// The data of several runs together, as readers find it.
    #[must_use]
    pub fn of_runs(
        runs: impl IntoIterator<Item = Run>,
        objects: BTreeSet<Object>,
        losses: Losses,
        files: Vec<FileCoverage>,
    ) -> Self {
        let files = sorted(files);
        let branches = files.iter().any(|file| file.ways().next().is_some());
        let mut snapshot = Self { runs: BTreeMap::new(), objects, losses, files, branches };
        runs.into_iter().for_each(|run| snapshot.add_run(run));
        snapshot
    }

    /// Of two descriptions of one run the greater is kept, so that the order does not matter.
    fn add_run(&mut self, run: Run) {
        let known = self.runs.entry(run.id).or_insert_with(|| run.clone());
        if *known < run {
            *known = run;
        }
    }

    /// The same with `change` applied to each run. It must leave their ids alone.
    #[must_use]
    pub fn map_runs(mut self, change: impl FnMut(&mut Run)) -> Self {
        self.runs.values_mut().for_each(change);
        self
    }

    /// The runs, by id.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// When the last run ended, in seconds since 1970; 0 without a run.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.runs().map(|run| run.end).max().unwrap_or(0)
    }

    /// The programs that ran, for people: sorted, each once, joined with commas.
    #[must_use]
    pub fn program(&self) -> String {
        let names: BTreeSet<_> = self.runs().map(|run| run.program.as_str()).filter(|p| !p.is_empty()).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// The runs' working directory; empty if they had several.
    #[must_use]
    pub fn directory(&self) -> &str {
        let mut directories = self.runs().map(|run| run.directory.as_str());
        let first = directories.next().unwrap_or("");
        if directories.all(|other| other == first) { first } else { "" }
    }

    /// The objects whose code was counted.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter()
    }

    /// What the numbers do not show. Source conflicts are added here: files whose text differs
    /// between builds.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mut losses = self.losses.clone();
        for file in self.files.iter().filter(|file| file.digests().count() > 1) {
            losses.add_detail(LossKind::SourceConflicts, &**file.path());
        }
        losses
    }

    /// The losses as they were recorded, without those that the files show themselves.
    #[must_use]
    pub fn recorded_losses(&self) -> &Losses {
        &self.losses
    }

    /// The files, by path, each once.
    #[must_use]
    pub fn files(&self) -> &[FileCoverage] {
        &self.files
    }

    /// Whether conditional jumps were counted, also where all of them are excluded by now.
    #[must_use]
    pub fn has_branches(&self) -> bool {
        self.branches
    }

    /// The same where conditional jumps were counted if `branches` says so, as a reader knows from elsewhere.
    #[must_use]
    pub fn with_branches(mut self, branches: bool) -> Self {
        self.branches |= branches;
        self
    }

    /// The files, by path, without a copy.
    #[must_use]
    pub fn into_files(self) -> Vec<FileCoverage> {
        self.files
    }

    /// The file at a canonical path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&FileCoverage> {
        let at = self.files.binary_search_by(|file| (**file.path()).cmp(path)).ok()?;
        self.files.get(at)
    }

    /// The runs that both hold: merging these would count the same hits twice.
    pub fn common_runs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Run> {
        self.runs.values().filter(|run| other.runs.contains_key(&run.id))
    }

    /// Both together: counts add, executable is the union.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.objects.extend(other.objects);
        self.losses.merge(&other.losses);
        self.branches |= other.branches;
        other.runs.into_values().for_each(|run| self.add_run(run));
        self.files.extend(other.files);
        self.files = sorted(self.files);
        self
    }

    /// The same with each file changed, dropped (`None`) or moved to another path. Files that come
    /// to lie on one path are merged.
    #[must_use]
    pub fn map_files(mut self, change: impl FnMut(FileCoverage) -> Option<FileCoverage>) -> Self {
        self.files = sorted(self.files.into_iter().filter_map(change).collect());
        self
    }
}

/// By path; files of one path merged.
fn sorted(mut files: Vec<FileCoverage>) -> Vec<FileCoverage> {
    files.sort_by(|a, b| a.path().cmp(b.path()));
    files.dedup_by(|next, kept| {
        let same = next.path() == kept.path();
        if same {
            kept.merge(next);
        }
        same
    });
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::ExecutionCounter;
    use crate::coverage::testing::snapshot;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_commutes_associates_and_has_zero(a in snapshot(1), b in snapshot(2), c in snapshot(3)) {
            let ab = a.clone().merge(b.clone());
            prop_assert_eq!(&ab, &b.clone().merge(a.clone()));
            prop_assert_eq!(ab.merge(c.clone()), a.clone().merge(b.merge(c)));
            prop_assert_eq!(a.clone().merge(Snapshot::default()), a.clone());
            prop_assert_eq!(Snapshot::default().merge(a.clone()), a);
        }

        #[test]
        fn totals_are_the_sums_of_contexts(snapshot in snapshot(1)) {
            for file in snapshot.files() {
                for (line, total) in file.lines().iter() {
                    let sum: ExecutionCounter = file.contexts().filter_map(|(_, lines)| lines.get(line)).sum();
                    prop_assert_eq!(sum, total);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_context_takes_the_hits_of_the_default_one(snapshot in snapshot(1)) {
            let of = |file: &FileCoverage, name: &str| -> Vec<(u32, ExecutionCounter)> {
                let lines = file.contexts().filter(|(context, _)| *context == name).flat_map(|(_, lines)| lines.iter());
                lines.filter(|(_, counter)| *counter != ExecutionCounter::ZERO).collect()
            };
            for file in snapshot.files() {
                let named = file.clone().in_context("nightly");
                prop_assert_eq!(named.lines(), file.lines());
                prop_assert_eq!(of(&named, "nightly"), of(file, ""));
                prop_assert_eq!(of(&named, ""), []);
                prop_assert_eq!(of(&named, "τ"), of(file, "τ"));
                prop_assert_eq!(&file.clone().in_context(""), file);
            }
        }
    }

    #[test]
    fn differing_sources_are_a_loss() {
        let mut a = FileCoverage::new("/a.c");
        a.digest("md5:1");
        let one = Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), vec![a.clone()]);
        assert!(one.losses().is_empty());
        a.digest("md5:2");
        let two = one.merge(Snapshot::new(Run::default(), BTreeSet::new(), Losses::default(), vec![a]));
        let losses = two.losses();
        let (kind, loss) = losses.iter().next().unwrap();
        assert_eq!((kind, loss.count), (LossKind::SourceConflicts, 1));
        assert!(loss.details.contains("/a.c"));
    }
}
