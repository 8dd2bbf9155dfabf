//! `cov-agent lines OBJECT`: what would be measured, without running anything and without root.

mod text;
mod view;

use super::args::LinesArgs;
use super::console::Console;
use super::exit::Exit;
use super::message::{Message, Slug};
use super::object_error;
use super::setup::Setup;
use super::stdout;
use crate::config::Settings;
use crate::plan::Scope;
use crate::runner::{Candidate, read_and_plan};
use view::View;
pub(super) use view::{ObjectView, ProbeView, SlotNames, TermView};

/// Prints the lines of the object. Without `--include` all of its sources are shown.
pub(super) fn run(args: &LinesArgs, settings: &Settings, console: Console) -> Result<Exit, Message> {
    let mut settings = settings.clone();
    if settings.include_patterns.0.is_empty() {
        settings.include_patterns.value.0.push("**".to_owned());
    }
    let setup = Setup::new(&settings, console)?;
    let candidate = Candidate::open(&args.object).map_err(|e| object_error::message(&args.object, &e.into()))?;
    let planned =
        setup.planning(&setup.files(), Scope::Whole, |options| read_and_plan(candidate, &setup.search, options));
    let (object, plan) = planned.map_err(|e| object_error::message(&args.object, &e))?;
    let left_out = object.left_out.len();
    if plan.lines.is_empty() && plan.unmeasurable.is_empty() {
        return Err(setup.nothing_to_measure(&args.object, left_out));
    }
    let view = View::new(&object, &plan, left_out);
    if args.json {
        let mut text = serde_json::to_string_pretty(&view)
            .map_err(|e| Message::new(Slug::Failed, format!("cannot write JSON: {e}")))?;
        text.push('\n');
        return stdout::print(&text);
    }
    stdout::print(&text::render(&view))
}
