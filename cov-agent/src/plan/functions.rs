//! Which pieces of code make up which function.
//!
//! A *fragment* is contiguous code that unwind tables, symbols or debug info describe. A *region* is
//! what has to be analysed together: fragments tied by jumps into each other's middle, by debug info,
//! by landing pads, or because one is the cold part of the other.

use super::x86_64::{Callee, Flow, Mention, decode};
use crate::object::{AddrRange, CopyKind, LinkAddr, Object};
use rayon::prelude::*;

/// Contiguous code, with the addresses from which it is known to be entered.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Known instruction starts, sorted: where unwind entries and symbols begin.
    pub(super) starts: Vec<Start>,
}

/// An address where a function, or a part of one, begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Start {
    pub(super) addr: u64,
    /// The symbol calls it the cold part of another function: nobody calls it, it is jumped to.
    pub(super) cold: bool,
}

/// Fragments that are analysed together.
#[derive(Debug)]
pub(super) struct Region {
    /// Indices into [`Layout::fragments`], rising.
    pub(super) fragments: Vec<u32>,
}

/// All code of an object, divided.
#[derive(Debug)]
pub(super) struct Layout {
    /// By rising address, not overlapping.
    pub(super) fragments: Vec<Fragment>,
    /// By the address of their first fragment.
    pub(super) regions: Vec<Region>,
    /// The region of each fragment.
    pub(super) region_of: Vec<u32>,
    /// Addresses that are called and that no start stands at (or a cold one), sorted. Not all of them
    /// need be instructions.
    pub(super) called: Vec<u64>,
    /// Likewise those that address loads and relocations mention.
    pub(super) mentioned: Vec<u64>,
    /// Addresses outside code that instructions mention, sorted: where data, and jump tables, begin.
    pub(super) data: Vec<u64>,
}

impl Layout {
    pub(super) fn new(object: &Object) -> Self {
        let fragments = fragments(object);
        let found = fragments.par_iter().map(|f| sweep_fragment(object, &fragments, f)).reduce(
            Found::default,
            |mut all, one| {
                all.append(one);
                all
            },
        );
        let mut sets = Sets::new(fragments.len());
        for copy in object.functions.copies.iter().filter(|c| c.kind == CopyKind::OutOfLine) {
            let mut parts = copy.ranges.iter().filter_map(|r| find(&fragments, r.start.0));
            if let Some(first) = parts.next() {
                parts.for_each(|part| sets.join(first, part));
            }
        }
        for fde in &object.image.fdes {
            for pad in &fde.landing_pads {
                if let (Some(a), Some(b)) = (find(&fragments, fde.range.start.0), find(&fragments, pad.pad.0)) {
                    sets.join(a, b);
                }
            }
        }
        for (from, to) in found.joins {
            sets.join(from as usize, to as usize);
        }
        let (regions, region_of) = sets.regions();
        let (mut called, mut mentioned) = (found.called, found.mentioned);
        called.extend(object.image.entries.iter().map(|a| a.0));
        mentioned.extend(object.image.relocation_targets.iter().map(|a| a.0));
        for addresses in [&mut called, &mut mentioned] {
            addresses.par_sort_unstable();
            addresses.dedup();
            addresses.retain(|&addr| amid(&fragments, addr));
        }
        let mut data = found.data;
        data.par_sort_unstable();
        data.dedup();
        Self { fragments, regions, region_of, called, mentioned, data }
    }

    /// The fragment that holds `addr`.
    pub(super) fn find(&self, addr: u64) -> Option<usize> {
        find(&self.fragments, addr)
    }

    /// The fragments of a region.
    pub(super) fn fragments_of<'a>(&'a self, region: &'a Region) -> impl Iterator<Item = &'a Fragment> {
        region.fragments.iter().filter_map(|&f| self.fragments.get(f as usize))
    }

    /// The region in which `addr` lies, where no function is known to begin.
    pub(super) fn amid(&self, addr: u64) -> Option<u32> {
        self.find(addr).filter(|_| amid(&self.fragments, addr)).and_then(|f| self.region_of.get(f).copied())
    }

    /// How many bytes a region has.
    pub(super) fn size_of(&self, region: u32) -> u64 {
        let region = self.regions.get(region as usize);
        region.into_iter().flat_map(|r| self.fragments_of(r)).map(|f| f.end - f.start).sum()
    }

    /// Where the functions of a region begin.
    pub(super) fn begins(&self, region: u32) -> Vec<u64> {
        let region = self.regions.get(region as usize);
        let starts = region.into_iter().flat_map(|r| self.fragments_of(r)).flat_map(|f| &f.starts);
        starts.filter(|s| !s.cold).map(|s| s.addr).collect()
    }

