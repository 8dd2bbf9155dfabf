//! `cov-agent check`: fails where too few lines were executed.

use super::console::Console;
use super::data::{self, working_directory};
use super::data_args::CheckArgs;
use super::exit::Exit;
use super::git::{self, Changes};
use super::invoker::invoker;
use super::message::{Message, Slug, one_line};
use super::report::total_cell;
use super::rows::{self, Numbers, Row};
use super::stdout;
use super::table::{Cell, Table};
use crate::config::{Precision, Settings};
use crate::coverage::{FileCoverage, Snapshot, paths, percent};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    overall: Option<f64>,
    each: Option<f64>,
    precision: usize,
}

/// Checks the data. Too few executed lines: [`Exit::BelowThreshold`], with the files named on stdout.
pub(super) fn check(args: &CheckArgs, settings: &Settings, console: Console, out: Console) -> Result<Exit, Message> {
    let wanted =
        Wanted { overall: settings.fail_under.0, each: settings.fail_under_file.0, precision: settings.precision.0 };
    if wanted.overall.is_none() && wanted.each.is_none() {
        let text =
            "nothing to check against; give --fail-under PERCENT or --fail-under-file PERCENT, or set fail_under";
        return Err(Message::new(Slug::Usage, text));
    }
    let snapshot = data::load(&args.data, settings, args.input.allow_duplicates, &invoker()?, console)?;
    let directory = working_directory()?;
    let (rows, what) = match &args.diff {
        Some(base) => {
            let rows = changed_rows(&snapshot, &directory, base, console)?;
            (rows, format!("lines changed since {}", one_line(base)))
        }
        None => (rows::rows(&snapshot, &directory), "lines".to_owned()),
    };
    if rows.is_empty() {
        if args.diff.is_none() {
            let text = "no source file with executable lines is in the data, or none is included";
            return Err(Message::new(Slug::NoData, text));
        }
        console.block(&format!("check passed: there are no executable {what}\n"));
        return Ok(Exit::Success);
    }
    match judge(&rows, wanted, &what, out) {
        Ok(text) => {
            console.block(&text);
            Ok(Exit::Success)
        }
        Err(text) => stdout::print(&text).map(|_| Exit::BelowThreshold),
    }
}

/// The text for a check that passes, or for one that fails.
fn judge(rows: &[Row], wanted: Wanted, what: &str, console: Console) -> Result<String, String> {
    let total = rows::total(rows);
    let percent = |numbers: Numbers, threshold| below(numbers, threshold, wanted.precision);
    let mut faults = Vec::new();
    if let Some(threshold) = wanted.overall.filter(|threshold| total.is_below(*threshold)) {
        faults.push(format!(
            "{} of {} {what} were executed, which is {}; at least {threshold}% are wanted",
            total.covered,
            total.lines,
            percent(total, threshold)
        ));
    }
    let low = |threshold: f64| rows.iter().filter(move |row| row.numbers.is_below(threshold));
    if let Some(threshold) = wanted.each {
        let names: Vec<String> =
            low(threshold).map(|row| format!("{} ({})", row.path, percent(row.numbers, threshold))).collect();
        if !names.is_empty() {
            let files = if names.len() == 1 { "file has" } else { "files have" };
            faults.push(format!("{} {files} less than {threshold}%: {}", names.len(), names.join(", ")));
        }
    }
    if faults.is_empty() {
        let share = total.percent(wanted.precision);
        return Ok(format!("check passed: {} of {} {what} were executed, {share}\n", total.covered, total.lines));
    }
    // Whoever is below the strictest demand that failed is to blame.
    let overall = wanted.overall.filter(|threshold| total.is_below(*threshold));
    let demand = overall.into_iter().chain(wanted.each).fold(0.0, f64::max);
    let mut blamed: Vec<&Row> = low(demand).collect();
    blamed.sort_by_key(|row| (Reverse(row.numbers.lines - row.numbers.covered), row.path.clone()));
    let mut text = table(&blamed, total, rows.len(), wanted.precision, console);
    faults.iter().for_each(|fault| text.push_str(&format!("check failed: {fault}\n")));
    Err(text)
}

fn table(rows: &[&Row], total: Numbers, files: usize, precision: usize, console: Console) -> String {
    let row = |row: &&Row| {
        let mut cells = vec![Cell::new(row.path.clone())];
        cells.extend(row.numbers.cells(precision));
        cells.push(Cell::new(row.missing_text()));
        cells
    };
    let mut last = vec![total_cell(files)];
    last.extend(total.cells(precision));
    let heading = vec!["File", "Lines", "Covered", "Percent", "Missing"];
    Table { heading, rows: rows.iter().map(row).collect(), total: Some(last), text_last: true }.render(console)
}

/// A percentage that is below `threshold`, with as many digits as it takes to see that.
fn below(numbers: Numbers, threshold: f64, precision: usize) -> String {
    let shown = (precision..=Precision::MAX).map(|digits| percent::display(numbers.covered, numbers.lines, digits));
    let mut shown = shown.filter(|text| text.parse().is_ok_and(|value: f64| value < threshold));
    shown.next().map_or_else(|| format!("less than {threshold}%"), |text| format!("{text}%"))
}

