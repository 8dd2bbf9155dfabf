//! One file's executable lines and their counters, compact in memory.

use super::ExecutionCounter;
use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::fmt;
use std::iter::Peekable;
use std::ops::RangeInclusive;

/// Lines a block holds before it is split: big enough that the tree above costs nothing, small
/// enough that inserting into the middle is a short move.
const BLOCK: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    count: u64,
    line: u32,
    lower_bound: bool,
}

impl Entry {
    fn counter(self) -> ExecutionCounter {
        if self.lower_bound { ExecutionCounter::at_least(self.count) } else { ExecutionCounter::exact(self.count) }
    }

    fn set(&mut self, counter: ExecutionCounter) {
        self.count = counter.value();
        self.lower_bound = counter.is_lower_bound();
    }
}

/// Executable lines of one file with their counters. A line that is in it is executable; it is
/// hit if its counter is above zero, so a hit line is always executable.
///
/// Lines count from 1. Line 0 is DWARF's "no line": recording it does nothing.
///
/// Sixteen bytes a line in sorted blocks: 16 to 32 bytes a line whatever the order in which
/// lines come and however far apart they lie.
///
/// ```
/// use cov_agent::coverage::{ExecutionCounter, LineTracker};
/// let mut lines = LineTracker::default();
/// lines.executable_range(10..=12);
/// lines.record(11, ExecutionCounter::exact(5));
/// assert_eq!((lines.len(), lines.hit()), (3, 1));
/// assert_eq!(lines.missing().collect::<Vec<_>>(), [10, 12]);
/// ```
#[derive(Clone, Default)]
pub struct LineTracker {
    /// Sorted, not empty, by a line that is not above the first in it.
    blocks: BTreeMap<u32, Vec<Entry>>,
    len: usize,
    hit: usize,
}

impl LineTracker {
    /// Says that `line` is executable. Its counter stays as it is.
    pub fn executable(&mut self, line: u32) {
        self.record(line, ExecutionCounter::ZERO);
    }

    /// Says that all of `lines` are executable.
    pub fn executable_range(&mut self, lines: RangeInclusive<u32>) {
        lines.for_each(|line| self.executable(line));
    }

    /// Adds `counter` to `line`, which becomes executable if it was not.
    pub fn record(&mut self, line: u32, counter: ExecutionCounter) {
        if line == 0 {
            return;
        }
        let entry = Entry { count: counter.value(), line, lower_bound: counter.is_lower_bound() };
        let Some((_, block)) = self.blocks.range_mut(..=line).next_back() else {
            // Below all others: the first block takes it, under a key that reaches down to it.
            let first = self.blocks.first_entry().filter(|first| first.get().len() < BLOCK);
            let mut block = first.map_or_else(Vec::new, OccupiedEntry::remove);
            block.insert(0, entry);
            self.blocks.insert(line, block);
            self.count_new(counter);
            return;
        };
        match block.binary_search_by_key(&line, |e| e.line) {
            Ok(at) => {
                if let Some(entry) = block.get_mut(at) {
                    let (old, new) = (entry.counter(), entry.counter() + counter);
                    entry.set(new);
                    self.hit += usize::from(new.is_hit() && !old.is_hit());
                }
                return;
            }
            Err(at) if block.len() < BLOCK => block.insert(at, entry),
            // Lines mostly come in rising order: a full block stays full.
            Err(BLOCK) => drop(self.blocks.insert(line, vec![entry])),
            Err(at) => {
                let mut upper = block.split_off(BLOCK / 2);
                match at.checked_sub(BLOCK / 2) {
                    Some(at) if at > 0 => upper.insert(at, entry),
                    _ => block.insert(at, entry),
                }
                if let Some(key) = upper.first().map(|e| e.line) {
                    self.blocks.insert(key, upper);
                }
            }
        }
        self.count_new(counter);
    }

    fn count_new(&mut self, counter: ExecutionCounter) {
        self.len += 1;
        self.hit += usize::from(counter.is_hit());
    }

    /// Stores a block, which lies above all others.
    fn put(&mut self, block: Vec<Entry>) {
        if let Some(first) = block.first() {
            self.blocks.insert(first.line, block);
        }
    }

