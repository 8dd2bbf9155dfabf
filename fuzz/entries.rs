//! Where hostile bytes come in, one function each: fuzz targets call them, and so do the ordinary tests
//! (`cov-agent/tests/corpus.rs`), on the same corpus.
#![allow(dead_code, reason = "each fuzz target calls one of them")]

#[cfg(feature = "collect")]
pub(crate) mod code;

use cov_agent::coverage::Snapshot;
use cov_agent::format::{self, Format, Limits, ReadError, input};
use std::io::sink;

/// Small, so that what a few bytes announce is refused long before it takes the memory that a fuzzer may have.
const LIMITS: Limits = Limits { files: 10_000, records: 1_000_000 };

/// What could be read must be writable in every format, and come back from the lossless one. Says whether it could.
fn judge(read: Result<Snapshot, ReadError>) -> bool {
    let Ok(snapshot) = read else { return false };
    for format in Format::ALL {
        format::write(format, &snapshot, &mut sink()).expect("nothing fails to be written to nowhere");
    }
    let mut bytes = Vec::new();
    format::raw::write(&snapshot, &mut bytes).expect("memory takes it");
    let back = format::raw::read(&bytes[..], Limits::default()).expect("what was just written is valid");
    assert!(back == snapshot, "the lossless format lost something");
    true
}

/// `coverage_raw.dat`.
pub(crate) fn raw(bytes: &[u8]) -> bool {
    drop(format::raw::segments(&mut std::io::Cursor::new(bytes)));
    judge(format::raw::read(bytes, LIMITS))
}

/// `coverage.json`.
pub(crate) fn json(bytes: &[u8]) -> bool {
    judge(format::json::read(bytes, LIMITS))
}

/// `lcov.info`.
pub(crate) fn lcov(bytes: &[u8]) -> bool {
    judge(format::lcov::read(bytes, LIMITS))
}

/// `cobertura.xml`.
pub(crate) fn cobertura(bytes: &[u8]) -> bool {
    judge(format::cobertura::read(&mut &*bytes, LIMITS))
}

/// `.coverage`.
pub(crate) fn coverage_db(bytes: &[u8]) -> bool {
    judge(format::coverage_db::read(&mut &*bytes, LIMITS))
}

/// `coverage.parquet`.
pub(crate) fn parquet(bytes: &[u8]) -> bool {
    judge(format::parquet::read(&mut &*bytes, LIMITS))
}

/// Data of whatever format they look like.
pub(crate) fn detect(bytes: &[u8]) -> bool {
    judge(input::read(bytes, LIMITS))
}

/// An ELF object with its debug info, and the plan of its probes; says whether it has a line.
#[cfg(feature = "collect")]
pub(crate) fn object(bytes: &[u8]) -> bool {
    use cov_agent::object::{self, DebugSearch};
    use cov_agent::plan::{Aim, PlanOptions, evaluate, plan};
    let all = |_: &std::path::Path| true;
    let shared: object::Bytes = std::sync::Arc::new(bytes.to_vec());
    let path = std::path::Path::new("/nowhere/object");
    let Ok(object) = object::parse(path, &shared, &DebugSearch::nowhere(), &all) else { return false };
    let hits = PlanOptions { aim: Aim::Hits, branches: true, freezes: true, ..PlanOptions::of(&all) };
    drop(evaluate(&plan(&object, &hits), &[]));
    let plan = plan(&object, &PlanOptions { aim: Aim::Counts, ..hits });
    !evaluate(&plan, &vec![1; plan.sites.len()]).is_empty()
}

/// Code, and what an object says of it; says whether it carries a probe.
#[cfg(feature = "collect")]
pub(crate) fn plan(bytes: &[u8]) -> bool {
    code::judge(bytes)
}
