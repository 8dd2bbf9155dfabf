//! Which lines of the wanted files a plan is for, and how often they may be expected to run.

use crate::object::{FileId, LineTable, Object};
use std::ops::RangeInclusive;
use std::path::Path;

/// Lines of one source file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines(
    /// Ascending, with a line between them that is not among them.
    Vec<RangeInclusive<u32>>,
);

impl Lines {
    /// All lines.
    #[must_use]
    pub fn all() -> Self {
        Self::default().others()
    }

    /// The lines of `ranges`, in any order.
    #[must_use]
    pub fn of(ranges: impl IntoIterator<Item = RangeInclusive<u32>>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| *range.start());
        ranges.dedup_by(|next, kept| {
            let joined = *next.start() <= kept.end().saturating_add(1);
            if joined {
                *kept = *kept.start()..=(*kept.end()).max(*next.end());
            }
            joined
        });
        Self(ranges)
    }

    /// Those that are not among these.
    #[must_use]
    pub fn others(&self) -> Self {
        let mut others = Vec::with_capacity(self.0.len() + 1);
        let mut from = Some(0);
        for range in &self.0 {
            if let (Some(from), Some(last)) = (from, range.start().checked_sub(1)) {
                others.push(from..=last);
            }
            from = range.end().checked_add(1);
        }
        others.extend(from.map(|from| from..=u32::MAX));
        Self::of(others)
    }

    /// Those that are among both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let either = self.others().0.into_iter().chain(other.others().0);
        Self::of(either).others()
    }

    /// Whether `line` is among them.
    #[must_use]
    pub fn contains(&self, line: u32) -> bool {
        let at = self.0.partition_point(|range| *range.end() < line);
        self.0.get(at).is_some_and(|range| range.contains(&line))
    }
}

/// Tells the wanted functions by their linkage names.
pub type Functions<'a> = dyn Fn(&str) -> bool + Sync + 'a;
/// Gives the wanted lines of a source file, by its path as the debug info has it.
pub type FileLines<'a> = dyn Fn(&Path) -> Lines + Sync + 'a;
/// Gives how often lines of a source file ran, by its path as the debug info has it; by rising line.
pub type Profile<'a> = dyn Fn(&Path) -> Vec<(u32, u64)> + Sync + 'a;

/// What of the wanted files a plan is for; by default all. Nothing else is probed, nor is a line of the plan.
///
/// Of a line that lies in several functions only the code in those that are wanted is counted.
#[derive(Clone, Copy, Default)]
pub struct Selection<'a> {
    /// The functions: their own code, wherever it is inlined, without what is inlined into it.
    pub functions: Option<&'a Functions<'a>>,
    /// The lines.
    pub lines: Option<&'a FileLines<'a>>,
    /// How often lines ran in an earlier run: probes are placed where it is seldom. Changes no count.
    pub profile: Option<&'a Profile<'a>>,
}

impl Selection<'_> {
    /// Whether nothing is left out, and nothing known of earlier runs.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.functions.is_none() && self.lines.is_none() && self.profile.is_none()
    }
}

/// A selection, applied to an object.
pub(super) struct Selected {
    /// By file.
    lines: Vec<Lines>,
    /// By file.
    profile: Vec<Vec<(u32, u64)>>,
    /// By function copy; nothing where all are wanted.
    functions: Option<Vec<bool>>,
}

impl Selected {
    /// Of the files of `object` for which `wanted` holds, what `selection` says.
    pub(super) fn new(object: &Object, wanted: impl Fn(FileId) -> bool, selection: &Selection<'_>) -> Self {
        let LineTable { files, .. } = &object.lines;
        let of_wanted = |n: u32, path| wanted(FileId(n)).then_some(path);
        let paths = || (0..).zip(files).map(|(n, file)| of_wanted(n, file.path.as_path()));
        let lines = paths().map(|path| match (path, selection.lines) {
            (None, _) => Lines::default(),
            (Some(_), None) => Lines::all(),
            (Some(path), Some(lines)) => lines(path),
        });
        let profile = paths().map(|path| path.zip(selection.profile).map(|(path, of)| of(path)).unwrap_or_default());
        let functions =
            selection.functions.map(|wanted| object.functions.copies.iter().map(|copy| wanted(&copy.name)).collect());
        Self { lines: lines.collect(), profile: profile.collect(), functions }
    }

    /// Whether a line's code in a function copy is selected.
    pub(super) fn holds(&self, copy: Option<u32>, file: FileId, line: u32) -> bool {
        let function = |all: &Vec<bool>| copy.and_then(|n| all.get(n as usize)).copied().unwrap_or_default();
        self.lines.get(file.0 as usize).is_some_and(|lines| lines.contains(line))
            && self.functions.as_ref().is_none_or(function)
    }

    /// How often a line ran, where that is known.
    pub(super) fn count(&self, file: FileId, line: u32) -> Option<u64> {
        let counts = self.profile.get(file.0 as usize)?;
        let at = counts.binary_search_by_key(&line, |(line, _)| *line).ok()?;
        counts.get(at).map(|(_, count)| *count)
    }

    /// Whether anything is known of how often lines ran.
    pub(super) fn has_profile(&self) -> bool {
        self.profile.iter().any(|counts| !counts.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = Vec<RangeInclusive<u32>>> {
        let end = prop_oneof![9 => 0..40u32, 1 => Just(u32::MAX)];
        proptest::collection::vec((0..40u32, end).prop_map(|(first, last)| first..=last), 0..6)
    }

    proptest! {
        #[test]
        fn they_are_sets(a in ranges(), b in ranges()) {
            let among = |ranges: &[RangeInclusive<u32>], line| ranges.iter().any(|range| range.contains(&line));
            let (all, other) = (Lines::of(a.clone()), Lines::of(b.clone()));
            for line in (0..50).chain([u32::MAX - 1, u32::MAX]) {
                prop_assert_eq!(all.contains(line), among(&a, line));
                prop_assert_eq!(all.others().contains(line), !among(&a, line));
                prop_assert_eq!(all.and(&other).contains(line), among(&a, line) && among(&b, line));
            }
            prop_assert_eq!(&all.others().others(), &all);
            prop_assert_eq!(&all.and(&Lines::all()), &all);
            prop_assert_eq!(all.and(&Lines::default()), Lines::default());
        }
    }
}
