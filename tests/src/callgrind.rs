//! Which lines really ran: valgrind's callgrind saw the instructions, `llvm-dwarfdump` knows whose they
//! are.

use crate::Build;
use crate::dwarf::{self, hexadecimal};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Lines by the name of their source file.
pub type FileLines = BTreeMap<String, BTreeSet<u32>>;

/// Runs `program` under callgrind and gives the lines that ran, by source file name: those with a row
/// in whose range an instruction ran. An empty row (the optimiser left nothing of the statement but
/// its place) ran if the instruction at its address did, and a function's declaration line if any
/// instruction of a copy of the function did.
///
/// # Panics
/// Where a tool fails, or writes what this does not know.
#[must_use]
pub fn lines_that_ran(program: &Path, dir: &Path) -> FileLines {
    let ran = executed(program, dir);
    let mut lines = FileLines::new();
    for (file, line, range) in dwarf::rows(program).into_iter().chain(dwarf::functions(program)) {
        if ran.range(range).next().is_some() {
            lines.entry(file).or_default().insert(line);
        }
    }
    assert!(!lines.is_empty(), "nothing of {} ran", program.display());
    lines
}

/// The link addresses of the instructions of `program` that ran.
fn executed(program: &Path, dir: &Path) -> BTreeSet<u64> {
    let out = dir.join("callgrind.out");
    // Probes hang on the file, are taken out after the agent has ended, and show in what valgrind reads.
    let copy = dir.join("callgrind.program");
    std::fs::copy(program, &copy).unwrap();
    Build::with("valgrind", dir)
        .args(["--tool=callgrind", "--quiet", "--dump-instr=yes", "--dump-line=no"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(copy)
        .run();
    let text = std::fs::read_to_string(out).unwrap();
    let mut ran = BTreeSet::new();
    let (mut ours, mut is_call) = (false, false);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            ours = Path::new(object) == program;
        } else if line.starts_with("calls=") {
            is_call = true; // The next line is where the call stands, with the cost of the callee.
        } else if let Some(rest) = line.strip_prefix("0x") {
            if ours && !is_call {
                ran.insert(hexadecimal(rest.split(' ').next().unwrap()));
            }
            is_call = false;
        }
    }
    ran
}
