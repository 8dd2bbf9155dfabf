//! Which lines really ran: valgrind's callgrind saw the instructions, `llvm-dwarfdump` knows whose they
//! are.

use crate::Build;
use crate::dwarf::{self, hexadecimal};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

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
        .arg(&copy)
        .run();
    let text = std::fs::read_to_string(out).unwrap();
    let mut ran = BTreeSet::new();
    let (mut ours, mut is_call) = (false, false);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            ours = Path::new(object) == copy;
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

/// How often each instruction of a program was executed, by link address.
#[derive(Debug, Default)]
pub struct Instructions {
    executed: BTreeMap<u64, i64>,
    taken: BTreeMap<u64, i64>,
}

impl Instructions {
    /// How often the instruction at `addr` was executed.
    #[must_use]
    pub fn executed(&self, addr: u64) -> i64 {
        self.executed.get(&addr).copied().unwrap_or_default()
    }

    /// How often the conditional jump at `addr` jumped.
    #[must_use]
    pub fn taken(&self, addr: u64) -> i64 {
        self.taken.get(&addr).copied().unwrap_or_default()
    }
}

/// Runs `program` under callgrind and counts its instructions.
///
/// # Panics
/// Where valgrind fails, or writes what this does not know.
#[must_use]
pub fn callgrind_instructions(program: &Path, dir: &Path) -> Instructions {
    let out = dir.join("callgrind.instructions");
    let status = Command::new("valgrind")
        .current_dir(dir)
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no", "--compress-pos=no"])
        // Else what a call runs in the PLT is added to the call.
        .args(["--dump-instr=yes", "--collect-jumps=yes", "--skip-plt=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .output()
        .unwrap()
        .status;
    assert!(status.code().is_some(), "valgrind: {status}"); // The code is the program's.
    let object = format!("ob={}", program.display());
    let mut instructions = Instructions::default();
    let (mut ours, mut after) = (false, None);
    for line in std::fs::read_to_string(out).unwrap().lines() {
        if line.starts_with("ob=") {
            ours = line == object;
        } else if line.starts_with("jump=") {
            after = Some(0); // The next line is where the jump stands.
        } else if let Some(calls) = line.strip_prefix("calls=") {
            // A call, or a jump to what has another name, the cold part of a function.
            after = Some(calls.split(' ').next().unwrap().parse().unwrap());
        } else if let Some(jump) = line.strip_prefix("jcnd=") {
            after = Some(jump.split('/').next().unwrap().parse().unwrap());
        } else if let Some(position) = line.strip_prefix("0x") {
            let mut words = position.split(' ');
            let addr = u64::from_str_radix(words.next().unwrap(), 16).unwrap();
            match after.take() {
                Some(taken) if ours => *instructions.taken.entry(addr).or_default() += taken,
                None if ours => {
                    let count: i64 = words.nth(1).map_or(0, |count| count.parse().unwrap());
                    *instructions.executed.entry(addr).or_default() += count;
                }
                _ => {}
            }
        }
    }
    assert!(!instructions.executed.is_empty(), "callgrind saw nothing");
    instructions
}
