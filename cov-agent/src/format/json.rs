//! `coverage.json`: coverage.py's JSON report, format 3 (`coverage/jsonreport.py`), with one more
//! key, `cov_agent`, that readers of the format ignore.
//!
//! Paths are relative where they lie below the runs' working directory, as coverage.py's are. The
//! file has no random part: the same counts and time give the same bytes.
//!
//! At the top `cov_agent` holds what belongs to the whole:
//! `format` (1), `tool`, `program`, `directory`, `commit`, `shard`, `objects` (`build_id`, `path`)
//! and `losses` (by kind, `count` and `details`).
//!
//! In each file it holds
//! - `counts`: line → executions, of the executed lines;
//! - `lower_bounds`: lines whose count is "at least";
//! - `not_measurable`: line → reason; these lines are neither executed nor missing;
//! - `functions`: `name`, `mangled` (where it differs), `line`, `count`, `lower_bound` (where true);
//! - `contexts`: context → `counts` and `lower_bounds`, where there are other contexts than `""`;
//! - `build_ids` and `digests`: the objects it was compiled into, and of which text.
//!
//! Keys without content are left out.

use super::demangle::demangle;
use super::report_time;
use super::text::{Out, iso_time};
use crate::coverage::{ExecutionCounter, FileCoverage, LineTracker, Snapshot, paths, percent};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// The version of the `cov_agent` key.
const FORMAT: u64 = 1;

/// Writes a snapshot as JSON.
///
/// # Errors
/// Those of `out`.
pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let mut out = Out::new(out);
    let show_contexts = snapshot.files().iter().any(FileCoverage::has_contexts);
    out.text("{\"meta\":")?;
    out.json(&json!({
        "format": 3,
        "version": env!("CARGO_PKG_VERSION"),
        "timestamp": iso_time(report_time(snapshot)),
        "branch_coverage": false,
        "show_contexts": show_contexts,
    }))?;
    out.text(",\"files\":{")?;
    let mut totals = Summary::default();
    for (at, file) in snapshot.files().iter().enumerate() {
        out.text(if at == 0 { "" } else { "," })?;
        out.json(paths::relative(snapshot.directory(), file.path()))?;
        out.text(":")?;
        totals.add(&Summary::of(file));
        write_file(file, show_contexts, &mut out)?;
    }
    out.text("},\"totals\":")?;
    out.json(&totals.value())?;
    out.text(",\"cov_agent\":")?;
    out.json(&whole(snapshot))?;
    out.text("}\n")?;
    out.flush()
}

#[derive(Default)]
struct Summary {
    covered: usize,
    statements: usize,
    excluded: usize,
}

impl Summary {
    fn of(file: &FileCoverage) -> Self {
        let lines = file.lines();
        Self { covered: lines.hit(), statements: lines.len(), excluded: file.excluded_lines().count() }
    }

    fn add(&mut self, other: &Self) {
        self.covered += other.covered;
        self.statements += other.statements;
        self.excluded += other.excluded;
    }

    fn value(&self) -> Value {
        let percent = percent::percent(self.covered, self.statements);
        let display = percent::display(self.covered, self.statements, 0);
        json!({
            "covered_lines": self.covered,
            "num_statements": self.statements,
            "percent_covered": percent,
            "percent_covered_display": display,
            "missing_lines": self.statements - self.covered,
            "excluded_lines": self.excluded,
            "percent_statements_covered": percent,
            "percent_statements_covered_display": display,
        })
    }
}

fn write_file(file: &FileCoverage, show_contexts: bool, out: &mut Out<'_>) -> io::Result<()> {
    out.text("{\"executed_lines\":")?;
    write_lines(file.lines().hits().map(|(line, _)| line), out)?;
    out.text(",\"summary\":")?;
    out.json(&Summary::of(file).value())?;
    out.text(",\"missing_lines\":")?;
    write_lines(file.lines().missing(), out)?;
    out.text(",\"excluded_lines\":")?;
    write_lines(file.excluded_lines(), out)?;
    if show_contexts {
        out.text(",\"contexts\":{")?;
        write_context_names(file, out)?;
        out.text("}")?;
    }
    out.text(",\"cov_agent\":{")?;
    write_counts(file.lines(), out)?;
    if file.has_contexts() {
        out.text(",\"contexts\":{")?;
        for (at, (context, lines)) in file.contexts().enumerate() {
            out.text(if at == 0 { "" } else { "," })?;
            out.json(context)?;
            out.text(":{")?;
            write_counts(lines, out)?;
            out.text("}")?;
        }
        out.text("}")?;
    }
    for (key, value) in file_extra(file) {
        out.text(",")?;
        out.json(&key)?;
        out.text(":")?;
        out.json(&value)?;
    }
    out.text("}}")
}

fn write_lines(lines: impl Iterator<Item = u32>, out: &mut Out<'_>) -> io::Result<()> {
    out.text("[")?;
    for (at, line) in lines.enumerate() {
        out.text(if at == 0 { "" } else { "," })?;
        out.number(u64::from(line))?;
    }
    out.text("]")
}

/// `"3":["","test"]`: the names of the contexts that hit each line.
fn write_context_names(file: &FileCoverage, out: &mut Out<'_>) -> io::Result<()> {
    let contexts: Vec<_> = file.contexts().collect();
    for (at, (line, _)) in file.lines().hits().enumerate() {
        out.text(if at == 0 { "\"" } else { ",\"" })?;
        out.number(u64::from(line))?;
        out.text("\":")?;
        let hit = |lines: &LineTracker| lines.get(line).is_some_and(ExecutionCounter::is_hit);
        let names: Vec<_> = contexts.iter().filter(|(_, lines)| hit(lines)).map(|(name, _)| *name).collect();
        out.json(&names)?;
    }
    Ok(())
}

