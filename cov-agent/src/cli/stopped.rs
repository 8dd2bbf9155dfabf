//! Plans once more what threads stopped in.

use super::message::chain;
use super::setup::Setup;
use crate::probe::{Bpf, ProbeError};
use crate::runner::{Candidate, CoverageTestRunner, read_and_plan_stopped};

/// See [`CoverageTestRunner::see_where_threads_stopped`].
pub(super) fn see(runner: &mut CoverageTestRunner<Bpf>, setup: &Setup) -> Result<(), ProbeError> {
    let files = setup.files();
    runner.see_where_threads_stopped(&|path, scope, threads| {
        let candidate = Candidate::open(path).map_err(|e| format!("it cannot be opened: {e}"))?;
        setup.planning(&files, scope, |options| {
            read_and_plan_stopped(candidate, &setup.search, options, threads).map_err(|e| chain(&e))
        })
    })
}
