//! The same program's counts as gcov tells them.

use crate::Build;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Executable lines and their counts.
pub type GcovFile = BTreeMap<u32, u64>;

/// Reads what gcc's gcov makes of the `.gcda` files in `dir`, by source file name. The system's headers
/// are left out.
///
/// # Panics
/// Where gcov fails.
#[must_use]
pub fn gcc_gcov(dir: &Path) -> BTreeMap<String, GcovFile> {
    let mut files = BTreeMap::<String, GcovFile>::new();
    for data in data_files(dir) {
        let text = Build::with("gcov", dir).args(["--json-format", "--stdout", &data]).run();
        for line in text.lines().filter(|l| l.starts_with('{')) {
            let report: serde_json::Value = serde_json::from_str(line).unwrap();
            for file in report["files"].as_array().unwrap() {
                let path = file["file"].as_str().unwrap();
                if path.starts_with("/usr/") {
                    continue;
                }
                let lines = files.entry(base_name(path)).or_default();
                for line in file["lines"].as_array().unwrap() {
                    let number = u32::try_from(line["line_number"].as_u64().unwrap()).unwrap();
                    *lines.entry(number).or_default() += line["count"].as_u64().unwrap();
                }
            }
        }
    }
    assert!(!files.is_empty(), "no .gcda in {}", dir.display());
    files
}

/// Reads what `llvm-cov gcov` makes of the `.gcda` files in `dir`, by source file name.
///
/// # Panics
/// Where llvm-cov fails.
#[must_use]
pub fn llvm_gcov(dir: &Path) -> BTreeMap<String, GcovFile> {
    let mut files = BTreeMap::<String, GcovFile>::new();
    for data in data_files(dir) {
        let output = Command::new("llvm-cov").args(["gcov", "-t", &data]).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut name = String::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(count), Some(number), Some(text)) = (parts.next(), parts.next(), parts.next()) else { continue };
            let (count, Ok(number)) = (count.trim().trim_end_matches('*'), number.trim().parse::<u32>()) else {
                continue;
            };
            match (number, count) {
                (0, _) => {
                    if let Some(source) = text.strip_prefix("Source:") {
                        name = base_name(source);
                    }
                }
                (_, "-") => {}
                (_, count) => {
                    let count =
                        if count.starts_with('#') || count.starts_with('=') { 0 } else { count.parse().unwrap() };
                    *files.entry(name.clone()).or_default().entry(number).or_default() += count;
                }
            }
        }
    }
    assert!(!files.is_empty(), "no .gcda in {}", dir.display());
    files
}

fn data_files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| name.ends_with(".gcda")).collect()
}

fn base_name(path: &str) -> String {
    Path::new(path).file_name().unwrap().to_str().unwrap().to_owned()
}
