//! The instructions of a region that control can reach, and where its computed jumps go.
//!
//! Only what is reached from a known start is known to be code: bytes between may be tables, and a
//! breakpoint written into a table breaks the program.

use super::functions::{Fragment, Layout, Region, sweep};
use super::jump_tables::Tables;
use super::survey::Doubt;
use super::x86_64::{Callee, Flow, Insn, Mention, decode, reads_from};
use crate::object::{AddrRange, Fde, LinkAddr, Object};

/// More edges out of computed jumps than this, and the region is not analysed.
const MAX_TABLE_EDGES: usize = 1 << 21;
/// How often newly found code may lead to more code through computed jumps.
const MAX_ROUNDS: usize = 32;

/// The reachable code of a region.
#[derive(Debug, Default)]
pub(super) struct Code {
    /// By rising address.
    pub(super) insns: Vec<Insn>,
    /// Where each computed jump may go, by the jump's address: the targets, sorted.
    pub(super) computed: Vec<(u64, Vec<u64>)>,
    /// Addresses, sorted, where control comes from outside (or from where nobody knows).
    pub(super) entries: Vec<u64>,
    /// Why the flow of control is not fully known, if so: nothing can be said then beyond "this instruction was executed".
    pub(super) doubt: Option<Doubt>,
    /// Whether a thread can be amid it more than once, by calls that are sure to return.
    pub(super) recurs: bool,
    /// Instructions that control reaches and that end behind the region's code, if that is told right: what begins amid one
    /// is none. Their first addresses, and those behind them.
    pub(super) spilt: Vec<(u64, u64)>,
}

impl Code {
    /// Whether the flow of control is fully known.
    pub(super) fn is_resolved(&self) -> bool {
        self.doubt.is_none()
    }

    /// Takes the probes from instructions of `codes` that begin amid one of another of them.
    pub(super) fn settle<'a>(codes: impl Iterator<Item = &'a mut Self>) {
        let mut codes: Vec<&mut Self> = codes.collect();
        let spilt: Vec<(u64, u64)> = codes.iter().flat_map(|code| code.spilt.iter().copied()).collect();
        for (start, end) in spilt {
            for code in &mut codes {
                let from = code.insns.partition_point(|insn| insn.addr <= start);
                let amid = code.insns.iter_mut().skip(from).take_while(|insn| insn.addr < end);
                for insn in amid {
                    insn.probe = None;
                    code.doubt.get_or_insert(Doubt::Overlap);
                }
            }
        }
    }

    /// The index of the instruction that begins at `addr`.
    pub(super) fn at(&self, addr: u64) -> Option<usize> {
        self.insns.binary_search_by_key(&addr, |i| i.addr).ok()
    }

    /// Where the computed jump at `addr` may go within the region.
    pub(super) fn targets(&self, addr: u64) -> &[u64] {
        let at = self.computed.binary_search_by_key(&addr, |&(addr, _)| addr).ok();
        at.and_then(|at| self.computed.get(at)).map_or(&[], |(_, targets)| targets)
    }
}

/// Follows control from every known start of `region`, and from the addresses `amid`, sorted, to which other regions were found
/// to jump.
pub(super) fn explore(object: &Object, layout: &Layout, region: &Region, amid: &[u64]) -> Code {
    let mut walk = Walk::new(object, layout, region, amid);
    walk.work.extend(amid.iter().map(|&addr| (addr, false)));
    let starts = layout.fragments_of(region).flat_map(|f| &f.starts).map(|s| s.addr);
    walk.work.extend(starts.map(|addr| (addr, false)));
    let mut doubt = None;
    for fde in walk.fdes() {
        if fde.lsda_unreadable {
            doubt = Some(Doubt::LandingPads);
        }
        walk.work.extend(fde.landing_pads.iter().map(|p| (p.pad.0, false)));
    }
    walk.run();
    let mut computed = Vec::new();
    if !walk.jumps.is_empty() {
        let mut rounds = 0;
        loop {
            let known = walk.insns.len();
            computed = walk.compute();
            if computed.iter().map(|(_, targets)| targets.len()).sum::<usize>() > MAX_TABLE_EDGES {
                doubt = Some(Doubt::Tables);
            }
            if walk.torn || doubt.is_some() {
                break;
            }
            walk.work.extend(computed.iter().flat_map(|(_, targets)| targets).map(|&addr| (addr, false)));
            walk.run();
            rounds += 1;
            if walk.insns.len() == known {
                break;
            }
            if rounds == MAX_ROUNDS {
                doubt = Some(Doubt::Tables);
                break;
            }
        }
    }
    let doubt = doubt.or(walk.torn.then_some(Doubt::Data));
    walk.finish(computed, doubt)
}

/// One fragment, and what is known of each of its bytes.
struct Piece<'a> {
    fragment: &'a Fragment,
    bytes: &'a [u8],
    marks: Vec<u8>,
    /// Where a decoding from start to end finds instructions; made when first needed.
    boundaries: Vec<bool>,
}