    /// Adds all of `other`: executable lines become the union, counters are summed.
    pub fn merge(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
        } else if other.len() >= self.len() / 8 {
            *self = Zip { left: self.iter().peekable(), right: other.iter().peekable() }.collect();
        } else {
            other.iter().for_each(|(line, counter)| self.record(line, counter));
        }
    }

    /// The counter of `line`; `None` if it is not executable.
    #[must_use]
    pub fn get(&self, line: u32) -> Option<ExecutionCounter> {
        let (_, block) = self.blocks.range(..=line).next_back()?;
        let at = block.binary_search_by_key(&line, |e| e.line).ok()?;
        block.get(at).map(|e| e.counter())
    }

    /// Takes the line out again; gives its counter if it was executable.
    pub fn remove(&mut self, line: u32) -> Option<ExecutionCounter> {
        let (&key, block) = self.blocks.range_mut(..=line).next_back()?;
        let at = block.binary_search_by_key(&line, |e| e.line).ok()?;
        let counter = block.remove(at).counter();
        if block.is_empty() {
            self.blocks.remove(&key);
        }
        self.len -= 1;
        self.hit -= usize::from(counter.is_hit());
        Some(counter)
    }

    /// Executable lines with their counters, by rising line.
    pub fn iter(&self) -> impl Iterator<Item = (u32, ExecutionCounter)> + '_ {
        self.blocks.values().flatten().map(|e| (e.line, e.counter()))
    }

    /// Hit lines with their counters, by rising line.
    pub fn hits(&self) -> impl Iterator<Item = (u32, ExecutionCounter)> + '_ {
        self.iter().filter(|(_, counter)| counter.is_hit())
    }

    /// Executable lines that were not hit, by rising line.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter().filter(|(_, counter)| !counter.is_hit()).map(|(line, _)| line)
    }

    /// Executable lines with their counters whose line is in `lines`, by rising line.
    pub fn range(&self, lines: RangeInclusive<u32>) -> impl Iterator<Item = (u32, ExecutionCounter)> + '_ {
        let (first, last) = lines.into_inner();
        let key = self.blocks.range(..=first).next_back().map_or(first, |(&key, _)| key);
        let blocks = self.blocks.range(key..).take_while(move |&(&key, _)| key <= last).map(|(_, block)| block);
        blocks.flatten().filter(move |e| first <= e.line && e.line <= last).map(|e| (e.line, e.counter()))
    }

    /// How many lines are executable.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no line is executable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many lines were hit.
    #[must_use]
    pub fn hit(&self) -> usize {
        self.hit
    }
}

/// Two sorted sequences as one; counters of a line that is in both are summed.
struct Zip<L: Iterator, R: Iterator> {
    left: Peekable<L>,
    right: Peekable<R>,
}

impl<L, R> Iterator for Zip<L, R>
where
    L: Iterator<Item = (u32, ExecutionCounter)>,
    R: Iterator<Item = (u32, ExecutionCounter)>,
{
    type Item = (u32, ExecutionCounter);

    fn next(&mut self) -> Option<Self::Item> {
        match (self.left.peek(), self.right.peek()) {
            (Some(&(left, a)), Some(&(right, b))) if left == right => {
                self.left.next();
                self.right.next();
                Some((left, a + b))
            }
            (Some(left), Some(right)) if left.0 > right.0 => self.right.next(),
            (Some(_), _) => self.left.next(),
            _ => self.right.next(),
        }
    }
}

impl PartialEq for LineTracker {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.blocks.values().flatten().eq(other.blocks.values().flatten())
    }
}

impl Eq for LineTracker {}

impl fmt::Debug for LineTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(line, counter)| (line, counter.to_string()))).finish()
    }
}

