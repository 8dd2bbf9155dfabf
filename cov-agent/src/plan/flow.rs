//! How often pieces are executed and edges taken, as sums of what probes can count.

use super::cfg::{Cfg, Edge, EdgeKind};
use super::x86_64::{Flow as Control, Returns};

/// What one counter counts, before sites are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Var {
    /// Executions of a piece.
    Piece(u32),
    /// Jumps taken by the conditional jump that ends a piece.
    Taken(u32),
    /// Jumps not taken by it.
    NotTaken(u32),
    /// Threads that stopped for good in the piece `piece`; no probe counts them.
    Stopped {
        /// Which of the frames that stopped in the region.
        halt: u32,
        piece: u32,
    },
}

impl Var {
    /// The piece that it is about.
    pub(super) fn piece(self) -> u32 {
        match self {
            Self::Piece(piece) | Self::Taken(piece) | Self::NotTaken(piece) | Self::Stopped { piece, .. } => piece,
        }
    }
}

/// A sum of counters with coefficients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sum(pub(super) Vec<(Var, i32)>);

impl Sum {
    pub(super) fn one(var: Var) -> Self {
        Self(vec![(var, 1)])
    }

    /// A piece that ends in a conditional jump, by what the jump does.
    pub(super) fn both_ways(piece: u32) -> Self {
        Self(vec![(Var::Taken(piece), 1), (Var::NotTaken(piece), 1)])
    }

    pub(super) fn add(&mut self, other: &Self, factor: i32) {
        self.0.extend(other.0.iter().map(|&(var, c)| (var, c * factor)));
    }

    /// The counters that can only be positive together with the sum, where no thread stopped.
    pub(super) fn positive(&self) -> impl Iterator<Item = Var> {
        self.placeable().filter(|(_, c)| *c > 0).map(|(var, _)| var)
    }

    /// What probes count of it.
    pub(super) fn placeable(&self) -> impl Iterator<Item = (Var, i32)> {
        self.0.iter().filter(|(var, _)| !matches!(var, Var::Stopped { .. })).copied()
    }

    /// Whether threads that stopped are left out of it.
    pub(super) fn leaves_out(&self) -> bool {
        self.0.iter().any(|(var, c)| *c < 0 && matches!(var, Var::Stopped { .. }))
    }
}

