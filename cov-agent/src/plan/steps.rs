//! The ways that control can take through a region: between pieces, out of conditional jumps, and to the outside.

use super::cfg::{Cfg, EdgeKind};
use super::flow::Var;
use super::x86_64::{Flow as Control, Returns};
use std::collections::BTreeMap;
use std::ops::Range;

/// The steps from each node to others.
#[derive(Debug)]
pub(super) struct Steps {
    to: Vec<u32>,
    of: Vec<Range<u32>>,
}

impl Steps {
    /// Steps among `len` nodes, as pairs of from and to.
    pub(super) fn new(len: usize, mut pairs: Vec<(u32, u32)>) -> Self {
        pairs.sort_unstable();
        pairs.dedup();
        let mut of = vec![0..0; len];
        for (n, &(from, _)) in (0u32..).zip(&pairs) {
            if let Some(range) = of.get_mut(from as usize) {
                if range.end == 0 {
                    range.start = n;
                }
                range.end = n + 1;
            }
        }
        Self { to: pairs.into_iter().map(|(_, to)| to).collect(), of }
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// Where `node` leads.
    pub(super) fn from(&self, node: u32) -> &[u32] {
        let range = self.of.get(node as usize).cloned().unwrap_or_default();
        self.to.get(range.start as usize..range.end as usize).unwrap_or(&[])
    }

    /// Which nodes `root` does not reach.
    fn unreached(&self, root: u32) -> Vec<u32> {
        let mut reached = vec![false; self.len()];
        let mut open = vec![root];
        while let Some(node) = open.pop() {
            if let Some(seen) = reached.get_mut(node as usize)
                && !std::mem::replace(seen, true)
            {
                open.extend(self.from(node));
            }
        }
        (0..).zip(reached).filter(|(_, reached)| !reached).map(|(node, _)| node).collect()
    }
}

/// The node of what a counter counts.
pub(super) fn node(var: Var) -> u32 {
    match var {
        // Whoever stopped in a piece has entered it.
        Var::Piece(piece) | Var::Stopped { piece, .. } => piece * 3,
        Var::Taken(piece) => piece * 3 + 1,
        Var::NotTaken(piece) => piece * 3 + 2,
    }
}

/// What a node other than [`outside`] counts.
pub(super) fn var(node: u32) -> Var {
    match node % 3 {
        0 => Var::Piece(node / 3),
        1 => Var::Taken(node / 3),
        _ => Var::NotTaken(node / 3),
    }
}

/// The node that stands for everything outside the region: where ways begin and end.
pub(super) fn outside(cfg: &Cfg) -> u32 {
    u32::try_from(cfg.pieces.len() * 3).unwrap_or(u32::MAX)
}

/// All ways of a region.
pub(super) struct Ways {
    pub(super) on: Steps,
    pub(super) back: Steps,
    /// For each piece whether it ends in a conditional jump whose ways can be told apart.
    pub(super) parts: Vec<bool>,
}

impl Ways {
    pub(super) fn new(cfg: &Cfg) -> Self {
        let outside = outside(cfg);
        let mut parts = vec![false; cfg.pieces.len()];
        let mut steps = steps(cfg, &mut parts);
        let len = cfg.pieces.len() * 3 + 1;
        let reverse = |steps: &[(u32, u32)]| steps.iter().map(|&(from, to)| (to, from)).collect();
        let is_node = |node: u32| match var(node) {
            Var::Piece(_) | Var::Stopped { .. } => true,
            Var::Taken(piece) | Var::NotTaken(piece) => parts.get(piece as usize) == Some(&true),
        };
        // Out of an endless loop nothing leads, and yet the program ends. Into code that only leads to itself nobody knows
        // what leads.
        let endless = Steps::new(len, reverse(&steps)).unreached(outside);
        let secret = Steps::new(len, steps.clone()).unreached(outside);
        steps.extend(endless.into_iter().filter(|&node| is_node(node)).map(|node| (node, outside)));
        steps.extend(secret.into_iter().filter(|&node| is_node(node)).map(|node| (outside, node)));
        let back = Steps::new(len, reverse(&steps));
        Self { on: Steps::new(len, steps), back, parts }
    }
}

fn steps(cfg: &Cfg, parts: &mut [bool]) -> Vec<(u32, u32)> {
    let outside = outside(cfg);
    let piece = |n: u32| node(Var::Piece(n));
    let blocks = 0..u32::try_from(cfg.blocks.len()).unwrap_or(u32::MAX);
    let ends = |block: u32| {
        let pieces = &cfg.blocks.get(block as usize)?.pieces;
        Some((pieces.start, pieces.end.checked_sub(1)?))
    };
    let mut steps = Vec::new();
    // The single ways that lead on from blocks, and those from the outcomes of conditional jumps.
    let mut single: BTreeMap<u32, u32> = BTreeMap::new();
    for block in blocks.clone() {
        let Some((first, _)) = ends(block) else { continue };
        for edge in cfg.into(block) {
            let last = ends(edge.from).map(|(_, last)| last);
            match (edge.kind, last) {
                (EdgeKind::Only, Some(last)) => _ = single.insert(piece(last), piece(first)),
                (EdgeKind::Taken, Some(last)) => _ = single.insert(node(Var::Taken(last)), piece(first)),
                (EdgeKind::NotTaken, Some(last)) => _ = single.insert(node(Var::NotTaken(last)), piece(first)),
                (EdgeKind::Return | EdgeKind::Computed, Some(last)) => steps.push((piece(last), piece(first))),
                (EdgeKind::Unwind, _) => {
                    // What throws without a call has not executed all of its piece.
                    let flow = cfg.insns.get(edge.by as usize).map(|i| i.flow);
                    let call = matches!(flow, Some(Control::Call { returns, .. }) if returns != Returns::Surely);
                    let from = cfg.piece_of(edge.by).filter(|_| call).map_or(outside, piece);
                    steps.push((from, piece(first)));
                }
                _ => steps.push((outside, piece(first))),
            }
        }
    }
    for block in blocks {
        let Some((first, last)) = ends(block) else { continue };
        // A call that comes back twice has been made once.
        steps.extend((first..last).flat_map(|p| [(piece(p), piece(p + 1)), (piece(p), outside)]));
        let only = single.get(&piece(last)).copied();
        let mut go = |from: u32| steps.push((from, single.get(&from).copied().unwrap_or(outside)));
        match cfg.last(block).map(|i| i.flow) {
            Some(Control::Next | Control::Jump { .. } | Control::Call { returns: Returns::Surely, .. }) => {
                go(piece(last));
            }
            Some(Control::Branch { .. }) if only.is_some() => go(piece(last)),
            Some(Control::Branch { condition: Some(_), .. }) => {
                let ways = [node(Var::Taken(last)), node(Var::NotTaken(last))];
                ways.into_iter().for_each(&mut go);
                steps.extend(ways.map(|way| (piece(last), way)));
                if let Some(part) = parts.get_mut(last as usize) {
                    *part = true;
                }
            }
            _ => steps.extend(only.into_iter().chain([outside]).map(|to| (piece(last), to))),
        }
    }
    steps
}
