//! From the blocks that a line's code lies in to the line's count.
//!
//! A line's count is the number of times control enters it. A *group* is the line's code within one copy of a
//! function. Entries of a group are the edges into its blocks from blocks that are not on the line, and the edges that
//! close a cycle of blocks which are all on the line. Of a function's declaration the entries are those of the function.

use super::Scope;
use super::cfg::{Cfg, Edge, EdgeKind, OUTSIDE};
use super::flow::{Flow, Sum, Var};
use super::graph::back_edges;
use super::rows::{Calls, Innermost, Span};
use super::selection::Selected;
use super::stops::Halt;
use super::sums::{FunctionSum, LineSum, Sums};
use super::types::Reason;
use super::x86_64::Flow as Control;
use crate::object::{CopyKind, FileId, FunctionCopy, Object};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A region as it is asked for lines.
pub(super) struct Asked<'a> {
    pub(super) object: &'a Object,
    pub(super) innermost: &'a Innermost,
    pub(super) calls: &'a Calls,
    pub(super) selected: &'a Selected,
    pub(super) cfg: &'a Cfg,
    pub(super) flow: &'a Flow<'a>,
    /// Blocks that seem to be of lines that they are not of.
    pub(super) strays: &'a BTreeSet<u32>,
    /// Whether the graph can be relied on.
    pub(super) resolved: bool,
    /// Whether conditional jumps are asked for.
    pub(super) branches: bool,
    pub(super) scope: Scope,
    /// Where threads stopped.
    pub(super) halts: &'a [Halt],
}

/// A block of a group, and the first of its pieces that holds code of the line.
pub(super) type Member = (u32, u32);

/// The code of a line within one copy of a function.
#[derive(Default)]
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    /// The blocks that a row begins in, or that control falls into from there.
    pub(super) begun: Vec<u32>,
    /// The instructions with which it begins to leave the function.
    pub(super) epilogues: Vec<u32>,
    /// Whether it is the last line of its file in the copy of the function: mostly the closing brace, to which leaving
    /// belongs.
    pub(super) last: bool,
    /// Its instructions; sorted and not touching once tidy.
    pub(super) insns: Vec<Range<u32>>,
}

impl Group {
    /// Sorts the members, each block once, and the instructions.
    fn tidy(&mut self) {
        self.members.sort_unstable();
        self.members.dedup_by_key(|m| m.0);
        self.begun.sort_unstable();
        self.insns.sort_unstable_by_key(|i| (i.start, i.end));
        self.insns.dedup_by(|next, kept| {
            let joined = next.start <= kept.end;
            if joined {
                kept.end = kept.end.max(next.end);
            }
            joined
        });
    }

    /// The instructions of the group from `range.start` to `range.end`: the first, and the one after the last.
    pub(super) fn hull(&self, range: &Range<u32>) -> Option<Range<u32>> {
        let first = self.insns.get(self.insns.partition_point(|i| i.end <= range.start))?;
        let last = self.insns.get(self.insns.partition_point(|i| i.start < range.end).checked_sub(1)?)?;
        let hull = first.start.max(range.start)..last.end.min(range.end);
        (!hull.is_empty()).then_some(hull)
    }

    pub(super) fn holds(&self, insn: u32) -> bool {
        self.hull(&(insn..insn + 1)).is_some()
    }
}

/// Inlined copies that a line calls.
#[derive(Default)]
struct Called<'a> {
    copies: Vec<&'a FunctionCopy>,
    /// The blocks that hold code of theirs and none of the line.
    members: Vec<Member>,
}

impl Called<'_> {
    /// Whether one of them holds an instruction.
    fn hold(&self, cfg: &Cfg, insn: u32) -> bool {
        cfg.insns.get(insn as usize).is_some_and(|i| self.copies.iter().any(|c| contains(c, i.addr)))
    }

    /// Whether an edge leads from code of one of them to code of the same.
    fn keep(&self, cfg: &Cfg, edge: &Edge) -> bool {
        let addr = |insn: u32| cfg.insns.get(insn as usize).map(|i| i.addr);
        let to = cfg.blocks.get(edge.to as usize).and_then(|b| addr(b.insns.start));
        let ends = addr(edge.by).zip(to);
        ends.is_some_and(|(from, to)| self.copies.iter().any(|c| contains(c, from) && contains(c, to)))
    }
}

