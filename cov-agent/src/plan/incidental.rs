//! Blocks that debug info gives to a line which they do not belong to, and edges that only seem to be entries.

use super::cfg::{Cfg, Edge, EdgeKind};
use super::lines::{Asked, Group, Key, Member};
use super::rows::Span;
use super::x86_64::{Callee, Flow as Control};
use crate::object::LinkAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Goes on unwinding after a landing pad has cleaned up.
const RESUME: &str = "_Unwind_Resume";
/// What a Go function calls before all else where its stack is too small.
const MORE_STACK: &str = "runtime.morestack";

/// Blocks that the compiler put on an edge between others, to move a value, and gave to the line of the code before them:
/// no statement begins there, nothing falls in, nothing is called or decided.
pub(super) fn strays(cfg: &Cfg, spans: &[Span]) -> BTreeSet<u32> {
    let flow = |n: u32| cfg.insns.get(n as usize).map(|i| i.flow);
    let falls_in = |first: u32| {
        let before = first.checked_sub(1).and_then(|n| cfg.insns.get(n as usize));
        let here = cfg.insns.get(first as usize);
        let on = |flow| matches!(flow, Control::Next | Control::Branch { .. } | Control::Call { .. });
        before.zip(here).is_some_and(|(before, here)| before.end() == here.addr && on(before.flow))
    };
    let stray = |span: &Span| {
        let first = cfg.insn_at(span.start).filter(|_| !span.statement)?;
        let n = cfg.pieces.get(cfg.piece_of(first)? as usize)?.block;
        let block = cfg.blocks.get(n as usize).filter(|block| block.insns.start == first && !falls_in(first))?;
        let moves = |n: u32| matches!(flow(n), Some(Control::Next));
        let last = block.insns.end - 1;
        let leads_on = moves(last) || matches!(flow(last), Some(Control::Jump { .. }));
        (leads_on && (first..last).all(moves)).then_some(n)
    };
    let mut strays: BTreeSet<u32> = spans.iter().filter_map(stray).collect();
    let block_at = |addr| Some(cfg.pieces.get(cfg.piece_of(cfg.insn_at(addr)?)? as usize)?.block);
    let stated = spans.iter().filter(|span| span.statement).filter_map(|span| block_at(span.start));
    stated.for_each(|block| _ = strays.remove(&block));
    strays
}

