//! What contexts say: who ran what, alone or with others.

use super::{ExecutionCounter, FileCoverage, LineTracker, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

impl FileCoverage {
    /// The same with the hits of the contexts that `keep` names, and no others. What is executable stays. How often
    /// functions were entered is not known by context: that stays too.
    #[must_use]
    pub fn only_contexts(mut self, keep: impl Fn(&str) -> bool) -> Self {
        let mut lines: LineTracker = self.lines().iter().map(|(line, _)| (line, ExecutionCounter::ZERO)).collect();
        let kept: Vec<(String, LineTracker)> = self
            .contexts()
            .filter(|(name, _)| keep(name))
            .map(|(name, lines)| (name.to_owned(), lines.clone()))
            .collect();
        kept.iter().for_each(|(_, own)| own.hits().for_each(|(line, counter)| lines.record(line, counter)));
        self.set_lines(lines, kept.iter().map(|(name, lines)| (name.as_str(), lines.clone())).collect());
        self
    }
}

/// A line: the index of its file, and its number.
pub type Place = (usize, u32);

/// Which lines each context ran. The default context is none of them: it is whatever no other claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach(
    /// By name.
    pub BTreeMap<String, BTreeSet<Place>>,
);

impl Reach {
    /// Of all lines of `snapshot`.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut reach = Self::default();
        for (index, file) in snapshot.files().iter().enumerate() {
            for (name, lines) in file.contexts().filter(|(name, _)| !name.is_empty()) {
                let places = lines.hits().map(|(line, _)| (index, line));
                if lines.hit() > 0 {
                    reach.0.entry(name.to_owned()).or_default().extend(places);
                }
            }
        }
        reach
    }

    /// How many contexts ran each line.
    fn runners(&self) -> BTreeMap<Place, usize> {
        let mut runners = BTreeMap::new();
        self.0.values().flatten().for_each(|place| *runners.entry(*place).or_default() += 1);
        runners
    }

    /// The lines that only one context ran, by its name; contexts without such lines are there too.
    #[must_use]
    pub fn alone(&self) -> BTreeMap<&str, Vec<Place>> {
        let runners = self.runners();
        let alone =
            |places: &BTreeSet<Place>| places.iter().filter(|place| runners.get(place) == Some(&1)).copied().collect();
        self.0.iter().map(|(name, places)| (name.as_str(), alone(places))).collect()
    }

    /// Contexts that add nothing: without all of them together, the same lines are run by the others. Whoever runs
    /// fewest lines is looked at first, of several the last by name.
    #[must_use]
    pub fn redundant(&self) -> BTreeSet<&str> {
        let mut runners = self.runners();
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by(|(a, run), (b, other)| run.len().cmp(&other.len()).then_with(|| b.cmp(a)));
        let mut redundant = BTreeSet::new();
        for (name, places) in all {
            if places.iter().all(|place| runners.get(place).is_some_and(|number| *number > 1)) {
                places.iter().filter_map(|place| runners.get_mut(place).map(|n| *n -= 1)).for_each(drop);
                redundant.insert(name.as_str());
            }
        }
        redundant
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::{CoverageCollector, Run};
    use proptest::prelude::*;

    fn snapshot(runs: &[(&str, &[u32])]) -> Snapshot {
        let collector = CoverageCollector::coverage_init();
        (1..=9).for_each(|line| collector.executable("/a.c", line));
        for (context, lines) in runs {
            lines.iter().for_each(|line| collector.record("/a.c", *line, ExecutionCounter::exact(2), context));
        }
        collector.coverage_cleanup(Run::default())
    }

    const RUNS: &[(&str, &[u32])] =
        &[("", &[1, 9]), ("one", &[1, 2]), ("two", &[1, 2, 3]), ("three", &[4]), ("four", &[4]), ("five", &[5, 1])];

    #[test]
    fn lines_that_one_alone_runs() {
        let reach = Reach::of(&snapshot(RUNS));
        let alone: Vec<_> = reach.alone().into_iter().map(|(name, places)| (name, places.len())).collect();
        assert_eq!(alone, [("five", 1), ("four", 0), ("one", 0), ("three", 0), ("two", 1)]);
        assert_eq!(reach.alone()["two"], [(0, 3)]);
    }

    #[test]
    fn who_adds_nothing_does_so_together_with_the_others() {
        let reach = Reach::of(&snapshot(RUNS));
        assert_eq!(reach.redundant().into_iter().collect::<Vec<_>>(), ["one", "three"]);
    }

    #[test]
    fn only_what_some_contexts_ran() {
        let file = snapshot(RUNS).into_files().remove(0).only_contexts(|name| name.starts_with('t'));
        let hits: Vec<_> = file.lines().hits().map(|(line, counter)| (line, counter.value())).collect();
        assert_eq!((hits, file.lines().len()), (vec![(1, 2), (2, 2), (3, 2), (4, 2)], 9));
        assert_eq!(file.contexts().map(|(name, _)| name).collect::<Vec<_>>(), ["three", "two"]);
        let none = file.only_contexts(|_| false);
        assert_eq!((none.lines().hit(), none.has_contexts()), (0, false));
    }

    proptest! {
        /// Whoever adds nothing can be left out: every line is still run. Nobody else can.
        #[test]
        fn nothing_is_lost_without_the_redundant(lines in proptest::collection::vec(proptest::collection::btree_set((0usize..2, 1u32..9), 1..6), 1..8)) {
            let reach = Reach((0..).zip(lines).map(|(n, places): (u32, _)| (n.to_string(), places)).collect());
            let redundant = reach.redundant();
            let union = |without: &dyn Fn(&str) -> bool| -> BTreeSet<Place> {
                reach.0.iter().filter(|(name, _)| !without(name)).flat_map(|(_, places)| places.clone()).collect()
            };
            let all = union(&|_| false);
            prop_assert_eq!(&union(&|name| redundant.contains(name)), &all);
            for name in reach.0.keys().filter(|name| !redundant.contains(name.as_str())) {
                prop_assert_ne!(&union(&|one| one == name || redundant.contains(one)), &all);
            }
        }
    }
}
