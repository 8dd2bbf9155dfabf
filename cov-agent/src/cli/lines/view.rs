//! What `cov-agent lines` shows, as data: the JSON document is this, field by field.
//!
//! `docs/src/reference/lines-json.md` is the reference. Fields are only added as long as `version`
//! stays the same.

use crate::object::{FileId, LineTable, LinkAddr, Object};
use crate::plan::{Instruction, Observe, ProbePlan, Reason, Site, SlotId, Term};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// The version of the document's layout.
const VERSION: u32 = 1;

/// An object's lines and the probes chosen for them.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    pub(crate) version: u32,
    pub(crate) object: ObjectView,
    /// How many counters the probes use.
    pub(crate) slots: u32,
    /// By rising address.
    pub(crate) probes: Vec<ProbeView>,
    /// By path.
    pub(crate) files: Vec<FileView>,
    /// Source files that `--include` and `--exclude` left out.
    pub(crate) files_left_out: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct ObjectView {
    pub(crate) path: String,
    /// The build-id, or `sha256:` and the content's hash.
    pub(crate) id: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct ProbeView {
    pub(crate) address: String,
    pub(crate) file_offset: u64,
    /// `emulated` or `single-stepped`.
    pub(crate) instruction: &'static str,
    /// The counter that a hit adds to; of a conditional jump, the one for "jumped".
    pub(crate) slot: u32,
    /// Of a conditional jump: the counter for "fell through".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot_not_taken: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FileView {
    pub(crate) path: String,
    pub(crate) lines: Vec<LineView>,
    pub(crate) not_measurable: Vec<NotMeasurableView>,
}

#[derive(Debug, Serialize)]
pub(crate) struct LineView {
    pub(crate) line: u32,
    /// Where the line's statements begin; where it has none, its other rows.
    pub(crate) addresses: Vec<String>,
    /// The count is the sum of `coefficient` × counter.
    pub(crate) count: Vec<TermView>,
    /// The line was executed if one of these sums is above 0.
    pub(crate) seen: Vec<Vec<TermView>>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct TermView {
    pub(crate) slot: u32,
    pub(crate) coefficient: i32,
}

#[derive(Debug, Serialize)]
pub(crate) struct NotMeasurableView {
    pub(crate) line: u32,
    pub(crate) addresses: Vec<String>,
    /// A word for programs.
    pub(crate) reason: &'static str,
    /// The same for people.
    pub(crate) explanation: String,
}

impl View {
    /// The view of `object` under `plan`; `files_left_out` is only passed on.
    pub(crate) fn new(object: &Object, plan: &ProbePlan, files_left_out: usize) -> Self {
        let addresses = Addresses::new(&object.lines);
        let mut files: BTreeMap<String, FileView> = BTreeMap::new();
        let mut file = |id: FileId, with: &mut dyn FnMut(&mut FileView)| {
            if let Some(source) = plan.files.get(id.0 as usize) {
                let path = source.path.display().to_string();
                with(files.entry(path.clone()).or_insert_with(|| FileView {
                    path,
                    lines: Vec::new(),
                    not_measurable: Vec::new(),
                }));
            }
        };
        for formula in &plan.lines {
            file(formula.file, &mut |view| {
                view.lines.push(LineView {
                    line: formula.line,
                    addresses: addresses.of(formula.file, formula.line),
                    count: formula.count.iter().map(TermView::new).collect(),
                    seen: formula.seen.iter().map(|sum| sum.iter().map(TermView::new).collect()).collect(),
                });
            });
        }
        for line in &plan.unmeasurable {
            file(line.file, &mut |view| {
                view.not_measurable.push(NotMeasurableView {
                    line: line.line,
                    addresses: addresses.of(line.file, line.line),
                    reason: reason_word(line.reason),
                    explanation: line.reason.to_string(),
                });
            });
        }
        Self {
            version: VERSION,
            object: ObjectView { path: object.image.path.display().to_string(), id: object.image.id.to_string() },
            slots: plan.slots,
            probes: plan.sites.iter().map(ProbeView::new).collect(),
            files: files.into_values().collect(),
            files_left_out,
        }
    }
}

impl ProbeView {
    /// The view of a site.
    pub(crate) fn new(site: &Site) -> Self {
        let (slot, slot_not_taken) = match site.observe {
            Observe::Count { slot } => (slot.0, None),
            Observe::Branch { taken, .. } => (taken.0, Some(taken.0.saturating_add(1))),
        };
        Self {
            address: site.addr.to_string(),
            file_offset: site.offset.0,
            instruction: match site.instruction {
                Instruction::Emulated => "emulated",
                Instruction::SingleStepped => "single-stepped",
            },
            slot,
            slot_not_taken,
        }
    }
}

impl TermView {
    /// The view of a term.
    pub(crate) fn new(term: &Term) -> Self {
        Self { slot: term.slot.0, coefficient: term.coefficient }
    }
}

fn reason_word(reason: Reason) -> &'static str {
    match reason {
        Reason::NotAnInstruction => "not-an-instruction",
        Reason::NotExecutable => "not-executable",
        Reason::NoFunction => "no-function",
        Reason::UnsafeInstruction => "unsafe-instruction",
    }
}

/// The addresses of every line.
struct Addresses {
    /// Statement rows, and the rest.
    of: HashMap<(FileId, u32), [Vec<LinkAddr>; 2]>,
}

impl Addresses {
    fn new(table: &LineTable) -> Self {
        let mut of: HashMap<_, [Vec<LinkAddr>; 2]> = HashMap::new();
        for row in table.rows.iter().filter(|row| row.line != 0) {
            let [statements, others] = of.entry((row.file, row.line)).or_default();
            if row.is_stmt { statements } else { others }.push(row.addr);
        }
        for lists in of.values_mut() {
            for list in lists {
                list.sort_unstable();
                list.dedup();
            }
        }
        Self { of }
    }

    fn of(&self, file: FileId, line: u32) -> Vec<String> {
        let none = [Vec::new(), Vec::new()];
        let [statements, others] = self.of.get(&(file, line)).unwrap_or(&none);
        let chosen = if statements.is_empty() { others } else { statements };
        chosen.iter().map(LinkAddr::to_string).collect()
    }
}

/// What each counter counts, in the words of the text output.
pub(crate) struct SlotNames(HashMap<SlotId, String>);

impl SlotNames {
    /// The names of all counters of `probes`.
    pub(crate) fn new<'a>(probes: impl IntoIterator<Item = &'a ProbeView>) -> Self {
        let mut names = HashMap::new();
        for probe in probes {
            match probe.slot_not_taken {
                None => {
                    names.insert(SlotId(probe.slot), probe.address.clone());
                }
                Some(not) => {
                    names.insert(SlotId(probe.slot), format!("{}:taken", probe.address));
                    names.insert(SlotId(not), format!("{}:not-taken", probe.address));
                }
            }
        }
        Self(names)
    }

    /// A sum, such as `0x1139 + 2*0x1140:taken - 0x1150`.
    pub(crate) fn sum(&self, terms: &[TermView]) -> String {
        let mut out = String::new();
        for term in terms {
            let sign = if term.coefficient < 0 { "-" } else { "+" };
            match (out.is_empty(), sign) {
                (true, "+") => {}
                (true, _) => out.push('-'),
                (false, _) => out.push_str(&format!(" {sign} ")),
            }
            if term.coefficient.unsigned_abs() != 1 {
                out.push_str(&format!("{}*", term.coefficient.unsigned_abs()));
            }
            match self.0.get(&SlotId(term.slot)) {
                Some(name) => out.push_str(name),
                None => out.push_str(&format!("slot {}", term.slot)),
            }
        }
        if out.is_empty() { "0".to_owned() } else { out }
    }
}
