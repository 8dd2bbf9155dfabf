//! What counters say where threads stopped for good amid a piece of code: killed by a signal, or at a fault.
//!
//! What flows into a piece is taken to flow out of it. A thread that stopped in one makes that untrue, but it is known where
//! it was. Take away what it would have counted had it come there by the shortest way from outside: the flow of all others
//! is whole then, with the thread's own but for that way, since both ways end where the thread stopped. So sums of the
//! counters that remain are right, and each counted flow of the way is added again. All of that is linear: one such
//! thread adds a number to what the counters say of a flow, [`Halt::error`], and formulas take it as a counter of its own.

#[cfg(test)]
mod tests;

use super::cfg::{Cfg, Edge, EdgeKind, OUTSIDE};
use super::flow::{Flow, Sum, Var};
use super::functions::Layout;
use super::lines::{Asked, Group};
use super::spanning::Choice;
use super::types::Instruction;
use super::x86_64::{Callee, Flow as Control, Insn, LONGEST_CALL, Returns, call_before};
use crate::object::{AddrRange, FileOffset, Image, LinkAddr, Object};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Where a thread stopped for good, as far as it matters to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The innermost frame first: the instruction that was to be executed next, or failed. Then return addresses. `None`:
    /// in another object.
    pub frames: Vec<Option<FileOffset>>,
    /// What may be the return address of an innermost function without a frame of its own, which is not among `frames`.
    pub top: Vec<FileOffset>,
    /// Whether executing the innermost instruction failed: a probe on it was hit then.
    pub fault: bool,
}

/// How a frame stopped at an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Executing it failed.
    Failed,
    /// It was to be executed next.
    Before,
    /// It is a call that has not come back.
    Called,
}

/// A frame that stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Which of the threads it belongs to.
    pub(super) thread: u32,
    /// The instruction: a link address.
    pub(super) addr: u64,
    pub(super) how: How,
}

/// The frames of `threads` that stopped amid code of the object, by region.
///
/// Outer frames matter as long as each calls the inner one by its address: other calls need not come back, and
/// nothing is concluded from them. That proves frame pointers, too.
pub(super) fn stops(object: &Object, layout: &Layout, threads: &[Stopped]) -> BTreeMap<u32, Vec<Stop>> {
    let mut stops: BTreeMap<u32, Vec<Stop>> = BTreeMap::new();
    let region_at = |addr: u64| layout.region_of.get(layout.find(addr)?).copied();
    let image = &object.image;
    for (thread, stopped) in (0..).zip(threads) {
        let mut add = |addr: u64, how| {
            if let Some(region) = region_at(addr) {
                stops.entry(region).or_default().push(Stop { thread, addr, how });
            }
        };
        let addr = |frame: &Option<FileOffset>| Some(image.link_addr((*frame)?)?.0);
        let mut inner = stopped.frames.first().and_then(addr);
        if let Some(addr) = inner {
            add(addr, if stopped.fault { How::Failed } else { How::Before });
        }
        let caller = |inner: Option<u64>, outer: u64| {
            let (call, callee) = call_before(code_before(image, outer)?, outer)?;
            let library = match callee {
                Callee::Direct(addr) => image.plt.binary_search_by_key(&LinkAddr(addr), |(at, _)| *at).is_ok(),
                Callee::Slot(_) => true,
                Callee::Unknown => false,
            };
            let calls = match (inner, callee) {
                (Some(inner), Callee::Direct(addr)) => {
                    layout.begun_at(addr).is_some_and(|r| region_at(inner) == Some(r))
                }
                (Some(_), _) => false,
                (None, _) => library,
            };
            calls.then_some(call)
        };
        let top = stopped.top.iter().filter_map(|&at| addr(&Some(at))).find(|&at| caller(inner, at).is_some());
        let frames = stopped.frames.iter().skip(1).map(addr);
        for outer in top.map(Some).into_iter().chain(frames) {
            let Some(call) = outer.and_then(|outer| caller(inner, outer)) else { break };
            add(call, How::Called);
            inner = outer;
        }
    }
    stops
}

/// The bytes before an address, as many as a call that names what it calls has.
fn code_before(image: &Image, addr: u64) -> Option<&[u8]> {
    image.bytes_of(AddrRange { start: LinkAddr(addr.checked_sub(LONGEST_CALL)?), end: LinkAddr(addr) })
}

/// A frame that stopped in a region, and the shortest way there from outside.
#[derive(Debug)]
pub(super) struct Halt {
    pub(super) thread: u32,
    /// Its place among those of the region.
    number: u32,
    block: u32,
    pub(super) piece: u32,
    insn: u32,
    how: How,
    /// The flows of the way.
    way: HashMap<Var, i32>,
    /// What placed counters count of it.
    counted: HashMap<Var, i32>,
    /// The counter of a probe on the very instruction. Nobody knows then whether it was hit.
    doubtful: Option<Var>,
}

impl Halt {
    /// Where the frames `stops` stopped, but for those where it does not matter.
    pub(super) fn all(cfg: &Cfg, stops: &[Stop]) -> Vec<Self> {
        let mut halts = Vec::new();
        for stop in stops {
            halts.extend(Self::new(cfg, stop, u32::try_from(halts.len()).unwrap_or(u32::MAX)));
        }
        halts
    }

