//! The block planner: a probe on every piece of code, and on every conditional jump, that the count
//! of a wanted line depends on.

use super::branches::WaySum;
use super::cfg::Cfg;
use super::code::Code;
use super::cover::{Ask, Told, cover, tell};
use super::flow::{Flow, Sum, Var};
use super::frequency::frequencies;
use super::functions::Layout;
use super::incidental::strays;
use super::lines::Asked;
use super::returns::explore_all;
use super::rows::{Calls, Innermost, Span, spans};
use super::selection::Selected;
use super::spanning::Choice;
use super::stops::{Halt, Stop, Stopped, stops};
use super::sums::{FunctionSum, Sums};
use super::types::{
    FunctionFormula, LineFormula, Observe, ProbePlan, Reason, Site, SlotId, Term, Unmeasurable, WayFormula,
};
use super::x86_64::Flow as Control;
use super::{Aim, PlanOptions, Scope};
use crate::object::{FileId, LinkAddr, Object};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::successors;

/// What is asked of one region.
#[derive(Default)]
struct Question {
    spans: Vec<Span>,
    copies: Vec<u32>,
    /// Whether any of them is selected.
    selected: bool,
    stops: Vec<Stop>,
}

/// What one region gives; slots count from 0.
struct Answer {
    sums: Sums,
    sites: Vec<Site>,
    spare: Vec<Site>,
    slots: u32,
    choice: Choice,
    /// For each piece with a site its slot, the first of two where it tells the ways of a jump apart.
    slot_of: BTreeMap<u32, u32>,
    /// Where threads stopped.
    halts: Vec<Halt>,
    /// The counter of the first thread that stopped.
    threads: u32,
    /// What tells of lines and functions where counters may stop.
    evidence: Option<Evidence>,
    /// See [`LineFormula::steady`].
    steady: bool,
}

/// Evidence that each line, then each function, was executed: each counter by itself.
struct Evidence {
    told: Told,
    /// The same where of a jump only that it was reached is known.
    spare: Told,
}

/// Plans the probes of `object`, or what they say where `threads` stopped.
pub(super) fn plan(object: &Object, options: &PlanOptions<'_>, threads: &[Stopped]) -> ProbePlan {
    let layout = Layout::new(object);
    let innermost = Innermost::new(&object.functions);
    let calls = Calls::new(&object.functions);
    let wanted: Vec<bool> = object.lines.files.iter().map(|f| (options.wanted)(&f.path)).collect();
    let wanted = |file: FileId| wanted.get(file.0 as usize).copied().unwrap_or_default();
    let selected = Selected::new(object, wanted, &options.selection);
    let index = Index { layout: &layout, innermost: &innermost, calls: &calls, selected: &selected };
    let mut unusable = Vec::new();
    let questions = questions(object, &index, wanted, &mut unusable);
    let mut codes = explore_all(object, &layout, &questions.keys().copied().collect());
    // Code of which nobody can tell what is an instruction is left out: its rows are none.
    let mut stops = stops(object, &layout, threads);
    let of = |(region, question): (u32, Question)| {
        let stops = stops.remove(&region).unwrap_or_default();
        (Question { stops, ..question }, codes.remove(&region).unwrap_or_default())
    };
    let questions: Vec<(Question, Code)> = questions.into_iter().map(of).collect();
    let mut answers: Vec<Answer> =
        questions.into_par_iter().map(|(question, code)| answer(object, &index, &question, code, options)).collect();
    let slots = answers.iter().fold(0u32, |sum, answer| sum.saturating_add(answer.slots));
    answers.iter_mut().for_each(|answer| answer.threads = slots);
    assemble(object, answers, unusable, options)
}

