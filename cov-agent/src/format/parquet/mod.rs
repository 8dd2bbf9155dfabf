//! `coverage.parquet`: one row for each file, line and context, for query engines; sorted by these three, in row groups
//! of `GROUP_ROWS` compressed with zstd, so that an engine reads only what it asks for.
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `path` | string | the canonical path |
//! | `line` | uint32 | from 1 |
//! | `context` | string | the test or process, `''` by default |
//! | `count` | uint64 | executions |
//! | `exact` | bool | `false`: `count` is a lower bound |
//! | `build_id` | string | of the objects with the file's code, sorted, separated by commas |
//! | `source` | string | digests of the file's text (`md5:…`), likewise; `''` where they are not known |
//! | `commit`, `shard` | string | as the run was told; of merged runs all, likewise |
//! | `run` | string | ids of the runs, in hexadecimal, likewise |
//! | `time` | timestamp (µs, UTC) | when the last run ended |
//!
//! A line that was executed has a row for each context that executed it. Another executable line has one row with the
//! count 0 and the context `''`. Functions, excluded and unmeasurable lines are not there.
//!
//! Read back are the columns by name, in any order, from one file of any writer; all but `path`, `line` and `count` may
//! be missing.

mod column;
mod pages;
mod read;
mod write;

pub use read::{read, read_file};
pub use write::write;

/// Rows in a group. A group is what the writer holds in memory, and what an engine skips or gives to a thread.
const GROUP_ROWS: usize = 1 << 18;

/// The key of the file's metadata that holds the runs' working directory, which is no column.
const DIRECTORY: &str = "cov_agent.directory";

/// The schema in Parquet's own language.
const SCHEMA: &str = "message coverage {
    required binary path (STRING);
    required int32 line (INTEGER(32, false));
    required binary context (STRING);
    required int64 count (INTEGER(64, false));
    required boolean exact;
    required binary build_id (STRING);
    required binary source (STRING);
    required binary commit (STRING);
    required binary shard (STRING);
    required binary run (STRING);
    required int64 time (TIMESTAMP(MICROS, true));
}";

#[cfg(test)]
mod tests;
