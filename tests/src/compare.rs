//! Two tools' counts of the same program, side by side.

use crate::{Coverage, workspace};
use std::collections::BTreeMap;
use std::fmt;

/// How far two tools agree on the lines that both call executable.
#[derive(Debug, Default)]
pub struct Agreement {
    /// Lines that both call executable.
    pub common: usize,
    /// Lines that only the agent calls executable.
    pub only_ours: usize,
    /// Lines that only the other calls executable.
    pub only_theirs: usize,
    /// Common lines that one of them calls hit: file, line, our count, the other's.
    pub hits_differ: Vec<(String, u32, u64, u64)>,
    /// Common lines with different counts.
    pub counts_differ: Vec<(String, u32, u64, u64)>,
}

impl Agreement {
    /// Compares file by file; `theirs` names files by their last component. Files that `theirs` lacks
    /// are passed over.
    #[must_use]
    pub fn of(ours: &Coverage, theirs: &BTreeMap<String, BTreeMap<u32, u64>>) -> Self {
        let mut agreement = Self::default();
        for (path, file) in &ours.files {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let Some(theirs) = theirs.get(&name) else { continue };
            for (&line, &our) in &file.lines {
                let Some(&their) = theirs.get(&line) else {
                    agreement.only_ours += 1;
                    continue;
                };
                agreement.common += 1;
                let difference = (name.clone(), line, our, their);
                if (our == 0) != (their == 0) {
                    agreement.hits_differ.push(difference.clone());
                }
                if our != their {
                    agreement.counts_differ.push(difference);
                }
            }
            agreement.only_theirs += theirs.keys().filter(|line| !file.lines.contains_key(line)).count();
        }
        agreement
    }

    /// The share of common lines that both call hit, or both not, from 0 to 1.
    #[must_use]
    pub fn hits(&self) -> f64 {
        share(self.common - self.hits_differ.len(), self.common)
    }

    /// The share of common lines with the same count, from 0 to 1.
    #[must_use]
    pub fn counts(&self) -> f64 {
        share(self.common - self.counts_differ.len(), self.common)
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} common lines: {:.3} % of hits agree, {:.3} % of counts; {} lines only here, {} only there",
            self.common,
            100.0 * self.hits(),
            100.0 * self.counts(),
            self.only_ours,
            self.only_theirs
        )?;
        for (file, line, ours, theirs) in &self.hits_differ {
            writeln!(f, "  hit differs: {file}:{line}: {ours}, there {theirs}")?;
        }
        for (file, line, ours, theirs) in self.counts_differ.iter().take(40) {
            writeln!(f, "  count differs: {file}:{line}: {ours}, there {theirs}")?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "line numbers are far below 2^52")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Keeps a report below `target`, where a person can read it, and prints it.
///
/// # Panics
/// Where it cannot be written.
pub fn keep_report(name: &str, report: &str) {
    let dir = workspace().join("target/agreement");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{name}.txt")), report).unwrap();
    println!("{name}: {report}");
}
