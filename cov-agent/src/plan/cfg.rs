//! The control-flow graph of a region.
//!
//! *Blocks* are basic blocks that calls do not end: what a line's count is defined on. A call may not come
//! back, or come back twice, so a block's instructions are not executed equally often: a *piece* is what
//! lies between two such calls, and is. A call that never comes back ends a block.

use super::code::Code;
use super::x86_64::{Flow, Insn, Returns};
use crate::object::{Fde, LandingPad};
use std::ops::Range;

/// Stands for "outside the region" as an edge's source or target.
pub(super) const OUTSIDE: u32 = u32::MAX;

/// What an edge is, which decides how its flow can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EdgeKind {
    /// From outside the region, or from where nobody knows.
    Entry,
    /// The only way on from the end of its source, which is no call that may not come back.
    Only,
    /// The source ends in a conditional jump, and it jumps.
    Taken,
    /// The source ends in a conditional jump, and it does not jump.
    NotTaken,
    /// Back from the call that its source ends in, which may not come back.
    Return,
    /// By a computed jump, or a condition that no flags tell.
    Computed,
    /// To a landing pad, out of a call somewhere in the source.
    Unwind,
}

/// Control may go from the end of `from` (for [`EdgeKind::Unwind`], from within) to the start of `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    /// A block, or [`OUTSIDE`].
    pub(super) from: u32,
    /// A block, or [`OUTSIDE`].
    pub(super) to: u32,
    pub(super) kind: EdgeKind,
    /// The instruction that control leaves by; 0 for [`EdgeKind::Entry`].
    pub(super) by: u32,
}

/// A basic block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Its instructions: indices into [`Cfg::insns`].
    pub(super) insns: Range<u32>,
    /// Its pieces: indices into [`Cfg::pieces`].
    pub(super) pieces: Range<u32>,
}

/// Instructions that are executed equally often.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Indices into [`Cfg::insns`].
    pub(super) insns: Range<u32>,
    pub(super) block: u32,
}

/// The graph.
#[derive(Debug)]
pub(super) struct Cfg {
    /// By rising address.
    pub(super) insns: Vec<Insn>,
    /// By rising address.
    pub(super) blocks: Vec<Block>,
    /// By rising address.
    pub(super) pieces: Vec<Piece>,
    /// Sorted by target, then source.
    edges: Vec<Edge>,
    /// For each block, the range of `edges` into it.
    into: Vec<Range<u32>>,
    /// Sorted by source: the successors of each block that are blocks, landing pads included.
    successors: Vec<u32>,
    /// For each block, its range of `successors`.
    out_of: Vec<Range<u32>>,
}

impl Cfg {
    /// The graph of `code`; `fdes` are all of the image, by rising address.
    pub(super) fn new(fdes: &[Fde], code: Code) -> Self {
        let leaders = leaders(fdes, &code);
        let (blocks, pieces) = divide(&code, &leaders);
        let mut edges = Vec::new();
        for (n, block) in (0..).zip(&blocks) {
            edges_from(&code, &blocks, n, block, &mut edges);
        }
        let block_at = |addr: u64| code.at(addr).and_then(|at| block_of(&blocks, at)).unwrap_or(OUTSIDE);
        for (call_sites, pad) in pads(fdes, &code) {
            let to = block_at(pad);
            edges.extend(call_sites.map(|at| Edge {
                from: block_of(&blocks, at).unwrap_or(OUTSIDE),
                to,
                kind: EdgeKind::Unwind,
                by: u32::try_from(at).unwrap_or_default(),
            }));
        }
        edges.extend(code.entries.iter().map(|&addr| Edge {
            from: OUTSIDE,
            to: block_at(addr),
            kind: EdgeKind::Entry,
            by: 0,
        }));
        edges.retain(|e| e.to != OUTSIDE);
        edges.sort_unstable_by_key(|e| (e.to, e.from, e.kind, e.by));
        edges.dedup();
        let mut reached = vec![false; blocks.len()];
        for edge in &edges {
            if let Some(slot) = reached.get_mut(edge.to as usize) {
                *slot = true;
            }
        }
        // What is known to be code but what nothing leads to: nobody knows from where.
        let orphans = (0..).zip(&reached).filter(|&(_, &reached)| !reached);
        edges.extend(orphans.map(|(to, _)| Edge { from: OUTSIDE, to, kind: EdgeKind::Entry, by: 0 }));
        edges.sort_unstable_by_key(|e| (e.to, e.from, e.kind, e.by));
        let into = ranges(&edges, blocks.len(), |e| e.to);
        let mut out: Vec<(u32, u32)> = edges.iter().filter(|e| e.from != OUTSIDE).map(|e| (e.from, e.to)).collect();
        out.sort_unstable();
        out.dedup();
        let out_of = ranges(&out, blocks.len(), |&(from, _)| from);
        let successors = out.into_iter().map(|(_, to)| to).collect();
        Self { insns: code.insns, blocks, pieces, edges, into, successors, out_of }
    }

