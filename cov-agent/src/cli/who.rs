//! `cov-agent who FILE:LINES`: the contexts that ran some lines.

use super::annotate::chosen;
use super::console::Console;
use super::data::{self, working_directory};
use super::data_args::WhoArgs;
use super::exit::Exit;
use super::invoker::invoker;
use super::message::{Message, Slug, one_line};
use super::report::count;
use super::rows::shown;
use super::stdout;
use super::table::{Cell, Table};
use crate::config::{LineList, Settings};
use crate::coverage::{ExecutionCounter, FileCoverage};
use serde_json::{Value, json};
use std::cmp::Reverse;

/// An executable line, and who ran it how often, most often first.
struct Line<'a> {
    path: String,
    number: u32,
    runners: Vec<(&'a str, ExecutionCounter)>,
}

/// Prints who ran the lines.
pub(super) fn who(args: &WhoArgs, settings: &Settings, console: Console, out: Console) -> Result<Exit, Message> {
    let LineList::Of { file: name, lines } = &args.lines else {
        return Err(Message::new(Slug::Usage, "give the lines themselves, as FILE:10-20,30"));
    };
    let snapshot = data::load(&args.data, settings, args.input.allow_duplicates, &invoker()?, console)?;
    let directory = working_directory()?;
    let mut found = Vec::new();
    for file in chosen(&snapshot, std::slice::from_ref(name), &directory)? {
        for range in lines {
            found.extend(file.lines().range(range.clone()).map(|(number, _)| line(file, number, &directory)));
        }
    }
    if found.is_empty() {
        return Err(Message::new(Slug::NoSource, format!("{}: no executable line is there", args.lines)));
    }
    stdout::print(&if args.json { json(&found) } else { text(&found, out) })
}

fn line<'a>(file: &'a FileCoverage, number: u32, directory: &str) -> Line<'a> {
    let ran = |(name, lines): (&'a str, &crate::coverage::LineTracker)| {
        lines.get(number).filter(|counter| counter.is_hit()).map(|counter| (name, counter))
    };
    let mut runners: Vec<_> = file.contexts().filter_map(ran).collect();
    runners.sort_by_key(|(name, counter)| (Reverse(counter.value()), *name));
    Line { path: shown(file.path(), directory), number, runners }
}

fn text(lines: &[Line<'_>], console: Console) -> String {
    let mut rows = Vec::new();
    for line in lines {
        let place = format!("{}:{}", line.path, line.number);
        let row = |name: &str, number: String| vec![Cell::new(place.clone()), Cell::new(number), Cell::new(name)];
        if line.runners.is_empty() {
            rows.push(row("nobody", "0".to_owned()));
        }
        let name = |name: &str| if name.is_empty() { "(none)".to_owned() } else { one_line(name) };
        rows.extend(line.runners.iter().map(|(context, counter)| row(&name(context), count(*counter, console))));
    }
    Table { heading: vec!["Line", "Count", "Context"], rows, total: None, text_last: true }.render(console)
}

fn json(lines: &[Line<'_>]) -> String {
    let line = |line: &Line<'_>| {
        let runner = |(name, counter): &(&str, ExecutionCounter)| json!({ "name": name, "count": counter.value(), "lower_bound": counter.is_lower_bound() });
        json!({
            "path": line.path,
            "line": line.number,
            "contexts": line.runners.iter().map(runner).collect::<Value>(),
        })
    };
    format!("{:#}\n", json!({ "format": 1, "lines": lines.iter().map(line).collect::<Value>() }))
}