/// An instruction begins at the byte.
const BEGIN: u8 = 1;
/// The byte lies inside an instruction.
const INSIDE: u8 = 2;
/// The byte is data that code reads.
const DATA: u8 = 4;

struct Walk<'a> {
    object: &'a Object,
    layout: &'a Layout,
    amid: &'a [u64],
    pieces: Vec<Piece<'a>>,
    /// Where control goes, and whether that is in doubt.
    work: Vec<(u64, bool)>,
    insns: Vec<Insn>,
    mentions: Vec<(u64, Mention)>,
    jumps: Vec<u64>,
    /// Control seems to run into data.
    torn: bool,
    spilt: Vec<(u64, u64)>,
}

impl<'a> Walk<'a> {
    fn new(object: &'a Object, layout: &'a Layout, region: &'a Region, amid: &'a [u64]) -> Self {
        let piece = |fragment: &'a Fragment| {
            let range = AddrRange { start: LinkAddr(fragment.start), end: LinkAddr(fragment.end) };
            let bytes = object.image.bytes_of(range).unwrap_or_default();
            Piece { fragment, bytes, marks: vec![0; bytes.len()], boundaries: Vec::new() }
        };
        let pieces = layout.fragments_of(region).map(piece).collect();
        let (work, insns, mentions, jumps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { object, layout, amid, pieces, work, insns, mentions, jumps, torn: false, spilt: Vec::new() }
    }

    /// The piece that holds `addr`, and the place in it.
    fn locate(&self, addr: u64) -> Option<(usize, usize)> {
        let piece = self.pieces.partition_point(|p| p.fragment.start <= addr).checked_sub(1)?;
        let at = usize::try_from(addr - self.pieces.get(piece)?.fragment.start).ok()?;
        (at < self.pieces.get(piece)?.bytes.len()).then_some((piece, at))
    }

