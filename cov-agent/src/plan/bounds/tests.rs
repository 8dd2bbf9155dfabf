//! Random graphs, and threads that walk through them while counters stop, are attached to or end amid: what is said to be
//! exact is, what is a lower bound is no more than the truth, and no line that was executed is lost; all of that in each
//! context too.

use super::*;
use crate::object::{FileId, ObjectId};
use crate::plan::cfg::Cfg;
use crate::plan::cover::{Ask, tell};
use crate::plan::flow::{Flow, Sum, Var};
use crate::plan::spanning::Choice;
use crate::plan::spanning::tests::{code, countable, probe, step, tame, walk};
use crate::plan::sums::{LineSum, Sums};
use proptest::prelude::*;
use std::collections::HashMap;

/// Which counter counts what.
struct Slots(HashMap<Var, SlotId>);

impl Slots {
    fn of(choice: &Choice, spare: &BTreeSet<u32>) -> Self {
        let mut slots = HashMap::new();
        let mut add = |var| {
            let next = SlotId(u32::try_from(slots.len()).unwrap());
            slots.insert(var, next);
        };
        for (&piece, &ways) in &choice.probes {
            let vars = if ways { vec![Var::Taken(piece), Var::NotTaken(piece)] } else { vec![Var::Piece(piece)] };
            vars.into_iter().for_each(&mut add);
        }
        spare.iter().for_each(|&piece| add(Var::Piece(piece)));
        Self(slots)
    }

    fn terms(&self, sum: &Sum) -> Vec<Term> {
        let mut terms: BTreeMap<SlotId, i32> = BTreeMap::new();
        sum.0.iter().for_each(|(var, c)| *terms.entry(self.0[var]).or_default() += c);
        terms.into_iter().filter(|(_, c)| *c != 0).map(|(slot, coefficient)| Term { slot, coefficient }).collect()
    }

    /// The counters that tell directly of a node.
    fn direct(&self, var: Var) -> Vec<Vec<Term>> {
        let piece = var.piece();
        let vars = match var {
            Var::Piece(_) if !self.0.contains_key(&var) => vec![Var::Taken(piece), Var::NotTaken(piece)],
            var => vec![var],
        };
        vars.iter().filter(|var| self.0.contains_key(var)).map(|&var| self.terms(&Sum::one(var))).collect()
    }
}

fn plan(lines: Vec<LineFormula>, slots: u32) -> ProbePlan {
    ProbePlan {
        object: ObjectId::BuildId(vec![1]),
        aim: Aim::Counts,
        files: Vec::new(),
        sites: Vec::new(),
        spare: Vec::new(),
        slots,
        lines,
        functions: Vec::new(),
        ways: Vec::new(),
        unmeasurable: Vec::new(),
    }
}

/// What a line of source may ask in place of `var`: of ways only those that lead to a line's own code, into which nothing else
/// leads but that code.
fn entry(cfg: &Cfg, flow: &Flow<'_>, var: Var) -> Option<Var> {
    let Some(to) = flow.leads_to(var).filter(|_| !matches!(var, Var::Piece(_))) else { return Some(var) };
    let (from, to_block) = (cfg.pieces[var.piece() as usize].block, cfg.pieces[to as usize].block);
    let mut others = cfg.into(to_block).iter().filter(|e| e.from != from).peekable();
    if from != to_block && others.all(|e| e.from == to_block) {
        return Some(var);
    }
    flow.site(to).map(|_| Var::Piece(to))
}

/// What happens in a thread, or to a counter.
#[derive(Debug, Clone, Copy)]
enum Event {
    Counts(usize),
    /// The counters of a piece stop for the threads from one on: a process, and those that it forks.
    Stops(prop::sample::Index, usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0usize..3).prop_map(Event::Counts),
        1 => (any::<prop::sample::Index>(), 0usize..3).prop_map(|(piece, from)| Event::Stops(piece, from)),
    ]
}

