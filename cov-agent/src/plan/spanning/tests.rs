//! Random graphs, random walks through them, and what the counters that were placed tell of these.

use super::*;
use crate::object::FileId;
use crate::plan::code::Code;
use crate::plan::cover::cover;
use crate::plan::sums::{LineSum, Sums};
use crate::plan::types::Condition;
use crate::plan::x86_64::{Callee, Insn, Stack};
use proptest::prelude::*;

const LEN: u64 = 4;

#[derive(Debug, Clone, Copy)]
pub(in crate::plan) enum Step {
    Next,
    Call,
    /// A call that surely comes back.
    Sure,
    /// A call that never does.
    Never,
    Jump(u8),
    Branch(u8),
    /// A conditional jump that cannot be observed.
    Loop(u8),
    Switch(u8, u8),
    Stop,
}

pub(in crate::plan) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Next),
        2 => Just(Step::Call),
        2 => Just(Step::Sure),
        1 => Just(Step::Never),
        1 => any::<u8>().prop_map(Step::Jump),
        4 => any::<u8>().prop_map(Step::Branch),
        1 => any::<u8>().prop_map(Step::Loop),
        1 => any::<(u8, u8)>().prop_map(|(a, b)| Step::Switch(a, b)),
        1 => Just(Step::Stop),
    ]
}

pub(in crate::plan) fn probe() -> impl Strategy<Value = Option<Instruction>> {
    prop_oneof![Just(Some(Instruction::Emulated)), Just(Some(Instruction::SingleStepped)), Just(None)]
}

/// Code of these steps; where they lead is taken modulo their number.
pub(in crate::plan) fn code(steps: &[(Step, Option<Instruction>)], entries: &[u8]) -> Code {
    let len = steps.len() as u64;
    let place = |at: u8| (u64::from(at) % len) * LEN;
    let mut computed = Vec::new();
    let insn = |(n, &(step, probe)): (u64, &(Step, Option<Instruction>))| {
        let flow = match step {
            Step::Next => Control::Next,
            Step::Call => Control::Call { callee: Callee::Unknown, returns: Returns::Perhaps },
            Step::Sure => Control::Call { callee: Callee::Unknown, returns: Returns::Surely },
            Step::Never => Control::Call { callee: Callee::Unknown, returns: Returns::Never },
            Step::Jump(to) => Control::Jump { target: place(to) },
            Step::Branch(to) => Control::Branch { target: place(to), condition: probe.map(|_| Condition(4)) },
            Step::Loop(to) => Control::Branch { target: place(to), condition: None },
            Step::Switch(a, b) => {
                let mut targets = vec![place(a), place(b)];
                targets.sort_unstable();
                targets.dedup();
                computed.push((n * LEN, targets));
                Control::Indirect { slot: None }
            }
            Step::Stop => Control::Stop,
        };
        Insn { addr: n * LEN, len: 4, flow, probe, stack: Stack::Keeps }
    };
    let insns = (0..).zip(steps).map(insn).collect();
    let mut entries: Vec<u64> = entries.iter().map(|&e| place(e)).chain([0]).collect();
    entries.sort_unstable();
    entries.dedup();
    Code { insns, computed, entries, ..Code::default() }
}

/// Walks from `entry` as `choices` say, and counts. A call may end the walk, or come back twice.
pub(in crate::plan) fn walk(
    cfg: &Cfg,
    code: &Code,
    entry: u64,
    choices: &mut impl Iterator<Item = u8>,
    count: &mut impl FnMut(Var),
) {
    let mut open = vec![entry];
    while let Some(mut at) = open.pop() {
        while let Some(n) = cfg.insn_at(at) {
            let (piece, insn) = (cfg.piece_of(n).unwrap(), cfg.insns[n as usize]);
            if cfg.pieces[piece as usize].insns.start == n {
                count(Var::Piece(piece));
            }
            let Some(choice) = choices.next() else {
                // The walk must not end amid a piece.
                match insn.flow {
                    Control::Next | Control::Call { returns: Returns::Surely, .. } => {
                        at = insn.end();
                        continue;
                    }
                    Control::Jump { target } => {
                        at = target;
                        continue;
                    }
                    Control::Branch { target, .. } => {
                        // Out of any cycle by the nearest stop: the last instruction is one.
                        if target > at {
                            count(Var::Taken(piece));
                            at = target;
                        } else {
                            count(Var::NotTaken(piece));
                            at = insn.end();
                        }
                        continue;
                    }
                    Control::Indirect { .. } | Control::Call { .. } | Control::Stop => break,
                }
            };
            match insn.flow {
                Control::Next | Control::Call { returns: Returns::Surely, .. } => at = insn.end(),
                Control::Call { returns: Returns::Never, .. } => break,
                Control::Call { .. } if choice < 20 => break,
                Control::Call { .. } => {
                    if choice > 240 {
                        open.push(insn.end());
                    }
                    at = insn.end();
                }
                Control::Jump { target } => at = target,
                Control::Branch { target, .. } if choice & 1 == 1 => {
                    count(Var::Taken(piece));
                    at = target;
                }
                Control::Branch { .. } => {
                    count(Var::NotTaken(piece));
                    at = insn.end();
                }
                Control::Indirect { .. } => {
                    let (_, targets) = code.computed.iter().find(|(addr, _)| *addr == at).unwrap();
                    at = targets[usize::from(choice) % targets.len()];
                }
                Control::Stop => break,
            }
        }
    }
}

