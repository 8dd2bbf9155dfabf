//! The block planner: a probe on every piece of code, and on every conditional jump, that the count
//! of a wanted line depends on.

use super::PlanOptions;
use super::cfg::Cfg;
use super::code::explore;
use super::flow::{Flow, Sum, Var};
use super::functions::Layout;
use super::lines::{Asked, Sums};
use super::rows::{Innermost, Span, spans};
use super::types::{FunctionFormula, LineFormula, Observe, ProbePlan, Reason, Site, SlotId, Term, Unmeasurable};
use super::x86_64::Flow as Control;
use crate::object::{FileId, LinkAddr, Object};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked of one region.
#[derive(Default)]
struct Question {
    spans: Vec<Span>,
    copies: Vec<u32>,
}

/// What one region gives; slots count from 0.
struct Answer {
    sums: Sums,
    sites: Vec<Site>,
    slots: u32,
    /// For each piece with a site its first slot, and whether a second one counts jumps not taken.
    slot_of: BTreeMap<u32, (u32, bool)>,
}

/// Plans the probes of `object`.
pub(super) fn plan(object: &Object, options: &PlanOptions<'_>) -> ProbePlan {
    let layout = Layout::new(object);
    let innermost = Innermost::new(&object.functions);
    let wanted: Vec<bool> = object.lines.files.iter().map(|f| (options.wanted)(&f.path)).collect();
    let wanted = |file: FileId| wanted.get(file.0 as usize).copied().unwrap_or_default();
    let mut unusable = Vec::new();
    let questions = questions(object, &layout, wanted, &mut unusable);
    let answers: Vec<Answer> = questions
        .into_par_iter()
        .map(|(region, question)| answer(object, &layout, &innermost, region, &question))
        .collect();
    assemble(object, answers, unusable)
}

/// Sorts rows and function copies by region.
fn questions(
    object: &Object,
    layout: &Layout,
    wanted: impl Fn(FileId) -> bool,
    unusable: &mut Vec<(FileId, u32, Reason)>,
) -> BTreeMap<u32, Question> {
    let mut questions: BTreeMap<u32, Question> = BTreeMap::new();
    let region_at = |addr: u64| layout.region_of.get(layout.find(addr)?).copied();
    for span in spans(&object.lines, &wanted) {
        if let Some(region) = region_at(span.start) {
            questions.entry(region).or_default().spans.push(span);
        } else {
            let code = object.image.is_code(LinkAddr(span.start));
            unusable.push((span.file, span.line, if code { Reason::NoFunction } else { Reason::NotExecutable }));
        }
    }
    for (n, copy) in (0..).zip(&object.functions.copies) {
        if copy.decl.is_some_and(|(file, _)| wanted(file))
            && let Some(region) = copy.ranges.first().and_then(|r| region_at(r.start.0))
        {
            questions.entry(region).or_default().copies.push(n);
        }
    }
    questions
}

fn answer(object: &Object, layout: &Layout, innermost: &Innermost, region: u32, question: &Question) -> Answer {
    let Some(region) = layout.regions.get(region as usize) else {
        return Answer { sums: Sums::default(), sites: Vec::new(), slots: 0, slot_of: BTreeMap::new() };
    };
    let code = explore(object, layout, region);
    let resolved = code.resolved;
    let cfg = Cfg::new(&object.image, code);
    let flow = Flow::new(&cfg);
    let asked = Asked { object, innermost, cfg: &cfg, flow: &flow, resolved };
    let sums = asked.sums(&question.spans, &question.copies);
    let used: BTreeSet<Var> = sums
        .lines
        .iter()
        .flat_map(|l| l.count.0.iter().map(|(var, _)| *var).chain(l.seen.iter().copied()))
        .chain(sums.functions.iter().flat_map(|(_, sum)| sum.0.iter().map(|(var, _)| *var)))
        .collect();
    let mut answer = Answer { sums, sites: Vec::new(), slots: 0, slot_of: BTreeMap::new() };
    let branches: BTreeSet<u32> = used
        .iter()
        .filter_map(|var| match *var {
            Var::Taken(piece) | Var::NotTaken(piece) => Some(piece),
            Var::Piece(_) => None,
        })
        .collect();
    let pieces: BTreeSet<u32> = used
        .iter()
        .map(|var| match *var {
            Var::Piece(piece) | Var::Taken(piece) | Var::NotTaken(piece) => piece,
        })
        .collect();
    for piece in pieces {
        let branch = branches.contains(&piece);
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
            answer.sites.push(site);
            answer.slot_of.insert(piece, (slot.0, branch));
            answer.slots += if branch { 2 } else { 1 };
        }
    }
    answer
}