impl FromIterator<(u32, ExecutionCounter)> for LineTracker {
    /// Takes lines in any order; rising ones without looking for their place.
    fn from_iter<I: IntoIterator<Item = (u32, ExecutionCounter)>>(iter: I) -> Self {
        let mut iter = iter.into_iter();
        let mut this = Self::default();
        let mut tail: Vec<Entry> = Vec::with_capacity(iter.size_hint().0.min(BLOCK));
        for (line, counter) in iter.by_ref() {
            if tail.last().is_some_and(|last| last.line >= line) {
                this.put(tail);
                this.record(line, counter);
                iter.for_each(|(line, counter)| this.record(line, counter));
                return this;
            }
            if line == 0 {
                continue;
            }
            if tail.len() == BLOCK {
                this.put(std::mem::replace(&mut tail, Vec::with_capacity(BLOCK)));
            }
            tail.push(Entry { count: counter.value(), line, lower_bound: counter.is_lower_bound() });
            this.count_new(counter);
        }
        tail.shrink_to_fit();
        this.put(tail);
        this
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Vec<(u32, u64)>> {
        proptest::collection::vec((0..2000u32, 0..3u64), 0..1500)
    }

    fn tracker(records: &[(u32, u64)]) -> LineTracker {
        records.iter().map(|&(line, count)| (line, ExecutionCounter::exact(count))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_a_sorted_map(records in records(), removed in proptest::collection::vec(0..2000u32, 0..200)) {
            let mut model = BTreeMap::<u32, u64>::new();
            for &(line, count) in records.iter().filter(|r| r.0 > 0) {
                *model.entry(line).or_default() += count;
            }
            let mut lines = tracker(&records);
            for line in removed {
                prop_assert_eq!(lines.remove(line).map(ExecutionCounter::value), model.remove(&line));
            }
            let got: Vec<_> = lines.iter().map(|(line, c)| (line, c.value())).collect();
            let want: Vec<_> = model.iter().map(|(&line, &count)| (line, count)).collect();
            prop_assert_eq!(got, want);
            prop_assert_eq!(lines.len(), model.len());
            prop_assert_eq!(lines.hit(), model.values().filter(|&&c| c > 0).count());
            for line in 0..2001 {
                prop_assert_eq!(lines.get(line).map(ExecutionCounter::value), model.get(&line).copied());
            }
            let range: Vec<_> = lines.range(500..=900).map(|(line, _)| line).collect();
            prop_assert_eq!(range, model.range(500..=900).map(|(&line, _)| line).collect::<Vec<_>>());
        }

        #[test]
        fn merging_commutes_associates_and_has_zero(a in records(), b in records(), c in records()) {
            let merge = |x: &LineTracker, y: &LineTracker| { let mut x = x.clone(); x.merge(y); x };
            let (a, b, c) = (tracker(&a), tracker(&b), tracker(&c));
            prop_assert_eq!(merge(&a, &b), merge(&b, &a));
            prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
            prop_assert_eq!(merge(&a, &LineTracker::default()), a.clone());
            prop_assert_eq!(merge(&LineTracker::default(), &a), a);
        }
    }

    type Order = fn(u32) -> u32;

    #[test]
    fn ranges_are_executable_and_lines_without_number_are_none() {
        let mut lines = LineTracker::default();
        lines.executable_range(3..=5);
        lines.executable(4);
        lines.record(0, ExecutionCounter::exact(1));
        lines.record(4, ExecutionCounter::at_least(2));
        assert_eq!((lines.len(), lines.hit()), (3, 1));
        assert_eq!(lines.range(4..=9).map(|(line, _)| line).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(lines.missing().collect::<Vec<_>>(), [3, 5]);
        assert_eq!(format!("{lines:?}"), r#"{3: "0", 4: "≥2", 5: "0"}"#);
    }

    #[test]
    fn memory_stays_below_40_bytes_a_line() {
        let bytes = |lines: &LineTracker| -> usize {
            // The tree's nodes: 11 pairs, at least 5 of them used; 16 is malloc's own.
            lines.blocks.values().map(|b| b.capacity() * size_of::<Entry>() + 16 + (4 + 24) * 11 / 5 + 10).sum()
        };
        let n = 200_000u32;
        let orders: [(&str, Order); 4] = [
            ("dense, rising", |i| i + 1),
            ("dense, falling", |i| 200_000 - i),
            ("sparse, rising", |i| i * 400 + 1),
            ("sparse, scattered", |i| i.wrapping_mul(2_654_435_761) | 1),
        ];
        for (name, line) in orders {
            let lines: LineTracker = (0..n).map(|i| (line(i), ExecutionCounter::exact(1))).collect();
            let each = bytes(&lines) as f64 / lines.len() as f64;
            assert!(each < 40.0, "{name}: {each} bytes a line");
        }
    }
}
