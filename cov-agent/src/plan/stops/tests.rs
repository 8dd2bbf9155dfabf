//! Random graphs, random walks through them that end anywhere, and what counters tell of these.

use super::*;
use crate::plan::spanning::tests::{code, countable, probe, step, tame, walks};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A walk from `entry` that stops when the choices are used up, or where it would leave: where, and the flows until then.
fn stopped(cfg: &Cfg, entry: u64, choices: &[u8]) -> Option<(u32, HashMap<Var, i64>)> {
    let mut flows: HashMap<Var, i64> = HashMap::new();
    let mut at = entry;
    let mut choices = choices.iter();
    loop {
        let n = cfg.insn_at(at)?;
        let (piece, insn) = (cfg.piece_of(n)?, cfg.insns[n as usize]);
        if cfg.pieces[piece as usize].insns.start == n {
            *flows.entry(Var::Piece(piece)).or_default() += 1;
        }
        let Some(choice) = choices.next() else { return Some((n, flows)) };
        at = match insn.flow {
            Control::Next | Control::Call { returns: Returns::Surely | Returns::Perhaps, .. } => insn.end(),
            Control::Jump { target } => target,
            Control::Branch { target, .. } if choice & 1 == 1 => {
                *flows.entry(Var::Taken(piece)).or_default() += 1;
                target
            }
            Control::Branch { .. } => {
                *flows.entry(Var::NotTaken(piece)).or_default() += 1;
                insn.end()
            }
            Control::Call { .. } | Control::Indirect { .. } | Control::Stop => return Some((n, flows)),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn counters_tell_where_threads_stopped(
        mut steps in prop::collection::vec((step(), probe()), 2..40),
        entries in prop::collection::vec(any::<u8>(), 0..3),
        choices in prop::collection::vec(any::<u8>(), 0..100),
        last in prop::collection::vec(any::<u8>(), 0..40),
        how in prop_oneof![Just(How::Failed), Just(How::Before), Just(How::Called)],
        left_out in prop::collection::vec(prop::bool::weighted(0.3), 120),
        spare in any::<bool>(),
        was_hit in any::<bool>(),
    ) {
        tame(&mut steps);
        let code_of = || code(&steps, &entries);
        let (code, cfg) = (code_of(), Cfg::new(&[], code_of()));
        let flow = Flow::new(&cfg);
        let countable = countable(&cfg, &flow);
        let wanted: BTreeSet<Var> = countable.iter().zip(left_out).filter(|(_, out)| !out).map(|(var, _)| *var).collect();
        let choice = match spare {
            true => Choice::cheapest(&cfg, &flow, &wanted, &vec![1.0; cfg.blocks.len()], 16),
            false => Choice::all(&wanted),
        };
        let stopped = stopped(&cfg, code.entries[0], &last);
        prop_assume!(stopped.is_some());
        let (insn, flows) = stopped.unwrap();
        let halt = |how| Some((how, Halt::new(&cfg, &Stop { thread: 0, addr: cfg.insns[insn as usize].addr, how }, 0)?));
        let halt = halt(how).or_else(|| halt(How::Failed));
        prop_assume!(halt.is_some());
        let (how, mut halt) = halt.unwrap();
        halt.place(&flow, &cfg, &choice);
        // What the counters come to: whole walks, and the one that stopped.
        let whole = walks(&cfg, &code, choices);
        let piece = cfg.piece_of(insn).unwrap();
        let count = |var: &Var| {
            let mut count = whole.get(var).unwrap_or(&0) + flows.get(var).unwrap_or(&0);
            if let (Var::Piece(p), Some(site)) = (*var, flow.site(var.piece())) && p == piece {
                let price = cfg.insns[site as usize].probe.unwrap();
                let missed = match how {
                    _ if site != insn => site > insn,
                    How::Failed | How::Called => false,
                    How::Before => price == Instruction::Emulated || !was_hit,
                };
                count -= i64::from(missed);
            }
            count
        };
        for var in &wanted {
            let sum = choice.value(*var).unwrap();
            let said: i64 = sum.0.iter().map(|(v, c)| count(v) * i64::from(*c)).sum();
            let (error, doubt) = halt.error(&choice, &Sum::one(*var));
            let truth = whole.get(var).unwrap_or(&0) + flows.get(var).unwrap_or(&0);
            let told = said + i64::from(error);
            prop_assert!(told == truth || (doubt && told < truth), "{var:?}: {told}, not {truth}: {sum:?}, {halt:?}");
            prop_assert!(!doubt || how == How::Before);
        }
    }
}
