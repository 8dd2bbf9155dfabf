//! The fewest and cheapest counters that tell all others.
//!
//! What flows into a junction of the control-flow graph flows out of it, so a counter need not be there if the
//! others at its junction are: the pieces without a counter must form a forest over the junctions (Knuth and Stevenson,
//! "Optimal measurement points for program frequency counts", 1973), and the best is a forest of the dearest pieces
//! (Ball and Larus, "Optimally profiling and tracing programs", 1994). A probe on a conditional jump tells both ways
//! out of it, which then are counters of their own.
//!
//! A call may never return, or return twice, and an exception arrives from nowhere: behind every call that is not sure
//! to return, at every way in and at every way out lies one junction, [`Graph::outside`]. So sums stay true under exceptions,
//! `exit`, `longjmp` and `fork`; not where a thread ends or is first counted amid a piece.

#[cfg(test)]
pub(super) mod tests;

use super::cfg::{Cfg, EdgeKind};
use super::flow::{Flow, Sum, Var};
use super::types::Instruction;
use super::x86_64::{Flow as Control, Returns};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many terms all sums of a region may have, for each of its pieces.
const TERMS: usize = 64;

/// Counters to be placed, and what they tell.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The pieces that get a probe, and whether it sits on the conditional jump at the end and tells the ways apart.
    pub(super) probes: BTreeMap<u32, bool>,
    /// What was asked for, as sums of the counters that are placed.
    values: HashMap<Var, Sum>,
}

impl Choice {
    /// A counter in terms of those that are placed.
    pub(super) fn value(&self, var: Var) -> Option<&Sum> {
        self.values.get(&var)
    }

    /// Adds a probe to a piece that has none.
    pub(super) fn add(&mut self, piece: u32) {
        self.probes.insert(piece, false);
        self.values.insert(Var::Piece(piece), Sum::one(Var::Piece(piece)));
    }

    /// A counter for each that is asked for: no sum has a subtraction that was not asked for.
    pub(super) fn all(wanted: &BTreeSet<Var>) -> Self {
        let mut choice = Self::default();
        for &var in wanted {
            let tells = choice.probes.entry(var.piece()).or_default();
            *tells |= !matches!(var, Var::Piece(_));
        }
        for &var in wanted {
            let sum = match var {
                Var::Piece(piece) if choice.probes.get(&piece) == Some(&true) => Sum::both_ways(piece),
                _ => Sum::one(var),
            };
            choice.values.insert(var, sum);
        }
        choice
    }

    /// The cheapest counters that tell those that are asked for; `frequency` is how often each block may be expected
    /// to run, `dear` what a hit of a single-stepped instruction costs where one of an emulated costs 1.
    pub(super) fn cheapest(cfg: &Cfg, flow: &Flow<'_>, wanted: &BTreeSet<Var>, frequency: &[f64], dear: u32) -> Self {
        Graph::new(cfg, flow, wanted).solve(frequency, f64::from(dear)).unwrap_or_else(|| Self::all(wanted))
    }
}

/// Disjoint sets that can go back to what they were.
struct Sets {
    parent: Vec<u32>,
    size: Vec<u32>,
    joined: Vec<u32>,
}

impl Sets {
    fn new(len: u32) -> Self {
        Self { parent: (0..len).collect(), size: vec![1; len as usize], joined: Vec::new() }
    }

    fn find(&self, mut of: u32) -> u32 {
        while let Some(&parent) = self.parent.get(of as usize)
            && parent != of
        {
            of = parent;
        }
        of
    }

    /// Whether they were apart.
    fn join(&mut self, a: u32, b: u32) -> bool {
        let size = |of: u32| self.size.get(of as usize).copied().unwrap_or_default();
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return false;
        }
        let (small, big) = if size(a) < size(b) { (a, b) } else { (b, a) };
        let sum = size(a) + size(b);
        if let (Some(parent), Some(size)) = (self.parent.get_mut(small as usize), self.size.get_mut(big as usize)) {
            *parent = big;
            *size = sum;
            self.joined.push(small);
        }
        true
    }

    fn undo_to(&mut self, len: usize) {
        while self.joined.len() > len {
            let Some(small) = self.joined.pop() else { break };
            let big = self.parent.get(small as usize).copied().unwrap_or_default();
            let lost = self.size.get(small as usize).copied().unwrap_or_default();
            if let (Some(parent), Some(size)) = (self.parent.get_mut(small as usize), self.size.get_mut(big as usize)) {
                *parent = small;
                *size -= lost;
            }
        }
    }
}

