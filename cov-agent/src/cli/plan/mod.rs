//! `cov-agent plan OBJECT`: where probes would sit, what they would cost, and what they would tell; without running
//! anything and without root.

mod text;
mod view;

use super::console::Console;
use super::exit::Exit;
use super::message::{Message, Slug};
use super::object_args::{PlanAim, PlanArgs};
use super::object_error;
use super::plan_cache;
use super::priced::Priced;
use super::setup::Setup;
use super::stdout;
use crate::config::Settings;
use crate::plan::{Aim, PlanOptions, Scope, survey};
use crate::runner::{Candidate, read_and_plan};
use view::{Choice, View};

/// Prints the plan of the object. Without `--include` all of its sources are planned for.
pub(super) fn run(args: &PlanArgs, settings: &Settings, console: Console) -> Result<Exit, Message> {
    let mut settings = settings.clone();
    if settings.include_patterns.0.is_empty() {
        settings.include_patterns.value.0.push("**".to_owned());
    }
    let setup = Setup::new(&settings, console)?;
    let priced = Priced::known(args.prices, plan_cache::open_if_there(&settings, &setup.directory).as_ref());
    let candidate = Candidate::open(&args.object).map_err(|e| object_error::message(&args.object, &e.into()))?;
    let (aim, goes) = match args.aim {
        PlanAim::Counts => (Aim::Counts, false),
        PlanAim::Hits => (Aim::Hits, false),
        PlanAim::Once => (Aim::Hits, true),
    };
    let scope = if args.part { Scope::Part } else { Scope::Whole };
    let planned = setup.planning(&setup.files(), scope, |options| {
        let options = PlanOptions { aim, goes, dear: priced.dear(), selection: options.selection, ..*options };
        let (object, plan) = read_and_plan(candidate, &setup.search, &options)?;
        let survey = survey(&object, &options);
        Ok((object, plan, survey))
    });
    let (object, plan, survey) = planned.map_err(|e| object_error::message(&args.object, &e))?;
    if plan.lines.is_empty() && plan.unmeasurable.is_empty() {
        return Err(setup.nothing_to_measure(&args.object, object.left_out.len()));
    }
    let view = View::new(&object, &plan, &survey, &Choice { aim: args.aim, scope, priced }, args.line.as_ref());
    if let Some((file, line)) = args.line.as_ref().filter(|_| view.lines.is_empty()) {
        let text = format!("{}:{line} is no line of {} that can be measured", file.display(), args.object.display());
        return Err(Message::new(Slug::NothingToMeasure, text));
    }
    if args.json {
        let mut text = serde_json::to_string_pretty(&view)
            .map_err(|e| Message::new(Slug::Failed, format!("cannot write JSON: {e}")))?;
        text.push('\n');
        return stdout::print(&text);
    }
    stdout::print(&text::render(&view, args.line.is_some()))
}