    /// The region in which a function begins at `addr`.
    pub(super) fn begun_at(&self, addr: u64) -> Option<u32> {
        let fragment = self.find(addr)?;
        self.fragments.get(fragment)?.start_at(addr).filter(|s| !s.cold)?;
        self.region_of.get(fragment).copied()
    }

    /// The elements of the sorted `addresses` in `start..end`.
    pub(super) fn between(addresses: &[u64], start: u64, end: u64) -> &[u64] {
        let from = addresses.partition_point(|&a| a < start);
        let to = addresses.partition_point(|&a| a < end);
        addresses.get(from..to).unwrap_or(&[])
    }
}

impl Fragment {
    /// The start that stands at `addr`.
    pub(super) fn start_at(&self, addr: u64) -> Option<Start> {
        let at = self.starts.binary_search_by_key(&addr, |s| s.addr).ok()?;
        self.starts.get(at).copied()
    }
}

fn find(fragments: &[Fragment], addr: u64) -> Option<usize> {
    let at = fragments.partition_point(|f| f.start <= addr).checked_sub(1)?;
    fragments.get(at).filter(|f| addr < f.end).map(|_| at)
}

/// Whether `addr` is code but no known start, but for a cold one.
fn amid(fragments: &[Fragment], addr: u64) -> bool {
    find(fragments, addr).and_then(|f| fragments.get(f)).is_some_and(|f| f.start_at(addr).is_none_or(|s| s.cold))
}

/// Unwind entries and function symbols; debug info's ranges only where neither is.
fn fragments(object: &Object) -> Vec<Fragment> {
    let image = &object.image;
    let mut pieces: Vec<(AddrRange, Start)> = Vec::new();
    pieces.extend(image.fdes.iter().map(|f| (f.range, Start { addr: f.range.start.0, cold: false })));
    for symbol in &image.symbols {
        let mut range = symbol.range;
        if range.is_empty() {
            // A size of 0 means unknown: up to whatever comes next.
            let symbol = image.symbols.get(image.symbols.partition_point(|s| s.range.start <= range.start));
            let fde = image.fdes.get(image.fdes.partition_point(|f| f.range.start <= range.start));
            let next = symbol.map(|s| s.range.start).into_iter().chain(fde.map(|f| f.range.start)).min();
            range.end = next.unwrap_or(LinkAddr(u64::MAX));
        }
        pieces.push((range, Start { addr: range.start.0, cold: symbol.name.contains(".cold") }));
    }
    let described = fragments_of(image.code.as_slice(), pieces.clone());
    let copies = object.functions.copies.iter().filter(|c| c.kind == CopyKind::OutOfLine);
    let bare = copies.flat_map(|c| &c.ranges).filter(|r| find(&described, r.start.0).is_none());
    let before = pieces.len();
    pieces.extend(bare.map(|&r| (r, Start { addr: r.start.0, cold: false })));
    if pieces.len() == before { described } else { fragments_of(image.code.as_slice(), pieces) }
}

/// Clips the pieces to `code` and joins those that overlap.
fn fragments_of(code: &[AddrRange], mut pieces: Vec<(AddrRange, Start)>) -> Vec<Fragment> {
    // The cold mark of a symbol comes before the plain start of its unwind entry.
    pieces.sort_unstable_by_key(|(r, s)| (r.start, !s.cold, r.end));
    let mut fragments: Vec<Fragment> = Vec::new();
    for (range, start) in pieces {
        let section = code.partition_point(|c| c.start <= range.start).checked_sub(1).and_then(|n| code.get(n));
        let Some(section) = section.filter(|c| c.contains(range.start)) else { continue };
        let (from, to) = (range.start.0, range.end.min(section.end).0);
        match fragments.last_mut() {
            Some(last) if from < last.end => {
                last.end = last.end.max(to);
                if last.starts.last().is_none_or(|s| s.addr != from) {
                    last.starts.push(start);
                }
            }
            _ if from < to => fragments.push(Fragment { start: from, end: to, starts: vec![start] }),
            _ => {}
        }
    }
    fragments
}

/// What a look at every instruction of the object tells.
#[derive(Default)]
struct Found {
    called: Vec<u64>,
    /// Mentioned code addresses.
    mentioned: Vec<u64>,
    /// Mentioned addresses elsewhere.
    data: Vec<u64>,
    /// Fragments to be joined.
    joins: Vec<(u32, u32)>,
}