/// Sorts rows and function copies by region. Regions without selected ones are left out, and unselected copies; rows
/// of a region are all there, because those of one line tell what belongs to another.
fn questions(
    object: &Object,
    index: &Index<'_>,
    wanted: impl Fn(FileId) -> bool,
    unusable: &mut Vec<(FileId, u32, Reason)>,
) -> BTreeMap<u32, Question> {
    let Index { layout, innermost, selected, .. } = *index;
    let mut questions: BTreeMap<u32, Question> = BTreeMap::new();
    let region_at = |addr: u64| layout.region_of.get(layout.find(addr)?).copied();
    for span in spans(&object.lines, &wanted) {
        // A row without code may belong to any of the copies around it.
        let mut owners = successors(Some(innermost.at(span.start)), |&n| object.functions.parent(n).map(Some));
        let holds = owners.any(|copy| selected.holds(copy, span.file, span.line));
        if let Some(region) = region_at(span.start) {
            let question = questions.entry(region).or_default();
            question.selected |= holds;
            question.spans.push(span);
        } else if holds {
            let code = object.image.is_code(LinkAddr(span.start));
            unusable.push((span.file, span.line, if code { Reason::NoFunction } else { Reason::NotExecutable }));
        }
    }
    for (n, copy) in (0..).zip(&object.functions.copies) {
        if copy.decl.is_some_and(|(file, line)| selected.holds(Some(n), file, line))
            && let Some(region) = copy.ranges.first().and_then(|r| region_at(r.start.0))
        {
            let question = questions.entry(region).or_default();
            question.selected = true;
            question.copies.push(n);
        }
    }
    questions.retain(|_, question| question.selected);
    questions
}

/// What is known of the whole object.
struct Index<'a> {
    layout: &'a Layout,
    innermost: &'a Innermost,
    calls: &'a Calls,
    selected: &'a Selected,
}

fn answer(object: &Object, index: &Index<'_>, question: &Question, code: Code, options: &PlanOptions<'_>) -> Answer {
    let Index { innermost, calls, selected, .. } = *index;
    let (resolved, recurs) = (code.is_resolved(), code.recurs);
    let cfg = Cfg::new(&object.image.fdes, code);
    // Where nothing is known of edges, nothing was concluded from them.
    let mut halts = Halt::all(&cfg, if resolved { &question.stops } else { &[] });
    let flow = Flow::new(&cfg).with_stopped(halts.iter().map(|halt| halt.piece).collect());
    let PlanOptions { branches, scope, .. } = *options;
    let strays = if resolved { strays(&cfg, &question.spans) } else { BTreeSet::new() };
    let (cfg, flow, strays, stops) = (&cfg, &flow, &strays, &halts);
    let asked =
        Asked { object, innermost, calls, selected, cfg, flow, strays, resolved, branches, scope, halts: stops };
    let mut sums = asked.sums(&question.spans, &question.copies);
    // Where nothing is known of edges, nothing can be concluded from them.
    let infer = options.scope == Scope::Whole && resolved;
    if options.aim == Aim::Hits {
        if infer || (options.goes && resolved) {
            cover(cfg, flow, &mut sums, options.goes, infer);
        }
        sums.forget_counts(flow, options.goes);
    }
    let used = sums.used();
    let mut choice = match options.aim {
        Aim::Counts if infer => {
            let frequency = frequencies(cfg, &question.spans, selected);
            Choice::cheapest(cfg, flow, &used, &frequency, options.dear.0)
        }
        _ => Choice::all(&used),
    };
    let evidence = (options.freezes && options.aim == Aim::Counts && resolved).then(|| {
        let told = tell(cfg, flow, &sums, &choice.probes, Ask::WAYS);
        told.more.iter().for_each(|&piece| choice.add(piece));
        let spare = tell(cfg, flow, &sums, &choice.probes, Ask::PIECES);
        Evidence { told, spare }
    });
    let spare: BTreeSet<u32> = evidence.iter().flat_map(|evidence| &evidence.spare.more).copied().collect();
    halts.iter_mut().for_each(|halt| halt.place(flow, cfg, &choice));
    // What leads to a line need not have come there.
    let again = |ask: Ask| tell(cfg, flow, &sums, &choice.probes, Ask { before: false, ..ask });
    let evidence = match halts.is_empty() {
        true => evidence,
        false => evidence.map(|_| Evidence { told: again(Ask::WAYS), spare: again(Ask::PIECES) }),
    };
    let (sites, slot_of, steady) = (Vec::new(), BTreeMap::new(), !recurs);
    let mut answer =
        Answer { sums, choice, sites, spare: Vec::new(), slots: 0, slot_of, halts, threads: 0, evidence, steady };
    let probes = answer.choice.probes.iter().map(|(&piece, &branch)| (piece, branch));
    for (piece, branch) in probes.chain(spare.iter().map(|&piece| (piece, false))) {
        let insn = if branch { cfg.pieces.get(piece as usize).map(|p| p.insns.end - 1) } else { flow.site(piece) };
        let slot = SlotId(answer.slots);
        let site = insn.and_then(|n| cfg.insns.get(n as usize)).and_then(|insn| {
            let observe = match insn.flow {
                Control::Branch { condition: Some(condition), .. } if branch => {
                    Observe::Branch { condition, taken: slot }
                }
                _ => Observe::Count { slot },
            };
            let offset = object.image.file_offset(LinkAddr(insn.addr))?;
            Some(Site { addr: LinkAddr(insn.addr), offset, instruction: insn.probe?, observe })
        });
        if let Some(site) = site {
            if spare.contains(&piece) { &mut answer.spare } else { &mut answer.sites }.push(site);
            answer.slot_of.insert(piece, slot.0);
            answer.slots += if branch { 2 } else { 1 };
        }
    }
    answer
}

