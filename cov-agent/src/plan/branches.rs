//! The conditional jumps of a line, and how often each way out of them is taken.

use super::Scope;
use super::cfg::{Edge, EdgeKind};
use super::flow::{Sum, Var};
use super::lines::{Asked, Group, Key};
use super::rows::Span;
use super::x86_64::Flow as Control;
use crate::object::LinkAddr;

/// One way out of a conditional jump.
#[derive(Debug)]
pub(super) struct WaySum {
    /// Tells the jumps of differently compiled copies of a line apart.
    pub(super) shape: u32,
    /// The jump's place among those of the group.
    pub(super) jump: u32,
    /// The way's place among those of the jump.
    pub(super) number: u32,
    /// The line of the same file that it leads to; 0 where there is none.
    pub(super) to: u32,
    pub(super) count: Sum,
}

/// How many jumps to jumps are followed.
const JUMPS: usize = 8;

/// The ways out of one jump: where they lead, and how often they are taken.
type Ways = Vec<(u32, Sum)>;

impl Asked<'_> {
    /// The ways out of the conditional jumps that end blocks of a group; `spans` are those of the region, by rising
    /// address.
    ///
    /// They stand in the order of the lines that they lead to, so that a compiler that turns a condition around changes
    /// nothing. The shape is a hash of these lines.
    pub(super) fn ways(&self, key: &Key, group: &Group, spans: &[Span]) -> Vec<WaySum> {
        let to = |block: u32| self.line_at(block, key);
        let own = group.members.iter().filter_map(|&(block, _)| Some((block, self.end_of(block)?)));
        let own: Vec<(u32, u32)> = own.filter(|&(_, at)| group.holds(at)).collect();
        let jumps = own.iter().flat_map(|&(block, at)| {
            let nobodys = self.cfg.successors(block).iter().filter(|&&next| self.goes_on(next, spans));
            let nobodys = nobodys.filter_map(|&next| Some((next, self.end_of(next)?)));
            std::iter::once((block, at)).chain(nobodys).collect::<Vec<_>>()
        });
        let jumps = jumps.filter_map(|(block, at)| {
            let mut ways = self.ways_of(block, at, to)?;
            ways.sort_by_key(|&(to, _)| to);
            Some(ways)
        });
        let jumps: Vec<Ways> = jumps.collect();
        let shape = shape(&jumps);
        let mut sums = Vec::new();
        for (jump, ways) in (0..).zip(jumps) {
            sums.extend((0..).zip(ways).map(|(number, (to, count))| WaySum { shape, jump, number, to, count }));
        }
        sums
    }

    fn end_of(&self, block: u32) -> Option<u32> {
        self.cfg.blocks.get(block as usize)?.insns.end.checked_sub(1)
    }

    /// Whether a block goes on with what the only block before it began, without a line of its own: clang gives the
    /// jump through the table of a `switch` to no line.
    fn goes_on(&self, block: u32, spans: &[Span]) -> bool {
        let insn = self.end_of(block).and_then(|at| self.cfg.insns.get(at as usize));
        let computed = insn.filter(|insn| matches!(insn.flow, Control::Indirect { .. }));
        computed.is_some_and(|insn| self.cfg.into(block).len() == 1 && span_at(insn.addr, spans).is_none())
    }

    /// The ways out of the jump `at` that ends `block`. `None`: it is none, or cannot be told.
    fn ways_of(&self, block: u32, at: u32, to: impl Fn(u32) -> u32) -> Option<Ways> {
        let insn = self.cfg.insns.get(at as usize)?;
        if !matches!(insn.flow, Control::Branch { .. } | Control::Indirect { .. }) {
            return None;
        }
        if let Control::Branch { target, condition: Some(_) } = insn.flow {
            if target == insn.end() {
                return None;
            }
            let piece = self.cfg.piece_of(at)?;
            let block = |addr: u64| self.cfg.pieces.get(self.cfg.piece_of(self.cfg.insn_at(addr)?)? as usize);
            let line = |addr: u64| block(addr).map_or(0, |piece| to(piece.block));
            let (on, away) = (line(insn.end()), line(target));
            return Some(vec![(on, Sum::one(Var::NotTaken(piece))), (away, Sum::one(Var::Taken(piece)))]);
        }
        let computed = |edge: &&Edge| edge.from == block && edge.kind == EdgeKind::Computed;
        let edges = self.cfg.successors(block).iter().filter_map(|&next| self.cfg.into(next).iter().find(computed));
        let ways = edges.map(|edge| Some((to(edge.to), self.computed(edge)?))).collect::<Option<Ways>>()?;
        (ways.len() > 1).then_some(ways)
    }

    /// How often a computed edge is taken: as often as its target is executed, less the other ways to there.
    fn computed(&self, edge: &Edge) -> Option<Sum> {
        if let Some(sum) = self.flow.edge(edge) {
            return Some(sum);
        }
        let mut sum = self
            .flow
            .piece(self.cfg.blocks.get(edge.to as usize)?.pieces.start)
            .filter(|_| self.scope == Scope::Whole)?;
        for other in self.cfg.into(edge.to).iter().filter(|other| *other != edge) {
            sum.add(&self.flow.edge(other)?, -1);
        }
        Some(sum)
    }

    /// The line of the group's file that a block begins with; of one that is nothing but a jump, that of its target.
    fn line_at(&self, mut block: u32, (_, file, _): &Key) -> u32 {
        let first = |block: u32| self.cfg.insns.get(self.cfg.blocks.get(block as usize)?.insns.start as usize);
        for _ in 0..JUMPS {
            match (first(block).map(|insn| insn.flow), self.cfg.successors(block)) {
                (Some(Control::Jump { .. }), &[next]) => block = next,
                _ => break,
            }
        }
        let row = first(block).and_then(|insn| self.object.lines.row_at(LinkAddr(insn.addr)));
        row.filter(|row| row.file == *file).map_or(0, |row| row.line)
    }
}

/// The span that holds an address. They do not overlap but where code was folded: then the last one.
fn span_at(addr: u64, spans: &[Span]) -> Option<&Span> {
    let before = spans.get(..spans.partition_point(|s| s.start <= addr))?;
    before.iter().rev().take(4).find(|s| (s.start..s.end).contains(&addr))
}

/// FNV-1a (Fowler, Noll, Vo) over the number of ways of each jump, and the lines that they lead to.
fn shape(jumps: &[Ways]) -> u32 {
    let numbers = jumps.iter().flat_map(|ways| {
        let count = u32::try_from(ways.len()).unwrap_or(u32::MAX);
        std::iter::once(count).chain(ways.iter().map(|(to, _)| *to))
    });
    let bytes = numbers.flat_map(u32::to_le_bytes);
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