    /// The edges into a block.
    pub(super) fn into(&self, block: u32) -> &[Edge] {
        let range = self.into.get(block as usize).cloned().unwrap_or_default();
        self.edges.get(range.start as usize..range.end as usize).unwrap_or(&[])
    }

    /// The blocks that a block leads to, landing pads included.
    pub(super) fn successors(&self, block: u32) -> &[u32] {
        let range = self.out_of.get(block as usize).cloned().unwrap_or_default();
        self.successors.get(range.start as usize..range.end as usize).unwrap_or(&[])
    }

    /// The instruction that begins at `addr`.
    pub(super) fn insn_at(&self, addr: u64) -> Option<u32> {
        let at = self.insns.binary_search_by_key(&addr, |i| i.addr).ok()?;
        u32::try_from(at).ok()
    }

    /// The first instruction that begins at `addr` or later.
    pub(super) fn first_from(&self, addr: u64) -> u32 {
        u32::try_from(self.insns.partition_point(|i| i.addr < addr)).unwrap_or(u32::MAX)
    }

    /// The piece that holds an instruction.
    pub(super) fn piece_of(&self, insn: u32) -> Option<u32> {
        let at = self.pieces.partition_point(|p| p.insns.start <= insn).checked_sub(1)?;
        self.pieces.get(at).filter(|p| p.insns.contains(&insn))?;
        u32::try_from(at).ok()
    }

    /// The last instruction of a block.
    pub(super) fn last(&self, block: u32) -> Option<&Insn> {
        let block = self.blocks.get(block as usize)?;
        self.insns.get(block.insns.end.checked_sub(1)? as usize)
    }
}

fn ranges<T>(sorted: &[T], len: usize, key: impl Fn(&T) -> u32) -> Vec<Range<u32>> {
    let mut ranges = vec![0..0; len];
    let mut at = 0usize;
    for (n, slot) in (0..).zip(&mut ranges) {
        let from = at;
        while sorted.get(at).is_some_and(|t| key(t) <= n) {
            at += 1;
        }
        *slot = u32::try_from(from).unwrap_or(u32::MAX)..u32::try_from(at).unwrap_or(u32::MAX);
    }
    ranges
}

/// Which instructions begin a block.
fn leaders(fdes: &[Fde], code: &Code) -> Vec<bool> {
    // Where jumps go to unknown places, each instruction is on its own.
    let mut leaders = vec![!code.is_resolved(); code.insns.len()];
    let mut lead = |addr: u64| {
        if let Some(slot) = code.at(addr).and_then(|at| leaders.get_mut(at)) {
            *slot = true;
        }
    };
    for insn in &code.insns {
        match insn.flow {
            Flow::Jump { target } => lead(target),
            Flow::Branch { target, .. } => {
                lead(target);
                lead(insn.end());
            }
            _ => {}
        }
    }
    code.computed.iter().flat_map(|(_, targets)| targets).for_each(|&t| lead(t));
    code.entries.iter().for_each(|&e| lead(e));
    landing_pads(fdes, code).for_each(|p| lead(p.pad.0));
    leaders
}

/// The landing pads of the unwind entries that begin in the code.
fn landing_pads<'a>(fdes: &'a [Fde], code: &'a Code) -> impl Iterator<Item = LandingPad> + 'a {
    let first = code.insns.first().map_or(0, |i| i.addr);
    let last = code.insns.last().map_or(0, |i| i.addr);
    let from = fdes.partition_point(|f| f.range.start.0 < first);
    let to = fdes.partition_point(|f| f.range.start.0 <= last);
    let fdes = fdes.get(from..to).unwrap_or_default().iter();
    fdes.filter(|f| code.at(f.range.start.0).is_some()).flat_map(|f| f.landing_pads.iter().copied())
}