impl Answer {
    /// The counter of what is counted; they count from `base`.
    fn slot(&self, var: Var, base: u32) -> Option<SlotId> {
        let slot = base + self.slot_of.get(&var.piece())?;
        Some(SlotId(if matches!(var, Var::NotTaken(_)) { slot + 1 } else { slot }))
    }

    /// The counters that count just what is counted, or a part of it.
    fn direct(&self, var: Var, base: u32) -> Vec<SlotId> {
        let ways = self.choice.probes.get(&var.piece()) == Some(&true);
        let first = self.slot(Var::Piece(var.piece()), base);
        let both = || first.into_iter().flat_map(|first| [first, SlotId(first.0 + 1)]).collect();
        match (var, ways) {
            (Var::Piece(_), false) => first.into_iter().collect(),
            (Var::Piece(_), true) => both(),
            (_, true) => self.slot(var, base).into_iter().collect(),
            (_, false) => Vec::new(),
        }
    }

    /// Adds what `sum` comes to in counters.
    fn expand(&self, sum: &Sum, base: u32, into: &mut BTreeMap<SlotId, i32>) {
        for &(var, factor) in &sum.0 {
            for &(counted, coefficient) in self.choice.value(var).iter().flat_map(|sum| &sum.0) {
                if let Some(slot) = self.slot(counted, base) {
                    *into.entry(slot).or_default() += factor * coefficient;
                }
            }
        }
        for halt in &self.halts {
            let (error, _) = halt.error(&self.choice, sum);
            if error != 0 {
                *into.entry(SlotId(self.threads.saturating_add(halt.thread))).or_default() += error;
            }
        }
    }

    /// Whether nobody can tell what threads that stopped add to what the counters say of `sum`.
    fn doubts(&self, sum: &Sum) -> bool {
        self.halts.iter().any(|halt| halt.error(&self.choice, sum).1)
    }
}

fn terms(sum: &BTreeMap<SlotId, i32>) -> Vec<Term> {
    let terms = sum.iter().filter(|(_, c)| **c != 0);
    terms.map(|(&slot, &coefficient)| Term { slot, coefficient }).collect()
}

/// A sum and counters under construction.
#[derive(Default)]
struct Total {
    count: BTreeMap<SlotId, i32>,
    seen: BTreeSet<Vec<(SlotId, i32)>>,
    inexact: bool,
    /// A thread stopped in a block of the line before it: what counts entries of the block does not tell of the line.
    late: bool,
    passing: bool,
    unsteady: bool,
}

impl Total {
    fn add_seen(&mut self, answer: &Answer, base: u32, var: Var) {
        let mut sum = BTreeMap::new();
        answer.expand(&Sum::one(var), base, &mut sum);
        if sum.values().all(|&c| c > 0) {
            // Each by itself tells.
            self.seen.extend(sum.into_keys().map(|slot| vec![(slot, 1)]));
        } else {
            self.seen.insert(sum.into_iter().filter(|(_, c)| *c != 0).collect());
        }
    }

    /// Adds what tells of the line, or function, number `n` of an answer; `seen` is what was asked.
    fn tell(&mut self, answer: &Answer, base: u32, n: usize, seen: &[Var]) {
        self.unsteady |= !answer.steady;
        let Some(Evidence { told, spare }) = &answer.evidence else {
            let lasts = |var: &Var| matches!(var, Var::Piece(p) if answer.choice.probes.get(p) == Some(&false));
            self.passing |= !seen.iter().all(lasts);
            return seen.iter().for_each(|&var| self.add_seen(answer, base, var));
        };
        self.passing |= spare.lasting.get(n) != Some(&true);
        if !answer.halts.is_empty() {
            seen.iter().for_each(|&var| self.add_seen(answer, base, var));
        }
        for &var in [told, spare].into_iter().filter_map(|told| told.seen.get(n)).flatten() {
            let slots = answer.direct(var, base);
            if slots.is_empty() {
                self.add_seen(answer, base, var);
            }
            self.seen.extend(slots.into_iter().map(|slot| vec![(slot, 1)]));
        }
    }

