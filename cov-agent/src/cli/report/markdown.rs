//! The report as Markdown, as CI services show it in the summary of a job.

use super::Report;
use super::text::difference;
use crate::cli::rows::{self, Numbers, share_of};
use std::fmt::Write as _;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let total = report.total;
    let files = report.rows.len();
    // Writing to a String cannot fail.
    let _ = write!(out, "## Coverage: {}\n\n", total.percent(report.precision));
    let _ = write!(out, "{} of {} lines were executed", total.covered, total.lines);
    match &report.since {
        Some(change) => {
            let before = change.total;
            let _ = writeln!(
                out,
                "; before, {} of {} ({}).",
                before.covered,
                before.lines,
                before.percent(report.precision)
            );
        }
        None => {
            let _ = writeln!(out, ", in {files} {}.", if files == 1 { "file" } else { "files" });
        }
    }
    table(report, &mut out);
    if let Some(contexts) = &report.contexts {
        out.push_str("\n| Context | Files | Lines | Executions |\n|:---|---:|---:|---:|\n");
        for context in contexts {
            let name = if context.name.is_empty() { "(none)".to_owned() } else { code(&context.name) };
            let _ = writeln!(out, "| {name} | {} | {} | {} |", context.files, context.lines, context.executions);
        }
    }
    let not_counted = [(report.unmeasurable, "not measurable"), (report.excluded, "excluded")];
    for (lines, are) in not_counted.into_iter().filter(|(lines, _)| *lines > 0) {
        let _ = write!(out, "\n{lines} {} {are} and not counted.\n", if lines == 1 { "line is" } else { "lines are" });
    }
    out
}

fn table(report: &Report, out: &mut String) {
    let gone = report.since.as_ref().map_or(&[][..], |change| &change.gone);
    if report.rows.is_empty() && gone.is_empty() {
        out.push_str("\nNo file's numbers changed.\n");
        return;
    }
    let (more, rule) = match (&report.since, report.missing) {
        (Some(_), _) => (" Before |", "---:|"),
        (None, true) => (" Missing |", ":---|"),
        (None, false) => ("", ""),
    };
    let branches = rows::branches(&report.rows).filter(|_| report.since.is_none());
    let (ways, ways_rule) = branches.map_or(("", ""), |_| (" Branches |", "---:|"));
    let _ = write!(out, "\n| File | Lines | Covered | Percent |{ways}{more}\n|:---|---:|---:|---:|{ways_rule}{rule}\n");
    let percent = |numbers: Option<Numbers>| numbers.map_or_else(|| "-".to_owned(), |n| n.percent(report.precision));
    let with_difference = |is: usize, was: Option<usize>| {
        let difference = was.map(|was| difference(is, was)).filter(|text| !text.is_empty());
        difference.map_or_else(|| is.to_string(), |text| format!("{is} ({text})"))
    };
    for row in &report.rows {
        let before = report.since.as_ref().and_then(|change| change.of(&row.path));
        let lines = with_difference(row.numbers.lines, before.map(|b| b.lines));
        let covered = with_difference(row.numbers.covered, before.map(|b| b.covered));
        let share = row.numbers.percent(report.precision);
        let _ = write!(out, "| {} | {lines} | {covered} | {share} |", code(&row.path));
        if branches.is_some() {
            let _ = write!(out, " {} |", share_of(row.branches));
        }
        let _ = match (&report.since, report.missing) {
            (Some(_), _) => writeln!(out, " {} |", percent(before)),
            (None, true) => writeln!(out, " {} |", row.missing_text()),
            (None, false) => writeln!(out),
        };
    }
    for row in gone {
        let _ = writeln!(out, "| {} | gone | | | {} |", code(&row.path), row.numbers.percent(report.precision));
    }
    let total = report.total;
    let _ = write!(out, "| **Total** | {} | {} | {} |", total.lines, total.covered, total.percent(report.precision));
    if let Some(all) = branches {
        let _ = write!(out, " {} |", share_of(all));
    }
    let _ = match (&report.since, report.missing) {
        (Some(change), _) => writeln!(out, " {} |", change.total.percent(report.precision)),
        (None, true) => writeln!(out, " |"),
        (None, false) => writeln!(out),
    };
}

/// Text as code that no character of it breaks out of.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}
