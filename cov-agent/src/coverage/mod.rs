//! Coverage data: counters, lines, files, runs. Pure: nothing here knows of objects, probes or
//! kernels, so that merging and reporting build and run anywhere.
//!
//! ```
//! use cov_agent::coverage::{CoverageCollector, ExecutionCounter, Run};
//!
//! let collector = CoverageCollector::coverage_init();
//! collector.executable("/src/a.c", 3);
//! collector.executable("/src/a.c", 4);
//! collector.record("/src/a.c", 3, ExecutionCounter::exact(7), "");
//! let snapshot = collector.coverage_cleanup(Run { program: "a.out".into(), ..Run::default() });
//! let file = &snapshot.files()[0];
//! assert_eq!(file.lines().get(3), Some(ExecutionCounter::exact(7)));
//! assert_eq!(file.lines().get(4), Some(ExecutionCounter::ZERO));
//! assert_eq!(file.lines().get(5), None);
//! ```

mod branches;
mod collector;
mod contexts;
mod counter;
mod file;
mod files;
pub mod filter;
mod lines;
mod losses;
mod markers;
pub mod paths;
pub mod percent;
mod remap;
mod run;
mod snapshot;
mod statistics;
pub mod synthetic;
#[cfg(test)]
pub(crate) mod testing;

pub use branches::{Branches, Jump, Way};
pub use collector::CoverageCollector;
pub use contexts::{Place, Reach};
pub use counter::ExecutionCounter;
pub use file::{FileCoverage, Function};
pub use files::{FileHandle, FileTracker};
pub use filter::{Filter, FilterError};
pub use lines::LineTracker;
pub use losses::{Loss, LossKind, Losses};
pub use markers::{Marked, MarkerError, Markers};
pub use remap::{Remap, RemapError};
pub use run::{Object, Run, RunId};
pub use snapshot::Snapshot;
pub use statistics::{FileStatistics, Lines, Statistics, hottest_lines};