/// What can be counted in a region.
pub(super) struct Flow<'a> {
    cfg: &'a Cfg,
    /// For each piece the instruction that a probe would sit on.
    sites: Vec<Option<u32>>,
    /// The pieces in which threads stopped.
    stopped: Vec<u32>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(cfg: &'a Cfg) -> Self {
        let site = |piece: &super::cfg::Piece| {
            let legal = piece.insns.clone().filter_map(|n| Some((n, cfg.insns.get(n as usize)?.probe?)));
            // The earliest among the cheapest: a fault behind it does not hide it.
            legal.min_by_key(|&(n, price)| (price, n)).map(|(n, _)| n)
        };
        Self { cfg, sites: cfg.pieces.iter().map(site).collect(), stopped: Vec::new() }
    }

    /// The same where threads stopped in these pieces.
    pub(super) fn with_stopped(self, stopped: Vec<u32>) -> Self {
        Self { stopped, ..self }
    }

    /// The threads that entered a piece and did not leave it, each `factor` times.
    fn stopped_in(&self, piece: u32, factor: i32) -> Sum {
        let here = (0..).zip(&self.stopped).filter(|&(_, &at)| at == piece);
        Sum(here.map(|(halt, _)| (Var::Stopped { halt, piece }, factor)).collect())
    }

    /// The instruction that a probe on a piece would sit on.
    pub(super) fn site(&self, piece: u32) -> Option<u32> {
        self.sites.get(piece as usize).copied().flatten()
    }

    /// How often a piece is executed. `None` where no probe can tell.
    pub(super) fn piece(&self, piece: u32) -> Option<Sum> {
        if self.site(piece).is_some() {
            return Some(Sum::one(Var::Piece(piece)));
        }
        let block = self.cfg.pieces.get(piece as usize)?.block;
        let pieces = &self.cfg.blocks.get(block as usize)?.pieces;
        let sum_of = |edges: Vec<Option<Sum>>| {
            let mut sum = Sum::default();
            for edge in edges {
                sum.add(&edge?, 1);
            }
            (!sum.0.is_empty()).then_some(sum)
        };
        if piece == pieces.start {
            let into = self.cfg.into(block).iter().map(|e| self.at_source(e)).collect();
            if let Some(sum) = sum_of(into) {
                return Some(sum);
            }
        }
        // What follows, unless some of it lies outside the region or is a landing pad.
        let last = self.cfg.last(block)?;
        let ways = match last.flow {
            Control::Next | Control::Jump { .. } | Control::Call { returns: Returns::Surely, .. } => 1,
            Control::Branch { .. } => 2,
            _ => return None,
        };
        let successors = self.cfg.successors(block);
        if piece + 1 != pieces.end || successors.len() != ways {
            return None;
        }
        let out = successors.iter().map(|&s| if self.cfg.into(s).len() == 1 { self.at_target(s) } else { None });
        let mut sum = sum_of(out.collect())?;
        sum.add(&self.stopped_in(piece, 1), 1);
        Some(sum)
    }

    /// How often an edge is taken, where one counter tells.
    pub(super) fn edge(&self, edge: &Edge) -> Option<Sum> {
        self.at_source(edge).or_else(|| {
            // Nothing else leads there.
            (self.cfg.into(edge.to).len() == 1).then(|| self.at_target(edge.to)).flatten()
        })
    }

    fn at_source(&self, edge: &Edge) -> Option<Sum> {
        let piece = || self.cfg.blocks.get(edge.from as usize)?.pieces.end.checked_sub(1);
        match edge.kind {
            EdgeKind::Only => {
                let piece = piece().filter(|&p| self.site(p).is_some())?;
                let mut sum = Sum::one(Var::Piece(piece));
                sum.add(&self.stopped_in(piece, -1), 1);
                Some(sum)
            }
            EdgeKind::Taken => Some(Sum::one(Var::Taken(piece()?))),
            EdgeKind::NotTaken => Some(Sum::one(Var::NotTaken(piece()?))),
            EdgeKind::Entry | EdgeKind::Return | EdgeKind::Computed | EdgeKind::Unwind => None,
        }
    }

    fn at_target(&self, block: u32) -> Option<Sum> {
        let piece = self.cfg.blocks.get(block as usize)?.pieces.start;
        self.site(piece).map(|_| Sum::one(Var::Piece(piece)))
    }

    /// What is executed when the way that `var` counts is taken, where a probe can tell: a probe on what it leads to has
    /// done its work after one hit, and one on the jump only when the other way was taken too.
    pub(super) fn reached(&self, var: Var) -> Var {
        let kind = match var {
            Var::Piece(_) | Var::Stopped { .. } => return var,
            Var::Taken(_) => EdgeKind::Taken,
            Var::NotTaken(_) => EdgeKind::NotTaken,
        };
        let Some(from) = self.cfg.pieces.get(var.piece() as usize).map(|piece| piece.block) else { return var };
        // Where nothing else leads, else it tells of other ways too.
        let leads = |to: &u32| matches!(self.cfg.into(*to), [e] if e.from == from && e.kind == kind);
        let to = self.cfg.successors(from).iter().copied().find(leads);
        let piece = to.and_then(|to| Some(self.cfg.blocks.get(to as usize)?.pieces.start));
        piece.filter(|&piece| self.site(piece).is_some()).map_or(var, Var::Piece)
    }

    /// The first piece that the way which `way` counts leads to.
    pub(super) fn leads_to(&self, way: Var) -> Option<u32> {
        let kind = if matches!(way, Var::Taken(_)) { EdgeKind::Taken } else { EdgeKind::NotTaken };
        let from = self.cfg.pieces.get(way.piece() as usize)?.block;
        let leads = |to: &&u32| self.cfg.into(**to).iter().any(|e| e.from == from && e.kind == kind);
        let to = self.cfg.successors(from).iter().find(leads)?;
        Some(self.cfg.blocks.get(*to as usize)?.pieces.start)
    }

    /// The flow into `block` by the `counted` of its edges; `first` is the piece of it that is asked for: what
    /// does not come as far as that is left out where possible. The counters that tell whether there is any
    /// come second; no subtraction is in them. `exact` is cleared where only a part can be counted.
    pub(super) fn entries(
        &self,
        block: u32,
        first: u32,
        counted: impl Fn(&Edge) -> bool,
        exact: &mut bool,
    ) -> (Sum, Vec<Var>) {
        let into = self.cfg.into(block);
        let (counted, left_out): (Vec<&Edge>, Vec<&Edge>) = into.iter().partition(|e| counted(e));
        let nothing = (Sum::default(), Vec::new());
        if counted.is_empty() {
            return nothing;
        }
        let piece = self.piece(first);
        let seen: Vec<Var> = piece.iter().flat_map(Sum::positive).collect();
        // Nothing tells which of several calls has thrown: a landing pad counts as a whole.
        let pad = || left_out.iter().all(|e| e.kind == EdgeKind::Unwind);
        if left_out.is_empty() || pad() {
            *exact &= piece.is_some();
            return (piece.unwrap_or_default(), seen);
        }
        let begin = self.cfg.blocks.get(block as usize).map_or(first, |b| b.pieces.start);
        let direct: Vec<Option<Sum>> = counted.iter().map(|e| self.edge(e)).collect();
        let mut sum = Sum::default();
        direct.iter().flatten().for_each(|s| sum.add(s, 1));
        if direct.iter().all(Option::is_some) {
            let seen = if first == begin { sum.positive().collect() } else { seen };
            return (sum, seen);
        }
        let rest: Option<Vec<Sum>> = left_out.iter().map(|e| self.edge(e)).collect();
        if let (Some(rest), Some(mut sum)) = (rest, self.piece(begin)) {
            rest.iter().for_each(|s| sum.add(s, -1));
            return (sum, seen);
        }
        *exact = false;
        (sum, seen)
    }
}