/// For each landing pad, the instructions that may lead there: the calls of its call site, or all of
/// it where it has no call (`-fnon-call-exceptions`).
fn pads<'a>(fdes: &'a [Fde], code: &'a Code) -> impl Iterator<Item = (Box<dyn Iterator<Item = usize> + 'a>, u64)> {
    landing_pads(fdes, code).map(move |pad| {
        let from = code.insns.partition_point(|i| i.addr < pad.call_site.start.0);
        let to = code.insns.partition_point(|i| i.addr < pad.call_site.end.0);
        let is_call = |n: usize, sure: bool| match code.insns.get(n).map(|i| i.flow) {
            Some(Flow::Call { returns, .. }) => sure || returns != Returns::Surely,
            _ => false,
        };
        // What surely comes back does not throw.
        let may_throw = |sure| move |n: &usize| is_call(*n, sure);
        let sites: Box<dyn Iterator<Item = usize>> = match () {
            () if (from..to).any(|n| is_call(n, false)) => Box::new((from..to).filter(may_throw(false))),
            () if (from..to).any(|n| is_call(n, true)) => Box::new((from..to).filter(may_throw(true))),
            () => Box::new(from..to),
        };
        (sites, pad.pad.0)
    })
}

/// Cuts the code into blocks and pieces.
fn divide(code: &Code, leaders: &[bool]) -> (Vec<Block>, Vec<Piece>) {
    let mut blocks: Vec<Block> = Vec::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut before: Option<&Insn> = None;
    for (n, (insn, &leader)) in (0u32..).zip(code.insns.iter().zip(leaders)) {
        let goes_on = |flow: Flow| match flow {
            Flow::Call { returns, .. } => returns != Returns::Never,
            flow => flow == Flow::Next,
        };
        let follows = before.is_some_and(|b| b.end() == insn.addr && goes_on(b.flow) && !leader);
        if !follows {
            let piece = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
            blocks.push(Block { insns: n..n, pieces: piece..piece });
        }
        let after_call =
            before.is_some_and(|b| matches!(b.flow, Flow::Call { returns, .. } if returns != Returns::Surely));
        let block = u32::try_from(blocks.len() - 1).unwrap_or(u32::MAX);
        if !follows || after_call {
            pieces.push(Piece { insns: n..n, block });
        }
        if let (Some(block), Some(piece)) = (blocks.last_mut(), pieces.last_mut()) {
            block.insns.end = n + 1;
            piece.insns.end = n + 1;
            block.pieces.end = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        }
        before = Some(insn);
    }
    (blocks, pieces)
}

fn block_of(blocks: &[Block], insn: usize) -> Option<u32> {
    let insn = u32::try_from(insn).ok()?;
    let at = blocks.partition_point(|b| b.insns.start <= insn).checked_sub(1)?;
    u32::try_from(at).ok()
}

/// The edges that leave a block at its end, those that leave the region left out.
fn edges_from(code: &Code, blocks: &[Block], from: u32, block: &Block, edges: &mut Vec<Edge>) {
    let by = block.insns.end.saturating_sub(1);
    let Some(last) = code.insns.get(by as usize) else { return };
    let block_at = |addr: u64| code.at(addr).and_then(|at| block_of(blocks, at)).unwrap_or(OUTSIDE);
    let mut push = |to, kind| edges.push(Edge { from, to, kind, by });
    match last.flow {
        Flow::Next => push(block_at(last.end()), EdgeKind::Only),
        Flow::Call { returns: Returns::Surely, .. } => push(block_at(last.end()), EdgeKind::Only),
        Flow::Call { returns: Returns::Perhaps, .. } => push(block_at(last.end()), EdgeKind::Return),
        Flow::Call { returns: Returns::Never, .. } => {}
        Flow::Jump { target } => push(block_at(target), EdgeKind::Only),
        Flow::Branch { target, condition } => {
            let (taken, not_taken) = (block_at(target), block_at(last.end()));
            match condition {
                _ if taken == not_taken => push(taken, EdgeKind::Only),
                Some(_) => {
                    push(taken, EdgeKind::Taken);
                    push(not_taken, EdgeKind::NotTaken);
                }
                None => {
                    push(taken, EdgeKind::Computed);
                    push(not_taken, EdgeKind::Computed);
                }
            }
        }
        Flow::Indirect { .. } => {
            let targets = code.targets(last.addr);
            let kind = if targets.len() == 1 { EdgeKind::Only } else { EdgeKind::Computed };
            targets.iter().for_each(|&target| push(block_at(target), kind));
        }
        Flow::Stop => {}
    }
}
