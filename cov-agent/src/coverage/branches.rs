//! Conditional jumps of a source line, and how often each way out of them was taken.

use super::ExecutionCounter;

/// One way out of one conditional jump: what identifies it from run to run and from object to object.
///
/// A line may have several jumps, and several machine-code copies. Copies whose jumps lead to the same lines in the same
/// order have one shape, and their counts are added up; others stand side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Way {
    /// The source line of the jump, from 1.
    pub line: u32,
    /// Tells differently compiled copies of the line apart.
    pub shape: u32,
    /// The jump's place among those of the line's copy, from 0.
    pub jump: u32,
    /// The way's place among those of the jump, from 0.
    pub number: u32,
    /// The line that it leads to; 0 where that is not known or lies in another file.
    pub to: u32,
}

impl Way {
    /// Whether both are ways out of the same jump.
    #[must_use]
    pub fn same_jump(&self, other: &Self) -> bool {
        (self.line, self.shape, self.jump) == (other.line, other.shape, other.jump)
    }
}

/// A conditional jump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// The source line.
    pub line: u32,
    /// Its ways, and how often each was taken.
    pub ways: Vec<(Way, ExecutionCounter)>,
}

impl Jump {
    /// Whether it was ever executed.
    #[must_use]
    pub fn is_evaluated(&self) -> bool {
        self.covered() > 0
    }

    /// How many of its ways were taken.
    #[must_use]
    pub fn covered(&self) -> usize {
        self.ways.iter().filter(|(_, counter)| counter.is_hit()).count()
    }
}

/// Ways in order, as the jumps that they belong to.
pub(super) fn jumps(ways: impl Iterator<Item = (Way, ExecutionCounter)>) -> Vec<Jump> {
    let mut jumps: Vec<Jump> = Vec::new();
    for (way, counter) in ways {
        match jumps.last_mut() {
            Some(jump) if jump.ways.last().is_some_and(|(last, _)| last.same_jump(&way)) => {
                jump.ways.push((way, counter));
            }
            _ => jumps.push(Jump { line: way.line, ways: vec![(way, counter)] }),
        }
    }
    jumps
}

/// Ways, and how many of them were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Branches {
    /// All.
    pub total: usize,
    /// Those that were taken.
    pub covered: usize,
}

impl Branches {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.total += other.total;
        self.covered += other.covered;
    }
}

impl FromIterator<ExecutionCounter> for Branches {
    fn from_iter<I: IntoIterator<Item = ExecutionCounter>>(counters: I) -> Self {
        let mut branches = Self::default();
        for counter in counters {
            branches.add(Self { total: 1, covered: usize::from(counter.is_hit()) });
        }
        branches
    }
}
