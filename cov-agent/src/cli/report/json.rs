//! The report as JSON; `docs/src/reference/report-json.md` describes it.

use super::Report;
use crate::cli::rows::{self, Numbers, Row, shown};
use crate::coverage::{
    Branches, ExecutionCounter, FileCoverage, Lines, Snapshot, Statistics, hottest_lines, paths, percent,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The version of what is printed here.
const FORMAT: u64 = 1;

/// How many lines are in the list of the hottest.
const HOTTEST: usize = 10;

pub(super) fn render(report: &Report, snapshot: &Snapshot, directory: &str) -> String {
    let files: BTreeMap<String, &FileCoverage> =
        snapshot.files().iter().map(|file| (shown(file.path(), directory), file)).collect();
    let rows = report.rows.iter().map(|row| {
        let mut value = self::row(row, report.precision);
        if let Some(file) = files.get(&row.path) {
            value.extend(details(file, report.contexts.is_some()));
        }
        if let Some(change) = &report.since {
            value.insert(
                "before".into(),
                change.of(&row.path).map_or(Value::Null, |n| numbers(n, report.precision).into()),
            );
        }
        Value::Object(value)
    });
    let mut totals = numbers(report.total, report.precision);
    totals.extend(rows::branches(&report.rows).map(branches).unwrap_or_default());
    totals.insert("not_measurable".into(), report.unmeasurable.into());
    totals.insert("excluded".into(), report.excluded.into());
    let losses = report.losses.iter().map(|(kind, loss)| (kind.slug().to_owned(), loss.count.into()));
    let mut whole = Map::new();
    whole.insert("format".into(), FORMAT.into());
    whole.insert("totals".into(), totals.into());
    whole.insert("files".into(), rows.collect());
    whole.insert("directories".into(), directories(snapshot, directory, report.precision));
    let lines = hottest_lines(snapshot, HOTTEST).into_iter().map(|(path, line, counter)| {
        let mut value = Map::from_iter([("path".to_owned(), shown(path, directory).into())]);
        value.extend(hottest(line, counter));
        Value::Object(value)
    });
    whole.insert("hottest".into(), lines.collect());
    whole.insert("losses".into(), Value::Object(losses.collect()));
    if let Some(change) = &report.since {
        whole.insert("before".into(), numbers(change.total, report.precision).into());
        let gone = change.gone.iter().map(|row| Value::Object(self::row(row, report.precision)));
        whole.insert("gone".into(), gone.collect());
    }
    if let Some(contexts) = &report.contexts {
        let context = contexts.iter().map(|context| {
            json!({
                "name": context.name,
                "files": context.files,
                "lines": context.lines,
                "executions": context.executions.value(),
            })
        });
        whole.insert("contexts".into(), context.collect());
    }
    format!("{:#}\n", Value::Object(whole))
}

/// The numbers of each directory, with all below it. The working directory and those that it lies in
/// say nothing that the totals do not.
fn directories(snapshot: &Snapshot, working: &str, precision: usize) -> Value {
    let outer = |path: &str| path == "/" || path == working || paths::relative(path, working) != working;
    let statistics = Statistics::of(snapshot, 0);
    let rows = statistics.directories.iter().filter(|(path, lines)| lines.total > 0 && !outer(path));
    let row = |(path, lines): (&String, &Lines)| {
        let mut value = numbers(Numbers { lines: lines.total, covered: lines.hit }, precision);
        value.insert("executions".into(), lines.executions.value().into());
        (shown(path, working), Value::Object(value))
    };
    Value::Object(rows.map(row).collect())
}

fn numbers(numbers: Numbers, precision: usize) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("lines".into(), numbers.lines.into());
    map.insert("covered".into(), numbers.covered.into());
    // Of nothing there is no percentage.
    let some = numbers.lines > 0;
    map.insert("percent".into(), some.then(|| percent::percent(numbers.covered, numbers.lines)).into());
    let display = some.then(|| percent::display(numbers.covered, numbers.lines, precision));
    map.insert("percent_display".into(), display.into());
    map
}

/// Nothing where none were counted.
fn branches(branches: Branches) -> Map<String, Value> {
    let keys = [("branches", branches.total), ("branches_covered", branches.covered)];
    let keys = keys.into_iter().filter(|_| branches.total > 0);
    keys.map(|(key, number)| (key.to_owned(), number.into())).collect()
}

fn row(row: &Row, precision: usize) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("path".into(), row.path.as_str().into());
    map.extend(numbers(row.numbers, precision));
    map.extend(branches(row.branches));
    map.insert("missing".into(), row.missing.iter().map(|range| json!([range.start(), range.end()])).collect());
    map.insert("executions".into(), row.executions.value().into());
    map.insert("hottest".into(), row.hottest.map(|(line, counter)| hottest(line, counter)).into());
    map
}

fn hottest(line: u32, counter: ExecutionCounter) -> Map<String, Value> {
    Map::from_iter([
        ("line".to_owned(), line.into()),
        ("count".to_owned(), counter.value().into()),
        ("lower_bound".to_owned(), counter.is_lower_bound().into()),
    ])
}

/// What a table has no room for.
fn details(file: &FileCoverage, contexts: bool) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("not_measurable".into(), file.unmeasurable_lines().map(|(line, _)| line).collect());
    map.insert("excluded".into(), file.excluded_lines().collect());
    if contexts {
        let each = file.contexts().filter(|(_, lines)| lines.hit() > 0).map(|(name, lines)| {
            let executions: ExecutionCounter = lines.hits().map(|(_, counter)| counter).sum();
            (name.to_owned(), json!({ "covered": lines.hit(), "executions": executions.value() }))
        });
        map.insert("contexts".into(), Value::Object(each.collect()));
    }
    map
}