/// A piece that ends in a conditional jump whose ways a probe tells apart: where they lead.
#[derive(Clone, Copy)]
struct Ways {
    taken: u32,
    not_taken: u32,
    /// Whether one of them is asked for, not only the piece.
    wanted: bool,
}

/// Flow from a node to another that no probe counts.
struct Unknown {
    from: u32,
    to: u32,
    var: Var,
}

/// The flow graph. A piece has a node where control comes in and one where it goes out.
struct Graph<'a> {
    cfg: &'a Cfg,
    flow: &'a Flow<'a>,
    wanted: &'a BTreeSet<Var>,
    /// Nodes that are one junction.
    junctions: Sets,
    /// Junctions that are connected by flow that no probe counts.
    trees: Sets,
    /// By piece.
    ways: BTreeMap<u32, Ways>,
    unknown: Vec<Unknown>,
    probed: BTreeSet<u32>,
}

fn node_in(piece: u32) -> u32 {
    piece * 2
}

fn node_out(piece: u32) -> u32 {
    piece * 2 + 1
}

impl<'a> Graph<'a> {
    fn new(cfg: &'a Cfg, flow: &'a Flow<'a>, wanted: &'a BTreeSet<Var>) -> Self {
        let nodes = u32::try_from(cfg.pieces.len() * 2 + 1).unwrap_or(u32::MAX);
        let (junctions, trees) = (Sets::new(nodes), Sets::new(nodes));
        let (ways, unknown, probed) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        let mut graph = Self { cfg, flow, wanted, junctions, trees, ways, unknown, probed };
        graph.connect();
        graph
    }

    /// The node that stands for everything outside the region.
    fn outside(&self) -> u32 {
        u32::try_from(self.cfg.pieces.len() * 2).unwrap_or(u32::MAX)
    }

    fn merge(&mut self, a: u32, b: u32) {
        self.junctions.join(a, b);
        self.trees.join(a, b);
    }

    fn ends(&self, block: u32) -> Option<(u32, u32)> {
        let pieces = &self.cfg.blocks.get(block as usize)?.pieces;
        Some((pieces.start, pieces.end.checked_sub(1)?))
    }

    /// Joins what always flows together; lists conditional jumps.
    fn connect(&mut self) {
        let outside = self.outside();
        let blocks = 0..u32::try_from(self.cfg.blocks.len()).unwrap_or(u32::MAX);
        // Where the ways out of a block lead that are not computed.
        let mut only = HashMap::new();
        let mut taken = HashMap::new();
        let mut not_taken = HashMap::new();
        for to in blocks.clone() {
            let Some((first, _)) = self.ends(to) else { continue };
            for edge in self.cfg.into(to) {
                let last = self.ends(edge.from).map(|(_, last)| node_out(last));
                match (edge.kind, last) {
                    (EdgeKind::Only, _) => _ = only.insert(edge.from, first),
                    (EdgeKind::Taken, _) => _ = taken.insert(edge.from, first),
                    (EdgeKind::NotTaken, _) => _ = not_taken.insert(edge.from, first),
                    (EdgeKind::Computed, Some(last)) => self.merge(last, node_in(first)),
                    (EdgeKind::Unwind, _) => {
                        self.merge(outside, node_in(first));
                        // What throws without a call throws amid a piece.
                        if let Some(piece) = self.cfg.piece_of(edge.by) {
                            self.merge(outside, node_out(piece));
                        }
                    }
                    (EdgeKind::Entry | EdgeKind::Return | EdgeKind::Computed, _) => {
                        self.merge(outside, node_in(first));
                    }
                }
            }
        }
        let leads_to = |map: &HashMap<u32, u32>, block| map.get(&block).map_or(outside, |&p| node_in(p));
        for block in blocks {
            let Some((first, last)) = self.ends(block) else { continue };
            for piece in first..last {
                self.merge(outside, node_out(piece));
                self.merge(outside, node_in(piece + 1));
            }
            let out = node_out(last);
            match self.cfg.last(block).map(|i| i.flow) {
                Some(Control::Next | Control::Jump { .. } | Control::Call { returns: Returns::Surely, .. }) => {
                    self.merge(out, leads_to(&only, block));
                }
                Some(Control::Branch { .. }) if only.contains_key(&block) => self.merge(out, leads_to(&only, block)),
                Some(Control::Branch { condition: Some(_), .. }) => {
                    let wanted = [Var::Taken(last), Var::NotTaken(last)].iter().any(|var| self.wanted.contains(var));
                    let (taken, not_taken) = (leads_to(&taken, block), leads_to(&not_taken, block));
                    self.ways.insert(last, Ways { taken, not_taken, wanted });
                }
                _ => {
                    self.merge(outside, out);
                    if only.contains_key(&block) {
                        self.merge(out, leads_to(&only, block));
                    }
                }
            }
        }
    }

