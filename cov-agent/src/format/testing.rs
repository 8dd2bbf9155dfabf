//! What the tests of readers and writers share: snapshots of every shape, and damage.

use super::ReadError;
use crate::coverage::{ExecutionCounter, FileCoverage, LineTracker, Losses, Run, RunId, Snapshot};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const PATHS: [&str; 6] = ["/w/a.c", "/w/sub/a.c", "/w/b.py", "/w/grüße λ/<&\"'>.rs", "C:/x/y z.cpp", "rel/mod.rs"];
const CONTEXTS: [&str; 4] = ["", "test one", "tést|run", "<&>\"'"];

/// Snapshots of several files with counts, contexts, exclusions and functions.
pub(crate) fn snapshots() -> impl Strategy<Value = Snapshot> {
    let counts = prop_oneof![Just(0u64), 1..4u64, Just(u64::MAX)];
    let line = (0..PATHS.len(), 1..80u32, counts, 0..CONTEXTS.len(), 0..12u8);
    (proptest::collection::vec(line, 0..60), any::<[u8; 16]>(), 0..2_000_000_000u64).prop_map(|(lines, id, end)| {
        let files = lines.into_iter().map(|(path, line, count, context, kind)| {
            let mut file = FileCoverage::new(PATHS[path]);
            match kind {
                0 => file.exclude(line),
                1 => file.unmeasurable(line, "no instruction"),
                2 => file.function(line, format!("f{line}"), ExecutionCounter::exact(count)),
                3 => file.record(line, ExecutionCounter::at_least(count), CONTEXTS[context]),
                4 => file.compiled_into(format!("{line:040x}")),
                _ => file.record(line, ExecutionCounter::exact(count), CONTEXTS[context]),
            }
            file
        });
        let files = files.collect();
        let run = Run { id: RunId(id), end, commit: "c0ffee".into(), shard: "3/8".into(), ..Run::default() };
        Snapshot::new(run, BTreeSet::new(), Losses::default(), files)
    })
}

/// A file's lines, and those of each context that has a hit.
pub(crate) type Lines = (BTreeMap<u32, ExecutionCounter>, BTreeMap<String, BTreeMap<u32, ExecutionCounter>>);

/// What a format that keeps lines and contexts keeps of a snapshot, by path; `counter` says what it makes of a count.
pub(crate) fn lines(
    snapshot: &Snapshot,
    counter: impl Fn(ExecutionCounter) -> ExecutionCounter,
) -> BTreeMap<String, Lines> {
    let of = |lines: &LineTracker, all: bool| {
        let kept = lines.iter().filter(|(_, c)| all || c.is_hit());
        kept.map(|(line, c)| (line, counter(c))).collect::<BTreeMap<_, _>>()
    };
    let files = snapshot.files().iter().map(|file| {
        let contexts = file.contexts().map(|(name, lines)| (name.to_owned(), of(lines, false)));
        let contexts = contexts.filter(|(_, lines)| !lines.is_empty()).collect();
        (file.path().to_string(), (of(file.lines(), true), contexts))
    });
    files.collect()
}

/// Reads `bytes` cut at every length (or, of long ones, at many), and with bits flipped. Nothing may panic; cut ones
/// must fail when `cut_fails`.
pub(crate) fn damage(bytes: &[u8], cut_fails: bool, read: impl Fn(&[u8]) -> Result<Snapshot, ReadError>) {
    let step = (bytes.len() / 400).max(1);
    for length in (0..bytes.len()).step_by(step) {
        let result = read(&bytes[..length]);
        assert!(!cut_fails || result.is_err(), "{length} of {} bytes were read", bytes.len());
    }
    let step = (bytes.len() / 1500).max(1);
    let mut bytes = bytes.to_vec();
    for at in (0..bytes.len()).step_by(step) {
        for bit in [1 << (at % 8), 0xff] {
            bytes[at] ^= bit;
            drop(read(&bytes));
            bytes[at] ^= bit;
        }
    }
}
