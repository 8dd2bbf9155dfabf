//! Measurements that end whatever happens meanwhile.

use super::CoverageTestRunner;
use crate::coverage::{Run, Snapshot};
use crate::probe::{Kernel, ProbeError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// A measurement that is over.
#[derive(Debug)]
pub struct Ended<R, K> {
    /// What the act gave, or the panic that it ended with: [`resume_unwind`](std::panic::resume_unwind) goes on with it.
    pub outcome: thread::Result<R>,
    /// What was counted until then.
    pub snapshot: Snapshot,
    /// Whether all counters could be read. Else the snapshot lacks some.
    pub collected: Result<(), ProbeError>,
    /// To drop it disarms all probes.
    pub kernel: K,
}

impl<K: Kernel> CoverageTestRunner<K> {
    /// Does `act`, which arms, tracks and waits, and [collects](Self::collect_coverage_results) and
    /// [cleans up](Self::cleanup_coverage) whichever way it is left: also by an error that it gives, or by a panic.
    ///
    /// Signals are for the caller to [hear](crate::process::Signals). Whom one of them kills leaves its probes to
    /// [another process](super::Lingering), and its counts to the [journal](super::Journal).
    pub fn measure<R>(mut self, run: Run, act: impl FnOnce(&mut Self) -> R) -> Ended<R, K> {
        // What was counted is in the kernel, where no panic leaves anything half done.
        let outcome = catch_unwind(AssertUnwindSafe(|| act(&mut self)));
        // Nothing is taken away any more while counters are read.
        self.end_disarming();
        let collected = self.collect_coverage_results();
        let (snapshot, kernel) = self.cleanup_coverage(run.now());
        Ended { outcome, snapshot, collected, kernel }
    }
}

#[cfg(test)]
mod tests {
    use crate::coverage::{ExecutionCounter, Run};
    use crate::probe::ProbeError;
    use crate::probe::fake::Fake;
    use crate::runner::tests::{lines, prepared, runner};

    /// By an error or a panic: what was counted until then is there, and nothing stays armed.
    #[test]
    fn a_measurement_ends_whatever_happens() {
        for how in ["well", "error", "panic"] {
            let file = tempfile::tempfile().unwrap();
            let ended = runner(Fake::default()).measure(Run::default(), |runner| -> Result<(), ProbeError> {
                runner.setup_coverage_hooks(vec![prepared(&file, 1)])?;
                runner.track(7)?;
                runner.kernel_mut().hit(7, &file, 0x10, 0);
                match how {
                    "panic" => panic!("of somebody who uses the library"),
                    "error" => Err(ProbeError::Silent),
                    _ => Ok(()),
                }
            });
            let outcome = match ended.outcome {
                Ok(Ok(())) => "well",
                Ok(Err(ProbeError::Silent)) => "error",
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => "panic",
            };
            assert_eq!(outcome, how);
            ended.collected.unwrap();
            assert_eq!(lines(&ended.snapshot).first(), Some(&(1, ExecutionCounter::exact(1))), "{how}");
        }
    }
}
