//! `coverage.json`: coverage.py's JSON report, format 3 (`coverage/jsonreport.py`), with one more
//! key, `cov_agent`, that readers of the format ignore.
//!
//! Paths are relative where they lie below the runs' working directory, as coverage.py's are. The
//! file has no random part: the same counts and time give the same bytes.
//!
//! At the top `cov_agent` holds what belongs to the whole:
//! `format` (1), `tool`, `program`, `directory`, `commit`, `shard`, `objects` (`build_id`, `path`)
//! and `losses` (by kind, `count` and `details`).
//!
//! In each file it holds
//! - `counts`: line → executions, of the executed lines;
//! - `lower_bounds`: lines whose count is "at least";
//! - `not_measurable`: line → reason; these lines are neither executed nor missing;
//! - `functions`: `name`, `mangled` (where it differs), `line`, `count`, `lower_bound` (where true);
//! - `branches`: the ways out of conditional jumps ([`Way`](crate::coverage::Way)): `line`, `shape`, `jump`, `way`, `to`,
//!   `count`, `lower_bound` (where true);
//! - `contexts`: context → `counts` and `lower_bounds`, where there are other contexts than `""`;
//! - `build_ids` and `digests`: the objects it was compiled into, and of which text.
//!
//! Keys without content are left out.

mod read;
mod write;

pub use read::read;
pub use write::write;

/// The version of the `cov_agent` key.
const FORMAT: u64 = 1;

#[cfg(test)]
mod tests;