impl Asked<'_> {
    /// Leaves out groups of strays alone, whose line has other code: in another copy, which the strays do not belong to.
    pub(super) fn drop_stray_groups(&self, groups: &mut BTreeMap<Key, Group>) {
        let only_strays = |group: &Group| group.members.iter().all(|m| self.strays.contains(&m.0));
        let lines = groups.iter().filter(|(_, group)| !only_strays(group)).map(|(&(_, file, line), _)| (file, line));
        let lines: BTreeSet<_> = lines.collect();
        groups.retain(|&(_, file, line), group| !lines.contains(&(file, line)) || !only_strays(group));
    }

    /// Leaves out strays that nothing else of `members` leads to.
    pub(super) fn drop_strays(&self, members: &mut Vec<Member>) {
        let all: BTreeSet<u32> = members.iter().map(|m| m.0).collect();
        members.retain(|m| !self.strays.contains(&m.0) || self.cfg.into(m.0).iter().any(|e| all.contains(&e.from)));
    }

    /// Whether an edge begins a Go function anew after its stack has grown: `call runtime.morestack…`, perhaps
    /// arguments out of the stack, and a jump to where it began.
    pub(super) fn grows(&self, edge: &Edge) -> bool {
        let Some(block) = self.cfg.blocks.get(edge.from as usize).filter(|_| edge.kind == EdgeKind::Only) else {
            return false;
        };
        let grow = |n: u32| match self.cfg.insns.get(n as usize).map(|i| i.flow) {
            Some(Control::Call { callee: Callee::Direct(callee), .. }) => {
                self.object.image.symbol_at(LinkAddr(callee)).is_some_and(|name| name.starts_with(MORE_STACK))
            }
            _ => false,
        };
        self.cfg.into(edge.to).iter().any(|e| e.kind == EdgeKind::Entry) && block.insns.clone().any(grow)
    }

    /// Leaves out blocks that only seem to be the line's, unless the line has nothing else or control comes to
    /// them from the line alone: those in which the compiler has given its own doings to the line, and those with instructions without
    /// a line of their own, which follow a row by chance.
    pub(super) fn drop_incidental(&self, group: &mut Group) {
        if group.members.len() < 2 {
            return;
        }
        let begun = |m: &Member| group.begun.binary_search(&m.0).is_ok();
        let doubtful = |m: &&Member| !begun(m) || self.strays.contains(&m.0) || self.is_incidental(m.0, group);
        let mut dropped: BTreeSet<u32> = group.members.iter().filter(doubtful).map(|m| m.0).collect();
        if dropped.len() == group.members.len() {
            dropped = group.members.iter().filter(|m| !begun(m)).map(|m| m.0).collect();
        }
        if dropped.is_empty() {
            return;
        }
        // Begin with all that are in doubt and drop those that something else leads to, until none is left.
        let mut kept = std::mem::take(&mut dropped);
        let mut open: Vec<u32> = kept.iter().copied().collect();
        let is_member = |block: u32| group.members.binary_search_by_key(&block, |m| m.0).is_ok();
        while let Some(block) = open.pop() {
            let from_line = |e: &Edge| is_member(e.from) && !dropped.contains(&e.from);
            if kept.contains(&block) && !self.cfg.into(block).iter().all(from_line) {
                kept.remove(&block);
                dropped.insert(block);
                open.extend(self.cfg.successors(block).iter().filter(|s| kept.contains(s)));
            }
        }
        group.members.retain(|m| !dropped.contains(&m.0));
    }

    /// Whether a block holds nothing of the group but
    /// - the way out of the function: Mojo gives it to the line of the last `if`;
    /// - the jump at its end: clang gives the way out of a loop to the last line inside, and the last jump of a
    ///   condition to the line where the condition begins;
    /// - the head of a landing pad, which saves what was thrown;
    /// - the call that resumes unwinding.
    fn is_incidental(&self, block: u32, group: &Group) -> bool {
        let Some(range) = self.cfg.blocks.get(block as usize).map(|b| b.insns.clone()) else { return false };
        let Some(Range { start: first, end }) = group.hull(&range) else { return false };
        let flow = |n: u32| self.cfg.insns.get(n as usize).map(|i| i.flow);
        let is_call = |n: u32| matches!(flow(n), Some(Control::Call { .. }));
        if end == range.end {
            let out = matches!(flow(first), Some(Control::Jump { .. } | Control::Branch { .. } | Control::Stop));
            let jump = first + 1 == end && out;
            let stops = matches!(flow(end - 1), Some(Control::Stop));
            let epilogue = !group.last && stops && group.epilogues.contains(&first) && !(first..end).any(is_call);
            let resume = self.resumes(end - 1) && !(first..end - 1).any(is_call);
            return jump || epilogue || resume;
        }
        let pad = self.cfg.into(block).iter().all(|e| e.kind == EdgeKind::Unwind);
        pad && !(range.start..end).any(is_call)
    }

    /// Whether an instruction calls the function that goes on unwinding.
    fn resumes(&self, insn: u32) -> bool {
        let name_in = |names: &[(LinkAddr, String)], addr: u64| {
            let at = names.binary_search_by_key(&LinkAddr(addr), |(at, _)| *at).ok();
            at.and_then(|at| names.get(at)).is_some_and(|(_, name)| name == RESUME)
        };
        let image = &self.object.image;
        match self.cfg.insns.get(insn as usize).map(|i| i.flow) {
            Some(Control::Call { callee: Callee::Direct(to), .. }) => {
                name_in(&image.plt, to) || image.symbol_at(LinkAddr(to)) == Some(RESUME)
            }
            Some(Control::Call { callee: Callee::Slot(at), .. }) => name_in(&image.got, at),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::FileId;
    use crate::plan::code::Code;
    use crate::plan::types::Condition;
    use crate::plan::x86_64::{Insn, Stack};

    #[test]
    fn moves_on_an_edge_are_of_no_line() {
        let branch = |target| Control::Branch { target, condition: Some(Condition(4)) };
        let jump = |target| Control::Jump { target };
        // A loop from 0 to 2, which is left by way of 4.
        let flows = [Control::Next, branch(4), jump(0), Control::Stop, Control::Next, jump(3)];
        let insn = |(addr, flow)| Insn { addr, len: 1, flow, probe: None, stack: Stack::Keeps };
        let insns = (0..).zip(flows).map(insn).collect();
        let cfg = Cfg::new(&[], Code { insns, entries: vec![0], ..Code::default() });
        let span = |start, end, statement| Span { start, end, file: FileId(0), line: 7, epilogue: false, statement };
        let first = |block: u32| cfg.blocks[block as usize].insns.start;
        let found = |spans: &[Span]| strays(&cfg, spans).into_iter().map(first).collect::<Vec<_>>();
        assert_eq!(found(&[span(0, 4, true), span(4, 6, false)]), [4]);
        // A statement begins there, or amid it.
        assert_eq!(found(&[span(0, 4, true), span(4, 6, true)]), [0; 0]);
        assert_eq!(found(&[span(0, 4, true), span(4, 5, false), span(5, 6, true)]), [0; 0]);
        // Code before it falls in, or it decides.
        assert_eq!(found(&[span(0, 2, false), span(2, 3, false)]), [0; 0]);
    }
}