/// Lets jumps lead forward only where nobody chooses: else a walk could go on for ever.
pub(in crate::plan) fn tame(steps: &mut [(Step, Option<Instruction>)]) {
    let len = steps.len();
    for (n, (step, _)) in steps.iter_mut().enumerate() {
        if let Step::Jump(to) = step
            && usize::from(*to) % len <= n
        {
            *step = Step::Stop;
        }
    }
    steps[len - 1].0 = Step::Stop;
}

/// Walks from all entries until the choices are used up.
pub(in crate::plan) fn walks(cfg: &Cfg, code: &Code, choices: Vec<u8>) -> HashMap<Var, i64> {
    let mut counts = HashMap::new();
    let mut choices = choices.into_iter();
    while choices.len() > 0 {
        for &entry in &code.entries {
            walk(cfg, code, entry, &mut choices, &mut |var| *counts.entry(var).or_default() += 1);
        }
    }
    counts
}

pub(in crate::plan) fn countable(cfg: &Cfg, flow: &Flow<'_>) -> BTreeSet<Var> {
    let mut countable: BTreeSet<Var> = BTreeSet::new();
    for piece in 0..u32::try_from(cfg.pieces.len()).unwrap() {
        if flow.site(piece).is_some() {
            countable.insert(Var::Piece(piece));
        }
        let (block, last) = (cfg.pieces[piece as usize].block, cfg.pieces[piece as usize].insns.end - 1);
        let ends = cfg.blocks[block as usize].insns.end - 1 == last;
        if let Control::Branch { target, condition: Some(_) } = cfg.insns[last as usize].flow
            && ends
            && target != cfg.insns[last as usize].end()
        {
            countable.extend([Var::Taken(piece), Var::NotTaken(piece)]);
        }
    }
    countable
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn placed_counters_tell_the_others(
        mut steps in prop::collection::vec((step(), probe()), 2..40),
        entries in prop::collection::vec(any::<u8>(), 0..3),
        choices in prop::collection::vec(any::<u8>(), 0..400),
        left_out in prop::collection::vec(prop::bool::weighted(0.3), 120),
    ) {
        tame(&mut steps);
        let code_of = || code(&steps, &entries);
        let (code, cfg) = (code_of(), Cfg::new(&[], code_of()));
        let flow = Flow::new(&cfg);
        let counts = walks(&cfg, &code, choices);
        let countable = countable(&cfg, &flow);
        let wanted: BTreeSet<Var> = countable.iter().zip(left_out).filter(|(_, out)| !out).map(|(var, _)| *var).collect();
        let choice = Graph::new(&cfg, &flow, &wanted).solve(&vec![1.0; cfg.blocks.len()], 16.0).unwrap();
        prop_assert!(choice.probes.len() <= Choice::all(&wanted).probes.len());
        for &var in &wanted {
            let sum = choice.value(var).unwrap();
            for (counted, _) in &sum.0 {
                let tells = choice.probes.get(&counted.piece());
                prop_assert_eq!(tells, Some(&!matches!(counted, Var::Piece(_))), "{:?} is not placed", counted);
            }
            let value: i64 = sum.0.iter().map(|(v, c)| counts.get(v).unwrap_or(&0) * i64::from(*c)).sum();
            prop_assert_eq!(value, *counts.get(&var).unwrap_or(&0), "{:?} as {:?}", var, sum);
        }
    }

    #[test]
    fn probes_that_are_left_tell_of_all_lines(
        mut steps in prop::collection::vec((step(), probe()), 2..40),
        entries in prop::collection::vec(any::<u8>(), 0..3),
        choices in prop::collection::vec(any::<u8>(), 0..60),
        lines in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..5), 1..12),
        goes in any::<bool>(),
        whole in any::<bool>(),
    ) {
        tame(&mut steps);
        let code_of = || code(&steps, &entries);
        let (code, cfg) = (code_of(), Cfg::new(&[], code_of()));
        let flow = Flow::new(&cfg);
        let counts = walks(&cfg, &code, choices);
        let countable: Vec<Var> = countable(&cfg, &flow).into_iter().collect();
        prop_assume!(!countable.is_empty());
        let line = |(line, seen): (u32, &Vec<prop::sample::Index>)| {
            let seen = seen.iter().map(|at| *at.get(&countable)).collect();
            LineSum { file: FileId(0), line, count: Sum::default(), seen, exact: true, ways: Vec::new() }
        };
        let asked: Vec<LineSum> = (1..).zip(&lines).map(line).collect();
        let mut sums = Sums { lines: (1..).zip(&lines).map(line).collect(), ..Sums::default() };
        let all = Choice::all(&sums.used());
        cover(&cfg, &flow, &mut sums, goes, whole);
        let choice = Choice::all(&sums.used());
        let hit = |choice: &Choice, var: &Var| {
            let sum = choice.value(*var).unwrap();
            sum.0.iter().any(|(var, c)| *c == 1 && counts.get(var).is_some_and(|n| *n > 0))
        };
        for (asked, told) in asked.iter().zip(&sums.lines) {
            let truth = asked.seen.iter().any(|var| hit(&all, var));
            let said = told.seen.iter().any(|var| hit(&choice, var));
            prop_assert_eq!(said, truth, "{:?} told by {:?}", asked.seen, told.seen);
        }
    }
}
