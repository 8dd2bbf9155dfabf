//! The fewest and coldest probes that tell which lines were executed.
//!
//! A line was executed if a piece was through which all ways lead that come from the line, or all that lead to it (Agrawal,
//! "Dominators, super blocks, and program coverage", 1994), and that is true of sets of pieces too. So a probe may be
//! left out as long as every way through each line's code meets another one that tells of the line: one that only ways
//! through the line's code meet. Nothing is subtracted: a probe that stops after its first hit tells as much.
//!
//! Probes are left out greedily, those first that tell of few lines. A probe on a conditional jump tells its ways apart: one
//! for two. But one of the ways may never be taken, and the probe never be done; so where probes go once they were hit, a jump
//! gets such a probe only where nothing else can tell. That takes a fifth more of them.

mod tell;

pub(super) use tell::{Ask, Told, tell};

use super::cfg::Cfg;
use super::dominators::Dominators;
use super::flow::{Flow, Var};
use super::steps::{Ways, node, outside, var};
use super::sums::Sums;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// How many pieces a search for why one implies a line may take.
const JOINS: usize = 256;
/// How far a search for probes goes from a piece of a line.
const REACH: usize = 1024;
/// How many steps all searches in a region may take for each of its pieces, at least, and at most.
const STEPS: usize = 1 << 14;
const LEAST_STEPS: usize = 1 << 20;
const MOST_STEPS: usize = 1 << 28;

/// What is placed on a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Placed {
    Nothing,
    /// Counts executions of the piece.
    Piece,
    /// Tells the ways of the conditional jump at its end apart.
    Ways,
}

/// One line's code, or a function's.
struct Line {
    /// The nodes that it is made of, sorted.
    nodes: Vec<u32>,
    /// The probed nodes that tell of it, sorted.
    told_by: Vec<u32>,
}

/// Probes under choice.
struct Cover<'a> {
    ways: &'a Ways,
    outside: u32,
    before: Option<Dominators>,
    after: Option<Dominators>,
    placed: Vec<Placed>,
    lines: Vec<Line>,
    /// For each piece the lines that are told by it; some no longer are.
    tells: Vec<Vec<u32>>,
    budget: usize,
    /// Whether what comes before a line, or later than at once behind it, may tell of it.
    far: bool,
}

/// Chooses probes for what `sums` ask, and puts what tells of each line and function in place of what was asked.
/// `goes`: a probe goes once it was hit. `whole`: whole runs are counted; else it is only that a jump gets no probe that tells
/// its ways apart where what they lead to is as good.
pub(super) fn cover(cfg: &Cfg, flow: &Flow<'_>, sums: &mut Sums, goes: bool, whole: bool) {
    let ways = Ways::new(cfg);
    let (asked, lines) = asked(sums);
    // Begins with a probe wherever there can be one.
    let place = |(piece, &parts): (u32, &bool)| match parts {
        true => Placed::Ways,
        false if flow.site(piece).is_some() => Placed::Piece,
        false => Placed::Nothing,
    };
    let placed = (0..).zip(&ways.parts).map(place).collect();
    let mut cover = Cover::new(cfg, &ways, placed, lines);
    cover.far = whole;
    if goes {
        cover.weaken_ways();
    }
    if whole {
        cover.leave_out();
    }
    let told = |line: usize| cover.lines.get(line).into_iter().flat_map(|l| l.told_by.iter().map(|&node| var(node)));
    let slots = sums.lines.iter_mut().map(|l| &mut l.seen).chain(sums.functions.iter_mut().map(|f| &mut f.seen));
    for (slot, &line) in slots.zip(&asked) {
        *slot = told(line).collect();
    }
}