    fn fdes(&self) -> Vec<&'a Fde> {
        let fdes = &self.object.image.fdes;
        let of = |p: &Piece<'_>| {
            let from = fdes.partition_point(|f| f.range.start.0 < p.fragment.start);
            let to = fdes.partition_point(|f| f.range.start.0 < p.fragment.end);
            fdes.get(from..to).unwrap_or(&[])
        };
        self.pieces.iter().flat_map(of).collect()
    }

    fn run(&mut self) {
        while let Some((addr, doubt)) = self.work.pop() {
            self.follow(addr, doubt);
        }
    }

    /// Decodes from `addr` to where control leaves, or where it has been already. Behind what seems to be data nothing is
    /// certain: instructions there get no probe, but may show that others are none.
    fn follow(&mut self, mut addr: u64, mut doubt: bool) {
        while let Some((piece, at)) = self.locate(addr) {
            let Some(piece) = self.pieces.get_mut(piece) else { return };
            if piece.marks.get(at).is_none_or(|mark| mark & BEGIN != 0) {
                return;
            }
            let Some((mut insn, mention)) = piece.bytes.get(at..).and_then(|rest| decode(rest, addr)) else {
                let whole = self.object.image.bytes_from(LinkAddr(addr)).and_then(|rest| decode(rest, addr));
                self.spilt.extend(whole.map(|(insn, _)| (addr, insn.end())));
                return;
            };
            let bytes = at..at + usize::from(insn.len);
            if piece.marks.get(bytes).is_none_or(|marks| marks.iter().any(|m| m & DATA != 0)) {
                self.torn = true;
                doubt = true;
            }
            insn.probe = insn.probe.filter(|_| !doubt);
            let Some(mark) = piece.marks.get_mut(at) else { return };
            *mark |= BEGIN;
            for inside in piece.marks.iter_mut().skip(at + 1).take(usize::from(insn.len) - 1) {
                *inside |= INSIDE;
            }
            self.insns.push(insn);
            self.mentions.extend(mention.map(|m| (addr, m)));
            match insn.flow {
                Flow::Next => {}
                Flow::Call { callee, .. } => {
                    if let Callee::Direct(target) = callee {
                        self.work.push((target, doubt));
                    }
                }
                Flow::Branch { target, .. } => self.work.push((target, doubt)),
                Flow::Jump { target } => {
                    self.work.push((target, doubt));
                    return;
                }
                Flow::Indirect { slot } => {
                    if slot.is_none() {
                        self.jumps.push(addr);
                    }
                    return;
                }
                Flow::Stop => return,
            }
            addr = insn.end();
        }
    }

    /// Where the computed jumps go, as far as the code that is known now tells.
    fn compute(&mut self) -> Vec<(u64, Vec<u64>)> {
        for piece in self.pieces.iter_mut().filter(|p| p.boundaries.is_empty()) {
            piece.boundaries = vec![false; piece.bytes.len()];
            let start = piece.fragment.start;
            sweep(self.object, piece.fragment, |insn, _| {
                let at = usize::try_from(insn.addr - start).ok();
                if let Some(slot) = at.and_then(|at| piece.boundaries.get_mut(at)) {
                    *slot = true;
                }
            });
        }
        self.mentions.sort_unstable_by_key(|&(addr, _)| addr);
        let data = self.data();
        for &addr in &data {
            self.mark_data(addr, addr + 1);
        }
        let mark = |addr: u64| {
            let (piece, at) = self.locate(addr)?;
            Some((self.pieces.get(piece)?, at, *self.pieces.get(piece)?.marks.get(at)?))
        };
        let valid = |addr: u64| {
            let Some((piece, at, mark)) = mark(addr) else { return false };
            let begins = match data.is_empty() {
                true => piece.boundaries.get(at) == Some(&true),
                // Data lets a decoding from start to end lose its step.
                false => piece.bytes.get(at..).is_some_and(|rest| decode(rest, addr).is_some()),
            };
            mark & BEGIN != 0 || (mark & (INSIDE | DATA) == 0 && begins)
        };
        // Labels whose address is taken: a computed goto may go to each of them.
        let mut labels = Vec::new();
        for piece in &self.pieces {
            let mentioned = Layout::between(&self.layout.mentioned, piece.fragment.start, piece.fragment.end);
            labels.extend(mentioned.iter().copied().filter(|&a| data.binary_search(&a).is_err() && valid(a)));
        }
        let code = |addr: u64| mark(addr).is_some_and(|(_, _, mark)| mark & (BEGIN | INSIDE) != 0);
        let tables =
            Tables { object: self.object, layout: self.layout, mentions: &self.mentions, labels, valid: &valid };
        let resolved = tables.resolve_all(&self.jumps);
        let extents: Vec<(u64, u64)> = data.iter().map(|&base| (base, tables.extent(base, &code))).collect();
        for (start, end) in extents {
            self.mark_data(start, end);
        }
        resolved
    }

    /// Addresses within the region that its code reads from, sorted: tables and constants among the code.
    fn data(&self) -> Vec<u64> {
        let reads = |&(addr, mention): &(u64, Mention)| {
            let to = match mention {
                Mention::Table(to) => to,
                Mention::Address(to) => {
                    self.locate(to)?;
                    let (piece, at) = self.locate(addr)?;
                    reads_from(self.pieces.get(piece)?.bytes.get(at..)?, addr).then_some(to)?
                }
            };
            let (piece, at) = self.locate(to)?;
            (self.pieces.get(piece)?.marks.get(at)? & (BEGIN | INSIDE) == 0).then_some(to)
        };
        let mut data: Vec<u64> = self.mentions.iter().filter_map(reads).collect();
        data.sort_unstable();
        data.dedup();
        data
    }

    fn mark_data(&mut self, start: u64, end: u64) {
        let Some((piece, at)) = self.locate(start) else { return };
        let Some(piece) = self.pieces.get_mut(piece) else { return };
        let len = usize::try_from(end - start).unwrap_or_default();
        piece.marks.iter_mut().skip(at).take(len).for_each(|mark| *mark |= DATA);
    }

    fn finish(mut self, mut computed: Vec<(u64, Vec<u64>)>, mut doubt: Option<Doubt>) -> Code {
        let pieces = std::mem::take(&mut self.pieces);
        let mut insns = std::mem::take(&mut self.insns);
        insns.sort_unstable_by_key(|i| i.addr);
        self.pieces = pieces;
        // Of instructions that overlap one may be none: a breakpoint in one would change the other.
        let mut inside = Vec::new();
        let mut reach = 0;
        let mut farthest = 0;
        for (n, insn) in insns.iter().enumerate() {
            if insn.addr < reach {
                inside.extend([farthest, n]);
            }
            if insn.end() > reach {
                (reach, farthest) = (insn.end(), n);
            }
        }
        for n in inside {
            doubt.get_or_insert(Doubt::Overlap);
            if let Some(insn) = insns.get_mut(n) {
                insn.probe = None;
            }
        }
        computed.sort_unstable();
        let spilt = std::mem::take(&mut self.spilt);
        let mut code = Code { insns, computed, entries: Vec::new(), doubt, recurs: false, spilt };
        code.entries = self.entries(&code);
        code
    }

    /// Where control comes from outside: starts, what is called, and mentioned addresses that are no
    /// labels of the region's own computed jumps.
    fn entries(&self, code: &Code) -> Vec<u64> {
        let mut labels: Vec<u64> = code.computed.iter().flat_map(|(_, targets)| targets).copied().collect();
        labels.sort_unstable();
        let mut entries = Vec::new();
        for piece in &self.pieces {
            let fragment = piece.fragment;
            entries.extend(fragment.starts.iter().filter(|s| !s.cold).map(|s| s.addr));
            entries.extend(Layout::between(&self.layout.called, fragment.start, fragment.end));
            entries.extend(Layout::between(self.amid, fragment.start, fragment.end));
            let mentioned = Layout::between(&self.layout.mentioned, fragment.start, fragment.end);
            entries.extend(mentioned.iter().filter(|a| labels.binary_search(a).is_err()));
        }
        entries.retain(|&addr| code.at(addr).is_some());
        entries.sort_unstable();
        entries.dedup();
        entries
    }
}