impl Answer {
    fn slots_of(&self, var: Var, base: u32) -> Vec<SlotId> {
        let (Var::Piece(piece) | Var::Taken(piece) | Var::NotTaken(piece)) = var;
        let Some(&(slot, branch)) = self.slot_of.get(&piece) else { return Vec::new() };
        let slot = base + slot;
        match var {
            Var::Piece(_) if branch => vec![SlotId(slot), SlotId(slot + 1)],
            Var::Piece(_) | Var::Taken(_) => vec![SlotId(slot)],
            Var::NotTaken(_) => vec![SlotId(slot + 1)],
        }
    }
}

/// A sum and counters under construction.
#[derive(Default)]
struct Total {
    count: BTreeMap<SlotId, i32>,
    seen: BTreeSet<SlotId>,
    inexact: bool,
}

impl Total {
    fn add(&mut self, answer: &Answer, base: u32, sum: &Sum) {
        for &(var, coefficient) in &sum.0 {
            for slot in answer.slots_of(var, base) {
                *self.count.entry(slot).or_default() += coefficient;
            }
        }
    }

    fn terms(&self) -> Vec<Term> {
        let terms = self.count.iter().filter(|(_, c)| **c != 0);
        terms.map(|(&slot, &coefficient)| Term { slot, coefficient }).collect()
    }
}

fn assemble(object: &Object, answers: Vec<Answer>, mut unusable: Vec<(FileId, u32, Reason)>) -> ProbePlan {
    let mut sites = Vec::new();
    let mut base = 0u32;
    let mut lines: BTreeMap<(FileId, u32), Total> = BTreeMap::new();
    let mut functions: BTreeMap<(FileId, u32, &str), Total> = BTreeMap::new();
    for mut answer in answers {
        for line in &answer.sums.lines {
            let total = lines.entry((line.file, line.line)).or_default();
            total.add(&answer, base, &line.count);
            total.seen.extend(line.seen.iter().flat_map(|&var| answer.slots_of(var, base)));
            total.inexact |= !line.exact;
        }
        for (copy, sum) in &answer.sums.functions {
            let Some(copy) = object.functions.copies.get(*copy as usize) else { continue };
            let Some((file, line)) = copy.decl else { continue };
            functions.entry((file, line, &*copy.name)).or_default().add(&answer, base, sum);
        }
        unusable.append(&mut answer.sums.unusable);
        sites.extend(answer.sites.iter().map(|site| Site { observe: site.observe.shifted(base), ..*site }));
        base = base.saturating_add(answer.slots);
    }
    sites.sort_unstable_by_key(|s| s.addr);
    unusable.sort_unstable();
    unusable.dedup_by_key(|&mut (file, line, _)| (file, line));
    let unmeasurable = unusable
        .into_iter()
        .filter(|&(file, line, _)| !lines.contains_key(&(file, line)))
        .map(|(file, line, reason)| Unmeasurable { file, line, reason })
        .collect();
    let line = |((file, line), total): ((FileId, u32), Total)| LineFormula {
        file,
        line,
        count: total.terms(),
        exact: !total.inexact,
        seen: total.seen.into_iter().collect(),
    };
    let function = |((file, line, name), total): ((FileId, u32, &str), Total)| FunctionFormula {
        name: name.to_owned(),
        file,
        line,
        count: total.terms(),
    };
    ProbePlan {
        object: object.image.id.clone(),
        files: object.lines.files.clone(),
        sites,
        slots: base,
        lines: lines.into_iter().map(line).collect(),
        functions: functions.into_iter().map(function).collect(),
        unmeasurable,
    }
}
