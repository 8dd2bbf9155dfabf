//! What the numbers do not show.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Details kept of each kind; the count goes on. The smallest ones, so that merging associates.
const MAX_DETAILS: usize = 16;

/// A reason for which a count may be too low or a line absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossKind {
    /// Instructions that the plan wanted to probe and the kernel refused.
    UnprobeableSites,
    /// Objects that ran without probes.
    UnattachedObjects,
    /// Events that the kernel dropped because a buffer was full.
    DroppedEvents,
    /// Counters stopped before the end: their lines are lower bounds.
    DisarmedCounters,
    /// Processes that ran untracked.
    UntrackedProcesses,
    /// Counters that contradict each other: some path through the code is not known.
    InconsistentCounts,
    /// Source files that were not the same in all runs.
    SourceConflicts,
    /// Damaged parts of an input that were left out.
    DamagedInput,
    /// Contexts whose hits were counted in none in particular.
    MergedContexts,
}

impl LossKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::UnprobeableSites,
        Self::UnattachedObjects,
        Self::DroppedEvents,
        Self::DisarmedCounters,
        Self::UntrackedProcesses,
        Self::InconsistentCounts,
        Self::SourceConflicts,
        Self::DamagedInput,
        Self::MergedContexts,
    ];

    /// The name by which files store it.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::UnprobeableSites => "unprobeable-sites",
            Self::UnattachedObjects => "unattached-objects",
            Self::DroppedEvents => "dropped-events",
            Self::DisarmedCounters => "disarmed-counters",
            Self::UntrackedProcesses => "untracked-processes",
            Self::InconsistentCounts => "inconsistent-counts",
            Self::SourceConflicts => "source-conflicts",
            Self::DamagedInput => "damaged-input",
            Self::MergedContexts => "merged-contexts",
        }
    }

    /// The kind that files store as `slug`.
    #[must_use]
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.slug() == slug)
    }
}

impl fmt::Display for LossKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnprobeableSites => "instructions that could not be probed",
            Self::UnattachedObjects => "objects that ran without probes",
            Self::DroppedEvents => "events dropped by the kernel",
            Self::DisarmedCounters => "counters stopped before the end",
            Self::UntrackedProcesses => "processes that ran untracked",
            Self::InconsistentCounts => "counts that contradict each other",
            Self::SourceConflicts => "source files that differ between runs",
            Self::DamagedInput => "damaged parts left out",
            Self::MergedContexts => "contexts that were not told apart",
        })
    }
}

/// How much of one kind was lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loss {
    /// How many.
    pub count: u64,
    /// Some of them, for people.
    pub details: BTreeSet<String>,
}

/// All that was lost. Not empty: the person is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses {
    kinds: BTreeMap<LossKind, Loss>,
}

impl Losses {
    /// Adds `count` losses of a kind that need no words. None is no loss.
    pub fn add(&mut self, kind: LossKind, count: u64) {
        if count > 0 {
            let loss = self.kinds.entry(kind).or_default();
            loss.count = loss.count.saturating_add(count);
        }
    }

    /// Adds one loss, said in words: which object, which file, why.
    pub fn add_detail(&mut self, kind: LossKind, detail: impl Into<String>) {
        self.add(kind, 1);
        self.describe(kind, detail);
    }

    /// Adds words to a kind without counting. Does nothing where none of the kind was lost.
    pub fn describe(&mut self, kind: LossKind, detail: impl Into<String>) {
        if let Some(loss) = self.kinds.get_mut(&kind) {
            loss.details.insert(detail.into());
            if loss.details.len() > MAX_DETAILS {
                loss.details.pop_last();
            }
        }
    }

    /// Adds another run's losses.
    pub fn merge(&mut self, other: &Self) {
        for (&kind, loss) in &other.kinds {
            self.add(kind, loss.count);
            loss.details.iter().for_each(|detail| self.describe(kind, detail));
        }
    }

    /// Whether nothing was lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The kinds of which something was lost.
    pub fn iter(&self) -> impl Iterator<Item = (LossKind, &Loss)> {
        self.kinds.iter().map(|(&kind, loss)| (kind, loss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_bounded_and_independent_of_order() {
        let names: Vec<String> = (0..40).map(|i| format!("object {i:02}")).collect();
        let (mut up, mut down) = (Losses::default(), Losses::default());
        names.iter().for_each(|n| up.add_detail(LossKind::UnattachedObjects, n));
        names.iter().rev().for_each(|n| down.add_detail(LossKind::UnattachedObjects, n));
        assert_eq!(up, down);
        let (kind, loss) = up.iter().next().unwrap();
        assert_eq!((kind, loss.count, loss.details.len()), (LossKind::UnattachedObjects, 40, MAX_DETAILS));
        assert!(loss.details.contains("object 00"));
    }

    #[test]
    fn no_loss_is_empty() {
        let mut losses = Losses::default();
        losses.add(LossKind::DroppedEvents, 0);
        assert!(losses.is_empty());
        assert!(LossKind::ALL.iter().all(|&kind| LossKind::from_slug(kind.slug()) == Some(kind)));
    }
}
