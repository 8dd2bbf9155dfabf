//! Programs that are debugged. Where a probe is, the kernel takes a debugger's breakpoint for its own and stops nobody.

use super::{Follow, path_of};
use crate::cli::measure::Measurement;
use crate::cli::message::Message;
use crate::coverage::LossKind;
use crate::process::debugger;
use crate::process::gate::Held;
use std::os::unix::fs::MetadataExt as _;

impl Follow {
    /// Whether a debugger has the program executed, and its breakpoints count more than its lines. The program is then
    /// not armed while the debugger has its file open, which is told.
    pub(super) fn is_debugged(&mut self, held: &Held, measurement: &mut Measurement<'_>) -> Result<bool, Message> {
        let inode = held.file.metadata().map_or(0, |metadata| metadata.ino());
        let Some((process, program)) = debugger(held.process, inode) else { return Ok(false) };
        let path = path_of(held);
        let detail = format!("{}, while {} ({process}) was debugging it", path.display(), program.display());
        measurement.lose(LossKind::UnattachedObjects, detail);
        measurement.disarm(held.key, false)?;
        if let Ok(file) = held.file.try_clone() {
            self.readers.add(held.key, process, program, (path, file), false);
        }
        Ok(true)
    }
}
