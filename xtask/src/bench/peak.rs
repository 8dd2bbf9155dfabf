//! How much memory programs take at most.
//!
//! What the kernel accounts of a process that has ended includes what its parent had when it was started; so a library that is
//! loaded with the program tells, in runs that are not timed.

use anyhow::{Context as _, Result};
use cov_tests::Build;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The library, ready to be loaded.
pub(super) struct Peak {
    library: PathBuf,
    list: PathBuf,
}

impl Peak {
    pub(super) fn new(dir: &Path) -> Result<Self> {
        let (source, library) = (dir.join("peak.c"), dir.join("peak.so"));
        std::fs::write(&source, include_str!("peak.c"))?;
        Build::with("gcc", dir).args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).run();
        Ok(Self { library, list: dir.join("peak.list") })
    }

    /// The most that a process of `program` had, in MiB, in a run of `command`.
    pub(super) fn of(&self, command: &mut Command, program: &Path) -> Result<f64> {
        std::fs::write(&self.list, "")?;
        command.env("LD_PRELOAD", &self.library).env("PEAK", &self.list);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        command.env_remove("LD_PRELOAD").env_remove("PEAK");
        anyhow::ensure!(status?.success(), "{command:?}");
        super::measure::wait_for_orphans()?;
        let list = std::fs::read_to_string(&self.list)?;
        let program = program.canonicalize()?;
        let of_it = |line: &str| {
            let (kib, path) = line.split_once(' ')?;
            kib.parse::<f64>().ok().filter(|_| Path::new(path) == program)
        };
        let most =
            list.lines().filter_map(of_it).fold(None, |most: Option<f64>, kib| Some(most.map_or(kib, |m| m.max(kib))));
        Ok(most.with_context(|| format!("{command:?} told nothing: {list}"))? / 1024.0)
    }
}