impl Found {
    fn append(&mut self, mut other: Self) {
        self.called.append(&mut other.called);
        self.mentioned.append(&mut other.mentioned);
        self.data.append(&mut other.data);
        self.joins.append(&mut other.joins);
    }
}

/// Decodes a fragment from its start to its end, whether reachable or not. Where bytes are no
/// instruction it goes on a byte later; it begins afresh at every known start.
pub(super) fn sweep(
    object: &Object,
    fragment: &Fragment,
    mut visit: impl FnMut(&super::x86_64::Insn, Option<Mention>),
) {
    let range = AddrRange { start: LinkAddr(fragment.start), end: LinkAddr(fragment.end) };
    let Some(bytes) = object.image.bytes_of(range) else { return };
    let mut starts = fragment.starts.iter().map(|s| s.addr).peekable();
    let mut addr = fragment.start;
    while addr < fragment.end {
        while starts.next_if(|&s| s <= addr).is_some() {}
        let rest = usize::try_from(addr - fragment.start).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let Some((insn, mention)) = decode(rest, addr) else {
            addr += 1;
            continue;
        };
        visit(&insn, mention);
        addr = match starts.peek() {
            Some(&start) if start < insn.end() => start,
            _ => insn.end(),
        };
    }
}

fn sweep_fragment(object: &Object, fragments: &[Fragment], fragment: &Fragment) -> Found {
    let mut found = Found::default();
    let Some(here) = find(fragments, fragment.start) else { return found };
    let jump = |found: &mut Found, target: u64| {
        if (fragment.start..fragment.end).contains(&target) {
            return;
        }
        // A jump to an entry of the PLT is a call of a library's function, from whose return nothing comes here.
        if object.image.plt.binary_search_by_key(&LinkAddr(target), |(at, _)| *at).is_ok() {
            return;
        }
        let Some(there) = find(fragments, target) else { return };
        let start = fragments.get(there).and_then(|f| f.start_at(target));
        // A jump to the start of another function is a tail call.
        if start.is_none_or(|s| s.cold)
            && let (Ok(here), Ok(there)) = (u32::try_from(here), u32::try_from(there))
        {
            found.joins.push((here, there));
        }
    };
    let image = &object.image;
    let mut last = fragment.start;
    sweep(object, fragment, |insn, mention| {
        last = if matches!(insn.flow, Flow::Next | Flow::Call { .. } | Flow::Branch { .. }) { insn.end() } else { 0 };
        match insn.flow {
            Flow::Jump { target } | Flow::Branch { target, .. } => jump(&mut found, target),
            Flow::Call { callee: Callee::Direct(target), .. } => found.called.push(target),
            _ => {}
        }
        if let Some(Mention::Address(addr) | Mention::Table(addr)) = mention {
            if image.is_code(LinkAddr(addr)) {
                found.mentioned.push(addr);
            } else if image.segment_at(LinkAddr(addr)).is_some() {
                found.data.push(addr);
            }
        }
    });
    if last == fragment.end {
        jump(&mut found, last);
    }
    for addresses in [&mut found.called, &mut found.mentioned] {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.retain(|&a| amid(fragments, a));
    }
    found.data.sort_unstable();
    found.data.dedup();
    found
}

/// Disjoint sets (union-find with path halving).
struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    fn new(len: usize) -> Self {
        Self { parent: (0..len).collect() }
    }

    fn root(&mut self, mut of: usize) -> usize {
        while let Some(&parent) = self.parent.get(of) {
            if parent == of {
                break;
            }
            let above = self.parent.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.parent.get_mut(of) {
                *slot = above;
            }
            of = above;
        }
        of
    }

    /// The smaller index becomes the root.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if let Some(slot) = self.parent.get_mut(a.max(b)) {
            *slot = a.min(b);
        }
    }

    fn regions(&mut self) -> (Vec<Region>, Vec<u32>) {
        let mut regions: Vec<Region> = Vec::new();
        let mut region_of = vec![0; self.parent.len()];
        for n in 0..self.parent.len() {
            let root = self.root(n);
            let region = if root == n {
                regions.push(Region { fragments: Vec::new() });
                u32::try_from(regions.len() - 1).unwrap_or(u32::MAX)
            } else {
                region_of.get(root).copied().unwrap_or_default()
            };
            if let Some(slot) = region_of.get_mut(n) {
                *slot = region;
            }
            if let (Some(region), Ok(n)) = (regions.get_mut(region as usize), u32::try_from(n)) {
                region.fragments.push(n);
            }
        }
        (regions, region_of)
    }
}
