//! How often blocks may be expected to run: as in an earlier run, or from the shape of the graph alone.
//!
//! Loops run eight times, branches go either way alike, and a loop is left at last: the estimates of Ball and Larus,
//! "Optimally profiling and tracing programs" (1994), section 5.

use super::cfg::{Cfg, EdgeKind};
use super::graph::back_edges;
use super::rows::Span;
use super::selection::Selected;

/// How often a loop is taken to run.
const ITERATIONS: f64 = 8.0;
/// Loops within loops beyond this many do not count.
const DEEPEST: i32 = 6;

/// How much of an estimate is added to what a profile tells: it decides between blocks that ran equally often.
const LEAST: f64 = 1e-3;

/// For each block how often it may be expected to run, relative to the others of the region. Never 0.
///
/// A block runs as often as the line of it that ran least, by the profile in `selected`; a block of which the profile
/// does not know a line as often as the estimate says, in proportion to the others.
pub(super) fn frequencies(cfg: &Cfg, spans: &[Span], selected: &Selected) -> Vec<f64> {
    let mut estimates = estimates(cfg);
    if !selected.has_profile() {
        return estimates;
    }
    let mut known: Vec<Option<u64>> = vec![None; estimates.len()];
    for span in spans {
        let Some(count) = selected.count(span.file, span.line) else { continue };
        let pieces = cfg.insn_at(span.start).and_then(|n| cfg.piece_of(n)).into_iter().flat_map(|n| n..);
        let pieces = pieces.map_while(|n| cfg.pieces.get(n as usize));
        let inside = |insn: u32| cfg.insns.get(insn as usize).is_some_and(|i| i.addr < span.end.max(span.start + 1));
        for piece in pieces.take_while(|piece| inside(piece.insns.start)) {
            if let Some(known) = known.get_mut(piece.block as usize) {
                *known = Some(known.map_or(count, |other| other.min(count)));
            }
        }
    }
    let both = || known.iter().zip(&estimates).filter_map(|(known, estimate)| Some(((*known)? as f64, *estimate)));
    let (ran, estimated) = both().fold((0.0, 0.0), |(ran, estimated), (k, e)| (ran + k, estimated + e));
    let scale = if estimated > 0.0 { (ran / estimated).max(LEAST) } else { 1.0 };
    for (estimate, known) in estimates.iter_mut().zip(known) {
        *estimate = known.map_or(*estimate * scale, |known| known as f64 + *estimate * LEAST);
    }
    estimates
}

/// For each block an estimate, relative to the others of the region. Never 0.
fn estimates(cfg: &Cfg) -> Vec<f64> {
    let blocks: Vec<u32> = (0..u32::try_from(cfg.blocks.len()).unwrap_or(u32::MAX)).collect();
    let entered = |b: u32| cfg.into(b).iter().any(|e| e.kind == EdgeKind::Entry);
    let back = back_edges(cfg, &blocks, entered);
    let depth = depths(cfg, &back);
    let depth_of = |b: u32| depth.get(b as usize).copied().unwrap_or_default();
    let mut chance = vec![0.0f64; blocks.len()];
    for block in order(cfg, &back) {
        let entry = if entered(block) { 1.0 } else { 0.0 };
        let Some(slot) = chance.get_mut(block as usize) else { continue };
        *slot = (*slot + entry).clamp(1e-6, 1.0);
        let here = *slot;
        let forward = |s: &&u32| back.binary_search(&(block, **s)).is_err();
        let stays = |s: u32| depth_of(s) >= depth_of(block);
        let ways = cfg.successors(block).iter().filter(forward).filter(|s| stays(**s)).count().max(1);
        for &next in cfg.successors(block).iter().filter(forward) {
            let share = if stays(next) { here / f64::from(u32::try_from(ways).unwrap_or(u32::MAX)) } else { here };
            if let Some(slot) = chance.get_mut(next as usize) {
                *slot += share;
            }
        }
    }
    let weight = |(b, chance): (u32, f64)| chance * ITERATIONS.powi(depth_of(b).min(DEEPEST));
    (0..).zip(chance).map(weight).collect()
}

/// How many loops each block is in: natural loops of the back edges, as far as a bounded search finds them.
fn depths(cfg: &Cfg, back: &[(u32, u32)]) -> Vec<i32> {
    let mut depth = vec![0; cfg.blocks.len()];
    let mut budget = 64 * cfg.blocks.len() + 4096;
    let mut seen = vec![u32::MAX; cfg.blocks.len()];
    let mut loops: Vec<(u32, u32)> = back.iter().map(|&(from, to)| (to, from)).collect();
    loops.sort_unstable();
    let mut at = 0;
    while let Some(&(header, _)) = loops.get(at) {
        let end = at + loops.get(at..).unwrap_or_default().partition_point(|&(h, _)| h == header);
        let mut open: Vec<u32> = loops.get(at..end).unwrap_or_default().iter().map(|&(_, from)| from).collect();
        open.push(header);
        while let Some(block) = open.pop() {
            let Some(mark) = seen.get_mut(block as usize) else { continue };
            if *mark == header {
                continue;
            }
            *mark = header;
            if let Some(depth) = depth.get_mut(block as usize) {
                *depth += 1;
            }
            if block != header {
                let into = cfg.into(block);
                open.extend(into.iter().map(|e| e.from));
                budget = budget.saturating_sub(into.len());
            }
            if budget == 0 {
                return depth;
            }
        }
        at = end;
    }
    depth
}

/// All blocks, each after those that lead to it by other edges than those that close cycles (Kahn 1962).
fn order(cfg: &Cfg, back: &[(u32, u32)]) -> Vec<u32> {
    let all = 0..u32::try_from(cfg.blocks.len()).unwrap_or(u32::MAX);
    let mut waits = vec![0u32; cfg.blocks.len()];
    let forward = |from: u32, to: u32| back.binary_search(&(from, to)).is_err();
    for from in all.clone() {
        for &to in cfg.successors(from).iter().filter(|&&to| forward(from, to)) {
            if let Some(n) = waits.get_mut(to as usize) {
                *n += 1;
            }
        }
    }
    let mut order: Vec<u32> = all.filter(|&b| waits.get(b as usize) == Some(&0)).collect();
    let mut at = 0;
    while let Some(&from) = order.get(at) {
        at += 1;
        for &to in cfg.successors(from).iter().filter(|&&to| forward(from, to)) {
            if let Some(n) = waits.get_mut(to as usize) {
                *n -= 1;
                if *n == 0 {
                    order.push(to);
                }
            }
        }
    }
    order
}