/// `"counts":{"3":7}`, and `"lower_bounds":[3]` where there are such.
fn write_counts(lines: &LineTracker, out: &mut Out<'_>) -> io::Result<()> {
    out.text("\"counts\":{")?;
    for (at, (line, counter)) in lines.hits().enumerate() {
        out.text(if at == 0 { "\"" } else { ",\"" })?;
        out.number(u64::from(line))?;
        out.text("\":")?;
        out.number(counter.value())?;
    }
    out.text("}")?;
    let mut lower = lines.iter().filter(|(_, counter)| counter.is_lower_bound()).map(|(line, _)| line).peekable();
    if lower.peek().is_some() {
        out.text(",\"lower_bounds\":")?;
        write_lines(lower, out)?;
    }
    Ok(())
}

/// The small parts of a file's `cov_agent` key.
fn file_extra(file: &FileCoverage) -> Map<String, Value> {
    let unmeasurable: Map<_, _> =
        file.unmeasurable_lines().map(|(line, reason)| (line.to_string(), reason.into())).collect();
    let functions: Vec<_> = file
        .functions()
        .map(|(function, counter)| {
            let name = demangle(&function.name);
            let mut value = json!({ "name": name, "line": function.line, "count": counter.value() });
            if name != *function.name {
                value["mangled"] = (*function.name).into();
            }
            if counter.is_lower_bound() {
                value["lower_bound"] = true.into();
            }
            value
        })
        .collect();
    let mut extra = Map::new();
    if !unmeasurable.is_empty() {
        extra.insert("not_measurable".into(), unmeasurable.into());
    }
    let lists = [
        ("functions", functions),
        ("build_ids", file.build_ids().map(Value::from).collect()),
        ("digests", file.digests().map(Value::from).collect()),
    ];
    for (key, list) in lists {
        if !list.is_empty() {
            extra.insert(key.into(), list.into());
        }
    }
    extra
}

/// The top `cov_agent` key.
fn whole(snapshot: &Snapshot) -> Value {
    let each = |field: fn(&crate::coverage::Run) -> &str| -> String {
        let values: BTreeSet<_> = snapshot.runs().map(field).filter(|value| !value.is_empty()).collect();
        values.into_iter().collect::<Vec<_>>().join(", ")
    };
    let losses: Map<_, _> = snapshot
        .losses()
        .iter()
        .map(|(kind, loss)| (kind.slug().into(), json!({ "count": loss.count, "details": loss.details })))
        .collect();
    json!({
        "format": FORMAT,
        "tool": each(|run| &run.tool),
        "program": snapshot.program(),
        "directory": snapshot.directory(),
        "commit": each(|run| &run.commit),
        "shard": each(|run| &run.shard),
        "objects": snapshot.objects().map(|o| json!({ "build_id": o.build_id, "path": o.path })).collect::<Vec<_>>(),
        "losses": losses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::{LossKind, Losses, Object, Run};

    #[test]
    fn the_keys_of_coverage_py_and_one_more() {
        let mut file = FileCoverage::new("/w/src/a.cc");
        file.record(3, ExecutionCounter::exact(7), "");
        file.record(3, ExecutionCounter::at_least(1), "t");
        file.executable(4);
        file.unmeasurable(5, "its address is not in executable code");
        file.exclude(6);
        file.function(3, "_ZN3foo3barIiEEvT_", ExecutionCounter::exact(8));
        let run = Run { program: "p".into(), directory: "/w".into(), end: 1_714_564_801, ..Run::default() };
        let objects = BTreeSet::from([Object { build_id: "ab".into(), path: "/w/p".into() }]);
        let mut losses = Losses::default();
        losses.add_detail(LossKind::UnattachedObjects, "/lib/x.so: no room");
        let snapshot = Snapshot::new(run, objects, losses, vec![file]);
        let mut got = Vec::new();
        write(&snapshot, &mut got).unwrap();
        let got: Value = serde_json::from_slice(&got).unwrap();
        let summary = json!({
            "covered_lines": 1, "num_statements": 2, "percent_covered": 50.0, "percent_covered_display": "50",
            "missing_lines": 1, "excluded_lines": 1,
            "percent_statements_covered": 50.0, "percent_statements_covered_display": "50",
        });
        let version = env!("CARGO_PKG_VERSION");
        let want = json!({
            "meta": { "format": 3, "version": version, "timestamp": got["meta"]["timestamp"],
                "branch_coverage": false, "show_contexts": true },
            "files": { "src/a.cc": {
                "executed_lines": [3], "summary": summary, "missing_lines": [4], "excluded_lines": [6],
                "contexts": { "3": ["", "t"] },
                "cov_agent": {
                    "counts": { "3": 8 }, "lower_bounds": [3],
                    "contexts": { "": { "counts": { "3": 7 } }, "t": { "counts": { "3": 1 }, "lower_bounds": [3] } },
                    "not_measurable": { "5": "its address is not in executable code" },
                    "functions": [
                        { "name": "void foo::bar<int>(int)", "mangled": "_ZN3foo3barIiEEvT_", "line": 3, "count": 8 },
                    ],
                },
            } },
            "totals": summary,
            "cov_agent": {
                "format": 1, "tool": version, "program": "p", "directory": "/w", "commit": "", "shard": "",
                "objects": [{ "build_id": "ab", "path": "/w/p" }],
                "losses": { "unattached-objects": { "count": 1, "details": ["/lib/x.so: no room"] } },
            },
        });
        assert_eq!(got, want);
    }
}
