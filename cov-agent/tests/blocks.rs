//! Functions of very many basic blocks: planned in a bounded time, and counted right.
#![cfg(feature = "collect")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]
#![allow(dead_code, clippy::expect_used, clippy::panic, reason = "so does what it shares with other tests")]

#[path = "../../fuzz/code.rs"]
mod code;

use cov_agent::object::{LinkAddr, Object, Symbol};
use cov_agent::plan::{Aim, LineResult, Observe, PlanOptions, ProbePlan, Scope, Selection, evaluate, plan};
use std::time::{Duration, Instant};

/// A conditional jump with a distance of 32 bits is a block.
const LEN: usize = 6;
/// How many of them a line has.
const PER_LINE: usize = 50;

/// Marsaglia's xorshift64.
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 16).unwrap()
}

/// A function of blocks that jump to the given ones or go on to the next; behind the last it returns.
fn function(targets: &[usize]) -> Object {
    let mut bytes = Vec::with_capacity(targets.len() * LEN + 1);
    for (block, target) in targets.iter().enumerate() {
        let distance = (i64::try_from(*target).unwrap() - i64::try_from(block + 1).unwrap()) * 6;
        bytes.extend([0x0f, 0x85]);
        bytes.extend(i32::try_from(distance).unwrap().to_le_bytes());
    }
    bytes.push(0xc3);
    let mut object = code::bare(&bytes, bytes.len(), u32::try_from(LEN * PER_LINE).unwrap());
    let range = object.image.code[0];
    object.image.symbols.push(Symbol { name: "f".into(), range });
    object
}

/// What the counters are after a walk: anywhere for some time, then straight to the end.
fn walk(plan: &ProbePlan, start: LinkAddr, targets: &[usize]) -> Vec<u64> {
    let blocks = targets.len();
    let (mut taken, mut not_taken) = (vec![0u64; blocks], vec![0u64; blocks]);
    let (mut at, mut state, mut steps) = (0, 0xfeed, 0);
    while at < blocks {
        steps += 1;
        if steps < 2 * blocks && (at + 1 == blocks || random(&mut state).is_multiple_of(4)) {
            taken[at] += 1;
            at = targets[at];
        } else {
            not_taken[at] += 1;
            at += 1;
        }
    }
    let mut counters = vec![0; plan.slots as usize];
    for site in &plan.sites {
        let block = usize::try_from(site.addr.0 - start.0).unwrap();
        assert!(block.is_multiple_of(LEN), "a probe lies inside an instruction");
        let block = block / LEN;
        let (jumped, went_on) = if block < blocks { (taken[block], not_taken[block]) } else { (0, 1) };
        match site.observe {
            Observe::Count { slot } => counters[slot.0 as usize] = jumped + went_on,
            Observe::Branch { taken, .. } => {
                counters[taken.0 as usize] = jumped;
                counters[taken.0 as usize + 1] = went_on;
            }
        }
    }
    counters
}

/// The plan of a function, made in a bounded time, and what it makes of a walk.
fn told(object: &Object, targets: &[usize], scope: Scope) -> Vec<LineResult> {
    let (wanted, aim) = (&|_: &std::path::Path| true, Aim::Counts);
    let begun = Instant::now();
    let (selection, branches, freezes) = (Selection::default(), false, false);
    let plan = plan(object, &PlanOptions { selection, scope, aim, branches, freezes, ..PlanOptions::of(wanted) });
    // Without optimisation, on a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(100), "{scope:?} takes {:?}", begun.elapsed());
    println!("{} blocks, {scope:?}: {} probes in {:?}", targets.len(), plan.sites.len(), begun.elapsed());
    evaluate(&plan, &walk(&plan, object.image.code[0].start, targets))
}

/// Each block can leave out the next one; every line is entered once.
#[test]
fn a_million_blocks() {
    let targets: Vec<usize> = (0..1_000_000).map(|block| (block + 2).min(1_000_000)).collect();
    let lines = told(&function(&targets), &targets, Scope::Whole);
    assert_eq!(lines.len(), targets.len() / PER_LINE + 1);
    assert!(lines.iter().all(|line| line.exact && line.count == 1));
}

#[test]
fn blocks_that_jump_anywhere() {
    let mut state = 0x5eed;
    let targets: Vec<usize> = (0..50_000).map(|_| random(&mut state) % 50_000).collect();
    let object = function(&targets);
    let [whole, part] = [Scope::Whole, Scope::Part].map(|scope| told(&object, &targets, scope));
    assert!(part.iter().all(|line| line.exact && line.hit));
    assert!(whole == part, "what is worked out is not what is counted");
}
