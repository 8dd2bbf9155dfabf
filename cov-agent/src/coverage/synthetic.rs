//! Big made-up data, for benchmarks and tests of size.

use super::{ExecutionCounter, FileCoverage, Losses, Object, Run, RunId, Snapshot};
use std::collections::BTreeSet;

/// The data of a made-up run of `files` files with `lines` executable lines each: about three lines
/// in four are executable, two executable ones in three hit, functions of forty lines. Equal
/// arguments give equal data.
///
/// ```
/// use cov_agent::coverage::synthetic::synthetic;
/// let snapshot = synthetic(1, 10, 100);
/// assert_eq!(snapshot.files().len(), 10);
/// assert_eq!(snapshot.files().iter().map(|f| f.lines().len()).sum::<usize>(), 1000);
/// assert_eq!(snapshot, synthetic(1, 10, 100));
/// ```
#[must_use]
pub fn synthetic(run: u64, files: u32, lines: u32) -> Snapshot {
    let directory = "/src/project";
    let mut random = Random(run.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let files =
        (0..files).map(|f| file(&format!("{directory}/module{:03}/file{f:05}.cc", f % 500), lines, &mut random));
    let files = files.collect();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&run.to_le_bytes());
    let run = Run {
        id: RunId(id),
        end: 1_700_000_000 + run,
        program: "synthetic".into(),
        directory: directory.into(),
        ..Run::default()
    };
    let objects = BTreeSet::from([Object { build_id: "5eed".into(), path: format!("{directory}/synthetic") }]);
    Snapshot::new(run, objects, Losses::default(), files)
}

fn file(path: &str, lines: u32, random: &mut Random) -> FileCoverage {
    let mut file = FileCoverage::new(path);
    let mut line = 0;
    let records = (0..lines).map(|_| {
        line += if random.next().is_multiple_of(4) { 2 } else { 1 };
        // Few lines are hot: the exponent is what is spread evenly.
        let hit = !random.next().is_multiple_of(3);
        let count = if hit { 1 + (random.next() >> (random.next() % 50 + 14)) } else { 0 };
        (line, ExecutionCounter::exact(count))
    });
    file.set_lines(records.collect(), Vec::new());
    for (at, (line, counter)) in file.lines().iter().enumerate().step_by(40).collect::<Vec<_>>() {
        file.function(line, format!("_ZN7project8function{at}Ei"), counter);
    }
    file.compiled_into("5eed");
    file
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
