//! The report as a table.

use super::Report;
use super::contexts::Context;
use super::since::Change;
use crate::cli::console::{BOLD, Console, DIM};
use crate::cli::message::one_line;
use crate::cli::rows::{self, Numbers, Row, share_of};
use crate::cli::table::{Cell, Table};
use crate::coverage::ExecutionCounter;

pub(super) fn render(report: &Report, console: Console) -> String {
    let mut out = match &report.since {
        Some(change) => changes(report, change, console),
        None => files(report, console),
    };
    let not_counted = [(report.unmeasurable, "not measurable"), (report.excluded, "excluded")];
    for (lines, are) in not_counted.into_iter().filter(|(lines, _)| *lines > 0) {
        let text = format!("{lines} {} {are} and not counted", if lines == 1 { "line is" } else { "lines are" });
        out.push_str(&format!("{}\n", console.paint(DIM, &text)));
    }
    if let Some(contexts) = &report.contexts {
        out.push('\n');
        out.push_str(&context_table(contexts, console));
    }
    out
}

fn files(report: &Report, console: Console) -> String {
    let branches = rows::branches(&report.rows);
    let row = |row: &Row| {
        let mut cells = vec![Cell::new(row.path.clone())];
        cells.extend(row.numbers.cells(report.precision));
        cells.extend(branches.map(|_| Cell::new(share_of(row.branches))));
        let (line, count) =
            row.hottest.map_or_else(Default::default, |(line, c)| (line.to_string(), count(c, console)));
        cells.extend([Cell::new(line), Cell::new(count)]);
        if report.missing {
            cells.push(Cell::new(row.missing_text()));
        }
        cells
    };
    let mut heading = vec!["File", "Lines", "Covered", "Percent"];
    heading.extend(branches.map(|_| "Branches"));
    heading.extend(["Hottest", "Count"]);
    if report.missing {
        heading.push("Missing");
    }
    let mut total = vec![total_cell(report.rows.len())];
    total.extend(report.total.cells(report.precision));
    total.extend(branches.map(|all| Cell::new(share_of(all))));
    let rows = report.rows.iter().map(row).collect();
    Table { heading, rows, total: Some(total), text_last: report.missing }.render(console)
}

fn changes(report: &Report, change: &Change, console: Console) -> String {
    if report.rows.is_empty() && change.gone.is_empty() {
        return format!(
            "no file's numbers changed: {} of {} lines\n",
            report.total.percent(report.precision),
            report.total.lines
        );
    }
    let cells = |name: Cell, now: Option<Numbers>, before: Option<Numbers>| {
        let percent =
            |numbers: Option<Numbers>| numbers.map_or_else(|| "-".to_owned(), |n| n.percent(report.precision));
        let [lines, covered, share] = now.unwrap_or_default().cells(report.precision);
        let was = before.unwrap_or_default();
        let is = now.unwrap_or_default();
        vec![
            name,
            lines,
            Cell::new(difference(is.lines, was.lines)),
            covered,
            Cell::new(difference(is.covered, was.covered)),
            share,
            Cell::new(percent(before)),
        ]
    };
    let mut rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| cells(Cell::new(row.path.clone()), Some(row.numbers), change.of(&row.path)))
        .collect();
    rows.extend(change.gone.iter().map(|row| cells(Cell::new(row.path.clone()), None, Some(row.numbers))));
    let total = cells(Cell::styled("Total (all files)", BOLD), Some(report.total), Some(change.total));
    let heading = vec!["File", "Lines", "+/-", "Covered", "+/-", "Percent", "Before"];
    Table { heading, rows, total: Some(total), text_last: false }.render(console)
}

/// `+3`, `-2`, or nothing.
pub(super) fn difference(is: usize, was: usize) -> String {
    match is.cmp(&was) {
        std::cmp::Ordering::Greater => format!("+{}", is - was),
        std::cmp::Ordering::Less => format!("-{}", was - is),
        std::cmp::Ordering::Equal => String::new(),
    }
}

fn context_table(contexts: &[Context], console: Console) -> String {
    let row = |context: &Context| {
        let name = if context.name.is_empty() { "(none)".to_owned() } else { one_line(&context.name) };
        vec![
            Cell::new(name),
            Cell::new(context.files.to_string()),
            Cell::new(context.lines.to_string()),
            Cell::new(count(context.executions, console)),
        ]
    };
    let heading = vec!["Context", "Files", "Lines", "Executions"];
    Table { heading, rows: contexts.iter().map(row).collect(), total: None, text_last: false }.render(console)
}

/// `Total (3 files)`.
pub(in crate::cli) fn total_cell(files: usize) -> Cell {
    Cell::styled(if files == 1 { "Total (1 file)".to_owned() } else { format!("Total ({files} files)") }, BOLD)
}

/// A counter; in ASCII where it is not for a terminal.
pub(in crate::cli) fn count(counter: ExecutionCounter, console: Console) -> String {
    if console.is_terminal() {
        return counter.to_string();
    }
    format!("{}{}", if counter.is_lower_bound() { ">=" } else { "" }, counter.value())
}