/// The different sets of nodes that lines and functions consist of, and for each line and function, in their order, which
/// it is.
fn asked(sums: &Sums) -> (Vec<usize>, Vec<Vec<u32>>) {
    let mut ids: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
    let mut asked: Vec<usize> = Vec::new();
    let seen = sums.lines.iter().map(|l| &l.seen).chain(sums.functions.iter().map(|f| &f.seen));
    for vars in seen {
        let mut nodes: Vec<u32> = vars.iter().map(|&var| node(var)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let next = ids.len();
        asked.push(*ids.entry(nodes).or_insert(next));
    }
    let mut lines: Vec<(usize, Vec<u32>)> = ids.into_iter().map(|(nodes, id)| (id, nodes)).collect();
    lines.sort_unstable();
    (asked, lines.into_iter().map(|(_, nodes)| nodes).collect())
}

impl<'a> Cover<'a> {
    /// Begins with the probes `placed`.
    fn new(cfg: &Cfg, ways: &'a Ways, placed: Vec<Placed>, lines: Vec<Vec<u32>>) -> Self {
        let outside = outside(cfg);
        let budget = (STEPS * placed.len()).clamp(LEAST_STEPS, MOST_STEPS);
        let mut cover = Self {
            ways,
            outside,
            before: Dominators::new(outside, &ways.on, &ways.back),
            after: Dominators::new(outside, &ways.back, &ways.on),
            tells: vec![Vec::new(); placed.len()],
            placed,
            lines: Vec::new(),
            budget,
            far: true,
        };
        for (n, nodes) in (0..).zip(lines) {
            let told_by = nodes.clone();
            cover.lines.push(Line { nodes, told_by });
            cover.register(n);
        }
        cover
    }

    fn register(&mut self, line: u32) {
        let told_by = self.lines.get(line as usize).into_iter().flat_map(|l| &l.told_by);
        for node in told_by {
            if let Some(tells) = self.tells.get_mut(*node as usize / 3)
                && tells.last() != Some(&line)
            {
                tells.push(line);
            }
        }
    }

    /// Lets no probe tell the ways of a jump apart but where it must.
    fn weaken_ways(&mut self) {
        for piece in (0..).take(self.placed.len()) {
            if self.placed.get(piece as usize) == Some(&Placed::Ways) {
                self.weaken(piece, Placed::Piece);
            }
        }
    }

    /// Leaves out what can be. Probes that tell of few lines go first; those that have come to stand in for others have to
    /// wait, so that few tell much in the end.
    fn leave_out(&mut self) {
        let mut queue: BinaryHeap<_> = (0..)
            .zip(&self.placed)
            .filter(|(_, placed)| **placed != Placed::Nothing)
            .map(|(piece, _)| Reverse((self.told(piece), Reverse(piece))))
            .collect();
        while let Some(Reverse((then, Reverse(piece)))) = queue.pop() {
            let now = self.told(piece);
            if now > then {
                queue.push(Reverse((now, Reverse(piece))));
            } else {
                self.weaken(piece, Placed::Nothing);
            }
        }
    }

    /// Of how many lines a probe on a piece has ever told.
    fn told(&self, piece: u32) -> usize {
        self.tells.get(piece as usize).map_or(0, Vec::len)
    }

    /// Places less on a piece if all lines are told of all the same.
    fn weaken(&mut self, piece: u32, to: Placed) -> bool {
        let Some(slot) = self.placed.get_mut(piece as usize) else { return false };
        let was = std::mem::replace(slot, to);
        let lines = self.tells.get(piece as usize).cloned().unwrap_or_default();
        let mut changes = Vec::new();
        for line in lines {
            let Some(known) = self.lines.get(line as usize) else { continue };
            let lost = known.told_by.iter().any(|&node| node / 3 == piece && !self.is_probed(node));
            if !lost {
                continue;
            }
            match self.told_by(line) {
                Some(told_by) => changes.push((line, told_by)),
                None => {
                    if let Some(slot) = self.placed.get_mut(piece as usize) {
                        *slot = was;
                    }
                    return false;
                }
            }
        }
        for (n, told_by) in changes {
            if let Some(line) = self.lines.get_mut(n as usize) {
                line.told_by = told_by;
            }
            self.register(n);
        }
        true
    }

    fn is_probed(&self, node: u32) -> bool {
        let placed = self.placed.get(node as usize / 3).copied().unwrap_or(Placed::Nothing);
        match var(node) {
            Var::Piece(_) | Var::Stopped { .. } => placed != Placed::Nothing,
            Var::Taken(_) | Var::NotTaken(_) => placed == Placed::Ways,
        }
    }

    /// Probed nodes that tell of a line, one of which is on each way through it.
    fn told_by(&mut self, line: u32) -> Option<Vec<u32>> {
        let (ways, far) = (self.ways, self.far);
        self.tellers(line, |cover, node| {
            let behind = cover.search(node, |n| ways.on.from(n), |cover, next| cover.implies(next, line));
            let before =
                |cover: &mut Self| cover.search(node, |n| ways.back.from(n), |cover, next| cover.implies(next, line));
            if far { behind.or_else(|| before(cover)) } else { behind }
        })
    }

    /// The nodes of a line that are probed, and for each that is not the probed ones that `find` gives in its place.
    fn tellers(&mut self, line: u32, mut find: impl FnMut(&mut Self, u32) -> Option<Vec<u32>>) -> Option<Vec<u32>> {
        let mut told_by = Vec::new();
        for n in 0.. {
            let Some(&node) = self.lines.get(line as usize)?.nodes.get(n) else { break };
            if self.is_probed(node) {
                told_by.push(node);
            } else {
                told_by.extend(find(self, node)?);
            }
        }
        told_by.sort_unstable();
        told_by.dedup();
        Some(told_by)
    }

    /// The first probed nodes on all ways from `start`; `None` if a node on the way does not imply that the line was executed, or
    /// if a way meets none.
    fn search<'s>(
        &mut self,
        start: u32,
        steps: impl Fn(u32) -> &'s [u32],
        implies: impl Fn(&mut Self, u32) -> bool,
    ) -> Option<Vec<u32>> {
        let mut found = Vec::new();
        let mut seen = vec![start];
        let reach = if self.far { REACH } else { 2 };
        let mut at = 0;
        while let Some(&node) = seen.get(at) {
            at += 1;
            for &next in steps(node) {
                self.budget = self.budget.checked_sub(1 + seen.len() / 8)?;
                if next == self.outside {
                    return None;
                }
                if seen.contains(&next) {
                    continue;
                }
                if !implies(self, next) || seen.len() == reach {
                    return None;
                }
                if self.is_probed(next) {
                    found.push(next);
                } else {
                    seen.push(next);
                }
            }
        }
        Some(found)
    }

    /// Whether the line was executed if `node` was.
    fn implies(&mut self, node: u32, line: u32) -> bool {
        let Some(line) = self.lines.get(line as usize) else { return false };
        let ways = self.ways;
        let mut steps = 0;
        let implied = closed(line, node, self.before.as_ref(), |n| ways.back.from(n), &mut steps)
            || closed(line, node, self.after.as_ref(), |n| ways.on.from(n), &mut steps);
        self.budget = self.budget.saturating_sub(steps);
        implied
    }
}

/// Whether `steps` from `node` lead nowhere but to code that is dominated by some of the line's.
fn closed<'s>(
    line: &Line,
    node: u32,
    dominators: Option<&Dominators>,
    next: impl Fn(u32) -> &'s [u32],
    steps: &mut usize,
) -> bool {
    let Some(dominators) = dominators else { return line.nodes.binary_search(&node).is_ok() };
    let dominated = |node: u32| line.nodes.iter().any(|&of| dominators.dominates(of, node));
    if dominated(node) {
        return true;
    }
    if line.nodes.len() == 1 || line.nodes.len() > JOINS {
        return false;
    }
    let mut set = vec![node];
    let mut at = 0;
    while let Some(&node) = set.get(at) {
        at += 1;
        for &to in next(node) {
            *steps += line.nodes.len() + set.len() / 8;
            if set.contains(&to) || dominated(to) {
                continue;
            }
            if set.len() == JOINS || dominators.is_root(to) {
                return false;
            }
            set.push(to);
        }
    }
    true
}
