//! `lcov.info`: the tracefile of LCOV (`man geninfo`, "Tracefile format"), the part of it that
//! lcov 1.16 and 2.x, genhtml, diff-cover and the services read alike.
//!
//! - Functions as `FN:line,name` and `FNDA:count,name`: 1.16 misreads a form with the end line.
//! - Names are demangled; a comma, which 1.16 cuts at and diff-cover refuses, becomes `;`. A name
//!   stands for one function a file: of several with one name the later ones get `@line`.
//! - Lines that cannot be measured are not there. A lower bound stands as if it was exact.

mod read;
#[cfg(test)]
mod tests;

pub use read::read;

use crate::coverage::{ExecutionCounter, FileCoverage, Snapshot};
use crate::format::demangle::demangle;
use crate::format::text::{Out, one_line};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Writes a snapshot as tracefile. A file without lines and functions is left out.
///
/// # Errors
/// Those of `out`.
pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let mut out = Out::new(out);
    let test: String = snapshot.program().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    for file in snapshot.files() {
        if !file.lines().is_empty() || file.functions().next().is_some() {
            write_file(&test, file, &mut out)?;
        }
    }
    out.flush()
}

fn write_file(test: &str, file: &FileCoverage, out: &mut Out<'_>) -> io::Result<()> {
    out.text("TN:")?;
    out.text(test)?;
    out.text("\nSF:")?;
    out.text(&one_line(file.path()))?;
    out.text("\n")?;
    let functions = named_functions(file);
    for (name, line, _) in &functions {
        record(out, "FN:", u64::from(*line))?;
        out.text(",")?;
        out.text(name)?;
        out.text("\n")?;
    }
    for (name, _, counter) in &functions {
        record(out, "FNDA:", counter.value())?;
        out.text(",")?;
        out.text(name)?;
        out.text("\n")?;
    }
    total(out, "FNF:", functions.len())?;
    total(out, "FNH:", functions.iter().filter(|(_, _, counter)| counter.is_hit()).count())?;
    write_branches(file, out)?;
    for (line, counter) in file.lines().iter() {
        record(out, "DA:", u64::from(line))?;
        out.text(",")?;
        out.number(counter.value())?;
        out.text("\n")?;
    }
    total(out, "LF:", file.lines().len())?;
    total(out, "LH:", file.lines().hit())?;
    out.text("end_of_record\n")
}

/// Each jump is a block of its line, each way out of it a branch; of a jump that never was executed nothing is said.
fn write_branches(file: &FileCoverage, out: &mut Out<'_>) -> io::Result<()> {
    let jumps = file.jumps();
    if jumps.is_empty() {
        return Ok(());
    }
    let mut block = (0, 0u64);
    for jump in &jumps {
        block = if block.0 == jump.line { (jump.line, block.1 + 1) } else { (jump.line, 0) };
        for (at, (_, counter)) in (0u64..).zip(&jump.ways) {
            record(out, "BRDA:", u64::from(jump.line))?;
            for number in [block.1, at] {
                out.text(",")?;
                out.number(number)?;
            }
            out.text(",")?;
            if jump.is_evaluated() {
                out.number(counter.value())?;
            } else {
                out.text("-")?;
            }
            out.text("\n")?;
        }
    }
    let branches = file.branches();
    total(out, "BRF:", branches.total)?;
    total(out, "BRH:", branches.covered)
}

fn record(out: &mut Out<'_>, directive: &str, number: u64) -> io::Result<()> {
    out.text(directive)?;
    out.number(number)
}

fn total(out: &mut Out<'_>, directive: &str, number: usize) -> io::Result<()> {
    record(out, directive, number as u64)?;
    out.text("\n")
}

/// Functions by line under names that are unique in the file. Copies that differ only in what
/// demangling drops (a Rust instance's hash, a constructor's kind) are one function.
fn named_functions(file: &FileCoverage) -> Vec<(String, u32, ExecutionCounter)> {
    let mut by_name: BTreeMap<String, BTreeMap<u32, ExecutionCounter>> = BTreeMap::new();
    for (function, counter) in file.functions() {
        let name = one_line(&demangle(&function.name)).replace(", ", "; ").replace(',', ";");
        *by_name.entry(name).or_default().entry(function.line.max(1)).or_default() += counter;
    }
    let mut named: Vec<_> = by_name
        .into_iter()
        .flat_map(|(name, lines)| {
            let unique = move |(at, (line, counter)): (usize, (u32, ExecutionCounter))| {
                (if at == 0 { name.clone() } else { format!("{name}@{line}") }, line, counter)
            };
            lines.into_iter().enumerate().map(unique)
        })
        .collect();
    named.sort_unstable_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    named
}
