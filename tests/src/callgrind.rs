//! Which lines really ran, instruction by instruction, as valgrind's callgrind tells it.

use crate::Build;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Runs `program` under callgrind and gives the lines of which at least one instruction ran, by
/// source file name. callgrind knows every row of the line table, not only beginnings of statements.
///
/// # Panics
/// Where valgrind fails, or writes what this does not know.
#[must_use]
pub fn callgrind_lines(program: &Path, dir: &Path) -> BTreeMap<String, BTreeSet<u32>> {
    let out = dir.join("callgrind.out");
    Build::with("valgrind", dir)
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .run();
    let text = std::fs::read_to_string(out).unwrap();
    let mut lines = BTreeMap::<String, BTreeSet<u32>>::new();
    let mut file = String::new();
    let mut is_call = false;
    for line in text.lines() {
        let source = ["fl=", "fi=", "fe="].iter().find_map(|prefix| line.strip_prefix(prefix));
        if let Some(source) = source {
            file = Path::new(source).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        } else if line.starts_with("calls=") {
            is_call = true; // The next line is where the call stands, with the cost of the callee.
        } else if line.starts_with(|c: char| c.is_ascii_digit()) {
            let number = line.split(' ').next().unwrap().parse().unwrap();
            if !is_call {
                lines.entry(file.clone()).or_default().insert(number);
            }
            is_call = false;
        }
    }
    assert!(!lines.is_empty(), "callgrind saw nothing");
    lines
}