#[test]
fn what_is_under_way_is_taken_off() {
    let terms = |terms: &[(u32, i32)]| -> Vec<Term> {
        terms.iter().map(|&(slot, coefficient)| Term { slot: SlotId(slot), coefficient }).collect()
    };
    let line = |line, count: &[(u32, i32)], steady| {
        let seen = vec![terms(&[(2, 1)])];
        LineFormula { file: FileId(0), line, count: terms(count), exact: true, seen, lasting: true, steady }
    };
    let formulas = vec![
        line(1, &[(0, 1), (1, -1)], true),
        line(2, &[(0, 2), (1, -1)], true),
        line(3, &[(0, 1), (1, -1)], false),
        line(4, &[(0, 1), (1, 1)], true),
        line(5, &[(0, 1)], true),
    ];
    let plan = plan(formulas, 3);
    let mut frozen = Frozen::default();
    // While it is read, the second counter goes on from 60 to 61.
    frozen.freeze(&plan, &BTreeSet::from([SlotId(1)]), &[100, 60, 1], &[103, 61, 1], 4);
    let told = |counters: &[u64], all: &[u64]| -> Vec<(u64, bool)> {
        let line = |(n, formula)| frozen.line(n, formula, counters, all);
        plan.lines.iter().enumerate().map(line).map(|line| (line.count, line.exact)).collect()
    };
    let all = [500, 70, 1];
    let bounds = [(100 - 61 - 4, false), (200 - 61 - 8, false), (1, false), (570, false), (500, true)];
    assert_eq!(told(&all, &all), bounds);
    // Of a part of the run nothing is known of what is subtracted.
    assert_eq!(told(&[7, 0, 1], &all), [(1, false), (1, false), (1, false), (7, false), (7, true)]);
    // What was not seen is not executed.
    assert_eq!(told(&[5, 5, 0], &[5, 5, 0])[0], (0, true));
    // A bound stays what it was when its first counter stopped.
    let mut more = frozen.clone();
    more.freeze(&plan, &BTreeSet::from([SlotId(0), SlotId(1)]), &all, &all, 4);
    assert_eq!(more.line(0, &plan.lines[0], &all, &all).count, 35);
    assert!(more.has(SlotId(0)) && !frozen.has(SlotId(0)) && more.len() == 2);
    // Until something else tells, a counter that alone tells of a line must go on.
    assert_eq!(needed(&plan, &[5, 5, 0], None), BTreeSet::from([SlotId(2)]));
    assert!(needed(&plan, &[5, 5, 0], Some(&BTreeSet::new())).is_empty());
    assert_eq!(needed(&plan, &[5, 5, 0], Some(&BTreeSet::from([SlotId(2)]))), BTreeSet::from([SlotId(2)]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_above_the_truth_and_no_line_is_lost(
        mut steps in prop::collection::vec((step(), probe()), 2..30),
        entries in prop::collection::vec(any::<u8>(), 0..3),
        choices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 3),
        lines in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..5), 1..12),
        events in prop::collection::vec(event(), 0..900),
        whole in any::<bool>(),
        cut in prop::option::of(0usize..400),
        context_of in prop::array::uniform3(0usize..3),
    ) {
        tame(&mut steps);
        let code_of = || code(&steps, &entries);
        let (code, cfg) = (code_of(), Cfg::new(&[], code_of()));
        let flow = Flow::new(&cfg);
        let countable: Vec<Var> = countable(&cfg, &flow).into_iter().collect();
        prop_assume!(!countable.is_empty());
        let asked: Vec<Vec<Var>> =
            lines.iter().map(|line| line.iter().filter_map(|at| entry(&cfg, &flow, *at.get(&countable))).collect::<BTreeSet<Var>>().into_iter().collect()).collect();
        let asked: Vec<Vec<Var>> = asked.into_iter().filter(|vars| !vars.is_empty()).collect();
        prop_assume!(!asked.is_empty());
        let line = |(line, seen): (u32, &Vec<Var>)| {
            let count = Sum(seen.iter().map(|&var| (var, 1)).collect());
            LineSum { file: FileId(0), line, count, seen: seen.clone(), exact: true, ways: Vec::new() }
        };
        let sums = Sums { lines: (1..).zip(&asked).map(line).collect(), ..Sums::default() };
        let frequency = vec![1.0; cfg.blocks.len()];
        let used = sums.used();
        let mut choice = if whole { Choice::cheapest(&cfg, &flow, &used, &frequency, 16) } else { Choice::all(&used) };
        let told = tell(&cfg, &flow, &sums, &choice.probes, Ask::WAYS);
        told.more.iter().for_each(|&piece| choice.add(piece));
        let spare = tell(&cfg, &flow, &sums, &choice.probes, Ask::PIECES);
        let slots = Slots::of(&choice, &spare.more);
        let formula = |n: usize| {
            let mut count = Sum::default();
            asked[n].iter().for_each(|var| count.add(choice.value(*var).unwrap(), 1));
            let mut seen = Vec::new();
            for &var in told.seen[n].iter().chain(&spare.seen[n]) {
                let direct = slots.direct(var);
                let derived = || choice.value(var).map(|sum| slots.terms(sum));
                seen.extend(if direct.is_empty() { derived().into_iter().collect() } else { direct });
            }
            let line = u32::try_from(n).unwrap();
            LineFormula { file: FileId(0), line, count: slots.terms(&count), exact: true, seen, lasting: spare.lasting[n], steady: true }
        };
        let plan = plan((0..asked.len()).map(formula).collect(), u32::try_from(slots.0.len()).unwrap());

        // What each thread does; the last may be cut short.
        let mut threads: Vec<std::vec::IntoIter<Var>> = choices.into_iter().map(|choices| {
            let mut trace = Vec::new();
            let mut choices = choices.into_iter();
            while choices.len() > 0 {
                code.entries.iter().for_each(|&entry| walk(&cfg, &code, entry, &mut choices, &mut |var| trace.push(var)));
            }
            trace.into_iter()
        }).collect();
        // Each thread is in a context, which has its own counters.
        let mut truth: [HashMap<Var, u64>; 3] = Default::default();
        let mut counters = vec![vec![0; slots.0.len()]; 3];
        let mut armed_spare = false;
        let mut stopped: BTreeSet<(SlotId, usize)> = BTreeSet::new();
        let mut frozen: [Frozen; 3] = Default::default();
        let mut hit = |thread: usize, var: Var, armed_spare: bool, stopped: &BTreeSet<(SlotId, usize)>, counters: &mut Vec<Vec<u64>>| {
            *truth[context_of[thread]].entry(var).or_default() += 1;
            if let Some(slot) = slots.0.get(&var)
                && !stopped.contains(&(*slot, thread))
                && (armed_spare || !spare.more.contains(&var.piece()) || !matches!(var, Var::Piece(_)))
            {
                counters[context_of[thread]][slot.0 as usize] += 1;
            }
        };
        let probed: Vec<u32> = choice.probes.keys().copied().collect();
        for event in events {
            match event {
                Event::Counts(thread) => {
                    if let Some(var) = threads[thread].next() {
                        hit(thread, var, armed_spare, &stopped, &mut counters);
                    }
                }
                Event::Stops(piece, from) => {
                    let piece = *piece.get(&probed);
                    let vars = [Var::Piece(piece), Var::Taken(piece), Var::NotTaken(piece)];
                    let of_piece: BTreeSet<SlotId> = vars.iter().filter_map(|var| slots.0.get(var)).copied().collect();
                    let of_piece: BTreeSet<SlotId> = of_piece.into_iter().filter(|slot| !spare.more.iter().any(|p| slots.0[&Var::Piece(*p)] == *slot)).collect();
                    armed_spare = true;
                    let context = context_of[from];
                    let counters = &counters[context];
                    let needed = needed(&plan, counters, Some(&BTreeSet::new()));
                    let counted = of_piece.iter().any(|slot| counters[slot.0 as usize] > 0);
                    let free = of_piece.iter().all(|slot| counters[slot.0 as usize] > 0 || !needed.contains(slot));
                    if counted && free {
                        frozen[context].freeze(&plan, &of_piece, counters, counters, 3);
                        let forked = (from..3).filter(|&thread| context_of[thread] == context);
                        let forked: Vec<usize> = forked.collect();
                        of_piece.iter().for_each(|slot| stopped.extend(forked.iter().map(|&thread| (*slot, thread))));
                    }
                }
            }
        }
        // All go on to their ends, but for one that is killed.
        let killed = cut.is_some();
        for (thread, trace) in threads.into_iter().enumerate() {
            let left = if thread == 2 { cut.unwrap_or(usize::MAX) } else { usize::MAX };
            trace.take(left).for_each(|var| hit(thread, var, armed_spare, &stopped, &mut counters));
        }
        // Two contexts may have one name: of the sums, what has stopped in one is all that is known.
        let both: Vec<u64> = counters[0].iter().zip(&counters[1]).map(|(a, b)| a + b).collect();
        let mut in_both = Frozen::default();
        frozen[..2].iter().for_each(|frozen| in_both.stop_too(frozen));
        let [first, second, third] = &frozen;
        let named = [(&counters[0], first, 0..1), (&counters[1], second, 1..2), (&counters[2], third, 2..3), (&both, &in_both, 0..2)];
        for (n, formula) in plan.lines.iter().enumerate() {
            for (counters, frozen, contexts) in &named {
                let count = |truth: &HashMap<Var, u64>| asked[n].iter().map(|var| truth.get(var).copied().unwrap_or(0)).sum::<u64>();
                let true_count: u64 = truth[contexts.clone()].iter().map(count).sum();
                let result = frozen.line(n, formula, counters, counters);
                // Where a thread is killed amid the code, each of its sums may be off by as much as it adds.
                let slack: u64 = if killed { formula.count.iter().map(|t| u64::from(t.coefficient.unsigned_abs())).sum() } else { 0 };
                prop_assert!(result.count <= true_count + slack, "line {n}: {result:?}, in truth {true_count}: {formula:?}, {frozen:?}");
                prop_assert!(!result.exact || result.count.abs_diff(true_count) <= slack, "line {n}: {result:?}, in truth {true_count}: {formula:?}");
                prop_assert!(killed || !formula.lasting || result.hit == (true_count > 0), "line {n}: {result:?}, in truth {true_count}: {formula:?}");
            }
        }
    }
}