fn contains(copy: &FunctionCopy, addr: u64) -> bool {
    copy.ranges.iter().any(|r| (r.start.0..r.end.0).contains(&addr))
}

/// A copy of a function, and a line in it.
pub(super) type Key = (Option<u32>, FileId, u32);

/// Blocks that control enters, and the edges by which it does.
#[derive(Default)]
struct Entrance {
    count: Sum,
    seen: Vec<Var>,
    edges: BTreeSet<Edge>,
    exact: bool,
}

impl Asked<'_> {
    /// The sums of the lines of `spans` and of the function copies `copies`.
    pub(super) fn sums(&self, spans: &[Span], copies: &[u32]) -> Sums {
        let mut sums = Sums::default();
        let mut groups = self.groups(spans, &mut sums);
        groups.retain(|&(copy, file, line), _| self.selected.holds(copy, file, line));
        let mut entrances: BTreeMap<Key, Entrance> = BTreeMap::new();
        let mut budget = 64 * self.cfg.blocks.len() + (1 << 20);
        for &n in copies {
            let Some(copy) = self.object.functions.copies.get(n as usize) else { continue };
            let Some((file, line)) = copy.decl else { continue };
            let entrance = self.entrance(copy, &mut budget);
            if entrance.count.0.is_empty() {
                continue;
            }
            let (count, seen) = (entrance.count.clone(), entrance.seen.clone());
            sums.functions.push(FunctionSum { copy: n, count, seen });
            if !self.shadowed(n, copy) {
                groups.entry((Some(n), file, line)).or_default();
                entrances.insert((Some(n), file, line), entrance);
            }
        }
        for (key, group) in groups {
            let entrance = entrances.remove(&key).unwrap_or_else(|| Entrance { exact: true, ..Entrance::default() });
            let sum = self.group(key, group, entrance, spans, &mut budget);
            if sum.seen.is_empty() {
                sums.unusable.push((key.1, key.2, Reason::UnsafeInstruction));
            } else {
                sums.lines.push(sum);
            }
        }
        sums
    }

    /// Sorts the code of lines into groups.
    fn groups(&self, spans: &[Span], sums: &mut Sums) -> BTreeMap<Key, Group> {
        let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
        let mut empty = Vec::new();
        for span in spans {
            let copy = self.innermost.at(span.start);
            let Some(first) = self.cfg.insn_at(span.start) else {
                if self.selected.holds(copy, span.file, span.line) {
                    sums.unusable.push((span.file, span.line, Reason::NotAnInstruction));
                }
                continue;
            };
            if span.end <= span.start {
                empty.push((span, first, copy));
                continue;
            }
            let group = groups.entry((copy, span.file, span.line)).or_default();
            self.members(first, span.end, group);
            if span.epilogue {
                group.epilogues.push(first);
            }
        }
        // A statement without code of its own stands where another begins, perhaps the first of an inlined
        // function that it does not belong to.
        for (span, first, copy) in empty {
            let mut owner = copy;
            while owner.is_some() && !groups.contains_key(&(owner, span.file, span.line)) {
                owner = self.object.functions.parent(owner);
            }
            let group = groups.entry((owner.or(copy), span.file, span.line)).or_default();
            self.members(first, span.start, group);
        }
        groups.retain(|key, group| !self.is_made_up(key.0, group));
        self.drop_stray_groups(&mut groups);
        let mut next = None;
        for (&(copy, file, _), group) in groups.iter_mut().rev() {
            group.last = next.replace((copy, file)) != Some((copy, file));
        }
        groups
    }

    /// Whether a group is the beginning of a function that the compiler made up: no line of the source says what it
    /// does, and compilers give it some line, gcc the last of the file.
    fn is_made_up(&self, copy: Option<u32>, group: &Group) -> bool {
        let copy = copy.and_then(|n| self.object.functions.copies.get(n as usize)).filter(|c| c.artificial);
        let entry = copy.and_then(|c| self.cfg.insn_at(c.entry.0));
        entry.is_some_and(|entry| group.insns.iter().any(|i| i.contains(&entry)))
    }

    /// Adds the blocks from instruction `first` to address `end`.
    fn members(&self, first: u32, end: u64, group: &mut Group) {
        let Some(mut piece) = self.cfg.piece_of(first) else { return };
        let end = if self.resolved { self.cfg.first_from(end).max(first + 1) } else { first + 1 };
        group.insns.push(first..end);
        let mut falls = true;
        while let Some(p) = self.cfg.pieces.get(piece as usize)
            && p.insns.start < end
        {
            group.members.push((p.block, piece));
            if falls {
                group.begun.push(p.block);
            }
            let flow = self.cfg.last(p.block).map(|i| i.flow);
            falls &= matches!(flow, Some(Control::Next | Control::Branch { .. } | Control::Call { .. }));
            piece = self.cfg.blocks.get(p.block as usize).map_or(piece + 1, |b| b.pieces.end);
        }
    }

    fn group(&self, key: Key, mut group: Group, entrance: Entrance, spans: &[Span], budget: &mut usize) -> LineSum {
        group.tidy();
        // Also the jumps of blocks that are not the line's own otherwise.
        let ways = if self.branches && self.resolved { self.ways(&key, &group, spans) } else { Vec::new() };
        self.drop_incidental(&mut group);
        let members = &group.members;
        let Entrance { mut count, mut seen, edges, mut exact } = entrance;
        if !self.resolved {
            // Nothing is known of edges: the first row speaks for the line.
            let pieces = || members.iter().filter_map(|&(_, piece)| self.flow.piece(piece));
            if count.0.is_empty() {
                count = pieces().next().unwrap_or_default();
            }
            seen.extend(pieces().flat_map(|p| p.positive().collect::<Vec<_>>()));
            return LineSum { file: key.1, line: key.2, count, seen, exact: false, ways };
        }
        let called = self.called(key, members, budget);
        let mut blocks: Vec<u32> = members.iter().chain(&called.members).map(|m| m.0).collect();
        blocks.sort_unstable();
        let outside = |e: &Edge| {
            let on_line = match e.kind {
                EdgeKind::Unwind => group.holds(e.by) || called.hold(self.cfg, e.by),
                _ => blocks.binary_search(&e.from).is_ok(),
            };
            !on_line && !edges.contains(e)
        };
        let back = back_edges(self.cfg, &blocks, |b| self.cfg.into(b).iter().any(|e| outside(e) || edges.contains(e)));
        // A loop of a function that the line calls is none of the line's own.
        let again = |e: &Edge| back.binary_search(&(e.from, e.to)).is_ok() && !called.keep(self.cfg, e);
        let counted = |e: &Edge| (outside(e) || again(e)) && !self.grows(e);
        count.add(&self.late(&group, counted, &mut exact), -1);
        for &(block, first) in members {
            let (sum, by) = self.flow.entries(block, first, counted, &mut exact);
            count.add(&sum, 1);
            seen.extend(by);
            if self.cfg.into(block).iter().any(|e| called.members.binary_search_by_key(&e.from, |m| m.0).is_ok()) {
                // That it was entered is counted where the called code is; that it was executed is not.
                seen.extend(self.flow.piece(first).iter().flat_map(Sum::positive));
            }
        }
        for &(block, first) in &called.members {
            let (sum, _) = self.flow.entries(block, first, counted, &mut exact);
            count.add(&sum, 1);
        }
        seen.sort_unstable();
        seen.dedup();
        LineSum { file: key.1, line: key.2, count, seen, exact, ways }
    }

    /// The code that is inlined where the line calls it, in blocks that are no `members`. Coming back from it is no entry of the line.
    fn called(&self, (copy, file, line): Key, members: &[Member], budget: &mut usize) -> Called<'_> {
        let copies = copy.map_or(&[][..], |copy| self.calls.of(copy, file, line)).iter();
        let copies: Vec<&FunctionCopy> = copies.filter_map(|&n| self.object.functions.copies.get(n as usize)).collect();
        let mut code = Group::default();
        for copy in &copies {
            self.code_of(copy, &mut code);
        }
        code.tidy();
        match budget.checked_sub(code.members.len()) {
            Some(left) => *budget = left,
            None => return Called::default(),
        }
        code.members.retain(|m| members.binary_search_by_key(&m.0, |m| m.0).is_err());
        self.drop_strays(&mut code.members);
        Called { copies, members: code.members }
    }

    /// Adds the code of a copy.
    fn code_of(&self, copy: &FunctionCopy, group: &mut Group) {
        for range in &copy.ranges {
            let first = self.cfg.first_from(range.start.0);
            if self.cfg.insns.get(first as usize).is_some_and(|i| i.addr < range.end.0) {
                self.members(first, range.end.0, group);
            }
        }
    }

    /// Whether identical code was folded, and another copy stands for this one.
    fn shadowed(&self, n: u32, copy: &FunctionCopy) -> bool {
        let Some(start) = copy.ranges.first() else { return true };
        let mut owner = self.innermost.at(start.start.0);
        let mut root = None;
        while let Some(o) = owner {
            if o == n {
                return false;
            }
            root = self.object.functions.copies.get(o as usize);
            owner = self.object.functions.parent(owner);
        }
        copy.kind != CopyKind::OutOfLine || root.is_some_and(|r| r.decl == copy.decl)
    }

    /// How a copy of a function is entered.
    fn entrance(&self, copy: &FunctionCopy, budget: &mut usize) -> Entrance {
        match copy.kind {
            CopyKind::OutOfLine => self.out_of_line(copy),
            CopyKind::Inlined { .. } if self.resolved => self.inlined(copy, budget),
            CopyKind::Inlined { .. } => Entrance::default(),
        }
    }

    fn out_of_line(&self, copy: &FunctionCopy) -> Entrance {
        // Of several ranges the others are cold parts; these may have the lower addresses.
        let block_at = |addr: u64| {
            let piece = self.cfg.pieces.get(self.cfg.piece_of(self.cfg.insn_at(addr)?)? as usize)?;
            self.cfg.into(piece.block).iter().any(|e| e.from == OUTSIDE).then_some(piece.block)
        };
        let named = |addr| self.object.image.symbol_at(addr).is_some_and(|name| *name == *copy.name);
        let starts = || copy.ranges.iter().map(|r| r.start);
        let start = starts().find(|&s| named(s)).or_else(|| starts().find(|s| block_at(s.0).is_some()));
        let Some(block) = start.and_then(|s| block_at(s.0)) else { return Entrance::default() };
        let entry = |e: &Edge| e.kind == EdgeKind::Entry;
        self.entered(&[(block, self.first_piece(block))], entry)
    }

    fn first_piece(&self, block: u32) -> u32 {
        self.cfg.blocks.get(block as usize).map_or(u32::MAX, |b| b.pieces.start)
    }

    fn inlined(&self, copy: &FunctionCopy, budget: &mut usize) -> Entrance {
        let mut group = Group::default();
        self.code_of(copy, &mut group);
        group.tidy();
        self.drop_strays(&mut group.members);
        let members = &group.members;
        match budget.checked_sub(members.len()) {
            Some(left) => *budget = left,
            None => return Entrance::default(),
        }
        let blocks: Vec<u32> = members.iter().map(|m| m.0).collect();
        let inside = |insn: Option<u32>| {
            let insn = insn.and_then(|n| self.cfg.insns.get(n as usize));
            insn.is_some_and(|i| contains(copy, i.addr))
        };
        let block = |b: u32| self.cfg.blocks.get(b as usize);
        let begins_inside = |b: u32| inside(block(b).map(|b| b.insns.start));
        let ends_inside = |b: u32| inside(block(b).and_then(|b| b.insns.end.checked_sub(1)));
        let outside = |e: &Edge| blocks.binary_search(&e.from).is_err();
        let back = back_edges(self.cfg, &blocks, |b| self.cfg.into(b).iter().any(outside));
        // A cycle that leaves the function's code goes through the next call of it.
        let again =
            |e: &Edge| back.binary_search(&(e.from, e.to)).is_ok() && !(ends_inside(e.from) && begins_inside(e.to));
        let entry = |e: &Edge| outside(e) || again(e);
        let mut entrance = self.entered(members, entry);
        entrance.count.add(&self.late(&group, entry, &mut entrance.exact), -1);
        entrance
    }

    fn entered(&self, members: &[Member], entry: impl Fn(&Edge) -> bool) -> Entrance {
        let mut entrance = Entrance { exact: true, ..Entrance::default() };
        for &(block, first) in members {
            let (sum, seen) = self.flow.entries(block, first, &entry, &mut entrance.exact);
            entrance.count.add(&sum, 1);
            entrance.seen.extend(seen);
            entrance.edges.extend(self.cfg.into(block).iter().filter(|e| entry(e)));
        }
        entrance
    }
}
