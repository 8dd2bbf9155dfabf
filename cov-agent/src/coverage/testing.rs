//! Random snapshots for property tests.

use super::{ExecutionCounter, FileCoverage, LossKind, Losses, Object, Run, RunId, Snapshot, Way};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// File, line, count, context, what to do with them.
type Record = (usize, u32, u64, usize, u8);

const PATHS: [&str; 4] = ["/w/a.c", "/w/grüße λ/b c.cc", "/usr/x.h", "/w/d/e.rs"];
const CONTEXTS: [&str; 3] = ["", "test a", "τ"];

/// A snapshot of one run; small, so that records meet on the same lines.
pub(crate) fn snapshot(run: u8) -> impl Strategy<Value = Snapshot> {
    let line = prop_oneof![9 => 0..12u32, 1 => any::<u32>()];
    let count = prop_oneof![8 => 0..3u64, 1 => any::<u64>(), 1 => Just(u64::MAX)];
    let record = (0..PATHS.len(), line, count, 0..CONTEXTS.len(), 0..13u8);
    (proptest::collection::vec(record, 0..60), 0..3u64).prop_map(move |(records, lost)| of(run, &records, lost))
}

fn of(run: u8, records: &[Record], lost: u64) -> Snapshot {
    let files = records.iter().map(|&(file, line, count, context, kind)| {
        let mut f = FileCoverage::new(PATHS[file]);
        match kind {
            0 => f.unmeasurable(line, format!("reason {}", count % 4)),
            1 => f.exclude(line),
            2 => f.function(line.max(1), format!("f{context}"), ExecutionCounter::exact(count)),
            3 => f.digest(format!("md5:{}", count % 4)),
            4 => f.compiled_into(format!("{}", count % 4)),
            5 => f.record(line, ExecutionCounter::at_least(count), CONTEXTS[context]),
            6 => f.record(line, ExecutionCounter::exact(count), CONTEXTS[context]),
            12 => {
                let [shape, jump, number] = [0, context, context % 2].map(|n| u32::try_from(n).unwrap_or_default());
                let way = Way { line, shape, jump, number, to: u32::try_from(count % 4).unwrap_or_default() };
                f.way(way, ExecutionCounter::exact(count));
            }
            7 => f.function(line.max(1), "_ZN1a1bE", ExecutionCounter::at_least(count)),
            _ => f.record(line, ExecutionCounter::exact(count), ""),
        }
        f
    });
    let mut losses = Losses::default();
    losses.add(LossKind::DroppedEvents, lost);
    losses.describe(LossKind::DroppedEvents, format!("run {run}"));
    let objects = BTreeSet::from([Object { build_id: format!("{lost:02x}"), path: "/w/p".into() }]);
    let run = Run {
        id: RunId([run; 16]),
        end: 1_700_000_000 + u64::from(run),
        program: format!("p{run}"),
        directory: "/w".into(),
        commit: "c0ffee".into(),
        shard: run.to_string(),
        ..Run::default()
    };
    Snapshot::new(run, objects, losses, files.collect())
}
