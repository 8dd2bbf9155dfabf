//! What a region tells of lines and functions, in sums of what can be counted.

use super::branches::WaySum;
use super::flow::{Flow, Sum, Var};
use super::types::Reason;
use crate::object::FileId;
use std::collections::BTreeSet;

/// The sums of a line within a region.
#[derive(Debug)]
pub(super) struct LineSum {
    pub(super) file: FileId,
    pub(super) line: u32,
    pub(super) count: Sum,
    pub(super) seen: Vec<Var>,
    pub(super) exact: bool,
    /// The ways out of its conditional jumps.
    pub(super) ways: Vec<WaySum>,
}

/// How often a copy of a function is entered.
#[derive(Debug)]
pub(super) struct FunctionSum {
    pub(super) copy: u32,
    pub(super) count: Sum,
    /// It was entered if one of these is above 0.
    pub(super) seen: Vec<Var>,
}

/// What a region tells.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// A line stands here once for each of its groups.
    pub(super) lines: Vec<LineSum>,
    /// Function copies.
    pub(super) functions: Vec<FunctionSum>,
    /// Lines with code that could not be used, which may have other code.
    pub(super) unusable: Vec<(FileId, u32, Reason)>,
}

impl Sums {
    /// What is to be counted.
    pub(super) fn used(&self) -> BTreeSet<Var> {
        let ways = self.lines.iter().flat_map(|l| &l.ways).map(|way| &way.count);
        let counts = self.lines.iter().map(|l| &l.count).chain(self.functions.iter().map(|f| &f.count)).chain(ways);
        let counted = counts.flat_map(|sum| sum.placeable().map(|(var, _)| var));
        counted.chain(self.lines.iter().flat_map(|l| l.seen.iter().copied())).collect()
    }

    /// Leaves only what tells that lines and functions were executed, which becomes the count of functions. `goes`: a probe
    /// goes once it was hit, and so none is to wait for a way out of a jump.
    pub(super) fn forget_counts(&mut self, flow: &Flow<'_>, goes: bool) {
        let tidy = |seen: &mut Vec<Var>| {
            if goes {
                seen.iter_mut().for_each(|var| *var = flow.reached(*var));
            }
            seen.sort_unstable();
            seen.dedup();
        };
        for line in &mut self.lines {
            line.count = Sum::default();
            tidy(&mut line.seen);
        }
        for function in &mut self.functions {
            tidy(&mut function.seen);
            function.count = Sum(function.seen.iter().map(|&var| (var, 1)).collect());
        }
    }
}
