//! What `cov-agent plan` shows, as data: the JSON document is this, field by field.
//!
//! `docs/src/reference/plan.md` is the reference. Fields are only added as long as `version` stays the same.

use crate::cli::lines::{ObjectView, ProbeView, TermView};
use crate::cli::object_args::PlanAim;
use crate::cli::priced::Priced;
use crate::object::Object;
use crate::plan::{Instruction, ProbePlan, Scope, Survey};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// The version of the document's layout.
const VERSION: u32 = 1;
/// What an exec of a file costs for each probe in it: measured on the reference machine.
const EXEC: Duration = Duration::from_nanos(2_600);

/// What the plan was made with.
pub(super) struct Choice {
    pub(super) aim: PlanAim,
    pub(super) scope: Scope,
    pub(super) priced: Priced,
}

/// A plan.
#[derive(Debug, Serialize)]
pub(super) struct View {
    version: u32,
    pub(super) object: ObjectView,
    pub(super) aim: &'static str,
    pub(super) scope: &'static str,
    /// Functions with wanted lines, and their basic blocks.
    pub(super) functions: usize,
    pub(super) blocks: usize,
    pub(super) unresolved: Vec<UnresolvedView>,
    pub(super) prices: PricesView,
    /// What an exec costs, and each probe once.
    pub(super) expected: ExpectedView,
    slots: u32,
    pub(super) probes: Vec<PricedView>,
    pub(super) lines: Vec<FormulaView>,
}

/// A function whose flow of control is not known.
#[derive(Debug, Serialize)]
pub(super) struct UnresolvedView {
    pub(super) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) reason: String,
}

#[derive(Debug, Serialize)]
pub(super) struct PricesView {
    pub(super) origin: &'static str,
    pub(super) emulated_ns: u64,
    pub(super) single_stepped_ns: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ExpectedView {
    pub(super) exec_us: u64,
    pub(super) pass_us: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct PricedView {
    #[serde(flatten)]
    pub(super) probe: ProbeView,
    pub(super) price_ns: u64,
}

/// How a line's numbers come from counters.
#[derive(Debug, Serialize)]
pub(super) struct FormulaView {
    pub(super) path: String,
    pub(super) line: u32,
    pub(super) count: Vec<TermView>,
    pub(super) seen: Vec<Vec<TermView>>,
    pub(super) exact: bool,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl View {
    /// The view of `plan`; of lines only `line` where that is given, whose file is the end of a path.
    pub(super) fn new(
        object: &Object,
        plan: &ProbePlan,
        survey: &Survey,
        choice: &Choice,
        line: Option<&(PathBuf, u32)>,
    ) -> Self {
        let &Choice { aim, scope, priced: Priced { prices, origin } } = choice;
        let price = |instruction| match instruction {
            Instruction::Emulated => prices.emulated,
            Instruction::SingleStepped => prices.single_stepped,
        };
        let wanted = |path: &PathBuf, number: u32| line.is_none_or(|(file, n)| *n == number && path.ends_with(file));
        let lines = plan.lines.iter().filter_map(|formula| {
            let path = &plan.files.get(formula.file.0 as usize)?.path;
            wanted(path, formula.line).then(|| FormulaView {
                path: path.display().to_string(),
                line: formula.line,
                count: formula.count.iter().map(TermView::new).collect(),
                seen: formula.seen.iter().map(|sum| sum.iter().map(TermView::new).collect()).collect(),
                exact: formula.exact,
            })
        });
        let unresolved = survey.unresolved.iter().map(|u| UnresolvedView {
            address: u.addr.to_string(),
            name: u.name.clone(),
            reason: u.doubt.to_string(),
        });
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let count = u32::try_from(plan.sites.len()).unwrap_or(u32::MAX);
        Self {
            version: VERSION,
            object: ObjectView { path: object.image.path.display().to_string(), id: object.image.id.to_string() },
            aim: match aim {
                PlanAim::Counts => "counts",
                PlanAim::Hits => "hits",
                PlanAim::Once => "hits once",
            },
            scope: match scope {
                Scope::Whole => "whole",
                Scope::Part => "part",
            },
            functions: survey.functions,
            blocks: survey.blocks,
            unresolved: unresolved.collect(),
            prices: PricesView {
                origin,
                emulated_ns: nanos(prices.emulated),
                single_stepped_ns: nanos(prices.single_stepped),
            },
            expected: ExpectedView {
                exec_us: micros(EXEC.saturating_mul(count)),
                pass_us: micros(plan.sites.iter().map(|site| price(site.instruction)).sum()),
            },
            slots: plan.slots,
            probes: plan
                .sites
                .iter()
                .map(|site| PricedView { probe: ProbeView::new(site), price_ns: nanos(price(site.instruction)) })
                .collect(),
            lines: lines.collect(),
        }
    }
}
