//! Writing `coverage.json`.

use super::FORMAT;
use crate::coverage::{Branches, ExecutionCounter, FileCoverage, LineTracker, Snapshot, Way, paths, percent};
use crate::format::demangle::demangle;
use crate::format::report_time;
use crate::format::text::{Out, iso_time};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Writes a snapshot as JSON.
///
/// # Errors
/// Those of `out`.
pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let mut out = Out::new(out);
    let show_contexts = snapshot.files().iter().any(FileCoverage::has_contexts);
    let branches = snapshot.has_branches();
    out.text("{\"meta\":")?;
    out.json(&json!({
        "format": 3,
        "version": env!("CARGO_PKG_VERSION"),
        "timestamp": iso_time(report_time(snapshot)),
        "branch_coverage": branches,
        "show_contexts": show_contexts,
    }))?;
    out.text(",\"files\":{")?;
    let mut totals = Summary::default();
    for (at, file) in snapshot.files().iter().enumerate() {
        out.text(if at == 0 { "" } else { "," })?;
        out.json(paths::relative(snapshot.directory(), file.path()))?;
        out.text(":")?;
        totals.add(&Summary::of(file));
        write_file(file, show_contexts, branches, &mut out)?;
    }
    out.text("},\"totals\":")?;
    out.json(&totals.value(branches))?;
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
    branches: Branches,
    /// Ways not taken out of jumps on lines that were executed.
    partial: usize,
}

impl Summary {
    fn of(file: &FileCoverage) -> Self {
        let lines = file.lines();
        let executed = |line| lines.get(line).is_some_and(ExecutionCounter::is_hit);
        Self {
            covered: lines.hit(),
            statements: lines.len(),
            excluded: file.excluded_lines().count(),
            branches: file.branches(),
            partial: file.ways().filter(|(way, counter)| !counter.is_hit() && executed(way.line)).count(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.covered += other.covered;
        self.statements += other.statements;
        self.excluded += other.excluded;
        self.branches.add(other.branches);
        self.partial += other.partial;
    }

    /// As coverage.py has it: with branches these count in the percentage like lines.
    fn value(&self, branches: bool) -> Value {
        let Branches { total, covered } = self.branches;
        let (part, whole) = (self.covered + covered, self.statements + total);
        let mut value = json!({
            "covered_lines": self.covered,
            "num_statements": self.statements,
            "percent_covered": percent::percent(part, whole),
            "percent_covered_display": percent::display(part, whole, 0),
            "missing_lines": self.statements - self.covered,
            "excluded_lines": self.excluded,
            "percent_statements_covered": percent::percent(self.covered, self.statements),
            "percent_statements_covered_display": percent::display(self.covered, self.statements, 0),
        });
        if branches {
            value["num_branches"] = total.into();
            value["num_partial_branches"] = self.partial.into();
            value["covered_branches"] = covered.into();
            value["missing_branches"] = (total - covered).into();
            value["percent_branches_covered"] = percent::percent(covered, total).into();
            value["percent_branches_covered_display"] = percent::display(covered, total, 0).into();
        }
        value
    }
}

fn write_file(file: &FileCoverage, show_contexts: bool, branches: bool, out: &mut Out<'_>) -> io::Result<()> {
    out.text("{\"executed_lines\":")?;
    write_lines(file.lines().hits().map(|(line, _)| line), out)?;
    out.text(",\"summary\":")?;
    out.json(&Summary::of(file).value(branches))?;
    out.text(",\"missing_lines\":")?;
    write_lines(file.lines().missing(), out)?;
    out.text(",\"excluded_lines\":")?;
    write_lines(file.excluded_lines(), out)?;
    if show_contexts {
        out.text(",\"contexts\":{")?;
        write_context_names(file, out)?;
        out.text("}")?;
    }
    if branches {
        let ways = |taken: bool| -> Vec<[u32; 2]> {
            file.ways().filter(|(_, c)| c.is_hit() == taken).map(|(way, _)| [way.line, way.to]).collect()
        };
        out.text(",\"executed_branches\":")?;
        out.json(&ways(true))?;
        out.text(",\"missing_branches\":")?;
        out.json(&ways(false))?;
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
        ("branches", file.ways().map(|(way, counter)| branch(way, counter)).collect()),
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

fn branch(Way { line, shape, jump, number, to }: Way, counter: ExecutionCounter) -> Value {
    let count = counter.value();
    let mut value = json!({ "line": line, "shape": shape, "jump": jump, "way": number, "to": to, "count": count });
    if counter.is_lower_bound() {
        value["lower_bound"] = true.into();
    }
    value
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
    let mut whole = json!({
        "format": FORMAT,
        "tool": each(|run| &run.tool),
        "program": snapshot.program(),
        "directory": snapshot.directory(),
        "commit": each(|run| &run.commit),
        "shard": each(|run| &run.shard),
        "objects": snapshot.objects().map(|o| json!({ "build_id": o.build_id, "path": o.path })).collect::<Vec<_>>(),
        "losses": losses,
    });
    let selection = each(|run| &run.selection);
    if !selection.is_empty() {
        whole["selection"] = selection.into();
    }
    whole
}