/// The executable lines that differ from where HEAD and `base` parted, by file.
fn changed_rows(snapshot: &Snapshot, directory: &str, base: &str, console: Console) -> Result<Vec<Row>, Message> {
    let changes = git::changes(Path::new(directory), base, git::Side::Now).map_err(|error| git::message(&error))?;
    let files = by_path(snapshot, directory);
    let mut rows = Vec::new();
    let mut unknown = 0usize;
    for (path, ranges) in &changes.touched {
        let Some(file) = find(&files, &changes, path) else {
            unknown += 1;
            continue;
        };
        let row = Row::new(rows::shown(file.path(), directory), touched(file, ranges));
        if row.numbers.lines > 0 {
            rows.push(row);
        }
    }
    if unknown > 0 && unknown == changes.touched.len() && !below_root(&files, &changes) {
        let text = format!(
            "no file of the data lies in the repository {}; --prefix-map OLD=NEW says where the sources are here",
            changes.root.display()
        );
        console.warning(&Message::new(Slug::NoSource, text));
    }
    Ok(rows)
}

/// The files by absolute path, and by the path that links lead to.
fn by_path<'a>(snapshot: &'a Snapshot, directory: &str) -> BTreeMap<String, &'a FileCoverage> {
    let mut files = BTreeMap::new();
    for file in snapshot.files() {
        let path = paths::normalize(directory, &**file.path());
        if let Ok(real) = std::fs::canonicalize(&path) {
            files.insert(paths::normalize("/", real), file);
        }
        files.insert(path, file);
    }
    files
}

fn find<'a>(files: &BTreeMap<String, &'a FileCoverage>, changes: &Changes, path: &str) -> Option<&'a FileCoverage> {
    files.get(&paths::normalize(&changes.root, path)).copied()
}

/// Whether some file of the data lies in the repository.
fn below_root(files: &BTreeMap<String, &FileCoverage>, changes: &Changes) -> bool {
    let root = paths::normalize("/", &changes.root);
    files.keys().any(|path| paths::relative(&root, path) != path)
}

/// The executable lines of a file that are in `ranges`.
fn touched<'a>(
    file: &'a FileCoverage,
    ranges: &'a [RangeInclusive<u32>],
) -> impl Iterator<Item = (u32, crate::coverage::ExecutionCounter)> + 'a {
    ranges.iter().flat_map(|range| file.lines().range(range.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::ExecutionCounter;

    fn row(path: &str, covered: u32, lines: u32) -> Row {
        let count = |line| (line, ExecutionCounter::exact(u64::from(line <= covered)));
        Row::new(path.to_owned(), (1..=lines).map(count))
    }

    fn says(rows: &[Row], overall: Option<f64>, each: Option<f64>) -> Result<String, String> {
        judge(rows, Wanted { overall, each, precision: 0 }, "lines", Console::plain(80))
    }

    #[test]
    fn passing_is_told_in_one_line() {
        let rows = [row("a.c", 8, 10), row("b.c", 9, 10)];
        let text = "check passed: 17 of 20 lines were executed, 85%\n";
        assert_eq!(says(&rows, Some(85.0), Some(80.0)).as_deref(), Ok(text));
    }

    #[test]
    fn the_files_below_are_named_with_their_missing_lines() {
        let rows = [row("a.c", 100, 100), row("b.c", 5, 10), row("c.c", 0, 20), row("d.c", 79, 100)];
        let expected = "\
File             Lines  Covered  Percent  Missing
-------------------------------------------------
d.c                100       79      79%  80-100
c.c                 20        0       0%  1-20
b.c                 10        5      50%  6-10
-------------------------------------------------
Total (4 files)    230      184      80%
check failed: 184 of 230 lines were executed, which is 80%; at least 81% are wanted
check failed: 2 files have less than 60%: b.c (50%), c.c (0%)
";
        assert_eq!(says(&rows, Some(81.0), Some(60.0)).unwrap_err(), expected);
    }

    #[test]
    fn a_percentage_below_the_threshold_never_looks_like_it() {
        let numbers = |covered, lines| Numbers { covered, lines };
        assert_eq!(below(numbers(796, 1000), 80.0, 0), "79.6%");
        assert_eq!(below(numbers(79_999, 100_000), 80.0, 0), "79.999%");
        assert_eq!(below(numbers(999, 1000), 100.0, 0), "99%");
        assert_eq!(below(numbers(1_000_000_000_000_000 - 1, 2_000_000_000_000_000), 50.0, 0), "less than 50%");
    }

    #[test]
    fn one_file_may_be_too_low_while_all_are_well() {
        let rows = [row("a.c", 100, 100), row("b.c", 1, 2)];
        let text = says(&rows, Some(90.0), Some(60.0)).unwrap_err();
        assert!(text.ends_with("\ncheck failed: 1 file has less than 60%: b.c (50%)\n"), "{text}");
        assert!(!text.contains("a.c"));
    }
}