    /// Finds the pieces to probe, dear ones last, and what they tell. `None` if that takes sums too long to be of use.
    fn solve(mut self, frequency: &[f64], dear: f64) -> Option<Choice> {
        let wanted: BTreeSet<u32> = self.wanted.iter().map(|var| var.piece()).collect();
        for piece in 0..u32::try_from(self.cfg.pieces.len()).unwrap_or(u32::MAX) {
            if !wanted.contains(&piece) {
                // Nobody asks: what flows through it need not be known.
                self.merge(node_in(piece), node_out(piece));
                if let Some(ways) = self.ways.get(&piece).copied() {
                    self.merge(node_out(piece), ways.taken);
                    self.merge(node_out(piece), ways.not_taken);
                }
            }
        }
        let mut pieces: Vec<(f64, u32)> = wanted.into_iter().map(|p| (self.cost(p, frequency, dear), p)).collect();
        // Of equal ones the later is spared: what cuts a run short lies behind the probe.
        pieces.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        for (_, piece) in pieces {
            if !self.spare(piece) {
                self.probed.insert(piece);
            }
        }
        self.values()
    }

    fn cost(&self, piece: u32, frequency: &[f64], dear: f64) -> f64 {
        let block = self.cfg.pieces.get(piece as usize).map_or(u32::MAX, |p| p.block);
        let frequency = frequency.get(block as usize).copied().unwrap_or(1.0);
        let insn = self.flow.site(piece).and_then(|n| self.cfg.insns.get(n as usize));
        match insn.and_then(|i| i.probe) {
            _ if self.ways.contains_key(&piece) => frequency,
            Some(Instruction::Emulated) => frequency,
            Some(Instruction::SingleStepped) => frequency * dear,
            None => f64::INFINITY,
        }
    }

    /// Whether a piece needs no probe. Then its flow is unknown, and no cycle of unknown flows comes of it.
    fn spare(&mut self, piece: u32) -> bool {
        let (junctions, trees) = (self.junctions.joined.len(), self.trees.joined.len());
        let unknown = self.unknown.len();
        let mut flows = vec![(node_in(piece), node_out(piece), Some(Var::Piece(piece)))];
        if let Some(Ways { taken, not_taken, wanted }) = self.ways.get(&piece).copied() {
            flows.push((node_out(piece), taken, wanted.then_some(Var::Taken(piece))));
            flows.push((node_out(piece), not_taken, wanted.then_some(Var::NotTaken(piece))));
        }
        for (from, to, var) in flows {
            let same = var.is_none() && self.junctions.find(from) == self.junctions.find(to);
            if !same && !self.trees.join(from, to) {
                self.junctions.undo_to(junctions);
                self.trees.undo_to(trees);
                self.unknown.truncate(unknown);
                return false;
            }
            match var {
                Some(var) => self.unknown.push(Unknown { from, to, var }),
                None => _ = self.junctions.join(from, to),
            }
        }
        true
    }

