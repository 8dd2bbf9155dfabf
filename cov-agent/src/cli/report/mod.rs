//! `cov-agent report`: the coverage of each file, as a table, JSON or Markdown.

mod contexts;
mod json;
mod markdown;
mod since;
mod text;

use super::console::Console;
use super::data::{self, working_directory};
use super::data_args::ReportArgs;
use super::exit::Exit;
use super::invoker::invoker;
use super::message::{Message, Slug};
use super::rows::{self, Numbers, Row};
use super::{losses, stdout};
use crate::config::Settings;
use crate::coverage::Losses;
use contexts::Context;
use since::Change;
use std::path::PathBuf;
pub(super) use text::{count, total_cell};

/// Everything that a report shows, whatever it looks like.
struct Report {
    rows: Vec<Row>,
    total: Numbers,
    /// Lines that cannot be measured, and that a person excluded: no part of the percentage.
    unmeasurable: usize,
    excluded: usize,
    contexts: Option<Vec<Context>>,
    /// With `--since`: for each row what was before, then the files that are gone.
    since: Option<Change>,
    losses: Losses,
    precision: usize,
    missing: bool,
}

/// Prints the report.
pub(super) fn report(args: &ReportArgs, settings: &Settings, console: Console, out: Console) -> Result<Exit, Message> {
    let invoker = invoker()?;
    let load = |paths: &[PathBuf]| data::load(paths, settings, args.input.allow_duplicates, &invoker, console);
    let mut snapshot = load(&args.data)?;
    if !args.context.is_empty() {
        snapshot = contexts::only(snapshot, &args.context)?;
    }
    let directory = working_directory()?;
    let mut rows = rows::rows(&snapshot, &directory);
    if rows.is_empty() {
        return Err(Message::new(
            Slug::NoData,
            "no source file with executable lines is in the data, or none is included",
        ));
    }
    let total = rows::total(&rows);
    let since = match &args.since {
        Some(path) => {
            let earlier = load(std::slice::from_ref(path))?;
            Some(since::compare(&mut rows, rows::rows(&earlier, &directory)))
        }
        None => None,
    };
    rows::sort(&mut rows, *settings.sort);
    let report = Report {
        total,
        unmeasurable: snapshot.files().iter().map(|file| file.unmeasurable_lines().count()).sum(),
        excluded: snapshot.files().iter().map(|file| file.excluded_lines().count()).sum(),
        contexts: args.contexts.then(|| contexts::contexts(&snapshot)),
        since,
        losses: snapshot.losses(),
        precision: settings.precision.0,
        missing: *settings.show_missing,
        rows,
    };
    for message in losses::messages(&report.losses) {
        console.warning(&message);
    }
    stdout::print(&if args.json {
        json::render(&report, &snapshot, &directory)
    } else if args.markdown {
        markdown::render(&report)
    } else {
        text::render(&report, out)
    })
}
