//! Whose programs and libraries are measured.

use crate::cli::measure::Measurement;
use crate::cli::message::Message;
use crate::cli::watch::Matching;
use std::path::Path;

/// Whose programs and libraries are measured.
pub(in crate::cli) enum Whom {
    /// Those of processes that are counted already, and so of their children.
    Counted,
    /// Those that match: who executes or loads them is counted from then on.
    Matching(Matching),
}

impl Whom {
    /// Whether what process `pid` executes or loads may be measured, if its file may.
    pub(super) fn process(&self, pid: u32, measurement: &mut Measurement<'_>) -> Result<bool, Message> {
        match self {
            Self::Counted => measurement.tracks(pid),
            Self::Matching(matching) => Ok(matching.process(pid)),
        }
    }

    /// Whether a file may be measured.
    pub(super) fn object(&self, path: &Path) -> bool {
        match self {
            Self::Counted => true,
            Self::Matching(matching) => matching.object(path),
        }
    }
}