    /// Solves the flow equations of the forest, from the leaves.
    fn values(self) -> Option<Choice> {
        let outside = self.junctions.find(self.outside());
        let mut balances: HashMap<u32, BTreeMap<Var, i32>> = HashMap::new();
        // Into a junction counts, out of it is subtracted.
        let mut known = |from: u32, to: u32, var: Var| {
            let (from, to) = (self.junctions.find(from), self.junctions.find(to));
            if from != to {
                add(balances.entry(from).or_default(), var, -1);
                add(balances.entry(to).or_default(), var, 1);
            }
        };
        let mut choice = Choice::default();
        for &piece in &self.probed {
            let ways = self.ways.get(&piece);
            choice.probes.insert(piece, ways.is_some());
            if let Some(ways) = ways {
                known(node_in(piece), ways.taken, Var::Taken(piece));
                known(node_in(piece), ways.not_taken, Var::NotTaken(piece));
                choice.values.insert(Var::Piece(piece), Sum::both_ways(piece));
                for var in [Var::Taken(piece), Var::NotTaken(piece)] {
                    choice.values.insert(var, Sum::one(var));
                }
            } else {
                known(node_in(piece), node_out(piece), Var::Piece(piece));
                choice.values.insert(Var::Piece(piece), Sum::one(Var::Piece(piece)));
            }
        }
        let mut at: HashMap<u32, Vec<usize>> = HashMap::new();
        let edges: Vec<(u32, u32)> =
            self.unknown.iter().map(|u| (self.junctions.find(u.from), self.junctions.find(u.to))).collect();
        for (n, &(from, to)) in edges.iter().enumerate() {
            at.entry(from).or_default().push(n);
            at.entry(to).or_default().push(n);
        }
        let mut degree: HashMap<u32, usize> = at.iter().map(|(&node, edges)| (node, edges.len())).collect();
        let mut leaves: Vec<u32> = degree.iter().filter(|&(_, &d)| d == 1).map(|(&node, _)| node).collect();
        leaves.sort_unstable();
        let mut solved = vec![false; edges.len()];
        let mut budget = TERMS * self.cfg.pieces.len() + 4096;
        // Outside, frames may have been cut: its equation is not used.
        while let Some(leaf) = leaves.pop() {
            if leaf == outside || degree.get(&leaf) != Some(&1) {
                continue;
            }
            let Some(edge) = at.get(&leaf).into_iter().flatten().copied().find(|&e| solved.get(e) == Some(&false))
            else {
                continue;
            };
            let (Some(&(from, to)), Some(unknown)) = (edges.get(edge), self.unknown.get(edge)) else { continue };
            let balance = balances.remove(&leaf).unwrap_or_default();
            budget = budget.checked_sub(balance.len())?;
            let (other, sign) = if from == leaf { (to, 1) } else { (from, -1) };
            let sum = Sum(balance.iter().map(|(&var, &c)| (var, c * sign)).collect());
            choice.values.insert(unknown.var, sum);
            merge_into(balances.entry(other).or_default(), balance);
            if let Some(solved) = solved.get_mut(edge) {
                *solved = true;
            }
            degree.remove(&leaf);
            if let Some(degree) = degree.get_mut(&other) {
                *degree -= 1;
                if *degree == 1 {
                    leaves.push(other);
                }
            }
        }
        Some(choice)
    }
}

fn add(balance: &mut BTreeMap<Var, i32>, var: Var, by: i32) {
    let sum = balance.entry(var).or_default();
    *sum += by;
    if *sum == 0 {
        balance.remove(&var);
    }
}

/// Adds the smaller to the larger.
fn merge_into(target: &mut BTreeMap<Var, i32>, mut other: BTreeMap<Var, i32>) {
    if other.len() > target.len() {
        std::mem::swap(target, &mut other);
    }
    for (var, by) in other {
        add(target, var, by);
    }
}
