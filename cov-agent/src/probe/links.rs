//! Links: what holds probes armed until it is closed.

use super::ProbeError;
use super::bisect::Attempt;
use super::error::system_error;
use crate::plan::Site;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachPoint, UProbeLink, UProbeScope};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;

/// The error of instructions that cannot carry a probe (the kernel's own `ENOTSUPP`).
const ENOTSUPP: i32 = 524;

/// One link for all of `points`.
pub(super) fn attach(
    hit: &mut UProbe,
    target: &Path,
    points: &[UProbeAttachPoint<'static>],
) -> Attempt<UProbeLink, ProbeError> {
    let link = hit.attach(points, target, UProbeScope::AllProcesses).and_then(|id| hit.take_link(id));
    match link {
        Ok(link) => Attempt::Armed(link),
        Err(error) => match system_error(&error) {
            Some(number @ (libc::EINVAL | libc::EIO | libc::ENOEXEC | libc::EOPNOTSUPP | ENOTSUPP)) => {
                Attempt::Refused(io::Error::from_raw_os_error(number))
            }
            _ => Attempt::Failed(ProbeError::of("arming", error)),
        },
    }
}

/// Closes links side by side: each waits for a grace period, all for the same one.
pub(super) fn close(mut links: Vec<UProbeLink>) {
    const THREADS: usize = 64;
    let share = links.len().div_ceil(THREADS);
    thread::scope(|scope| {
        while links.len() > share.max(1) {
            let some = links.split_off(links.len() - share);
            scope.spawn(|| drop(some));
        }
        drop(links);
    });
}

/// Reads the pages that get probes into the page cache. A process that maps the file then need not
/// wait for them in the midst of arming.
pub(super) fn touch(file: &File, sites: &[Site]) {
    const PAGE: u64 = 4096;
    let mut last = None;
    for site in sites {
        let page = site.offset.0 / PAGE;
        if last.replace(page) != Some(page) {
            // Only the reading matters: what cannot be read, the kernel will refuse.
            let _ = file.read_at(&mut [0], page * PAGE);
        }
    }
}