    fn seen(&self) -> Vec<Vec<Term>> {
        let term = |&(slot, coefficient): &(SlotId, i32)| Term { slot, coefficient };
        self.seen.iter().map(|sum| sum.iter().map(term).collect()).collect()
    }
}

/// A file, a line in it, and what tells a way out of a jump from the others there: shape, jump, number, target.
type WayKey = (FileId, u32, u32, u32, u32, u32);

fn assemble(
    object: &Object,
    answers: Vec<Answer>,
    mut unusable: Vec<(FileId, u32, Reason)>,
    options: &PlanOptions<'_>,
) -> ProbePlan {
    let PlanOptions { aim, .. } = *options;
    let freezes = options.freezes && aim == Aim::Counts;
    let (mut sites, mut spare) = (Vec::new(), Vec::new());
    let mut base = 0u32;
    let mut lines: BTreeMap<(FileId, u32), Total> = BTreeMap::new();
    let mut functions: BTreeMap<(FileId, u32, &str), Total> = BTreeMap::new();
    let mut ways: BTreeMap<WayKey, BTreeMap<SlotId, i32>> = BTreeMap::new();
    for mut answer in answers {
        for (n, line) in answer.sums.lines.iter().enumerate() {
            let total = lines.entry((line.file, line.line)).or_default();
            answer.expand(&line.count, base, &mut total.count);
            total.tell(&answer, base, n, &line.seen);
            total.late |= line.count.leaves_out();
            total.inexact |= !line.exact || answer.doubts(&line.count);
            for WaySum { shape, jump, number, to, count } in &line.ways {
                let way = ways.entry((line.file, line.line, *shape, *jump, *number, *to)).or_default();
                answer.expand(count, base, way);
            }
        }
        let before = answer.sums.lines.len();
        for (n, FunctionSum { copy, count: sum, seen }) in answer.sums.functions.iter().enumerate() {
            let Some(copy) = object.functions.copies.get(*copy as usize) else { continue };
            let Some((file, line)) = copy.decl else { continue };
            let total = functions.entry((file, line, &*copy.name)).or_default();
            answer.expand(sum, base, &mut total.count);
            if freezes {
                total.tell(&answer, base, before + n, seen);
            }
        }
        unusable.append(&mut answer.sums.unusable);
        let shifted = |site: &Site| Site { observe: site.observe.shifted(base), ..*site };
        sites.extend(answer.sites.iter().map(shifted));
        spare.extend(answer.spare.iter().map(shifted));
        base = base.saturating_add(answer.slots);
    }
    sites.sort_unstable_by_key(|s| s.addr);
    spare.sort_unstable_by_key(|s| s.addr);
    unusable.sort_unstable();
    unusable.dedup_by_key(|&mut (file, line, _)| (file, line));
    let unmeasurable = unusable
        .into_iter()
        .filter(|&(file, line, _)| !lines.contains_key(&(file, line)))
        .map(|(file, line, reason)| Unmeasurable { file, line, reason })
        .collect();
    // Goroutines are many to a thread, and are stopped anywhere.
    let preempts = |file: FileId| {
        object.lines.files.get(file.0 as usize).is_some_and(|f| f.path.extension().is_some_and(|ext| ext == "go"))
    };
    let line = |((file, line), total): ((FileId, u32), Total)| LineFormula {
        file,
        line,
        seen: if total.late { vec![terms(&total.count)] } else { total.seen() },
        count: terms(&total.count),
        exact: !total.inexact,
        lasting: freezes && !total.passing && !total.late,
        steady: !total.unsteady && !preempts(file),
    };
    let function = |((file, line, name), total): ((FileId, u32, &str), Total)| FunctionFormula {
        name: name.to_owned(),
        file,
        line,
        count: terms(&total.count),
        seen: total.seen(),
        lasting: freezes && !total.passing,
        steady: !total.unsteady && !preempts(file),
    };
    let ways = ways.into_iter().map(|((file, line, shape, jump, number, to), count)| WayFormula {
        file,
        line,
        shape,
        jump,
        number,
        to,
        count: terms(&count),
    });
    ProbePlan {
        object: object.image.id.clone(),
        aim,
        files: object.lines.files.clone(),
        sites,
        spare,
        slots: base,
        lines: lines.into_iter().map(line).collect(),
        functions: functions.into_iter().map(function).collect(),
        ways: ways.collect(),
        unmeasurable,
    }
}