    /// `None`: what flows into the code there is not taken to flow out of it.
    fn new(cfg: &Cfg, stop: &Stop, number: u32) -> Option<Self> {
        let insn = cfg.insn_at(stop.addr)?;
        let piece = cfg.piece_of(insn)?;
        let found = cfg.pieces.get(piece as usize)?;
        let is_sure = |insn: &Insn| matches!(insn.flow, Control::Call { returns: Returns::Surely, .. });
        let block = found.block;
        match stop.how {
            How::Called if !cfg.insns.get(insn as usize).is_some_and(is_sure) => return None,
            _ => {}
        }
        let mut halt = Self {
            thread: stop.thread,
            number,
            block,
            piece,
            insn,
            how: stop.how,
            way: HashMap::from([(Var::Piece(piece), 1)]),
            counted: HashMap::new(),
            doubtful: None,
        };
        for (piece, kind) in way_to(cfg, piece)? {
            *halt.way.entry(Var::Piece(piece)).or_default() += 1;
            let flow = match kind {
                EdgeKind::Taken => Var::Taken(piece),
                EdgeKind::NotTaken => Var::NotTaken(piece),
                _ => continue,
            };
            *halt.way.entry(flow).or_default() += 1;
        }
        Some(halt)
    }

    /// Takes note of which counters are placed.
    pub(super) fn place(&mut self, flow: &Flow<'_>, cfg: &Cfg, choice: &Choice) {
        for (&var, &times) in &self.way {
            let ways = match (choice.probes.get(&var.piece()), var) {
                (Some(true), Var::Taken(_) | Var::NotTaken(_)) => true,
                (Some(false), Var::Piece(_)) => false,
                _ => continue,
            };
            if ways || var.piece() != self.piece {
                self.counted.insert(var, times);
                continue;
            }
            let Some(site) = flow.site(self.piece) else { continue };
            let price = cfg.insns.get(site as usize).and_then(|insn| insn.probe);
            let hit = match self.how {
                _ if site != self.insn => site < self.insn,
                How::Failed | How::Called => true,
                // The kernel emulates it before any signal arrives. One that is single-stepped is put back where it was.
                How::Before => price == Some(Instruction::SingleStepped),
            };
            if hit {
                self.counted.insert(var, times);
                self.doubtful = (site == self.insn && self.how == How::Before).then_some(var);
            }
        }
    }

    /// What a thread that stopped so adds to what the counters say of `sum`: the least that it may be, and whether it may
    /// be more.
    pub(super) fn error(&self, choice: &Choice, sum: &Sum) -> (i32, bool) {
        let (mut error, mut doubt) = (0, 0);
        for &(var, factor) in &sum.0 {
            if let Var::Stopped { halt, .. } = var {
                error += if halt == self.number { factor } else { 0 };
                continue;
            }
            error += factor * self.way.get(&var).copied().unwrap_or_default();
            for &(placed, coefficient) in choice.value(var).iter().flat_map(|sum| &sum.0) {
                error -= factor * coefficient * self.counted.get(&placed).copied().unwrap_or_default();
                doubt += if self.doubtful == Some(placed) { factor * coefficient } else { 0 };
            }
        }
        (error + doubt.min(0), doubt != 0)
    }
}

/// The pieces by which control comes from outside to `piece` in the fewest steps, and how it leaves each. `None`: by none.
///
/// Outside is what [`Graph::outside`](super::spanning) stands for.
fn way_to(cfg: &Cfg, piece: u32) -> Option<Vec<(u32, EdgeKind)>> {
    let is_plain = |e: &&Edge| matches!(e.kind, EdgeKind::Only | EdgeKind::Taken | EdgeKind::NotTaken);
    let mut next: HashMap<u32, (u32, EdgeKind)> = HashMap::new();
    let mut seen = HashSet::from([piece]);
    let mut open = VecDeque::from([piece]);
    while let Some(at) = open.pop_front() {
        let block = cfg.pieces.get(at as usize)?.block;
        let first = cfg.blocks.get(block as usize)?.pieces.start == at;
        let into = if first { cfg.into(block) } else { &[] };
        if !first || into.iter().any(|e| e.from == OUTSIDE || !is_plain(&e)) {
            let step = |&(at, _): &(u32, EdgeKind)| next.get(&at).copied();
            return Some(
                std::iter::successors(next.get(&at).map(|&(_, kind)| (at, kind)), |before| {
                    let (after, _) = step(before)?;
                    next.get(&after).map(|&(_, kind)| (after, kind))
                })
                .collect(),
            );
        }
        for edge in into.iter().filter(is_plain) {
            let before = cfg.blocks.get(edge.from as usize)?.pieces.end.checked_sub(1)?;
            if seen.insert(before) {
                next.insert(before, (at, edge.kind));
                open.push_back(before);
            }
        }
    }
    None
}

impl Asked<'_> {
    /// The threads that stopped in a block of `group` before the group's code: that they entered the block by one of the
    /// `counted` edges is no entry of the group. `exact` is cleared where nobody can tell by which edge.
    pub(super) fn late(&self, group: &Group, counted: impl Fn(&Edge) -> bool, exact: &mut bool) -> Sum {
        let late = |halt: &Halt| {
            group.members.binary_search_by_key(&halt.block, |m| m.0).ok()?;
            let block = self.cfg.blocks.get(halt.block as usize)?;
            let first = group.hull(&block.insns)?.start;
            if first <= halt.insn || self.cfg.piece_of(first) != Some(halt.piece) {
                return None;
            }
            let (counted, others): (Vec<&Edge>, Vec<&Edge>) =
                self.cfg.into(halt.block).iter().partition(|e| counted(e));
            if counted.is_empty() {
                return None;
            }
            *exact &= others.iter().all(|e| e.kind == EdgeKind::Unwind) && self.flow.site(halt.piece).is_some();
            Some((Var::Stopped { halt: halt.number, piece: halt.piece }, 1))
        };
        Sum(self.halts.iter().filter_map(late).collect())
    }
}
