//! What tells of lines while counters may stop: each counter by itself, also while threads are amid the code.

use super::super::cfg::Cfg;
use super::super::flow::{Flow, Var};
use super::super::steps::{Ways, node, var};
use super::super::sums::Sums;
use super::{Cover, Placed, asked, closed};
use std::collections::{BTreeMap, BTreeSet};

/// What tells of lines and functions by counters that only add.
pub(in crate::plan) struct Told {
    /// For each line, then for each function: it was executed if one of these was. Empty where nothing tells.
    pub(in crate::plan) seen: Vec<Vec<Var>>,
    /// For each of them whether no more is asked of conditional jumps than that they are reached.
    pub(in crate::plan) lasting: Vec<bool>,
    /// The pieces that need a probe for it beside those that have one.
    pub(in crate::plan) more: BTreeSet<u32>,
}

/// What may tell of a line.
#[derive(Debug, Clone, Copy)]
pub(in crate::plan) struct Ask {
    /// Also which way a conditional jump goes.
    pub(in crate::plan) ways: bool,
    /// Also what leads straight to it.
    pub(in crate::plan) before: bool,
}

impl Ask {
    /// Whatever can.
    pub(in crate::plan) const WAYS: Self = Self { ways: true, before: true };
    /// That pieces are executed.
    pub(in crate::plan) const PIECES: Self = Self { ways: false, before: true };
}

/// Finds what tells of the lines and functions of `sums` among the pieces that have a probe (`true`: one that tells the
/// ways of the conditional jump at the end apart), and where more are needed.
pub(in crate::plan) fn tell(cfg: &Cfg, flow: &Flow<'_>, sums: &Sums, probes: &BTreeMap<u32, bool>, ask: Ask) -> Told {
    let ways = Ways::new(cfg);
    let (asked, lines) = asked(sums);
    let place = |(piece, parts): (u32, &bool)| match probes.get(&piece) {
        Some(true) if *parts && ask.ways => Placed::Ways,
        Some(_) => Placed::Piece,
        None => Placed::Nothing,
    };
    let placed = (0..).zip(&ways.parts).map(place).collect();
    let mut cover = Cover::new(cfg, &ways, placed, lines);
    let mut more = BTreeSet::new();
    let told: Vec<(Vec<Var>, bool)> = (0..cover.lines.len())
        .map(|line| {
            let nodes = u32::try_from(line).ok().and_then(|line| cover.told_amid(line, ask.before));
            let nodes = nodes.unwrap_or_else(|| cover.place_own(line, flow, &mut more));
            // A way that no piece stands for.
            let lasting = nodes.iter().all(|&node| cover.is_probed(node)) && !nodes.is_empty();
            let of_ways = |node: &u32| !matches!(var(*node), Var::Piece(_));
            (nodes.iter().map(|&node| var(node)).collect(), lasting && !nodes.iter().any(of_ways))
        })
        .collect();
    let of = |line: &usize| told.get(*line).cloned().unwrap_or_default();
    let (seen, lasting) = asked.iter().map(of).unzip();
    Told { seen, lasting, more }
}

impl Cover<'_> {
    /// Places what is missing on a line's own pieces, or on those that ways into it lead to; `more` are all these. Gives the
    /// nodes that then tell of the line.
    fn place_own(&mut self, line: usize, flow: &Flow<'_>, more: &mut BTreeSet<u32>) -> Vec<u32> {
        let nodes = self.lines.get(line).map(|line| line.nodes.clone()).unwrap_or_default();
        let mut told_by = Vec::new();
        for own in nodes {
            let piece = match var(own) {
                _ if self.is_probed(own) => None,
                Var::Piece(piece) => Some(piece),
                way => flow.leads_to(way),
            };
            let piece = piece.filter(|&piece| flow.site(piece).is_some());
            told_by.push(piece.map_or(own, |piece| node(Var::Piece(piece))));
            if let Some(piece) = piece
                && let Some(placed @ Placed::Nothing) = self.placed.get_mut(piece as usize)
            {
                *placed = Placed::Piece;
                more.insert(piece);
            }
        }
        told_by
    }

    /// As [`told_by`](Self::told_by), by what was executed behind the line, or straight `before` it: also while a thread is
    /// amid the code, what tells is true.
    fn told_amid(&mut self, line: u32, before: bool) -> Option<Vec<u32>> {
        let ways = self.ways;
        self.tellers(line, |cover, node| {
            let behind = |cover: &mut Self, next: u32| {
                let Some(line) = cover.lines.get(line as usize) else { return false };
                let mut steps = 0;
                let dominated = closed(line, next, cover.before.as_ref(), |n| ways.back.from(n), &mut steps);
                cover.budget = cover.budget.saturating_sub(steps);
                dominated
            };
            let straight = |_: &mut Self, next: u32| before && ways.on.from(next).len() == 1;
            cover
                .search(node, |n| ways.on.from(n), behind)
                .or_else(|| cover.search(node, |n| ways.back.from(n), straight))
        })
    }
}
