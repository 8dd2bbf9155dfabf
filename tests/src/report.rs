//! Reading what the agent wrote: `lcov.info`, with a reader of the tests' own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One source file's part of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileCoverage {
    /// Executable lines and their counts (`DA`).
    pub lines: BTreeMap<u32, u64>,
    /// Functions and their entries (`FNDA`).
    pub functions: BTreeMap<String, u64>,
    /// For each line its conditional jumps, and how often each way out of them was taken (`BRDA`); nothing where a jump
    /// was never executed.
    pub branches: BTreeMap<u32, Vec<Vec<Option<u64>>>>,
}

/// A whole report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// By source path.
    pub files: BTreeMap<PathBuf, FileCoverage>,
}

impl Coverage {
    /// Reads an LCOV tracefile.
    ///
    /// # Panics
    /// On anything that is not LCOV.
    #[must_use]
    pub fn read_lcov(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut coverage = Self::default();
        let mut file = PathBuf::new();
        for line in text.lines() {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            match key {
                "SF" => file = PathBuf::from(value),
                "DA" => {
                    let mut parts = value.split(',');
                    let line = parts.next().unwrap().parse().unwrap();
                    let count = parts.next().unwrap().parse().unwrap();
                    let old = coverage.files.entry(file.clone()).or_default().lines.insert(line, count);
                    assert_eq!(old, None, "{}:{line} stands twice", file.display());
                }
                "FNDA" => {
                    let (count, name) = value.split_once(',').unwrap();
                    let functions = &mut coverage.files.entry(file.clone()).or_default().functions;
                    *functions.entry(name.to_owned()).or_default() += count.parse::<u64>().unwrap();
                }
                "BRDA" => {
                    let fields: Vec<&str> = value.split(',').collect();
                    let [number, block, branch, taken] = fields[..] else { panic!("{line}") };
                    let file = coverage.files.entry(file.clone()).or_default();
                    let jumps = file.branches.entry(number.parse().unwrap()).or_default();
                    let block: usize = block.parse().unwrap();
                    jumps.resize(jumps.len().max(block + 1), Vec::new());
                    assert_eq!(branch.parse(), Ok(jumps[block].len()), "{line}");
                    jumps[block].push((taken != "-").then(|| taken.parse().unwrap()));
                }
                "TN" | "VER" | "FN" | "FNF" | "FNH" | "LF" | "LH" | "BRF" | "BRH" | "end_of_record" => {}
                _ => panic!("{}: {line:?}", path.display()),
            }
        }
        coverage
    }

    /// The file whose path ends in `name`.
    ///
    /// # Panics
    /// Where none or several do.
    #[must_use]
    pub fn file(&self, name: &str) -> &FileCoverage {
        let found: Vec<_> = self.files.iter().filter(|(path, _)| path.ends_with(name)).collect();
        assert_eq!(found.len(), 1, "{name} among {:?}", self.files.keys());
        found[0].1
    }
}
