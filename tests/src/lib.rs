//! What the tests of the whole agent share: compiling fixtures, running the agent, reading what it
//! wrote, and knowing what it should have written.
//!
//! Nothing here uses the library `cov_agent`: the agent is judged as a program, from outside.

mod agent;
mod build;
mod callgrind;
mod compare;
mod contexts;
mod dwarf;
mod executable;
mod expect;
mod gcov;
mod kernel;
mod namespace;
mod programs;
mod projects;
mod python;
mod report;
mod sample;
mod sources;
mod venvs;
mod workdir;

pub use agent::{Agent, Attached, Outcome, Talk, send, sources};
pub use build::{Build, fixture, scratch, workspace};
pub use callgrind::{FileLines, Instructions, callgrind_instructions, lines_that_ran};
pub use compare::{Agreement, keep_report};
pub use contexts::Contexts;
pub use executable::{PATIENCE, agent_command, agent_path, built};
pub use expect::{Expected, Want, assert_counts, expected};
pub use gcov::{GcovFile, gcc_gcov, llvm_gcov};
pub use kernel::kernel;
pub use namespace::{mount, own_run_directory};
pub use programs::{KILL_IN_PAUSE, SHARED, compile, compile_text, work};
pub use projects::Project;
pub use python::{SUITE, boltons, copy_python, monitored_pythons};
pub use report::{Coverage, FileCoverage};
pub use sample::{SAMPLE_COMMANDS, prepare_sample};
pub use sources::package_dir;
pub use venvs::made as venv;
pub use workdir::{Said, Workdir, tracefile};
